"""The report tells for how long and how often nothing of a service could start: refusals, open breakers, pauses."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

import pytest

from runcue_sim._commands.main import main
from runcue_sim._records.holds import BROKEN, PAUSED, REFUSED, Held, Holds, Span

PROGRAM = """
import asyncio
import runcue

def make_cue(**options):
    cue = runcue.Cue()
    api = cue.service("api", concurrent=5, breaker=runcue.Breaker(failures=3, cooldown="20s"), **options)

    @cue.task(uses=api)
    async def ask(number: int): ...

    return cue

def of_keys():
    return make_cue(per=lambda number: number % 2)

async def submit(cue):
    api = cue.get_service("api")
    await cue.submit("ask", {"number": 0})
    await asyncio.sleep(100)
    api.pause(10)  # nothing happens meanwhile: what it held is known nevertheless
    await asyncio.sleep(5)
    await cue.submit("ask", {"number": 2})
    await asyncio.sleep(20)
    api.pause()
    await asyncio.sleep(5)
    await cue.submit("ask", {"number": 4})
    await asyncio.sleep(2)
    api.resume()
    for number in range(6, 20, 2):
        await cue.submit("ask", {"number": number})
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "paused.py").write_text(PROGRAM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("program")
def test_pauses_by_hand_and_open_breakers_are_told_with_how_often_and_how_long(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["paused.py:make_cue,submit", "--latency", "1000", "--jitter", "0", "--error-rate", "1"]
    assert main([*arguments, "--json", "-"]) == 0
    facts = json.loads(capsys.readouterr().out)
    [api] = facts["services"]
    held = {one["by"]: (one["times"], one["seconds"]) for one in api["holds"]}
    # The third failure opens it, as five run; of the other three one after the other is let through, and fails.
    assert held == {PAUSED: (2, 17.0), BROKEN: (1, 3 * 21.0)}
    assert "the breaker of api, open after failures" in [one["words"] for one in facts["binds"]]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    told = [line.split("  ")[0] for line in text.partition("NOTHING COULD START ")[2].splitlines()]
    assert told[1:3] == ["api: its breaker was open", "api: it was paused by hand"]


@pytest.mark.usefixtures("program")
def test_so_are_those_of_keys(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["paused.py:of_keys,submit", "--latency", "1000", "--jitter", "0", "--error-rate", "1"]
    assert main([*arguments, "--json", "-"]) == 0
    [api] = json.loads(capsys.readouterr().out)["services"]
    assert [(one["by"], one["times"]) for one in api["holds"]] == [(BROKEN, 1), (PAUSED, 2)]
    assert main(arguments) == 0
    assert "api: its breaker was open " in capsys.readouterr().out


def test_spans_that_touch_are_one_and_what_goes_on_ends_when_it_is_over() -> None:
    there: dict[str, Span] = {}
    holds = Holds(lambda: there)
    holds.watch(0.0)
    assert not holds
    there = {PAUSED: (1.0, 5.0)}
    holds.watch(2.0)
    assert holds.by(0.0, 3.0) == [Held(PAUSED, 1, 2.0)]
    assert holds.by(0.0, 10.0) == [Held(PAUSED, 1, 4.0)]
    there = {PAUSED: (7.0, inf), BROKEN: (7.0, inf)}
    holds.watch(8.0)
    there = {BROKEN: (7.0, inf)}
    holds.watch(9.0)
    assert holds.by(0.0, 10.0) == [Held(PAUSED, 2, 6.0), Held(BROKEN, 1, 3.0)]
    refused = Holds()
    refused.watch(0.0)
    for since, until in ((0.0, 2.0), (1.0, 3.0), (5.0, 6.0)):
        refused.add(REFUSED, since, until)
    assert refused.by(0.0, 10.0) == [Held(REFUSED, 2, 4.0)]
    assert refused.by(2.0, 5.0) == [Held(REFUSED, 1, 1.0)]
