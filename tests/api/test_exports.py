"""What `import runcue` offers: everything it lists exists and is documented, and nothing public is left unlisted."""

import importlib
import pickle
import subprocess
import sys
import traceback
import types
from collections.abc import Iterator
from typing import TypeVar

import pytest

import runcue
import runcue.abc
import runcue.rehearsal
import runcue.submissions
import runcue.testing
import runcue.timeline
from tests.support.programs import environment

MODULES = [runcue, runcue.testing, runcue.submissions]
PUBLIC = [*MODULES, runcue.abc, runcue.rehearsal, runcue.timeline]
EXPORTED = [(module, name) for module in MODULES for name in module.__all__]
DEFECTS = {"InvalidTransition"}  # means a defect of runcue, so there is nothing a user could do about it
NAMES = [f"{module.__name__}.{name}" for module, name in EXPORTED]


def defined_members(cls: type) -> Iterator[tuple[str, object]]:
    """Yields the public methods and properties written for a class; the members of an enum are neither."""
    for name, member in vars(cls).items():
        if not name.startswith("_"):
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if isinstance(function, types.FunctionType):
                yield name, function


def subclasses(cls: type) -> Iterator[type]:
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


@pytest.mark.parametrize(("module", "name"), EXPORTED, ids=NAMES)
def test_an_exported_name_exists_and_says_what_it_is_for(module: types.ModuleType, name: str) -> None:
    value = getattr(module, name)
    if isinstance(value, type) or callable(value):
        inherited = {base.__doc__ for base in getattr(value, "__mro__", ())[1:]}
        assert value.__doc__
        assert value.__doc__ not in inherited


@pytest.mark.parametrize(("module", "name"), EXPORTED, ids=NAMES)
def test_every_public_method_has_a_docstring(module: types.ModuleType, name: str) -> None:
    value = getattr(module, name)
    if isinstance(value, type):
        assert [method for method, function in defined_members(value) if not function.__doc__] == []


def is_its_own(module: types.ModuleType, value: object) -> bool:
    """Tells what a module offers from what it uses: the package all of runcue in it, the others what they define."""
    home = getattr(value, "__module__", None)
    if not isinstance(home, str) or isinstance(value, types.ModuleType | TypeVar):
        return False
    return f"{home}.".startswith("runcue.") if module is runcue else home == module.__name__


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_no_public_name_is_missing_from_all(module: types.ModuleType) -> None:
    public = {
        name for name, value in vars(module).items() if not name.startswith("_") and is_its_own(module, value)
    }
    assert public - set(module.__all__) == set()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_no_name_is_listed_twice(module: types.ModuleType) -> None:
    assert len(set(module.__all__)) == len(module.__all__)


def test_every_error_a_user_can_meet_can_be_caught_by_name() -> None:
    ours = {error for error in subclasses(runcue.RuncueError) if f"{error.__module__}.".startswith("runcue.")}
    exported = {getattr(module, name) for module, name in EXPORTED}
    assert {error.__name__ for error in ours - exported} <= DEFECTS


def test_a_star_import_brings_what_is_listed() -> None:
    namespace: dict[str, object] = {}
    exec("from runcue import *", namespace)  # noqa: S102 - there is no other way to star-import inside a function
    assert set(runcue.__all__) <= set(namespace)


def test_dir_shows_what_is_exported() -> None:
    assert set(runcue.__all__) <= set(dir(importlib.import_module("runcue")))


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_a_class_says_where_it_is_public(module: types.ModuleType) -> None:
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, type):
            home = importlib.import_module(value.__module__)
            assert home in PUBLIC, value
            assert getattr(home, value.__name__) is value


@pytest.mark.parametrize(
    "error", [runcue.WorkTimeout("too long"), runcue.MissingOutput("gone"), runcue.UnknownTask("what?")]
)
def test_a_traceback_names_an_error_as_users_do_before_and_after_pickling(error: Exception) -> None:
    for one in (error, pickle.loads(pickle.dumps(error))):
        text = traceback.format_exception_only(one)[-1]
        assert text.startswith(f"runcue.{type(error).__name__}: ")
        assert type(one) is type(error)
        assert one.args == error.args


@pytest.mark.parametrize(
    "cls",
    [
        value
        for module in PUBLIC
        for value in (getattr(module, name) for name in module.__all__)
        if isinstance(value, type)
    ],
    ids=lambda cls: f"{cls.__module__}.{cls.__name__}",
)
def test_what_is_pickled_by_name_is_found_again(cls: type) -> None:
    assert pickle.loads(pickle.dumps(cls)) is cls


UNASKED = """
from importlib import import_module
import runcue
for name, room in runcue._LATE.items():
    found = vars(import_module(f"runcue.{room}"))[name]
    assert not isinstance(found, type) or found.__module__ == "runcue", found
"""


def test_a_class_says_where_it_is_public_though_nobody_has_asked_for_it_by_that_name_yet() -> None:
    subprocess.run([sys.executable, "-c", UNASKED], env=environment(), check=True, timeout=60)
