"""`--check`: over many seeds nothing is found; whatever is planted in the library is, with its seed and a short log."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest

import runcue
from runcue._api import intake
from runcue._callbacks.declared_gate import DeclaredGate
from runcue._callbacks.gate import Gate
from runcue._callbacks.listeners import Listeners
from runcue._callbacks.retrying import Retrying
from runcue._callbacks.verdicts import RUN, GateVerdict
from runcue._dispatch import delays, endings
from runcue._dispatch.awaited_gates import AwaitedGate, AwaitedGates
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.endings import Endings
from runcue._dispatch.in_flight import InFlight
from runcue._dispatch.settlement import Settlement
from runcue._dispatch.turns import Turns
from runcue._freshness.newer import Newer
from runcue._lifecycle.stopping import Stopping
from runcue._limits.sliding_window import SlidingWindow
from runcue._model.attempts import Again, Overrun
from runcue._model.phases import NOT_DUE, READY, SETTLED
from runcue._scheduling import later, returning
from runcue._scheduling.appointments import Appointment, Appointments
from runcue._scheduling.attempts import FailedAttempt, Settle
from runcue._scheduling.coalescing import follow
from runcue._scheduling.core import Core
from runcue._scheduling.deadlines import Deadlines
from runcue._scheduling.dependencies import Dependencies
from runcue._scheduling.holds import Holds
from runcue._scheduling.rechecking import Rechecker
from runcue._scheduling.run_queue import RunQueue
from runcue._scheduling.wakeups import Wakeups
from runcue.testing import VirtualTimeLoop
from runcue_sim._chaos.campaign import Report, check
from runcue_sim._chaos.faults import KINDS
from runcue_sim._chaos.invariants import INVARIANTS
from runcue_sim._chaos.seeds import trial_of
from runcue_sim._chaos.shrinking import Found, relevant, shrink, smaller_than
from runcue_sim._chaos.trial import Trial, run_trial
from runcue_sim._pipelines.scenarios import SCENARIOS
from tests.support.calls import without_collector

SEEDS = range(40)
MANY = range(20)  # CI runs 200 as well, of the installed program
OTHERS = [name for name in SCENARIOS if name != "services"]


@pytest.fixture(scope="module")
def report() -> Report:
    return check(MANY)


def test_over_many_seeds_nothing_is_found(report: Report) -> None:
    assert report.ok, report.text()
    assert report.found == []
    assert report.trials == len(MANY) * len(SCENARIOS)
    assert report.text().endswith("no violation\n")


def test_every_second_seed_is_run_in_another_order_and_the_report_says_how_many(report: Report) -> None:
    assert report.shuffled == report.trials // 2
    assert f": {report.trials} runs ({report.shuffled} in shuffled order), " in in_one_line(report.text())
    assert [trial_of(seed, "fanout").order for seed in range(4)] == [None, 1, None, 3]
    assert "shuffled" not in check([0], ["fanout"]).text()


def in_one_line(text: str) -> str:
    """A report as it is before it is broken into lines of 80 columns."""
    return " ".join(text.split())


def test_a_report_fits_80_columns(report: Report) -> None:
    assert max(map(len, report.text().splitlines())) <= 80


def test_a_handler_that_others_have_joined_excuses_them_when_a_stranger_ends_it() -> None:
    # Its work unit was cancelled, then its asyncio task by somebody else, and who had joined it settled with that.
    assert check([204273]).ok


def test_each_kind_of_fault_strikes_and_each_end_is_met(report: Report) -> None:
    assert {kind for kind, number in report.faults.items() if number} == set(KINDS) - {"death"}
    assert report.deaths > 20
    assert set(report.settled) == {"completed", "skipped", "failed", "cancelled"}
    assert min(report.settled.values()) > 100


Plant = Callable[[pytest.MonkeyPatch], None]


def rate_allows_one_too_many(patch: pytest.MonkeyPatch) -> None:
    def room(self: SlidingWindow, now: float, work: Any = None) -> bool:
        while self.recent_starts and now - self.recent_starts[0] >= self.rate.period:
            self.recent_starts.popleft()
        return len(self.recent_starts) + self.reserved <= self.rate.count

    patch.setattr(SlidingWindow, "room", room)


def token_is_stamped_too_early(patch: pytest.MonkeyPatch) -> None:
    stamp = SlidingWindow.entered
    patch.setattr(SlidingWindow, "entered", lambda self, now, work, at: stamp(self, now, work, at - 0.3))


def slots_allow_one_too_many(patch: pytest.MonkeyPatch) -> None:
    look, free = RunQueue.look_at_limits, RunQueue.free_slots

    def look_at_limits(self: RunQueue) -> None:
        look(self)
        self.sole_slots = self.sole_service = None

    def has_room(self: RunQueue, now: float, work: Any = None, ordered: bool = False) -> bool:
        for rate in self._rates:
            if not rate.room(now):
                self.refusal = rate, None
                return False
        has_slots = all(one.active <= one.concurrent for one in self.services)
        return has_slots and self._others_have_room(now, work or self.peek(ordered))

    patch.setattr(RunQueue, "look_at_limits", look_at_limits)
    patch.setattr(RunQueue, "has_room", has_room)
    patch.setattr(RunQueue, "free_slots", lambda self, work=None: free(self, work) + 1)


def slot_is_given_back_before_the_handler_is_through(patch: pytest.MonkeyPatch) -> None:
    cancel = Settlement.cancel

    def hasty(self: Settlement, work: runcue.Work, *rest: Any) -> bool:
        outcome = cancel(self, work, *rest)
        self._in_flight.release(work, self._turns.now())
        return outcome

    patch.setattr(Settlement, "cancel", hasty)


def slot_is_not_given_back(patch: pytest.MonkeyPatch) -> None:
    release, count = InFlight.release, itertools.count(1)

    def leaky(self: InFlight, work: runcue.Work, now: float) -> None:
        if next(count) % 5:
            release(self, work, now)
        else:
            self.works.pop(work, None)

    patch.setattr(InFlight, "release", leaky)


def every_seventh_wake_up_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    wake, count = Turns.wake, itertools.count(1)
    patch.setattr(Turns, "wake", lambda self: wake(self) if next(count) % 7 else None)


def settlement_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    touch, count = Wakeups.touch, itertools.count(1)

    def deaf(self: Wakeups, key: Any, *, settled: bool = False) -> bool:
        return False if settled and next(count) % 3 == 0 else touch(self, key, settled=settled)

    patch.setattr(Wakeups, "touch", deaf)


def listener_hears_twice(patch: pytest.MonkeyPatch) -> None:
    emit, count = Listeners.emit, itertools.count(1)

    def stutter(self: Listeners, listeners: Any, *args: Any) -> float:
        if next(count) % 11 == 0:
            emit(self, listeners, *args)
        return emit(self, listeners, *args)

    patch.setattr(Listeners, "emit", stutter)


def gate_is_not_asked_again_before_the_start(patch: pytest.MonkeyPatch) -> None:
    ask = Gate.ask

    def lazy(self: Gate, work: runcue.Work, began: float) -> Any:
        if work._phase == READY and work._approved_in >= 0:
            self.at = began
            return RUN
        return ask(self, work, began)

    patch.setattr(Gate, "ask", lazy)


def work_that_is_up_to_date_runs(patch: pytest.MonkeyPatch) -> None:
    def stale(self: DeclaredGate, work: runcue.Work, declared: Any, *, defers: bool = False) -> bool:
        declared.was = []
        declared.stale = ("missing", declared.outputs[0], None)
        return True

    patch.setattr(DeclaredGate, "is_stale", stale)


def input_that_is_being_made_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Holds, "hold_of", lambda *args: None)


def work_is_lost_on_submission(patch: pytest.MonkeyPatch) -> None:
    add, count = Core.add, itertools.count(1)

    def forgetful(self: Core, work: runcue.Work, now: float) -> None:
        add(self, work, now)
        new = work._task.run_queue.new
        if next(count) % 9 == 0 and new and new[-1] is work:
            new.pop()

    patch.setattr(Core, "add", forgetful)


def who_has_joined_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Settlement, "_tell_others", lambda *args: None)


def what_is_older_than_its_inputs_counts_as_up_to_date(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Newer, "stale", lambda self, work: None)


def raising_is_stale_counts_as_up_to_date(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gate, "_stale_raised", lambda self, work, error: GateVerdict.SKIP)


def timeout_never_strikes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Endings, "timed_out", lambda *args: None)


def drain_ends_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Stopping, "_at_rest", lambda self: not self._dispatcher.in_flight.works)


def scheduler_fails(patch: pytest.MonkeyPatch) -> None:
    start, count = Core.start, itertools.count(1)

    def broken(self: Core, *args: Any) -> None:
        if next(count) % 20 == 0:
            raise ZeroDivisionError("planted")
        start(self, *args)

    patch.setattr(Core, "start", broken)


def loop_spins(patch: pytest.MonkeyPatch) -> None:
    look = Dispatcher.look

    def restless(self: Dispatcher) -> None:
        look(self)
        self.turns.wake()

    patch.setattr(Dispatcher, "look", restless)


def timer_comes_again_for_ever(patch: pytest.MonkeyPatch) -> None:
    arm = Dispatcher._arm

    def alarm(self: Dispatcher) -> None:
        self.timers.active.set("again", self.turns.now() + 1)
        arm(self)

    patch.setattr(Dispatcher, "_arm", alarm)
    patch.setattr(Stopping, "_at_rest", lambda self: False)


def callback_of_the_loop_raises(patch: pytest.MonkeyPatch) -> None:
    def broken(self: Turns) -> None:
        self._in_slice = False
        raise ZeroDivisionError("planted")

    patch.setattr(Turns, "_end_slice", broken)


def drain_raises(patch: pytest.MonkeyPatch) -> None:
    async def broken(self: Stopping) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("planted")

    patch.setattr(Stopping, "rest", broken)


def nudge_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rechecker, "nudged", lambda self: None)


def nudge_of_one_thing_wakes_nobody_who_looked_unseen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rechecker, "nudged_others", lambda self: None)


def nudge_while_all_are_asked_comes_too_late(patch: pytest.MonkeyPatch) -> None:
    def nudged_others(self: Rechecker) -> None:
        self.nudges += 1
        self.full_wanted = True

    patch.setattr(Rechecker, "nudged_others", nudged_others)


def nudge_during_an_async_gate_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    ask_again = AwaitedGates._ask_again_if_outdated

    def forgetful(self: AwaitedGates, awaited: AwaitedGate) -> None:
        awaited.nudges = self._rechecker.nudges
        ask_again(self, awaited)

    patch.setattr(AwaitedGates, "_ask_again_if_outdated", forgetful)


def touch_during_an_async_gate_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Wakeups, "touch_readings", lambda *args: None)


def settlement_during_an_async_gate_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Dependencies, "concerns", lambda *args: False)


def second_of_several_services_is_not_taken(patch: pytest.MonkeyPatch) -> None:
    def acquire(self: RunQueue, now: float, work: runcue.Work) -> None:
        self.services[0].active += 1
        for rate in self._rates:
            rate.acquire(now, work)

    def release(self: RunQueue, now: float, work: runcue.Work) -> None:
        self.services[0].active -= 1

    patch.setattr(RunQueue, "acquire", acquire)
    patch.setattr(RunQueue, "release", release)


def second_of_several_services_is_not_given_back(patch: pytest.MonkeyPatch) -> None:
    def release(self: RunQueue, now: float, work: runcue.Work) -> None:
        self.services[0].active -= 1

    patch.setattr(RunQueue, "release", release)


def async_gate_takes_the_first_of_several_services_alone(patch: pytest.MonkeyPatch) -> None:
    def hold_slot(awaited: AwaitedGate) -> None:
        run_queue: RunQueue = awaited.work._task.run_queue
        run_queue.services[0].acquire_slot()
        for service in run_queue.services[1:]:
            service.active += 0
        run_queue.asking += 1
        awaited.holds = True

    def give_back(self: AwaitedGates, awaited: AwaitedGate, *, hit: bool) -> None:
        holds, awaited.holds = awaited.holds, False
        whole(self, awaited, hit=hit)
        if holds:
            awaited.work._task.run_queue.services[0].release_slot()
            awaited.work._task.run_queue.asking -= 1

    whole = AwaitedGates._give_back
    patch.setattr(AwaitedGates, "_hold_slot", staticmethod(hold_slot))
    patch.setattr(AwaitedGates, "_give_back", give_back)


def slot_is_given_back_before_the_thread_is_through(patch: pytest.MonkeyPatch) -> None:
    timed_out = Endings.timed_out

    def hasty(self: Endings, work: runcue.Work, now: float) -> None:
        timed_out(self, work, now)
        if work._phase == SETTLED:
            self._in_flight.release(work, now)

    patch.setattr(Endings, "timed_out", hasty)


def callback_never_returns(patch: pytest.MonkeyPatch) -> None:
    spend = Rechecker.follow_settlements

    def endless(self: Rechecker, until: float) -> bool:
        while self._core.settlements == 2:
            pass
        return spend(self, until)

    patch.setattr(Rechecker, "follow_settlements", endless)


def _again(patch: pytest.MonkeyPatch, change: Callable[[Again, float], Again]) -> None:
    """Puts work units back in another way than was decided and told."""
    put_back = returning.put_back

    def otherwise(core: Core, work: runcue.Work, again: Again, now: float) -> None:
        put_back(core, work, change(again, now), now)

    patch.setattr(endings, "put_back", otherwise)


def next_attempt_comes_too_early(patch: pytest.MonkeyPatch) -> None:
    _again(patch, lambda again, now: again._replace(at=now + 0.9 * (again.at - now)))


def who_comes_back_is_lost(patch: pytest.MonkeyPatch) -> None:
    pop_due, count = Deadlines.pop_due, itertools.count(1)

    def lossy(self: Deadlines[Any], now: float) -> Any:
        key = pop_due(self, now)
        if isinstance(key, runcue.Work) and key._phase == NOT_DUE and next(count) % 3 == 0:
            return pop_due(self, now)
        return key

    patch.setattr(Deadlines, "pop_due", lossy)


def slot_is_held_between_attempts(patch: pytest.MonkeyPatch) -> None:
    put_back, take_back = returning.put_back, returning.take_back
    held: dict[Core, list[Any]] = {}

    def greedy(core: Core, work: runcue.Work, again: Again, now: float) -> None:
        put_back(core, work, again, now)
        for service in work._task.run_queue.services:
            service.acquire_slot()
            held.setdefault(core, []).append(service)

    def generous(core: Core, now: float, most: int) -> int:
        kept = take_back(core, now, most)
        for service in held.pop(core, ()) if kept else ():
            service.release_slot()
        return kept

    patch.setattr(endings, "put_back", greedy)
    patch.setattr(delays, "take_back", generous)


def _later(patch: pytest.MonkeyPatch, change: Callable[[Again, FailedAttempt], Settle | Again]) -> None:
    decide = Retrying.decide

    def otherwise(self: Retrying, ended: FailedAttempt) -> Settle | Again:
        decision = decide(self, ended)
        if isinstance(decision, Again) and decision.is_postponed:
            return change(decision, ended)
        return decision

    patch.setattr(Retrying, "decide", otherwise)


def later_counts_as_an_attempt(patch: pytest.MonkeyPatch) -> None:
    _later(patch, lambda again, ended: again._replace(counts=True, reason="failed"))


def later_is_at_once(patch: pytest.MonkeyPatch) -> None:
    _later(patch, lambda again, ended: again._replace(at=ended.now))


def who_goes_on_later_is_heard_to_begin_anew(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Again, "is_same_attempt", False)


def handler_whose_time_is_over_is_waited_for_without_end(patch: pytest.MonkeyPatch) -> None:
    await_return = Endings._await_return
    patch.setattr(
        Endings,
        "_await_return",
        lambda self, work, overrun, until: await_return(self, work, overrun, until + 1000),
    )


def next_attempt_does_not_wait_for_the_handler_whose_time_is_over(patch: pytest.MonkeyPatch) -> None:
    def hasty(self: Endings, work: runcue.Work, overrun: Overrun, until: float) -> None:
        now = self._turns.now()
        self._in_flight.release(work, now)
        self._put_back(work, overrun.again, overrun.error, now, 0.0)

    patch.setattr(Endings, "_await_return", hasty)


def timeout_of_a_submission_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runcue.Work, "_timeout", property(lambda work: work._task._timeout))


def delay_is_too_short(patch: pytest.MonkeyPatch) -> None:
    set_one = Appointments.set

    def hasty(self: Appointments, work: runcue.Work, appointment: Appointment) -> None:
        delay = 0.0 if work._overrides is None else work._overrides.delay or 0.0
        set_one(self, work, appointment._replace(at=appointment.at - 0.1 * delay))

    patch.setattr(Appointments, "set", hasty)


def who_is_for_later_is_lost(patch: pytest.MonkeyPatch) -> None:
    pop_due, count = Appointments.pop_due, itertools.count(1)

    def lossy(self: Appointments, now: float, wall: float) -> Any:
        work = pop_due(self, now, wall)
        return pop_due(self, now, wall) if work is not None and next(count) % 3 == 0 else work

    patch.setattr(Appointments, "pop_due", lossy)


def who_joins_what_is_for_later_waits_for_its_instant(patch: pytest.MonkeyPatch) -> None:
    def join(core: Core, work: runcue.Work, leader: runcue.Work, *rest: Any) -> None:
        if core.waits_for_appointment(leader):
            follow(work, leader)
            core.add(work, rest[1])
        else:
            join_at_once(core, work, leader, *rest)

    join_at_once = later.join
    patch.setattr(intake, "join", join)


PLANTS: dict[Plant, set[str]] = {
    rate_allows_one_too_many: {"rate"},
    token_is_stamped_too_early: {"rate"},
    slots_allow_one_too_many: {"slots"},
    slot_is_given_back_before_the_handler_is_through: {"slots"},
    slot_is_not_given_back: {"prompt"},
    every_seventh_wake_up_is_forgotten: {"prompt", "timeout"},
    settlement_wakes_nobody: {"prompt"},
    listener_hears_twice: {"once"},
    gate_is_not_asked_again_before_the_start: {"ready", "twice"},
    work_that_is_up_to_date_runs: {"twice"},
    input_that_is_being_made_is_not_waited_for: {"ready"},
    work_is_lost_on_submission: {"prompt", "skipped", "once"},
    who_has_joined_is_forgotten: {"ready", "drained", "once", "prompt"},
    what_is_older_than_its_inputs_counts_as_up_to_date: {"unproved"},
    raising_is_stale_counts_as_up_to_date: {"unproved"},
    timeout_never_strikes: {"timeout"},
    drain_ends_too_early: {"lost", "drained", "once", "cause"},
    scheduler_fails: {"sound"},
    callback_of_the_loop_raises: {"sound"},
    drain_raises: {"sound"},
    loop_spins: {"ends"},
    timer_comes_again_for_ever: {"ends"},
    callback_never_returns: {"ends"},
    next_attempt_comes_too_early: {"early"},
    who_comes_back_is_lost: {"prompt", "drained"},
    slot_is_held_between_attempts: {"prompt", "slots"},
    later_counts_as_an_attempt: {"attempts"},
    later_is_at_once: {"attempts"},
    who_goes_on_later_is_heard_to_begin_anew: {"attempts"},
    handler_whose_time_is_over_is_waited_for_without_end: {"timeout"},
    next_attempt_does_not_wait_for_the_handler_whose_time_is_over: {"once"},
    timeout_of_a_submission_is_ignored: {"timeout"},
    delay_is_too_short: {"early"},
    who_is_for_later_is_lost: {"drained", "prompt", "once"},
    who_joins_what_is_for_later_waits_for_its_instant: {"prompt"},
}


OF_SERVICES: dict[Plant, set[str]] = {
    nudge_wakes_nobody: {"prompt", "lost"},
    nudge_of_one_thing_wakes_nobody_who_looked_unseen: {"prompt"},
    nudge_while_all_are_asked_comes_too_late: {"prompt"},
    nudge_during_an_async_gate_is_forgotten: {"prompt"},
    touch_during_an_async_gate_is_forgotten: {"prompt"},
    settlement_during_an_async_gate_is_forgotten: {"prompt"},
    second_of_several_services_is_not_taken: {"slots"},
    second_of_several_services_is_not_given_back: {"prompt"},
    async_gate_takes_the_first_of_several_services_alone: {"slots"},
    slot_is_given_back_before_the_thread_is_through: {"slots", "ready", "lane"},
}
"""What shows where a task uses several services, is told of changes from outside and has plain handlers."""


OF_OTHER_SEEDS: dict[Plant, Iterable[int]] = {
    what_is_older_than_its_inputs_counts_as_up_to_date: range(40, 80),
    who_joins_what_is_for_later_waits_for_its_instant: range(60, 100),
}
"""What does not show in the first ones, or in a trial that does not become small."""


LAST_FOUND_WITH: dict[Plant, int] = {
    slot_is_given_back_before_the_handler_is_through: 11,
    gate_is_not_asked_again_before_the_start: 10,
    input_that_is_being_made_is_not_waited_for: 13,
    who_has_joined_is_forgotten: 38,
    callback_never_returns: 15,
    who_joins_what_is_for_later_waits_for_its_instant: 74,
    nudge_during_an_async_gate_is_forgotten: 18,
    touch_during_an_async_gate_is_forgotten: 8,
    settlement_during_an_async_gate_is_forgotten: 22,
    slot_is_given_back_before_the_thread_is_through: 25,
}
"""Seeds that are tried first, to save the time of those before them. If one shows nothing any more, all are tried."""


@pytest.fixture(autouse=True)
def _time_to_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found is made as small as it can be, however slow this machine is."""
    monkeypatch.setattr("runcue_sim._chaos.shrinking._SECONDS", 600.0)


