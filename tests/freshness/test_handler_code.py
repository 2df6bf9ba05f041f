"""The code of a handler as digests: what counts, what does not, and what is refused because it cannot be had."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import linecache
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import runcue
from runcue._freshness.handler_code import digests_of_code
from tests.support.programs import run_python

BAKE = """
def bake(work):
    return work
"""


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Loads some code as a module of its own, as another process would."""
    numbers = itertools.count()
    loaded = []

    def load(source: str, name: str = "kitchen") -> ModuleType:
        path = tmp_path / f"{next(numbers)}" / f"{name}.py"
        path.parent.mkdir()
        path.write_text(source, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in loaded:
        sys.modules.pop(name, None)


def code(handler: Any) -> dict[str, str]:
    return digests_of_code(handler, "the handler of task 'bake'")


def differing(one: Any, other: Any) -> list[str]:
    """The parts in which the code of two handlers differs."""
    ours, theirs = code(one), code(other)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


@pytest.mark.parametrize(
    "changed",
    [
        "\n\n\n# moved down\nlimit = 5\n" + BAKE,
        "import functools\n" + BAKE,
        "if True:\n" + "\n".join("    " + line for line in BAKE.splitlines()),
        "def plain(f): return f\n@plain\n" + BAKE.strip(),
        BAKE + "\n\ndef helper():\n    return 2\n",
    ],
    ids=["elsewhere", "an import", "indented", "a line of a decorator", "what it calls"],
)
def test_what_is_not_its_own_text_does_not_count(load: Callable[[str], ModuleType], changed: str) -> None:
    assert differing(load(BAKE).bake, load(changed).bake) == []


@pytest.mark.parametrize(
    "changed",
    [
        BAKE.replace("return work", "return 2"),
        BAKE.replace("    return work", "    # well done\n    return work"),
        BAKE.replace("return work", "return  work"),
        BAKE.replace("    return", '    """Bakes."""\n    return'),
        BAKE.replace("def bake", "async def bake"),
    ],
    ids=["a value", "a comment", "a space", "a docstring", "async"],
)
def test_its_own_text_counts_as_it_stands(load: Callable[[str], ModuleType], changed: str) -> None:
    assert differing(load(BAKE).bake, load(changed).bake) == ["the source of bake"]


BOUND = """
import functools, os

def oven(degrees):
    def bake(work, minutes={minutes}, *, sugar={sugar}):
        return degrees, os
    return bake

bake = oven({degrees})
half = functools.partial(bake, minutes={half})

class Oven:
    def __init__(self, degrees):
        self.degrees = degrees
    def bake(self, work):
        return self.degrees
    def __call__(self, work):
        return self.degrees

method = Oven({degrees}).bake
called = Oven({degrees})
"""


def bound(load: Callable[[str], ModuleType], **values: object) -> ModuleType:
    return load(BOUND.format(**{"minutes": 30, "sugar": "(1, 2)", "degrees": 200, "half": 15, **values}))


@pytest.mark.parametrize(
    ("name", "values", "parts"),
    [
        ("bake", {"minutes": 31}, ["the default 'minutes' of bake", "the source of bake"]),
        ("bake", {"sugar": "[1, 2]"}, ["the default 'sugar' of bake", "the source of bake"]),
        ("bake", {"degrees": 180}, ["the value of 'degrees' around bake"]),
        ("bake", {"degrees": 200.0}, ["the value of 'degrees' around bake"]),
        ("half", {"half": 16}, ["argument 'minutes' of partial"]),
        ("half", {"degrees": 180}, ["the value of 'degrees' around bake"]),
        ("method", {"degrees": 180}, ["the object of bake"]),
        ("called", {"degrees": 180}, ["the object of Oven"]),
        ("called", {"minutes": 31}, []),
    ],
)
def test_what_a_handler_is_bound_to_counts_like_params(
    load: Callable[[str], ModuleType], name: str, values: dict[str, object], parts: list[str]
) -> None:
    assert differing(getattr(bound(load), name), getattr(bound(load, **values), name)) == parts


DECORATED = """
import functools

def retry(times):
    def decorate(call):
        @functools.wraps(call)
        def wrapper(work):
            return {call}
        return wrapper
    return decorate

def silent(call):
    def inner(work):
        return call(work)
    return inner

{decorators}
def bake(work):
    return {value}

cached = functools.lru_cache(bake)
"""


def decorated(load: Callable[[str], ModuleType], **parts: str) -> ModuleType:
    usual = {"call": "call(work) * times", "decorators": "@retry(3)\n@retry(4)", "value": "1"}
    return load(DECORATED.format(**usual | parts))


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"value": "2"}, ["the source of bake"]),
        ({"call": "call(work) + times"}, ["the source of wrapper", "the source of wrapper (2)"]),
        ({"decorators": "@retry(3)\n@retry(5)"}, ["the value of 'times' around wrapper (2)"]),
        ({"decorators": "@retry(2)\n@retry(4)"}, ["the value of 'times' around wrapper"]),
    ],
)
def test_decorators_by_wraps_are_looked_through(
    load: Callable[[str], ModuleType], changed: dict[str, str], parts: list[str]
) -> None:
    assert differing(decorated(load).bake, decorated(load, **changed).bake) == parts


