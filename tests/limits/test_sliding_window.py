"""The exact promise behind `rate=`, instant by instant: the sliding log of starts."""

from __future__ import annotations

from fractions import Fraction
from math import inf, nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcue._limits.sliding_window import SlidingWindow
from runcue._model.rate import Rate, parse_rate


def window(rate: str) -> SlidingWindow:
    return SlidingWindow(parse_rate(rate))


def start(window: SlidingWindow, now: float) -> None:
    """A start without any delay between hand-off and entry."""
    window.acquire(now)
    window.entered(now, None, now)
    window.release(now, None, None)


@pytest.mark.rule(7)
def test_a_token_is_usable_again_exactly_one_period_after_its_stamp() -> None:
    api = window("3/min")
    for now in (5.0, 6.0, 7.0):
        assert api.room(now)
        start(api, now)

    assert not api.room(7.0)
    assert api.next_room(7.0) == 65.0
    assert not api.room(nextafter(65.0, 0))
    assert api.room(65.0)
    start(api, 65.0)
    assert not api.room(65.0)
    assert api.next_room(65.0) == 66.0


@pytest.mark.rule(7)
def test_tokens_come_back_one_by_one_not_all_at_the_turn_of_the_minute() -> None:
    api = window("60/min")
    for number in range(60):
        start(api, 59.0 + number / 60)

    # aiolimiter would let 59 more through right away (aiolimiter#298).
    assert not api.room(60.0)
    assert not api.room(118.9)
    assert api.room(119.0)
    start(api, 119.0)
    assert not api.room(119.0)


@pytest.mark.rule(8)
def test_a_token_is_gone_from_hand_off_on_and_its_period_counts_from_the_stamp() -> None:
    api = window("1/min")
    api.acquire(0.0)
    assert api.reserved == 1
    assert not api.room(0.0)
    # Not stamped for longer than a period: the thread has still not entered its handler.
    assert not api.room(1000.0)
    assert api.next_room(1000.0) == inf
    api.entered(1011.0, None, 1010.0)
    assert api.next_room(1011.0) == 1070.0
    assert not api.room(1069.9)
    assert api.room(1070.0)


@pytest.mark.rule(8)
def test_stamps_that_are_reported_out_of_order_count_in_order() -> None:
    api = window("4/min")
    for _ in range(4):
        api.acquire(0.0)
    for entered in (3.0, 1.0, 2.0, 1.0):
        api.entered(4.0, None, entered)

    assert list(api.recent_starts) == [1.0, 1.0, 2.0, 3.0]
    assert api.next_room(4.0) == 61.0
    assert api.room(61.0)
    assert list(api.recent_starts) == [2.0, 3.0]


@pytest.mark.rule(7)
@pytest.mark.parametrize("period", [0.1, 0.3, 1 / 3, 0.7, 1.0, 60.0, 86400.0])
@pytest.mark.parametrize("origin", [0.0, 0.1, 0.2, 1 / 3, 123.456, 98765.4321, 1e7 + 0.1, 1_704_067_200.3])
def test_no_rounding_ever_gives_a_token_early_or_keeps_the_timer_from_advancing(
    origin: float, period: float
) -> None:
    api = SlidingWindow(Rate(1, period, "test"))
    now = origin
    for _ in range(20):
        assert api.room(now)
        start(api, now)
        before, steps = now, 0
        while not api.room(now):
            when = api.next_room(now)
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
    api = window("5/sec")
    now = 0.0
    for _ in range(1000):
        while not api.room(now):
            now = api.next_room(now)
        start(api, now)
        assert len(api.recent_starts) + api.reserved <= 5


def test_it_says_in_words_what_is_used_up() -> None:
    api = window("1/min")
    api.acquire(0.0)
    assert api.describe(0.0) == "1/min is used up, next start not known until those on their way have begun"
    api.entered(0.0, None, 0.0)
    assert api.describe(15.0) == "1/min is used up, next start in 45.0 s"


def test_what_so_many_starts_take_at_the_least_counts_whole_periods() -> None:
    api = window("3/min")
    assert [api.at_least([None] * starts) for starts in (0, 1, 3, 4, 6, 7)] == [0, 0, 0, 60, 60, 120]


# Numbers that add up without rounding.
quarters = st.integers(0, 240).map(lambda number: number / 4)


@given(
    st.integers(1, 5),
    st.sampled_from((0.5, 1.0, 60.0)),
    st.lists(quarters, max_size=8),
    quarters,
    st.integers(0, 3),
    st.integers(0, 5),
)
def test_the_nth_start_from_now_on_is_foretold(
    count: int, period: float, pauses: list[float], pause: float, reserved: int, more: int
) -> None:
    api, now = SlidingWindow(Rate(count + more, period, "")), 0.0
    for before in pauses:
        now += before
        if api.room(now):
            start(api, now)
    now += pause
    for _ in range(reserved):
        if api.room(now):
            api.acquire(now)
    if more:  # by change(rate=) there is a smaller one in its place, which knows of its starts
        former, api = api, SlidingWindow(Rate(count, period, ""))
        api.inherit(former.recent_starts, former.reserved, now)
    told = [api.nth_room(now, n) for n in range(1, 20)]
    while api.reserved:  # each of them is confirmed at once
        api.entered(now, None, now)
    for when in told:
        now = now if api.room(now) else api.next_room(now)
        assert when == pytest.approx(now)
        start(api, now)
