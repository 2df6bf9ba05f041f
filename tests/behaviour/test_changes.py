"""Limits of a service that change while work units run: what is known stays, nothing else changes: rule 48."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiolimiter
import pytest

import runcue
from runcue.abc import Limit
from runcue.testing import FakeExecutor
from tests.support import in_processes
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import now, virtual

Change = tuple[float, dict[str, Any]]


async def starts(number: int, limits: dict[str, Any], *changes: Change, lasts: float = 0.0) -> list[float]:
    """After how many seconds so many start, while limits are changed."""
    cue, entered = runcue.Cue(), list[float]()
    api = cue.service("api", **limits)

    @cue.task("call", uses=api)
    async def call(work: runcue.Work) -> None:
        entered.append(round(now() - began, 6))
        await asyncio.sleep(lasts)

    async with cue:
        began = now()
        for _ in range(number):
            await cue.submit("call")
        for at, others in changes:
            await asyncio.sleep(began + at - now())
            api.change(**others)
    return entered


@pytest.mark.rule(48)
@pytest.mark.parametrize(
    ("limits", "change", "expected"),
    [
        # A start counts in every window in which it is remembered.
        ({"rate": "2/sec"}, {"rate": "4/sec"}, [0, 0, 0.5, 0.5, 1, 1]),
        ({"rate": "4/sec"}, {"rate": "2/sec"}, [0, 0, 0, 0, 1, 1]),
        ({"rate": "3/sec"}, {"rate": "3/10s"}, [0, 0, 0, 10, 10, 10]),
        ({"rate": "3/10s"}, {"rate": "3/sec"}, [0, 0, 0, 1, 1, 1]),
        ({"rate": "1/sec"}, {"rate": None}, [0, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ({"rate": "4/sec"}, {"burst": 1}, [0, 0, 0, 0, 1, 1.25]),
        ({"rate": "2/sec", "burst": 1}, {"burst": None}, [0, 0.5, 1, 1.5, 2, 2.5]),
        ({"rate": "2/sec"}, {"concurrent": 5}, [0, 0, 1, 1, 2, 2]),
        ({"rate": "2/sec", "max_pause": 5}, {"max_pause": 6}, [0, 0, 1, 1, 2, 2]),
    ],
    ids=repr,
)
@virtual
async def test_what_has_started_counts_in_what_is_changed(
    limits: dict[str, Any], change: dict[str, Any], expected: list[float]
) -> None:
    assert await starts(6, limits, (0.5, change)) == expected


@pytest.mark.rule(48)
@pytest.mark.parametrize("burst", [None, 2])
@pytest.mark.parametrize("meanwhile", [{"rate": None}, {"rate": None, "limiter": aiolimiter.AsyncLimiter(9)}])
@virtual
async def test_a_rate_that_is_given_again_knows_what_had_started_before_it_was_taken_away(
    burst: int | None, meanwhile: dict[str, Any]
) -> None:
    rate = {"rate": "2/min", "burst": burst}
    changes = (5, {**meanwhile, "burst": None}), (5.5, {"concurrent": 3}), (6, {**rate, "limiter": None})
    cue, entered = runcue.Cue(), list[float]()
    api = cue.service("api", **rate)

    @cue.task("call", uses=api)
    async def call(work: runcue.Work) -> None:
        entered.append(now())

    async with cue:
        for _ in range(2):
            await cue.submit("call")
        for at, others in changes:
            await asyncio.sleep(at - now())
            api.change(**others)
        assert api.status().tokens == (None if burst else 0)
        await cue.submit("call")
        await cue.drain()
        api.change(rate=None, burst=None)
        await asyncio.sleep(300)
        # Nothing of that counts any more.
        api.change(limiter=aiolimiter.AsyncLimiter(9))
        assert len(cue._core.services["api"].limits) == 1
        api.change(rate="1/min", limiter=None)
        await cue.submit("call")
        await cue.drain()
    assert entered == ([0, 0, 30, 330] if burst else [0, 0, 60, 360])


@pytest.mark.rule(48, 47)
@virtual
async def test_a_rate_of_keys_that_is_given_again_knows_what_had_started() -> None:
    cue, entered = runcue.Cue(), list[float]()
    api = cue.service("api", per=lambda work: 1, rate="1/min")

    @cue.task("call", uses=api)
    async def call(work: runcue.Work) -> None:
        entered.append(now())

    async with cue:
        await (await cue.submit("call"))
        api.change(rate=None)
        await asyncio.sleep(20)
        await (await cue.submit("call"))
        assert len(cue._core.keyed[0]) == 1
        api.change(rate="1/min")
        await (await cue.submit("call"))
        api.change(rate=None)
        await asyncio.sleep(1000)
        assert len(cue._core.keyed[0]) == 0
    assert entered == [0, 20, 60]


@pytest.mark.rule(48)
@virtual
async def test_more_slots_are_used_at_once_and_fewer_let_what_runs_go_on() -> None:
    assert await starts(6, {"concurrent": 1}, (0.5, {"concurrent": 3}), lasts=1) == [0, 0.5, 0.5, 1, 1.5, 1.5]
    assert await starts(6, {"concurrent": 3}, (0.5, {"concurrent": 1}), lasts=1) == [0, 0, 0, 1, 2, 3]
    assert await starts(4, {"concurrent": 1}, (0.5, {"concurrent": None}), lasts=1) == [0, 0.5, 0.5, 0.5]


@pytest.mark.rule(48)
@virtual
async def test_a_rate_that_comes_while_handlers_run_holds_for_what_starts_from_then_on() -> None:
    first = {"concurrent": 3}
    assert await starts(7, first, (0.5, {"rate": "1/10s"}), lasts=1) == [0, 0, 0, 1, 11, 21, 31]


@pytest.mark.rule(48)
@virtual
async def test_a_limiter_takes_the_place_of_a_rate_and_gives_it_back() -> None:
    limiter = aiolimiter.AsyncLimiter(1, 10)
    changes = (0.5, {"rate": None, "limiter": limiter}), (25, {"limiter": None, "rate": "100/sec"})
    assert await starts(6, {"rate": "2/sec"}, *changes) == [0, 0, 0.5, 10.5, 20.5, 25]


@pytest.mark.rule(48)
@virtual
async def test_a_handler_changes_the_limits_by_which_it_runs_itself() -> None:
    cue, entered = runcue.Cue(), list[float]()
    api = cue.service("api", concurrent=10)

    @cue.task("call", uses=api)
    async def call(work: runcue.Work) -> None:
        entered.append(now() - began)
        if len(entered) == 1:
            api.change(rate="2/sec")  # in its first step: its own start is on its way
        elif len(entered) == 4:
            api.change(rate=None, concurrent=None)

    async with cue:
        began = now()
        for _ in range(6):
            await cue.submit("call")
    assert entered == [0, 0, 1, 1, 1, 1]


@pytest.mark.rule(48)
@virtual
async def test_whoever_hears_of_a_start_changes_limits_and_the_start_counts_in_them() -> None:
    cue, entered = runcue.Cue(run_in=FakeExecutor(lambda work: 0.25)), list[float]()
    api = cue.service("api", concurrent=10)

    @cue.task("call", uses=api)
    def call(work: runcue.Work) -> None: ...

    @cue.on_start
    def started(work: runcue.Work) -> None:
        entered.append(now() - began)
        if len(entered) == 1:
            api.change(rate="2/sec")

    async with cue:
        began = now()
        for _ in range(5):
            await cue.submit("call")
    assert entered == [0, 0, 1, 1, 2]


class Counting(runcue.abc.Limit):
    """So many at a time; and what it was told."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.inside = 0
        self.told: list[str] = []

    def room(self, now: float, work: runcue.Work, /) -> bool:
        return self.inside < self.most

    def acquire(self, now: float, work: runcue.Work, /) -> None:
        self.inside += 1
        self.told.append("acquire")

    def entered(self, now: float, work: runcue.Work, at: float, /) -> None:
        self.told.append("entered")

    def release(self, now: float, work: runcue.Work, actual: Any, /) -> None:
        self.inside -= 1
        self.told.append("release")
        assert self.inside >= 0


