"""For how long a server asks to be left in peace: the headers Retry-After and Retry-After-Ms, in all their forms.

Lives here: `retry_after`.

Must not know: clocks, who has the headers from where, what follows from them.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

__all__ = ["retry_after"]


def retry_after(headers: Any, wall: float) -> float | None:
    """Seconds until one may try again, from when the headers were sent.

    Args:
        headers: What there is of them: a mapping of whatever client, or pairs.
        wall: The instant now, seconds since the epoch: an answer with a date may not say when it was sent.

    Returns:
        At least 0.0; None if they do not say it, or nothing that can be read.
    """
    found = _wanted(headers)
    milliseconds = _number(found.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    said = found.get("retry-after")
    seconds = _number(said)
    if seconds is not None:
        return max(0.0, seconds)
    until = _date(said)
    if until is None:
        return None
    sent = _date(found.get("date"))  # by the same clock, which may be wrong
    return max(0.0, until - (wall if sent is None else sent))


def _wanted(headers: Any) -> dict[str, str]:
    try:
        pairs: Iterable[Any] = headers.items() if hasattr(headers, "items") else headers
        found: dict[str, str] = {}
        for name, value in pairs:
            key = _text(name).lower()
            if key in ("retry-after", "retry-after-ms", "date"):
                found[key] = _text(value).strip()
    except Exception:  # whatever it is
        return {}
    return found


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, (bytes, bytearray)) else str(value)


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text.removesuffix("s") if text[-2:-1].isdigit() else text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _date(text: str | None) -> float | None:
    if text is None:
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - few answers have a date, and it is dear to import

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
