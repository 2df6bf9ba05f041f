"""Limits that change at any instant, pauses, and what servers say: nobody starts early, and nobody is left behind."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runcue
from tests.support.virtual_time import now
from tests.support.worlds import SECONDS, LateExecutor, orders, seconds, virtually

RATES = {"2/sec": (2, 1.0), "5/sec": (5, 1.0), "3/0.7sec": (3, 0.7), "4/min": (4, 60.0), "1/10s": (1, 10.0)}


class Step(NamedTuple):
    """Something that is done `after` seconds after what was done before; None: in the same step."""

    after: float | None
    what: str
    value: Any = None


class Job(NamedTuple):
    """A work unit: whether a thread runs it, how late it is entered and told, how long it takes."""

    is_plain: bool
    lateness: tuple[float, float]
    lasts: float
    says: str | None  # what it does to its service itself, in its first step: see `Step`
    value: Any


HOURS = 500  # in which all has come to its end, whatever the limits are
_EXAMPLES = settings().max_examples if settings().max_examples > 1000 else 60

rates = st.none() | st.sampled_from(sorted(RATES)) | st.just(["2/sec", "4/min"])
changes: dict[str, st.SearchStrategy[Any]] = {
    "rate": rates.map(lambda rate: {"rate": rate, "burst": None}),
    "bucket": st.builds(
        lambda rate, burst: {"rate": rate, "burst": burst}, st.sampled_from(sorted(RATES)), st.integers(1, 4)
    ),
    "concurrent": (st.none() | st.integers(1, 4)).map(lambda slots: {"concurrent": slots}),
    "pause": st.none() | seconds.filter(bool),
    "resume": st.none(),
    "headers": st.builds(
        lambda left, limit, reset: {
            "x-ratelimit-remaining-requests": str(left),
            "x-ratelimit-limit-requests": str(limit),
            "x-ratelimit-reset-requests": f"{reset}s",
        },
        st.integers(0, 3),
        st.integers(1, 9),
        st.sampled_from((1, 7, 60)),
    )
    | st.builds(lambda wait: {"retry-after": str(wait)}, st.sampled_from((0, 1, 7))),
}
deeds = st.one_of([st.tuples(st.just(what), value) for what, value in changes.items()])
lateness = st.tuples(st.sampled_from(SECONDS[:6]), st.sampled_from(SECONDS[:6]))
jobs = st.builds(
    lambda is_plain, late, lasts, deed: Job(is_plain, late, lasts, *(deed or (None, None))),
    st.booleans(),
    lateness,
    seconds,
    st.none() | st.none() | st.none() | st.none() | st.none() | deeds,
)
steps = st.builds(
    lambda after, deed: Step(after, *deed),
    st.none() | seconds | st.floats(0, 3),
    st.tuples(st.just("submit"), st.lists(jobs, min_size=1, max_size=6))
    | deeds
    | st.tuples(st.just("rate"), changes["rate"]),
)


class World:
    """A service whose limits change, and what is promised of it at each start."""

    def __init__(self) -> None:
        self.cue = runcue.Cue(id_prefix="", run_in=LateExecutor(self._lasts, self._late, self._left))
        self.api = self.cue.service("api")
        self.jobs: list[Job] = []
        # What holds now: the rate, since when, and from which instant on starts are remembered by it.
        self.windows: list[tuple[int, float]] = []
        self.bucket: list[tuple[int, float]] = []
        self.remembered = inf
        self.slots: float = inf
        self.paused_until = -inf
        # When handlers were entered, and after how many changes of the rate their work units were let start.
        self.starts: list[tuple[float, int]] = []
        self.begun: dict[str, int] = {}
        self.inside = 0
        self.wrong: list[str] = []

        @self.cue.task("async", uses=self.api)
        async def handler(work: runcue.Work) -> None:
            self._enter(work)
            await asyncio.sleep(self._lasts(work))
            self._left(work)

        @self.cue.task("plain", uses=self.api)
        def plain(work: runcue.Work) -> None:
            self._enter(work)

        self.cue.on_start(self._begins)

    def _job(self, work: runcue.Work) -> Job:
        return self.jobs[work.params["number"]]

    def _lasts(self, work: runcue.Work) -> float:
        return self._job(work).lasts

    def _late(self, work: runcue.Work) -> tuple[float, float]:
        return self._job(work).lateness

    def _begins(self, work: runcue.Work) -> None:
        """It is handed on: what decides about that decides now."""
        if now() < self.paused_until:
            self.wrong.append(f"{work} starts at {now()}, paused until {self.paused_until}")
        self.begun[work.id] = self.eras
        self.inside += 1
        if self.inside > self.slots:
            self.wrong.append(f"{work} starts as one of {self.inside}, and there are {self.slots} slots")

    def _left(self, work: runcue.Work) -> None:
        self.inside -= 1

    def _enter(self, work: runcue.Work) -> None:
        self.starts.append((now(), self.begun[work.id]))
        job = self._job(work)
        if job.says is not None:
            self.do(job.says, job.value)

    def check_windows(self) -> None:
        """No window sees more starts than the rate, of those it remembers. Asked before each change and at the end."""
        known = sorted(one for one in self.starts if one[0] > self.remembered or one[1] == self.eras)
        for count, period in self.windows:
            for (first, _), (over, begun) in zip(known, known[count:], strict=False):
                # What had started by the former limits, or was on its way, may be more.
                is_new = begun == self.eras
                if is_new and (over - first < period or over < first + period):
                    self.wrong.append(
                        f"{count + 1} starts from {first} to {over} at {count} per {period}: {known}"
                    )

    def do(self, what: str, value: Any) -> None:
        if what == "pause":
            self.api.pause(value)
            self.paused_until = inf if value is None else now() + value
        elif what == "resume":
            self.api.resume()
            self.paused_until = -inf
        elif what == "headers":
            self.api.read_headers(value)
        else:
            if "concurrent" in value:
                # What runs goes on, and is more than there are slots perhaps.
                self.slots = inf if value["concurrent"] is None else max(value["concurrent"], 0)
            else:
                self.change_rate(value)
            self.api.change(**value)

    def change_rate(self, value: dict[str, Any]) -> None:
        self.check_windows()
        before, was_bucket = self.windows, bool(self.bucket)
        self.since = now()
        self.eras += 1
        said = value["rate"] or ()
        rates = [RATES[one] for one in ((said,) if isinstance(said, str) else said)]
        self.windows, self.bucket = ([], rates) if value["burst"] else (rates, [])
        if before:
            # Reckoned both ways, as windows are: a start of exactly one period ago counts no more.
            longest = max(period for _, period in before)
            gone = [at for at, _ in self.starts if at + longest <= self.since and self.since - at >= longest]
            self.remembered = max([self.remembered, *gone])
        elif not was_bucket:  # which remembers all of these
            # Nobody has counted; but what is on its way to be entered counts.
            self.remembered = self.since

    since = -inf
    eras = 0


@pytest.mark.rule(7, 48, 49)
@given(st.lists(steps, min_size=1, max_size=30), orders)
@settings(max_examples=_EXAMPLES)
def test_limits_that_change_hold_from_then_on_and_nobody_is_left_behind(
    plan: list[Step], order: int | None
) -> None:
    world = World()

    async def main() -> None:
        async with world.cue as cue:
            for step in plan:
                if step.after is not None:
                    await asyncio.sleep(step.after)
                if step.what == "submit":
                    for job in step.value:
                        world.jobs.append(job)
                        task = "plain" if job.is_plain else "async"
                        await cue.submit(task, params={"number": len(world.jobs) - 1})
                else:
                    world.do(step.what, step.value)
            # A handler may pause its own service, and nobody is there any more to let it go on.
            for _ in range(HOURS):
                if not cue.counts()["pending"]:
                    break
                await asyncio.sleep(3600)
                world.do("resume", None)
            assert not cue.counts()["pending"], cue.debug_blocked()
        world.check_windows()
        [status] = cue.services()
        assert status.in_use == cue._core.threads.active == 0
        assert all(not getattr(limit, "reserved", 0) for limit in cue._core.services["api"].limits)

    virtually(main, order)
    assert not world.wrong, world.wrong
    assert len(world.starts) == len(world.jobs)


class Order(NamedTuple):
    """A work unit that takes something of a budget."""

    takes: int
    spends: int | None
    lasts: float
    # How its first attempts end, before one succeeds.
    ends: list[str]
    # What it changes itself as it begins; see `budgets`.
    changes: tuple[int, float] | str | None


budgets = st.none() | st.tuples(st.sampled_from((5, 10, 20)), st.sampled_from((1.0, 7.0, 60.0)))
taken = st.builds(
    lambda takes, less, lasts, ends, changes: Order(
        takes, None if less is None else max(takes - less, 0), lasts, ends, changes
    ),
    st.integers(0, 12),
    st.none() | st.integers(0, 5),
    seconds,
    st.lists(st.sampled_from(("fails", "postponed", "throttled")), max_size=2),
    st.just("nothing") | st.just("nothing") | st.just("nothing") | budgets,
)
deals = st.builds(
    Step,
    st.none() | seconds | st.floats(0, 3),
    st.just("submit") | st.just("submit") | st.just("budget"),
    st.tuples(st.lists(taken, min_size=1, max_size=5), budgets),
)


class Purse:
    """A service whose budget changes, is taken away and given again, and what is promised of it at each start."""

    def __init__(self, *, keyed: bool) -> None:
        self.cue = runcue.Cue(id_prefix="")
        options: dict[str, Any] = {"per": lambda work: "the only one"} if keyed else {}
        self.api = self.cue.service("api", **options)
        self.orders: list[Order] = []
        # What there is now, and what there was, each with the instant from which on.
        self.now: tuple[int, float] | None = None
        self.periods: list[tuple[float, float]] = []
        # What was charged: when, and how much.
        self.charges: list[list[float]] = []
        self.wrong: list[str] = []
        retry = runcue.Retry(attempts=9, wait_initial=1, wait_jitter=0)

        @self.cue.task("ask", uses=self.api, retry=retry)
        async def ask(work: runcue.Work) -> None:
            order = self.orders[work.params["number"]]
            charge = self.charge(work, order)
            if order.changes != "nothing" and not work.metadata.get("has changed"):
                work.metadata["has changed"] = True
                self.change(order.changes)  # type: ignore[arg-type]
            await asyncio.sleep(order.lasts)
            if order.spends is not None and order.takes:
                work.spent(tokens=order.spends)
                charge[1] = order.spends
            if order.ends:
                how = order.ends.pop()
                if how == "throttled":
                    charge[1] = 0
                    raise runcue.Throttled(1)
                raise ValueError if how == "fails" else runcue.RetryLater(1)

    def change(self, budget: tuple[int, float] | None) -> None:
        self.now = budget
        if budget is not None:
            self.periods.append((now(), budget[1]))
        self.api.change(budget=None if budget is None else {"tokens": f"{budget[0]}/{budget[1]:g}sec"})

    def charge(self, work: runcue.Work, order: Order) -> list[float]:
        """It has begun: what it takes is there, beside all that is remembered."""
        if order.takes and (self.now is None or order.takes > self.now[0]):
            self.wrong.append(f"{work} takes {order.takes} at {now()}, of {self.now}")
        elif order.takes and self.now is not None:
            used = sum(amount for at, amount in self.charges if now() - at < self.remembered_for(at))
            if used + order.takes > self.now[0]:
                self.wrong.append(f"{work} takes {order.takes} at {now()} of {self.now}, {used} used")
        self.charges.append([now(), order.takes])
        return self.charges[-1]

    def remembered_for(self, at: float) -> float:
        """The shortest window that there was since an instant."""
        before = [period for since, period in self.periods if since <= at]
        return min([*before[-1:], *(period for since, period in self.periods if since > at)], default=0.0)


@pytest.mark.rule(46, 48)
@given(st.lists(deals, min_size=1, max_size=25), st.booleans(), orders)
@settings(max_examples=_EXAMPLES if _EXAMPLES > 1000 else 20)
def test_budgets_that_change_are_kept_and_what_can_never_start_any_more_fails(
    plan: list[Step], keyed: bool, order: int | None
) -> None:
    purse = Purse(keyed=keyed)
    refused = 0

    async def main() -> runcue.Summary:
        nonlocal refused
        purse.change((20, 7.0))
        async with purse.cue as cue:
            for step in plan:
                if step.after is not None:
                    await asyncio.sleep(step.after)
                if step.what == "budget":
                    purse.change(step.value[1])
                    continue
                for one in step.value[0]:
                    purse.orders.append(one._replace(ends=[*one.ends]))
                    cost = {"tokens": one.takes} if one.takes else None
                    params = {"number": len(purse.orders) - 1}
                    try:
                        await cue.submit("ask", params=params, cost=cost)
                    except runcue.ConfigurationError:
                        assert purse.now is None or one.takes > purse.now[0]
                        refused += 1
            summary = await cue.drain()
        for work in summary.failed:
            assert isinstance(work.exception, runcue.LimitError), work
        return summary

    summary = virtually(main, order)
    assert not purse.wrong, purse.wrong
    assert not summary.blocked
    assert not summary.left
    assert sum(summary.counts.values()) + refused == len(purse.orders)