@pytest.mark.rule(48)
@virtual
async def test_limits_of_your_own_that_are_exchanged_hear_of_those_alone_that_they_let_start() -> None:
    first, second = Counting(2), Counting(1)
    changes = (0.5, {"limits": second}), (3.5, {"limits": None}), (3.6, {"limits": [first]})
    assert await starts(7, {"limits": first}, *changes, lasts=1) == [0, 0, 0.5, 1.5, 2.5, 3.5, 3.5]
    for limit, number in ((first, 2), (second, 3)):
        assert limit.inside == 0
        assert {what: limit.told.count(what) for what in limit.told} == dict.fromkeys(
            ("acquire", "entered", "release"), number
        )


@pytest.mark.rule(48)
@virtual
async def test_a_limit_of_your_own_that_stays_beside_another_keeps_its_account() -> None:
    first, second = Counting(1), Counting(5)
    assert await starts(4, {"limits": first}, (0.5, {"limits": [second, first]}), lasts=1) == [0, 1, 2, 3]
    assert (first.inside, second.inside) == (0, 0)


@pytest.mark.rule(48)
@each_loop
def test_plain_handlers_change_limits_from_their_threads(loop: str) -> None:
    cue, inside = runcue.Cue(), list[int]()
    api = cue.service("api", concurrent=1)

    @cue.task("call", uses=api)
    def call(work: runcue.Work) -> None:
        inside.append(api.status().in_use)
        if work.params["number"] == 0:
            api.change(concurrent=3)
        time.sleep(0.05)

    async def main() -> None:
        async with cue:
            for number in range(7):
                await cue.submit("call", params={"number": number})

    run_on(loop, main)
    assert inside[0] == 1
    assert max(inside) == 3
    assert api.status().concurrent == 3


