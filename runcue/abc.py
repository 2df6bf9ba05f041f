"""The seams of runcue: what a clock, an executor, a limit must be able to do, and what an observer hears.

Lives here: shapes only. Real ones are in `_dispatch.clock`, `executors` and `_limits`, fakes for tests (yours too) in
`runcue.testing`.

Must not know: any implementation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from math import inf
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from runcue._model.texts import shortened
from runcue._model.work import Work

__all__ = [
    "Call",
    "CallExecutor",
    "Clock",
    "CueWarning",
    "Deliver",
    "Executor",
    "Freshness",
    "Limit",
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
        """Run handler(work) in that context, which is the work's alone. The caller has made sure that there is room.

        Some handlers have a method `prepare(work)`: what comes first and takes time. It is part of handler(work) unless
        it was called before, in the same thread and context; then the instant of the entry is taken after it.
        """

    def stop(self) -> None:
        """Let idle threads go. What is running may finish, and nobody hears of it."""


class Call(Protocol):
    """One call of a handler, for an executor that carries it to where it is run.

    Attributes:
        payload: What is to be given to `runcue.executors.calls.run` there, which gives the answer.
        place: Where it is carried out, for texts: "Dask worker tcp://10.0.0.2:8786". To be set by who knows; it is "".
    """

    payload: bytes
    place: str

    def over(self) -> None:
        """To be called once it has come to its end after `stop()`, in any thread: then nothing is delivered."""


class CallExecutor(Protocol):
    """Runs handlers in other processes, on this machine or on others: it is given calls in place of handlers.

    What comes back is bytes, and so is what is delivered: an answer of `runcue.executors.calls.run` in place of a
    result. A call that was lost is delivered as an exception. Each is delivered once, also when it was cancelled.

    Attributes:
        takes_calls: True, by which it is known.
        workers: How many calls it can run at once; it is never given more. None: that is not known.
        pickler: The name of the module whose `dumps` is to pickle what is sent and comes back, such as "cloudpickle";
            None: a plain pickle does, by which functions go by their names.
        knows_main: Whether `__main__` is at the other end what it is here, even if it has no file.
        kills: Whether `cancel()` ends what runs.
    """

    takes_calls: bool
    workers: int | None
    pickler: str | None
    knows_main: bool
    kills: bool

    def start(self, deliver: Deliver, entered: Callable[[Any, float], None], clock: Clock) -> None:
        """See `Executor.start`. It need not tell of entries: the answers do."""

    def submit(self, work: Any, call: Call, context: Context, *, stamped: bool) -> None:
        """Have a call run. See `Executor.submit`; the context stays here."""

    def cancel(self, work: Any) -> bool:
        """Nobody waits for the call of this work unit any more. It is delivered all the same, after this has returned.

        Returns:
            Whether that is a matter of moments: it had not begun, or was ended. False: it goes on.
        """

    def stop(self) -> None:
        """See `Executor.stop`."""


@runtime_checkable
class Limit(Protocol):
    """Whether one more work unit may start now, and if not, when: a budget, a quota, an agreement with a provider.

    Yours goes to `cue.service(limits=[...])`, beside `rate=` and `concurrent=`; a work unit starts when all of them say
    yes, and then all are taken in one step. A limit decides and counts. It executes nothing and waits for nothing.

    All methods are called in the event loop's thread. They must be plain, and take microseconds: some are called
    several times per start. Instants are seconds of the cue's monotonic clock; `now` never goes back, and in tests and
    rehearsals it is virtual, so that a limit that reads no clock of its own works there as well.

    A limit is asked with the work unit that is first in line, among those that use the same services and run in the
    same kind of place. A no holds all of that line: nobody passes the first.

    The way of one attempt: `room` says yes and `acquire` follows at once, with nothing taken in between; `entered` when
    its handler has been; `release` when the attempt has ended, however it did. Each is called with the same work unit,
    and each once. When a start comes to nothing (`acquire` of another limit raised), `release` comes without `entered`.

    What `room`, `next_room` or `acquire` raises makes that work unit fail with a `LimitError` that names the limit and
    what it raised. What another method raises is logged, once a minute, and disturbs nothing.

    A class that has `Limit` as its base needs no more than `room`; the other methods have a body that does for limits
    that keep no account.
    """

    @abstractmethod
    def room(self, now: float, work: Work, /) -> bool:
        """Whether this work unit may start now. To be asked takes nothing."""
        raise NotImplementedError

    def next_room(self, now: float, work: Work, /) -> float:
        """When to ask again, after `room` has said no.

        Returns:
            An instant. inf: not before something that is in flight has ended; if nothing is, it cannot run, which is
            what `drain()` and `debug_blocked()` then say. `cue.nudge()` has it asked all the same.
            An instant that is not later than `now` counts as a millisecond from now.
        """
        return inf

    def acquire(self, now: float, work: Work, /) -> None:
        """Count this work unit in: it is about to start. Only after `room` said yes at about the same instant."""
        return

    def entered(self, now: float, work: Work, at: float, /) -> None:
        """Its handler was entered.

        Args:
            now: When this is told.
            work: The work unit.
            at: When it was; for a thread some time before `now`, and not always in order.
        """
        return

    def release(self, now: float, work: Work, actual: Any, /) -> None:
        """The attempt has ended, or its thread was given up on.

        Args:
            now: Monotonic.
            work: The work unit.
            actual: What the attempt has used in truth; None if that is not known, which it never is so far.
        """
        return

    def at_least(self, works: Sequence[Work], /) -> float | None:
        """Seconds that these work units take at the least by this limit, from its being unused to the last start.

        For `plan()`. None: not known.
        """
        return None

    def describe(self, now: float, work: Work, /) -> str:
        """Why it has no room for this work unit, in a phrase: "90,000 tokens a minute are used up until 12:01"."""
        return f"{type(self).__qualname__} has no room"


class Freshness(Protocol):
    """Decides whether outputs that are there and valid are out of date. Yours goes where `newer()` goes.

    Under every policy it is found out whether an input that is a file or a flag has changed while a handler ran, and
    the outputs are dated later than the inputs. One that does not go by dates says so by an attribute `by_content` that
    is True: then it has to see to such changes itself.
    """

    def stale(self, work: Any) -> tuple[str, Any, Any] | None:
        """Asked in the event loop once all inputs and outputs were found valid, and once more directly after a success.

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
    "no_answer",
    "failure",
    "unmade",
    "cycle",
    "stuck",
    "outdated",
    "still_stale",
    "other_stamps",
    "pending",
    "stalled",
    "draining",
    "deadlock",
    "self_wait",
    "cancelled",
    "abandoned",
    "must_complete",
    "unknown_task",
    "not_started",
    "left",
    "shortage",
    "inbox",
    "full",
    "headers",
    "breaker",
    "no_cost",
    "broken",
]
"""What a warning is about; see `CueWarning`."""


