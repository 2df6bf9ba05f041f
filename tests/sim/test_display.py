"""The live display of a run: `runcue.progress()`, in a real terminal, with what the simulator has to say of it.

What it looks like and how it treats a terminal is tested with the package `console`.
"""

from __future__ import annotations

import itertools
import re
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals on Windows", allow_module_level=True)

from rich.cells import cell_len

from tests.support.programs import run_python
from tests.support.terminals import Tmux, in_tmux, on_a_pty, tmux_is_there

COMMAND = [sys.executable, "-m", "runcue_sim"]
SLOW = [
    "--scenario", "pipeline", "-n", "200", "-l", "400", "-r", "20/min", "-e", "0.2", "--seed", "1", "--realtime"
]  # fmt: skip


def plain(sent: bytes) -> str:
    """What was sent to a terminal, without commands."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent.decode()).replace("\r", "")


def test_it_does_not_flicker_and_ctrl_c_leaves_the_terminal_clean() -> None:
    arguments = ["--scenario", "pipeline", "-n", "60", "-l", "300", "-r", "30/min", "--seed", "1", "--tui"]
    with on_a_pty(*COMMAND, *arguments, "--realtime") as there:
        there.wait(b"ETA")
        assert not there.has_echo
        there.reads.clear()
        there.press(b"keys that nobody asked for")
        there.read(2.0)
        # Reads that follow one another at once are one frame.
        times = [at for at, _ in there.reads]
        frames = [at for before, at in itertools.pairwise([0.0, *times]) if at - before > 0.03]
        assert 3 <= len(frames) <= 20  # in two seconds
        drawn = there.bytes
        assert not re.search(rb"\x1b\[[0-3]?J|\x1bc|\x1b\[\?1049", drawn)
        assert b"keys" not in drawn
        there.reads.clear()
        there.press(b"\x03")
        assert there.end() == 130
        after = there.bytes
        assert there.has_echo
    screen, _, rest = after.rpartition(b"\x1b[0m\x1b[?25h")
    assert b"pipeline: count 60" in screen  # as it was in the end
    assert b"runcue-sim pipeline" in rest  # the summary
    assert b"\x1b" not in rest
    assert b"Traceback" not in rest


def test_warnings_and_the_latest_events_stand_below() -> None:
    with on_a_pty(*COMMAND, *SLOW, columns=100, rows=40) as there:
        there.wait(b"completed extract")

        def events() -> list[str]:
            # Of the last frame that was sent to its end.
            frame = plain(there.bytes).split("pipeline: count 200")[-2]
            found = re.findall(r"^\d\d:\d\d:\d\d\.\d{3} \w+ \w+ item_\d+.*$", frame, re.MULTILINE)
            assert not found or frame.rstrip().endswith(found[-1])
            return found

        there.read(15.0, lambda: len(events()) == 8)
        assert len(events()) == 8
        there.press(b"\x03")
        there.end()


def test_what_a_program_prints_meanwhile_stands_above(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        """
import logging, runcue
logging.basicConfig(level=logging.INFO, format="log: %(message)s")
cue = runcue.Cue()
cue.service("api", concurrent=2)
print("printed at import")

@cue.task("ask", uses="api")
def ask(work): ...

@cue.is_ready
def is_ready(work):
    logging.info("asked about %s", work.params["n"])
    return True

async def submit():
    for n in range(10):
        print("submitted", n)
        await cue.submit("ask", params={"n": n})