@pytest.mark.rule(8, 48)
@pytest.mark.parametrize("pool", [None, ThreadPoolExecutor])
@each_loop
def test_a_plain_handler_that_runs_for_long_since_before_there_was_a_rate_holds_up_nobody_by_it(
    loop: str, pool: Any
) -> None:
    go, entered = threading.Event(), list[float]()
    cue = runcue.Cue(run_in=pool)
    api = cue.service("api")

    @cue.task(uses=api)
    def long(work: runcue.Work) -> None:
        entered.append(time.monotonic())
        go.wait(60)

    @cue.task(uses=api)
    def short(work: runcue.Work) -> None:
        entered.append(time.monotonic())

    async def main() -> None:
        async with cue:
            try:
                running = [await cue.submit(long) for _ in range(2)]
                while len(entered) < 2:
                    await asyncio.sleep(0.001)
                api.change(rate="2/0.05sec")
                await asyncio.wait_for(await cue.submit(short), 30)
            finally:
                go.set()
            await asyncio.gather(*running)

    run_on(loop, main)
    assert entered[2] - min(entered) >= 0.05


@pytest.mark.rule(8, 48, 56)
@each_loop
def test_a_process_that_runs_for_long_since_before_there_was_a_rate_holds_up_nobody_by_it(
    loop: str, tmp_path: Path
) -> None:
    cue, begun = runcue.Cue(max_processes=1), tmp_path / "begun"
    api = cue.service("api")
    cue.task("long", uses=api, run_in="process")(in_processes.sleep)

    @cue.task(uses=api)
    async def short(work: runcue.Work) -> None:
        pass

    async def main() -> None:
        async with cue:
            running = await cue.submit("long", params={"seconds": 60, "beginning": str(begun)})
            while not begun.exists():
                await asyncio.sleep(0.001)
            api.change(rate="1/0.05sec")
            await asyncio.wait_for(await cue.submit(short), 30)
            assert not running.done()
            running.cancel()

    run_on(loop, main)


@pytest.mark.rule(48)
@each_loop
def test_threads_bound_what_no_slots_bound_any_more_and_only_that(loop: str) -> None:
    cue = runcue.Cue(max_threads=2)
    api, running, most = cue.service("api", concurrent=4), 0, [0, 0, 0]
    era = 0

    @cue.task("call", uses=api)
    def call(work: runcue.Work) -> None:
        nonlocal running
        running += 1
        most[era] = max(most[era], running)
        time.sleep(0.03)
        running -= 1

    @cue.task("other")
    def other(work: runcue.Work) -> None:
        time.sleep(0.01)

    async def main() -> None:
        nonlocal era
        async with cue:
            for era, slots in enumerate((4, None, 3)):  # noqa: B007
                api.change(concurrent=slots)
                handles = [await cue.submit("call") for _ in range(8)]
                await asyncio.sleep(0.02)
                api.change(concurrent=slots)  # while they run, and to the same
                await asyncio.gather(*handles, *[await cue.submit("other") for _ in range(2)])
            assert cue._core.threads.active == 0

    run_on(loop, main)
    assert most[0] == 4
    assert most[1] == 2
    assert most[2] == 3


