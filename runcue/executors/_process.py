"""A process for handlers, as its parent sees it: a fresh interpreter with pipes of its own.

Lives here: `Process`: starting one, giving it calls and reading what it sends, ending it. It leads a session and a
process group, which is killed as a whole, with all that a handler has started; the terminal's Ctrl-C does not reach it.
What goes on in it is in `_child`.

Must not know: event loops, work units, who gives it calls.
"""

from __future__ import annotations

import fcntl
import logging
import marshal
import os
import signal
import subprocess
import sys
import termios
import threading
import weakref
from functools import cache
from importlib.util import find_spec
from time import monotonic
from types import CodeType
from typing import Any, Final, Self

from runcue.abc import Call
from runcue.executors._child import CALL, FOLDER, HEADER, TOLD_CALL

__all__ = ["Process"]

_BOOT: Final = """\
import sys, marshal
r, w, l, e = map(int, sys.argv[1:])
with open(r, 'rb') as f:
    setup = marshal.load(f)
    sys.path[:] = setup['path']
    for name, code in setup['code']:
        module = sys.modules[name] = type(sys)(name)
        module.__file__ = code.co_filename
        module.__code__ = code
        exec(code, module.__dict__)
    sys.modules['runcue.executors._child'].main(f, w, l, e, setup, sys.modules['runcue.executors.calls'])
"""
"""What a new process begins with. Nothing is imported that could be shadowed by a file in the working folder."""

_CODE: Final = ("runcue.executors.pictures", "runcue.executors.calls", "runcue.executors._child")
"""The modules whose code is sent along, each before those that import it."""

_CHUNK: Final = 1 << 18
"""Bytes that are read at once; what else there is in the loop goes on between two chunks."""

_DYING: Final = 0.02
"""Seconds in which a process that has closed its pipe is at its end, if it ends."""

# Those that are alive. What this process forks must not keep their pipes open, nor end them.
_alive: weakref.WeakSet[Process] = weakref.WeakSet()


