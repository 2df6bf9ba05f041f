"""Limits of one's own: another implementation of `runcue.abc.Limit` decides beside, and instead of, rate and slots."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextvars import Context
from math import inf
from typing import Any, ClassVar

import aiolimiter
import pytest

import runcue
from runcue import Flag, LimitError
from runcue.abc import Limit
from runcue.rehearsal import rehearse, set_limits
from runcue.testing import FakeExecutor
from tests.support.virtual_time import now as clock
from tests.support.virtual_time import virtual

DAY = 86400.0


class DailyBudget(Limit):
    """So many cents in each day, which begins with the clock; a work unit says what it costs."""

    def __init__(self, cents: int) -> None:
        self.cents = cents
        self.spent: dict[float, int] = {}
        self.starting: dict[runcue.Work, float] = {}

    def _cost(self, work: runcue.Work) -> int:
        return int(work.params.get("cents", 1))

    def room(self, now: float, work: runcue.Work) -> bool:
        return self.spent.get(now // DAY, 0) + self._cost(work) <= self.cents

    def next_room(self, now: float, work: runcue.Work) -> float:
        return inf if self._cost(work) > self.cents else (now // DAY + 1) * DAY

    def acquire(self, now: float, work: runcue.Work) -> None:
        assert self.room(now, work)
        self.spent[now // DAY] = self.spent.get(now // DAY, 0) + self._cost(work)
        self.starting[work] = now // DAY

    def entered(self, now: float, work: runcue.Work, at: float) -> None:
        del self.starting[work]

    def release(self, now: float, work: runcue.Work, actual: Any) -> None:
        day = self.starting.pop(work, None)
        if day is not None:  # the start came to nothing
            self.spent[day] -= self._cost(work)

    def at_least(self, works: Sequence[runcue.Work]) -> float:
        return (sum(map(self._cost, works)) - 1) // self.cents * DAY

    def describe(self, now: float, work: runcue.Work) -> str:
        return f"{self.spent.get(now // DAY, 0)} of {self.cents} cents of today are spent"


class Tenants(Limit):
    """One work unit of each tenant at a time, and none of those who are locked out."""

    def __init__(self, *locked: str) -> None:
        self.locked = {*locked}
        self.inside: dict[str, runcue.Work] = {}
        self.seen: list[str] = []

    def room(self, now: float, work: runcue.Work) -> bool:
        tenant = work.params["tenant"]
        return tenant not in self.locked and tenant not in self.inside

    def acquire(self, now: float, work: runcue.Work) -> None:
        assert self.inside.setdefault(work.params["tenant"], work) is work
        self.seen.append(work.params["tenant"])

    def release(self, now: float, work: runcue.Work, actual: Any) -> None:
        assert self.inside.pop(work.params["tenant"]) is work
        assert actual is None

    def describe(self, now: float, work: runcue.Work) -> str:
        tenant = work.params["tenant"]
        return f"tenant {tenant} is {'locked out' if tenant in self.locked else 'at work'}"


class Books(Limit):
    """Has room always and writes down what it is told; each work unit must go the way that is promised."""

    def __init__(self, **raising: BaseException) -> None:
        self.raising = raising
        self.calls: dict[str, list[str]] = {}
        self.entered_at: dict[str, tuple[float, float]] = {}

    def _note(self, method: str, work: runcue.Work) -> None:
        self.calls.setdefault(work.id, []).append(method)
        error = self.raising.get(method)
        if error is not None and work.params.get("raises", True):
            raise error

    def room(self, now: float, work: runcue.Work) -> bool:
        self._note("room", work)
        assert now == clock()
        return True

    def acquire(self, now: float, work: runcue.Work) -> None:
        assert self.calls[work.id][-1] == "room"
        self._note("acquire", work)

    def entered(self, now: float, work: runcue.Work, at: float) -> None:
        self.entered_at[work.id] = now, at
        self._note("entered", work)

    def release(self, now: float, work: runcue.Work, actual: Any) -> None:
        self._note("release", work)

    def at_least(self, works: Sequence[runcue.Work]) -> float | None:
        if "at_least" in self.raising:
            raise self.raising["at_least"]
        return None

    def describe(self, now: float, work: runcue.Work) -> str:
        self._note("describe", work)
        return "open"

    def way(self, id: str) -> list[str]:
        """What was called for a work unit, repeated questions told once."""
        calls = self.calls.get(id, [])
        return [
            call for place, call in enumerate(calls) if call != "room" or calls[place - 1 : place] != ["room"]
        ]


WAY = ["room", "acquire", "entered", "release"]

both_kinds = pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])


def a_cue(
    limits: Any, *, sync: bool, lasts: float = 0.0, **service: Any
) -> tuple[runcue.Cue, dict[str, float]]:
    """A cue with one service, one task and the instants at which work units of it started, by id."""
    cue = runcue.Cue(run_in=FakeExecutor(lasts), stall_timeout=60)
    cue.service("llm", limits=limits, **service)
    entered: dict[str, float] = {}
    cue.on_start(lambda work: entered.update({work.id: clock()}))

    def handler(work: runcue.Work) -> str:
        return work.id

    async def async_handler(work: runcue.Work) -> str:
        if lasts:
            await asyncio.sleep(lasts)
        return work.id

    cue.task("ask", uses="llm")(handler if sync else async_handler)
    return cue, entered


# Instants that a limit knows.


@pytest.mark.rule(7)
@both_kinds
@virtual
async def test_a_budget_per_day_holds_by_the_cost_of_each_work_and_goes_on_at_midnight(sync: bool) -> None:
    budget = DailyBudget(10)
    cue, entered = a_cue([budget], sync=sync)
    async with cue:
        for cents in (4, 4, 4, 1, 10, 3):
            await cue.submit("ask", params={"cents": cents})
    # In order: the third does not fit, and nobody passes it, though the fourth would.
    assert list(entered.values()) == [0.0, 0.0, DAY, DAY, 2 * DAY, 3 * DAY]
    assert budget.spent == {0.0: 8, 1.0: 5, 2.0: 10, 3.0: 3}


@pytest.mark.rule(5, 7, 10)
@both_kinds
@virtual
async def test_it_holds_beside_a_rate_and_slots_and_each_of_them_binds_in_its_turn(sync: bool) -> None:
    budget = DailyBudget(10)
    cue, entered = a_cue([budget], sync=sync, lasts=3.0, rate="4/min", concurrent=2)
    async with cue:
        for _ in range(13):
            await cue.submit("ask")
    minute = [0.0, 0.0, 3.0, 3.0, 60.0, 60.0, 63.0, 63.0, 120.0, 120.0]
    assert list(entered.values()) == [*minute, DAY, DAY, DAY + 3.0]
    assert budget.spent == {0.0: 10, 1.0: 3}


@pytest.mark.rule(7)
@both_kinds
@virtual
async def test_it_holds_beside_a_bucket(sync: bool) -> None:
    cue, entered = a_cue(DailyBudget(3), sync=sync, rate="1/sec", burst=2)
    async with cue:
        for _ in range(5):
            await cue.submit("ask")
    assert list(entered.values()) == [0.0, 0.0, 1.0, DAY, DAY]


@virtual
async def test_each_line_goes_on_at_its_own_instant_though_they_share_the_limit() -> None:
    class Hours(Limit):
        """Each work unit says from when on it may start."""

        def room(self, now: float, work: runcue.Work) -> bool:
            return bool(now >= work.params["at"])

        def next_room(self, now: float, work: runcue.Work) -> float:
            return float(work.params["at"])

    cue, entered = a_cue([Hours()], sync=False)
    cue.service("other")

    @cue.task("both", uses=["llm", "other"])
    async def both(work: runcue.Work) -> None: ...

    async with cue:
        early = await cue.submit("ask", params={"at": 10.0})
        late = await cue.submit("both", params={"at": 20.0})
        later = await cue.submit("ask", params={"at": 30.0})
        await early.wait()
        assert clock() == 10.0
    assert entered == {early: 10.0, late: 20.0, later: 30.0}


@pytest.mark.parametrize("back", [0.0, 5.0, DAY])
@virtual
async def test_one_that_has_no_room_and_says_now_is_asked_again_without_a_spin(back: float) -> None:
    class Vague(DailyBudget):
        def next_room(self, now: float, work: runcue.Work) -> float:
            asked.append(now)
            return now - back if now > 0.5 else 0.5

    asked: list[float] = []
    cue, entered = a_cue([Vague(1)], sync=False)
    cue.task("other")(lambda work: None)
    async with cue:
        for _ in range(2):
            await cue.submit("ask")
        await asyncio.sleep(1.0)
        assert len(entered) == 1
        assert 400 < len(asked) < 700, "a millisecond later each time"
        await cue.stop(drain=False)


# No instant: "not before something has ended".


@pytest.mark.rule(10)
@both_kinds
@virtual
async def test_a_no_by_tenant_holds_until_a_work_unit_of_that_tenant_has_ended(sync: bool) -> None:
    tenants = Tenants()
    cue, entered = a_cue([tenants], sync=sync, lasts=5.0)
    async with cue:
        works = [await cue.submit("ask", params={"tenant": tenant}) for tenant in "abbca"]
    assert [entered[work] for work in works] == [0.0, 0.0, 5.0, 5.0, 5.0]
    assert tenants.seen == [*"abbca"]
    assert not tenants.inside


@both_kinds
@virtual
async def test_what_cannot_run_does_not_keep_a_drain_and_is_explained(sync: bool) -> None:
    tenants = Tenants("b")
    cue, entered = a_cue([tenants], sync=sync, rate="100/min")
    cue.start()
    first, locked, behind = [await cue.submit("ask", params={"tenant": tenant}) for tenant in "aba"]
    summary = await cue.drain()
    assert clock() == 0.0
    assert summary.counts["completed"] == 1
    assert [reason["reason"] for reason in cue.debug_blocked()] == ["service_full"] * 2
    assert [reason["details"] for reason in cue.debug_blocked()] == [
        "llm: tenant b is locked out",
        f"llm: tenant b is locked out (ask {locked} is first in line)",
    ]
    assert [blocked["work"] for blocked in summary.blocked] == [locked.work, behind.work]
    why = cue.why(locked)
    assert (why.verdict, why.details) == ("waiting for a limit", "llm: tenant b is locked out")
    assert (why.eta, why.next_token_at) == (None, None)
    # It changes its mind, and somebody says so.
    tenants.locked.clear()
    cue.nudge()
    await cue.drain()
    assert list(entered) == [first, locked, behind]
    await cue.stop()


@pytest.mark.rule(21)
@virtual
async def test_what_cannot_run_is_a_stall() -> None:
    cue, _ = a_cue([Tenants("b")], sync=False)
    async with cue:
        work = await (await cue.submit("ask", params={"tenant": "b"})).wait()
    assert clock() == 60.0
    assert isinstance(work.exception, runcue.StallTimeout)
    assert "llm: tenant b is locked out" in str(work.exception)


@pytest.mark.rule(21)
@virtual
async def test_an_instant_that_is_known_is_no_stall() -> None:
    cue, entered = a_cue([DailyBudget(1)], sync=False)
    async with cue:
        for _ in range(3):
            await cue.submit("ask")
    assert list(entered.values()) == [0.0, DAY, 2 * DAY]


@virtual
async def test_a_handler_that_awaits_what_its_own_limit_keeps_out_is_a_deadlock_and_told() -> None:
    cue = runcue.Cue()
    cue.service("llm", limits=[Tenants()])

    @cue.task("inner", uses="llm")
    async def inner(work: runcue.Work) -> None: ...

    @cue.task("outer", uses="llm")
    async def outer(work: runcue.Work) -> None:
        await (await cue.submit("inner", params=work.params)).wait()

    cue.start()
    handle = await cue.submit("outer", params={"tenant": "a"})
    summary = await cue.drain()
    assert [blocked["work"].task for blocked in summary.blocked] == ["inner"]
    assert summary.deadlocked == [handle.work]
    await cue.stop(drain=False, timeout=0)
    assert handle.work.state is runcue.WorkState.CANCELLED


@pytest.mark.rule(23)
@virtual
async def test_a_drain_that_waits_for_it_says_so_and_until_when(caplog: pytest.LogCaptureFixture) -> None:
    cue, _ = a_cue([DailyBudget(2)], sync=False)
    with caplog.at_level(logging.WARNING, "runcue"):
        async with cue:
            for _ in range(5):
                await cue.submit("ask")
            asyncio.get_running_loop().call_later(5.0, print)
    first = caplog.messages[0]
    assert first.startswith("Draining: 3 work units wait for llm: 2 of 2 cents of today are spent; ")
    # 86,395 s from now to midnight, and then a day for the third.
    assert first.endswith("all of them are done in 48 h at the earliest")


# The way of an attempt.


@both_kinds
@pytest.mark.parametrize("lasts", [0.0, 2.0])
@virtual
async def test_it_is_told_of_each_attempt_once_and_in_order(sync: bool, lasts: float) -> None:
    books = Books()
    cue, entered = a_cue([books], sync=sync, lasts=lasts, concurrent=3)
    async with cue:
        works = [await cue.submit("ask") for _ in range(10)]
    assert [books.way(work) for work in works] == [WAY] * 10
    assert [books.entered_at[work] for work in works] == [(at, at) for at in entered.values()]


@both_kinds
@virtual
async def test_it_is_released_however_the_attempt_ends(sync: bool) -> None:
    books = Books()
    cue = runcue.Cue(run_in=FakeExecutor(lambda work: work.params["lasts"]))
    cue.service("llm", limits=[books])

    def fails(work: runcue.Work) -> None:
        raise ValueError("no")

    async def fails_async(work: runcue.Work) -> None:
        await asyncio.sleep(work.params["lasts"])
        raise ValueError("no")

    cue.task("ask", uses="llm", timeout=10)(fails if sync else fails_async)
    cue.on_failure(lambda work, error: None)
    async with cue:
        failed = await cue.submit("ask", params={"lasts": 0.0})
        late = await cue.submit("ask", params={"lasts": 20.0})
        cancelled = await cue.submit("ask", params={"lasts": 5.0})
        await asyncio.sleep(1.0)
        await cue.cancel(cancelled)
        if sync:  # its thread cannot be ended, and it counts until it has returned
            assert books.way(cancelled) == WAY[:3]
        await late.wait()
    assert [books.way(work) for work in (failed, late, cancelled)] == [WAY] * 3
    assert isinstance(late.work.exception, runcue.WorkTimeout)


@virtual
async def test_a_start_that_came_to_nothing_for_want_of_a_thread_is_released() -> None:
    class Broken(FakeExecutor):
        def submit(
            self, work: Any, handler: Callable[[Any], Any], context: Context, *, stamped: bool
        ) -> None:
            assert stamped, "limits are told when a handler was entered"
            raise RuntimeError("can't start new thread")

    books = Books()
    cue = runcue.Cue(run_in=Broken())
    cue.service("llm", limits=[books])
    cue.task("ask", uses="llm")(lambda work: None)
    cue.on_failure(lambda work, error: None)
    async with cue:
        work = await cue.submit("ask")
    assert books.way(work) == WAY
    assert "new thread" in str(work.work.error)


@pytest.mark.rule(5)
@virtual
async def test_several_services_take_theirs_together_and_a_limit_they_share_counts_once() -> None:
    budget, tenants = DailyBudget(3), Tenants()
    cue, entered = a_cue([budget], sync=False, lasts=1.0)
    cue.service("other", limits=[tenants, budget])

    @cue.task("both", uses=["llm", "other"])
    async def both(work: runcue.Work) -> None:
        await asyncio.sleep(1.0)

    async with cue:
        works = [await cue.submit("both", params={"tenant": tenant}) for tenant in "aab"]
        await works[1].wait()
        assert budget.spent == {0.0: 3}
        works.append(await cue.submit("ask"))
    assert list(entered.values()) == [0.0, 1.0, 1.0, DAY]


@pytest.mark.rule(2)
@virtual
async def test_an_async_gate_holds_a_slot_and_nothing_else() -> None:
    books = Books()
    cue, entered = a_cue([books, DailyBudget(1)], sync=False, concurrent=1)

    @cue.is_ready
    async def is_ready(work: runcue.Work) -> bool:
        assert books.way(work.id) in ([], ["room"])
        await asyncio.sleep(2.0)
        return True

    async with cue:
        first = await cue.submit("ask")
        second = await cue.submit("ask")
    assert entered[first] == 2.0
    assert entered[second] >= DAY
    assert books.way(first) == books.way(second) == WAY


@virtual
async def test_work_units_that_others_have_joined_hold_it_once_and_whoever_takes_over_gives_it_back() -> None:
    tenants = Tenants()
    cue = runcue.Cue()
    cue.service("llm", limits=[tenants])
    flag = Flag("made")

    @cue.task("ask", uses="llm", outputs=flag)
    async def ask(work: runcue.Work) -> None:
        await asyncio.sleep(5.0)
        flag.set()

    async with cue:
        leader = await cue.submit("ask", params={"tenant": "a"})
        follower = await cue.submit("ask", params={"tenant": "a"})
        await asyncio.sleep(1.0)
        await cue.cancel(leader)
        assert tenants.inside == {"a": leader.work}
        await follower.wait()
    assert tenants.seen == ["a"]
    assert not tenants.inside


# What it raises.


@both_kinds
@pytest.mark.parametrize("method", ["room", "next_room", "acquire"])
@pytest.mark.parametrize("service", [{}, {"rate": "3/min", "concurrent": 2}], ids=["alone", "beside"])
@virtual
async def test_what_it_raises_when_asked_fails_that_work_unit_and_no_other(
    method: str, service: dict[str, Any], sync: bool
) -> None:
    class Raises(Books):
        def room(self, now: float, work: runcue.Work) -> bool:
            super().room(now, work)
            return not (method == "next_room" and work.params["raises"])

        def next_room(self, now: float, work: runcue.Work) -> float:
            self._note("next_room", work)
            raise AssertionError

    original = ConnectionError("redis is gone")
    books = Raises(**{method: original})
    # Its acquire comes before that of the others, which find no trace of a start that came to nothing.
    budget = DailyBudget(4)
    cue, entered = a_cue([budget, books], sync=sync, **service)
    errors: dict[str, BaseException] = {}
    cue.on_failure(lambda work, error: errors.update({work.id: error}))
    async with cue:
        works = [await cue.submit("ask", params={"raises": raises}) for raises in (0, 1, 0, 1, 1, 0, 0)]
    bad = [works[1], works[3], works[4]]
    assert list(errors) == bad
    for work in bad:
        error = errors[work]
        assert isinstance(error, LimitError)
        assert error.__cause__ is original
        words = f"{method}() of limit {Raises.__qualname__} of service 'llm' raised ConnectionError: redis is gone"
        assert str(error) == work.work.error == words
        with pytest.raises(LimitError):
            await work.result()
    assert sorted(entered) == sorted({*works} - {*bad})
    assert budget.spent == {0.0: 4}
    assert all(books.way(work) == WAY for work in entered)


@pytest.mark.rule(13)
@both_kinds
@pytest.mark.parametrize("method", ["entered", "release"])
@virtual
async def test_what_it_raises_when_told_is_logged_once_a_minute_and_disturbs_nothing(
    method: str, sync: bool, caplog: pytest.LogCaptureFixture
) -> None:
    books, tenants = Books(**{method: ValueError("boom")}), Tenants()
    cue, entered = a_cue([books, tenants], sync=sync, lasts=1.0, rate="5/sec", concurrent=2)
    with caplog.at_level(logging.ERROR, "runcue"):
        async with cue:
            works = [await cue.submit("ask", params={"tenant": "a"}) for _ in range(90)]
    assert len(entered) == 90
    assert all(work.work.state is runcue.WorkState.COMPLETED for work in works)
    assert not tenants.inside
    logged = [message for message in caplog.messages if "boom" not in message]
    about = f"work {works[0]} of task ask {{'tenant': 'a'}}"
    assert (
        logged[0] == f"{method}() of limit {Books.__qualname__} of service 'llm' raised ValueError ({about})"
    )
    assert len(logged) == 2, "the run takes a minute and a half"


@pytest.mark.rule(13)
@virtual
async def test_what_describe_and_at_least_raise_is_logged_and_a_phrase_stands_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Shut(Books):
        def room(self, now: float, work: runcue.Work) -> bool:
            return False

    books = Shut(describe=ValueError("boom"), at_least=ValueError("bang"))
    cue, _ = a_cue([books], sync=False)
    cue.start()
    await cue.submit("ask")
    with caplog.at_level(logging.ERROR, "runcue"):
        (blocked,) = cue.debug_blocked()
        plan = cue.plan()
    assert blocked["details"] == f"llm: limit {Shut.__qualname__} of service 'llm' has no room"
    assert plan.services["llm"].seconds is None
    methods = [message.partition("()")[0] for message in caplog.messages]
    assert methods == ["describe", "at_least"]
    await cue.stop(drain=False)


@virtual
async def test_to_be_looked_at_makes_nothing_fail_before_the_start() -> None:
    cue, _ = a_cue([Books(room=ValueError("boom"))], sync=False)
    handle = await cue.submit("ask")
    (blocked,) = cue.debug_blocked()
    assert blocked["details"].startswith("llm: room() of limit ")
    assert blocked["details"].endswith("raised ValueError: boom")
    assert handle.work.state is runcue.WorkState.PENDING
    async with cue:
        assert isinstance((await handle.wait()).exception, LimitError)


@virtual
async def test_a_follower_fails_with_the_one_it_has_joined() -> None:
    cue = runcue.Cue()
    cue.service("llm", limits=[Books(acquire=ValueError("boom"))])

    @cue.task("ask", uses="llm", outputs=Flag("made"))
    async def ask(work: runcue.Work) -> None: ...

    async with cue:
        handles = [await cue.submit("ask") for _ in range(2)]
        works = [await handle.wait() for handle in handles]
    assert [type(work.exception) for work in works] == [LimitError, LimitError]


@pytest.mark.rule(16)
def test_ctrl_c_in_a_question_goes_on_up() -> None:
    works: list[runcue.Work] = []

    async def main() -> None:
        cue, _ = a_cue([Books(room=KeyboardInterrupt())], sync=False)
        cue.on_failure(lambda work, error: works.append(work))
        cue.start()
        await cue.submit("ask")
        await asyncio.sleep(1.0)

    with pytest.raises(KeyboardInterrupt):
        runcue.testing.run(main)
    assert [type(work.exception) for work in works] == [LimitError]


# How it is given, and where it shows.


class NoLimit:
    def room(self, now: float, work: runcue.Work) -> bool:
        return True

    def acquire(self, now: float, work: runcue.Work) -> None: ...


class AsyncLimit(Tenants):
    async def room(self, now: float, work: runcue.Work) -> bool:  # type: ignore[override]
        return True


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ([NoLimit()], r"no method next_room\(\), entered\(\), release\(\), at_least\(\), describe\(\)"),
        (NoLimit(), r"no method next_room"),
        ([Tenants(), "60/min"], r"'60/min' is no runcue\.abc\.Limit: it has no method room\(\)"),
        ([Tenants], r"it is a class; give an object of it"),
        (Tenants, r"it is a class"),
        ([AsyncLimit()], r"room\(\) is async; the methods of a limit are plain"),
        ([[Tenants()]], r"has no method room"),
        ({"a": Tenants()}, r"has no method room"),
        (60, r"60 is no runcue\.abc\.Limit"),
    ],
)
def test_what_is_no_limit_is_refused_where_it_is_given(limits: Any, words: str) -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError, match=words) as refused:
        cue.service("llm", limits=limits)
    assert "limits of service 'llm'" in str(refused.value)
    cue.service("llm")  # the name is not taken


@pytest.mark.parametrize("limits", [None, [], ()])
def test_no_limits_are_none(limits: Any) -> None:
    cue = runcue.Cue()
    cue.service("llm", concurrent=1, limits=limits)
    cue.task("ask", uses="llm")(print)
    assert cue._core.tasks["ask"].run_queue.sole_slots is not None


@virtual
async def test_it_shows_in_the_services_and_in_a_plan() -> None:
    cue, _ = a_cue((DailyBudget(10), Tenants()), sync=False, rate="60/min", concurrent=3)
    (status,) = cue.services()
    assert status.limits == ("DailyBudget", "Tenants")
    assert (status.rate, status.concurrent, status.tokens, status.next_token) == ("60/min", 3, 60, 0.0)
    plan = cue.plan([("ask", {"cents": 7, "tenant": "a"}), ("ask", {"cents": 24, "tenant": "a"})])
    assert plan.services["llm"].seconds == 3 * DAY
    assert plan.seconds == 3 * DAY


def test_a_rehearsal_keeps_it_on_its_own_clock() -> None:
    budget = DailyBudget(2)
    cue = runcue.Cue()
    cue.service("llm", rate="1/hour", limits=[budget])
    cue.task("ask", uses="llm")(lambda work: time.sleep(60))
    set_limits(cue, {"llm": {"rate": None}})
    rehearse(cue, lambda work: 60.0)

    async def main() -> float:
        async with cue:
            for _ in range(5):
                await cue.submit("ask")
        return clock()

    assert runcue.testing.run(main) == 2 * DAY + 60.0
    assert budget.spent == {0.0: 2, 1.0: 2, 2.0: 1}


# Real loops.

LOOPS = [asyncio.new_event_loop]
try:
    import uvloop
except ImportError:
    pass
else:
    LOOPS.append(uvloop.new_event_loop)

both_loops = pytest.mark.parametrize("new_loop", LOOPS, ids=lambda new_loop: new_loop.__module__)


class Windows(Limit):
    """So many cents in each 50 ms, counted from the stamps of the handlers' entries."""

    def __init__(self, cents: int) -> None:
        self.cents = cents
        self.on_their_way = 0
        self.stamps: list[float] = []

    def _free(self, now: float) -> bool:
        return len(self.stamps) < self.cents or self.stamps[-self.cents] + 0.05 <= now

    def room(self, now: float, work: runcue.Work) -> bool:
        return self.on_their_way == 0 and self._free(now)

    def next_room(self, now: float, work: runcue.Work) -> float:
        return inf if self.on_their_way else self.stamps[-self.cents] + 0.05

    def acquire(self, now: float, work: runcue.Work) -> None:
        self.on_their_way += 1

    def entered(self, now: float, work: runcue.Work, at: float) -> None:
        assert at <= now
        self.on_their_way -= 1
        self.stamps.append(at)


