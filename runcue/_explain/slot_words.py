"""Who holds the slots that others need, and what is missing where handlers are to run, in words.

Must not know: how holders are found.
"""

from __future__ import annotations

from collections.abc import Iterable

from runcue._explain.holders import Holding
from runcue._explain.time_words import about_in_words, duration_in_words
from runcue._model.errors import WorkTimeout
from runcue._model.phases import CHECKING, OUTCOMES, SETTLED
from runcue._model.texts import listed_of, name_of, shortened
from runcue._model.work import Work

__all__ = ["holder_in_words", "missing_for", "slots_in_words"]


def slots_in_words(holdings: Iterable[Holding]) -> list[str]:
    """That some have run for so long and hold the slots that others need, for each service."""
    return list(map(_held_for_long, holdings))


def _held_for_long(holding: Holding) -> str:
    span = duration_in_words(holding.seconds)
    who, whom = listed_of(holding.holders, name_of, 3), name_of(holding.needed_by)
    whom += f" and {holding.others} more need" if holding.others else " needs"
    if len(holding.holders) == 1:
        text = f"{who} has run for {span} and holds the slot that {whom}"
    else:
        text = f"{who} have run for up to {span} and hold the slots that {whom}"
    if holding.usual is not None:
        text += f"; {shortened(holding.oldest.task, 80)} usually takes about {about_in_words(holding.usual)}"
    if holding.where:
        text += f"; {name_of(holding.oldest)} is at {holding.where}"
    return text


def holder_in_words(work: Work, wall: float) -> str:
    """Who holds a slot; if its handler does not run, why, and since when it should have none any more."""
    if work._phase == CHECKING:
        return f"{name_of(work)} (its async gate is being asked)"
    if work._phase != SETTLED:
        return name_of(work)
    ago = duration_in_words(wall - (work.completed_at or wall))
    been = f"{OUTCOMES[work._outcome]} {ago} ago"
    if isinstance(work.exception, WorkTimeout):
        been = f"timed out {ago} ago, by timeout={work._timeout:g}"
    return f"{name_of(work)} ({been}; its handler has not returned)"


def missing_for(work: Work) -> str:
    """What is missing where the handler of a work unit is to run, so that nobody begins; "" if nothing is."""
    missing: str = getattr(work._task.executor, "missing", "")
    return missing
