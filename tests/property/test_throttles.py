"""Random histories of refusals and failures: nothing starts before its time but one, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any, NamedTuple

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import runcue
from tests.support.worlds import orders, virtually

ROUNDING = 1e-6
AT_ONCE = 0.05
_EXAMPLES = settings().max_examples if settings().max_examples > 1000 else 60


class Call(NamedTuple):
    """What becomes of one call of the server.

    Attributes:
        takes: Seconds.
        how: "ok", "fails", "gives up", "later", or "refuses".
        seconds: For how long it refuses; None: it does not say.
    """

    takes: float
    how: str
    seconds: float | None


class Asked(NamedTuple):
    """A work unit.

    Attributes:
        after: It is submitted so many seconds after the one before it.
        cancel_after: It is cancelled so many seconds after that; None: it is not.
    """

    after: float
    cancel_after: float | None


class Plan(NamedTuple):
    """A service, its server and what is asked of it."""

    slots: int
    high: int | None
    breaker: tuple[int, float] | None
    calls: list[Call]
    asked: list[Asked]


spans = st.sampled_from((0.0, 0.1, 0.5, 1.0, 2.0, 3.0))
calls = st.builds(
    Call,
    takes=spans,
    how=st.sampled_from(("ok", "ok", "fails", "gives up", "later", "refuses", "refuses", "refuses")),
    seconds=st.none() | st.sampled_from((0.0, 0.5, 1.0, 5.0, 30.0, 100.0)),
)
plans = st.builds(
    Plan,
    slots=st.integers(1, 4),
    high=st.none() | st.integers(4, 6),
    breaker=st.none() | st.tuples(st.integers(1, 3), st.sampled_from((1.0, 10.0))),
    calls=st.lists(calls, max_size=30),
    asked=st.lists(
        st.builds(Asked, after=spans, cancel_after=st.none() | st.none() | spans), min_size=1, max_size=12
    ),
)


class Watch:
    """Follows what the server has said, by itself, and holds the starts against it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.running: dict[str, tuple[float, bool]] = {}  # start, and whether it was before the pause
        self.closed, self.until, self.took, self.wait = False, -inf, 0.0, 0.0
        self.probe: str | None = None
        self.probed = 0.0
        self.ever = False
        # Of the breaker: failures in a row, until when it is open, and who was let through.
        self.failures, self.open_until, self.trial = 0, -inf, ""

    def started(self, name: str, now: float) -> None:
        self.running[name] = now, False
        assert now >= self.until - ROUNDING, f"{name} starts at {now}, and not before {self.until} was said"
        if self.closed:
            self._look(now + ROUNDING)
        if self.closed:
            assert self.probe is None, f"{name} starts at {now} beside the probe {self.probe}"
            self.probe, self.probed = name, now
        if self.open_until > -inf:
            assert now >= self.open_until - ROUNDING, f"{name} starts at {now}, and its breaker is open"
            assert self.trial not in self.running or self.trial == name, f"{name} starts beside {self.trial}"
            self.trial = name
        assert len(self.running) <= (self.plan.high or self.plan.slots)

    def _look(self, now: float) -> None:
        if self.probe is not None and now >= self.probed + max(2 * self.took, AT_ONCE):
            self.probe = None
            if now >= self.until - ROUNDING:
                self.closed = False

    def _passed(self) -> None:
        self.probe, self.closed = None, False

    def ended(self, name: str, now: float, how: str, seconds: float | None) -> None:
        began, before = self.running.pop(name)
        self._look(now)
        if how != "refuses" and not before:
            self.wait = 0.0
        if how == "refuses":
            self._refused(name, now, seconds or None, now - began, belongs=before)
        elif name == self.probe:
            if now >= self.until - ROUNDING:
                self._passed()
            else:
                self.probe = None
        self._breaks(name, now, how)

    def _refused(self, name: str, now: float, seconds: float | None, took: float, *, belongs: bool) -> None:
        if self.plan.high is not None and seconds is None:
            if name == self.probe:
                self.probe = None  # for that work unit alone: another one goes first
            return
        if not belongs:
            self.took = 0.0
            if seconds is None:
                seconds = self.wait = min(max(1.0, 2 * self.wait), 60.0)
            self.running = {one: (at, True) for one, (at, _) in self.running.items()}
            self.closed, self.probe = True, None
        self.took = max(self.took, took)
        if seconds is not None and now + seconds > self.until:
            self.until = now + seconds
            if not self.closed:
                self.closed, self.probe = True, None

    def _breaks(self, name: str, now: float, how: str) -> None:
        if self.plan.breaker is None:
            return
        most, cooldown = self.plan.breaker
        if self.open_until > -inf:
            if name == self.trial:
                self.trial = ""
                if how == "ok":
                    self.failures, self.open_until = 0, -inf
                elif how == "fails":
                    self.open_until = now + cooldown
        elif how == "ok":
            self.failures = 0
        elif how == "fails":
            self.failures += 1
            if self.failures >= most:
                self.open_until, self.trial = now + cooldown, ""

    def cancelled(self, name: str, now: float) -> None:
        self._look(now)  # what has run for long enough has passed before
        if self.running.pop(name, None) is not None:
            if name == self.probe:
                self.probe = None
            if name == self.trial:
                self.trial = ""


