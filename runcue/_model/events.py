"""The vocabulary of what can be heard: one name per kind of event, and what each carries.

Lives here: names and signatures. The decorators, the recorder, the metrics and the timeline are all listeners to this
one stream; an event nobody listens to is not even made.

Must not know: who listens, or how a listener is called (that is `_callbacks`).
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["HEARS", "Event"]


class Event(IntEnum):
    """Kinds of events, in the order a work unit can meet them.

    An int, because the dispatcher uses it as an index on its hottest path.
    """

    START = 0
    """(work): a handler is about to be entered. Once per attempt."""
    COMPLETE = 1
    """(work, result, duration): a handler returned; duration in seconds."""
    FAILURE = 2
    """(work, error): a handler raised, or a time-out struck."""
    SKIP = 3
    """(work): is_stale said that the output is up to date."""
    CANCEL = 4
    """(work): cancelled by a call or by stop()."""
    PENDING_WARNING = 5
    """(work, seconds): pending for longer than pending_warn_after."""
    STALL_WARNING = 6
    """(seconds_since_progress, pending_count): nothing moved for stall_warn_after."""


HEARS = {
    Event.START: ("work",),
    Event.COMPLETE: ("work", "result", "duration"),
    Event.FAILURE: ("work", "error"),
    Event.SKIP: ("work",),
    Event.CANCEL: ("work",),
    Event.PENDING_WARNING: ("work", "seconds"),
    Event.STALL_WARNING: ("seconds_since_progress", "pending_count"),
}
"""What a listener is given."""
