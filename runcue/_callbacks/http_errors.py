"""What the exceptions of HTTP clients say of being refused for now: `throttle=runcue.http_errors`.

Lives here: `http_errors`. No client is imported: their exceptions are known by their shape. httpx, httpx2 and requests
have a `response` with a `status_code`; aiohttp has the `status` itself, the SDKs of OpenAI and Anthropic have
both, and a `body` that says more; urllib has a `code`.

Must not know: services, what a refusal leads to.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from runcue._model.errors import ConfigurationError
from runcue._model.http_headers import read_headers

__all__ = ["http_errors"]

_REFUSED: Final = (429, 503, 529)
"""Too many requests; unavailable; overloaded, which Anthropic has made up."""

_NO_MONEY: Final = "insufficient_quota"
"""A 429 of OpenAI's with that code is none that waiting helps against."""

_LONGEST_BODY: Final = 100_000


def http_errors(error: BaseException) -> float | bool | None:
    """Whether an HTTP client's error says that a server refuses requests for now. For `throttle=` of a service.

    That is an answer with status 429 (but for OpenAI's "insufficient_quota"), 503 or 529, as an exception of httpx,
    httpx2, requests, aiohttp, urllib, or the SDKs of OpenAI and Anthropic. For how long, its header Retry-After says,
    or Retry-After-Ms. Let these SDKs not retry by themselves: `max_retries=0`.

    Args:
        error: What a handler has raised.

    Returns:
        Seconds; True if it is such an answer that does not say for how long; None if it is none.

    Example:
        >>> import runcue
        >>> cue = runcue.Cue()
        >>> cue.service("api", throttle=runcue.http_errors)
        'api'
    """
    response = _attribute(error, "response")
    status = _status_of(error, response)
    if status not in _REFUSED:
        return None
    if status == 429 and _NO_MONEY in _codes_of(error, response):
        return None
    for holder in (response, error):
        if seconds := _wait_in(_attribute(holder, "headers")):
            return seconds
    return True


def _wait_in(headers: object) -> float:
    """For how long the headers of an answer ask to wait; 0.0 if they do not."""
    if headers is None:
        return 0.0
    try:
        return read_headers(headers, time.time()).wait
    except ConfigurationError:  # whatever that is
        return 0.0


def _attribute(holder: object, name: str) -> Any:
    """An attribute of something that may be anything; None if it has none."""
    try:
        return getattr(holder, name, None)
    except Exception:  # a property that raises
        return None


def _status_of(error: object, response: object) -> int | None:
    """The status of an answer, if there is one."""
    for holder in (response, error):
        for name in ("status_code", "status", "code"):
            status = _attribute(holder, name)
            if not isinstance(status, int) or isinstance(status, bool) or not 100 <= status < 600:
                continue
            # Many exceptions have a code that is none of HTTP's; those of urllib have headers as well.
            if name == "code" and type(status) is int and _attribute(holder, "headers") is None:
                continue
            return int(status)
    return None


def _codes_of(error: object, response: object) -> set[str]:
    """What an answer calls its error."""
    # Not by getattr(): what a class has of that name may be deprecated, as it is in aiohttp, and say so.
    found = set(_codes_in(_attribute(error, "__dict__")))
    for body in _bodies_of(error, response):
        found.update(_codes_in(body))
        if isinstance(body, Mapping):
            found.update(_codes_in(body.get("error")))
    return found


def _codes_in(body: object) -> Iterator[str]:
    if isinstance(body, Mapping):
        yield from (code for name in ("code", "type") if isinstance(code := body.get(name), str))


def _bodies_of(error: object, response: object) -> Iterator[object]:
    """The body of an answer, as far as it has been read: nothing is read for this."""
    yield _attribute(error, "body")
    content = _attribute(response, "_content")  # of httpx and requests alike, once it was read
    if isinstance(content, bytes) and len(content) <= _LONGEST_BODY:
        try:
            yield json.loads(content)
        except ValueError:
            return
