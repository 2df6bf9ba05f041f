"""The live display: that it can be read at any size, does not flicker, and leaves the terminal as it was.

Layouts are looked at as lines of text, what is sent as bytes on a pseudo-terminal, and the whole in a real terminal
(tmux) with a shell around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import os
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import runcue
from runcue.testing import run
from runcue_sim._display.display import Display
from runcue_sim._display.layout import draw, in_a_line
from runcue_sim._display.picture import frame_as_svg
from runcue_sim._display.snapshot import Group, ServiceLine, Snapshot, group_blocked, is_available
from runcue_sim._display.snapshotter import Camera
from runcue_sim._display.text_cells import Pen, number, pace, time_left
from runcue_sim._records.eta import Eta
from runcue_sim._records.event_log import SIGNS, Entry, Trace
from runcue_sim._records.ledger import Ledger

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals on Windows", allow_module_level=True)

import fcntl
import pty
import termios

ROOT = Path(__file__).parents[2]
PATHS = os.pathsep.join([str(ROOT), str(ROOT / "sim")])
COMMAND = [sys.executable, "-m", "runcue_sim"]

SNAPSHOT = Snapshot(
    settings="pipeline: 50 to begin with, 5 at once, 60/min, 200 ms ±20%, 10% errors",
    elapsed=12.3,
    queued=45,
    running=12,
    completed=86,
    failed=5,
    on_purpose=3,
    skipped=2,
    blocked=22,
    total=150,
    eta=Eta(48.2, "from the rate of api"),
    pace=4.1,
    mean_pace=3.8,
    services=(
        ServiceLine("local", 6, 10, done=50, pace=4.1),
        ServiceLine("api", 5, 5, "60/min", 12, 60, 0.0, done=40, failed=5, pace=0.9),
        ServiceLine("storage", 1, 3, "100/15min", 0, 100, 612.0, done=38),
    ),
    groups=(
        Group(20, "load", "input item_#/transformed is not made"),
        Group(2, "transform", "input item_007/extracted is being made by another work"),
    ),
    entries=tuple(
        Entry(1.7e9 + count / 3, event, "transform", f"sim-{count}", f"item_{count:03} 203ms")
        for count, event in enumerate(itertools.islice(itertools.cycle(SIGNS), 60))
    ),
    warnings=("Stalled: nothing started or settled for 30 s",),
)


def plain(snapshot: Snapshot, width: int = 80, height: int = 24, encoding: str = "utf-8") -> list[str]:
    """The lines of a frame, without their styles."""
    return [line.plain for line in draw(snapshot, width, height, Pen(encoding))]


# --- Layout -----------------------------------------------------------------------------------------------------------


def test_eighty_columns_and_twenty_four_rows_show_everything() -> None:
    lines = plain(SNAPSHOT)
    text = "\n".join(lines)
    assert len(lines) <= 24
    assert max(map(cell_len, lines)) < 80
    assert "pipeline: 50 to begin with, 5 at once, 60/min, 200 ms ±20%, 10% errors" in text
    assert re.search(r"━+─+ +62% +ETA 48 s\n", text)
    assert re.search(r"93 of 150 +4.1/s now, 3.8/s in all +from the rate of api\n", text)
    assert re.search(r"QUEUED +RUNNING +COMPLETED +FAILED +SKIPPED +BLOCKED\n", text)
    assert re.search(r"\n +45 +12 +86 +5 \(3 asked for\) +2 +22\n", text)
    assert re.search(r"\n local +━+─+ +6/10 +- +50 +0 +4.1/s\n", text)
    assert re.search(r"\n api +━+ +5/5 +12 of 60/min +now +40 +5 +54/min\n", text)
    assert re.search(r"\n storage +━+─+ +1/3 +0 of 100/15min +10.2 m +38 +0 +0/s\n", text)
    assert re.search(r"\n +20 +load +input item_#/transformed is not made\n", text)
    assert "! Stalled: nothing started or settled for 30 s" in text
    assert re.search(r"\n \d\d:\d\d:\d\d\.\d{3} +\S \w+ +transform +sim-59 +item_059 203ms$", text)


def test_sixty_by_fifteen_is_enough_for_what_matters() -> None:
    lines = plain(SNAPSHOT, 60, 15)
    text = "\n".join(lines)
    assert len(lines) <= 15
    assert max(map(cell_len, lines)) < 60
    assert re.search(r"62% +ETA 48 s\n", text)
    assert re.search(r"\n +45 +12 +86 +5 \(3 asked\) +2 +22\n", text)
    assert re.search(r"\n storage +━+─+ +1/3 +0 of 100/15min +10.2 m", text)
    assert re.search(r"\n +20 +load +input item_#/transformed", text)


def test_more_room_is_used() -> None:
    wide, tall = plain(SNAPSHOT, 160, 24), plain(SNAPSHOT, 80, 60)
    assert max(map(len, wide)) > 150
    assert len(tall) == 60
    assert sum("item_" in line for line in tall) > 30


def test_little_room_leaves_panels_out_in_the_order_of_their_use() -> None:
    panels = ("ETA", "QUEUED", "SERVICE", "REASON", "! Stalled", "runcue-sim", "EVENT")
    shown = {
        height: [panel for panel in panels if panel in "\n".join(plain(SNAPSHOT, 80, height))]
        for height in range(1, 25)
    }
    for height, expected in ((24, 7), (14, 7), (13, 6), (11, 6), (10, 5), (9, 4), (7, 3), (3, 2), (1, 1)):
        assert shown[height] == list(panels[:expected])


def test_services_without_room_are_summed_up() -> None:
    many = replace(SNAPSHOT, services=tuple(ServiceLine(f"service-{n}", 2, 4) for n in range(40)))
    said = re.search(
        r"service-(\d+) .*\n and (\d+) more with (\d+) slots in use\n", "\n".join(plain(many, 60, 15))
    )
    assert said is not None
    last, hidden, busy = map(int, said.groups())
    assert (last + 1 + hidden, busy) == (40, 2 * hidden)
    assert last >= 2
    assert "service-39" in "\n".join(plain(many, 80, 70))


def test_long_names_are_shortened_and_numbers_are_not() -> None:
    long = "a_service_with_a_name_that_goes_on_and_on_and_says_nothing_at_all"
    snapshot = replace(
        SNAPSHOT,
        queued=123456789,
        completed=99999,
        failed=123456,
        on_purpose=123456,
        services=(
            ServiceLine(
                long, 120, 250, "90_000/min", 89999, 90000, 0.0, done=1234567, failed=99999, pace=1234.0
            ),
        ),
        groups=(Group(12345, long, long),),
        entries=(Entry(1.7e9, "invalidated", long, "01J9ZQ4X5W8Y7V6T3S2R1Q0P9N", long),),
    )
    for width in (60, 80, 100):
        lines = plain(snapshot, width, 24)
        assert max(map(cell_len, lines)) < width
        text = "\n".join(lines)
        assert re.search(r"\n +123M +12 +99999 +123k", text)
        assert re.search(r"\n a_serv\w*… +━+─+ +120/250 +89999 of 90", text)
        assert re.search(r"\n +12345 +a_serv\w*… +a_service_\w*…", text)
        assert re.search(r"\n 22:13:20.000 +⟳ invalidated +a_serv\w*… .*…$", text)
        if width >= 80:
            assert re.search(r" 89999 of 90_000/min +now +1.2M +99999", text)


def test_what_a_line_cannot_hold_does_not_get_there() -> None:
    nasty = "two\nlines \x1b[2J\x07 \u202ebackwards \u200bhidden 漢字 \udc80"
    snapshot = replace(
        SNAPSHOT,
        settings=nasty,
        services=(ServiceLine(nasty, 1, 2),),
        groups=(Group(1, nasty, nasty),),
        entries=(Entry(1.7e9, "started", nasty, nasty, nasty),),
        warnings=(nasty,),
    )
    text = "\n".join(plain(snapshot, 120, 40))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\udc80]", text)
    assert "漢字" in text
    assert "two lines" in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_without_unicode_gets_signs_that_it_has(encoding: str) -> None:
    for width, height in ((80, 24), (60, 15), (130, 50)):
        lines = plain(replace(SNAPSHOT, settings="漢字 … é"), width, height, encoding)
        text = "\n".join(lines)
        text.encode(encoding)
        assert max(map(len, lines)) < width
        assert re.search(r"#+\.+ +62% +ETA 48 s", text)
        assert re.search(r"local +#+\.+ +6/10", text)


TEXTS = st.text(max_size=40)
NUMBERS = st.integers(0, 10**10)


@given(
    data=st.data(),
    width=st.integers(1, 200),
    height=st.integers(1, 60),
    encoding=st.sampled_from(["utf-8", "ascii"]),
)
@settings(max_examples=60)
def test_no_line_is_ever_longer_than_the_terminal_is_wide(
    data: st.DataObject, width: int, height: int, encoding: str
) -> None:
    services = st.builds(
        ServiceLine,
        TEXTS,
        NUMBERS,
        st.none() | st.integers(1, 10**6),
        st.none() | TEXTS,
        st.none() | NUMBERS,
        NUMBERS,
        st.none() | st.floats(0, 1e9),
        st.booleans(),
        NUMBERS,
        NUMBERS,
        st.floats(0, 1e9),
    )
    entries = st.builds(Entry, st.floats(0, 4e9), st.sampled_from(sorted(SIGNS)), TEXTS, TEXTS, TEXTS)
    snapshot = Snapshot(
        data.draw(TEXTS),
        "real time",
        data.draw(st.floats(0, 1e9)),
        *(data.draw(NUMBERS) for _ in range(9)),
        data.draw(st.booleans()),
        Eta(data.draw(st.none() | st.floats(0, 1e12)), data.draw(TEXTS), data.draw(st.booleans())),
        services=tuple(data.draw(st.lists(services, max_size=8))),
        groups=tuple(data.draw(st.lists(st.builds(Group, NUMBERS, TEXTS, TEXTS), max_size=4))),
        entries=tuple(data.draw(st.lists(entries, max_size=6))),
        warnings=tuple(data.draw(st.lists(TEXTS, max_size=3))),
    )
    lines = plain(snapshot, width, height, encoding)
    assert len(lines) <= height
    assert max(map(cell_len, lines), default=0) < max(width, 2)


def test_numbers_and_times_are_short() -> None:
    assert [number(n) for n in (0, 99999, 100_000, 123_456, 1_999_999, 25_000_000, 10**9)] == [
        "0", "99999", "100k", "123k", "1.9M", "25.0M", "1.0G",
    ]  # fmt: skip
    assert [pace(p) for p in (0.0, 1e-6, 0.01, 0.96, 4.06, 123.4, 12345.6)] == [
        "0/s", "<1/h", "36/h", "1.0/s", "4.1/s", "123/s", "12346/s",
    ]  # fmt: skip
    assert [time_left(s) for s in (0, 0.04, 9.96, 99, 100, 3661, 90000, 200000, 1e8)] == [
        "0.0 s", "0.0 s", "10 s", "99 s", "1 min 40 s", "61 min 01 s", "25 h 00 min", "2 d 07 h", "1157 d",
    ]  # fmt: skip


def test_an_estimate_says_what_it_is_worth() -> None:
    assert re.search(
        r"62% +ETA \?\n.* no call has", "\n".join(plain(replace(SNAPSHOT, eta=Eta(None, "no call has"))))
    )
    more = plain(replace(SNAPSHOT, eta=Eta(125.0, "from 9 finished calls of api", at_least=True), more=True))
    assert re.search(r"62% +ETA at least 2 min 05 s\n 93 of at least 150", "\n".join(more))
    over = replace(SNAPSHOT, queued=0, running=0, completed=143, total=150)
    assert re.search(r"100% +done\n", "\n".join(plain(over)))


def test_a_bar_is_full_only_when_all_is_done() -> None:
    pen = Pen()
    assert pen.bar(10, [(0.001, "")]).plain == "━─────────"
    assert pen.bar(10, [(0.999, "")]).plain == "━━━━━━━━━─"
    assert pen.bar(10, [(0.5, ""), (0.5, "")]).plain == "━━━━━━━━━━"
    assert pen.bar(10, []).plain == "──────────"


def test_what_is_blocked_is_summed_up_by_what_differs_in_numbers_only() -> None:
    cue = runcue.Cue()
    cue.service("api", rate="1/day")
    works = []

    async def main() -> tuple[Group, ...]:
        cue.start()
        cue.task("call", uses="api")(lambda work: None)
        cue.task("read", inputs=lambda work: f"/nowhere/{work.params['n']}")(lambda work: None)
        works.extend([await cue.submit("read", params={"n": n}) for n in range(12)])
        works.extend([await cue.submit("call", params={"n": n}) for n in range(5)])
        await asyncio.sleep(0)
        groups = group_blocked(cue.debug_blocked())
        await cue.stop(drain=False)
        return groups

    [group] = run(main)  # and nothing of what only waits for the rate
    assert (group.count, group.task) == (12, "read")
    assert "/nowhere/#" in group.details


# --- Frames -----------------------------------------------------------------------------------------------------------


class Sent(io.StringIO):
    """What was sent to a terminal, write by write."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)


