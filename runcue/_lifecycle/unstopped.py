"""What becomes of a cue that nobody has stopped when its event loop, its process or its own life ends.

Lives here: `Unstopped`. It lets go of a loop that ends, so that nothing keeps the cue alive any longer and its threads
end, and has told what is left.

Whoever ends an event loop in an orderly way (`asyncio.run`, a Runner, uvloop, pytest) closes the asynchronous
generators that were begun in it. So one that does nothing but wait for that hears of the end while the loop still runs.
(A callback in `loop.close()` would come too late, and there is none.) Where a loop is only closed, the cue is let go
when somebody meets it: who starts another cue, the garbage collector, the end of the interpreter.

Must not know: how a loop is let go, what is said.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from operator import attrgetter, call, methodcaller

from runcue._callbacks.collector import anew, at_each_pass
from runcue._dispatch.turns import Turns
from runcue._lifecycle.leftovers import NOT_STARTED, NOT_STOPPED, Leftovers

__all__ = ["Unstopped", "let_go_of_closed_loops"]


class Unstopped:
    """Looks after one cue.

    Args:
        turns: Says whether it is started, and whether its scheduler has failed.
        leftovers: What is left.
        dismiss: Called where its loop was closed and nothing else: lets go of what was to go on in it. From anywhere.
    """

    def __init__(self, turns: Turns, leftovers: Leftovers, dismiss: Callable[[], None]) -> None:
        self._turns = turns
        self._leftovers = leftovers
        self._dismiss = dismiss
        self._let_go: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch: AsyncGenerator[None, None] | None = None
        self._process = 0
        # With tracemalloc the warning shows where it was made. Not this object itself: who keeps the warning, a test
        # say, would keep the cue.
        self._origin = _Origin()

    def expect(self, loop: asyncio.AbstractEventLoop, let_go: Callable[[], None] | None = None) -> None:
        """Hear of the end of a loop, which runs: the cue takes work in it.

        Args:
            loop: The loop.
            let_go: Called to let go of it when it has ended; None: the cue is not started.
        """
        self._let_go = let_go
        if self._loop is loop:
            return
        self.expect_no_more()
        self._loop, self._let_go = loop, let_go
        self._process = os.getpid()
        self._watch = _wait_for_the_end(weakref.ref(self))
        try:
            self._watch.__anext__().send(None)  # to where it waits: this makes it known to the loop
        except StopIteration:
            pass
        _expecting.add(self)
        _watch(loop)

    def expect_no_more(self) -> None:
        """The cue was stopped."""
        self._loop = self._let_go = None
        watch, self._watch = self._watch, None
        if watch is not None:
            try:
                watch.aclose().send(None)
            except StopIteration:
                pass
        _expecting.discard(self)

    def loop_ended(self) -> None:
        """The loop is about to end, or has ended, and nobody has stopped the cue."""
        if self._loop is None:
            return
        let_go, self._let_go = self._let_go, None
        self._loop = self._watch = None
        _expecting.discard(self)
        self._tell("the event loop", is_started=let_go is not None)
        if let_go is not None:
            whose = self._leftovers.words()  # before that settles what ran
            let_go()
            self._warn(whose)

    def look(self) -> None:
        """See whether the loop was closed."""
        if self._loop is not None and self._loop.is_closed():
            # Where warnings are errors, this one is not an error of whoever looks.
            with suppress(ResourceWarning):
                self.loop_ended()

    def program_ends(self) -> None:
        """The interpreter ends."""
        if self._loop is not None and self._process == os.getpid():
            self._tell("the program", is_started=self._let_go is not None, observed=False)
            self._dismiss()

    def before_pass(self) -> None:
        """The garbage collector is about to look for what nobody knows any longer: that may be the cue.

        It takes its parts in whatever order it comes to them. By the time that `__del__` is called others may have been
        closed, and Python would complain of them.
        """
        if self._loop is not None and self._loop.is_closed():
            self._dismiss()

    def __del__(self) -> None:
        """Nobody knows the cue any longer: its loop was closed, and nobody has met it since."""
        if self._loop is not None and self._process == os.getpid():
            self._tell("the event loop", is_started=self._let_go is not None, observed=False)
            if self._let_go is not None:
                self._warn(self._leftovers.words())

    def _tell(self, what: str, *, is_started: bool, observed: bool = True) -> None:
        if self._turns.failure is None:
            because = NOT_STOPPED.format(what) if is_started else NOT_STARTED
            self._leftovers.tell(because, observed=observed)

    def _warn(self, whose: str) -> None:
        text = (
            "A Cue was not stopped, and its event loop has ended: call `await cue.stop()`, or use `async with cue`. "
            f"{whose}."
        )
        warnings.warn(text, ResourceWarning, stacklevel=2, source=self._origin)


class _Origin:
    """Made together with a cue."""


async def _wait_for_the_end(unstopped: weakref.ref[Unstopped]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if (one := unstopped()) is not None:
            one.loop_ended()


_expecting: weakref.WeakSet[Unstopped] = weakref.WeakSet()


def let_go_of_closed_loops() -> None:
    """Find cues whose loops were closed and nothing else."""
    for one in list(_expecting):
        one.look()


# The loops that cues are in; those that tell by an attribute whether they are closed apart from those that have to be
# asked, as uvloop's, which do it in C.
_telling: list[weakref.ref[asyncio.AbstractEventLoop]] = []
_asked: list[weakref.ref[asyncio.AbstractEventLoop]] = []
_watches: dict[int, object] = {}


def _watch(loop: asyncio.AbstractEventLoop) -> None:
    """See at each pass of the garbage collector whether a loop was closed, and nobody has met it since."""
    loops = _telling if hasattr(loop, "_closed") else _asked
    if any(one() is loop for one in loops):
        return
    if id(loops) not in _watches:
        closed = attrgetter("_closed") if loops is _telling else methodcaller("is_closed")
        steps = anew(map, _before_pass, anew(filter, closed, anew(map, call, loops)))
        _watches[id(loops)] = at_each_pass("start", steps)
    loops.append(weakref.ref(loop, loops.remove))


def _before_pass(loop: asyncio.AbstractEventLoop) -> None:
    """A loop was closed."""
    for one in list(_expecting):
        one.before_pass()
    # It is not opened again.
    for loops in (_telling, _asked):
        loops[:] = [one for one in loops if one() is not loop]


@atexit.register
def _tell_at_exit() -> None:
    for one in list(_expecting):
        one.program_ends()
