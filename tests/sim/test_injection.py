"""Which faults strike whom, by seed, and how they are brought about."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import runcue
from runcue_sim._chaos import injection
from runcue_sim._chaos.faults import KINDS, Faults, Manner
from runcue_sim._chaos.injection import FaultyStage
from runcue_sim._engine.world import World
from runcue_sim._pipelines.scenarios import SCENARIOS, Settings
from runcue_sim._records.event_log import Trace
from runcue_sim._workload.latency import Constant, Model
from runcue_sim._workload.luck import Luck


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