class Process:
    """A process, as its parent sees it.

    Attributes:
        work: The work unit whose call it has in hand; None: it is idle.
        running: That call.
        kind: Of which kind it was sent.
        is_new: Whether it has answered to nothing yet.
        entered: When its handler was entered; as long as that is not known, when it was sent.
        calls_to: The pipe for calls.
        answers_from: The pipe by which answers come.
        is_killed: Whether it was killed from here. What it has sent before may still come.
    """

    __slots__ = (
        "__weakref__",
        "_folder",
        "_input",
        "_leash",
        "_length",
        "_lifeline",
        "_lock",
        "_output",
        "_popen",
        "answers_from",
        "calls_to",
        "entered",
        "is_killed",
        "is_new",
        "kind",
        "running",
        "work",
    )

    def __init__(self) -> None:
        self.work: Any = None
        self.running: Call | None = None
        self.entered = 0.0
        self.is_killed = False
        self.is_new, self.kind, self._length = True, 0, 0
        # While it is not reaped nobody else has its number.
        self._lock = threading.Lock()
        self._folder = ""
        self._input = bytearray()
        self._output = memoryview(b"")
        with _Pipes() as pipes:
            self._popen = _popen(pipes.theirs)
            self.answers_from, self.calls_to, self._lifeline, self._leash = pipes.keep_ours()
        os.set_blocking(self.answers_from, False)
        os.set_blocking(self.calls_to, False)
        _alive.add(self)

    @property
    def pid(self) -> int:
        """The number of the process, and of the group that it leads."""
        return self._popen.pid

    def begin(self) -> bool:
        """Send what it needs to be ready for calls. Returns whether all is sent."""
        return self._send(marshal.dumps(_setup()))

    def call(self, call: bytes, kind: int) -> bool:
        """Send a call, when it has read all that was sent before or is new. Returns whether all is sent."""
        self.kind = kind
        message = HEADER.pack(len(call), kind) + call
        try:
            folder = os.getcwd()  # noqa: PTH109 - it is done for each call
        except OSError:
            folder = self._folder
        if folder != self._folder:
            self._folder = folder
            path = os.fsencode(folder)
            message = HEADER.pack(len(path), FOLDER) + path + message
        self._length = len(message)
        return self._send(message)

    def ask_entry(self) -> None:
        """Have it tell when the handler of its call is entered, or was, if it was not to tell that."""
        if self.kind == CALL and self._lifeline >= 0:
            self.kind = TOLD_CALL
            try:
                os.write(self._lifeline, b"?")
            except OSError:
                pass  # it has ended, which is seen by the other pipe

    def may_have_begun(self) -> bool:
        """Whether the call that it has in hand may have begun: anything of that was read, as far as can be said."""
        if self.is_new:
            return True
        unread = bytearray(4)
        try:
            fcntl.ioctl(self.calls_to, termios.FIONREAD, unread)
        except OSError:  # not every system says that at this end of a pipe
            pass
        return int.from_bytes(unread, sys.byteorder) + len(self._output) < self._length

    def _send(self, message: bytes) -> bool:
        if self._output:
            self._output = memoryview(bytes(self._output) + message)
            return False
        self._output = memoryview(message)
        return self.send_rest()

    def send_rest(self) -> bool:
        """Send what was not sent before, as far as that can be. Returns whether all is sent."""
        try:
            while self._output:
                self._output = self._output[os.write(self.calls_to, self._output) :]
        except BlockingIOError:
            return False
        except OSError:
            pass  # it has ended, which is seen by the other pipe
        return True

    def read(self) -> list[tuple[int, bytes]] | None:
        """The messages that have come; None: it has ended, or ends now."""
        try:
            chunk = os.read(self.answers_from, _CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not chunk:
            return None
        received = self._input
        received += chunk
        messages = []
        begin = 0
        while len(received) >= begin + HEADER.size:
            length, kind = HEADER.unpack_from(received, begin)
            end = begin + HEADER.size + length
            if len(received) < end:
                break
            messages.append((kind, bytes(received[begin + HEADER.size : end])))
            begin = end
        if begin:
            del received[:begin]
        return messages

    def kill(self) -> None:
        """Kill it, with all that it has started. It is reaped when its pipe has ended."""
        with self._lock:
            if self._popen.returncode is not None or self._lifeline < 0:
                return  # it was, and somebody else may have its number
            self.is_killed = True
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except OSError:
                pass  # it has ended

    def has_ended(self, within: float) -> bool:
        """Whether it ends by itself within so many seconds."""
        until = monotonic() + within
        pause = threading.Event()
        while True:
            try:
                ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
            except OSError:  # somebody else has reaped it
                return True
            if ended or monotonic() >= until:
                return ended
            pause.wait(0.001)

    def await_end(self) -> bool:
        """Wait until it has ended, and see to that if it does not by itself. That may take a while.

        Returns:
            Whether it has by itself.
        """
        ended = self.has_ended(_DYING)
        if not ended:
            self.kill()
            try:
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            except OSError:
                pass  # somebody else has reaped it
        return ended

    def reap(self) -> int:
        """Make an end of what has ended, and of all that it has started. Returns `subprocess.Popen.returncode`."""
        self.kill()
        with self._lock:
            code = self._popen.wait()
        self.close()
        return code

    def dismiss(self) -> None:
        """Let it end: there will be no further call."""
        self._close("calls_to")

    def close(self) -> None:
        """Close its pipes. It ends by that, should it be there yet."""
        _alive.discard(self)
        for name in ("calls_to", "answers_from", "_lifeline", "_leash"):
            self._close(name)

    def _close(self, name: str) -> None:
        pipe = getattr(self, name)
        if pipe >= 0:
            setattr(self, name, -1)
            os.close(pipe)

    def disown(self) -> None:
        """In a process that was forked off from the one whose child this is."""
        self.close()
        self._popen.returncode = 0  # nobody here is to wait for it


class _Pipes:
    """Four pipes to a new process. If that does not come to be, they are closed."""

    def __init__(self) -> None:
        self._ends: list[int] = []

    def __enter__(self) -> Self:
        try:
            for _ in range(4):
                self._ends += _above_standard(os.pipe())
        except BaseException:
            self.__exit__()
            raise
        return self

    @property
    def theirs(self) -> tuple[int, ...]:
        """Where calls come from, where answers go to, the lifeline and the leash: see `_child.main`."""
        calls_from, _, _, answers_to, lifeline, _, leash, _ = self._ends
        return calls_from, answers_to, lifeline, leash

    def keep_ours(self) -> tuple[int, int, int, int]:
        """Where answers come from, where calls go to, and our ends of lifeline and leash: they stay open."""
        _, calls_to, answers_from, _, _, lifeline, _, leash = self._ends
        self._ends = list(self.theirs)
        return answers_from, calls_to, lifeline, leash

    def __exit__(self, *raised: object) -> None:
        for end in self._ends:
            os.close(end)


def _above_standard(ends: tuple[int, int]) -> list[int]:
    """Descriptors that are none of the first three: where those are closed, what is opened next has their numbers."""
    if min(ends) > 2:
        return list(ends)
    try:
        return [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in ends]
    finally:
        for end in ends:
            os.close(end)


def _popen(theirs: tuple[int, ...]) -> subprocess.Popen[bytes]:
    if not sys.executable:
        raise OSError("sys.executable says of no Python that could be started for handlers")
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    # What is sent to it before it knows what to do with that waits.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(
            [sys.executable, *options, "-c", _BOOT, *map(str, theirs)],
            stdin=subprocess.DEVNULL,
            pass_fds=theirs,
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _setup() -> dict[str, Any]:
    """What a new process is told of this one."""
    loggers = logging.root.manager.loggerDict
    levels = {
        name: one.level for name, one in loggers.items() if isinstance(one, logging.Logger) and one.level
    }
    module, script = _main_program()
    return {
        "path": list(map(str, sys.path)),
        "argv": [str(one) for one in sys.argv],
        "code": _code(),
        "module": module,
        "script": script,
        "levels": {**levels, "": logging.root.level},
        "disabled": logging.root.manager.disable,
        "mask": {int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, ())},
    }


@cache
def _code() -> tuple[tuple[str, CodeType], ...]:
    """The code of the modules that are sent along."""
    return tuple((name, _code_of(name)) for name in _CODE)


def _code_of(module: str) -> CodeType:
    # In a process for handlers it was sent along, and is to be had nowhere else.
    sent: CodeType | None = getattr(sys.modules.get(module), "__code__", None)
    if sent is not None:
        return sent
    spec = find_spec(module)
    assert spec is not None
    code: CodeType = spec.loader.get_code(module)  # type: ignore[union-attr]
    return code


def _main_program() -> tuple[str | None, str | None]:
    """What is `__main__` here: the name of what `python -m` runs, or the path of a script."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    # A folder or an archive that is run has a `__main__` in it, of which there is no other name.
    if spec is not None and spec.name != "__main__":
        return str(spec.name), None
    script = getattr(main, "__file__", None)
    return None, os.path.abspath(script) if isinstance(script, str) else None  # noqa: PTH100 - it is where it is, whatever leads there


def _disown_all() -> None:
    for process in list(_alive):
        process.disown()


os.register_at_fork(after_in_child=_disown_all)
