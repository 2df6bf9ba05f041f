"""docs/retrying.md tells the truth: its programs run as written and print what is said, on a clock that does not wait.

They run in this process, each by itself, and `runcue.run` runs them on the virtual clock: what they wait for takes no
time, and what they measure is exact.
"""

from __future__ import annotations

import re
import runpy
from itertools import pairwise
from pathlib import Path

import pytest
import stamina
import tenacity

import runcue
from runcue.testing import run
from tests.docs.test_readme import LANGUAGES, ROOT, Block, blocks

PAGE = ROOT / "docs" / "retrying.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = blocks(PAGE)
PYTHON = [block for block in BLOCKS if block.language == "python"]
SAID = {block: after.body for block, after in pairwise(BLOCKS) if after.language == "text"}


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"line{block.line}")
def test_a_program_of_the_page_runs_as_written_and_prints_what_is_said(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runcue, "run", run)
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "block.py"
    program.write_text("\n" * block.line + block.body, encoding="utf-8")
    runpy.run_path(str(program), run_name="__main__")
    printed = without_the_hour(capsys.readouterr().out)
    assert printed == without_the_hour(SAID.get(block, printed))


def without_the_hour(text: str) -> str:
    """What is printed without the time of day, which depends on where the machine stands."""
    return re.sub(r"\bat \d\d:\d\d:\d\d\b", "at some time", text)


def test_no_block_escapes_by_its_name_and_nearly_all_say_what_they_print() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES
    assert len(SAID) >= len(PYTHON) - 1


def test_its_links_to_its_sections_lead_somewhere() -> None:
    titles = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) == titles


def rows(first_cell: str) -> list[list[str]]:
    """The table whose header begins with this."""
    lines = TEXT.splitlines()
    start = next(
        number for number, line in enumerate(lines) if line.startswith(f"| {first_cell}".rstrip() + " |")
    )
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_the_table_of_options_has_all_of_them_with_their_defaults() -> None:
    usual = runcue.Retry()
    told = {name.strip("`"): default for name, default, _ in rows("")[:8]}
    assert set(told) == set(usual.__slots__)
    for name, default in told.items():
        assert runcue.Retry(**{name: eval(default.strip("`"))}) == usual, name  # noqa: S307 - the page's own


def test_what_it_says_of_tenacity_and_stamina_exists() -> None:
    table = rows("tenacity")
    for name in re.findall(r"\b(?:stop|retry_if|wait)_\w+\b|\bTryAgain\b", " ".join(row[0] for row in table)):
        assert hasattr(tenacity, name), name
    stamina_takes = stamina.retry.__wrapped__ if hasattr(stamina.retry, "__wrapped__") else stamina.retry
    known = stamina_takes.__code__.co_varnames + stamina_takes.__code__.co_names
    for name in re.findall(r"\b(\w+)=", " ".join(row[1] for row in table)):
        assert name in known, name
    assert callable(stamina.instrumentation.set_on_retry_hooks)
