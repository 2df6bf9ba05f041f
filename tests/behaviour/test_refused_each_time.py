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
    assert server.calls[:3] == [(0, 0.0), (0, 10.5), (1, 21.0)]
    assert 21.5 <= server.calls[3][1] <= 22.5, "with those who follow when that one has passed"


async def gate_of_others(work: runcue.Work) -> bool:
    await asyncio.sleep(0.3)
    return True


@pytest.mark.parametrize("hindrance", ["none", "gate", "never ready", "other service"])
@virtual
async def test_others_that_cannot_start_hold_it_up_for_a_moment_alone(hindrance: str) -> None:
    server = Server(lambda n: n == 0 and len(server.calls) < 4, 10.0)
    cue = runcue.Cue()
    api, full = cue.service("api", concurrent=2), cue.service("full", concurrent=1)
    cue.task("t", uses=api)(server)
    cue.task("u", uses=[api, full] if hindrance == "other service" else api)(server)
    if hindrance == "gate":
        cue.is_ready(task="u")(gate_of_others)
    if hindrance == "never ready":
        cue.is_ready(task="u")(lambda work: False)

    @cue.task("long", uses=full)
    async def long() -> None:
        await asyncio.sleep(100)

    async with cue:
        await cue.submit("long")
        mine = await cue.submit("t", {"n": 0})
        await asyncio.sleep(1)
        other = await cue.submit("u", {"n": 1})
        await mine
        other.cancel()
    calls = [at for n, at in server.calls if n == 0]
    assert calls[1] == pytest.approx(10.5)
    assert calls[2] < 21.0 + 10.5 + 5
    assert len(calls) == 4 - sum(n == 1 for n, _ in server.calls[:3])


@virtual
async def test_who_lets_a_probe_go_first_that_is_cancelled_goes_on() -> None:
    calls: list[tuple[int, float]] = []

    async def handler(n: int) -> None:
        calls.append((n, now()))
        await asyncio.sleep(0.5)
        if n == 0 and len(calls) < 3:
            raise runcue.Throttled(10)
        if n == 1:
            await asyncio.sleep(1000)

    cue = runcue.Cue()
    cue.task("t", uses=cue.service("api", concurrent=2))(handler)
    async with cue:
        mine = await cue.submit("t", {"n": 0})
        await asyncio.sleep(1)
        other = await cue.submit("t", {"n": 1})
        await asyncio.sleep(20.5)
        assert calls == [(0, 0.0), (0, 10.5), (1, 21.0)]
        other.cancel()
        await mine
        assert now() < 25


@virtual
async def test_resume_lets_who_stays_away_go_on_at_once() -> None:
    server = Server(lambda n: n == 0, 30.0)
    cue = runcue.Cue()
    api = cue.service("api", concurrent=1)
    cue.task("t", uses=api)(server)
    async with cue:
        mine = await cue.submit("t", {"n": 0})
        for n in range(1, 200):
            await cue.submit("t", {"n": n})
        await asyncio.sleep(95)
        assert [n for n, _ in server.calls].count(0) == 3
        api.pause(5)
        server.until["a"] = 0.0
        api.resume()
        await asyncio.sleep(1)
        assert [n for n, _ in server.calls].count(0) == 4
        mine.cancel()


@virtual
async def test_a_stop_waits_for_who_stays_away() -> None:
    server = Server(lambda n: n == 0 and len(server.calls) < 15, 10.0)
    cue = runcue.Cue()
    cue.task("t", uses=cue.service("api", concurrent=1))(server)
    cue.start()
    for n in range(20):
        await cue.submit("t", {"n": n})
    await asyncio.sleep(35)
    summary = await cue.stop()
    assert summary.counts["completed"] == 20
    assert not summary.left


FOR_EVER = runcue.Retry(-1, wait_initial=1, wait_max=1, wait_jitter=0)


@pytest.mark.rule(50)
@pytest.mark.parametrize("bad", [{0}, {0, 1}, {3}, {0, 1, 2, 3}])
@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("keyed", [False, True])
@virtual
async def test_one_that_fails_each_time_does_not_keep_a_breaker_open(
    bad: set[int], slots: int, keyed: bool
) -> None:
    served: dict[int, float] = {}

    async def handler(n: int) -> None:
        await asyncio.sleep(0.5)
        if n in bad or now() < 30:
            raise ConnectionError("no")
        served[n] = now()

    cue = runcue.Cue()
    options = {"per": lambda n: "all"} if keyed else {}
    cue.task("t", uses=cue.service("api", concurrent=slots, breaker=runcue.Breaker(3, 20), **options))(
        handler
    )
    async with cue:
        handles = [await cue.submit("t", {"n": n}, retry=FOR_EVER) for n in range(20)]
        for n, handle in enumerate(handles):
            if n not in bad:
                await handle
        for handle in handles:
            handle.cancel()
    assert min(served.values()) < 45 + 20 * len(bad), "each of them is let through once at the most"


@pytest.mark.rule(50)
@virtual
async def test_one_that_is_alone_behind_a_breaker_is_let_through_when_the_cooldown_is_over() -> None:
    calls: list[float] = []

    async def handler(work: runcue.Work) -> None:
        calls.append(now())
        if len(calls) < 6:
            raise ConnectionError("no")

    cue = runcue.Cue()
    cue.task("t", uses=cue.service("api", breaker=runcue.Breaker(1, 20)), retry=FOR_EVER)(handler)
    async with cue:
        await cue.submit("t")
    assert calls == [0, 20, 40, 60, 80, 100]


@pytest.mark.rule(50)
@virtual
async def test_who_would_come_too_late_behind_a_breaker_lets_nobody_go_first() -> None:
    calls: list[tuple[int, float]] = []

    async def handler(n: int) -> None:
        calls.append((n, now()))
        await asyncio.sleep(0.5)
        raise ConnectionError("no")

    cue = runcue.Cue()
    policy = runcue.Retry(-1, wait_initial=1, wait_max=1, wait_jitter=0, timeout=41.5)
    cue.task("t", uses=cue.service("api", concurrent=1, breaker=runcue.Breaker(1, 20)), retry=policy)(handler)
    cue.on_failure(lambda work, error: None)
    async with cue:
        await cue.submit("t", {"n": 0})
        await cue.submit("t", {"n": 1})
        await cue.drain()
    assert calls[:2] == [(0, 0.0), (0, 20.5)]
    assert (0, 41.0) in calls, "a second later it would have been too late"


@pytest.mark.rule(26, 50)
@pytest.mark.parametrize("by", ["refusals", "failures"])
@virtual
async def test_as_long_as_the_one_that_goes_first_runs_it_waits(by: str) -> None:
    calls: list[tuple[int, float]] = []

    async def handler(n: int) -> None:
        calls.append((n, now()))
        await asyncio.sleep(5)
        if n == 0 and len(calls) < 4:
            raise runcue.Throttled(10) if by == "refusals" else ConnectionError("no")

    cue = runcue.Cue()
    options: dict[str, Any] = {} if by == "refusals" else {"breaker": runcue.Breaker(1, 10)}
    cue.task("t", uses=cue.service("api", concurrent=5, **options), retry=FOR_EVER)(handler)
    async with cue:
        await cue.submit("t", {"n": 0})
        await asyncio.sleep(6)
        await cue.submit("t", {"n": 1})
    assert calls[:3] == [(0, 0.0), (0, 15.0), (1, 30.0)]
    assert 35 <= calls[3][1] <= (36 if by == "refusals" else 35), "and goes on when that one has passed"
    assert len(calls) == 4
