"""The words that messages share: names, lists, cycles, spans of time, and what objects of users say of themselves."""

from typing import NoReturn

import pytest

from runcue._model.texts import around, error_words, listed, problem_of, seconds_in_words, words_of


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.05, "0.05 s"),
        (119.9, "120 s"),
        (120, "2 min"),
        (3600, "60 min"),
        (2 * 3600, "2 h"),
        (36 * 3600, "36 h"),
        (10 * 86400, "10 days"),
    ],
)
def test_seconds_are_said_in_the_unit_that_a_person_would_use(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words


def test_of_many_the_first_are_named_and_the_rest_is_counted() -> None:
    assert listed([]) == ""
    assert listed("abcde") == "a, b, c, d, e"
    assert listed("abcdefg") == "a, b, c, d, e and 2 more"
    assert listed("abcd", 3) == "a, b, c and 1 more"


def test_a_cycle_ends_with_its_first_one_however_long_it_is() -> None:
    assert around("ab", 2, "a") == "a waits for b waits for a"
    assert around("abcdefg", 7, "a") == (
        "a waits for b waits for c waits for d waits for e waits for 2 more waits for a"
    )


class Mute(Exception):
    def __str__(self) -> NoReturn:
        raise ValueError("no words")


def test_an_exception_is_told_with_its_type_and_once_without_words() -> None:
    assert error_words(KeyError("flour")) == "KeyError: 'flour'"
    assert error_words(KeyError()) == "KeyError"
    assert error_words(Mute()) == words_of(Mute()) == "Mute"
    assert len(error_words(ValueError("x" * 10_000))) < 600


class Shy:
    def problem(self) -> str:
        raise OSError("no idea")


class Interrupted:
    def problem(self) -> str:
        raise KeyboardInterrupt


def test_an_artifact_that_cannot_say_what_is_wrong_with_it_is_not_valid() -> None:
    assert problem_of(Shy()) == "is not valid (and problem() raised OSError: no idea)"
    with pytest.raises(KeyboardInterrupt):
        problem_of(Interrupted())
