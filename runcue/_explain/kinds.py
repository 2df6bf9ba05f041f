"""The kinds of reasons why a work unit is where it is, what they mean to users, and what is to be done about each.

Must not know: how reasons are found, or put in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

__all__ = ["BY_LIMITS", "STEPS", "VERDICTS", "Kind", "ReasonName", "Step", "Verdict", "in_print"]

Verdict = Literal[
    "completed",
    "skipped",
    "failed",
    "cancelled",
    "running",
    "being asked",
    "about to start",
    "not started",
    "waiting for rate",
    "waiting for a budget",
    "waiting for a limit",
    "paused",
    "waiting for its server",
    "waiting for a slot",
    "waiting for a retry",
    "waiting for its time",
    "waiting for an artifact",
    "waiting for its lane",
    "no producer",
    "cycle",
    "deadlock",
    "upstream failed",
    "not ready",
]
"""What `why()` can say. "not ready" is the word of an opaque is_ready that looked at no artifact."""

_SPOKEN: Final[Mapping[str, str]] = {"upstream failed": "input not made"}


def in_print(verdict: Verdict) -> str:
    """A verdict as texts have it: who was to make an input may have been cancelled as well."""
    return _SPOKEN.get(verdict, verdict)


ReasonName = Literal["not_ready", "service_full", "not_due", "unknown_task"]
"""What `debug_blocked()` can say. "not_due" is for what must not start before an instant,
"unknown_task" for work units that were restored without their task."""

Kind = Literal[
    "slots",
    "rate",
    "budget",
    "limit",
    "paused",
    "server",
    "throttle",
    "breaker",
    "no thread",
    "left free",
    "left to",
    "said no",
    "raised",
    "input",
    "being made",
    "unreturned",
    "lane",
    "joined",
    "gate",
    "reading",
    "retry",
    "postponed",
    "throttled",
    "delayed",
    "no producer",
    "upstream",
    "cycle",
    "self",
    "deadlock",
    "not asked",
    "not started",
    "clear",
    "running",
    "completed",
    "skipped",
    "failed",
    "cancelled",
]
"""What can be the reason. In their order: no slot, start or room by a rate, a budget or a limit; a pause by hand; what
its server has left; a pause because that has refused some, or because of failures in a row; no thread; slots that are
left free for another one; what is left to one that waits for a budget; what is_ready said, or that it raised; an input
that is not valid; one that is about to be made; an output whose last handler has not returned; others come first in
its lane; another one makes the same; a gate is awaited, or files are read; its instant is not due: of the attempt
after one that has failed, of what its handler has postponed, of what a server has refused, of what was submitted for
later; nobody makes an input; who was to make it did not; those who wait for each other: for inputs, until an instant,
for ever; nobody has asked yet; the cue is not started; nothing is in the way; how it goes, or has gone."""

Step = Literal[
    "wait",
    "see the holders",
    "see the callback",
    "see the artifact",
    "see the maker",
    "see the other",
    "submit the maker",
    "cut the cycle",
    "wait for nobody",
    "start",
    "nothing",
]
"""What is to be done. "see ..." leads to what has to be mended, or merely takes its time."""

VERDICTS: Final[Mapping[Kind, Verdict]] = {
    "slots": "waiting for a slot",
    "rate": "waiting for rate",
    "budget": "waiting for a budget",
    "limit": "waiting for a limit",
    "paused": "paused",
    "server": "waiting for its server",
    "throttle": "waiting for its server",
    "breaker": "waiting for a limit",
    "no thread": "waiting for a slot",
    "left free": "waiting for a slot",
    "left to": "waiting for a limit",
    "said no": "not ready",
    "raised": "not ready",
    "input": "waiting for an artifact",
    "being made": "waiting for an artifact",
    "unreturned": "waiting for an artifact",
    "lane": "waiting for its lane",
    "joined": "not ready",
    "gate": "being asked",
    "reading": "being asked",
    "retry": "waiting for a retry",
    "postponed": "waiting for its time",
    "throttled": "waiting for its time",
    "delayed": "waiting for its time",
    "no producer": "no producer",
    "upstream": "upstream failed",
    "cycle": "cycle",
    "self": "waiting for a slot",
    "deadlock": "deadlock",
    "not asked": "about to start",
    "not started": "not started",
    "clear": "about to start",
    "running": "running",
    "completed": "completed",
    "skipped": "skipped",
    "failed": "failed",
    "cancelled": "cancelled",
}

STEPS: Final[Mapping[Kind, Step]] = {
    "slots": "see the holders",
    "no thread": "see the holders",
    "said no": "see the callback",
    "raised": "see the callback",
    "gate": "see the callback",
    "input": "see the artifact",
    "being made": "see the maker",
    "unreturned": "see the maker",
    "upstream": "see the maker",
    "lane": "see the other",
    "joined": "see the other",
    "no producer": "submit the maker",
    "cycle": "cut the cycle",
    "self": "wait for nobody",
    "deadlock": "wait for nobody",
    "not started": "start",
    "completed": "nothing",
    "skipped": "nothing",
    "failed": "nothing",
    "cancelled": "nothing",
}

BY_LIMITS: Final = frozenset(
    (
        "slots",
        "rate",
        "budget",
        "limit",
        "paused",
        "server",
        "throttle",
        "breaker",
        "no thread",
        "left free",
        "left to",
    )
)
