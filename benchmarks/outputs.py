"""A7: what it costs that a run has an output, and that a failure is to leave no proof of it.

Lives here: handlers that write one small file by plain `open()`, in a folder in which that was done before: alone,
through a cue that knows nothing of the file, and through one that is told of it.

Must not know: how figures are shown.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

import runcue
from benchmarks.measuring import Figure, compare, compared, timed, value

__all__ = ["a7"]

CONTENT = "done\n"


def without(paths: list[str]) -> None:
    """Have none of the files there: to write over them has the filesystem wait for the disk."""
    for path in paths:
        Path(path).unlink(missing_ok=True)


async def alone(paths: list[str]) -> float:
    """Write all of them."""
    without(paths)
    began = time.perf_counter()
    for path in paths:
        with open(path, "w") as file:  # noqa: ASYNC230, PTH123 - what the handlers do
            file.write(CONTENT)
    return time.perf_counter() - began


async def through_cue(paths: list[str], *, outputs: bool, inputs: list[str]) -> float:
    """Write each in a handler."""
    without(paths)
    cue = runcue.Cue()
    cue.service("service", concurrent=1)
    ran = 0

    @cue.task("write", uses="service")
    async def write(work: runcue.Work) -> None:
        nonlocal ran
        ran += 1
        with open(work.params["path"], "w") as file:  # noqa: ASYNC230, PTH123 - as in most programs
            file.write(CONTENT)

    began = time.perf_counter()
    cue.start()
    for path in paths:
        declared = {"outputs": path, "inputs": inputs} if outputs else {}
        await cue.submit("write", params={"path": path}, **declared)  # type: ignore[arg-type]
    summary = await cue.drain()
    took = time.perf_counter() - began
    await cue.stop()
    assert summary.ok
    assert ran == len(paths)
    return took


def a7(*, quick: bool) -> list[Figure]:
    works = 200 if quick else 2_000
    name = "a run with one output by plain open()"
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number}" for number in range(works)]
        source = Path(folder) / "source"
        source.write_text(CONTENT)
        for inputs, title in (([], name), ([str(source)], f"{name} and an input")):
            scale = 1e6 / works
            ours = partial(timed, partial(through_cue, paths, outputs=True, inputs=inputs))
            found = compare(lambda: timed(partial(alone, paths)), ours)
            undeclared = compare(lambda: timed(partial(through_cue, paths, outputs=False, inputs=[])), ours)
            more = [
                (one - other) * scale for one, other in zip(undeclared.ours, undeclared.floor, strict=True)
            ]
            figures += [
                compared(
                    "A7", title, None, found, scale=scale, each="µs per work", beside="open, write, close"
                ),
                value("A7", f"{title}: more than without declaring it", None, more, "µs"),
            ]
    return figures
