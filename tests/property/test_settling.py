"""Every submitted work settles exactly once, whatever handlers, callbacks, cancellations and stops do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import runcue
from runcue.testing import Recorder
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

ENDS = ("complete", "failure", "skip", "cancel")


class Loose(BaseException):
    """No Exception."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words for it")


class Uncopyable(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__(one + other)


class Undecided:
    def __bool__(self) -> bool:
        raise ValueError("neither")


RAISED: dict[str, Any] = {
    "ValueError": lambda: ValueError("on purpose"),
    "TimeoutError": TimeoutError,
    "CancelledError": asyncio.CancelledError,
    "SystemExit": lambda: SystemExit(3),
    "GeneratorExit": GeneratorExit,
    "StopIteration": lambda: StopIteration(5),
    "StopAsyncIteration": StopAsyncIteration,
    "Loose": Loose,
    "Unprintable": Unprintable,
    "Uncopyable": lambda: Uncopyable(1, 2),
    "group": lambda: ExceptionGroup("several", [ValueError(1), KeyError(2)]),
    "base group": lambda: BaseExceptionGroup("several", [Loose(), asyncio.CancelledError()]),
}
raised = st.sampled_from(sorted(RAISED))

# What a handler does at its end, besides raising.
ENDINGS = (
    "return", "return", "return", "await another", "cancel itself", "cancel another", "cancel its task", "awaitable",
)  # fmt: skip


class Job(NamedTuple):
    """A work and all that happens to it."""

    task: int
    pauses: tuple[float, ...]
    lateness: tuple[float, float]
    ending: str
    other: int  # which work the ending is about
    spawns: int  # work units that its handler submits
    stubborn: bool  # it does not let itself be cancelled at its first pause
    ready: tuple[Any, ...]  # answers in turn, the last for ever
    stale: tuple[Any, ...]
    gate: float | None  # None: plain; otherwise seconds until the answer
    priority: float | str
    timeout: bool  # of the task that has one


class Act(NamedTuple):
    """What the program does, `after` seconds after the act before; None: in the same step."""

    after: float | None
    what: str
    number: int


ready_answers = st.sampled_from((True, True, True, False, "reason", "undecided")) | raised
stale_answers = st.sampled_from((True, True, True, False, "undecided")) | raised

jobs = st.builds(
    Job,
    task=st.integers(0, 99),
    pauses=st.lists(seconds, max_size=2).map(tuple),
    lateness=st.tuples(st.sampled_from((0.0, 0.1)), st.sampled_from((0.0, 0.1))),
    ending=st.sampled_from(ENDINGS) | raised,
    other=st.integers(0, 30),
    spawns=st.sampled_from((0, 0, 0, 1, 2)),
    stubborn=st.sampled_from((False, False, False, True)),
    ready=st.lists(ready_answers, min_size=1, max_size=3).map(tuple),
    stale=st.lists(stale_answers, min_size=1, max_size=2).map(tuple),
    gate=st.none() | st.none() | seconds,
    priority=st.floats(0, 1) | raised,
    timeout=st.booleans(),
)
acts = st.builds(
    Act,
    after=st.none() | seconds,
    what=st.sampled_from(("submit",) * 6 + ("cancel", "cancel", "nudge", "forget a waiter", "drain", "list")),
    number=st.integers(0, 30),
)
options = st.fixed_dictionaries(
    {
        "recheck": st.booleans(),
        "keep": st.sampled_from((0, 1, 3, 10_000)),
        "max_threads": st.sampled_from((1, 2, 64)),
        "pending_timeout": st.none() | st.none() | seconds.filter(bool),
        "stall_timeout": st.sampled_from((None, None, 1.0, 7.0, 60.0)),
        "pending_warn_after": st.none() | seconds.filter(bool),
        "stall_warn_after": st.none() | seconds.filter(bool),
    }
)
STOPS = (
    "stop", "finish", "stop at once", "finish at once", "stop in 1", "finish in 1", "in 1, then at once", "twice",
    "cancelled", "leave", "leave by an error",
)  # fmt: skip


class World(NamedTuple):
    services: list[ServicePlan]
    tasks: list[TaskPlan]
    jobs: list[Job]
    acts: list[Act]
    options: dict[str, Any]
    late: bool
    priorities: bool
    listeners: frozenset[str]  # "raise", "async", "submit", "raise async"
    stop: str
    again: bool  # start it once more afterwards


@st.composite
def worlds(draw: st.DrawFn) -> World:
    some = draw(st.lists(services(), min_size=1, max_size=2))
    return World(
        some,
        draw(st.lists(tasks(len(some)), min_size=1, max_size=3)),
        draw(st.lists(jobs, min_size=1, max_size=6)),
        draw(st.lists(acts, min_size=1, max_size=16)),
        draw(options),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.frozensets(st.sampled_from(("raise", "async", "submit", "raise async")), max_size=2)),
        draw(st.sampled_from(STOPS)),
        draw(st.booleans()),
    )


