"""A block on a terminal: what is printed goes above it, it survives signals, and the terminal is left as it was.

What is sent is looked at as text and as bytes on a pseudo-terminal, and the whole in a real terminal (tmux) with a
shell around it.
"""

from __future__ import annotations

import io
import logging
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals on Windows", allow_module_level=True)

from runcue.console.snapshot import Snapshot
from runcue.console.terminal import Terminal, choose, is_terminal
from runcue.console.views import Lines
from tests.console.test_frame import SNAPSHOT
from tests.support.calls import calls_in
from tests.support.terminals import Tmux, in_tmux, on_a_pty, tmux_is_there

LEAVE = "\x1b[0m\x1b[?25h\n"


class Sent(io.StringIO):
    """What was sent to a terminal, write by write."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)

    def lines(self) -> list[str]:
        """What was sent, without commands."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", "".join(self.writes)).split("\n")


class Shown:
    """A terminal with a block."""

    def __init__(self, sent: Sent) -> None:
        self.sent = sent
        self.terminal = Terminal(sent)
        self.owner = threading.Event()
        self.terminal.open(self.owner)

    def show(self, snapshot: Snapshot) -> None:
        self.terminal.show(self.owner, snapshot)

    def close(self, snapshot: Snapshot | None = None) -> None:
        self.terminal.close(self.owner, snapshot)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return monkeypatch


@pytest.fixture
def shown(environment: pytest.MonkeyPatch) -> Iterator[Shown]:
    there = Shown(Sent())
    yield there
    if there.terminal.is_in_use:
        there.close()


def test_a_frame_is_sent_when_it_has_changed_and_in_one_piece(shown: Shown) -> None:
    writes = shown.sent.writes
    shown.show(SNAPSHOT)
    assert writes[0] == "\x1b[?25l"
    assert "ETA" in writes[1]
    shown.show(SNAPSHOT)
    assert len(writes) == 2
    shown.show(replace(SNAPSHOT, elapsed=99.0))
    [_, first, second] = writes
    # Back over the lines of the block and nothing else, to draw them again.
    assert second.count("\x1b[1A") == first.count("\n")
    assert not re.search(r"\x1b\[[0-3]?J|\x1bc|\x1b\[H", second)
    shown.close(replace(SNAPSHOT, elapsed=99.0))
    assert writes[3:] == [LEAVE]


def test_what_is_printed_goes_above_the_block_whole_lines_at_a_time(shown: Shown) -> None:
    shown.show(SNAPSHOT)
    time.sleep(0.02)  # so soon after a frame it is sent with the next one
    sent = shown.sent
    del sent.writes[:]
    print("one", "line", file=sent)
    [written] = sent.writes
    assert re.search(r"\x1b\[1A.*one line\n.*ETA", written, re.DOTALL)
    time.sleep(0.02)
    print("no line yet", end="", file=sent)
    assert len(sent.writes) == 1
    assert shown.owner.is_set()
    shown.terminal.flush()
    # It is the first line of the block as long as it may go on.
    assert re.search(r"no line yet\n.*pipeline.*\n.*ETA", sent.writes[1])
    time.sleep(0.02)
    print("\rbut now", file=sent)
    assert re.search(r"no line yet\rbut now\n", sent.writes[2])
    assert sent.writes[2].count("but now") == 1
    shown.close(SNAPSHOT)
    print("afterwards", file=sent)
    assert sent.writes[-2:] == ["afterwards", "\n"]


def test_a_line_that_is_not_ended_is_not_lost(shown: Shown) -> None:
    shown.show(SNAPSHOT)
    print("no end", end="", file=shown.sent)
    shown.close(SNAPSHOT)
    assert shown.sent.writes[-2:] == [LEAVE, "no end"]


def test_what_is_printed_before_there_is_a_block_is_just_printed(shown: Shown) -> None:
    print("early", file=shown.sent)
    assert "".join(shown.sent.writes) == "early\n"


def test_a_line_that_is_begun_before_there_is_a_block_is_not_torn_by_it(shown: Shown) -> None:
    print("begun", end="", file=shown.sent)
    shown.show(SNAPSHOT)
    time.sleep(0.02)
    print(" and ended", file=shown.sent)
    assert "begun and ended\n" in shown.sent.writes[-1]


def test_a_great_deal_that_is_printed_is_sent_together(shown: Shown) -> None:
    shown.show(SNAPSHOT)
    before = len(shown.sent.writes)
    began = time.monotonic()
    for number in range(1000):
        print(f"line {number}", file=shown.sent)
    took = time.monotonic() - began
    assert len(shown.sent.writes) - before <= 2 + took / 0.01
    shown.terminal.flush()
    lines = [line for line in shown.sent.lines() if "line " in line]
    assert [re.sub(r".*(line \d+)$", r"\1", line.strip()) for line in lines] == [
        f"line {number}" for number in range(1000)
    ]


