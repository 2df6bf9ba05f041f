"""The torture finds what it names and runs it: nothing but a long night would tell otherwise."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from runcue._artifacts import temp_files
from tests.attacks.loops import LOOPS
from tests.torture import KILLERS, ROOT, attack, attacks

TORTURE = Path(__file__).parents[1] / "torture.py"


def told(*short: str) -> str:
    """What a torture says that is a very short one."""
    command = [sys.executable, str(TORTURE), "--jobs", "1", "--soak", "0", *short]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not temp_files.CLAIMS, reason="no flock here: KILLING MAKERS OF FILES IS NOT TESTED")
def test_it_kills_what_it_names() -> None:
    said = told("-k", "makers_of_files", "--kills", "1")
    assert "ok   kill -9 of makers of files: 1 instants" in said
    assert "kill -9 of the PDF pipeline" not in said


@pytest.mark.parametrize("name", KILLERS)
def test_whatever_it_kills_by_is_a_program(name: str) -> None:
    program, fewer = KILLERS[name]
    assert "int(sys.argv[1])" in (ROOT / program).read_text(encoding="utf-8")
    assert fewer >= 1


def test_it_finds_the_properties_it_names() -> None:
    said = told("-k", "a_batch_finds_what", "--examples", "5", "--kills", "0")
    assert "1 properties, 5 examples each" in said
    assert re.search(r"^ok +\d+ examples .* a batch finds what asking one by one finds$", said, re.MULTILINE)


def test_it_finds_the_attacks_and_each_says_how_long_it_may_take() -> None:
    assert "used_up_limits" in attacks()
    for name in attacks():
        assert import_module(f"tests.attacks.{name}").PATIENCE > 0


@pytest.mark.parametrize("loop", LOOPS)
def test_it_runs_an_attack_on_each_loop(loop: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert attack("used_up_limits", loop, 0.01)
    assert capsys.readouterr().out.startswith(
        f"ok   attack used up limits, {loop}: 60 batches of 2 work units"
    )


def test_an_attack_that_finds_something_says_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert not attack("no_such_attack", "asyncio", 0.01)
    assert "FAIL attack no such attack, asyncio: \n" in capsys.readouterr().out
