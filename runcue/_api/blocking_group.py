"""`runcue.blocking(cue).group()`: work units that are waited for together, where nothing is async.

Lives here: `BlockingGroup`, a group whose calls block.

Must not know: anything but the public calls of a group.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack, overload

from runcue._api.blocking_map import END, next_of
from runcue._api.group import Group
from runcue._api.handle import WorkHandle
from runcue._model.checks import NOTHING
from runcue._model.summary import Summary
from runcue._model.work import Work

if TYPE_CHECKING:
    from runcue._api.submit_options import SubmitOptions

__all__ = ["BlockingGroup"]

R = TypeVar("R")
Q = ParamSpec("Q")


class BlockingGroup:
    """What `b.group()` gives: a group for a plain `with`.

    Args:
        group: The group itself.
        call: The way into the loop.
    """

    def __init__(self, group: Group, call: Callable[[Callable[[], Any]], Any]) -> None:
        self._group = group
        self._in_loop = call

    def __enter__(self) -> Self:
        self._in_loop(self._group.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """See `Group`."""
        self._in_loop(partial(self._group.__aexit__, kind, error, traceback))

    # What the function returns is what the handle gives; of an `async def`, what that is awaited for.
    @overload
    def submit(
        self,
        task: Callable[..., Awaitable[R]],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> WorkHandle[R]: ...
    @overload
    def submit(
        self,
        task: Callable[..., R],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> WorkHandle[R]: ...
    @overload
    def submit(
        self, task: str, params: Mapping[str, Any] | None = None, **options: Unpack[SubmitOptions]
    ) -> WorkHandle: ...
    def submit(
        self, task: str | Callable[..., Any], params: Mapping[str, Any] | None = None, **options: Any
    ) -> WorkHandle:
        """See `Group.submit`."""
        handle: WorkHandle = self._in_loop(partial(self._group.submit, task, params, **options))
        return handle

    # Without the work and with it first, which is not given; of an `async def` what it returns is awaited.
    @overload
    def call(
        self, function: Callable[Q, Awaitable[R]], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> WorkHandle[R]: ...
    @overload
    def call(
        self, function: Callable[Concatenate[Work, Q], Awaitable[R]], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> WorkHandle[R]: ...
    @overload
    def call(self, function: Callable[Q, R], /, *args: Q.args, **kwargs: Q.kwargs) -> WorkHandle[R]: ...
    @overload
    def call(
        self, function: Callable[Concatenate[Work, Q], R], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> WorkHandle[R]: ...
    @overload
    def call(self, function: str, /, *args: Any, **kwargs: Any) -> WorkHandle: ...
    def call(self, function: Any = NOTHING, /, *args: Any, **kwargs: Any) -> WorkHandle:
        """See `Group.call`."""
        handle: WorkHandle = self._in_loop(partial(self._group.call, function, *args, **kwargs))
        return handle

    def as_completed(self) -> Iterator[Work]:
        """See `Group.as_completed`: `for work in group.as_completed(): ...`."""
        works = self._in_loop(self._group.as_completed)
        return iter(lambda: self._in_loop(partial(next_of, works)), END)

    def cancel(self) -> None:
        """See `Group.cancel`."""
        self._in_loop(self._group.cancel)

    @property
    def summary(self) -> Summary:
        """See `Group.summary`."""
        return self._group.summary

    def __repr__(self) -> str:
        return repr(self._group)
