"""Several windows at once, budgets of tokens and money, and a margin: on the virtual clock."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

import runcue
from runcue import ConfigurationError, LimitError, UsageError
from tests.support.virtual_time import now, virtual

Starts = list[tuple[float, Any]]


def counted(cue: runcue.Cue, *, lasts: float = 0.0, **options: Any) -> Starts:
    """A task "ask" that notes when it starts, with its param n, and spends what its param says."""
    starts: Starts = []

    @cue.task("ask", **options)
    async def ask(work: runcue.Work) -> None:
        starts.append((now(), work.params.get("n")))
        if lasts:
            await asyncio.sleep(work.params.get("lasts", lasts))
        for amount in work.params.get("spends", ()):
            work.spent(tokens=amount)

    return starts


def ask(*tokens: Any) -> list[dict[str, Any]]:
    return [{"n": one} for one in tokens]


async def submitted(cue: runcue.Cue, works: list[dict[str, Any]]) -> None:
    async with cue:
        for params in works:
            await cue.submit("ask", params)


def by_n(work: runcue.Work) -> dict[str, Any]:
    return {"tokens": work.params["n"]}


# Several windows, and the margin


@pytest.mark.rule(45)
@virtual
async def test_all_windows_of_a_service_hold() -> None:
    cue = runcue.Cue()
    cue.service("api", rate=["2/sec", "5/10sec"])
    starts = counted(cue, uses="api")
    await submitted(cue, ask(*range(11)))
    assert [at for at, _ in starts] == [0, 0, 1, 1, 2, 10, 10, 11, 11, 12, 20]


@pytest.mark.rule(45)
@virtual
async def test_the_status_tells_of_the_window_that_binds() -> None:
    cue = runcue.Cue()
    cue.service("api", rate=["10/sec", "12/min"], margin=0.25)
    counted(cue, uses="api")
    async with cue:
        for _ in range(12):
            await cue.submit("ask")
        await asyncio.sleep(1.5)
        (status,) = cue.services()
        assert (status.rate, status.count, status.tokens) == ("10/sec, 12/min", 12, 0)
        assert status.next_token == pytest.approx(58.75)
        assert [(one.text, one.count, one.period, one.tokens) for one in status.rates] == [
            ("10/sec", 10, 1, 8),
            ("12/min", 12, 60, 0),
        ]
        assert status.margin == 0.25


@pytest.mark.rule(45)
def test_two_windows_of_one_period_are_a_mistake_and_a_burst_goes_with_one() -> None:
    cue = runcue.Cue()
    with pytest.raises(ConfigurationError, match=r"60/min.*5/minute"):
        cue.service("api", rate=["60/min", "5/minute"])
    with pytest.raises(ConfigurationError, match="burst=3 goes with a single rate"):
        cue.service("api", rate=["60/min", "5/sec"], burst=3)
    with pytest.raises(ConfigurationError, match="Invalid rate"):
        cue.service("api", rate=[])


@pytest.mark.rule(45)
@virtual
async def test_a_margin_makes_each_window_longer() -> None:
    cue = runcue.Cue()
    cue.service("api", rate="1/sec", margin="0.5s")
    cue.service("bucket", rate="1/sec", burst=1, margin=0.5)
    cue.service("money", budget={"tokens": "1/sec"}, margin=0.5)
    starts: dict[str, list[float]] = {"api": [], "bucket": [], "money": []}

    async def start(work: runcue.Work) -> None:
        starts[work.task].append(now())

    for name in starts:
        cue.task(name, uses=name, cost={"tokens": 1} if name == "money" else None)(start)
    async with cue:
        for name in starts:
            for _ in range(3):
                await cue.submit(name)
    assert starts == {"api": [0, 1.5, 3], "bucket": [0, 1.5, 3], "money": [0, 1.5, 3]}


# Budgets


@pytest.mark.rule(46)
@virtual
async def test_starts_take_what_they_cost_and_wait_until_there_is_that_much() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "1_000/min"})
    starts = counted(cue, uses="api", cost=by_n)
    await submitted(cue, ask(600, 400, 1000, 1))
    assert starts == [(0, 600), (0, 400), (60, 1000), (120, 1)]


@pytest.mark.rule(46)
@virtual
async def test_what_was_spent_counts_in_place_of_the_reservation() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "1_000/min"})
    starts = counted(cue, lasts=5, uses="api", cost={"tokens": 1000})
    await submitted(cue, [{"n": 1, "spends": (100, 200)}, {"n": 2, "spends": ()}, {"n": 3}])
    # The first has spent 300 of the 1,000 that were reserved; another 1,000 have to wait until these are back, too.
    assert starts == [(0, 1), (60, 2), (120, 3)]
    assert cue.services()[0].budgets["tokens"].debt == 0


@pytest.mark.rule(46)
@virtual
async def test_what_is_given_back_is_there_at_once() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "1_000/min"})
    starts = counted(cue, lasts=5, uses="api", cost={"tokens": 600})
    await submitted(cue, [{"n": 1, "spends": (100,)}, {"n": 2, "spends": (100,)}, {"n": 3}])
    assert starts == [(0, 1), (5, 2), (10, 3)]


@pytest.mark.rule(46)
@virtual
async def test_an_excess_that_does_not_fit_is_debt_and_charged_before_anything_starts() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    starts = counted(cue, lasts=1, uses="api", cost={"tokens": 50})
    async with cue:
        for params in ({"n": 1, "spends": (250,)}, {"n": 2}, {"n": 3}):
            await cue.submit("ask", params)
        await asyncio.sleep(2)
        status = cue.services()[0].budgets["tokens"]
        # 50 of its own, 50 of the second, and of the 250 there is no room for 200.
        assert status == (100, 100, 60.0, 200)
    # At 60 s room comes back for 100 of them, at 120 s for the other 100: these count until 180 s.
    assert starts == [(0, 1), (0, 2), (180, 3)]


@pytest.mark.rule(46)
@virtual
async def test_amounts_add_up_exactly() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"usd": "1/day"})
    times: list[float] = []

    @cue.task("pay", uses="api", cost={"usd": 0.1})
    async def pay(work: runcue.Work) -> None:
        times.append(now())

    async with cue:
        for _ in range(11):
            await cue.submit("pay")
    assert times == [0.0] * 10 + [86_400.0]


@pytest.mark.rule(46)
@virtual
async def test_the_cost_of_a_submission_stands_in_place_of_the_tasks() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    starts = counted(cue, uses="api", cost={"tokens": 100})
    async with cue:
        await cue.submit("ask", {"n": 1})
        await cue.submit("ask", {"n": 2}, cost={"tokens": Decimal(0)})
        await cue.submit("ask", {"n": 3}, cost={})
        await cue.submit("ask", {"n": 4}, cost=lambda n: {"tokens": n})
        await cue.submit("ask", {"n": 5})
    assert starts == [(0, 1), (0, 2), (0, 3), (60, 4), (120, 5)]


@pytest.mark.rule(46)
@virtual
async def test_maps_and_groups_have_costs_as_well() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "10/min"})
    times: list[float] = []

    @cue.task("ask", uses="api", cost=lambda number: {"tokens": 5 * number})
    async def ask(number: int) -> None:
        times.append(now())

    async with cue:
        async for _ in cue.map("ask", [{"number": 2}, {"number": 1}]):
            pass
        async with cue.group() as group:
            await group.submit("ask", {"number": 3}, cost={"tokens": 10})
    assert times == [0, 60, 120]


@pytest.mark.rule(46)
@virtual
async def test_who_joins_another_one_pays_nothing() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "10/min"})
    starts = counted(cue, uses="api", cost={"tokens": 6}, key=lambda work: "same")
    await submitted(cue, ask(1, 1, 1))
    assert starts == [(0, 1)]
    assert cue.services()[0].budgets["tokens"].used == 6


@pytest.mark.rule(46)
@virtual
async def test_each_attempt_is_charged_but_for_one_that_was_throttled() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    times: list[float] = []

    @cue.task("ask", uses="api", cost={"tokens": 50}, retry=runcue.Retry(5, wait_initial=1, wait_jitter=0))
    async def ask(work: runcue.Work) -> None:
        times.append(now())
        work.spent(tokens=20)
        if len(times) == 1:
            raise runcue.Throttled(retry_after=5)
        if len(times) == 2:
            raise OSError

    async with cue:
        await cue.submit("ask")
        await asyncio.sleep(3)
        assert cue.services()[0].budgets["tokens"].used == 0
    assert len(times) == 3
    assert cue.services()[0].budgets["tokens"].used == 40


@pytest.mark.rule(46)
@virtual
async def test_a_cancelled_attempt_is_charged_like_any_other() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    counted(cue, lasts=100, uses="api", cost={"tokens": 70})
    async with cue:
        handle = await cue.submit("ask")
        await asyncio.sleep(1)
        await cue.cancel(handle)
        await asyncio.sleep(1)
        assert cue.services()[0].budgets["tokens"] == (70, 100, 60.0, 0)


@pytest.mark.rule(46)
@virtual
async def test_what_a_handler_spends_after_its_work_unit_was_cancelled_is_charged_when_it_ends() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})

    @cue.task(uses="api", cost={"tokens": 70})
    async def lingers(work: runcue.Work) -> None:
        try:
            await asyncio.sleep(9)
        finally:
            await asyncio.sleep(1)
            work.spent(tokens=20)

    @cue.task(uses="api", cost={"tokens": 70}, key=lambda work: "same")
    async def shared(work: runcue.Work) -> None:
        await asyncio.sleep(2)
        work.spent(tokens=20)

    def used() -> Any:
        return cue.services()[0].budgets["tokens"].used

    async with cue:
        handle = await cue.submit(lingers)
        await asyncio.sleep(1)
        await cue.cancel(handle)
        await asyncio.sleep(0.5)
        assert used() == 70
        await asyncio.sleep(1)
        assert used() == 20
        # Another one goes on in its place, with the same handler.
        handle = await cue.submit(shared)
        await cue.submit(shared)
        await asyncio.sleep(1)
        await cue.cancel(handle)
    assert used() == 40


@pytest.mark.rule(46)
@virtual
async def test_several_budgets_are_taken_together() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min", "usd": "1/hour"})
    cue.service("total", budget={"tokens": "150/min"})
    times: list[float] = []

    @cue.task("ask", uses=["api", "total"], cost={"tokens": 100, "usd": Fraction(1, 2)})
    async def ask(work: runcue.Work) -> None:
        times.append(now())

    async with cue:
        for _ in range(3):
            await cue.submit("ask")
    assert times == [0, 60, 3600]
    assert cue.services()[0].budgets["usd"].used == 1


# What is more than there ever is


@pytest.mark.rule(11, 46)
@virtual
async def test_what_can_never_fit_is_refused_when_it_is_submitted() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    counted(cue, uses="api", cost=by_n)
    cue.task("big", uses="api", cost={"tokens": 101})(print)
    async with cue:
        with pytest.raises(ConfigurationError, match=r"takes 101 tokens.*never has more than 100.*borrow"):
            await cue.submit("ask", {"n": 101})
        with pytest.raises(ConfigurationError, match="101 tokens"):
            await cue.submit("ask", {"n": 1}, cost={"tokens": 101})
        with pytest.raises(ConfigurationError, match="101 tokens"):
            await cue.submit("big")
        await cue.submit("big", cost={"tokens": 100})
        assert len(await cue.list()) == 1


@pytest.mark.rule(46)
@virtual
async def test_what_is_borrowed_starts_when_nothing_is_used_and_is_paid_back_first() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"}, oversize="borrow")
    starts = counted(cue, uses="api", cost=by_n)
    async with cue:
        await cue.submit("ask", {"n": 10})
        await asyncio.sleep(10)
        for n in (250, 11):
            await cue.submit("ask", {"n": n})
    # At 60 s the 10 are back; of the 250, 100 are charged then, 100 at 120 s, 50 at 180 s: then 11 more fit.
    assert starts == [(0, 10), (60, 250), (180, 11)]


# Who may pass who


@pytest.mark.rule(6, 46)
@virtual
async def test_smaller_ones_pass_where_they_do_not_put_off_who_waits() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    starts = counted(cue, uses="api", cost=by_n)
    async with cue:
        await cue.submit("ask", {"n": 60})
        await asyncio.sleep(10)
        for n in (70, 40, 20, 11, 10):
            await cue.submit("ask", {"n": n})
    # At 60 s there is room for the 70 beside 30: 40 would put them off, and so would 11 beside 20.
    assert starts == [(0, 60), (10, 20), (10, 10), (60, 70), (70, 11), (120, 40)]


@pytest.mark.rule(6, 46)
@virtual
async def test_a_start_of_the_rate_that_who_waits_will_need_is_left() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"}, rate="2/2min")
    starts = counted(cue, uses="api", cost=by_n)
    await submitted(cue, ask(60, 70, 1))
    assert starts == [(0, 60), (60, 70), (120, 1)]


@pytest.mark.rule(6, 46)
@virtual
async def test_nobody_waits_for_ever_though_smaller_ones_spend_more_than_they_have_said() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    starts: Starts = []

    @cue.task("ask", uses="api", cost=by_n)
    async def ask(work: runcue.Work) -> None:
        starts.append((now(), work.params["n"]))
        if work.params["n"] == 1:
            work.spent(tokens=30)

    async with cue:
        await cue.submit("ask", {"n": 60})
        large = await cue.submit("ask", {"n": 90})
        for _ in range(40):
            await cue.submit("ask", {"n": 1})
            await asyncio.sleep(5)
        assert large.done()
    # Promised for 60 s; from then on nobody passes, and what the others have spent is paid.
    assert next(at for at, n in starts if n == 90) <= 180


@pytest.mark.rule(6, 46)
@virtual
async def test_another_attempt_of_who_has_waited_waits_anew_and_is_passed_as_the_first_was() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    starts: Starts = []

    @cue.task("ask", uses="api", cost=by_n)
    async def ask(work: runcue.Work) -> None:
        starts.append((now(), work.params["n"]))
        if work.params["n"] == 61 and len(starts) == 2:
            raise runcue.RetryLater(1)

    async with cue:
        await cue.submit("ask", {"n": 60})
        await cue.submit("ask", {"n": 61})
        await asyncio.sleep(70)
        await cue.submit("ask", {"n": 10})
    # It was to start at 60 s, and so it did; its second attempt is to start at 120 s, beside those 10.
    assert starts == [(0, 60), (60, 61), (70, 10), (120, 61)]


@pytest.mark.rule(5, 46)
@virtual
async def test_after_a_minute_its_slot_is_left_free_too() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/5min"}, concurrent=2)
    starts = counted(cue, lasts=200, uses="api", cost=by_n)
    async with cue:
        await cue.submit("ask", {"n": 60, "lasts": 1})
        await cue.submit("ask", {"n": 90, "lasts": 1})
        await asyncio.sleep(10)
        await cue.submit("ask", {"n": 2})
        await asyncio.sleep(100)
        await cue.submit("ask", {"n": 3})
    # The 3 would hold the second slot from 110 s on, and the 90 can start at 300 s.
    assert starts[:2] == [(0, 60), (10, 2)]
    assert starts[2][0] < starts[3][0] or starts[3] == (300, 90)
    assert (300, 90) in starts


@pytest.mark.rule(3, 46)
@virtual
async def test_who_shares_no_budget_with_who_waits_is_not_held_up() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    cue.service("disk", concurrent=5)
    starts = counted(cue, uses=["api", "disk"], cost=by_n)
    others: list[float] = []

    @cue.task("write", uses="disk")
    async def write(work: runcue.Work) -> None:
        others.append(now())

    async with cue:
        for n in (60, 70):
            await cue.submit("ask", {"n": n})
        await cue.submit("write")
    assert starts == [(0, 60), (60, 70)]
    assert others == [0]


@virtual
async def test_a_claim_that_is_seen_from_one_line_alone_makes_nobody_look_again_and_again() -> None:
    cue = runcue.Cue()
    cue.service("narrow", concurrent=1)
    cue.service("api", budget={"tokens": "100/min"}, rate="2/hour")
    entered: list[tuple[str, float]] = []

    @cue.task(uses="api", cost={"tokens": 60})
    async def large(work: runcue.Work) -> None:
        entered.append(("large", now()))

    @cue.task(uses=["narrow", "api"], cost={"tokens": 1})
    async def small(work: runcue.Work) -> None:
        entered.append(("small", now()))

    @cue.task(uses="narrow")
    async def other(work: runcue.Work) -> None:
        entered.append(("other", now()))

    async with cue:
        for task in (large, large, small):
            await cue.submit(task)
        await asyncio.sleep(5)
        # Its line shares slots with `small`, and nothing with `large`, whom that one would put off.
        await cue.submit(other)
    assert entered == [("large", 0), ("other", 5), ("large", 60), ("small", 3600)]


@pytest.mark.rule(46)
@virtual
async def test_plain_and_async_handlers_share_a_budget_in_their_order() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    starts = counted(cue, uses="api", cost=by_n)

    @cue.task("plain", uses="api", cost=by_n)
    def plain(work: runcue.Work) -> None:
        starts.append((0.0, work.params["n"]))
        work.spent(tokens=5)

    async with cue:
        await cue.submit("plain", {"n": 60})
        await cue.submit("ask", {"n": 70})
        await cue.submit("plain", {"n": 50})
    assert [n for _, n in starts] == [60, 70, 50]


# What a handler says that it has spent


@pytest.mark.rule(46)
def test_spent_may_be_called_in_threads_of_a_plain_handler() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100_000/min"})

    @cue.task("ask", uses="api", cost={"tokens": 1})
    def ask(work: runcue.Work) -> None:
        def spend() -> None:
            for _ in range(500):
                work.spent(tokens=1)

        threads = [threading.Thread(target=spend) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    async def main() -> int:
        async with cue:
            await (await cue.submit("ask"))
        return int(cue.services()[0].budgets["tokens"].used)

    assert runcue.run(main) == 2000


@pytest.mark.rule(46)
@virtual
async def test_spent_names_what_is_wrong_with_it() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min", "usd": "1/day"})
    works: list[runcue.Work] = []
    told: list[str] = []

    @cue.task("ask", uses="api", cost={})
    async def ask(work: runcue.Work) -> None:
        works.append(work)
        calls: list[Callable[[], None]] = [
            lambda: work.spent(token=1),
            lambda: work.spent(tokens=-1),
            lambda: work.spent(tokens=float("nan")),
            lambda: work.spent(tokens="many"),
            lambda: work.spent(),
            lambda: work.spent({"tokens": 1}),  # type: ignore[arg-type]
        ]
        for call in calls:
            with pytest.raises(ConfigurationError) as caught:
                call()
            told.append(str(caught.value))

    async with cue:
        await (await cue.submit("ask"))
        with pytest.raises(UsageError, match="has settled"):
            works[0].spent(tokens=1)
        handle = await cue.submit("ask", delay=5)
        with pytest.raises(UsageError, match="has not started"):
            handle.work.spent(tokens=1)
        assert await cue.cancel(handle)
    assert "'tokens'" in told[0]
    assert "'usd'" in told[0]
    assert "at least 0, not -1" in told[1]
    assert "nan" in told[2]
    assert "'many'" in told[3]
    assert all("spent(tokens=712)" in text for text in told[4:])
    with pytest.raises(UsageError, match="belongs to none"):
        runcue.Work("1", "ask").spent(tokens=1)


@pytest.mark.rule(46)
@virtual
async def test_spent_without_any_budget_says_so() -> None:
    cue = runcue.Cue()

    @cue.task("ask")
    async def ask(work: runcue.Work) -> None:
        work.spent(tokens=1)

    async with cue:
        with pytest.raises(ConfigurationError, match="'tokens', and no service of its task has any"):
            await (await cue.submit("ask"))


# What cannot work


@pytest.mark.rule(46)
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("90_000/min", "a dict"),
        ({"tokens": 5}, "90_000/min"),
        ({"tokens": "0/min"}, "more than zero"),
        ({"tokens": "5/fortnight"}, "90_000/min"),
        ({"": "5/min"}, "non-empty"),
        ({3: "5/min"}, "non-empty"),
    ],
)
def test_a_budget_that_cannot_work_is_refused(value: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        runcue.Cue().service("api", budget=value)
    assert "budget of service 'api'" in str(caught.value) or "The name of a budget" in str(caught.value)


@pytest.mark.rule(46)
@pytest.mark.parametrize("cost", [5, {"tokens": -1}, {"tokens": None}, {"token": 1}, {3: 1}])
@virtual
async def test_a_cost_that_cannot_work_is_refused_where_it_is_given(cost: Any) -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    with pytest.raises(ConfigurationError, match=r"cost of task 'ask'|The name of a budget"):
        cue.task("ask", uses="api", cost=cost)(print)
    counted(cue, uses="api", cost={})
    async with cue:
        with pytest.raises(ConfigurationError, match=r"cost|The name of a budget"):
            await cue.submit("ask", cost=cost)


@pytest.mark.rule(46)
def test_an_unknown_budget_is_told_with_those_that_there_are() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    cue.service("disk")
    with pytest.raises(ConfigurationError, match=r"'token', and of 'api' there is 'tokens'.*mean 'tokens'"):
        cue.task("one", uses="api", cost={"token": 1})(print)
    with pytest.raises(ConfigurationError, match="'disk' has none"):
        cue.task("two", uses="disk", cost={"tokens": 1})(print)
    with pytest.raises(ConfigurationError, match="uses no service"):
        cue.task("three", cost={"tokens": 1})(print)


def _raises(work: runcue.Work) -> dict[str, int]:
    raise ZeroDivisionError("no price")


def _returns_nothing(work: runcue.Work) -> None:
    pass


async def _awaits(work: runcue.Work) -> dict[str, int]:
    return {}


@pytest.mark.rule(46)
@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (_raises, "raised ZeroDivisionError: no price in _raises"),
        (_returns_nothing, "returned None; is a `return` missing?"),
        (lambda work: 5, "must be a dict"),
        (lambda work: {"tokens": -1}, "at least 0"),
        (lambda work: {"token": 1}, "there is 'tokens'"),
        (lambda work: _awaits(work), "to be awaited"),
    ],
)
@virtual
async def test_a_function_that_cannot_say_the_cost_fails_its_work_unit(cost: Any, words: str) -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    starts = counted(cue, uses="api", cost=cost)
    async with cue:
        handle = await cue.submit("ask", {"n": 1})
        with pytest.raises(LimitError) as caught:
            await handle
        assert words in str(caught.value)
        assert "test_budgets.py" in str(caught.value)
        good = await cue.submit("ask", {"n": 2}, cost={"tokens": 1})
        await good
    assert starts == [(0, 2)]
    assert cue.services()[0].budgets["tokens"].used == 1


@pytest.mark.rule(46)
def test_an_async_function_is_no_cost() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    with pytest.raises(ConfigurationError, match="plain function, not by the `async def`"):
        cue.task("ask", uses="api", cost=_awaits)(print)


# What is told


@pytest.mark.rule(46)
@virtual
async def test_a_task_that_says_nothing_of_its_cost_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min", "usd": "1/day"})
    heard: list[runcue.abc.CueWarning] = []

    class Ear(runcue.Observer):
        def warned(self, warning: runcue.abc.CueWarning) -> None:
            heard.append(warning)

    cue.observe(Ear())
    counted(cue, uses="api")
    with caplog.at_level(logging.WARNING, "runcue"):
        await submitted(cue, ask(1, 2, 3))
    (record,) = caplog.records
    for words in ("Task 'ask' uses service 'api'", "100 tokens per min", "cost="):
        assert words in record.getMessage()
    assert [one.kind for one in heard] == ["no_cost"]


@pytest.mark.rule(46)
@virtual
async def test_who_waits_for_a_budget_is_told_how_much_is_missing_and_when_it_comes() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.service("api", budget={"tokens": "90_000/min"})
    counted(cue, uses="api", cost=by_n)
    async with cue:
        for n in (88_200, 2_000, 5_000):
            await cue.submit("ask", {"n": n})
        await asyncio.sleep(48)
        row, behind = cue.debug_blocked()
        assert row["details"] == (
            "api: its budget of 90,000 tokens per min is used up: 88,200 used, needs 2,000, in 12 s"
        )
        assert "(ask 2 is first in line)" in behind["details"]
        told = str(cue.why("2"))
        assert told.startswith("ask 2: waiting for a budget")
        assert "in 12 s" in told
        assert "the budget of api (90,000 tokens per min)" in str(cue.why())


@pytest.mark.rule(46)
def test_a_plan_knows_how_long_a_budget_takes() -> None:
    cue = runcue.Cue()
    cue.service("api", rate="100/min", budget={"tokens": "1_000/min"})
    counted(cue, uses="api", cost=by_n)
    plan = cue.plan([("ask", {"n": 400}) for _ in range(10)])
    # 4,000 are charged in four windows at the least, and the last begins after three.
    assert plan.seconds == 180
    assert plan.binding == "api"
    assert "1,000 tokens per min" in str(plan)


@pytest.mark.rule(46)
@virtual
async def test_a_drain_waits_for_a_budget_and_no_stall_is_called() -> None:
    cue = runcue.Cue(stall_timeout=5)
    cue.service("api", budget={"usd": "1/day"})
    starts = counted(cue, uses="api", cost={"usd": 1})
    await submitted(cue, ask(1, 2))
    assert starts == [(0, 1), (86_400, 2)]


@pytest.mark.rule(46)
def test_options_that_say_nothing_alone_are_refused() -> None:
    cue = runcue.Cue()
    with pytest.raises(ConfigurationError, match="oversize='borrow' says nothing without budget="):
        cue.service("api", rate="1/sec", oversize="borrow")
    with pytest.raises(ConfigurationError, match="margin='1s' says nothing without rate= or budget="):
        cue.service("api", margin="1s")
    api = cue.service("api", budget={"tokens": "1/min"}, oversize="borrow", margin="1s")
    api.change(budget=None)
    assert repr(api) == "<Service api: oversize borrow, margin 1 s>"


@pytest.mark.rule(46, 48)
@virtual
async def test_a_changed_budget_keeps_what_was_charged() -> None:
    cue = runcue.Cue()
    api = cue.service("api", budget={"tokens": "100/min"})
    starts = counted(cue, uses="api", cost=by_n)
    async with cue:
        await cue.submit("ask", {"n": 80})
        await cue.submit("ask", {"n": 60})
        await asyncio.sleep(10)
        api.change(budget={"tokens": "150/min"})
        await asyncio.sleep(1)
        assert starts == [(0, 80), (10, 60)]
        api.change(budget={"tokens": "150/2min"})
        await cue.submit("ask", {"n": 90})
    assert starts[2] == (120, 90)


@pytest.mark.rule(46)
@virtual
async def test_an_unknown_budget_of_a_submission_is_told_with_the_services_of_the_task() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min"})
    cue.task("plain", uses="api", cost={})(print)
    async with cue:
        with pytest.raises(ConfigurationError, match="'usd', and of 'api' there is 'tokens'"):
            await cue.submit("plain", cost={"usd": 1})


@pytest.mark.rule(2, 46)
@virtual
async def test_who_comes_after_one_that_is_not_ready_is_asked_for_its_own_cost() -> None:
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "10/min"})
    starts = counted(cue, uses="api", cost=by_n)
    cue.is_ready(lambda work: work.params["n"] != 1 or now() > 5)
    await submitted(cue, ask(8, 1, 9, 2))
    assert starts == [(0, 8), (0, 2), (60, 1), (60, 9)]
