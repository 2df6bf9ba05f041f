"""A9: what an answer of `why()` takes where very many wait, beside the same where a hundredth of them do.

What is timed is the question and its text, asked again and again of the last work unit while nothing moves.

Lives here: the cues in which they wait, in a line or each for the one before it, and asking these in turns.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import time

import runcue
from benchmarks.measuring import Compared, Figure, compared, value

__all__ = ["a9"]


class Waiting:
    """A cue of which one work unit has the only slot, and all others wait.

    Args:
        works: So many do.
        chained: Whether each needs what the one before it makes; else they stand in line.
    """

    def __init__(self, works: int, *, chained: bool) -> None:
        self.works = works
        self.chained = chained
        self.cue = runcue.Cue()
        self.last: runcue.WorkHandle
        self.free = asyncio.Event()

    async def start(self) -> None:
        """Submit them, and wait until all have been asked and put aside."""
        taken = asyncio.Event()

        async def take_the_slot(work: runcue.Work) -> None:
            taken.set()
            await self.free.wait()

        async def nothing(work: runcue.Work) -> None:
            pass

        cue = self.cue
        cue.service("service", concurrent=1)
        cue.task("hog", uses="service")(take_the_slot)
        cue.task("node", uses="service")(nothing)
        cue.start()
        await cue.submit("hog")
        await taken.wait()
        before: list[runcue.Flag] = []
        for number in range(self.works):
            made = runcue.Flag(f"{self.works} {number}")
            declared = {"inputs": before, "outputs": made} if self.chained else {}
            self.last = await cue.submit("node", **declared)
            before = [made]
        # Of which a cue tells nobody.
        while len(cue.debug_blocked()) < self.works:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)

    def ask(self) -> float:
        """Seconds of the processor that the answer takes, as text: it is too short to be told apart from a pause."""
        began = time.process_time()
        said = str(self.cue.why(self.last))
        took = time.process_time() - began
        assert "waiting for an artifact" in said if self.chained else "in line" in said
        return took

    async def stop(self) -> None:
        """Cancel them."""
        await self.cue.stop(drain=False, timeout=0)


async def _asked(works: int, rounds: int, *, chained: bool) -> Compared:
    """Answers about the last of so many, and about the last of a hundredth of them, in turns."""
    many, few = Waiting(works, chained=chained), Waiting(works // 100, chained=chained)
    await many.start()
    await few.start()
    found = Compared([], [])
    for counts in (False, *[True] * rounds):
        one, other = few.ask(), many.ask()
        if counts:
            found.floor.append(one)
            found.ours.append(other)
        await asyncio.sleep(0)
    await many.stop()
    await few.stop()
    return found


def a9(*, quick: bool) -> list[Figure]:
    works, rounds = (2_000, 5) if quick else (100_000, 50)
    in_line = asyncio.run(_asked(works, rounds, chained=False))
    in_chain = asyncio.run(_asked(works, rounds, chained=True))
    name = f"why of the last in a line of {works:,}"
    beside = f"in one of {works // 100:,}"
    return [
        compared("A9", name, 4, in_line, scale=1e3, each="ms", beside=beside),
        value("A9", name, 5, [1e3 * one for one in in_line.ours], "ms"),
        value(
            "A9", f"why of the last in a chain of {works:,}", 5, [1e3 * one for one in in_chain.ours], "ms"
        ),
    ]
