"""Work units that a server refuses each time: the others go on, on both sides of a pause."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

import runcue
from tests.support.virtual_time import now, virtual

pytestmark = pytest.mark.rule(26)


def key_of(n: int) -> str:
    return "a" if n < 30 else "b"


class Server:
    """Refuses some each time, and serves the others.

    Args:
        refused: Whether a prompt is.
        retry_after: What it says of how long.
    """

    def __init__(self, refused: Callable[[int], bool], retry_after: float | None) -> None:
        self.refused = refused
        self.retry_after = retry_after
        self.calls: list[tuple[int, float]] = []
        self.served: dict[int, float] = {}
        # Before this instant it wants to be left in peace, by the key.
        self.until = dict.fromkeys("ab", 0.0)

    async def __call__(self, n: int) -> None:
        self.calls.append((n, now()))
        assert now() >= self.until[key_of(n)] - 1e-9
        await asyncio.sleep(0.5)
        if self.refused(n):
            self.until[key_of(n)] = now() + (self.retry_after or 0.0)
            raise runcue.Throttled(self.retry_after)
        self.served[n] = now()

    def paused(self) -> float:
        """Seconds during which it was not called, until all were served that are."""
        calls = [at for _, at in self.calls if at <= max(self.served.values())]
        return sum(after - before - 0.5 for before, after in pairwise(calls) if after - before > 0.5)


async def finished(server: Server, number: int, **options: Any) -> runcue.Summary:
    cue = runcue.Cue()
    cue.task("t", uses=cue.service("api", **options))(server)
    cue.on_failure(lambda work, error: None)
    async with cue:
        for n in range(number):
            await cue.submit("t", {"n": n})
        return await cue.drain()


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("retry_after", [1.0, 20.0, 60.0])
@pytest.mark.parametrize("slots", [1, 2, 10])
@virtual
async def test_one_that_is_refused_each_time_does_not_stop_the_others(
    slots: int, retry_after: float, keyed: bool
) -> None:
    server = Server(lambda n: n == 3, retry_after)
    options = {"per": key_of} if keyed else {}
    summary = await finished(server, 40, concurrent=slots, **options)
    assert [work.params["n"] for work in summary.failed] == [3]
    assert len(server.served) == 39
    # As it is refused first, as the probe, and once more, before the others are through.
    assert max(server.served.values()) < 30 + 4 * retry_after
    mine = [at for n, at in server.calls if n == 3 and at < max(server.served.values())]
    assert len(mine) <= 7, "ever less often"


@pytest.mark.parametrize("slots", [1, 4])
@virtual
async def test_several_that_are_refused_each_time_do_not_stop_the_others(slots: int) -> None:
    server = Server(lambda n: n in (0, 1, 2, 17), 20.0)
    summary = await finished(server, 30, concurrent=slots)
    assert sorted(work.params["n"] for work in summary.failed) == [0, 1, 2, 17]
    assert len(server.served) == 26
    assert max(server.served.values()) < 400


@virtual
async def test_a_service_that_has_always_work_is_paused_for_a_small_part_of_the_time() -> None:
    server = Server(lambda n: n == 0, 60.0)
    cue = runcue.Cue()
    cue.task("t", uses=cue.service("api", concurrent=1))(server)
    cue.on_failure(lambda work, error: None)
    async with cue:
        bad = await cue.submit("t", {"n": 0})
        for n in range(1, 1800):
            await cue.submit("t", {"n": n})
        await bad.wait()
        assert 600 <= now() < 1500
        share = 0.5 * len(server.served) / now()
    assert share > 0.5


@pytest.mark.parametrize("retry_after", [None, 10.0])
@virtual
async def test_one_that_is_alone_has_no_one_to_let_go_first(retry_after: float | None) -> None:
    server = Server(lambda n: len(server.calls) < 5, retry_after)
    await finished(server, 1, concurrent=1)
    waits = [after - before - 0.5 for (_, before), (_, after) in pairwise(server.calls)]
    assert waits == pytest.approx([1, 2, 4, 8] if retry_after is None else [10] * 4)


@virtual
async def test_while_all_are_refused_the_service_is_asked_when_it_would_be_for_one() -> None:
    server = Server(lambda n: len(server.calls) < 9, None)
    await finished(server, 5, concurrent=1)
    waits = [after - before - 0.5 for (_, before), (_, after) in pairwise(server.calls)][:8]
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])
    assert {n for n, _ in server.calls[:9]} == set(range(5)), "another one each time"


@virtual
async def test_a_probe_that_is_refused_lets_another_one_go_first_and_that_passes() -> None:
    server = Server(lambda n: n == 0 and len(server.calls) < 4, 10.0)
    await finished(server, 2, concurrent=1)
    assert server.calls == [(0, 0.0), (0, 10.5), (1, 21.0), (0, pytest.approx(23.0))]
