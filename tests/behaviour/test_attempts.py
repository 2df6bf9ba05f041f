"""An attempt that ends in "again at this instant" comes back, through a real cue.

Who decides is put into the core by hand: there is no public way to ask for another attempt yet.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest

import runcue
from runcue import Flag
from runcue._model.attempts import Again
from runcue._model.phases import FAILED
from runcue._scheduling.attempts import FailedAttempt, Settle
from runcue.testing import FakeExecutor, Recorder
from tests.support.virtual_time import now, virtual

DELAY = 10.0


def deciding(cue: runcue.Cue, attempts: int = 3) -> list[FailedAttempt]:
    """Gives each work of a cue so many attempts, each ten seconds after the one before. Returns what was decided on."""
    asked = []

    def decide(ended: FailedAttempt) -> Settle | Again:
        asked.append(ended)
        return Again(ended.now + DELAY) if ended.work.attempt < attempts else Settle(FAILED, ended.error)

    cue._core.decide = decide
    return asked


def handlers(fails: Callable[[runcue.Work], bool]) -> dict[str, Callable[[runcue.Work], object]]:
    async def at_once(work: runcue.Work) -> int:
        if fails(work):
            raise ValueError(f"attempt {work.attempt}")
        return work.attempt

    async def suspending(work: runcue.Work) -> int:
        await asyncio.sleep(1)
        return await at_once(work)

    def sync(work: runcue.Work) -> int:
        if fails(work):
            raise ValueError(f"attempt {work.attempt}")
        return work.attempt

    def awaitable(work: runcue.Work) -> object:
        return suspending(work)

    return {"at once": at_once, "suspending": suspending, "sync": sync, "awaitable": awaitable}


KINDS = [*handlers(lambda work: False)]


@pytest.mark.rule(10, 16)
@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_attempts_follow_each_other_and_the_work_settles_once(kind: str) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(1.0))
    asked = deciding(cue)
    recorder = Recorder(cue)
    cue.service("api", concurrent=1)
    starts = []
    cue.on_start(lambda work: starts.append((work.attempt, now())))
    cue.task("t", uses="api")(handlers(lambda work: work.attempt < 3)[kind])
    async with cue:
        handle = await cue.submit("t")
        assert await handle.result() == 3, "the waiter hears of the last attempt only"
        took = {"at once": 0.0, "awaitable": 2.0}.get(kind, 1.0)
        assert starts == [(1, 0.0), (2, took + DELAY), (3, 2 * (took + DELAY))]
        assert recorder.of(handle) == ["start", "put_back", "start", "put_back", "start", "complete"]
        assert [(ended.work.attempt, str(ended.error)) for ended in asked] == [
            (3, "attempt 1"),
            (3, "attempt 2"),
        ]
        assert [ended.duration for ended in asked] == [took, took]
        assert cue.services()[0].in_use == 0


@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_the_error_of_the_last_attempt_is_that_of_the_work(kind: str) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(1.0))
    asked = deciding(cue, attempts=2)
    heard = []
    cue.on_failure(lambda work, error: heard.append(str(error)))
    cue.task("t")(handlers(lambda work: True)[kind])
    async with cue:
        handle = await cue.submit("t")
        with pytest.raises(ValueError, match="attempt 2"):
            await handle.result()
    assert heard == ["attempt 2"]
    assert len(asked) == 2


@pytest.mark.rule(10)
@virtual
async def test_the_slot_is_free_between_attempts_and_each_attempt_takes_a_token() -> None:
    cue = runcue.Cue()
    deciding(cue)
    cue.service("api", rate="2/min", concurrent=1)
    log = []

    @cue.task("t", uses="api")
    async def t(work: runcue.Work) -> None:
        log.append((work.params["n"], work.attempt, now()))
        await asyncio.sleep(1)
        if work.params["n"] == 0 and work.attempt == 1:
            raise ValueError("on purpose")

    async with cue:
        for n in range(2):
            await cue.submit("t", params={"n": n})
    # The second goes in between; the second attempt, due at 11 s, has to wait for a token.
    assert log == [(0, 1, 0.0), (1, 1, 1.0), (0, 2, 60.0)]


@pytest.mark.rule(2)
@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_the_gate_is_asked_again_before_the_next_attempt(kind: str) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(1.0))
    deciding(cue)
    made = []
    cue.is_stale(lambda work: not made)
    cue.task("t")(handlers(lambda work: True)[kind])
    async with cue:
        handle = await cue.submit("t")
        await asyncio.sleep(5)
        assert handle.work.state is runcue.WorkState.PENDING
        made.append("somebody else has done it meanwhile")
        assert (await handle.wait()).skipped
        assert now() == pytest.approx(DELAY + {"at once": 0.0, "awaitable": 2.0}.get(kind, 1.0))


@virtual
async def test_it_says_until_when_it_is_delayed() -> None:
    cue = runcue.Cue(pending_warn_after=1)
    deciding(cue)
    cue.task("t")(handlers(lambda work: work.attempt < 2)["at once"])
    async with cue:
        handle = await cue.submit("t")
        await asyncio.sleep(4)
        words = "attempt 2 in 6 s, after ValueError: attempt 1"
        [blocked] = cue.debug_blocked()
        assert (blocked["work"], blocked["details"]) == (handle.work, words)
        why = cue.why(handle)
        assert (why.verdict, why.details) == ("waiting for a retry", words)
        assert (why.eta, why.seconds) == (6.0, 4.0)
        assert words in str(why)


@pytest.mark.rule(17)
@virtual
async def test_one_that_waits_for_its_next_attempt_can_be_cancelled_and_time_does_not_wait_for_it() -> None:
    cue = runcue.Cue()
    deciding(cue)
    cue.task("t")(handlers(lambda work: True)["at once"])
    async with cue:
        handle = await cue.submit("t")
        await asyncio.sleep(4)
        assert await cue.cancel(handle)
        assert handle.work.state is runcue.WorkState.CANCELLED
        await cue.drain()
        assert now() == 4.0
        assert cue._dispatcher.timers.active.next() == inf, "nothing is waited for any more"


@pytest.mark.rule(23)
@pytest.mark.parametrize("how", ["drain", "stop"])
@virtual
async def test_what_comes_to_rest_waits_for_all_attempts(how: str) -> None:
    cue = runcue.Cue(recheck=False)
    deciding(cue)
    done = Flag("done")

    @cue.task("maker", outputs=done)
    async def maker(work: runcue.Work) -> None:
        if work.attempt < 3:
            raise ValueError("on purpose")
        done.set()

    cue.task("reader", inputs=done)(lambda work: "read")
    cue.start()
    reader, _ = await cue.submit("reader"), await cue.submit("maker")
    summary = await (cue.drain() if how == "drain" else cue.stop())
    assert summary.counts["completed"] == 2
    assert await reader.result() == "read", "it was held until the last attempt"
    assert now() == 2 * DELAY
    if how == "drain":
        await cue.stop()


@pytest.mark.rule(23)
@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_who_stops_without_a_drain_gets_the_error_instead_of_another_attempt(kind: str) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(5.0))
    deciding(cue)
    cue.on_failure(lambda work, error: None)

    async def slow(work: runcue.Work) -> None:
        await asyncio.sleep(5)
        raise ValueError("attempt 1")

    cue.task("t")(slow if kind in ("at once", "suspending") else handlers(lambda work: True)[kind])
    cue.start()
    handle = await cue.submit("t")
    await asyncio.sleep(1)
    summary = await cue.stop(drain=False)
    assert str(handle.work.exception) == "attempt 1"
    assert summary.counts["failed"] == 1


@pytest.mark.rule(21)
@virtual
async def test_a_stall_timeout_respects_an_attempt_that_will_come_at_a_known_instant() -> None:
    cue = runcue.Cue(stall_timeout=3)
    deciding(cue)
    cue.task("t")(handlers(lambda work: work.attempt < 3)["at once"])
    async with cue:
        handle = await cue.submit("t")
        await asyncio.sleep(4)
        assert cue._dispatcher.next_start() == DELAY, "nor does it look again before that"
        assert await handle.result() == 3


@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_a_timeout_is_for_each_attempt_and_not_for_the_time_in_between(kind: str) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(1.0))
    deciding(cue)
    cue.task("t", timeout=5)(handlers(lambda work: work.attempt < 3)[kind])
    async with cue:
        assert await (await cue.submit("t")).result() == 3


@pytest.mark.rule(20)
@virtual
async def test_a_pending_timeout_counts_anew_from_the_instant_of_the_next_attempt() -> None:
    cue = runcue.Cue(pending_timeout=4, recheck=False)
    deciding(cue)
    ready = [True]
    cue.is_ready(lambda work: ready[0])
    cue.task("t")(handlers(lambda work: True)["at once"])
    async with cue:
        handle = await cue.submit("t")
        await asyncio.sleep(1)
        ready[0] = False
        with pytest.raises(runcue.PendingTimeout, match=r"was pending for 4\.0 s"):
            await handle.result()
        assert now() == DELAY + 4


@pytest.mark.rule(9)
@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_each_attempt_runs_in_a_fresh_copy_of_the_context_of_the_submission(kind: str) -> None:
    seen = []
    variable = contextvars.ContextVar("variable", default="nothing")

    def fails(work: runcue.Work) -> bool:
        seen.append(variable.get())
        variable.set(f"set by attempt {work.attempt}")
        return work.attempt < 3

    cue = runcue.Cue(run_in=FakeExecutor(1.0))
    deciding(cue)
    cue.task("t")(handlers(fails)[kind])
    variable.set("as submitted")
    async with cue:
        await (await cue.submit("t")).result()
    assert seen == ["as submitted"] * 3


@pytest.mark.rule(30)
@pytest.mark.parametrize("suspends", [True, False])
@virtual
async def test_what_a_failed_attempt_wrote_is_gone_and_what_the_last_one_wrote_is_there(
    tmp_path: Path, suspends: bool
) -> None:
    cue = runcue.Cue()
    deciding(cue)

    @cue.task("t", outputs=[runcue.File(tmp_path / "one"), runcue.File(tmp_path / "other")])
    async def t(work: runcue.Work) -> None:
        if suspends:
            await asyncio.sleep(1)
        for number, output in enumerate(work.outputs):
            # The first attempt fails for want of the second output: after the first one was published.
            if number < work.attempt:
                with work.write(output, durable=False) as file:
                    file.write(f"by attempt {work.attempt}")
        if work.attempt == 2:
            raise ValueError("on purpose")

    async with cue:
        await (await cue.submit("t")).result()
    there = {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()}  # noqa: ASYNC240 - the cue has stopped
    assert there == {"one": "by attempt 3", "other": "by attempt 3"}


@pytest.mark.rule(28)
@virtual
async def test_a_handler_that_was_taken_over_is_tried_again_for_its_successor() -> None:
    cue = runcue.Cue()
    asked = deciding(cue)
    runs = []

    @cue.task("t", key="same")
    async def t(work: runcue.Work) -> str:
        runs.append((work.id, work.attempt))
        await asyncio.sleep(1)
        if len(runs) < 2:
            raise ValueError("on purpose")
        return "made"

    async with cue:
        leader, follower = await cue.submit("t"), await cue.submit("t")
        await asyncio.sleep(0.5)
        await cue.cancel(leader)
        assert await follower.result() == "made"
    assert runs == [(leader, 1), (follower, 2)]
    assert [ended.work for ended in asked] == [follower.work]
    assert leader.work.state is runcue.WorkState.CANCELLED
