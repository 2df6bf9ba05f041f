"""What a rate, a burst and a limiter promise, as the handlers themselves see it: rules 7, 8 and 11."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

import aiolimiter
import pytest

import runcue
from runcue.abc import Clock, Deliver, TimerHandle
from runcue.executors.threads import ThreadExecutor
from runcue.testing import FakeExecutor, Recorder, VirtualTimeLoop
from tests.support.virtual_time import now, virtual

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


def register(
    cue: runcue.Cue, *, sync: bool, uses: Any, name: str = "task", lasts: float = 0.0
) -> list[float]:
    """Registers a task that notes the instants at which its handler was entered."""
    entered: list[float] = []

    if sync:  # FakeExecutor enters a handler when it is handed over, and calls it later

        @cue.task(name, uses=uses)
        def handler(work: runcue.Work) -> None: ...

        cue.on_start(lambda work: entered.append(now()) if work.task == name else None)
    else:

        @cue.task(name, uses=uses)
        async def async_handler(work: runcue.Work) -> None:
            entered.append(now())
            if lasts:
                await asyncio.sleep(lasts)

    return entered


def check_windows(instants: list[float], count: int, period: float) -> None:
    """No window of that length, wherever it starts, sees more than `count` of them; checked in both roundings."""
    for first, one_over in zip(instants, instants[count:], strict=False):
        overfull = f"{count + 1} within {one_over - first!r} s from {first!r} on"
        assert one_over - first >= period, overfull
        assert one_over >= first + period, overfull


both_kinds = pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])


@pytest.mark.rule(7)
@both_kinds
@pytest.mark.parametrize(
    ("rate", "count", "period"),
    [
        ("60/min", 60, MINUTE),
        ("10/sec", 10, 1.0),
        ("3/s", 3, 1.0),
        ("1.5 / sec", 3, 2.0),
        ("7/sec", 7, 1.0),
        ("100/15min", 100, 15 * MINUTE),
        ("1000/hour", 1000, HOUR),
        ("0.1/min", 1, 10 * MINUTE),
        ("50 per day", 50, DAY),
        ("0.7/sec", 1, 1 / 0.7),
    ],
)
@virtual
async def test_a_backlog_uses_all_of_a_rate_and_never_more_in_any_window(
    rate: str, count: int, period: float, sync: bool
) -> None:
    cue = runcue.Cue(run_in=FakeExecutor())
    cue.service("api", rate=rate)
    entered = register(cue, sync=sync, uses="api")
    async with cue:
        for _ in range(3 * count + 1):
            await cue.submit("task")
    assert len(entered) == 3 * count + 1
    check_windows(entered, count, period)
    # All that is allowed is used: at once what a window holds, and the next as soon as it has passed.
    assert entered[count - 1] == 0.0
    assert entered[-1] == pytest.approx(3 * period)


@pytest.mark.rule(7)
@both_kinds
@pytest.mark.parametrize("seed", range(5))
@virtual
async def test_no_window_is_overfull_however_irregularly_work_units_come(seed: int, sync: bool) -> None:
    import random

    luck = random.Random(seed)
    cue = runcue.Cue(run_in=FakeExecutor(lambda work: luck.choice([0.0, 0.1, 3.0])))
    cue.service("api", rate="7/10sec", concurrent=luck.choice([2, None]))
    entered = register(cue, sync=sync, uses="api", lasts=luck.choice([0.0, 0.3]))
    async with cue:
        for _ in range(150):
            await cue.submit("task")
            if luck.random() < 0.5:
                await asyncio.sleep(luck.choice([0.0, 1 / 3, 0.7, 5.1, 10.0, 29.9]))
    assert len(entered) == 150
    check_windows(entered, 7, 10.0)


@pytest.mark.rule(7)
@both_kinds
@virtual
async def test_a_token_bucket_would_let_nearly_twice_as_many_through_the_second_minute_does_not(
    sync: bool,
) -> None:
    """aiolimiter#298: 60/min sees 119 starts within a minute there."""
    cue = runcue.Cue(run_in=FakeExecutor())
    cue.service("api", rate="60/min")
    entered = register(cue, sync=sync, uses="api")
    async with cue:
        await asyncio.sleep(59.0)
        for _ in range(200):
            await cue.submit("task")
    assert [entered.count(59.0 + MINUTE * number) for number in range(4)] == [60, 60, 60, 20]