@pytest.mark.rule(7, 8)
@both_loops
@both_kinds
def test_on_a_real_loop_it_decides_as_well_with_real_threads_too(new_loop: Any, sync: bool) -> None:
    windows, tenants = Windows(3), Tenants()
    entered: list[float] = []

    async def main() -> None:
        cue = runcue.Cue()
        cue.service("llm", rate="1000/sec", concurrent=4, limits=[windows, tenants])

        def handler(work: runcue.Work) -> None:
            entered.append(time.monotonic())

        async def async_handler(work: runcue.Work) -> None:
            entered.append(time.monotonic())
            await asyncio.sleep(0)

        cue.task("ask", uses="llm")(handler if sync else async_handler)
        async with cue:
            for number in range(18):
                await cue.submit("ask", params={"tenant": number % 3})

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert len(entered) == len(windows.stamps) == 18
    for first, fourth in zip(windows.stamps, windows.stamps[3:], strict=False):
        assert fourth - first >= 0.05
    assert not tenants.inside


@pytest.mark.rule(7)
@both_loops
@pytest.mark.parametrize("kind", ["burst", "limiter", "own"])
def test_no_start_is_lost_between_two_readings_of_a_clock(new_loop: Any, kind: str) -> None:
    # Read twice, a bucket said "no room" and then "a token", and neither a worker nor a timer was set.
    class Own(Limit):
        """Reads a clock of its own, as one should not."""

        def __init__(self) -> None:
            self.free_from = 0.0

        def room(self, now: float, work: runcue.Work) -> bool:
            return time.monotonic() >= self.free_from

        def next_room(self, now: float, work: runcue.Work) -> float:
            return self.free_from

        def acquire(self, now: float, work: runcue.Work) -> None:
            self.free_from = time.monotonic() + 0.002

    async def main() -> int:
        options: dict[str, dict[str, Any]] = {
            "burst": {"rate": "500/sec", "burst": 1},
            "limiter": {"limiter": aiolimiter.AsyncLimiter(1, 0.002)},
            "own": {"limits": Own()},
        }
        done = 0
        cue = runcue.Cue()
        cue.service("api", **options[kind])

        @cue.task("task", uses="api")
        async def task(work: runcue.Work) -> None:
            nonlocal done
            done += 1

        async with cue:
            for _ in range(150):
                await cue.submit("task")
            async with asyncio.timeout(30):
                await cue.drain()
        return done

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(main()) == 150


@pytest.mark.rule(2)
@virtual
async def test_who_comes_after_one_that_is_not_ready_is_asked_about_for_itself() -> None:
    class Small(Limit):
        wrong: ClassVar[list[runcue.Work]] = []

        def room(self, now: float, work: runcue.Work) -> bool:
            return bool(work.params["n"] < 9)

        def acquire(self, now: float, work: runcue.Work) -> None:
            if not self.room(now, work):
                self.wrong.append(work)

    cue = runcue.Cue()
    limit = Small()
    cue.service("api", limits=limit)
    cue.task("ask", uses="api")(lambda work: None)
    cue.is_ready(lambda work: work.params["n"] != 1)
    cue.start()
    for n in (8, 1, 9, 2):
        await cue.submit("ask", {"n": n})
    await cue.stop(drain=False)
    assert not limit.wrong