@pytest.mark.parametrize("plant", PLANTS | OF_SERVICES, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_found_and_shown(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    seeds: Iterable[int] = SEEDS
    seeds, scenarios = (range(1000), ["services"]) if plant in OF_SERVICES else (seeds, OTHERS)
    if plant in OF_OTHER_SEEDS:
        seeds = OF_OTHER_SEEDS[plant]
    if (
        plant is who_has_joined_is_forgotten
    ):  # no stop that cuts off would ever end, and that would be found first
        seeds = [seed for seed in seeds if not any("stop" in trial_of(seed, one).kinds for one in scenarios)]
    if plant in LAST_FOUND_WITH:
        seeds = (LAST_FOUND_WITH[plant], *seeds)
    with without_collector():  # what never returns takes all the patience there is, so there is little of it
        report = check(seeds, scenarios, enough=1, patience=0.3 if plant is callback_never_returns else 5.0)
    assert not report.ok
    [found] = report.found
    violation = found.outcome.violation
    assert violation is not None
    assert violation.invariant in (PLANTS | OF_SERVICES)[plant], violation
    text = report.text()
    assert f"seed {found.seed}: {INVARIANTS[violation.invariant]}\n  {violation.text}\n" in text
    assert f"runcue-sim --check 1 --seed {found.seed}\n" in text
    shown = relevant(found.outcome)
    assert 1 <= len(shown) <= 30
    assert all(entry.line() in text for entry in shown)
    monkeypatch.undo()
    assert check([found.seed], [found.outcome.trial.scenario]).ok


def test_the_seed_alone_repeats_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    work_that_is_up_to_date_runs(monkeypatch)
    first = check(SEEDS, enough=1)
    again = check([first.found[0].seed])
    assert again.found[0].text() == first.found[0].text()


def test_a_mistake_that_shows_in_another_order_alone_is_told_with_its_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stale = DeclaredGate.is_stale
    work_that_is_up_to_date_runs(monkeypatch)
    always = DeclaredGate.is_stale

    def in_another_order(
        self: DeclaredGate, work: runcue.Work, declared: Any, *, defers: bool = False
    ) -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        return (stale if loop._order is None else always)(self, work, declared, defers=defers)

    monkeypatch.setattr(DeclaredGate, "is_stale", in_another_order)
    report = check(SEEDS)
    assert {found.seed % 2 for found in report.found} == {1}
    for found in report.found:
        assert found.outcome.trial.order == found.seed
        assert f", shuffled by seed {found.seed}; " in found.text()
        assert f"runcue-sim --check 1 --seed {found.seed}\n" in found.text()


def test_a_run_that_is_no_check_is_repeated_by_a_command_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    work_that_is_up_to_date_runs(monkeypatch)
    outcome = run_trial(Trial(7, "pipeline", kinds=frozenset({"death"})))
    assert outcome.violation is not None
    assert (
        "  repeat it: runcue-sim --faults --seed 7\n"
        in shrink(7, outcome, command="runcue-sim --faults --seed 7").text()
    )


def test_the_log_that_is_shown_is_shorter_than_the_one_that_was_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots_allow_one_too_many(monkeypatch)
    [found] = check(SEEDS, enough=1).found
    original = run_trial(trial_of(found.seed, found.outcome.trial.scenario))
    assert original.violation is not None
    assert len(found.outcome.event_log) < len(original.event_log)
    assert found.outcome.trial.kinds == frozenset()
    # No simpler trial shows it.
    for trial in smaller_than(found.outcome.trial):
        tried = run_trial(trial)
        assert tried.violation is None or len(tried.event_log) > len(found.outcome.event_log)


def test_a_check_ends_after_enough_violations_and_tells_of_its_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work_that_is_up_to_date_runs(monkeypatch)
    progress: list[int] = []
    report = check(SEEDS, ["pipeline"], enough=2, progress=progress.append)
    assert len(report.found) == 2
    assert progress == list(range(1, report.seeds + 1))
    assert report.seeds < len(SEEDS)


def test_a_long_log_is_cut_to_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    gate_is_not_asked_again_before_the_start(monkeypatch)
    outcomes = (
        run_trial(trial_of(seed, "fanout")) for seed in itertools.count(200)
    )  # none before has so many
    outcome = next(one for one in outcomes if one.violation is not None and len(one.event_log) > 60)
    assert outcome.violation is not None
    shown = relevant(outcome)
    assert len(shown) < len(outcome.event_log)
    assert set(outcome.violation.works) <= {entry.work_id for entry in shown}
    # Who works on other things is shown only at the instant of the violation itself.
    concerned = {name for work in outcome.violation.works for name in itertools.chain(*outcome.ties[work])}
    others = {work for work, ties in outcome.ties.items() if not concerned & set(itertools.chain(*ties))}
    assert {entry.at for entry in shown if entry.work_id in others} <= {shown[-1].at}
    assert Found(0, outcome).text().endswith("entries about other work units left out)")
