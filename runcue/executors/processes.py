"""Where handlers run that compute: processes of runcue's own.

Lives here: `ProcessExecutor`. Each of its processes has one call at a time and is kept for the next one; so what
befalls one is no other's business.

What there is was tried: anyio.to_process speaks over descriptors 0 and 1, so that a handler which starts `echo` breaks
it; a ProcessPoolExecutor loses what its other processes have in hand when one dies; multiprocessing runs the main
script once more even for handlers that are imported from elsewhere.

Pipes are read and written in the event loop: a call takes one write and one read, and no thread has to be woken up.

Must not know: limits, order, states, what is in a call.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from time import monotonic
from typing import Any, Final

from runcue._model.errors import WorkerDied
from runcue._model.exit_codes import end_in_words
from runcue._model.texts import error_words, name_of, shortened
from runcue.abc import Call, Clock, Deliver
from runcue.executors._child import ANSWER, CALL, INSTANT, RECORD, TOLD_CALL
from runcue.executors._process import Process

__all__ = ["ProcessExecutor"]

_PATIENCE: Final = 5.0
"""Seconds in which an idle process has to end when it is not needed any more. After that it is killed."""

_SOON: Final = 1.0
"""Seconds in which what was killed is gone, most likely."""


class ProcessExecutor:
    """Carries out calls in processes of its own, each at most one at a time.

    Args:
        workers: How many processes there are at most. None is started before it is needed.

    Attributes:
        takes_calls, workers, pickler, knows_main, kills: See `CallExecutor`.
        name: What its slots are called.
    """

    takes_calls = True
    pickler: str | None = None
    knows_main = False
    kills = True
    name = "processes"

    def __init__(self, workers: int) -> None:
        self.workers: int | None = workers
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clock: Clock | None = None
        self._deliver: Deliver | None = None
        self._entered: Callable[[Any, float], None] | None = None
        self._context = copy_context()
        self._idle: list[Process] = []
        self._busy: dict[Any, Process] = {}
        # Those for which there is no process, because none could be started.
        self._line: deque[tuple[Any, Call, int]] = deque()

    def start(self, deliver: Deliver, entered: Callable[[Any, float], None], clock: Clock) -> None:
        """See `Executor.start`."""
        self._loop, self._clock = asyncio.get_running_loop(), clock
        self._deliver, self._entered = deliver, entered
        self._context = copy_context()

    def submit(self, work: Any, call: Call, context: Context, *, stamped: bool) -> None:
        """See `CallExecutor.submit`."""
        assert self._clock is not None
        if not (self._busy or self._line):
            self._clock.hold()  # once for all that are in flight
        self._line.append((work, call, TOLD_CALL if stamped else CALL))
        self._serve_line()

    def _serve_line(self) -> None:
        """Give calls to processes, in order, as long as there is one for the next."""
        while self._line:
            assert self._clock is not None
            assert self._loop is not None
            try:
                process = self._idle.pop() if self._idle else self._new_process()
            except OSError as error:
                if not self._busy:
                    # Nobody leaves a process. Not before whoever has given it is done with that.
                    self._loop.call_soon(
                        self._could_not_start, self._line[0][0], error, context=self._context.copy()
                    )
                return
            work, call, kind = self._line.popleft()
            process.work, process.running, process.entered = work, call, self._clock.monotonic()
            self._busy[work] = process
            if not process.call(call.payload, kind):
                self._context.run(self._loop.add_writer, process.calls_to, self._writable, process)

    def _new_process(self) -> Process:
        assert self._loop is not None
        process = Process()
        if not process.begin():
            self._context.run(self._loop.add_writer, process.calls_to, self._writable, process)
        self._context.run(self._loop.add_reader, process.answers_from, self._readable, process)
        return process

    def _could_not_start(self, work: Any, error: OSError) -> None:
        if self._clock is None:
            return  # it was stopped meanwhile
        before = len(self._line)
        self._line = deque(item for item in self._line if item[0] is not work)
        if len(self._line) < before:  # it was not cancelled meanwhile
            failed = WorkerDied(f"No process can be started for the handler of {name_of(work)}: {error}.")
            failed.__cause__ = error
            now = self._clock.monotonic()
            self._serve_line()
            self._end(work, False, failed, now, now)

    def _end(self, work: Any, succeeded: bool, outcome: Any, entered: float, left: float) -> None:
        """A call has come to its end."""
        assert self._deliver is not None
        assert self._clock is not None
        if not (self._busy or self._line):
            self._clock.release()
        self._deliver(work, succeeded, outcome, entered, left)

    def _writable(self, process: Process) -> None:
        assert self._loop is not None
        if process.send_rest():
            self._loop.remove_writer(process.calls_to)

    def _readable(self, process: Process) -> None:
        """Something has come from a process."""
        messages = process.read()
        if messages is None:
            self._has_ended(process)
            return
        for kind, content in messages:
            if kind == ANSWER:
                self._answered(process, content)
            elif kind == RECORD:
                _log(content)
            elif process.work is not None and self._entered is not None:
                process.entered = self._instant(content)
                self._entered(process.work, process.entered)

    def _instant(self, packed: bytes) -> float:
        """An instant by the clock of the system, which is that of the child; on another clock it is now."""
        assert self._clock is not None
        if self._clock.monotonic is not monotonic:
            return self._clock.monotonic()
        at: float = INSTANT.unpack(packed)[0]
        return at

    def _answered(self, process: Process, answer: bytes) -> None:
        work = process.work
        # What is to die has no place among the idle ones; its end is its answer.
        if work is None or process.is_killed:
            return
        assert self._clock is not None
        process.work = process.running = None
        process.is_new = False
        del self._busy[work]
        self._idle.append(process)
        self._serve_line()
        self._end(work, True, answer, process.entered, self._clock.monotonic())

    def _has_ended(self, process: Process) -> None:
        """The pipe of a process has ended, and so does the process, whatever it has in hand."""
        assert self._loop is not None
        self._forget(process)
        if process.work is None:
            self._idle.remove(process)
        if process.has_ended(0.0):
            self._is_gone(process, True)
            return
        loop, context = self._loop, self._context.copy()

        def tell(by_itself: bool) -> None:
            loop.call_soon_threadsafe(self._is_gone, process, by_itself, context=context)

        threading.Thread(target=_await_end, args=(process, tell), name="runcue-ends", daemon=True).start()

    def _is_gone(self, process: Process, by_itself: bool) -> None:
        """A process has ended. It holds what it has in hand until then."""
        work, call = process.work, process.running
        is_ours = work is not None and self._busy.get(work) is process
        goes_on = is_ours and not process.is_killed and not process.may_have_begun()
        code = process.reap()
        if not is_ours:
            return  # it was idle, or the executor was stopped meanwhile
        assert self._clock is not None
        assert call is not None
        process.work = process.running = None
        del self._busy[work]
        if goes_on:  # somebody has killed it while it was idle
            self._line.appendleft((work, call, process.kind))
            self._serve_line()
            return
        self._serve_line()
        died = _died(work, code if by_itself else None)
        self._end(work, False, died, process.entered, self._clock.monotonic())

    def _forget(self, process: Process) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.remove_reader(process.answers_from)
            self._loop.remove_writer(process.calls_to)

    def entries(self) -> list[tuple[Any, float]]:
        """See `ThreadExecutor.entries`: these tell by themselves, as soon as they are asked."""
        self._line = deque((work, call, TOLD_CALL) for work, call, _ in self._line)
        for process in self._busy.values():
            process.ask_entry()
        return []

    def cancel(self, work: Any) -> bool:
        """See `CallExecutor.cancel`. It is delivered when the process is gone."""
        process = self._busy.get(work)
        if process is not None:
            process.kill()
        elif any(item[0] is work for item in self._line):
            assert self._loop is not None
            error = OSError("it was given up")
            self._loop.call_soon(self._could_not_start, work, error, context=self._context.copy())
        return True

    def where(self, work: Any) -> str:
        """In which process the handler of a work unit is, for people: "process 4711"; "" if it is in none."""
        process = self._busy.get(work)
        return "" if process is None else f"process {process.pid}"

    def stop(self) -> None:
        """Let idle processes end, and end those that have a call in hand. Nobody hears of that here."""
        if self._loop is None:
            return
        processes = [*self._idle, *self._busy.values()]
        calls = [process.running for process in self._busy.values() if process.running is not None]
        calls += [call for _, call, _ in self._line]
        for process in processes:
            self._forget(process)
            if process.work is None:
                process.dismiss()
            else:
                process.kill()
        if calls and self._clock is not None:
            self._clock.release()
        self._idle, self._busy = [], {}
        self._line.clear()
        self._loop = self._clock = self._deliver = self._entered = None
        if processes or calls:
            seeing_off = threading.Thread(
                target=_see_off, args=(processes, calls), name="runcue-ends", daemon=True
            )
            seeing_off.start()

    def __del__(self) -> None:
        """Nobody will stop it any more."""
        processes = (*self._idle, *self._busy.values())
        for process in processes:
            process.kill()
        until = monotonic() + _SOON
        for process in processes:
            if process.has_ended(max(0.0, until - monotonic())):
                process.reap()


def _await_end(process: Process, tell: Callable[[bool], object]) -> None:
    """See a process to its end whose pipe has ended, in a thread: it may live, and what is killed may take a while."""
    by_itself = process.await_end()
    try:
        tell(by_itself)
    except RuntimeError:  # the loop was closed meanwhile
        process.reap()


def _see_off(processes: list[Process], calls: list[Call]) -> None:
    """See processes to their end, in a thread: there may be something to do at their end, which takes a while.

    Args:
        processes: The processes.
        calls: Those that were in hand, or waited to be.
    """
    until = monotonic() + _PATIENCE
    for process in sorted(processes, key=lambda one: one.work is None):
        process.has_ended(max(0.0, until - monotonic()))
        process.await_end()
        process.reap()
    for call in calls:
        call.over()


def _died(work: Any, code: int | None) -> WorkerDied:
    """The error of a work unit whose process has ended.

    Args:
        work: The work unit.
        code: As of `Process.reap`.
    """
    if code is None:
        how = "has closed its pipe to the cue, and was killed for that"
    else:
        how = end_in_words(code)
        if code == -signal.SIGKILL:
            how += " (if nobody has sent that, the system may have run out of memory)"
    return WorkerDied(f"The process that ran the handler of {name_of(work)} {how}.", code)


def _log(packed: bytes) -> None:
    """Have a record handled that comes from a process, if it is of a level that is wanted here."""
    try:
        record = logging.makeLogRecord(pickle.loads(packed))  # noqa: S301 - it comes from a child of this process
    except Exception as error:
        logging.getLogger("runcue").warning("A record of the log of a process is lost: %r", error)
        return
    logger = logging.getLogger(record.name)
    try:
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except Exception as trouble:
        # Handlers and filters of the log are the user's; what else the process has sent is still to be read.
        if sys.stderr is not None:
            text = shortened(str(record.msg))
            sys.stderr.write(f"runcue could not log ({error_words(trouble)}): {text}\n")
