"""The rooms of the house: a package of runcue knows what stands above it in this list, and nothing below.

Late imports count as well: wherever in a file an import stands, it points up. What is loaded late by right (the face's
rarely used names, what only some programs need) points up all the same.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOMS = [
    "_model",
    "abc",
    "submissions",
    "_limits",
    "_scheduling",
    "_artifacts",
    "_freshness",
    "executors",
    "_callbacks",
    "_handlers",
    "_registration",
    "_explain",
    "_dispatch",
    "_planning",
    "_lifecycle",
    "_api",
    "__init__",
    "testing",
    "rehearsal",
]
# Beside the house: they see of it what every user sees.
EXTRAS = ["console", "timeline"]
PURE = {"_model", "abc", "submissions", "_limits", "_scheduling"}
# A clock, a loop or luck: `now` is an argument instead.
EFFECTS = {"asyncio", "time", "logging", "threading", "random"}
# What the face has from beside the house: each is loaded when it is first asked for.
LENT = {"__init__": {"console"}}
# What else a room may know, if that is less than all that stands above it.
NARROW = {"submissions": {"_model"}, "executors": {"_model", "abc"}}

PACKAGE = Path(__file__).parents[2] / "runcue"
FILES = sorted(PACKAGE.rglob("*.py"))


def room(file: Path) -> str:
    """Returns the name in the list above that a file belongs to; all files of a package belong to one."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def names_in(file: Path) -> Iterator[str]:
    """Yields every imported name in full, wherever in the file the import stands, under `TYPE_CHECKING` too."""
    package = file.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def imported(file: Path) -> tuple[str, ...]:
    """Returns what `names_in` yields: each file is read once."""
    return tuple(names_in(file))


def rooms_known(file: Path) -> set[str]:
    """Returns the rooms that a file imports from; what the package itself offers is `__init__`'s."""
    names = (name.split(".") for name in imported(file))
    return {rest[0] if rest and rest[0] in THERE else "__init__" for top, *rest in names if top == "runcue"}


THERE = {room(file) for file in FILES}
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
each_pure_file = pytest.mark.parametrize(
    "file",
    [file for file in FILES if room(file) in PURE],
    ids=lambda file: file.relative_to(PACKAGE).as_posix(),
)


def test_every_room_is_in_the_list_and_every_name_in_the_list_is_a_room() -> None:
    assert set(ROOMS + EXTRAS) == THERE


@each_file
def test_imports_point_up_the_list(file: Path) -> None:
    own = room(file)
    public = {"__init__", *(other for other in THERE if not other.startswith("_"))}
    allowed = NARROW.get(own, public if own in EXTRAS else set(ROOMS[: ROOMS.index(own)]))
    assert rooms_known(file) <= allowed | LENT.get(own, set()) | {own}


@cache
def files_known(file: Path) -> set[Path]:
    """Returns the files that a file imports from."""
    paths = [PACKAGE.parent.joinpath(*name.split(".")) for name in imported(file)]
    return {
        found for path in paths for found in (path.with_suffix(".py"), path.parent.with_suffix(".py"))
    } & {*FILES}


@each_file
def test_no_module_is_in_a_cycle(file: Path) -> None:
    known, new = set[Path](), files_known(file)
    while new:
        known |= new
        new = {further for one in new for further in files_known(one)} - known
    assert file not in known


@each_pure_file
def test_decisions_touch_no_clock_loop_or_chance(file: Path) -> None:
    assert {name.partition(".")[0] for name in imported(file)}.isdisjoint(EFFECTS)


@each_pure_file
def test_decisions_need_nothing_installed(file: Path) -> None:
    # Of the standard library from 3.14 on.
    installed = {"aiolimiter"} if file.name == "async_limiter.py" else {"annotationlib"}
    needed = {name.partition(".")[0] for name in imported(file)}
    assert needed <= sys.stdlib_module_names | {"runcue"} | installed


@each_file
def test_a_module_opens_with_its_charter(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


@each_file
def test_why_a_work_unit_comes_again_is_asked_by_questions_and_its_words_are_compared_nowhere_else(
    file: Path,
) -> None:
    compared = re.findall(r".*\bagain\.reason (?:==|!=|in|not in)\b.*", file.read_text(encoding="utf-8"))
    assert not compared, "`Again` has a question for that"


def test_the_map_names_the_rooms_in_their_order_and_files_that_are_there() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text[text.index("| package |") : text.index("decide and touch nothing")]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    named = [name for cell in cells for name in re.findall(r"`([a-z_]+)/?`", cell)]
    assert [name for name in named if name in ROOMS] == [name for name in ROOMS if name in named]
    assert set(ROOMS + EXTRAS) <= set(named)
    goes = text[text.index("## Where a new thing goes") : text.index("## Tests")]
    paths = set(re.findall(r"`((?:sim/runcue_sim/)?[a-z_]+(?:/[a-z_]+)*(?:/|\.py))`", goes))
    assert len(paths) > 20
    for path in paths:
        assert any((root / path).exists() for root in (PACKAGE, PACKAGE.parent)), path


@each_file
def test_no_file_but_the_face_is_longer_than_450_lines(file: Path) -> None:
    assert file.name == "cue.py" or len(file.read_text(encoding="utf-8").splitlines()) <= 450
