"""The answers to `cue.why()` and `cue.why_stale()`, and how they print.

Lives here: frozen records and their words. Nothing in them changes any more: they are as of the moment of the question.

Must not know: how an answer is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from runcue._artifacts.artifact import Artifact
from runcue._model.texts import (
    SHOWN,
    around,
    how_many,
    name_of,
    seconds_in_words,
    shortened,
    words_of,
)
from runcue._model.work import Work

__all__ = ["Missing", "Verdict", "Why", "WhyStale", "around_works"]

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
    "waiting for a limit",
    "waiting for a slot",
    "waiting for a retry",
    "waiting for an artifact",
    "no producer",
    "cycle",
    "deadlock",
    "upstream failed",
    "not ready",
]
"""What `why()` can say. "not ready" is the word of an opaque is_ready that looked at no artifact."""


@dataclass(frozen=True, slots=True)
class Missing:
    """An artifact that a work unit waits for.

    Attributes:
        artifact: The artifact; an output of the work unit itself if another one keeps it from being made. None for a
            key that is taken.
        problem: What is wrong with it, as the end of a sentence.
        maker: The work that makes it, or failed to; None if there is none.
        state: What that one is: "pending", "running", "failed", "cancelled"; or "nobody".
        how: What the maker has to do with it, if it is not that it makes this very artifact.
    """

    artifact: Artifact | None
    problem: str
    maker: Work | None
    state: str
    how: str = ""

    def __str__(self) -> str:
        if self.maker is None:
            who = "nothing that is pending or running declares it as an output"
        elif self.state in ("failed", "cancelled"):
            error = f": {self.maker.error}" if self.maker.error else ""
            was = "was " if self.state == "cancelled" else ""
            who = f"{name_of(self.maker)}, which was to make it, {was}{self.state}{error}"
        else:
            who = f"{name_of(self.maker)} {self.how or 'makes it'} ({self.state})"
        what = "its key" if self.artifact is None else words_of(self.artifact)
        text = f"{what} {self.problem}; {who}" if self.problem else f"its output {what}: {who}"
        return shortened(text)

    def __repr__(self) -> str:
        return shortened(f"<Missing {self}>")


@dataclass(frozen=True, slots=True, eq=False)
class Why:
    """Why a work unit is where it is. `print()` it.

    Attributes:
        work: The work.
        verdict: The binding reason, in two or three words.
        details: The same in a line.
        since: When that reason began, in seconds since the epoch.
        seconds: How long it has lasted.
        asked: How often it was found not ready.
        missing: The artifacts it waits for, and who would make them.
        held_by: For a slot: the work units that have it.
        eta: For a rate: seconds until the next token comes; for a retry, until it is due. None if that is not known.
        next_token_at: The instant of that, in seconds since the epoch.
        chain: The work units that wait for each other, from this one to the root of it.
        root: Why the last of the chain does not run; None if that is this work.
        cycle: The work units that wait for each other in a cycle.
    """

    work: Work
    verdict: Verdict
    details: str
    since: float
    seconds: float
    asked: int = 0
    missing: tuple[Missing, ...] = ()
    held_by: tuple[Work, ...] = ()
    eta: float | None = None
    next_token_at: float | None = None
    chain: tuple[Work, ...] = ()
    root: Why | None = None
    cycle: tuple[Work, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "details", shortened(self.details))

    def __str__(self) -> str:
        asked = f", found not ready {how_many(self.asked, 'time', 'times')}" if self.asked else ""
        lines = [
            f"{name_of(self.work)}: {self.verdict}, for {seconds_in_words(round(self.seconds, 1))}{asked}"
        ]
        if not self.missing:
            lines.append(f"  {self.details}")
        lines += [f"  {one}" for one in self.missing[:SHOWN]]
        if len(self.missing) > SHOWN:
            lines.append(f"  and {len(self.missing) - SHOWN} more")
        if self.cycle:
            lines.append(f"  a cycle: {around_works(self.cycle)}")
        between = len(self.chain) - 2
        if self.root is not None:
            if between > 0:
                works = how_many(between, "other work unit", "other work units")
                lines.append(f"  through {works}, in the end because of {name_of(self.root.work)}:")
            lines += [f"  {line}" for line in str(self.root).splitlines()]
        return "\n".join(map(shortened, lines))

    def __repr__(self) -> str:
        return shortened(f"<Why {name_of(self.work)}: {self.verdict}: {self.details}>")


@dataclass(frozen=True, slots=True, eq=False)
class WhyStale:
    """Why a work unit ran, or did not have to. `print()` it.

    Attributes:
        work: The work.
        stale: Whether it was found out of date; None if that is not known yet.
        verdict: In a word or two: "missing", "not valid", "older", "changed", "forced", "is_stale", "up to date", ...
        artifact: The output or input at fault, if one is.
        other: What it was compared to, if it was.
        details: In a line.
    """

    work: Work
    stale: bool | None
    verdict: str
    artifact: Artifact | None
    other: Artifact | None
    details: str

    def __str__(self) -> str:
        words = {True: "out of date", False: "up to date", None: "not known yet"}
        return shortened(f"{name_of(self.work)}: {words[self.stale]}: {self.details}")

    def __repr__(self) -> str:
        return shortened(f"<WhyStale {self}>")


def around_works(cycle: tuple[Work, ...]) -> str:
    """A cycle of work units in a line."""
    return around(map(name_of, cycle), len(cycle), name_of(cycle[0]))
