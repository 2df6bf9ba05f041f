"""How the attempts of one task end: how often they are made again, and what the matter is.

Lives here: `AttemptTally`, which is told of each end, and `Trouble`, what is said of it.

Must not know: cues, how anything is shown, how long the rest takes.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import runcue

_ENDS: Final = 200
_FAILURES: Final = 100
_FIRST: Final = 3
_IN_A_ROW: Final = 5
"""So many attempts that have failed since one succeeded are no accident."""
_LONGEST: Final = 200


class Trouble(NamedTuple):
    """What the matter is with the attempts of a task.

    Attributes:
        task: Its name.
        waiting: How many work units wait for another attempt, because one has failed.
        failed: How many attempts have failed since the last one that succeeded; 0 if they are too few to say so.
        last: The last error, in words.
    """

    task: str
    waiting: int
    failed: int
    last: str

    def __str__(self) -> str:
        waits = f"{self.waiting:,} wait{'s' if self.waiting == 1 else ''} for another attempt"
        failed = f"{self.failed:,} attempts in a row have failed"
        told = [words for number, words in ((self.waiting, waits), (self.failed, failed)) if number]
        return f"{self.task}: {', '.join(told)}, last: {self.last}"


class AttemptTally:
    """How the attempts of the work units of one task end.

    Attributes:
        retried: How many have failed that another one follows.
        waiting: The work units that wait for that one, as keys.
        unended: How many have failed since a work unit has ended last.
        took: Seconds that the latest of those took that have failed.
        refused: How often at most a work unit was refused in a row, of those that were since one succeeded.
    """

    def __init__(self) -> None:
        self.retried = self.unended = self.refused = 0
        self.waiting: dict[runcue.Work, None] = {}
        self.took: deque[float] = deque(maxlen=_FAILURES)
        self._delays: deque[float] = deque(maxlen=_FAILURES)
        # Of the latest attempts whether a work unit has ended by each, well or not.
        self._ends: deque[bool] = deque(maxlen=_ENDS)
        # How many attempts have failed since one has succeeded, and how the last one did.
        self._failed = 0
        self._last = ""
        # How often in a row work units were refused that wait because of that.
        self._refused: dict[runcue.Work, int] = {}

    @property
    def each(self) -> float:
        """How many attempts a work unit takes until it ends, lately.

        Not as those took that have ended: the first ones of these are those of which none has failed. Of the first
        attempts nothing is concluded.
        """
        return (len(self._ends) + _FIRST) / (sum(self._ends) + _FIRST)

    @property
    def delay(self) -> float:
        """Seconds between an attempt that has failed and the next one, on average."""
        return sum(self._delays) / len(self._delays) if self._delays else 0.0

    def failed(self, work: runcue.Work, error: BaseException, delay: float) -> None:
        """An attempt has failed, and another one follows."""
        self.retried += 1
        self.unended += 1
        self._ends.append(False)
        self._failed += 1
        self._last = _words_of(error)
        self.waiting[work] = None
        self.took.append(work.attempts[-1].duration if work.attempts else 0.0)
        self._delays.append(delay)
        self._refused.pop(work, None)

    def refuse(self, work: runcue.Work) -> None:
        """The server has refused a work unit for now."""
        self._refused[work] = times = self._refused.get(work, 0) + 1
        self.refused = max(self.refused, times)

    def goes_on(self, work: runcue.Work) -> None:
        """A work unit runs again."""
        self.waiting.pop(work, None)

    def ended(self, work: runcue.Work, *, has_run: bool) -> None:
        """A work unit has settled."""
        self.waiting.pop(work, None)
        self._refused.pop(work, None)
        if not has_run:
            return
        if work.state is runcue.WorkState.COMPLETED:
            self._failed = self.refused = 0
        elif work.state is runcue.WorkState.FAILED:
            self._failed += 1
            self._last = _words_of(work.exception)
        else:
            return
        self.unended = 0
        self._ends.append(True)

    def trouble(self, task: str) -> Trouble | None:
        """What is to be said of it, if anything is."""
        failed = self._failed if self._failed >= _IN_A_ROW else 0
        if not self.waiting and not failed:
            return None
        return Trouble(task, len(self.waiting), failed, self._last)


def _words_of(error: BaseException | None) -> str:
    """The first line of an error: what people have written may raise."""
    try:
        text = " ".join(str(error).strip().partition("\n")[0].split())
    except Exception:
        text = ""
    name = type(error).__name__
    return f"{name}: {text}"[:_LONGEST] if text else name
