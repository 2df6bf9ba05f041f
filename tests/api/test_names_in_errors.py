"""Errors about wrong arguments name the argument, also where the value goes through other hands first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import runcue
from runcue import rehearsal


class Silent(str):
    """A text that cannot be shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Undecided:
    def __bool__(self) -> bool:
        raise RuntimeError("neither")


@pytest.mark.parametrize("options", [{"inputs": ["a", ""]}, {"outputs": "a\0b"}], ids=str)
async def test_a_path_that_is_none_is_told_with_what_it_was_given_as(options: dict[str, Any]) -> None:
    [name] = options
    cue = runcue.Cue()
    cue.task("plain")(lambda work: None)
    with pytest.raises(
        runcue.ConfigurationError, match=rf"A File needs a path, not '.*'\. It is given as {name}\.$"
    ):
        await cue.submit("plain", **options)
    with pytest.raises(runcue.ConfigurationError, match=rf"It is given as {name} of task 'other'\.$"):
        cue.task("other", **options)(lambda work: None)


async def test_a_page_of_a_list_that_begins_after_no_work_unit_names_the_argument() -> None:
    with pytest.raises(
        runcue.ConfigurationError, match=r"^after= of list\(\): a work unit is meant by its id, .* not by 5"
    ):
        await runcue.Cue().list(after=5)  # type: ignore[arg-type]


def test_a_text_that_cannot_be_shown_is_no_duration_and_no_error_of_its_own() -> None:
    with pytest.raises(runcue.ConfigurationError, match=r"retry_after of Throttled must be .*, not Silent\."):
        runcue.Throttled(Silent("x"))


@pytest.mark.parametrize("value", ["yes", 2, Undecided()], ids=["text", "number", "neither"])
def test_whether_a_run_is_debugged_is_yes_or_no(value: Any) -> None:
    async def main() -> None: ...

    with pytest.raises(
        runcue.ConfigurationError, match=r"debug of runcue\.run\(\) must be True or False, not "
    ):
        runcue.run(main, debug=value)


@pytest.mark.parametrize(
    "ask",
    [rehearsal.not_before, rehearsal.cost_of, rehearsal.spent_by, rehearsal.keys_of],
    ids=lambda one: one.__name__,
)
@pytest.mark.parametrize("value", [None, "id", runcue.Work("1", "task")], ids=["nothing", "id", "of no cue"])
def test_what_books_are_kept_of_is_asked_of_work_units_alone(
    ask: Callable[[Any], object], value: Any
) -> None:
    with pytest.raises(
        runcue.ConfigurationError, match=rf"{ask.__name__}\(\) takes a runcue.Work of a cue, not "
    ):
        ask(value)


def test_what_holds_a_service_is_asked_of_a_cue_and_its_services() -> None:
    cue = runcue.Cue()
    cue.service("api", concurrent=1)
    assert rehearsal.holds_of(cue, "api")() == {}
    for call in (lambda: rehearsal.holds_of(None, "api"), lambda: rehearsal.places_of("cue")):
        with pytest.raises(runcue.ConfigurationError, match=r"takes a runcue\.Cue, not "):
            call()
    with pytest.raises(runcue.UnknownService, match=r"'appi'.*'api'"):
        rehearsal.holds_of(cue, "appi")
    with pytest.raises(runcue.ConfigurationError, match="has no keys"):
        rehearsal.holds_of(cue, "api", "anna")