@pytest.mark.parametrize("name", ["bake", "cached"])
@pytest.mark.parametrize("decorators", ["@silent", "@silent\n@retry(1)", ""])
def test_what_is_decorated_counts_however_it_is_kept(
    load: Callable[[str], ModuleType], name: str, decorators: str
) -> None:
    one, other = (decorated(load, decorators=decorators, value=value) for value in "12")
    assert differing(getattr(one, name), getattr(other, name)) == ["the source of bake"]


def test_the_code_is_the_same_in_another_process(load: Callable[[str], ModuleType]) -> None:
    for make, name in ((bound, "half"), (bound, "method"), (decorated, "bake"), (decorated, "cached")):
        assert code(getattr(make(load), name)) == code(getattr(make(load), name))


def test_a_lambda_that_is_alone_in_its_line_has_a_source(load: Callable[[str], ModuleType]) -> None:
    one = load("bake = (1, lambda work: [\n    work,\n    'ä'], 2)[1]\n").bake
    other = load("bake = lambda work: [\n    work,\n    'ä']\n").bake
    third = load("bake = lambda work: [\n    work,\n    'ö']\n").bake
    assert differing(one, other) == []
    assert differing(one, third) == ["the source of <lambda>"]


def inner() -> Any:
    lock = [1, {"of": threading.Lock()}]

    def bake(work: Any) -> Any:
        return lock

    return bake


def unset() -> Any:
    def bake(work: Any) -> Any:
        return late

    if not bake:
        late = 1
    return bake


def executed() -> Any:
    names: dict[str, Any] = {}
    exec("def bake(work): return 1", names)  # noqa: S102 - that is what is tested
    return names["bake"]


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (executed(), ["needs the source of the handler of task 'bake'", "exec()", "`def` in a file"]),
        (len, ["len: it is not written in Python"]),
        (functools.partial(print, 1), ["it is not written in Python"]),
        (
            [lambda work: 1, lambda work: 2][1],
            ["several lambdas begin in that line", "test_handler_code.py:"],
        ),
        (type("Oven", (), {"__init__": lambda self, work: None}), ["a class is no function"]),
        (inner(), ["In the handler of task 'bake', lock[1]['of'] cannot be part of a digest", "global name"]),
        (unset(), ["'late'", "has no value yet", "before the task is registered"]),
        (functools.partial(unset, object()), ["args[0] cannot be part of a digest"]),
    ],
    ids=["exec", "builtin", "partial of a builtin", "lambdas", "class", "lock", "unset", "argument"],
)
def test_what_cannot_be_told_is_an_error_when_the_task_is_registered(handler: Any, words: list[str]) -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError) as caught:
        cue.task("bake", outputs="bread", fresh=runcue.digest(code=True))(handler)
    text = str(caught.value)
    assert all(word in text for word in [*words, "without code=True" if "late" not in text else "'bake'"])
    assert len(text) < 500
    assert cue.tasks() == []


def test_what_exec_has_made_is_never_taken_for_what_stands_in_the_command_line() -> None:
    program = """
import runcue
def bake(work): return 3
names = {}
exec("\\n" * 2 + "def bake(work): return 1", names)
try:
    runcue.Cue().task("bake", outputs="bread", fresh=runcue.digest(code=True))(names["bake"])
except runcue.ConfigurationError as error:
    print(error)
"""
    assert "was it made by exec()?" in run_python("-c", program).stdout


def test_two_lambdas_of_one_line_that_say_the_same_are_no_riddle(load: Callable[[str], ModuleType]) -> None:
    assert code(load("bakes = [lambda work: 1, lambda work: 1]\n").bakes[0])


def test_a_file_that_has_changed_since_it_was_loaded_is_not_taken_for_the_source(
    load: Callable[[str], ModuleType],
) -> None:
    bake = load(BAKE).bake
    path = Path(bake.__code__.co_filename)
    path.write_text("\n\n" + BAKE, encoding="utf-8")
    with pytest.raises(runcue.ConfigurationError, match="may have changed since it was read"):
        code(bake)
    path.write_text("broken (\n" * 4, encoding="utf-8")
    with pytest.raises(runcue.ConfigurationError, match="cannot be read as Python"):
        code(bake)


def test_a_cell_of_a_notebook_has_its_source_from_where_notebooks_keep_it() -> None:
    def cell(source: str, number: int) -> Any:
        filename = f"<ipython-input-{number}-of-a-test>"
        linecache.cache[filename] = len(source), None, source.splitlines(keepends=True), filename
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(source, filename, "exec"), names)  # noqa: S102 - as IPython does
        return names["bake"]

    try:
        first, again, changed = cell(BAKE, 1), cell(BAKE, 2), cell(BAKE.replace("return work", "return 3"), 3)
        assert differing(first, again) == []
        assert differing(first, changed) == ["the source of bake"]
    finally:
        for number in (1, 2, 3):
            linecache.cache.pop(f"<ipython-input-{number}-of-a-test>", None)


def test_functions_and_modules_around_a_handler_count_by_what_they_are() -> None:
    def made(value: int) -> Any:
        import math

        cue = runcue.Cue()

        def helper() -> int:
            return value

        def bake(work: Any) -> Any:
            return math, cue, helper(), bake, itertools

        return bake

    assert differing(made(1), made(1)) == []
    assert differing(made(1), made(2)) == ["the value of 'value' around helper"]


def test_a_chain_of_decorators_that_leads_back_to_itself_ends() -> None:
    def bake(work: Any) -> None: ...

    bake.__wrapped__ = bake  # type: ignore[attr-defined]
    assert list(code(bake)) == ["the source of bake"]
