"""What becomes of what a limit of the user's own raises, and of answers that are none."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from runcue import LimitError
from runcue._limits.guarded import LOOK_AGAIN, GuardedLimit
from runcue._model.work import Work
from runcue.abc import Limit

WORK = Work("1", "task")


class Own:
    """Answers every question as it is told to; an exception is raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[tuple[Any, ...]] = []

    def _answer(self, *call: Any) -> Any:
        self.calls.append(call)
        answer = self.answers.get(call[0])
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer

    def room(self, now: float, work: Work) -> Any:
        return self._answer("room", now, work)

    def next_room(self, now: float, work: Work) -> Any:
        return self._answer("next_room", now, work)

    def acquire(self, now: float, work: Work) -> Any:
        return self._answer("acquire", now, work)

    def entered(self, now: float, work: Work, at: float) -> Any:
        return self._answer("entered", now, work, at)

    def release(self, now: float, work: Work, actual: Any) -> Any:
        return self._answer("release", now, work, actual)

    def at_least(self, works: Any) -> Any:
        return self._answer("at_least", works)

    def describe(self, now: float, work: Work) -> Any:
        return self._answer("describe", now, work)


class Guard(GuardedLimit):
    """One that keeps what it tells."""

    def __init__(self, own: Limit) -> None:
        self.failed: list[tuple[Work, LimitError]] = []
        self.told: list[tuple[str, BaseException, Work | None]] = []
        super().__init__(
            own,
            "limit Own of service 'llm'",
            lambda *failed: self.failed.append(failed),
            lambda *told: self.told.append(told),
        )


def guard(**answers: Any) -> Guard:
    return Guard(Own(**answers))


def test_what_it_is_asked_reaches_the_limit_and_its_answers_come_back() -> None:
    limit = guard(room=1, next_room=7, at_least=3, describe="closed")
    assert isinstance(limit.own, Limit)
    assert limit.room(5.0, WORK) is True
    assert limit.next_room(5.0, WORK) == 7
    limit.acquire(5.0, WORK)
    limit.entered(6.0, WORK, 5.5)
    limit.release(7.0, WORK, None)
    assert limit.at_least([WORK]) == 3.0
    assert limit.describe(5.0, WORK) == "closed"
    assert limit.own.calls == [  # type: ignore[attr-defined]
        ("room", 5.0, WORK),
        ("next_room", 5.0, WORK),
        ("acquire", 5.0, WORK),
        ("entered", 6.0, WORK, 5.5),
        ("release", 7.0, WORK, None),
        ("at_least", [WORK]),
        ("describe", 5.0, WORK),
    ]
    assert not limit.failed
    assert not limit.told


@pytest.mark.parametrize("method", ["room", "next_room"])
def test_what_is_raised_by_a_question_fails_the_work_unit_it_was_about(method: str) -> None:
    original = ValueError("boom")
    limit = guard(**{method: original})
    assert getattr(limit, method)(5.0, WORK) == {"room": False, "next_room": inf}[method]
    ((work, error),) = limit.failed
    assert work is WORK
    assert str(error) == f"{method}() of limit Own of service 'llm' raised ValueError: boom"
    assert error.__cause__ is original
    assert not limit.told


def test_what_is_raised_by_taking_is_raised_as_an_error_that_names_the_limit() -> None:
    limit = guard(acquire=OSError("gone"))
    with pytest.raises(LimitError, match=r"acquire\(\) of limit Own of service 'llm' raised OSError: gone"):
        limit.acquire(5.0, WORK)
    assert not limit.failed


@pytest.mark.parametrize("raised", [ValueError("boom"), SystemExit(1)])
def test_what_other_methods_raise_is_told_and_disturbs_nothing(raised: BaseException) -> None:
    limit = guard(entered=raised, release=raised, at_least=raised, describe=raised)
    limit.entered(5.0, WORK, 5.0)
    limit.release(5.0, WORK, None)
    assert limit.at_least([WORK]) is None
    assert limit.describe(5.0, WORK) == "limit Own of service 'llm' has no room"
    told = [(name.partition("()")[0], error, work) for name, error, work in limit.told]
    assert told == [
        ("entered", raised, WORK),
        ("release", raised, WORK),
        ("at_least", raised, None),
        ("describe", raised, WORK),
    ]
    assert not limit.failed


@pytest.mark.parametrize("when", [5.0, 4.0, -inf])
def test_an_instant_that_has_passed_cannot_stop_the_clock(when: float) -> None:
    assert guard(next_room=when).next_room(5.0, WORK) == 5.0 + LOOK_AGAIN
    assert guard(next_room=when).next_room(1e300, WORK) > 1e300


async def never() -> bool:
    raise AssertionError


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"next_room": nan}, r"next_room\(\) of limit Own .* raised ValueError: .*nan"),
        ({"next_room": None}, r"next_room\(\) of limit Own .* raised TypeError"),
        ({"next_room": "soon"}, r"next_room\(\) of limit Own .* raised TypeError"),
        ({"room": never}, r"room\(\) of limit Own .* raised TypeError: .*awaited"),
    ],
)
def test_an_answer_that_is_none_fails_the_work_unit_as_well(answers: dict[str, Any], words: str) -> None:
    limit = guard(**answers)
    for method in answers:
        getattr(limit, method)(5.0, WORK)
    ((_, error),) = limit.failed
    with pytest.raises(LimitError, match=words):
        raise error


@pytest.mark.parametrize("seconds", [nan, "long", None])
def test_seconds_that_are_none_are_not_known(seconds: object) -> None:
    assert guard(at_least=seconds).at_least([WORK]) is None


def test_a_look_makes_nothing_fail() -> None:
    assert guard(room=True).refusal(5.0, WORK) is None
    assert guard(room=False, next_room=9.0, describe="closed").refusal(5.0, WORK) == ("closed", 9.0)
    for answers in ({"room": ValueError("boom")}, {"room": False, "next_room": ValueError("boom")}):
        limit = guard(**answers)
        refusal = limit.refusal(5.0, WORK)
        assert refusal is not None
        details, until = refusal
        assert details.endswith("of limit Own of service 'llm' raised ValueError: boom")
        assert until == 5.0, "it is about to fail: nobody has to wait for that"
        assert not limit.failed


def test_an_interrupt_is_told_so_that_it_is_not_lost() -> None:
    limit = guard(room=KeyboardInterrupt())
    assert limit.room(5.0, WORK) is False
    assert [type(error) for _, error, _ in limit.told] == [KeyboardInterrupt]
    assert len(limit.failed) == 1


def test_a_class_with_the_protocol_as_its_base_needs_no_more_than_room() -> None:
    class Open(Limit):
        def room(self, now: float, work: Work) -> bool:
            return False

    limit = Guard(Open())
    assert limit.room(5.0, WORK) is False
    assert limit.next_room(5.0, WORK) == inf
    limit.acquire(5.0, WORK)
    limit.entered(5.0, WORK, 5.0)
    limit.release(5.0, WORK, None)
    assert limit.at_least([WORK]) is None
    assert limit.describe(5.0, WORK) == f"{Open.__qualname__} has no room"
    assert not limit.failed
    assert not limit.told
