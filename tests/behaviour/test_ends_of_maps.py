"""How maps end: by their items, by what is raised, and with their cue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self

import pytest

import runcue
from tests.support.loops import each_loop, run_on

pytestmark = pytest.mark.rule(41)


def cue_of(**options: Any) -> runcue.Cue:
    return runcue.Cue(id_prefix="", **options)


async def take_all(source: AsyncIterator[Any], given: list[Any]) -> None:
    """What comes before an error counts, too."""
    async for one in source:
        given.append(one)  # noqa: PERF401


class EndsOddly:
    """An iterator, which raises after two items what only async ones are to raise."""

    def __init__(self) -> None:
        self.left = [2, 1]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop()


@pytest.mark.parametrize("ordered", [False, True])
@each_loop
def test_no_error_is_taken_for_the_end_of_a_map(loop: str, *, ordered: bool) -> None:
    async def first_line(n: int) -> int:
        async def lines() -> AsyncIterator[int]:
            if n != 2:
                yield n

        return await anext(lines())

    async def beside() -> AsyncIterator[int]:
        for n in (4, 5, 6):
            yield n

    async def main() -> None:
        cue = cue_of()
        cue.task(first_line)
        add = cue.task("add")(lambda one, other: one + other)
        async with cue:
            given: list[int] = []
            with pytest.raises(RuntimeError, match=r"^first_line 3 raised StopAsyncIteration") as raised:
                await take_all(cue.map(first_line, range(5), ordered=True, values=True), given)
            assert given == [0, 1]
            assert isinstance(raised.value.__cause__, StopAsyncIteration)
            for source in ([EndsOddly()], [beside(), EndsOddly()]):
                given = []
                function = first_line if len(source) == 1 else add
                with pytest.raises(
                    RuntimeError, match=r"^An iterable that map\(\) goes through raised StopAsyncIter"
                ):
                    await take_all(cue.map(function, *source, ordered=ordered), given)
                assert len(given) == 2

    run_on(loop, main)


def test_no_error_is_taken_for_the_end_of_a_map_of_a_program_without_a_loop() -> None:
    cue = cue_of()

    @cue.task
    async def first_line(n: int) -> int:
        if n == 1:
            raise StopAsyncIteration
        return n

    with runcue.blocking(cue) as b:
        with pytest.raises(RuntimeError, match=r"^first_line 2 raised StopAsyncIteration"):
            list(b.map(first_line, range(5), ordered=True, values=True))
        with pytest.raises(
            RuntimeError, match=r"^An iterable that map\(\) goes through raised StopAsyncIteration"
        ):
            list(b.map(first_line, EndsOddly()))
