"""The seams of runcue: what a clock, an executor, a limiter must be able to do, and what an observer hears.

Lives here: shapes only. Real ones are in `_clock`, `_executors` and `_limiter`, fakes for tests (yours too) in
`runcue.testing`.

Must not know: any implementation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from runcue._model.work import Work

__all__ = [
    "Clock",
    "CueWarning",
    "Deliver",
    "Executor",
    "Freshness",
    "Limiter",
    "Observer",
    "TimerHandle",
    "WarningKind",
]


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


WarningKind = Literal[
    "raised",
    "blocked",
    "failure",
    "unmade",
    "cycle",
    "stuck",
    "outdated",
    "pending",
    "stalled",
    "draining",
    "deadlock",
    "cancelled",
    "abandoned",
    "unknown_task",
    "not_started",
]
"""What a warning is about; see `CueWarning`."""


class CueWarning(NamedTuple):
    """Something that a cue warns of, as an observer hears it. The log of the name `runcue` has it, too.

    Not simply called Warning: whoever imports that name loses Python's own.

    Attributes:
        kind: "raised", "blocked": a callback of yours did that, or kept the event loop. "failure": of a work unit,
            where nobody was there to hear of it. "unmade", "cycle", "stuck", "outdated": inputs that nothing makes,
            work units that wait for each other, or that nothing will change, and artifacts of what is anew since.
            "pending", "stalled": the warnings of `pending_warn_after` and `stall_warn_after`. "draining", "deadlock":
            what a drain waits for. "cancelled", "abandoned": work units that could not run when the cue was stopped,
            and what did not end in time then. "unknown_task": a gate or listener for a task that does not exist.
            "not_started": a work unit is waited for, and its cue is not started.
            There may be others in later versions.
        text: For people, as the log has it.
        works: The work units that it is about, as far as it is about some.
    """

    kind: WarningKind
    text: str
    works: tuple[Work, ...] = ()


class Observer:
    """Watches a cue. Subclass it, override what you want to hear, and give an instance to `cue.observe()`.

    Listeners (`@cue.on_complete` and its sisters) belong to what a program does; an observer is for what shows, counts
    or records it, whatever the program. That is why a failed work unit still counts as unheard when only observers
    have heard of it.

    All methods are called in the event loop, and in the order of events, each by each observer and listener in the
    order in which they were attached. Only what is overridden is called; the rest costs nothing. A method that raises
    is logged and disturbs nothing, one that keeps the loop for long is reported. Any of them may be `async def`: what
    they return is awaited, for each observer one after the other, beside the work and never in its way, and a drain
    waits for it.

    Attached while a cue runs, an observer hears of the rest: of work units that were submitted before it came, too.

    Example:
        >>> import runcue
        >>> cue = runcue.Cue(id_prefix="")
        >>> @cue.task("half")
        ... async def half(work):
        ...     return 12 / work.params["by"]
        >>> class Tally(runcue.Observer):
        ...     def submitted(self, work):
        ...         print("submitted", work.params)
        ...
        ...     def settled(self, work, duration):
        ...         print(work.state.value, work.result, work.error)
        >>> stop = cue.observe(Tally())
        >>> async def main():
        ...     async with cue:
        ...         await cue.submit("half", params={"by": 2})
        >>> runcue.run(main)
        submitted {'by': 2}
        completed 6.0 None
    """

    def attached(self, cue: Any) -> Awaitable[object] | None:
        """Called by `cue.observe()`, before anything else is.

        Args:
            cue: The `runcue.Cue`.
        """

    def submitted(self, work: Work) -> Awaitable[object] | None:
        """Called inside of `submit()`, when the work unit is pending and has its id; nothing of it was asked yet.

        In a copy of the context variables of whoever has submitted it, as its handler will be.
        """

    def started(self, work: Work) -> Awaitable[object] | None:
        """Called when a handler is about to be entered, once per attempt."""

    def attempt_failed(self, work: Work, error: BaseException, delay: float) -> Awaitable[object] | None:
        """Called when an attempt has failed and another one will follow.

        Args:
            work: The work unit, still unsettled.
            error: Why the attempt failed.
            delay: Seconds until the next one.
        """

    def settled(self, work: Work, duration: float) -> Awaitable[object] | None:
        """Called once for each work unit, when it has completed, failed, been skipped or cancelled.

        Args:
            work: With its `state`, `result`, `exception`, `skipped` and time stamps.
            duration: Seconds for which its handler ran; 0.0 if it did not run.
        """

    def warned(self, warning: CueWarning) -> Awaitable[object] | None:
        """Called for each warning of the cue. What goes wrong meanwhile is only logged."""
