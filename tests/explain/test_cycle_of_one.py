"""A work unit that needs what only it makes: told unasked, when asked, and by `cue.plan()`, as one of several is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import runcue
from tests.support.virtual_time import virtual


class Ear(runcue.Observer):
    def __init__(self) -> None:
        self.warnings: list[runcue.abc.CueWarning] = []

    def warned(self, warning: runcue.abc.CueWarning) -> None:
        self.warnings.append(warning)


def cue_of(ear: Ear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> runcue.Cue:
    monkeypatch.chdir(tmp_path)
    cue = runcue.Cue(id_prefix="")
    cue.observe(ear)
    cue.task("a", inputs="A", outputs="A")(lambda work: None)
    cue.task("b", inputs="A", outputs="B")(lambda work: None)
    return cue


@virtual
async def test_it_is_told_within_a_second_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear()
    cue = cue_of(ear, tmp_path, monkeypatch)
    async with cue:
        one = await cue.submit("a")
        await cue.submit("b")
        await asyncio.sleep(1)
        [warning] = ear.warnings
        assert warning.kind == "cycle"
        assert warning.text == (
            "Cycle: a 1 needs File('A'), which only it makes: it can never run. Take File('A') out of its inputs or "
            "out of its outputs; cue.plan() finds this beforehand"
        )
        assert cue.why(one).verdict == "cycle"
        await asyncio.sleep(10)
        assert len(ear.warnings) == 1
        await cue.stop(drain=False)


@virtual
async def test_a_plan_names_it_among_its_cycles_and_who_is_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cue = cue_of(Ear(), tmp_path, monkeypatch)
    plan = cue.plan(["a", "b"])
    assert [str(cycle) for cycle in plan.cycles] == ["a #1 needs File('A'), which only it makes"]
    assert [work.task for work in plan.blocked] == ["a", "b"]
    assert "1 cycle" in str(plan)
    assert "nothing planned makes it" not in str(plan)


@virtual
async def test_who_finds_what_it_needs_there_is_no_cycle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear()
    cue = cue_of(ear, tmp_path, monkeypatch)
    (tmp_path / "A").touch()
    assert cue.plan(["a"]).cycles == ()
    async with cue:
        await cue.submit("a")
        await asyncio.sleep(1)
    assert [warning for warning in ear.warnings if warning.kind == "cycle"] == []