def terminal(sent: Sent, **options: object) -> Console:
    return Console(
        file=sent, force_terminal=True, width=80, height=24, color_system="standard", _environ={}, **options
    )  # type: ignore[arg-type]


async def test_only_lines_that_changed_are_sent() -> None:
    sent = Sent()
    shown = SNAPSHOT
    async with Display(lambda: shown, terminal(sent)):
        await asyncio.sleep(0.3)
        assert len(sent.writes) == 2  # the screen is taken, and drawn
        assert "\x1b[2J" in sent.writes[0]
        assert sent.writes[1].count("\x1b[K") == 24
        shown = replace(SNAPSHOT, queued=44)
        async with asyncio.timeout(10):
            while len(sent.writes) < 3:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        [_, _, change] = sent.writes
        assert change.count("\x1b[K") == 1
        assert " 44 " in re.sub(r"\x1b\[[0-9;]*m", "", change)
    assert sent.writes[3:] == ["\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"]


async def test_an_error_inside_leaves_the_terminal_as_it_was() -> None:
    sent = Sent()

    async def fails() -> None:
        async with Display(lambda: SNAPSHOT, terminal(sent)):
            await asyncio.sleep(0.05)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    assert sent.writes[-1].endswith("\x1b[?25h\x1b[?1049l")


