"""L5: whether slots that find themselves follow a server, which takes 20 at the same time, then 5, then 40.

On the virtual clock: no figure depends on the machine, but on luck alone.

Lives here: that server, and how many it had on average.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import random

import runcue
from benchmarks.measuring import Figure, Spread
from runcue.testing import run

__all__ = ["l5"]

CAPACITIES = (20, 5, 40)
STRETCH = 60.0
LAST = 20.0


class Server:
    """Takes so many at once, and refuses the others at once.

    Args:
        takes: Seconds for an answer on average.
        seed: Of its luck.
    """

    def __init__(self, takes: float, seed: int) -> None:
        self.takes = takes
        self.luck = random.Random(seed)
        self.active = self.refused = 0
        self.seconds = [0.0] * len(CAPACITIES)
        self.noted = 0.0

    def note(self, now: float) -> None:
        """Add up what was active since the last time, as far as it lies at the end of a stretch."""
        for stretch in range(len(CAPACITIES)):
            end = (stretch + 1) * STRETCH
            span = min(now, end) - max(self.noted, end - LAST)
            self.seconds[stretch] += max(0.0, span) * self.active
        self.noted = now

    async def answer(self, work: runcue.Work) -> None:
        """One call of it."""
        time = asyncio.get_running_loop().time
        await asyncio.sleep(0.01)
        if self.active >= CAPACITIES[min(int(time() // STRETCH), len(CAPACITIES) - 1)]:
            self.refused += 1
            raise runcue.Throttled
        self.note(time())
        self.active += 1
        try:
            await asyncio.sleep(self.takes * self.luck.uniform(0.5, 1.5))
        finally:
            self.note(time())
            self.active -= 1


def shares(takes: float, seed: int) -> list[float]:
    """Percent of each capacity that were in flight on average at the end of its stretch, and how many were refused."""
    server = Server(takes, seed)

    async def main() -> None:
        cue = runcue.Cue()
        cue.task("ask", uses=cue.service("api", concurrent=runcue.Adaptive(1, 50)))(server.answer)
        cue.start()
        for _ in range(int(STRETCH * sum(CAPACITIES) / takes * 1.5)):
            await cue.submit("ask")
        await asyncio.sleep(STRETCH * len(CAPACITIES))
        await cue.stop(drain=False, timeout=0)

    run(main)
    means = (seconds / LAST for seconds in server.seconds)
    found = [100 * mean / capacity for mean, capacity in zip(means, CAPACITIES, strict=True)]
    return [*found, float(server.refused)]


def l5(*, quick: bool) -> list[Figure]:
    """See the module."""
    seeds = range(1 if quick else 5)
    figures = []
    for takes in (0.5, 2.0):
        runs = [shares(takes, seed) for seed in seeds]
        what = f"Adaptive(1, 50), answers take {takes:g} s"
        for number, capacity in enumerate(CAPACITIES):
            found = Spread.of([one[number] for one in runs])
            name = f"{what}: in flight of {capacity}"
            figures.append(Figure("L5", name, found, "%", 80, rounds=len(runs), at_least=True))
        most = Spread.of([max(one[:-1]) for one in runs])
        figures.append(Figure("L5", f"{what}: in flight at the most", most, "%", 110, rounds=len(runs)))
        refused = Spread.of([one[-1] for one in runs])
        figures.append(Figure("L5", f"{what}: refused", refused, "answers", None, rounds=len(runs)))
    return figures
