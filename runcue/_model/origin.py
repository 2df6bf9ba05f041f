"""Where a handler or a callback comes from, and whether another one is its former self.

Lives here: `Origin`, and `Execution`, all of it that is not the function. Code that is executed again defines anew what
it has registered before: a cell of a notebook that is run again, a module that is reloaded. Then the former function is
to go. In one execution, two functions of one name are two.

Must not know: what is registered, or where.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from inspect import unwrap
from types import BuiltinMethodType, CodeType, FunctionType, MethodType
from typing import Any, Final

__all__ = ["Execution", "Origin", "is_bound_otherwise", "is_made_again"]

# Of these, and of paths, another value makes a function that holds it another one.
_PLAIN: Final = (str, bytes, int, float, complex, type(None), os.PathLike)
# So far functions within functions are looked into.
_DEEPEST: Final = 8


class Execution:
    """One execution of the code that describes something to runcue: of a cell of a notebook, or of a module.

    What makes it another one is the number of the cell, in IPython and all notebooks that are built on it, or the
    `__spec__` of a module, of which a reload makes a new one: of the module that describes, or of the one in which the
    functions are defined that are described.

    Args:
        calls: The functions, methods or objects that are described.
    """

    __slots__ = ("_cell", "_names", "_specs")

    def __init__(self, *calls: Callable[..., Any]) -> None:
        self._cell, names = _cell()
        caller = _caller()
        # Where a value that is still in use has a name.
        self._names = caller if names is None else names
        self._specs = {
            space["__name__"]: space.get("__spec__")
            for space in (caller, *map(_globals_of, calls))
            if "__name__" in space
        }

    def is_later(self, other: Execution) -> bool:
        """Whether it is another execution than the other, which came before it, of the same code or of other code."""
        if self._cell != other._cell:
            return True
        return any(self._specs.get(name, spec) is not spec for name, spec in other._specs.items())


class Origin(Execution):
    """A function as it was registered, and the execution in which it was.

    Args:
        call: The function, method or object.

    Attributes:
        call: As given.
    """

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        super().__init__(call)

    def is_anew(self, other: Origin) -> bool:
        """Whether this is another one, defined anew in a later execution: of the same name, in the same module."""
        return self.is_later(other) and self._compare(other.call, bound=False)

    def replaces(self, other: Origin) -> bool:
        """Whether the other is its former self, what it is bound to included.

        That is the object of a method, the arguments of a `functools.partial`, what a function made in another one has
        from there. Other text or numbers make it another one, and so does an object that is still in use under a name.
        """
        return self.is_later(other) and self._compare(other.call, bound=True)

    def _compare(self, former: Any, *, bound: bool) -> bool:
        try:
            return self._are_same(former, self.call, bound=bound)
        except Exception:  # out of the comparison of objects of the user's
            return False

    def _are_same(self, one: Any, other: Any, *, bound: bool, depth: int = 0) -> bool:
        """Whether the second of two functions is the first one, defined again."""
        if one is other or depth > _DEEPEST:
            return True
        if isinstance(one, MethodType) and isinstance(other, MethodType):
            there = not bound or self._are_alike(one.__self__, other.__self__, depth)
            return there and self._are_same(one.__func__, other.__func__, bound=bound, depth=depth + 1)
        if isinstance(one, partial) and isinstance(other, partial):
            there = not bound or self._are_alike(
                (one.args, tuple(one.keywords.items())), (other.args, tuple(other.keywords.items())), depth
            )
            return there and self._are_same(one.func, other.func, bound=bound, depth=depth + 1)
        if isinstance(one, BuiltinMethodType) and isinstance(other, BuiltinMethodType):
            there = not bound or self._are_alike(one.__self__, other.__self__, depth)
            return there and one.__qualname__ == other.__qualname__
        one, other = _innermost(one), _innermost(other)
        if isinstance(one, FunctionType) and isinstance(other, FunctionType):
            if one is other:
                return True
            return _definition(one) == _definition(other) and (
                not bound or self._hold_the_same(one, other, depth)
            )
        if isinstance(one, type) or isinstance(other, type):
            return isinstance(one, type) and isinstance(other, type) and _name(one) == _name(other)
        return _name(type(one)) == _name(type(other)) and not (bound and self._is_in_use(one))

    def _hold_the_same(self, one: FunctionType, other: FunctionType, depth: int) -> bool:
        """Whether two functions have the same from the functions that made them."""
        if "<" not in one.__qualname__:
            return True  # it is what its module calls by that name
        held, now = _held(one), _held(other)
        return all(self._are_alike(value, now[name], depth) for name, value in held.items() if name in now)

    def _are_alike(self, one: Any, other: Any, depth: int) -> bool:
        """Whether a value may be the former one of another."""
        if one is other or depth > _DEEPEST:
            return True
        if isinstance(one, _PLAIN) or isinstance(other, _PLAIN):
            return type(one) is type(other) and bool(one == other)
        if isinstance(one, tuple) and isinstance(other, tuple):
            return len(one) == len(other) and all(
                self._are_alike(first, second, depth + 1) for first, second in zip(one, other, strict=True)
            )
        if callable(one) and callable(other):
            return self._are_same(one, other, bound=True, depth=depth + 1)
        return _name(type(one)) == _name(type(other)) and not self._is_in_use(one)

    def _is_in_use(self, thing: object) -> bool:
        # The names that IPython keeps results by begin with an underscore.
        return any(value is thing for name, value in [*self._names.items()] if not name.startswith("_"))


def is_bound_otherwise(one: Any, other: Any) -> bool:
    """Whether two functions are the same but for the objects that they belong to, or what their closures hold."""
    one, other = _innermost(one), _innermost(other)
    if isinstance(one, MethodType) and isinstance(other, MethodType):
        return one.__self__ is not other.__self__
    if one is other or not (isinstance(one, FunctionType) and isinstance(other, FunctionType)):
        return False
    held, now = dict(_cells(one)), dict(_cells(other))
    return any(name in now and not is_made_again(value, now[name]) for name, value in held.items())


def is_made_again(one: Any, other: Any, depth: int = 0) -> bool:
    """Whether two functions are of the same lines of code and hold the same: either does what the other does."""
    # One that calls itself holds itself.
    if one is other or depth > _DEEPEST:
        return True
    if isinstance(one, FunctionType) and isinstance(other, FunctionType):
        held, now = _held(one), _held(other)
        return (
            one.__code__ is other.__code__
            and held.keys() == now.keys()
            and all(is_made_again(value, now[name], depth + 1) for name, value in held.items())
        )
    if isinstance(one, MethodType) and isinstance(other, MethodType):
        return one.__self__ is other.__self__ and is_made_again(one.__func__, other.__func__, depth)
    return type(one) is type(other) and isinstance(one, _PLAIN) and bool(one == other)


def _cell() -> tuple[int | None, Mapping[str, Any] | None]:
    """The number of the cell that is being executed, and its names; None outside of IPython."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return (None, None) if shell is None else (shell.execution_count, shell.user_ns)