class Chaos(Body):
    """Carries out a `World` and keeps what it needs to judge it."""

    def __init__(self, plan: World) -> None:
        # Every task twice: with and without a timeout.
        super().__init__(Book(plan.services, [task for task in plan.tasks for _ in range(2)]), late=plan.late)
        self.plan = plan
        self.handles: list[runcue.WorkHandle] = []
        self.jobs: list[Job] = []
        self.waiters: list[asyncio.Task[Any]] = []
        self.cancelled: set[str] = set()  # somebody cancelled it, or it did so itself
        self.asked: dict[tuple[str, str], int] = {}
        self.stopping = False
        self.spawned = 0
        self.unexpected: list[str] = []

    def job(self, work: runcue.Work) -> Job:
        return self.jobs[work.params["number"]]

    async def submit(self, job: Job) -> None:
        number = len(self.jobs)
        name = str(job.task % len(self.plan.tasks) * 2 + job.timeout)
        self.jobs.append(job)
        try:
            handle = await self.the_cue.submit(name, params={"number": number})
        except runcue.CueStopped:
            self.jobs.pop()
            if not self.stopping:
                self.unexpected.append("CueStopped before stop()")
            return
        self.handles.append(handle)
        self.waiters.append(asyncio.create_task(handle.result() if number % 2 else handle.wait()))

    async def spawn(self, job: Job, number: int) -> None:
        for _ in range(number):
            if self.spawned < 10:
                self.spawned += 1
                await self.submit(job._replace(spawns=0))

    async def cancel(self, number: int) -> None:
        if self.handles:
            handle = self.handles[number % len(self.handles)]
            unsettled = handle.work.state in {runcue.WorkState.PENDING, runcue.WorkState.RUNNING}
            self.cancelled.add(handle)
            if await self.the_cue.cancel(handle) != unsettled:
                self.unexpected.append(f"cancel() said {not unsettled} of an unsettled={unsettled} work")

    def pauses(self, work: runcue.Work) -> tuple[float, ...]:
        return self.job(work).pauses

    def lateness(self, work: runcue.Work) -> tuple[float, float]:
        return self.job(work).lateness

    def finish(self, work: runcue.Work) -> Any:
        ending = self.job(work).ending
        if ending in RAISED:
            error = RAISED[ending]()
            raise error
        if ending == "awaitable":
            return asyncio.sleep(1.0, result=work.params["number"])
        return work.params["number"]

    async def steps(self, work: runcue.Work) -> Any:
        self._enter(work)
        job = self.job(work)
        try:
            await self.spawn(job, job.spawns)
            for pause in job.pauses:
                try:
                    await asyncio.sleep(pause)
                except asyncio.CancelledError:
                    if not job.stubborn:
                        raise
                    await asyncio.sleep(0.5)
            match job.ending:
                case "await another" if self.handles:
                    await self.handles[job.other % len(self.handles)].wait()
                case "cancel itself":
                    self.cancelled.add(work.id)
                    await self.the_cue.cancel(work.id)
                case "cancel another":
                    await self.cancel(job.other)
                case "cancel its task":
                    task = asyncio.current_task()
                    assert task is not None
                    self.cancelled.add(work.id)
                    task.cancel()
                case "awaitable":
                    return work.params["number"]
            return self.finish(work)
        finally:
            self.book.leave(work)

    def answer(self, kind: str, work: runcue.Work) -> Any:
        job = self.job(work)
        answers = job.ready if kind == "ready" else job.stale
        turn = self.asked.get((kind, work.id), 0)
        self.asked[kind, work.id] = turn + 1
        answer = answers[min(turn, len(answers) - 1)]
        if job.gate is not None:
            return self.later(job.gate, answer)
        return self.said(answer)

    @staticmethod
    def said(answer: Any) -> Any:
        if answer in RAISED:
            error = RAISED[answer]()
            raise error
        return {"reason": (False, "a reason"), "undecided": Undecided()}.get(answer, answer)

    async def later(self, gate: float, answer: Any) -> Any:
        await asyncio.sleep(gate)
        return self.said(answer)

    def listen(self, cue: runcue.Cue) -> None:
        def hear(*heard: Any) -> Any:
            work = heard[0]
            if "submit" in self.plan.listeners and isinstance(work, runcue.Work):
                return self.hear_later(lambda: self.spawn(self.job(work), 1))
            if "async" in self.plan.listeners:
                return self.hear_later(None)
            if "raise async" in self.plan.listeners:
                return self.hear_later(self.fail)
            return None

        def loud(*heard: Any) -> None:
            work = heard[0]
            job = self.job(work) if isinstance(work, runcue.Work) else self.plan.jobs[0]
            if job.ending in RAISED:
                error = RAISED[job.ending]()
                raise error

        events = ["start", "complete", "failure", "skip", "cancel", "pending_warning", "stall_warning"]
        methods = ["started", "settled", "warned"]
        if (
            "submit" not in self.plan.listeners
        ):  # or each submission would bring about another one, without end
            events.append("submit")
            methods += ["attached", "submitted"]
        for call in [loud, hear] if "raise" in self.plan.listeners else [hear]:
            for one in events:
                getattr(cue, f"on_{one}")(call)
            names = dict.fromkeys(methods, lambda observer, *heard, call=call: call(*heard))
            cue.observe(type("Hears", (runcue.Observer,), names)())

    async def hear_later(self, then: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
        await asyncio.sleep(0.1)
        if then is not None:
            await then()

    async def fail(self) -> None:
        raise Loose

    async def run(self) -> None:
        plan = self.plan
        cue = self.the_cue = runcue.Cue(run_in=self.executor(), id_prefix="", **plan.options)
        for number, service in enumerate(plan.services):
            cue.service(str(number), rate=service.rate, burst=service.burst, concurrent=service.concurrent)
        for number, task in enumerate(self.book.tasks):
            cue.task(str(number), uses=[str(one) for one in task.uses], timeout=1.5 if number % 2 else None)(
                self.async_handler() if task.is_async else self.sync_handler()
            )
        cue.is_ready(lambda work: self.answer("ready", work))
        cue.is_stale(lambda work: self.answer("stale", work))
        if plan.priorities:
            cue.priority(lambda ctx: self.said(self.job(ctx.work).priority))
        self.recorder = Recorder(cue)
        self.listen(cue)
        try:
            cue.start()
            for act in plan.acts:
                await self.act(act)
            summary = await self.stop(cue)
            self.check(summary, 0)
            await self.check_waiters()
            await asyncio.sleep(300)  # what was abandoned ends
            self.forget_uncalled()
            if plan.again:
                await self.start_again(cue)
                await asyncio.sleep(300)
        finally:
            for waiter in self.waiters:
                waiter.cancel()

    def forget_uncalled(self) -> None:
        """A `FakeExecutor` calls at the end of a handler's time: whoever was given up before is never called."""
        if not self.late:
            for number, task in list(self.book.inside.items()):
                if not self.book.tasks[task].is_async:
                    del self.book.inside[number]
                    self.book.release(task)

    def async_handler(self) -> Any:
        async def handler(work: runcue.Work) -> Any:
            return await self.steps(work)

        return handler

    def sync_handler(self) -> Any:
        def handler(work: runcue.Work) -> Any:
            return self.sync(work)

        return handler

    async def act(self, act: Act) -> None:
        if act.after is not None:
            await asyncio.sleep(act.after)
        match act.what:
            case "submit":
                await self.submit(self.plan.jobs[act.number % len(self.plan.jobs)])
            case "cancel":
                await self.cancel(act.number)
            case "nudge":
                self.the_cue.nudge()
            case "forget a waiter" if self.waiters:
                self.waiters.pop(act.number % len(self.waiters)).cancel()
            case "drain":
                await self.the_cue.drain()
            case "list":
                await self.the_cue.list()
                self.the_cue.debug_blocked()

    async def stop(self, cue: runcue.Cue) -> runcue.Summary:
        self.stopping = True
        self.events_before_stop = len(self.recorder.events)
        match self.plan.stop:
            case "stop":
                return await cue.stop()
            case "finish":
                return await cue.stop(drain=False)
            case "stop at once":
                return await cue.stop(timeout=0)
            case "finish at once":
                return await cue.stop(drain=False, timeout=0)
            case "stop in 1":
                return await cue.stop(timeout=1)
            case "finish in 1":
                return await cue.stop(drain=False, timeout=1)
            case "in 1, then at once":
                first = asyncio.create_task(cue.stop(timeout=1))
                await asyncio.sleep(0.3)
                return max([await cue.stop(timeout=0), await first], key=lambda summary: summary.duration)
            case "twice":
                one, other = await asyncio.gather(cue.stop(), cue.stop(drain=False))
                assert one.counts == other.counts
                return one
            case "cancelled":
                first = asyncio.create_task(cue.stop())
                await asyncio.sleep(0.3)
                first.cancel()
                await asyncio.wait([first])
                return await cue.stop()
            case "leave":
                async with cue:
                    pass
                return await cue.stop()
            case _:
                with pytest.raises(ZeroDivisionError):
                    async with cue:
                        raise ZeroDivisionError
                return await cue.stop()

    async def start_again(self, cue: runcue.Cue) -> None:
        """All slots and threads must have come back: as many work units as before run through."""
        self.stopping = False
        cue.start()
        known = len(self.handles)
        for number in range(6):
            easy = Job(number, (0.1,), (0.0, 0.0), "return", 0, 0, False, (True,), (True,), None, 0.5, False)
            await self.submit(easy)
        late = self.handles[known:]
        if self.plan.options["pending_timeout"] is None:
            # Those of the listeners may wait for each other; these may not wait for anything but their limits.
            for handle in late[:6]:
                assert await handle.result() == handle.work.params["number"]
        self.stopping = True
        self.check(await cue.stop(timeout=4000), known)

    def check(self, summary: runcue.Summary, known: int) -> None:
        assert not self.book.wrong, self.book.wrong
        assert not self.unexpected, self.unexpected
        counts = dict.fromkeys(("completed", "failed", "skipped", "cancelled"), 0)
        place: dict[str, list[tuple[int, str]]] = {}
        for index, heard in enumerate(self.recorder.events):
            place.setdefault(heard.work.id, []).append((index, heard.event))
        entered = [entry.number for entry in self.book.entries]
        for number, handle in enumerate(self.handles):
            work = handle.work
            events = [name for _, name in place.get(work.id, [])]
            assert isinstance(work.error, str) == (work.state is runcue.WorkState.FAILED)
            assert work.state not in {runcue.WorkState.PENDING, runcue.WorkState.RUNNING}, (
                f"{work!r} after stop()"
            )
            assert [name in ENDS for name in events].count(True) == 1, f"{work!r}: {events}"
            assert events[-1] in ENDS, f"{work!r}: {events}"
            assert events[:-1] in ([], ["start"]), f"{work!r}: {events}"
            assert entered.count(number) <= events.count("start"), f"{work!r} was entered without on_start"
            self.check_outcome(number, work, events, place[work.id][-1][0])
            if number >= known:
                outcome = {
                    "complete": "completed",
                    "failure": "failed",
                    "skip": "skipped",
                    "cancel": "cancelled",
                }
                counts[outcome[events[-1]]] += 1
        assert summary.counts == counts
        assert str(summary)
        if not summary.abandoned and not self.book.inside:
            assert all(service.active == 0 for service in self.the_cue._core.services.values())

    def check_outcome(self, number: int, work: runcue.Work, events: list[str], ended: int) -> None:
        """State, value and error agree with what was heard, and with what the handler did."""
        job = self.jobs[number]
        value = self.recorder.events[ended].value
        match events[-1]:
            case "complete":
                assert events == ["start", "complete"]
                assert work.state is runcue.WorkState.COMPLETED
                assert not work.skipped
                assert work.result == value == number
                assert job.ending not in RAISED
            case "skip":
                assert events == ["skip"]
                assert work.state is runcue.WorkState.COMPLETED
                assert work.skipped
                assert work.result is None
                assert not all(answer is True or answer in RAISED for answer in job.stale)
            case "cancel":
                assert work.state is runcue.WorkState.CANCELLED
                due = work.id in self.cancelled or ended >= self.events_before_stop
                assert due, f"{work!r} was cancelled by nobody"
            case "failure":
                assert work.state is runcue.WorkState.FAILED
                assert type(work.exception) is type(value)
                self.check_error(job, work, started="start" in events)

    def check_error(self, job: Job, work: runcue.Work, *, started: bool) -> None:
        error = work.exception
        if not started:
            assert isinstance(error, runcue.PendingTimeout | runcue.StallTimeout), repr(error)
        elif isinstance(error, runcue.WorkTimeout):
            assert job.timeout
        else:
            assert job.ending in RAISED, f"{error!r} though it ends with {job.ending}"
            cause = error.__cause__ if isinstance(error, runcue.HandlerExited) else error
            given = RAISED[job.ending]()
            # Python itself does not let a StopIteration out of a coroutine.
            assert type(cause) is type(given) or isinstance(cause, RuntimeError), repr(error)

    async def check_waiters(self) -> None:
        """result() and wait() of every handle return or raise, those from before as well as new ones."""
        for waiter in await asyncio.gather(*self.waiters, return_exceptions=True):
            assert not isinstance(waiter, runcue.CueFailed | GeneratorExit), repr(waiter)
        for number, handle in enumerate(self.handles):
            work = await handle.wait()
            assert work is handle.work
            try:
                result = await handle.result()
            except runcue.WorkCancelled:
                assert work.state is runcue.WorkState.CANCELLED
            except Exception:
                assert work.state is runcue.WorkState.FAILED
            else:
                assert work.skipped or result == number


@pytest.mark.rule(13, 16, 17, 18, 21, 23, 24)
@given(worlds(), orders)
def test_every_work_settles_exactly_once(plan: World, order: int | None) -> None:
    world = Chaos(plan)
    virtually(world.run, order)
    for ending in {heard.event for heard in world.recorder.events}:
        event(f"heard {ending}")
    event(f"stop: {plan.stop}")
