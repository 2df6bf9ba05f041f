"""What runs in a process that was started for handlers: one call at a time, until its pipe ends.

Lives here: `main`, which reads calls and writes answers; and what a call finds there that it would find in the parent:
the folder, the log, and `__main__`, which is imported when a call names something of it, and not before.

A message is a header, which has its length and its kind, and so many bytes.

Must not know: anything but the standard library and `runcue.executors.calls`. The parent sends the code of both along,
so that the process need not import runcue, which takes several times as long as to start Python.
"""

from __future__ import annotations

import fcntl
import io
import logging
import logging.handlers
import os
import pickle
import signal
import struct
import sys
import threading
import traceback
import types
from collections.abc import Callable
from importlib.util import find_spec
from time import monotonic, sleep
from typing import Any, Final

__all__ = ["ANSWER", "CALL", "ENTERED", "FOLDER", "HEADER", "INSTANT", "RECORD", "TOLD_CALL", "main"]

HEADER: Final = struct.Struct("<QB")
"""The length of a message, and its kind."""

INSTANT: Final = struct.Struct("<d")
"""Seconds of the monotonic clock."""

FOLDER: Final = 0
"""To the child: the working folder of the parent, before the calls for which it is."""

CALL: Final = 1
"""To the child: a call, as `calls.run` takes it."""

TOLD_CALL: Final = 2
"""The same, of which the parent wants to hear when the handler is entered."""

ENTERED: Final = 3
"""From the child: when the handler is entered, as an `INSTANT`."""

RECORD: Final = 4
"""From the child: a record of its log."""

ANSWER: Final = 5
"""From the child: what `calls.run` has given."""

_LAST: Final = 10
"""Seconds that a process has in which to end by itself."""

_AFTER_PARENT: Final = 0.5
"""Seconds of these that are left when the parent is gone."""


def main(
    calls_from: io.BufferedReader,
    answers_to: int,
    lifeline: int,
    leash: int,
    setup: dict[str, Any],
    calls: Any,
) -> None:
    """Serve until the parent closes the pipe.

    Args:
        calls_from: The pipe by which calls come.
        answers_to: The pipe for answers.
        lifeline: A pipe that ends with the parent, whatever that has died of. By a byte it asks when the handler was
            entered that runs, or is entered next.
        leash: Another one that ends so, by which nothing comes.
        setup: What the parent says of itself, see `processes`.
        calls: The module `runcue.executors.calls`.
    """
    # Not ignored for good: so it would be in all that a handler starts, too.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, setup["mask"])
    pipes = (calls_from.fileno(), answers_to, lifeline, leash)
    for one in pipes:
        os.set_inheritable(one, False)
    # What a handler forks may live on; who waits for the end of a pipe must not wait for that.
    os.register_at_fork(after_in_child=lambda: _let_go(pipes))
    held = _Leash(leash)
    ending, to_parent = threading.Event(), _ToParent(answers_to)
    watch = threading.Thread(
        target=_end_with_parent, args=(lifeline, ending, to_parent.ask), name="runcue-lifeline", daemon=True
    )
    watch.start()
    sys.argv[:] = setup["argv"]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what was printed is seen, even if the process is killed
    main_program = _MainProgram(setup["module"], setup["script"])
    logging.root.addHandler(_LogToParent(to_parent))
    for name, level in setup["levels"].items():
        logging.getLogger(name).setLevel(level)
    logging.disable(setup["disabled"])
    folder, own = "", os.getpid()
    while len(head := calls_from.read(HEADER.size)) == HEADER.size:
        length, kind = HEADER.unpack(head)
        content = calls_from.read(length)
        if len(content) < length:
            break
        if kind == FOLDER:
            folder = os.fsdecode(content)
            continue
        _be_in(folder)
        if kind == TOLD_CALL:
            to_parent.ask()
        held.tighten()
        answer = calls.run(content, main_program.load, to_parent.enter)
        _flush()
        if os.getpid() != own:
            _leave(answer, calls)
        held.loosen()
        to_parent.answer(answer)
    ending.set()
    # What is to be done at the end of a process is done; should it hang, nobody else would end this one.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_LAST)


class _MainProgram:
    """The main program of the parent, imported as multiprocessing does it: under another name.

    So `if __name__ == "__main__":` keeps out what is not meant for here.

    Args:
        module: The name of what `python -m` runs in the parent; None if that is a script.
        script: The path of the script; None if there is none.
    """

    def __init__(self, module: str | None, script: str | None) -> None:
        self._module = module
        self._script = script
        self._begun = False
        self._fault: str | None = None

    def load(self) -> None:
        """See to it that it is imported.

        Raises:
            ImportError: It cannot be; nor is that tried twice.
        """
        if not self._begun:
            self._begun = True
            former = sys.modules["__main__"]
            program = types.ModuleType("__mp_main__")
            sys.modules["__main__"] = sys.modules["__mp_main__"] = program
            try:
                exec(self._code(program), program.__dict__)  # noqa: S102 - the program's own
            except BaseException as error:
                sys.modules["__main__"] = former
                del sys.modules["__mp_main__"]
                self._fault = "".join(traceback.format_exception_only(error)).strip()
                if not isinstance(error, SystemExit):
                    traceback.print_exc()
        if self._fault is not None:
            raise ImportError(
                f"the main program, {self._module or self._script}, cannot be imported in a process: {self._fault}"
            )

    def _code(self, program: types.ModuleType) -> types.CodeType:
        if self._module is not None:
            spec = find_spec(self._module)
            if spec is None or spec.loader is None:
                raise ImportError(f"there is no module {self._module}")
            program.__spec__, program.__package__, program.__loader__ = spec, spec.parent, spec.loader
            if spec.origin is not None:
                program.__file__ = spec.origin
            code: types.CodeType = spec.loader.get_code(self._module)  # type: ignore[attr-defined]
            return code
        if self._script is None:
            raise ImportError("it has no file")
        program.__file__ = self._script
        with io.open_code(self._script) as file:
            return compile(file.read(), self._script, "exec", dont_inherit=True)


