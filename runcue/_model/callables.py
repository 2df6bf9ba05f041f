"""What a user's function is called in messages, with the file and the line where it is.

Must not know: what it is for.
"""

from __future__ import annotations

from functools import partial
from types import CodeType
from typing import Any, Final

from runcue._model.texts import words_of

__all__ = ["located"]

# So many layers (partial objects, decorators, methods) are looked through.
_DEEPEST: Final = 20
_LONGEST: Final = 150


def located(call: Any, name: str = "") -> str:
    """A function by its name, with the place where it is defined as far as that is known: "check (app.py:12)".

    Args:
        call: The function, or what is called like one.
        name: What it is called where its own name would not do.
    """
    inmost = call
    code: CodeType | None = None
    try:
        for _ in range(_DEEPEST):
            code = getattr(inmost, "__code__", None)
            inner = _inside(inmost)
            if inner is None:
                break
            inmost = inner
    except KeyboardInterrupt:
        raise
    except BaseException:
        code = None
    words = _short(name or _name_of(inmost))
    return f"{words} ({_short(code.co_filename)}:{code.co_firstlineno})" if type(code) is CodeType else words


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
