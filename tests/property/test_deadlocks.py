"""A deadlock is told when it is one, and only then: small programs of handlers that wait, and the truth beside it.

The truth is what is left when nothing has happened for longer than any sleep or time-out of a program takes.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import runcue
from tests.support.virtual_time import now
from tests.support.waiting_programs import (
    ENDING,
    LASTING,
    PAUSES,
    QUIET,
    TASKS,
    UNREADABLE,
    Program,
    Unit,
    Wait,
    is_readable,
)
from tests.support.worlds import GuardedLoop, Tally, orders, silence


def units(depth: int) -> st.SearchStrategy[Unit]:
    sleep = st.sampled_from(PAUSES)
    style = st.sampled_from(LASTING + ENDING) | st.sampled_from(LASTING + ENDING + UNREADABLE)
    step: st.SearchStrategy[Any] = sleep
    if depth:
        wait = st.builds(
            Wait,
            style,
            st.lists(units(depth - 1), min_size=1, max_size=2).map(tuple),
            st.lists(st.integers(0, 9), max_size=1).map(tuple),
        )
        step = sleep | wait | wait
    return st.builds(Unit, st.integers(0, len(TASKS) - 1), st.lists(step, max_size=2).map(tuple))


@pytest.mark.rule(36)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.lists(units(2), min_size=1, max_size=3),
    st.booleans(),
    orders,
)
def test_what_is_told_to_be_a_deadlock_is_one_and_what_is_one_is_told(
    slots: tuple[int, int], roots: list[Unit], drained: bool, order: int | None
) -> None:
    readable = all(map(is_readable, roots))

    async def main() -> None:
        program = Program(slots)
        cue, told = program.cue, program.told
        cue.start()
        for root in roots:
            await program.submit(root)
        listed: set[runcue.Work] = set()
        if drained and readable:
            listed = set((await cue.drain()).deadlocked)
        while now() < program.stirred + QUIET:
            await asyncio.sleep(0.25)
        stuck = program.running()
        assert set(told.deadlocks) <= stuck, "a wrong verdict"
        event(f"{'stuck' if stuck else 'free'}, {'readable' if readable else 'unreadable'}")
        if readable:
            late = [work for work in stuck if told.deadlocks.get(work, inf) > program.stirred + 1.0]
            assert not late, "a missed one"
            if drained:
                assert listed == stuck
        at = now()
        if readable:
            summary = await cue.drain()
            assert (set(summary.deadlocked), now()) == (stuck, at)
            summary = await cue.stop()
            assert set(summary.deadlocked) >= stuck
        else:
            await cue.stop(timeout=0)
        assert not program.running()

    Tally.examples += 1
    # What the tasks of a program raise when it is ended is nobody's concern.
    with silence(), asyncio.Runner(loop_factory=lambda: GuardedLoop(order=order)) as runner:
        runner.run(main())
