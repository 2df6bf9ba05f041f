"""Whoever is called in the midst of the scheduler may cancel what it likes, the work unit in question as well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

import runcue
from runcue.abc import Limit
from runcue.testing import Recorder, run

pytestmark = [pytest.mark.rule(13), pytest.mark.rule(17)]

PLACES = [
    "is_ready",
    "is_stale",
    "priority",
    "valid of an input",
    "valid of an output",
    "async is_ready",
    "after an await",
]

WHOM: dict[str, Callable[[list[Any], int], list[Any]]] = {
    "itself": lambda handles, place: [handles[place]],
    "those before": lambda handles, place: handles[:place],
    "those after": lambda handles, place: handles[place + 1 :],
    "all": lambda handles, place: list(handles),
}


class Thing(runcue.Artifact):
    """An artifact that does something when it is asked."""

    def __init__(self, name: str, is_asked: Callable[[], bool]) -> None:
        self.name = name
        self.is_asked = is_asked

    @property
    def key(self) -> str:
        return self.name

    def valid(self) -> bool:
        return self.is_asked()


class Scene:
    """Some work units, of which one cancels others, or itself, in the place in question."""

    def __init__(
        self, place: str, whom: str, *, runs_in: str, alike: bool, number: int, answer: bool
    ) -> None:
        self.cue = cue = runcue.Cue()
        self.recorder = Recorder(cue)
        self.handles: list[runcue.WorkHandle] = []
        self.number = number
        self.answer = answer
        self._place = place
        self._whom = WHOM[whom]
        self._done = False
        cue.service("slot", concurrent=1)
        # What has things of its own joins nobody.
        more: dict[str, Any] = {"key": "same"} if alike and not place.startswith("valid") else {}
        if place == "valid of an input":
            more["inputs"] = lambda work: Thing(
                f"in {'' if alike else work.id}", lambda: self.here(work, place)
            )
        elif place == "valid of an output":
            more["outputs"] = lambda work: Thing(
                f"out {'' if alike else work.id}", lambda: self.here(work, place)
            )

        async def suspends(work: runcue.Work) -> None:
            await asyncio.sleep(1)

        cue.task("t", uses="slot", **more)(suspends if runs_in == "loop" else lambda work: None)
        if place in ("async is_ready", "after an await"):
            cue.is_ready(self.asks)
        else:
            cue.is_ready(lambda work: self.here(work, "is_ready"))
        cue.is_stale(lambda work: self.here(work, "is_stale", "after an await"))
        if place == "priority":
            cue.priority(lambda context: 0.5 if self.here(context.work, "priority") else 0.6)

    def here(self, work: runcue.Work, *places: str) -> bool:
        if self._place not in places:
            return True
        if not self._done and len(self.handles) == self.number and work.id == self.handles[self.number // 2]:
            self._done = True
            for handle in self._whom(self.handles, self.number // 2):
                handle.cancel()
        return self.answer

    async def asks(self, work: runcue.Work) -> bool:
        await asyncio.sleep(0.1)
        self.here(work, "async is_ready")
        return True

    async def play(self) -> None:
        for _ in range(self.number):
            self.handles.append(await self.cue.submit("t"))
        self.cue.start()
        summary = await self.cue.stop()
        assert sum(summary.counts.values()) == self.number
        for handle in self.handles:
            heard = [one for one in self.recorder.of(handle) if one != "start"]
            assert len(heard) == 1, heard


@pytest.mark.parametrize("alike", [False, True], ids=["", "joined"])
@pytest.mark.parametrize("runs_in", ["loop", "thread"])
@pytest.mark.parametrize("whom", WHOM)
@pytest.mark.parametrize("place", PLACES)
def test_each_work_unit_ends_once_whoever_is_cancelled_by_who_is_asked(
    place: str, whom: str, runs_in: str, alike: bool
) -> None:
    for answer, number in ((True, 5), (False, 5), (True, 150)):
        scene = Scene(place, whom, runs_in=runs_in, alike=alike, number=number, answer=answer)
        run(scene.play)


@pytest.mark.parametrize("runs_in", ["loop", "thread"])
@pytest.mark.parametrize("place", ["is_ready", "is_stale", "priority", "valid of an input"])
def test_who_is_cancelled_by_its_own_gate_does_not_start(place: str, runs_in: str) -> None:
    scene = Scene(place, "itself", runs_in=runs_in, alike=False, number=3, answer=True)
    run(scene.play)
    assert [scene.recorder.of(handle) for handle in scene.handles] == [
        ["start", "complete"],
        ["cancel"],
        ["start", "complete"],
    ]


class Cancelling(Limit):
    """A limit that has room for everything, and cancels whom it likes in one of its methods."""

    def __init__(self, place: str, cancels: Callable[[runcue.Work], None]) -> None:
        self._place = place
        self._cancels = cancels

    def _here(self, place: str, work: runcue.Work) -> None:
        if place == self._place:
            self._cancels(work)

    def room(self, now: float, work: runcue.Work, /) -> bool:
        self._here("room", work)
        return True

    def next_room(self, now: float, work: runcue.Work, /) -> float:
        return now

    def acquire(self, now: float, work: runcue.Work, /) -> None:
        self._here("acquire", work)

    def entered(self, now: float, work: runcue.Work, at: float, /) -> None:
        self._here("entered", work)

    def release(self, now: float, work: runcue.Work, actual: float | None, /) -> None:
        self._here("release", work)


@pytest.mark.parametrize("gate", ["", "gate", "async gate"])
@pytest.mark.parametrize("runs_in", ["loop", "thread"])
@pytest.mark.parametrize("whom", WHOM)
@pytest.mark.parametrize("place", ["room", "acquire", "entered", "release"])
def test_limits_may_cancel_whom_they_like(place: str, whom: str, runs_in: str, gate: str) -> None:
    async def main() -> None:
        handles: list[runcue.WorkHandle] = []

        def cancels(work: runcue.Work) -> None:
            if len(handles) == 6 and work.id == handles[2]:
                for handle in WHOM[whom](handles, 2):
                    handle.cancel()

        cue = runcue.Cue()
        recorder = Recorder(cue)
        cue.service("limited", concurrent=2, limits=Cancelling(place, cancels))

        async def suspends(work: runcue.Work) -> None:
            await asyncio.sleep(1)

        cue.task("t", uses="limited")(suspends if runs_in == "loop" else lambda work: None)
        if gate:
            cue.is_ready(lambda work: asyncio.sleep(0.1, True) if gate == "async gate" else True)
        handles.extend([await cue.submit("t") for _ in range(6)])
        cue.start()
        summary = await cue.stop()
        assert sum(summary.counts.values()) == 6
        assert not summary.failed
        for handle in handles:
            assert len([one for one in recorder.of(handle) if one != "start"]) == 1

    run(main)


@pytest.mark.parametrize("runs_in", ["loop", "thread"])
def test_who_is_cancelled_as_it_starts_does_not_time_out_as_well(runs_in: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        handles: list[runcue.WorkHandle] = []

        async def suspends(work: runcue.Work) -> None:
            await asyncio.sleep(10)

        cue.task("t", timeout=5)(suspends if runs_in == "loop" else lambda work: None)
        cue.on_start(lambda work: handles[0].cancel())
        handles.append(await cue.submit("t"))
        async with cue:
            await asyncio.sleep(20)
        assert recorder.of(handles[0]) == ["start", "cancel"]

    run(main)


def test_who_hears_of_a_cancelled_leader_may_cancel_its_successor_whatever_its_time_out() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        handles: list[runcue.WorkHandle] = []

        @cue.task("t", key="same", timeout=5)
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(10)

        @cue.on_cancel
        def cancel_all(work: runcue.Work) -> None:
            for handle in handles:
                handle.cancel()

        async with cue:
            handles.extend([await cue.submit("t") for _ in range(3)])
            await asyncio.sleep(1)
            handles[0].cancel()
            await asyncio.sleep(20)
        assert [recorder.of(handle)[-1] for handle in handles] == ["cancel"] * 3

    run(main)


@pytest.mark.parametrize("how", ["pending_timeout", "stall_timeout"])
def test_a_limit_that_is_asked_why_a_work_unit_waits_may_cancel_it(how: str) -> None:
    handles: list[runcue.WorkHandle] = []

    class Never(Limit):
        def room(self, now: float, work: runcue.Work, /) -> bool:
            if now > 4.5:
                for handle in handles:
                    handle.cancel()
            return False

        def next_room(self, now: float, work: runcue.Work, /) -> float:
            return float("inf")

        def acquire(self, now: float, work: runcue.Work, /) -> None: ...

    async def main() -> None:
        timeouts: dict[str, Any] = {how: 5}
        cue = runcue.Cue(**timeouts)
        recorder = Recorder(cue)
        cue.service("never", limits=Never())
        cue.task("t", uses="never")(lambda work: None)
        async with cue:
            handles.extend([await cue.submit("t") for _ in range(3)])
            await asyncio.sleep(10)
            assert all(handle.done() for handle in handles)
        assert all(len(recorder.of(handle)) == 1 for handle in handles)

    run(main)


@pytest.mark.parametrize("end", ["cancel", "complete", "fail"])
def test_ends_that_come_of_an_end_are_heard_of_after_it_however_many(end: str) -> None:
    cue = runcue.Cue()
    next_of: dict[str, runcue.WorkHandle] = {}
    heard: list[str] = []

    @cue.task("first")
    async def first(work: runcue.Work) -> None:
        if end == "cancel":
            await asyncio.sleep(10)
        elif end == "fail":
            raise ValueError

    @cue.task("other")
    async def other(work: runcue.Work) -> None: ...

    @cue.is_ready(task="other")
    def is_ready(work: runcue.Work) -> bool:
        return False

    def cancels_the_next(work: runcue.Work, *more: object) -> None:
        if work.id in next_of:
            assert next_of[work.id].cancel()
            assert next_of[work.id].done()

    for listen in (cue.on_cancel, cue.on_complete, cue.on_failure):
        listen(cancels_the_next)
        listen(lambda work, *more: heard.append(work.id))

    async def main() -> None:
        async with cue:
            handles = [await cue.submit("first"), *[await cue.submit("other") for _ in range(1000)]]
            next_of.update(pairwise(handles))
            if end == "cancel":
                assert handles[0].cancel()
            await asyncio.gather(*handles, return_exceptions=True)
            assert heard == handles
            assert all(handle.state is runcue.WorkState.CANCELLED for handle in handles[1:])

    run(main)


@pytest.mark.rule(17)
def test_a_handler_that_has_survived_a_cancellation_of_its_own_is_cancelled_with_its_work_unit() -> None:
    cue = runcue.Cue()
    heard = []

    @cue.task("survivor")
    async def survivor(work: runcue.Work) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            pass  # without uncancel(): it counts as being cancelled from here on
        try:
            await asyncio.sleep(100)
        finally:
            heard.append(work.cancelled)

    async def main() -> None:
        async with cue:
            handle = await cue.submit("survivor")
            await asyncio.sleep(1)
            assert handle.cancel()
            await asyncio.sleep(1)
            assert heard == [True]

    run(main)
