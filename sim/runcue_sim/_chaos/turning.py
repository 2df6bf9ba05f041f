"""Doing to services what was drawn for them: changing them, pausing them, letting them go on.

Lives here: `Turning`.

Must not know: what is drawn, who judges what starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import runcue
from runcue_sim._chaos.faults import Faults
from runcue_sim._chaos.invariants import limits_of
from runcue_sim._chaos.service_faults import Turn

__all__ = ["Turning"]


class Turning:
    """Turns the services of one cue, from the first submission on.

    Args:
        cue: That one.
        faults: Draw what is done.
        later: Calls something after so many seconds, as long as things go wrong.
        tell: Tells of what was done, by its kind.

    Attributes:
        heard: Called with the instant, the service and what was done to it.
    """

    def __init__(
        self,
        cue: runcue.Cue,
        faults: Faults,
        later: Callable[..., object],
        tell: Callable[[str, str], object],
    ) -> None:
        self.heard: Callable[[float, str, Turn], object] = lambda now, service, turn: None
        self._cue = cue
        self._faults = faults
        self._later = later
        self._tell = tell
        self._has_begun = False

    def begin(self) -> None:
        """Something was submitted, to a cue that is described by now."""
        if not self._has_begun:
            self._has_begun = True
            for service, limits in limits_of(self._cue).items():
                for turn in self._faults.turns(service, limits):
                    self._later(turn.after, self._turn, service, turn)

    def _turn(self, service: str, turn: Turn) -> None:
        api = self._cue.get_service(service)
        if turn.kind == "change":
            self._tell("change", f"{service} is changed: {turn.options}")
            api.change(**turn.options)
        elif turn.seconds:
            self._tell("pause", f"{service} is paused for {turn.seconds:g} s")
            api.pause(turn.seconds)
        else:
            self._tell("pause", f"{service} is let go on")
            api.resume()
        self.heard(asyncio.get_running_loop().time(), service, turn)
