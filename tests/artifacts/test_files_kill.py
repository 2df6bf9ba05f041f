"""Makers of files under kill -9: at no instant is half a file believed afterwards, or one that is stale.

Each life is a real process on real time (`tests.support.lives`). Its handlers write by plain `open()`, by `work.write`,
by renaming, and by subprocesses that go on when the process is gone; sources change meanwhile. Half of the kills are
spread over the life, the others are aimed: they strike within a millisecond after a file of runcue's own has come, gone
or been replaced, which is when something is begun or published.

    python tests/artifacts/test_files_kill.py 2000        # as `dev.py torture` does
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tests.support.lives import OURS, Deed, Lives, Maker, Plan, lives, source  # noqa: E402 - found only from there

SEED = 20261127
SOURCES = ("src/0", "src/1", "src/2")
A_MOMENT = 0.002
MAKERS = (
    Maker("opened", ["src/0"], ["out/opened"], way="open", sync=True),
    Maker("awaited", ["src/1", "src/2"], ["out/awaited", "out/more/awaited"], way="open"),
    Maker("written", ["src/0", "src/1"], ["out/written"], way="write", sync=True),
    Maker("processed", ["src/2"], ["out/processed"], way="process", sync=True),
    Maker("renamed", ["out/processed", "src/1"], ["out/more/renamed"], way="replace", sync=True),
    Maker("gathered", ["out/opened", "out/awaited", "out/written"], ["out/gathered"], way="write"),
    Maker("told", ["out/gathered", "out/more/renamed"], ["out/told"], way="open", sync=True),
)


@dataclass
class Findings:
    """What the kills hit.

    Attributes:
        instants: How many there were.
        alive: How many of the processes were still at work then.
        running: How many of these were in a handler, or in publishing what it made.
        ran_again: Why makers ran after a kill, by the words of `why_stale`.
    """

    instants: int = 0
    alive: int = 0
    running: int = 0
    ran_again: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"{self.instants} instants: {self.alive} in a run, {self.running} of them while something was made; "
            f"{sum(self.ran_again.values())} runs afterwards, all explained"
        )


class World:
    """A folder in which makers live and die."""

    def __init__(self, scratch: Path, policy: str, process: Lives, chance: random.Random) -> None:
        self.folder = scratch / policy
        self.report = scratch / f"{policy}.report"
        self.policy = policy
        self.process = process
        self.chance = chance
        self.unproven: dict[str, str | None] = {}
        self.number = 0
        self.length = 0.1
        for name in ("src", "out/more"):
            (self.folder / name).mkdir(parents=True)
        for number, name in enumerate(SOURCES):
            (self.folder / name).write_text(source(number + 1, steady=policy == "digest"))

    def live(
        self,
        *,
        deeds: tuple[Deed, ...] = (),
        kill_at: Callable[[], object] | None = None,
        dawdle: bool = True,
    ) -> tuple[int, list[dict[str, Any]]]:
        self.number += 1
        makers = [
            replace(maker, pauses=[self.pause() if dawdle else 0.0 for _ in range(4)]) for maker in MAKERS
        ]
        self.chance.shuffle(makers)
        plan = Plan(
            str(self.folder),
            str(self.report),
            self.policy,
            makers,
            list(deeds),
            self.unproven,
            self.number,
            settles=not deeds and kill_at is None,
            real=True,
        )
        code, report = self.process.live(plan, kill_at)
        told = f"life {self.number} by {self.policy} ({SEED=})\n" + "\n".join(map(str, report))
        assert code in (0, -signal.SIGKILL), told
        assert not [one["text"] for one in report if one["event"] == "wrong"], told
        for one in report:
            if one["event"] == "unproven":
                self.unproven = one["paths"]
        # What had been made to its end counts, or does not: nobody knows whether that was noted.
        for one in (one for one in report if code and one["event"] == "ended"):
            for name in one["paths"]:
                if self.text(name) == one["text"]:
                    self.unproven.pop(name, None)
        return code, report

    def text(self, name: str) -> str | None:
        path = self.folder / name
        return path.read_text() if path.exists() else None

    def pause(self) -> float:
        return self.chance.choice((0.0, 0.0, A_MOMENT))

    def somewhere(self) -> None:
        """Waits until some instant of a life."""
        time.sleep(self.chance.random() * self.length)

    def at_some_publication(self) -> None:
        """Waits until runcue has done something in a folder, for some time at most, and then a little more."""
        last = time.monotonic() + self.chance.random() * self.length
        seen, changes = self.ours(), self.chance.randrange(1, 12)
        while changes and time.monotonic() < last:
            now = self.ours()
            changes -= now != seen
            seen = now
        time.sleep(self.chance.random() * 0.001)

    def ours(self) -> list[tuple[str, int]]:
        found = []
        for folder in ("out", f"out/{OURS}marks", "out/more", f"out/more/{OURS}marks"):
            try:
                with os.scandir(self.folder / folder) as entries:
                    found += [(entry.name, entry.inode()) for entry in entries]
            except OSError:
                pass  # not there yet
        return found

    def kill(self, found: Findings) -> None:
        """One life that ends early."""
        kinds = (
            "change",
            "change",
            "replace",
            "touch",
            *(["same", "old"] if self.policy == "digest" else []),
        )
        deeds = tuple(
            Deed(
                self.chance.choice(kinds), self.chance.choice(SOURCES), at=self.chance.random() * self.length
            )
            for _ in range(self.chance.randrange(4))
        )
        # With some of the sources as new, or nothing would have to be made.
        deeds += (Deed("change", self.chance.choice(SOURCES), at=0.0),)
        aim = self.at_some_publication if found.instants % 2 else self.somewhere
        code, report = self.live(deeds=deeds, kill_at=aim)
        # The machine is now more, now less busy than when it was measured.
        self.length *= 0.9 if code == 0 else 1.03
        found.instants += 1
        found.alive += code == -signal.SIGKILL
        told = Counter((one["event"], one.get("name")) for one in report)
        found.running += any(
            number > told["complete", name] for (event, name), number in told.items() if event == "start"
        )

    def settle(self, found: Findings) -> None:
        """All that is out of date is made, and then nothing is."""
        _, report = self.live(dawdle=False)
        ran = [one for one in report if one["event"] == "end" and not one["skipped"]]
        assert all(one["why"] for one in ran), ran
        found.ran_again.update(one["why"].replace(str(self.folder), "") for one in ran)
        for last in (False, True):
            _, report = self.live(dawdle=False)
            again = [one for one in report if one["event"] == "start"]
            told = [one for one in report if one["event"] == "told"]
            assert not again or told or not last, f"ran again and again, in silence ({SEED=}): {report}"
            if not again:
                return


def kill_at(scratch: Path, instants: int, shown: Callable[[Findings], bool] = lambda found: True) -> Findings:
    """Kills makers at so many instants; after every few of them all is made, and looked through.

    Args:
        scratch: Where.
        instants: How many at least.
        shown: Whether enough was hit. On a busy machine it takes more of them.
    """
    chance = random.Random(SEED)
    found = Findings()
    with lives() as process:
        worlds = [World(scratch, policy, process, chance) for policy in ("newer", "digest", "none")]
        for world in worlds:
            began = time.monotonic()
            world.live()
            world.length = time.monotonic() - began
            world.settle(found)
        found.ran_again.clear()
        while found.instants < instants or not shown(found):
            assert found.instants < 10 * instants, f"hardly anything was hit: {found}"
            world = worlds[found.instants % len(worlds)]
            for _ in range(min(chance.randrange(1, 5), max(1, instants - found.instants))):
                world.kill(found)
            world.settle(found)
    return found


@pytest.mark.rule(27, 30)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here: NOTHING IS KILLED LIKE THIS")
def test_of_makers_killed_at_any_instant_nothing_half_made_and_nothing_stale_is_believed(
    tmp_path: Path,
) -> None:
    found = kill_at(tmp_path, 30, lambda found: found.alive >= 14 and found.running >= 7)
    print(found, found.ran_again)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        findings = kill_at(Path(folder), int(sys.argv[1]))
        print(findings)
        for why, times in findings.ran_again.most_common(12):
            print(f"     {times:>6} times: {why}")