@pytest.mark.rule(48)
@each_loop
def test_slots_of_threads_are_counted_right_while_slots_of_the_service_come_and_go(loop: str) -> None:
    cue = runcue.Cue(max_threads=3)
    api = cue.service("api", concurrent=5)

    @cue.task("call", uses=api)
    def call(work: runcue.Work) -> None:
        time.sleep(0.02)

    async def main() -> None:
        async with cue:
            for slots in (5, None, 2, None, 5):
                for _ in range(4):
                    await cue.submit("call")
                await asyncio.sleep(0.01)
                api.change(concurrent=slots)
        assert (cue._core.threads.active, api.status().in_use) == (0, 0)

    run_on(loop, main)


@pytest.mark.rule(48)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rate": "0/min"}, "it must allow more than zero"),
        ({"concurrent": 0}, "concurrent of service 'api' must be a whole number of at least 1, not 0"),
        ({"concurent": 2}, "A service has no 'concurent'. Did you mean 'concurrent'?"),
        ({"rate": None}, "keeps its burst=5, which needs a rate"),
        (
            {"limiter": aiolimiter.AsyncLimiter(1, 1)},
            "limiter= stands instead of rate= and burst=, not beside",
        ),
        ({"concurrent": 3, "rate": "often"}, "Invalid rate 'often'"),
        ({"limits": object()}, "is no runcue.abc.Limit"),
    ],
    ids=lambda one: one if isinstance(one, str) else "-".join(one),  # what is in it may tell its address
)
def test_what_cannot_be_is_told_in_the_line_of_the_change_and_nothing_has_changed(
    change: dict[str, Any], words: str
) -> None:
    cue = runcue.Cue()
    api = cue.service("api", rate="60/min", burst=5, concurrent=2)
    before = api.status(), repr(api)
    with pytest.raises(runcue.ConfigurationError, match=words.replace("(", r"\(").replace("?", r"\?")):
        api.change(**change)
    assert (api.status(), repr(api)) == before


@pytest.mark.rule(48)
def test_a_change_names_what_is_to_be_another() -> None:
    api = runcue.Cue().service("api")
    for call in (lambda: api.change(), lambda: api.change(2)):
        with pytest.raises(
            runcue.ConfigurationError, match=r"by their names, such as change\(concurrent=2\)"
        ):
            call()


@pytest.mark.rule(48)
def test_a_service_is_a_str_equal_to_its_name_and_comes_from_its_cue_alone() -> None:
    cue = runcue.Cue()
    api = cue.service("api", rate="60/min", concurrent=5)
    assert (api, f"{api}", hash(api), {api: 1}["api"]) == ("api", "api", hash("api"), 1)
    assert repr(api) == "<Service api: rate 60/min, 5 slots>"
    assert cue.get_service("api") == api
    cue.get_service(api).change(concurrent=3)
    assert api.status() == cue.services()[0]
    with pytest.raises(runcue.UnknownService, match="Did you mean 'api'"):
        cue.get_service("apo")
    with pytest.raises(runcue.UsageError, match=r"cue\.service\(\) or cue\.get_service\(\)"):
        runcue.Service("api")


@pytest.mark.rule(48)
def test_a_service_of_another_cue_is_refused_where_a_task_is_to_use_it() -> None:
    one, other = runcue.Cue(), runcue.Cue()
    api = one.service("api", rate="60/min")
    one.task("call", uses=[api, "api"])(lambda work: None)
    with pytest.raises(runcue.UnknownService, match="No service is registered yet"):
        other.task("call", uses=api)
    other.service("api", rate="60/min")
    with pytest.raises(runcue.ConfigurationError, match="has the service 'api' of another cue"):
        other.task("call", uses=api)


