"""Mandelbrot: tiles computed in threads, stitched into one picture when the last tile is there.

The example for work that keeps processors busy. A tile's handler is a plain function, so runcue gives it a
thread; numpy lets go of the interpreter lock while it calculates with large arrays, so threads do use several
cores; and the service `cpu` says how many tiles are computed at once. `stitch` is submitted together with the
tiles and simply is not ready before all of them exist.

    <out>/tiles/<what and how>/tile-003-005.npy    proof that a tile was computed: its numbers, not yet colours
    <out>/<what and how>.png                       the picture

"What and how" is the view, the size and the grid, so that a tile of another picture is never taken for one of
this. Run it twice and all is skipped; delete a tile and just that tile and the picture are made again:

    python examples/mandelbrot.py
    python examples/mandelbrot.py --view elephants --size 2400 --tiles 12
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
from PIL import Image

import runcue

Complexes = npt.NDArray[np.complex128]
Numbers = npt.NDArray[np.float32]

# |z|^2 from which a point counts as escaped. 4 would do to know that it does; this far out the fraction between two
# iterations is exact enough to leave no bands of colour.
FAR = 1e6
BLOCK = 16
# Every pixel is the mean of SMOOTH x SMOOTH computed points: the thin filaments shimmer without it.
SMOOTH = 2


@dataclass(frozen=True)
class View:
    """A place in the plane and how to look at it.

    Args:
        centre: The middle of the picture.
        width: How much of the real axis the picture spans.
        iterations: A point that has not escaped by then counts as inside.
        turn: Where in the circle of colours the picture begins, 0 to 1.
        bands: How fast the colours pass by.
    """

    centre: complex
    width: float
    iterations: int
    turn: float
    bands: float


VIEWS = {
    "spirals": View(-0.745428 + 0.113009j, 0.00009, 3000, turn=0.35, bands=0.8),
    "elephants": View(0.2925755 - 0.0149977j, 0.012, 1500, turn=0.0, bands=0.5),
    "seahorses": View(-0.7436 + 0.1318j, 0.0065, 1500, turn=0.0, bands=0.8),
    "whole": View(-0.65 + 0j, 3.75, 500, turn=0.62, bands=0.3),
}

# The circle of colours: position, red, green, blue. It ends as it begins, so that it can go round without a seam.
COLOURS = np.array([
    (0.0000, 0, 7, 100),
    (0.1600, 32, 107, 203),
    (0.4200, 237, 255, 255),
    (0.6425, 255, 170, 0),
    (0.8575, 40, 12, 20),
    (1.0000, 0, 7, 100),
])  # fmt: skip
INSIDE = (6, 8, 22)


def escape_times(re: npt.NDArray[np.float64], im: npt.NDArray[np.float64], iterations: int) -> Numbers:
    """Say for each point of a grid how soon z = z*z + c leaves for infinity.

    Args:
        re: The grid's columns.
        im: The grid's rows.
        iterations: When to give up.

    Returns:
        One number per point, rows first: the iteration at which it escaped, with a fraction so that colours flow
        instead of stepping; 0 for a point that did not escape.
    """
    c = (re[np.newaxis, :] + 1j * im[:, np.newaxis]).ravel()
    times = np.zeros(c.size, dtype=np.float32)
    # The main heart and the disc beside it are known to be inside: most of the work, saved.
    x, y2 = c.real - 0.25, c.imag**2
    q = x * x + y2
    inside = (q * (q + x) <= 0.25 * y2) | ((c.real + 1) ** 2 + y2 <= 0.0625)
    left = np.flatnonzero(~inside)
    c = c[left]
    z = np.zeros_like(c)
    done = 0
    # In blocks: the bare formula for all points, then a closer look at those that left in the meantime. Looking after
    # every step would cost three times as much, and most of that with the interpreter lock held.
    # What has left goes on to infinity, and to nan from there; both are expected.
    with np.errstate(over="ignore", invalid="ignore"):
        while left.size and done < iterations:
            steps = min(BLOCK, iterations - done)
            before = z.copy()
            for _ in range(steps):
                z *= z
                z += c
            escaped = ~(z.real**2 + z.imag**2 <= FAR)  # not the same as "> FAR", which nan is not
            if escaped.any():
                times[left[escaped]] = done + _steps_to_escape(before[escaped], c[escaped], steps)
                staying = ~escaped
                left, z, c = left[staying], z[staying], c[staying]
            done += steps
    return times.reshape(im.size, re.size)


def _steps_to_escape(z: Complexes, c: Complexes, steps: int) -> npt.NDArray[np.float64]:
    """Go through a block step by step for points that are known to leave in it."""
    orbit = np.empty((steps, z.size), dtype=complex)
    for step in range(steps):
        z = z * z + c
        orbit[step] = z
    size2 = orbit.real**2 + orbit.imag**2
    first = np.argmax(size2 > FAR, axis=0)
    when: npt.NDArray[np.float64] = first + 2 - np.log2(np.log2(size2[first, np.arange(z.size)]) / 2)
    return when


def colour(times: Numbers, view: View) -> Image.Image:
    """Turn escape times into a picture, `SMOOTH` points a side into one pixel."""
    place = (np.log(np.maximum(times, 1)) * view.bands + view.turn) % 1
    rgb = np.empty((*times.shape, 3), dtype=np.uint8)
    for channel in range(3):
        rgb[..., channel] = np.interp(place, COLOURS[:, 0], COLOURS[:, 1 + channel])
    rgb[times == 0] = INSIDE
    full = Image.fromarray(rgb)
    return full.resize((full.width // SMOOTH, full.height // SMOOTH), Image.Resampling.BOX)


class Plan:
    """What to draw, cut into tiles, and where its artifacts are. It knows nothing of runcue.

    Args:
        out: The folder for tiles and picture.
        view: A name in `VIEWS`.
        size: The picture's width in pixels; its height is two thirds of that.
        tiles: How many tiles a side.
    """

    def __init__(self, out: Path, view: str, size: int, tiles: int) -> None:
        name = f"{view}-{size}-{tiles}x{tiles}"
        self.view = VIEWS[view]
        self.tiles = tiles
        self.folder = out / "tiles" / name
        self.picture = out / f"{name}.png"
        self.columns, self.rows = size * SMOOTH, size * 2 // 3 * SMOOTH

    def tile_path(self, row: int, column: int) -> Path:
        return self.folder / f"tile-{row:03}-{column:03}.npy"

    def cells(self) -> list[tuple[int, int]]:
        return [(row, column) for row in range(self.tiles) for column in range(self.tiles)]

    def area(self, row: int, column: int) -> tuple[slice, slice]:
        """Return the tile's rows and columns in the whole grid. Sizes that do not divide evenly are shared out."""
        top, bottom = (self.rows * (row + step) // self.tiles for step in (0, 1))
        first, last = (self.columns * (column + step) // self.tiles for step in (0, 1))
        return slice(top, bottom), slice(first, last)

    def compute(self, row: int, column: int) -> Numbers:
        half_width = self.view.width / 2
        half_height = half_width * self.rows / self.columns
        centre, (rows, columns) = self.view.centre, self.area(row, column)
        re = np.linspace(centre.real - half_width, centre.real + half_width, self.columns)[columns]
        im = np.linspace(centre.imag + half_height, centre.imag - half_height, self.rows)[rows]
        return escape_times(re, im, self.view.iterations)


def mandelbrot_cue(plan: Plan, processors: int) -> runcue.Cue:
    """Build the cue: one service, two tasks, and the files that they need and leave."""
    cue = runcue.Cue()
    cue.service("cpu", concurrent=processors)

    @cue.task("tile", uses="cpu", outputs=lambda work: plan.tile_path(**work.params))
    def tile(work: runcue.Work) -> None:
        with work.write(work.outputs[0], "wb", durable=False) as file:
            np.save(file, plan.compute(**work.params))

    @cue.task(
        "stitch", uses="cpu", inputs=[plan.tile_path(*cell) for cell in plan.cells()], outputs=plan.picture
    )
    def stitch(work: runcue.Work) -> None:
        times = np.empty((plan.rows, plan.columns), dtype=np.float32)
        for cell in plan.cells():
            times[plan.area(*cell)] = np.load(plan.tile_path(*cell))
        with work.write(work.outputs[0], "wb") as file:
            colour(times, plan.view).save(file, format="PNG")

    return cue


class Progress:
    """Says how far the tiles are: on a terminal in one line that is rewritten, elsewhere in a few plain lines.

    Args:
        total: How many tiles there are.
        stream: Where to write.
    """

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._rewrites = stream.isatty()
        self._done = 0
        self._tenths = 0
        self._line_open = False

    def tile_settled(self, *, skipped: bool = False) -> None:
        """Count one more tile, and show it unless it was there before."""
        self._done += 1
        if skipped:
            return
        share = self._done / self._total
        if self._rewrites:
            bar = "█" * int(32 * share)
            self._stream.write(f"\r  {bar:░<32} {share:4.0%}  {self._done} of {self._total} tiles")
            self._stream.flush()
            self._line_open = True
        elif int(10 * share) > self._tenths:
            self._tenths = int(10 * share)
            print(f"  {share:4.0%}  {self._done} of {self._total} tiles", file=self._stream, flush=True)

    def end_line(self) -> None:
        """Leave the line that is rewritten as it is; what is printed next comes below it."""
        if self._line_open:
            self._line_open = False
            print(file=self._stream, flush=True)


async def draw(plan: Plan, processors: int) -> int:
    """Submit the picture and its tiles, wait, report. Returns the exit code."""
    cue = mandelbrot_cue(plan, processors)
    progress = Progress(plan.tiles**2, sys.stdout)

    def settled(work: runcue.Work, *_: Any) -> None:
        if work.task == "tile":
            progress.tile_settled(skipped=work.skipped)

    cue.on_complete(settled)
    cue.on_skip(settled)

    @cue.on_failure
    def failed(work: runcue.Work, error: BaseException) -> None:
        progress.end_line()
        print(f"mandelbrot: {work.task}: {error}", file=sys.stderr)

    async with cue:
        # The picture first, to make the point: order of submission is no dependency.
        await cue.submit("stitch")
        for row, column in plan.cells():
            await cue.submit("tile", params={"row": row, "column": column})
        summary = await cue.drain()
    progress.end_line()
    if not summary.ok:
        return 1
    counts = summary.counts
    if counts["completed"]:
        print(
            f"{counts['completed']} work units done and {counts['skipped']} skipped in {summary.duration:.1f} s, "
            f"{processors} at once: {plan.picture}"
        )
    else:
        print(f"up to date, all {counts['skipped']} work units skipped: {plan.picture}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Read the command line and draw. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Draw the Mandelbrot set in tiles, on all processors, and stitch the tiles into one picture.",
        epilog="Run it twice: the second run skips everything. Delete a tile: it and the picture are made again.",
    )
    parser.add_argument("--view", choices=VIEWS, default="spirals", help="what to look at (default spirals)")
    parser.add_argument(
        "--size", type=int, default=1200, metavar="PIXELS", help="width of the picture (default 1200)"
    )
    parser.add_argument(
        "--tiles", type=int, default=8, metavar="N", help="cut it into N x N tiles (default 8)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/mandelbrot"), help="folder (default out/mandelbrot)"
    )
    options = parser.parse_args(argv)
    if not 3 <= options.size <= 16_000:
        parser.error(f"--size must be 3 to 16000 pixels, got {options.size}")
    if not 1 <= options.tiles <= min(100, options.size * 2 // 3):
        parser.error(
            f"--tiles must be 1 to 100 and at most the {options.size * 2 // 3} pixels of the picture's height"
        )

    plan = Plan(options.out, options.view, options.size, options.tiles)
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"mandelbrot: cannot write to {options.out}: {error}", file=sys.stderr)
        return 1
    try:
        return runcue.run(functools.partial(draw, plan, os.cpu_count() or 1))
    except KeyboardInterrupt:
        print("mandelbrot: interrupted; the tiles that are done are kept", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
