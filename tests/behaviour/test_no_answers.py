"""What is no answer, or hardly one, wherever user code is asked for one: it is told once, by name, file and line."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runcue
from tests.support.virtual_time import virtual

pytestmark = pytest.mark.rule(34)

HERE = "test_no_answers.py:"


def said(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "runcue" and text in record.getMessage()
    ]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Path("page.txt"), "the path PosixPath('page.txt'), which counts as yes"),
        ("handle", "the handle <WorkHandle "),
        ("text", "the text 'text', which counts as yes"),
    ],
    ids=str,
)
@virtual
async def test_what_may_be_meant_otherwise_counts_by_its_truth_and_is_told_once(
    answer: Any, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with runcue.Cue() as cue:
        cue.task("other")(lambda work: None)

        @cue.task("t")
        async def t(work: runcue.Work) -> str:
            return "ran"

        @cue.is_ready(task="t")
        async def takes_it_for_an_answer(work: runcue.Work) -> Any:
            return await cue.submit("other") if answer == "handle" else answer

        assert await (await cue.submit("t")) == "ran"
        assert await (await cue.submit("t")) == "ran"
    [line] = said(caplog, "counts as")
    assert told in line
    assert HERE in line


@pytest.mark.parametrize("gate", ["is_ready", "is_stale"])
@virtual
async def test_what_python_calls_true_is_a_yes_without_a_word(
    gate: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with runcue.Cue() as cue:
        cue.task("t")(lambda work: None)
        getattr(cue, gate)(lambda work: [Path("one.txt")])  # what there is, as glob.glob() tells it
        await (await cue.submit("t"))
    assert not said(caplog, "")


NO_PRIORITY: dict[str, tuple[Callable[[runcue.PriorityContext], Any], str]] = {
    "None": (lambda ctx: None, "is a `return` missing?"),
    "a text": (lambda ctx: "high", "returned 'high'"),
    "nan": (lambda ctx: math.nan, "returned nan"),
    "too much": (lambda ctx: 10**400, "returned 1"),
    "a coroutine": (lambda ctx: asyncio.sleep(0, 0.5), "to be awaited"),
    "a function": (lambda ctx: math.sqrt, "call it"),
    "a generator": (lambda ctx: (one for one in (0.5,)), "generator"),
    "an exception": (lambda ctx: ValueError("no page"), "raise it"),
}


@pytest.mark.rule(13, 34)
@pytest.mark.parametrize("what", NO_PRIORITY)
@virtual
async def test_what_is_no_priority_counts_as_the_usual_one_and_is_told_once(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    call, remedy = NO_PRIORITY[what]
    async with runcue.Cue() as cue:
        cue.task("t")(lambda work: None)
        cue.priority(call)
        for _ in range(2):
            await (await cue.submit("t"))
    [line] = said(caplog, "")
    assert line.startswith("priority callback ")
    assert "counts as 0.5" in line
    assert remedy in line
    assert HERE in line
    assert len(line) < 500


@virtual
async def test_numbers_of_other_kinds_are_priorities(caplog: pytest.LogCaptureFixture) -> None:
    async with runcue.Cue() as cue:
        cue.service("one", concurrent=1)
        ran: list[int] = []

        @cue.task("t", uses="one")
        async def t(work: runcue.Work) -> None:
            ran.append(work.params["n"])

        priorities: list[Any] = [np.float32(0.25), 1, True, Fraction(1, 2), "0.75"]
        cue.priority(lambda ctx: priorities[ctx.work.params["n"]])
        for number in range(len(priorities)):
            await cue.submit("t", {"n": number})
    assert ran == [1, 2, 4, 3, 0]
    assert not said(caplog, "")


@pytest.mark.rule(13)
@pytest.mark.parametrize("gate", ["is_ready", "is_stale", "priority"])
@virtual
async def test_an_answer_that_raises_when_it_is_looked_at_is_told_with_the_place_of_who_gave_it(
    gate: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Raises:
        def __bool__(self) -> bool:
            raise ZeroDivisionError

        def __float__(self) -> float:
            raise ZeroDivisionError

    cue = runcue.Cue()
    cue.task("t")(lambda work: None)
    getattr(cue, gate)(lambda work: Raises())
    cue.start()
    await cue.submit("t")
    await cue.drain()
    await cue.stop()
    [line] = said(caplog, "raised ZeroDivisionError (work ")
    assert line.startswith(f"{gate} callback ")
    assert HERE in line
