"""Limits that say one thing and then another: one reading decides, so nobody is forgotten and nothing spins.

A clock that moves on between two readings is enough for that; uvloop's timers, which fire up to a millisecond early,
bring it about all the time.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from math import inf
from typing import Any

import pytest

import runcue
from runcue._dispatch.dispatcher import Dispatcher
from runcue.abc import Limit
from tests.attacks.loops import LOOPS, run_on
from tests.attacks.used_up_limits import batch

loops = pytest.mark.parametrize("loop", LOOPS)
SECONDS = 20.0  # for a busy machine


@pytest.mark.rule(7)
@loops
@pytest.mark.parametrize(
    "limits",
    [("burst=1",), ("limiter",), ("own clock",), ("burst=1", "limiter"), ("burst=7", "own clock")],
    ids="+".join,
)
def test_under_limits_that_are_used_up_all_the_time_everything_runs(
    limits: tuple[str, ...], loop: str
) -> None:
    run_on(loop, batch(limits, "plain and async, by priority", 30))


class Contradicting(Limit):
    """Says yes and no in turns, however often it is asked; what it says of the instant does not fit either."""

    def __init__(self, answers: Iterator[bool], next_room: Any) -> None:
        self.asked = 0
        self._answers = answers
        self._next_room = next_room

    def room(self, now: float, work: runcue.Work, /) -> bool:
        self.asked += 1
        return next(self._answers)

    def next_room(self, now: float, work: runcue.Work, /) -> Any:
        return self._next_room(now)


class Batch:
    """Twenty work units under a limit."""

    def __init__(self, limit: Limit, kinds: tuple[str, ...]) -> None:
        self.cue = cue = runcue.Cue()
        cue.service("api", limits=[limit])
        self._kinds = kinds

        @cue.task("plain", uses="api")
        def plain(work: runcue.Work) -> None: ...

        @cue.task("async", uses="api")
        async def asynchronous(work: runcue.Work) -> None: ...

    async def main(self) -> runcue.Summary:
        cue = self.cue
        cue.start()
        for number in range(20):
            await cue.submit(self._kinds[number % len(self._kinds)])
        try:
            async with asyncio.timeout(SECONDS):
                return await cue.drain()
        finally:
            await cue.stop(timeout=0)


def looks_of(patch: pytest.MonkeyPatch) -> list[float]:
    looks: list[float] = []
    look = Dispatcher.look

    def counted(self: Dispatcher) -> None:
        looks.append(time.monotonic())
        look(self)

    patch.setattr(Dispatcher, "look", counted)
    return looks


@pytest.mark.rule(1)
@loops
@pytest.mark.parametrize("kinds", [("plain",), ("async",), ("plain", "async")], ids="+".join)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "next_room", [lambda now: now, lambda now: now + 0.002], ids=["an instant that is over", "an instant"]
)
def test_a_limit_that_says_yes_and_no_in_turns_holds_up_nothing_and_nothing_spins(
    next_room: Any, first: bool, kinds: tuple[str, ...], loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = looks_of(monkeypatch)
    limit = Contradicting(itertools.cycle((first, not first)), next_room)
    summary = run_on(loop, Batch(limit, kinds).main())
    assert summary.counts["completed"] == 20, summary
    assert len(looks) < 200


@pytest.mark.rule(1)
@loops
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_one_that_says_yes_once_and_then_no_for_long_is_not_asked_all_the_time(
    kind: str, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = looks_of(monkeypatch)
    limit = Contradicting(
        itertools.chain((True,), itertools.repeat(False, 3), itertools.repeat(True)), lambda now: now + 0.05
    )
    summary = run_on(loop, Batch(limit, (kind,)).main())
    assert summary.counts["completed"] == 20
    assert len(looks) < 60, "one look after each answer, and after each start"


@pytest.mark.rule(23)
@loops
@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("first", [True, False])
def test_a_drain_ends_by_the_answer_that_kept_work_from_starting(kind: str, first: bool, loop: str) -> None:
    # That one names no instant: nobody would ever come back. What it would say to the drain itself is not asked.
    limit = Contradicting(itertools.cycle((first, not first)), lambda now: inf)
    summary = run_on(loop, Batch(limit, (kind,)).main())
    assert summary.counts["completed"] + len(summary.blocked) == 20


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize(
    "number", [Decimal, Fraction, lambda instant: Fraction(instant).limit_denominator(10**6)]
)
def test_an_instant_may_be_any_number(number: Any, kind: str) -> None:
    class Paced(Limit):
        free_from = 0.0

        def room(self, now: float, work: runcue.Work, /) -> bool:
            return now >= self.free_from

        def next_room(self, now: float, work: runcue.Work, /) -> Any:
            return number(self.free_from)

        def acquire(self, now: float, work: runcue.Work, /) -> None:
            self.free_from = now + 0.002

    assert run_on("asyncio", Batch(Paced(), (kind,)).main()).counts["completed"] == 20


@loops
def test_an_instant_that_no_timer_takes_is_waited_for_all_the_same(loop: str) -> None:
    limit = Contradicting(itertools.repeat(False), lambda now: sys.float_info.max)

    async def main() -> runcue.Summary:
        async with runcue.Cue() as cue:
            cue.service("api", limits=[limit])

            @cue.task("task", uses="api")
            async def task(work: runcue.Work) -> None: ...

            handle = await cue.submit("task")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(cue.drain(), 0.05)
            await cue.cancel(handle)
            return await cue.drain()

    assert run_on(loop, main()).counts["cancelled"] == 1
