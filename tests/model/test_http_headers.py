"""The headers in which servers say what is left of their limits, in the forms that are in use."""

from __future__ import annotations

from email.message import Message
from typing import Any

import pytest

from runcue._model.errors import ConfigurationError
from runcue._model.http_headers import read_headers

WALL = 1_700_000_000.0  # 2023-11-14T22:13:20Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12.0),
        ("0.5", 0.5),
        ("12ms", 0.012),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("2m59.56s", 179.56),
        ("1d", 86400.0),
        ("500us", 0.0005),
        ("2023-11-14T22:13:50Z", 30.0),
        ("2023-11-14t22:13:50.5z", 30.5),
        ("2023-11-14T23:13:50+01:00", 30.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("1700000060", 60.0),
        ("1700000060000", 60.0),
    ],
)
def test_a_reset_is_read_in_each_form(text: str, seconds: float) -> None:
    heard = read_headers({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": text}, WALL)
    [left] = heard.left
    assert (left.of, left.left, left.limit) == ("requests", 3.0, None)
    assert left.seconds == pytest.approx(seconds)
    assert not heard.garbage


def test_headers_of_each_family_are_read_by_what_they_count() -> None:
    heard = read_headers(
        {
            "X-RateLimit-Limit-Tokens": "150000",
            "X-RateLimit-Remaining-Tokens": "149984",
            "X-RateLimit-Reset-Tokens": "6m0s",
            "anthropic-ratelimit-input-tokens-limit": "40000",
            "anthropic-ratelimit-input-tokens-remaining": "100",
            "anthropic-ratelimit-input-tokens-reset": "2023-11-14T22:13:30Z",
            "RateLimit-Limit": "100, 100;w=60",
            "RateLimit-Remaining": "7",
            "RateLimit-Reset": "30",
            "content-type": "application/json",
            "x-ratelimit-used": "3",
        },
        WALL,
    )
    assert {(one.of, one.left, one.limit, one.seconds) for one in heard.left} == {
        ("tokens", 149984.0, 150000.0, 360.0),
        ("input-tokens", 100.0, 40000.0, 10.0),
        ("", 7.0, 100.0, 30.0),
    }
    assert not heard.garbage


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "12"}, 12.0),
        ({"retry-after": "12", "retry-after-ms": "11500"}, 11.5),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:00 GMT"}, 40.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:00 GMT", "Date": "Tue, 14 Nov 2023 22:13:50 GMT"}, 10.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:00:00 GMT"}, 0.0),
        ({"retry-after": "0"}, 0.0),
    ],
)
def test_what_asks_to_wait_is_read_and_dates_by_the_clock_of_the_server(
    headers: dict[str, str], seconds: float
) -> None:
    heard = read_headers(headers, WALL)
    assert (max(heard.wait, 0.0), heard.garbage) == (seconds, [])


@pytest.mark.parametrize("family", ["x-ratelimit", "ratelimit"])
def test_of_what_is_said_several_times_counts_what_lets_the_least_through(family: str) -> None:
    said = [
        *((f"{family}-remaining", left) for left in ("5", "1", "soon", "3")),
        *(("ratelimit-limit", limit) for limit in ("0", "100", "50", "70")),
        *(("RateLimit-Reset", reset) for reset in ("10", "30s", "20")),
        *(("Retry-After", wait) for wait in ("2", "7", "", "3")),
    ]
    for pairs in (said, said[::-1]):
        heard = read_headers(pairs, WALL)
        assert heard.left == [("", 1.0, 50.0, 30.0, f"{family}-remaining")]
        assert heard.wait == 7.0
        assert set(heard.garbage) == {f"{family}-remaining: soon", "retry-after: "}
        heard = read_headers([("retry-after-ms", "5"), *pairs, ("retry-after-ms", "1")], WALL)
        assert heard.wait == 0.005
    for pairs in ([*said, ("x-ratelimit-reset-after", "4")], [("x-ratelimit-reset-after", "4"), *said]):
        assert read_headers(pairs, WALL).left[0].seconds == 4.0, "the more exact of the two"


def test_headers_come_in_each_form_that_libraries_have_them_in() -> None:
    message = Message()
    message["Retry-After"] = "5"
    forms: list[Any] = [
        {b"Retry-After": b"5"},
        {"RETRY-AFTER": 5},
        [("retry-after", "5")],
        ((b"retry-after", b" 5 "),),
        iter([("retry-after", "5")]),
        message,
    ]
    assert [read_headers(form, WALL).wait for form in forms] == [5.0] * len(forms)


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "soon"},
        {"retry-after": "-5"},
        {"retry-after": "nan"},
        {"retry-after": "inf"},
        {"retry-after": "1e999"},
        {"retry-after": ""},
        {"retry-after-ms": "-1"},
        {"retry-after-ms": "12ms"},
        {"x-ratelimit-remaining": "NaN", "x-ratelimit-reset": "5"},
        {"x-ratelimit-remaining": "3", "x-ratelimit-reset": "99-99-99T99:99:99Z"},
        {"x-ratelimit-remaining": "-3", "x-ratelimit-reset": "5"},
        {"x-ratelimit-remaining": "30", "x-ratelimit-limit": "10", "x-ratelimit-reset": "5"},
        {"x-ratelimit-reset": "🦄", "x-ratelimit-remaining": "1"},
    ],
    ids=repr,
)
def test_what_cannot_be_read_or_be_true_is_garbage_and_lets_nothing_more_through(
    headers: dict[str, str],
) -> None:
    heard = read_headers(headers, WALL)
    assert len(heard.garbage) == 1
    assert heard.wait == 0.0
    assert all(0 <= one.left <= (one.limit or 10) for one in heard.left)


def test_what_says_nothing_is_no_garbage() -> None:
    nothing = [
        {},
        {"x-ratelimit-remaining": "3"},
        {"x-ratelimit-reset": "3"},
        {"x-ratelimit-limit": "3"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "0"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2023-01-01T00:00:00Z"},
        {"x-ratelimit-policy": "10;w=1"},
    ]
    assert [read_headers(one, WALL) for one in nothing] == [([], 0.0, [])] * len(nothing)


class Answer:
    headers: dict[str, str] = {}  # noqa: RUF012


class Raising:
    def __repr__(self) -> str:
        return "Raising()"

    def items(self) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize("headers", [None, 5, "retry-after: 5", b"x", [1, 2], [("a",)], Raising()], ids=repr)
def test_what_are_no_headers_is_refused(headers: Any) -> None:
    with pytest.raises(ConfigurationError, match="takes the headers of an answer"):
        read_headers(headers, WALL)


def test_whoever_gives_an_answer_is_told_to_give_its_headers() -> None:
    with pytest.raises(ConfigurationError, match=r"read_headers\(response\.headers\)"):
        read_headers(Answer(), WALL)
