"""What a snapshot of a cue looks like: laid out with rich for a width and a height, or in one plain line.

Lives here: `frame` and `in_a_line`. Rows are given out in the order of what a person looks for first; what finds no
room is left out or summed up. Text of others is made harmless on the way.

Must not know: terminals, time, where a snapshot comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from math import inf
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

import runcue
from runcue.console.snapshot import Snapshot
from runcue.console.waits import Waiting

_GAP: Final = 2
_SLOTS: Final = 10
_WIDE: Final = 60
_READABLE: Final = 30
_FEW: Final = 3
# Nothing is no news.
_STYLES: Final = {"0": "dim", "0/s": "dim"}

_TURNS: Final = (
    {"troubles": 1, "tasks": 2, "services": 3, "waits": 1, "notes": 1},
    {"tasks": 6, "services": 6, "troubles": 2, "waits": 2, "notes": 4},
    {"services": 1000, "tasks": 1000, "notes": 1000},
)
"""Who is given rows, up to how many, as long as there are some."""


class _Column(NamedTuple):
    """A column of a table: what stands in it, the style of that, and whether it is numbers."""

    title: str
    cells: Sequence[str | ProgressBar]
    style: str = ""
    right: bool = True


def frame(snapshot: Snapshot, width: int, height: int, encoding: str = "utf-8") -> RenderableType:
    """Lay a snapshot out.

    Args:
        snapshot: What is shown.
        width: Cells of a line; the last one stays empty, because terminals disagree on what happens there.
        height: Rows.
        encoding: That of the terminal.
    """
    pen = _Pen(encoding, max(1, width - 1))
    rows = pen.head(snapshot)[: max(1, height)]
    left = height - len(rows)
    if snapshot.title and left > 6:
        rows.insert(0, pen.line(snapshot.title, "bold"))
        left -= 1
    tasks, services = len(snapshot.tasks), len(snapshot.services)
    troubles = [] if snapshot.is_over else snapshot.troubles
    wanted = {
        "troubles": min(2, len(troubles)),
        "services": services + 1 if services else 0,
        "tasks": tasks + 1 + (tasks > 1) if tasks else 0,
        "waits": min(2, len(snapshot.waits)) if width > _READABLE else 0,
        "notes": len(snapshot.notes),
    }
    given = dict.fromkeys(wanted, 0)
    for name, limit in (turn for turns in _TURNS for turn in turns.items()):
        more = min(left, min(wanted[name], limit) - given[name])
        if more > 0 and (
            given[name] + more > 1 or name in ("troubles", "waits", "notes")
        ):  # a heading alone is of no use
            given[name] += more
            left -= more
    rows += [pen.line(f"! {trouble}", "bold yellow") for trouble in troubles[: given["troubles"]]]
    if given["services"]:
        rows.append(pen.services(snapshot.services, given["services"] - 1))
    if given["tasks"]:
        rows.append(pen.tasks(snapshot, given["tasks"] - 1))
    if given["waits"]:
        rows.append(pen.waits(snapshot.waits[: given["waits"]]))
    rows += [pen.line(note) for note in snapshot.notes[len(snapshot.notes) - given["notes"] :]]
    return Group(*rows)


def in_a_line(snapshot: Snapshot, encoding: str = "utf-8") -> str:
    """A snapshot for where nothing can be drawn."""
    whole = snapshot.whole
    parts = [
        f"{int(snapshot.share * 100)}%",
        f"{whole.settled} of {snapshot.total}",
        f"{whole.pending} pending",
    ]
    parts += [f"{whole.running} running", f"{whole.failed} failed"]
    parts += [f"{whole.cancelled} cancelled"] if whole.cancelled else []
    parts.append(f"{pace(snapshot.mean_pace)} in all")
    if not snapshot.is_over:
        parts.append(f"ETA {_eta(snapshot)}{f' ({snapshot.eta.source})' if snapshot.eta.source else ''}")
        parts += _standing(snapshot.services)
        parts += map(str, snapshot.troubles[:_FEW])
    if snapshot.silent:
        parts.append(_silence(snapshot))
    title = f"{snapshot.title}: " if snapshot.title else ""
    return _Pen(encoding, 1).clean(f"{title}{time_left(snapshot.elapsed)}: {', '.join(parts)}")


def pace(per_second: float) -> str:
    """A throughput in the unit in which it is more than one."""
    for size, unit in ((1.0, "s"), (60.0, "min"), (3600.0, "h")):
        value = per_second * size
        if value >= 0.95:
            return f"{value:.1f}/{unit}" if value < 9.95 else f"{value:.0f}/{unit}"
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
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"


def _eta(snapshot: Snapshot) -> str:
    """The estimate in words: "?" where nothing is known."""
    eta = snapshot.eta
    if eta.seconds is None or not snapshot.total:
        return "?"
    return f"{'at least ' if eta.at_least else ''}{time_left(eta.seconds)}"


def _silence(snapshot: Snapshot) -> str:
    return f"the event loop has not answered for {snapshot.silent:.0f} s"


class _Pen:
    """Writes what fits into the lines of a terminal.

    Args:
        encoding: That of the terminal.
        room: Cells of a line.
    """

    def __init__(self, encoding: str, room: int) -> None:
        self._encoding = encoding
        self._room = room
        self._dots = "…" if encoding.lower().startswith("utf") else "..."

    def clean(self, text: str) -> str:
        """Text of others as it can stand in a line: it neither commands a terminal nor turns the writing round."""
        if not text.isprintable():
            text = "".join(one if one.isprintable() else " " for one in text)
        return text.encode(self._encoding, "replace").decode(self._encoding)

    def fit(self, text: str, width: int) -> str:
        """Text of others, shortened to a width."""
        text = self.clean(text)
        if cell_len(text) <= width:
            return text
        return set_cell_size(text, max(0, width - len(self._dots))).rstrip() + self._dots[: max(0, width)]

    def line(self, text: str, style: str = "") -> Text:
        """Text in a line of its own."""
        return Text(self.fit(text, self._room), style, no_wrap=True)

    def head(self, snapshot: Snapshot) -> list[RenderableType]:
        """How far it is; and that nothing is known, if that is so."""
        share = snapshot.share
        tail = self.fit(
            f"{int(share * 100)}%  {'done' if snapshot.is_over else f'ETA {_eta(snapshot)}'}", self._room
        )
        room = self._room - len(tail) - _GAP
        bar = _Column("", [_bar(share, room, "green")])
        first = _grid([bar, _Column("", [tail], "bold")]) if room > 3 else self.line(tail)
        parts = [f"{snapshot.whole.settled} of {snapshot.total}", time_left(snapshot.elapsed)]
        parts[1] += " of virtual time" if snapshot.virtual else ""
        parts += [f"{pace(snapshot.whole.pace)} now, {pace(snapshot.mean_pace)} in all"]
        parts += [snapshot.eta.source] if snapshot.eta.source and not snapshot.is_over else []
        rows: list[RenderableType] = [first, self.line("   ".join(parts), "dim")]
        return [*rows, self.line(f"! {_silence(snapshot)}", "bold yellow")] if snapshot.silent else rows

    def services(self, services: Sequence[runcue.ServiceStatus], rows: int) -> Table:
        """Slots in use, and what the rates allow."""
        shown = services if len(services) <= rows else services[: rows - 1]
        hidden = services[len(shown) :]
        busy = sum(one.in_use for one in hidden)
        names = [_named(one) for one in shown] + ([f"and {len(hidden)} more"] if hidden else [])
        slots = [f"{one.in_use}/{one.concurrent or '-'}" for one in shown] + ([f"{busy}"] if hidden else [])
        bars = [_bar(one.in_use / one.concurrent, _SLOTS, "cyan") if one.concurrent else "" for one in shown]
        columns = [
            _Column("SERVICE", names, "bold", right=False),
            _Column("SLOTS", slots),
        ]
        if any(one.rate or one.burst or one.limits for one in services):
            columns.append(_Column("RATE LEFT", [self.clean(_rate(one)) for one in shown], right=False))
        if any(one.budgets for one in services):
            columns.append(_Column("BUDGET LEFT", [self.clean(_budgets(one)) for one in shown], right=False))
        if len(columns) > 2 or any(map(_held, services)):
            columns.append(_Column("NEXT", [_next(one) for one in shown]))
        if self._room >= _WIDE:
            columns.insert(2, _Column("", bars))
        return self._table(columns)

    def tasks(self, snapshot: Snapshot, rows: int) -> Table:
        """What has become of the work units of each task."""
        tasks = snapshot.tasks
        if len(tasks) > 1:
            tasks = (*tasks[: rows - 1], snapshot.whole)
        columns = [
            _Column("TASK", [one.name for one in tasks], "bold", right=False),
            _Column("PENDING", [f"{one.pending}" for one in tasks]),
            _Column("RUNNING", [f"{one.running}" for one in tasks], "cyan"),
            _Column("DONE", [f"{one.done}" for one in tasks], "green"),
            _Column("FAILED", [f"{one.failed}" for one in tasks], "red"),
            _Column("SKIPPED", [f"{one.skipped}" for one in tasks], "blue"),
            _Column("PACE", [pace(one.pace) for one in tasks]),
        ]
        if snapshot.whole.retries:
            columns.insert(5, _Column("RETRIES", [f"{one.retries}" for one in tasks], "yellow"))
        if snapshot.whole.cancelled:
            columns.insert(-1, _Column("CANCELLED", [f"{one.cancelled}" for one in tasks], "yellow"))
        return self._table(columns)

    def waits(self, waits: Sequence[Waiting]) -> Table:
        """What waits, and what for."""
        counts = [f"{'~' if one.about else ''}{one.number}" for one in waits]
        tasks = [self.fit(one.task, max(8, self._room // 4)) for one in waits]
        taken = max(map(len, counts)) + max(map(cell_len, tasks)) + len("waits") + 3 * _GAP
        details = [self.fit(one.details, max(0, self._room - taken)) for one in waits]
        return _grid(
            [
                _Column("", ["waits"], "dim"),
                _Column("", counts),
                _Column("", tasks, "bold", right=False),
                _Column("", details, "yellow", right=False),
            ]
        )

    def _table(self, columns: Sequence[_Column]) -> Table:
        """Columns below their headings; where there is too little room the first one shrinks, and the last ones go."""
        names, *others = columns
        longest = max(cell_len(self.clean(str(name))) for name in (names.title, *names.cells))
        widths = [max(map(_width, (column.title, *column.cells))) + _GAP for column in others]
        while others and sum(widths) + min(longest, 12) > self._room:
            widths.pop()
            others.pop()
        room = self._room - sum(widths)
        cells = [self.fit(str(name), room) for name in names.cells]
        return _grid([names._replace(title=self.fit(names.title, room), cells=cells), *others], heads=True)


def _bar(share: float, width: int, style: str) -> ProgressBar:
    return ProgressBar(1.0, share, width, complete_style=style, finished_style=f"bold {style}")


def _width(cell: str | ProgressBar) -> int:
    return cell_len(cell) if isinstance(cell, str) else cell.width or 0


def _grid(columns: Sequence[_Column], *, heads: bool = False) -> Table:
    """Columns side by side."""
    table = Table(
        box=None,
        padding=(0, _GAP),
        collapse_padding=True,
        pad_edge=False,
        show_header=heads,
        header_style="dim",
    )
    for column in columns:
        table.add_column(
            Text(column.title), style=column.style, justify="right" if column.right else "left", no_wrap=True
        )
    for cells in zip_longest(*(column.cells for column in columns), fillvalue=""):
        # As text: rich would look for its own markup in a plain str.
        table.add_row(
            *(Text(cell, _STYLES.get(cell, "")) if isinstance(cell, str) else cell for cell in cells)
        )
    return table


def _named(service: runcue.ServiceStatus) -> str:
    if service.keys is None:
        return service.name
    return f"{service.name}, {service.keys} key{'' if service.keys == 1 else 's'}"


def _rate(service: runcue.ServiceStatus) -> str:
    if service.tokens is not None:
        return f"{service.tokens} of {service.rate}"
    return "bucket" if service.burst is not None else ", ".join(service.limits) or "-"


def _budgets(service: runcue.ServiceStatus) -> str:
    """The share that is left of each budget; what is owed is less than nothing."""
    told = (f"{(1 - (one.used + one.debt) / one.limit):.0%} {name}" for name, one in service.budgets.items())
    return ", ".join(told) or "-"


def _held(service: runcue.ServiceStatus) -> str:
    """That nothing starts at all, and for how long, in a few letters."""
    for what, _, seconds in _holds(service):
        return f"{what} {time_left(seconds)}" if 0 < seconds < inf else what
    return ""


def _standing(services: Sequence[runcue.ServiceStatus]) -> list[str]:
    """The same in words, of the first services of which nothing starts. What has no end the estimate says."""
    told = []
    for service in services:
        for _, what, seconds in _holds(service):
            if seconds < inf:
                how_long = f" for another {time_left(seconds)}" if seconds else ""
                told.append(f"{service.name} is {what}{how_long}")
            break
    return told[:_FEW]


def _holds(service: runcue.ServiceStatus) -> Iterator[tuple[str, str, float]]:
    """What holds all of a service, the first one first: in a few letters, in words, and for how many seconds."""
    for short, words, seconds in (
        ("paused", "paused", service.paused),
        ("refused", "refused by its server", service.throttled),
        ("broken", "held by its breaker", service.broken),
    ):
        if seconds is not None:
            yield short, words, seconds


def _next(service: runcue.ServiceStatus) -> str:
    """When the next token comes, if it has to be waited for."""
    if held := _held(service):
        return held
    if service.tokens is None and service.burst is None:
        return ""
    if service.next_token is None:
        return "?"
    return time_left(service.next_token) if service.next_token else "now"
