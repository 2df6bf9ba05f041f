"""Callbacks that look at the world by themselves: which ones do, at what, and for how many work units.

In a rehearsal nothing is written. What a callback asks through runcue (`runcue.exists`, an artifact's `valid()`) is
answered as if it were; what it asks the disk, a database or the network itself is not, so its answer is that of today,
however far the rehearsal has come. Whoever reads the report must know of these.

Lives here: `OutsideReads`, which stands around the gates of a cue and in the place of the functions that look at the
disk, for as long as its `with` block lasts; and `OutsideRead`, what it has found. Functions of Python's library count
however they are called (`Path.exists` ends in `os.stat`), but not those that look without asking Python, as a query on
a database that was opened before does.

Must not know: how a cue is rehearsed.
"""

from __future__ import annotations

import asyncio
import builtins
import glob
import inspect
import io
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from functools import wraps
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple, Self

import runcue
from runcue_sim._text.error_origin import one_line, place, shown
from runcue_sim._text.figures import counted

_Asked = tuple[str, str]
"""The callback, and the id of the work it is asked about."""

_ASKED: ContextVar[_Asked | None] = ContextVar("runcue_sim_asked", default=None)

_NOT_THEIRS: Final = {"importlib", "linecache", "logging", "traceback", "warnings"}
"""Modules that look at files because something was imported or told, not because anybody wants to know."""

_CARRIERS: Final = {"asyncio", "concurrent", "threading"}
"""Modules that call whatever they are given."""

_SHORTENED: Final = {"genericpath": "os.path.", "posixpath": "os.path.", "ntpath": "os.path.", "pathlib": ""}
_LONGEST: Final = 80


class OutsideRead(NamedTuple):
    """One way in which one callback looks at the world.

    Attributes:
        callback: "is_ready of app.py:12".
        at: At what: "the disk", "a database", "the network", "another program".
        what: What it calls: "Path.exists".
        example: What it was first called with.
        works: About how many work units it was asked then.
    """

    callback: str
    at: str
    what: str
    example: str
    works: int

    @property
    def line(self) -> str:
        """It as a line of a report."""
        works = counted(self.works, "work unit")
        seen = "; runcue.exists() would see it" if self.at == "the disk" else ""
        return (
            f"{self.callback} asks {self.at} itself ({self.what}({self.example}), {works}), where nothing of a "
            f"rehearsal is{seen}"
        )


