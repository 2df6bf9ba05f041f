"""Tiles computed by Dask's workers: the cue decides when, they do the work.

Starts a scheduler and two workers on this machine, has them compute the tiles of a picture, and kills one of the
workers with -9 in the middle. What that one had begun is one failed attempt of one tile, which is tried again on the
other; so at the end every tile is there. When the last one is, the picture is put together here, in the program itself.

    <out>/<what>/tile-03-05.grey    proof that a tile was computed
    <out>/<what>.pgm                the picture
    <out>/cluster/*.log             what the scheduler and the workers say

Run it twice and all is skipped; delete a tile, and that tile and the picture are made again.

    python examples/dask_cluster/draw.py
    python examples/dask_cluster/draw.py --size 1200 --workers 4 --kill-after 0
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import sys
from pathlib import Path

import runcue
from cluster import Cluster
from tiles import tile

ROWS, COLUMNS = 5, 8


class Picture:
    """What is drawn, in which files.

    Args:
        out: The folder.
        size: How many points a tile has on each side.
    """

    def __init__(self, out: Path, size: int) -> None:
        self.size = size
        self._folder = out / f"julia-{size}"
        self.path = out / f"julia-{size}.pgm"

    def tile(self, row: int, column: int) -> Path:
        return self._folder / f"tile-{row:02}-{column:02}.grey"

    def tiles(self) -> list[tuple[int, int]]:
        return [(row, column) for row in range(ROWS) for column in range(COLUMNS)]


def make_cue(picture: Picture, address: str) -> runcue.Cue:
    """Build the cue: tiles are computed by Dask, the picture is put together here."""
    cue = runcue.Cue()

    # A worker that is lost fails what it ran: it is for the cue to decide that this is tried again.
    cue.task(
        "tile",
        run_in=runcue.executors.dask(address),
        outputs=lambda work: picture.tile(work.params["row"], work.params["column"]),
        retry=3,
    )(tile)

    @cue.task(inputs=[picture.tile(*one) for one in picture.tiles()], outputs=picture.path)
    def stitch(work: runcue.Work) -> None:
        size = picture.size
        with work.write(work.outputs[0], "wb") as file:
            file.write(f"P5 {COLUMNS * size} {ROWS * size} 255\n".encode())
            for row in range(ROWS):
                tiles = [picture.tile(row, column).read_bytes() for column in range(COLUMNS)]
                for line in range(size):
                    file.write(b"".join(one[line * size : (line + 1) * size] for one in tiles))

    return cue


async def draw(cluster: Cluster, picture: Picture, kill_after: int) -> int:
    """Submit the tiles and the picture, kill a worker on the way, report. Returns the exit code."""
    cue = make_cue(picture, cluster.address)
    computed = 0

    @cue.on_complete(task="tile")
    def count(work: runcue.Work, result: object, duration: float) -> None:
        nonlocal computed
        computed += 1
        if computed == kill_after:
            victim = cluster.workers[0]
            os.kill(victim.pid, signal.SIGKILL)
            print(f"{computed} tiles are there; killed worker {victim.pid} with -9", flush=True)

    @cue.on_retry
    def again(work: runcue.Work, error: BaseException, delay: float) -> None:
        print(
            f"tile {work.params['row']}, {work.params['column']} again in {delay:.1f} s: {error}", flush=True
        )

    @cue.on_failure
    def failed(work: runcue.Work, error: BaseException) -> None:
        print(f"dask_cluster: {work.task}: {error}", file=sys.stderr)

    async with cue:
        await cue.submit("stitch")
        for row, column in picture.tiles():
            params = {"row": row, "column": column, "size": picture.size, "columns": COLUMNS}
            await cue.submit("tile", params)
        summary = await cue.drain()
    if not summary.ok:
        return 1
    tiles = summary.by_task["tile"]
    print(f"{tiles['completed']} tiles computed, {tiles['skipped']} were there: {picture.path}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Read the command line, start the cluster and draw. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Draw a Julia set in tiles on the workers of a Dask cluster, and kill one of them in the middle.",
        epilog="Run it twice: the second run skips everything. Delete a tile: it and the picture are made again.",
    )
    parser.add_argument(
        "--size", type=int, default=100, metavar="POINTS", help="of a tile, on each side (default 100)"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="how many (default 2)")
    parser.add_argument(
        "--kill-after",
        type=int,
        default=10,
        metavar="TILES",
        help="kill a worker with -9 when so many tiles are there (default 10; 0: never)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/dask_cluster"), help="folder (default out/dask_cluster)"
    )
    options = parser.parse_args(argv)
    if not 1 <= options.size <= 2000:
        parser.error(f"--size must be 1 to 2000 points, got {options.size}")
    if not 1 <= options.workers <= 64:
        parser.error(f"--workers must be 1 to 64, got {options.workers}")
    if options.kill_after and options.workers < 2:
        parser.error(
            "with a single worker nobody is left to go on when it is killed; --kill-after 0 leaves it alive"
        )

    picture = Picture(options.out, options.size)
    try:
        with Cluster(options.out / "cluster", options.workers) as cluster:
            return runcue.run(functools.partial(draw, cluster, picture, options.kill_after))
    except OSError as error:
        print(f"dask_cluster: cannot write to {options.out}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dask_cluster: interrupted; the tiles that are done are kept", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
