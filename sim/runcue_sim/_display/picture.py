"""A frame of the live display as an SVG, for pages that show what it looks like.

Lives here: `frame_as_svg`. Each word has its own place, so that columns stand below one another whatever font there is.

Must not know: what is in a frame.
"""

from __future__ import annotations

import re
from html import escape
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style

from runcue_sim._display.layout import draw
from runcue_sim._display.snapshot import Snapshot

_LABEL: Final = "The live display of runcue-sim"
_CELL: Final = 9
_ROW: Final = 20
_MARGIN: Final = 12
_COLOURS: Final = {
    "green": "#8fbf7f",
    "red": "#e06c75",
    "blue": "#7aa2f7",
    "cyan": "#6cb6c9",
    "yellow": "#d9b36c",
    "magenta": "#b48ead",
}
_STYLE: Final = """\
<style>
rect.screen { fill: #1e222a }
text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 15px;
  fill: #d5dae3 }
.dim { fill: #7d8796 }
.bold { font-weight: 700 }
rect.dim { fill: #3a414d }
"""


def frame_as_svg(snapshot: Snapshot, width: int = 80, height: int = 24) -> str:
    """Draw what the display shows, as a picture that refers to nothing outside of it.

    Args:
        snapshot: What is shown.
        width: Columns of the terminal.
        height: Its rows.
    """
    console = Console(color_system="standard", force_terminal=True)
    lines = draw(snapshot, width, height)
    wide, high = _CELL * width + 2 * _MARGIN, _ROW * len(lines) + 2 * _MARGIN
    size = f'viewBox="0 0 {wide} {high}" width="{wide}" height="{high}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{_LABEL}">\n{_STYLE}',
        *(f".{name} {{ fill: {colour} }}\n" for name, colour in _COLOURS.items()),
        '</style>\n<rect class="screen" width="100%" height="100%" rx="8"/>\n',
    ]
    for row, line in enumerate(lines):
        column = 0
        usual = console.get_style(line.style)
        for text, style, _ in line.render(console):
            for run in re.finditer(r"━+|─+|[^\s━─]+", text):
                at = column + cell_len(text[: run.start()])
                parts.append(_run(run[0], at, row, _classes(style or usual)))
            column += cell_len(text)
    return "".join([*parts, "</svg>\n"])


def _classes(style: Style) -> str:
    colour = style.color.name if style.color is not None else ""
    return " ".join(filter(None, ("bold" if style.bold else "", "dim" if style.dim else "", colour)))


def _run(text: str, column: int, row: int, classes: str) -> str:
    """Cells of one style, without space between them."""
    x, y = _MARGIN + _CELL * column, _MARGIN + _ROW * row
    wide = _CELL * cell_len(text)
    kind = f' class="{classes}"' if classes else ""
    if text[0] in "━─":
        return f'<rect{kind} x="{x}" y="{y + 8}" width="{wide}" height="4"/>\n'
    return f'<text{kind} x="{x}" y="{y + 15}" textLength="{wide}">{escape(text)}</text>\n'
