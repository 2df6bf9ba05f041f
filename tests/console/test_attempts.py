"""Attempts that fail, are refused or hang: they are shown, and the time that is left knows of them."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

import runcue
from runcue.console.attempts import Trouble
from runcue.console.eta import Eta, Left, Limit, estimate
from runcue.console.frame import in_a_line
from runcue.console.snapshot import Snapshot, TaskCounts
from runcue.testing import run
from tests.console.test_frame import SNAPSHOT, plain
from tests.console.test_tally import look, watched

API = {"api": Limit("api", slots=10)}
LEFT = Left("ask", ("api",), queued=100, running=[0.5] * 10, took=[1.0] * 50, finished=50)
OFFLINE = "ConnectionError: All connection attempts failed"


def seconds(left: Left, limit: Limit = API["api"]) -> float:
    found = estimate([left], {"api": limit}).seconds
    assert found is not None
    return found


def test_attempts_that_fail_take_their_time_their_starts_and_their_share_of_the_budgets() -> None:
    assert seconds(LEFT) == pytest.approx(10.5, abs=0.6)
    failing = replace(LEFT, each=2.0, vain=[1.0] * 50, delay=0.5)
    assert seconds(failing) == pytest.approx(2 * 10.5 + 5, abs=3)
    hanging = replace(LEFT, each=2.0, vain=[30.0] * 50, delay=0.5)
    assert seconds(hanging) > 300
    rate = Limit("api", count=60, period=60.0, tokens=0, next_token=1.0)
    assert seconds(failing, rate) == pytest.approx(2 * seconds(LEFT, rate), rel=0.1)
    assert (failing.starts, LEFT.starts) == (210, 100)


def test_if_each_attempt_fails_nobody_knows_how_long_it_takes() -> None:
    assert estimate([replace(LEFT, unended=8)], API) == Eta(None, "ask fails each time")
    assert seconds(replace(LEFT, unended=7)) > 0


def test_a_refusal_makes_it_an_at_least_and_one_after_the_other_unknown() -> None:
    refusing = replace(API["api"], held=20.0, tries=True, refused=1)
    assert estimate([LEFT], {"api": refusing}) == Eta(pytest.approx(30.3, abs=1), LEFT_SOURCE, at_least=True)
    again = replace(refusing, refused=2)
    assert estimate([LEFT], {"api": again}) == Eta(None, "api refuses whatever is tried")
    # It lets some pass: how many, only the pace so far says.
    some = replace(API["api"], pace=0.5)
    assert estimate([LEFT], {"api": some}) == Eta(220.0, "from the pace so far, as api refuses some")


LEFT_SOURCE = "from 50 finished calls of api"


def test_what_runs_for_far_longer_than_any_before_most_likely_hangs() -> None:
    some = replace(LEFT, running=[0.5] * 9 + [100.0])
    assert estimate([some], API).at_least
    assert not estimate([replace(LEFT, running=[0.5, 1.9])], API).at_least
    all_of_them = replace(LEFT, running=[100.0] * 10)
    assert estimate([all_of_them], API) == Eta(None, "what runs of ask takes far longer than any before")
    # Attempts that timed out took as long: these will do so, too.
    known = replace(LEFT, running=[40.0] * 10, vain=[60.0] * 3, each=1.1)
    assert seconds(known) > 20
    assert not estimate([known], API).at_least


def watched_for(
    how_long: float, fails: dict[str, list[int]], each: type[BaseException], *, retry: int = 100
) -> list[Snapshot]:
    """Snapshots, one after so many seconds, of 200 work units of which attempts fail from some number on."""
    cue = runcue.Cue()
    cue.service("api", concurrent=10, throttle=lambda error: 2.0 if each is TimeoutError else None)
    number = [0]
    luck = random.Random(1)

    @cue.task(uses="api", retry=runcue.Retry(retry, on=OSError, wait_max=2, wait_jitter=0), timeout=60)
    async def ask(n: int) -> None:
        number[0] += 1
        await asyncio.sleep(luck.uniform(0.5, 1.5))
        if number[0] in range(*fails["from"]):
            raise each("All connection attempts failed\nFor more information see there")

    async def main() -> list[Snapshot]:
        tally = watched(cue)
        found = []
        async with cue:
            for n in range(200):
                await cue.submit(ask, {"n": n})
            for _ in range(3):
                await asyncio.sleep(how_long)
                found.append(look(tally))
            await cue.stop(drain=False, timeout=0)
        return found

    return run(main)


def test_a_dead_server_is_no_healthy_wait() -> None:
    before, dead, longer = watched_for(5, {"from": [60, 10**6]}, ConnectionError)
    assert (before.troubles, before.eta.at_least) == ((), False)
    (trouble,) = longer.troubles
    assert trouble.waiting > 5
    assert trouble.failed > 50
    assert trouble.last == OFFLINE
    assert longer.eta == Eta(None, "ask fails each time")
    assert longer.tasks[0].retries >= trouble.failed
    assert f"wait for another attempt, {trouble.failed} attempts in a row have failed, last: {OFFLINE}" in (
        in_a_line(longer)
    )
    assert dead.troubles


def test_when_it_comes_back_all_is_well_again() -> None:
    *_, after = watched_for(10, {"from": [40, 100]}, ConnectionError)
    assert after.troubles == ()
    assert after.eta.seconds is not None
    assert after.tasks[0].retries == 60


def test_work_units_that_have_failed_for_good_end_the_doubt() -> None:
    snapshots = watched_for(8, {"from": [0, 10**6]}, ConnectionError, retry=2)
    assert snapshots[-1].whole.failed > 50
    assert snapshots[-1].troubles[0].failed > 100
    assert snapshots[-1].eta.source == "no ask has finished yet"


def test_a_server_that_refuses_all_is_told_to() -> None:
    _, refusing, longer = watched_for(7, {"from": [60, 10**6]}, TimeoutError)
    assert refusing.eta.seconds is None or refusing.eta.at_least
    assert longer.eta == Eta(None, "api refuses whatever is tried")
    assert longer.troubles == (), "no attempt has failed"


def test_troubles_stand_above_the_services_and_go_with_the_run() -> None:
    troubles = (
        Trouble("transform", 12, 57, OFFLINE),
        Trouble("load", 1, 0, "OSError"),
        Trouble("x", 1, 0, ""),
    )
    shot = replace(SNAPSHOT, troubles=troubles)
    lines = plain(shot, width=140)
    place = next(i for i, line in enumerate(lines) if line.startswith("! "))
    assert lines[place : place + 3] == [
        f"! transform: 12 wait for another attempt, 57 attempts in a row have failed, last: {OFFLINE}",
        "! load: 1 waits for another attempt, last: OSError",
        lines[place + 2],
    ]
    assert lines[place + 2].startswith("SERVICE")
    over = replace(shot, tasks=(TaskCounts("load", done=150),))
    assert not any(line.startswith("!") for line in plain(over))
    assert "RETRIES" not in "\n".join(lines)
    tasks = (shot.tasks[0]._replace(retries=7), *shot.tasks[1:])
    assert "RETRIES" in "\n".join(plain(replace(shot, tasks=tasks)))


class Nasty(Exception):
    def __str__(self) -> str:
        raise ValueError


def test_an_error_that_cannot_be_told_is_told_by_its_type() -> None:
    cue = runcue.Cue()

    @cue.task(retry=2)
    async def ask() -> None:
        raise Nasty

    async def main() -> str:
        tally = watched(cue)
        async with cue:
            handle = await cue.submit(ask)
            await asyncio.sleep(0.1)
            shot = look(tally)
            await cue.cancel(handle)
            assert look(tally).troubles == ()
        return str(shot.troubles[0])

    assert run(main) == "ask: 1 waits for another attempt, last: Nasty"


def test_what_was_cancelled_is_told_in_a_line() -> None:
    tasks = (SNAPSHOT.tasks[0]._replace(cancelled=3),)
    assert ", 0 failed, 3 cancelled, " in in_a_line(replace(SNAPSHOT, tasks=tasks))