def test_who_holds_the_stream_for_long_writes_above_the_block_too(shown: Shown) -> None:
    handler = logging.StreamHandler(shown.sent)
    write_lines = shown.sent.writelines
    logger = logging.getLogger("a log made long before")
    logger.addHandler(handler)
    shown.show(SNAPSHOT)
    logger.warning("look")
    logger.removeHandler(handler)
    write_lines(["and that\n"])
    shown.terminal.flush()
    text = "".join(shown.sent.writes)
    assert re.search(r"look\n(.*\n)*.*and that\n.*pipeline", text)


def test_colours_of_what_is_printed_stay(shown: Shown) -> None:
    shown.show(SNAPSHOT)
    time.sleep(0.02)
    print("\x1b[31mred\x1b[0m\tand a tab [bold]x[/bold] :smile:", file=shown.sent)
    assert "\x1b[31mred\x1b[0m\tand a tab [bold]x[/bold] :smile:\n" in shown.sent.writes[-1]


def test_threads_that_print_at_once_tear_no_line(shown: Shown) -> None:
    shown.show(SNAPSHOT)

    def work(name: str) -> None:
        for number in range(200):
            shown.sent.write(f"{name}-{number}\n")  # in one piece: what a print() consists of may mix anyway

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for number in range(20):
        shown.show(replace(SNAPSHOT, elapsed=float(number)))
    for thread in threads:
        thread.join()
    shown.close(SNAPSHOT)
    found = re.findall(r"([abcd]-\d+)(?=\n)", "\n".join(shown.sent.lines()))
    assert sorted(found) == sorted(f"{name}-{number}" for name in "abcd" for number in range(200))


def test_two_blocks_stand_above_each_other_and_what_ends_is_left_above(shown: Shown) -> None:
    other = threading.Event()
    shown.terminal.open(other)
    shown.show(replace(SNAPSHOT, title="the first"))
    shown.terminal.show(other, replace(SNAPSHOT, title="the second"))
    assert re.search(r"the first.*the second", shown.sent.writes[-1], re.DOTALL)
    shown.close(replace(SNAPSHOT, title="the first has ended"))
    assert shown.terminal.is_in_use
    ended = shown.sent.writes[-1]
    assert re.search(r"the first has ended.*the second", ended, re.DOTALL)
    shown.terminal.show(other, replace(SNAPSHOT, title="the second goes on"))
    assert "the first" not in shown.sent.writes[-1]
    shown.terminal.close(other, SNAPSHOT)
    assert shown.sent.writes[-1] == LEAVE
    assert "write" not in vars(shown.sent)


def test_a_terminal_that_goes_away_ends_nothing(environment: pytest.MonkeyPatch) -> None:
    class Gone(Sent):
        def write(self, text: str) -> int:
            if len(self.writes) >= 2:
                raise OSError(5, "Input/output error")
            return super().write(text)

    there = Shown(Gone())
    for number in range(3):
        there.show(replace(SNAPSHOT, elapsed=float(number)))
    with pytest.raises(OSError, match="Input/output error"):
        print("to whom?", file=there.sent)  # who prints is told, as ever
    there.close(SNAPSHOT)


def test_a_reader_that_has_left_ends_nothing(environment: pytest.MonkeyPatch) -> None:
    class Left(Sent):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    there = Shown(Left())
    there.show(SNAPSHOT)
    there.close(SNAPSHOT)


def test_a_slow_terminal_ends_nothing(environment: pytest.MonkeyPatch) -> None:
    class Slow(Sent):
        def write(self, text: str) -> int:
            if len(self.writes) == 2:
                self.writes.append("")
                raise BlockingIOError
            return super().write(text)

    there = Shown(Slow())
    for number in range(4):
        there.show(replace(SNAPSHOT, elapsed=float(number)))
    assert "3.0 s" in there.sent.writes[-1]
    there.close(SNAPSHOT)


