"""Running a trial: through deaths and rebirths, up to a last life in which nothing goes wrong.

Lives here: `run_trial`, and one life of the process.

Death is sudden. What exists at that instant is copied, and the next life begins with the copy, on a loop of its own.
What is left of the dead process still has to be cleared away, tasks and timers and all, and nothing it does on the way
is seen by anybody.

Must not know: which trials are worth running, what is promised.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any, Final, TypeVar

import runcue
from runcue.testing import NothingLeft
from runcue_sim._chaos.allowances import Allowances
from runcue_sim._chaos.checker import NO_HURRY, Checker
from runcue_sim._chaos.faults import Faults, StopCall
from runcue_sim._chaos.harness import CriticalLog, EndlessError, HeardWorld, WatchDog, WatchedLoop
from runcue_sim._chaos.hearing import listen
from runcue_sim._chaos.injected_errors import is_injected
from runcue_sim._chaos.injection import FaultyStage
from runcue_sim._chaos.invariants import Violation, duties_of, limits_of
from runcue_sim._chaos.regimes import OF_LIMITS
from runcue_sim._chaos.seeds import Outcome, Trial
from runcue_sim._engine.clocks import wall_clock
from runcue_sim._engine.log import log_given_to
from runcue_sim._pipelines.scenarios import SCENARIOS, Scenario, Settings, SimulatedError
from runcue_sim._records.event_log import Entry, Trace
from runcue_sim._records.ledger import item_of, outcome_of
from runcue_sim._workload.latency import Model
from runcue_sim._workload.luck import Luck

__all__ = ["PATIENCE", "OnLife", "Outcome", "Trial", "run_trial"]

T = TypeVar("T")

OnLife = Callable[[runcue.Cue, Trace], Callable[[], object] | None]
"""See `run_trial`."""

MOST_EVENTS: Final = 50
"""So many times as many events as work units are to be expected, and more than `_FEW`, and a run will not end."""

_FEW: Final = 5000
"""A handler may hang for a thousand seconds, and who waits behind a breaker looks each second whether it has passed."""

MOST_STEPS: Final = 200
"""So many times as many callbacks at one instant, and more than twenty thousand, and the loop is spinning."""

PATIENCE: Final = 5.0
"""Seconds of computing time that a small trial may take."""

_SMALL: Final = 1000


def run_trial(
    trial: Trial,
    *,
    tell: Callable[[Entry], object] | None = None,
    on_life: OnLife | None = None,
    patience: float = PATIENCE,
) -> Outcome:
    """Run a trial. Nothing is printed, and the log of runcue is quiet.

    Args:
        trial: What to run.
        tell: Called with each entry of the log as it comes.
        on_life: Called with the cue of each life, described and not started, and with the trace of that life. What it
            returns is called when that life ends, before anything of it is cleared away.
        patience: Seconds of computing time after which a small trial counts as endless. A large one has more, in
            proportion to its size.

    Returns:
        What was seen.
    """
    outcome = Outcome(trial)
    world, log = HeardWorld(), CriticalLog()
    now = 0.0
    patience *= 1 + trial.count * (trial.lives + 1) / _SMALL
    try:
        # Below that it is about what the faults do, and putting that in words is a third of the time of a trial.
        with log_given_to(log, logging.CRITICAL), WatchDog(patience) as dog:
            for number in range(trial.first, trial.first + trial.lives + 1):
                life = _Life(trial, number, world, now, outcome, tell)
                if on_life is not None:
                    life.on_end = on_life(life.cue, life.trace)
                life.run(log, dog)
                world, now = life.left, life.until
                if outcome.violation is not None:
                    break
    except EndlessError:  # it barked between two lives
        outcome.violation = Violation("ends", f"after {patience:g} s of computing it has not ended")
    return outcome


class _Stage(FaultyStage):
    """A stage whose handlers are watched."""

    checker: Checker
    without: frozenset[int]

    def paced(self, items: Iterable[T]) -> AsyncIterator[T]:
        return super().paced([one for one in items if one not in self.without])

    async def perform(self, work: runcue.Work, item: str, round_: int = 0) -> None:
        checker, loop = self.checker, asyncio.get_running_loop()
        checker.entered(loop.time(), work.id)
        try:
            await super().perform(work, item, round_)
        finally:
            checker.left(loop.time(), work.id)  # which may have ended: nobody awaits it any more

    def begin(self, work: runcue.Work, item: str) -> float:
        self.checker.entered(asyncio.get_running_loop().time(), work.id)
        return super().begin(work, item)

    def end(self, work: runcue.Work, item: str) -> None:
        try:
            super().end(work, item)
        finally:
            self.checker.left(asyncio.get_running_loop().time(), work.id)


class _Life:
    """One life of the process.

    Attributes:
        cue: Its cue.
        loop: Its loop. Time goes on from life to life.
        trace: Takes its log.
        left: What exists when it is over.
        until: When that was.
        on_end: Called when it is over.
    """

    def __init__(
        self,
        trial: Trial,
        number: int,
        world: HeardWorld,
        now: float,
        outcome: Outcome,
        tell: Callable[[Entry], object] | None,
    ) -> None:
        self._trial = trial
        self._outcome = outcome
        self._is_last = number == trial.first + trial.lives
        kinds = frozenset() if self._is_last else trial.kinds
        luck = Luck(trial.seed)
        faults = Faults(luck, kinds, share=trial.share, pace=trial.pace, life=number)
        self.left = self._world = world
        self.loop = WatchedLoop(self._look, order=trial.order)
        self.loop.reach(now)
        self.until = now
        self.on_end: Callable[[], object] | None = None
        self._over = False
        self.loop.set_exception_handler(self._on_loop_error)
        self.trace = Trace(outcome.event_log.append, *(() if tell is None else (tell,)))
        # Where nobody tells of a change only the recheck can notice it; where everybody does it would hide mistakes.
        self.cue = runcue.Cue(id_prefix=f"{number}.", recheck="untold" in kinds)
        self._stage = self._make_stage(faults, luck)
        self._scenario = SCENARIOS[trial.scenario](self._stage)
        self._checker = self._prepare(self._scenario)
        self._events = 0
        expected = self._scenario.expected()
        self._most_events = _FEW + MOST_EVENTS * expected
        self.loop.most_steps = 20_000 + MOST_STEPS * expected
        self._dies_at = faults.death(4 * expected)
        outcome.lives += 1

    def _make_stage(self, faults: Faults, luck: Luck) -> _Stage:
        trial = self._trial
        kind = SCENARIOS[trial.scenario]
        model = trial.model or Model(
            luck,
            latency=trial.latency,
            scales=kind.scales,
            error_rate=trial.error_rate,
            error_scales=kind.error_scales,
            jitter=trial.jitter,
            outliers=trial.outliers,
        )
        if self._is_last:
            model = replace(model, error_rate=0.0, error_rates={})
        settings = Settings(trial.count, trial.concurrent, trial.rate, trial.submit_rate)
        stage = _Stage(self.cue, self._world, model, settings, self.trace, faults)
        stage.without = trial.without
        return stage

    def _prepare(self, scenario: Scenario) -> Checker:
        """Describe the cue, and let the checker hear everything before anybody else does."""
        cue, world, stage = self.cue, self._world, self._stage
        scenario.describe()
        for task in cue.tasks():
            task.timeout = None if self._is_last else self._trial.timeout
        limiting = stage.limiting
        allowances = None
        if stage.faults.kinds & OF_LIMITS:
            allowances = limiting.allowances = Allowances(limiting.regimes)
            # The look at it comes when time is about to pass from there.
            allowances.on_end = lambda when: self.loop.call_at(when, lambda: None)
        checker = stage.checker = Checker(
            limits_of(cue) | limiting.limits,
            duties_of(cue),
            cache(scenario.needs),
            cache(scenario.proves),
            world.made,
            stage.injected,
            allowances,
        )
        limiting.on_change = checker.observed.set_limits
        limiting.on_resume = lambda name, place: checker.observed.call_back(clock(), name, place)
        checker.on_violation = self._end
        checker.on_event = self._count
        clock = self.loop.time
        world.on_change = lambda name: checker.changed(clock(), name)
        world.on_touch = checker.told
        cue.observe(_Logger(self.trace))
        listen(checker, cue, clock, _is_expected)
        stage.inject_into(scenario)
        return checker

    def _look(self) -> None:
        self._count()
        self._checker.look(self.loop.time())

    def _count(self) -> None:
        self._events += 1
        if self._over:
            if self._events > self._most_events:
                self.loop.stop()
        elif self._events > self._most_events:
            self._report_endless(f"it has not ended after {self._events} events")
        elif self._events == self._dies_at:
            self._die()

    def _report_endless(self, text: str) -> None:
        self._checker.report("ends", f"at {self.loop.time():g} s of its time {text}")

    def _die(self) -> None:
        self._outcome.deaths += 1
        self.left = self._world.survivor()
        self.trace.add(wall_clock(), "died", details=f"life {self._outcome.lives}, at event {self._events}")
        self._end()

    def _end(self) -> None:
        """Let nothing be seen from here on, and the loop come to its end."""
        if not self._over:
            self._over = True
            self.until = self.loop.time()
            if self.on_end is not None:
                self.on_end()
        self._checker.open = False
        self._stage.relent()
        self.trace.takers.clear()
        if self.loop.is_running():
            self.loop.stop()

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, EndlessError):
            return
        text = f"{context.get('message')}" + (f": {type(error).__name__}: {error}" if error else "")
        self._checker.report("sound", f"the event loop reports: {text}")

    def _on_critical(self, text: str) -> None:
        self._checker.report("sound", text)

    def run(self, log: CriticalLog, dog: WatchDog) -> None:
        """Go through it, and clear away what is left."""
        loop, outcome = self.loop, self._outcome
        dog.loop = loop
        log.hear = self._on_critical
        main = loop.create_task(self._main())
        # What runcue leaves to chance, such as who follows when after a pause, is the same for the same seed.
        chance = random.getstate()
        random.seed(f"{self._trial.seed} {outcome.lives}")
        try:
            self._go_through(main, dog)
            if self._is_last:
                everything = filter(self._is_submitted, self._scenario.everything())
                self._checker.finished(everything, self._world.made)
        finally:
            random.setstate(chance)
            outcome.violation = self._checker.violation
            self._end()
            self._clear_away(main)
        seen = self._checker.observed
        outcome.works += len(seen.works)
        outcome.settled += seen.counts
        outcome.faults += self._stage.injected.counts
        outcome.ties |= {one.id: (one.needs, one.proves) for one in seen.works.values()}

    def _go_through(self, main: asyncio.Task[None], dog: WatchDog) -> None:
        loop, checker = self.loop, self._checker
        try:
            loop.run_until_complete(main)
        except NothingLeft as error:
            checker.report("prompt", f"a wake-up was lost: {error}")
        except EndlessError:
            pass
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - out of the cue, whatever it may be
            # If the loop was stopped on purpose, the checker has closed its eyes by now.
            if not (loop.spins or dog.has_barked):
                checker.report("sound", f"{type(error).__name__}: {error}")
        if dog.has_barked:
            self._report_endless("it goes on computing without end")
        elif loop.spins:
            self._report_endless("it goes on and on, and no time passes")

    async def _main(self) -> None:
        cue, checker = self.cue, self._checker
        cue.start()
        if calls := self._stage.faults.stops():
            summary = await self._stop_early(calls)
        else:
            await self._scenario.submit()
            if self._trial.drains:
                await cue.drain()
                checker.drained(self.loop.time())
                self._stage.relent()
            summary = await self._stop(NO_HURRY)
        checker.ended(self.loop.time(), summary.counts, {work.id for work in summary.left})

    async def _stop(self, call: StopCall) -> runcue.Summary:
        self._checker.stopping(self.loop.time(), call)
        return await self.cue.stop(drain=call.drain, timeout=call.timeout, delayed=call.delayed)

    async def _stop_early(self, calls: Iterable[StopCall]) -> runcue.Summary:
        """Stop in the middle of things, and more than once."""
        submitting = self.loop.create_task(self._scenario.submit())
        stopping: list[asyncio.Task[runcue.Summary]] = []
        for call in calls:
            if not stopping:
                await asyncio.sleep(call.after)
                # Whoever ends a program has nothing more to submit.
                submitting.cancel()
                await asyncio.wait([submitting])
            elif (await asyncio.wait(stopping[:1], timeout=call.after))[0]:
                break
            self._stage.stopped(call)
            stopping.append(self.loop.create_task(self._stop(call)))
        return (await asyncio.gather(*stopping))[0]

    def _is_submitted(self, name: str) -> bool:
        return not any(f"_{number:03}" in name for number in self._trial.without)

    def _clear_away(self, main: asyncio.Task[None]) -> None:
        loop = self.loop
        for leave in (self._kill, self._cancel_all, loop.shutdown_asyncgens):
            # What is broken or endless may be so here once more, and nobody wants to know.
            self._events = 0
            with suppress(Exception, asyncio.CancelledError, EndlessError):
                loop.run_until_complete(leave())
        loop.close()
        if main.done() and not main.cancelled():
            main.exception()  # somebody has looked at it now

    async def _kill(self) -> None:
        await self.cue.stop(drain=False, timeout=0)

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class _Logger(runcue.Observer):
    """Enters into a log what a cue does."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        # Why the last attempt has failed that another one follows.
        self._error = ""

    def _add(self, event: str, work: runcue.Work, details: str = "") -> None:
        if self._trace:
            self._trace.add(wall_clock(), event, work.task, work.id, details)

    def submitted(self, work: runcue.Work) -> None:
        self._add("queued", work, item_of(work))

    def started(self, work: runcue.Work) -> None:
        self._add("started", work, item_of(work))

    def resumed(self, work: runcue.Work) -> None:
        self._add("resumed", work, item_of(work))

    def attempt_failed(self, work: runcue.Work, error: BaseException, delay: float) -> None:
        self._error = f"{error!r}"

    def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
        why = self._error if reason == "failed" else reason
        self._add("put back", work, f"for {delay or 0.0:g} s: {why}")

    def settled(self, work: runcue.Work, duration: float) -> None:
        outcome = outcome_of(work)
        self._add(outcome, work, f"{duration:.3f}s" if outcome == "completed" else work.error or "")


def _is_expected(error: BaseException) -> bool:
    return isinstance(error, SimulatedError) or is_injected(error)
