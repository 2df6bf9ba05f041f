"""What executors give back that run handlers elsewhere, in pools and in other processes.

Lives here: `Answers`, which takes it until it is what a handler in a thread gives back: a value or an error, published
and charged.

Must not know: how handlers get there, what becomes of a work unit whose handler has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from typing import Any, Final

from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.door import BLOCKS_AFTER
from runcue._dispatch.commits import commit_at_once
from runcue._dispatch.in_flight import InFlight
from runcue._dispatch.turns import Turns
from runcue._handlers.call_runs import CallRun
from runcue._handlers.outputs import commit_due
from runcue._model.current import call_inside
from runcue._model.errors import HandlerExited, is_a
from runcue._model.texts import message_of, words_of
from runcue._model.work import Work

__all__ = ["SEND_LESS", "Answers"]

SEND_LESS: Final = "send less to and fro between processes: the path of a file in place of what is in it, say"
"""What to do about what takes long to pickle."""


class Answers:
    """Takes what handlers have come to that ran elsewhere.

    Args:
        callbacks: For what is told of executors.
        turns: The turns of the loop.
        in_flight: Handlers in flight.
        home: The cue.
        count_from: Notes when a handler was entered.
        returned: Takes what a handler in a thread gives back.
    """

    def __init__(
        self,
        callbacks: Callbacks,
        turns: Turns,
        in_flight: InFlight,
        home: Any,
        count_from: Callable[[Work, float], None],
        returned: Callable[..., None],
    ) -> None:
        self._callbacks = callbacks
        self._turns = turns
        self._in_flight = in_flight
        self._home = home
        self._count_from = count_from
        self._returned = returned
        # The identities of executors that were told to be broken since the start.
        self._broken: set[int] = set()

    def start(self) -> None:
        """The cue is started: what is broken is told anew."""
        self._broken.clear()

    def take(self, work: Work, succeeded: bool, outcome: Any, entered: float, left: float) -> None:
        """A handler or a call has come to its end, or was lost. In whatever context; see `runcue.abc.Deliver`."""
        call_inside(self._home, self._take, work, succeeded, outcome, entered, left)

    def _take(self, work: Work, succeeded: bool, outcome: Any, entered: float, left: float) -> None:
        run = self._in_flight.works.get(work)
        final = False
        try:
            if not succeeded:
                outcome = self._lost(work, outcome)
            if type(run) is CallRun:
                run.goes_on = False
                if succeeded:
                    began = self._turns.now()
                    said = work._task.calls.conclude(work, outcome, run.place)
                    if (ended := self._turns.now()) - began > BLOCKS_AFTER:
                        what = f"Unpickling what the handler of task {work.task!r} has returned"
                        self._callbacks.door.blocked(what, began, ended, SEND_LESS, work)
                    succeeded, outcome, final = said.succeeded, said.outcome, said.final
                    if said.entered is None:
                        # On another machine: its tokens count from the end.
                        self._count_from(work, left)
                        entered = max(entered, left - said.lasted)
                    else:
                        # On a virtual clock no time passes meanwhile.
                        entered = min(max(said.entered, entered), left)
                        left = min(entered + said.lasted, left)
                if succeeded and work._declared is not None and (due := commit_due(work)):
                    self._count_from(work, entered)
                    rest, error = commit_at_once(work, outcome, due, self._callbacks.door)
                    if error is not None:
                        succeeded, outcome = False, error
                    elif rest is not None:
                        outcome = rest
        except BaseException as error:
            self._turns.fail(error)
            return
        self._returned(work, succeeded, outcome, entered, left, final=final)

    def _lost(self, work: Work, error: BaseException) -> BaseException:
        """What it means that something other than the handler has failed: told once of an executor that is broken."""
        if isinstance(error, BrokenExecutor):
            executor = work._task.executor
            if id(executor) not in self._broken:
                self._broken.add(id(executor))
                self._callbacks.failures.log.tell(
                    "broken",
                    (work,),
                    "%s is broken, and what it ran is lost (%s): each of these is a failed attempt. This is told once",
                    words_of(executor),
                    message_of(error).removesuffix("."),
                )
        elif type(self._in_flight.works.get(work)) is CallRun and is_a(error, KeyboardInterrupt):
            # Whoever has pressed Ctrl-C is heard of by himself.
            exited = HandlerExited(f"What ran the handler of {work.task!r} was interrupted.")
            exited.__cause__ = error
            return exited
        return error
