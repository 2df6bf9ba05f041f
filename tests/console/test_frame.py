"""What a snapshot looks like: that it can be read at any size, with any names, in any encoding."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import runcue
from runcue.console.eta import Eta
from runcue.console.frame import frame, in_a_line, pace, time_left
from runcue.console.snapshot import Snapshot, TaskCounts
from runcue.console.waits import Waiting


def service(name: str, in_use: int = 0, slots: int | None = None, **limits: Any) -> runcue.ServiceStatus:
    unset = dict.fromkeys(("rate", "count", "period", "tokens", "next_token", "burst", "per_second"))
    return runcue.ServiceStatus(name, slots, in_use, **{**unset, **limits})


SNAPSHOT = Snapshot(
    title="pipeline: 50 to begin with, 5 at once, 60/min, 200 ms ±20%, 10% errors",
    elapsed=12.3,
    tasks=(
        TaskCounts("extract", 0, 6, 44, pace=3.1),
        TaskCounts("transform", 25, 5, 20, failed=5, pace=0.9),
        TaskCounts("load", 20, 1, 22, skipped=2),
    ),
    services=(
        service("local", 6, 10),
        service("api", 5, 5, rate="60/min", count=60, tokens=12, next_token=0.0),
        service("storage", 1, 3, rate="100/15min", count=100, tokens=0, next_token=612.0),
    ),
    waits=(
        Waiting(20, "load", "input item_#/transformed is not made"),
        Waiting(2, "transform", "input item_007/extracted is being made", about=True),
        Waiting(1, "extract", "a third one has no place"),
    ),
    notes=("Stalled: nothing started or settled for 30 s",),
    total=150,
    eta=Eta(48.2, "from the rate of api"),
    mean_pace=3.8,
)


def plain(snapshot: Snapshot, width: int = 80, height: int = 24, encoding: str = "utf-8") -> list[str]:
    """The lines of a frame, without their styles."""
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(file=file, width=width, height=height, color_system=None, _environ={})
    with console.capture() as drawn:
        console.print(frame(snapshot, width, height, encoding))
    return [line.rstrip() for line in drawn.get().splitlines()]


def test_eighty_columns_and_twenty_four_rows_show_everything() -> None:
    lines = plain(SNAPSHOT)
    text = "\n".join(lines)
    assert len(lines) <= 24
    assert max(map(cell_len, lines)) < 80
    assert lines[0] == "pipeline: 50 to begin with, 5 at once, 60/min, 200 ms ±20%, 10% errors"
    assert re.search(r"^━+╸? +62%  ETA 48 s$", lines[1])
    assert lines[2] == "93 of 150   12 s   4.0/s now, 3.8/s in all   from the rate of api"
    assert re.search(r"\nSERVICE +SLOTS +RATE LEFT +NEXT\n", text)
    assert re.search(r"\nlocal +6/10 +━+ +-\n", text)
    assert re.search(r"\napi +5/5 +━+ +12 of 60/min +now\n", text)
    assert re.search(r"\nstorage +1/3 +━+ +0 of 100/15min +10 min 12 s\n", text)
    assert re.search(r"\nTASK +PENDING +RUNNING +DONE +FAILED +SKIPPED +PACE\n", text)
    assert re.search(r"\nextract +0 +6 +44 +0 +0 +3.1/s\n", text)
    assert re.search(r"\ntransform +25 +5 +20 +5 +0 +54/min\n", text)
    assert re.search(r"\nload +20 +1 +22 +0 +2 +0/s\n", text)
    assert re.search(r"\nall 3 +45 +12 +86 +5 +2 +4.0/s\n", text)
    assert re.search(r"\nwaits +20  load +input item_#/transformed is not made\n", text)
    assert re.search(r"\n +~2  transform  input item_007/extracted is being made\n", text)
    assert lines[-1] == "Stalled: nothing started or settled for 30 s"
    assert "third" not in text


def test_sixty_by_fifteen_is_enough_for_what_matters() -> None:
    lines = plain(SNAPSHOT, 60, 15)
    text = "\n".join(lines)
    assert len(lines) <= 15
    assert max(map(cell_len, lines)) < 60
    assert re.search(r"62%  ETA 48 s\n", text)
    assert re.search(r"\nstorage +1/3 +0 of 100/15min +10 min 12 s\n", text)
    assert re.search(r"\nall 3 +45 +12 +86 +5 +2 +4.0/s\n", text)
    assert re.search(r"\nwaits +20  load +input item_#/transformed", text)


def test_forty_by_ten_is_still_of_use() -> None:
    lines = plain(SNAPSHOT, 40, 10)
    text = "\n".join(lines)
    assert len(lines) <= 10
    assert max(map(cell_len, lines)) < 40
    assert re.search(r"━+╸? +62%  ETA 48 s\n93 of 150   12 s   4.0/s now", text)
    assert re.search(r"\nlocal +6/10\n|\nlocal +6/10 +-", text)
    assert re.search(r"\nall 3 +45 +12 +86 +5$", text, re.MULTILINE)
    assert re.search(r"\nwaits +20  load +input", text)


def test_little_room_leaves_parts_out_in_the_order_of_their_use() -> None:
    parts = ("ETA", "4.0/s now", "TASK", "waits", "SERVICE", "Stalled", "pipeline")
    shown = {
        height: [part for part in parts if part in "\n".join(plain(SNAPSHOT, 80, height))]
        for height in range(1, 25)
    }
    assert shown[1] == ["ETA"]
    assert shown[2] == ["ETA", "4.0/s now"]
    assert shown[4] == ["ETA", "4.0/s now", "TASK"]
    assert shown[8] == ["ETA", "4.0/s now", "TASK", "waits", "SERVICE"]
    assert shown[10] == list(parts)
    assert all(len(plain(SNAPSHOT, 80, height)) <= height for height in shown)


def test_services_without_room_are_summed_up() -> None:
    many = replace(SNAPSHOT, services=tuple(service(f"service-{n}", 2, 4) for n in range(40)))
    said = re.search(r"service-(\d+) .*\nand (\d+) more +(\d+)\n", "\n".join(plain(many, 60, 15)))
    assert said is not None
    last, hidden, busy = map(int, said.groups())
    assert (last + 1 + hidden, busy) == (40, 2 * hidden)
    assert last >= 1
    assert "service-39" in "\n".join(plain(many, 80, 70))


def test_tasks_without_room_are_in_the_sum() -> None:
    many = replace(SNAPSHOT, tasks=tuple(TaskCounts(f"task-{n}", n) for n in range(40)))
    text = "\n".join(plain(many, 60, 15))
    assert "task-1 " in text
    assert "task-39" not in text
    assert re.search(r"\nall 40 +780 +0", text)
    assert "task-39" in "\n".join(plain(many, 80, 70))


def test_a_single_task_needs_no_sum() -> None:
    one = replace(SNAPSHOT, tasks=SNAPSHOT.tasks[1:2])
    assert not any(line.startswith("all") for line in plain(one))


def test_what_is_cancelled_has_a_column_if_something_was() -> None:
    assert "CANCELLED" not in "\n".join(plain(SNAPSHOT))
    ended = replace(SNAPSHOT, tasks=(TaskCounts("load", cancelled=7), TaskCounts("send", failed=1)))
    assert re.search(r"SKIPPED +CANCELLED +PACE\nload +0 +0 +0 +0 +0 +7 +0/s\n", "\n".join(plain(ended)))


def test_of_the_notes_the_last_ones_are_shown() -> None:
    noted = replace(SNAPSHOT, notes=tuple(f"note {n}" for n in range(20)))
    assert plain(noted, 80, 15)[-1] == "note 19"
    assert "note 0" not in plain(noted, 80, 15)
    assert "note 0" in plain(noted, 80, 60)


def test_long_names_are_shortened_and_numbers_are_not() -> None:
    long = "a_service_with_a_name_that_goes_on_and_on_and_says_nothing_at_all"
    limits = {"rate": "90_000/min", "count": 90000, "tokens": 89999, "next_token": 0.0}
    snapshot = replace(
        SNAPSHOT,
        tasks=(TaskCounts(long, 123456789, 12, 99999, 123456),),
        services=(service(long, 120, 250, **limits),),
        waits=(Waiting(12345, long, long),),
        notes=(long * 3,),
    )
    for width in (60, 80, 100):
        lines = plain(snapshot, width, 24)
        assert max(map(cell_len, lines)) < width
        text = "\n".join(lines)
        assert re.search(r"\na_serv\w*…? +120/250 +(━+╸? +)?89999 of 90_000/min +now\n", text)
        assert re.search(r"\na_serv\w*…? +123456789 +12 +99999 +123456", text)
        assert re.search(r"\nwaits +12345 +a_serv\w*… +a_service_\w*…?\n", text)
        assert lines[-1].endswith("…")


def test_what_a_line_cannot_hold_does_not_get_there() -> None:
    nasty = "two\nlines \x1b[2J\x07 \u202ebackwards \u200bhidden [red]漢字[/] :smile: \udc80"
    snapshot = replace(
        SNAPSHOT,
        title=nasty,
        tasks=(TaskCounts(nasty),),
        services=(service(nasty, 1, 2),),
        waits=(Waiting(1, nasty, nasty),),
        notes=(nasty,),
    )
    text = "\n".join(plain(snapshot, 160, 40))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\udc80]", text)
    assert text.count("two lines  [2J   backwards  hidden [red]漢字[/] :smile:") >= 4
    assert not re.search(r"[\x00-\x1f]", in_a_line(snapshot))


def test_wide_characters_keep_the_columns_straight() -> None:
    lines = plain(replace(SNAPSHOT, tasks=(TaskCounts("漢字漢字"), TaskCounts("load"))))
    place = next(number for number, line in enumerate(lines) if line.startswith("TASK"))
    assert len({cell_len(line) for line in lines[place : place + 4]}) == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_without_unicode_gets_signs_that_it_has(encoding: str) -> None:
    for width, height in ((80, 24), (60, 15), (130, 50), (40, 10)):
        lines = plain(replace(SNAPSHOT, title="漢字 é " * 40), width, height, encoding)
        text = "\n".join(lines)
        text.encode(encoding)
        assert max(map(len, lines)) < width
        assert re.search(r"-+ +62%  ETA 48 s", text)
        assert lines[0].startswith("?? ")
        assert lines[0].endswith("...")


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
        service,
        TEXTS,
        NUMBERS,
        st.none() | st.integers(1, 10**6),
        rate=st.none() | TEXTS,
        tokens=st.none() | NUMBERS,
        next_token=st.none() | st.floats(0, 1e9),
        burst=st.none() | st.floats(1, 1e6),
    )
    counts = st.builds(TaskCounts, TEXTS, *[NUMBERS] * 6, st.floats(0, 1e9))
    snapshot = Snapshot(
        title=data.draw(TEXTS),
        elapsed=data.draw(st.floats(0, 1e9)),
        virtual=data.draw(st.booleans()),
        tasks=tuple(data.draw(st.lists(counts, max_size=8))),
        services=tuple(data.draw(st.lists(services, max_size=8))),
        waits=tuple(data.draw(st.lists(st.builds(Waiting, NUMBERS, TEXTS, TEXTS), max_size=4))),
        notes=tuple(data.draw(st.lists(TEXTS, max_size=3))),
        total=data.draw(NUMBERS),
        eta=Eta(data.draw(st.none() | st.floats(0, 1e12)), data.draw(TEXTS), data.draw(st.booleans())),
        mean_pace=data.draw(st.floats(0, 1e9)),
        silent=data.draw(st.floats(0, 1e5)),
    )
    lines = plain(snapshot, width, height, encoding)
    assert len(lines) <= height
    assert max(map(cell_len, lines), default=0) < max(width, 2)
    assert in_a_line(snapshot, encoding).isprintable()


def test_paces_and_times_are_short() -> None:
    assert [pace(p) for p in (0.0, 1e-6, 0.01, 0.96, 4.06, 123.4, 12345.6)] == [
        "0/s", "<1/h", "36/h", "1.0/s", "4.1/s", "123/s", "12346/s",
    ]  # fmt: skip
    assert [time_left(s) for s in (0, 0.04, 9.96, 99, 100, 3661, 90000, 200000)] == [
        "0.0 s", "0.0 s", "10 s", "99 s", "1 min 40 s", "61 min 01 s", "25 h 00 min", "2 d 07 h",
    ]  # fmt: skip


def test_an_estimate_says_what_it_is_worth() -> None:
    unknown = "\n".join(plain(replace(SNAPSHOT, eta=Eta(None, "no call has finished yet"))))
    assert re.search(r"62%  ETA \?\n.* no call has finished yet\n", unknown)
    more = plain(replace(SNAPSHOT, eta=Eta(125.0, "from 9 finished calls of api", at_least=True)))
    assert re.search(r"62%  ETA at least 2 min 05 s\n", "\n".join(more))
    over = replace(SNAPSHOT, tasks=(TaskCounts("load", done=150),))
    assert re.search(r"100%  done\n150 of 150   12 s   0/s now, 3.8/s in all\n", "\n".join(plain(over)))
    nothing = "\n".join(plain(Snapshot()))
    assert re.search(r"0%  ETA \?\n0 of 0 ", nothing)


def test_a_loop_that_does_not_answer_is_shown_as_that() -> None:
    frozen = replace(SNAPSHOT, silent=3.4)
    assert "! the event loop has not answered for 3 s" in plain(frozen)
    assert "! the event loop has not answered for 3 s" in plain(frozen, 60, 3)
    assert in_a_line(frozen).endswith(", the event loop has not answered for 3 s")


def test_virtual_time_is_called_so() -> None:
    assert "93 of 150   12 s of virtual time   " in "\n".join(plain(replace(SNAPSHOT, virtual=True)))


def test_services_without_a_rate_need_no_columns_for_it() -> None:
    slots = replace(SNAPSHOT, services=(service("local", 6, 10), service("any", 3)))
    text = "\n".join(plain(slots))
    assert re.search(r"SERVICE +SLOTS *\nlocal +6/10 +━+\nany +3/- *\n", text)
    own = replace(SNAPSHOT, services=(service("api", 1, limits=("TokenBudget", "Quiet hours")),))
    assert re.search(r"\napi +1/- +TokenBudget, Quiet hours *\n", "\n".join(plain(own)))
    bucket = replace(SNAPSHOT, services=(service("api", 1, burst=5.0, next_token=3.0),))
    assert re.search(r"\napi +1/- +bucket +3.0 s\n", "\n".join(plain(bucket)))


def test_budgets_keys_and_what_holds_everything_up_are_shown() -> None:
    tokens = runcue.BudgetStatus(88_200, 90_000, 60.0, 0)
    usd = runcue.BudgetStatus(Decimal("2.6"), Decimal("2.5"), 86_400.0, Decimal("0.25"))
    services = (
        service(
            "api",
            3,
            5,
            rate="500/min",
            count=500,
            tokens=12,
            next_token=0.0,
            budgets={"tokens": tokens, "usd": usd},
        ),
        service("bank", 1, 2, paused=math.inf),
        service("mail", 1, 2, paused=12.0),
        service("chat", 1, 2, throttled=8.5),
        service("maps", 1, 2, broken=0.0),
        service("users", 7, keys=120),
    )
    text = "\n".join(plain(replace(SNAPSHOT, services=services), 110))
    assert re.search(r"SERVICE +SLOTS +RATE LEFT +BUDGET LEFT +NEXT\n", text)
    assert re.search(r"\napi +3/5 +━\S* +12 of 500/min +2% tokens, -14% usd +now\n", text)
    assert re.search(r"\nbank +1/2 +━\S* +- +- +paused\n", text)
    assert re.search(r"\nmail .* paused 12 s\n", text)
    assert re.search(r"\nchat .* refused 8.5 s\n", text)
    assert re.search(r"\nmaps .* broken\n", text)
    assert re.search(r"\nusers, 120 keys +7/- ", text)
    assert re.search(
        r"\nbank +1/2 +━\S* +paused\n", "\n".join(plain(replace(SNAPSHOT, services=services[1:2])))
    )


def test_a_line_says_what_nothing_of_starts_and_for_how_long() -> None:
    services = (
        service("chat", 0, 2, throttled=38.2, broken=90.0),
        service("maps", 1, 2, broken=0.0),
        service("files", 1, 2),
        service("mail", 0, 2, paused=math.inf),
        service("fax", 0, 2, paused=60.0),
        service("post", 0, 2, paused=60.0),
    )
    line = in_a_line(replace(SNAPSHOT, services=services))
    assert line.endswith(
        ", chat is refused by its server for another 38 s, maps is held by its breaker, fax is paused for another 60 s"
    )
    assert " is " not in in_a_line(
        replace(SNAPSHOT, services=services, tasks=(TaskCounts("load", done=150),))
    )


def test_in_a_line() -> None:
    assert in_a_line(replace(SNAPSHOT, title="nightly")) == (
        "nightly: 12 s: 62%, 93 of 150, 45 pending, 12 running, 5 failed, 3.8/s in all, ETA 48 s (from the rate of api)"
    )
