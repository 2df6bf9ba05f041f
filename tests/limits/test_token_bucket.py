"""The promise behind `burst=`, instant by instant: a bucket that is refilled continuously."""

from __future__ import annotations

from math import inf, nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcue._limits.token_bucket import TokenBucket


def start(bucket: TokenBucket, now: float) -> None:
    bucket.acquire(now)
    bucket.entered(now, None, now)
    bucket.release(now, None, None)


@pytest.mark.rule(7)
def test_a_full_bucket_gives_its_burst_at_once_and_then_one_by_one() -> None:
    bucket = TokenBucket(3, 0.5)
    for _ in range(3):
        assert bucket.room(10.0)
        start(bucket, 10.0)
    assert not bucket.room(10.0)
    assert bucket.next_room(10.0) == 12.0
    assert not bucket.room(nextafter(12.0, 0))
    assert bucket.room(12.0)
    start(bucket, 12.0)
    assert bucket.next_room(12.0) == 14.0
    assert bucket.room(1000.0)
    for _ in range(3):  # and it never holds more than its burst
        start(bucket, 1000.0)
    assert not bucket.room(1000.0)


@given(
    st.integers(1, 5),
    st.floats(0.01, 10),
    st.lists(st.floats(0, 5), max_size=8),
    st.floats(0, 20),
    st.integers(0, 3),
    st.sampled_from((0.0, 0.0, 0.3, 5.0)),
)
def test_the_nth_start_from_now_on_is_foretold(
    burst: int, per_second: float, pauses: list[float], pause: float, kept_free: int, margin: float
) -> None:
    bucket, now = TokenBucket(burst, per_second, margin=margin), 0.0
    for before in pauses:
        now += before
        if bucket.room(now):
            start(bucket, now)
    now += pause
    for _ in range(min(kept_free, burst)):
        if bucket.room(now):
            bucket.acquire(now)
    told = [bucket.nth_room(now, n) for n in range(1, 12)]
    while bucket.reserved:  # each of them is confirmed at once
        bucket.entered(now, None, now)
    for when in told:
        now = now if bucket.room(now) else bucket.next_room(now)
        assert when == pytest.approx(now)
        start(bucket, now)


@pytest.mark.rule(8)
def test_a_token_is_kept_free_until_the_handler_was_entered_and_flows_back_from_then_on() -> None:
    bucket = TokenBucket(1, 1.0)
    bucket.acquire(0.0)
    assert not bucket.room(1000.0)
    assert bucket.next_room(1000.0) == inf
    bucket.entered(1010.5, None, 1010.0)
    assert bucket.next_room(1010.5) == 1011.0
    assert bucket.room(1011.0)


@pytest.mark.rule(7, 8)
@given(
    st.integers(1, 5),
    st.sampled_from((0.1, 1 / 3, 1.0, 7.0)),
    st.lists(
        st.tuples(st.sampled_from((0.0, 0.1, 1 / 3, 1.0, 5.0)), st.sampled_from((0.0, 0.2, 3.0))), max_size=30
    ),
)
def test_no_stretch_sees_more_than_the_burst_and_what_has_flowed_back(
    burst: int, per_second: float, plan: list[tuple[float, float]]
) -> None:
    bucket = TokenBucket(burst, per_second)
    now = 123.456
    on_their_way: list[float] = []
    entered: list[float] = []
    for pause, lateness in plan:
        now += pause
        for at in sorted(one for one in on_their_way if one <= now):
            on_their_way.remove(at)
            bucket.entered(now, None, at)
            entered.append(at)
        if bucket.room(now):
            bucket.acquire(now)
            on_their_way.append(now + lateness)
        else:
            assert bucket.next_room(now) > now
            if bucket.next_room(now) < inf:
                assert bucket.room(bucket.next_room(now))
    entered = sorted(entered + on_their_way)
    for i, first in enumerate(entered):
        for j, last in enumerate(entered[i:], 1):
            assert j <= burst + (last - first) * per_second + 1e-6


def test_it_says_in_words_what_is_used_up() -> None:
    bucket = TokenBucket(1, 0.5)
    start(bucket, 0.0)
    assert bucket.describe(0.5) == "0.5/sec, burst 1 is used up, next start in 1.5 s"


def test_what_so_many_starts_take_at_the_least_begins_after_the_burst() -> None:
    bucket = TokenBucket(3, 0.5)
    assert [bucket.at_least([None] * starts) for starts in (0, 3, 4, 6)] == [0, 0, 2, 6]
    bucket = TokenBucket(1, 0.5, margin=0.5)
    assert [bucket.at_least([None] * starts) for starts in (0, 1, 2, 4)] == [0, 0, 2.5, 7.5]
