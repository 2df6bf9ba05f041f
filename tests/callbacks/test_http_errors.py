"""What exceptions of HTTP clients say of refusals, known by their shape alone.

Against the clients themselves (httpx, httpx2, requests, aiohttp, urllib, the SDKs of OpenAI and Anthropic) it was tried
by hand: these are the shapes that they have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import formatdate
from itertools import product
from math import inf
from typing import Any

import pytest

from runcue import http_errors


class Response:
    def __init__(self, status: int, headers: Any = None, body: Any = None) -> None:
        self.status_code = status
        self.headers = {} if headers is None else headers
        if body is not None:
            self._content = json.dumps(body).encode()


class WithResponse(Exception):
    """httpx, httpx2, requests."""

    def __init__(self, response: Response | None) -> None:
        self.response = response


class WithStatus(Exception):
    """aiohttp; what it has as `code` is deprecated, and says so."""

    def __init__(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers = headers

    @property
    def code(self) -> int:
        raise DeprecationWarning


class OfSDK(Exception):
    """The SDKs of OpenAI and Anthropic."""

    def __init__(self, status: int, headers: Any = None, code: str | None = None, body: Any = None) -> None:
        self.status_code = status
        self.response = Response(status, headers)
        self.code = code
        self.body = body


class OfUrllib(Exception):
    def __init__(self, code: int, headers: Any) -> None:
        self.code = code
        self.headers = headers


REFUSALS = [
    (WithResponse(Response(429)), True),
    (WithResponse(Response(503)), True),
    (WithResponse(Response(529, {"Retry-After": "12"})), 12.0),
    (WithResponse(Response(429, {"retry-after": "0.5"})), 0.5),
    (WithResponse(Response(429, [(b"Retry-After", b"3")])), 3.0),
    (WithResponse(Response(429, {"Retry-After": "1", "Retry-After-Ms": "730"})), 0.73),
    (WithResponse(Response(429, {"Retry-After": "soon"})), True),
    (WithResponse(Response(429, {"Retry-After": "-5"})), True),
    (WithResponse(Response(429, {"Retry-After": "0"})), True),
    (WithResponse(Response(429, 17)), True),
    (WithResponse(Response(429, {"Retry-After": formatdate(1e9 + 30), "Date": formatdate(1e9)})), 30.0),
    (WithStatus(429, {"Retry-After": "4"}), 4.0),
    (WithStatus(503), True),
    (OfSDK(429, {"retry-after": "8"}, "rate_limit_exceeded"), 8.0),
    (OfSDK(529, None, None, {"type": "error", "error": {"type": "overloaded_error"}}), True),
    (OfUrllib(429, {"Retry-After": "6"}), 6.0),
]


@pytest.mark.rule(26)
@pytest.mark.parametrize(("error", "said"), REFUSALS)
def test_an_answer_that_refuses_for_now_is_one_and_says_for_how_long(
    error: BaseException, said: object
) -> None:
    assert http_errors(error) == said
    assert (http_errors(error) is True) == (said is True)


WAITS = [
    "",
    "0",
    "-5",
    "soon",
    "nan",
    "inf",
    "1e400",
    "9" * 190,
    "999999999",
    "1000000001",
    "1999-12-31T23:59:59Z",
]
WAITS += [
    formatdate(0),
    formatdate(1e9),
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "1 Jan 99999",
]


@pytest.mark.rule(26)
@pytest.mark.parametrize("date", [None, "", formatdate(1e9), "9999-12-31T23:59:59Z"])
def test_no_answer_makes_a_pause_negative_or_endless_whatever_its_headers_say(date: str | None) -> None:
    dated = {} if date is None else {"date": date}
    for wait, exactly in product(WAITS, [None, *WAITS]):
        said = {"retry-after": wait, **({} if exactly is None else {"retry-after-ms": exactly}), **dated}
        answer = http_errors(WithResponse(Response(429, said)))
        assert answer is True or (type(answer) is float and 0 < answer < inf), said


class Odd(Exception):
    """An exception of which nothing can be asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class WithCode(Exception):
    code = 429


OTHERS = [
    ValueError("429"),
    SystemExit(429),
    WithCode(),
    Odd(),
    WithResponse(None),
    WithResponse(Response(500, {"Retry-After": "3"})),
    WithResponse(Response(400)),
    WithResponse(Response(429, {"Retry-After": "3"}, {"error": {"code": "insufficient_quota"}})),
    WithResponse(Response(429, None, {"error": {"code": None, "type": "insufficient_quota"}})),
    OfSDK(429, None, "insufficient_quota"),
    OfSDK(429, None, None, {"code": "insufficient_quota"}),
    OfSDK(429, None, None, {"error": {"type": "insufficient_quota"}}),
]


@pytest.mark.rule(26)
@pytest.mark.parametrize("error", OTHERS, ids=lambda error: type(error).__name__)
def test_all_else_is_none(error: BaseException) -> None:
    assert http_errors(error) is None