class OutsideReads:
    """Watches the callbacks of a cue while it is rehearsed.

    Args:
        cue: Described, not started.

    Attributes:
        ready_at: The loop's time at which is_ready said yes, by the id of the work, of those to which it had said no.
            Whoever never heard a no was ready before, and waited for something else until it was asked.
        asking: Called with a work and 1 when runcue begins to await a gate's answer, for which it holds the slots of
            the work, and with -1 when it has it.
    """

    def __init__(self, cue: runcue.Cue) -> None:
        self.ready_at: dict[str, float] = {}
        self.asking: Callable[[runcue.Work, int], object] = _note_nothing
        self._refused: set[str] = set()
        self._cue = cue
        # By callback, what it looks at and what it calls: an example, and the work units.
        self._found: dict[tuple[str, str, str], tuple[str, set[str]]] = {}
        # What other callbacks are: those that say what a work declares.
        self._kinds: dict[CodeType, str] = {}
        self._undo = ExitStack()

    def lines(self) -> list[str]:
        """What was found, a line each."""
        return [read.line for read in self.found]

    @property
    def found(self) -> list[OutsideRead]:
        """What was found, callback by callback, in the order in which it was found."""
        reads = [OutsideRead(*key, example, len(works)) for key, (example, works) in self._found.items()]
        callbacks = [read.callback for read in reads]
        return sorted(reads, key=lambda read: callbacks.index(read.callback))

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._wrap_gates(undo)
            self._replace_functions(undo)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    def _wrap_gates(self, undo: ExitStack) -> None:
        for question, register in (("is_ready", self._cue.is_ready), ("is_stale", self._cue.is_stale)):
            wrapped: dict[int, Callable[..., Any]] = {}
            for task in self._cue.tasks():
                gate = getattr(task, question)
                if gate is None:
                    continue
                if id(gate) not in wrapped:
                    wrapped[id(gate)] = self._around(gate, question)
                register(task=task.name)(wrapped[id(gate)])
                undo.callback(register(task=task.name), gate)
        for task in self._cue.tasks():
            for what in ("inputs", "outputs", "key"):
                code = getattr(getattr(task, what), "__code__", None)
                if code is not None:
                    self._kinds[code] = what

    def _around(self, gate: Callable[[runcue.Work], Any], question: str) -> Callable[..., Any]:
        name = _name(question, gate)
        note = self._note_ready if question == "is_ready" else _note_nothing

        async def awaited(work: runcue.Work, answer: Any) -> Any:
            token = _ASKED.set((name, work.id))
            self.asking(work, 1)
            try:
                answer = await answer
            except BaseException:
                note(work, False)
                raise
            finally:
                self.asking(work, -1)
                _ASKED.reset(token)
            note(work, answer)
            return answer

        async def asked_async(work: runcue.Work) -> Any:
            return await awaited(work, gate(work))

        def asked(work: runcue.Work) -> Any:
            token = _ASKED.set((name, work.id))
            try:
                answer = gate(work)
            except BaseException:
                note(work, False)
                raise
            finally:
                _ASKED.reset(token)
            # The handle of a work unit can be awaited, but is a value, and a str.
            if not isinstance(answer, bool | str) and inspect.isawaitable(answer):
                return awaited(work, answer)
            note(work, answer)
            return answer

        is_async = inspect.iscoroutinefunction(gate) or inspect.iscoroutinefunction(type(gate).__call__)
        around: Callable[..., Any] = asked_async if is_async else asked
        around.__qualname__ = type(
            gate
        ).__qualname__  # for objects that can be called and have no name of their own
        return wraps(gate)(around)

    def _note_ready(self, work: runcue.Work, answer: Any) -> None:
        if isinstance(answer, tuple) and len(answer) == 2:
            answer = answer[0]
        if not answer:
            self._refused.add(work.id)
        elif work.id in self._refused and work.id not in self.ready_at:
            self.ready_at[work.id] = asyncio.get_running_loop().time()

    def _replace_functions(self, undo: ExitStack) -> None:
        for name in ("stat", "lstat", "access", "readlink", "listdir", "scandir", "open"):
            self._replace(os, name, "the disk", f"os.{name}", undo)
        # Since Python 3.13 those who glob keep two of them for themselves.
        if (globber := getattr(glob, "_StringGlobber", None)) is not None:
            for name in ("lstat", "scandir"):
                if isinstance(vars(globber).get(name), staticmethod):
                    self._replace(globber, name, "the disk", f"os.{name}", undo)
        for module in (builtins, io):  # one function with two names, and both are in use
            self._replace(module, "open", "the disk", "open", undo)
        self._replace(subprocess.Popen, "__init__", "another program", "subprocess.Popen", undo)
        for name in ("connect", "connect_ex"):
            self._replace(socket.socket, name, "the network", f"socket.{name}", undo)
        for name in ("sqlite3", "sqlite3.dbapi2"):
            # Who has not imported it by now will not have its cue depend on it.
            if name in sys.modules:
                self._replace(sys.modules[name], "connect", "a database", "sqlite3.connect", undo)

    def _replace(self, owner: Any, name: str, at: str, what: str, undo: ExitStack) -> None:
        original = getattr(owner, name)
        kept = vars(owner).get(name, original)
        inherited = name not in vars(owner)
        is_static = isinstance(kept, staticmethod)
        is_method = isinstance(owner, type) and not is_static

        @wraps(original)
        def reading(*args: Any, **options: Any) -> Any:
            targets = (*args[is_method:], *options.values())
            self._notice(at, what, targets[0] if targets else ".", sys._getframe(1))  # noqa: SLF001
            return original(*args, **options)

        setattr(owner, name, staticmethod(reading) if is_static else reading)
        undo.callback(delattr, owner, name) if inherited else undo.callback(setattr, owner, name, kept)
        # Whoever asks what a function of os can do asks by the function.
        for abilities in (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks):
            if original in abilities:
                abilities.add(reading)
                undo.callback(abilities.discard, reading)

    def _notice(self, at: str, what: str, target: object, caller: FrameType) -> None:
        """Something looks: find out on whose behalf.

        Args:
            at: At what it looks.
            what: The function.
            target: What it is called with.
            caller: The frame that calls it.
        """
        if isinstance(target, int):
            return  # a file that is open already
        asked, what = self._on_behalf(what, caller)
        if asked is None:
            return
        callback, work_id = asked
        key = (callback, at, what)
        found = self._found.get(key)
        if found is None:
            found = self._found.setdefault(key, (_words_for(target), set()))
        found[1].add(work_id)

    def _on_behalf(self, what: str, caller: FrameType) -> tuple[_Asked | None, str]:
        below: FrameType | None = None
        frame: FrameType | None = caller
        in_library = True
        while frame is not None:
            module = str(frame.f_globals.get("__name__", ""))
            root = module.partition(".")[0]
            if root in _NOT_THEIRS:
                return None, what
            if root == "runcue_sim":
                return (_ASKED.get() if module == __name__ else None), what
            if root == "runcue":
                return (None if below is None else self._called_by_runcue(frame, below)), what
            in_library = in_library and root in sys.stdlib_module_names and root not in _CARRIERS
            if in_library:
                name = frame.f_code.co_qualname.lstrip("_").replace("PathBase.", "Path.")  # in Python 3.13
                what = _SHORTENED.get(root, f"{module}.") + name
                if root == "glob" and "Globber." in name:
                    what = "Path.glob"  # whose frame is gone by the time its generator looks
            below = frame
            frame = frame.f_back
        # The beginning of a thread: what it does for a callback it does in that one's context.
        return _ASKED.get(), what

    def _called_by_runcue(self, runcues: FrameType, users: FrameType) -> _Asked | None:
        """Which callback it is that runcue has called, if it is one that runcue cannot see through."""
        root = str(users.f_globals.get("__name__", "")).partition(".")[0]
        if root in sys.stdlib_module_names and root != "__main__":
            return None  # runcue itself, by way of the library
        first = _first_argument(users)
        if isinstance(first, runcue.Artifact) or isinstance(_first_argument(runcues), runcue.Artifact):
            return None  # an artifact, which is asked so that runcue knows of it
        kind = self._kinds.get(users.f_code, users.f_code.co_name)
        work = first
        if isinstance(first, runcue.PriorityContext):
            kind, work = "priority", first.work
        name = f"{kind} of {shown(users.f_code.co_filename)}:{users.f_code.co_firstlineno}"
        return name, work.id if isinstance(work, runcue.Work) else ""


def _note_nothing(work: runcue.Work, answer: Any) -> None:
    """Of is_stale nothing is noted."""


def _name(question: str, gate: Any) -> str:
    """What a callback is called in the report: what it is asked, and where it is."""
    where = place(gate)
    return f"{question} of {where.rpartition(' of ')[2]}" if " of " in where else f"{question} {where}"


def _first_argument(frame: FrameType) -> object:
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _words_for(target: object) -> str:
    if isinstance(target, (str, bytes, os.PathLike)):
        target = os.fspath(target)
    return one_line(target if isinstance(target, str) else repr(target), _LONGEST)
