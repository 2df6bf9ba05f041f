"""A run with somebody watching it.

Lives here: `watch`, which points a camera at the run and shows what it sees.

Must not know: how a snapshot is put together or drawn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TextIO, TypeVar

from rich.console import Console

from runcue_sim._display.display import Display
from runcue_sim._display.snapshotter import Camera
from runcue_sim._pipelines.prepared import Prepared

T = TypeVar("T")


async def watch(
    prepared: Prepared,
    running: Awaitable[T],
    *,
    realtime: bool,
    warnings: Callable[[], Iterable[str]] = tuple,
    file: TextIO | None = None,
) -> T:
    """Show a run until it is over.

    Args:
        prepared: What is run.
        running: Runs it, when it is awaited.
        realtime: Whether its clock is the real one.
        warnings: Gives what was warned of so far, a line each.
        file: The terminal, where standard output is not.

    Returns:
        What the run returns.
    """
    play, expected = prepared.run, prepared.expected
    submit, submitted = play.submit, False

    async def submit_all() -> None:
        nonlocal submitted
        await submit()
        submitted = True

    def more() -> bool:
        return not submitted if expected is None else play.ledger.submitted > expected

    play.submit = submit_all
    camera = Camera(
        play.ledger, play.cue, settings=prepared.title, expected=expected, more=more, warnings=warnings
    )
    display = Display(camera.take, Console(file=file))
    play.trace.takers.append(camera.add)
    if not realtime:
        play.trace.takers.append(display.tick)
    async with display:
        return await running
