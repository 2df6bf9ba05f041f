"""S1 and S2: how fast the simulator is on its virtual clock.

Lives here: `runcue-sim` run as its users run it, in a process of its own; the seconds are those it says it took, and
those of the whole process beside them.

Must not know: how figures are shown.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from benchmarks.measuring import Figure, Spread

__all__ = ["s1", "s2"]


def simulate(*arguments: str) -> tuple[int, float, float]:
    """Run it once.

    Returns:
        How many work units settled, the seconds the simulation took, and those of the whole process.
    """
    command = [sys.executable, "-m", "runcue_sim", *arguments, "--seed", "1", "--json", "-"]
    began = time.perf_counter()
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    whole = time.perf_counter() - began
    facts = json.loads(answer.stdout)
    works = facts["works"]
    assert works["submitted"] == works["completed"] + works["skipped"] > 0
    return works["submitted"], facts["took"], whole


def s1(*, quick: bool) -> list[Figure]:
    figures = []
    for scenario, count, reach in (
        ("single_queue", 20_000, 20_000),
        ("pipeline", 7_000, None),
        ("fanout", 3_000, None),
        ("dynamic", 2_500, None),
    ):
        size = count // 10 if quick else count
        runs = [simulate("--scenario", scenario, "-n", str(size)) for _ in range(1 if quick else 5)]
        speeds = Spread.of([works / took for works, took, _ in runs])
        figures.append(
            Figure(
                "S1",
                f"runcue-sim {scenario}, {runs[0][0]:,} work units",
                speeds,
                "works/s",
                reach=reach,
                at_least=True,
            )
        )
    return figures


def s2(*, quick: bool) -> list[Figure]:
    count, hours = (3_600, "an hour") if quick else (86_400, "24 hours")
    runs = [simulate("-n", str(count), "--rate-limit", "60/min") for _ in range(1 if quick else 3)]
    return [
        Figure(
            "S2",
            f"{hours} of a service of 60/min, the whole process",
            Spread.of([whole for _, _, whole in runs]),
            "s",
            reach=6,
        )
    ]
