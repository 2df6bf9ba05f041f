"""What is plainly no answer, whoever was asked and whatever for, and what to write instead.

Lives here: telling a function that was not called, an iterator of which nothing was asked, and their like from values.
All of these are true in Python, so that without this a mistake would count as a yes.

Must not know: who has asked, what follows from the answer.
"""

from __future__ import annotations

import dis
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from functools import lru_cache, partial
from inspect import CO_GENERATOR
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GeneratorType,
    MethodType,
    NotImplementedType,
)
from typing import Any, Final

from runcue._model.texts import words_of

__all__ = ["NEVER_RUN", "has_truth", "is_reason", "mistake_in", "never_returns", "short"]

NEVER_RUN: Final = (GeneratorType, AsyncGeneratorType)
"""What a function with a `yield` in it returns, of which nothing has run."""

_SHOWN: Final = 100

_NOT_CALLED: Final = (FunctionType, MethodType, BuiltinFunctionType, partial, type)


def mistake_in(answer: Any) -> str | None:
    """Why a value is no answer of any kind, as what a function did, with what to write; None if it may be one.

    Args:
        answer: What a function has returned.
    """
    kind = type(answer)
    if kind in (bool, int, str, float):
        return None
    if kind in NEVER_RUN:
        return (
            "returned a generator, of which nothing has run; put any(...) or all(...) around it, or write `return` in "
            "place of `yield`"
        )
    if kind in (NotImplementedType, type(...)):
        return f"returned {short(answer)}"
    # By its kind, not isinstance(): a proxy may raise when it is asked for its class.
    if issubclass(kind, BaseException) or (issubclass(kind, type) and issubclass(answer, BaseException)):
        return f"returned an exception ({short(answer)}); raise it"
    if issubclass(kind, _NOT_CALLED):
        return f"returned {short(answer)} itself; call it"
    if issubclass(kind, Future):
        return (
            "returned a future of a thread; return its result(), in an `async def` by asyncio.wrap_future()"
        )
    if issubclass(kind, (Iterator, AsyncIterator)) and not has_truth(kind):
        return f"returned {short(answer)}, of which nothing was asked; put any(...) or all(...) around it"
    return None


def is_reason(answer: object) -> bool:
    """Whether it is an answer with a reason beside it, in a tuple or a list, which is true whatever it says."""
    return (
        isinstance(answer, (tuple, list))
        and len(answer) == 2
        and type(answer[0]) is bool
        and isinstance(answer[1], str)
    )


def has_truth(kind: type) -> bool:
    """Whether objects of this kind say themselves whether they are true: all others are."""
    return hasattr(kind, "__bool__") or hasattr(kind, "__len__")


def never_returns(call: Callable[..., Any]) -> bool:
    """Whether it is certain that a function, when it ends, gives nothing: no `return` in it has a value.

    A lambda that gives None says so itself, and what a generator function yields is what it gives.
    """
    inmost: Any = call
    while isinstance(inmost, (partial, MethodType)):
        inmost = inmost.func if isinstance(inmost, partial) else inmost.__func__
    if not isinstance(inmost, FunctionType):
        inmost = getattr(type(inmost), "__call__", None)  # noqa: B004 - an object that is called
    code = getattr(inmost, "__code__", None)
    if type(code) is not CodeType or code.co_name == "<lambda>" or code.co_flags & CO_GENERATOR:
        return False
    return _gives_nothing(code)


@lru_cache(maxsize=128)
def _gives_nothing(code: CodeType) -> bool:
    """Whether all ends of a function give None. Asked once for functions that are made again and again."""
    steps = [
        step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "NOP", "EXTENDED_ARG")
    ]
    ends = [number for number, step in enumerate(steps) if step.opname in ("RETURN_VALUE", "RETURN_CONST")]
    # Where a jump leads to the `return` itself, its value comes from elsewhere: `return x if y else None`. From Python
    # 3.12 on a constant is part of the `return`.
    return (
        bool(ends)
        and not any(steps[end].is_jump_target for end in ends if steps[end].opname == "RETURN_VALUE")
        and all(
            step.opname in ("LOAD_CONST", "RETURN_CONST") and step.argval is None
            for step in (steps[end if steps[end].opname == "RETURN_CONST" else end - 1] for end in ends)
        )
    )


def short(answer: object) -> str:
    """What somebody has returned, in few words."""
    words = words_of(answer)
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."
