"""What became of the work units of a cue, as a table: the lines under the first one of a `Summary`.

Lives here: a row for each task, what its failures have in common, and which they are. Nothing is wider than the
terminal. Where there is none, in a log or a pipe, rows are 80 columns wide at the most, and of failures all is said.

Must not know: how it is counted.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Final
from unicodedata import combining, east_asian_width

from runcue._model.texts import (
    LONGEST,
    error_words,
    how_many,
    message_of,
    printable,
    seconds_in_words,
    short_params,
    shortened,
    without_middle,
)
from runcue._model.work import Work

__all__ = ["table_of"]

_WIDTH: Final = 80
"""So wide are rows where there is no terminal."""
_NARROW: Final = 40
"""A terminal that says that it is narrower is not believed."""
_NARROWEST: Final = 20
"""So much of that is left for the names of tasks."""
_GAP: Final = "  "

_ROWS: Final = 30
_KINDS: Final = 8
_OF_A_KIND: Final = 3
"""So many tasks have a row, so many kinds of failures a line, and so many of each one under it; the rest is counted."""

_LONGEST_ID: Final = 40

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
    width = _terminal()
    return [*_laid_out(rows, width or _WIDTH), *_failures(failed, width or LONGEST)]


def _terminal() -> int:
    """How many columns the terminal has that is printed to; 0 if there is none."""
    try:
        return max(shutil.get_terminal_size().columns, _NARROW) if sys.stdout.isatty() else 0
    except Exception:  # what stands in the place of the stream may be anything
        return 0


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


def _laid_out(rows: Mapping[str, Mapping[str, str]], width: int) -> list[str]:
    shown = dict(list(rows.items())[:_ROWS])
    columns = [
        name for name in (*_NUMBERS, "left", *_TIMES) if any(name in cells for cells in shown.values())
    ]
    widths = {
        name: max(len(name), *(len(cells.get(name, "")) for cells in shown.values())) for name in columns
    }
    # What is known of times gives way to the names of the tasks.
    while (room := width - sum(len(_GAP) + widths[name] for name in columns)) < _NARROWEST:
        columns.pop()
    names = {name: _cut(_in_letters(name), room) for name in shown}
    first = max(len("task"), *map(_width_of, names.values()))
    lines = [[f"{'task':<{first}}", *(f"{name:>{widths[name]}}" for name in columns)]]
    for name, cells in shown.items():
        row = [f"{cells.get(column, '-'):>{widths[column]}}" for column in columns]
        lines.append([names[name] + " " * (first - _width_of(names[name])), *row])
    told = [_GAP.join(line).rstrip() for line in lines]
    return [*told, f"and {len(rows) - _ROWS} more tasks"] if len(rows) > _ROWS else told


def _failures(failed: Sequence[Work], width: int) -> list[str]:
    """What failed and why, those of one task together that have failed with the same kind of error, and which."""
    kinds: dict[tuple[str, type], list[Work]] = {}
    for work in failed:
        kinds.setdefault((work.task, type(work.exception)), []).append(work)
    lines = [""] if kinds else []
    for (task, kind), alike in list(kinds.items())[:_KINDS]:
        shown = alike[:_OF_A_KIND]
        whys = {"" if work.exception is None else error_words(work.exception) for work in shown}
        # What is said of all of them is said once.
        why = whys.pop() if len(whys) == 1 else ""
        lines.append(
            _in_a_line(
                f"{len(alike):,} of {_cut(_in_letters(task), 40)} failed: {why or kind.__name__}", width
            )
        )
        lines += [_in_a_line(f"  {_which(work, width)}{'' if why else _says(work)}", width) for work in shown]
        if left := len(alike) - len(shown):
            lines.append(f"  and {left:,} more")
    left = sum(map(len, list(kinds.values())[_KINDS:]))
    return [*lines, f"and {left:,} more failed"] if left else lines


def _which(work: Work, width: int) -> str:
    """The id of a work unit, its params in short, and how often it was tried."""
    attempts = work.attempts
    number = attempts[-1].number if attempts else 1
    tried = f", {how_many(number, 'attempt', 'attempts')}" if number > 1 else ""
    name = shortened(work.id, _LONGEST_ID)
    # What it said itself is to have room, too.
    params = _cut(_in_letters(short_params(work.params)), max(width - len(name) - len(tried) - 3, _NARROWEST))
    return f"{name}{params and ' '}{params}{tried}"


def _says(work: Work) -> str:
    return "" if work.exception is None else f": {message_of(work.exception)}"


def _in_a_line(line: str, width: int) -> str:
    """A text in one line: how an error ends, such as what a command has said last, is to be seen as well."""
    return _cut(_in_letters(" ".join(line.rstrip().splitlines())), width)


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
    while end and combining(end[0]):  # an accent, whose letter has no room
        end = end[1:]
    return without_middle(_begin_of(text, width - 5 - _width_of(end)), end)