def _caller() -> Mapping[str, Any]:
    """The names of the module that has called runcue."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "runcue":
        frame = frame.f_back
    return frame.f_globals


def _innermost(call: Any) -> Any:
    """What a function is a decorated form of."""
    try:
        return call if isinstance(call, MethodType) else unwrap(call)
    except Exception:  # a chain of decorators that leads back to where it began
        return call


def _globals_of(call: Any) -> Mapping[str, Any]:
    inmost = _innermost(call)
    inmost = inmost.__func__ if isinstance(inmost, MethodType) else inmost
    return inmost.__globals__ if isinstance(inmost, FunctionType) else {}


def _name(thing: Any) -> tuple[str, str]:
    return thing.__module__, thing.__qualname__


def _definition(function: FunctionType) -> tuple[Any, ...]:
    """What a function is known by: its name, or its code where that is no name of its own."""
    own = function.__qualname__.rpartition(".")[2] != "<lambda>"
    return *_name(function), None if own else _code(function.__code__)


def _code(code: CodeType) -> tuple[Any, ...]:
    """What some code does, wherever it stands."""
    constants = tuple((type(one), _code(one) if isinstance(one, CodeType) else one) for one in code.co_consts)
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars


def _held(function: FunctionType) -> dict[str, Any]:
    """What a function has from the one that made it: by closures, or as defaults."""
    return dict(_each_held(function))


def _cells(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:
            continue  # it is not set yet


def _each_held(function: FunctionType) -> Iterator[tuple[str, Any]]:
    yield from _cells(function)
    for number, value in enumerate(function.__defaults__ or ()):
        yield f"default {number}", value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield f"default {name}", value
