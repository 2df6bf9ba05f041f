"""Whoever is asked about a work unit may cancel who has joined it, and what that one has lent goes along."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

import runcue
from runcue.abc import Limit
from runcue.testing import Recorder
from tests.support.virtual_time import now, virtual

pytestmark = [pytest.mark.rule(17), pytest.mark.rule(28)]

PLACES = [
    "is_ready",
    "is_stale",
    "async is_ready",
    "room",
    "acquire",
    "priority",
    "retry",
    "on_start",
    "valid",
]
LOANS = ["priority", "must_complete", "instant"]
WHOM = ["lender", "all who have joined", "itself", "all"]


class Asked(Limit):
    """Asks somebody before each start."""

    def __init__(self, place: str, here: Callable[[runcue.Work, str], bool]) -> None:
        self._place = place
        self._here = here

    def room(self, now: float, work: runcue.Work, /) -> bool:
        if self._place == "room":
            self._here(work, "room")
        return True

    def acquire(self, now: float, work: runcue.Work, /) -> None:
        if self._place == "acquire":
            self._here(work, "acquire")


class Thing(runcue.Artifact):
    """An artifact that does something when it is asked."""

    def __init__(self, name: str, asks: Callable[[], bool]) -> None:
        self.name = name
        self._asks = asks

    @property
    def key(self) -> str:
        return self.name

    def valid(self) -> bool:
        return self._asks()


class Scene:
    """One that waits for a slot, has been asked before, and is joined by others, of which one lends it something."""

    def __init__(self, place: str, loan: str, whom: str, *, nth: int, runs_in: str) -> None:
        self.cue = cue = runcue.Cue()
        self.recorder = Recorder(cue)
        self._place, self._loan, self._whom = place, loan, whom
        # With which asking about the one that is joined somebody is cancelled, and whether that has been.
        self.nth = nth
        self.has_cancelled = False
        self.joined: list[runcue.WorkHandle] = []
        self.attempts = 0
        cue.service("one", concurrent=1, limits=[Asked(place, self.here)])
        cue.task("first", uses="one")(self.first)
        more: dict[str, Any] = {"key": lambda work: work.params["key"]}
        if place == "valid":
            more["inputs"] = lambda work: Thing(f"in {work.params['key']}", lambda: self.here(work, "valid"))
        if place == "retry":
            more["retry"] = self.again

        async def suspends(work: runcue.Work) -> None:
            await asyncio.sleep(1)
            self.end(work)

        def returns(work: runcue.Work) -> None:
            self.end(work)

        cue.task("t", uses="one", **more)(suspends if runs_in == "loop" else returns)
        cue.is_ready(
            self.asks_slowly if place == "async is_ready" else lambda work: self.here(work, "is_ready")
        )
        cue.is_stale(lambda work: self.here(work, "is_stale"))
        cue.on_start(lambda work: self.here(work, "on_start") and None)
        if place == "priority":
            cue.priority(lambda context: 0.1 if self.here(context.work, "priority") else 0.2)

    async def first(self, work: runcue.Work) -> None:
        await asyncio.sleep(1)

    def end(self, work: runcue.Work) -> None:
        self.attempts += 1
        if self._place == "retry" and self.attempts == 1:
            raise ValueError("once")

    def again(self, attempt: int, error: BaseException, elapsed: float) -> float | None:
        work = self.joined[0].work
        self.here(work, "retry")
        return 0.5 if attempt == 1 else None

    async def asks_slowly(self, work: runcue.Work) -> bool:
        await asyncio.sleep(0.1)
        return self.here(work, "async is_ready")

    def here(self, work: runcue.Work, place: str) -> bool:
        if place != self._place or work.params.get("key") != "joined":
            return True
        self.nth -= 1
        if self.nth:
            return True
        self.has_cancelled = True
        first, lender, other = self.joined
        whom = {
            "lender": [lender],
            "all who have joined": [lender, other],
            "itself": [first],
            "all": self.joined,
        }[self._whom]
        for handle in whom:
            handle.cancel()
        return True

    async def play(self) -> None:
        cue = self.cue
        cue.start()
        await cue.submit("first", priority=1.0)
        lends: dict[str, Any] = {"priority": 1.0} if self._loan == "priority" else {}
        if self._loan == "must_complete":
            lends = {"must_complete": True}
        delay = 30 if self._loan == "instant" else None
        others = [await cue.submit("t", {"key": f"before {number}"}, priority=0.6) for number in range(3)]
        own = None if self._place == "priority" else 0.2
        self.joined = [await cue.submit("t", {"key": "joined"}, priority=own, delay=delay)]
        self.joined.append(await cue.submit("t", {"key": "joined"}, **lends))
        self.joined.append(await cue.submit("t", {"key": "joined"}, priority=0.1, delay=delay))
        others += [await cue.submit("t", {"key": f"after {number}"}, priority=0.4) for number in range(3)]
        await asyncio.sleep(0.5)
        async with asyncio.timeout(200):
            summary = await cue.stop(drain=self._loan != "must_complete")
        assert sum(summary.counts.values()) == 10
        for handle in (*others, *self.joined):
            ends = [one for one in self.recorder.of(handle) if one not in ("start", "retry", "put_back")]
            assert len(ends) == 1, (self._place, ends)
        gone = {"lender": {1}, "all who have joined": {1, 2}, "itself": {0}, "all": {0, 1, 2}}[self._whom]
        if self.has_cancelled and self._place != "retry":
            states = [handle.state.value for handle in self.joined]
            assert all(states[number] == "cancelled" for number in gone), (self._place, states)
        assert all(run_queue.backlog(ordered=True) == 0 for run_queue in cue._core.run_queues.values())
        assert all(service.in_use == 0 for service in cue.services())


@pytest.mark.parametrize("whom", WHOM)
@pytest.mark.parametrize("loan", LOANS)
@virtual
async def test_who_is_asked_may_cancel_who_has_lent_something(loan: str, whom: str) -> None:
    for place, (nth, runs_in) in product(PLACES, ((1, "loop"), (2, "thread"))):
        scene = Scene(place, loan, whom, nth=nth, runs_in=runs_in)
        await scene.play()
        assert scene.has_cancelled or nth > 1, place


@pytest.mark.rule(7)
@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("whom", [(0,), (1,), (0, 1)])
@virtual
async def test_what_starts_is_what_a_limit_was_asked_about_whoever_it_cancels_then(
    whom: tuple[int, ...], nth: int, several: bool, gate: bool
) -> None:
    cue = runcue.Cue()
    joined: list[runcue.WorkHandle] = []
    asked: list[str] = []
    allowed: dict[str, bool] = {}
    wrong: list[tuple[str, float]] = []

    class Choosy(Limit):
        def room(self, at: float, work: runcue.Work, /) -> bool:
            key = work.params["key"]
            asked.append(key)
            if key == "joined" and asked.count(key) == nth:
                for place in whom:
                    joined[place].cancel()
            allowed[work.id] = key != "later" or now() >= 5
            return allowed[work.id]

        def next_room(self, at: float, work: runcue.Work, /) -> float:
            return at + 0.5

        def acquire(self, at: float, work: runcue.Work, /) -> None:
            if not allowed.get(work.id):
                wrong.append((work.params["key"], now()))

    cue.service("one", concurrent=1, limits=[Choosy()])
    cue.service("two", concurrent=2)

    async def handler(work: runcue.Work) -> None:
        await asyncio.sleep(1)

    for name, uses in (("t", ["one", "two"] if several else ["one"]), ("u", ["one"])):
        cue.task(name, uses=uses, key=lambda work: work.params["key"])(handler)
    if gate:
        cue.is_ready(lambda work: True)
    cue.start()
    joined += [await cue.submit("t", {"key": "joined"}, priority=number) for number in (0.1, 1.0)]
    for task, key in (("u", "later"), ("t", "other")):
        await cue.submit(task, {"key": key}, priority=0.5)
    summary = await cue.stop()
    assert wrong == []
    assert summary.counts["completed"] >= 2
