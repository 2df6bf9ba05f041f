"""Threads that submit while the loop of their cue ends, or is ended, or is replaced: none of them waits for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import runcue

LOOPS = ["asyncio", "uvloop"]
each_loop = pytest.mark.parametrize("loop", LOOPS)

PATIENCE = 10.0  # seconds of real time, for a busy machine; it takes milliseconds


def new_loop(loop: str) -> asyncio.AbstractEventLoop:
    if loop == "uvloop":
        made: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
        return made
    return asyncio.new_event_loop()


class Submitter(threading.Thread):
    """Calls something in a thread and keeps what comes of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.outcome: Any = None
        self._call = call
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._call()
        except BaseException as error:
            self.outcome = error

    def ended(self) -> Any:
        self.join(PATIENCE)
        assert not self.is_alive(), "it waits for ever"
        return self.outcome


def counting() -> runcue.Cue:
    cue = runcue.Cue()
    cue.task("t")(lambda work: threading.get_ident())
    return cue


def wait_until(is_so: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < limit
        time.sleep(0.001)


@pytest.mark.rule(19, 24)
@each_loop
def test_threads_whose_submissions_are_on_their_way_when_the_loop_ends_are_told_so(loop: str) -> None:
    cue = counting()

    async def start() -> None:
        cue.start()

    ended = new_loop(loop)
    ended.run_until_complete(start())
    threads = [Submitter(lambda: cue.submit_threadsafe("t")) for _ in range(5)]
    wait_until(lambda: len(cue._intake.loop_calls) == 5)  # the loop has ended, and nobody knows it yet
    ended.close()
    for thread in threads:
        assert isinstance(thread.ended(), runcue.CueStopped)
    with pytest.raises(runcue.CueStopped, match="event loop of this cue has ended"):
        cue.submit_threadsafe("t")

    async def again() -> runcue.Summary:
        cue.start()
        thread = Submitter(lambda: cue.submit_threadsafe("t"))
        while thread.is_alive():
            await asyncio.sleep(0.001)
        assert isinstance(thread.ended(), runcue.WorkHandle)
        return await asyncio.wait_for(cue.stop(), PATIENCE)

    other = new_loop(loop)
    assert other.run_until_complete(again()).counts["completed"] == 1
    other.close()


@pytest.mark.rule(19, 24)
@each_loop
def test_a_handler_in_a_thread_that_submits_when_its_loop_has_ended_is_told_so(loop: str) -> None:
    cue = runcue.Cue()
    entered, go_on = threading.Event(), threading.Event()
    outcomes: list[Any] = []

    @cue.task("parent")
    def parent(work: runcue.Work) -> None:
        entered.set()
        go_on.wait(PATIENCE)
        try:
            outcomes.append(work.submit("parent"))
        except BaseException as error:
            outcomes.append(error)

    async def start() -> None:
        cue.start()
        await cue.submit("parent")
        while not entered.is_set():
            await asyncio.sleep(0.001)

    ended = new_loop(loop)
    ended.run_until_complete(start())
    go_on.set()
    wait_until(lambda: len(cue._intake.loop_calls) == 1)
    ended.close()
    wait_until(lambda: bool(outcomes))
    assert isinstance(outcomes[0], runcue.CueStopped)


@pytest.mark.rule(19, 24)
@each_loop
def test_threads_that_never_cease_to_submit_outlast_any_number_of_loops(loop: str) -> None:
    cue = counting()
    is_over = threading.Event()
    taken: list[str] = []

    def submits() -> None:
        while not is_over.is_set():
            try:
                taken.append(cue.submit_threadsafe("t"))
            except runcue.CueStopped:
                time.sleep(0.0005)

    async def life(stops: bool) -> None:
        cue.start()
        if not threads:
            threads.extend(Submitter(submits) for _ in range(4))
        before = len(taken)
        while len(taken) < before + 20:
            await asyncio.sleep(0)
        if stops:
            await asyncio.wait_for(cue.stop(), PATIENCE)

    threads: list[Submitter] = []
    for number in range(6):
        with asyncio.Runner(loop_factory=lambda: new_loop(loop)) as runner:
            runner.run(life(stops=number % 2 == 1))
    is_over.set()
    for thread in threads:
        assert thread.ended() is None
    assert not cue._intake.loop_calls
