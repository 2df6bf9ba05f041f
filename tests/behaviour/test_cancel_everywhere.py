"""`handle.cancel()` is a plain call: whatever calls it, in the middle of whatever, nothing is cancelled by halves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import pytest

import runcue
import runcue.abc
from runcue import Artifact, WorkHandle
from runcue.testing import Recorder, run

PLACES = [
    "is_ready",
    "is_stale",
    "async is_ready",
    "async is_stale",
    "priority",
    "inputs",
    "outputs",
    "key",
    "valid",
    "room",
    "acquire",
    "entered",
    "release",
    "handler",
    "on_submit",
    "on_start",
    "on_complete",
    "on_failure",
    "on_skip",
    "on_cancel",
    "submitted",
    "started",
    "settled",
    "warned",
]
VICTIMS = ["itself", "the next", "the latest", "all", "what runs"]
# How many slots; whether some join others; what else is special.
WORLDS = [
    (slots, joins, special)
    for special in ("", "async", "priority", "many")
    for slots in (1, 3)
    for joins in (False, True)
]


class Own(runcue.abc.Limit):
    def __init__(self, call: Callable[[str, runcue.Work], None]) -> None:
        self.call = call

    def room(self, now: float, work: runcue.Work) -> bool:
        self.call("room", work)
        return True

    def acquire(self, now: float, work: runcue.Work) -> None:
        self.call("acquire", work)

    def entered(self, now: float, work: runcue.Work, at: float) -> None:
        self.call("entered", work)

    def release(self, now: float, work: runcue.Work, actual: object) -> None:
        self.call("release", work)


class Input(Artifact):
    def __init__(self, call: Callable[[str, runcue.Work | None], None]) -> None:
        self.call = call

    def identity(self) -> str:
        return "the input of all"

    def version(self) -> None:
        return None

    def valid(self) -> bool:
        self.call("valid", None)
        return True


class World:
    """A cue in which everything that can call something does, and one of the places cancels."""

    def __init__(self, place: str, victim: str, slots: int, joins: bool, special: str) -> None:
        self.place, self.victim, self.joins = place, victim, joins
        self.number = 80 if special == "many" else 12
        self.most = 3 if victim == "all" else 30
        self.ready_of_ten = 3 if special == "many" else 9
        self.handles: list[WorkHandle] = []
        self.cancelled: set[WorkHandle] = set()
        self.entered_in_vain: list[runcue.Work] = []
        self.inside = False
        self.cue = runcue.Cue(id_prefix="")
        self.recorder = Recorder(self.cue)
        self.describe_tasks(slots)
        self.describe_gates(special)
        self.describe_listeners()

    def call(self, where: str, work: runcue.Work | None) -> None:
        if where != self.place or self.inside or not self.most:
            return
        self.most -= 1
        self.inside = True
        for handle in self.chosen(work):
            if handle.cancel():
                self.cancelled.add(handle)
        self.inside = False

    def chosen(self, work: runcue.Work | None) -> list[WorkHandle]:
        handles = list(self.handles)
        match self.victim:
            case "itself":
                return [handle for handle in handles if handle.work is work] or handles[:1]
            case "the next":
                return [handle for handle in handles if handle.state is runcue.WorkState.PENDING][:1]
            case "the latest":
                return handles[-1:]
            case "what runs":
                return [handle for handle in handles if handle.state is runcue.WorkState.RUNNING]
            case _:
                return handles

    def describe_tasks(self, slots: int) -> None:
        cue, call = self.cue, self.call
        cue.service("some", concurrent=slots, limits=[Own(call)])

        def given(name: str, value: Callable[[runcue.Work], Any]) -> Callable[[runcue.Work], Any]:
            def give(work: runcue.Work) -> Any:
                call(name, work)
                return value(work)

            return give

        declared: dict[str, Any] = {
            "inputs": given("inputs", lambda work: [Input(call)]),
            "outputs": given("outputs", lambda work: None),
            "key": given("key", lambda work: (work.task, work.params["n"])),
        }

        @cue.task("async", uses="some", **declared)
        async def in_the_loop(work: runcue.Work) -> None:
            if work.cancelled and self.place not in {"on_start", "started", "acquire"}:
                self.entered_in_vain.append(work)
            call("handler", work)
            if work.params["n"] % 3 == 0:
                await asyncio.sleep(1)
            call("handler", work)
            if work.params["n"] % 4 == 1:
                raise ValueError

        @cue.task("plain", uses="some", **declared)
        def in_a_thread(work: runcue.Work) -> None:
            if work.params["n"] % 4 == 1:
                raise ValueError

        @cue.task("quick", uses="some")
        async def quick(work: runcue.Work) -> None:
            await asyncio.sleep(0)

    def describe_gates(self, special: str) -> None:
        cue, call = self.cue, self.call

        def is_ready(work: runcue.Work) -> bool:
            call("is_ready", work)
            return work.params["n"] % 10 < self.ready_of_ten

        async def is_ready_later(work: runcue.Work) -> bool:
            await asyncio.sleep(0.1)
            call("async is_ready", work)
            return True

        def is_stale(work: runcue.Work) -> bool:
            call("is_stale", work)
            return work.params["n"] % 5 != 2

        async def is_stale_later(work: runcue.Work) -> bool:
            await asyncio.sleep(0.1)
            call("async is_stale", work)
            return True

        cue.is_ready(is_ready_later if self.place == "async is_ready" or special == "async" else is_ready)
        cue.is_stale(is_stale_later if self.place == "async is_stale" else is_stale)
        if self.place == "priority" or special == "priority":

            @cue.priority
            def priority(ctx: runcue.PriorityContext) -> float:
                call("priority", ctx.work)
                return 0.5

    def describe_listeners(self) -> None:
        cue, call = self.cue, self.call
        for event in ("submit", "start", "complete", "failure", "skip", "cancel"):
            name = f"on_{event}"
            getattr(cue, name)(lambda work, *heard, name=name: call(name, work))

        class Watcher(runcue.Observer):
            def submitted(self, work: runcue.Work) -> None:
                call("submitted", work)

            def started(self, work: runcue.Work) -> None:
                call("started", work)

            def settled(self, work: runcue.Work, duration: float) -> None:
                call("settled", work)

            def warned(self, warning: runcue.abc.CueWarning) -> None:
                call("warned", warning.works[0] if warning.works else None)

        cue.observe(Watcher())

    async def go(self) -> None:
        cue = self.cue
        cue.start()
        for n in range(self.number):
            task = ("async", "plain", "quick")[n % 3]
            params = {"n": n // 6 * 6 + n % 3 if self.joins else n}
            self.handles.append(await cue.submit(task, params=params))
            if n == 5:
                await asyncio.sleep(0.05)
        await asyncio.sleep(3)
        await cue.stop()
        for handle in self.handles:
            events = self.recorder.of(handle)
            ends = [event in {"complete", "failure", "skip", "cancel"} for event in events]
            assert ends.count(True) == 1, (handle, events)
            assert ends[-1], (handle, events)
        # A limit cancels it while it is being started: then its first step comes before that, and may be its last.
        assert self.place == "acquire" or {handle.state for handle in self.cancelled} <= {
            runcue.WorkState.CANCELLED
        }
        assert self.entered_in_vain == []
        assert all(service.in_use == 0 for service in cue.services())


@pytest.mark.rule(16, 17, 35)
@pytest.mark.parametrize("place", PLACES)
def test_wherever_a_handle_is_cancelled_each_work_unit_ends_once_and_as_was_said(place: str) -> None:
    # Others for each place, and the same ones whatever was tested before.
    worlds = islice(cycle(WORLDS), 2 * len(VICTIMS) * PLACES.index(place), None)
    for victim in VICTIMS:
        for _ in range(2):
            world = World(place, victim, *next(worlds))
            run(world.go)


@pytest.mark.rule(16, 35)
@pytest.mark.parametrize("joins", [False, True], ids=["alone", "joined"])
def test_who_is_cancelled_by_a_priority_while_its_own_gate_is_awaited_does_not_run(joins: bool) -> None:
    world = World("priority", "all", 3, joins, "async")
    run(world.go)
    assert world.cancelled
