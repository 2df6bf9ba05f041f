"""A service: slots, and what it says of all its limits to those who merely look."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import pytest

from runcue._limits.guarded import GuardedLimit
from runcue._limits.service import Refusal, Service
from runcue._limits.sliding_window import SlidingWindow
from runcue._limits.token_bucket import TokenBucket
from runcue._model.rate import parse_rate
from runcue._model.work import Work
from runcue.abc import Limit

WORK = Work("1", "task")


class From(Limit):
    """Has room from one instant on."""

    def __init__(self, instant: float) -> None:
        self.instant = instant

    def room(self, now: float, work: Work) -> bool:
        return now >= self.instant

    def next_room(self, now: float, work: Work) -> float:
        return self.instant

    def at_least(self, works: Sequence[Work]) -> float | None:
        return None if self.instant == inf else self.instant

    def describe(self, now: float, work: Work) -> str:
        return f"closed until {self.instant:g}"


def guarded(limit: Limit) -> GuardedLimit:
    def nothing(*args: Any) -> None:
        raise AssertionError(args)

    return GuardedLimit(limit, "limit", nothing, nothing)


def rated(rate: str) -> SlidingWindow:
    return SlidingWindow(parse_rate(rate))


def start(limit: Limit, now: float) -> None:
    limit.acquire(now, WORK)
    limit.entered(now, WORK, now)


def first_refusal(service: Service, now: float, work: Work) -> Refusal | None:
    return next(service.refusals(now, work), None)


def test_a_service_without_limits_always_has_room() -> None:
    service = Service("free")
    for _ in range(1000):
        assert service.has_slot()
        assert first_refusal(service, 0.0, WORK) is None
        service.acquire_slot()
    assert not service.limits
    assert service.at_least([WORK] * 1000) == 0.0


@pytest.mark.rule(2)
def test_holding_a_slot_takes_no_token() -> None:
    rate = rated("1/hour")
    service = Service("api", (rate,), concurrent=1)
    service.acquire_slot()
    assert not service.has_slot()
    assert rate.room(0.0)
    service.release_slot()
    assert service.has_slot()
    assert rate.room(0.0)


@pytest.mark.rule(7)
def test_a_limit_of_ones_own_and_a_rate_must_both_have_room() -> None:
    rate, own = rated("1/min"), From(10.0)
    service = Service("api", (rate,), own=[guarded(own)])
    refusal = first_refusal(service, 9.0, WORK)
    assert refusal is not None
    assert (refusal.service, refusal.by, refusal.until) == (service, "limit", 10.0)
    assert refusal.details == "api: closed until 10"
    assert first_refusal(service, 10.0, WORK) is None
    start(rate, 10.25)
    refusal = first_refusal(service, 10.25, WORK)
    assert refusal is not None
    assert (refusal.by, refusal.until) == ("rate", 70.25)


def test_a_service_says_in_words_what_is_used_up() -> None:
    rate = rated("1/min")
    service = Service("api", (rate,), concurrent=1)
    start(rate, 0.0)
    refusal = first_refusal(service, 15.0, WORK)
    assert refusal is not None
    assert refusal.details == "api: 1/min is used up, next start in 45.0 s"
    service.acquire_slot()
    refusal = first_refusal(service, 15.0, WORK)
    assert refusal is not None
    assert (refusal.by, refusal.until) == ("slots", inf)
    assert refusal.details == "api: the only slot is in use"
    by_limits = service.refusal_by_limits(15.0, WORK)
    assert by_limits is not None
    assert by_limits.by == "rate"


def test_what_work_units_take_at_the_least_is_told_by_the_slowest_limit_that_knows() -> None:
    works = [WORK] * 3
    assert Service("api", (rated("1/min"),), own=[guarded(From(5.0))]).at_least(works) == 120.0
    assert Service("api", (rated("1/min"),), own=[guarded(From(500.0))]).at_least(works) == 500.0
    assert Service("api", (rated("1/min"),), own=[guarded(From(inf))]).at_least(works) == 120.0
    assert Service("api", own=[guarded(From(inf))]).at_least(works) is None


def test_another_rate_leaves_the_other_limits_as_they_are() -> None:
    own = guarded(From(5.0))
    service = Service("api", (rated("1/min"),), own=[own])
    assert service.rate_text == "1/min"
    service.set_limits(rates=(TokenBucket(2, 1.0),))
    assert service.rate_text == "1/sec, burst 2"
    assert service.limits[1:] == (own,)
    service.set_limits(rates=())
    assert service.limits == (own,)


def test_its_status_names_the_limits_of_ones_own_and_asks_them_nothing() -> None:
    class Untouchable(From):
        def room(self, now: float, work: Work) -> bool:
            raise AssertionError

    rate = rated("2/min")
    status = Service("api", (rate,), 3, own=[guarded(Untouchable(1.0))]).status(0.0, running=True)
    assert status.limits == (f"{Untouchable.__qualname__}",)
    assert (status.concurrent, status.rate, status.tokens, status.next_token) == (3, "2/min", 2, 0.0)
    bucket = TokenBucket(1, 0.5)
    start(bucket, 0.0)
    status = Service("api", (bucket,)).status(0.5, running=False)
    assert (status.rate, status.tokens, status.next_token) == (None, None, 1.5)
    assert (status.burst, status.per_second, status.limits) == (1, 0.5, ())