class World:
    """Runs a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.calls = list(plan.calls)
        self.watch = Watch(plan)
        self.attempts: dict[str, int] = {}
        self.wrong: list[str] = []

    async def handler(self, work: runcue.Work) -> str:
        loop, name = asyncio.get_running_loop(), str(work.id)
        call = self.calls.pop(0) if self.calls else Call(0.1, "ok", None)
        try:
            self.watch.started(name, loop.time())
        except AssertionError as error:
            self.wrong.append(str(error))
        try:
            await asyncio.sleep(call.takes)
        except asyncio.CancelledError:
            self.watch.cancelled(name, loop.time())
            raise
        self.watch.ended(name, loop.time(), call.how, call.seconds)
        if call.how == "fails":
            self.attempts[name] = self.attempts.get(name, 0) + 1
            raise ConnectionError("refused")
        if call.how == "gives up":
            raise runcue.GiveUp("bad input")
        if call.how == "later":
            raise runcue.RetryLater(1)
        if call.how == "refuses":
            raise runcue.Throttled(call.seconds)
        return "done"

    async def run(self) -> None:
        plan = self.plan
        cue = runcue.Cue(
            pending_timeout=None, stall_timeout=50, stall_warn_after=None, pending_warn_after=None
        )
        options: dict[str, Any] = {}
        if plan.high is not None:
            options["concurrent"] = runcue.Adaptive(plan.slots, plan.high)
        else:
            options["concurrent"] = plan.slots
        if plan.breaker is not None:
            options["breaker"] = runcue.Breaker(*plan.breaker)
        api = cue.service("api", **options)
        policy = runcue.Retry(4, wait_initial=0.5, wait_jitter=0)
        cue.task("t", uses=api, retry=policy)(self.handler)
        loop = asyncio.get_running_loop()
        cue.start()
        handles = []
        for one in plan.asked:
            await asyncio.sleep(one.after)
            handle = await cue.submit("t")
            handles.append(handle)
            if one.cancel_after is not None:
                loop.call_later(one.cancel_after, handle.cancel)
        summary = await cue.drain()
        assert not self.wrong, self.wrong
        assert not summary.blocked
        works = [await handle.wait() for handle in handles]
        for work in works:
            error = work.exception
            assert error is None or isinstance(
                error, (ConnectionError, runcue.GiveUp, runcue.WorkCancelled)
            ), error
            if work.state is runcue.WorkState.COMPLETED:
                assert work.attempt == self.attempts.get(str(work.id), 0) + 1, "a refusal is no attempt"
        low, slots = plan.slots, api.status().concurrent
        assert slots is not None
        assert low <= slots <= (plan.high or low)
        assert api.status().in_use == 0
        await cue.stop()


@pytest.mark.rule(26, 50)
@settings(max_examples=_EXAMPLES)
@given(plans, orders)
def test_nothing_starts_before_its_time_but_one_and_nobody_waits_for_ever(
    plan: Plan, order: int | None
) -> None:
    world = World(plan)
    virtually(world.run, order)
    event(f"breaker: {plan.breaker is not None}, adaptive: {plan.high is not None}")
