"""The SVG document of a timeline.

Lives here: `draw` and all that is about pixels, colours and XML.

Must not know: the cue, the clock, files.
"""

from __future__ import annotations

import colorsys
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

import runcue
from runcue.timeline._bars import Bar, Group, Outcome, check_text, grouped, in_words, load
from runcue.timeline._scale import duration_text, tick_step, tick_text

_OUTCOMES: tuple[Outcome, ...] = (
    "completed",
    "running",
    "skipped",
    "failed",
    "cancelled",
    "retried",
    "postponed",
)

# No red among them, nor among the colours made up beyond them: red is for failures.
_PALETTE = ("#4c78d8", "#2fa58e", "#e8a33d", "#8e6bc9", "#3aa6cf", "#d77fb3", "#86a83c", "#6b7a99", "#c98a5b")
_INK = "#1f2733"
_FAINT_INK = "#6b7686"
_RED = "#d6333f"

_WIDTH = 1200.0
_MARGIN = 34.0
_ROWS_HEIGHT = 620.0
"""What all rows together may take before they get thinner."""
_CHARACTER = 0.6
"""Mean width of a character in a sans-serif font, in units of its size: a guess on the wide side."""
_LOAD_HEIGHT = 34.0
_SEPARATOR = " \N{MIDDLE DOT} "
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_STYLE = f"""
text {{ font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-size: 11px; fill: {_FAINT_INK} }}
.title {{ font-size: 21px; font-weight: 600; fill: {_INK} }}
.counts {{ font-size: 13px }}
.name {{ font-size: 13px; font-weight: 600; fill: {_INK} }}
.key {{ font-size: 12px; fill: {_INK} }}
.inside {{ font-size: 10px; text-anchor: middle; pointer-events: none }}
.middle {{ text-anchor: middle }}
.end {{ text-anchor: end }}
.grid {{ stroke: #dfe4ec; stroke-width: 1 }}
.panel {{ fill: #f5f7fa }}
.load {{ fill: #cdd6e4 }}
.failed {{ fill: none; stroke: {_RED}; stroke-width: 1.5 }}
.cap {{ fill: {_RED} }}
.retried {{ fill: none; stroke: {_RED}; stroke-width: 1.5; stroke-dasharray: 3 2 }}
.postponed {{ fill: none; stroke: {_FAINT_INK}; stroke-width: 1.5; stroke-dasharray: 3 2 }}
.cancelled {{ fill: url(#hatch) }}
.running {{ fill: url(#fade) }}
.skipped {{ fill: #ffffff; stroke: #8793a6; stroke-width: 1.5 }}
.dropped {{ fill: none; stroke: {_RED}; stroke-width: 1.5 }}
.neutral {{ fill: #a3adbc }}
"""

_DEFINITIONS = """<defs>
<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="3" height="6" fill="#ffffff" fill-opacity="0.65"/></pattern>
<linearGradient id="fade"><stop offset="0.3" stop-color="#ffffff" stop-opacity="0"/>
<stop offset="1" stop-color="#ffffff" stop-opacity="0.85"/></linearGradient>
</defs>"""


def draw(bars: Iterable[Bar], *, title: str = "Timeline") -> str:
    """Draw bars as an SVG document: a row group per service, as many rows in it as work units ran at once.

    The same bars always give the same text.

    Args:
        bars: What to draw, in any order.
        title: The picture's heading.

    Returns:
        The document, with a tooltip on every bar.

    Raises:
        runcue.ConfigurationError: A value cannot be drawn.
    """
    title = check_text(title, "The title of a timeline")
    try:
        found = list(bars)
    except Exception:  # of one that cannot be gone through
        raise runcue.ConfigurationError(f"draw() takes several bars, not {in_words(bars)}.") from None
    for bar in found:
        if not isinstance(bar, Bar):
            raise runcue.ConfigurationError(f"draw() takes bars, not {in_words(bar)} among them.")
    return _Picture(sorted(found, key=lambda bar: (bar.start, bar.end)), title).render()


