"""The two clocks: real time for those who watch, virtual time for those who want to know.

Lives here: `run`, which runs on either; `RehearsalLoop`, the virtual one, which knows when nothing can happen any more;
`paced`, which submits by the clock.

Must not know: what is run.
"""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

from runcue.testing import VirtualTimeLoop

T = TypeVar("T")

_AT_ONCE: Final = 2000


class RehearsalLoop(VirtualTimeLoop):
    """Virtual time for whole programs.

    Attributes:
        on_nothing_left: Called, once, when nothing is left that could ever happen, instead of raising `NothingLeft`.
    """

    on_nothing_left: Callable[[], object] | None = None

    def nothing_left(self) -> None:
        """See `VirtualTimeLoop.nothing_left`."""
        tell, self.on_nothing_left = self.on_nothing_left, None
        if tell is None:
            super().nothing_left()
        else:
            self.call_soon(tell)


def run(main: Coroutine[Any, Any, T], *, realtime: bool) -> T:
    """Run to the end on one of the clocks. The virtual one begins at `runcue.testing.EPOCH`."""
    # A run makes a great many objects and throws few away before its end: looking through them every few hundred takes
    # a third of the time.
    gc.set_threshold(50_000, 20, 50)
    with warnings.catch_warnings():
        # A run that is interrupted is not stopped: nobody wants to wait until a million work units are cancelled.
        warnings.filterwarnings("ignore", "A Cue was not stopped", ResourceWarning)
        with asyncio.Runner(loop_factory=None if realtime else RehearsalLoop) as runner:
            return runner.run(main)


async def paced(items: Iterable[T], rate: float | None) -> AsyncIterator[T]:
    """Items as they are to be submitted.

    Args:
        items: All of them.
        rate: So many a second, by the clock of the event loop; None: all at once.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, item in enumerate(items):
        if rate is not None:
            # From the beginning on, not from one to the next: sleeping late must not add up.
            await asyncio.sleep(began + number / rate - loop.time())
        elif number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)  # or nobody could interrupt the submission of a million
        yield item


def wall_clock() -> float:
    """Seconds since the epoch, on the clock of the running loop."""
    clock = getattr(asyncio.get_running_loop(), "runcue_clock", None)
    return time.time() if clock is None else float(clock.time())