@pytest.mark.rule(48)
@virtual
async def test_a_service_that_is_declared_again_elsewhere_with_other_limits_names_change() -> None:
    cue = runcue.Cue()
    cue.service("api", rate="60/min", concurrent=5)
    cue.service("api", concurrent=5, rate="60 / minute")
    for other in ({"rate": "60/min"}, {"rate": "30/min", "concurrent": 5}, {}):
        with pytest.raises(runcue.ConfigurationError, match=r"cue\.get_service\('api'\)\.change\("):
            cue.service("api", **other)
    assert (cue.services()[0].rate, cue.services()[0].concurrent) == ("60/min", 5)


@pytest.mark.rule(48)
@virtual
async def test_several_services_of_one_task_change_each_by_itself() -> None:
    cue, entered = runcue.Cue(), list[float]()
    a, b = cue.service("a", concurrent=1), cue.service("b", rate="1/sec")

    @cue.task("both", uses=[a, b])
    async def both(work: runcue.Work) -> None:
        entered.append(now() - began)
        await asyncio.sleep(0.5)

    async with cue:
        began = now()
        for _ in range(5):
            await cue.submit("both")
        await asyncio.sleep(1.25)
        b.change(rate=None)
        await asyncio.sleep(0.35)  # the second has ended
        a.change(concurrent=None)
    assert entered == [0, 1, 1.5, 1.6, 1.6]


@pytest.mark.rule(48)
def test_changes_before_the_start_and_after_a_stop_hold_for_what_runs_then() -> None:
    cue, entered = runcue.Cue(), list[float]()
    api = cue.service("api", rate="1/sec")

    @cue.task("call", uses=api)
    async def call(work: runcue.Work) -> None:
        entered.append(now())

    async def main(number: int) -> list[float]:
        entered.clear()
        async with cue:
            for _ in range(number):
                await cue.submit("call")
        return [at - entered[0] for at in entered]

    api.change(rate="2/sec")
    run: Callable[[Callable[[], Awaitable[Any]]], Any] = runcue.testing.run
    assert run(lambda: main(3)) == [0, 0, 1]
    api.change(rate=None)
    assert run(lambda: main(3)) == [0, 0, 0]


def spending(**limits: Any) -> tuple[runcue.Cue, runcue.Service, list[float]]:
    """A cue with a service that has budgets, a task that takes 40 tokens of it, and the instants of its starts."""
    cue, entered = runcue.Cue(), list[float]()
    api = cue.service("api", **limits)

    @cue.task("ask", uses=api, cost={"tokens": 40})
    async def ask(work: runcue.Work) -> None:
        entered.append(now())
        if spent := work.params.get("spent"):
            work.spent(tokens=spent)

    return cue, api, entered


@pytest.mark.rule(48)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("200/min", [0, 0, 0.5, 0.5, 0.5, 60]),
        ("100/2min", [0, 0, 120, 120, 240, 240]),
        ("100/sec", [0, 0, 1, 1, 2, 2]),
        ("40/min", [0, 0, 60, 120, 180, 240]),
    ],
)
@virtual
async def test_what_was_charged_counts_in_a_budget_that_is_changed(
    change: str, expected: list[float]
) -> None:
    cue, api, entered = spending(budget={"tokens": "100/min"})
    async with cue:
        began = now()
        for _ in range(6):
            await cue.submit("ask")
        await asyncio.sleep(0.5)
        api.change(budget={"tokens": change})
    assert [at - began for at in entered] == expected


@pytest.mark.rule(48)
@virtual
async def test_what_is_owed_stays_owed_when_a_budget_is_changed() -> None:
    cue, api, entered = spending(budget={"tokens": "100/min"})
    async with cue:
        began = now()
        await (await cue.submit("ask", {"spent": 300}))
        assert cue.services()[0].budgets["tokens"].debt == 200
        api.change(budget={"tokens": "150/min"})
        assert cue.services()[0].budgets["tokens"].debt == 150
        await cue.submit("ask")
    assert [at - began for at in entered] == [0, 120]


