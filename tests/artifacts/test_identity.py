"""Artifacts of users are one if their public attributes are, all of these, whether or not they can be hashed."""

from __future__ import annotations

import array
import dataclasses
from collections import deque
from typing import Any

import pytest

import runcue


class Page(runcue.Artifact):
    def __init__(self, of: Any) -> None:
        self.of = of

    def valid(self) -> bool:
        return True


class Abridged(array.array):  # type: ignore[type-arg]
    """An array whose repr leaves out the middle, as those of numpy do."""

    def __repr__(self) -> str:
        return f"array([{self[0]} ... {self[-1]}])"


class Table:
    """What gives its content as a list alone."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, *rows: Any) -> None:
        self._rows = rows

    def tolist(self) -> list[Any]:
        return list(self._rows)

    def __repr__(self) -> str:
        return "Table(...)"


@dataclasses.dataclass
class Settings:
    size: Any
    quiet: bool = dataclasses.field(default=False, repr=False)


def abridged(middle: int) -> Abridged:
    return Abridged("l", [0, middle, 0])


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (abridged(1), abridged(1), abridged(2)),
        ([abridged(1)], [abridged(1)], [abridged(2)]),
        ({"a": abridged(1), "b": 2}, {"b": 2, "a": abridged(1)}, {"a": abridged(2), "b": 2}),
        ((1, [abridged(1)]), (1, [abridged(1)]), (1, [abridged(2)])),
        ({"x", "y"}, {"y", "x"}, {"x", "z"}),
        (bytearray(b"abc"), bytearray(b"abc"), bytearray(b"adc")),
        (memoryview(bytearray(b"abc")), memoryview(bytearray(b"abc")), memoryview(bytearray(b"adc"))),
        (deque([[1]]), deque([[1]]), deque([[2]])),
        (Table(1, [2]), Table(1, [2]), Table(1, [3])),
        (Settings([1]), Settings([1]), Settings([1], quiet=True)),
        (Settings(abridged(1)), Settings(abridged(1)), Settings(abridged(2))),
        ([1], [1], (1,)),
        (bytearray(b"a"), bytearray(b"a"), [97]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_hashed_counts_whole(one: Any, same: Any, other: Any) -> None:
    assert Page(one) == Page(same)
    assert hash(Page(one)) == hash(Page(same))
    assert Page(one) != Page(other)


def test_what_can_be_read_in_no_other_way_goes_by_its_repr() -> None:
    class Odd:
        __hash__ = None  # type: ignore[assignment]

        def __init__(self, name: str) -> None:
            self._name = name

        def __repr__(self) -> str:
            return f"Odd({self._name})"

    assert Page(Odd("a")) == Page(Odd("a"))
    assert Page(Odd("a")) != Page(Odd("b"))
