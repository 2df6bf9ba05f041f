"""What work units hold of what their keys have: slots, and what their limits count.

Lives here: `KeyHolds`, that of one run queue. What is given back may let others start who wait for the same key: these
are looked at again.

Must not know: who waits, who is next, what all keys share.
"""

from __future__ import annotations

from typing import Final

from runcue._limits.keyed import KeyService
from runcue._model.errors import LimitError
from runcue._model.work import Work
from runcue.abc import Limit

__all__ = ["KeyHolds"]

_NOBODY: Final[tuple[None, tuple[KeyService, ...]]] = (None, ())


class KeyHolds:
    """What the work units of one run queue hold of what their keys have."""

    __slots__ = ("_held", "_released")

    def __init__(self) -> None:
        # The keys of those whose handlers have not returned, or whose gates hold a slot.
        self._held: dict[Work, tuple[KeyService, ...]] = {}
        # The one that has come to its end last although another one goes on with what it was started for.
        self._released: tuple[Work | None, tuple[KeyService, ...]] = _NOBODY

    def keys_of(self, work: Work) -> tuple[KeyService, ...]:
        """What a work unit uses by its keys, or has until this step."""
        if work is self._released[0]:
            return self._released[1]
        return self._held.get(work) or work._keyed or ()

    def holders_of(self, key: KeyService) -> list[Work]:
        """Who holds something of a key."""
        return [work for work, keys in self._held.items() if key in keys]

    def forget_released(self) -> None:
        """The step is over in which somebody has come to an end."""
        self._released = _NOBODY

    def acquire(self, now: float, work: Work, keys: tuple[KeyService, ...]) -> LimitError | None:
        """Take slots, and what limits count: all of it, or nothing if one of the user's own raises.

        Returns:
            What one has raised.
        """
        taken: list[Limit] = []
        # What may raise comes first, as for those that all keys share.
        for key in keys:
            for limit in key.counting:
                try:
                    limit.acquire(now, work)
                except LimitError as error:
                    for one in taken:
                        one.release(now, work, None)
                    return error
                taken.append(limit)
        self._held[work] = keys
        for key in keys:
            key.active += 1
            if key.limits and not key.is_kept:
                key.service.keep(key)
            for limit in key.timing:
                limit.acquire(now, work)
        return None

    def undo(self, now: float, work: Work) -> None:
        """It does not start after all: one of the limits has cancelled it."""
        for key in self._held.pop(work):
            key.active -= 1
            for limit in key.timing:
                limit.entered(now, work, now)  # there is no other way to give it back
            for limit in key.counting:
                limit.release(now, work, None)

    def entered(self, now: float, work: Work, at: float) -> None:
        """See `RunQueue.entered`."""
        for key in self._held.get(work, ()):
            for limit in key.limits:
                limit.entered(now, work, at)
            if key.turnstiles:
                key.reopen()  # some limits know their next instant only now

    def release(self, now: float, work: Work) -> None:
        """See `RunQueue.release`."""
        keys = self._held.pop(work, ())
        if work._keyed is None:
            self._released = work, keys
        for key in keys:
            key.active -= 1
            for limit in key.counting:
                limit.release(now, work, None)
            if key.turnstiles:
                key.reopen()

    def hold_slots(self, work: Work) -> None:
        """See `RunQueue.hold_slots`."""
        if work._keyed:
            self._held[work] = work._keyed
            for key in work._keyed:
                key.active += 1

    def give_back_slots(self, work: Work) -> None:
        """See `RunQueue.give_back_slots`."""
        for key in self._held.pop(work, ()):
            key.active -= 1
            if key.turnstiles:
                key.reopen()
