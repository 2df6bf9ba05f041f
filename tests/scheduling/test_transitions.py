"""The table of transitions: what it says, that its bits say the same, and that one setter is bound by it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from runcue._model.errors import InvalidTransition
from runcue._model.phases import (
    PHASES,
)
from runcue._scheduling.transitions import ALLOWED, TRANSITIONS
from tests.support.cores import by_phase, in_phase

# Written a second time, so that nobody changes the table without meaning it.
EXPECTED = {
    "new": {"ready", "not_ready", "checking", "held", "joined", "not_due", "running", "settled"},
    "ready": {"not_ready", "checking", "held", "not_due", "running", "settled"},
    "not_ready": {"ready", "checking", "held", "not_due", "settled"},
    "checking": {"ready", "not_ready", "held", "running", "settled"},
    "held": {"new", "ready", "not_ready", "checking", "not_due", "settled"},
    "joined": {"new", "not_due", "running", "settled"},
    "not_due": {"new", "settled"},
    "running": {"not_due", "settled"},
    "settled": set[str](),
}

PAIRS = [(old, new) for old in TRANSITIONS for new in TRANSITIONS]
LISTED = [(old, new) for old, new in PAIRS if PHASES[new] in EXPECTED[PHASES[old]]]
UNLISTED = [pair for pair in PAIRS if pair not in LISTED]

PACKAGE = Path(__file__).parents[2] / "runcue"


def name(pair: tuple[int, int]) -> str:
    return f"{PHASES[pair[0]]} to {PHASES[pair[1]]}"


def test_the_table_is_the_one_that_was_meant_and_lists_every_phase() -> None:
    said = {PHASES[old]: {PHASES[new] for new in allowed} for old, allowed in TRANSITIONS.items()}
    assert said == EXPECTED
    assert set(TRANSITIONS) == set(range(len(PHASES)))
    assert len(LISTED) + len(UNLISTED) == len(PHASES) ** 2 == 81


def test_the_bits_say_what_the_table_says() -> None:
    assert len(ALLOWED) == len(TRANSITIONS)
    for old, new in PAIRS:
        assert bool(ALLOWED[old] >> new & 1) == (new in TRANSITIONS[old]), name((old, new))


@pytest.mark.parametrize("pair", LISTED, ids=name)
def test_a_listed_transition_changes_the_phase_and_both_counts(pair: tuple[int, int]) -> None:
    old, new = pair
    world, work = in_phase(old)
    before = by_phase(world.core)

    world.core.move(work, new)

    assert work._phase == new
    after = by_phase(world.core)
    assert after[old] == before[old] - 1
    assert after[new] == before[new] + 1
    assert sum(after) == 1


@pytest.mark.parametrize("pair", UNLISTED, ids=name)
def test_an_unlisted_pair_raises_and_changes_nothing(pair: tuple[int, int]) -> None:
    old, new = pair
    world, work = in_phase(old)
    before = by_phase(world.core)

    with pytest.raises(InvalidTransition, match=f"{PHASES[old]} to {PHASES[new]}"):
        world.core.move(work, new)

    assert work._phase == old
    assert by_phase(world.core) == before


def writers(file: Path) -> Iterator[str]:
    """Yields the names of the functions in a file that set a `_phase`, in whatever form."""
    for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and node.attr == "_phase":
                    if not isinstance(node.ctx, ast.Load):
                        yield getattr(function, "name", "lambda")
                elif (
                    isinstance(node, ast.Constant) and node.value == "_phase"
                ):  # setattr(work, "_phase", ...)
                    yield getattr(function, "name", "lambda")


def test_nobody_but_the_setter_and_the_three_beside_it_writes_a_phase() -> None:
    found = {
        (file.relative_to(PACKAGE).as_posix(), function)
        for file in PACKAGE.rglob("*.py")
        for function in writers(file)
    }
    assert found == {
        ("_scheduling/core.py", "move"),
        ("_scheduling/core.py", "start"),
        ("_scheduling/core.py", "settle"),
        ("_scheduling/core.py", "wait_all"),
        ("_model/work.py", "_begin"),  # born NEW
        ("_model/work.py", "_refuse"),  # was never taken in
        ("_model/work.py", "_stand_in"),  # has no cue, and so no core
    }
