"""What `why()` says of a turn that may be put off: by another limit, by who comes back, by who takes something else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from tests.support.virtual_time import now, virtual

SLACK = 0.02


class Town:
    """A cue of which each start of each work unit is known."""

    def __init__(self, **services: dict[str, Any]) -> None:
        self.cue = runcue.Cue()
        for name, limits in services.items():
            self.cue.service(name, **limits)
        self.starts: dict[str, list[float]] = {}

    def task(
        self, name: str, lasts: float, fails: Callable[[runcue.Work], bool] | None = None, **options: Any
    ) -> None:
        @self.cue.task(name, **options)
        async def handle(work: runcue.Work) -> None:
            self.starts.setdefault(work.id, []).append(now())
            await asyncio.sleep(lasts)
            if fails is not None and fails(work):
                raise ConnectionError("no")

    async def submit(self, number: int, task: str, **options: Any) -> list[runcue.WorkHandle]:
        return [await self.cue.submit(task, **options) for _ in range(number)]

    def turn(self, work: str) -> runcue.Turn:
        turn = self.cue.why(work).turn
        assert turn is not None
        return turn


@virtual
async def test_where_a_rate_and_slots_are_in_each_others_way_a_turn_is_told_at_the_earliest() -> None:
    town = Town(api={"rate": "3/10sec", "concurrent": 2})
    town.task("ask", 2.0, uses="api")
    town.task("quick", 0.0, uses="api")
    async with town.cue:
        await town.submit(1, "ask")
        await asyncio.sleep(11)
        await town.submit(3, "quick")
        await asyncio.sleep(1)
        handles = await town.submit(6, "ask")
        await asyncio.sleep(1)
        asked = now()
        turn = town.turn(handles[2])
        text = str(town.cue.why(handles[2]))
    assert (turn.place, turn.earliest, turn.about) == (3, True, False)
    assert turn.eta is not None
    assert asked + turn.eta < town.starts[handles[2]][0] - 1
    assert ", at the earliest\n" in text


@pytest.mark.parametrize("slots", [2, 60])
@virtual
async def test_where_slots_suffice_for_what_a_rate_lets_start_a_turn_is_told_exactly(slots: int) -> None:
    town = Town(api={"rate": "1/sec", "burst": 1, "concurrent": slots})
    town.task("ask", 1.5, uses="api")
    async with town.cue:
        handles = await town.submit(30, "ask")
        await asyncio.sleep(9.2)
        asked = now()
        turns = {handle: town.turn(handle) for handle in handles[12:]}
    for handle, turn in turns.items():
        assert not turn.earliest
        assert turn.eta == pytest.approx(town.starts[handle][0] - asked, abs=SLACK)


@virtual
async def test_one_that_comes_back_for_its_next_attempt_and_goes_first_puts_a_turn_off() -> None:
    town = Town(api={"rate": "1/min"})
    town.task(
        "ask",
        0.0,
        lambda work: work.attempt == 1,
        uses="api",
        retry=runcue.Retry(2, wait_initial=5, wait_jitter=0),
    )
    town.task("other", 0.0, uses="api")
    async with town.cue:
        [first] = await town.submit(1, "ask")
        await asyncio.sleep(1)
        [second] = await town.submit(1, "other")
        await asyncio.sleep(1)
        assert town.turn(second).earliest
        assert str(town.cue.why(second)).count("its turn comes in 58 s (at 00:01:00), at the earliest") == 1
        why = town.cue.why(first)
        assert (
            "attempt 2 of 2 in 3 s, after ConnectionError: no; api: 1/min is used up, next start in 58.0 s"
            in str(why)
        )
        assert why.eta == pytest.approx(3, abs=SLACK)
    assert (town.starts[first][1], town.starts[second][0]) == (60.0, 120.0)


@virtual
async def test_what_is_paused_when_it_is_due_says_so() -> None:
    town = Town(api={"concurrent": 1}, quick={"concurrent": 1})
    town.task("ask", 0.0, uses="api")
    town.task("look", 0.0, uses="quick")
    async with town.cue:
        [late] = await town.submit(1, "ask", delay=100)
        [other] = await town.submit(1, "look", delay=100)
        town.cue.get_service("quick").pause(50)
        town.cue.get_service("api").pause()
        await asyncio.sleep(1)
        assert "in 99 s; api: paused by hand, until resume() is called" in str(town.cue.why(late))
        assert "in 99 s\n" in str(town.cue.why(other))
        town.cue.get_service("api").resume()


@virtual
async def test_who_is_not_ready_yet_and_came_before_puts_a_turn_off() -> None:
    town = Town(api={"rate": "1/min"})
    is_open = False

    @town.cue.is_ready(task="gated")
    def is_ready(work: runcue.Work) -> bool:
        return is_open

    town.task("gated", 0.0, uses="api")
    town.task("ask", 0.0, uses="api")
    async with town.cue:
        await town.submit(1, "ask")
        await asyncio.sleep(1)
        [gated] = await town.submit(1, "gated")
        [mine] = await town.submit(1, "ask")
        [later] = await town.submit(1, "gated")
        await asyncio.sleep(1)
        assert town.turn(mine).earliest
        is_open = True
        town.cue.nudge()
        await asyncio.sleep(1)
        # It is ahead by now, and the one behind tells nothing of it.
        assert not town.turn(mine).earliest
        assert town.turn(mine).place == 2
    assert town.starts[gated][0] < town.starts[mine][0] < town.starts[later][0]


@virtual
async def test_others_may_take_the_second_service_while_the_first_is_waited_for() -> None:
    town = Town(disk={"concurrent": 1}, api={"rate": "1/min"})
    town.task("both", 0.0, uses=["disk", "api"])
    town.task("ask", 0.0, uses="api")
    async with town.cue:
        await town.submit(1, "ask")
        town.cue.get_service("disk").pause(100)
        await asyncio.sleep(1)
        [both] = await town.submit(1, "both")
        [alone] = await town.submit(1, "ask")
        await asyncio.sleep(1)
        turn = town.turn(both)
        assert (turn.eta, turn.earliest) == (pytest.approx(98, abs=SLACK), True)
    assert (town.starts[alone][0], town.starts[both][0]) == (60.0, 120.0)


@virtual
async def test_who_is_ahead_and_needs_more_may_be_passed_so_a_turn_is_told_about() -> None:
    town = Town(disk={"concurrent": 1}, api={"rate": "6/min"})
    town.task("both", 30.0, uses=["disk", "api"])
    town.task("ask", 0.0, uses="api")
    async with town.cue:
        await town.submit(6, "both")
        [mine] = await town.submit(1, "ask")
        town.cue.get_service("api").pause(1)
        await asyncio.sleep(0.1)
        turn = town.turn(mine)
        assert (turn.place, turn.about) == (7, True)
    assert town.starts[mine][0] == pytest.approx(1, abs=SLACK)


@virtual
async def test_who_needs_less_of_a_budget_than_the_first_in_line_is_told_its_own_earliest_start() -> None:
    town = Town(api={"budget": {"tokens": "100/min"}})
    town.task("ask", 0.0, uses="api", cost=lambda tokens: {"tokens": tokens})
    async with town.cue:
        for tokens in (50, 40):
            await town.cue.submit("ask", {"tokens": tokens})
            await asyncio.sleep(10)
        large = await town.cue.submit("ask", {"tokens": 100})
        small = await town.cue.submit("ask", {"tokens": 50})
        await asyncio.sleep(1)
        asked = now()
        turn = town.turn(small)
        assert turn.earliest
        assert turn.eta == pytest.approx(60 - asked, abs=SLACK)
    assert town.starts[small][0] >= 60 - SLACK
    assert town.starts[large][0] >= 70 - SLACK


@pytest.mark.parametrize("seed", range(20))
@virtual
async def test_whatever_the_limits_nobody_starts_at_another_instant_than_it_was_told(seed: int) -> None:
    luck = random.Random(seed)
    rates = [
        {"rate": "6/min"},
        {"rate": ["2/sec", "30/min"]},
        {"rate": "3/10sec", "burst": luck.choice([1, 3])},
    ]
    town = Town(
        a={**luck.choice(rates), "concurrent": luck.choice([1, 2, 5])},
        b=luck.choice(rates),
        c={"concurrent": luck.choice([1, 2])},
    )
    for number, lasts in enumerate(luck.choices([0.0, 0.5, 2.0, 7.0], k=3)):
        lane = luck.choice([None, lambda work: int(work.id[-1], 16) % 3])
        town.task(str(number), lasts, uses=luck.sample("abc", luck.choice([1, 1, 2])), lane=lane)
    async with town.cue:
        handles: list[runcue.WorkHandle] = []
        for _ in range(luck.choice([1, 2])):
            handles += [(await town.submit(1, luck.choice("012")))[0] for _ in range(12)]
            await asyncio.sleep(luck.choice([0.1, 4.0, 20.0]))
        if luck.random() < 0.3:
            town.cue.get_service("c").pause(15)
        asked = now()
        turns = {handle: town.cue.why(handle).turn for handle in handles if handle not in town.starts}
    for handle, turn in turns.items():
        if turn is None or turn.eta is None or turn.about:
            continue
        told = asked + turn.eta
        if turn.earliest:
            assert told <= town.starts[handle][0] + SLACK
        else:
            assert told == pytest.approx(town.starts[handle][0], abs=SLACK)


@virtual
async def test_by_depth_who_comes_after_what_was_begun_puts_others_off(tmp_path: Path) -> None:
    town = Town(api={"rate": "4/min"})
    town.cue = runcue.Cue(order="depth")
    town.cue.service("api", rate="4/min")

    @town.cue.task("fetch", uses="api", outputs=lambda work: tmp_path / str(work.params["n"]))
    async def fetch(work: runcue.Work) -> None:
        town.starts[work.id] = [now()]
        work.outputs[0].path.touch()

    town.task("read", 0.0, uses="api", inputs=lambda work: tmp_path / str(work.params["n"]))
    async with town.cue:
        town.cue.get_service("api").pause(1)
        fetches = [await town.cue.submit("fetch", {"n": n}) for n in range(4)]
        for n in range(4):
            await town.cue.submit("read", {"n": n})
        await asyncio.sleep(0.5)
        turn = town.turn(fetches[3])
        assert (turn.eta, turn.earliest) == (pytest.approx(0.5, abs=SLACK), True)
    assert town.starts[fetches[3]][0] == pytest.approx(61, abs=SLACK)


@pytest.mark.parametrize("waits", [20, 100])
@virtual
async def test_of_several_limits_the_one_is_told_first_that_lasts_longest(waits: int) -> None:
    town = Town(api={"rate": "1/min", "budget": {"tokens": f"10/{waits}sec"}})
    town.task("ask", 0.0, uses="api", cost={"tokens": 10})
    async with town.cue:
        _, second = await town.submit(2, "ask")
        await asyncio.sleep(1)
        why = town.cue.why(second)
        assert why.verdict == ("waiting for rate" if waits < 60 else "waiting for a budget")
        assert ("a higher rate=" if waits < 60 else "a larger budget=") in why.next_step
        assert why.eta == pytest.approx(max(waits, 60) - 1, abs=SLACK)


@virtual
async def test_who_was_held_up_besides_and_came_before_puts_a_turn_off_that_did_not_count_it() -> None:
    town = Town(api={"rate": "1/sec", "burst": 1}, other={"rate": "1/3sec", "burst": 1})
    town.task("both", 0.0, uses=["api", "other"])
    town.task("ask", 0.0, uses="api")
    async with town.cue:
        await town.submit(2, "both")
        last = (await town.submit(5, "ask"))[-1]
        await asyncio.sleep(0.5)
        asked = now()
        turn = town.turn(last)
        assert turn.earliest
        assert turn.eta is not None
    assert asked + turn.eta < town.starts[last][0] - 0.5
