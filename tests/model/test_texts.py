"""The words that messages share: names, lists, cycles, spans of time, and what objects of users say of themselves."""

import pickle
from pathlib import Path
from typing import NoReturn

import pytest

from runcue._model.errors import (
    ConfigurationError,
    InvalidParams,
    PublishError,
    RuncueError,
    UnknownTask,
    WorkTimeout,
)
from runcue._model.texts import (
    around,
    describe,
    error_words,
    listed,
    message_of,
    problem_of,
    seconds_in_words,
    short_params,
    shortened,
    words_of,
)


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
        (20_800 * 86400, "56.9 years"),
        (1e12, "31,689 years"),
        (1e300, "3.17e+292 years"),
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
        "a waits for b waits for c waits for d waits for e, and so on through 2 more, of which the last waits for a"
    )


class Mute(Exception):
    def __str__(self) -> NoReturn:
        raise ValueError("no words")


def test_an_exception_is_told_with_its_type_and_once_without_words() -> None:
    assert error_words(KeyError("flour")) == "KeyError: 'flour'"
    assert error_words(KeyError()) == "KeyError"
    assert error_words(Mute()) == message_of(Mute()) == "Mute"
    assert (message_of(KeyError("flour")), words_of(KeyError("flour"))) == ("'flour'", "KeyError('flour')")
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


@pytest.mark.parametrize("most", [30, 31, 32, 500])
def test_of_a_long_text_the_middle_is_left_out(most: int) -> None:
    text = "".join(map(str, range(1000)))
    short = shortened(text, most)
    assert len(short) <= most
    first, last = short.split(" ... ")
    assert text.startswith(first)
    assert text.endswith(last)
    assert len(first) > len(last) > 0
    assert shortened("as it is", 8) == "as it is"


def test_of_a_long_text_whole_words_are_left_and_of_a_long_path_whole_parts() -> None:
    assert shortened("a beginning of some words and many words after it and then the end of all", 40) == (
        "a beginning of some ... end of all"
    )
    path = "/mnt/storage/projects/customers/northern-lights/originals/raw/one.tiff"
    assert shortened(path, 60) == "/mnt/storage/projects/customers/ ... /raw/one.tiff"


def test_params_that_are_long_paths_are_told_by_their_ends() -> None:
    folder = "/mnt/storage/projects/2026/customers/northern-lights-photography/originals/raw"
    name = "IMG_20261128_101112_of_a_long_evening.tiff"
    assert (
        short_params({"path": f"{folder}/{name}", "page": 4})
        == f"{{'path': '.../originals/raw/{name}', 'page': 4}}"
    )
    assert (
        short_params({"path": Path(folder) / name, "of": 1})
        == f"{{'path': '.../originals/raw/{name}', 'of': 1}}"
    )
    assert short_params({"path": folder}) == f"{{'path': {folder!r}}}"
    url = f"https://example.org/{'page/' * 40}"
    assert short_params({"url": url}).startswith("{'url': 'https://example.org/page/")
    assert short_params({"path": "/" + "x" * 200 + "/"}) == f"{{'path': '...{'x' * 59}/'}}"


class Odd:
    def __init__(self, said: object) -> None:
        self.said = said

    def __repr__(self) -> str:
        if isinstance(self.said, type):
            raise self.said
        return self.said  # type: ignore[return-value]


class Text(str):
    __slots__ = ()

    def __str__(self) -> NoReturn:
        raise ValueError

    def __format__(self, form: str) -> NoReturn:
        raise ValueError


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Odd(ValueError), "Odd"),
        (Odd(SystemExit), "Odd"),
        (Odd(5), "Odd"),
        (Odd(""), "Odd"),
        (Odd(Text("text")), "text"),
        ({"a": Odd(ValueError), "b": 2}, "{'a': Odd, 'b': 2}"),
        ({}, "{}"),
        (10**5000, "int"),  # more digits than Python writes
        ("a\ud800\n", repr("a\ud800\n")),
    ],
    ids=[*map(str, range(9))],
)
def test_a_value_says_what_it_can(value: object, words: str) -> None:
    assert f"{words_of(value)}" == words


def test_what_is_huge_is_told_without_being_put_in_words_as_a_whole() -> None:
    assert len(words_of("x" * 10_000_000)) <= 500
    assert len(words_of(dict.fromkeys(range(50), "x" * 10_000_000))) <= 500
    assert len(words_of(b"\0" * 10_000_000)) <= 500


def test_a_function_is_called_by_its_name_and_an_object_by_what_it_says() -> None:
    assert describe(test_a_value_says_what_it_can) == "test_a_value_says_what_it_can"
    assert describe(Odd("an object")) == "an object"
    assert describe(Odd(ValueError)) == "Odd"


def test_an_error_has_a_short_text_whatever_it_is_about() -> None:
    for kind in (RuncueError, ConfigurationError, UnknownTask, PublishError, InvalidParams, WorkTimeout):
        error = kind(f"It begins so. {'x' * 10_000} It ends so.")
        assert len(str(error)) <= 600
        assert str(error).startswith("It begins so.")
        assert str(error).endswith("It ends so.")
        assert str(kind("short")) == "short"
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
