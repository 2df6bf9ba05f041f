"""What a stop leaves that has no end: it is listed, and not tried once more, however soon it is to be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import runcue
from runcue import Flag
from tests.support.virtual_time import now, virtual

pytestmark = pytest.mark.rule(23)

ENDLESS = runcue.Retry(-1, wait_initial=0, wait_jitter=0)
STOPS: list[dict[str, Any]] = [{}, {"drain": False}, {"timeout": 30}, {"delayed": "cancel"}]


def described(error: BaseException, **options: Any) -> tuple[runcue.Cue, list[float]]:
    """A cue with a task "t" that takes a second and raises, and when it was begun."""
    cue = runcue.Cue()
    begun: list[float] = []
    cue.service("one", concurrent=1)

    @cue.task("t", uses="one", **options)
    async def t(work: runcue.Work) -> None:
        begun.append(now())
        await asyncio.sleep(1)
        raise error

    cue.on_failure(lambda work, error: None)
    return cue, begun


@pytest.mark.parametrize("stop", STOPS, ids=str)
@pytest.mark.parametrize("wait", [0, 0.5])
@virtual
async def test_who_asks_for_later_while_the_cue_stops_is_left_and_not_called_once_more(
    stop: dict[str, Any], wait: float
) -> None:
    cue, begun = described(runcue.RetryLater(wait))
    cue.start()
    handle = await cue.submit("t")
    await asyncio.sleep(0.5)
    summary = await cue.stop(**stop)
    assert (begun, now()) == ([0], 1)
    assert summary.left == [handle.work]
    assert (summary.counts["cancelled"], summary.blocked) == (1, [])


@virtual
async def test_what_fails_for_ever_and_at_once_is_left_and_not_tried_once_more() -> None:
    cue, begun = described(ValueError("always"), retry=ENDLESS)
    cue.start()
    handle = await cue.submit("t")
    await asyncio.sleep(2.5)
    summary = await cue.stop()
    assert (begun, now()) == ([0, 1, 2], 3)
    assert summary.left == [handle.work]


@pytest.mark.rule(28)
@pytest.mark.parametrize("stop", STOPS, ids=str)
@pytest.mark.parametrize("wait", [0, 0.5])
@virtual
async def test_who_has_joined_what_is_left_is_left_with_it(stop: dict[str, Any], wait: float) -> None:
    cue, begun = described(runcue.RetryLater(wait), outputs=Flag("made"))
    cue.start()
    handles = [await cue.submit("t") for _ in range(3)]
    await asyncio.sleep(0.5)
    summary = await cue.stop(**stop)
    assert (begun, now()) == ([0], 1)
    assert sorted(summary.left, key=str) == sorted((one.work for one in handles), key=str)


@pytest.mark.rule(28)
@virtual
async def test_who_joins_what_comes_back_in_the_very_instant_is_left_with_it() -> None:
    cue, begun = described(runcue.RetryLater(0.5), outputs=Flag("made"))
    joined: list[runcue.WorkHandle] = []

    class Eager(runcue.Observer):
        def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
            asyncio.get_running_loop().create_task(self.join())

        async def join(self) -> None:
            joined.append(await cue.submit("t"))

    cue.observe(Eager())
    cue.start()
    handle = await cue.submit("t")
    await asyncio.sleep(0.5)
    summary = await cue.stop()
    assert (begun, now()) == ([0], 1)
    assert summary.left == [handle.work, *(one.work for one in joined)]


@pytest.mark.rule(39)
@virtual
async def test_who_must_complete_and_asks_for_later_is_left_and_what_needs_it_is_given_up() -> None:
    cue, begun = described(runcue.RetryLater(0), outputs=Flag("made"), must_complete=True)
    cue.task("reader", inputs=Flag("made"), must_complete=True)(lambda work: None)
    cue.start()
    maker, reader = await cue.submit("t"), await cue.submit("reader")
    await asyncio.sleep(0.5)
    summary = await cue.stop(drain=False)
    assert (begun, now()) == ([0], 1)
    assert summary.left == [maker.work]
    assert [one["work"] for one in summary.blocked] == [reader.work]


@pytest.mark.rule(40)
@pytest.mark.parametrize("came", ["before", "during"])
@virtual
async def test_what_waits_for_its_instant_again_while_the_cue_stops_is_left(came: str) -> None:
    cue, begun = described(ValueError("never"), outputs=Flag("made"))
    cue.task("first", uses="one")(first := Long(cue))
    cue.start()
    await cue.submit("first")
    at_once = await cue.submit("t")
    if came == "before":
        first.submitted.append(await cue.submit("t", delay=60))
    else:
        first.submits = True
    await asyncio.sleep(0.5)
    stop = asyncio.create_task(cue.stop(delayed="cancel" if came == "before" else "wait"))
    await asyncio.sleep(1)
    at_once.cancel()
    summary = await stop
    assert (begun, now()) == ([], 2)
    assert summary.left == [one.work for one in first.submitted]


class Long:
    """A handler that takes two seconds, and may submit "t" for later after one of them."""

    def __init__(self, cue: runcue.Cue) -> None:
        self._cue = cue
        self.submits = False
        self.submitted: list[runcue.WorkHandle] = []

    async def __call__(self, work: runcue.Work) -> None:
        await asyncio.sleep(1)
        if self.submits:
            self.submitted.append(await self._cue.submit("t", delay=60))
        await asyncio.sleep(1)


@pytest.mark.rule(28)
@virtual
async def test_what_waits_for_its_instant_again_once_its_gate_has_answered_is_left() -> None:
    cue = runcue.Cue()

    @cue.task("t", outputs=Flag("made"))
    async def t(work: runcue.Work) -> None:
        raise AssertionError

    @cue.is_ready
    async def ready(work: runcue.Work) -> bool:
        await asyncio.sleep(10)
        return True

    cue.start()
    later = await cue.submit("t", delay=60)
    hasty = await cue.submit("t")
    await asyncio.sleep(1)
    assert hasty.cancel()
    summary = await cue.stop(drain=False)
    assert summary.left == [later.work]


@pytest.mark.rule(39)
@virtual
async def test_who_takes_the_place_of_one_that_is_cancelled_as_it_is_put_back_is_left_as_well() -> None:
    cue, calls = runcue.Cue(), []

    @cue.task("again", outputs=runcue.Flag("made"))
    async def again(work: runcue.Work) -> None:
        calls.append(now())
        await asyncio.sleep(1.0)
        raise runcue.RetryLater(5.0)

    class Cancels(runcue.Observer):
        def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
            cancels.append(asyncio.create_task(cue.cancel(work.id)))

    cancels: list[asyncio.Task[object]] = []
    cue.observe(Cancels())
    cue.start()
    await cue.submit("again")
    joined = await cue.submit("again")
    await asyncio.sleep(0.5)
    summary = await cue.stop()
    assert (calls, now()) == ([0.0], 1.0)
    assert [one.id for one in summary.left] == [joined]
