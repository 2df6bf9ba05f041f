"""What the simulator says of the time that is left: reckoned, never guessed from "elapsed by done"."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runcue.console.eta import Budget, Eta, Left, Limit, Steady, estimate, last_charge, last_start


def limits(*of: Limit) -> dict[str, Limit]:
    return {limit.service: limit for limit in of}


API = Limit("api", slots=5)
CALLS = {"task": "call", "services": ("api",)}


def test_a_full_bucket_lets_work_units_start_at_once() -> None:
    limit = Limit("api", count=60, period=60.0, tokens=60)
    assert last_start(limit, 60) == 0.0
    assert last_start(limit, 61) == 60.0
    assert last_start(limit, 181) == 180.0


def test_an_empty_bucket_is_waited_for_as_it_was_emptied() -> None:
    limit = Limit("api", count=3, period=60.0, tokens=0, next_token=20.0, starts=[10.0, 25.0, 49.0], now=50.0)
    assert [last_start(limit, works) for works in (1, 2, 3, 4, 5, 6)] == [20.0, 35.0, 59.0, 80.0, 95.0, 119.0]


def test_starts_that_nobody_saw_count_as_even() -> None:
    limit = Limit("api", count=4, period=60.0, tokens=0, next_token=0.0)
    assert [last_start(limit, works) for works in (1, 2, 3, 4, 5)] == [0.0, 15.0, 30.0, 45.0, 60.0]


def test_a_budget_comes_back_as_it_was_charged() -> None:
    limit = Limit("api", starts=[5.0, 10.0, 25.0, 49.0], now=60.0)
    used = {"name": "tokens", "limit": 100.0, "period": 60.0, "used": 80.0}
    in_all = (20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 101.0, 120.0, 121.0, 221.0)
    seconds = [last_charge(limit, Budget(**used, queued=queued)) for queued in in_all]
    assert seconds == [0.0, 5.0, 5.0, 10.0, 25.0, 49.0, 60.0, 60.0, 65.0, 125.0]
    nobody_saw = last_charge(Limit("api"), Budget(**used, queued=60.0))
    assert nobody_saw == 30.0


def test_the_limit_that_lets_the_last_one_start_is_named() -> None:
    left = Left(**CALLS, queued=30, took=[1.0] * 5, finished=5)
    budget = Budget("tokens", limit=1000.0, period=60.0, used=0.0, queued=3000.0)
    slowest = Limit(
        "api", count=5, period=1.0, tokens=5, others=[Limit("api", count=10, period=20.0, tokens=10)]
    )
    assert estimate([left], limits(slowest)) == Eta(41.0, "from the rate of api")
    slowest = replace(slowest, budgets=[budget])
    assert estimate([left], limits(slowest)) == Eta(121.0, "from the budget of api, tokens")


def test_a_pause_is_waited_for_and_one_without_an_end_tells_nothing() -> None:
    left = Left(**CALLS, queued=5, took=[1.0] * 5, finished=5)
    assert estimate([left], limits(replace(API, held=30.0))).seconds == 31.0
    assert estimate([left], limits(replace(API, held=inf))) == Eta(None, "api is paused")
    assert estimate([replace(left, queued=0, running=[0.5])], limits(replace(API, held=inf))).seconds == 0.5


@given(
    count=st.integers(1, 6),
    stamps=st.lists(st.floats(0, 60), max_size=6),
    works=st.integers(1, 30),
)
def test_the_last_start_is_that_of_a_run_of_the_limiter(count: int, stamps: list[float], works: int) -> None:
    period, now = 60.0, 60.0
    log = [stamp for stamp in sorted(stamps) if stamp + period > now][-count:]
    starts = list(log)
    at = now
    for _ in range(works):
        if len(starts) >= count:
            at = max(at, starts[-count] + period)
        starts.append(at)
    tokens = count - len(log)
    limit = Limit(
        "api",
        count=count,
        period=period,
        tokens=tokens,
        next_token=0.0 if tokens else log[0] + period - now,
        starts=log,
        now=now,
    )
    assert last_start(limit, works) == pytest.approx(at - now, abs=1e-9)


def test_a_rate_that_binds_is_what_the_estimate_comes_from() -> None:
    limit = Limit("api", slots=5, count=60, period=60.0, tokens=0, next_token=60.0)
    left = Left(**CALLS, queued=1, took=[0.2], finished=60)
    assert estimate([left], limits(limit)) == Eta(60.2, "from the rate of api")


def test_a_rate_is_known_before_anything_has_finished() -> None:
    limit = Limit("api", slots=5, count=60, period=60.0, tokens=60)
    eta = estimate([Left(**CALLS, queued=100)], limits(limit))
    assert eta == Eta(60.0, "from the rate of api", at_least=True)


def test_a_bucket_that_does_not_tell_its_rate_is_judged_by_its_pace() -> None:
    limit = Limit("api", slots=5, bucket=True, starts=[0.0, 2.0, 4.0], now=4.0)
    eta = estimate([Left(**CALLS, queued=10, took=[1.0], finished=3)], limits(limit))
    assert eta == Eta(21.0, "from the rate of api")


def test_without_a_rate_it_comes_from_what_finished_work_units_took() -> None:
    left = Left(**CALLS, queued=95, running=[1.0] * 5, took=[2.0] * 40, finished=40)
    eta = estimate([left], limits(API))
    assert eta.source == "from 40 finished calls of api"
    assert eta.seconds == pytest.approx((95 * 2.0 + 5 * 1.0 - 5 * 2.0) / 5 + 2.0)


def test_work_units_that_all_have_a_slot_end_with_the_longest() -> None:
    took = [1.0, 2.0, 3.0, 4.0]
    assert estimate([Left(**CALLS, running=[0.5, 3.5], took=took)], limits(API)).seconds == pytest.approx(2.0)
    assert estimate([Left(**CALLS, queued=2, took=took)], limits(API)).seconds == pytest.approx(3.0)


def test_tasks_without_a_service_run_all_at_once() -> None:
    eta = estimate([Left("call", queued=1000, took=[2.0, 2.0], finished=2)], {})
    assert eta == Eta(pytest.approx(2.0), "from 2 finished calls")


def test_work_units_that_took_no_time_because_they_were_up_to_date_do_not_count() -> None:
    """900 of 1000 were skipped in the first second: elapsed by done would say a tenth of a second."""
    left = Left(**CALLS, queued=95, running=[0.5] * 5, took=[10.0] * 4, finished=4)
    seconds = estimate([left], limits(API)).seconds
    assert seconds is not None
    assert seconds > 190


def test_the_service_that_is_ready_last_binds_and_later_stages_have_their_turn() -> None:
    first = Left("fetch", ("web",), queued=0, took=[1.0] * 50, finished=50)
    second = Left("ask", ("api",), queued=45, running=[0.0] * 5, took=[10.0] * 5, finished=5)
    third = Left("store", ("disk",), queued=50, waiting=50, took=[3.0], finished=1)
    services = limits(Limit("web", 10), API, Limit("disk", 10))
    assert estimate([first, second, third], services) == Eta(
        pytest.approx(103.0), "from 5 finished calls of api"
    )


def test_nothing_is_said_before_anything_has_finished() -> None:
    assert estimate([Left(**CALLS, queued=95, running=[1.0])], limits(API)) == Eta(
        None, "no call has finished yet"
    )


def test_a_small_part_that_is_known_is_no_estimate() -> None:
    known = Left("split", ("api",), queued=3, took=[1.0], finished=7)
    unknown = Left("process", ("api",), queued=30)
    assert estimate([known, unknown], limits(API)) == Eta(None, "no process has finished yet")


def test_a_large_part_that_is_known_is_the_least() -> None:
    known = Left("split", ("api",), queued=30, took=[1.0], finished=7)
    unknown = Left("process", ("api",), queued=3)
    assert estimate([known, unknown], limits(API)).at_least


def test_work_units_that_handlers_will_submit_make_it_an_at_least() -> None:
    eta = estimate([Left(**CALLS, queued=5, took=[1.0], finished=1)], limits(API), more=True)
    assert eta == Eta(1.0, "from 1 finished call of api", at_least=True)


def test_what_is_left_and_blocked_has_no_end() -> None:
    left = Left(**CALLS, queued=5, waiting=5, took=[1.0])
    assert estimate([left], limits(API), stuck=True) == Eta(None, "what is left is blocked")


def test_slow_submission_binds() -> None:
    left = Left(**CALLS, queued=1, took=[1.0])
    assert estimate([left], limits(API), coming=60.0) == Eta(60.0, "from the pace of submission")
    assert estimate([], limits(API), coming=60.0) == Eta(60.0, "from the pace of submission")


def test_nothing_left_takes_no_time() -> None:
    assert estimate([Left(**CALLS)], limits(API)) == Eta(0.0)


@given(data=st.data())
@settings(max_examples=100)
def test_an_estimate_is_never_negative_nor_absurd(data: st.DataObject) -> None:
    seconds = st.floats(0, 1e6)
    tasks = [
        Left(
            f"task {number}",
            data.draw(st.sampled_from([(), ("a",), ("b",), ("a", "b")])),
            queued=data.draw(st.integers(0, 50)),
            running=data.draw(st.lists(seconds, max_size=5)),
            took=sorted(data.draw(st.lists(seconds, max_size=5))),
            waiting=data.draw(st.integers(0, 50)),
        )
        for number in range(3)
    ]
    services = []
    for name in "ab":
        count = data.draw(st.none() | st.integers(1, 9))
        starts = sorted(data.draw(st.lists(st.floats(0, 100), max_size=9)))
        tokens = (count or 0) - max(0, min(count or 0, len(starts) - bisect_right(starts, 40.0)))
        next_token = data.draw(st.none() | st.floats(0, 60))
        slots = data.draw(st.none() | st.integers(1, 9))
        services.append(
            Limit(
                name, slots, count, 60.0, tokens, next_token, starts, 100.0, bucket=data.draw(st.booleans())
            )
        )
    eta = estimate(tasks, limits(*services))
    assert eta.seconds is None or 0 <= eta.seconds < 1e9
    assert eta.source or not eta.seconds


def test_a_shown_estimate_moves_to_a_new_one_within_seconds() -> None:
    steady = Steady()
    steady.follow(Eta(100.0), 100.0)
    shown = [steady.follow(Eta(200.0 - step / 8), 100.0 + step / 8).seconds or 0.0 for step in range(1, 81)]
    assert shown[0] < 110
    assert max(after - before for before, after in pairwise(shown)) < 10
    assert shown[-1] == pytest.approx(190.0, abs=1.0)


def test_an_estimate_that_comes_true_counts_down() -> None:
    steady = Steady()
    shown = [steady.follow(Eta(50.0 - second), 100.0 + second).seconds for second in range(50)]
    assert shown == pytest.approx([50.0 - second for second in range(50)])


def test_what_is_known_in_the_first_moment_is_soon_forgotten() -> None:
    steady = Steady()
    steady.follow(Eta(0.1), 0.1)
    assert steady.follow(Eta(20.0), 0.4).seconds == pytest.approx(20.0, abs=0.2)


def test_an_estimate_that_ends_is_none_at_once() -> None:
    steady = Steady()
    steady.follow(Eta(30.0), 10.0)
    assert steady.follow(Eta(None, "blocked"), 10.1) == Eta(None, "blocked")
    assert steady.follow(Eta(0.0), 10.2).seconds == 0.0
    assert steady.follow(Eta(5.0), 10.3).seconds == 5.0
