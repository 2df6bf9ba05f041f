"""A service's promise, instant by instant: the sliding log of starts, and slots."""

from __future__ import annotations

from fractions import Fraction
from math import inf, nextafter

import pytest

from runcue._limits.service import Service
from runcue._model.rate import Rate, parse_rate


class Bucket:
    """A limiter that has room from one instant on."""

    def __init__(self, room_from: float) -> None:
        self.room_from = room_from
        self.taken: list[float] = []
        self.stamped: list[float] = []

    def has_room(self, now: float) -> bool:
        return now >= self.room_from

    def acquire(self, now: float) -> None:
        self.taken.append(now)

    def record_start(self, entered: float) -> None:
        self.stamped.append(entered)

    def next_room(self, now: float) -> float:
        return self.room_from


def start(service: Service, now: float) -> None:
    """A start without any delay between hand-off and entry."""
    service.acquire(now)
    service.record_start(now)
    service.release()


def test_a_service_without_limits_always_has_room() -> None:
    service = Service("free")
    for _ in range(1000):
        assert service.has_slot()
        assert service.has_token(0.0)
        service.acquire(0.0)
    assert not service.rate_limited


def test_a_slot_is_taken_at_the_start_and_comes_back_at_the_release() -> None:
    service = Service("knife", concurrent=2)
    service.acquire(0.0)
    assert service.has_slot()
    service.acquire(0.0)
    assert not service.has_slot()
    service.release()
    assert service.has_slot()


@pytest.mark.rule(2)
def test_holding_a_slot_takes_no_token() -> None:
    service = Service("api", parse_rate("1/hour"), concurrent=1)
    service.acquire_slot()
    assert not service.has_slot()
    assert service.has_token(0.0)
    service.release()
    assert service.has_slot()
    assert service.has_token(0.0)


@pytest.mark.rule(7)
def test_a_token_is_usable_again_exactly_one_period_after_its_stamp() -> None:
    service = Service("api", parse_rate("3/min"))
    for now in (5.0, 6.0, 7.0):
        assert service.has_token(now)
        start(service, now)

    assert not service.has_token(7.0)
    assert service.next_token(7.0) == 65.0
    assert not service.has_token(nextafter(65.0, 0))
    assert service.has_token(65.0)
    start(service, 65.0)
    assert not service.has_token(65.0)
    assert service.next_token(65.0) == 66.0


@pytest.mark.rule(7)
def test_tokens_come_back_one_by_one_not_all_at_the_turn_of_the_minute() -> None:
    service = Service("api", parse_rate("60/min"))
    for number in range(60):
        start(service, 59.0 + number / 60)

    # aiolimiter would let 59 more through right away (aiolimiter#298).
    assert not service.has_token(60.0)
    assert not service.has_token(118.9)
    assert service.has_token(119.0)
    start(service, 119.0)
    assert not service.has_token(119.0)


@pytest.mark.rule(8)
def test_a_token_is_gone_from_hand_off_on_and_its_period_counts_from_the_stamp() -> None:
    service = Service("api", parse_rate("1/min"))
    service.acquire(0.0)
    assert service.reserved == 1
    assert not service.has_token(0.0)
    # Not stamped for longer than a period: the thread has still not entered its handler.
    assert not service.has_token(1000.0)
    assert service.next_token(1000.0) == inf
    service.record_start(1010.0)
    assert service.next_token(1010.0) == 1070.0
    assert not service.has_token(1069.9)
    assert service.has_token(1070.0)


@pytest.mark.rule(8)
def test_stamps_that_are_reported_out_of_order_count_in_order() -> None:
    service = Service("api", parse_rate("4/min"))
    for _ in range(4):
        service.acquire(0.0)
    for entered in (3.0, 1.0, 2.0, 1.0):
        service.record_start(entered)

    assert list(service.recent_starts) == [1.0, 1.0, 2.0, 3.0]
    assert service.next_token(4.0) == 61.0
    assert service.has_token(61.0)
    assert list(service.recent_starts) == [2.0, 3.0]


@pytest.mark.rule(7)
@pytest.mark.parametrize("period", [0.1, 0.3, 1 / 3, 0.7, 1.0, 60.0, 86400.0])
@pytest.mark.parametrize("origin", [0.0, 0.1, 0.2, 1 / 3, 123.456, 98765.4321, 1e7 + 0.1, 1_704_067_200.3])
def test_no_rounding_ever_gives_a_token_early_or_keeps_the_timer_from_advancing(
    origin: float, period: float
) -> None:
    service = Service("api", Rate(1, period, "test"))
    now = origin
    for _ in range(20):
        assert service.has_token(now)
        start(service, now)
        before, steps = now, 0
        while not service.has_token(now):
            when = service.next_token(now)
            assert when > now, "a timer for now would fire for ever"
            now = when
            steps += 1
        assert steps <= 4
        # Whichever way somebody checks the window, it holds.
        assert now - before >= period
        assert before + period <= now
        # And it is not wasted either: a few steps of the clock's grain at most.
        assert Fraction(now) - Fraction(before) - Fraction(period) <= 4 * Fraction(nextafter(now, inf) - now)


@pytest.mark.rule(7)
def test_the_log_holds_no_more_than_one_window_of_starts() -> None:
    service = Service("api", parse_rate("5/sec"))
    now = 0.0
    for _ in range(1000):
        while not service.has_token(now):
            now = service.next_token(now)
        start(service, now)
        assert len(service.recent_starts) + service.reserved <= 5


@pytest.mark.rule(7)
def test_a_limiter_and_a_rate_must_both_have_room() -> None:
    bucket = Bucket(room_from=10.0)
    service = Service("api", parse_rate("1/min"), limiter=bucket)
    assert not service.has_token(9.0)
    assert service.next_token(9.0) == 10.0
    assert service.has_token(10.0)
    service.acquire(10.0)
    service.record_start(10.25)
    assert (bucket.taken, bucket.stamped) == ([10.0], [10.25])
    assert service.next_token(10.25) == 70.25


@pytest.mark.rule(7)
def test_a_limiter_that_says_now_cannot_stop_the_clock() -> None:
    service = Service("api", limiter=Bucket(room_from=5.0))
    assert service.next_token(4.0) == 5.0
    service.limiter = type("Stuck", (Bucket,), {"has_room": lambda self, now: False})(room_from=4.0)
    assert service.next_token(4.0) == nextafter(4.0, inf)


def test_a_service_says_in_words_what_is_used_up() -> None:
    service = Service("api", parse_rate("1/min"), concurrent=3)
    service.acquire(0.0)
    assert service.describe_rate(0.0) == "api: 1/min is used up, next token when a start is confirmed"
    service.record_start(0.0)
    assert service.describe_rate(15.0) == "api: 1/min is used up, next token in 45.0 s"
    assert service.describe_slots() == "api: all 3 slots in use"
