"""What a user's function takes, whatever it is: a method, a partial, a decorated function, an object that is called.

Lives here: `signature_of`, and `plainly_takes`, which need not ask it. A decorator that hands on whatever it is given
takes what the function in it does; one with parameters of its own takes those, whatever `functools.wraps` says of it.

Must not know: what a function is for, what it will be called with.
"""

from __future__ import annotations

import inspect
import sys
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final

__all__ = ["method_hint", "plainly_takes", "signature_of"]

# So many layers (partial objects, decorators, methods) are looked through.
_DEEPEST: Final = 100

_GENERATES: Final = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def signature_of(call: Any) -> inspect.Signature | None:
    """The signature of a function, None if it does not tell."""
    try:
        return _signature(_teller(call, _DEEPEST))
    except Exception:  # a builtin, say; calling it will tell
        return None


def plainly_takes(call: Any, number: int) -> bool:
    """Whether a function takes so many arguments, by its code alone: a signature takes fifteen times as long.

    Args:
        call: The function. Of a generator function, or a method of no object yet, something else is to be said.
        number: So many, without names.
    """
    is_bound = type(call) is MethodType
    function = call.__func__ if is_bound else call
    if type(function) is not FunctionType or function.__dict__:
        return False
    code = function.__code__
    most = code.co_argcount
    return (
        most - len(function.__defaults__ or ()) <= number + is_bound <= most
        and not code.co_kwonlyargcount
        and not code.co_flags & _GENERATES
        and (is_bound or code.co_varnames[:1] not in (("self",), ("cls",)))
    )


def method_hint(signature: inspect.Signature | None, register: str) -> str:
    """What to do about a function that is a method of no object yet; "" about any other.

    Args:
        signature: Of the function.
        register: The call that registers it.
    """
    first = next(iter(signature.parameters.values()), None) if signature is not None else None
    if first is None or first.name not in ("self", "cls") or first.annotation is not first.empty:
        return ""
    return f"A method belongs to an object: make one, and give {register} its bound method."


def _signature(call: Any) -> inspect.Signature:
    # Of a class all is followed: what is decorated there is its __init__.
    follow = isinstance(call, type)
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # noqa: PLC0415 - there is none before

        # What is imported for type checkers alone would raise there.
        return inspect.signature(call, follow_wrapped=follow, annotation_format=Format.FORWARDREF)
    return inspect.signature(call, follow_wrapped=follow)


def _teller(call: Any, depth: int) -> Any:
    """What takes the same as a function, and says so by itself.

    Raises:
        RecursionError: A chain of decorators leads back to where it began.
    """
    if depth == 0:
        raise RecursionError
    if isinstance(call, MethodType):
        inner = _teller(call.__func__, depth - 1)
        return call if inner is call.__func__ else MethodType(inner, call.__self__)
    if isinstance(call, partial):
        inner = _teller(call.func, depth - 1)
        return call if inner is call.func else partial(inner, *call.args, **call.keywords)
    if isinstance(call, type) or hasattr(call, "__signature__"):
        return call
    if callable(wrapped := getattr(call, "__wrapped__", None)):
        inner = _teller(wrapped, depth - 1)
        return inner if _hands_on(call, inner) else call
    method = getattr(type(call), "__call__", None)  # noqa: B004 - an object that is called
    return call if not isinstance(method, FunctionType) else _teller(MethodType(method, call), depth - 1)


def _hands_on(call: Any, inner: Any) -> bool:
    """Whether a decorated function takes what the one in it does: it has nothing of its own that must be given."""
    try:
        takes = _signature(call).parameters.values()
    except Exception:  # what is not written in Python tells nothing
        return True
    named = [one for one in takes if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    if len(named) == len(takes):
        return False
    theirs = _signature(inner).parameters
    return all(
        one.name in theirs or (one.kind is one.KEYWORD_ONLY and one.default is not one.empty) for one in named
    )
