"""What a submission says of when its work unit runs, how long and how often, and what its task says in its place.

Lives here: `Wish`.

Must not know: who submits, what becomes of it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from runcue_sim._chaos.policies import Policy
from runcue_sim._chaos.regimes import UNIT


class Wish(NamedTuple):
    """What is wished for one work unit, whoever says it.

    Attributes:
        policy: Of its retries, None for one attempt.
        timeout: Of each attempt, None for that of its task.
        delay: Seconds until it may start.
        by_wall: Whether that is said as an instant of the wall clock.
        must_complete: Whether it must complete.
        cost: What it takes of budgets, None if nothing is said.
        lane: The lane that it is in, None if it is in none.
        of_task: The options that its task has said, and its submission does not.
    """

    policy: Policy | None = None
    timeout: float | None = None
    delay: float = 0.0
    by_wall: bool = False
    must_complete: bool = False
    cost: int | None = None
    lane: str | None = None
    of_task: frozenset[str] = frozenset({"must_complete"})

    def options(self, wall: float) -> dict[str, Any]:
        """What is said to `cue.submit`, of all that can be left out only what is wished for.

        Args:
            wall: Seconds since the epoch.
        """
        options: dict[str, Any] = {"must_complete": self.must_complete}
        if self.policy is not None:
            options["retry"] = self.policy.option()
        if self.timeout is not None:
            options["timeout"] = self.timeout
        if self.cost is not None:
            options["cost"] = {UNIT: self.cost}
        if self.lane is not None:
            options["lane"] = self.lane
        if self.delay and self.by_wall:
            options["run_at"] = wall + self.delay
        elif self.delay:
            options["delay"] = self.delay
        return {name: value for name, value in options.items() if name not in self.of_task}


NO_WISH: Final = Wish()
