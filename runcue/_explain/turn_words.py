"""The turn of a work unit in words: its place in the line, the instant, and what passes it.

Must not know: how it is found.
"""

from __future__ import annotations

from typing import Final

from runcue._explain.time_words import clock_in_words, duration_in_words
from runcue._explain.turn import Passing, Turn
from runcue._model.texts import listed, name_of, seconds_in_words
from runcue._model.work import Work

__all__ = ["turn_in_words"]

# What is shorter would be told as 0 s.
_SHORT: Final = 0.05


def turn_in_words(work: Work, turn: Turn, now: float, wall: float) -> str:
    """When it is the turn of a work unit, and what passes it.

    Args:
        work: The work unit.
        turn: Its turn.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """
    at_least = "at least " if turn.at_least else ""
    place = "next in line" if turn.place == 1 and not at_least else f"{at_least}number {turn.place:,} in line"
    about, early = "about " if turn.about else "", ", at the earliest" if turn.earliest else ""
    if turn.passing is None or turn.passing.until <= now or turn.alone is None:
        alone = ""
    elif turn.alone == turn.eta:
        alone = " if no more come"
    else:
        alone = f"{duration_in_words(turn.alone)} if no more come"
    if turn.eta is None:
        when = "when its turn comes is not known" + (f", in {about}{alone}" if alone else "")
    else:
        at = f"at {clock_in_words(wall + turn.eta, wall)}"
        if turn.alone != turn.eta and alone:
            at, alone = f"{at}; {alone}", ""
        when = f"its turn comes in {about}{duration_in_words(turn.eta)} ({at}){alone}{early}"
    text = f"{name_of(work)} is {place}, and {when}"
    return text if turn.passing is None else f"{text}; {_passing_in_words(turn.passing, now, wall)}"


def _passing_in_words(passing: Passing, now: float, wall: float) -> str:
    number, span = passing.number, duration_in_words(passing.seconds)
    if len(passing.tasks) == 1:
        tasks = f"task {next(iter(passing.tasks))}"
    else:
        tasks = listed((f"{count:,} of task {task}" for task, count in passing.tasks.items()), 3)
    at_least = "at least " if passing.at_least else ""
    what = f"{number:,} of higher priority"
    have = "has" if number == 1 else "have"
    text = f"{at_least}{what} that came later ({tasks}) {have} "
    text += "just passed it" if passing.seconds < _SHORT else f"passed it in the last {span}"
    if number > 1 and passing.every >= _SHORT:
        text += f", one every {duration_in_words(passing.every)}"
    elif number > 1 and passing.seconds >= 1:
        text += f", {number / passing.seconds:,.0f} a second"
    if passing.head_start is None:
        return f"{text}, and for as long as such come they go first (head_start=None)"
    worth = f"(head_start={seconds_in_words(passing.head_start)})"
    if passing.until <= now:
        return f"{text}; none that comes now can pass it {worth}"
    return f"{text}; none that comes after {clock_in_words(wall + passing.until - now, wall)} can pass it {worth}"
