"""Limits on the real clock, over all windows: by the stamps that runcue takes, and by what the handlers themselves see.

Each run of a cue has two services side by side, with a rate each, a bucket or a budget, and handlers that are plain,
async or both. Around them it is quiet, or threads compute and keep the GIL, or the loop is kept for up to 60 ms now and
then, or both. A stamp may never be over. A plain handler's first line comes after its stamp, so two of them may be
closer than their stamps are, but by no more than the first one's distance from its own stamp, which is told.

Lives here: 100 services at work on each loop, and how much of their limits they have used.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import runcue
from runcue._scheduling.run_queue import RunQueue
from tests.attacks.loops import Run

PATIENCE = 900.0

SERVICES = 100
SECONDS = 1.0  # that a service takes at the least
ROUNDING = 1e-9


class Limit(NamedTuple):
    """A rate, exact over every window or with a burst; or a budget, of which each start takes 1."""

    count: int
    period: float
    burst: int | None = None
    is_budget: bool = False

    def __str__(self) -> str:
        burst = "" if self.burst is None else f" burst={self.burst}"
        return f"{'budget ' if self.is_budget else ''}{self.count}/{self.period:g}s{burst}"

    @property
    def cost(self) -> dict[str, int] | None:
        return {"units": 1} if self.is_budget else None

    def options(self) -> dict[str, Any]:
        rate = f"{self.count}/{self.period}sec"
        if self.is_budget:
            return {"budget": {"units": rate}}
        return {"rate": rate} if self.burst is None else {"rate": rate, "burst": self.burst}

    def starts(self) -> int:
        """So many take about `SECONDS`, and the last of them cannot come before a whole number of periods is over."""
        if self.burst is None:
            return self.count * math.ceil(SECONDS / self.period) + 1
        return self.burst + math.ceil(SECONDS * self.count / self.period)

    def least(self, starts: int) -> float:
        """Seconds that so many take at the least, from the first to the last."""
        if self.burst is None:
            return (starts - 1) // self.count * self.period
        return max(0, starts - self.burst) * self.period / self.count

    def over(self, instants: list[float]) -> float:
        """Seconds by which some of the instants, in order, are too close to each other; 0.0 if none are."""
        if self.burst is None:
            pairs = zip(instants, instants[self.count :], strict=False)
            return max((self.period - (last - first) for first, last in pairs), default=0.0)
        worst = 0.0
        apart = self.period / self.count
        full_at = -math.inf  # the bucket's, had it been debited at these instants
        for instant in instants:
            worst = max(worst, full_at - (self.burst - 1) * apart - instant)
            full_at = max(full_at, instant) + apart
        return worst if worst > ROUNDING else 0.0


LIMITS = (
    Limit(20, 1.0),
    Limit(500, 1.0),
    Limit(20, 0.25),
    Limit(5, 0.1),
    Limit(1, 0.05),
    Limit(20, 0.25, is_budget=True),
    Limit(20, 1.0, is_budget=True),
    Limit(100, 1.0, burst=1),
    Limit(100, 1.0, burst=10),
)
HANDLERS = ("plain", "async", "mixed")
AROUND = ("quiet", "quiet", "busy threads", "lag", "busy threads and lag")


class Trial(NamedTuple):
    """What two services were seen to do."""

    limit: Limit
    handlers: str
    around: str
    stamps: dict[str, float]
    first_lines: dict[str, float]
    plain: set[str]


@contextlib.contextmanager
def busy(threads: int) -> Iterator[None]:
    """Threads that compute, and give up the GIL only when they must."""
    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            sum(range(50))

    computing = [threading.Thread(target=compute, daemon=True) for _ in range(threads)]
    for thread in computing:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in computing:
            thread.join()


async def lag(luck: random.Random) -> None:
    """Keep the loop from everything else, now and then."""
    while True:
        await asyncio.sleep(luck.uniform(0.0, 0.1))
        time.sleep(luck.uniform(0.0, 0.06))  # noqa: ASYNC251 - that is the point


@contextlib.contextmanager
def noted_stamps(stamps: dict[str, float]) -> Iterator[None]:
    """Write down each stamp on its way to the limits."""
    entered = RunQueue.entered

    def note(self: RunQueue, now: float, work: runcue.Work, at: float) -> None:
        assert work.id not in stamps, "stamped twice"
        stamps[work.id] = at
        entered(self, now, work, at)

    RunQueue.entered = note  # type: ignore[method-assign]
    try:
        yield
    finally:
        RunQueue.entered = entered  # type: ignore[method-assign]


async def work_off(
    limits: tuple[Limit, Limit], handlers: str, around: str, luck: random.Random
) -> list[Trial]:
    """Run what takes about `SECONDS` under two limits."""
    cue = runcue.Cue()
    first_lines: dict[str, float] = {}
    naps = luck.choice((0.0, 0.0, 0.002, 0.02))

    def plain(work: runcue.Work) -> None:
        first_lines[work.id] = time.monotonic()
        if naps:
            time.sleep(naps)

    async def asynchronous(work: runcue.Work) -> None:
        first_lines[work.id] = time.monotonic()
        if naps:
            await asyncio.sleep(naps)

    for number, limit in enumerate(limits):
        cue.service(str(number), **limit.options())
        cue.task(f"plain {number}", uses=str(number), cost=limit.cost)(plain)
        cue.task(f"async {number}", uses=str(number), cost=limit.cost)(asynchronous)
    stamps: dict[str, float] = {}
    trials: list[Trial] = []
    with noted_stamps(stamps):
        async with cue:
            lagging = asyncio.create_task(lag(luck)) if "lag" in around else None
            for number, limit in enumerate(limits):
                ids: dict[str, str] = {}
                for place in range(limit.starts()):
                    kind = ("plain", "async")[place % 2] if handlers == "mixed" else handlers
                    ids[await cue.submit(f"{kind} {number}")] = kind
                plain_ones = {one for one, kind in ids.items() if kind == "plain"}
                trials.append(Trial(limit, handlers, around, dict.fromkeys(ids, 0.0), {}, plain_ones))
            summary = await cue.drain()
            if lagging is not None:
                lagging.cancel()
    assert not summary.failed
    assert not summary.blocked
    return [
        trial._replace(
            stamps={one: stamps[one] for one in trial.stamps},
            first_lines={one: first_lines[one] for one in trial.stamps},
        )
        for trial in trials
    ]


class Findings:
    """What was found in all trials."""

    def __init__(self) -> None:
        self.trials = 0
        self.starts = 0
        self.over: list[float] = []
        self.distance = 0.0
        self.used: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, trial: Trial) -> None:
        limit, what = trial.limit, f"{trial.limit}, {trial.handlers}, {trial.around}"
        stamps = sorted(trial.stamps.values())
        over = limit.over(stamps)
        assert over <= 0.0, f"{what}: stamps are over by {over * 1e3:.3f} ms"
        distances = [trial.first_lines[one] - trial.stamps[one] for one in trial.plain]
        assert all(distance >= 0.0 for distance in distances), f"{what}: stamped after the first line"
        distance = max(distances, default=0.0)
        over = limit.over(sorted(trial.first_lines.values()))
        assert over <= distance + ROUNDING, (
            f"{what}: first lines are over by {over * 1e3:.3f} ms, and {distance * 1e3:.3f} ms from their stamps"
        )
        if over > 0.0:
            self.over.append(over)
        self.trials += 1
        self.starts += len(stamps)
        self.distance = max(self.distance, distance)
        if trial.around == "quiet":
            used = 100.0 * limit.least(len(stamps)) / (stamps[-1] - stamps[0])
            self.used[str(limit), trial.handlers].append(used)

    def __str__(self) -> str:
        over = (
            f"over in {len(self.over)} services by at most {max(self.over) * 1e3:.3f} ms"
            if self.over
            else "never over"
        )
        figures = (
            f"{self.trials} services, {self.starts:,} starts: stamps never over; first lines {over}, "
            f"the furthest from its stamp by {self.distance * 1e3:.3f} ms"
        )
        lines = [figures]
        for (limit, handlers), used in sorted(self.used.items()):
            lines.append(
                f"     quiet, {limit}, {handlers}: {sum(used) / len(used):.2f} % used, at least {min(used):.2f} %"
            )
        return "\n".join(lines)


def attack(run: Run[list[Trial]], scale: float) -> str:
    luck = random.Random(7)
    ways = list(itertools.product(LIMITS, HANDLERS, AROUND))
    luck.shuffle(ways)
    findings = Findings()
    for limit, handlers, around in itertools.islice(itertools.cycle(ways), math.ceil(SERVICES * scale / 2)):
        limits = limit, luck.choice(LIMITS)
        with busy(luck.randint(1, 2) if "busy" in around else 0):
            for trial in run(work_off(limits, handlers, around, luck)):
                findings.add(trial)
    return str(findings)
