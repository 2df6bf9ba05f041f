"""Retries through a real cue: which attempts there are, when, what their errors are, and what a handler says itself."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

import runcue
from runcue.testing import FakeExecutor, Recorder
from tests.support.virtual_time import now, virtual

CALM = {"wait_jitter": 0.0, "wait_initial": 1.0}
"""Without luck: 1, 2, 4 seconds and so on."""


def failing(times: float, *, error: Callable[[int], BaseException] | None = None) -> Any:
    """A handler that raises so many times and then returns the number of its attempt; and when it was entered."""
    starts: list[float] = []

    async def handler(work: runcue.Work) -> int:
        starts.append(now())
        if len(starts) <= times:
            raise ValueError(f"attempt {work.attempt}") if error is None else error(len(starts))
        return work.attempt

    return handler, starts


class Ear(runcue.Observer):
    """Writes down what observers hear of work units that come again."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def started(self, work: runcue.Work) -> None:
        self.heard.append((now(), "started", work.attempt))

    def resumed(self, work: runcue.Work) -> None:
        self.heard.append((now(), "resumed", work.attempt))

    def attempt_failed(self, work: runcue.Work, error: BaseException, delay: float) -> None:
        self.heard.append((now(), "attempt failed", str(error), delay))

    def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
        self.heard.append((now(), "put back", reason, delay))

    def settled(self, work: runcue.Work, duration: float) -> None:
        self.heard.append((now(), work.state.value, duration))


def listening(cue: runcue.Cue) -> Ear:
    ear = Ear()
    cue.observe(ear)
    return ear


async def outcome(cue: runcue.Cue, **options: Any) -> runcue.Work:
    """The settled work unit of a task "t"."""
    async with cue:
        handle = await cue.submit("t", **options)
        return await handle.wait()


@pytest.mark.rule(16, 25)
@virtual
async def test_three_attempts_are_three_in_all_and_one_end() -> None:
    cue = runcue.Cue()
    handler, starts = failing(9)
    cue.task("t", retry=3)(handler)
    retries, failures = [], []
    cue.on_retry(lambda work, error, delay: retries.append((work.attempt, str(error))))
    cue.on_failure(lambda work, error: failures.append(str(error)))
    async with cue:
        handle = await cue.submit("t")
        with pytest.raises(ValueError, match="attempt 3"):
            await handle.result()
    assert len(starts) == 3
    assert retries == [(2, "attempt 1"), (3, "attempt 2")], "for each attempt but the last"
    assert failures == ["attempt 3"], "once, at the end"
    assert 0.5 <= starts[1] - starts[0] <= 1.5
    assert 1.0 <= starts[2] - starts[1] <= 2.0
    assert cue.counts() == dict.fromkeys(cue.counts(), 0) | {"failed": 1}, "one failure, and nothing else"


@pytest.mark.rule(25)
@virtual
async def test_a_submission_may_be_tried_more_often_than_its_task_says_or_not_at_all() -> None:
    cue = runcue.Cue()
    cue.task("t", retry=2)(failing(9)[0])
    cue.task("once")(failing(9)[0])
    cue.on_failure(lambda work, error: None)
    async with cue:
        handles = [
            await cue.submit("t"),
            await cue.submit("t", retry=1),
            await cue.submit("t", retry=runcue.Retry(4, wait_initial=0)),
            await cue.submit("once"),
            await cue.submit("once", retry=lambda attempt, error, elapsed: 0.5 if attempt < 5 else None),
        ]
    assert [len(handle.work.attempts) for handle in handles] == [2, 1, 4, 1, 5]


@pytest.mark.rule(25)
@virtual
async def test_a_task_that_was_defined_anew_is_tried_as_that_says() -> None:
    cue = runcue.Cue()
    for attempts in (1, 4):

        @cue.task("t", retry=attempts)
        async def t(work: runcue.Work) -> None:
            raise ValueError("on purpose")

    cue.on_failure(lambda work, error: None)
    assert (await outcome(cue)).attempt == 4


@pytest.mark.rule(25)
@virtual
async def test_attempts_without_end_go_on_until_one_succeeds() -> None:
    cue = runcue.Cue()
    handler, starts = failing(250)
    cue.task("t", retry=runcue.Retry(-1, wait_max="1s"))(handler)
    work = await outcome(cue)
    assert (work.result, len(starts)) == (251, 251)
    assert [attempt.number for attempt in work.attempts] == [*range(152, 252)], "the last hundred are kept"


class Transient(ConnectionError):
    """Worth another attempt."""


def grouped(*errors: Exception) -> Callable[[int], BaseException]:
    return lambda number: ExceptionGroup("several", errors)


