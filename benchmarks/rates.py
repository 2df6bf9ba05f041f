"""P7: how much of a rate is used, and whether it is ever exceeded. In real time.

Lives here: runs under a rate, with the instants noted by the handlers themselves.

Must not know: how figures are shown.
"""

from __future__ import annotations

import time
from functools import partial

import runcue
from benchmarks.measuring import Figure, Spread, timed, value

__all__ = ["p7"]

RATE = 500


async def starts(seconds: int, noted: list[float], *, sync: bool) -> float:
    """Run a little more than `seconds` of work units at the rate and note when the handlers were entered."""

    def enter(work: runcue.Work) -> None:
        noted.append(time.monotonic())

    async def enter_async(work: runcue.Work) -> None:
        noted.append(time.monotonic())

    cue = runcue.Cue()
    cue.service("service", rate=f"{RATE}/sec", concurrent=32)
    cue.task("enter", uses="service")(enter if sync else enter_async)
    works = RATE * seconds + RATE
    began = time.perf_counter()
    async with cue:
        for _ in range(works):
            await cue.submit("enter")
    assert len(noted) == works
    return time.perf_counter() - began


def used(noted: list[float], seconds: int) -> float:
    """Percent of the starts that the rate allows which were made, judged by when the first one past `seconds` came.

    Counting the starts within the time would not do: they come in bursts of one period, and a drift of almost a whole
    period would go unseen.
    """
    return 100.0 * seconds / (noted[RATE * seconds] - noted[0])


def most_in_a_second(noted: list[float]) -> int:
    """The most starts in any window of one second, wherever it begins."""
    most = left = 0
    for right, instant in enumerate(noted):
        while instant - noted[left] >= 1.0:
            left += 1
        most = max(most, right - left + 1)
    return most


def p7(*, quick: bool) -> list[Figure]:
    seconds, rounds = (2, 1) if quick else (10, 5)
    figures = []
    for sync, most_allowed in ((False, RATE), (True, RATE + 5)):
        shares, most = [], []
        for _ in range(rounds):
            noted: list[float] = []
            timed(partial(starts, seconds, noted, sync=sync))
            noted.sort()
            shares.append(used(noted, seconds))
            most.append(float(most_in_a_second(noted)))
        kind = "sync" if sync else "async"
        figures += [
            value("P7", f"{RATE}/sec for {seconds} s, {kind}: used", 99, shares, "%", at_least=True),
            # Judged by the worst round, not by the median: "never" is about all of them.
            Figure(
                "P7", f"{RATE}/sec for {seconds} s, {kind}: most starts in any 1 s, worst of all rounds",
                Spread(max(most), min(most), max(most)), "starts", most_allowed, rounds=rounds,
            ),
        ]  # fmt: skip
    return figures