@pytest.mark.rule(48)
@virtual
async def test_what_can_never_fit_any_more_and_what_names_a_dropped_budget_fails_at_the_change() -> None:
    cue, api, entered = spending(budget={"tokens": "100/min", "usd": "5/day"}, concurrent=1)
    disk = cue.service("disk")

    @cue.task("cheap", uses=[api, disk], cost=lambda work: {"tokens": 10, "usd": "0.5"})
    async def cheap(work: runcue.Work) -> None: ...

    @cue.task("free", uses=disk)
    async def free(work: runcue.Work) -> None: ...

    async with cue:
        api.pause()
        # In line, for later, and one that has joined another.
        works = [await cue.submit("ask", key="one"), await cue.submit("ask", delay=50)]
        works.append(await cue.submit("ask", key="one"))
        small, other = await cue.submit("cheap"), await cue.submit("free")
        await other
        api.change(budget={"tokens": "30/min", "usd": "5/day"})
        for handle in works:
            with pytest.raises(
                runcue.LimitError, match=r"takes 40 tokens at once, .* never has more than 30 \(per min"
            ):
                await handle
        with pytest.raises(runcue.ConfigurationError, match="takes 40 tokens at once"):
            await cue.submit("ask")
        assert not small.done()
        api.change(budget={"tokens": "100/min"})
        with pytest.raises(
            runcue.LimitError, match=r"takes .* usd, and there is no budget of that name any more: 'api'"
        ):
            await small
        api.change(budget=None)
        with pytest.raises(runcue.ConfigurationError, match="names the budget 'tokens', and 'api' has none"):
            await cue.submit("ask")
        api.change(budget={"tokens": "100/min"})
        api.resume()
        await (await cue.submit("ask"))
    assert len(entered) == 1


@pytest.mark.rule(48)
@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("change", [{"tokens": "30/min"}, None, {"usd": "3/day"}], ids=repr)
@pytest.mark.parametrize("how", ["fails", "postponed", "throttled", "timed out", "in a thread"])
@virtual
async def test_what_runs_at_the_change_and_could_never_begin_again_fails_where_it_would_come_back(
    how: str, change: Any, keyed: bool
) -> None:
    cue, heard = runcue.Cue(run_in=FakeExecutor(lambda work: 1.0)), list[Any]()
    options: dict[str, Any] = {"per": lambda work: 1} if keyed else {}
    api = cue.service("api", budget={"tokens": "100/min"}, **options)
    errors = {"postponed": runcue.RetryLater(3), "throttled": runcue.Throttled(3)}
    retry = runcue.Retry(attempts=3, wait_initial=1, wait_jitter=0)

    def plain(work: runcue.Work) -> None:
        raise ValueError

    async def handler(work: runcue.Work) -> None:
        await asyncio.sleep(100 if how == "timed out" else 1)
        raise errors.get(how, ValueError())

    called = plain if how == "in a thread" else handler
    ask = cue.task("ask", uses=api, cost={"tokens": 40}, retry=retry, timeout=5)(called)
    cue.on_retry(lambda work, error, delay: heard.append(error))
    cue.on_failure(lambda work, error: heard.append(error))
    async with cue:
        handle = await cue.submit(ask)
        await asyncio.sleep(0.5)
        api.change(budget=change)
        assert not handle.done()
        with pytest.raises(runcue.LimitError, match="takes 40 tokens") as raised:
            await handle
    assert heard == [raised.value]
    cause = {"timed out": runcue.WorkTimeout, **{how: type(error) for how, error in errors.items()}}
    assert isinstance(raised.value.__cause__, cause.get(how, ValueError))


@pytest.mark.rule(48)
@pytest.mark.parametrize("where", ["handler", "gate", "async gate", "listener", "limit", "priority"])
@virtual
async def test_what_can_never_start_any_more_fails_before_anything_else_starts(where: str) -> None:
    cue, began = runcue.Cue(), list[int]()
    handles: list[runcue.WorkHandle] = []

    def change(at: str) -> None:
        if at == where and len(handles) == 4:
            api.change(budget=None)
            if where in ("handler", "listener"):
                assert [handle.done() for handle in handles[1:]] == [True] * 3

    class Own(Limit):
        def room(self, now: float, work: runcue.Work, /) -> bool:
            change("limit")
            return True

    api = cue.service("api", budget={"tokens": "1000/min"}, limits=[Own()] if where == "limit" else None)

    @cue.task("ask", uses=api, cost={"tokens": 40})
    async def ask(number: int) -> None:
        began.append(number)
        change("handler")

    if where == "gate":
        cue.is_ready(lambda work: change("gate") or True)
    elif where == "async gate":

        @cue.is_ready
        async def is_ready(work: runcue.Work) -> bool:
            await asyncio.sleep(0.5)
            change("async gate")
            return True

    elif where == "priority":
        cue.priority(lambda ctx: change("priority") or 0.5)
    cue.on_start(lambda work: change("listener"))
    async with cue:
        handles += [await cue.submit(ask, {"number": number}) for number in range(4)]
        await cue.drain()
    assert began == ([0] if where in ("handler", "listener") else [])
    failed = [isinstance(handle.exception(), runcue.LimitError) for handle in handles[len(began) :]]
    assert failed == [True] * (4 - len(began))