class CueWarning(NamedTuple):
    """Something that a cue warns of, as an observer hears it. The log of the name `runcue` has it, too.

    Not simply called Warning: whoever imports that name loses Python's own.

    Attributes:
        kind: "raised", "blocked": a callback of yours did that, or kept the event loop. "no_answer": a gate has given
            what is no answer, such as None. "failure": of a work unit, where nobody was there to hear of it. "unmade",
            "cycle", "stuck", "outdated": inputs that nothing makes, work units that wait for each other, or that
            nothing will change, and artifacts of what is anew since. "still_stale": a work unit that will run each
            time, because of what it leaves. "other_stamps": work units that run again because another version of runcue
            has noted how their outputs were made. "pending", "stalled": the warnings of `pending_warn_after` and
            `stall_warn_after`. "draining": what a drain waits for. "deadlock", "self_wait": handlers, gates and
            listeners that wait for work units which need what they hold, for ever or until a time-out. "cancelled",
            "abandoned": work units that could not run when the cue was stopped, and what did not end in time then.
            "must_complete": what a stop does not cut off. "unknown_task": a gate or listener for a task that does not
            exist. "not_started": a work unit is waited for, and its cue is not started. "left": the event loop has
            ended, and there are work units that nobody will run. "shortage": no more threads or processes can be
            started, or no more files be opened. "inbox": files of a watched folder that could not be submitted, or seem
            to be submitted again and again. "full": nothing that is pending can move, so that one comes in above
            `Cue(max_pending=)`.
            "headers": a server says of its limits what cannot be read, or asks to wait for longer than `max_pause=`.
            "breaker": one has opened after failures in a row, and nothing that uses its service starts for a while.
            "no_cost": a task says nothing of what it takes of a budget. "broken": what runs handlers is, and what it
            ran is lost.
            There may be others in later versions.
        text: For people, as the log has it.
        works: The work units that it is about, as far as it is about some.
    """

    kind: WarningKind
    text: str
    works: tuple[Work, ...] = ()

    def __repr__(self) -> str:
        return shortened(f"CueWarning({self.kind!r}, {self.text!r}, {self.works!r})")


class Observer:
    """Watches a cue. Subclass it, override what you want to hear, and give an instance to `cue.observe()`.

    Listeners (`@cue.on_complete` and its sisters) belong to what a program does; an observer is for what shows, counts
    or records it, whatever the program. That is why a failed work unit still counts as one that nobody
    has observed when only observers have heard of it.

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

    def expected(self, task: str, number: int) -> Awaitable[object] | None:
        """Called when a `map` begins that knows how many work units it will submit: for who shows how far things are.

        Args:
            task: The name of their task.
            number: So many more of them will come. Less than 0: so many fewer than was said, as the map has ended
                before, or some could not be submitted.
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

    def put_back(self, work: Work, reason: str, delay: float | None) -> Awaitable[object] | None:
        """Called when a work unit that has run runs no longer and waits: after `attempt_failed`, if that is why.

        Until `started` (a new attempt) or `resumed` (the same one) is called it is pending and holds no slot.

        Args:
            work: The work unit, still unsettled.
            reason: "failed": its attempt has; "postponed": its handler has raised `RetryLater`; "throttled": a server
                has refused it for now. There may be others in later versions.
            delay: Seconds until it may go on; None if nobody knows.
        """

    def resumed(self, work: Work) -> Awaitable[object] | None:
        """Called in place of `started` when an attempt goes on that was heard of before it was put back.

        It may have been heard of with another work unit: who takes the place of one that is cancelled goes on with its
        attempt, and that has been started, as the one that was cancelled.

        Args:
            work: The work unit, still unsettled; `started_at` is the instant at which it goes on.
        """

    def settled(self, work: Work, duration: float) -> Awaitable[object] | None:
        """Called once for each work unit, when it has completed, failed, been skipped or cancelled.

        Args:
            work: With its `state`, `result`, `exception`, `skipped` and time stamps.
            duration: Seconds for which its handler ran; 0.0 if it did not run.
        """

    def warned(self, warning: CueWarning) -> Awaitable[object] | None:
        """Called for each warning of the cue. What goes wrong meanwhile is only logged."""
