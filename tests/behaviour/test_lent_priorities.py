"""Who joins a work unit lends it a priority, as long as it stays there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import runcue
from runcue import Flag
from tests.support.virtual_time import there, virtual

pytestmark = pytest.mark.rule(6, 28)


def described(head_start: float | None = None) -> tuple[runcue.Cue, list[str]]:
    """A cue with one slot, and the order in which its work units begin."""
    cue = runcue.Cue(head_start=head_start)
    cue.service("one", concurrent=1)
    begun: list[str] = []

    @cue.task("t", uses="one")
    async def t(work: runcue.Work) -> None:
        begun.append(work.params["name"])
        await asyncio.sleep(1)

    return cue, begun


async def submit(
    cue: runcue.Cue, name: str, priority: float | None = None, **options: Any
) -> runcue.WorkHandle:
    return await cue.submit("t", {"name": name}, priority=priority, **options)


@pytest.mark.parametrize("is_queued", [False, True])
@pytest.mark.parametrize(
    ("lent", "gone", "order"),
    [
        ([0.9], [], ["busy", "both", "a", "b"]),
        ([0.9], [0], ["busy", "a", "b", "both"]),
        ([0.9, 0.2, 0.3], [0], ["busy", "a", "b", "both"]),
        ([0.2, 0.9, 0.8], [1], ["busy", "both", "a", "b"]),
        ([0.9, 0.55, 0.9], [0, 2], ["busy", "a", "both", "b"]),
        ([None], [], ["busy", "a", "both", "b"]),
        ([None], [0], ["busy", "a", "b", "both"]),
        ([0.05], [], ["busy", "a", "b", "both"]),
    ],
)
@virtual
async def test_an_urgent_one_that_joins_another_lends_it_its_priority_as_long_as_it_stays(
    lent: list[float | None], gone: list[int], order: list[str], is_queued: bool
) -> None:
    cue, begun = described()
    await submit(cue, "busy", 1.0)
    if is_queued:
        cue.start()
        await asyncio.sleep(0.1)
    leader = await submit(cue, "both", 0.1, key="k")
    await submit(cue, "a", 0.6)
    await submit(cue, "b", 0.4)
    if is_queued:
        await asyncio.sleep(0.1)
    followers = [await submit(cue, "both", one, key="k") for one in lent]
    for one in gone:
        followers[one].cancel()
    cue.start()
    await cue.stop()
    assert begun == order
    assert [one.state.value for one in (leader, *followers)].count("completed") == 1 + len(lent) - len(gone)


@virtual
async def test_what_is_lent_counts_from_the_submission_of_the_leader() -> None:
    cue, begun = described(head_start=60)
    async with cue:
        await submit(cue, "busy", 1.0)
        await asyncio.sleep(0.1)
        await submit(cue, "both", 0.0, key="k")
        await asyncio.sleep(0.1)
        await submit(cue, "a", 0.8)
        await submit(cue, "both", 0.8, key="k")
    assert begun == ["busy", "both", "a"]


@virtual
async def test_it_is_lent_also_to_what_is_not_ready_yet_and_to_who_takes_the_place_of_the_leader() -> None:
    cue, begun = described()
    needed, made = Flag("needed"), Flag("made")
    async with cue:
        leader = await submit(cue, "both", 0.1, inputs=needed, key="k")
        await submit(cue, "both", 0.2, inputs=needed, key="k")
        await submit(cue, "both", 0.9, inputs=needed, key="k")
        await submit(cue, "busy")
        await asyncio.sleep(0.5)
        for number in range(3):
            await submit(cue, str(number), outputs=made if number == 2 else None)
        leader.cancel()
        there(cue, needed, made)
        cue.nudge(needed)
        await asyncio.sleep(0.1)
    assert begun[:2] == ["busy", "both"]


@virtual
async def test_what_a_function_says_of_who_has_joined_is_not_asked_and_lends_nothing() -> None:
    asked: list[str] = []
    cue, begun = described()

    @cue.priority
    def priority(ctx: runcue.PriorityContext) -> float:
        asked.append(ctx.work.params["name"])
        return 0.6 if ctx.work.params["name"] == "a" else 0.5

    async with cue:
        await submit(cue, "busy", 1.0)
        await asyncio.sleep(0.1)
        await submit(cue, "both", 0.1, key="k")
        await submit(cue, "a")
        await asyncio.sleep(0.1)
        await submit(cue, "both", key="k")
    assert (begun, asked) == (["busy", "a", "both"], ["a"])


@virtual
async def test_many_may_join_and_leave_and_the_order_stays() -> None:
    cue, begun = described()
    cue.start()
    await submit(cue, "busy", 1.0)
    await asyncio.sleep(0.1)
    leaders = [await submit(cue, str(number), number / 100, key=number) for number in range(100)]
    await asyncio.sleep(0.1)
    urgent = [await submit(cue, str(number), 1.0, key=number) for number in range(100)]
    for number, one in enumerate(urgent):
        if number % 10:
            one.cancel()
    await cue.stop()
    assert begun == ["busy", *map(str, [*range(0, 100, 10), *(n for n in range(99, 0, -1) if n % 10)])]
    assert all(one.state is runcue.WorkState.COMPLETED for one in leaders)
