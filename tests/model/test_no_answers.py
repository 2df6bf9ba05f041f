"""What is plainly no answer, told from the function alone."""

from __future__ import annotations

from collections.abc import Iterator

from runcue._model.no_answers import never_returns


def test_a_function_gives_nothing_only_if_no_way_through_it_gives_something() -> None:
    def one_or_nothing(work: object) -> int | None:
        return 600 if work else None

    def nothing_or_one(work: object) -> int | None:
        return None if work else 600

    def early(work: object) -> int | None:
        if work:
            return None
        return 600

    def passes(work: object) -> None:
        if work:
            str(work)

    def leaves(work: object) -> None:
        if work:
            return
        str(work)

    def one_after_the_other(work: object) -> Iterator[int]:
        yield 600

    giving = (one_or_nothing, nothing_or_one, early, lambda work: None, one_after_the_other)
    assert [never_returns(call) for call in giving] == [False] * 5
    assert [never_returns(call) for call in (passes, leaves)] == [True, True]
