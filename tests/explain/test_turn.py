"""When it is the turn of one work unit in a line: what `why()` says of it, beside what then happens."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiolimiter import AsyncLimiter

import runcue
from runcue._explain.turn import turn_of
from runcue._limits.service import Service
from runcue._limits.sliding_window import SlidingWindow
from runcue._model.phases import NEW, READY
from runcue._model.rate import parse_rate
from runcue._scheduling.core import Core
from runcue.abc import Limit
from runcue.testing import FakeExecutor
from tests.support.cores import CoreWorld
from tests.support.virtual_time import now, virtual


class Line:
    """A cue whose work units want one service, and when each of them has started.

    Args:
        lasts: Seconds that a handler takes.
        cue: Another cue.
        **service: The limits.
    """

    def __init__(self, lasts: float = 0.0, cue: runcue.Cue | None = None, **service: Any) -> None:
        self.cue = cue or runcue.Cue(run_in=FakeExecutor(lasts))
        self.cue.service("api", **service)
        self.started: dict[str, float] = {}
        self.task("ask", lasts)

    def task(self, name: str, lasts: float, **options: Any) -> None:
        @self.cue.task(name, **{"uses": "api", **options})
        async def ask(work: runcue.Work) -> None:
            self.started[work.id] = now()
            await asyncio.sleep(lasts)

    async def submit(self, number: int, task: str = "ask", **options: Any) -> list[runcue.WorkHandle]:
        return [await self.cue.submit(task, **options) for _ in range(number)]

    def told(self, handles: list[runcue.WorkHandle]) -> dict[str, float | None]:
        """At which instants it will be their turn, by what is said now."""
        etas = {
            handle: self.cue.why(handle).eta for handle in handles if handle.state is runcue.WorkState.PENDING
        }
        return {handle: None if eta is None else now() + eta for handle, eta in etas.items()}


@virtual
async def test_the_fourth_in_line_at_one_a_minute_is_told_three_minutes_and_the_twelfth_eleven() -> None:
    line = Line(rate="1/min")
    async with line.cue:
        handles = await line.submit(12)
        await asyncio.sleep(0.001)
        fourth, twelfth = line.cue.why(handles[3]), line.cue.why(handles[11])
        assert fourth.eta == pytest.approx(180, abs=0.01)
        assert twelfth.eta == pytest.approx(660, abs=0.01)
        assert fourth.next_token_at == pytest.approx(handles[0].work.created_at + 60, abs=0.01)
        assert fourth.turn is not None
        assert (fourth.turn.place, fourth.turn.at_least, fourth.turn.about) == (3, False, False)
        assert (
            f"{fourth.work.task} {fourth.work.id} is number 3 in line, and its turn comes in 3 min (at "
            in str(fourth)
        )
        assert (
            f"{twelfth.work.task} {twelfth.work.id} is number 11 in line, and its turn comes in 11 min (at "
            in str(twelfth)
        )
        assert " is next in line, and its turn comes in 60 s (at " in str(line.cue.why(handles[1]))


@pytest.mark.parametrize(
    "service",
    [
        {"rate": "1/min"},
        {"rate": "7/min"},
        {"rate": "1.5/sec"},
        {"rate": "6/min", "burst": 5},
        {"rate": "1/min", "burst": 1},
        {"rate": "6/min", "concurrent": 9},
    ],
    ids=str,
)
@pytest.mark.parametrize("after", [0.001, 31.0, 61.0])
@virtual
async def test_by_a_rate_each_one_starts_at_the_instant_that_it_was_told(
    service: dict[str, Any], after: float
) -> None:
    line = Line(**service)
    async with line.cue:
        handles = await line.submit(40)
        await asyncio.sleep(after)
        told = line.told(handles)
    assert told == {handle: pytest.approx(line.started[handle], abs=0.01) for handle in told}


@pytest.mark.parametrize(("slots", "lasts"), [(1, 7.0), (3, 10.0), (4, 0.5)])
@virtual
async def test_by_slots_it_is_told_from_how_long_the_task_has_taken_before(slots: int, lasts: float) -> None:
    line = Line(lasts, concurrent=slots)
    async with line.cue:
        handles = await line.submit(20)
        await asyncio.sleep(lasts / 2)
        why = line.cue.why(handles[-1])
        assert why.eta is None, "none has ended yet"
        assert (
            f"{why.work.task} {why.work.id} is number {20 - slots} in line, and when its turn comes is not known"
            in str(why)
        )
        await asyncio.sleep(lasts)
        told = line.told(handles)
        why = line.cue.why(handles[-1])
        assert why.turn is not None
        assert why.turn.about
        assert "its turn comes in about " in str(why)
    assert len(told) >= 20 - 2 * slots
    assert told == {handle: pytest.approx(line.started[handle], abs=0.01) for handle in told}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"rate": "12/min"}, {"rate": "6/min"}),
        ({"rate": "12/min"}, {"rate": "2/min"}),
        ({"concurrent": 5}, {"concurrent": 1}),
        ({"concurrent": 5}, {"concurrent": 3}),
    ],
    ids=str,
)
@virtual
async def test_when_less_is_allowed_by_now_than_has_started_each_one_starts_when_it_was_told(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    line = Line(4.0, **before)
    async with line.cue:
        handles = await line.submit(8)
        await asyncio.sleep(5)
        handles += await line.submit(12)
        await asyncio.sleep(2)
        line.cue.get_service("api").change(**after)
        await asyncio.sleep(0.5)
        told = {handle: when for handle, when in line.told(handles).items() if handle not in line.started}
    assert len(told) > 5
    assert told == {handle: pytest.approx(line.started[handle], abs=0.01) for handle in told}


@pytest.mark.parametrize("quick", [1, 50, 5_000])
@virtual
async def test_how_long_one_task_takes_tells_nothing_of_another_one_that_has_never_run(quick: int) -> None:
    line = Line(1.0, concurrent=1)
    line.task("quick", 0.01)
    async with line.cue:
        slow = await line.submit(3)
        last = (await line.submit(quick, "quick"))[-1]
        await asyncio.sleep(1.5)
        assert line.cue.why(slow[2]).eta == pytest.approx(0.5, abs=0.01)
        why = line.cue.why(last)
        assert why.turn is not None
        assert why.turn.place == quick + 1
        # Of the first of them it is known all the same: only those before it count.
        assert why.eta == (pytest.approx(1.5, abs=0.01) if quick == 1 else None)
        if quick > 1:
            assert "when its turn comes is not known" in str(why)
        await asyncio.sleep(1.7)
        # Now both have run.
        assert quick == 1 or line.cue.why(last).eta is not None
        await line.cue.stop(drain=False)


@virtual
async def test_with_rate_and_slots_the_slower_of_both_is_told() -> None:
    line = Line(10.0, rate="1/min", concurrent=1)
    slow = Line(100.0, rate="1/min", concurrent=1)
    async with line.cue, slow.cue:
        handles, others = await line.submit(6), await slow.submit(6)
        await asyncio.sleep(110)
        assert line.cue.why(handles[5]).eta == pytest.approx(300 - 110, abs=0.01)
        assert slow.cue.why(others[5]).eta == pytest.approx(500 - 110, abs=0.01)


@virtual
async def test_those_of_other_tasks_that_want_the_same_are_counted_and_those_that_cannot_come_are_not() -> (
    None
):
    line = Line(rate="1/min")
    line.cue.service("full", concurrent=1)
    line.cue.service("free", concurrent=5)
    line.task("other", 0.0)
    line.task("both", 0.0, uses=["api", "free"])
    line.task("stuck", 1e6, uses=["api", "full"])
    async with line.cue:
        await line.submit(1, "stuck")
        await asyncio.sleep(1)
        await line.submit(5, "stuck")
        await line.submit(1, "other")
        await line.submit(2, "both")
        [mine] = await line.submit(1)
        await asyncio.sleep(1)
        assert line.cue.why(mine).eta == pytest.approx(4 * 60 - 2, abs=0.01)
        [behind] = await line.submit(1, "both")
        assert line.cue.why(behind).eta == pytest.approx(5 * 60 - 2, abs=0.01)
        await line.cue.stop(drain=False, timeout=0)


@virtual
async def test_the_slowest_of_several_services_says_when() -> None:
    line = Line(rate="1/min")
    line.cue.service("slow", rate="1/hour")
    line.task("both", 0.0, uses=["api", "slow"])
    async with line.cue:
        both = await line.submit(4, "both")
        await asyncio.sleep(0.5)
        alone = await line.submit(3)
        await asyncio.sleep(0.5)
        assert line.cue.why(both[3]).eta == pytest.approx(3 * 3600 - 1, abs=0.01)
        assert line.cue.why(alone[2]).eta == pytest.approx(3 * 60 - 1, abs=0.01)


@virtual
async def test_who_has_left_the_line_is_not_counted() -> None:
    line = Line(rate="1/min")
    async with line.cue:
        handles = await line.submit(101)
        await asyncio.sleep(0.001)
        for handle in handles[1:100:2]:
            handle.cancel()
        why = line.cue.why(handles[100])
        assert why.turn is not None
        assert (why.turn.place, why.turn.at_least) == (50, False)
        assert why.eta == pytest.approx(50 * 60, abs=0.01)


@virtual
async def test_priorities_change_the_turn() -> None:
    line = Line(rate="1/min", cue=runcue.Cue(head_start=None))
    async with line.cue:
        await line.submit(1)
        await asyncio.sleep(0.001)
        lazy, usual, urgent = [await line.submit(3, priority=priority) for priority in (0.1, None, 0.9)]
        await asyncio.sleep(0.001)
        handles = [*lazy, *usual, *urgent]
        told = line.told(handles)
        assert [line.cue.why(handle).turn.place for handle in handles] == [7, 8, 9, 4, 5, 6, 1, 2, 3]  # type: ignore[union-attr]
    assert told == {handle: pytest.approx(line.started[handle], abs=0.01) for handle in handles}


@pytest.mark.rule(6)
@pytest.mark.parametrize("asked_after", [10.5, 20.5, 50.5])
@virtual
async def test_a_starved_one_is_told_what_passes_it_how_fast_and_when_its_turn_comes(
    asked_after: float,
) -> None:
    line = Line(1.0, concurrent=1)
    line.task("look", 1.0)
    async with line.cue:
        await line.submit(1, priority=1.0)
        [low] = await line.submit(1, priority=0.0)
        why: runcue.Why | None = None
        for second in range(70):
            await line.submit(1, "look" if second % 4 else "ask", priority=1.0)
            await asyncio.sleep(0.5)
            if second + 0.5 == asked_after:
                why, asked_at = line.cue.why(low), now()
            await asyncio.sleep(0.5)
    assert why is not None
    text = str(why)
    assert why.turn is not None
    passing = why.turn.passing
    assert passing is not None
    assert passing.number in (int(asked_after), int(asked_after) + 1)
    assert set(passing.tasks) == {"ask", "look"}
    assert f"{passing.number} of higher priority that came later (" in text
    assert re.search(r", one every 1 s", text)
    assert re.search(r"none that comes after \d\d:\d\d:\d\d can pass it \(head_start=60 s\)", text)
    assert asked_at + (why.eta or 0) == pytest.approx(line.started[low], abs=3)
    assert max(map(len, text.replace("tests/explain/", "").splitlines())) < 500


@pytest.mark.rule(6)
@virtual
async def test_who_can_be_passed_for_ever_is_told_so() -> None:
    line = Line(1.0, cue=runcue.Cue(head_start=None), concurrent=1)
    async with line.cue:
        await line.submit(1)
        [low] = await line.submit(1, priority=0.0)
        for _ in range(20):
            await line.submit(1)
            await asyncio.sleep(1.0)
        await line.submit(1)
        why = line.cue.why(low)
        assert why.eta is None
        assert "when its turn comes is not known" in str(why)
        assert "for as long as such come they go first (head_start=None)" in str(why)


@virtual
async def test_who_was_passed_now_and_then_is_told_what_that_takes() -> None:
    line = Line(1.0, concurrent=1)
    async with line.cue:
        await line.submit(30)
        [low] = await line.submit(1, priority=0.45)
        for _ in range(10):
            await asyncio.sleep(1.5)
            await line.submit(1, priority=1.0)
            await asyncio.sleep(1.5)
        why, asked_at = line.cue.why(low), now()
        for _ in range(30):
            await asyncio.sleep(1.5)
            await line.submit(1, priority=1.0)
            await asyncio.sleep(1.5)
    assert why.turn is not None
    assert why.turn.passing is not None
    assert asked_at + (why.eta or 0) == pytest.approx(line.started[low], abs=5)


@pytest.mark.rule(6)
@pytest.mark.parametrize("head_start", [60.0, None])
@virtual
async def test_a_burst_that_has_ended_is_not_taken_for_a_stream(head_start: float | None) -> None:
    line = Line(1.0, cue=runcue.Cue(run_in=FakeExecutor(1.0), head_start=head_start), concurrent=1)
    async with line.cue:
        low = (await line.submit(12, priority=0.0))[-1]
        await asyncio.sleep(3.5)
        await line.submit(5, priority=1.0)
        told: dict[float, runcue.Why] = {}
        for _ in range(12):
            await asyncio.sleep(0.55)
            told[now()] = line.cue.why(low)
    assert sum("passed it" in str(why) for why in told.values()) > 5
    for at, why in told.items():
        assert at + (why.eta or 0) == pytest.approx(line.started[low], abs=0.1)
        assert ("if no more come" in str(why)) == ("passed it" in str(why))
        assert "0 s," not in str(why).replace("10 s,", "").replace("20 s,", "")


@pytest.mark.rule(6)
@pytest.mark.parametrize("seed", range(3))
@virtual
async def test_who_is_passed_about_as_fast_as_there_is_room_gets_no_date_of_its_own(seed: int) -> None:
    """In real time nobody comes as exactly as handlers end."""
    luck = random.Random(seed)
    line = Line(1.0, cue=runcue.Cue(head_start=None), concurrent=1)
    async with line.cue:
        await line.submit(1)
        low = (await line.submit(5, priority=0.0))[-1]
        for _ in range(20):
            await line.submit(1, priority=1.0)
            await asyncio.sleep(luck.uniform(0.95, 1.15))
        await line.submit(1, priority=1.0)
        why = line.cue.why(low)
        assert why.eta is None
        assert "when its turn comes is not known, in about " in str(why)
        assert " if no more come; " in str(why)
        await line.cue.stop(drain=False)


@virtual
async def test_who_has_just_been_passed_is_told_no_numbers_of_zero() -> None:
    line = Line(0.01, concurrent=2)
    async with line.cue:
        await line.submit(2)
        low = (await line.submit(3, priority=0.0))[-1]
        await asyncio.sleep(0.001)
        await line.submit(4, priority=1.0)
        await asyncio.sleep(0.012)
        text = str(line.cue.why(low))
    assert "have just passed it" in text
    assert "last 0 s" not in text
    assert "every 0 s" not in text


@pytest.mark.parametrize("head_start", [15.0, None])
@virtual
async def test_of_one_and_of_all_the_same_is_told_where_others_pass(head_start: float | None) -> None:
    line = Line(rate="10/sec", burst=1, cue=runcue.Cue(head_start=head_start))

    @line.cue.task("again", uses="api", priority=1.0)
    async def again(work: runcue.Work) -> None:
        await line.cue.submit("again")

    async with line.cue:
        await line.submit(1, "again")
        await asyncio.sleep(0.05)
        [low] = await line.submit(1, priority=0.0)
        await asyncio.sleep(2.02)
        why, [group] = line.cue.why(low), line.cue.why().groups
        assert why.turn is not None
        assert why.turn.alone == pytest.approx(0.2, abs=0.1)
        if head_start is None:
            assert (why.eta, group.eta) == (None, None)
            assert ", done in about 0.1 s if no more come that go first. " in str(group)
        else:
            assert why.eta == group.eta == pytest.approx(13, abs=0.2)
            assert ", done in about 13 s, since others go first (0.1 s if no more come). " in str(group)
        await line.cue.stop(drain=False)


@pytest.mark.parametrize(
    "service", [{"rate": "7/min"}, {"rate": "6/min", "burst": 1}, {"rate": "6/min", "burst": 5}], ids=str
)
@virtual
async def test_all_are_done_by_a_rate_when_the_last_one_is_told_its_turn(service: dict[str, Any]) -> None:
    line = Line(**service)
    async with line.cue:
        handles = await line.submit(30)
        await asyncio.sleep(3.0)
        [group] = line.cue.why().groups
        assert group.eta == pytest.approx(line.cue.why(handles[-1]).eta, abs=0.01)
        await line.cue.stop(drain=False)


class Budget(Limit):
    """Says when to ask again, and nothing of who comes after that."""

    def room(self, now: float, work: runcue.Work) -> bool:
        return now >= 100

    def next_room(self, now: float, work: runcue.Work) -> float:
        return 100.0


@virtual
async def test_all_are_done_no_earlier_than_the_last_to_start_however_long_others_take() -> None:
    line = Line(rate="1/sec", burst=1)
    line.task("slow", 10.0)
    async with line.cue:
        await line.submit(1, "slow")
        await line.submit(1)
        await asyncio.sleep(12)
        await line.submit(1)  # takes the token that is there
        await line.submit(1, "slow")
        quick = await line.submit(4)
        await asyncio.sleep(0.5)
        [group] = line.cue.why().groups
        assert group.eta == pytest.approx(10.5, abs=0.01)
        await line.cue.drain()
    assert now() == pytest.approx(12.5 + 10.5, abs=0.01)
    assert quick[-1].work.started_at is not None


@pytest.mark.parametrize("of_another", [False, True])
@virtual
async def test_all_who_wait_for_a_slot_are_done_no_earlier_than_their_rate_lets_the_last_one_start(
    of_another: bool,
) -> None:
    line = Line(4.0, concurrent=1) if of_another else Line(4.0, concurrent=1, rate="1/min")
    line.cue.service("other", **({"rate": "1/min"} if of_another else {"concurrent": 5}))
    line.task("both", 4.0, uses=["api", "other"])
    async with line.cue:
        await line.submit(6, "both")
        await asyncio.sleep(62)
        [group] = line.cue.why().groups
        assert (group.verdict, group.count) == ("waiting for a slot", 4)
        assert " done in about 4 min" in str(group)
        await line.cue.drain()
    assert now() == pytest.approx(304, abs=0.01)


@virtual
async def test_a_limit_of_the_users_own_tells_of_the_first_in_line_alone() -> None:
    line = Line(limits=Budget(), concurrent=50)
    async with line.cue:
        first, second = await line.submit(2)
        await asyncio.sleep(1)
        one, other = line.cue.why(first), line.cue.why(second)
        assert one.eta == other.eta == pytest.approx(100 - now())
        assert f"{one.work.task} {one.work.id} is next in line, and its turn comes in 99 s (at " in str(one)
        assert f"{other.work.task} {other.work.id} is number 2 in line" in str(other)
        assert other.details.endswith(", at the earliest")


@virtual
async def test_a_limiter_of_others_tells_when_if_they_leave_it_alone() -> None:
    line = Line(limiter=AsyncLimiter(2, 60))
    async with line.cue:
        handles = await line.submit(8)
        await asyncio.sleep(0.001)
        told = line.told(handles)
    assert len(told) == 6
    assert told == {handle: pytest.approx(line.started[handle], abs=0.1) for handle in told}


@pytest.mark.parametrize(
    ("service", "told"),
    [
        ({"rate": "2/min", "burst": 1}, "2/min, burst 1 is used up, next start in 30.0 s"),
        ({"rate": "90 per 15 min", "burst": 1}, "90 per 15 min, burst 1 is used up, next start in 10.0 s"),
        ({"rate": "2/min"}, "2/min is used up, next start in 60.0 s"),
        ({"limiter": (2, 60)}, "its limiter (2 per 60 s) is used up, next start in 30.0 s"),
        ({"concurrent": 1}, "the only slot is in use"),
        ({"concurrent": 2}, "all 2 slots in use"),
    ],
    ids=str,
)
@virtual
async def test_a_limit_shows_its_numbers(service: dict[str, Any], told: str) -> None:
    if "limiter" in service:
        service = {"limiter": AsyncLimiter(*service["limiter"])}
    line = Line(20.0, **service)
    async with line.cue:
        last = (await line.submit(3))[-1]
        await asyncio.sleep(0.001)
        assert f"api: {told}" in str(line.cue.why(last))
        if "concurrent" not in service:
            assert told.partition(" is used up")[0] in str(line.cue.why())
        await line.cue.stop(drain=False, timeout=0)


@virtual
async def test_who_waits_for_another_is_told_the_turn_of_that_one() -> None:
    line = Line(rate="1/min")
    line.task("make", 0.0, key="same")
    line.task("use", 0.0, inputs=(there := runcue.Flag("there")))
    line.task("there", 0.0, outputs=there)
    async with line.cue:
        await line.submit(3)
        makers = await line.submit(2, "make")
        await line.submit(1, "there")
        [user] = await line.submit(1, "use")
        await asyncio.sleep(0.001)
        assert line.cue.why(makers[1]).eta == line.cue.why(makers[0]).eta == pytest.approx(180, abs=0.01)
        root = line.cue.why(user).root
        assert root is not None
        assert root.eta == pytest.approx(240, abs=0.01)
        await line.cue.stop(drain=False)


@virtual
async def test_who_is_about_to_start_is_told_no_turn_and_who_is_far_behind_is() -> None:
    line = Line(rate="1/min")
    async with line.cue:
        handles = await line.submit(10)
        assert line.cue.why(handles[0]).turn is None
        assert line.cue.why(handles[9]).eta == pytest.approx(540, abs=0.01)
        await line.cue.stop(drain=False)


def crowd(number: int, key: Callable[[int], float] | None) -> tuple[Core, list[Any]]:
    """A core with so many in one line: new ones, or with keys of their own."""
    world = CoreWorld(Service("api", (SlidingWindow(parse_rate("1/min")),)))
    task = world.task("task", "api")
    works = [world.add(task) for _ in range(number)]
    if key is not None:
        task.run_queue.new.clear()
        for work in works:
            world.core.enqueue(work, key(work._seq), 0.0)
    return world.core, works


@pytest.mark.parametrize("order", ["as they came", "ready", "shuffled", "the other way round"])
def test_in_a_line_of_a_hundred_thousand_a_turn_is_found_in_milliseconds_and_is_never_too_late(
    order: str,
) -> None:
    luck = random.Random(7)
    keys: dict[str, Callable[[int], float] | None] = {
        "as they came": None,
        "ready": float,
        "shuffled": lambda seq: luck.random(),
        "the other way round": lambda seq: -seq,
    }
    core, works = crowd(100_000, keys[order])
    ranked = sorted(works, key=lambda work: (work._order_key, work._seq))
    took = []
    for place in (0, 1, 2, 50, 900, 5_000, 50_000, 99_999):
        began = time.perf_counter()
        turn = turn_of(core, ranked[place], 0.0, 0.0, ())
        took.append(time.perf_counter() - began)
        assert turn is not None
        assert turn.eta == pytest.approx(60 * (turn.place - 1))
        assert turn.place <= place + 1
        assert turn.place == place + 1 or (turn.at_least and turn.place > 500)
        if order in ("as they came", "ready"):
            assert turn.place == place + 1
    # 0.1 to 2 ms where nothing else runs.
    assert sorted(took)[len(took) // 2] < 0.05


@pytest.mark.parametrize("phase", [NEW, READY])
def test_a_line_that_many_have_left_is_told_as_at_least(phase: int) -> None:
    core, works = crowd(10_000, None if phase == NEW else float)
    for work in works[1:9_000:2]:
        core.withdraw(work)
        core.settle(work, 3, None, 0.0, 0.0)
    turn = turn_of(core, works[9_999], 0.0, 0.0, ())
    assert turn is not None
    assert turn.place <= 5_500
    assert turn.at_least or turn.place == 5_500


@virtual
async def test_who_needs_no_service_stands_in_no_line() -> None:
    cue = runcue.Cue()
    cue.task("t")(lambda work: None)
    async with cue:
        why = cue.why(await cue.submit("t"))
        assert why.verdict == "about to start"
        assert "in line" not in str(why)