async def test_a_terminal_that_goes_away_ends_nothing() -> None:
    class Gone(Sent):
        refused = False

        def write(self, text: str) -> int:
            if len(self.writes) >= 2:
                self.refused = True
                raise OSError(5, "Input/output error")
            return super().write(text)

    count = itertools.count()
    gone = Gone()
    async with Display(lambda: replace(SNAPSHOT, queued=next(count)), terminal(gone)):
        async with asyncio.timeout(10):
            while not gone.refused:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
    assert next(count) == 2


async def test_a_display_that_fails_gives_the_terminal_back_and_the_loop_tells() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    sent = Sent()

    def fails() -> Snapshot:
        raise ZeroDivisionError

    async with Display(fails, terminal(sent)):
        await asyncio.sleep(0.3)
        assert sent.writes[-1].endswith("\x1b[?1049l")
    assert [type(error) for error in told] == [ZeroDivisionError]


async def test_without_colours_there_are_none() -> None:
    for options in ({"no_color": True}, {"color_system": None}):
        sent = Sent()
        async with Display(
            lambda: SNAPSHOT,
            Console(file=sent, force_terminal=True, width=80, height=24, _environ={}, **options),
        ):
            await asyncio.sleep(0.05)
        assert not re.search(r"\x1b\[(?:[0-9;]*;)?(?:3|4|9|10)[0-9][;m]", sent.writes[1])


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "unknown"}])
async def test_a_dumb_terminal_gets_a_line_now_and_then(environment: dict[str, str]) -> None:
    sent = Sent()
    async with Display(
        lambda: SNAPSHOT, Console(file=sent, force_terminal=True, width=80, height=24, _environ=environment)
    ):
        await asyncio.sleep(0.05)
    assert sent.writes == [
        "12 s: 62%, 93 of 150, 45 queued, 12 running, 5 failed, 22 blocked, ETA 48 s (from the rate of api)\n"
    ]
    assert sent.writes == [in_a_line(SNAPSHOT, Pen()) + "\n"]


