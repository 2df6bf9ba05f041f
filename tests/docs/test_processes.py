"""docs/processes.md tells the truth: its programs run as written and print what is said."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.test_readme import LANGUAGES, ROOT, Block, blocks
from tests.support.programs import run_python

BLOCKS = blocks(ROOT / "docs" / "processes.md")
SAID = {block: after.body for block, after in pairwise(BLOCKS) if after.language == "text"}


@pytest.mark.rule(56, 57)
@pytest.mark.parametrize("block", SAID, ids=lambda block: f"line{block.line}")
def test_a_program_of_the_page_runs_as_written_and_prints_what_is_said(block: Block, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(block.body, encoding="utf-8")
    done = run_python(script, folder=tmp_path)
    assert (done.stdout, done.stderr) == (SAID[block], "")


def test_no_block_escapes_by_its_name() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES
    assert len(SAID) == sum(block.language == "python" for block in BLOCKS)