ON: dict[str, tuple[Any, Callable[[int], BaseException], int]] = {
    "its type": (ConnectionError, lambda number: ConnectionError(), 3),
    "a subclass": (ConnectionError, lambda number: Transient(), 3),
    "another type": (ConnectionError, lambda number: ValueError(), 1),
    "one of several": ((KeyError, ConnectionError), lambda number: Transient(), 3),
    "of a list": ([KeyError, ConnectionError], lambda number: Transient(), 3),
    "none of several": ((KeyError, ConnectionError), lambda number: ValueError(), 1),
    "first this, then another": (KeyError, lambda number: KeyError() if number < 2 else ValueError(), 2),
    "a function that says yes": (lambda error: "busy" in str(error), lambda number: ValueError("busy"), 3),
    "a function that says no": (lambda error: "busy" in str(error), lambda number: ValueError("bad"), 1),
    "a function that finds nothing": (lambda error: None, lambda number: ValueError("bad"), 1),
    "a group of these": (ConnectionError, grouped(Transient(), ConnectionError()), 3),
    "a group in a group": (ConnectionError, grouped(ExceptionGroup("", [Transient()])), 3),
    "a group with another": (ConnectionError, grouped(Transient(), ValueError()), 1),
    "groups": (ExceptionGroup, grouped(ValueError()), 3),
    "no exception by itself": (Exception, lambda number: SystemExit(3), 1),
    "an exit that is asked for": (SystemExit, lambda number: SystemExit(3), 3),
    "a cancelled part of it": (Exception, lambda number: asyncio.CancelledError(), 1),
    "whatever there is": (BaseException, lambda number: asyncio.CancelledError(), 3),
}


@pytest.mark.rule(25)
@pytest.mark.parametrize("what", ON)
@virtual
async def test_on_says_which_errors_are_worth_another_attempt(what: str) -> None:
    on, error, attempts = ON[what]
    cue = runcue.Cue()
    handler, starts = failing(9, error=error)
    cue.task("t", retry=runcue.Retry(on=on))(handler)
    cue.on_failure(lambda work, error: None)
    work = await outcome(cue)
    assert len(starts) == attempts
    assert work.state is runcue.WorkState.FAILED
    assert not isinstance(work.exception, runcue.RetryError)


WAITS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "wait_initial": ({"wait_initial": "3s"}, [3.0, 6.0, 12.0]),
    "wait_max": ({"wait_initial": 3, "wait_max": 5}, [3.0, 5.0, 5.0]),
    "wait_exp_base": ({"wait_initial": 1, "wait_exp_base": 10}, [1.0, 10.0, 60.0]),
    "no wait": ({"wait_initial": 0}, [0.0, 0.0, 0.0]),
    "wait_from": ({"wait_from": lambda error: 90}, [90.0, 90.0, 90.0]),
    "wait_from now and then": (
        {"wait_initial": 1, "wait_from": lambda error: 7.5 if "2" in str(error) else None},
        [1.0, 7.5, 4.0],
    ),
}


@pytest.mark.rule(25)
@pytest.mark.parametrize("what", WAITS)
@virtual
async def test_the_next_attempt_begins_after_the_wait_that_the_policy_says(what: str) -> None:
    options, waits = WAITS[what]
    cue = runcue.Cue()
    handler, starts = failing(3)
    cue.task("t", retry=runcue.Retry(4, **{"wait_jitter": 0, **options}))(handler)
    delays = []
    cue.on_retry(lambda work, error, delay: delays.append(delay))
    assert (await outcome(cue)).result == 4
    assert delays == waits
    assert [later - before for before, later in pairwise(starts)] == pytest.approx(waits)


@pytest.mark.rule(25)
@virtual
async def test_those_that_have_failed_together_do_not_come_back_together() -> None:
    cue = runcue.Cue()
    cue.task("t", retry=runcue.Retry(2, wait_initial=1, wait_jitter="4s"))(failing(10)[0])
    delays = []
    cue.on_retry(lambda work, error, delay: delays.append(delay))
    async with cue:
        for _ in range(10):
            await cue.submit("t")
    assert all(1.0 <= delay <= 5.0 for delay in delays)
    assert len(set(delays)) == 10


@pytest.mark.rule(25)
@virtual
async def test_no_attempt_is_begun_that_would_begin_later_than_the_timeout_after_the_first_start() -> None:
    cue = runcue.Cue()
    handler, starts = failing(99)
    cue.service("api", rate="1/min")
    retry = runcue.Retry(-1, wait_initial=40, wait_exp_base=1, wait_jitter=0, timeout=130)
    cue.task("t", uses="api", retry=retry)(handler)
    cue.task("before", uses="api")(lambda work: None)
    cue.on_failure(lambda work, error: None)
    async with cue:
        await cue.submit("before")
        handle = await cue.submit("t")
        await handle.wait()
        assert now() == 180.0, "the next one would begin at 220, and 130 s after the first one it is 190"
    assert starts == [60.0, 120.0, 180.0], "from the first start on; what it has waited before does not count"
    assert str(handle.work.exception) == "attempt 3"


