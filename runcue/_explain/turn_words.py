"""The turn of a work unit in words: its place in the line, the instant, and what passes it.

Must not know: how it is found.
"""

from __future__ import annotations

from runcue._explain.turn import Passing, Turn
from runcue._explain.wording import clock_in_words, duration_in_words
from runcue._model.texts import how_many, listed, seconds_in_words

__all__ = ["turn_in_words"]


def turn_in_words(turn: Turn, now: float, wall: float) -> str:
    """When it is the turn of a work unit, and what passes it.

    Args:
        turn: Its turn.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """
    at_least = "at least " if turn.at_least else ""
    place = "next in line" if turn.place == 1 and not at_least else f"{at_least}number {turn.place:,} in line"
    if turn.eta is None:
        when = "when its turn comes is not known"
    else:
        about = "in about" if turn.about else "in"
        span = duration_in_words(turn.eta)
        early = ", at the earliest" if turn.earliest else ""
        when = f"its turn comes {about} {span} (at {clock_in_words(wall + turn.eta, wall)}){early}"
    text = f"it is {place}, and {when}"
    return text if turn.passing is None else f"{text}; {_passing_in_words(turn.passing, now, wall)}"


def _passing_in_words(passing: Passing, now: float, wall: float) -> str:
    number, span = passing.number, duration_in_words(passing.seconds)
    tasks = listed((f"{task} {count:,}" for task, count in passing.tasks.items()), 3)
    at_least = "at least " if passing.at_least else ""
    what = how_many(number, "more urgent work unit", "more urgent work units")
    have = "has" if number == 1 else "have"
    text = f"{at_least}{what} that came later ({tasks}) {have} passed it in the last {span}"
    if number > 1:
        text += f", about one every {duration_in_words(passing.every)}"
    if passing.head_start is None:
        return f"{text}, and for as long as such come they go first (head_start=None)"
    worth = f"(head_start={seconds_in_words(passing.head_start)})"
    if passing.until <= now:
        return f"{text}; nobody who comes now can pass it any more {worth}"
    return f"{text}; nobody who comes after {clock_in_words(wall + passing.until - now, wall)} can pass it {worth}"