def test_a_frame_takes_less_than_ten_milliseconds() -> None:
    """Of the processor, on a screen of 200x60, when every line has changed."""
    sent = Sent()
    count = itertools.count(1)

    def source() -> Snapshot:
        n = next(count)
        services = tuple(replace(one, done=one.done + n, pace=n / 7) for one in SNAPSHOT.services)
        entries = SNAPSHOT.entries[n:] + SNAPSHOT.entries[:n]
        return replace(SNAPSHOT, elapsed=float(n), completed=n, services=services, entries=entries)

    display = Display(source, Console(file=sent, force_terminal=True, width=200, height=60, _environ={}))
    took = []
    for _ in range(30):
        began = time.process_time()
        display._draw()
        took.append(time.process_time() - began)
    assert sorted(took)[15] < 0.010
    display._terminal.give_back()


def test_on_a_virtual_clock_it_draws_when_it_is_told_and_not_more_often() -> None:
    sent = Sent()
    taken = itertools.count()

    async def main() -> None:
        display = Display(lambda: replace(SNAPSHOT, queued=next(taken)), terminal(sent))
        async with display:
            await asyncio.sleep(3600.0)
            assert sent.writes == []  # an hour has passed, and nothing was told
            until = time.monotonic() + 0.6
            while time.monotonic() < until:
                display.tick()
                await asyncio.sleep(1.0)
        display.tick()
        await asyncio.sleep(1.0)

    run(main)
    assert 2 <= next(taken) <= 7
    assert sent.writes[-1].endswith("\x1b[?1049l")


