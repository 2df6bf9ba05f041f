"""The door through which user code is called: what all callers of it have in common, wherever they stand.

Lives here: `Door`. What is awaitable is awaited (`_model.awaitables`, `_handlers.coroutines`), whatever is raised goes
to `failures`, what keeps the event loop is told, and so is an answer that is none. The calls themselves stand where
they are made: a function more around each would cost a tenth of what a work unit takes.

Must not know: which callbacks there are, event loops, limits.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from runcue._callbacks.failures import Failures
from runcue._callbacks.forks import FORKS, leave
from runcue._callbacks.pauses import (
    Span,
    collector_pauses,
    interruption,
    outside_of,
    watch_collector,
)
from runcue._model.attempts import GiveUp, RetryLater, Throttled
from runcue._model.callables import is_runcues, located
from runcue._model.checks import is_async
from runcue._model.command import Command
from runcue._model.no_answers import NEVER_RUN
from runcue._model.phases import COMPLETED, FAILED
from runcue._model.texts import in_one_line, listed
from runcue._model.work import Work
from runcue.abc import WarningKind

__all__ = ["AWAIT", "BE_QUICK", "BLOCKS_AFTER", "MAKE_ASYNC", "ODD_RESULTS", "Door"]

BLOCKS_AFTER: Final = 0.05
"""Seconds for which user code may keep the event loop without being reported."""

MAKE_ASYNC: Final = "make it async, or quicker"
AWAIT: Final = "await what it waits for, or be quicker"
BE_QUICK: Final = "it runs in the loop, and has to be quicker"
"""What to do about user code that keeps the event loop: a plain callback, an awaited one, one that has to be plain."""

ODD_RESULTS: Final[list[type]] = [*NEVER_RUN, RetryLater, Throttled, GiveUp, type]
"""The types of results that are looked at: most likely a handler was meant to do something else with them. What is only
loaded when it is asked for adds its own."""

# An interruption longer than this means that other threads keep the interpreter busy. So many are taken to be no fault
# of who ran, but no more than that part of the time.
_SOME_TIME: Final = 0.002
_INTERRUPTIONS: Final = 3
_MOST_LOST: Final = 0.8

_IMPORTS: Final = 0.5
"""Seconds that imports may take in the loop without being reported: they are made once, and libraries make some of
theirs at their first use, as HTTP clients do with their first request."""

# Functions that a program makes while it runs are without end.
_MOST_TOLD: Final = 10_000


class Door:
    """What becomes known of user code besides what it raises.

    Args:
        failures: What becomes of that.

    Attributes:
        now: The clock by which user code is found to keep the event loop.
    """

    def __init__(self, failures: Failures) -> None:
        self.now: Callable[[], float] = time.monotonic
        self._failures = failures
        # Once for good: what is told here is a property of the code, not an incident.
        self._told: set[tuple[str, str]] = set()
        # When user code has kept the loop: whoever called in meanwhile is not to blame for it as well.
        self._blocked: deque[Span] = deque(maxlen=64)
        # How many modules were loaded when that was last looked at.
        self._modules = len(sys.modules)

    def use_clock(self, now: Callable[[], float]) -> None:
        """Take the time from this clock from now on."""
        self.now = self._failures.now = now
        if now is time.monotonic:
            watch_collector()
            self._modules = len(sys.modules)

    def ask(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        """Call user code where a call more does not matter.

        Args:
            what: The place that it is called in.
            call: The function.
            *args: Its arguments.

        Raises:
            BaseException: What it raised.
        """
        began = self.now()
        forks = FORKS.number
        try:
            answer = call(*args)
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            raise
        else:
            if FORKS.number != forks:
                leave(None)
            return answer
        finally:
            if (ended := self.now()) - began > BLOCKS_AFTER:
                self.blocked(f"{what} {located(call)}", began, ended, BE_QUICK, told=not is_runcues(call))

    def blocked(
        self,
        what: str,
        began: float,
        ended: float,
        advice: str,
        work: Work | None = None,
        *,
        observed: bool = True,
        told: bool = True,
    ) -> None:
        """User code has kept the event loop for more than `BLOCKS_AFTER`: tell it once, if that was its own doing.

        Args:
            what: What has, with the place in the source.
            began: When it was called, or went on.
            ended: When it gave the loop back.
            advice: What to do about it.
            work: About which work unit it is, if about one.
            observed: Whether observers are to hear of it, or only the log.
            told: Whether it is to be told at all: what is runcue's own is nothing that its user could mend.
        """
        is_real = self.now is time.monotonic
        innocent = [*self._blocked, *collector_pauses()] if is_real else self._blocked
        seconds = outside_of(innocent, began, ended)
        if seconds <= BLOCKS_AFTER:
            return
        self._blocked.append((began, ended))
        if not told or ("blocked", what) in self._told:
            return
        # A sleep keeps the loop as a computation does, so that the processor's time tells nothing. But if other threads
        # keep the interpreter busy, to be interrupted a few times may be all that there was to it.
        lost = interruption() if is_real else 0.0
        own = seconds - min(_INTERRUPTIONS * lost, _MOST_LOST * seconds)
        if own <= BLOCKS_AFTER:
            return
        if is_real and (imported := self._imported()) and ("imports", what) not in self._told:
            self._note("imports", what)
            if own <= _IMPORTS:
                return  # if it was not that, it is told the next time
            advice = f"it imported {listed(imported)}: import that at the top of the file"
        words = f"blocked the event loop for {seconds * 1000:.0f} ms; {advice}"
        if lost > _SOME_TIME:
            words += (
                ". Other threads of this process keep the interpreter busy, and a part of it may be theirs"
            )
        self._tell_once("blocked", what, words, work, observed=observed)

    def blocked_by_handler(self, work: Work, began: float, ended: float) -> None:
        """The same of one step of a handler that runs in the loop, or of what one has returned to be awaited there."""
        task = work._task
        if isinstance(task.handler, Command):
            what = f"The command of task {task.name!r}, {located(task.handler)},"
            advice = "it was being started, and no processor was free for that: let fewer run at once"
            self.blocked(what, began, ended, advice, work)
            return
        if task.executor is None:
            what = f"The handler of task {task.name!r}, {located(task.handler)},"
            advice = (
                "make it a plain `def`, which runs in a thread, or await what it waits for"
                if is_async(task.handler)
                else 'leave run_in="loop" out: then it runs in a thread'
            )
        else:
            what = f"What the handler of task {task.name!r}, {located(task.handler)}, returned to be awaited"
            advice = "do that part in the handler itself, which runs elsewhere, or await what it waits for"
        if not (task.ended[COMPLETED] or task.ended[FAILED]):
            advice += (
                ". This was its first run: what it has to do but once, such as loading something or making a client, "
                "do at the top of the file"
            )
        self.blocked(what, began, ended, advice, work)

    def _imported(self) -> list[str]:
        """Which packages were imported since that was last looked at; neither runcue's own nor Python's."""
        there = list(sys.modules)
        new, self._modules = there[self._modules :], len(there)
        packages = dict.fromkeys(name.partition(".")[0] for name in new)
        return [name for name in packages if name not in sys.stdlib_module_names and name != "runcue"]

    def left_by_handler(self, work: Work, began: float) -> None:
        """Such a step, which began then, has just ended."""
        if (ended := self.now()) - began > BLOCKS_AFTER:
            self.blocked_by_handler(work, began, ended)

    def returned_odd(self, work: Work, value: Any) -> None:
        """A handler has returned one of `ODD_RESULTS`, most likely by mistake: tell it once.

        Args:
            work: Its work unit, which is completed by it.
            value: What it has returned. A generator that is an expression is a value that somebody may go through.
        """
        kind = value if type(value) is type else type(value)
        if kind in NEVER_RUN and value is not kind:
            if value.__name__ == "<genexpr>":
                return
            words = (
                "returned a generator, of which nothing has run, though its work unit is completed. Write `return` in "
                "place of `yield`, or go through it, as list(...) does"
            )
        elif kind in (RetryLater, Throttled, GiveUp):
            words = (
                f"returned {kind.__name__}, which counts as its result: its work unit is completed. Write `raise` in "
                "place of `return`"
            )
        elif isinstance(value, Command):
            words = (
                f"returned {value!r}, which has not been run, though its work unit is completed. A command is a "
                'handler by itself: write cue.task("name")(runcue.shell(...)), and {params[...]} for what it is given'
            )
        else:
            return
        task = work._task
        self.no_answer(f"The handler of task {task.name!r}, {located(task.handler)},", words, work)

    def cancelled(self, what: str, work: Work | None, *, observed: bool = True) -> None:
        """User code has cancelled the asyncio task that it was called in, which is not its own: tell it once."""
        words = (
            "cancelled the asyncio task that it was called in. That is runcue's own, and goes on; "
            "a work unit is cancelled by `cue.cancel()`"
        )
        self._tell_once("raised", what, words, work, observed=observed)

    def no_answer(self, what: str, words: str, work: Work | None, *, observed: bool = True) -> None:
        """User code has given what is no answer, or hardly one: tell it once.

        Args:
            what: What has, with the place in the source.
            words: What is wrong with what it gave, what it counts as and what to write.
            work: About which work unit it is, if about one.
            observed: Whether observers are to hear of it, or only the log.
        """
        self._tell_once("no_answer", what, words, work, observed=observed)

    def unpriced(self, work: Work, service: str) -> None:
        """A work unit has started that says nothing of what it costs, at a service with budgets: tell it once a task.

        Args:
            work: The work unit.
            service: What counts as it is written there: the name of the service and its budgets.
        """
        words = (
            f"uses {service} and says nothing of what its work units cost: there they count as nothing. Write cost= at "
            "the task or at submit(), cost={} if that is meant"
        )
        self._tell_once("no_cost", f"Task {in_one_line(work.task, 80)!r}", words, work)

    def _note(self, kind: str, what: str) -> None:
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told.add((kind, what))

    def _tell_once(
        self, kind: WarningKind, what: str, words: str, work: Work | None, *, observed: bool = True
    ) -> None:
        if (kind, what) in self._told:
            return
        self._note(kind, what)
        works = () if work is None else (work,)
        self._failures.log.tell(kind, works, "%s %s", what, words, observed=observed)
