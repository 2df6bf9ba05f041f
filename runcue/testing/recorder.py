"""What became of work units, written down as it is heard.

Lives here: `Recorder` and `Heard`. Must not know: more of a cue than its observers hear.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from runcue._api.cue import Cue
from runcue._model.checks import says_what_it_takes
from runcue._model.errors import ConfigurationError
from runcue._model.phases import WorkState
from runcue._model.texts import words_of
from runcue._model.work import Work
from runcue.abc import Observer


class Heard(NamedTuple):
    """One event that a `Recorder` heard.

    Attributes:
        event: "start", "put_back", "resume", "complete", "failure", "skip" or "cancel".
        work: The work.
        time: The loop's time.
        value: The result, the error, or None; of what was put back why, and for how many seconds.
    """

    event: str
    work: Work
    time: float
    value: Any


class Recorder(Observer):
    """Writes down all starts and ends of a cue's work units, in order.

    It is an observer: a failed work unit of which nobody else hears is logged all the same.

    Args:
        cue: The cue to observe.

    Attributes:
        events: What was heard.
    """

    def __init__(self, cue: Cue) -> None:
        if not isinstance(cue, Cue):
            raise ConfigurationError(f"Recorder() takes a runcue.Cue, not {words_of(cue)}.")
        self.events: list[Heard] = []
        cue.observe(self)

    def started(self, work: Work) -> None:
        """See `Observer.started`."""
        self._note("start", work)

    def put_back(self, work: Work, reason: str, delay: float | None) -> None:
        """See `Observer.put_back`."""
        self._note("put_back", work, (reason, delay))

    def resumed(self, work: Work) -> None:
        """See `Observer.resumed`."""
        self._note("resume", work)

    def settled(self, work: Work, duration: float) -> None:
        """See `Observer.settled`."""
        if work.skipped:
            self._note("skip", work)
        elif work.state is WorkState.COMPLETED:
            self._note("complete", work, work.result)
        elif work.state is WorkState.FAILED:
            self._note("failure", work, work.exception)
        else:
            self._note("cancel", work)

    def _note(self, event: str, work: Work, value: Any = None) -> None:
        self.events.append(Heard(event, work, asyncio.get_running_loop().time(), value))

    @says_what_it_takes
    def of(self, work_id: str) -> list[str]:
        """The names of the events of one work unit, in order."""
        return [heard.event for heard in self.events if heard.work.id == work_id]

    @says_what_it_takes
    def times(self, event: str) -> list[float]:
        """When an event was heard, for all work units."""
        return [heard.time for heard in self.events if heard.event == event]

    @says_what_it_takes
    def counts(self) -> Mapping[str, int]:
        """How often each event was heard."""
        found: dict[str, int] = {}
        for heard in self.events:
            found[heard.event] = found.get(heard.event, 0) + 1
        return found
