"""Figures as people read them.

Must not know: what they are of.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Final

WIDTH: Final = 80
"""Columns that lines for people have room in."""

_NARROWEST: Final = 10


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


def figure(amount: int | Fraction) -> str:
    """What a budget counts, exactly if that is short: "90,000", "2.5"."""
    if amount.denominator == 1:
        return f"{amount.numerator:,}"
    text = f"{float(amount):,.6f}".rstrip("0")
    return f"{float(amount):.3g}" if text.endswith(".") else text


def period_in_words(seconds: float) -> str:
    """The length of a window, as in "90 per min"."""
    for size, unit in ((86400.0, "day"), (3600.0, "hour"), (60.0, "min"), (1.0, "sec")):
        if seconds >= size and seconds % size == 0:
            return unit if seconds == size else f"{seconds / size:g} {unit}"
    return f"{seconds:g} sec"


def seconds_in_words(seconds: float) -> str:
    """Seconds in the unit in which a person would say them."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def wrapped(text: str, indent: int = 0) -> list[str]:
    """A line for people, in as many as it takes. Words that are longer than a line, such as paths, stay whole.

    Args:
        text: It may begin with spaces.
        indent: Of all lines but the first.
    """
    return textwrap.wrap(
        text, WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows in columns, the first to the left and the others to the right, and an empty line; nothing without rows.

    Where the line is too narrow for that, the header takes several, and the longest words are cut in the middle. A line
    break in a header is where a word of it may be broken.
    """
    cells = [list(row) for row in rows]
    if not cells:
        return []
    columns = range(len(header))
    heads = [[text.replace("\n", "")] for text in header]
    widths = [max(len(heads[column][0]), *(len(row[column]) for row in cells)) for column in columns]
    gap = 2
    room = WIDTH - gap * (len(header) - 1)
    if sum(widths) > room:
        for column in columns:
            words = header[column].split()
            widest = max(len(row[column]) for row in cells)
            widths[column] = max([widest, *map(len, words)])
            parts = header[column].split("\n")
            heads[column] = [line for part in parts for line in textwrap.wrap(part, max(1, widths[column]))]
    for narrowest in (_NARROWEST, 1):
        while sum(widths) > room and max(widths) > narrowest:
            widths[widths.index(max(widths))] -= 1
        if sum(widths) > room and gap == 2:
            gap = 1
            room = WIDTH - gap * (len(header) - 1)
    height = max(map(len, heads))
    above = [[""] * (height - len(head)) + head for head in heads]
    lines = [*zip(*above, strict=True), *cells]
    return [
        (" " * gap)
        .join(
            _cut(text, width).ljust(width) if column == 0 else _cut(text, width).rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        .rstrip()
        for line in lines
    ] + [""]


def _cut(text: str, longest: int) -> str:
    """Text that is cut in the middle where it is too long."""
    if len(text) <= longest:
        return text
    end = (longest - 1) // 2
    return f"{text[: longest - 1 - end]}…{text[len(text) - end :]}"