def test_without_colours_there_are_none(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("NO_COLOR", "1")
    there = Shown(Sent())
    there.show(SNAPSHOT)
    assert not re.search(r"\x1b\[(?:[0-9;]*;)?(?:3|4|9|10)[0-9][;m]", there.sent.writes[1])
    there.close()


def test_a_terminal_without_unicode_gets_signs_that_it_has(environment: pytest.MonkeyPatch) -> None:
    class Plain(Sent):
        encoding = "ascii"

    there = Shown(Plain())
    there.show(replace(SNAPSHOT, title="漢字 " * 40))
    there.close()
    text = "".join(there.sent.writes)
    assert text.isascii()
    assert re.search(r"\?\? .*\.\.\.", text)
    assert "--" in text


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_dumb_terminal_gets_lines(environment: pytest.MonkeyPatch, term: str) -> None:
    assert isinstance(choose(Sent()), Terminal)
    environment.setenv("TERM", term)
    assert isinstance(choose(Sent()), Lines)


def test_what_is_no_terminal_gets_lines_whatever_the_environment_says(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("FORCE_COLOR", "1")
    environment.setenv("TTY_COMPATIBLE", "1")
    assert isinstance(choose(io.StringIO()), Lines)
    closed = io.StringIO()
    closed.close()
    assert not is_terminal(closed)
    assert not is_terminal(None)


def test_a_frame_takes_no_more_calls_than_milliseconds_allow(environment: pytest.MonkeyPatch) -> None:
    """On a screen of 200x60, when every line has changed."""
    environment.setenv("COLUMNS", "200")
    environment.setenv("LINES", "60")
    there = Shown(Sent())
    there.terminal._size = lambda: (200, 60)  # type: ignore[method-assign]
    took = []
    for number in range(30):
        tasks = tuple(one._replace(done=number, pace=number / 7) for one in SNAPSHOT.tasks)
        notes = tuple(f"{number} {other}" for other in range(40))
        snapshot = replace(SNAPSHOT, elapsed=float(number), tasks=tasks, notes=notes)
        took.append(calls_in(lambda snapshot=snapshot: there.show(snapshot)))
    assert sorted(took)[15] < 60_000  # of these, most are those of rich; it takes some seven milliseconds
    there.close()


PROGRAM = """
import logging, os, signal, sys, threading, time
logging.basicConfig(level=logging.INFO, format="log: %(message)s")
from runcue.console.snapshot import Snapshot, TaskCounts
from runcue.console.terminal import choose
number = 0
def snapshot():
    global number
    number += 1
    return Snapshot("the block", float(number), tasks=(TaskCounts("ask", number),), total=7)
terminal, owner = choose(sys.stderr), threading.Event()
terminal.open(owner)
def wait(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        terminal.show(owner, snapshot())
        time.sleep(0.05)
wait(0.2)
{body}
terminal.close(owner, snapshot())
"""


def program(body: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM.format(body=body)]


def test_output_that_goes_elsewhere_stays_out_of_the_terminal(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    body = "print('to the file', flush=True); logging.info('to the terminal'); wait(0.2)"
    with on_a_pty(*program(body), out=str(out)) as there:
        assert there.end() == 0
    assert out.read_text() == "to the file\n"
    assert b"to the file" not in there.bytes
    assert b"log: to the terminal" in there.bytes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_that_is_ended_gives_the_terminal_back(number: signal.Signals) -> None:
    with on_a_pty(*program("wait(60)")) as there:
        there.wait(b"0 of 7")
        assert not there.has_echo
        os.kill(there.program.pid, number)
        assert there.end() == -number
        assert there.bytes.endswith(b"\x1b[0m\x1b[?25h\r\n")
        assert there.has_echo


def test_a_signal_that_the_program_cares_for_is_left_to_it() -> None:
    body = "wait(60)"
    cares = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit(7));"
    with on_a_pty(sys.executable, "-c", cares + PROGRAM.format(body=body)) as there:
        there.wait(b"0 of 7")
        os.kill(there.program.pid, signal.SIGTERM)
        assert there.end() == 7
        assert there.has_echo  # at the exit of the interpreter


def test_handlers_of_signals_are_taken_back() -> None:
    body = "wait(0.1)"
    check = "print([signal.getsignal(n) == signal.SIG_DFL for n in (signal.SIGTERM, signal.SIGTSTP, signal.SIGHUP)])"
    with on_a_pty(sys.executable, "-c", PROGRAM.format(body=body) + check) as there:
        assert there.end() == 0
        assert there.bytes.endswith(b"[True, True, True]\r\n")


def test_a_second_interrupt_at_the_worst_time_leaves_the_terminal_clean() -> None:
    with on_a_pty(*program("wait(60)")) as there:
        there.wait(b"0 of 7")
        there.press(b"\x03")
        assert there.end() != 0
        assert there.has_echo
        assert b"\x1b[?25h" in there.bytes.rpartition(b"\x1b[?25l")[2]


def test_keys_that_are_pressed_leave_no_trace() -> None:
    with on_a_pty(*program("wait(1)")) as there:
        there.wait(b"0 of 7")
        there.press(b"keys that nobody asked for")
        assert there.end() == 0
        assert b"keys" not in there.bytes
        assert there.has_echo


def test_a_fork_prints_as_if_nothing_was() -> None:
    body = (
        "pid = os.fork() or [print('from the fork', flush=True), os._exit(0)]; os.waitpid(pid, 0); wait(0.1)"
    )
    with on_a_pty(*program(body)) as there:
        assert there.end() == 0
        assert b"from the fork\r\n" in there.bytes


def test_what_was_printed_last_is_there_however_the_process_ends() -> None:
    with on_a_pty(*program("print('the last words'); os._exit(3)")) as there:
        assert there.end() == 3
        assert b"the last words\r\n" in there.bytes


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    """A terminal, in the folder of the test."""
    if not tmux_is_there():
        pytest.skip("the block is NOT tested in a real terminal: tmux or bash is not installed")
    with in_tmux(tmp_path) as there:
        yield there


def run_in(tmux: Tmux, folder: Path, body: str) -> None:
    (folder / "program.py").write_text(PROGRAM.format(body=body))
    tmux.type(f"cd {folder}; {shlex.join([sys.executable, 'program.py'])}", "Enter")


def blocks(screen: list[str]) -> list[int]:
    """Where blocks begin, or what is left of some."""
    return [row for row, line in enumerate(screen) if "ETA" in line]


def test_prints_and_log_stand_above_the_block_in_their_order(tmux: Tmux, tmp_path: Path) -> None:
    body = """
for n in range(40):
    print("print", n)
    logging.info("log %s", n)
    if n % 7 == 0: wait(0.06)
print("a line that is much longer than the terminal is wide, " * 3)
wait(60)
"""
    run_in(tmux, tmp_path, body)
    screen = tmux.wait(r"^a line that is much longer")
    time.sleep(0.2)
    screen = tmux.screen(history=True)
    text = "\n".join(screen)
    said = re.findall(r"^(?:print|log: log) \d+$", text, re.MULTILINE)
    assert said == [line for n in range(40) for line in (f"print {n}", f"log: log {n}")]
    assert re.search(r"wide\n?,\s*\nthe block\n.*0%  ETA \?\n0 of 7 .*\nTASK .*\nask .*$", text)
    assert len(blocks(screen)) == 1
    tmux.type("C-c")
    tmux.wait(r"^KeyboardInterrupt")
    assert tmux.is_clean()


def test_a_terminal_that_is_resized_keeps_one_block(tmux: Tmux, tmp_path: Path) -> None:
    run_in(tmux, tmp_path, "print('above'); wait(60)")
    tmux.wait("0 of 7")
    for columns, rows in ((60, 20), (100, 30), (40, 10), (120, 24), (33, 24), (80, 24)):
        tmux.resize(columns, rows)
        time.sleep(0.4)
        screen = tmux.screen()
        assert len(blocks(screen)) == 1, "\n".join([f"{columns}x{rows}", *screen])
        assert all(len(line) < columns for line in screen[blocks(screen)[0] :])
    assert "above" in tmux.screen(history=True)


def test_it_can_be_stopped_and_goes_on_below(tmux: Tmux, tmp_path: Path) -> None:
    run_in(tmux, tmp_path, "wait(60)")
    tmux.wait("0 of 7")
    tmux.type("C-z")
    tmux.wait("Stopped")
    assert tmux.is_clean()
    tmux.type("bg", "Enter")
    time.sleep(0.4)  # in the background, it leaves the terminal to others
    assert tmux.is_clean()
    assert not blocks(tmux.screen())
    tmux.type("fg", "Enter")
    tmux.wait("0 of 7")
    assert len(blocks(tmux.screen())) == 1
    tmux.type("C-c")
    tmux.wait(r"^KeyboardInterrupt")
    assert tmux.is_clean()


def test_after_a_stop_that_nobody_could_hear_it_goes_on_below(tmux: Tmux, tmp_path: Path) -> None:
    # Between two frames: what is left of one that was on its way is drawn wherever the cursor is by then.
    run_in(tmux, tmp_path, "wait(0.3); os.kill(os.getpid(), signal.SIGSTOP); wait(60)")
    tmux.wait("Stopped")
    tmux.type("clear; echo 'what others ''write'", "Enter")
    tmux.wait("^what others write$")
    tmux.type("fg", "Enter")
    screen = tmux.wait("0 of 7")
    assert "what others write" in screen
    assert len(blocks(screen)) == 1
    tmux.type("C-c")
    tmux.wait(r"^KeyboardInterrupt")
    assert tmux.is_clean()
