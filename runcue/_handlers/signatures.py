"""Signatures of users' functions in words, and which of their parameters means the work.

Lives here: reading. What an annotation says is found out even where Python cannot resolve it.

Must not know: what a function is for, what it will be called with.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from functools import partial
from types import CellType, FunctionType, UnionType
from typing import Any, Final, Union, get_args, get_origin

from runcue._model.callables import inmost
from runcue._model.texts import describe, in_one_line
from runcue._model.work import Work

__all__ = ["Names", "called", "form_of"]

_WORK: Final = ("Work", "WorkUnit")
"""What an annotation that cannot be resolved ends with, if it means the work."""

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
        text = annotation if isinstance(annotation, str) else getattr(annotation, "__forward_arg__", None)
        if isinstance(text, str):
            try:
                return self._means_work(ast.parse(text.strip(), mode="eval").body)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return False
        if annotation is Work:
            return True
        if hasattr(annotation, "__metadata__"):  # Annotated[Work, ...]
            return self.mean_work(annotation.__origin__)
        return get_origin(annotation) in (Union, UnionType) and any(map(self.mean_work, get_args(annotation)))

    def _means_work(self, said: ast.expr) -> bool:
        """The same for an annotation as it stands in the source."""
        match said:
            case ast.Constant(value=str(text)):
                return self.mean_work(text)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self._means_work(left) or self._means_work(right)
            case ast.Subscript(value=ast.Name() | ast.Attribute() as of, slice=inside):
                inner = inside.elts if isinstance(inside, ast.Tuple) else [inside]
                which = ast.unparse(of).rpartition(".")[2]
                if which == "Annotated":
                    return self._means_work(inner[0])
                return which in ("Optional", "Union") and any(map(self._means_work, inner))
            case ast.Name() | ast.Attribute():
                words = ast.unparse(said).split(".")
                found = self._find(words)
                return (
                    words[-1] in _WORK if found is _MISSING else found is not None and self.mean_work(found)
                )
        return False

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
