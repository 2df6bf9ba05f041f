"""How urgent a work unit is: the numbers that say it, what counts without one, and what a callback is asked with.

Must not know: how an order comes of it.
"""

from __future__ import annotations

from typing import Final

from runcue._model.checks import number_of
from runcue._model.errors import ConfigurationError
from runcue._model.texts import words_of
from runcue._model.work import Work

__all__ = ["DEFAULT_PRIORITY", "STRICT", "PriorityContext", "priority_of"]

DEFAULT_PRIORITY: Final = 0.5

STRICT: Final = 1e300
"""In place of a head start in seconds: longer than any wait, and still a number, as infinity times nothing is none."""


def priority_of(value: object, what: str, forms: str = "a number from 0.0 to 1.0") -> float:
    """Check a priority that is given as a number.

    Args:
        value: What was given.
        what: What it is called in messages.
        forms: What it may be.

    Raises:
        ConfigurationError: It is something else. True is no number, and neither is text or what is not a number.
    """
    number = number_of(value)
    if number is None or not 0 <= number <= 1:
        raise ConfigurationError(f"{what} must be {forms}, not {words_of(value)}.")
    return number


class PriorityContext:
    """What a priority callback is asked with.

    Attributes:
        work: The work in question.
        wait_time: Seconds since it was submitted.
        queue_depth: How many work units are pending, this one included.
    """

    __slots__ = ("queue_depth", "wait_time", "work")

    def __init__(self, work: Work, wait_time: float, queue_depth: int) -> None:
        self.work = work
        self.wait_time = wait_time
        self.queue_depth = queue_depth

    def __repr__(self) -> str:
        return (
            f"PriorityContext({self.work!r}, wait_time={self.wait_time:.3f}, queue_depth={self.queue_depth})"
        )