@pytest.mark.rule(48, 28)
@virtual
async def test_who_takes_the_place_of_another_and_can_never_start_fails_then() -> None:
    cue, api, entered = spending(budget={"tokens": "100/min"})
    async with cue:
        api.pause()
        first = await cue.submit("ask", key="one")
        second = await cue.submit("ask", key="one", cost={"tokens": 90})
        api.change(budget={"tokens": "50/min"})
        first.cancel()
        with pytest.raises(runcue.LimitError, match="takes 90 tokens at once"):
            await second
        api.resume()
    assert not entered


@pytest.mark.rule(48)
@pytest.mark.parametrize("keyed", [False, True])
@virtual
async def test_a_dropped_budget_that_is_given_again_knows_what_it_was_charged(keyed: bool) -> None:
    options: dict[str, Any] = {"per": lambda work: 1} if keyed else {}
    cue, api, entered = spending(budget={"tokens": "100/min"}, **options)
    cue.task("free", uses=api)(lambda work: None)

    @cue.task("late", uses=api, cost={"tokens": 60})
    async def late(work: runcue.Work, refused: bool = False) -> None:
        entered.append(now())
        await asyncio.sleep(20)
        if refused:
            raise runcue.Throttled(1)
        work.spent(tokens=250)

    async def without(*works: tuple[str, dict[str, Any]], after: float) -> float:
        """After how many seconds one starts that comes when the budget was taken away and given again."""
        await asyncio.sleep(500)
        began = now()
        handles = [await cue.submit(*one) for one in works]
        await asyncio.sleep(1)
        api.change(budget=None)
        await asyncio.sleep(after)
        await (await cue.submit("free"))
        with contextlib.suppress(runcue.LimitError):
            await asyncio.gather(*handles)
        api.change(budget={"tokens": "100/min"})
        entered.clear()
        await (await cue.submit("ask", cost={"tokens": 60}))
        return entered[-1] - began

    async with cue:
        assert await without(("ask", {"spent": 70}), after=10) == 60
        # What was spent meanwhile, and what is owed because of that.
        assert await without(("late", {}), after=30) == 180
        # What a server has refused has taken nothing.
        assert await without(("late", {"refused": True}), after=5) == 21
        api.change(budget=None)
        await asyncio.sleep(1000)
    assert not cue._core.keyed or not len(cue._core.keyed[0])


@pytest.mark.rule(48)
@virtual
async def test_borrowing_lets_in_what_would_never_fit_and_without_it_that_fails() -> None:
    cue, api, entered = spending(budget={"tokens": "30/min"}, oversize="borrow")
    async with cue:
        await (await cue.submit("ask"))
        waits = await cue.submit("ask")
        api.change(oversize="error")
        with pytest.raises(runcue.LimitError, match="takes 40 tokens at once"):
            await waits
    assert len(entered) == 1


@pytest.mark.rule(48)
@virtual
async def test_several_windows_that_change_remember_as_much_as_the_longest_of_them() -> None:
    rates = {"rate": ["2/sec", "5/min"]}
    assert await starts(7, rates, (0.5, {"rate": ["2/sec", "3/min"]})) == [0, 0, 1, 60, 60, 61, 120]
    assert await starts(7, rates, (1.5, {"rate": "4/sec"})) == [0, 0, 1, 1, 1.5, 1.5, 2]
    assert await starts(6, rates, (1.5, {"rate": "4/hour"})) == [0, 0, 1, 1, 3600, 3600]
