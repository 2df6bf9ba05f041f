"""Whatever befalls makers of files, none is skipped on what was not made from the present content of its inputs.

Each example is a small tree of files and makers of some from others, in several lives of a process. While it lives,
inputs change, are replaced and dated back, work units fail, time out and are cancelled, and the process is killed: at
any instant, and between any two things that are asked of the file system. What outputs were made from stands in them
(`tests.support.lives`), so the dates need not be trusted to judge.

What dates cannot show is left out, as docs/artifacts.md says: tools that date an input back under `newer()`, and
links that are turned to an older file. For `digest()` nothing is.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.support.lives import Deed, Files, Kind, Lives, Maker, Plan, lives, source
from tests.support.worlds import Tally

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here: NOBODY DIES")

SOURCES = ("src/s0", "src/s1", "src/s2")
LINK = "src/link"  # leads to one of the sources
TURNED = "turned"  # leads to one of two folders
FOLDER = "src"
TICK = 10_000_000  # the slowest clock of a kernel: CONFIG_HZ=100
REAL_PAUSE = 0.006  # longer than most ticks
INSTANTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.25, 3.0)


class Story(NamedTuple):
    """An example.

    Attributes:
        policy: Of all makers.
        tick: Of the file system's clock.
        lives: For each, the makers as they are in it, what befalls them, and when they are submitted again.
        settled: The makers as they are in the end.
    """

    policy: str
    tick: int
    lives: list[tuple[list[Maker], list[Deed], list[float]]]
    settled: list[Maker]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    policy = draw(st.sampled_from(("newer", "newer", "digest", "digest", "none")))
    number_of_makers = draw(st.integers(1, 4))
    made: list[str] = []
    settled = []
    for number in range(number_of_makers):
        spelled = st.sampled_from(("", "", "alias/"))
        known = [*SOURCES, LINK, f"{TURNED}/s", *made]
        inputs = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
        inputs = [draw(spelled) + one for one in inputs]
        if draw(st.integers(0, 5)) == 0:
            inputs.append(FOLDER)
        way = draw(st.sampled_from(("open", "open", "write", "write", "atomic", "replace")))
        place = draw(st.sampled_from(("out", "out", "new/folder")))
        outputs = [f"{place}/{number}{letter}" for letter in ("", "b")[: draw(st.integers(1, 2))]]
        spellings = list(outputs)
        kind = draw(st.integers(0, 5))
        if kind == 0:
            outputs = [f"tree/{number}/"]
            spellings = [f"tree/{number}", f"tree/{number}/a"]
        elif kind == 1 and way != "replace":  # which would put a file in the place of the link
            outputs = [f"out/to {number}"]
            spellings = [f"out/to {number}", f"store/{number}"]
        date = draw(st.sampled_from((None,) * 9 + (1e9,)))
        if date is None:
            made += spellings  # of what is dated back by its maker nobody can know when it has changed
        settled.append(
            Maker(
                f"m{number}",
                inputs,
                [draw(spelled) + one for one in outputs],
                way=way,
                sync=draw(st.integers(0, 3)) == 0,
                date=date,
            )
        )
    some = [
        draw(st.tuples(disturbed(settled), deeds(settled, policy), agains))
        for _ in range(draw(st.integers(1, 3)))
    ]
    return Story(policy, draw(st.sampled_from((0, 0, 0, TICK))), some, settled)


agains = st.lists(st.sampled_from(INSTANTS[1:]), max_size=1)


@st.composite
def disturbed(draw: st.DrawFn, makers: list[Maker]) -> list[Maker]:
    """The makers as they are in one life: some fail, some dawdle."""
    pause = st.sampled_from((0.0, 0.5, 1.0))
    found = []
    for maker in draw(st.permutations(makers)):
        one = Maker(**vars(maker))
        one.pauses = draw(st.lists(pause, min_size=4, max_size=4))
        one.fails = draw(st.sampled_from((None,) * 10 + (0, 1, 2, 3)))
        one.timeout = draw(st.sampled_from((False, False, True)))
        one.stubborn = draw(st.booleans())
        found.append(one)
    return found


@st.composite
def deeds(draw: st.DrawFn, makers: list[Maker], policy: str) -> list[Deed]:
    outputs = [
        one.removeprefix("alias/").replace("out/to ", "store/") for maker in makers for one in maker.files
    ]
    found = []
    for _ in range(draw(st.sampled_from((3, 0, 1, 2, 4)))):
        kind = draw(st.sampled_from(("change", "replace", *["change"] * 5, "kill", *Kind.__args__)))  # type: ignore[attr-defined]
        victim = draw(st.sampled_from(makers))
        deed = Deed(kind, lasts=draw(st.sampled_from((0.0, REAL_PAUSE))))
        if kind == "cancel":
            deed.path = draw(st.sampled_from([maker.name for maker in makers]))
        elif kind == "turn":
            deed.path, targets = draw(st.sampled_from(((LINK, SOURCES), (TURNED, ("first", "second")))))
            deed.to = draw(st.sampled_from(targets))
        elif kind == "remove":
            # What is in a folder does not matter to its validity.
            files = [one for one in outputs if policy == "digest" or not one.startswith("tree/")]
            if not files:
                continue
            deed.path = draw(st.sampled_from(files))
        elif kind in ("orphan", "confirm"):
            deed.path = draw(st.sampled_from(outputs))
        elif kind != "kill":
            needed = [name.removeprefix("alias/") for name in victim.inputs]
            needed = [name for name in needed if name in (*SOURCES, *outputs, f"{TURNED}/s")]
            deed.path = draw(st.sampled_from([*(needed * 3), *SOURCES, *outputs]))
        aim = draw(st.sampled_from(("at", "begun", "read", "read", "ended", "ended")))
        if aim == "at":
            deed.at = draw(st.sampled_from(INSTANTS))
        else:
            deed.call = draw(st.integers(1, 60 if aim == "begun" else 15))
            deed.after = {"begun": None, "read": f"read by {victim.name}", "ended": victim.name}[aim]
        found.append(deed)
    return found


class World:
    """The files of an example and what its lives have left."""

    def __init__(self, scratch: str, story: Story, process: Lives) -> None:
        self.story = story
        self.process = process
        self.folder = f"{scratch}/example"
        self.report = f"{scratch}/report"
        self.files = Files(self.folder, story.policy)
        self.unproven: dict[str, str | None] = {}
        self.number = 0
        for name in ("src", "out", "store", "first", "second"):
            (Path(self.folder) / name).mkdir(parents=True)
        Path(self.files.path("alias")).symlink_to(".")
        for number, name in enumerate(SOURCES):
            Path(self.files.path(name)).write_text(source(number + 1, steady=story.policy == "digest"))
        for number, name in enumerate(("first/s", "second/s")):
            Path(self.files.path(name)).write_text(source(number + 50, steady=story.policy == "digest"))
        Path(self.files.path(LINK)).symlink_to(self.files.path(SOURCES[0]))
        Path(self.files.path(TURNED)).symlink_to("first")
        for maker in story.settled:
            for name in maker.outputs:
                if "/to " in name:
                    Path(self.files.path(name)).symlink_to(f"../store/{maker.name[1:]}")

    def live(
        self, makers: list[Maker], deeds: list[Deed], again: list[float], *, settles: bool = False
    ) -> list[Any]:
        self.number += 1
        before = self.files.tell()
        plan = Plan(
            self.folder,
            self.report,
            self.story.policy,
            makers,
            deeds,
            self.unproven,
            self.number,
            again=again,
            settles=settles,
            tick=self.story.tick,
        )
        code, report = self.process.live(plan)
        told = "\n".join(map(str, report))
        assert code in (0, -signal.SIGKILL), told
        assert settles <= (code == 0), told
        assert not [one["text"] for one in report if one["event"] == "wrong"], told
        removed = {deed.path for deed in deeds if deed.kind == "remove"}
        lost = before.keys() - self.files.tell().keys()
        assert lost <= removed, f"lost: {lost - removed}\n{told}"
        for one in report:
            if one["event"] == "unproven":
                self.unproven = one["paths"]
        if code:
            # Its handler had returned, and nobody knows whether that was noted.
            for one in (one for one in report if one["event"] == "ended"):
                for name in one["paths"]:
                    if self.files.text(name) == one["text"]:
                        self.unproven.pop(name, None)
        return report


@pytest.fixture(scope="module")
def process() -> Iterator[Lives]:
    with lives() as process:
        yield process


def told_of(report: list[Any], kind: str) -> list[Any]:
    return [one for one in report if one["event"] == kind]


@pytest.mark.rule(27, 30)
@settings(max_examples=max(1, settings().max_examples // 6))
@given(story=stories())
def test_nothing_is_believed_but_what_was_made_from_the_present_content_of_its_inputs(
    story: Story, process: Lives
) -> None:
    Tally.examples += 1
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        world = World(scratch, story, process)
        for makers, deeds, again in story.lives:
            world.live(makers, deeds, again)
            event("a life")
        # From here on all goes well, and comes to rest.
        for name in (name for name in SOURCES if world.files.text(name) is None):
            Path(world.files.path(name)).write_text(source(900, steady=story.policy == "digest"))
        _, second, third = (world.live(story.settled, [], [], settles=True) for _ in range(3))
        event(f"{len(told_of(second, 'start'))} ran the second time")
        if ran := told_of(third, "start"):
            assert told_of(third, "told"), f"ran again and again, in silence: {ran}\n{third}"
