"""What to do about an input that nobody makes, where that is not to submit what makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import File, testing


def raises(path: Path) -> bool:
    raise ValueError("bad header")


def refuses(path: Path) -> bool:
    return False


class Own(runcue.Artifact):
    def identity(self) -> str:
        return "own"

    def valid(self) -> bool:
        raise KeyError("x")

    def version(self) -> int:
        return 1


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inbox").mkdir()
    for name in ("i", "inbox/there"):
        (tmp_path / name).touch()


def asked(
    inputs: Any, prepare: Callable[[runcue.Cue], None] = lambda cue: None
) -> tuple[str, str, list[str]]:
    """What is said of a work unit that waits for these, by why() of it and of all, and unasked."""
    texts: list[str] = []

    class Ear(runcue.Observer):
        def warned(self, warning: runcue.abc.CueWarning) -> None:
            texts.append(warning.text)

    async def main() -> tuple[str, str]:
        cue = runcue.Cue(id_prefix="")
        cue.observe(Ear())
        prepare(cue)
        cue.task("t", inputs=inputs, outputs="o")(lambda work: None)
        cue.start()
        handle = await cue.submit("t")
        await asyncio.sleep(1)
        said = str(cue.why(handle)), str(cue.why())
        await cue.stop(drain=False)
        return said

    return *testing.run(main), texts


@pytest.mark.parametrize("inputs", [File("i", validate=raises), Own()], ids=["validate", "valid"])
def test_a_check_that_raises_is_named_with_its_place_and_is_what_is_to_be_mended(inputs: Any) -> None:
    one, everything, unasked = asked(inputs)
    name = "raises" if isinstance(inputs, File) else "Own.valid"
    for text in (one, everything, *(text for text in unasked if text.startswith("No producer"))):
        assert f"cannot be looked at, because {name} (tests/explain/test_next_steps.py:" in text
        assert "said no" not in text
    for text in (one, everything):
        assert "Mend that function: while it raises, the work unit is not ready" in text
        assert "Submit" not in text


@pytest.mark.parametrize(
    ("inputs", "then"),
    [
        (["inbox/late", "inbox/later"], "comes"),
        ("inbox/below/late", "comes"),
        (File("inbox/there", validate=refuses), "is right"),
    ],
    ids=["missing", "below", "not right"],
)
def test_of_what_is_in_a_watched_folder_it_is_said_that_it_is_watched(inputs: Any, then: str) -> None:
    pytest.importorskip("watchfiles")
    one, everything, unasked = asked(inputs, lambda cue: cue.watch("inbox"))
    for text in (one, everything):
        assert f"inbox' is watched: it starts when the file {then}" in text
        assert "cue.watch" not in text
    assert unasked == []


def test_of_what_is_beside_a_watched_folder_it_is_not() -> None:
    pytest.importorskip("watchfiles")
    one, _, _ = asked(["inbox/late", "late"], lambda cue: cue.watch("inbox"))
    assert "is watched" not in one
    assert "cue.watch(folder) or cue.nudge(path)" in one
