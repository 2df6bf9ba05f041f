"""A path that nobody will ever make: where it was looked for and what is meant, told unasked and when asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import runcue
from runcue import testing

CAPITALS = "'Page-1.png' is there, beside it, with other capitals"


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # One with a short path: of a long text the places go first.
    with TemporaryDirectory() as folder:
        monkeypatch.chdir(folder)
        Path("Page-1.png").touch()
        yield


def read(given: Any, *, others: tuple[Any, ...] = (), made: Any = "made") -> tuple[runcue.Why, str]:
    """What is said of a work unit that needs this, by `why()` and by the warning."""
    warnings: list[str] = []

    class Ear(runcue.Observer):
        def warned(self, warning: runcue.abc.CueWarning) -> None:
            warnings.append(warning.text)

    async def main() -> runcue.Why:
        cue = runcue.Cue(id_prefix="")
        cue.observe(Ear())
        cue.task("make", inputs="never", outputs=made)(lambda work: None)
        cue.task("read", inputs=lambda work: work.params["of"], outputs=lambda work: f"{work.id}.out")(
            lambda work: None
        )
        async with cue:
            handle = await cue.submit("read", {"of": given})
            for other in others:
                await cue.submit("read", {"of": other})
            await cue.submit("make")
            await cue.drain()
            return cue.why(handle)

    why = testing.run(main)
    return why, next(text for text in warnings if text.startswith("No producer"))


def test_other_case_is_told_with_the_absolute_path_and_the_working_folder() -> None:
    why, warning = read("page-1.png")
    place = f"at '{Path.cwd()}/page-1.png', from the working folder; {CAPITALS}"
    assert str(why.missing[0]) == (
        f"File('page-1.png') is missing ({place}); nothing that is pending or running declares it as an output"
    )
    assert why.verdict == "no producer"
    assert why.next_step == "Correct the path, or submit what makes it"
    assert f"File('page-1.png') is missing ({place}); make 2: File('never') is missing" in warning
    assert len(str(why)) < 500


def test_what_another_work_unit_is_about_to_make_under_nearly_that_name_is_told() -> None:
    why, warning = read("rows.csv", made=["out/rows.csv", "x"])
    made = f"'{Path.cwd()}/out/rows.csv' is made by make 2"
    assert made in str(why)
    assert made in warning


def test_a_path_from_another_working_folder_is_told_with_both() -> None:
    Path("data").mkdir()
    os.chdir("data")
    file = runcue.File("Page-1.png")
    os.chdir("..")
    why, _ = read(file)
    assert f"from the working folder '{Path.cwd()}/data', which is '{Path.cwd()}' by now" in str(why)
    assert f"'{Path.cwd()}/Page-1.png' is there" in str(why)


@pytest.mark.parametrize("given", ["there", "there/x/y"])
def test_of_an_absolute_path_without_a_near_miss_it_is_told_if_its_folder_is_missing(given: str) -> None:
    Path("there").mkdir()
    path = f"{Path.cwd()}/{given}/never"
    why, _ = read(path)
    missing = {"there": "", "there/x/y": f" (the folder '{Path.cwd()}/there/x' is missing)"}[given]
    assert str(why.missing[0]).startswith(f"File({path!r}) is missing{missing}; nothing")
    assert (why.next_step == "Correct the path, or submit what makes it") is bool(missing)


def test_all_that_waits_and_the_warning_name_what_is_there_and_what_to_do() -> None:
    place = f"at '{Path.cwd()}/page-1.png', from the working folder; {CAPITALS}"

    async def main() -> tuple[str, str]:
        cue = runcue.Cue(id_prefix="")
        cue.task("read", inputs=lambda work: work.params["of"])(lambda work: None)
        async with cue:
            await cue.submit("read", {"of": "page-1.png"})
            await cue.drain()
            one = str(cue.why())
            for far in "abcdefg":
                await cue.submit("read", {"of": f"far-away-{far}"})
            await cue.drain()
            return one, str(cue.why())

    one, several = testing.run(main)
    assert f"it is missing ({place}). Correct the path, or submit what makes it" in one
    assert (
        "8 read wait for File('page-1.png'), File('far-away-a'), File('far-away-b') and 5 more, which"
        in several
    )
    assert (
        f"File('page-1.png') is missing ({place}). Correct the path of File('page-1.png'); submit" in several
    )


def test_a_warning_with_a_near_miss_says_to_correct_the_path() -> None:
    _, warning = read("page-1.png")
    assert "'Page-1.png' is there, beside it" in warning
    assert warning.endswith(
        "Correct the path of File('page-1.png'); submit what makes File('never'). If it comes from outside, wait: it "
        "is looked for again"
    )


def test_of_many_that_nobody_makes_the_warning_places_the_first() -> None:
    _, warning = read("page-1.png", others=tuple(f"other-{number}" for number in range(20)))
    assert warning.count("from the working folder") == 1
    assert "File('page-1.png') is missing (at '" in warning
    assert len(warning) < 600


def test_a_root_far_away_is_placed_as_well() -> None:
    why, _ = read("made")
    assert why.root is not None
    assert f"at '{Path.cwd()}/never', from the working folder" in str(why)


def test_a_handler_that_mistypes_its_output_is_told_what_it_has_left() -> None:
    async def main() -> str:
        cue = runcue.Cue()
        cue.task("t", outputs="result.txt")(lambda work: Path("Result.txt").touch())
        async with cue:
            handle = await cue.submit("t")
            await handle.wait()
            return str(handle.exception())

    assert "; 'Result.txt' is there, beside it, with other capitals)" in testing.run(main)


def test_a_plan_names_what_is_there_in_place_of_an_input_that_nothing_makes() -> None:
    cue = runcue.Cue()
    cue.task("read", inputs="page-1.png", outputs="out")(lambda work: None)
    assert cue.plan(["read"]).blocked[0].reason == (
        "input File('page-1.png') is missing ('Page-1.png' is there, beside it, with other capitals), and nothing "
        "planned makes it"
    )