@pytest.mark.rule(25)
@pytest.mark.parametrize("kind", ["at once", "sync"])
@virtual
async def test_one_whose_turn_does_not_come_until_its_timeout_fails_then_with_what_it_had_failed_with(
    kind: str,
) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(0.0))
    cue.service("api", rate="1/min")
    retry = runcue.Retry(3, wait_initial=10, wait_jitter=0, timeout=30)
    calls = []

    def fail(work: runcue.Work) -> None:
        calls.append(now())
        raise ValueError(f"attempt {work.attempt}")

    cue.task("t", uses="api", retry=retry)(KINDS[kind](fail))
    heard = []
    cue.on_failure(lambda work, error: heard.append((now(), str(error))))
    work = await outcome(cue)
    assert (calls, heard) == ([0.0], [(30.0, "attempt 1")])
    assert (len(work.attempts), work.attempt) == (1, 1)


@pytest.mark.rule(25)
@virtual
async def test_a_policy_that_is_a_function_is_asked_after_each_attempt_with_all_it_needs() -> None:
    cue = runcue.Cue()
    asked = []

    def policy(attempt: int, error: BaseException, elapsed: float) -> float | None:
        asked.append((attempt, str(error), elapsed))
        return 10.0 if attempt < 3 else None

    @cue.task("t", retry=policy)
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(2)
        raise ValueError(f"attempt {work.attempt}")

    cue.on_failure(lambda work, error: None)
    work = await outcome(cue)
    assert asked == [(1, "attempt 1", 2.0), (2, "attempt 2", 14.0), (3, "attempt 3", 26.0)]
    assert str(work.exception) == "attempt 3"


@pytest.mark.rule(13, 25)
@pytest.mark.parametrize("option", ["retry", "on", "wait_from"])
@virtual
async def test_a_policy_that_raises_fails_the_work_unit_with_both_errors(option: str) -> None:
    def policy(*asked: object) -> float:
        raise KeyError("no such thing")

    cue = runcue.Cue()
    cue.task("t", retry=policy if option == "retry" else runcue.Retry(**{option: policy}))(failing(9)[0])
    cue.on_failure(lambda work, error: None)
    work = await outcome(cue)
    error = work.exception
    assert isinstance(error, runcue.RetryError)
    assert (type(error.error), type(error.__cause__)) == (ValueError, KeyError)
    assert error.__cause__ is not None
    assert error.__cause__.__context__ is error.error, "a traceback shows both"
    assert f"{option}= of task 't'" in str(error)
    assert (
        "raised KeyError: 'no such thing'. It was asked because attempt 1 had failed with ValueError: "
        in str(error)
    )
    assert "policy (" in str(error)
    assert "test_retries.py:" in str(error)


ANSWERS: dict[str, tuple[Any, str]] = {
    "text": ("soon", "returned 'soon', and not how many seconds to wait"),
    "a number as text": ("12", "returned '12', and not how many seconds to wait"),
    "negative": (-1, "returned -1, and not how many seconds"),
    "nan": (float("nan"), "returned nan, and not how many seconds"),
    "for ever": (float("inf"), "returned inf, and not how many seconds"),
    "True": (True, "returned True, and not how many seconds"),
    "an exception": (ValueError("x"), "returned an exception"),
    "a function": (len, "itself; call it"),
    "a list": ([1, 2], "and not how many seconds to wait"),
}


@pytest.mark.rule(25, 34)
@pytest.mark.parametrize("option", ["retry", "wait_from"])
@pytest.mark.parametrize("what", ANSWERS)
@virtual
async def test_an_answer_that_is_no_number_of_seconds_fails_the_work_unit(what: str, option: str) -> None:
    answer, words = ANSWERS[what]

    def policy(*asked: object) -> Any:
        return answer

    cue = runcue.Cue()
    cue.task("t", retry=policy if option == "retry" else runcue.Retry(wait_from=policy))(failing(9)[0])
    cue.on_failure(lambda work, error: None)
    error = (await outcome(cue)).exception
    assert isinstance(error, runcue.RetryError)
    assert words in str(error)
    assert isinstance(error.__cause__, ValueError)
    assert len(str(error)) <= 600


