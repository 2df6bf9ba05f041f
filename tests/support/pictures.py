"""The picture of the live display in the documentation, drawn by rich from a frame.

`python -m tests.support.pictures` draws it anew. Unlike rich's own form it refers to nothing outside: a page must not
ask another machine for a font.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

from rich.console import Console

from runcue import ServiceStatus
from runcue.console.eta import Eta
from runcue.console.frame import frame
from runcue.console.snapshot import Snapshot, TaskCounts
from runcue.console.waits import Waiting

PICTURE: Final = Path(__file__).parents[2] / "docs" / "simulator-display.svg"

_FORMAT: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="The live display">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
<rect width="100%" height="100%" rx="8" fill="#292929"/>
<g transform="translate(10, 6)" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def _service(name: str, in_use: int, slots: int, rate: str | None = None, *left: float) -> ServiceStatus:
    tokens, wait = left or (None, None)
    return ServiceStatus(name, slots, in_use, rate, 60, 60.0, tokens and int(tokens), wait, None, None)


RUN: Final = Snapshot(
    title="pipeline: count 60, 5 at once, 60/min, 900 ms ±20%, 10% errors",
    elapsed=21.4,
    tasks=(
        TaskCounts("extract", 0, 0, 60, pace=2.6),
        TaskCounts("transform", 8, 5, 42, failed=5, pace=2.2),
        TaskCounts("load", 19, 1, 38, skipped=2, pace=1.9),
    ),
    services=(
        _service("local", 0, 10),
        _service("api", 5, 5, "60/min", 8.0, 0.0),
        _service("storage", 1, 3),
    ),
    waits=(
        Waiting(14, "load", "item_#/transformed is not made; transform sim-# makes it (pending)"),
        Waiting(8, "transform", "api: all 5 slots in use, held by transform sim-110, transform sim-113"),
    ),
    notes=(
        "20:55:11.216 completed transform item_046 912ms",
        "20:55:11.217 started transform item_052 waited 16.2s",
        "20:55:11.348 completed load item_046 131ms",
    ),
    total=180,
    eta=Eta(9.2, "from 47 finished calls of api"),
    mean_pace=6.7,
)


def frame_as_svg(snapshot: Snapshot, width: int = 90, height: int = 24) -> str:
    """Draw a frame."""
    console = Console(
        file=io.StringIO(), record=True, width=width, color_system="standard", force_terminal=True
    )
    console.print(frame(snapshot, width, height))
    svg = console.export_svg(code_format=_FORMAT, unique_id="display")
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(frame_as_svg(RUN), encoding="utf-8")