class _ToParent:
    """The pipe to the parent. Handlers may have threads that log."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._lock = threading.RLock()
        # When the handler was entered that runs, and whether that is to be told.
        self._entered: float | None = None
        self._is_asked = False

    def send(self, kind: int, content: bytes) -> None:
        """Send a message, whole."""
        message = memoryview(HEADER.pack(len(content), kind) + content)
        with self._lock:
            while message:
                message = message[os.write(self._pipe, message) :]

    def ask(self) -> None:
        """Tell when the handler was entered that runs, or is entered next. Called in any thread."""
        self._is_asked = True
        with self._lock:
            if self._entered is not None:
                self.send(ENTERED, INSTANT.pack(self._entered))

    def enter(self) -> None:
        """The handler is entered now."""
        # In this order, as in `ask`: so one of the two tells, or both, which is as good.
        self._entered = entered = monotonic()
        if self._is_asked:
            self.send(ENTERED, INSTANT.pack(entered))

    def answer(self, answer: bytes) -> None:
        """Send what a call has come to. Nothing is told of its entry after that."""
        with self._lock:
            self._entered, self._is_asked = None, False
            self.send(ANSWER, answer)


class _Leash:
    """Has the system kill this process, with all that was started here, when a pipe ends while a call is in hand.

    No thread can do that while a handler keeps Python's lock, as a long regular expression does, nor can a process
    that was stopped. One that is idle ends by itself, so that what is to be done at its end is done. Where a system
    does not know how, `_end_with_parent` is alone with it.

    Args:
        pipe: The pipe.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._loose: int | None = None
        if hasattr(fcntl, "F_SETSIG"):
            try:
                fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
                fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpid())
                self._loose = fcntl.fcntl(pipe, fcntl.F_GETFL)
            except OSError:
                pass  # not every system that has the names can do it

    def tighten(self) -> None:
        """A call is in hand."""
        if self._loose is not None:
            self._set(self._loose | os.O_ASYNC)

    def loosen(self) -> None:
        """None is, any more."""
        if self._loose is not None:
            self._set(self._loose)

    def _set(self, flags: int) -> None:
        try:
            fcntl.fcntl(self._pipe, fcntl.F_SETFL, flags)
        except OSError:
            pass  # a handler has closed it


class _LogToParent(logging.handlers.QueueHandler):
    """Sends what is logged to the parent, where the logger of the same name has it handled."""

    def __init__(self, to_parent: _ToParent) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self._to_parent = to_parent

    def enqueue(self, record: logging.LogRecord) -> None:
        """See `QueueHandler.enqueue`."""
        said = record.__dict__
        try:
            packed = pickle.dumps(said)
        except Exception:  # by extra= there may be anything in it
            packed = pickle.dumps({name: one if _is_plain(one) else repr(one) for name, one in said.items()})
        self._to_parent.send(RECORD, packed)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _be_in(folder: str) -> None:
    """Be in the folder of the parent, wherever a handler before has gone."""
    try:
        if os.getcwd() == folder:  # noqa: PTH109 - it is done for each call
            return
    except OSError:
        pass  # of a folder that is gone
    if folder:
        try:
            os.chdir(folder)
        except OSError:
            pass  # as in the parent, which may be in one that is gone


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass  # a handler has closed it, or nobody reads it any more


def _leave(answer: bytes, calls: Any) -> None:
    """End a process that a handler has forked and that comes out of it: the answer is its parent's to give."""
    code = 0
    try:
        said = calls.load_answer(answer)
        if said.failure is not None:
            error = None if said.error is None else calls.load_error(said.error)
            code = 1
            if not isinstance(error, SystemExit):
                sys.stderr.write(said.failure[2])
            elif error.code is None or isinstance(error.code, int):
                code = error.code or 0
            else:
                sys.stderr.write(f"{error.code}\n")
        _flush()
    except Exception:  # noqa: S110 - what does not let itself be unpickled is a value, and nobody waits for it
        pass
    finally:
        os._exit(code & 0xFF)


def _end_with_parent(lifeline: int, ending: threading.Event, ask: Callable[[], object]) -> None:
    """Wait until the parent is gone, and end then, with all that was started here.

    Args:
        lifeline: Ends with the parent.
        ending: Set when this process is at its end.
        ask: Called at each byte that comes before.
    """
    try:
        while os.read(lifeline, 1):
            try:
                ask()
            except OSError:
                pass  # the parent is gone, which is seen next
    except OSError:
        return  # a handler has closed all descriptors, and with them the pipe by which the parent sees that
    if ending.is_set():
        sleep(_AFTER_PARENT)
    os.killpg(0, signal.SIGKILL)


def _let_go(pipes: tuple[int, ...]) -> None:
    for one in pipes:
        try:
            os.close(one)
        except OSError:
            pass  # closed before
