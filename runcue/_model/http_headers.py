"""What servers say of their limits in the headers of their answers, in the forms that are in use.

Lives here: `read_headers`, of `x-ratelimit-*`, `ratelimit-*`, `anthropic-ratelimit-*` and `retry-after`. There is no
standard that they all keep: OpenAI writes "6m0s" and "12ms", Anthropic instants of RFC 3339, GitHub seconds since the
epoch, others seconds from now; a date is that of HTTP. What cannot be read is told, and learned from is what can.

Must not know: services, what is made of this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, Final, NamedTuple

from runcue._model.errors import ConfigurationError
from runcue._model.texts import words_of

__all__ = ["Heard", "Left", "instant_of", "read_headers"]

_NAME: Final = r"(?:x-|anthropic-)?rate-?limit-([a-z0-9_-]+)"
_KINDS: Final = ("limit", "remaining", "reset")
_NUMBER: Final = r"([+-]?\d+(?:\.\d+)?)(?:\s*[,;].*)?"
_SPAN: Final = r"(\d+(?:\.\d+)?)\s*(ns|us|µs|μs|ms|s|m|h|d)"
_UNITS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_EPOCH: Final = 1e9
"""From here on a number is an instant, in seconds since 1970: nobody is to wait for 31 years."""
_MILLISECONDS: Final = 1e11
"""From here on it is counted in milliseconds."""
_LONGEST: Final = 200


class Left(NamedTuple):
    """What a server says is left of one of its limits.

    Attributes:
        of: What it counts, as its headers name it: "requests", "tokens", "input-tokens"; "" if they do not.
        left: So much is left.
        limit: Of so much; None if that is not said.
        seconds: In so many seconds it is reset.
        said: The header that says what is left.
    """

    of: str
    left: float
    limit: float | None
    seconds: float
    said: str


class Heard(NamedTuple):
    """What the headers of one answer say.

    Attributes:
        left: What is left of each limit for which they say when it is reset.
        wait: For so many seconds nothing is to be sent; 0.0 if that is not said.
        garbage: What cannot be read, as "name: value".
    """

    left: list[Left]
    wait: float
    garbage: list[str]


def read_headers(headers: Any, wall: float) -> Heard:
    """Read the headers of an answer.

    Args:
        headers: A mapping, or pairs of name and value; of text or bytes, in any case.
        wall: Seconds since the epoch, by the clock of here; where the answer says what it was by the clock of its
            server, that counts.

    Raises:
        ConfigurationError: They are no headers.
    """
    # What is said several times is read each time, and what lets the least through counts.
    found: dict[str, dict[str, list[tuple[str, str]]]] = {}
    waits: dict[str, list[str]] = {}
    for name, value in _pairs(headers):
        if name in ("retry-after", "retry-after-ms", "date"):
            waits.setdefault(name, []).append(value)
        elif "limit-" in name and (match := re.fullmatch(_NAME, name)) is not None:
            words = match[1].split("-")
            kind = next((word for word in words if word in _KINDS), None)
            if kind is not None:
                words.remove(kind)
                what = "-".join(word for word in words if word != "after")  # "reset-after" is a reset
                values = found.setdefault(what, {}).setdefault(kind, [])
                is_after = "after" in words
                if is_after and not any("after" in one for one, _ in values):
                    values.clear()
                if is_after or not any("after" in one for one, _ in values):
                    values.append((name, value))
    garbage: list[str] = []
    date = instant_of(waits.get("date", [""])[0])
    clock = wall if date is None else date
    left = [one for what, said in found.items() if (one := _left(what, said, clock, garbage)) is not None]
    return Heard(left, _wait(waits, clock, garbage), garbage)


def _left(
    what: str, said: Mapping[str, Sequence[tuple[str, str]]], clock: float, garbage: list[str]
) -> Left | None:
    read: dict[str, tuple[float, str]] = {}
    for kind, values in said.items():
        for name, value in values:
            number = _seconds(value, clock) if kind == "reset" else _number(value)
            if number is None or (number < 0 and kind != "reset"):
                garbage.append(f"{name}: {value}")
            if number is None or (kind == "limit" and number <= 0):
                continue
            known = read.get(kind)
            if known is None or (number > known[0] if kind == "reset" else number < known[0]):
                read[kind] = number, f"{name}: {value}"
    if "remaining" not in read or "reset" not in read or read["reset"][0] <= 0:
        return None
    left, text = read["remaining"]
    left, limit, name = max(left, 0.0), read["limit"][0] if "limit" in read else None, text.partition(":")[0]
    if limit is not None and limit < left:
        garbage.append(f"{text}, of {read['limit'][1].partition(': ')[2]}")
        left = limit
    return Left(what, left, limit, read["reset"][0], name)


def _wait(said: Mapping[str, Sequence[str]], clock: float, garbage: list[str]) -> float:
    waits = [0.0]
    for name, size in (("retry-after", 1.0), ("retry-after-ms", 1000.0)):
        numbers = []
        for value in said.get(name, ()):
            number = _number(value) if size > 1 else _seconds(value, clock)
            if number is None or (number < 0 and not instant_of(value)):
                garbage.append(f"{name}: {value}")
            else:
                # A date may have passed.
                numbers.append(max(number / size, 0.0))
        if numbers:
            # The one in milliseconds says the same more exactly, or less where the other was rounded up.
            waits.append(max(numbers))
    return waits[-1]


def _number(text: str) -> float | None:
    """An amount; of a list of several, as in "100, 100;w=60", the first."""
    match = re.fullmatch(_NUMBER, text)
    return _finite(float(match[1])) if match else None


def _seconds(text: str, clock: float) -> float | None:
    """In how many seconds an instant is, in whatever form it is written; None if that cannot be read."""
    if (number := _number(text)) is not None:
        if number < _EPOCH:
            return number
        return (number / 1000 if number >= _MILLISECONDS else number) - clock
    if re.fullmatch(rf"(?:{_SPAN}\s*)+", text):
        return _finite(sum(float(number) * _UNITS[unit] for number, unit in re.findall(_SPAN, text)))
    when = instant_of(text)
    return None if when is None else when - clock


def instant_of(text: str) -> float | None:
    """A date of HTTP or of RFC 3339, in seconds since the epoch; None if it is neither."""
    if len(text) < len("2024-01-01T00:00Z"):
        return None
    from datetime import UTC, datetime  # noqa: PLC0415 - dear to import, and few answers have dates
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        when = datetime.fromisoformat(text.upper()) if text[0].isdigit() else parsedate_to_datetime(text)
        return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _finite(number: float) -> float | None:
    return number if number < inf else None


def _pairs(headers: Any) -> Iterator[tuple[str, str]]:
    """The headers, their names in small letters.

    Raises:
        ConfigurationError: They are none.
    """
    try:
        items = headers.items() if hasattr(headers, "items") else headers
        if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
            raise TypeError
        pairs = [(_text(name).lower(), _text(value)) for name, value in items]
    except Exception:
        hint = ""
        if _has_headers(headers):
            hint = " Give what it has of that: read_headers(response.headers)."
        raise ConfigurationError(
            f"read_headers() takes the headers of an answer, a mapping or pairs of name and value, not "
            f"{words_of(headers)}.{hint}"
        ) from None
    yield from pairs


def _has_headers(answer: object) -> bool:
    try:
        return hasattr(answer, "headers")
    except Exception:  # it is the user's
        return False


def _text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        value = bytes(value[:_LONGEST]).decode("latin-1")
    return str(value).strip()[:_LONGEST]
