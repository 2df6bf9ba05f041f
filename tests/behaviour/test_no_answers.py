"""What is no answer, or hardly one, wherever user code is asked for one: it is told once, by name, file and line."""

from __future__ import annotations

import asyncio
import functools
import math
import types
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runcue
from runcue.abc import Limit
from tests.support.places import from_the_checkout
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
    "beyond 1.0": (lambda ctx: 5, "returned 5"),
    "below 0.0": (lambda ctx: -3.0, "returned -3.0"),
    "a little more": (lambda ctx: 1.0000001, "returned 1.0000001"),
    "inf": (lambda ctx: math.inf, "returned inf"),
    "True": (lambda ctx: True, "returned True"),
    "a number as text": (lambda ctx: "0.99", "returned '0.99'"),
    "bytes": (lambda ctx: b"1", "returned b'1'"),
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

        priorities: list[Any] = [np.float32(0.25), 1, np.int64(0), Fraction(1, 2), Decimal("0.75")]
        cue.priority(lambda ctx: priorities[ctx.work.params["n"]])
        for number in range(len(priorities)):
            await cue.submit("t", {"n": number})
    assert ran == [1, 4, 3, 0, 2]
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


def bad_validate(path: Path) -> None:
    path.exists()


class Odd(runcue.Artifact):
    """An artifact whose answer is given by a function."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer
        self.name = "odd"

    def valid(self) -> bool:
        return self._answer()  # type: ignore[no-any-return]


class Forgetful(runcue.Artifact):
    def __init__(self) -> None:
        self.name = "forgetful"

    def valid(self) -> bool:  # type: ignore[return]
        self.name  # noqa: B018 - a `return` is missing


def check(path: Any = None) -> bool:
    return True


NOT_VALID: dict[str, tuple[Callable[..., Any], str]] = {
    "a function": (lambda *path: check, "call it"),
    "an exception": (lambda *path: ValueError("torn"), "raise it"),
    "a map": (lambda *path: map(str, []), "any(...) or all(...)"),
    "a reason": (lambda *path: (False, "torn"), "True or False alone"),
    "a generator": (lambda *path: (one for one in ()), "no answer"),
}


@pytest.mark.parametrize("what", NOT_VALID)
@pytest.mark.parametrize("kind", ["validate", "valid()"])
@virtual
async def test_what_is_no_answer_proves_nothing(
    kind: str, what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer, remedy = NOT_VALID[what]
    (tmp_path / "i").touch()
    needs = runcue.File(tmp_path / "i", validate=answer) if kind == "validate" else Odd(answer)
    cue = runcue.Cue()
    cue.task("t", inputs=needs)(lambda work: None)
    cue.start()
    handle = await cue.submit("t")
    summary = await cue.drain()
    assert not handle.done()
    assert remedy in summary.blocked[0]["details"]
    assert len(summary.blocked[0]["details"]) < 600
    await cue.stop()


@virtual
async def test_a_check_without_a_return_proves_nothing_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "i").touch()
    cue = runcue.Cue()
    cue.task("file", inputs=runcue.File(tmp_path / "i", validate=bad_validate))(lambda work: None)
    cue.task("thing", inputs=Forgetful())(lambda work: None)
    cue.task("quiet", inputs=Odd(lambda: None))(lambda work: None)  # as dict.get() gives it
    cue.start()
    for task in ("file", "thing", "quiet"):
        await cue.submit(task)
    with from_the_checkout():
        summary = await cue.drain()
    file, thing, quiet = [entry["details"] for entry in summary.blocked]
    assert "bad_validate (tests/behaviour/test_no_answers.py:" in file
    assert "returned None; there is no `return` in it" in file
    assert "Forgetful.valid (" in thing
    assert "returned None; there is no `return` in it" in thing
    assert "is not valid" in quiet
    await cue.stop()


@virtual
async def test_true_of_other_kinds_proves(tmp_path: Path) -> None:
    (tmp_path / "i").touch()
    async with runcue.Cue() as cue:
        answers: list[Any] = [1, "yes", [0], ("a", "row"), np.bool_(True)]
        for number, answer in enumerate(answers):
            cue.task(
                f"{number}", inputs=runcue.File(tmp_path / "i", validate=lambda path, answer=answer: answer)
            )(lambda work: None)
            await (await cue.submit(f"{number}"))


@pytest.mark.parametrize("validate", [lambda: True, lambda path, more: True, "yes", Path.samefile])
def test_a_check_of_a_file_that_cannot_be_called_with_it_is_refused(validate: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match=r"validate of File\('f'\)"):
        runcue.File("f", validate=validate)


def names_nothing(work: runcue.Work) -> None:
    [work.params["page"]]


@pytest.mark.parametrize("name", ["inputs", "outputs"])
@virtual
async def test_a_declaration_without_a_return_is_told_of_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with runcue.Cue() as cue:
        options: dict[str, Any] = {name: names_nothing}
        cue.task("t", **options)(lambda work: None)
        for page in (1, 2):
            await (await cue.submit("t", {"page": page}))
    [line] = said(caplog, "")
    assert line.startswith(f"{name}= names_nothing (")
    assert f"have no {name}" in line
    assert HERE in line


@virtual
async def test_none_that_a_declaration_returns_means_none(caplog: pytest.LogCaptureFixture) -> None:
    def where_there_is_one(work: runcue.Work) -> str | None:
        return work.params.get("page")

    async with runcue.Cue() as cue:
        cue.task("t", inputs=where_there_is_one, outputs=lambda work: None)(lambda work: None)
        await (await cue.submit("t"))
    assert not said(caplog, "")


@pytest.mark.parametrize(
    ("option", "function", "told"),
    [
        ("inputs", lambda work: 5, "they must be artifacts or paths, one or several, not 5"),
        ("outputs", lambda work: {"a": "b"}, "not {'a': 'b'}"),
        ("inputs", lambda work: "a\0b", "A File needs a path"),
        ("key", lambda work: ValueError("no id"), "raise it"),
        ("key", lambda work: map(str, work.params), "put tuple(...) around it"),
        ("key", lambda work: iter(work.params), "put tuple(...) around it"),
        ("key", lambda work: {}["id"], "raised KeyError: 'id'"),
    ],
)
@virtual
async def test_what_declares_nothing_that_there_can_be_is_named_with_its_place(
    option: str, function: Callable[[runcue.Work], Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with runcue.Cue() as cue:
        options: dict[str, Any] = {option: function}
        cue.task("t", **options)(lambda work: None)
        work = await (await cue.submit("t")).wait()
    assert work.error is not None
    assert work.error.startswith(f"{option} of task 't'")
    assert told in work.error
    assert HERE in work.error
    assert work.error.count("ArtifactError") == 0
    assert len(work.error) < 500


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "is a `return` missing?"),
        ((False, "no money"), "describe() says why"),
        (ValueError("no money"), "raise it"),
        (check, "call it"),
        (map(str, []), "any(...) or all(...)"),
    ],
    ids=["None", "a pair", "an exception", "a function", "an iterator"],
)
@virtual
async def test_a_limit_that_gives_no_answer_fails_the_work_unit(answer: Any, told: str) -> None:
    class Odd(Limit):
        def room(self, now: float, work: runcue.Work) -> Any:
            return answer

    class NoInstant(Limit):
        def room(self, now: float, work: runcue.Work) -> bool:
            return False

        def next_room(self, now: float, work: runcue.Work) -> Any:
            return None

    async with runcue.Cue() as cue:
        cue.service("odd", limits=Odd())
        cue.service("never", limits=NoInstant())
        cue.task("t", uses="odd")(lambda work: None)
        cue.task("u", uses="never")(lambda work: None)
        errors = [(await (await cue.submit(task)).wait()).error or "" for task in ("t", "u")]
    assert told in errors[0]
    assert "no instant; is a `return` missing?" in errors[1]


def generates(work: runcue.Work) -> Any:
    yield work.id


async def generates_later(work: runcue.Work) -> Any:
    yield work.id


async def gives_one(work: runcue.Work) -> Any:
    return generates(work)


@pytest.mark.parametrize(
    "handler",
    [lambda work: generates(work), lambda work: generates_later(work), gives_one],
    ids=["plain", "async", "awaited"],
)
@virtual
async def test_a_handler_of_which_nothing_has_run_is_told_of_once(
    handler: Callable[[runcue.Work], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with runcue.Cue() as cue:
        cue.task("t")(handler)
        for _ in range(2):
            await (await cue.submit("t"))
    [line] = said(caplog, "")
    assert line.startswith("The handler of task 't', ")
    assert "returned a generator, of which nothing has run" in line
    assert HERE in line


@virtual
async def test_an_expression_that_a_handler_returns_is_a_value(caplog: pytest.LogCaptureFixture) -> None:
    async with runcue.Cue() as cue:
        cue.task("t")(lambda work: (number * number for number in range(3)))
        assert list(await (await cue.submit("t"))) == [0, 1, 4]
    assert not said(caplog, "")


@pytest.mark.rule(12)
@pytest.mark.parametrize("form", ["function", "partial", "method"])
@virtual
async def test_a_coroutine_of_the_old_form_is_awaited(form: str) -> None:
    asked: list[str] = []

    @types.coroutine
    def answers(name: str, work: runcue.Work) -> Any:
        yield from asyncio.sleep(0.001).__await__()
        asked.append(name)
        return name != "stale"

    @types.coroutine
    def answer(work: runcue.Work) -> Any:
        return (yield from answers("ready", work))

    class Answers:
        @types.coroutine
        def answer(self, work: runcue.Work) -> Any:
            return (yield from answers("ready", work))

    forms: dict[str, Any] = {
        "function": answer,
        "partial": functools.partial(answers, "ready"),
        "method": Answers().answer,
    }
    async with runcue.Cue() as cue:
        cue.is_ready(forms[form])
        cue.task("t")(forms[form])
        assert await (await cue.submit("t")) is True
    assert asked == ["ready", "ready"]
