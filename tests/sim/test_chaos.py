"""`--check`: over many seeds nothing is found; whatever is planted in the library is, with its seed and a short log."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import runcue
from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.verdicts import RUN, GateVerdict
from runcue._dispatch.dispatcher import Dispatcher
from runcue._freshness.newer import Newer
from runcue._lifecycle.stopping import Stopping
from runcue._limits.service import Service
from runcue._model.phases import READY
from runcue._scheduling.core import Core
from runcue._scheduling.rechecking import Rechecker
from runcue._scheduling.run_queue import RunQueue
from runcue.testing import VirtualTimeLoop
from runcue_sim._chaos import injection
from runcue_sim._chaos.campaign import Report, check
from runcue_sim._chaos.faults import KINDS, Faults, Manner
from runcue_sim._chaos.injection import FaultyStage
from runcue_sim._chaos.invariants import INVARIANTS
from runcue_sim._chaos.seeds import trial_of
from runcue_sim._chaos.shrinking import Found, relevant, shrink, smaller_than
from runcue_sim._chaos.trial import Trial, run_trial
from runcue_sim._engine.world import World
from runcue_sim._pipelines.scenarios import SCENARIOS, Settings
from runcue_sim._records.event_log import Trace
from runcue_sim._workload.latency import Constant, Model
from runcue_sim._workload.luck import Luck
from tests.support.programs import run_python

SEEDS = range(40)


@pytest.fixture(scope="module")
def report() -> Report:
    return check(SEEDS)


def test_over_many_seeds_nothing_is_found(report: Report) -> None:
    assert report.ok, report.text()
    assert report.found == []
    assert report.trials == len(SEEDS) * len(SCENARIOS)
    assert report.text().endswith("no violation\n")


def test_every_second_seed_is_run_in_another_order_and_the_report_says_how_many(report: Report) -> None:
    assert report.shuffled == report.trials // 2
    assert f": {report.trials} runs ({report.shuffled} in shuffled order), " in report.text()
    assert [trial_of(seed, "fanout").order for seed in range(4)] == [None, 1, None, 3]
    assert "shuffled" not in check([0], ["fanout"]).text()


def test_another_order_makes_another_log() -> None:
    trial = Trial(1, "fanout", count=3, concurrent=4)
    logs = {
        tuple(entry.line() for entry in run_trial(replace(trial, order=order)).event_log)
        for order in (None, *range(10))
    }
    assert len(logs) > 5


def test_each_kind_of_fault_strikes_and_each_end_is_met(report: Report) -> None:
    assert {kind for kind, number in report.faults.items() if number} == set(KINDS) - {"death"}
    assert report.deaths > 20
    assert set(report.settled) == {"completed", "skipped", "failed", "cancelled"}
    assert min(report.settled.values()) > 100


def test_equal_seeds_give_equal_logs() -> None:
    for seed in range(10):
        for scenario in SCENARIOS:
            logs = [
                [entry.line() for entry in run_trial(trial_of(seed, scenario)).event_log] for _ in range(2)
            ]
            assert logs[0] == logs[1]
            assert logs[0]


def test_logs_are_equal_in_another_process_with_another_order_of_sets() -> None:
    code = (
        "from hashlib import blake2b\n"
        "from runcue_sim._chaos.trial import run_trial\n"
        "from runcue_sim._chaos.seeds import trial_of\n"
        "lines = [entry.line() for seed in range(8) for name in ('fanout', 'dynamic')"
        " for entry in run_trial(trial_of(seed, name)).event_log]\n"
        "print(len(lines), blake2b('\\n'.join(lines).encode()).hexdigest())"
    )
    outputs = set()
    for seed in ("1", "2"):
        done = run_python("-W", "error", "-c", code, env={"PYTHONHASHSEED": seed}, check=True)
        assert done.stderr == ""
        outputs.add(done.stdout)
    assert len(outputs) == 1


def test_nothing_is_printed_or_logged(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    wild = frozenset(KINDS)
    for seed in range(5):
        run_trial(Trial(seed, "dynamic", count=2, kinds=wild, share=0.5, lives=3, timeout=0.5))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def dying(seed: int, scenario: str) -> Trial:
    return Trial(seed, scenario, count=3, kinds=frozenset({"death"}), lives=3)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_process_dies_several_times_and_all_is_made_in_the_end(scenario: str) -> None:
    deaths = 0
    for seed in range(10):
        outcome = run_trial(dying(seed, scenario))
        assert outcome.violation is None
        assert outcome.lives == 4
        deaths += outcome.deaths
        events = Counter(entry.event for entry in outcome.event_log)
        assert events["died"] == outcome.deaths
    assert deaths > 10


def test_nothing_is_heard_of_a_dead_process_and_time_goes_on() -> None:
    for seed in range(10):
        outcome = run_trial(dying(seed, "pipeline"))
        life = 1
        at = 0.0
        for entry in outcome.event_log:
            assert entry.at >= at
            at = entry.at
            if entry.work_id:
                now = int(entry.work_id.partition(".")[0])
                assert now >= life
                life = now
            elif entry.event == "died":
                life += 1


def test_what_a_dead_process_still_does_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # Handlers that go on when they are cancelled make their proofs while the dead process is cleared away.
    monkeypatch.setattr(Faults, "lingering", lambda *args: None)
    monkeypatch.setattr(Faults, "death", lambda self, events: 5 if self._life == 1 else None)
    trial = Trial(1, "single_queue", count=2, kinds=frozenset({"death", "hang"}), share=0.0)
    outcome = run_trial(trial)
    assert outcome.violation is None
    events = [(entry.event, entry.work_id) for entry in outcome.event_log]
    assert [event for event in events if event[0] in ("started", "died")] == [
        ("started", "1.1"),
        ("started", "1.2"),
        ("died", ""),
        ("started", "2.1"),
        ("started", "2.2"),
    ]


def test_an_onlooker_is_told_of_each_life_and_of_each_entry() -> None:
    told: list[Any] = []
    lives: list[str] = []

    def on_life(cue: runcue.Cue, trace: Trace) -> Callable[[], object]:
        number = len(lives) // 2 + 1
        lives.append(f"life {number} of {len(cue.tasks())} tasks")
        assert trace
        return lambda: lives.append(f"end {number}")

    outcome = run_trial(dying(3, "pipeline"), tell=told.append, on_life=on_life)
    assert told == outcome.event_log
    assert lives == [
        f"{what}" for number in range(1, 5) for what in (f"life {number} of 3 tasks", f"end {number}")
    ]


Plant = Callable[[pytest.MonkeyPatch], None]


def rate_allows_one_too_many(patch: pytest.MonkeyPatch) -> None:
    def has_token(self: Service, now: float) -> bool:
        if self.rate is None:
            return True
        while self.recent_starts and now - self.recent_starts[0] >= self.rate.period:
            self.recent_starts.popleft()
        return len(self.recent_starts) + self.reserved <= self.rate.count

    patch.setattr(Service, "has_token", has_token)


def token_is_stamped_too_early(patch: pytest.MonkeyPatch) -> None:
    stamp = Service.record_start
    patch.setattr(Service, "record_start", lambda self, entered, told=None: stamp(self, entered - 0.3, told))


def slots_allow_one_too_many(patch: pytest.MonkeyPatch) -> None:
    look, free = RunQueue.look_at_limits, RunQueue.free_slots

    def look_at_limits(self: RunQueue) -> None:
        look(self)
        self.sole_slots = None

    def has_room(self: RunQueue, now: float) -> bool:
        return all(one.active <= one.concurrent and one.has_token(now) for one in self.services)

    patch.setattr(RunQueue, "look_at_limits", look_at_limits)
    patch.setattr(RunQueue, "has_room", has_room)
    patch.setattr(RunQueue, "free_slots", lambda self: free(self) + 1)


def slot_is_given_back_before_the_handler_is_through(patch: pytest.MonkeyPatch) -> None:
    cancel = Dispatcher.cancel

    def hasty(self: Dispatcher, work: runcue.Work) -> bool:
        outcome = cancel(self, work)
        self._release(work)
        return outcome

    patch.setattr(Dispatcher, "cancel", hasty)


def slot_is_not_given_back(patch: pytest.MonkeyPatch) -> None:
    release, count = Dispatcher._release, itertools.count(1)

    def leaky(self: Dispatcher, work: runcue.Work) -> None:
        if next(count) % 5:
            release(self, work)
        else:
            self.running.pop(work, None)

    patch.setattr(Dispatcher, "_release", leaky)


def every_seventh_wake_up_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    wake, count = Dispatcher.wake, itertools.count(1)
    patch.setattr(Dispatcher, "wake", lambda self: wake(self) if next(count) % 7 else None)


def settlement_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    touch, count = Core.touch, itertools.count(1)

    def deaf(self: Core, key: Any, *, settled: bool = False) -> bool:
        return False if settled and next(count) % 3 == 0 else touch(self, key, settled=settled)

    patch.setattr(Core, "touch", deaf)


def listener_hears_twice(patch: pytest.MonkeyPatch) -> None:
    emit, count = Callbacks.emit, itertools.count(1)

    def stutter(self: Callbacks, listeners: Any, *args: Any) -> float:
        if next(count) % 11 == 0:
            emit(self, listeners, *args)
        return emit(self, listeners, *args)

    patch.setattr(Callbacks, "emit", stutter)


def gate_is_not_asked_again_before_the_start(patch: pytest.MonkeyPatch) -> None:
    ask = Callbacks.ask

    def lazy(self: Callbacks, work: runcue.Work, began: float) -> Any:
        if work._phase == READY and work._approved_in >= 0:
            self.at = began
            return RUN
        return ask(self, work, began)

    patch.setattr(Callbacks, "ask", lazy)


def work_that_is_up_to_date_runs(patch: pytest.MonkeyPatch) -> None:
    def stale(self: Callbacks, work: runcue.Work, declared: Any) -> bool:
        declared.was = []
        declared.stale = ("missing", declared.outputs[0], None)
        return True

    patch.setattr(Callbacks, "_is_stale", stale)


def input_that_is_being_made_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    ask = Callbacks._ask_inputs

    def hasty(self: Callbacks, work: runcue.Work, declared: Any) -> GateVerdict:
        producer_of, self.producer_of = self.producer_of, {}
        try:
            return ask(self, work, declared)
        finally:
            self.producer_of = producer_of

    patch.setattr(Callbacks, "_ask_inputs", hasty)
    patch.setattr(Core, "hold_if_being_made", lambda *args: False)


def work_is_lost_on_submission(patch: pytest.MonkeyPatch) -> None:
    add, count = Core.add, itertools.count(1)

    def forgetful(self: Core, work: runcue.Work, now: float) -> None:
        add(self, work, now)
        new = work._task.run_queue.new
        if next(count) % 9 == 0 and new and new[-1] is work:
            new.pop()

    patch.setattr(Core, "add", forgetful)


def who_has_joined_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Dispatcher, "_tell_others", lambda *args: None)


def what_is_older_than_its_inputs_counts_as_up_to_date(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Newer, "stale", lambda self, work: None)


def raising_is_stale_counts_as_up_to_date(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Callbacks, "_stale_raised", lambda self, work, error: GateVerdict.SKIP)


def timeout_never_strikes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Dispatcher, "_limit", lambda *args: None)


def drain_ends_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Stopping, "_at_rest", lambda self: not self._dispatcher.running)


def scheduler_fails(patch: pytest.MonkeyPatch) -> None:
    start, count = Core.start, itertools.count(1)

    def broken(self: Core, *args: Any) -> None:
        if next(count) % 20 == 0:
            raise ZeroDivisionError("planted")
        start(self, *args)

    patch.setattr(Core, "start", broken)


def loop_spins(patch: pytest.MonkeyPatch) -> None:
    pump = Dispatcher._pump

    def restless(self: Dispatcher) -> None:
        pump(self)
        self.wake()

    patch.setattr(Dispatcher, "_pump", restless)


def timer_comes_again_for_ever(patch: pytest.MonkeyPatch) -> None:
    arm = Dispatcher._arm

    def alarm(self: Dispatcher) -> None:
        self.timers.active.set("again", self.now() + 1)
        arm(self)

    patch.setattr(Dispatcher, "_arm", alarm)
    patch.setattr(Stopping, "_at_rest", lambda self: False)


def callback_of_the_loop_raises(patch: pytest.MonkeyPatch) -> None:
    def broken(self: Dispatcher) -> None:
        self._in_slice = False
        if self.core.settlements:
            raise ZeroDivisionError("planted")

    patch.setattr(Dispatcher, "_end_slice", broken)


def drain_raises(patch: pytest.MonkeyPatch) -> None:
    async def broken(self: Stopping) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("planted")

    patch.setattr(Stopping, "rest", broken)


def callback_never_returns(patch: pytest.MonkeyPatch) -> None:
    spend = Rechecker.follow_settlements

    def endless(self: Rechecker, until: float) -> bool:
        while self._core.settlements == 2:
            pass
        return spend(self, until)

    patch.setattr(Rechecker, "follow_settlements", endless)


PLANTS: dict[Plant, set[str]] = {
    rate_allows_one_too_many: {"rate"},
    token_is_stamped_too_early: {"rate"},
    slots_allow_one_too_many: {"slots"},
    slot_is_given_back_before_the_handler_is_through: {"slots"},
    slot_is_not_given_back: {"prompt"},
    every_seventh_wake_up_is_forgotten: {"prompt"},
    settlement_wakes_nobody: {"prompt"},
    listener_hears_twice: {"once"},
    gate_is_not_asked_again_before_the_start: {"ready", "twice"},
    work_that_is_up_to_date_runs: {"twice"},
    input_that_is_being_made_is_not_waited_for: {"ready"},
    work_is_lost_on_submission: {"prompt", "skipped", "once"},
    who_has_joined_is_forgotten: {"ready", "drained", "once"},
    what_is_older_than_its_inputs_counts_as_up_to_date: {"unproved"},
    raising_is_stale_counts_as_up_to_date: {"unproved"},
    timeout_never_strikes: {"timeout"},
    drain_ends_too_early: {"lost", "drained"},
    scheduler_fails: {"sound"},
    callback_of_the_loop_raises: {"sound"},
    drain_raises: {"sound"},
    loop_spins: {"ends"},
    timer_comes_again_for_ever: {"ends"},
    callback_never_returns: {"ends"},
}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_found_and_shown(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    report = check(SEEDS, enough=1, patience=0.15 if plant is callback_never_returns else 5.0)
    assert not report.ok
    [found] = report.found
    violation = found.outcome.violation
    assert violation is not None
    assert violation.invariant in PLANTS[plant], violation
    text = report.text()
    assert f"seed {found.seed}: {INVARIANTS[violation.invariant]}\n  {violation.text}\n" in text
    assert f"runcue-sim --check 1 --seed {found.seed}\n" in text
    shown = relevant(found.outcome)
    assert 1 <= len(shown) <= 30
    assert all(entry.line() in text for entry in shown)
    monkeypatch.undo()
    assert check([found.seed], [found.outcome.trial.scenario]).ok


def test_the_seed_alone_repeats_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    gate_is_not_asked_again_before_the_start(monkeypatch)
    first = check(SEEDS, enough=1)
    again = check([first.found[0].seed])
    assert again.found[0].text() == first.found[0].text()


def test_a_mistake_that_shows_in_another_order_alone_is_told_with_its_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stale = Callbacks._is_stale
    work_that_is_up_to_date_runs(monkeypatch)
    always = Callbacks._is_stale

    def in_another_order(self: Callbacks, work: runcue.Work, declared: Any) -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        return (stale if loop._order is None else always)(self, work, declared)

    monkeypatch.setattr(Callbacks, "_is_stale", in_another_order)
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
    outcomes = (run_trial(trial_of(seed, "fanout")) for seed in itertools.count())
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


def test_a_trial_can_be_run_in_a_thread_where_no_signal_comes() -> None:
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(run_trial(trial_of(1, "pipeline"))))
    thread.start()
    thread.join()
    assert outcomes[0].violation is None


def test_the_signals_of_the_program_are_as_before() -> None:
    import signal

    before = signal.getsignal(signal.SIGVTALRM)
    run_trial(trial_of(1, "pipeline"))
    assert signal.getsignal(signal.SIGVTALRM) is before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_faults_can_be_had_on_a_real_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(injection, "BLOCK", 0.001)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    entries: list[Any] = []

    async def main() -> FaultyStage:
        faults = Faults(Luck(3), {"raise", "gate-block", "listener-raise"}, share=0.5, pace=0.001)
        cue = runcue.Cue()
        model = Model(Luck(3), latency=Constant(0.001))
        stage = FaultyStage(cue, World(), model, Settings(count=20), Trace(entries.append), faults)
        scenario = SCENARIOS["single_queue"](stage)
        scenario.describe()
        stage.inject_into(scenario)
        async with cue:
            await scenario.submit()
        return stage

    stage = asyncio.run(main())
    assert set(stage.injected.counts) == {"raise", "gate-block", "listener-raise"}
    assert slept == [injection.BLOCK] * stage.injected.counts["gate-block"]
    assert len(entries) == stage.injected.counts.total()
    assert {entry.event for entry in entries} == {"fault"}


def test_leaving_a_kind_of_fault_out_leaves_the_others_as_they_are() -> None:
    everything = Faults(Luck(5), share=0.3)
    less = Faults(Luck(5), set(KINDS) - {"hang", "death"}, share=0.3)
    for item in map(str, range(50)):
        blow = everything.blow("task", item, 0)
        assert blow is None or blow.kind == "hang" or blow == less.blow("task", item, 0)
        assert everything.cancels("task", item, 0) == less.cancels("task", item, 0)
        assert everything.gate_raises("ready", "task", item, 0) == less.gate_raises("ready", "task", item, 0)
        assert everything.change(item, 1) == less.change(item, 1)
    assert less.death(10) is None


def test_another_life_has_other_faults() -> None:
    first, second = (Faults(Luck(5), share=0.3, life=life) for life in (1, 2))
    items = [str(number) for number in range(50)]
    assert [first.cancels("t", item, 0) for item in items] != [second.cancels("t", item, 0) for item in items]


def test_a_service_is_away_from_one_instant_to_another() -> None:
    faults = [Faults(Luck(seed), {"outage"}) for seed in range(20)]
    windows = [[at / 100 for at in range(2000) if one.away("api", at / 100) is not None] for one in faults]
    assert any(windows)
    assert not all(windows)
    for one, window in zip(faults, windows, strict=True):
        if window:
            assert window == pytest.approx([window[0] + n / 100 for n in range(len(window))])
            left = one.away("api", window[0])
            assert left == pytest.approx(window[-1] - window[0], abs=0.011)


def test_no_kinds_no_faults() -> None:
    faults = Faults(Luck(1), (), share=1.0)
    assert faults.blow("t", "i", 0) is None
    assert faults.cancels("t", "i", 0) is None
    assert faults.again("t", "i", 0) is None
    assert faults.away("api", 0.0) is None
    assert faults.change("i", 1) is None
    assert faults.death(10) is None
    assert faults.lingering("t", "i", 0) == 0.0
    assert not faults.gate_raises("ready", "t", "i", 0)
    assert not faults.listener_raises("start", "t", "i", 0)
    assert not any(faults.blocks(what, "t", "i", 0) for what in ("ready", "stale", "priority", "start"))
    assert Manner() == faults.manner("ready", "t") == faults.manner("start", "")
