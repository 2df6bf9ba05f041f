"""What became of the work units of a cue, as a table: the lines under the first one of a `Summary`.

Lives here: a row for each task, and what its failures have in common. It is 80 columns wide at the most, wherever it is
printed: what looks well in a terminal is not to break in a log.

Must not know: how it is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from unicodedata import combining, east_asian_width

from runcue._model.texts import error_words, name_of, printable, seconds_in_words
from runcue._model.work import Work

__all__ = ["table_of"]

_WIDTH: Final = 80
_NARROWEST: Final = 20
_GAP: Final = "  "

_ROWS: Final = 30
_KINDS: Final = 8
"""So many tasks have a row, and so many kinds of failures a line; the rest is counted."""

_NUMBERS: Final = ("completed", "skipped", "failed", "cancelled")
_TIMES: Final = ("median", "most", "total")


def table_of(
    by_task: Mapping[str, Mapping[str, int]],
    times: Mapping[str, tuple[int, float, float, float | None, float]],
    failed: Sequence[Work],
) -> list[str]:
    """The lines of the table; none if the first line of the summary has said it all.

    Args:
        by_task: How many work units of each task are pending, are running and have ended how.
        times: For how long their handlers took: how many, in all, the least, the median and the most.
        failed: Those that have failed, as far as they are known.
    """
    rows = {name: _cells(numbers, times.get(name)) for name, numbers in by_task.items()}
    rows = {name: cells for name, cells in rows.items() if cells}
    if len(rows) < 2 and not failed:
        return []
    return [*_laid_out(rows), *_failures(failed)]


def _cells(
    numbers: Mapping[str, int], times: tuple[int, float, float, float | None, float] | None
) -> dict[str, str]:
    """What is in a row, by column; nothing if there is no work unit."""
    cells = {name: f"{numbers[name]:,}" for name in _NUMBERS if numbers[name]}
    if left := numbers["pending"] + numbers["running"]:
        cells["left"] = f"{left:,}"
    if times is not None:
        _, total, _, median, most = times
        seconds = {"median": median, "most": most, "total": total}
        cells |= {name: seconds_in_words(value) for name, value in seconds.items() if value is not None}
    return cells


def _laid_out(rows: Mapping[str, Mapping[str, str]]) -> list[str]:
    shown = dict(list(rows.items())[:_ROWS])
    columns = [
        name for name in (*_NUMBERS, "left", *_TIMES) if any(name in cells for cells in shown.values())
    ]
    widths = {
        name: max(len(name), *(len(cells.get(name, "")) for cells in shown.values())) for name in columns
    }
    # What is known of times gives way to the names of the tasks.
    while (room := _WIDTH - sum(len(_GAP) + widths[name] for name in columns)) < _NARROWEST:
        columns.pop()
    names = {name: _cut(_in_letters(name), room) for name in shown}
    first = max(len("task"), *map(_width_of, names.values()))
    lines = [[f"{'task':<{first}}", *(f"{name:>{widths[name]}}" for name in columns)]]
    for name, cells in shown.items():
        row = [f"{cells.get(column, '-'):>{widths[column]}}" for column in columns]
        lines.append([names[name] + " " * (first - _width_of(names[name])), *row])
    told = [_GAP.join(line).rstrip() for line in lines]
    return [*told, f"and {len(rows) - _ROWS} more tasks"] if len(rows) > _ROWS else told


def _failures(failed: Sequence[Work]) -> list[str]:
    """What failed and why, those of one task together that have failed with the same kind of error."""
    kinds: dict[tuple[str, type], list[Work]] = {}
    for work in failed:
        kinds.setdefault((work.task, type(work.exception)), []).append(work)
    lines = [""] if kinds else []
    for alike in list(kinds.values())[:_KINDS]:
        first, error = alike[0], alike[0].exception
        more = f" and {len(alike) - 1:,} more" if len(alike) > 1 else ""
        why = "" if error is None else " ".join(error_words(error).split())
        line = f"{_cut(_in_letters(name_of(first)), 40)}{more} failed: {_in_letters(why)}"
        lines.append(line if _width_of(line) <= _WIDTH else f"{_begin_of(line, _WIDTH - 3)}...")
    left = sum(map(len, list(kinds.values())[_KINDS:]))
    return [*lines, f"and {left:,} more failed"] if left else lines


def _in_letters(text: str) -> str:
    """A text without what moves the cursor."""
    if text.isprintable():
        return text
    return printable("".join(one if one.isprintable() else f"{one!r}"[1:-1] for one in text))


def _width_of(text: str) -> int:
    """How many columns a text takes: some letters take two."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(letter: str) -> int:
    return 0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1


def _begin_of(text: str, width: int) -> str:
    """As much of a text as there is room for."""
    taken = 0
    for place, letter in enumerate(text):
        taken += _columns(letter)
        if taken > width:
            return text[:place]
    return text


def _cut(text: str, width: int) -> str:
    """A text without its middle, if it is too wide."""
    if _width_of(text) <= width:
        return text
    end = _begin_of(text[::-1], (width - 5) // 3)[::-1]
    return f"{_begin_of(text, width - 5 - _width_of(end))} ... {end}"
