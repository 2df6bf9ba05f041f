"""docs/coming-from.md tells the truth: all of its programs that can run here do, and print what is said.

What is ours runs on a clock that does not wait. A program of others is followed by ours, and both print the same. Where
it takes what is not installed, it says so in its first line, and is only read.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import runpy
from pathlib import Path

import pytest

import runcue
from runcue.testing import run
from tests.docs.test_readme import LANGUAGES, ROOT, Block, blocks

PAGE = ROOT / "docs" / "coming-from.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = blocks(PAGE)
PYTHON = [block for block in BLOCKS if block.language == "python"]
SAID = {
    block: next(after.body for after in BLOCKS[number:] if after.language == "text")
    for number, block in enumerate(BLOCKS)
    if block.language == "python"
}


def missing(block: Block) -> list[str]:
    """What it imports that is not there."""
    tree = ast.parse(block.body)
    names = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    # A name with a dot imports what it is in.
    return [name for name in names if importlib.util.find_spec(name) is None]


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"line{block.line}")
def test_a_program_of_the_page_runs_as_written_and_prints_what_is_said(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if missing(block):
        first = block.body.splitlines()[0]
        assert re.match(r"# (Not run by the tests|Run by the tests on Python 3.13)\b", first), missing(block)
        return
    assert "Not run by the tests" not in block.body
    monkeypatch.setattr(runcue, "run", run)
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "block.py"
    program.write_text("\n" * block.line + block.body, encoding="utf-8")
    runpy.run_path(str(program), run_name="__main__")
    assert capsys.readouterr().out == SAID[block]


def test_each_part_has_a_program_of_others_and_one_of_ours() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES
    for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        programs = re.findall(r"^```python\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
        assert len(programs) >= 2, part[:40]
        assert "import runcue" in programs[1]


def test_its_links_to_its_sections_lead_somewhere() -> None:
    titles = {
        re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^##+ (.*)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= titles
