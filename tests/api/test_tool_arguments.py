"""Whatever the tools beside the cue are given (virtual time, rehearsals, timelines, written submissions, the progress
display), it works or is refused by an error of runcue that names what was wrong, in that line.

The values are those of `tests/registration/test_arguments.py`, which has the calls of a cue.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import rehearsal, submissions, testing, timeline
from tests.registration.test_arguments import NONE, PATHS, TEXTS, VALUES, Broken

WORDS = {*TEXTS, "empty"}
NUMBERS = {"number", "negative", "float"}


def a_cue() -> runcue.Cue:
    cue = runcue.Cue()
    cue.service("api", rate="1/s")
    cue.task("task")(lambda work: None)
    return cue


async def nothing() -> None: ...


def bar(**other: Any) -> Callable[[], str]:
    given: dict[str, Any] = {"work_id": "1", "task": "t", "services": ("api",), "start": 0.0, "end": 1.0}
    return timeline.draw([timeline.Bar(**{**given, "outcome": "completed", **other})])  # type: ignore[return-value]


def rehearse(**options: Any) -> rehearsal.Overlay:
    return rehearsal.rehearse(a_cue(), **{"duration": lambda work: 1.0, **options})


CALLS: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
    "testing.run": (testing.run, set()),
    "testing.run(returns)": (lambda value: testing.run(lambda: value), set()),
    "testing.run(order)": (lambda value: testing.run(nothing, order=value), {*NUMBERS, "nan", "inf", "None"}),
    "VirtualTimeLoop(order)": (
        lambda value: testing.VirtualTimeLoop(order=value).close(),
        {*NUMBERS, "nan", "inf", "None"},
    ),
    "FakeExecutor": (testing.FakeExecutor, {"number", "float"}),
    "Recorder": (testing.Recorder, set()),
    "Timeline": (timeline.Timeline, set()),
    "Timeline(label)": (lambda value: timeline.Timeline(a_cue(), label=value), NONE),
    "Timeline(keep)": (lambda value: timeline.Timeline(a_cue(), keep=value), {"number", "huge"}),
    "svg(title)": (lambda value: timeline.Timeline(a_cue()).svg(title=value), WORDS),
    "write_svg": (lambda value: timeline.Timeline(a_cue()).write_svg(value), PATHS - {"long"}),
    "draw": (timeline.draw, {"empty", "no bytes", "list", "dict"}),
    "draw([...])": (lambda value: timeline.draw([value]), set()),
    "draw(title)": (lambda value: timeline.draw([], title=value), WORDS),
    "Bar(work_id)": (lambda value: bar(work_id=value), WORDS),
    "Bar(task)": (lambda value: bar(task=value), WORDS),
    "Bar(label)": (lambda value: bar(label=value), WORDS),
    "Bar(services)": (lambda value: bar(services=value), {"list"}),
    "Bar(services=(...))": (lambda value: bar(services=(value,)), WORDS),
    "Bar(start)": (lambda value: bar(start=value), {*NUMBERS, "True", "False"}),
    "Bar(end)": (lambda value: bar(end=value), {*NUMBERS, "True", "False"}),
    "Bar(outcome)": (lambda value: bar(outcome=value), set()),
    "read_lines": (
        lambda value: list(submissions.read_lines(value, "w")),
        {"empty", "no bytes", "list", "dict"},
    ),
    "read_lines([...])": (lambda value: list(submissions.read_lines([value], "w")), {"no bytes"}),
    "read_lines(name)": (lambda value: list(submissions.read_lines([b'{"task": "t"}'], value)), WORDS),
    "rehearse": (lambda value: rehearsal.rehearse(value, lambda work: 1.0), set()),
    "rehearse(duration)": (lambda value: rehearse(duration=value), set()),
    "rehearse(outcome)": (lambda value: rehearse(outcome=value), NONE),
    "rehearse(id_prefix)": (lambda value: rehearse(id_prefix=value), WORDS | NONE),
    "rehearse(stall_timeout)": (lambda value: rehearse(stall_timeout=value), {"None", "number", "float"}),
    "set_limits": (lambda value: rehearsal.set_limits(value, {}), set()),
    "set_limits(limits)": (lambda value: rehearsal.set_limits(a_cue(), value), {"dict"}),
    "set_limits({...})": (lambda value: rehearsal.set_limits(a_cue(), {"api": value}), {"dict"}),
    "set_limits(rate)": (lambda value: rehearsal.set_limits(a_cue(), {"api": {"rate": value}}), NONE),
    "set_limits(concurrent)": (
        lambda value: rehearsal.set_limits(a_cue(), {"api": {"concurrent": value}}),
        {"number", "huge", *NONE},
    ),
    "Overlay.make": (lambda value: rehearsal.Overlay().make(value), set()),
    "Overlay.unmake": (lambda value: rehearsal.Overlay().unmake(value), set()),
    "Overlay.touched": (lambda value: rehearsal.Overlay().touched(value), set()),
    "Overlay.valid": (lambda value: rehearsal.Overlay().valid(value), set()),
    "StandIn": (lambda value: rehearsal.StandIn(value, rehearsal.Overlay()), set()),
    "progress": (runcue.progress, set()),
    "progress(title)": (lambda value: runcue.progress(a_cue(), title=value), WORDS),
    "progress(total)": (lambda value: runcue.progress(a_cue(), total=value), {"None", "number", "huge"}),
    "progress(notes)": (lambda value: runcue.progress(a_cue(), notes=value), NONE),
    "progress(file)": (lambda value: runcue.progress(a_cue(), file=value), NONE),
}


@pytest.mark.rule(34)
@pytest.mark.parametrize("call", CALLS)
def test_an_odd_value_works_or_is_refused_by_an_error_of_runcue(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, takes = CALLS[call]
    monkeypatch.chdir(tmp_path)

    def one(value: Any) -> str:
        try:
            make(value)
        except runcue.RuncueError as error:
            return "refused" if len(str(error)) <= 600 else "refused at length"
        return "works"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the truth of arrays
        found = {name: one(value) for name, value in VALUES.items()}
    assert found == {name: "works" if name in takes else "refused" for name in VALUES}


def test_a_limit_that_cannot_be_leaves_the_others_as_they_are() -> None:
    cue = a_cue()
    before = cue.services()
    for limits in (
        {"api": {"concurrent": 3, "rate": "fast"}},
        {"api": {"concurrent": 3}, "unknown": {}},
        {"api": {"concurrent": 3, "rate": None, "burst": 4}},
        Broken(),
    ):
        with pytest.raises(runcue.RuncueError):
            rehearsal.set_limits(cue, limits)
    assert cue.services() == before
    rehearsal.set_limits(cue, {"api": {"concurrent": 3, "rate": None}})
    assert (cue.services()[0].concurrent, cue.services()[0].rate) == (3, None)


def test_a_rehearsal_that_is_refused_leaves_the_cue_as_it_is() -> None:
    cue = a_cue()
    heard: list[runcue.Work] = []
    cue.on_start(heard.append)
    for options in ({"id_prefix": 5}, {"stall_timeout": math.nan}, {"outcome": 3}):
        with pytest.raises(runcue.ConfigurationError):
            rehearsal.rehearse(cue, lambda work: 1.0, **options)  # type: ignore[arg-type]

    async def main() -> None:
        async with cue:
            await cue.submit("task")

    testing.run(main)
    assert len(heard) == 1


def test_a_label_of_a_timeline_may_be_a_number() -> None:
    cue = a_cue()
    drawn = timeline.Timeline(cue, label=lambda work: work.params["page"])

    async def main() -> None:
        async with cue:
            await cue.submit("task", params={"page": 17})

    testing.run(main)
    assert [bar.label for bar in drawn.bars] == ["17"]
