"""How often a cue looks at everything in a turn of its loop, counted while it runs.

Lives here: `Turns`.

Must not know: what is run.
"""

from __future__ import annotations

import asyncio
from typing import Any

import runcue

__all__ = ["Turns"]


class Turns:
    """Counts the turns of the running loop, and in each how often a cue looks at everything.

    Attributes:
        looks: How often it has.
        turns: How many turns there were.
        most: The most looks in one turn.
    """

    def __init__(self, cue: runcue.Cue) -> None:
        self.looks = 0
        self.turns = 0
        self.most = 0
        self._before = 0
        self._dispatcher: Any = cue._dispatcher
        self._look = self._dispatcher.look
        self._dispatcher.look = self._counted
        self._loop = asyncio.get_running_loop()
        self._goes_on = True
        self._turn()

    def _counted(self) -> None:
        self.looks += 1
        self._look()

    def _turn(self) -> None:
        self.turns += 1
        self.most = max(self.most, self.looks - self._before)
        self._before = self.looks
        if self._goes_on:
            self._loop.call_soon(self._turn)

    def end(self) -> None:
        """Count no more."""
        self._goes_on = False
        self._dispatcher.look = self._look
