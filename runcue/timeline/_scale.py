"""Durations in words, and the round numbers of a time axis.

Must not know: bars, pixels, SVG.
"""

from __future__ import annotations

_TICKS = (
    *(digit * 10.0**power for power in range(-6, 1) for digit in (1, 2, 5)),
    *(10.0, 15.0, 30.0),
    *(60.0 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3600.0 * hours for hours in (1, 2, 3, 6, 12)),
)
_DAY = 86_400.0


def tick_step(span: float, most: int) -> float:
    """The smallest round step, in seconds, that gives at most so many ticks."""
    for step in _TICKS:
        if span / step <= most:
            return step
    days = 1.0
    while span / (days * _DAY) > most:
        days *= 2
    return days * _DAY


def tick_text(seconds: float, step: float, span: float) -> str:
    """A tick's label, in the unit that the whole axis shares."""
    if not seconds:
        return "0"
    if span >= 2 * _DAY:
        days, rest = divmod(round(seconds), int(_DAY))
        hours = rest // 3600
        return f"{days} d {hours} h" if hours else f"{days} d"
    if span >= 2 * 3600:
        hours, rest = divmod(round(seconds), 3600)
        return f"{hours}:{rest // 60:02} h"
    if span >= 120:
        minutes, rest = divmod(round(seconds), 60)
        if step >= 60:
            return f"{minutes} min"
        return f"{minutes}:{rest:02} min"
    if span >= 1:
        return f"{seconds:.{max(0, _decimals(step))}f} s"
    if span >= 0.001:
        return f"{seconds * 1e3:.{max(0, _decimals(step * 1e3))}f} ms"
    return f"{seconds * 1e6:.0f} \N{MICRO SIGN}s"


def _decimals(step: float) -> int:
    return next(places for places in range(10) if abs(round(step, places) - step) < step / 1e6)


def duration_text(seconds: float) -> str:
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} \N{MICRO SIGN}s"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 119.95:
        return f"{seconds:.1f} s"
    if seconds < 2 * 3600:
        return "{} min {:02} s".format(*divmod(round(seconds), 60))
    if seconds < 2 * _DAY:
        return "{} h {:02} min".format(*divmod(round(seconds / 60), 60))
    return "{} d {:02} h".format(*divmod(round(seconds / 3600), 24))
