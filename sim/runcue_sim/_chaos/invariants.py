"""What is promised of every run, and what has to be known to judge it.

Lives here: the list of promises; `Violation`, one that was broken; `Limits` of a service and `Duty` of a task, as they
were declared.

Must not know: what has happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import runcue

INVARIANTS: Final = {
    "rate": "no window of one period sees more starts than the rate allows",
    "slots": "no service has more handlers at work than slots",
    "refused": "no server that has refused work is asked again before its time, and then by one alone",
    "ready": "nothing starts before all that it needs is there, and nobody is about to make it anew",
    "twice": "nothing starts while its proof is valid",
    "once": "a work unit has one attempt at a time and settles exactly once",
    "early": "no attempt starts before its time",
    "attempts": "there are as many attempts as were asked for",
    "cause": "nothing fails or is cancelled without a cause",
    "budget": "nothing starts that takes more of a budget than is left of it, or while something is owed",
    "paused": "nothing starts while its service is paused by hand",
    "lane": "of one lane one is at work at a time, in the order of submission",
    "broken": "nothing starts while a breaker is open, and then one to see",
    "prompt": "what can start does so at that instant",
    "unproved": "nothing is skipped but what is up to date",
    "skipped": "what is up to date is skipped as soon as it is submitted",
    "timeout": "a handler that runs for longer than its timeout has failed at that instant, and not before",
    "stopped": "a stop cuts off what it has to, and nothing else",
    "left": "a stop lists what it leaves that could run some time, and does not try it again",
    "drained": "a drain leaves only what cannot run",
    "lost": "after a death, submitting everything again makes everything",
    "ends": "every run ends",
    "sound": "the scheduler itself does not fail",
}
"""By the name that a violation bears."""

STARVED_AFTER: Final = 60.0
"""Seconds that others may pass a work which needs several services that are never free at once."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken.

    Attributes:
        invariant: One of `INVARIANTS`.
        text: What happened, in a sentence.
        works: The ids of the work units concerned.
        names: The artifacts concerned.
    """

    invariant: str
    text: str
    works: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Limits(NamedTuple):
    """Those of a service.

    Attributes:
        concurrent: Slots, None for any number.
        starts: Starts per period, None for any number.
        period: Seconds.
        further: Another window: starts, and seconds.
    """

    concurrent: int | None = None
    starts: int | None = None
    period: float = 0.0
    further: tuple[int, float] | None = None


class Duty(NamedTuple):
    """What is known of a task.

    Attributes:
        services: What it uses.
        declared: Whether its work units declare what they need and prove: then age counts, and who makes the same is
            joined.
        timeout: Seconds that a run may take, None for any number.
        is_plain: Whether its handlers are plain functions. What stands in for their threads calls them at the end of
            their time, and not at all if they were given up before.
    """

    services: tuple[str, ...] = ()
    declared: bool = True
    timeout: float | None = None
    is_plain: bool = False


def limits_of(cue: runcue.Cue) -> dict[str, Limits]:
    """The limits of the services of a described cue."""
    return {one.name: Limits(one.concurrent, one.count, one.period or 0.0) for one in cue.services()}


def duties_of(cue: runcue.Cue) -> dict[str, Duty]:
    """What is known of the tasks of a described cue."""
    return {
        task.name: Duty(
            task.services,
            declared=task.inputs is not None or task.outputs is not None,
            timeout=task.timeout,
            is_plain=task.executor is not None,
        )
        for task in cue.tasks()
    }


def is_over(began: float, period: float, now: float) -> bool:
    """Whether a period has passed."""
    # Both forms: either alone can be off by a rounding.
    return began + period <= now and now - began >= period
