"""What a cue warns of: the log hears it, and so does whoever observes the cue.

Lives here: `WarningLog`, the one way for all warnings that are about a cue.

Must not know: what is warned of, or how observers are called.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final

from runcue._model.texts import LONGEST, Entries, error_words, shortened
from runcue._model.work import Work
from runcue.abc import CueWarning, WarningKind

__all__ = ["WarningLog", "extra_of"]

logger = logging.getLogger("runcue")

_MOST: Final = 100
"""A record of the log has the metadata of so many work units at the most."""

# As it is in every exception, whatever its class defines under this name.
_TRACEBACK: Final[Any] = vars(BaseException)["__traceback__"]


def extra_of(works: Iterable[Work]) -> dict[str, object] | None:
    """What a record of the log has beside its text: the metadata of the work units that it is about, by id."""
    told = {work.id: work.metadata for work in islice((work for work in works if work.metadata), _MOST)}
    return {"metadata": told} if told else None


class WarningLog:
    """Tells warnings.

    Attributes:
        hearers: Called with each warning, in this order. Without any, a warning is not even made.
    """

    def __init__(self) -> None:
        self.hearers: list[Callable[[CueWarning], None]] = []

    def tell(
        self,
        kind: WarningKind,
        works: Iterable[Work],
        message: str,
        *args: object,
        level: int = logging.WARNING,
        error: BaseException | None = None,
        logged: bool = True,
        observed: bool = True,
    ) -> None:
        """Tell of something.

        Args:
            kind: What it is about.
            works: The work units that it is about, if any.
            message: With places for the arguments, as logging has them.
            *args: The arguments.
            level: Of the log.
            error: Whose traceback is logged, too.
            logged: Whether the log is to have it.
            observed: Whether observers are to hear of it.
        """
        works = tuple(works)
        if len(text := message % args) > LONGEST:
            over = len(text) - LONGEST
            args = tuple(
                one.within(len(str(one)) - over) if isinstance(one, Entries) else one for one in args
            )
            if len(text := message % args) > LONGEST:
                message, args = "%s", (shortened(text),)
        if logged:
            told = None if error is None else (type(error), error, _TRACEBACK.__get__(error))
            try:
                logger.log(level, message, *args, exc_info=told, extra=extra_of(works), stacklevel=2)
            except Exception as trouble:
                # Handlers and filters of the log are the user's, and so is the error that they show.
                if sys.stderr is not None:
                    sys.stderr.write(f"runcue could not log ({error_words(trouble)}): {message % args}\n")
        if observed and self.hearers:
            warning = CueWarning(kind, message % args, works)
            for hear in tuple(self.hearers):
                hear(warning)
