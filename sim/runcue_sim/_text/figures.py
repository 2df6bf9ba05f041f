"""Figures as people read them.

Must not know: what they are of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def plain(text: str) -> str:
    """Text of others as it can stand in a line: without line breaks, and without what would command a terminal."""
    if text.isprintable():
        return text
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def shortened(text: str, longest: int) -> str:
    """Text that is cut where it is too long, with a sign that it was."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def counted(number: int, one: str, many: str = "") -> str:
    """So many of something, in words.

    Args:
        number: How many.
        one: What one of them is called.
        many: What several are, where that is not just an "s" more.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def percent(share: float | None) -> str:
    """A share in percent, "-" for none."""
    return "-" if share is None else f"{share:.0%}"


def seconds_in_words(seconds: float) -> str:
    """Seconds in the unit in which a person would say them."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows in columns, the first to the left and the others to the right, and an empty line; nothing without rows."""
    cells = [list(row) for row in rows]
    if not cells:
        return []
    widths = [max(len(row[column]) for row in [header, *cells]) for column in range(len(header))]
    return [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *cells]
    ] + [""]
