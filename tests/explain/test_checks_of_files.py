"""Files of one path that are asked differently, by `max_age=` and `validate=`: each is told for what is asked of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import File
from tests.support.virtual_time import virtual


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "i").touch()
    os.utime("i", (time.time() - 90_000,) * 2)


def refuses(path: Path) -> bool:
    return False


class Ear(runcue.Observer):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def warned(self, warning: runcue.abc.CueWarning) -> None:
        self.texts.append(warning.text)


async def asked(look: Callable[[runcue.Cue], Any], **inputs: Any) -> Any:
    """What is said while tasks of these names wait for these inputs, once that was told unasked too."""
    cue = runcue.Cue(id_prefix="")
    ear = Ear()
    cue.observe(ear)
    for name, needed in inputs.items():
        cue.task(name, inputs=needed, outputs=f"{name}.out")(lambda work: None)
    cue.start()
    for name in inputs:
        await cue.submit(name)
    await asyncio.sleep(2)
    said = look(cue)
    await cue.stop(drain=False)
    return said, [text for text in ear.texts if text.startswith("No producer")]


@pytest.mark.parametrize("first", ["t", "v"])
@virtual
async def test_that_a_file_is_there_for_one_does_not_make_it_right_for_another(first: str) -> None:
    tasks: dict[str, Any] = {"t": ["i", "j"], "v": File("i", validate=refuses)}
    said, _ = await asked(lambda cue: str(cue.why()), **{first: tasks[first]} | tasks)
    assert "None" not in said
    numbers = ("1", "2") if first == "t" else ("2", "1")
    one, another = sorted(said.splitlines())
    assert one.startswith(f"t {numbers[0]} waits for File('j'), which nobody makes")
    assert another.startswith(f"v {numbers[1]} waits for File('i'), which nobody makes")


@virtual
async def test_what_is_there_by_now_is_not_said_to_be_made_by_nobody() -> None:
    def look(cue: runcue.Cue) -> str:
        Path("late").touch()
        return str(cue.why())

    said, _ = await asked(look, t="late", u="late")
    assert said.startswith("2 work units are about to be asked again: File('late') is there now")


@virtual
async def test_those_who_ask_differently_of_one_path_are_told_apart_asked_and_unasked() -> None:
    said, [unasked] = await asked(
        lambda cue: str(cue.why()),
        young=File("i", max_age="2h"),
        right=File("i", validate=refuses),
        also=File("i", max_age="2h"),
    )
    old, wrong = said.splitlines()
    assert old.startswith("2 work units wait for File('i'), which nobody makes")
    assert "it is 25 h old, which is more than its max_age of 2 h" in old
    assert wrong.startswith("right 2 waits for File('i'), which nobody makes")
    assert "it is not valid" in wrong
    assert unasked.count("File('i') is 25 h old, which is more than its max_age of 2 h") == 1
    assert "right 2: File('i') is not valid" in unasked


@virtual
async def test_checks_that_are_methods_of_one_thing_are_one_question() -> None:
    class Format:
        def is_right(self, path: Path) -> bool:
            return False

    form = Format()
    said, [unasked] = await asked(
        lambda cue: str(cue.why()),
        t=lambda work: File("i", validate=form.is_right),
        u=lambda work: File("i", validate=form.is_right),
        v=lambda work: File("i", validate=Format().is_right),
    )
    first, second = said.splitlines()
    assert first.startswith("2 work units wait for File('i'), which nobody makes")
    assert second.startswith("v 3 waits for File('i'), which nobody makes")
    # Where the checkout lies deep, the text has room for one of them.
    assert unasked.count("File('i') is not valid") + unasked.count("and 1 more (cue.why() has all)") == 2
