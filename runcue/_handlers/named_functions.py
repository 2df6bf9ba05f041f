"""Functions that say something of a work unit (its outputs, its key, its priority) and are given what they name.

Lives here: `named`, which makes a function of the work of each; a user writes one of the work, or of the params that it
needs.

Must not know: what it says, when it is asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from os import PathLike
from types import GeneratorType
from typing import Any, Final

from runcue._handlers.parameters import Parameters
from runcue._handlers.signatures import called, form_of
from runcue._model.callables import located
from runcue._model.checks import nearest
from runcue._model.errors import ConfigurationError, InvalidParams
from runcue._model.signature import method_hint, signature_of
from runcue._model.texts import shortened, words_of
from runcue._model.work import Work

__all__ = ["NamedFunction", "named"]

_SEVERAL: Final = (list, tuple, set, frozenset)

_SHOWN: Final = "<Work "
"""How the repr of a work unit begins."""

_BY_PLACE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class NamedFunction:
    """A function of the work that gives another one what that names.

    Attributes:
        __wrapped__: That one, as its user wrote it.
    """

    __slots__ = ("__wrapped__", "_by_place", "_names", "_other", "_required", "_rest", "_what")

    def __init__(
        self, function: Callable[..., Any], what: str, takes: list[inspect.Parameter], other: str | None
    ) -> None:
        self.__wrapped__ = function
        self._what = what
        self._other = other
        named = [one for one in takes if one.kind is not one.VAR_KEYWORD]
        self._rest = len(named) < len(takes)
        self._names = tuple(one.name for one in named)
        self._by_place = tuple(one.name for one in named if one.kind is one.POSITIONAL_ONLY)
        self._required = frozenset(one.name for one in named if one.default is one.empty)

    def sees_work(self, params: Mapping[str, Any]) -> bool:
        """Whether it is given the work unit that has these params, and not some of them alone."""
        return "work" in self._names or (self._other is not None and self._other not in params)

    def __call__(self, work: Work) -> Any:
        """Call it.

        Raises:
            InvalidParams: It needs a param that there is not, or shows the work unit where a param was meant.
        """
        params = work.params
        given: dict[str, Any] = {}
        as_work: str | None = None
        for name in self._names:
            if name == "work":
                given[name] = work
            elif name in params:
                given[name] = params[name]
            elif name == self._other:
                given[name], as_work = work, name
            elif name in self._required:
                raise InvalidParams(
                    f"{self._what}, by {located(self.__wrapped__)}, needs the param {name!r} of a work unit with "
                    f"params={words_of(params)}."
                )
        if self._rest:
            given = {**params, **given}
        by_place = [given.pop(name) for name in self._by_place if name in given]
        answer = self.__wrapped__(*by_place, **given)
        return answer if as_work is None else self._without_work(answer, work, as_work)

    def _without_work(self, answer: Any, work: Work, name: str) -> Any:
        """What it has returned, unless the work unit was formatted into that: then a param was meant.

        Args:
            answer: That.
            work: The work unit.
            name: As what it was given.
        """
        if isinstance(answer, GeneratorType):
            return (self._without_work(one, work, name) for one in answer)
        for one in answer if type(answer) in _SEVERAL else (answer,):
            text = one if isinstance(one, str) else str(one) if isinstance(one, PathLike) else ""
            if _SHOWN in text and repr(work) in text:
                params = ", ".join(map(str, work.params))
                raise InvalidParams(
                    f"{self._what}, by {located(self.__wrapped__)}, is given the work unit as {name!r}, since there is "
                    f"no such param ({shortened(params, 100) or 'it has none'}), and has put it into "
                    f"{words_of(one)}. Name the param that is meant, or take {name}.params[...]."
                )
        return answer


class _OfWork(NamedFunction):
    """The same for a function of the work, by another name."""

    __slots__ = ()

    def sees_work(self, params: Mapping[str, Any]) -> bool:
        return True

    def __call__(self, work: Work) -> Any:
        answer = self.__wrapped__(work)
        if type(answer) is str and _SHOWN not in answer:  # nearly always, which is seen without a call
            return answer
        return self._without_work(answer, work, self._names[0])


class _OfOne(NamedFunction):
    """The same for a function of one param that all its work units have, which is most frequent."""

    __slots__ = ()

    def __call__(self, work: Work) -> Any:
        params = work.params
        (name,) = self._names
        return self.__wrapped__(params[name]) if name in params else super().__call__(work)


def named(function: Callable[..., Any], what: str, parameters: Parameters | None) -> Callable[[Work], Any]:
    """A function of the work, of one whose parameters say what it is given.

    A parameter called `work` gets the work, one that is called as a param is, that param. Of the others those that have
    a default keep it, and a single one gets the work.

    Args:
        function: The function, or what is called like one.
        what: What it is called in messages, as in "outputs of task 'fetch'".
        parameters: What the handler takes beside the work or in place of it; None: the work alone.

    Raises:
        ConfigurationError: It needs what there is not.
    """
    signature = signature_of(function)
    if signature is None:
        return function
    takes = [one for one in signature.parameters.values() if one.kind is not one.VAR_POSITIONAL]
    if not takes and signature.parameters:
        return function  # it takes whatever it is given
    form = form_of(signature)
    words = f"{what}, by {called(function)}{form},"
    if not takes:
        raise ConfigurationError(
            f"{words} must take (work), or params of it by their names; what is always the same is given as a value."
        )
    if hint := method_hint(signature, "this call"):
        raise ConfigurationError(f"{words} must take (work), or params of it by their names. {hint}")
    first, by_place = takes[0], takes[0].kind in _BY_PLACE
    if len(takes) == 1 and first.name == "work" and by_place:
        return function
    known = () if parameters is None else parameters.names
    needed = [one.name for one in takes if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    others = [name for name in needed if name != "work" and name not in known]
    other = others[0] if others and not any(one.name == "work" for one in takes) else None
    if parameters is not None and not parameters.takes_rest:
        for name in others:
            near = nearest(name, known)
            if near or other is None or len(others) > 1:
                hint = f"did you mean {near!r}?" if near else f"it takes {', '.join(known) or 'none'}."
                raise ConfigurationError(
                    f"{words} asks for {name!r}, which {parameters.words} has no parameter for; {hint}"
                )
        # To a handler that takes the work there may be params that it does not name.
        if other is not None and len(takes) == 1 and by_place and not parameters.takes_work:
            return _OfWork(function, what, takes, other)
    elif other is not None and len(others) > 1 and other != first.name:
        other = None
    if len(takes) == 1 and first.name in known and by_place:
        return _OfOne(function, what, takes, None)
    return NamedFunction(function, what, takes, other)