"""
    )
    arguments = [f"{tmp_path}/app.py:cue,submit", "--latency", "300", "--seed", "1", "--realtime"]
    with on_a_pty(*COMMAND, *arguments) as there:
        assert there.end() == 0
    text = plain(there.bytes)
    said = re.findall(r"(submitted \d|log: asked about \d)\n", text)
    assert sorted(set(said)) == sorted(
        [f"{what} {n}" for n in range(10) for what in ("submitted", "log: asked about")]
    )
    assert text.index("printed at import") < text.index("ETA")
    assert text.rindex("100%  done") > max(text.rindex(line) for line in set(said))
    assert "runcue-sim" in text.rpartition("100%  done")[2]


def test_on_the_virtual_clock_it_draws_while_time_flies() -> None:
    arguments = ["--scenario", "pipeline", "-n", "3000", "-l", "400", "-r", "20/min", "--seed", "1", "--fast"]
    with on_a_pty(*COMMAND, *arguments, "--tui") as there:
        assert there.end() == 0
    frames = re.findall(r"(\d+) of 9000   (.*) of virtual time", plain(there.bytes))
    assert len(frames) >= 2
    assert frames[-1][0] == "9000"
    assert "9,000 work units in 2.48 h of virtual time" in plain(there.bytes)


def test_equal_seeds_give_equal_runs_watched_or_not() -> None:
    arguments = [
        "--scenario",
        "pipeline",
        "-n",
        "50",
        "-l",
        "400",
        "-r",
        "20/min",
        "-e",
        "0.2",
        "--seed",
        "1",
    ]
    unwatched = run_python("-m", "runcue_sim", *arguments, "--fast", "--no-tui")
    with on_a_pty(*COMMAND, *arguments, "--fast", "--tui", columns=150) as there:
        assert there.end() == unwatched.returncode
    report = unwatched.stdout.partition("simulated in")[0]
    assert report
    assert report in plain(there.bytes)


def test_rich_changes_looks_and_neither_the_clock_nor_the_report() -> None:
    # A day of a rate: on the real clock nobody would see its end.
    arguments = ["-n", "1440", "-c", "1", "-r", "60/hour", "--seed", "1"]
    code = "import sys; sys.modules['rich'] = None; from runcue_sim._commands.main import main; sys.exit(main({}))"
    reports = []
    for command in ([*COMMAND, *arguments], [sys.executable, "-c", code.format(arguments)]):
        with on_a_pty(*command) as there:
            assert there.end() == 0
        shown, _, report = plain(there.bytes).rpartition("runcue-sim single_queue")
        assert ("100%  done" in shown) == (command[1] == "-m")
        assert max(map(len, report.splitlines())) <= 80
        reports.append(re.sub(r"simulated in .* a second\)", "", report))
    assert reports[0] == reports[1]
    assert "of virtual time" in reports[0]


def test_rich_is_not_needed_to_know_whether_it_is_there() -> None:
    code = "import sys, runcue_sim._commands.run; sys.exit('rich' in sys.modules)"
    run_python("-c", code, check=True)


def test_without_rich_a_run_is_told_in_lines_and_a_display_is_refused() -> None:
    code = "import sys; sys.modules['rich'] = None; from runcue_sim._commands.main import main; sys.exit(main({}))"
    told = run_python("-c", code.format(["--count", "5", "--seed", "1"]), check=True)
    assert "5 completed of 5 work units" in told.stdout
    refused = run_python("-c", code.format(["--count", "5", "--tui"]))
    assert refused.returncode == 2
    assert refused.stderr == "runcue-sim: --tui needs rich: pip install 'runcue[sim]'\n"


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    if not tmux_is_there():
        pytest.skip("the display is NOT tested in a real terminal: tmux or bash is not installed")
    with in_tmux(tmp_path) as there:
        yield there


def test_it_is_readable_in_a_real_terminal_of_any_size_and_leaves_it_clean(tmux: Tmux) -> None:
    tmux.type("clear; " + shlex.join([*COMMAND, *SLOW]), "Enter")
    screen = tmux.wait(r"[1-9]\d* of 600")
    text = "\n".join(screen)
    assert max(map(cell_len, screen)) < 80
    assert re.search(r"^pipeline: .*200.*20/min", text, re.MULTILINE)
    assert re.search(r"━+[╸╺]?━* +\d+%  ETA", text)
    assert re.search(r"^\d+ of 600   .* now, .* in all   from the rate of api$", text, re.MULTILINE)
    assert re.search(r"^TASK +PENDING +RUNNING +DONE +FAILED +SKIPPED", text, re.MULTILINE)
    for service, slots in (("local", 10), ("api", 5), ("storage", 3)):
        assert re.search(rf"^{service} +\d+/{slots} +[━╸╺]+", text, re.MULTILINE)
    assert re.search(r"^api .* \d+ of 20/min ", text, re.MULTILINE)
    assert re.search(r"^all 3 +\d+ +\d+ +\d+ +\d+ +\d+", text, re.MULTILINE)
    tmux.wait(r"^waits +~?\d+ +(transform|load) ")
    tmux.wait(r"^\d\d:\d\d:\d\d\.\d{3} \w+ \w+ item_\d+")

    tmux.resize(100, 40)
    screen = tmux.wait(r"^.{86,99}$")
    assert max(map(cell_len, screen)) < 100
    tmux.wait(r"(?:^\d\d:\d\d:\d\d.*\n){7}")
    tmux.resize(60, 15)
    tmux.wait(r"^storage +\d/3 +-$")
    time.sleep(0.5)
    screen = tmux.screen()
    assert max(map(cell_len, screen)) < 60
    assert len(screen) <= 15
    assert sum("ETA" in line for line in screen) == 1
    assert re.search(r"^api +\d+/5 +\d+ of 20/min", "\n".join(screen), re.MULTILINE)
    tmux.resize(80, 24)

    tmux.type("C-z")
    tmux.wait("Stopped")
    assert tmux.is_clean()
    tmux.type("bg", "Enter")
    time.sleep(0.4)  # in the background, it leaves the terminal to others
    assert tmux.is_clean()
    tmux.type("fg", "Enter")
    tmux.wait("TASK +PENDING +RUNNING")
    tmux.type("C-c")
    screen = tmux.wait(r"^\S*[$#] ?$")
    assert "Traceback" not in "\n".join(screen)
    assert tmux.is_clean()
