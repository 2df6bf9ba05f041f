"""One trial: through deaths and rebirths, with equal logs for equal seeds, and nothing of it is left behind."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import runcue
from runcue_sim._chaos.faults import KINDS, Faults
from runcue_sim._chaos.seeds import trial_of
from runcue_sim._chaos.trial import Trial, run_trial
from runcue_sim._pipelines.scenarios import SCENARIOS
from runcue_sim._records.event_log import Trace
from tests.support.programs import but_for_slowness, run_python


def test_equal_seeds_give_equal_logs() -> None:
    for seed in range(5):
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
        assert but_for_slowness(done.stderr) == ""
        outputs.add(done.stdout)
    assert len(outputs) == 1


def test_another_order_makes_another_log() -> None:
    trial = Trial(1, "fanout", count=3, concurrent=4)
    logs = {
        tuple(entry.line() for entry in run_trial(replace(trial, order=order)).event_log)
        for order in (None, *range(10))
    }
    assert len(logs) > 5


def test_nothing_is_printed_or_logged(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    wild = frozenset(KINDS)
    for seed in range(5):
        run_trial(Trial(seed, "dynamic", count=2, kinds=wild, share=0.5, lives=3, timeout=0.5))
    assert capfd.readouterr() == ("", "")
    # In development mode asyncio tells of each step that takes long, and here some do, on the virtual clock.
    assert not [record for record in caplog.records if record.name != "asyncio"]


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


def test_who_was_not_ready_at_its_turn_and_then_waits_for_its_key_stands_in_line_once() -> None:
    # It was counted twice by those that are kept by their keys, and the scheduler failed.
    assert run_trial(trial_of(523370, "services")).violation is None


def test_handlers_that_hang_for_long_while_others_look_each_second_are_no_run_without_end() -> None:
    assert run_trial(trial_of(746879, "dynamic")).violation is None
