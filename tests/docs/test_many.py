"""docs/many.md tells the truth: its programs run as written and print what is said, on a clock that does not wait."""

from __future__ import annotations

import runpy
from itertools import pairwise
from pathlib import Path

import pytest

import runcue
from runcue.testing import run
from tests.docs.test_readme import LANGUAGES, ROOT, Block, blocks

PAGE = ROOT / "docs" / "many.md"
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
    printed = capsys.readouterr().out
    assert printed == SAID.get(block, printed)


def test_no_block_escapes_by_its_name() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES
