"""The code of a handler as digests: what it says itself, not what it calls.

How it goes about it: a handler is taken apart into its layers (a `partial`, a bound method, a decorator that uses
`functools.wraps`, the function). Of each function count its source text and what it is bound to: defaults, what it has
from the function that made it, arguments of a `partial`, the object of a method. Such a value is told as params are, by
the exact encoding; a function among them that has no name of its own is taken apart as well.

The text counts as it stands, from `def` to the last line, without its indentation: a comment is a change, and a line of
a decorator is none. Bytecode would not do: it is another one in each version of Python, and tells of no default.

Lives here: `digests_of_code`, and finding the text of a function in its file.

Must not know: stamps, work units, tasks.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from inspect import CO_VARARGS, CO_VARKEYWORDS
from textwrap import dedent
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

from runcue._artifacts.artifact import Artifact
from runcue._freshness.encoding import digest_of_text, digest_of_value, is_found_by_name
from runcue._model.callables import located
from runcue._model.command import Command
from runcue._model.errors import ArtifactError, ConfigurationError

__all__ = ["digests_of_code"]

_REMEDY: Final = (
    "Let the handler take it from a global name or from its params, or use digest() without code=True."
)
_DEEPEST: Final = 50
_LAMBDA: Final = "<lambda>"


class _NoSource(Exception):
    """The text of a function that cannot be had, and why."""


def digests_of_code(handler: Callable[..., Any], who: str) -> dict[str, str]:
    """The digests of the parts of a handler's code, by what the parts are called in messages.

    Args:
        handler: The handler, as it was registered.
        who: Whose it is, for messages.

    Raises:
        ConfigurationError: The source of a part cannot be had, or a value cannot be told exactly.
    """
    reader = _Reader(who)
    try:
        reader.take_apart(handler)
    except _NoSource as problem:
        raise ConfigurationError(
            f"digest(code=True) needs the source of {who}, {located(handler)}: {problem}. Write it as a `def` in a "
            "file, or use digest() without code=True."
        ) from None
    except ArtifactError as error:
        raise ConfigurationError(str(error)) from None
    return reader.parts


class _Reader:
    """Takes one handler apart.

    Attributes:
        parts: The digests so far.
    """

    def __init__(self, who: str) -> None:
        self.parts: dict[str, str] = {}
        self._who = who
        # By identity, with the callable itself, or another one could get its identity meanwhile.
        self._known: dict[int, tuple[object, str]] = {}

    def take_apart(self, call: Any) -> str:
        """Note what a callable says itself, layer by layer. Returns what it is called."""
        known = self._known.get(id(call))
        if known is not None:
            return known[1]
        if len(self._known) >= _DEEPEST:
            raise _NoSource(f"it has more than {_DEEPEST} layers")
        name = self._name_for(call)
        self._known[id(call)] = call, name
        if isinstance(call, Command):
            self._note(f"the text of {name}", "text", call.text)
            if call.cwd is not None:
                self._note(f"the folder of {name}", "cwd", call.cwd)
            if call.env:
                self._note(f"the variables of {name}", "env", call.env)
        elif isinstance(call, partial):
            for number, value in enumerate(call.args):
                self._note(f"argument {number} of {name}", f"args[{number}]", value)
            for key, value in call.keywords.items():
                self._note(f"argument {key!r} of {name}", key, value)
            self.take_apart(call.func)
        elif isinstance(call, MethodType):
            self._note(f"the object of {name}", "self", call.__self__)
            self.take_apart(call.__func__)
        elif isinstance(call, FunctionType):
            self._read(call, name)
        elif callable(inner := getattr(call, "__wrapped__", None)):
            # A shell that is not written in Python, such as a cache.
            self._put(f"the kind of {name}", _kind_of(call))
            self.take_apart(inner)
        elif not isinstance(call, type) and isinstance(inner := _call_of(call), FunctionType):
            self._note(f"the object of {name}", "self", call)
            self.take_apart(inner)
        else:
            raise _NoSource(
                "a class is no function" if isinstance(call, type) else "it is not written in Python"
            )
        return name

    def _name_for(self, call: Any) -> str:
        """What a callable is called: of functions of one name, each but the first has a number behind it."""
        if not isinstance(call, FunctionType):
            own = getattr(call, "__name__", None)
            return own if isinstance(own, str) else type(call).__name__
        # Not `__name__`, which a decorator takes over from what it decorates.
        own = call.__code__.co_name
        same = sum(
            isinstance(one, FunctionType) and one.__code__.co_name == own for one, _ in self._known.values()
        )
        return f"{own} ({same + 1})" if same else own

    def _read(self, function: FunctionType, name: str) -> None:
        self._put(f"the source of {name}", _source_of(function))
        code = function.__code__
        positional = code.co_varnames[: code.co_argcount]
        defaults = function.__defaults__ or ()
        named = zip(positional[len(positional) - len(defaults) :], defaults, strict=True)
        for argument, value in (*named, *(function.__kwdefaults__ or {}).items()):
            self._note(f"the default {argument!r} of {name}", argument, value)
        for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if variable == "__class__":
                continue  # what `super()` calls
            try:
                value = cell.cell_contents
            except ValueError:
                raise ArtifactError(
                    f"digest(code=True) compares {variable!r}, which {self._who} has from the function around it and "
                    "which has no value yet. Set it before the task is registered."
                ) from None
            self._note(f"the value of {variable!r} around {name}", variable, value)
        inner = getattr(function, "__wrapped__", None)
        if callable(inner):
            self.take_apart(inner)

    def _note(self, what: str, path: str, value: Any) -> None:
        """Note a value that a function is bound to.

        Args:
            what: Which one it is.
            path: The same as the beginning of the path of a value in it.
            value: The value.
        """
        if isinstance(value, ModuleType):
            self._put(what, value.__name__)
        elif _is_runcues(value):
            self._put(what, _kind_of(value))
        elif isinstance(value, partial) or (isinstance(value, FunctionType) and not is_found_by_name(value)):
            self._put(what, self.take_apart(value))
        else:
            self.parts[what] = digest_of_value(value, f"In {self._who}, {path}", _REMEDY)

    def _put(self, what: str, text: str) -> None:
        self.parts[what] = digest_of_text(text)


def _is_runcues(value: object) -> bool:
    """Whether it is of runcue's own, but for artifacts and handles: a handler calls a cue, and is not made by it."""
    own = any(base.__module__.partition(".")[0] == "runcue" for base in type(value).__mro__)
    return own and not isinstance(value, (Artifact, str))


