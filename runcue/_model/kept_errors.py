"""What is kept of an exception: all that it says, and nothing of what was alive when it was raised.

Lives here: `kept`, the copy of an exception that outlives its frames, and `raised_again`, a further copy for everybody
who is to get it; and `of_its_own`, one to which something may be added.

A traceback leads to frames, and a frame to its values, to its function with all that this closes over, and to the
frames that have called it, some of which still run. So no frame is kept: the traceback is drawn again over bare frames,
which have their place in the source (file, function, line, columns) and no value, function or caller. To clear the
frames as they are was rejected: that closes generators which only wait, and can do nothing about frames that run, about
closures and about callers.

No code of the user's is called: neither a constructor nor `__copy__`, `__reduce__`, `__setattr__` or `derive`.

Must not know: who keeps an exception, and for whom.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from types import CodeType, FrameType, FunctionType, MemberDescriptorType, TracebackType
from typing import Any, Final

from runcue._model.texts import which_of
from runcue._model.work import Work

__all__ = ["add_note", "kept", "of_its_own", "raised_again", "say_whose"]

_MOST: Final = 100
"""So many exceptions are followed that one leads to: a loop that fails and tries again can chain any number."""

_LONGEST: Final = 64
"""Entries of a traceback that is kept; of a longer one, usually an endless recursion, so many from its two ends."""

_OWN: Final = __file__.rpartition("_model")[0]
_HEAP_TYPE: Final = 1 << 9
"""`Py_TPFLAGS_HEAPTYPE`: a class that was made while the program runs, such as by a `class` statement."""

# As they are in every exception, whatever its class defines under these names.
_ARGS: Final[Any] = vars(BaseException)["args"]
_TRACEBACK: Final[Any] = vars(BaseException)["__traceback__"]
_CAUSE: Final[Any] = vars(BaseException)["__cause__"]
_CONTEXT: Final[Any] = vars(BaseException)["__context__"]
_SUPPRESS: Final[Any] = vars(BaseException)["__suppress_context__"]
_MESSAGE: Final[Any] = vars(BaseExceptionGroup)["message"]
_MEMBERS: Final[Any] = vars(BaseExceptionGroup)["exceptions"]
# Of BlockingIOError, who has it of its base.
_WRITTEN: Final[Any] = vars(OSError)["characters_written"]

Redraw = Callable[[TracebackType | None], TracebackType | None]


def kept(error: BaseException) -> BaseException:
    """A copy of an exception that says the same, with its traceback, but holds none of the values in its frames.

    So are the exceptions that it leads to: causes, contexts, members of groups, and those in its arguments and
    attributes. One whose class, written in C, cannot be made anew is stripped itself.
    """
    return _Copies(_drawn).of(error)


def raised_again(error: BaseException) -> BaseException:
    """A copy of what `kept` gave, to be raised: with the same traceback, whoever has raised that one meanwhile."""
    return _Copies(_as_drawn).of(error)


def of_its_own(error: BaseException) -> BaseException:
    """A copy of an exception with the very traceback that it has: several may have raised the one that was raised."""
    return _Copies(_as_it_is).of(error)


def say_whose(error: BaseException, work: Work) -> None:
    """Add to an error that is raised among others, or far from its handler, which work unit it is of."""
    add_note(error, f"Of work {which_of(work)}.")


def add_note(error: BaseException, note: str) -> None:
    """Add a note to an error, once, whatever its class does."""
    notes = object.__getattribute__(error, "__dict__").setdefault("__notes__", [])
    if type(notes) is list and note not in notes:
        notes.append(note)


class _Copies:
    """The copies of an exception and of all that it leads to. Each is made once, however often it is met.

    Args:
        redraw: What becomes of a traceback.
    """

    def __init__(self, redraw: Redraw) -> None:
        self._redraw = redraw
        self._made: dict[int, BaseException] = {}
        # Copies that lead nowhere yet.
        self._open: deque[tuple[BaseException, BaseException]] = deque()

    def of(self, error: BaseException) -> BaseException:
        """The copy of one, complete."""
        copy = self._copy_of(error)
        while self._open:
            self._complete(*self._open.popleft())
        return copy

    def _copy_of(self, error: BaseException) -> BaseException:
        copy = self._made.get(id(error))
        if copy is None:
            try:
                copy = self._unlinked(error)
            except Exception:  # a constructor in C may refuse, and a field be for reading only
                copy = error
            self._made[id(error)] = copy
            self._open.append((error, copy))
        return copy

    def _unlinked(self, error: BaseException) -> BaseException:
        kind: Any = type(error)
        builtin: Any = kind
        while builtin.__flags__ & _HEAP_TYPE:
            builtin = builtin.__base__
        if issubclass(kind, BaseExceptionGroup):
            members = [self._copy_of(one) for one in _MEMBERS.__get__(error)]
            copy: BaseException = builtin.__new__(kind, _MESSAGE.__get__(error), members)
        else:
            copy = builtin.__new__(kind)
        for field in _fields(kind):
            value = _value_in(field, error)
            # A field of a builtin class that was not set reads as None; to set it would change the text.
            if value is not _UNSET and (value is not None or field.__objclass__.__flags__ & _HEAP_TYPE):
                field.__set__(copy, value)
        return copy

    def _complete(self, error: BaseException, copy: BaseException) -> None:
        goes_on = len(self._made) < _MOST
        cause, context, suppressed = _CAUSE.__get__(error), _CONTEXT.__get__(error), _SUPPRESS.__get__(error)
        _CAUSE.__set__(copy, self._copy_of(cause) if goes_on and cause is not None else None)
        _CONTEXT.__set__(copy, self._copy_of(context) if goes_on and context is not None else None)
        _SUPPRESS.__set__(copy, suppressed)
        _TRACEBACK.__set__(copy, self._redraw(_TRACEBACK.__get__(error)))
        _ARGS.__set__(copy, tuple(map(self._value, _ARGS.__get__(error))))
        attributes = object.__getattribute__(error, "__dict__")
        if attributes:
            copied = {name: self._value(value) for name, value in attributes.items()}
            notes = copied.get("__notes__")
            if type(notes) is list:
                copied["__notes__"] = list(notes)
            object.__getattribute__(copy, "__dict__").update(copied)

    def _value(self, value: Any) -> Any:
        """What becomes of an argument or attribute: exceptions and tracebacks among them lead to frames, too."""
        kind = type(value)
        if kind is str or kind is int:
            return value
        if issubclass(kind, BaseException):
            return self._copy_of(value)
        if kind is TracebackType:
            return self._redraw(value)
        if (kind is tuple or kind is list) and any(
            issubclass(type(one), BaseException | TracebackType) for one in value
        ):
            return kind(map(self._value, value))
        return value


_UNSET: Final = object()


@lru_cache(maxsize=256)
def _fields(kind: Any) -> tuple[Any, ...]:
    """The fields of a class of exceptions that are not in its `__dict__`: slots, and those of builtin classes."""
    return tuple(
        field
        for one in kind.__mro__
        for name, field in vars(one).items()
        if (type(field) is MemberDescriptorType or field is _WRITTEN)
        and one is not BaseException
        and one is not BaseExceptionGroup
        # The very object that lacked an attribute, which is kept for hints while the error is on its way.
        and not (one is AttributeError and name == "obj")
    )


def _value_in(field: Any, error: BaseException) -> Any:
    try:
        return field.__get__(error)
    except AttributeError:
        return _UNSET


def _drawn(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback over bare frames. Where it begins in runcue, which has called the handler, that is left out."""
    entries = list(_entries(traceback))
    first = next((index for index, entry in enumerate(entries) if not _is_own(entry)), 0)
    drawn = None
    for entry in reversed(_shortened(entries[first:])):
        if isinstance(entry, int):
            frame, at, line = _frame_for_gap(entry), -1, 1
        else:
            frame, at, line = entry.tb_frame, entry.tb_lasti, max(1, entry.tb_lineno or 1)
            if not _is_bare(frame):
                frame, at = _bare(frame, at, line)
        drawn = TracebackType(drawn, frame, at, line)
    return drawn


