"""The torture finds what it names and runs it: nothing but a long night would tell otherwise."""

import subprocess
import sys
from pathlib import Path

import pytest

from runcue._artifacts import temp_files

TORTURE = Path(__file__).parents[1] / "torture.py"


def torture(*arguments: str) -> str:
    command = [sys.executable, str(TORTURE), "--jobs", "1", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not temp_files.CLAIMS, reason="no flock here: nothing is killed like this")
def test_it_kills_what_it_names() -> None:
    for module in ("reportlab", "pypdfium2", "httpx", "PIL"):
        pytest.importorskip(module, reason=f"{module} is missing: KILLING THE PDF PIPELINE IS NOT TESTED")
    told = torture("-k", "no property is called so", "--soak", "0", "--kills", "1")
    assert "ok   kill -9 of makers of files: 1 instants" in told
    assert "ok   kill -9 of the PDF pipeline: 1 instants" in told


def test_it_finds_the_properties_it_names() -> None:
    told = torture("-k", "a_batch_finds_what", "--soak", "0", "--kills", "0", "--examples", "5")
    assert "1 properties, 5 examples each" in told
    assert told.splitlines()[-1].startswith("ok ")
