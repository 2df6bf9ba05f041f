"""Calls of handlers that are on their way elsewhere.

Lives here: `CallRun`, which is given to an executor that takes calls.

Must not know: what is in a call, where it is carried out.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["CallRun"]


class CallRun:
    """One call of a handler, as an executor carries it out.

    Attributes:
        payload: What is to be given to `runcue.executors.calls.run`.
        place: Where it was carried out, for people; "" if nobody has said so.
        goes_on: Whether it was handed on, and has not come to its end.
    """

    __slots__ = ("_then", "goes_on", "payload", "place")

    def __init__(self) -> None:
        self._then: Callable[[], None] | None = None
        self.payload, self.place = b"", ""
        self.goes_on = False

    def over(self) -> None:
        """It has come to its end after its executor was stopped, so that nothing is delivered. In any thread."""
        self.goes_on = False
        if self._then is not None:
            self._then()

    def give_up(self, then: Callable[[], None]) -> bool:
        """Wait for it no longer.

        Args:
            then: Called when it comes to its end, in whatever thread.

        Returns:
            Whether it goes on.
        """
        self._then = then
        return self.goes_on