def _as_it_is(traceback: TracebackType | None) -> TracebackType | None:
    return traceback


def _as_drawn(traceback: TracebackType | None) -> TracebackType | None:
    """What is left of a traceback without the frames of those who have raised it since it was drawn."""
    while traceback is not None and not _is_bare(traceback.tb_frame):
        traceback = traceback.tb_next
    return traceback


def _entries(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _shortened(entries: list[TracebackType]) -> list[TracebackType | int]:
    """The entries; of too many those at both ends, and between these how many were left out."""
    if len(entries) <= _LONGEST:
        return [*entries]
    half = _LONGEST // 2
    return [*entries[:half], len(entries) - 2 * half, *entries[-half:]]


def _is_own(entry: TracebackType) -> bool:
    return entry.tb_frame.f_code.co_filename.startswith(_OWN)


# What is in the globals of bare frames, and in no others.
_MARK: Final = "runcue's bare frame"
# Of a module, what those that show tracebacks need to find its source.
_SOURCE: Final = ("__name__", "__file__", "__loader__", "__spec__")

# Failures come from few places, over and over, and to make a frame takes 35 µs. Under the identity of the code, which
# each entry keeps alive, the instruction, and the line.
_bare_frames: dict[tuple[int, int, int], tuple[CodeType, FrameType, int]] = {}


def _is_bare(frame: FrameType) -> bool:
    return dict.__contains__(frame.f_globals, _MARK)


def _bare(frame: FrameType, at: int, line: int) -> tuple[FrameType, int]:
    """A frame with the place of another one, and the index of the instruction that has this place."""
    code = frame.f_code
    key = id(code), at, line
    known = _bare_frames.get(key)
    if known is None:
        if len(_bare_frames) >= 1000:
            _bare_frames.clear()
        module = {name: value for name in _SOURCE if (value := dict.get(frame.f_globals, name)) is not None}
        known = _bare_frames[key] = code, *_made(code, _span(code, at, line), module)
    return known[1:]


def _span(code: CodeType, at: int, line: int) -> tuple[int, int, int, int]:
    """The place of an instruction: first line, last line, first column, last column."""
    spans = islice(code.co_positions(), at // 2, None) if at >= 0 else iter(())
    first, last, column, end = next(spans, (None, None, None, None))
    if first is None or last is None or column is None or end is None or not (first, column) <= (last, end):
        return line, line, 0, 0  # as with `-X no_debug_ranges`, or in what was not compiled by Python
    return first, last, column, end


def _made(code: CodeType, span: tuple[int, int, int, int], module: dict[str, Any]) -> tuple[FrameType, int]:
    import ast  # noqa: PLC0415 - only where something has failed

    # The frame of a generator that has not begun: nobody has called it.
    tree = ast.parse("def bare():\n yield")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.lineno = node.end_lineno = max(1, code.co_firstlineno)
        elif isinstance(node, ast.stmt | ast.expr):
            node.lineno, node.end_lineno, node.col_offset, node.end_col_offset = span
    compiled = compile(tree, "bare", "exec", dont_inherit=True)
    body = next(one for one in compiled.co_consts if type(one) is CodeType)
    body = body.replace(co_filename=code.co_filename, co_name=code.co_name, co_qualname=code.co_qualname)
    at = next((2 * index for index, one in enumerate(body.co_positions()) if one == span), -1)
    frame: FrameType = FunctionType(body, {**module, _MARK: True})().gi_frame
    return frame, at


def _frame_for_gap(number: int) -> FrameType:
    code = _frame_for_gap.__code__.replace(
        co_filename="...", co_name=f"{number} calls that are left out", co_firstlineno=1
    )
    return _made(code, (1, 1, 0, 0), {})[0]