@pytest.mark.rule(12, 25)
@pytest.mark.parametrize("option", ["retry", "on", "wait_from"])
@virtual
async def test_a_policy_that_gives_something_to_be_awaited_fails_the_work_unit_and_leaves_nothing_behind(
    option: str,
) -> None:
    async def asks() -> float:
        return 1.0

    def policy(*asked: object) -> Any:
        return asks()

    cue = runcue.Cue()
    cue.task("t", retry=policy if option == "retry" else runcue.Retry(**{option: policy}))(failing(9)[0])
    cue.on_failure(lambda work, error: None)
    error = (await outcome(cue)).exception
    assert isinstance(error, runcue.RetryError)
    assert "must be a plain function" in str(error)


@pytest.mark.rule(25, 34)
@virtual
async def test_on_that_gives_what_is_plainly_no_answer_fails_the_work_unit() -> None:
    cue = runcue.Cue()
    cue.task("t", retry=runcue.Retry(on=lambda error: (one for one in (True,))))(failing(9)[0])
    cue.on_failure(lambda work, error: None)
    error = (await outcome(cue)).exception
    assert isinstance(error, runcue.RetryError)
    assert "on= of task 't'" in str(error)
    assert "returned a generator" in str(error)


@pytest.mark.rule(16, 25)
@pytest.mark.parametrize("follower", [False, True])
@virtual
async def test_a_policy_that_cancels_the_work_unit_it_is_asked_about_has_cancelled_it(follower: bool) -> None:
    cue = runcue.Cue()
    handles: list[runcue.WorkHandle] = []

    def policy(attempt: int, error: BaseException, elapsed: float) -> float | None:
        if attempt == 1:
            handles[0].cancel()
        return 1.0

    cue.task("t", key="one", retry=policy)(failing(1)[0])
    recorder = Recorder(cue)
    async with cue:
        handles += [await cue.submit("t") for _ in range(1 + follower)]
    assert recorder.of(handles[0]) == ["start", "cancel"]
    if follower:
        assert handles[1].work.result == 2, "who had joined it is tried again"


@pytest.mark.rule(15, 25)
def test_a_policy_that_keeps_the_event_loop_is_told_by_name(caplog: pytest.LogCaptureFixture) -> None:
    def slow(attempt: int, error: BaseException, elapsed: float) -> float | None:
        time.sleep(0.2)
        return None if error else 1.0

    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t", retry=slow)(lambda work: 1 / 0)
        cue.on_failure(lambda work, error: None)
        async with cue:
            await (await cue.submit("t")).wait()

    runcue.run(main)
    assert any(
        "retry= of 't'" in record.getMessage() and "blocked" in record.getMessage()
        for record in caplog.records
    )


@pytest.mark.rule(25)
@pytest.mark.parametrize(
    ("error", "on", "attempts"),
    [
        (runcue.ConfigurationError("wrong"), Exception, 1),
        (runcue.ConfigurationError("wrong"), ValueError, 1),
        (runcue.InvalidParams("wrong"), (OSError, Exception), 1),
        (runcue.InvalidParams("wrong"), (OSError, runcue.ConfigurationError), 3),
        (runcue.ConfigurationError("wrong"), lambda error: True, 3),
        (runcue.DuplicateWork("for now"), Exception, 3),
    ],
)
@virtual
async def test_what_is_written_wrong_is_not_tried_again_unless_it_is_named(
    error: Exception, on: Any, attempts: int
) -> None:
    cue = runcue.Cue()
    handler, starts = failing(9, error=lambda attempt: error)
    cue.task("t", retry=runcue.Retry(3, on=on, **CALM))(handler)
    async with cue:
        await (await cue.submit("t")).wait()
    assert len(starts) == attempts


@pytest.mark.rule(16, 25)
@pytest.mark.parametrize("on", [BaseException, KeyboardInterrupt, None])
def test_an_interrupt_is_never_tried_again(on: Any) -> None:
    starts = []

    async def main() -> None:
        cue = runcue.Cue()
        retry = runcue.Retry(on=on) if on else (lambda attempt, error, elapsed: 0.0)

        @cue.task("t", retry=retry)
        async def t(work: runcue.Work) -> None:
            starts.append(work.attempt)
            raise KeyboardInterrupt

        cue.on_failure(lambda work, error: None)
        async with cue:
            await (await cue.submit("t")).wait()
            await asyncio.sleep(0.1)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert starts == [1]


def sync(handler: Callable[[runcue.Work], Any]) -> Callable[[runcue.Work], Any]:
    return handler


def at_once(handler: Callable[[runcue.Work], Any]) -> Callable[[runcue.Work], Any]:
    async def run(work: runcue.Work) -> Any:
        return handler(work)

    return run


