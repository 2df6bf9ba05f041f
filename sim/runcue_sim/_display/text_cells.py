"""What a terminal can write: signs, bars, tables, and text and numbers that fit.

Lives here: `Pen`, which knows the terminal's encoding; numbers and times as people say them; `table`.

Must not know: what is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from runcue_sim._records.event_log import SIGNS

DIM: Final = "dim"
_PLAIN_SIGNS: Final = {
    **dict.fromkeys(SIGNS, "*"),
    "queued": "+",
    "started": ">",
    "completed": "v",
    "failed": "x",
    "skipped": "~",
    "blocked": "#",
    "died": "!",
}
# What could move the cursor or turn the direction of writing, in names that come from elsewhere.
_UNSEEN: Final = {
    code: " "
    for codes in (
        range(32),
        range(127, 160),
        range(0x200B, 0x2010),
        range(0x2028, 0x202F),
        range(0x2066, 0x206A),
    )
    for code in codes
}


class Pen:
    """What a terminal can write.

    Args:
        encoding: That of the terminal.
    """

    def __init__(self, encoding: str = "utf-8") -> None:
        self._encoding = encoding
        self.plain = not encoding.lower().startswith("utf")
        self.full, self.empty, self.ellipsis = ("#", ".", "...") if self.plain else ("━", "─", "…")
        self.endless = "-" if self.plain else "∞"
        self.signs = _PLAIN_SIGNS if self.plain else SIGNS

    def clean(self, text: str) -> str:
        """Text from elsewhere, as it can be written on one line."""
        text = text.translate(_UNSEEN)
        if self.plain:
            text = text.replace("…", "...").encode(self._encoding, "replace").decode(self._encoding)
        elif not text.isascii():
            text = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates, as paths can have them
        return text

    def fit(self, text: str, width: int) -> str:
        """Text from elsewhere, shortened to a width."""
        text = self.clean(text)
        if cell_len(text) <= width:
            return text
        room = width - len(self.ellipsis)
        if room < 1:
            return self.ellipsis[: max(width, 0)]
        while cell_len(text) > room:
            text = text[: min(len(text) - 1, room)]
        return text + self.ellipsis

    def fit_list(self, text: str, width: int) -> str:
        """A list with commas, shortened by whole parts of it."""
        text = self.clean(text)
        parts = text.split(", ")
        while cell_len(text) > width and len(parts) > 1:
            parts.pop()
            text = ", ".join([*parts, self.ellipsis])
        return self.fit(text, width)

    def bar(self, width: int, parts: Sequence[tuple[float, str]]) -> Text:
        """A bar that is filled up to shares of it, each in its style."""
        bar = Text()
        place, share = 0, 0.0
        for part, style in parts:
            share += part
            # Whatever is more than nothing is seen, and full is only what is full.
            end = min(width, max(round(share * width), place + (part > 0)))
            end = min(end, width - 1) if share < 1 - 1e-9 and width > 1 else end
            if end > place:
                bar.append(self.full * (end - place), style)
                place = end
        bar.append(self.empty * (width - place), DIM)
        return bar


def number(value: int, room: int = 5) -> str:
    """A count in so many cells at the most; five are enough for all there are."""
    if len(text := str(value)) <= room:
        return text
    size, unit = next(
        (size, unit) for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")) if value >= size
    )
    short = value / size
    return f"{int(short * 10) / 10:.1f}{unit}" if short < 100 else f"{int(short)}{unit}"


def pace(per_second: float) -> str:
    """A throughput in the unit in which it is more than one."""
    for size, unit in ((1.0, "s"), (60.0, "min"), (3600.0, "h")):
        value = per_second * size
        if value >= 0.95:
            return f"{value:.1f}/{unit}" if value < 9.95 else f"{number(round(value))}/{unit}"
    return "0/s" if per_second <= 0 else "<1/h"


def time_left(seconds: float) -> str:
    """A length of time as people say it."""
    whole = round(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if whole < 100:
        return f"{whole} s"
    if whole < 6000:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    if whole < 1000 * 86400:
        return f"{whole // 86400} d {whole % 86400 // 3600:02} h"
    return f"{number(whole // 86400)} d"


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: Its heading.
        cells: One per row.
        right: Whether numbers stand in it.
        least: Cells that it keeps when there is little room.
        wide: Cells that it takes when there is enough; it keeps them while values grow and shrink.
    """

    title: str
    cells: Sequence[Text]
    right: bool = False
    least: int = 0
    wide: int = 0

    @property
    def natural(self) -> int:
        """Cells that it takes when there is enough room."""
        return max(self.wide, len(self.title), *(cell.cell_len for cell in self.cells), 0)


def table(columns: Sequence[Column], pen: Pen, room: int, *, gap: int = 2) -> list[Text]:
    """Lines of columns, headings first.

    Where there is too little room, columns shrink as far as they allow, the last one first; then the last ones go.

    Args:
        columns: From left to right.
        pen: What the terminal can write.
        room: Cells of a line.
        gap: Empty cells between columns.
    """
    widths = [column.natural for column in columns]
    spare = room - sum(widths) - gap * (len(columns) - 1)
    for place, column in reversed(list(enumerate(columns))):
        if spare < 0 and column.least:
            less = max(0, min(-spare, widths[place] - column.least))
            widths[place] -= less
            spare += less
    shown = list(zip(columns, widths, strict=True))
    while spare < 0 and len(shown) > 1:
        spare += shown.pop()[1] + gap
    lines = []
    rows = zip_longest(*([Text(column.title, DIM), *column.cells] for column, _ in shown), fillvalue=Text())
    for cells in rows:
        line = Text()
        for place, (cell, (column, wide)) in enumerate(zip(cells, shown, strict=True)):
            line.append(" " * gap if place else "")
            if cell.cell_len > wide:
                cell = Text(pen.fit(cell.plain, wide), cell.style)
            space = " " * (wide - cell.cell_len)
            line.append(space if column.right else "")
            line.append_text(cell)
            line.append("" if column.right else space)
        line.rstrip()
        lines.append(line)
    return lines
