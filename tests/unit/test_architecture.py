"""Imports point one way: a module of runcue knows what stands above it in this list, and nothing below."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LAYERS = [
    ["abc", "_errors", "_rate", "_work", "_events"],  # L0 words
    ["_service", "_pending", "_history", "_deadlines", "_makers"],  # L1 state
    ["_reasons", "_core", "_looks"],  # L2 decisions
    [
        "_current",
        "_artifacts",
        "_publish",
        "_stamps",
        "_freshness",
        "_digesting",
        "_carrying",
    ],  # what works leave behind, on disk and else
    ["_registry", "_callbacks", "_why"],  # L3 user code
    [
        "_clock",
        "_limiter",
        "_executors",
        "_steps",
        "_timers",
        "_listening",
        "_gates",
        "_waits",
        "_watching",
        "_finishing",
    ],  # L4 async shell: its parts
    [
        "_dispatcher",
        "_handle",
        "_overdue",
        "_pitfalls",
        "_stopping",
        "_circles",
        "_submissions",
        "_plan",
        "_foretelling",
        "_planning",
        "_graph",
    ],  # and who puts them together
    ["_cue", "_blocking", "_run", "__init__", "testing", "rehearsal"],  # L5 face
]
EXTRAS = ["timeline"]  # beside the library: they see of it what every user sees
ORDER = [name for layer in LAYERS for name in layer]
PURE = {name for layer in LAYERS[:3] for name in layer}
EFFECTS = {
    "asyncio",
    "time",
    "logging",
    "threading",
    "random",
}  # a clock, a loop or luck: `now` is an argument instead

PACKAGE = Path(__file__).parents[2] / "runcue"
FILES = sorted(PACKAGE.rglob("*.py"))


def place(file: Path) -> str:
    """Returns the name in the list above that a file belongs to; all files of a subpackage belong to one."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> Iterator[str]:
    """Yields every imported name in full, wherever in the file the import stands, under `TYPE_CHECKING` too."""
    package = file.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def places_imported(file: Path) -> set[str]:
    """Returns the names in the list above that a file imports from; what the package itself offers is `__init__`'s."""
    names = (name.split(".") for name in imported(file))
    return {rest[0] if rest and rest[0] in PLACES else "__init__" for top, *rest in names if top == "runcue"}


PLACES = {place(file) for file in FILES}
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
each_pure_file = pytest.mark.parametrize("file", [file for file in FILES if place(file) in PURE], ids=place)


def test_every_module_has_its_place_and_every_place_its_module() -> None:
    assert set(ORDER + EXTRAS) == PLACES


@each_file
def test_imports_point_up_the_list(file: Path) -> None:
    name = place(file)
    public = {"__init__", *(other for other in PLACES if not other.startswith("_"))}
    assert name in ORDER + EXTRAS, f"{name} has no place in the list"
    allowed = public if name in EXTRAS else set(ORDER[: ORDER.index(name)])
    assert places_imported(file) <= allowed | {name}


@each_pure_file
def test_decisions_touch_no_clock_loop_or_chance(file: Path) -> None:
    assert {name.partition(".")[0] for name in imported(file)}.isdisjoint(EFFECTS)


@each_pure_file
def test_decisions_need_nothing_installed(file: Path) -> None:
    assert {name.partition(".")[0] for name in imported(file)} <= sys.stdlib_module_names | {"runcue"}


@each_file
def test_a_module_opens_with_its_charter(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
