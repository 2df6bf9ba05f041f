"""Whatever attempts do, and whenever they may begin: each work unit settles once, none starts before its time, and who
waits for its time holds nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from math import inf
from typing import Any, NamedTuple

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import runcue
from runcue._scheduling.retry import Retry
from tests.support.worlds import (
    Body,
    Book,
    ServicePlan,
    TaskPlan,
    orders,
    seconds,
    services,
    tasks,
    virtually,
)

ROUNDING = 1e-6
BETWEEN = 0.0137  # an instant at which nothing else happens


class Step(NamedTuple):
    """What a handler does when it is entered once more; one that is async may await an earlier work unit."""

    lasts: float
    ending: str
    later: float
    awaits: int | None = None


class Policy(NamedTuple):
    """Of retries; `attempts` 0 stands for none."""

    attempts: int
    initial: float
    maximum: float
    form: str

    def after(self, attempt: int, error: BaseException) -> float | None:
        if attempt >= self.attempts or (self.form == "on" and isinstance(error, KeyError)):
            return None
        return min(self.maximum, self.initial * 2 ** (attempt - 1))

    def option(self) -> Any:
        if self.form == "function":
            return lambda attempt, error, elapsed: self.after(attempt, error)
        on: Any = (lambda error: not isinstance(error, KeyError)) if self.form == "on" else Exception
        return runcue.Retry(
            self.attempts, on=on, wait_initial=self.initial, wait_max=self.maximum, wait_jitter=0
        )


class Job(NamedTuple):
    task: int
    steps: tuple[Step, ...]
    policy: Policy
    timeout: float | None
    is_keyed: bool
    must_complete: bool | None


class Act(NamedTuple):
    after: float | None
    what: str
    number: int
    ahead: float
    by_wall: bool


ENDINGS = ("return", "raise", "raise", "key error", "later", "give up", "exit")
steps = st.builds(
    Step,
    lasts=seconds,
    ending=st.sampled_from(ENDINGS),
    later=st.sampled_from((0.0, 0.1, 1.0, 7.0)),
    awaits=st.none() | st.none() | st.integers(0, 9),
)
policies = st.builds(
    Policy,
    attempts=st.sampled_from((0, 1, 2, 3, 5)),
    initial=st.sampled_from((0.0, 0.1, 1.0, 2.0)),
    maximum=st.sampled_from((0.1, 5.0, 60.0)),
    form=st.sampled_from(("Retry", "function", "on")),
)
jobs = st.builds(
    Job,
    task=st.integers(0, 9),
    steps=st.lists(steps, min_size=1, max_size=4).map(tuple),
    policy=policies,
    timeout=st.sampled_from((None, None, 0.5, 3.0)),
    is_keyed=st.booleans(),
    must_complete=st.sampled_from((None, None, None, True, False)),
)
acts = st.builds(
    Act,
    after=st.none() | seconds,
    what=st.sampled_from(("submit",) * 5 + ("cancel", "once more")),
    number=st.integers(0, 20),
    ahead=st.sampled_from((0.0, 0.0, 0.0, 0.1, 1.0, 7.0, 60.0)),
    by_wall=st.booleans(),
)


class World(NamedTuple):
    services: list[ServicePlan]
    tasks: list[TaskPlan]
    jobs: list[Job]
    acts: list[Act]
    essential: frozenset[int]  # tasks whose work units must complete
    stop: str


STOPS = ("drain", "stop", "stop", "stop, delayed cancelled", "in 1", "at once", "at once, in 1")


@st.composite
def worlds(draw: st.DrawFn) -> World:
    some = draw(st.lists(services(), min_size=1, max_size=2))
    return World(
        some,
        draw(st.lists(tasks(len(some)), min_size=1, max_size=3)),
        draw(st.lists(jobs, min_size=1, max_size=4)),
        draw(st.lists(acts, min_size=1, max_size=10)),
        draw(st.frozensets(st.integers(0, 2), max_size=1)),
        draw(st.sampled_from(STOPS)),
    )


class Attempts(Body):
    """Carries out a `World`, and keeps its own account of attempts."""

    def __init__(self, plan: World) -> None:
        if "in 1" in plan.stop and (plan.essential or any(job.must_complete for job in plan.jobs)):
            # What stands in for threads has no handlers that go on once they are given up.
            plan = plan._replace(tasks=[task._replace(is_async=True) for task in plan.tasks])
        super().__init__(Book(plan.services, plan.tasks), late=False)
        self.plan = plan
        self.handles: list[runcue.WorkHandle] = []
        self.wrong = self.book.wrong
        # By id: how often its handler was entered, its attempt, and before when it must not start.
        self.entries: Counter[str] = Counter()
        self.attempt: dict[str, int] = {}
        self.may_start: dict[str, float] = {}
        self.asked_for_later: dict[str, float] = {}
        self.errors: dict[str, BaseException] = {}
        self.ends: Counter[str] = Counter()
        self.attempts: dict[str, tuple[Any, ...]] = {}
        # Whom a handler awaits at this moment; who was given up by somebody who asked for that; since when nothing
        # starts but what must complete and what that needs; and what was told of when it is due.
        self.awaited: dict[str, runcue.WorkHandle] = {}
        self.given_up: set[str] = set()
        self.is_cut_off = False
        # When a stop that waits for so long cuts off what is left.
        self.cut_off_at = inf
        self.due: dict[str, float] = {}
        # When it was said to be somebody's turn at the earliest, by those that are sure of it.
        self.turns: dict[str, float] = {}

    def job(self, work: runcue.Work) -> Job:
        return self.plan.jobs[work.params["job"]]

    def step(self, work: runcue.Work) -> Step:
        steps_, entry = self.job(work).steps, self.entries[work.id]
        return steps_[entry - 1] if entry <= len(steps_) else Step(0.1, "return", 0.0)

    def _enter(self, work: runcue.Work) -> float:
        self.entries[work.id] += 1
        return super()._enter(work)

    def pauses(self, work: runcue.Work) -> tuple[float, ...]:
        lasts = self.step(work).lasts
        return (lasts,) if lasts else ()

    def finish(self, work: runcue.Work) -> Any:
        step = self.step(work)
        match step.ending:
            case "raise":
                raise ValueError("on purpose")
            case "key error":
                raise KeyError("on purpose")
            case "later":
                self.asked_for_later[work.id] = step.later
                raise runcue.RetryLater(step.later)
            case "give up":
                raise runcue.GiveUp("on purpose")
            case "exit":
                raise SystemExit(3)
        return work.params["number"]

    async def steps(self, work: runcue.Work) -> Any:
        self._enter(work)
        try:
            for pause in self.pauses(work):
                await asyncio.sleep(pause)
            earlier = self.handles[: work.params["place"]]
            awaits = self.step(work).awaits
            if awaits is not None and earlier:
                self.awaited[work.id] = earlier[awaits % len(earlier)]
                await self.awaited[work.id].wait()
            return self.finish(work)
        finally:
            self.awaited.pop(work.id, None)
            self.book.leave(work)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def must_complete(self, work: runcue.Work) -> bool:
        said = self.job(work).must_complete
        return int(work.task) in self.plan.essential if said is None else said

    def is_needed(self, work: runcue.Work) -> bool:
        """Whether it, or one that has the same key, must complete or is awaited by one that is needed."""
        number = work.params["number"]
        line = {one.work.params["number"] for one in self.handles if self.must_complete(one.work)}
        needed: set[Any] = set()
        while line:
            needed.add(one := line.pop())
            for handle in self.handles:
                if handle.work.params["number"] == one and (awaited := self.awaited.get(handle)) is not None:
                    line |= {awaited.work.params["number"]} - needed
        return number in needed

    def begins(self, work: runcue.Work) -> None:
        if self.is_cut_off and not self.is_needed(work):
            self.wrong.append(f"{work!r} starts, and the cue was told to start nothing more")
        # Who is cancelled, be it by a stop that cuts off, makes room for others that nobody can have foreseen.
        turn = self.turns.pop(work.id, -inf)
        is_left_alone = (
            not self.is_cut_off
            and self.now() < self.cut_off_at
            and not any(act.what == "cancel" for act in self.plan.acts)
        )
        if self.now() < turn - ROUNDING and is_left_alone:
            self.wrong.append(f"{work!r} starts at {self.now()}, and its turn was said to come at {turn}")
        due = self.due.pop(work.id, None)
        if due is not None and self.now() < due - ROUNDING:
            self.wrong.append(f"{work!r} starts at {self.now()}, and was said to be due at {due}")
        if due is not None and not self.book.tasks[int(work.task)].uses and self.now() > due + ROUNDING:
            self.wrong.append(
                f"{work!r}, which no limit holds up, starts {self.now() - due} s after it was due"
            )
        early = self.may_start.get(work.id, -inf) - self.now()
        if early > ROUNDING:
            self.wrong.append(f"{work!r} starts {early} s before its time")
        if work.attempt != self.attempt.setdefault(work.id, work.attempt):
            self.wrong.append(
                f"{work!r} starts with attempt {work.attempt}, and not with {self.attempt[work.id]}"
            )

    def goes_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
        assert delay is not None
        assert work.state is runcue.WorkState.PENDING
        error = self.errors.pop(work.id, None)
        expected: float | None = None
        if reason == "postponed":
            expected = self.asked_for_later.pop(work.id, None)
        elif error is None:
            self.wrong.append(f"{work!r} goes back, and no attempt has failed")
        else:
            attempt = self.attempt.get(work.id, work.attempt - 1)
            wait = self.job(work).policy.after(attempt, error)
            if wait is None:
                self.wrong.append(f"{work!r} is tried again after its last attempt, {attempt}: {error!r}")
            # The wait counts from the time-out; its handler may have taken longer.
            expected = None if isinstance(error, runcue.WorkTimeout) else wait
            self.attempt[work.id] = attempt + 1
            if [one.number for one in work.attempts][-1] != attempt:
                self.wrong.append(f"{work!r} has had attempts {work.attempts}, and this was number {attempt}")
        if expected is not None and abs(expected - delay) > ROUNDING:
            self.wrong.append(f"{work!r} goes back for {delay} s and not for {expected} s")
        self.may_start[work.id] = self.now() + delay

    def settles(self, work: runcue.Work) -> None:
        self.ends[work.id] += 1
        self.attempts[work.id] = work.attempts
        error = work.exception
        policy = self.job(work).policy
        # Of those who have joined another one the attempts are that one's.
        if error is not None and not self.job(work).is_keyed and policy.attempts and work.started_at:
            raised = error.__cause__ if isinstance(error, runcue.HandlerExited) else error
            assert raised is not None
            is_last = isinstance(raised, (runcue.GiveUp, runcue.WorkTimeout)) or (
                policy.form != "function" and not isinstance(raised, Exception)
            )
            is_last = is_last or (self.is_cut_off and not self.is_needed(work))
            if not is_last and policy.after(work.attempt, raised) is not None:
                self.wrong.append(f"{work!r} fails in attempt {work.attempt} of {policy.attempts}: {error!r}")

    async def submit(self, place: int, ahead: float, *, by_wall: bool) -> None:
        job = self.plan.jobs[place]
        # Who joins another one wants the very same.
        number = place if job.is_keyed else 100 + len(self.handles)
        options: dict[str, Any] = {}
        if job.policy.attempts:
            options["retry"] = job.policy.option()
        if job.timeout is not None:
            options["timeout"] = job.timeout
        if ahead and by_wall:
            options["run_at"] = self.the_cue_wall() + ahead
        elif ahead:
            options["delay"] = ahead
        if job.is_keyed:
            options["key"] = number
        if job.must_complete is not None:
            options["must_complete"] = job.must_complete
        task = str(job.task % len(self.plan.tasks))
        params = {"number": number, "job": place, "place": number if job.is_keyed else len(self.handles)}
        handle = await self.the_cue.submit(task, params, **options)
        if ahead and not job.is_keyed:
            self.may_start[handle] = self.now() + ahead
        self.handles.append(handle)

    def the_cue_wall(self) -> float:
        clock: Any = asyncio.get_running_loop()
        wall: float = clock.runcue_clock.time()
        return wall

    async def act(self, act: Act) -> None:
        if act.after is not None:
            await asyncio.sleep(act.after)
        if act.what == "submit" or not self.handles:
            await self.submit(act.number % len(self.plan.jobs), act.ahead, by_wall=act.by_wall)
            return
        handle = self.handles[act.number % len(self.handles)]
        if act.what == "cancel":
            self.given_up.add(handle)
            await self.the_cue.cancel(handle)
            return
        number = handle.work.params["number"]
        same = [one.work.state.name for one in self.handles if one.work.params["number"] == number]
        # Two that have nothing to do with each other must not write in one place of the book.
        if number not in self.book.inside and {*same} <= {"FAILED", "CANCELLED"}:
            again = await self.the_cue.retry(handle)
            assert again.work.retry_of == handle
            assert again != handle
            self.handles.append(again)

    async def look_on(self) -> None:
        """At instants at which nothing else happens the slots in use are those of the handlers that are inside."""
        for pause in [BETWEEN, *[1.0] * 40]:
            await asyncio.sleep(pause)
            self.check_slots()
            self.check_what_is_told()

    def check_slots(self) -> None:
        in_use = [service.in_use for service in self.the_cue.services()]
        if in_use != self.book.held:
            self.wrong.append(f"{in_use} slots are in use, and {self.book.held} handlers at work")

    def check_what_is_told(self) -> None:
        """What waits for an instant is told to be due then, whatever else it may have to wait for afterwards."""
        for handle in self.handles:
            work = handle.work
            waits = work.state is runcue.WorkState.PENDING and not self.job(work).is_keyed
            may_start = self.may_start.get(handle, -inf)
            if waits and may_start > self.now() + ROUNDING:
                eta = self.the_cue.why(handle).eta
                if eta is None or abs(self.now() + eta - may_start) > ROUNDING:
                    self.wrong.append(f"{work!r} may start at {may_start}, and is told to in {eta} s")
                else:
                    self.due[handle] = self.now() + eta
            elif waits:
                why = self.the_cue.why(handle)
                turn = why.turn
                if turn is not None and why.eta is not None and not (turn.about or turn.at_least):
                    self.turns[handle] = max(self.now() + why.eta, self.turns.get(handle, -inf))

    async def run(self) -> None:
        cue = self.the_cue = self.cue(recheck=False)
        world = self

        class Ear(runcue.Observer):
            def started(self, work: runcue.Work) -> None:
                world.begins(work)

            def resumed(self, work: runcue.Work) -> None:
                world.begins(work)

            def attempt_failed(self, work: runcue.Work, error: BaseException, delay: float) -> None:
                world.errors[work.id] = error

            def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
                world.goes_back(work, reason, delay)

            def settled(self, work: runcue.Work, duration: float) -> None:
                world.settles(work)

        cue.observe(Ear())
        for task in cue.tasks():
            task.must_complete = int(task.name) in self.plan.essential
        onlooker = asyncio.create_task(self.look_on())
        cue.start()
        for act in self.plan.acts:
            await self.act(act)
        if self.plan.stop == "drain":
            drained = await cue.drain()
            assert drained.deadlocked or all(
                handle.work.state.name in ("COMPLETED", "FAILED", "CANCELLED") for handle in self.handles
            )
        summary = await self.stop()
        onlooker.cancel()
        await asyncio.sleep(300)  # what was abandoned ends
        assert not self.wrong, self.wrong
        for handle in self.handles:
            assert handle.work.state.name in ("COMPLETED", "FAILED", "CANCELLED"), repr(handle.work)
            assert self.ends[handle] == 1, f"{handle.work!r} has ended {self.ends[handle]} times"
            assert handle.work.attempts == self.attempts[handle], "nothing is added after the end"
            if self.must_complete(handle.work) and not summary.deadlocked:
                is_given_up = handle in self.given_up or handle.work in summary.left
                assert is_given_up or handle.work.state is not runcue.WorkState.CANCELLED, repr(handle.work)
        assert all(work.state is runcue.WorkState.CANCELLED for work in summary.left)
        # Whoever awaits, in the only slot, what has asked to be called again later is deadlocked: that is left then.
        assert summary.left == [] or self.plan.stop != "drain" or summary.deadlocked

    async def stop(self) -> runcue.Summary:
        match self.plan.stop:
            case "in 1":
                self.cut_off_at = self.now() + 1 - ROUNDING
                return await self.the_cue.stop(timeout=1)
            case "at once" | "at once, in 1":
                self.is_cut_off = True
                return await self.the_cue.stop(drain=False, timeout=1 if "in 1" in self.plan.stop else None)
            case "stop, delayed cancelled":
                return await self.the_cue.stop(delayed="cancel")
        return await self.the_cue.stop()


# As many as are asked for where that is much; in the suite a few.
_EXAMPLES = settings().max_examples if settings().max_examples > 1000 else 60


@pytest.mark.rule(10, 16, 25, 39, 40)
@settings(max_examples=_EXAMPLES)
@given(worlds(), orders)
def test_whatever_attempts_do_each_work_settles_once_in_its_time_and_holds_nothing_meanwhile(
    plan: World, order: int | None
) -> None:
    world = Attempts(plan)
    virtually(world.run, order)
    event(f"{sum(one > 1 for one in world.entries.values())} were tried again")
    event(f"stop: {plan.stop}")


@given(
    attempt=st.integers(1, 10_000),
    luck=st.floats(0, 1),
    initial=st.floats(0, 1e6),
    maximum=st.floats(0, 1e6),
    jitter=st.floats(0, 1e6),
    base=st.floats(0.01, 100),
)
def test_a_wait_is_within_its_bounds_and_grows_with_attempt_and_luck(
    attempt: int, luck: float, initial: float, maximum: float, jitter: float, base: float
) -> None:
    retry = Retry(-1, wait_initial=initial, wait_max=maximum, wait_jitter=jitter, wait_exp_base=base)
    wait = retry.wait(attempt, luck)
    assert 0 <= wait <= maximum
    assert retry.wait(attempt, 0.0) <= wait <= retry.wait(attempt, 1.0)
    if base >= 1:
        assert wait <= retry.wait(attempt + 1, luck)
    assert retry.wait(1, luck) == min(maximum, initial + luck * jitter)
