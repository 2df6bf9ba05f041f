"""What functions are called in messages, whatever they are and do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from runcue._model.awaitables import discard, is_awaitable
from runcue._model.callables import located
from tests.support.places import from_the_checkout

HERE = "tests/model/test_callables.py"


def plain() -> None: ...


@functools.wraps(plain)
def wrapper() -> None: ...


@functools.lru_cache
def cached() -> None: ...


class Called:
    def __call__(self) -> None: ...

    def method(self) -> None: ...


class Raises:
    """Raises, whatever it is asked for."""

    def __call__(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        raise SystemExit(name)

    def __repr__(self) -> str:
        raise SystemExit


class Endless:
    """Wraps itself."""

    def __call__(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return self


class Interrupted:
    def __call__(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (plain, "plain"),
        (wrapper, "plain"),
        (cached, "cached"),
        (functools.partial(functools.partial(plain)), "plain"),
        (Called(), "Called.__call__"),
        (Called().method, "Called.method"),
        (lambda: None, "<lambda>"),
    ],
)
def test_a_function_is_named_with_its_file_and_line(call: Callable[[], None], name: str) -> None:
    with from_the_checkout():
        words, _, line = located(call).rpartition(":")
        assert words == f"{name} ({HERE}"
        assert int(line.removesuffix(")")) > 0
        assert located(call, "another").startswith(f"another ({HERE}:")


@pytest.mark.parametrize(
    ("make", "words"),
    [(lambda: print, "print"), (lambda: Called, "Called"), (Raises, "Raises"), (lambda: None, "None")],
)
def test_what_has_no_line_is_named_alone(make: Callable[[], Any], words: str) -> None:
    assert located(make()) == words


def test_what_wraps_itself_has_a_name_as_well() -> None:
    assert "Endless" in located(Endless())


def test_an_interrupt_is_no_answer_about_a_name() -> None:
    with pytest.raises(KeyboardInterrupt):
        located(Interrupted())


def test_a_long_name_is_cut() -> None:
    def long() -> None: ...

    long.__qualname__ = "x" * 1000 + " at its end"
    assert len(located(long)) < 500
    assert " at its end (" in located(long)


def test_what_cannot_be_closed_is_left() -> None:
    class Stubborn:
        def close(self) -> None:
            raise SystemExit

    assert not discard(Stubborn())
    assert not discard(object())

    class Interrupts:
        def close(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        discard(Interrupts())


def test_what_is_to_be_awaited_is_known_by_its_type_alone() -> None:
    class Awaitable:
        def __await__(self) -> Any:
            yield

    class Text(str):
        __slots__ = ()

        def __await__(self) -> Any:
            yield

    assert is_awaitable(Awaitable())
    assert not is_awaitable(Text())
    assert not is_awaitable(Awaitable)
    assert not is_awaitable(None)
