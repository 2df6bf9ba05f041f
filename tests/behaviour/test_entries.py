"""The instant at which a handler counts as entered, and what may come between that and its first line: nothing.

Whatever gives up the GIL in between lets a thread that computes go first, for 5 ms each time; then the handlers of one
window start later than their tokens say, and meet those of the next one.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue._handlers import thread_runs
from runcue.abc import Clock, Deliver, Limit
from runcue.executors.threads import ThreadExecutor
from tests.attacks.loops import LOOPS, run_on


class Noting(ThreadExecutor):
    """The real threads; what happens in each of them is written down, and what they report."""

    def __init__(self) -> None:
        super().__init__()
        self.happened: dict[int, list[str]] = {}
        self.stamps: dict[str, float] = {}
        self.told: list[str] = []

    def note(self, what: str) -> None:
        self.happened.setdefault(threading.get_ident(), []).append(what)

    def noting(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            self.note(what)
            return function(*arguments, **options)

        return noted

    def start(self, deliver: Deliver, entered: Callable[[Any, float], None], clock: Clock) -> None:
        def note_entry(work: runcue.Work, instant: float) -> None:
            assert work.id not in self.stamps, "told twice"
            self.stamps[work.id] = instant
            entered(work, instant)

        def note_return(work: runcue.Work, *outcome: Any) -> None:
            assert work.id in self.stamps, "nobody was told of its entry"
            self.told.append(work.id)
            deliver(work, *outcome)

        clock.monotonic = self.noting("the instant", clock.monotonic)  # type: ignore[method-assign]
        super().start(note_return, note_entry, clock)
        assert self._channel is not None
        self._channel.signal = self.noting("the loop is woken", self._channel.signal)  # type: ignore[method-assign]
        self._channel.enter = self.noting("a thread is woken", self._channel.enter)  # type: ignore[method-assign]


@pytest.mark.rule(8)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("makes", [None, "file"])
def test_nothing_comes_between_the_instant_of_the_entry_and_the_first_line(
    loop: str, makes: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = Noting()
    monkeypatch.setattr(thread_runs, "mark", executor.noting("the disk", thread_runs.mark))
    cue = runcue.Cue(run_in=executor)
    cue.service("api", rate="5/0.05sec", concurrent=3)
    outputs = (lambda work: tmp_path / work.id) if makes else None

    @cue.task("task", uses="api", outputs=outputs)
    def task(work: runcue.Work) -> None:
        executor.note("the first line")
        if makes:
            (tmp_path / work.id).touch()

    async def main() -> None:
        async with cue:
            for _ in range(20):
                await cue.submit("task")

    run_on(loop, main())
    lines = 0
    for happened in executor.happened.values():
        for before, what in pairwise(happened):
            if what == "the first line":
                assert before == "the instant"
                lines += 1
    assert lines == len(executor.stamps) == len(executor.told) == 20
    assert makes is None or any("the disk" in happened for happened in executor.happened.values())


@pytest.mark.rule(7, 8)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_rate_holds_beside_a_thread_that_computes(loop: str) -> None:
    executor = Noting()
    cue = runcue.Cue(run_in=executor)
    count, period = 10, 0.1
    cue.service("api", rate=f"{count}/{period}sec")
    first_lines: dict[str, float] = {}
    over = threading.Event()

    @cue.task("task", uses="api")
    def task(work: runcue.Work) -> None:
        first_lines[work.id] = time.monotonic()

    def compute() -> None:
        while not over.is_set():
            sum(range(100))

    async def main() -> None:
        async with cue:
            for _ in range(5 * count):
                await cue.submit("task")

    computing = threading.Thread(target=compute)
    computing.start()
    try:
        run_on(loop, main())
    finally:
        over.set()
        computing.join()
    stamps = executor.stamps
    assert len(stamps) == len(first_lines) == 5 * count
    in_order = sorted(stamps, key=stamps.__getitem__)
    for one, one_over in zip(in_order, in_order[count:], strict=False):
        assert stamps[one_over] - stamps[one] >= period
        late = first_lines[one] - stamps[one]
        assert first_lines[one_over] - first_lines[one] >= period - late


@pytest.mark.rule(8)
async def test_an_entry_is_told_while_the_handler_still_runs_and_every_thread_is_busy() -> None:
    told: dict[str, float] = {}

    class Listening(Limit):
        def room(self, now: float, work: runcue.Work, /) -> bool:
            return True

        def entered(self, now: float, work: runcue.Work, at: float, /) -> None:
            told[work.id] = at

    cue = runcue.Cue()
    cue.service("api", concurrent=2, limits=[Listening()])
    over = threading.Event()

    @cue.task("task", uses="api")
    def task(work: runcue.Work) -> None:
        assert over.wait(30)

    async with cue:
        for _ in range(2):
            await cue.submit("task")
        while len(told) < 2:
            await asyncio.sleep(0.001)
        over.set()


@pytest.mark.rule(7, 8)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("wrapped", ["by a decorator", "by a lambda"])
def test_of_an_async_def_that_a_plain_function_calls_what_counts_is_its_first_line(
    wrapped: str, loop: str
) -> None:
    # The thread is through in microseconds; the loop gets round to the coroutine when it can.
    count, period = 5, 0.1
    cue = runcue.Cue()
    cue.service("api", rate=f"{count}/{period}sec")
    first_lines: list[float] = []

    async def fetch(work: runcue.Work) -> None:
        first_lines.append(time.monotonic())
        await asyncio.sleep(0)

    @functools.wraps(fetch)
    def decorated(work: runcue.Work) -> Awaitable[None]:
        return fetch(work)

    cue.task("task", uses="api")(decorated if wrapped == "by a decorator" else lambda work: fetch(work))

    async def lag() -> None:
        for seconds in itertools.cycle((0.03, 0.0, 0.05, 0.0, 0.01)):
            time.sleep(seconds)  # noqa: ASYNC251 - that is the point
            await asyncio.sleep(0.003)

    async def main() -> None:
        async with cue:
            await (await cue.submit("task"))  # what a lambda gives is seen by then
            lagging = asyncio.create_task(lag())
            for _ in range(4 * count):
                await cue.submit("task")
            await cue.drain()
            lagging.cancel()

    run_on(loop, main())
    assert len(first_lines) == 4 * count + 1
    for one, one_over in zip(first_lines, first_lines[count:], strict=False):
        assert one_over - one >= period


@pytest.mark.rule(8, 17)
@pytest.mark.parametrize("when", ["before its first step", "later"])
async def test_a_coroutine_that_is_cancelled_leaves_no_token_reserved(when: str) -> None:
    cue = runcue.Cue()
    cue.service("api", rate="1/0.01sec")
    begun = asyncio.Event()

    async def fetch(work: runcue.Work) -> None:
        begun.set()
        if work.params["number"] == 0:
            await asyncio.Event().wait()

    @cue.task("task", uses="api")
    @functools.wraps(fetch)
    def task(work: runcue.Work) -> Awaitable[None]:
        if when == "before its first step" and work.params["number"] == 0:
            cue_loop.call_soon_threadsafe(cancel_soon)
        return fetch(work)

    def cancel_soon() -> None:
        cancelling.append(cue_loop.create_task(cue.cancel(handles[0])))

    cue_loop = asyncio.get_running_loop()
    cancelling: list[asyncio.Task[bool]] = []
    async with cue:
        handles = [await cue.submit("task", params={"number": number}) for number in range(3)]
        if when == "later":
            await begun.wait()
            await cue.cancel(handles[0])
        async with asyncio.timeout(30):
            summary = await cue.drain()
    assert summary.counts["completed"] == 2
    assert summary.counts["cancelled"] == 1


@pytest.mark.rule(8)
async def test_a_plain_function_that_only_looks_like_an_async_one_is_counted_from_its_entry() -> None:
    # That is seen by its first end: until then it might have given something to be awaited.
    cue = runcue.Cue()
    cue.service("api", rate="1/0.01sec")

    async def fetch(work: runcue.Work) -> str:
        return threading.current_thread().name

    @cue.task("task", uses="api")
    @functools.wraps(fetch)
    def task(work: runcue.Work) -> str:
        if work.params["waits"]:
            assert over.wait(30)
        return asyncio.run(fetch(work))

    over = threading.Event()
    async with cue:
        await (await cue.submit("task", params={"waits": False}))
        first = await cue.submit("task", params={"waits": True})
        second = await cue.submit("task", params={"waits": False})
        async with asyncio.timeout(30):
            assert (await second.result()).startswith("runcue-"), (
                "the first one's token came back while it ran"
            )
        over.set()
        await first.wait()
