"""Dates of files, as people read them.

Must not know: what is compared, or why.
"""

from __future__ import annotations

import time
from typing import Final

__all__ = ["dates_in_words"]

_SECOND_NS: Final = 1_000_000_000


def dates_in_words(*instants: int) -> list[str]:
    """Dates in local time, such as "2026-11-27 13:51:17".

    Several are told so that it can be seen that they differ: with as many digits of the fraction as that takes (many a
    tie is decided by a nanosecond), and with the offset from UTC where that changed in between.

    Args:
        instants: In nanoseconds since the epoch.
    """
    try:
        known = [time.localtime(one // _SECOND_NS) for one in instants]
        seconds = [time.strftime("%Y-%m-%d %H:%M:%S", one) for one in known]
    except (OverflowError, OSError, ValueError):
        return [f"{one} ns after 1970" for one in instants]
    digits = _digits_that_tell(instants)
    shifted = len({one.tm_gmtoff for one in known}) > 1
    return [
        f"{words}{_fraction(instant, digits)}{time.strftime(' %z', one) if shifted else ''}"
        for words, one, instant in zip(seconds, known, instants, strict=True)
    ]


def _digits_that_tell(instants: tuple[int, ...]) -> int:
    """How many digits of the fractions of seconds tell those from each other that are not equal."""
    different = len(set(instants))
    for digits in (0, 3, 6):
        if len({one // 10 ** (9 - digits) for one in instants}) == different:
            return digits
    return 9


def _fraction(instant: int, digits: int) -> str:
    return f".{instant % _SECOND_NS:09}"[: digits + 1] if digits else ""
