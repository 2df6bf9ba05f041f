"""One picture of the live display: lines of styled text that fit a terminal.

Lives here: `draw`, which lays a snapshot out. Each panel says how few rows are of use and how many it would like; rows
are given out in the order of what a person looks for first, and panels for which there is no room are left out.

Must not know: terminals, time, where a snapshot comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from runcue_sim._display.snapshot import ServiceLine, Snapshot
from runcue_sim._display.text_cells import DIM, Column, Pen, number, pace, table, time_left
from runcue_sim._records.event_log import clock_time

_STYLES: Final = {
    "queued": DIM,
    "started": "cyan",
    "completed": "green",
    "failed": "red",
    "skipped": "blue",
    "cancelled": "yellow",
    "invalidated": "magenta",
    "blocked": "yellow",
    "timeout": "red",
    "fault": "magenta",
    "died": "red",
}


_NARROW: Final = 70


class _Panel(NamedTuple):
    """A part of the picture.

    Attributes:
        least: Rows without which it is of no use.
        most: Rows that it can use.
        write: Gives its lines for a number of rows.
    """

    least: int
    most: int
    write: Callable[[int], list[Text]]


def draw(snapshot: Snapshot, width: int, height: int, pen: Pen | None = None) -> list[Text]:
    """Lay a snapshot out.

    Args:
        snapshot: What is shown.
        width: Cells of a line; the last one stays empty, because terminals disagree on what happens there.
        height: Rows.
        pen: What the terminal can write.

    Returns:
        At most `height` lines.
    """
    pen = pen or Pen()
    room = max(1, width - 2)
    panels = {
        "title": _title(snapshot, pen, room),
        "progress": _progress(snapshot, pen, room),
        "counts": _counts(snapshot, pen, room),
        "services": _services(snapshot, pen, room),
        "blocked": _blocked(snapshot, pen, room),
        "warnings": _warnings(snapshot, pen, room),
        "events": _events(snapshot, pen, room),
    }
    rows, gaps = _give_out(panels, height)
    lines: list[Text] = []
    for name, panel in panels.items():
        if rows[name]:
            if lines and name in gaps:
                lines.append(Text())
            lines += panel.write(rows[name])
    for line in lines:
        line.pad_left(1)
        if line.cell_len > width - 1:
            line.truncate(max(1, width - 1), overflow="crop")
    return lines[:height]


_FIRST: Final = ("progress", "counts", "services", "blocked", "warnings", "title", "events")
"""Which panels are had first."""

_THEN: Final = (
    ("progress", 2),
    ("services", 7),
    ("blocked", 3),
    ("events", 4),
    ("title", 2),
    ("", 0),  # empty lines
    ("services", 13),
    ("events", 8),
    ("warnings", 3),
    ("blocked", 6),
    ("services", 1000),
    ("events", 16),
    ("blocked", 1000),
    ("events", 1000),
)
"""Who is given rows, up to how many, when there are more."""

_APART: Final = ("events", "services", "progress", "blocked", "counts", "warnings")
"""Above which panels there is an empty line first."""


def _give_out(panels: dict[str, _Panel], height: int) -> tuple[dict[str, int], set[str]]:
    """How many rows each panel has, and above which there are empty lines."""
    rows = dict.fromkeys(panels, 0)
    left = height
    for name in _FIRST:
        least = panels[name].least
        if least <= left:
            rows[name] = least
            left -= least
    gaps: set[str] = set()
    for name, limit in _THEN:
        if not name:
            gaps.update([one for one in _APART if rows[one]][:left])
            left -= len(gaps)
        elif rows[name]:
            more = max(0, min(left, min(panels[name].most, limit) - rows[name]))
            rows[name] += more
            left -= more
    return rows, gaps


def _title(snapshot: Snapshot, pen: Pen, room: int) -> _Panel:
    def write(rows: int) -> list[Text]:
        clock = f"{snapshot.clock} {time_left(snapshot.elapsed)}"
        name = "runcue-sim"
        space = room - len(name) - cell_len(clock) - 4
        settings = pen.clean(snapshot.settings)
        line = Text().append(name, "bold")
        if rows == 1 or cell_len(settings) <= space:
            line.append(f"  {pen.fit_list(settings, space)}" if space > 0 else "", DIM)
            settings = ""
        _right(line, Text(clock), room)
        return [line, Text(pen.fit_list(settings, room), DIM)] if settings else [line]

    fits = cell_len(snapshot.settings) + cell_len(snapshot.clock) + 40 <= room
    return _Panel(1, 1 if fits or not snapshot.settings else 2, write)


def _right(line: Text, end: Text, room: int) -> None:
    """Put something at the right end of a line, if there is room for it."""
    space = room - line.cell_len - end.cell_len
    if space >= 1:
        line.append(" " * space)
        line.append_text(end)


def _progress(snapshot: Snapshot, pen: Pen, room: int) -> _Panel:
    def write(rows: int) -> list[Text]:
        total = max(snapshot.total, snapshot.settled, 1)
        over = bool(snapshot.settled) and not snapshot.queued and not snapshot.running and snapshot.share >= 1
        tail = Text(f" {int(snapshot.share * 100):>3}%", "bold")
        eta = "done" if over else f"ETA {eta_words(snapshot)}"
        tail.append(eta.rjust(14 if len(eta) <= 12 else max(25, len(eta) + 2)))
        parts = (
            (snapshot.completed / total, "green"),
            (snapshot.skipped / total, "blue"),
            ((snapshot.failed + snapshot.cancelled) / total, "red"),
        )
        first = pen.bar(max(4, room - tail.cell_len), parts).append_text(tail)
        of = f"{number(snapshot.settled, 9)} of {'at least ' if snapshot.more else ''}{number(snapshot.total, 9)}"
        second = Text(f"{of}   {pace(snapshot.pace)} now, {pace(snapshot.mean_pace)} in all", DIM)
        if not over:
            _right(second, Text(pen.fit(snapshot.eta.source, max(0, room - second.cell_len - 2)), DIM), room)
        return [first, second][:rows]

    return _Panel(1, 2, write)


def in_a_line(snapshot: Snapshot, pen: Pen) -> str:
    """A snapshot for terminals on which nothing can be drawn."""
    parts = [
        f"{int(snapshot.share * 100)}%",
        f"{snapshot.settled} of {'at least ' if snapshot.more else ''}{snapshot.total}",
        f"{snapshot.queued} queued",
        f"{snapshot.running} running",
        f"{snapshot.failed} failed",
    ]
    if snapshot.blocked:
        parts.append(f"{snapshot.blocked} blocked")
    source = f" ({snapshot.eta.source})" if snapshot.eta.source else ""
    parts.append(pen.clean(f"ETA {eta_words(snapshot)}{source}"))
    return f"{time_left(snapshot.elapsed)}: {', '.join(parts)}"


def eta_words(snapshot: Snapshot) -> str:
    """The estimate in words: "?" where nothing is known."""
    eta = snapshot.eta
    if eta.seconds is None:
        return "?"
    return f"{'at least ' if eta.at_least else ''}{time_left(eta.seconds)}"


def _counts(snapshot: Snapshot, pen: Pen, room: int) -> _Panel:
    def write(rows: int) -> list[Text]:
        columns = _count_columns(snapshot, "COMPLETED", " asked for")
        for shorter in (" asked", ""):
            if sum(column.natural + 2 for column in columns) - 2 > room:
                columns = _count_columns(snapshot, "DONE", shorter)
        # Not wider: numbers that belong together stay together on a wide screen.
        spare = room - sum(column.natural for column in columns)
        return table(columns, pen, room, gap=max(2, min(5, spare // (len(columns) - 1))))

    return _Panel(2, 2, write)


def _count_columns(snapshot: Snapshot, completed: str, asked: str) -> list[Column]:
    failed = number(snapshot.failed)
    if snapshot.on_purpose:
        failed += f" ({number(snapshot.on_purpose)}{asked})"
    cells = [
        ("QUEUED", number(snapshot.queued), ""),
        ("RUNNING", number(snapshot.running), "cyan"),
        (completed, number(snapshot.completed), "green"),
        ("FAILED", failed, "red"),
        ("SKIPPED", number(snapshot.skipped), "blue"),
        ("BLOCKED", number(snapshot.blocked), "yellow"),
    ]
    if snapshot.cancelled:
        cells.append(("CANCELLED", number(snapshot.cancelled), "yellow"))
    return [
        Column(title, [Text(value, DIM if value == "0" else f"bold {style}")], right=True)
        for title, value, style in cells
    ]


def _services(snapshot: Snapshot, pen: Pen, room: int) -> _Panel:
    services = snapshot.services

    def write(rows: int) -> list[Text]:
        shown = services if len(services) < rows else services[: max(1, rows - 2)]
        lines = _service_table(shown, pen, room)
        if len(shown) < len(services):
            hidden = services[len(shown) :]
            busy = sum(service.in_use for service in hidden)
            lines.append(Text(f"and {len(hidden)} more with {number(busy)} slots in use", DIM))
        return lines[:rows]

    least = min(len(services), 4) + 1 if services else 0
    return _Panel(least, len(services) + 1 if services else 0, write)


def _service_table(services: Sequence[ServiceLine], pen: Pen, room: int) -> list[Text]:
    slots = [f"{number(one.in_use)}/{number(one.slots) if one.slots else pen.endless}" for one in services]
    # As wide as they can become, so that nothing moves while numbers do.
    rate_wide = max((len(f"{one.count} of {one.rate}") for one in services if one.rate), default=6)
    rates = [_rate(one, pen) for one in services]
    columns = [
        Column("SERVICE", [Text(pen.fit(one.name, max(16, room // 4)), "bold") for one in services], least=8),
        Column("", [Text(text) for text in slots], right=True, wide=5),
        Column("RATE LEFT", rates, least=min(rate_wide, 24), wide=min(rate_wide, 24)),
        Column("NEXT", [Text(_next(one)) for one in services], right=True, wide=6),
        Column("DONE", [Text(number(one.done)) for one in services], right=True, wide=5),
        Column(
            "FAILED", [Text(number(one.failed), "red" if one.failed else DIM) for one in services], right=True
        ),
        Column("PACE", [Text(pace(one.pace)) for one in services], right=True, wide=7),
    ]
    if not any(one.rate or one.bucket for one in services):
        del columns[2:4]
    cells = max(5, min(30, room - sum(column.natural for column in columns) - 2 * len(columns)))
    bars = [
        pen.bar(cells, [(one.in_use / one.slots, "cyan" if one.in_use < one.slots else "bold cyan")])
        if one.slots
        else Text()
        for one in services
    ]
    columns.insert(1, Column("SLOTS", bars, wide=cells))
    return table(columns, pen, room)


def _rate(service: ServiceLine, pen: Pen) -> Text:
    if service.tokens is not None:
        return Text(
            pen.clean(f"{number(service.tokens)} of {service.rate}"), "" if service.tokens else "yellow"
        )
    return Text("bucket" if service.bucket else "-", "" if service.bucket else DIM)


def _next(service: ServiceLine) -> str:
    """When the next token comes, if it has to be waited for."""
    if service.tokens is None and not service.bucket:
        return ""
    if service.next_token is None:
        return "?"
    if not service.next_token:
        return "now"
    seconds = service.next_token
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "m")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _blocked(snapshot: Snapshot, pen: Pen, room: int) -> _Panel:
    groups = snapshot.groups

    def write(rows: int) -> list[Text]:
        shown = groups[: rows - 1]
        columns = [
            Column("BLOCKED", [Text(number(one.count)) for one in shown], right=True),
            Column(
                "TASK",
                [Text(pen.fit(one.task, max(16, room // 4)), "bold") for one in shown],
                least=8,
                wide=10,
            ),
            Column("REASON", [Text(pen.clean(one.details), "yellow") for one in shown], least=20),
        ]
        return table(columns, pen, room)

    return _Panel(2 if groups else 0, len(groups) + 1 if groups else 0, write)


def _warnings(snapshot: Snapshot, pen: Pen, room: int) -> _Panel:
    def write(rows: int) -> list[Text]:
        return [Text(pen.fit(f"! {text}", room), "yellow") for text in snapshot.warnings[-rows:]]

    return _Panel(min(1, len(snapshot.warnings)), len(snapshot.warnings), write)


def _events(snapshot: Snapshot, pen: Pen, room: int) -> _Panel:
    entries = snapshot.entries
    # Of all that are remembered: columns that follow what is shown would jump with every line.
    tasks = min(20, max((cell_len(one.task) for one in entries), default=0))
    works = min(20, max((cell_len(one.work_id) for one in entries), default=0))

    def write(rows: int) -> list[Text]:
        shown = entries[len(entries) - min(rows - 1, len(entries)) :]
        columns = [
            Column("TIME", [Text(clock_time(one.at), DIM) for one in shown], wide=12),
            Column(
                "EVENT",
                [Text(f"{pen.signs[one.event]} {one.event}", _STYLES[one.event]) for one in shown],
                wide=13,
            ),
            Column("TASK", [Text(pen.fit(one.task, tasks)) for one in shown], least=8, wide=tasks),
            Column("WORK", [Text(pen.fit(one.work_id, works), DIM) for one in shown], least=6, wide=works),
            Column("DETAILS", [Text(pen.clean(one.details)) for one in shown], least=16),
        ]
        if room < _NARROW:
            del columns[3]  # the details begin with what the work is about
        return table(columns, pen, room)

    return _Panel(3 if entries else 0, len(entries) + 1 if entries else 0, write)