def suspending(handler: Callable[[runcue.Work], Any]) -> Callable[[runcue.Work], Any]:
    async def run(work: runcue.Work) -> Any:
        await asyncio.sleep(1)
        return handler(work)

    return run


def awaitable(handler: Callable[[runcue.Work], Any]) -> Callable[[runcue.Work], Any]:
    return lambda work: suspending(handler)(work)


KINDS = {"sync": sync, "at once": at_once, "suspending": suspending, "awaitable": awaitable}
TOOK = {"sync": 1.0, "at once": 0.0, "suspending": 1.0, "awaitable": 2.0}


@pytest.mark.rule(10, 25)
@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_later_is_no_attempt_needs_no_retry_and_holds_no_slot(kind: str) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(1.0))
    cue.service("api", concurrent=1)
    calls = []

    def early(work: runcue.Work) -> str:
        calls.append(now())
        if len(calls) < 3:
            raise runcue.RetryLater("10s")
        return f"attempt {work.attempt}"

    cue.task("t", uses="api")(KINDS[kind](early))
    cue.task("other", uses="api")(at_once(lambda work: calls.append(now())))
    starts, retries = [], []
    cue.on_start(lambda work: starts.append(now()) if work.task == "t" else None)
    cue.on_retry(lambda work, error, delay: retries.append(error))
    ear = listening(cue)
    took = TOOK[kind]
    async with cue:
        handle = await cue.submit("t")
        await asyncio.sleep(took + 5)
        assert handle.state is runcue.WorkState.PENDING
        assert (handle.work.attempt, handle.work.attempts) == (1, ())
        assert cue.services()[0].in_use == 0
        assert await handle.result() == "attempt 1"
    again = took + 10
    assert starts == [0.0], "its start was heard of"
    assert retries == []
    assert ear.heard == [
        (0.0, "started", 1),
        (took, "put back", "postponed", 10.0),
        (again, "resumed", 1),
        (again + took, "put back", "postponed", 10.0),
        (2 * again, "resumed", 1),
        (2 * again + took, "completed", took),
    ]
    [attempt] = handle.work.attempts
    assert (attempt.number, attempt.duration, attempt.error) == (1, took, None)


@pytest.mark.rule(25)
@virtual
async def test_later_does_not_count_among_the_attempts_of_a_policy_but_its_time_does() -> None:
    cue = runcue.Cue()
    asked: list[tuple[int, float]] = []

    def policy(attempt: int, error: BaseException, elapsed: float) -> float | None:
        asked.append((attempt, elapsed))
        return 1.0 if attempt < 2 else None

    said = [runcue.RetryLater(5), ValueError("1"), runcue.RetryLater(5), ValueError("2")]

    @cue.task("t", retry=policy)
    async def t(work: runcue.Work) -> None:
        raise said.pop(0)

    cue.on_failure(lambda work, error: None)
    ear = listening(cue)
    work = await outcome(cue)
    assert str(work.exception) == "2"
    assert asked == [(1, 5.0), (2, 11.0)]
    assert [(attempt.number, str(attempt.error)) for attempt in work.attempts] == [(1, "1"), (2, "2")]
    assert [heard[1] for heard in ear.heard] == [
        *("started", "put back", "resumed", "attempt failed", "put back"),
        *("started", "put back", "resumed", "failed"),
    ]


@pytest.mark.rule(25)
@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_giving_up_fails_at_once_whatever_the_policy_says(kind: str) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(1.0))
    calls = []

    def bad(work: runcue.Work) -> None:
        calls.append(work.attempt)
        raise ValueError("once more") if len(calls) < 2 else runcue.GiveUp("bad input")

    cue.task("t", retry=runcue.Retry(-1))(KINDS[kind](bad))
    heard = []
    cue.on_failure(lambda work, error: heard.append(str(error)))
    async with cue:
        handle = await cue.submit("t")
        with pytest.raises(runcue.GiveUp, match="bad input"):
            await handle.result()
    assert (calls, heard) == ([1, 2], ["bad input"])


@pytest.mark.rule(25)
@virtual
async def test_what_a_handler_says_counts_in_a_group_as_well() -> None:
    async def says(*errors: Exception) -> None:
        async with asyncio.TaskGroup() as group:
            for error in errors:
                group.create_task(raises(error))

    async def raises(error: Exception) -> None:
        raise error

    cue = runcue.Cue()
    said = {
        "given up": [[ValueError(), runcue.GiveUp("no")]],
        "later": [[runcue.RetryLater(5), runcue.RetryLater(20)], []],
        "failed": [[runcue.RetryLater(5), ValueError()], []],
    }

    @cue.task("t", retry=runcue.Retry(2, **CALM))
    async def t(work: runcue.Work) -> float:
        await says(*said[work.params["what"]].pop(0))
        return now()

    cue.on_failure(lambda work, error: None)
    async with cue:
        handles = {what: await cue.submit("t", {"what": what}) for what in said}
    assert isinstance(handles["given up"].work.exception, ExceptionGroup)
    assert handles["given up"].work.attempt == 1
    assert (handles["later"].work.result, handles["later"].work.attempt) == (20.0, 1)
    assert (handles["failed"].work.result, handles["failed"].work.attempt) == (1.0, 2)