class _Picture:
    """One drawing in the making: a cursor that moves down the page, and the elements written so far.

    Panels and grid lie under everything else, and how far down they reach is known last, so they are kept apart.
    """

    def __init__(self, ordered: Sequence[Bar], title: str) -> None:
        self._bars = ordered
        self._title = title
        self._groups = grouped(ordered)
        # Of one that was tried again there are several bars.
        self._works = {(bar.task, bar.work_id) for bar in ordered}
        tasks = dict.fromkeys(bar.task for bar in ordered)
        self._colours = {task: _colour(index) for index, task in enumerate(tasks)}
        self._classes = {task: f"t{index}" for index, task in enumerate(tasks)}
        self._origin = min((bar.start for bar in ordered), default=0.0)
        self._makespan = max((bar.start + bar.duration for bar in ordered), default=0.0) - self._origin
        # A run in which all happened at one instant is a picture too, but nothing is no scale.
        self._span = self._makespan or 0.001
        lanes = sum(len(group.lanes) for group in self._groups)
        self._pitch = min(24.0, max(4.0, _ROWS_HEIGHT / max(1, lanes)))
        self._left = _MARGIN + self._label_width() + 18
        self._right = _WIDTH - _MARGIN
        self._y = 0.0
        self._under: list[str] = []
        self._over: list[str] = []

    def render(self) -> str:
        self._header()
        if self._groups:
            self._legend()
            tall = sum(len(group.lanes) for group in self._groups) * self._pitch > 500
            self._y += 16 if tall else 0
            top = self._y
            for group in self._groups:
                self._group(group)
            self._load()
            self._axis(top, labelled_above=tall)
        else:
            self._y += 44
            self._write("Nothing has run yet.", _MARGIN, self._y, "counts")
        height = _number(self._y + 24)
        width = _number(_WIDTH)
        names = self._classes
        fills = "".join(f".{names[task]} {{ fill: {colour} }}\n" for task, colour in self._colours.items())
        size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        name = f'role="img" aria-label="{_text(self._title)}"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {name}>',
            f"<style>{_STYLE}{fills}</style>",
            _DEFINITIONS,
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *self._under,
            *self._over,
            "</svg>\n",
        ]
        return "\n".join(lines)

    def _header(self) -> None:
        ran = [bar for bar in self._bars if bar.ran]
        x = self._right
        if ran:
            figures = (
                (duration_text(self._makespan), "makespan"),
                (f"{sum(bar.duration for bar in ran) / self._span:.1f}", "at once, mean"),
                (f"{max((level for _, level in load(ran)), default=1):,}", "at once, most"),
            )
            for figure, caption in reversed(figures):
                self._write(figure, x, 46, "title end")
                self._write(caption, x, 66, "end")
                x -= max(_width(figure, 21), _width(caption, 11)) + 30
        room = int((x - _MARGIN) / _width("x", 21))
        self._write(_shortened(self._title, room), _MARGIN, 46, "title")
        counts = Counter(bar.outcome for bar in self._bars)
        number = len(self._works)
        works = f"{number:,} work unit{'' if number == 1 else 's'}"
        listed = [f"{counts[outcome]:,} {outcome}" for outcome in _OUTCOMES if counts[outcome]]
        self._write(_SEPARATOR.join([works, *listed]), _MARGIN, 67, "counts")
        self._y = 67

    def _legend(self) -> None:
        """The tasks' colours, and of the ways to end only those that occur."""
        counts = Counter(task for task, _ in self._works)
        seen = {(bar.outcome, bar.ran) for bar in self._bars}
        x = _MARGIN
        self._y += 32
        for task, name in self._classes.items():
            x = self._key(x, f"{_shortened(task, 40)} ({counts[task]:,})", name, "completed")
        ends = {
            "failed": "failed",
            "retried": "tried again",
            "postponed": "postponed",
            "cancelled": "cancelled",
            "running": "still running",
        }
        for outcome, text in ends.items():
            if (outcome, True) in seen:
                x = self._key(x, text, "neutral", outcome)
        if ("skipped", False) in seen:
            x = self._key(x, "skipped", "", "skipped")
        if seen & {("failed", False), ("cancelled", False)}:
            self._key(x, "never started", "", "cancelled")
        self._y += 18

    def _key(self, x: float, text: str, name: str, outcome: str) -> float:
        """One entry of the legend, a block in the colour of that name or a mark; gives where the next one begins."""
        width = 20 + _width(text, 12) + 14
        if x > _MARGIN and x + width > self._right:
            x = _MARGIN
            self._y += 22
        block = _block(name, outcome, x, self._y - 10, 14, 12) if name else _mark(x + 7, self._y - 4, outcome)
        self._over.append(block)
        self._write(text, x + 20, self._y, "key")
        return x + width

    def _group(self, group: Group) -> None:
        rows = len(group.lanes) * self._pitch
        marks = 16.0 if group.marks else 0.0
        inner = max(36.0, rows + marks)
        self._panel(inner + 14)
        y = self._y + 7 + (inner - rows - marks) / 2
        self._write(_shortened(group.name, 28), _MARGIN, self._y + 7 + 15, "name")
        self._write(self._facts(group), _MARGIN, self._y + 7 + 31)
        gap = 1.0 if self._pitch < 10 else 3.0
        notable: list[str] = []
        for lane in group.lanes:
            for bar in lane:
                # Where bars are thinner than a pixel the last one drawn wins, and a failure must not be lost.
                layer = self._over if bar.outcome in ("completed", "running", "postponed") else notable
                layer.append(self._bar(bar, y + gap / 2, self._pitch - gap))
            y += self._pitch
        self._over.extend(notable)
        self._marks(group.marks, y + marks / 2)
        self._y += inner + 14 + 6

    def _bar(self, bar: Bar, y: float, height: float) -> str:
        x = self._x(bar.start)
        width = bar.duration / self._span * (self._right - self._left)
        # A hair of background between neighbours, where there is a hair to spare.
        width = max(1.5, width - 1 if width > 5 else width)
        name = self._classes[bar.task]
        shape = _block(name, bar.outcome, x, y, width, height, self._tooltip(bar))
        text = bar.label or bar.task
        if height < 12 or width < _width(text, 10) + 4:
            return shape
        plain = bar.outcome in ("completed", "failed", "retried", "postponed")
        ink = _ink_on(self._colours[bar.task]) if plain else _INK
        middle = f'x="{_number(x + width / 2)}" y="{_number(y + height / 2 + 3.5)}"'
        return f'{shape}<text class="inside" {middle} style="fill: {ink}">{_text(text)}</text>'

    def _tooltip(self, bar: Bar) -> str:
        what = _SEPARATOR.join(filter(None, (bar.task, bar.label, bar.work_id)))
        begin = duration_text(bar.start - self._origin)
        took = f", took {duration_text(bar.duration)}" if bar.ran else ""
        return f"{what}\n{bar.outcome}, at {begin}{took}"

    def _marks(self, marks: Sequence[Bar], y: float) -> None:
        """Marks that would lie on each other become one, with all of them in its tooltip."""
        clusters: dict[tuple[int, bool], list[Bar]] = {}
        for bar in marks:
            column = int((self._x(bar.start) - self._left) // 11)
            clusters.setdefault((column, bar.outcome == "skipped"), []).append(bar)
        for members in clusters.values():
            first = members[0]
            tooltip = self._tooltip(first)
            if len(members) > 1:
                tasks = Counter((bar.outcome, bar.task) for bar in members)
                tooltip = "\n".join(
                    f"{count:,} {outcome}: {task}" for (outcome, task), count in tasks.items()
                )
            x = self._x(first.start)
            self._over.append(_mark(x, y, first.outcome, tooltip))
            if len(members) > 1:
                self._write(f"\N{MULTIPLICATION SIGN}{len(members):,}", x + 9, y + 4)

    def _load(self) -> None:
        """The strip under the rows: how many work units ran at once, over all services."""
        steps = load([bar for bar in self._bars if bar.ran])
        if not steps:
            return
        most = max(level for _, level in steps)
        self._panel(_LOAD_HEIGHT + 14)
        bottom = self._y + 7 + _LOAD_HEIGHT
        self._write("at once", _MARGIN, self._y + 7 + 15, "name")
        self._write(f"all services{_SEPARATOR}up to {most:,}", _MARGIN, self._y + 7 + 31)
        path = [f"M{_number(self._x(steps[0][0]))} {_number(bottom)}"]
        columns: dict[float, list[int]] = {}
        for instant, level in steps:
            columns.setdefault(round(self._x(instant) * 2) / 2, []).append(level)
        for x, levels in columns.items():
            # Within one column only its peak and what it leaves behind can be seen.
            heights = [_LOAD_HEIGHT * level / most for level in dict.fromkeys((max(levels), levels[-1]))]
            verticals = "".join(
                f"V{_number(bottom - (max(1.0, height) if height else 0))}" for height in heights
            )
            path.append(f"H{_number(x)}{verticals}")
        self._over.append(f'<path class="load" d="{"".join(path)}V{_number(bottom)}Z"/>')
        self._y += _LOAD_HEIGHT + 14 + 6

    def _axis(self, top: float, *, labelled_above: bool) -> None:
        step = tick_step(self._span, 10)
        bottom = self._y
        self._y += 12
        count = int(self._makespan / step + 1e-9) + 1
        for tick in range(count):
            x = self._x(self._origin + tick * step)
            line = f'x1="{_number(x)}" y1="{_number(top)}" x2="{_number(x)}" y2="{_number(bottom)}"'
            self._under.append(f'<line class="grid" {line}/>')
            text = tick_text(tick * step, step, self._span)
            self._write(text, x, self._y, "middle")
            if labelled_above:
                self._write(text, x, top - 6, "middle")

    def _panel(self, height: float) -> None:
        x, width = _MARGIN - 12, self._right - _MARGIN + 24
        size = f'width="{_number(width)}" height="{_number(height)}"'
        self._under.append(f'<rect class="panel" x="{_number(x)}" y="{_number(self._y)}" {size} rx="6"/>')

    def _facts(self, group: Group) -> str:
        if not group.lanes:
            return f"{len(group.marks):,} not run"
        ran = f"{sum(map(len, group.lanes)):,} ran"
        busy = f"busy {100 * group.busy / self._span:.0f} %"
        parallel = f"{len(group.lanes):,} at once" if len(group.lanes) > 1 else "one at a time"
        return _SEPARATOR.join((ran, busy, parallel))

    def _label_width(self) -> float:
        names = [_width(_shortened(group.name, 28), 13) for group in self._groups]
        facts = [_width(self._facts(group), 11) for group in self._groups]
        return max([*names, *facts, 80.0])

    def _x(self, instant: float) -> float:
        return self._left + (instant - self._origin) / self._span * (self._right - self._left)

    def _write(self, text: str, x: float, y: float, classes: str = "") -> None:
        style = f' class="{classes}"' if classes else ""
        self._over.append(f'<text x="{_number(x)}" y="{_number(y)}"{style}>{_text(text)}</text>')


def _block(
    name: str, outcome: str, x: float, y: float, width: float, height: float, tooltip: str = ""
) -> str:
    """A bar in its task's colour, with its outcome laid over it."""
    rows = f'y="{_number(y)}" height="{_number(height)}"'
    corner = f' rx="{_number(min(3.0, height / 4))}"' if width >= 6 else ""
    size = f'x="{_number(x)}" {rows} width="{_number(width)}"{corner}'
    title = f"<title>{_text(tooltip)}</title>" if tooltip else ""
    if outcome == "completed":
        return f'<rect class="{name}" {size}>{title}</rect>' if title else f'<rect class="{name}" {size}/>'
    if outcome == "failed" and width < 6:
        return f'<rect class="cap" {size}>{title}</rect>'
    over = f'<rect class="{outcome}" {size}/>'
    if outcome == "failed":
        over += f'<rect class="cap" x="{_number(x + width - 4)}" {rows} width="4" rx="1"/>'
    return f'<g>{title}<rect class="{name}" {size}/>{over}</g>'


def _mark(x: float, y: float, outcome: str, tooltip: str = "") -> str:
    """A work unit that never ran: a ring when it was skipped, a cross when it was given up."""
    title = f"<title>{_text(tooltip)}</title>" if tooltip else ""
    if outcome == "skipped":
        return f'<circle class="skipped" cx="{_number(x)}" cy="{_number(y)}" r="4">{title}</circle>'
    cross = f"M{_number(x - 4)} {_number(y - 4)}l8 8m0 -8l-8 8"
    return f'<path class="dropped" d="{cross}">{title}</path>'


def _width(text: str, size: float) -> float:
    """What a text takes at most, near enough to lay out a legend: there is no font to ask."""
    return len(text) * size * (_CHARACTER + 0.05 * (size > 12))


def _colour(index: int) -> str:
    """The colour of the n-th task; beyond the palette, hues a golden section apart: neighbours differ."""
    if index < len(_PALETTE):
        return _PALETTE[index]
    hue = 0.08 + 0.82 * (index * 0.381966 % 1.0)
    red, green, blue = colorsys.hls_to_rgb(hue, 0.55, 0.42)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _ink_on(colour: str) -> str:
    """White or dark, whichever is read more easily on the colour."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 165 else _INK


def _number(value: float) -> str:
    """A coordinate: two decimals are a fiftieth of what an eye sees, and keep big pictures small."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _text(value: str) -> str:
    """Escape for XML, and replace what XML 1.0 cannot hold at all, not even escaped."""
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value), {'"': "&quot;"})


def _shortened(value: str, most: int) -> str:
    return value if len(value) <= most else value[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
