"""The README tells the truth: its Python runs as written, and the commands it shows exist.

Each `python` block is a whole program. It runs alone, in an empty folder, with warnings as errors. A `console` block is
not run, since the tests would then start the tests; what it asks of dev.py must be a command of dev.py.
"""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SECONDS = 30  # for one block; a quick example that takes longer is none
LANGUAGES = {"python", "console", "text", "mermaid"}
FENCE = re.compile(r"^```(?P<language>[^\n`]*)\n(?P<body>.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of the README, and the line its fence stands on."""

    language: str
    line: int
    body: str


def blocks(page: Path = README) -> list[Block]:
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    return [
        Block(match["language"].strip(), text.count("\n", 0, match.start()) + 1, match["body"])
        for match in FENCE.finditer(text)
    ]


PYTHON = [block for block in blocks() if block.language == "python"]
CONSOLE = [line for block in blocks() if block.language == "console" for line in block.body.splitlines()]
SHELL = [line.removeprefix("$ ").split() for line in CONSOLE if line.startswith("$ ")]


def run_block(page: Path, block: Block, tmp_path: Path) -> str:
    """Runs a block by itself. Returns what it printed."""
    folder = tmp_path / "empty"
    folder.mkdir()
    program = tmp_path / "block.py"
    # The blank lines make a traceback name the line of the page.
    program.write_text("\n" * block.line + block.body, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, f"{page.name}:{block.line}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"line{block.line}")
def test_a_python_block_runs_as_written(block: Block, tmp_path: Path) -> None:
    run_block(README, block, tmp_path)


@pytest.mark.parametrize("command", SHELL, ids=" ".join)
def test_a_command_shown_exists(command: list[str]) -> None:
    if "dev.py" in command:
        commands = runpy.run_path(str(ROOT / "dev.py"))["COMMANDS"]
        assert command[command.index("dev.py") + 1] in commands
    files = [word for word in command if word.startswith(("examples/", "benchmarks/", "tests/"))]
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_there_are_blocks_of_both_kinds_and_none_escapes_by_its_name() -> None:
    assert {block.language for block in blocks()} <= LANGUAGES
    assert PYTHON
    assert ["python3", "dev.py", "demo"] in SHELL
    assert ["python3", "dev.py", "test"] in SHELL
