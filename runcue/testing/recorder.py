"""What became of work units, written down as it is heard.

Lives here: `Recorder` and `Heard`. Must not know: more of a cue than its listeners.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from runcue._api.cue import Cue
from runcue._model.work import Work


class Heard(NamedTuple):
    """One event that a `Recorder` heard.

    Attributes:
        event: "start", "complete", "failure", "skip" or "cancel".
        work: The work.
        time: The loop's time.
        value: The result, the error, or None.
    """

    event: str
    work: Work
    time: float
    value: Any


class Recorder:
    """Writes down all events of a cue, in order.

    Args:
        cue: The cue to listen to.

    Attributes:
        events: What was heard.
    """

    def __init__(self, cue: Cue) -> None:
        self.events: list[Heard] = []
        cue.on_start(lambda work: self._note("start", work))
        cue.on_complete(lambda work, result, duration: self._note("complete", work, result))
        cue.on_failure(lambda work, error: self._note("failure", work, error))
        cue.on_skip(lambda work: self._note("skip", work))
        cue.on_cancel(lambda work: self._note("cancel", work))

    def _note(self, event: str, work: Work, value: Any = None) -> None:
        self.events.append(Heard(event, work, asyncio.get_running_loop().time(), value))

    def of(self, work_id: str) -> list[str]:
        """The names of the events of one work unit, in order."""
        return [heard.event for heard in self.events if heard.work.id == work_id]

    def times(self, event: str) -> list[float]:
        """When an event was heard, for all work units."""
        return [heard.time for heard in self.events if heard.event == event]

    def counts(self) -> Mapping[str, int]:
        """How often each event was heard."""
        found: dict[str, int] = {}
        for heard in self.events:
            found[heard.event] = found.get(heard.event, 0) + 1
        return found