@pytest.mark.rule(16, 25)
@virtual
async def test_observers_hear_of_each_attempt_and_of_the_time_between() -> None:
    cue = runcue.Cue()

    @cue.task("t", retry=runcue.Retry(3, **CALM))
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(work.attempt)
        if work.attempt < 3:
            raise ValueError(f"attempt {work.attempt}")

    ear = listening(cue)
    work = await outcome(cue)
    assert ear.heard == [
        (0.0, "started", 1),
        (1.0, "attempt failed", "attempt 1", 1.0),
        (1.0, "put back", "failed", 1.0),
        (2.0, "started", 2),
        (4.0, "attempt failed", "attempt 2", 2.0),
        (4.0, "put back", "failed", 2.0),
        (6.0, "started", 3),
        (9.0, "completed", 3.0),
    ]
    began = work.created_at
    assert [(one.number, one.started_at - began, one.duration, str(one.error)) for one in work.attempts] == [
        (1, 0.0, 1.0, "attempt 1"),
        (2, 2.0, 2.0, "attempt 2"),
        (3, 6.0, 3.0, "None"),
    ]
    assert isinstance(work.attempts[0], runcue.Attempt)


@pytest.mark.rule(16)
@virtual
async def test_one_that_ran_once_has_one_attempt_and_one_that_never_ran_has_none() -> None:
    cue = runcue.Cue()
    cue.is_stale(lambda work: work.task != "skipped")
    cue.is_ready(lambda work: work.task != "cancelled")
    cue.task("done")(suspending(lambda work: "done"))
    cue.task("failed")(suspending(lambda work: 1 / 0))
    cue.task("skipped")(at_once(lambda work: None))
    cue.task("cancelled")(at_once(lambda work: None))
    cue.on_failure(lambda work, error: None)
    cue.start()
    handles = {task.name: await cue.submit(task.name) for task in cue.tasks()}
    assert handles["done"].work.attempts == ()
    await cue.stop()
    found = {
        name: [(one.number, one.duration, type(one.error)) for one in handle.work.attempts]
        for name, handle in handles.items()
    }
    assert found == {
        "done": [(1, 1.0, type(None))],
        "failed": [(1, 1.0, ZeroDivisionError)],
        "skipped": [],
        "cancelled": [],
    }
    assert handles["failed"].work.attempts[0].error is handles["failed"].work.exception


@pytest.mark.rule(18, 25)
@virtual
async def test_nothing_that_was_alive_in_an_attempt_is_kept_with_its_error() -> None:
    cue = runcue.Cue()

    class Big:
        alive = 0

        def __init__(self) -> None:
            Big.alive += 1

        def __del__(self) -> None:
            Big.alive -= 1

    @cue.task("t", retry=runcue.Retry(5, wait_initial=0))
    async def t(work: runcue.Work) -> None:
        big = Big()
        if work.attempt < 5:
            raise ValueError("on purpose")
        del big

    async with cue:
        handle = await cue.submit("t")
        await handle.wait()
    assert [type(one.error) for one in handle.work.attempts] == [ValueError] * 4 + [type(None)]
    gc.collect()
    assert Big.alive == 0
    assert handle.work.attempts[0].error is not None
    assert handle.work.attempts[0].error.__traceback__ is not None, "but it leads to the line"


@pytest.mark.rule(17, 25)
@pytest.mark.parametrize("where", ["on_retry", "put_back"])
@virtual
async def test_one_that_is_cancelled_by_who_hears_of_its_failure_stays_cancelled(where: str) -> None:
    cue = runcue.Cue()
    cue.task("t", retry=3)(failing(9)[0])
    handles: list[runcue.WorkHandle] = []

    class Canceller(runcue.Observer):
        def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
            handles[0].cancel()

    if where == "on_retry":
        cue.on_retry(lambda work, error, delay: handles[0].cancel())
    else:
        cue.observe(Canceller())
    recorder = Recorder(cue)
    async with cue:
        handles.append(await cue.submit("t"))
    heard = ["start", "cancel"] if where == "on_retry" else ["start", "cancel", "put_back"]
    assert recorder.of(handles[0])[:2] == heard[:2]
    assert handles[0].state is runcue.WorkState.CANCELLED
    assert len(handles[0].work.attempts) == 1


