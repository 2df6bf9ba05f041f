"""How urgent a work unit is: who says so, what that is worth, and what is refused (rules 6, 13 and 34)."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runcue
from runcue.submissions import read_lines
from runcue.testing import FakeExecutor
from tests.support.virtual_time import virtual

HERE = Path(__file__).name


class Kitchen:
    """A cue with one knife, and in which order its tasks have used it, each for a second.

    Args:
        cue: Takes the tasks.
        sync: Whether their handlers are plain functions.
    """

    def __init__(self, cue: runcue.Cue | None = None, *, sync: bool = False) -> None:
        self.cue = cue or runcue.Cue(run_in=FakeExecutor(1.0))
        self.cue.service("knife", concurrent=1)
        self.ran: list[Any] = []
        self._sync = sync

    def task(self, name: str, **options: Any) -> None:
        async def cut(work: runcue.Work) -> None:
            self.ran.append(work.params["n"])
            await asyncio.sleep(1.0)

        def cut_in_a_thread(work: runcue.Work) -> None:
            self.ran.append(work.params["n"])

        self.cue.task(name, uses="knife", **options)(cut_in_a_thread if self._sync else cut)

    async def submit(self, *priorities: float | None, task: str = "cut") -> None:
        """Submit work units that are numbered in the order of their submission."""
        for priority in priorities:
            await self.cue.submit(task, {"n": self.cue._core.submitted}, priority=priority)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.rule(6)
@pytest.mark.parametrize("sync", [True, False])
@virtual
async def test_a_submission_says_how_urgent_its_work_unit_is(sync: bool) -> None:
    kitchen = Kitchen(sync=sync)
    kitchen.task("cut")
    async with kitchen.cue:
        await kitchen.submit(None, 0.0, 1.0, 0.5, 0.25, 1, 0, 0.75)
    assert kitchen.ran == [2, 5, 7, 0, 3, 4, 1, 6]


@pytest.mark.rule(6)
@virtual
async def test_the_submission_wins_over_the_task_and_the_task_over_the_callback_of_the_cue() -> None:
    kitchen = Kitchen()
    kitchen.task("plain")
    kitchen.task("number", priority=0.3)
    kitchen.task("function", priority=lambda work: 0.8 if work.params["n"] == "urgent" else 0.2)
    asked: list[Any] = []

    @kitchen.cue.priority
    def priority(ctx: runcue.PriorityContext) -> float:
        asked.append(ctx.work.params["n"])
        return 0.6

    async with kitchen.cue:
        for task, n, given in (
            ("plain", 0.6, None),
            ("plain", 0.1, 0.1),
            ("number", 0.3, None),
            ("number", 0.9, 0.9),
            ("function", "urgent", None),
            ("function", 0.2, None),
            ("function", 0.7, 0.7),
        ):
            await kitchen.cue.submit(task, {"n": n}, priority=given)
    assert kitchen.ran == [0.9, "urgent", 0.7, 0.6, 0.3, 0.2, 0.1]
    assert asked == [0.6]


@pytest.mark.rule(6)
@pytest.mark.parametrize("head_start", ["10s", 10, timedelta(seconds=10), "0.1666666666666666666 min"])
@virtual
async def test_a_head_start_says_what_full_priority_is_worth_against_none(head_start: Any) -> None:
    kitchen = Kitchen(runcue.Cue(head_start=head_start))
    kitchen.task("cut")
    async with kitchen.cue:
        await kitchen.submit(1.0, 0.0)
        for _ in range(30):
            await kitchen.submit(1.0)
            await asyncio.sleep(1.0)
    # One urgent work unit came each second: the low one goes before the first that came 10 s after it.
    place = kitchen.ran.index(1)
    assert 10 <= place <= 12
    assert kitchen.ran[:place] == [0, *range(2, place + 1)]


@pytest.mark.rule(6)
@virtual
async def test_without_a_head_start_the_more_urgent_one_comes_first_however_long_others_wait() -> None:
    kitchen = Kitchen(runcue.Cue(head_start=None))
    kitchen.task("cut")
    async with kitchen.cue:
        await kitchen.submit(1.0, 0.5, 0.0, None, 0.5 - 1e-9, 0.5 + 1e-9)
        await asyncio.sleep(1.5)
        assert kitchen.ran == [0, 5]
        for _ in range(500):
            await kitchen.submit(0.75)
            await asyncio.sleep(1.0)
    assert kitchen.ran == [0, 5, *range(6, 506), 1, 3, 4, 2]


@pytest.mark.rule(6)
@pytest.mark.parametrize("head_start", ["60s", None])
@virtual
async def test_who_waits_already_when_the_first_priority_is_given_has_the_usual_one(
    head_start: str | None,
) -> None:
    kitchen = Kitchen(runcue.Cue(head_start=head_start))
    kitchen.task("cut")
    async with kitchen.cue:
        await kitchen.submit(None, None, None)
        await asyncio.sleep(0.5)
        await kitchen.submit(0.2, 0.9, None)
    assert kitchen.ran == [0, 4, 1, 2, 5, 3]


@pytest.mark.rule(6)
@virtual
async def test_nobody_starts_before_those_submitted_with_it_were_put_in_order() -> None:
    kitchen = Kitchen()
    kitchen.task("cut")
    async with kitchen.cue:
        await kitchen.submit(0.1, 0.2)
        await asyncio.sleep(0.5)
        assert kitchen.ran == [1]
    assert kitchen.ran == [1, 0]


@pytest.mark.rule(6)
@virtual
async def test_a_function_of_the_work_is_asked_once_when_the_work_unit_is_ready() -> None:
    asked: list[tuple[Any, float]] = []
    there = runcue.Flag("there")

    def urgency(work: runcue.Work) -> float:
        asked.append((work.params["n"], asyncio.get_running_loop().time()))
        return float(work.params["n"])

    kitchen = Kitchen()
    kitchen.task("cut", priority=urgency, inputs=there)
    async with kitchen.cue:
        began = asyncio.get_running_loop().time()
        for n in (0, 1):
            await kitchen.cue.submit("cut", {"n": n})
        await asyncio.sleep(5)
        assert asked == []
        there.set()
    assert asked == [(0, began + 5), (1, began + 5)]
    assert kitchen.ran == [1, 0]


@pytest.mark.rule(6)
@virtual
async def test_all_that_submit_take_a_priority() -> None:
    kitchen = Kitchen(runcue.Cue())
    kitchen.task("cut")
    cue = kitchen.cue

    @cue.task("plans")
    def plans(work: runcue.Work) -> None:
        work.submit("cut", {"n": 0}, priority=0.2)
        work.submit("cut", {"n": 1}, priority=0.9)

    async with cue:
        await kitchen.cue.submit("cut", {"n": "first"}, priority=1.0)
        await (await cue.submit("plans"))
        await asyncio.to_thread(cue.submit_threadsafe, "cut", {"n": 2}, priority=0.8)
        written = b'{"task": "cut", "params": {"n": 3}, "priority": 0.85}'
        for one in read_lines([written], "work.jsonl"):
            await cue.submit(one.task, one.params, **one.options)
    assert kitchen.ran == ["first", 1, 3, 2, 0]


@pytest.mark.rule(6)
def test_a_program_that_is_not_async_gives_priorities_too() -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    ran: list[int] = []
    there = runcue.Flag("there")

    @cue.task("t", uses="one", inputs=there)
    def t(work: runcue.Work) -> None:
        ran.append(work.params["n"])

    with runcue.blocking(cue) as b:
        for n, priority in enumerate((0.1, 0.9, None)):
            b.submit("t", params={"n": n}, priority=priority)
        there.set()
    assert ran == [1, 2, 0]


@pytest.mark.rule(6)
@virtual
async def test_a_priority_is_none_of_what_a_work_unit_declares() -> None:
    async with runcue.Cue() as cue:
        cue.task("t")(lambda work: None)
        cue.task("made", outputs=lambda work: runcue.Flag(work.params["n"]))(
            lambda work: work.outputs[0].set()
        )
        plain = await cue.submit("t", priority=0.7)
        assert not cue.get_task("t").gated  # type: ignore[union-attr]
        made = [await cue.submit("made", {"n": n}, priority=0.7) for n in "aab"]
        for handle in (plain, *made):
            await handle
        assert [handle.work.outputs for handle in made] == [(runcue.Flag(n),) for n in "aab"]


NO_NUMBERS: dict[str, Any] = {
    "more": 1.0000001,
    "less": -1e-9,
    "nan": math.nan,
    "inf": math.inf,
    "True": True,
    "text": "0.5",
    "text that is none": "high",
    "complex": 1j,
    "huge": 10**400,
    "a decimal": Decimal("0.5"),
    "a fraction": Fraction(1, 2),
    "a tuple": (0.5,),
    "an array": np.array([0.5]),
}


@pytest.mark.parametrize("what", NO_NUMBERS)
@virtual
async def test_what_is_no_priority_is_refused_where_it_is_given(what: str) -> None:
    value = NO_NUMBERS[what]
    cue = runcue.Cue()
    cue.task("t")(lambda work: None)
    with pytest.raises(runcue.ConfigurationError, match=r"^priority must be a number from 0.0 to 1.0"):
        await cue.submit("t", priority=value)
    with pytest.raises(runcue.ConfigurationError, match=r"Submission 1 .* priority must be a number"):
        cue.plan([{"task": "t", "priority": value}])
    with pytest.raises(runcue.ConfigurationError, match="priority of task 'u'"):
        cue.task("u", priority=value)
    assert await cue.list() == cue.tasks()[1:] == []
    assert not cue._core.ordered, "nothing is half done"


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, -0.0, np.float64(0.3), np.int64(1)])
@virtual
async def test_numbers_from_0_to_1_are_priorities(value: Any) -> None:
    async with runcue.Cue() as cue:
        cue.task("t", priority=value)(lambda work: None)
        await (await cue.submit("t", priority=value))
        assert cue.plan([{"task": "t", "priority": value}]).ok


@pytest.mark.parametrize("value", [0, -5, "", "soon", "60", math.nan, math.inf, True, b"60s", "0s", [60]])
def test_what_is_no_span_of_time_is_no_head_start(value: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match="head_start must be a positive number of seconds"):
        runcue.Cue(head_start=value)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda: 0.5, r"must take \(work\)"),
        (lambda self, work: 0.5, r"must take \(work\).* A method belongs to an object"),
        (asyncio.sleep, "plain function"),
    ],
)
def test_a_function_that_cannot_say_how_urgent_a_work_unit_is_is_refused(
    function: Callable[..., Any], told: str
) -> None:
    with pytest.raises(runcue.ConfigurationError, match=f"priority of task 't'.*{told}"):
        runcue.Cue().task("t", priority=function)


NO_ANSWERS: dict[str, tuple[Callable[[runcue.Work], Any], str]] = {
    "None": (lambda work: None, "is a `return` missing?"),
    "a text": (lambda work: "high", "returned 'high'"),
    "nan": (lambda work: math.nan, "returned nan"),
    "a coroutine": (lambda work: asyncio.sleep(0, 0.5), "to be awaited"),
    "a function": (lambda work: math.sqrt, "call it"),
    "raises": (lambda work: 1 / 0, "raised ZeroDivisionError"),
    "exits": (lambda work: sys.exit(), "raised SystemExit"),
}


@pytest.mark.rule(13, 34)
@pytest.mark.parametrize("what", NO_ANSWERS)
@virtual
async def test_a_function_that_raises_or_gives_no_number_counts_as_the_usual_priority_and_is_told_once(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    function, told = NO_ANSWERS[what]
    kitchen = Kitchen()
    kitchen.task("odd", priority=function)
    kitchen.task("cut")
    kitchen.cue.priority(lambda ctx: 1.0)  # not asked instead
    async with kitchen.cue:
        await kitchen.submit(0.45, 0.55)
        await kitchen.submit(None, None, task="odd")
    assert kitchen.ran == [1, 2, 3, 0]
    [line] = said(caplog)
    assert line.startswith("priority= ")
    assert told in line
    assert HERE in line
    assert len(line) < 500


@pytest.mark.rule(6, 34)
@virtual
async def test_what_a_function_gives_beyond_its_range_counts_as_the_usual_priority_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kitchen = Kitchen()
    values: list[Any] = [-5, 0.0, 1, 17.5, 0.5, math.inf, np.float32(0.25), Fraction(3, 4), True, "0.99"]
    kitchen.task("cut", priority=lambda work: values[work.params["n"]])
    async with kitchen.cue:
        await kitchen.submit(*[None] * len(values))
    assert kitchen.ran == [2, 7, 0, 3, 4, 5, 8, 9, 6, 1]
    [line] = said(caplog)
    assert "returned -5" in line


@pytest.mark.rule(6)
@virtual
async def test_the_order_that_priorities_give_holds_among_services_that_tasks_share() -> None:
    ran: list[str] = []
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    cue.service("wide", concurrent=9)

    async def handler(work: runcue.Work) -> None:
        ran.append(work.params["n"])
        await asyncio.sleep(1)

    cue.task("narrow", uses="one", priority=0.4)(handler)
    cue.task("both", uses=["one", "wide"])(handler)
    async with cue:
        for task, n, priority in (
            ("narrow", "a", None),
            ("both", "b", 0.3),
            ("both", "c", 0.6),
            ("narrow", "d", 1),
        ):
            await cue.submit(task, {"n": n}, priority=priority)
    assert ran == ["d", "c", "a", "b"]


@pytest.mark.rule(6)
@virtual
async def test_a_priority_counts_where_contents_were_read_and_no_slot_is_free_for_an_async_gate(
    tmp_path: Path,
) -> None:
    source = tmp_path / "in"
    names = "abcd"

    def reading(gate: Callable[[runcue.Work], Any]) -> Kitchen:
        kitchen = Kitchen(runcue.Cue(head_start=None))
        kitchen.task("cut")

        @kitchen.cue.task(
            "read",
            uses="knife",
            inputs=source,
            outputs=lambda work: tmp_path / work.params["n"],
            fresh=runcue.digest(),
        )
        async def read(work: runcue.Work) -> None:
            kitchen.ran.append(work.params["n"])
            with work.write(work.outputs[0]) as file:
                file.write("made")

        kitchen.cue.is_stale(task="read")(gate)
        return kitchen

    source.write_text("x" * (2 << 20))
    async with reading(lambda work: True).cue as before:
        for n in names:
            await (await before.submit("read", {"n": n}))
    source.write_text("y" * (2 << 20))  # it has to be read before anything else is asked
    kitchen = reading(lambda work: asyncio.sleep(0.25, True))
    async with kitchen.cue:
        await kitchen.submit(None)
        await asyncio.sleep(0.5)
        for n, priority in zip(names, (0.1, 0.2, 0.9, 0.8), strict=True):
            await kitchen.cue.submit("read", {"n": n}, priority=priority)
    assert kitchen.ran == [0, "c", "d", "b", "a"]
