"""docs/commands.md tells the truth: its programs run as written and print what is said.

Where ImageMagick is missing, something that copies stands in for it: what is tried is how the program goes on when a
picture changes, an output is deleted or a command fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_readme import LANGUAGES, ROOT, Block, blocks, run_block

PAGE = ROOT / "docs" / "commands.md"
BLOCKS = blocks(PAGE)
PYTHON = [block for block in BLOCKS if block.language == "python"]
[BUILD] = [block for block in PYTHON if "sha256sum" in block.body]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="commands are for POSIX systems")

STANDS_IN = """#!/bin/sh
grep -q broken "$1" && { echo "convert: improper image header" >&2; exit 1; }
cat "$1" > "$4"
"""


def said_after(block: Block) -> str:
    """What the page says that a program prints."""
    after = BLOCKS[BLOCKS.index(block) + 1]
    assert after.language == "text"
    return after.body


def without_times(text: str) -> str:
    return re.sub(r"\d+\.\d+ s| +", " ", text).strip()


@pytest.mark.parametrize(
    "block", [one for one in PYTHON if one is not BUILD], ids=lambda block: f"line{block.line}"
)
def test_a_program_of_the_page_runs_as_written_and_prints_what_is_said(block: Block, tmp_path: Path) -> None:
    assert without_times(run_block(PAGE, block, tmp_path)) == without_times(said_after(block))


def test_the_three_stages_do_what_is_missing_or_has_changed_and_say_what_has_failed(tmp_path: Path) -> None:
    tools, photos, program = tmp_path / "bin", tmp_path / "photos", tmp_path / "build.py"
    for folder in (tools, photos):
        folder.mkdir()
    (tools / "convert").write_text(STANDS_IN)
    (tools / "convert").chmod(0o755)
    program.write_text("\n" * BUILD.line + BUILD.body, encoding="utf-8")
    for name in ("a", "b", "it's c"):
        (photos / f"{name}.png").write_text(name)

    def build(*words: str) -> str:
        ran = subprocess.run(
            [sys.executable, str(program), *words],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert build("plan").startswith("Plan: 7 run\n")
    assert not (tmp_path / "small").exists()
    assert without_times(build()) == without_times(said_after(BUILD))
    assert build().startswith("7 skipped in")
    assert (tmp_path / "run.svg").read_text().startswith("<svg")

    (photos / "a.png").write_text("a that was edited")
    assert build().startswith("3 completed, 4 skipped in")
    (tmp_path / "packed" / "b.png.gz").unlink()
    assert build().startswith("2 completed, 5 skipped in")
    (photos / "b.png").write_text("broken")
    told = build()
    assert told.startswith("6 skipped (4 up to date, 2 not run because of shrink")
    assert "ended with exit code 1: convert: improper image header" in told
    assert gone_on(tmp_path) == ["SUMS", "a.png.gz", "b.png.gz", "it's c.png.gz"]


def gone_on(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "packed").iterdir() if not path.name.startswith(".runcue"))


def test_no_block_escapes_by_its_name() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES
