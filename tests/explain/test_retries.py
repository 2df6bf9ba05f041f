"""What `why()` and its kin say of work units that were tried before, and of those that wait for their time."""

from __future__ import annotations

import asyncio
import re

import pytest

import runcue
from runcue import Flag
from tests.support.virtual_time import virtual

RETRY = runcue.Retry(attempts=5, wait_initial="6s", wait_jitter=0)


STEP = "Wait; cue.cancel('1') and then cue.retry('1') have it tried at once, as a new work unit"


class NoAnswerError(Exception):
    pass


def failing(cue: runcue.Cue, until: int = 99, retry: object = RETRY, lasts: float = 0.0) -> None:
    @cue.task("call", retry=retry)
    async def call(work: runcue.Work) -> str:
        await asyncio.sleep(lasts)
        if work.attempt < until:
            raise NoAnswerError(f"no answer to attempt {work.attempt}")
        return "ok"


@virtual
async def test_which_attempt_comes_of_how_many_when_and_after_what() -> None:
    cue = runcue.Cue(id_prefix="")
    failing(cue)
    async with cue:
        handle = await cue.submit("call")
        await asyncio.sleep(8)  # the second attempt was at 6 s; the third is at 18 s
        words = "attempt 3 of 5 in 10 s, after NoAnswerError: no answer to attempt 2"
        why = cue.why(handle)
        assert (why.verdict, why.details, why.eta, why.seconds) == ("waiting for a retry", words, 10.0, 2.0)
        assert why.next_token_at is None
        assert str(why) == f"call 1: waiting for a retry, for 2 s\n  {words}\n  {STEP}."
        assert str(cue.why()) == f"call 1 waits for its next attempt: {words}"
        [blocked] = cue.debug_blocked()
        assert (blocked["work"], blocked["reason"], blocked["details"]) == (handle.work, "not_due", words)
        assert blocked["next_step"] == STEP
        await cue.cancel(handle)


@virtual
async def test_where_nobody_knows_how_many_there_are_no_number_is_told() -> None:
    cue = runcue.Cue(id_prefix="")
    failing(cue, retry=lambda attempt, error, elapsed: 60)
    cue.task("endless", retry=runcue.Retry(-1, wait_initial=60, wait_jitter=0))(lambda work: 1 / 0)
    async with cue:
        one, other = await cue.submit("call"), await cue.submit("endless")
        await asyncio.sleep(1)
        assert cue.why(one).details == "attempt 2 in 59 s, after NoAnswerError: no answer to attempt 1"
        assert cue.why(other).details == "attempt 2 in 59 s, after ZeroDivisionError: division by zero"
        await cue.cancel(one)
        await cue.cancel(other)


@virtual
async def test_who_has_asked_to_be_called_again_is_told_to_have_done_so() -> None:
    cue = runcue.Cue(id_prefix="")

    @cue.task("report")
    async def report(work: runcue.Work) -> None:
        raise runcue.RetryLater("3h")

    async with cue:
        handle = await cue.submit("report")
        await asyncio.sleep(1)
        why = cue.why(handle)
        assert why.verdict == "waiting for its time"
        begin, _, end = why.details.partition(", in ")
        assert begin.startswith("its handler has postponed it by RetryLater; it goes on at ")
        assert end == "3 h"
        assert (
            why.next_step
            == "Wait; cue.cancel('1') and then cue.retry('1') call its handler at once, as a new work unit"
        )
        [group] = cue.why().groups
        assert (group.verdict, group.details) == (why.verdict, f"waits for its time: {why.details}")
        assert [one["reason"] for one in cue.debug_blocked()] == ["not_due"]
        await cue.cancel(handle)


@virtual
async def test_what_runs_stands_in_line_or_has_ended_in_a_later_attempt_says_so() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.service("api", concurrent=1)

    @cue.task("call", uses="api", retry=RETRY)
    async def call(work: runcue.Work) -> None:
        if work.attempt == 1:
            raise NoAnswerError("no answer")
        await asyncio.sleep(10)

    @cue.task("other", uses="api")
    async def other(work: runcue.Work) -> None:
        await asyncio.sleep(10)

    async with cue:
        handle = await cue.submit("call")
        await cue.submit("other")
        await asyncio.sleep(8)
        assert cue.why(handle).verdict == "waiting for a slot"
        assert "; it is attempt 2 of 5, after NoAnswerError: no answer" in cue.why(handle).details
        await asyncio.sleep(8)
        assert cue.why(handle).verdict == "running"
        assert "; it is attempt 2 of 5, after NoAnswerError: no answer" in cue.why(handle).details
    assert "its handler returned; that was attempt 2 of 5" in cue.why(handle).details


@virtual
async def test_which_attempt_was_the_last_is_told_of_a_failure() -> None:
    cue = runcue.Cue(id_prefix="")
    failing(cue, retry=2)
    cue.on_failure(lambda work, error: None)
    async with cue:
        handle = await cue.submit("call")
        await handle.wait()
        assert cue.why(handle).verdict == "failed"
        assert cue.why(handle).details.endswith("no answer to attempt 2; that was attempt 2 of 2")


@virtual
async def test_those_who_wait_for_what_is_tried_again_are_led_to_it() -> None:
    cue = runcue.Cue(id_prefix="")
    made = Flag("made")

    @cue.task("maker", outputs=made, retry=RETRY)
    async def maker(work: runcue.Work) -> None:
        raise NoAnswerError("no answer")

    cue.task("reader", inputs=made)(lambda work: None)
    async with cue:
        handle = await cue.submit("maker")
        reader = await cue.submit("reader")
        await asyncio.sleep(2)
        why = cue.why(reader)
        assert (why.verdict, why.root and why.root.verdict) == (
            "waiting for an artifact",
            "waiting for a retry",
        )
        assert why.root is not None
        assert why.root.details == "attempt 2 of 5 in 4 s, after NoAnswerError: no answer"
        assert str(cue.why()) == (
            "2 work units wait for the next attempt of maker 1: attempt 2 of 5 in 4 s, after NoAnswerError: no answer, "
            "1 of them through another of them"
        )
        await cue.cancel(handle)


@virtual
async def test_many_that_wait_for_their_next_attempts_are_one_line() -> None:
    cue = runcue.Cue(id_prefix="")
    failing(cue)
    async with cue:
        handles = []
        for _ in range(30):
            handles.append(await cue.submit("call"))
            await asyncio.sleep(0.1)
        [group] = cue.why().groups
        assert (group.verdict, group.count, group.eta) == ("waiting for a retry", 30, None)
        assert str(group) == (
            "30 call wait for their next attempts, the first in 3 s, the last in 5.9 s, after NoAnswerError: no answer "
            "to attempt 1"
        )
        for handle in handles:
            await cue.cancel(handle)


@virtual
async def test_a_handler_that_has_run_out_of_time_and_has_not_returned_is_what_is_waited_for() -> None:
    cue = runcue.Cue(id_prefix="")

    @cue.task("call", retry=RETRY, timeout=2)
    async def call(work: runcue.Work) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            raise

    async with cue:
        handle = await cue.submit("call")
        await asyncio.sleep(2.5)
        why = cue.why(handle)
        assert why.verdict == "running"
        assert why.details.endswith(
            "; its time is over, and attempt 2 of 5 waits until its handler has returned"
        )
        await asyncio.sleep(1)
        assert cue.why(handle).verdict == "waiting for a retry"
        assert cue.why(handle).details.startswith(
            "attempt 2 of 5 in 4.5 s, after WorkTimeout: The handler of 'call'"
        )
        await cue.cancel(handle)


