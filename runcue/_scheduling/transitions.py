"""From which phase a work unit may go to which: the one table, and the form of it that the core looks into.

Lives here: `TRANSITIONS`, to be read aloud; docs/architecture.md draws it. The bit masks are derived from it when the
module is loaded.

Must not know: work units, or why one goes where it goes.
"""

from __future__ import annotations

from typing import Final

from runcue._model.phases import (
    CHECKING,
    DELAYED,
    HELD,
    JOINED,
    NEW,
    NOT_READY,
    READY,
    RUNNING,
    SETTLED,
)

__all__ = ["ALLOWED", "TRANSITIONS"]

TRANSITIONS: Final[dict[int, set[int]]] = {
    # Whoever was let begin early waits for its instant again when the one has left who wanted it: so do the next three.
    NEW: {READY, NOT_READY, CHECKING, HELD, JOINED, DELAYED, RUNNING, SETTLED},
    # Asked again immediately before the start, it may turn out not to be ready after all.
    READY: {NOT_READY, CHECKING, HELD, DELAYED, RUNNING, SETTLED},
    NOT_READY: {READY, CHECKING, HELD, DELAYED, SETTLED},
    CHECKING: {READY, NOT_READY, HELD, RUNNING, SETTLED},
    HELD: {READY, NOT_READY, CHECKING, DELAYED, SETTLED},
    # It takes the place of one that was cancelled: in line, before its instant, or in its handler.
    JOINED: {NEW, DELAYED, RUNNING, SETTLED},
    DELAYED: {NEW, SETTLED},
    # An attempt ends for good, or in "again at this instant".
    RUNNING: {DELAYED, SETTLED},
    SETTLED: set(),
}
"""Which phases may follow each. A pair that is not listed raises and changes nothing."""

ALLOWED: Final = tuple(sum(1 << phase for phase in TRANSITIONS[before]) for before in range(len(TRANSITIONS)))
"""The same by phase, as bits: one shift says whether a work unit may go on. A set would have to be looked up twice."""
