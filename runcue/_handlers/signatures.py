"""Signatures of users' functions in words, and which of their parameters means the work.

Lives here: reading. What an annotation says is found out even where Python cannot resolve it.

Must not know: what a function is for, what it will be called with.
"""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from types import CellType, FunctionType, UnionType
from typing import Any, Final, Union, get_args, get_origin

from runcue._model.callables import inmost
from runcue._model.texts import describe, in_one_line
from runcue._model.work import Work

__all__ = ["Names", "called", "form_of"]

_WORK: Final = ("Work", "WorkUnit")
"""What an annotation that cannot be resolved ends with, if it means the work."""

_PATHS: Final = (
    "Path",
    "PurePath",
    "PosixPath",
    "PurePosixPath",
    "WindowsPath",
    "PureWindowsPath",
    "PathLike",
)
"""Likewise, if it means a path that is no text."""

_LONGEST: Final = 200

_MISSING: Final = object()


def called(call: Any) -> str:
    """The name of a function, as it stands in a line that calls it."""
    return describe(inmost(call) if isinstance(call, partial) else call).rpartition("<locals>.")[2]


def form_of(signature: inspect.Signature) -> str:
    """What a function takes, in a line: "(url: str, page: int = 1)"."""
    takes = [
        one.replace(annotation=_AsWritten(one.annotation)) if isinstance(one.annotation, str) else one
        for one in signature.parameters.values()
    ]
    try:
        return in_one_line(
            str(signature.replace(parameters=takes, return_annotation=signature.empty)), _LONGEST
        )
    except Exception:  # out of the repr of a default
        return "(...)"


class _AsWritten:
    """An annotation that is kept as text, shown as it stands in the source."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class Names:
    """The names that a function sees where it was written.

    Args:
        call: The function, or what is called like one.
    """

    def __init__(self, call: Any) -> None:
        inner = inmost(call)
        function = inner if isinstance(inner, FunctionType) else getattr(inner, "__init__", None)
        self._spaces: list[Mapping[str, Any]] = []
        if isinstance(function, FunctionType):
            cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
            self._spaces = [dict(cells), function.__globals__]

    def mean_work(self, annotation: Any) -> bool:
        """Whether an annotation is that of a work unit, or of that among others (`Work | None`).

        What cannot be resolved counts by its last word.
        """
        return any(
            kind is Work or (isinstance(kind, str) and kind in _WORK) for kind in self._kinds(annotation)
        )

    def take_text(self, annotation: Any) -> bool:
        """Whether what is annotated so may be a text. What cannot be resolved may, unless it is called like a path."""
        kinds = list(self._kinds(annotation))
        return not kinds or any(map(_may_be_text, kinds))

    def _kinds(self, annotation: Any) -> Iterator[Any]:
        """Of what kind it may be: each type by itself, or what it is called where it cannot be resolved."""
        text = annotation if isinstance(annotation, str) else getattr(annotation, "__forward_arg__", None)
        if isinstance(text, str):
            try:
                yield from self._kinds_in(ast.parse(text.strip(), mode="eval").body)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return
        elif hasattr(annotation, "__metadata__"):  # Annotated[Work, ...]
            yield from self._kinds(annotation.__origin__)
        elif (kind := get_origin(annotation)) in (Union, UnionType):
            for one in get_args(annotation):
                yield from self._kinds(one)
        else:
            yield annotation if kind is None else kind

    def _kinds_in(self, said: ast.expr) -> Iterator[Any]:
        """The same for an annotation as it stands in the source."""
        match said:
            case ast.Constant(value=None):
                yield None
            case ast.Constant(value=str(text)):
                yield from self._kinds(text)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                yield from self._kinds_in(left)
                yield from self._kinds_in(right)
            case ast.Subscript(value=ast.Name() | ast.Attribute() as of, slice=inside):
                inner = inside.elts if isinstance(inside, ast.Tuple) else [inside]
                which = ast.unparse(of).rpartition(".")[2]
                if which == "Annotated":
                    yield from self._kinds_in(inner[0])
                elif which in ("Optional", "Union"):
                    for one in inner:
                        yield from self._kinds_in(one)
                else:
                    yield from self._kinds_in(of)
            case ast.Name() | ast.Attribute():
                words = ast.unparse(said).split(".")
                found = self._find(words)
                if found is not _MISSING:
                    yield from self._kinds(found)
                else:
                    yield getattr(builtins, words[0], words[0]) if len(words) == 1 else words[-1]

    def _find(self, path: list[str]) -> Any:
        space = next((space for space in self._spaces if path[0] in space), {})
        try:
            found = space[path[0]]
            if isinstance(found, CellType):
                found = found.cell_contents
            for name in path[1:]:
                found = getattr(found, name)
        except Exception:  # it is not there yet, or for type checkers alone
            return _MISSING
        return found


def _may_be_text(kind: Any) -> bool:
    if isinstance(kind, str):
        return kind not in _PATHS
    if kind is None or not isinstance(kind, type) or kind is Any:
        return kind is not None
    try:
        return issubclass(str, kind) or issubclass(kind, str)
    except Exception:  # of a protocol, say
        return True
