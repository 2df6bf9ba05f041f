"""Whatever is in names, params, paths, reasons and errors, and whatever objects do when they are asked what they are:
every error, warning, repr and answer is told, in at most 600 characters a line.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

import runcue
import runcue.abc
from runcue import Flag
from runcue._freshness.stamps import stamp_path
from runcue.testing import run

pytestmark = pytest.mark.rule(34)

LONG = "x" * 105_000
NAME = f"task{LONG}"
LINE = 740  # 700, and what a repr puts around it

Submissions = list[tuple[str, dict[str, Any], dict[str, Any]]]


class Raises:
    def __repr__(self) -> str:
        raise ZeroDivisionError("repr")

    __str__ = __repr__

    def __format__(self, form: str) -> str:
        raise ZeroDivisionError("format")

    def __call__(self, *heard: object) -> NoReturn:
        raise Mute


class Mute(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError("str")


class Wordy(runcue.Artifact):
    def __init__(self, name: str) -> None:
        self.name = name

    def valid(self) -> bool:
        return False

    def problem(self) -> str:
        return f"is {LONG}"


class Broken(runcue.Artifact):
    def __init__(self, name: str) -> None:
        self.name = name

    def valid(self) -> bool:
        raise RuntimeError(LONG)

    def problem(self) -> str:
        raise ZeroDivisionError

    def __repr__(self) -> str:
        raise ZeroDivisionError

    __str__ = __repr__


class Full(runcue.abc.Limit):
    def room(self, now: float, work: runcue.Work) -> bool:
        return False

    def next_room(self, now: float, work: runcue.Work) -> float:
        return now + 1e6

    def describe(self, now: float, work: runcue.Work) -> str:
        return LONG


class FullAndMute(Full):
    def describe(self, now: float, work: runcue.Work) -> str:
        raise ValueError(LONG)


class Failing(Full):
    def room(self, now: float, work: runcue.Work) -> bool:
        raise ValueError(LONG)

    def __repr__(self) -> str:
        raise ZeroDivisionError


def raises(error: BaseException) -> Callable[..., NoReturn]:
    def handler(*about: object) -> NoReturn:
        raise error

    return handler


def nothing(work: runcue.Work) -> None: ...


def reasons(cue: runcue.Cue) -> Submissions:
    cue.task(NAME)(nothing)
    cue.is_ready(lambda work: (False, LONG))
    return [(NAME, {"p": LONG}, {}), (NAME, {"p": Raises()}, {})]


def params(cue: runcue.Cue) -> Submissions:
    cue.task(NAME)(nothing)
    cue.is_ready(lambda work: False)
    return [(NAME, {"p": LONG, "q": Raises()}, {}), (NAME, {"p": [LONG] * 3, LONG: {"p": LONG}}, {})]


def raising_gates(cue: runcue.Cue) -> Submissions:
    cue.task(NAME)(nothing)
    cue.task("mute")(nothing)
    cue.is_ready(raises(ValueError(LONG)))
    cue.is_ready(task="mute")(Raises())
    return [(NAME, {}, {}), ("mute", {}, {})]


def raising_callbacks(cue: runcue.Cue) -> Submissions:
    cue.task(NAME)(nothing)
    listener = raises(ValueError(LONG))
    listener.__qualname__ = LONG
    cue.on_complete(listener)
    cue.on_start(Raises())
    cue.priority(Raises())  # type: ignore[call-overload]
    cue.is_stale(Raises())
    cue.on_complete(task=LONG)(print)  # a task that there is not
    return [(NAME, {}, {}), (LONG, {}, {})]


def failures(cue: runcue.Cue) -> Submissions:
    cue.task(NAME)(raises(ValueError(LONG)))
    cue.task("mute")(raises(Mute()))
    cue.task("exits")(raises(SystemExit(LONG)))
    return [(NAME, {}, {}), ("mute", {}, {}), ("exits", {}, {})]


def missing_inputs(cue: runcue.Cue) -> Submissions:
    inputs = [Wordy(LONG), runcue.File(f"folder/{LONG}"), Flag(LONG)]
    cue.task(NAME, inputs=inputs, outputs=Flag("made"))(nothing)
    cue.task("broken", inputs=[Broken("a"), Broken(LONG)])(nothing)
    return [(NAME, {"p": LONG}, {}), ("broken", {"p": LONG}, {})]


def missing_outputs(cue: runcue.Cue) -> Submissions:
    cue.task(NAME, outputs=Flag(LONG))(nothing)
    cue.task("wordy", outputs=Wordy(LONG), fresh=None)(nothing)
    cue.task("broken", outputs=Broken(LONG), fresh=None)(nothing)
    return [(NAME, {}, {}), ("wordy", {}, {}), ("broken", {}, {})]


def cycle(cue: runcue.Cue) -> Submissions:
    one, other = Flag(f"a{LONG}"), Flag(f"b{LONG}")
    cue.task(NAME, inputs=one, outputs=other)(nothing)
    cue.task(f"2{NAME}", inputs=other, outputs=one)(nothing)
    return [(NAME, {}, {}), (f"2{NAME}", {}, {})]


def duplicates(cue: runcue.Cue) -> Submissions:
    cue.task(NAME, key=f"key {LONG}")(nothing)
    return [(NAME, {"p": one}, {}) for one in (LONG, f"{LONG}y", Raises())] + [(NAME, {}, {"key": Raises()})]


def time_outs(cue: runcue.Cue) -> Submissions:
    cue.task(NAME, timeout=1)(lambda work: asyncio.sleep(100))
    cue.task(f"2{NAME}")(nothing)
    cue.is_ready(task=f"2{NAME}")(lambda work: (False, LONG))
    return [(NAME, {}, {}), (f"2{NAME}", {}, {})]


def declarations(cue: runcue.Cue) -> Submissions:
    cue.task(NAME, inputs=raises(ValueError(LONG)))(nothing)
    cue.task("odd", inputs=lambda work: Raises())(nothing)  # type: ignore[call-overload]
    cue.task("path", inputs=lambda work: f"{LONG}\0")(nothing)
    cue.task("free")(nothing)
    return [
        (NAME, {"p": Raises()}, {}),
        ("odd", {}, {}),
        ("path", {}, {}),
        ("free", {}, {"inputs": Raises()}),
    ]


def limits(cue: runcue.Cue) -> Submissions:
    cue.service(LONG, rate="1/hour", concurrent=1)
    cue.task(NAME, uses=LONG)(nothing)
    for number, limit in enumerate((Full(), FullAndMute(), Failing())):
        cue.service(f"service {number}", limits=limit)
        cue.task(f"{number}{NAME}", uses=f"service {number}")(nothing)
    return [(NAME, {}, {}), (NAME, {}, {}), *((f"{number}{NAME}", {}, {}) for number in range(3))]


@pytest.mark.parametrize(
    "scenario",
    [
        reasons,
        params,
        raising_gates,
        raising_callbacks,
        failures,
        missing_inputs,
        missing_outputs,
        cycle,
        duplicates,
        time_outs,
        declarations,
        limits,
    ],
)
def test_all_that_is_told_is_short(
    scenario: Callable[[runcue.Cue], Submissions], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    class Hears(runcue.Observer):
        def warned(self, warning: runcue.abc.CueWarning) -> None:
            told.extend((warning.text, repr(warning)))

    async def main() -> None:
        cue = runcue.Cue(pending_warn_after=1, stall_warn_after=1, pending_timeout=5, id_prefix="")
        cue.observe(Hears())
        handles = []
        submissions = scenario(cue)
        told.append(str(cue.plan([(submissions[0][0], submissions[0][1])])))
        cue.start()
        for task, about, options in submissions:
            try:
                handles.append(await cue.submit(task, about, **options))
            except runcue.RuncueError as error:
                told.extend((str(error), repr(error)))
        for seconds in (2, 10):
            await asyncio.sleep(seconds)
            for handle in handles:
                work, why, why_stale = handle.work, cue.why(handle), cue.why_stale(handle)
                told.extend(map(str, (why, *why.missing, why_stale, work.error)))
                told.extend(map(repr, (work, why, *why.missing, why_stale)))
                told.extend(repr(one) for one in (*work.inputs, *work.outputs) if type(one) is not Broken)
                if isinstance(work.exception, runcue.RuncueError):
                    told.extend((str(work.exception), repr(work.exception)))
            told.extend(one["details"] for one in cue.debug_blocked())
            told.extend(map(repr, (cue, *cue.tasks())))
        summary = await cue.stop(drain=False)
        told.extend((str(summary), repr(summary), *(one["details"] for one in summary.blocked)))

    with caplog.at_level(logging.INFO, "runcue"):
        run(main)
    told.extend(record.getMessage() for record in caplog.records)
    assert told
    assert [line for text in told for line in text.splitlines() if len(line) > LINE] == []


def test_what_is_told_of_files_is_short_however_long_their_paths_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path.joinpath(*["folder" + "x" * 190] * 12)
    folder.mkdir(parents=True)
    # Nothing can be noted in there, and what was noted is nothing.
    folder.joinpath(".runcue-marks").write_text("somebody's", encoding="utf-8")
    Path(stamp_path(str(folder / "out"))).write_text("no stamp", encoding="utf-8")
    folder.joinpath("out").write_text("old", encoding="utf-8")
    told: list[str] = []

    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t", outputs=folder / "out", fresh=runcue.digest())(nothing)
        cue.task("fails", outputs=folder / "not there")(nothing)
        async with cue:
            await (await cue.submit("t")).wait()
            for output in (folder / "not there", folder / ("x" * 300)):
                work = await (await cue.submit("fails", outputs=output)).wait()
                told.append(str(work.error))

    with caplog.at_level(logging.INFO, "runcue"):
        run(main)
    told += caplog.messages
    assert [text for text in told if len(text) > LINE] == []
    assert sum("cannot note in the folder" in text for text in told) == 1
    assert sum("which notes how" in text for text in told) == 1
