"""What functions take: what is read off their code is what their signatures say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial, wraps
from typing import Any

import pytest

import runcue
from runcue._model.checks import check_callback
from runcue._model.signature import plainly_takes


def one(work: object) -> None: ...
async def one_async(work: object) -> None: ...
def none() -> None: ...
def two(work: object, how: object) -> None: ...
def one_or_two(work: object, how: object = None) -> None: ...
def any_number(*works: object) -> None: ...
def named(work: object, *, how: object) -> None: ...
def named_with_default(work: object, *, how: object = None) -> None: ...
def generator(work: object) -> Iterator[object]:
    yield work


async def async_generator(work: object) -> AsyncIterator[object]:
    yield work


@wraps(two)
def around(*given: Any) -> None: ...


class Something:
    def method(self, work: object) -> None: ...
    def generator(self, work: object) -> Iterator[object]:
        yield work

    @classmethod
    def of_class(cls, work: object) -> None: ...
    @staticmethod
    def of_none(work: object) -> None: ...
    def __call__(self, work: object) -> None: ...


PLAIN: list[Callable[..., Any]] = [
    one,
    one_async,
    one_or_two,
    Something().method,
    Something.of_class,
    Something().of_none,
    lambda work: work,
]
OTHERS: list[Any] = [
    none,
    two,
    any_number,
    named,
    named_with_default,
    generator,
    async_generator,
    around,
    Something,
    Something.method,
    Something(),
    Something().generator,
    partial(two, 1),
    print,
    None,
]


@pytest.mark.parametrize("call", PLAIN)
def test_what_a_plain_function_takes_is_read_off_its_code(call: Callable[..., Any]) -> None:
    assert plainly_takes(call, 1)


@pytest.mark.parametrize("call", [*PLAIN, *OTHERS])
@pytest.mark.parametrize("number", range(4))
def test_it_is_so_only_where_its_signature_says_so_as_well(
    call: Any, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plainly = plainly_takes(call, number)
    monkeypatch.setattr("runcue._model.checks.plainly_takes", lambda call, number: False)
    if plainly:
        check_callback(call, "It", ("work", "how", "why")[:number])


@pytest.mark.parametrize("call", [generator, Something.method, two])
def test_what_cannot_be_called_is_refused(call: Any) -> None:
    with pytest.raises(runcue.ConfigurationError):
        check_callback(call, "It", ("work",))
