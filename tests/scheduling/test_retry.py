"""How often work is tried again, as it is described: what is checked where it is written, and the formula."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import runcue
from runcue._scheduling.retry import checked_retry


def waits(retry: runcue.Retry, luck: float, attempts: int = 5) -> list[float]:
    return [retry.wait(attempt, luck) for attempt in range(1, attempts + 1)]


@pytest.mark.rule(25)
def test_the_wait_grows_by_the_base_has_some_of_the_jitter_and_is_cut_at_its_maximum() -> None:
    retry = runcue.Retry(wait_initial=0.5, wait_max=4, wait_jitter=1, wait_exp_base=2)
    assert waits(retry, 0.0) == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert waits(retry, 0.25) == [0.75, 1.25, 2.25, 4.0, 4.0], "the cut comes after the jitter, as in stamina"
    assert waits(runcue.Retry(wait_initial=2, wait_exp_base=1), 0.0) == [2.0] * 5
    assert waits(runcue.Retry(wait_initial=0, wait_jitter=2), 0.5) == [1.0] * 5


def test_without_a_word_there_are_three_attempts_of_any_exception_half_a_second_and_more_apart() -> None:
    usual = runcue.Retry()
    assert (usual.attempts, usual.on, usual.timeout, usual.wait_from) == (3, Exception, None, None)
    assert (usual.wait_initial, usual.wait_max, usual.wait_jitter, usual.wait_exp_base) == (
        0.5,
        60.0,
        1.0,
        2.0,
    )


@pytest.mark.parametrize("attempt", [10_000, 10**400])
def test_no_number_of_attempts_is_too_high_for_the_formula(attempt: int) -> None:
    assert runcue.Retry(attempts=-1, wait_exp_base=10).wait(attempt, 1.0) == 60.0
    assert runcue.Retry(attempts=-1, wait_initial=0, wait_jitter=0).wait(attempt, 1.0) == 0.0


def test_durations_are_seconds_text_or_a_timedelta() -> None:
    retry = runcue.Retry(wait_initial="1 min", wait_max=timedelta(hours=1), wait_jitter=0, timeout="2h")
    assert (retry.wait_initial, retry.wait_max, retry.wait_jitter, retry.timeout) == (
        60.0,
        3600.0,
        0.0,
        7200.0,
    )


def test_a_number_is_how_many_attempts_there_are() -> None:
    assert checked_retry(3, "retry") == runcue.Retry(attempts=3)
    assert checked_retry(-1, "retry") == runcue.Retry(attempts=-1)
    assert checked_retry(None, "retry") is None
    retry = runcue.Retry(5)
    assert checked_retry(retry, "retry") is retry


@pytest.mark.parametrize(
    ("retry", "ends"),
    [
        (runcue.Retry(), True),
        (runcue.Retry(-1), False),
        (runcue.Retry(-1, timeout="1h"), True),
    ],
)
def test_it_is_known_whether_there_is_a_last_attempt(retry: runcue.Retry, ends: bool) -> None:
    assert retry.ends is ends


def test_a_policy_is_a_value() -> None:
    retry = runcue.Retry(5, on=[OSError, ValueError], wait_max="10s", wait_from=len)
    assert retry == runcue.Retry(5, on=(OSError, ValueError), wait_max=10, wait_from=len) != runcue.Retry(5)
    assert retry != "a text"
    assert hash(retry) == hash(copy.deepcopy(retry))
    assert pickle.loads(pickle.dumps(retry)) == retry
    assert repr(runcue.Retry()) == "Retry()"
    assert repr(runcue.Retry(5, wait_max="10s")) == "Retry(attempts=5, wait_max=10.0)"
    assert len(repr(runcue.Retry(on=(ValueError,) * 1000))) <= 200

    class Odd:
        def __call__(self, error: BaseException) -> bool:
            return True

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("not to be compared")

        __hash__ = object.__hash__

    assert "Odd" in repr(runcue.Retry(on=Odd()))
    with pytest.raises(AttributeError, match="cannot be changed"):
        retry.attempts = 3
    with pytest.raises(AttributeError, match="cannot be changed"):
        del retry.attempts


def given(**options: Any) -> runcue.Retry:
    return runcue.Retry(**options)


async def asks(error: BaseException) -> float:
    return 1.0


def forgets(error: BaseException) -> None:
    str(error)


def gives(error: BaseException) -> Any:
    yield error


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no attempt": (
        {"attempts": 0},
        "attempts of Retry must be a whole number of at least 1, or -1 .*, not 0",
    ),
    "fewer than none": ({"attempts": -2}, "of at least 1, or -1 for no end of them, not -2"),
    "half an attempt": ({"attempts": 1.5}, "of at least 1, or -1 .*, not 1.5"),
    "True attempts": ({"attempts": True}, "of at least 1, or -1 .*, not True"),
    "attempts as text": ({"attempts": "3"}, "of at least 1, or -1 .*, not '3'"),
    "no attempts": ({"attempts": None}, "of at least 1, or -1 .*, not None"),
    "a negative wait": (
        {"wait_initial": -1},
        "wait_initial of Retry must be a number of seconds of at least 0",
    ),
    "a wait that is no number": ({"wait_max": float("nan")}, "wait_max of Retry must .*, not nan"),
    "an endless wait": ({"wait_jitter": float("inf")}, "wait_jitter of Retry must .*, not inf"),
    "a wait that would be cut": (
        {"wait_initial": "10 min"},
        "wait_initial of Retry is '10 min', .* than wait_max, which is 60s .*: give wait_max=, too",
    ),
    "a wait in words": ({"wait_initial": "soon"}, "not 'soon'"),
    "a negative time as text": ({"wait_initial": "-5s"}, "not '-5s'"),
    "a negative timedelta": ({"wait_max": timedelta(seconds=-1)}, "wait_max of Retry must"),
    "no base": ({"wait_exp_base": 0}, "wait_exp_base of Retry must be a positive number, not 0"),
    "a base in words": ({"wait_exp_base": "2"}, "wait_exp_base of Retry must be a positive number, not '2'"),
    "no time": ({"timeout": 0}, "timeout of Retry must be a positive number of seconds"),
    "negative time": ({"timeout": "-1h"}, "timeout of Retry must be a positive number of seconds"),
    "on nothing": ({"on": ()}, r"on of Retry must be a type of exceptions.*, not \(\)"),
    "on None": ({"on": None}, "on of Retry must be a type of exceptions"),
    "on a name": ({"on": "ValueError"}, "on of Retry must be a type of exceptions.*, not 'ValueError'"),
    "on what is no exception": ({"on": int}, "on of Retry must be a type of exceptions"),
    "on one that is none among them": ({"on": (ValueError, int)}, "on of Retry must be a type of exceptions"),
    "on an exception that was raised": ({"on": ValueError("no")}, "on of Retry must be a type of exceptions"),
    "on a function of nothing": ({"on": lambda: True}, r"on of Retry <lambda>\(\) must take \(error\)"),
    "on an async function": ({"on": asks}, "on of Retry must be a plain function, not the `async def` asks"),
    "on one that returns nothing": ({"on": forgets}, "returns nothing: is a `return` missing"),
    "on a generator": ({"on": gives}, "must not be a generator"),
    "seconds": ({"wait_from": 3}, "wait_from of Retry must be callable, not 3"),
    "wait_from two": ({"wait_from": lambda a, b: 1}, r"wait_from of Retry .* must take \(error\)"),
    "wait_from async": ({"wait_from": asks}, "wait_from of Retry must be a plain function"),
    "wait_from nothing": ({"wait_from": forgets}, "returns nothing"),
    "misspelt": ({"attemps": 3}, r"Retry\(\) has no option attemps=; did you mean attempts=\?"),
    "tenacity's": ({"stop": 3}, r"Retry\(\) has no option stop=; there is attempts=, on=, "),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_a_policy_is_refused_where_it_is_written(what: str) -> None:
    options, match = BAD[what]
    with pytest.raises(runcue.ConfigurationError, match=match) as raised:
        given(**options)
    assert len(str(raised.value)) <= 500


class Weird:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __index__(self) -> int:
        raise RuntimeError("no number")


NO_POLICIES: dict[str, tuple[Any, str]] = {
    "none": (0, "must be how many attempts there are in all .*, not 0"),
    "fewer": (-2, "must be how many attempts"),
    "True": (True, "must be how many attempts .*, not True"),
    "False": (False, "must be how many attempts .*, not False"),
    "a float": (3.0, r"must be how many attempts .*, not 3\.0"),
    "nan": (float("nan"), "must be how many attempts"),
    "text": ("3", "must be how many attempts .*, not '3'"),
    "a list": ([1, 2, 5], "must be how many attempts"),
    "the class": (runcue.Retry, "must be how many attempts"),
    "an exception": (ValueError, r"Did you mean runcue\.Retry\(on=\.\.\.\)"),
    "a function of one": (lambda error: 1, r"must take \(attempt, error, elapsed\)"),
    "an async function": (asks, "must take|must be a plain function"),
    "whatever": (Weird(), "must be how many attempts .*, not Weird"),
    "a long text": ("x" * 10_000, "must be how many attempts"),
}


async def from_a_thread(cue: runcue.Cue, value: Any) -> None:
    async with cue:
        await asyncio.to_thread(cue.submit_threadsafe, "t", retry=value)


CALLS: dict[str, Callable[[runcue.Cue, Any], Any]] = {
    "task": lambda cue, value: cue.task("other", retry=value),
    "submit": lambda cue, value: cue.submit("t", retry=value),
    "plan": lambda cue, value: cue.plan([{"task": "t", "retry": value}]),
    "submit_threadsafe": from_a_thread,
}


@pytest.mark.parametrize("where", CALLS)
@pytest.mark.parametrize("what", NO_POLICIES)
async def test_what_is_no_policy_is_refused_by_every_call_that_takes_one(what: str, where: str) -> None:
    value, match = NO_POLICIES[what]
    cue = runcue.Cue()
    cue.task("t")(lambda work: None)
    with pytest.raises(runcue.ConfigurationError, match=match) as raised:
        await CALLS[where](cue, value)
    assert len(str(raised.value)) <= 500
    assert not await cue.list(), "nothing was half done"


DELAYS: dict[str, Any] = {
    "negative": -1,
    "nan": float("nan"),
    "inf": float("inf"),
    "text": "soon",
    "True": True,
    "an error": ValueError("no"),
}


@pytest.mark.parametrize("what", DELAYS)
def test_a_delay_that_is_none_is_refused_where_it_is_raised(what: str) -> None:
    with pytest.raises(
        runcue.ConfigurationError, match="The delay of RetryLater must be a number of seconds"
    ):
        raise runcue.RetryLater(DELAYS[what])


def test_later_without_a_word_when_says_what_to_write() -> None:
    with pytest.raises(runcue.ConfigurationError, match=r'raise RetryLater\("10s"\)'):
        raise runcue.RetryLater
    misplaced: Any = ("10s", "busy")
    with pytest.raises(runcue.ConfigurationError, match="takes a delay alone"):
        raise runcue.RetryLater(*misplaced)


def test_later_says_when_and_comes_out_of_another_process_as_it_was() -> None:
    later = pickle.loads(pickle.dumps(runcue.RetryLater("1 min")))
    assert (later.delay, str(later)) == (60.0, "again in 60 s")
    assert runcue.RetryLater(timedelta(seconds=5)).delay == 5.0
    assert runcue.RetryLater(0).delay == 0.0
