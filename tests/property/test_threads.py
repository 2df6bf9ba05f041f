"""Real threads, real time: limits and slots while many short sync handlers keep all threads busy.

A thread stamps its token with the clock and then enters the handler. Between the two the machine may give its time to
somebody else, so an instant taken inside the handler is late by as much, and two of them may be closer than the stamps
are. No guessed tolerance stands in for that: the stamps are read off the executor's reports and held to the exact
promise, and each handler's own instant must lie behind its stamp. What a handler sees is then late by no more than its
own measured lateness.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, NamedTuple

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import runcue
from runcue.executors.threads import ThreadExecutor
from tests.support.worlds import Tally, silence

PATIENCE = 20.0  # seconds of real time, for a busy machine; an example takes a tenth of one


class Load(NamedTuple):
    """`count` starts per `period` in `slots` threads, for `periods` of them."""

    count: int
    period: float
    slots: int
    periods: int
    sleeps: float
    fails: bool
    submitted_in_threads: bool


loads = st.builds(
    Load,
    count=st.integers(5, 60),
    period=st.sampled_from((0.04, 0.05, 0.1)),
    slots=st.integers(1, 24),
    periods=st.integers(1, 3),
    sleeps=st.sampled_from((0.0, 0.0, 0.0005, 0.002)),
    fails=st.booleans(),
    submitted_in_threads=st.booleans(),
)


class Stamps(ThreadExecutor):
    """The real executor; the stamps it reports are written down on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.stamps: dict[int, float] = {}

    def start(self, deliver: Any, entered: Any, clock: Any) -> None:
        def note(work: Any, instant: float) -> None:
            self.stamps[work.params["number"]] = instant
            entered(work, instant)

        super().start(deliver, note, clock)


@pytest.mark.rule(7, 8, 9)
@settings(max_examples=max(1, settings.default.max_examples * 3 // 20))  # 30 of 200: real time
@given(loads)
def test_limits_hold_while_all_threads_are_busy(load: Load) -> None:
    Tally.examples += 1
    number_of_works = load.count * load.periods + load.count // 2
    executor = Stamps()
    cue = runcue.Cue(run_in=executor, stall_timeout=PATIENCE)
    cue.service("limited", rate=f"{load.count}/{load.period}sec", concurrent=load.slots)
    lock = threading.Lock()
    inside = most = 0
    seen: dict[int, float] = {}

    @cue.task("short", uses="limited")
    def short(work: runcue.Work) -> int:
        nonlocal inside, most
        entered = time.monotonic()
        with lock:
            inside += 1
            most = max(most, inside)
            assert work.params["number"] not in seen
            seen[work.params["number"]] = entered
        time.sleep(load.sleeps)
        with lock:
            inside -= 1
        if load.fails and work.params["number"] % 3 == 0:
            raise ValueError("on purpose")
        return int(work.params["number"])

    async def main() -> tuple[runcue.Summary, list[Any]]:
        async with asyncio.timeout(PATIENCE):
            cue.start()
            if load.submitted_in_threads:
                halves = [range(0, number_of_works, 2), range(1, number_of_works, 2)]
                both = await asyncio.gather(*(asyncio.to_thread(submit_all, half) for half in halves))
                handles = [*both[0], *both[1]]
            else:
                handles = [await cue.submit("short", params={"number": n}) for n in range(number_of_works)]
            results = await asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True)
            return await cue.stop(), results

    def submit_all(numbers: range) -> list[runcue.WorkHandle]:
        return [cue.submit_threadsafe("short", params={"number": n}) for n in numbers]

    with silence():
        summary, results = asyncio.run(main())

    failed = len(range(0, number_of_works, 3)) if load.fails else 0
    assert summary.counts == {
        "completed": number_of_works - failed, "failed": failed, "skipped": 0, "cancelled": 0
    }  # fmt: skip
    assert sorted(one for one in results if isinstance(one, int)) == [
        n for n in range(number_of_works) if not (load.fails and n % 3 == 0)
    ]
    assert most <= load.slots
    assert sorted(seen) == sorted(executor.stamps) == list(range(number_of_works))
    by_stamp = sorted(seen, key=executor.stamps.__getitem__)
    worst = 0.0
    for number, one_over in zip(by_stamp, by_stamp[load.count :], strict=False):
        apart = executor.stamps[one_over] - executor.stamps[number]
        assert apart >= load.period, f"{load.count + 1} stamps within {apart!r} s"
        late = seen[number] - executor.stamps[number]
        assert late >= 0, "stamped after the handler was entered"
        assert seen[one_over] - seen[number] >= load.period - late
        worst = max(worst, late)
    event("a handler was entered more than 1 ms after its stamp" if worst > 0.001 else "no thread was late")
    event(f"all {'slots were' if most == load.slots else 'slots were never'} in use at once")
