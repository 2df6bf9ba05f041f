"""Slots that find themselves: against a server that takes so many at once, and no more."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

import runcue
from tests.support.virtual_time import now, virtual


class Server:
    """Takes so many at once, as many as it does by then, and refuses the others.

    Args:
        capacities: One after the other.
        stretch: Each for so many seconds.
        takes: Seconds for an answer, on average.
        retry_after: What it says of how long, by the instant.
    """

    def __init__(
        self,
        capacities: Sequence[int],
        stretch: float,
        takes: float = 1.0,
        retry_after: Callable[[float], float | None] = lambda now: None,
    ) -> None:
        self.capacities = capacities
        self.stretch = stretch
        self.takes = takes
        self.retry_after = retry_after
        self.active = self.refused = 0
        self.log = [(0.0, 0)]
        self.luck = random.Random(3)

    def capacity(self) -> int:
        return self.capacities[min(int(now() // self.stretch), len(self.capacities) - 1)]

    async def __call__(self, work: runcue.Work) -> None:
        await asyncio.sleep(0.01)
        if self.active >= self.capacity():
            self.refused += 1
            raise runcue.Throttled(self.retry_after(now()))
        self.active += 1
        self.log.append((now(), self.active))
        try:
            await asyncio.sleep(self.takes * self.luck.uniform(0.5, 1.5))
        finally:
            self.active -= 1
            self.log.append((now(), self.active))

    def mean(self, start: float, end: float) -> float:
        """How many it had on average."""
        spans = pairwise([*self.log, (end, 0)])
        return sum(max(0.0, min(two, end) - max(one, start)) * n for (one, n), (two, _) in spans) / (
            end - start
        )


async def run(server: Server, number: int, seconds: float, slots: Any) -> runcue.Cue:
    cue = runcue.Cue()
    cue.task("t", uses=cue.service("api", concurrent=slots))(server)
    cue.start()
    for _ in range(number):
        await cue.submit("t")
    await asyncio.sleep(seconds)
    return cue


@pytest.mark.rule(50)
@virtual
async def test_it_follows_a_server_that_takes_20_then_5_then_40() -> None:
    server = Server((20, 5, 40), 60)
    cue = await run(server, 4000, 180, runcue.Adaptive(1, 50))
    shares = [server.mean(60 * n + 40, 60 * n + 60) / capacity for n, capacity in enumerate((20, 5, 40))]
    assert all(0.8 <= share <= 1.1 for share in shares), shares
    assert server.refused < 150
    await cue.stop(drain=False, timeout=0)


@pytest.mark.rule(50)
@virtual
async def test_a_long_retry_after_is_waited_for_and_then_it_goes_on_as_before() -> None:
    server = Server((20,), 1000, retry_after=lambda now: 100.0 if now < 60 else None)
    cue = await run(server, 4000, 200, runcue.Adaptive(1, 50))
    [(paused, again)] = [(one, two) for (one, _), (two, _) in pairwise(server.log) if two - one > 90]
    assert again - paused <= 100 + 0.1
    assert server.mean(again + 20, again + 40) >= 0.8 * 20
    await cue.stop(drain=False, timeout=0)


@pytest.mark.rule(50)
@virtual
async def test_where_nothing_is_refused_it_grows_to_the_high_end_and_only_while_all_are_in_use() -> None:
    server = Server((1000,), 1000)
    cue = await run(server, 3000, 60, runcue.Adaptive(2, 30))
    assert cue.get_service("api").status().concurrent == 30
    assert max(active for _, active in server.log) == 30
    await cue.stop(drain=False, timeout=0)
    server = Server((1000,), 1000)
    async with runcue.Cue() as cue:
        cue.task("t", uses=cue.service("api", concurrent=runcue.Adaptive(2, 30)))(server)
        for _ in range(100):
            await (await cue.submit("t"))
        assert cue.get_service("api").status().concurrent == 2, "one of two was in use"


@pytest.mark.rule(50)
@virtual
async def test_a_burst_takes_a_fifth_once_and_never_below_the_low_end() -> None:
    refused: set[str] = set()

    async def handler(work: runcue.Work) -> None:
        await asyncio.sleep(1)
        if work.params["refused"] and work.id not in refused:
            refused.add(work.id)
            raise runcue.Throttled

    async with runcue.Cue() as cue:
        api = cue.service("api", concurrent=runcue.Adaptive(10, 20))
        cue.task("t", uses=api)(handler)
        for _ in range(300):
            await cue.submit("t", params={"refused": False})
        await asyncio.sleep(10.5)
        assert api.status().concurrent == 20
        for _ in range(20):
            await cue.submit("t", params={"refused": True}, priority=1.0)
        await asyncio.sleep(1.6)
        assert len(refused) == 20
        assert api.status().concurrent == 16
        api.change(concurrent=runcue.Adaptive(1, 5))
        assert api.status().concurrent == 5
        api.change(concurrent=7)
        assert api.status().concurrent == 7


@pytest.mark.rule(50)
@virtual
async def test_a_refusal_without_a_time_pauses_that_work_unit_alone() -> None:
    calls: list[tuple[str, float]] = []

    async def handler(work: runcue.Work) -> None:
        calls.append((work.id, now()))
        if work.id == "1" and sum(one == "1" for one, _ in calls) <= 7:
            raise runcue.Throttled
        await asyncio.sleep(0.25)

    async with runcue.Cue(id_prefix="") as cue:
        cue.task("t", uses=cue.service("api", concurrent=runcue.Adaptive(2, 10)))(handler)
        for _ in range(40):
            await cue.submit("t")
    mine = [at for one, at in calls if one == "1"]
    # Perhaps a little later, when the others have all slots.
    assert [round(two - one) for one, two in pairwise(mine)] == [1, 2, 4, 8, 16, 32, 60]
    assert max(at for one, at in calls if one != "1") < 10


@pytest.mark.rule(26, 50)
@virtual
async def test_where_nothing_but_refusals_comes_with_as_few_slots_as_there_may_be_the_service_pauses() -> (
    None
):
    server = Server((0, 20), 300)
    cue = await run(server, 1000, 290, runcue.Adaptive(1, 50))
    assert server.refused < 40, "not each of them, one after the other"
    await asyncio.sleep(200)
    assert cue.counts()["completed"] > 500
    await cue.stop(drain=False, timeout=0)


@pytest.mark.rule(26, 50)
@pytest.mark.parametrize("number", [1, 2, 3, 20])
@virtual
async def test_where_work_units_have_waited_alone_the_service_does_not_begin_with_a_second_again(
    number: int,
) -> None:
    calls: list[tuple[str, float]] = []

    async def handler(work: runcue.Work) -> None:
        calls.append((str(work.id), now()))
        if now() < 200:
            raise runcue.Throttled

    async with runcue.Cue() as cue:
        cue.task("t", uses=cue.service("api", concurrent=runcue.Adaptive(1, 10)))(handler)
        for _ in range(number):
            await cue.submit("t")
    for one in {name for name, _ in calls}:
        mine = [at for name, at in calls if name == one and at < 200]
        waits = [after - before for before, after in pairwise(mine)]
        assert waits == sorted(waits), "never shorter than before as long as it is refused"
    instants = sorted({at for _, at in calls if 20 < at < 200})
    assert len(instants) <= 8


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: runcue.Adaptive(5, 1), r"low that is at most as much as its high, not Adaptive\(5, 1\)"),
        (lambda: runcue.Adaptive(0, 5), "low of Adaptive must be a whole number of at least 1, not 0"),
        (lambda: runcue.Adaptive(1, 2.5), "high of Adaptive"),  # type: ignore[arg-type]
        (lambda: runcue.Adaptive(5), r"Adaptive\(\) takes 2 arguments, low, high"),  # type: ignore[call-arg]
        (lambda: runcue.Cue().service("a", concurrent=runcue.Adaptive), r"runcue.Adaptive\(1, 50\)"),  # type: ignore[arg-type]
        (lambda: setattr(runcue.Adaptive(1, 2), "low", 2), "cannot be changed"),
    ],
)
def test_bounds_that_cannot_work_are_refused_where_they_are_written(
    make: Callable[[], Any], said: str
) -> None:
    with pytest.raises((runcue.ConfigurationError, AttributeError), match=said):
        make()


def test_bounds_are_a_value() -> None:
    import pickle

    bounds = runcue.Adaptive(1, 50)
    assert bounds == pickle.loads(pickle.dumps(bounds))
    assert hash(bounds) == hash(runcue.Adaptive(1, 50))
    assert bounds != runcue.Adaptive(1, 51)
    assert repr(bounds) == "Adaptive(1, 50)"
    cue = runcue.Cue()
    assert cue.service("api", concurrent=bounds) == cue.service("api", concurrent=runcue.Adaptive(1, 50))
    with pytest.raises(runcue.ConfigurationError, match="1 to 50 slots"):
        cue.service("api", concurrent=runcue.Adaptive(2, 50))
