"""Reasons in words: the one place where texts are made of them, for `why()`, `debug_blocked()`, warnings and errors.

Lives here: how the phrase of a reason (`phrases`), what is missing, those who wait for each other (`knot_words`) and
the root of it come together in a line.

Must not know: how reasons are found.
"""

from __future__ import annotations

from typing import Final

from runcue._explain.kinds import in_print
from runcue._explain.knot_words import knot_in_short, knot_in_words
from runcue._explain.phrases import being_made, phrase_of, phrases_of, place_of, said_no
from runcue._explain.reasons import Reason
from runcue._explain.told import Told, once
from runcue._model.phases import SETTLED
from runcue._model.texts import SHOWN, around, how_many, name_of
from runcue._model.work import Work

__all__ = ["around_works", "details_of", "in_short"]


def details_of(reason: Reason, now: float, wall: float, told: Told | None = None) -> str:
    """A reason in a line, as `why()` gives it.

    Args:
        reason: The reason.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
        told: What was told of others.
    """
    if reason.knot is not None:
        return knot_in_words(reason.knot, now, wall)
    if reason.cycle:
        alone = len(reason.cycle) == 1
        return (
            f"{name_of(reason.work)} needs what only it makes: {_lacks(reason)}"
            if alone
            else around_works(reason.cycle)
        )
    if reason.lacks:
        return _lacks(reason)
    return phrases_of(reason, now, wall, told)


def in_short(reason: Reason | None, now: float, wall: float, told: Told | None = None) -> str:
    """A reason with the root of it in a line, for those who are told of many.

    Args:
        reason: The reason; None if nothing is known to be in the way.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
        told: What was told of others, which may have the same root or lack the same.
    """
    if reason is None:
        return "it was about to be asked"
    if reason.root is None and reason.work._attempts is None:
        # In a short way: of these there may be very many.
        if reason.kind == "said no":
            return said_no(reason, place_of(reason.subject, told))
        if reason.kind == "being made" and not reason.lacks:
            return f"{in_print(reason.verdict)}: {being_made(reason)}"
    if reason.knot is not None and reason.root is None:
        return f"{phrase_of(reason, now, wall)}; {knot_in_short(reason.knot)}"
    if reason.holding:
        # Of those who have the slots only such are named as should have none any more.
        late = reason.others if any(one._phase == SETTLED for one in reason.others) else ()
        beside = tuple(one._replace(holding=(), others=()) for one in reason.beside)
        reason = reason._replace(holding=(), others=late, beside=beside)
    if reason.lacks and told is not None and not reason.cycle:
        details = once(told, reason.lacks, lambda: details_of(reason, now, wall))
    else:
        details = details_of(reason, now, wall, told)
    if reason.verdict in _SAY_MORE:
        details = f"{in_print(reason.verdict)}: {details}"
    if reason.root is not None:
        root = reason.root
        between = len(reason.chain) - 2
        through = f" (through {how_many(between, 'other', 'others')})" if between > 0 else ""
        what = once(
            told,
            root,
            lambda: f"{name_of(root.work)} ({in_print(root.verdict)}): {details_of(root, now, wall)}",
        )
        if reason.goes_on:
            others = how_many(between + 1, "other", "others")
            details += f"; through at least {others}, the last that was looked at being {what}"
        else:
            details += f"; in the end{through} because of {what}"
    return details


# Their details alone do not say what the matter is.
_SAY_MORE: Final = frozenset(("no producer", "upstream failed", "cycle", "waiting for an artifact"))


_LONGEST_LACKS: Final = 400
"""Characters; of more the first artifact is told in full, and how many others there are."""


def _lacks(reason: Reason) -> str:
    words = [str(one) for one in reason.lacks[:SHOWN]]
    if len(words) > 1 and sum(map(len, words)) > _LONGEST_LACKS:
        more = how_many(len(reason.lacks) - 1 + reason.more, "more artifact is", "more artifacts are")
        return f"{words[0]}; and {'at least ' if reason.unasked else ''}{more} waited for"
    return "; ".join(words)


def around_works(cycle: tuple[Work, ...]) -> str:
    """A cycle of work units in a line."""
    return around(map(name_of, cycle), len(cycle), name_of(cycle[0]))