@pytest.mark.rule(28)
@virtual
async def test_those_who_have_joined_share_the_attempts_of_their_leader() -> None:
    cue = runcue.Cue()

    @cue.task("t", key="same", retry=runcue.Retry(3, **CALM))
    async def t(work: runcue.Work) -> str:
        await asyncio.sleep(1)
        if work.attempt < 3:
            raise ValueError(f"attempt {work.attempt}")
        return "made"

    ear = listening(cue)
    async with cue:
        leader, gone, follower = [await cue.submit("t") for _ in range(3)]
        await asyncio.sleep(1.5)
        assert follower.state is runcue.WorkState.PENDING
        late = await cue.submit("t")
        await cue.cancel(gone)
        await asyncio.sleep(1)
        await cue.cancel(leader)  # while the second attempt runs
        assert await follower.result() == await late.result() == "made"
    assert [heard[1:3] for heard in ear.heard if heard[1] == "started"] == [("started", n) for n in (1, 2, 3)]
    numbers = {
        name: [(one.number, one.error and str(one.error)) for one in handle.work.attempts]
        for name, handle in {"leader": leader, "gone": gone, "follower": follower, "late": late}.items()
    }
    made = [(1, "attempt 1"), (2, "attempt 2"), (3, None)]
    assert numbers == {
        "leader": [(1, "attempt 1"), (2, None)],
        "gone": [(1, "attempt 1")],
        "follower": made,
        "late": made,
    }
    assert [handle.work.attempt for handle in (leader, gone, follower, late)] == [2, 2, 3, 3]


@pytest.mark.rule(28)
@pytest.mark.parametrize("fails", [False, True])
@virtual
async def test_those_who_have_joined_share_the_one_attempt_of_their_leader(fails: bool) -> None:
    cue = runcue.Cue()
    cue.on_failure(lambda work, error: None)

    @cue.task("t", key="same")
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(1)
        if fails:
            raise ValueError("no")

    async with cue:
        leader, gone, follower = [await cue.submit("t") for _ in range(3)]
        await asyncio.sleep(0.5)
        assert follower.work.attempts == ()
        await cue.cancel(gone)
        await follower.wait()
    [attempt] = leader.work.attempts
    assert (attempt.number, attempt.duration, repr(attempt.error)) == (
        1,
        1.0,
        "ValueError('no')" if fails else "None",
    )
    assert follower.work.attempts == (attempt,)
    assert gone.work.attempts == (), "it has left before"


@pytest.mark.rule(25, 28)
@virtual
async def test_the_attempts_of_one_that_was_cancelled_between_two_of_them_are_those_until_then() -> None:
    cue = runcue.Cue()
    cue.task("t", key=lambda work: "one", retry=runcue.Retry(4, **CALM))(failing(3)[0])
    async with cue:
        leader, successor, last, gone = [await cue.submit("t") for _ in range(4)]
        await asyncio.sleep(0.5)
        await cue.cancel(leader)
        await cue.cancel(gone)
        assert await successor == 4
    numbers = [[one.number for one in handle.work.attempts] for handle in (leader, successor, last, gone)]
    assert numbers == [[1], [1, 2, 3, 4], [1, 2, 3, 4], [1]]


@pytest.mark.rule(25, 28)
@virtual
async def test_who_takes_the_place_of_one_that_has_asked_for_later_goes_on_with_the_attempt_that_was_started() -> (
    None
):
    cue = runcue.Cue()
    cue.task("t", key="same")(failing(1, error=lambda number: runcue.RetryLater(10))[0])
    heard = []

    class Names(runcue.Observer):
        def started(self, work: runcue.Work) -> None:
            heard.append(("started", work.id))

        def resumed(self, work: runcue.Work) -> None:
            heard.append(("resumed", work.id))

    cue.observe(Names())
    async with cue:
        leader, successor = [await cue.submit("t") for _ in range(2)]
        began = successor.work.created_at
        await asyncio.sleep(5)
        await cue.cancel(leader)
        assert await successor == 1
    assert heard == [("started", leader), ("resumed", successor)]
    assert leader.work.attempts == ()
    (attempt,) = successor.work.attempts
    assert (attempt.started_at - began, attempt.duration) == (10.0, 0.0), "of the last call"


@pytest.mark.rule(25, 28)
@virtual
async def test_what_somebody_else_has_made_between_two_attempts_is_not_made_again() -> None:
    cue = runcue.Cue()
    made = runcue.Flag("made")

    @cue.task("t", outputs=made, retry=runcue.Retry(3, **CALM))
    async def t(work: runcue.Work) -> None:
        raise ValueError("on purpose")

    async with cue:
        handle = await cue.submit("t")
        await asyncio.sleep(0.5)
        made.set()
        assert (await handle.wait()).skipped
    assert [one.number for one in handle.work.attempts] == [1]
    assert now() == 1.0