@virtual
async def test_what_is_for_later_is_told_with_its_time_and_is_not_stuck(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cue = runcue.Cue(id_prefix="", stall_timeout=30)
    made = Flag("made")
    cue.task("maker", outputs=made)(lambda work: made.set())
    cue.task("reader", inputs=made)(lambda work: None)
    async with cue:
        reader = await cue.submit("reader")
        handle = await cue.submit("maker", delay="3h")
        await asyncio.sleep(60)
        why = cue.why(handle)
        assert (why.verdict, why.eta) == ("waiting for its time", 10740.0)
        assert re.fullmatch(r"it is for later, at \d\d:\d\d:\d\d, in 2.98 h", why.details)
        assert (why.next_token_at, why.next_step) == (
            None,
            STEP.replace("have it tried", "run it").replace("'1'", "'2'"),
        )
        root = cue.why(reader).root
        assert root is not None
        assert (root.work, root.verdict) == (handle.work, "waiting for its time")
        assert {one["work"] for one in cue.debug_blocked()} == {handle.work, reader.work}
        [group] = cue.why().groups
        assert (group.verdict, group.count) == ("waiting for its time", 2)
        assert str(group).startswith("2 work units wait for the time of maker 2: it is for later, at ")
        await reader.wait()
        assert reader.work.state is runcue.WorkState.COMPLETED
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []


@virtual
async def test_many_that_are_for_later_are_one_line() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.task("mail")(lambda work: None)
    async with cue:
        for n in range(5):
            await cue.submit("mail", {"n": n}, delay=60 * (n + 1))
        assert str(cue.why()) == "5 mail wait for their time, the first in 60 s, the last in 5 min"


@virtual
async def test_who_has_joined_what_is_for_later_waits_for_its_time() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.task("mail", key="same")(lambda work: None)
    async with cue:
        await cue.submit("mail", delay=60)
        follower = await cue.submit("mail", delay=90)
        await asyncio.sleep(1)
        why = cue.why(follower)
        assert (why.verdict, why.eta) == ("waiting for its time", 59.0)


@virtual
async def test_a_graph_of_work_units_says_which_attempt_and_what_is_for_later() -> None:
    cue = runcue.Cue(id_prefix="")
    failing(cue)
    cue.task("mail")(lambda work: None)
    async with cue:
        handles = [await cue.submit("call"), await cue.submit("mail", delay=60)]
        await asyncio.sleep(8)
        text = cue.graph("works")
        assert "pending#44; attempt 3 of 5" in text
        assert "pending#44; for later" in text
        for handle in handles:
            await cue.cancel(handle)


@virtual
async def test_those_of_several_tasks_are_one_line_if_there_are_many_kinds() -> None:
    cue = runcue.Cue(id_prefix="")
    for n in range(8):
        cue.task(f"call {n}", retry=RETRY)(lambda work: 1 / 0)
    async with cue:
        handles = [await cue.submit(task.name) for task in cue.tasks()]
        await asyncio.sleep(1)
        assert str(cue.why()) == "8 work units wait for their next attempts, all in 5 s"
        for handle in handles:
            await cue.cancel(handle)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cancelled", "; that was before attempt 2 of 5"),
        ("skipped", "; that was before attempt 2 of 5"),
        ("put back", "; that was attempt 2 of 5"),
        ("joined", "; that was after attempt 1 of 5"),
    ],
)
@virtual
async def test_an_attempt_that_did_not_begin_is_not_told_to_have_been_the_last(how: str, words: str) -> None:
    cue = runcue.Cue(id_prefix="")
    made = Flag("made")

    @cue.task("call", outputs=made, retry=RETRY)
    async def call(work: runcue.Work) -> None:
        if work.attempt == 1:
            raise NoAnswerError("no answer")
        raise runcue.RetryLater("1h")

    async with cue:
        handle = await cue.submit("call")
        other = await cue.submit("call")
        await asyncio.sleep(8 if how == "put back" else 2)
        if how == "skipped":
            made.set()
        else:
            await cue.cancel(other if how == "joined" else handle)
        if how == "joined":
            handle, other = other, handle
        await handle.wait()
        assert cue.why(handle).details.endswith(words)
        await cue.cancel(other)


@virtual
async def test_who_is_kept_off_by_its_key_alone_is_told_so() -> None:
    cue = runcue.Cue(id_prefix="")

    @cue.task("x", key="k")
    async def x(work: runcue.Work) -> None:
        await asyncio.sleep(10)

    async with cue:
        await cue.submit("x")
        await asyncio.sleep(1)
        handle = await cue.submit("x", delay=3)
        await asyncio.sleep(4)
        why = cue.why(handle)
        assert "\n  x 1 has the same key, and one runs at a time (running)\n" in str(why)
        assert "given up" not in str(cue.why())


@virtual
async def test_a_summary_tells_those_that_never_started_from_those_between_two_attempts() -> None:
    cue = runcue.Cue(id_prefix="")
    failing(cue)
    cue.service("api", concurrent=1)

    @cue.task("other", uses="api")
    async def other(work: runcue.Work) -> None:
        await asyncio.sleep(10)

    await cue.__aenter__()
    for _ in range(2):
        await cue.submit("call")
        await cue.submit("other")
    await asyncio.sleep(1)
    summary = await cue.stop(drain=False)
    assert str(summary).splitlines()[0] == (
        "1 completed, 3 cancelled (1 of them before it could start, 2 of them before their next attempts) in 10.00 s"
    )