def test_rich_is_not_needed_to_know_whether_it_is_there() -> None:
    assert is_available()
    code = "import sys, runcue_sim._display.snapshot; sys.exit('rich' in sys.modules)"
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": PATHS}, check=True, timeout=30
    )


# --- A camera on a real run -------------------------------------------------------------------------------------------


def test_snapshots_of_a_run_agree_with_its_books() -> None:
    cue = runcue.Cue(id_prefix="w-")
    cue.service("api", rate="10/min", concurrent=2)
    cue.service("disk", concurrent=1)

    @cue.task("ask", uses="api")
    async def ask(work: runcue.Work) -> None:
        await asyncio.sleep(2.0)
        if work.params["n"] == 3:
            raise ZeroDivisionError

    @cue.task("store", uses="disk", inputs=lambda work: f"/nowhere/{work.params['n']}")
    async def store(work: runcue.Work) -> None: ...

    async def main() -> list[Snapshot]:
        trace = Trace()
        books = Ledger(cue, trace, on_purpose=lambda error: isinstance(error, ZeroDivisionError))
        camera = Camera(books, cue, settings="a try", expected=20, warnings=lambda: ["careful"])
        trace.takers.append(camera.add)
        snapshots = []
        async with cue:
            for n in range(15):
                await cue.submit("ask", params={"n": n})
            for n in range(3):
                await cue.submit("store", params={"n": n})
            for _ in range(3):
                await asyncio.sleep(5.0)
                camera._ask_at = 0.0
                snapshots.append(camera.take())
        return snapshots

    first, second, third = run(main)
    assert (first.queued, first.running, first.completed, first.failed, first.on_purpose) == (12, 2, 3, 1, 1)
    assert (first.settings, first.clock, first.elapsed, first.warnings) == (
        "a try",
        "virtual time",
        5.0,
        ("careful",),
    )
    assert (first.total, first.settled, first.blocked, [group.task for group in first.groups]) == (
        20,
        4,
        3,
        ["store"],
    )
    api, disk = first.services
    assert (api.in_use, api.slots, api.tokens, api.count, api.done, api.failed) == (2, 2, 4, 10, 3, 1)
    assert (disk.in_use, disk.slots, disk.rate, disk.done) == (0, 1, None, 0)
    assert first.entries[-1].event == "started"
    # 20 are expected and 18 submitted; the tenth start was at 8 s, so the last five of 15 may begin at 60 s.
    assert (first.eta.source, first.eta.at_least) == ("from the rate of api", True)
    assert first.elapsed + (first.eta.seconds or 0.0) == pytest.approx(66.0)
    assert third.elapsed + (third.eta.seconds or 0.0) == pytest.approx(66.0)
    assert (second.pace, third.services[0].pace) == pytest.approx((0.8, 0.6), abs=0.21)


