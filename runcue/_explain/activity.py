"""What answers ask of what runs work units.

Must not know: what that is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from runcue._callbacks.verdicts import OpenQuestion
from runcue._model.work import Work
from runcue._scheduling.knots import Knot

__all__ = ["Activity"]


class Activity(Protocol):
    """What runs the work units of a cue, as far as answers read it.

    Attributes:
        began: When that was started last, monotonic.
        rechecks: Whether what waits for nothing in particular is asked again now and then.
    """

    began: float
    rechecks: bool

    def holders(self) -> Iterable[Work]:
        """The work units that hold slots at this moment."""

    def where_it_is(self, work: Work) -> str:
        """Where the handler of one that runs is at this moment; "" if that is not known."""

    def question_of(self, work: Work) -> OpenQuestion | None:
        """The question about a work unit whose answer is awaited."""

    def is_idle(self) -> bool:
        """Whether nothing runs, is asked or is timed: then nothing that is pending will make anything."""

    def knots(self, works: Iterable[Work]) -> list[Knot]:
        """Those who wait for each other, as far as these work units depend on them."""

    def awaited_by(self, work: Work, most: float) -> tuple[list[Work], bool]:
        """The work units whose ends the handler of a running one awaits, about so many, and whether these are all."""
