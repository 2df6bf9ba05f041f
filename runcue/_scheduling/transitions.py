"""From which phase a work unit may go to which: the one table, and the form of it that the core looks into.

Lives here: `TRANSITIONS`, to be read aloud; docs/architecture.md draws it. The bit masks are derived from it when the
module is loaded.

Must not know: work units, or why one goes where it goes.
"""

from __future__ import annotations

from typing import Final

from runcue._model.phases import (
    CHECKING,
    HELD,
    JOINED,
    NEW,
    NOT_DUE,
    NOT_READY,
    READY,
    RUNNING,
    SETTLED,
)

__all__ = ["ALLOWED", "TRANSITIONS"]

TRANSITIONS: Final[dict[int, set[int]]] = {
    # Whoever was let begin early waits for its instant again when the one has left who wanted it: so do the next three.
    NEW: {READY, NOT_READY, CHECKING, HELD, JOINED, NOT_DUE, RUNNING, SETTLED},
    # Asked again immediately before the start, it may turn out not to be ready after all.
    READY: {NOT_READY, CHECKING, HELD, NOT_DUE, RUNNING, SETTLED},
    NOT_READY: {READY, CHECKING, HELD, NOT_DUE, SETTLED},
    CHECKING: {READY, NOT_READY, HELD, RUNNING, SETTLED},
    # It comes first in its lane, and has not been asked.
    HELD: {NEW, READY, NOT_READY, CHECKING, NOT_DUE, SETTLED},
    # It takes the place of one that was cancelled: in line, before its instant, or in its handler.
    JOINED: {NEW, NOT_DUE, RUNNING, SETTLED},
    NOT_DUE: {NEW, SETTLED},
    # An attempt ends for good, or in "again at this instant".
    RUNNING: {NOT_DUE, SETTLED},
    SETTLED: set(),
}
"""Which phases may follow each. A pair that is not listed raises and changes nothing."""

ALLOWED: Final = tuple(sum(1 << phase for phase in TRANSITIONS[before]) for before in range(len(TRANSITIONS)))
"""The same by phase, as bits: one shift says whether a work unit may go on. A set would have to be looked up twice."""
