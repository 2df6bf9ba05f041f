"""The seams of runcue as Protocols: what a clock, an executor and a limiter must be able to do.

Lives here: shapes only. Real ones are in `_clock`, `_executors` and `_limiter`, fakes for tests (yours too) in
`runcue.testing`.

Must not know: any implementation.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol, runtime_checkable

__all__ = ["Clock", "Deliver", "Executor", "Freshness", "Limiter", "TimerHandle"]


class TimerHandle(Protocol):
    """Something scheduled that can be called off."""

    def cancel(self) -> None:
        """Call it off. Harmless when it has already run."""


@runtime_checkable
class Clock(Protocol):
    """Time as runcue sees it.

    An event loop that brings a clock of its own offers it as the attribute `runcue_clock`; a cue started on such a
    loop uses it. That is how `runcue.testing` makes an hour last milliseconds.
    """

    def monotonic(self) -> float:
        """Seconds that never go back, for every interval."""

    def time(self) -> float:
        """Wall-clock seconds since the epoch, for stamps only."""

    def call_at(
        self, when: float, callback: Callable[[], object], *, passive: bool, context: Context
    ) -> TimerHandle:
        """Call back in the event loop at an instant of `monotonic()`.

        Args:
            when: The instant. It may be reached slightly early; the callback looks at the clock itself.
            callback: Takes no argument.
            passive: A passive timer is no reason to let time pass: a virtual clock that has nothing but passive
                timers left stands still.
            context: The contextvars to run the callback in.
        """

    def hold(self) -> None:
        """Something outside the loop (a thread) is in flight; virtual time must not pass meanwhile."""

    def release(self) -> None:
        """The counterpart of `hold()`."""


Deliver = Callable[[Any, bool, Any, float, float], None]
"""deliver(work, succeeded, result or exception, entered, left): both instants monotonic. Called in the event loop."""


class Executor(Protocol):
    """Runs sync handlers somewhere else than in the event loop."""

    def start(self, deliver: Deliver, entered: Callable[[Any, float], None], clock: Clock) -> None:
        """Bind to the running loop. Called by `cue.start()`.

        Args:
            deliver: To be called in the loop when a handler has ended.
            entered: To be called in the loop with the instant at which a handler was entered, as soon as it is known,
                for work units that were submitted with `stamped=True`.
            clock: For the instants.
        """

    def submit(self, work: Any, handler: Callable[[Any], Any], context: Context, *, stamped: bool) -> None:
        """Run handler(work) in that context, which is the work's alone. The caller has made sure that there is room."""

    def stop(self) -> None:
        """Let idle threads go. What is running may finish, unheard."""


class Limiter(Protocol):
    """A rate limit that decides for itself, such as a continuously refilled bucket."""

    def has_room(self, now: float) -> bool:
        """Whether a token can be taken now."""

    def acquire(self, now: float) -> None:
        """Take one. Only after `has_room(now)`, with nothing awaited in between."""

    def record_start(self, now: float) -> None:
        """A handler whose token was taken was entered, at this instant or, in a thread, shortly before."""

    def next_room(self, now: float) -> float:
        """The instant at which to look again, later than `now`."""


class Freshness(Protocol):
    """Decides whether outputs that are there and valid are out of date. Yours goes where `newer()` goes."""

    def stale(self, work: Any) -> tuple[str, Any, Any] | None:
        """Asked in the event loop once all inputs and outputs were found valid.

        Returns:
            None if the outputs are up to date; otherwise what makes them stale, for people: a verdict of one word or
            two ("older", "changed", "no stamp"), the artifact at fault or None, and the one it was compared to or None.
        """

    def started(self, work: Any) -> None:
        """The handler is about to be entered. Called in the event loop, for what must be known as of this instant."""

    def finished(self, work: Any) -> None:
        """The handler has succeeded and what it wrote is published. In a thread; may read and write files."""