class EarlyClock:
    """A clock whose timers fire up to a millisecond early, as uvloop's do."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._clock = loop.runcue_clock
        self.monotonic, self.time = self._clock.monotonic, self._clock.time
        self.hold, self.release = self._clock.hold, self._clock.release
        self.fired = 0

    def call_at(
        self, when: float, callback: Callable[[], object], *, passive: bool, context: Context
    ) -> TimerHandle:
        def fire() -> None:
            self.fired += 1
            callback()

        now = self.monotonic()
        early = when - 0.001 if when - 0.001 > now else (now + when) / 2 if when - now > 1e-6 else when
        return self._clock.call_at(early, fire, passive=passive, context=context)


@pytest.mark.rule(7)
@both_kinds
def test_a_token_comes_back_when_the_clock_says_so_not_when_a_timer_fires(sync: bool) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.runcue_clock = early = EarlyClock(loop)
        cue = runcue.Cue(run_in=FakeExecutor())
        cue.service("api", rate="3/min")
        entered = register(cue, sync=sync, uses="api")
        async with cue:
            for _ in range(30):
                await cue.submit("task")
        check_windows(entered, 3, MINUTE)
        assert entered[-1] == pytest.approx(9 * MINUTE, abs=0.01)
        return early.fired

    fired = runcue.testing.run(main)
    assert fired < 9 * 40, "an early timer is armed again; it does not spin"


@pytest.mark.rule(2, 7)
@both_kinds
@pytest.mark.parametrize(
    "limits", [{"rate": "3/min"}, {"rate": "3/min", "burst": 3}], ids=["window", "burst"]
)
@virtual
async def test_of_those_whose_async_gates_answer_at_once_only_as_many_start_as_there_are_tokens(
    limits: dict[str, Any], sync: bool
) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(), recheck=False)
    cue.service("api", concurrent=10, **limits)
    entered = register(cue, sync=sync, uses="api")

    @cue.is_ready
    async def is_ready(work: runcue.Work) -> bool:
        await asyncio.sleep(1.0)  # a gate holds a slot, not a token: ten are asked for three tokens
        return True

    async with cue:
        for _ in range(20):
            await cue.submit("task")
    assert len(entered) == 20
    if "burst" in limits:
        check_burst(entered, 3, 0.05)
    else:
        check_windows(entered, 3, MINUTE)


@pytest.mark.rule(7)
@virtual
async def test_rates_of_several_services_hold_together() -> None:
    cue = runcue.Cue()
    cue.service("second", rate="2/sec")
    cue.service("minute", rate="30/min")
    cue.service("tier", rate="5/10sec", concurrent=3)
    both = register(cue, sync=False, uses=["second", "minute"], name="both")
    all_three = register(cue, sync=False, uses=["tier", "minute", "second"], name="all", lasts=1.5)
    async with cue:
        for _ in range(50):
            await cue.submit("both")
            await cue.submit("all")
    together = sorted(both + all_three)
    assert len(together) == 100
    check_windows(together, 2, 1.0)
    check_windows(together, 30, MINUTE)
    check_windows(all_three, 5, 10.0)


@pytest.mark.rule(7)
@both_kinds
@virtual
async def test_tasks_that_share_a_service_share_its_rate(sync: bool) -> None:
    cue = runcue.Cue(run_in=FakeExecutor())
    cue.service("api", rate="5/min")
    one = register(cue, sync=sync, uses="api", name="one")
    other = register(cue, sync=not sync, uses="api", name="other")
    async with cue:
        for _ in range(20):
            await cue.submit("one")
            await cue.submit("other")
    check_windows(sorted(one + other), 5, MINUTE)
    assert max(one + other) == 7 * MINUTE


@pytest.mark.rule(7)
@virtual
async def test_skipped_and_unready_work_units_cost_no_token() -> None:
    cue = runcue.Cue(recheck=False)
    cue.service("api", rate="1/day")
    entered = register(cue, sync=False, uses="api")
    cue.is_ready(lambda work: work.params["number"] % 3 > 0)
    cue.is_stale(lambda work: work.params["number"] % 3 > 1)
    heard = Recorder(cue)
    async with cue:
        for number in range(6):
            await cue.submit("task", params={"number": number})
    assert heard.counts() == {"skip": 2, "start": 2, "complete": 2, "cancel": 2}
    assert entered == [0.0, DAY]


def check_burst(instants: list[float], burst: float, per_second: float) -> None:
    """In any stretch of time at most burst + elapsed * rate."""
    for index, first in enumerate(instants):
        for count, last in enumerate(instants[index:], start=1):
            allowed = burst + (last - first) * per_second
            assert count <= allowed + 1e-6, (
                f"{count} within {last - first} s from {first} on, {allowed} allowed"
            )


@pytest.mark.rule(7)
@both_kinds
@pytest.mark.parametrize(
    ("rate", "burst", "per_second"),
    [("60/min", 10, 1.0), ("7/sec", 1, 7.0), ("7/sec", 3, 7.0), ("1.5/sec", 4, 1.5)],
)
@virtual
async def test_burst_is_a_bucket_that_refills_continuously(
    rate: str, burst: int, per_second: float, sync: bool
) -> None:
    cue = runcue.Cue(run_in=FakeExecutor())
    cue.service("api", rate=rate, burst=burst)
    entered = register(cue, sync=sync, uses="api")
    async with cue:
        for _ in range(60):
            await cue.submit("task")
    assert entered[burst - 1] == 0.0 < entered[burst], "the burst at once, and then one by one"
    check_burst(entered, burst, per_second)
    assert entered[-1] == pytest.approx((60 - burst) / per_second, rel=0.01), (
        "and no rate is lost to oversleeping"
    )


@pytest.mark.rule(7)
@virtual
async def test_a_bucket_that_had_time_to_fill_holds_its_burst_and_no_more() -> None:
    cue = runcue.Cue()
    cue.service("api", rate="1/sec", burst=5)
    entered = register(cue, sync=False, uses="api")
    async with cue:
        await asyncio.sleep(HOUR)
        for _ in range(8):
            await cue.submit("task")
        await asyncio.sleep(2.5)
        for _ in range(8):
            await cue.submit("task")
    assert entered[:8] == pytest.approx([HOUR] * 5 + [HOUR + 1, HOUR + 2, HOUR + 3], abs=0.001)
    check_burst(entered, 5, 1.0)


@pytest.mark.rule(7)
@both_kinds
@virtual
async def test_a_limiter_of_ones_own_stands_in_for_a_rate(sync: bool) -> None:
    cue = runcue.Cue(run_in=FakeExecutor())
    cue.service("api", limiter=aiolimiter.AsyncLimiter(4, 8))
    entered = register(cue, sync=sync, uses="api")
    async with cue:
        for _ in range(20):
            await cue.submit("task")
    check_burst(entered, 4, 0.5)
    assert entered[-1] == pytest.approx(32.0, rel=0.01)


@pytest.mark.rule(7)
@virtual
async def test_a_limiter_can_be_shared_with_code_outside_the_cue() -> None:
    limiter = aiolimiter.AsyncLimiter(3, 3)
    cue = runcue.Cue()
    cue.service("api", limiter=limiter)
    entered = register(cue, sync=False, uses="api")
    outside: list[float] = []

    async def other_code() -> None:
        for _ in range(20):
            async with limiter:
                outside.append(now())
            await asyncio.sleep(0.1)

    async with cue:
        other = asyncio.create_task(other_code())
        for _ in range(20):
            await cue.submit("task")
        await other
    assert (len(entered), len(outside)) == (20, 20)
    check_burst(sorted(entered + outside), 3, 1.0)


@pytest.mark.rule(7)
@virtual
async def test_two_cues_can_share_a_limiter() -> None:
    limiter = aiolimiter.AsyncLimiter(2, 10)
    loop: Any = asyncio.get_running_loop()
    run_once, turns = loop._run_once, 0

    def counted() -> None:
        nonlocal turns
        turns += 1
        run_once()

    loop._run_once = counted
    cues = [runcue.Cue(), runcue.Cue()]
    entered = []
    for cue in cues:
        cue.service("api", limiter=limiter)
        entered.append(register(cue, sync=False, uses="api"))
    async with cues[0], cues[1]:
        for _ in range(10):
            for cue in cues:
                await cue.submit("task")
    assert [len(instants) for instants in entered] == [10, 10]
    check_burst(sorted(entered[0] + entered[1]), 2, 0.2)
    assert max(entered[0] + entered[1]) == pytest.approx(90.0, rel=0.01)
    assert turns < 20 * 30, "the instant is computed, though what the other one takes cannot be seen"


class LateExecutor:
    """Enters handlers only some time after they were handed over, as a machine out of breath does."""

    def __init__(self, lateness: Callable[[int], float]) -> None:
        self._lateness = lateness
        self.handed_over: list[float] = []
        self.entered: list[float] = []

    def start(self, deliver: Deliver, entered: Callable[[Any, float], None], clock: Clock) -> None:
        self._deliver, self._entered, self._clock = deliver, entered, clock

    def submit(
        self, work: runcue.Work, handler: Callable[[Any], Any], context: Context, *, stamped: bool
    ) -> None:
        assert stamped
        self.handed_over.append(self._clock.monotonic())

        def enter() -> None:
            instant = self._clock.monotonic()
            self.entered.append(instant)
            self._entered(work, instant)
            loop.call_later(0.5, self._deliver, work, True, None, instant, instant + 0.5)

        loop = asyncio.get_running_loop()
        loop.call_later(self._lateness(len(self.handed_over) - 1), enter)

    def stop(self) -> None: ...


@pytest.mark.rule(8)
@virtual
async def test_a_token_is_debited_at_hand_off_and_its_period_counts_from_the_entry_of_the_handler() -> None:
    executor = LateExecutor(lambda number: 25.0)
    cue = runcue.Cue(run_in=executor)
    cue.service("api", rate="1/10sec")
    register(cue, sync=True, uses="api")
    async with cue:
        for _ in range(4):
            await cue.submit("task")
        await asyncio.sleep(20.0)
        assert executor.handed_over == [0.0], "debited: longer than a period ago, and nobody has entered yet"
    assert executor.handed_over == [0.0, 35.0, 70.0, 105.0]
    assert executor.entered == [25.0, 60.0, 95.0, 130.0]


@pytest.mark.rule(7, 8)
@pytest.mark.parametrize("limits", [{"rate": "4/10sec"}, {"rate": "4/10sec", "burst": 2}])
@virtual
async def test_handlers_that_are_entered_late_and_out_of_order_keep_the_rate_as_they_see_it(
    limits: dict[str, Any],
) -> None:
    lateness = [0.0, 9.5, 3.0, 0.1, 7.7, 0.0, 12.0, 0.0, 1.0]
    executor = LateExecutor(lambda number: lateness[number % len(lateness)])
    cue = runcue.Cue(run_in=executor)
    cue.service("api", **limits)
    register(cue, sync=True, uses="api")
    async with cue:
        for _ in range(60):
            await cue.submit("task")
    assert len(executor.entered) == 60
    if "burst" in limits:
        check_burst(sorted(executor.entered), 2, 0.4)
    else:
        check_windows(sorted(executor.entered), 4, 10.0)


class StampingExecutor(ThreadExecutor):
    """The real threads, and a list of the instants that they report."""

    def __init__(self) -> None:
        super().__init__()
        self.entered: list[float] = []

    def start(self, deliver: Deliver, entered: Callable[[Any, float], None], clock: Clock) -> None:
        def note(work: runcue.Work, instant: float) -> None:
            self.entered.append(instant)
            entered(work, instant)

        super().start(deliver, note, clock)


LOOPS = [asyncio.new_event_loop]
try:
    import uvloop
except ImportError:
    pass
else:
    LOOPS.append(uvloop.new_event_loop)


@pytest.mark.rule(7, 8)
@pytest.mark.parametrize("new_loop", LOOPS, ids=lambda new_loop: new_loop.__module__)
def test_real_threads_never_exceed_a_rate_by_the_stamps_they_take_themselves(new_loop: Any) -> None:
    executor = StampingExecutor()
    in_handler: list[float] = []

    async def main() -> None:
        cue = runcue.Cue(run_in=executor)
        cue.service("api", rate="40/0.4sec", concurrent=8)

        @cue.task("task", uses="api")
        def task(work: runcue.Work) -> None:
            in_handler.append(time.monotonic())

        async with cue:
            for _ in range(130):
                await cue.submit("task")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    stamps = sorted(executor.entered)
    assert len(stamps) == len(in_handler) == 130
    check_windows(stamps, 40, 0.4)
    # A stamp is taken by the thread itself and before the handler: it is never later than what the handler sees.
    assert all(stamp <= seen for stamp, seen in zip(stamps, sorted(in_handler), strict=True))


@pytest.mark.rule(7, 8)
@pytest.mark.parametrize("new_loop", LOOPS, ids=lambda new_loop: new_loop.__module__)
def test_async_handlers_on_a_real_loop_never_exceed_a_rate_as_they_see_it(new_loop: Any) -> None:
    entered: list[float] = []

    async def main() -> None:
        cue = runcue.Cue()
        cue.service("api", rate="40/0.4sec")

        @cue.task("task", uses="api")
        async def task(work: runcue.Work) -> None:
            entered.append(time.monotonic())

        async with cue:
            for _ in range(130):
                await cue.submit("task")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert len(entered) == 130
    check_windows(entered, 40, 0.4)


@pytest.mark.rule(8)
@virtual
async def test_a_handler_that_blocks_before_its_first_await_cannot_make_a_window_overfull() -> None:
    cue = runcue.Cue()
    cue.service("api", rate="2/10sec")
    instants: list[float] = []
    loop = asyncio.get_running_loop()

    @cue.task("task", uses="api")
    async def task(work: runcue.Work) -> None:
        loop._now += 3.0  # type: ignore[attr-defined]
        instants.append(now())  # the call that the service's owner sees

    async with cue:
        for _ in range(10):
            await cue.submit("task")
    check_windows(instants, 2, 10.0)


@pytest.mark.rule(8)
@virtual
async def test_a_token_of_a_work_that_was_cancelled_before_it_started_is_not_spent() -> None:
    cue = runcue.Cue(recheck=False)
    cue.service("api", rate="1/hour", concurrent=1)
    entered = register(cue, sync=False, uses="api")

    @cue.is_ready
    async def is_ready(work: runcue.Work) -> bool:
        await asyncio.sleep(10.0)
        return True

    async with cue:
        first = await cue.submit("task")
        await asyncio.sleep(5.0)
        await cue.cancel(first)
        await (await cue.submit("task")).wait()
    assert entered == [15.0]


@pytest.mark.rule(11)
@pytest.mark.parametrize(
    "limits",
    [
        {"rate": "0/sec"},
        {"rate": "10/0min"},
        {"concurrent": 0},
        {"rate": "60/min", "concurrent": 0},
        {"rate": "60/min", "burst": 0},
        {"concurrent": -1},
    ],
    ids=str,
)
@virtual
async def test_a_limit_that_could_never_let_anything_start_is_refused_at_registration_not_waited_for(
    limits: dict[str, Any],
) -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError) as refused:
        cue.service("api", **limits)
    assert any(repr(value) in str(refused.value) for value in limits.values())
    with pytest.raises(runcue.UnknownService):
        cue.task("task", uses="api")


@pytest.mark.rule(11)
@pytest.mark.parametrize("max_rate", [0.1, 0.999])
@virtual
async def test_a_limiter_that_cannot_hold_one_token_is_refused_at_registration(max_rate: float) -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError, match="can never let anything start"):
        cue.service("api", limiter=aiolimiter.AsyncLimiter(max_rate, 1))


@pytest.mark.rule(11)
@pytest.mark.parametrize(
    "limits",
    [{"rate": "1/hour"}, {"rate": "0.001/sec"}, {"concurrent": 1}, {"rate": "1/hour", "burst": 1}],
    ids=str,
)
@virtual
async def test_the_smallest_limit_that_is_accepted_does_let_work_units_start(limits: dict[str, Any]) -> None:
    cue = runcue.Cue()
    cue.service("api", **limits)
    entered = register(cue, sync=False, uses="api")
    async with cue:
        await cue.submit("task")
        await cue.submit("task")
    assert len(entered) == 2
    assert entered[0] == 0.0


@pytest.mark.parametrize(
    "options", [{}, {"timeout": 5}, {"retry": 1}, {"priority": 1}, {"metadata": {"why": "test"}}]
)
@virtual
async def test_what_a_work_unit_costs_counts_whatever_else_its_submission_says(
    options: dict[str, Any],
) -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    entered: list[float] = []

    @cue.task(uses="api", cost=lambda work: {"tokens": 60})
    async def ask(work: runcue.Work) -> None:
        entered.append(now())

    async with cue:
        for _ in range(2):
            await cue.submit("ask", **options)
        await asyncio.sleep(1)
        assert len(entered) == 1
        await cue.drain()
    assert entered[1] - entered[0] >= MINUTE