def test_blocked_works_are_no_end_in_sight() -> None:
    cue = runcue.Cue()

    @cue.task("store", inputs="/nowhere/at/all")
    async def store(work: runcue.Work) -> None: ...

    async def main() -> list[Eta]:
        trace = Trace()
        camera = Camera(Ledger(cue, trace), cue)
        etas = []
        async with cue:
            await cue.submit("store")
            for _ in range(2):
                await asyncio.sleep(5.0)
                camera._ask_at = 0.0
                etas.append(camera.take().eta)
        return etas

    assert run(main) == [Eta(None, "no store has finished yet"), Eta(None, "what is left is blocked")]


# --- A pseudo-terminal ------------------------------------------------------------------------------------------------


class Pty:
    """A program on a terminal of its own, and all that it sends there."""

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 24, **environment: str) -> None:
        self.side, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.name = os.ttyname(theirs)
        self.reads: list[tuple[float, bytes]] = []
        # The first terminal that the leader of a session opens becomes that of the session, so that Ctrl-C reaches it.
        line = f"exec {shlex.join(arguments)} < {self.name} > {self.name} 2>&1"
        inherited = {
            key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")
        }
        self.program = subprocess.Popen(
            ["sh", "-c", line],
            env={
                **inherited,
                "TERM": "xterm-256color",
                "PYTHONPATH": PATHS,
                "PYTHONUTF8": "1",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.theirs = theirs

    def read(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Take in what is sent, for so long or until something is so."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not until():
            if select.select([self.side], [], [], min(left, 0.05))[0]:
                self.reads.append((time.monotonic(), os.read(self.side, 65536)))

    @property
    def bytes(self) -> bytes:
        return b"".join(text for _, text in self.reads)

    @property
    def has_echo(self) -> bool:
        return bool(termios.tcgetattr(self.theirs)[3] & termios.ECHO)

    def press(self, keys: bytes) -> None:
        os.write(self.side, keys)

    def end(self) -> int:
        self.read(10.0, lambda: self.program.poll() is not None)
        self.read(0.1)
        return self.program.wait(1)

    def close(self) -> None:
        self.program.kill()
        self.program.wait()
        os.close(self.side)
        os.close(self.theirs)


@contextlib.contextmanager
def on_a_pty(*arguments: str, **environment: str) -> Iterator[Pty]:
    there = Pty(*arguments, **environment)
    try:
        yield there
    finally:
        there.close()


def test_it_does_not_flicker_and_ctrl_c_leaves_the_terminal_clean() -> None:
    arguments = ["--scenario", "pipeline", "-n", "60", "-l", "300", "-r", "30/min", "--seed", "1", "--tui"]
    with on_a_pty(*COMMAND, *arguments) as there:
        there.read(15.0, lambda: b"ETA" in there.bytes)
        assert not there.has_echo
        there.reads.clear()
        there.press(b"keys that nobody asked for")
        there.read(2.0)
        # Reads that follow one another at once are one frame.
        times = [at for at, _ in there.reads]
        frames = [at for before, at in itertools.pairwise([0.0, *times]) if at - before > 0.03]
        assert 3 <= len(frames) <= 20  # in two seconds
        drawn = there.bytes
        assert not re.search(rb"\x1b\[[0-3]?J|\x1bc|\n", drawn)
        assert b"keys" not in drawn
        there.reads.clear()
        there.press(b"\x03")
        assert there.end() == 130
        after = there.bytes
        assert there.has_echo
    screen, _, rest = after.partition(b"\x1b[?1049l")
    assert screen.endswith(b"\x1b[0m\x1b[?7h\x1b[?25h")
    assert b"runcue-sim pipeline" in rest  # the summary
    assert b"\x1b" not in rest
    assert b"Traceback" not in rest


PROGRAM = """
import asyncio, sys
from runcue_sim._display.display import Display
from runcue_sim._display.snapshot import Snapshot

async def main():
    async with Display(lambda: Snapshot(total=7)):
        await asyncio.sleep(0.2)
        print("printed in the middle")
        print("and told", file=sys.stderr)
        await asyncio.sleep({seconds})
        raise SystemExit("the end")

asyncio.run(main())
"""


def test_what_is_printed_meanwhile_comes_afterwards() -> None:
    with on_a_pty(sys.executable, "-c", PROGRAM.format(seconds=0.2)) as there:
        assert there.end() == 1
        screen, _, rest = there.bytes.partition(b"\x1b[?1049l")
    assert b"0 of 7" in screen
    assert b"printed" not in screen
    assert rest.replace(b"\r", b"").split(b"\n")[:3] == [b"and told", b"printed in the middle", b"the end"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_that_is_ended_gives_the_terminal_back(number: signal.Signals) -> None:
    with on_a_pty(sys.executable, "-c", PROGRAM.format(seconds=60)) as there:
        there.read(10.0, lambda: b"0 of 7" in there.bytes)
        os.kill(there.program.pid, number)
        assert there.end() == -number
        assert there.bytes.endswith(b"\x1b[?1049l")
        assert there.has_echo


# --- A real terminal --------------------------------------------------------------------------------------------------


class Tmux:
    """A terminal with a shell in it, on a server of its own."""

    def __init__(self, folder: Path) -> None:
        # Not pytest's folder: the name of a socket must be short.
        self.folder = tempfile.mkdtemp(prefix="tmux-")
        self.environment = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": PATHS,
            "TMUX_TMPDIR": self.folder,
        }
        shell = "bash --norc --noprofile"
        self.call("-u", "-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", shell)

    def call(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-L", "runcue", *arguments],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout

    def type(self, *keys: str) -> None:
        self.call("send-keys", *keys)

    def screen(self) -> list[str]:
        return self.call("capture-pane", "-p").rstrip("\n").split("\n")

    def wait(self, pattern: str, seconds: float = 15.0) -> list[str]:
        end = time.monotonic() + seconds
        while not re.search(pattern, "\n".join(screen := self.screen()), re.MULTILINE):
            assert time.monotonic() < end, "\n".join([f"{pattern!r} is not in", *screen])
            time.sleep(0.05)
        return screen

    def is_clean(self) -> bool:
        """Whether a shell has the terminal back: no alternate screen, a cursor, lines that wrap, and keys that echo."""
        modes = self.call("display", "-p", "#{alternate_on} #{cursor_flag} #{wrap_flag}")
        self.type("clear; stty -a | grep -o -w -e '-\\?echo'; echo 'e''nd'", "Enter")
        return modes == "0 1 1\n" and "echo" in [line.strip() for line in self.wait("^end$")]


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    if shutil.which("tmux") is None or shutil.which("bash") is None:
        pytest.skip("the display is NOT tested in a real terminal: tmux or bash is not installed")
    there = Tmux(tmp_path)
    try:
        yield there
    finally:
        there.call("kill-server")
        shutil.rmtree(there.folder)


def test_it_is_readable_in_a_real_terminal_of_any_size_and_leaves_it_clean(tmux: Tmux) -> None:
    arguments = [
        "--scenario",
        "pipeline",
        "-n",
        "200",
        "-l",
        "400",
        "-r",
        "20/min",
        "-e",
        "0.2",
        "--seed",
        "1",
    ]
    tmux.type(shlex.join([*COMMAND, *arguments]), "Enter")
    screen = tmux.wait(r"[1-9]\d* of 600")
    text = "\n".join(screen)
    assert max(map(cell_len, screen)) < 80
    assert re.search(r"^ (runcue-sim +)?pipeline: .*200.*20/min", text, re.MULTILINE)
    assert re.search(r"━+─+ +\d+% +ETA", text)
    assert re.search(r"\d+ of 600 +\d.* now, .* in all +from the rate of api$", text, re.MULTILINE)
    assert re.search(r"QUEUED +RUNNING +COMPLETED +FAILED +SKIPPED +BLOCKED$", text, re.MULTILINE)
    for service, slots in (("local", 10), ("api", 5), ("storage", 3)):
        assert re.search(rf"^ {service} +[━─]+ +\d+/{slots} ", text, re.MULTILINE)
    assert re.search(r"^ api .* \d+ of 20/min ", text, re.MULTILINE)
    assert re.search(r"^ \d\d:\d\d:\d\d\.\d{3} +\S \w+ +\w+ +sim-\d+ +item_\d+", text, re.MULTILINE)

    tmux.call("resize-window", "-x", "100", "-y", "40")
    screen = tmux.wait(r"^.{86,99}$")
    assert max(map(cell_len, screen)) < 100
    tmux.wait(r"(?:^ \d\d:\d\d:\d\d.*\n){12}")
    tmux.call("resize-window", "-x", "60", "-y", "15")
    tmux.wait(r"^QUEUED +RUNNING +DONE|QUEUED +RUNNING +COMPLETED")
    time.sleep(0.2)
    screen = tmux.screen()
    assert max(map(cell_len, screen)) < 60
    assert len(screen) <= 15
    assert re.search(r"^ api +[━─]+ +\d+/5 +\d+ of 20/min", "\n".join(screen), re.MULTILINE)
    tmux.call("resize-window", "-x", "80", "-y", "24")

    tmux.type("C-z")
    tmux.wait("Stopped")
    assert tmux.is_clean()
    tmux.type("bg", "Enter")
    time.sleep(0.4)  # in the background, it leaves the terminal to others
    assert tmux.is_clean()
    tmux.type("fg", "Enter")
    tmux.wait("QUEUED +RUNNING")
    tmux.type("C-c")
    screen = tmux.wait(r"^\S*[$#] ?$")
    assert "Traceback" not in "\n".join(screen)
    assert tmux.is_clean()


# --- Its picture ------------------------------------------------------------------------------------------------------


def test_the_picture_of_the_documentation_refers_to_nothing_outside() -> None:
    picture = (ROOT / "docs" / "simulator-display.svg").read_text(encoding="utf-8")
    for svg in (picture, frame_as_svg(SNAPSHOT)):
        assert svg.startswith("<svg")
        assert "ETA" in svg
        assert re.findall(r"https?://[^\"')\s]+", svg) == ["http://www.w3.org/2000/svg"]
        assert "url(" not in svg.replace("url(#", "")
