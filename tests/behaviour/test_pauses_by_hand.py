"""Services that are paused by hand: nothing starts, what runs goes on, and whoever waits is told: rule 48."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from math import inf
from typing import Any

import pytest

import runcue
from runcue.testing import run
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import now, virtual


def paused(**options: Any) -> tuple[runcue.Cue, runcue.Service, list[float]]:
    """A cue with a service, and the instants at which its task starts."""
    cue, entered = runcue.Cue(**options), list[float]()
    api = cue.service("api", rate="10/sec")

    @cue.task("call", uses=api)
    async def call(work: runcue.Work) -> None:
        entered.append(now())

    return cue, api, entered


@pytest.mark.rule(48)
@pytest.mark.parametrize("seconds", [8, "8 s", timedelta(seconds=8)], ids=repr)
@virtual
async def test_nothing_starts_before_a_pause_is_over_and_a_drain_waits_for_that(seconds: Any) -> None:
    cue, api, entered = paused()
    async with cue:
        await (await cue.submit("call"))
        began = now()
        api.pause(seconds)
        handles = [await cue.submit("call") for _ in range(3)]
        assert api.status().paused == 8.0
        assert "api: paused by hand for another 8 s" in str(cue.why(handles[1]))
        summary = await cue.drain()
    assert entered[1:] == [began + 8] * 3
    assert summary.counts["completed"] == 4
    assert api.status().paused is None


@pytest.mark.rule(48)
@virtual
async def test_a_pause_without_an_end_holds_until_resume_and_no_stall_timeout_fails_what_waits() -> None:
    cue, api, entered = paused(stall_timeout=30)
    async with cue:
        api.pause()
        handles = [await cue.submit("call") for _ in range(3)]
        await asyncio.sleep(1000)
        assert not entered
        assert api.status().paused == inf
        why = cue.why(handles[0])
        assert (why.verdict, why.next_step) == ("paused", "Call cue.get_service('api').resume()")
        api.resume()
        began = now()
        await asyncio.gather(*handles)
    assert entered == [began] * 3


@pytest.mark.rule(48)
@virtual
async def test_the_stall_timeout_counts_anew_once_a_service_goes_on() -> None:
    cue, api, _ = paused(stall_timeout=30)

    @cue.is_ready(task="call")
    def never(work: runcue.Work) -> bool:
        return False

    async with cue:
        api.pause()
        handle = await cue.submit("call")
        await asyncio.sleep(200)
        assert not handle.done()
        api.resume()
        began = now()
        with pytest.raises(runcue.StallTimeout):
            await handle
        assert now() - began == 30


@pytest.mark.rule(48)
@virtual
async def test_a_pause_that_holds_nothing_keeps_no_stall_timeout_from_failing_others() -> None:
    cue, api, _ = paused(stall_timeout=30)

    @cue.task
    async def other(work: runcue.Work) -> None: ...

    @cue.is_ready(task="other")
    def never(work: runcue.Work) -> bool:
        return False

    async with cue:
        api.pause()
        began = now()
        with pytest.raises(runcue.StallTimeout):
            await (await cue.submit("other"))
        assert now() - began == 30


@pytest.mark.rule(48)
@virtual
async def test_what_a_pause_without_an_end_holds_is_listed_by_a_drain_and_cancelled_by_a_stop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cue, api, entered = paused()
    cue.start()
    api.pause()
    await cue.submit("call")
    summary = await cue.drain()
    assert [one["details"] for one in summary.blocked] == ["api: paused by hand, until resume() is called"]
    summary = await cue.stop()
    assert (len(summary.cancelled), entered) == (1, [])
    assert "paused by hand" in caplog.text


@pytest.mark.rule(48)
@virtual
async def test_a_handler_that_awaits_what_a_pause_holds_is_in_no_deadlock(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cue, api, _ = paused()

    @cue.task
    async def parent(work: runcue.Work) -> None:
        await (await cue.submit("call"))

    async with cue:
        api.pause()
        handle = await cue.submit("parent")
        summary = await cue.drain()
        assert [one["work"].task for one in summary.blocked] == ["call"]
        assert (summary.deadlocked, caplog.records) == ([], [])
        api.resume()
        await handle


@pytest.mark.rule(48)
@virtual
async def test_the_last_word_on_a_pause_counts() -> None:
    cue, api, entered = paused()
    async with cue:
        began = now()
        api.pause(100)
        api.pause()
        api.pause(5)
        await (await cue.submit("call"))
        assert entered == [began + 5]
        api.resume()  # there is none, which does no harm
        api.pause(5)
        api.resume()
        await (await cue.submit("call"))
    assert entered == [began + 5] * 2


@pytest.mark.rule(48)
@virtual
async def test_what_is_up_to_date_is_skipped_although_its_service_is_paused() -> None:
    cue, api, entered = paused()

    @cue.is_stale
    def never(work: runcue.Work) -> bool:
        return False

    async with cue:
        api.pause()
        await asyncio.wait_for(await cue.submit("call"), 1)
    assert not entered


@pytest.mark.rule(48)
def test_a_pause_from_before_the_start_counts_from_when_it_was_said_by_whatever_clock() -> None:
    cue, api, entered = paused()
    api.pause(10)

    async def main() -> float:
        async with cue:
            began = now()
            await (await cue.submit("call"))
        return began

    assert run(main) == pytest.approx(entered[0] - 10, abs=1)


@pytest.mark.rule(48)
@virtual
async def test_one_of_two_services_that_is_paused_holds_what_needs_both_and_nothing_else() -> None:
    cue, api, _ = paused()
    disk = cue.service("disk", concurrent=1)

    @cue.task("both", uses=[api, disk])
    async def both(work: runcue.Work) -> None: ...

    @cue.task("write", uses=disk)
    async def write(work: runcue.Work) -> None: ...

    async with cue:
        disk.pause()
        works = [await cue.submit(one) for one in ("both", "write", "call")]
        await works[2]
        assert [one.done() for one in works] == [False, False, True]
        disk.resume()
    assert [one.done() for one in works] == [True] * 3


@pytest.mark.rule(48)
@virtual
async def test_a_paused_service_lets_no_more_in_than_max_pending() -> None:
    cue, api, _ = paused(max_pending=3)

    async def feed() -> None:
        async for _ in cue.map("call", itertools.repeat({}, 20), window=20):
            pass

    async with cue:
        api.pause()
        feeding = asyncio.create_task(feed())
        await asyncio.sleep(100)
        assert cue.counts()["pending"] == 3
        api.resume()
        await feeding


@pytest.mark.rule(48)
@each_loop
def test_a_plain_handler_pauses_and_resumes_its_service(loop: str) -> None:
    cue = runcue.Cue()
    api = cue.service("api", concurrent=2)

    @cue.task("stop", uses=api)
    def stop(work: runcue.Work) -> float | None:
        api.pause()
        return cue.get_service("api").status().paused

    @cue.task("go on")
    def go_on(work: runcue.Work) -> None:
        api.resume()

    async def main() -> list[Any]:
        async with cue:
            said = await (await cue.submit("stop"))
            waits = await cue.submit("stop")
            await asyncio.sleep(0.02)
            held = waits.done()
            await (await cue.submit("go on"))
            await waits
            api.resume()
        return [said, held]

    assert run_on(loop, main) == [inf, False]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), inf, "soon", True, [5]], ids=repr)
def test_what_is_no_length_of_time_is_refused_and_nothing_is_paused(seconds: Any) -> None:
    _, api, _ = paused()
    with pytest.raises(runcue.ConfigurationError, match=r"seconds of pause\(\) of service 'api' must be"):
        api.pause(seconds)
    assert api.status().paused is None


@virtual
async def test_what_is_let_go_on_just_before_a_stop_gives_it_up_runs() -> None:
    resumed = []
    for steps in range(20):
        cue = runcue.Cue()
        api = cue.service("api")

        @cue.task("t", uses=api)
        async def t(work: runcue.Work) -> None: ...

        cue.start()
        handle = await cue.submit("t")
        api.pause()
        await asyncio.sleep(1)
        stop = asyncio.create_task(cue.stop())
        for _ in range(steps):
            await asyncio.sleep(0)
        if handle.state is runcue.WorkState.PENDING:
            api.resume()
            resumed.append(steps)
            await stop
            assert handle.state is runcue.WorkState.COMPLETED, steps
        await stop
    assert 3 < len(resumed) < 20
