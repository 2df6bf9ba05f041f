"""The vocabulary of what can be heard: one name per kind of event, and what each carries.

Lives here: names and signatures, of listeners and of observers. Both hear one stream; an event nobody hears is not
even made.

Must not know: who hears, or how they are called (that is `_callbacks.listeners`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["HEARS", "OBSERVED", "Event"]


class Event(IntEnum):
    """Kinds of events, in the order a work unit can meet them.

    An int, because the dispatcher uses it as an index on its hottest path.
    """

    SUBMIT = 0
    """(work): it was submitted; nothing of it has been asked yet."""
    START = 1
    """(work): a handler is about to be entered. Once per attempt."""
    RETRY = 2
    """(work, error, delay): an attempt has failed, and another one follows after so many seconds."""
    PUT_BACK = 3
    """(work, reason, delay): it runs no longer, and comes back after so many seconds; None: nobody knows when."""
    RESUME = 4
    """(work): a handler is about to be entered once more, in the attempt that was heard of before."""
    COMPLETE = 5
    """(work, result, duration): a handler returned; duration in seconds."""
    FAILURE = 6
    """(work, error): a handler raised, or a time-out struck."""
    SKIP = 7
    """(work): is_stale said that the output is up to date."""
    CANCEL = 8
    """(work): cancelled by a call or by stop()."""
    PENDING_WARNING = 9
    """(work, seconds): pending for longer than pending_warn_after."""
    STALL_WARNING = 10
    """(seconds_since_progress, pending_count): nothing moved for stall_warn_after."""
    EXPECTED = 11
    """(task, number): so many more work units of a task will be submitted; fewer, if that is less than 0."""


HEARS: Final = {
    Event.SUBMIT: ("work",),
    Event.START: ("work",),
    Event.RETRY: ("work", "error", "delay"),
    Event.PUT_BACK: ("work", "reason", "delay"),
    Event.RESUME: ("work",),
    Event.COMPLETE: ("work", "result", "duration"),
    Event.FAILURE: ("work", "error"),
    Event.SKIP: ("work",),
    Event.CANCEL: ("work",),
    Event.PENDING_WARNING: ("work", "seconds"),
    Event.STALL_WARNING: ("seconds_since_progress", "pending_count"),
    Event.EXPECTED: ("task", "number"),
}
"""What a listener is given."""

OBSERVED: Final = {
    "expected": (Event.EXPECTED,),
    "submitted": (Event.SUBMIT,),
    "started": (Event.START,),
    "attempt_failed": (Event.RETRY,),
    "put_back": (Event.PUT_BACK,),
    "resumed": (Event.RESUME,),
    "settled": (Event.COMPLETE, Event.FAILURE, Event.SKIP, Event.CANCEL),
}
"""At which events the methods of an observer are called. What it is given stands in `runcue.abc.Observer`."""
