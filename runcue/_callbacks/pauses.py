"""When the event loop stood still through no fault of who ran: the garbage collector's pauses, and other threads.

A collection runs wherever an object happens to be made, and takes as long as the process is large. It stops all
threads, so a pause counts in whichever thread it came. When other threads have had the interpreter is known to nobody
afterwards; but it can be seen whether they want it.

Must not know: who is told, what ran.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import monotonic, process_time, sleep
from typing import Final

from runcue._callbacks.collector import next_at_each_pass

__all__ = ["Span", "collector_pauses", "interruption", "outside_of", "watch_collector"]

Span = tuple[float, float]
"""From an instant to another one, of one clock."""

# Shorter ones, which are nearly all, make no difference.
_SHORTEST: Final = 0.001

# Long enough for another thread to wake up and take the interpreter, which it has then for 5 ms at least.
_MOMENT: Final = 0.0002

# So many passes are remembered. A program that does nothing but make lists has a thousand within 50 ms.
_MOST: Final = 4096

# When passes began, and when they ended; which of them were long is seen when somebody asks.
_began: deque[float] = deque(maxlen=_MOST)
_ended: deque[float] = deque(maxlen=_MOST)
_watches: list[object] = []


def watch_collector() -> None:
    """Note the collector's pauses from now on. Called again, it does nothing."""
    if not _watches:
        notes = {
            "start": map(_began.append, iter(monotonic, None)),
            "stop": map(_ended.append, iter(monotonic, None)),
        }
        _watches.append(next_at_each_pass(**notes))


def collector_pauses() -> list[Span]:
    """The last pauses, by `time.monotonic`."""
    began, ended = list(_began), list(_ended)
    if began and ended and began[-1] > ended[-1]:
        began.pop()  # one that goes on
    spans = zip(reversed(began), reversed(ended), strict=False)
    return [(one, other) for one, other in spans if other - one > _SHORTEST][::-1]


def outside_of(spans: Iterable[Span], began: float, ended: float) -> float:
    """How much of a span lies outside of all others.

    Args:
        spans: The others; they may overlap.
        began: When the span began.
        ended: When it ended.
    """
    left, reached = 0.0, began
    for one_began, one_ended in sorted(spans):
        if one_ended > reached:
            if one_began >= ended:
                break
            left += max(0.0, one_began - reached)
            reached = one_ended
    return left + max(0.0, ended - reached)


def interruption() -> float:
    """What a function loses just now each time that it happens to be interrupted by other threads of this process.

    Those get the interpreter for a moment, and it is seen when this one has it back. What they have not computed
    meanwhile was not lost to them, but to other processes.

    Returns:
        Seconds; next to nothing if no other thread computes.
    """
    began, used = monotonic(), process_time()
    sleep(_MOMENT)
    return min(monotonic() - began, process_time() - used)
