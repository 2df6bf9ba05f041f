"""What a user's function is called in messages, with the file and the line where it is.

Must not know: what it is for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from types import CodeType, FrameType
from typing import Any, Final

from runcue._model.texts import words_of

__all__ = [
    "at_line",
    "by_whom",
    "caller",
    "inmost",
    "is_of_runcue",
    "is_own",
    "is_runcues",
    "located",
    "unwrapped",
]

# So many layers (partial objects, decorators, methods) are looked through.
_DEEPEST: Final = 20
_LONGEST: Final = 150
# What is in here is nobody's own code: of runcue, of the standard library, and what was installed.
# (Not by pathlib, which nobody needs at import.)
_RUNCUE: Final = __file__.rpartition(os.sep)[0].rpartition(os.sep)[0] + os.sep
_LIBRARY: Final = os.__file__.rpartition(os.sep)[0] + os.sep
_INSTALLED: Final = ("site-packages", "dist-packages")


def located(call: Any, name: str = "") -> str:
    """A function by its name, with the place where it is defined as far as that is known: "check (app.py:12)".

    Args:
        call: The function, or what is called like one.
        name: What it is called where its own name would not do.
    """
    inner = inmost(call)
    code = _code_of(inner)
    words = _short(name or _name_of(inner))
    return words if code is None else f"{words} ({_short(code.co_filename)}:{code.co_firstlineno})"


def inmost(call: Any) -> Any:
    """The function that a `functools.partial`, a method, a decorated function or an object is a shell of."""
    try:
        for _ in range(_DEEPEST):
            inner = _inside(call)
            if inner is None:
                break
            call = inner
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: S110 - it does not let itself be asked
        pass
    return call


def unwrapped(call: Any) -> Iterator[Any]:
    """A function, and those that it is a decorated form of."""
    for _ in range(100):  # a chain of decorators may lead back to where it began
        yield call
        try:
            call = call.__wrapped__
        except Exception:
            return


def at_line(code: CodeType, line: int) -> str:
    """A line of a function: "fetch (app.py:12)"."""
    return f"{_short(code.co_qualname)} ({_short(code.co_filename)}:{line})"


def caller() -> tuple[CodeType, int] | None:
    """Whoever has called into runcue: code and line of the user's; None if it is not there, or is asyncio itself."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_of_runcue(frame.f_code):
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename.startswith(_LIBRARY):
        return None
    return frame.f_code, frame.f_lineno


def by_whom(by: Any) -> str:
    """Who has cancelled something, as what follows "was cancelled"; "" if that is not known.

    Args:
        by: A phrase, or what `caller` gave.
    """
    return "" if by is None else f" by {by if isinstance(by, str) else at_line(*by)}"


def is_of_runcue(code: CodeType) -> bool:
    """Whether code is part of runcue."""
    return code.co_filename.startswith(_RUNCUE)


def is_runcues(call: Any) -> bool:
    """Whether a function, or what is called like one, is runcue's own."""
    code = _code_of(inmost(call))
    return code is not None and is_of_runcue(code)


def is_own(code: CodeType) -> bool:
    """Whether code is of the program itself, and of no library."""
    name = code.co_filename
    return not name.startswith(("<frozen", _LIBRARY, _RUNCUE)) and not any(one in name for one in _INSTALLED)


def _inside(call: Any) -> Any:
    """What a function is a shell of, None if it is none itself."""
    if isinstance(call, partial):
        return call.func
    for attribute in ("__wrapped__", "__func__"):
        inner = getattr(call, attribute, None)
        if callable(inner):
            return inner
    if hasattr(call, "__code__") or isinstance(call, type):
        return None
    inner = getattr(type(call), "__call__", None)  # noqa: B004 - an object that is called
    return inner if hasattr(inner, "__code__") else None


def _code_of(call: Any) -> CodeType | None:
    try:
        code = getattr(call, "__code__", None)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None
    return code if type(code) is CodeType else None


def _name_of(call: Any) -> str:
    try:
        name = call.__qualname__
    except KeyboardInterrupt:
        raise
    except BaseException:
        name = None
    return name if type(name) is str and name else words_of(call)


def _short(words: str) -> str:
    """A name as it is; of one that is far too long the end, which tells it from others."""
    return words if len(words) <= _LONGEST else f"...{words[-_LONGEST:]}"
