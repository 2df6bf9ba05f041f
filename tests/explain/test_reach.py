"""`cue.why()` of one work unit looks at some of thousands, and says how many others there are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import runcue
from runcue import Flag
from runcue._dispatch.waiting import Waiting
from runcue.testing import FakeExecutor
from tests.support.virtual_time import now, virtual

MANY = 500


class Counted(Flag):
    """A flag that counts how often such are asked."""

    asked = 0

    def valid(self) -> bool:
        Counted.asked += 1
        return super().valid()


async def nothing(work: runcue.Work) -> None:
    pass


async def forever(work: runcue.Work) -> None:
    await asyncio.sleep(1e6)


@pytest.mark.parametrize("made", [0, 5, MANY])
@virtual
async def test_of_thousands_of_inputs_some_are_asked_and_the_others_counted(made: int) -> None:
    cue = runcue.Cue()
    cue.service("api", concurrent=1)
    cue.task("hog", uses="api")(forever)
    cue.task("make", uses="api")(nothing)
    cue.task("read")(nothing)
    cue.start()
    await cue.submit("hog")
    inputs = [Counted(f"input {number}") for number in range(MANY)]
    for one in inputs[:made]:
        await cue.submit("make", outputs=one)
    reader = await cue.submit("read", inputs=inputs)
    await asyncio.sleep(1)
    Counted.asked = 0
    why = cue.why(reader)
    assert 0 < Counted.asked <= 600  # those that are told, and some on the way to the root
    told = str(why)
    if made == MANY:
        assert len(why.missing) + why.more_missing == MANY
        assert why.unasked == 0
        assert f"and {MANY - 5} more" in told
    else:
        assert [one.state for one in why.missing[:5]] == ["nobody"] * 5
        assert len(why.missing) + why.more_missing + why.unasked == MANY
        assert "and at least" in told
    await cue.stop(drain=False, timeout=1)


@virtual
async def test_the_one_of_thousands_of_inputs_that_is_missing_is_named() -> None:
    cue = runcue.Cue()
    cue.task("read")(nothing)
    inputs = [Counted(f"input {number}") for number in range(MANY)]
    for one in inputs[:-1]:
        one.set()
    async with cue:
        reader = await cue.submit("read", inputs=inputs)
        await asyncio.sleep(1)
        why = cue.why(reader)
        assert [one.artifact for one in why.missing] == [inputs[-1]]
        assert f"of {why.unasked} more inputs it was not asked whether they are there" in str(why)
        await cue.stop(drain=False)


@virtual
async def test_of_thousands_that_a_handler_awaits_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    cue = runcue.Cue()
    cue.service("api", concurrent=1)
    cue.task("hog", uses="api")(forever)
    cue.task("ask", uses="api")(nothing)

    @cue.task
    async def parent(work: runcue.Work) -> None:
        children = [await cue.submit("ask") for _ in range(MANY)]
        await asyncio.gather(*(child.result() for child in children))

    cue.start()
    await cue.submit("hog")
    waits = await cue.submit(parent)
    await asyncio.sleep(1)
    looked_at = []
    end_of = Waiting._end_of

    def counted(self: Waiting, coroutine: Any) -> Any:
        looked_at.append(coroutine)
        return end_of(self, coroutine)

    monkeypatch.setattr(Waiting, "_end_of", counted)
    told = str(cue.why(waits))
    assert 0 < len(looked_at) <= 300
    assert "its handler waits for ask" in told
    assert "and at least 95 more" in told
    assert "If it hangs, give the task hog a timeout=" in told
    await cue.stop(drain=False, timeout=1)


@virtual
async def test_a_deadlock_with_more_than_are_looked_at_first_is_found_whole() -> None:
    cue = runcue.Cue()
    cue.service("api", concurrent=1)
    cue.task("ask", uses="api")(nothing)

    @cue.task(uses="api")
    async def parent(work: runcue.Work) -> None:
        children = [await cue.submit("ask") for _ in range(150)]
        await asyncio.gather(*(child.result() for child in children))

    cue.start()
    waits = await cue.submit(parent)
    await asyncio.sleep(1)
    why = cue.why(waits)
    assert why.verdict == "deadlock"
    assert "and 147 more" in str(why)
    await cue.stop(drain=False, timeout=1)


@pytest.mark.parametrize("other", ["another key", "no key", "a budget of the total"])
@virtual
async def test_who_leaves_a_total_to_another_is_told_for_whom_and_until_when(other: str) -> None:
    cue = runcue.Cue(run_in=FakeExecutor())
    if other == "a budget of the total":
        cue.service("tokens", budget={"tokens": "100/min"})
    else:
        cue.service("tokens", per=lambda user: user, budget={"tokens": "100/min"})
    cue.service("total", rate="2/10min")
    entered: list[tuple[str, float]] = []

    @cue.task(uses=["tokens", "total"], cost={"tokens": 60})
    async def ask(work: runcue.Work) -> None: ...

    @cue.task(uses="total")
    async def count(work: runcue.Work) -> None: ...

    cue.on_start(lambda work: entered.append((work.params["name"], now())))
    async with cue:
        for name in ("first", "second"):
            head = await cue.submit(ask, {"user": "x", "name": name})
        await asyncio.sleep(40)
        task = ask if other == "another key" else count
        left = await cue.submit(task, {"user": "y", "name": "other"})
        await asyncio.sleep(1)
        why = cue.why(left)
        assert why.verdict == "waiting for a limit"
        assert why.eta == 19
        assert f"it would put off ask {head}, which came before it" in why.details
        assert "(in 19 s)" in why.details
        assert f"ask {head}" in cue.debug_blocked()[-1]["details"]
    assert entered == [("first", 0), ("second", 60), ("other", 600)]
