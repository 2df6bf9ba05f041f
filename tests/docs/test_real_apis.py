"""docs/real-apis.md tells the truth: its programs run as written and print what is said, on a clock that does not wait.

What stands in for a server is within each of them.
"""

from __future__ import annotations

import re
import runpy
from itertools import pairwise
from pathlib import Path

import pytest

import runcue
from runcue.testing import run
from tests.docs.test_readme import LANGUAGES, ROOT, Block, blocks

PAGE = ROOT / "docs" / "real-apis.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = blocks(PAGE)
PYTHON = [block for block in BLOCKS if block.language == "python"]
SAID = {block: after.body for block, after in pairwise(BLOCKS) if after.language == "text"}


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"line{block.line}")
def test_a_program_of_the_page_runs_as_written_and_prints_what_is_said(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if block.body.startswith("# Not run by the tests"):
        compile(block.body, str(PAGE), "exec")
        return
    monkeypatch.setattr(runcue, "run", run)
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "block.py"
    program.write_text("\n" * block.line + block.body, encoding="utf-8")
    runpy.run_path(str(program), run_name="__main__")
    assert the_same_each_time(capsys.readouterr().out) == the_same_each_time(SAID[block])


def the_same_each_time(text: str) -> str:
    """What is printed without the part of ids that is another one in each run, and without the time of day."""
    without_ids = re.sub(r"\b[0-9a-f]{6}-(?=\d)", "", text)
    return re.sub(r"\bat \d\d:\d\d:\d\d\b", "at some time", without_ids)


def test_no_block_escapes_by_its_name() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES
    assert len(SAID) == len(PYTHON) - 1


def test_its_links_to_its_sections_lead_somewhere_and_each_is_in_the_list() -> None:
    titles = {
        re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) == titles


def test_it_says_something_of_each_option_of_a_service() -> None:
    options = set(runcue.Cue.service.__annotations__) - {"name", "return"}
    rarely = {"limiter", "limits"}  # they are in the README
    assert {option for option in options if f"{option}=" not in TEXT} == rarely