def _call_of(thing: object) -> Any:
    """What an object does that is called."""
    return getattr(type(thing), "__call__", None)  # noqa: B004 - the function itself is wanted


def _kind_of(thing: object) -> str:
    kind = type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"


class _Span(NamedTuple):
    """Where a function stands in its file.

    Attributes:
        name: Its name.
        form: What it takes; see `_form_of`.
        lines: The first line of its text and the last.
        columns: Of a lambda: where it begins in the first of them, and ends in the last one, in bytes; else None.
    """

    name: str
    form: tuple[int, int, bool, bool]
    lines: tuple[int, int]
    columns: tuple[int, int] | None

    def text(self, lines: list[str]) -> str:
        """What stands there."""
        first, last = self.lines
        found = lines[first - 1 : last]
        if self.columns is None:
            return dedent("".join(found)).rstrip()
        begin, end = self.columns
        found[-1] = found[-1].encode()[:end].decode()
        found[0] = found[0].encode()[begin:].decode()
        return "".join(found)


def _source_of(function: FunctionType) -> str:
    """The text of a function.

    Raises:
        _NoSource: It cannot be had.
    """
    code = function.__code__
    linecache.checkcache(code.co_filename)
    # All that exec() and -c run has one name; from Python 3.13 on the text of -c is found by it, whoever asks.
    is_nameless = code.co_filename == "<string>"
    lines = [] if is_nameless else linecache.getlines(code.co_filename, function.__globals__)
    if not lines:
        raise _NoSource(f"there is no file {code.co_filename!r} to read it from (was it made by exec()?)")
    form = code.co_argcount, code.co_kwonlyargcount, *(bool(code.co_flags & one) for one in _MORE)
    last = max((line for *_, line in code.co_lines() if line is not None), default=code.co_firstlineno)
    try:
        spans = _spans_in("".join(lines)).get(code.co_firstlineno, ())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _NoSource(f"{code.co_filename} cannot be read as Python ({error})") from None
    texts = {
        span.text(lines)
        for span in spans
        if span.name == code.co_name and span.form == form and span.lines[1] >= last
    }
    if not texts:
        raise _NoSource(
            f"it is not in line {code.co_firstlineno} of {code.co_filename}, which may have changed since it was read"
        )
    if len(texts) > 1:
        raise _NoSource("several lambdas begin in that line, and nobody knows which of them it is")
    return texts.pop()


_MORE: Final = (CO_VARARGS, CO_VARKEYWORDS)


@lru_cache(maxsize=1)  # many tasks of one file are registered one after the other
def _spans_in(source: str) -> dict[int, list[_Span]]:
    """All functions of a file, by the line in which the code of each begins: that of its first decorator."""
    spans: dict[int, list[_Span]] = {}
    for line, span in _functions_in(ast.parse(source)):
        spans.setdefault(line, []).append(span)
    return spans


def _functions_in(tree: ast.AST) -> Iterator[tuple[int, _Span]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            lines = node.lineno, node.end_lineno or node.lineno
            columns = node.col_offset, node.end_col_offset or 0
            yield node.lineno, _Span(_LAMBDA, _form_of(node.args), lines, columns)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            begins = node.decorator_list[0].lineno if node.decorator_list else node.lineno
            lines = node.lineno, node.end_lineno or node.lineno
            yield begins, _Span(node.name, _form_of(node.args), lines, None)


def _form_of(taken: ast.arguments) -> tuple[int, int, bool, bool]:
    """How many arguments a function takes by position, how many by name alone, and whether it takes any others."""
    return (
        len(taken.posonlyargs) + len(taken.args),
        len(taken.kwonlyargs),
        taken.vararg is not None,
        taken.kwarg is not None,
    )
