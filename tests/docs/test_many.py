"""docs/many.md tells the truth: its programs run as written and print what is said, on a clock that does not wait."""

from __future__ import annotations

import re
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
    assert without_ids(printed) == without_ids(SAID.get(block, printed))


def without_ids(text: str) -> str:
    """What is printed without the part of ids that is another one in each run."""
    return re.sub(r"\b[0-9a-f]{6}-(?=\d)", "", text)


def test_the_bar_of_tqdm_is_as_long_as_what_is_expected_and_full_in_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    [block] = [block for block in PYTHON if "tqdm" in block.body]
    monkeypatch.setattr(runcue, "run", lambda main: None)
    program = tmp_path / "block.py"
    program.write_text(block.body, encoding="utf-8")
    names = runpy.run_path(str(program))
    cue, bar = names["cue"], names["Bar"]()

    async def main() -> None:
        cue.observe(bar)
        async with cue:
            await cue.submit("fetch", params={"page": 1})
            async with cue.map("fetch", [{"page": 2}, {"page": 3}]) as pages:
                totals = [bar.bar.total async for _ in pages]
        assert totals == [3, 3]

    run(main)
    assert (bar.bar.n, bar.bar.total) == (3, 3)
    bar.bar.close()
    assert "3/3" in capsys.readouterr().err


def test_no_block_escapes_by_its_name() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES
