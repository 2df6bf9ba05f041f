"""Apple pies: one knife, two ovens, and slices that go brown after a day.

The smallest example with the whole idea of runcue in it. Two tasks, and no line that says "B follows A": baking knows
only that it needs fresh slices. Whether the slices on the board are fresh is one function, `Kitchen.slices_valid`, and
it is asked twice: as `is_ready` of baking ("are the inputs valid?") and, turned around, as `is_stale` of slicing ("is
the output missing or old?"). So when slices go brown, slicing runs again and baking waits for it.

The other examples declare `inputs=` and `outputs=`, and runcue asks by itself. Callbacks read better here, because
"fresh" is the kitchen's own word: slices are dated by what is written in them, on a clock that `--days` lets run ahead.

    prep/<pie>/slices.json     proof that the apples were sliced, and when
    output/<pie>/pie.json      proof that the pie was baked, and from which slices

Order the same pies again and nothing happens, order them a day later and everything happens again:

    python examples/apple_pie.py                 # slices and bakes
    python examples/apple_pie.py                 # up to date, all skipped
    python examples/apple_pie.py --days 3        # three mornings, on a virtual clock: milliseconds

All times come from `Kitchen.now`, never from `time.time()` directly: that is what lets `--days`, and the tests, put the
kitchen on the virtual clock of `runcue.testing`.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import runcue
import runcue.testing

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass
class Kitchen:
    """The artifacts on disk and the rules by which they are valid. It knows nothing of runcue.

    Args:
        folder: Where `prep/` and `output/` live.
        now: The kitchen's clock, seconds since the epoch.
        max_age: Apple slices older than this, in seconds, are brown.
        slicing: How long one pie's apples take to slice, in seconds.
        baking: How long one pie is in the oven, in seconds.
    """

    folder: Path
    now: Callable[[], float] = time.time
    max_age: float = DAY
    slicing: float = 0.1
    baking: float = 0.4

    def slices_path(self, pie: str) -> Path:
        return self.folder / "prep" / pie / "slices.json"

    def pie_path(self, pie: str) -> Path:
        return self.folder / "output" / pie / "pie.json"

    def slices_valid(self, pie: str, age: float) -> bool:
        """Say whether this pie's slices exist and are younger than `age` seconds.

        Slices from the future are not fresh, they are proof of a clock that was set back: slicing again is cheap,
        baking brown apples is not.
        """
        slices = read_json(self.slices_path(pie))
        return slices is not None and 0 <= self.now() - slices["sliced_at"] < age

    def pie_valid(self, pie: str) -> bool:
        """Say whether the pie exists and was baked from the slices that are on the board now."""
        baked, slices = read_json(self.pie_path(pie)), read_json(self.slices_path(pie))
        return baked is not None and slices is not None and baked["sliced_at"] == slices["sliced_at"]


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what the file holds. What is not there, or not readable as JSON, is no artifact: None."""
    try:
        return dict(json.loads(path.read_text()))
    except (FileNotFoundError, ValueError):
        return None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Publish an artifact in one step: whoever looks sees the old file or the whole new one, never half of it."""
    runcue.atomic_write(path, json.dumps(content, indent=2) + "\n", durable=False)


def kitchen_cue(kitchen: Kitchen) -> runcue.Cue:
    """Build the cue: two limits, two tasks, two questions."""
    cue = runcue.Cue()
    cue.service("knife", concurrent=1)
    cue.service("oven", concurrent=2)

    @cue.task("slice_apples", uses="knife")
    async def slice_apples(work: runcue.Work) -> None:
        await asyncio.sleep(kitchen.slicing)
        write_json(kitchen.slices_path(work.params["pie"]), {"apples": 6, "sliced_at": kitchen.now()})

    @cue.task("make_pie", uses="oven")
    async def make_pie(work: runcue.Work) -> None:
        pie = work.params["pie"]
        # Read before the oven door closes: what goes into the pie is what was on the board at this moment.
        slices = json.loads(kitchen.slices_path(pie).read_text())
        await asyncio.sleep(kitchen.baking)
        write_json(kitchen.pie_path(pie), {"baked_at": kitchen.now(), "sliced_at": slices["sliced_at"]})

    @cue.is_ready
    def is_ready(work: runcue.Work) -> bool | tuple[bool, str]:
        """Are the inputs valid? Apples are always in the house; baking needs fresh slices."""
        if work.task == "make_pie" and not kitchen.slices_valid(work.params["pie"], kitchen.max_age):
            return False, "no fresh slices"
        return True

    @cue.is_stale
    def is_stale(work: runcue.Work) -> bool:
        """Is the output missing or old? Saying no here means that the work is skipped."""
        if work.task == "slice_apples":
            return not kitchen.slices_valid(work.params["pie"], kitchen.max_age)
        return not kitchen.pie_valid(work.params["pie"])

    return cue


async def bake(cue: runcue.Cue, pies: list[str]) -> runcue.Summary:
    """Order the pies and wait until all that can be made is made.

    Everything is ordered, always, in any order: what has a valid artifact is skipped. One drain is enough unless
    slices go brown while their pie queues for an oven. Then that pie is left blocked, still pending, and all it needs
    is that slicing is ordered once more. A round that bakes none of them would be the first of many, so it is the last.

    Returns:
        What became of all work units since the cue was started.
    """
    for pie in pies:
        await cue.submit("make_pie", params={"pie": pie})
    waiting = len(pies) + 1
    while True:
        for pie in pies:
            await cue.submit("slice_apples", params={"pie": pie})
        summary = await cue.drain()
        if summary.failed or not 0 < len(summary.blocked) < waiting:
            return summary
        waiting = len(summary.blocked)


async def run_days(kitchen: Kitchen, pies: list[str], days: int) -> int:
    """Order the same pies once a day and narrate. Returns the exit code."""
    cue = kitchen_cue(kitchen)
    opened = kitchen.now()

    def narrate(what: str, work: runcue.Work) -> None:
        day, second = divmod(kitchen.now() - opened, DAY)
        clock = f"day {day + 1:.0f}, {second / HOUR:05.2f} h" if days > 1 else f"{second:6.2f} s"
        print(f"  {clock}  {what:<8} {work.params['pie']:<8} {work.task}")

    cue.on_start(lambda work: narrate("start", work))
    cue.on_complete(lambda work, result, duration: narrate("done", work))
    cue.on_skip(lambda work: narrate("skip", work))
    cue.on_failure(lambda work, error: print(f"apple_pie: {work.task}: {work.error}", file=sys.stderr))

    async with cue:
        for day in range(days):
            if day:
                # The best kept of yesterday's slices lay on the board for a day now.
                await asyncio.sleep(DAY)
            summary = await bake(cue, pies)
            if summary.blocked and not summary.failed:
                print(f"apple_pie: {len(summary.blocked)} pies never got fresh slices", file=sys.stderr)
            if not summary.ok:
                return 1
    baked = sum(kitchen.pie_valid(pie) for pie in pies)
    print(f"{baked} of {len(pies)} pies on the table, in {kitchen.folder / 'output'}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Read the command line, open the kitchen, bake. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Slice apples with one knife and bake pies in two ovens; what is fresh is not made again.",
        epilog="Run it twice: the second run skips everything. --days 3 shows slices going stale, in milliseconds.",
    )
    parser.add_argument("--pies", type=int, default=6, help="how many pies to order (default 6)")
    parser.add_argument(
        "--days",
        type=int,
        default=1,
        help="order the same pies on so many days; more than one runs on a virtual clock (default 1)",
    )
    parser.add_argument(
        "--max-age",
        type=float,
        default=24.0,
        metavar="HOURS",
        help="slices older than this are sliced again (default 24)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/apple_pie"), help="the kitchen (default out/apple_pie)"
    )
    options = parser.parse_args(argv)
    if options.pies < 1 or options.days < 1:
        parser.error("--pies and --days must be at least 1")
    if not 0 < options.max_age < math.inf:
        parser.error("--max-age must be a positive number of hours")

    kitchen = Kitchen(options.out, max_age=options.max_age * HOUR)
    pies = [f"pie-{number}" for number in range(1, options.pies + 1)]
    try:
        kitchen.folder.mkdir(parents=True, exist_ok=True)
        if options.days == 1:
            return runcue.run(functools.partial(run_days, kitchen, pies, days=1))
        return runcue.testing.run(functools.partial(on_virtual_clock, kitchen, pies, options.days))
    except OSError as error:
        print(f"apple_pie: cannot use {options.out} as a kitchen: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


async def on_virtual_clock(kitchen: Kitchen, pies: list[str], days: int) -> int:
    """Run the days at full length, ten minutes of slicing and forty of baking, on a loop whose sleeps jump."""
    loop, opened = asyncio.get_running_loop(), time.time()
    started = loop.time()
    kitchen.now = lambda: opened + loop.time() - started
    kitchen.slicing, kitchen.baking = 10 * MINUTE, 40 * MINUTE
    return await run_days(kitchen, pies, days)


if __name__ == "__main__":
    sys.exit(main())
