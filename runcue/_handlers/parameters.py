"""What a handler is called with: the work unit, the params by their names, or both.

Lives here: `parameters_of`, which reads it off a signature, and `Parameters`, which puts in defaults, binds what
a call is given, and says what is wrong with either.

Must not know: tasks, what params mean, where a handler runs.
"""

from __future__ import annotations

import inspect
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import partial
from typing import Any, Final

from runcue._handlers.signatures import Names, called, form_of
from runcue._model.callables import inmost
from runcue._model.checks import nearest
from runcue._model.errors import ConfigurationError, InvalidParams
from runcue._model.kept_errors import add_note
from runcue._model.signature import method_hint, signature_of
from runcue._model.texts import describe, how_many, listed, shortened, words_of
from runcue._model.work import Work

__all__ = ["Parameters", "check_annotated", "hint_at_work", "parameters_of"]

_LONGEST: Final = 200

_MISSING: Final = object()

_ANYTHING: Final = ("Any", "object", "typing.Any")

_CONTAINERS: Final = (list, dict, set, bytearray, deque, defaultdict, OrderedDict, Counter)
"""What is copied where it is a default. What a class of the user's is like, a copy of it may not be."""


class Parameters:
    """What a handler takes that is filled in from params.

    Params are complete from the submission on: who joins whom, what digests say and what functions of the params are
    given is the same whether a default was written out or not.

    Attributes:
        takes_work: Whether its first parameter gets the work.
        names: Those that are filled by name, in the order of the signature.
        defaults: The values of those that may be left out.
        takes_rest: Whether all other params are taken, too (`**params`).
        words: How it is called, for messages: "fetch(url: str, page: int = 1)".
    """

    __slots__ = (
        "_by_place",
        "_closed",
        "_first",
        "_mutable",
        "_names",
        "_required",
        "_template",
        "_work",
        "defaults",
        "names",
        "takes_rest",
        "takes_work",
        "words",
    )

    def __init__(
        self,
        words: str,
        work: inspect.Parameter | None,
        takes: list[inspect.Parameter],
        *,
        takes_rest: bool,
        first: str | None,
    ) -> None:
        self.words = words
        self.takes_work = work is not None
        self.takes_rest = takes_rest
        self.names = tuple(one.name for one in takes)
        self.defaults = {one.name: one.default for one in takes if one.default is not one.empty}
        # Where the work is given by its name, that.
        self._work = None if work is None or work.kind is not work.KEYWORD_ONLY else work.name
        self._by_place = sum(one.kind is not one.KEYWORD_ONLY for one in takes)
        self._names = frozenset(self.names)
        self._required = self._names - self.defaults.keys()
        self._template = {name: self.defaults.get(name, _MISSING) for name in self.names}
        # Whether there is no place for other params.
        self._closed = not (self.takes_work or takes_rest)
        # A default that can be changed is another one for each work unit, as one that was submitted would be.
        self._mutable = tuple(name for name, value in self.defaults.items() if _is_changeable(value))
        # What may have been meant to be the work, and what that is called in params.
        self._first = work.name if work is not None else first

    def fill(self, params: dict[str, Any]) -> dict[str, Any]:
        """Params with the defaults put in, in the order of the signature.

        Args:
            params: Of a submission; they stay as they are.

        Raises:
            InvalidParams: One is missing, or there is no such parameter.
        """
        if params.keys() == self._names:
            return params
        filled = self._filled(params, closed=self._closed)
        if filled is None:
            wrong = self._misfit(params, closed=self._closed)
            raise InvalidParams(f"{self.words} cannot be called with params={words_of(params)}: {wrong}")
        return filled

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The params of a call, with the defaults put in: as Python binds, without the work.

        Args:
            args: What is given by place.
            kwargs: What is given by name.

        Raises:
            InvalidParams: It cannot be called so.
        """
        params = dict(zip(self.names, args, strict=False))
        if not kwargs and len(args) == len(self.names) == self._by_place:
            return params
        if len(args) > self._by_place:
            wrong = f"it takes {how_many(self._by_place, 'value', 'values')} by place, not {len(args)}."
        elif twice := [name for name in kwargs if name in params]:
            wrong = f"{listed(map(repr, twice))} is given twice."
        else:
            params.update(kwargs)
            # What takes the work unit may be submitted with params that it has no parameter for; no call has these.
            closed = not self.takes_rest
            if (filled := self._filled(params, closed=closed)) is not None:
                return filled
            wrong = self._misfit(params, closed=closed)
        given = [*map(words_of, args), *(f"{name}={words_of(value)}" for name, value in kwargs.items())]
        values = shortened(", ".join(given), _LONGEST)
        raise InvalidParams(f"{self.words} cannot be called with ({values}): {wrong}")

    @property
    def form(self) -> tuple[bool, str | None, tuple[str, ...] | None, bool]:
        """How a handler is called that takes these, for who calls it elsewhere; see `executors.calls.Form`."""
        return (
            self.takes_work,
            self._work,
            None if self.takes_rest else self.names,
            bool(self.names) or self.takes_rest,
        )

    def call_with(self, handler: Callable[..., Any]) -> Callable[[Work], Any]:
        """What is called with the work in the place of a handler.

        Args:
            handler: What takes these parameters.
        """
        names = self.names
        number = len(names)
        by_name = self._work

        def with_params(work: Work) -> Any:
            return handler(**work.params)

        def with_work(work: Work) -> Any:
            params = work.params
            if len(params) != number:
                params = {name: params[name] for name in names}
            return handler(work, **params)

        def with_work_and_rest(work: Work) -> Any:
            return handler(work, **work.params)

        def with_work_by_name(work: Work) -> Any:
            assert by_name is not None
            params = work.params if self.takes_rest else {name: work.params[name] for name in names}
            return handler(**{**params, by_name: work})

        if not self.takes_work:
            call = with_params
        elif by_name is not None:
            call = with_work_by_name
        else:
            call = with_work_and_rest if self.takes_rest else with_work
        call.__wrapped__ = handler  # type: ignore[attr-defined]
        return call

    def adapt(self, works: Iterable[Work], former: Parameters | None) -> None:
        """Let the params of pending work units be such as this takes, as far as that can be: it was defined anew.

        Args:
            works: Submitted when their handler was another one.
            former: What that took; None: the work alone.
        """
        for work in works:
            # A default that is nowhere to be put any more was the function's own, and not the submitter's.
            params = {
                name: value
                for name, value in work.params.items()
                if former is None or name in self._names or not former.is_default(name, value)
            }
            try:
                work.params = self.fill(params)
            except InvalidParams:
                pass  # it fails by that when its turn comes

    def is_default(self, name: str, value: Any) -> bool:
        """Whether a param has the value that it would have if it had been left out."""
        default = self.defaults.get(name, _MISSING)
        try:
            return default is value or (name in self._mutable and bool(default == value))
        except Exception:  # what is in it may not be compared
            return False

    def checked(self, call: Callable[[Work], Any]) -> Callable[[Work], Any]:
        """What is called in the place of a handler that was defined anew: there may be params it does not take.

        Args:
            call: What `call_with` gives.
        """

        def with_checked_params(work: Work) -> Any:
            self.fill(work.params)
            return call(work)

        with_checked_params.__wrapped__ = call  # type: ignore[attr-defined]
        return with_checked_params

    def _filled(self, params: Mapping[str, Any], *, closed: bool) -> dict[str, Any] | None:
        """Params with the defaults put in, None if they do not fit.

        Args:
            params: As given.
            closed: Whether there may be no others than it has parameters for.
        """
        filled = {**self._template, **params}
        if (
            not params.keys() >= self._required
            or (closed and len(filled) > len(self.names))
            or (self.takes_rest and not self._can_take(params))
        ):
            return None
        for name in self._mutable:
            if name not in params:
                filled[name] = _copied(filled[name], {})
        return filled

    def _can_take(self, params: Mapping[str, Any]) -> bool:
        """Whether all other params can be given by name."""
        return all(isinstance(name, str) for name in params) and not (
            self.takes_work and self._first in params
        )

    def _misfit(self, params: Mapping[Any, Any], *, closed: bool) -> str:
        """What is wrong with params that do not fit; see `_filled`."""
        if self.takes_rest:
            unknown = [name for name in params if not isinstance(name, str)]
            if self.takes_work and self._first in params:
                return f"{self._first!r} is its work unit, and can be no param."
        else:
            unknown = [name for name in params if name not in self._names] if closed else []
        missing = [name for name in self.names if name in self._required and name not in params]
        said = []
        if missing:
            said.append(f"{listed(map(repr, missing))} {'is' if len(missing) == 1 else 'are'} missing")
        if unknown:
            said.append(f"it has no parameter {listed(map(words_of, unknown))}")
        hint = "."
        others = missing or [name for name in self.names if name not in params]
        odd = unknown or [name for name in params if name not in self._names]
        if near := [(one, name) for name in odd if (one := nearest(name, others))]:
            hint = f"; did you mean {near[0][0]!r}" + ("?" if unknown else f" by {near[0][1]!r}?")
        elif missing and missing[0] == self._first:
            hint = "; a first parameter gets the work unit if it is called work."
        return " and ".join(said) + hint


def parameters_of(handler: Callable[..., Any], what: str = "The handler") -> Parameters | None:
    """What a handler is called with, None if that is its work unit alone.

    Args:
        handler: The handler.
        what: What it is called in messages, before its name.

    Raises:
        ConfigurationError: It cannot be called with a work and params.
    """
    signature = signature_of(handler)
    if signature is None:
        return None
    takes = list(signature.parameters.values())
    if len(takes) == 1 and takes[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return None
    form = form_of(signature)
    whose = f"{what}, {describe(handler)}{form},"
    means_work = Names(handler).mean_work
    is_work = [one.name == "work" or means_work(one.annotation) for one in takes]
    named = [one for one in takes if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    takes_rest = any(one.kind is one.VAR_KEYWORD for one in takes)
    if len(named) + takes_rest < len(takes):
        is_function = inspect.isroutine(handler) or isinstance(handler, partial)
        if not hasattr(inmost(handler), "__code__") or not (named or is_function):
            return None  # a builtin, such as print, or a mock: it takes whatever it is given
        raise ConfigurationError(f"{whose} {_of_star(takes, named)}")
    work: inspect.Parameter | None = None
    if named and (is_work[0] or (len(takes) == 1 and _is_bare(named[0]))):
        work = named.pop(0)
    if hint := method_hint(signature, "cue.task(...)"):
        raise ConfigurationError(f"{whose} cannot be called: {hint}")
    if late := [one.name for one, it_is in zip(takes, is_work, strict=True) if it_is and one in named]:
        if work is not None:
            raise ConfigurationError(
                f"{whose} must take the work once, not as {work.name!r} and as {late[0]!r}."
            )
        order = ", ".join([late[0], *(one.name for one in named if one.name != late[0])])
        raise ConfigurationError(
            f"{whose} must take the work first: write {called(handler)}({order}). If it is a param, call it "
            "otherwise."
        )
    if fixed := [one.name for one in named if one.kind is one.POSITIONAL_ONLY]:
        raise ConfigurationError(
            f"{whose} must not have {listed(map(repr, fixed))} as positional-only: params are given by name. Leave "
            "the / out, or write a function around it."
        )
    if work is not None and not named and not takes_rest and work.kind is not work.KEYWORD_ONLY:
        return None
    # Of what may take anything it may be the work that was meant.
    first = named[0].name if work is None and named and _may_be_work(named[0]) else None
    return Parameters(f"{called(handler)}{form}", work, named, takes_rest=takes_rest, first=first)


def check_annotated(handler: Callable[..., Any]) -> None:
    """Check that what a handler takes alone is meant to be its work unit: a call gives it values by place.

    Args:
        handler: One that takes its work unit alone.

    Raises:
        ConfigurationError: That parameter has neither the name nor the annotation of a work unit.
    """
    signature = signature_of(handler)
    takes = [] if signature is None else list(signature.parameters.values())
    if signature is not None and len(takes) == 1 and _is_bare(takes[0]) and (name := takes[0].name) != "work":
        raise ConfigurationError(
            f"{called(handler)}{form_of(signature)} does not say whether {name!r} is its work unit or a param: "
            f"annotate {name}, as in {called(handler)}({name}: str), or call it work. If it is not yours, write a "
            "function around it."
        )


def hint_at_work(handler: Callable[..., Any], error: BaseException) -> None:
    """Add to what a handler has raised about its work unit that it may have been meant to get a param.

    Args:
        handler: One that takes its work unit alone.
        error: What it raised, which speaks of that.
    """
    try:
        check_annotated(handler)
    except ConfigurationError:
        signature = signature_of(handler)
        assert signature is not None
        form, (name, *_) = form_of(signature), signature.parameters
        add_note(
            error,
            f"{called(handler)}{form} got its work unit as {name!r}: if that is a param, annotate it, as in "
            f"{called(handler)}({name}: str).",
        )


def _is_bare(one: inspect.Parameter) -> bool:
    """Whether a parameter says nothing of what it takes."""
    return one.annotation is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)


def _may_be_work(one: inspect.Parameter) -> bool:
    """Whether nothing is against it that what a parameter takes was meant to be the work."""
    said = one.annotation
    return _is_bare(one) or said is Any or said is object or (isinstance(said, str) and said in _ANYTHING)


def _of_star(takes: list[inspect.Parameter], named: list[inspect.Parameter]) -> str:
    """What is to be done about `*args` beside others."""
    star = next(one.name for one in takes if one.kind is one.VAR_POSITIONAL)
    if not named:
        return (
            "does not tell what it takes. If it is the inside of a decorator, put @functools.wraps(function) on it; "
            f"else name its parameters, or take all params by **{takes[-1].name} alone."
        )
    return (
        f"must not take *{star} beside others: params are given by name. Name each, or take the rest by "
        "**params."
    )


def _is_changeable(value: Any) -> bool:
    return type(value) in _CONTAINERS or (type(value) is tuple and any(map(_is_changeable, value)))


def _copied(value: Any, known: dict[int, Any]) -> Any:
    """A container with the same in it, and what is in it that is one likewise.

    Args:
        value: Anything.
        known: What was copied already, by its id: a container may hold itself.
    """
    kind = type(value)
    if kind is tuple:
        return tuple(_copied(one, known) for one in value)
    if kind not in _CONTAINERS:
        return value
    if id(value) not in known:
        known[id(value)] = new = copy(value)
        if isinstance(value, dict):
            for key, one in value.items():
                new[key] = _copied(one, known)
        elif isinstance(value, (list, deque)):
            new.clear()
            new.extend(_copied(one, known) for one in value)
    return known[id(value)]
