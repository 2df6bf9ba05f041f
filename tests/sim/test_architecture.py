"""The packages of the simulator stand in one order: each knows what stands above it in this list, and nothing below."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ORDER = [
    "_text",
    "_workload",
    "_records",
    "recording",
    "__init__",  # what programs import: the recording alone
    "_engine",
    "_report",
    "_pipelines",
    "_chaos",
    "_commands",
    "__main__",
]

ROOT = Path(__file__).parents[2] / "sim" / "runcue_sim"
FILES = sorted(ROOT.rglob("*.py"))


def place(file: Path) -> str:
    """The name in the list above that a file belongs to."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(file) for file in FILES}


def imported(file: Path) -> Iterator[str]:
    """Every imported name in full, wherever in the file the import stands, under `TYPE_CHECKING` too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: imports name their module in full"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules_imported(file: Path) -> set[str]:
    """The modules of the simulator that a file imports, or imports from."""
    names = {name for name in imported(file) if name.partition(".")[0] == "runcue_sim"}
    return {name if name in MODULES else name.rpartition(".")[0] for name in names}


def places_imported(file: Path) -> set[str]:
    return {[*name.split("."), "__init__"][1] for name in modules_imported(file)}


each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())


def test_the_list_has_every_package() -> None:
    assert set(ORDER) == {place(file) for file in FILES}


@each_file
def test_imports_point_up_the_list(file: Path) -> None:
    assert places_imported(file) <= set(ORDER[: ORDER.index(place(file)) + 1])


def test_no_modules_import_each_other_in_a_cycle() -> None:
    TopologicalSorter(
        {module(file): modules_imported(file) for file in FILES}
    ).prepare()  # it raises, and says which


@each_file
def test_of_runcue_only_what_every_user_sees_is_used(file: Path) -> None:
    names = (name for name in imported(file) if name.startswith("runcue."))
    assert not [name for name in names if "._" in name]


@each_file
def test_a_module_opens_with_its_charter(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


@each_file
def test_a_package_holds_nothing_but_its_charter(file: Path) -> None:
    if file.name == "__init__.py" and file.parent.name.startswith("_"):
        assert len(ast.parse(file.read_text(encoding="utf-8")).body) == 1


@each_file
def test_a_file_can_be_read_in_one_go(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 450