@pytest.mark.rule(20, 25)
@virtual
async def test_one_that_waits_for_its_next_attempt_is_not_pending_for_too_long() -> None:
    cue = runcue.Cue(pending_timeout=5, pending_warn_after=2, stall_timeout=5)
    cue.task("t", retry=runcue.Retry(3, wait_initial=60, wait_jitter=0))(failing(2)[0])
    warned = []
    cue.on_pending_warning(lambda work, seconds: warned.append(seconds))
    assert (await outcome(cue)).result == 3
    assert warned == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs uvloop")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_real_threads_and_real_time_on_both_loops(loop: str) -> None:
    calls: list[int] = []

    async def main() -> list[Any]:
        cue = runcue.Cue()
        cue.service("disk", concurrent=1)
        retry = runcue.Retry(3, wait_initial=0.01, wait_jitter=0)

        @cue.task("thread", uses="disk", retry=retry)
        def thread(work: runcue.Work) -> int:
            calls.append(work.attempt)
            if work.attempt < 3:
                raise OSError("on purpose")
            return work.attempt

        @cue.task("coroutine", uses="disk", retry=retry)
        async def coroutine(work: runcue.Work) -> int:
            await asyncio.sleep(0)
            if work.attempt < 2:
                raise runcue.RetryLater(0.01) if work.attempts else OSError("on purpose")
            return work.attempt

        async with cue:
            handles = [await cue.submit(task) for task in ("thread", "coroutine")]
        return [handle.work.result for handle in handles]

    if loop == "uvloop":
        import uvloop

        results = uvloop.run(main())
    else:
        results = asyncio.run(main())
    assert results == [3, 2]
    assert calls == [1, 2, 3]


@pytest.mark.rule(25)
@pytest.mark.parametrize("attempts", [2, 5])
@virtual
async def test_the_end_of_an_awaitable_is_not_taken_for_that_of_the_next_attempt(attempts: int) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(0.0))

    async def rest(work: runcue.Work) -> int:
        if work.attempt < attempts:
            raise ValueError("on purpose")
        await asyncio.sleep(1)
        return work.attempt

    async def is_ready(work: runcue.Work) -> bool:
        await asyncio.sleep(0)
        return True

    cue.is_ready(
        is_ready
    )  # it is asked for the next attempt in the very turn in which the last one has ended
    cue.task("t", retry=runcue.Retry(attempts, wait_initial=0, wait_jitter=0))(lambda work: rest(work))
    recorder = Recorder(cue)
    async with cue:
        handle = await cue.submit("t")
        assert await handle.result() == attempts
    assert recorder.of(handle) == ["start", *["put_back", "start"] * (attempts - 1), "complete"]


@pytest.mark.rule(25)
@virtual
async def test_what_an_executor_has_refused_may_run_nevertheless_and_has_no_other_attempt() -> None:
    class Broken(FakeExecutor):
        def submit(self, work: runcue.Work, *args: Any, **options: Any) -> None:
            super().submit(work, *args, **options)
            raise OSError("broken")

    cue = runcue.Cue(run_in=Broken(3.0))
    cue.task("t", retry=3)(lambda work: None)
    cue.on_failure(lambda work, error: None)
    work = await outcome(cue)
    assert str(work.exception) == "broken"
    assert work.attempt == 1


@pytest.mark.rule(25, 34)
@pytest.mark.parametrize(
    "what", [runcue.RetryLater("10s"), runcue.RetryLater, runcue.GiveUp("no"), runcue.GiveUp]
)
def test_what_is_returned_in_place_of_being_raised_is_told(
    what: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(lambda work: what)
        async with cue:
            for _ in range(2):
                assert await (await cue.submit("t")).result() is what

    runcue.run(main)
    [said] = [record.getMessage() for record in caplog.records if "returned" in record.getMessage()]
    assert "Write `raise` in place of `return`" in said
    assert "test_retries.py" in said


@virtual
async def test_an_attempt_whose_handler_has_not_returned_in_twice_its_time_has_taken_that() -> None:
    cue = runcue.Cue(run_in=FakeExecutor(100.0))
    cue.on_failure(lambda work, error: None)
    cue.task("t", timeout=5, retry=2)(lambda work: None)
    async with cue:
        handle = await cue.submit("t")
        await handle.wait()
        [attempt] = handle.work.attempts
        assert attempt.duration == 10.0
