"""A cell of a notebook that is run again, a module that is loaded again: what was registered before is replaced."""

from __future__ import annotations

import asyncio
import atexit
import importlib
import os
import random
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runcue
from runcue.testing import run

# What every cell and module here has: a cue, what was heard, and a run of one work unit.
PRELUDE = """
import runcue
from functools import lru_cache, partial, wraps
cue = runcue.Cue()
heard = []
cue.task("work")(lambda work: None)
"""


class Notebook:
    """IPython itself, without anybody at its other end."""

    def __init__(self, shell: Any) -> None:
        self.names: dict[str, Any] = shell.user_ns
        self._shell = shell
        self.cell(PRELUDE)

    def cell(self, code: str) -> None:
        """Run a cell; what it raises is raised."""
        self._shell.run_cell(textwrap.dedent(code), store_history=True, silent=False).raise_error()

    @property
    def cue(self) -> runcue.Cue:
        cue: runcue.Cue = self.names["cue"]
        return cue

    def heard(self) -> list[Any]:
        """What one completed work unit is heard of by."""
        heard: list[Any] = self.names["heard"]
        heard.clear()

        async def main() -> None:
            async with self.cue as cue:
                await cue.submit("work")

        run(main)
        return list(heard)


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    pytest.importorskip("IPython", reason="cells that are run again are NOT tested: IPython is not installed")
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    main, hook = sys.modules["__main__"], sys.displayhook
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    try:
        yield Notebook(shell)
    finally:
        shell.atexit_operations()
        atexit.unregister(shell.atexit_operations)
        InteractiveShell.clear_instance()
        sys.modules["__main__"], sys.displayhook = main, hook


SAME = {
    "a function": """
        @cue.on_complete
        def done(work, result, duration): heard.append("done")
    """,
    "an async function": """
        @cue.on_complete(task="work")
        async def done(work, result, duration): heard.append("done")
    """,
    "a lambda": "cue.on_complete(lambda work, result, duration: heard.append('done'))",
    "a decorated function": """
        def traced(function):
            @wraps(function)
            def call(*heard): return function(*heard)
            return call
        @cue.on_complete
        @traced
        def done(work, result, duration): heard.append("done")
    """,
    "a function decorated without wraps": """
        def traced(function):
            def call(work, result, duration): return function(work, result, duration)
            return call
        @cue.on_complete
        @traced
        def done(work, result, duration): heard.append("done")
    """,
    "a cached function": """
        @cue.on_complete
        @lru_cache
        def done(work, result, duration): heard.append("done")
    """,
    "a partial": """
        def tell(what, work, result, duration): heard.append(what)
        cue.on_complete(partial(tell, "done"))
    """,
    "a method": """
        class Teller:
            count = 0
            def done(self, work, result, duration):
                self.count += 1
                heard.append("done")
        teller = Teller()
        cue.on_complete(teller.done)
    """,
    "an object": """
        class Teller:
            def __call__(self, work, result, duration): heard.append("done")
        cue.on_complete(Teller())
    """,
    "a method of a list": """
        seen = []
        cue.on_start(seen.append)
        @cue.on_complete
        def done(work, result, duration): heard.extend("done" for one in seen)
    """,
    "one function in a new cover": """
        if "inmost" not in globals():
            def inmost(work, result, duration): heard.append("done")
        @wraps(inmost)
        def cover(*about): return inmost(*about)
        cue.on_complete(cover)
    """,
    "a function that leads to itself": """
        def done(work, result, duration): heard.append("done")
        done.__wrapped__ = done
        cue.on_complete(done)
    """,
    "a function made by another with what is not set yet": """
        def make():
            @cue.on_complete
            def done(work, result, duration, *, words=("done",)):
                heard.append(words[0])
                later
            later = 1
        make()
    """,
    "a function made by another": """
        def make(results):
            @cue.on_complete
            def done(work, result, duration): heard.append("done")
            return results
        make([])
    """,
}


@pytest.mark.rule(34)
@pytest.mark.parametrize("what", SAME)
def test_a_listener_of_a_cell_that_is_run_again_replaces_its_former_self(
    notebook: Notebook, what: str
) -> None:
    for _ in range(3):
        notebook.cell(SAME[what])
        assert notebook.heard() == ["done"]


@pytest.mark.rule(34)
def test_it_takes_the_place_of_its_former_self_with_what_it_says_now(notebook: Notebook) -> None:
    first = "@cue.on_complete\ndef first(work, result, duration): heard.append({!r})"
    notebook.cell(first.format("old"))
    notebook.cell("@cue.on_complete\nasync def second(work, result, duration): heard.append('second')")
    notebook.cell("@cue.on_complete\ndef third(work, result, duration): heard.append('third')")
    notebook.cell(first.format("new"))
    assert notebook.heard() == ["new", "third", "second"]  # what is awaited comes later


OTHERS = {
    "two of one name in one cell": (
        """
        for word in ("a", "b"):
            @cue.on_complete
            def _(work, result, duration): heard.append("one")
        """,
        ["one", "one"],
    ),
    "one function twice in one cell": (
        """
        def done(work, result, duration): heard.append("one")
        cue.on_complete(done)
        cue.on_complete(done)
        """,
        ["one", "one"],
    ),
    "lambdas that do something else": (
        """
        cue.on_complete(lambda work, result, duration: heard.append("a"))
        ---
        cue.on_complete(lambda work, result, duration: heard.append("b"))
        """,
        ["a", "b"],
    ),
    "lambdas with another default": (
        """
        make = lambda word: cue.on_complete(lambda work, result, duration, word=word: heard.append(word))
        ---
        make("a")
        ---
        make("b")
        """,
        ["a", "b"],
    ),
    "functions made with other words": (
        """
        def tell(word):
            @cue.on_complete
            def done(work, result, duration): heard.append(word)
        ---
        tell("a")
        ---
        tell("b")
        """,
        ["a", "b"],
    ),
    "partials of other arguments": (
        """
        def tell(what, work, result, duration): heard.append(what)
        ---
        cue.on_complete(partial(tell, "a"))
        ---
        cue.on_complete(partial(tell, "b"))
        """,
        ["a", "b"],
    ),
    "methods of objects that are both in use": (
        """
        class Teller:
            def __init__(self, word): self.word = word
            def done(self, work, result, duration): heard.append(self.word)
        ---
        a = Teller("a")
        cue.on_complete(a.done)
        ---
        b = Teller("b")
        cue.on_complete(b.done)
        """,
        ["a", "b"],
    ),
    "objects that are both in use": (
        """
        class Teller:
            def __init__(self, word): self.word = word
            def __call__(self, work, result, duration): heard.append(self.word)
        ---
        a = Teller("a")
        cue.on_complete(a)
        ---
        b = Teller("b")
        cue.on_complete(b)
        ---
        kept = cue.on_start(lambda work: None)
        """,
        ["a", "b"],
    ),
    "functions decorated without wraps": (
        """
        def traced(function):
            def call(work, result, duration): return function()
            return call
        ---
        @cue.on_complete
        @traced
        def a(): heard.append("a")
        ---
        @cue.on_complete
        @traced
        def b(): heard.append("b")
        """,
        ["a", "b"],
    ),
    "functions with another keyword": (
        """
        def tell(word):
            @cue.on_complete
            def done(work, result, duration, *, word=(word, 1)): heard.append(word[0])
        ---
        tell("a")
        ---
        tell("b")
        """,
        ["a", "b"],
    ),
    "classes as arguments": (
        """
        class A: ...
        class B: ...
        def tell(kind, work, result, duration): heard.append(kind.__name__)
        ---
        cue.on_complete(partial(tell, A))
        ---
        cue.on_complete(partial(tell, B))
        """,
        ["A", "B"],
    ),
    "one function for two tasks": (
        """
        def done(work, result, duration): heard.append("one")
        cue.task("other")(print)
        ---
        cue.on_complete(task="work")(done)
        ---
        cue.on_complete(task="other")(done)
        ---
        cue.on_complete(done)
        """,
        ["one", "one"],
    ),
}


@pytest.mark.rule(34)
@pytest.mark.parametrize("what", OTHERS)
def test_what_differs_in_more_than_the_cell_it_stands_in_is_another_listener(
    notebook: Notebook, what: str
) -> None:
    cells, heard = OTHERS[what]
    for _ in range(2):  # and all of it again
        for cell in textwrap.dedent(cells).split("---\n"):
            notebook.cell(cell)
        assert notebook.heard() == heard


def test_what_cannot_be_compared_is_another_listener(notebook: Notebook) -> None:
    notebook.cell("""
        class Odd:
            def __fspath__(self): return "odd"
            def __eq__(self, other): raise ZeroDivisionError
            __hash__ = None
        def tell(what, work, result, duration): heard.append("done")
    """)
    for times in (1, 2):
        notebook.cell("cue.on_complete(partial(tell, Odd()))")
        assert notebook.heard() == ["done"] * times


@pytest.mark.rule(34)
def test_a_service_with_the_same_limits_is_the_same_and_in_a_cell_run_again_others_change_what_they_name(
    notebook: Notebook,
) -> None:
    notebook.cell("api = cue.service('api', rate='60/min', concurrent=5)")
    notebook.cell("api = cue.service('api', rate='60 / minute', concurrent=5)")
    notebook.cell("cue.task('call', uses=api)(lambda work: None)")
    assert [service.name for service in notebook.cue.services()] == ["api"]
    notebook.cell("api = cue.service('api', rate='30/min', concurrent=5)")
    [status] = notebook.cue.services()
    assert (status.rate, status.concurrent) == ("30/min", 5)


@pytest.mark.rule(34)
def test_a_cell_run_again_names_all_that_was_set_and_none_takes_it_away(notebook: Notebook) -> None:
    notebook.cell("cue.service('api', rate='60/min', concurrent=5)")
    with pytest.raises(
        runcue.ConfigurationError, match=r"declared again without concurrent=, .* concurrent=None"
    ):
        notebook.cell("cue.service('api', rate='30/min')")
    assert notebook.cue.services()[0].rate == "60/min"
    notebook.cell("cue.service('api', rate='30/min', concurrent=None)")
    notebook.cell("cue.service('api', rate='20/min')")
    [status] = notebook.cue.services()
    assert (status.rate, status.concurrent) == ("20/min", None)


@pytest.mark.rule(34)
def test_what_another_cell_has_changed_stays_where_the_cell_of_the_service_does_not_name_it(
    notebook: Notebook,
) -> None:
    notebook.cell("api = cue.service('api', rate='60/min')")
    notebook.cell("api.change(concurrent=2, rate='30/min')")
    [status] = notebook.cue.services()
    assert (status.rate, status.concurrent) == ("30/min", 2)
    notebook.cell("api = cue.service('api', rate='60/min')")
    [status] = notebook.cue.services()
    assert (status.rate, status.concurrent) == ("60/min", 2)


def test_gates_and_priority_are_replaced_by_whatever_comes_later(notebook: Notebook) -> None:
    for answer in (False, True):
        notebook.cell(f"@cue.is_stale\ndef is_stale(work): return {answer}")
        notebook.cell(f"@cue.priority()\ndef priority(ctx):\n    heard.append({answer})\n    return 1.0")
    notebook.cell("@cue.on_complete\ndef done(work, result, duration): heard.append('done')")
    assert notebook.heard() == [True, "done"]


@pytest.mark.rule(34)
def test_an_observer_ends_when_one_of_its_class_defined_anew_is_attached_and_not_before(
    notebook: Notebook,
) -> None:
    counts = """
    class Counts(runcue.Observer):
        def settled(self, work, duration): heard.append("counted")
        def warned(self, warning): heard.append(warning.kind)
    """
    for _ in range(3):
        notebook.cell(counts + "\n    cue.observe(Counts())")
        assert notebook.heard() == ["counted"]
    notebook.cell("stop = cue.observe(Counts())")  # another object: both have been asked for
    assert notebook.heard() == ["counted", "counted"]
    notebook.cell("stop(); stop()")
    assert notebook.heard() == ["counted"]
    notebook.cell(counts)
    notebook.cell("cue.observe(Counts())\ncue.observe(Counts())")
    assert notebook.heard() == ["counted", "counted"]
    assert len(notebook.cue._callbacks.failures.log.hearers) == 2


TASKS = {
    "a lambda": "cue.task('work2')(lambda work: heard.append('ran'))",
    "a partial": "def ran(what, work): heard.append(what)\ncue.task('work2')(partial(ran, 'ran'))",
    "an object": "class Ran:\n    def __call__(self, work): heard.append('ran')\ncue.task('work2')(Ran())",
    "a function in another line": """{}
def make():
    @cue.task('work2')
    def ran(work): heard.append('ran')
make()
""",
    "a bare decorator": "@cue.task\ndef work2(work): heard.append('ran')",
}


@pytest.mark.rule(34)
@pytest.mark.parametrize("what", TASKS)
def test_a_task_of_a_cell_that_is_run_again_replaces_its_former_self(notebook: Notebook, what: str) -> None:
    for times in range(3):
        notebook.cell(TASKS[what].format("\n" * times))
    names = [task.name for task in notebook.cue.tasks()]
    assert names == ["work", "work2"]
    handler = notebook.cue.tasks()[1].handler
    handler(runcue.Work("id", "work2"))
    assert notebook.names["heard"] == ["ran"]


def test_a_lambda_that_has_changed_is_another_handler_and_the_text_says_so(notebook: Notebook) -> None:
    notebook.cell("cue.task('work2')(lambda work: 1)")
    with pytest.raises(runcue.DuplicateTask, match="lambda that has changed is another one: use def"):
        notebook.cell("cue.task('work2')(lambda work: 2)")


# Modules.


Module = Callable[[str], ModuleType]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """Write a module and import it; later, reload it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "redefined.py"

    def load(code: str) -> ModuleType:
        path.write_text(textwrap.dedent(code))
        known = sys.modules.get("redefined")
        importlib.invalidate_caches()
        return importlib.import_module("redefined") if known is None else importlib.reload(known)

    yield load
    sys.modules.pop("redefined", None)


def heard_of(cue: runcue.Cue, heard: list[Any]) -> list[Any]:
    heard.clear()

    async def main() -> None:
        async with cue:
            await cue.submit("work")

    run(main)
    return list(heard)


CODE = """
from tests_redefined import cue, heard
@cue.on_complete
def done(work, result, duration): heard.append("done {0}")
@cue.on_start
def _(work): heard.append("one")
@cue.on_start
def _(work): heard.append("two")
@cue.task
def work(work): return {0}
"""


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with a cue that the reloaded one registers with."""
    there = ModuleType("tests_redefined")
    there.cue, there.heard = runcue.Cue(), []  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tests_redefined", there)
    return there


@pytest.mark.rule(34)
def test_what_a_module_has_registered_is_replaced_when_it_is_reloaded(
    module: Module, shared: ModuleType
) -> None:
    module(CODE.format(1))
    assert heard_of(shared.cue, shared.heard) == ["one", "two", "done 1"]
    module(CODE.format(2))
    assert heard_of(shared.cue, shared.heard) == ["one", "two", "done 2"]


def test_a_function_of_a_reloaded_module_is_replaced_wherever_it_is_registered(
    module: Module, shared: ModuleType
) -> None:
    shared.cue.task("work")(lambda work: None)
    code = "from tests_redefined import heard\ndef done(*about): heard.append('done {}')"
    for version in (1, 2):
        shared.cue.on_complete(module(code.format(version)).done)
    assert heard_of(shared.cue, shared.heard) == ["done 2"]


def test_a_function_of_elsewhere_is_replaced_when_the_module_that_registers_it_is_reloaded(
    module: Module, shared: ModuleType
) -> None:
    shared.cue.task("work")(lambda work: None)
    shared.done = lambda *about: shared.heard.append("done")  # type: ignore[attr-defined]
    for _ in range(2):
        module("from tests_redefined import cue, done\ncue.on_complete(done)")
    assert heard_of(shared.cue, shared.heard) == ["done"]


@pytest.mark.rule(34)
def test_autoreload_of_ipython_leaves_one_of_each(
    notebook: Notebook, tmp_path: Path, shared: ModuleType
) -> None:
    path = tmp_path / "redefined.py"
    path.write_text(CODE.format(1))
    notebook.cell("%load_ext autoreload\n%autoreload 2")
    notebook.cell(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport redefined")
    try:
        for version in (2, 3):
            path.write_text(CODE.format(version))
            os.utime(path, (time.time(), time.time() + version))  # it goes by whole dates
            notebook.cell("redefined")
            assert heard_of(shared.cue, shared.heard) == ["one", "two", f"done {version}"]
    finally:
        sys.modules.pop("redefined", None)
        sys.path.remove(str(tmp_path))


# What is under way.


@pytest.mark.rule(34)
def test_pending_work_units_are_carried_out_by_the_new_handler_and_running_ones_by_the_old() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("one", concurrent=1)
        cue.service("slow", rate="1/sec")
        done: list[Any] = []

        def cell(version: int, **options: Any) -> None:
            @cue.task("t", **options)
            async def t(work: runcue.Work) -> None:
                await asyncio.sleep(1)
                done.append((version, work.params["n"], asyncio.get_running_loop().time()))

        cell(1, uses="one")
        async with cue:
            for n in range(4):
                await cue.submit("t", {"n": n})
            await asyncio.sleep(0.5)
            cell(2, uses="one")
            await asyncio.sleep(1)
            cell(3, uses="slow")
        assert [(version, n) for version, n, _ in done] == [(1, 0), (2, 1), (3, 2), (3, 3)]
        at = [time for _, _, time in done]
        assert at == [1.0, 2.0, 2.5, 3.5]

    run(main)


@pytest.mark.parametrize("becomes", ["async", "plain"])
def test_a_handler_that_becomes_async_or_plain_takes_its_pending_work_units_along(becomes: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("one", concurrent=1)
        ready = False
        ran: list[str] = []

        async def t(work: runcue.Work) -> None:
            ran.append("async")
            await asyncio.sleep(1)

        def plain(work: runcue.Work) -> None:
            ran.append("plain")

        t.__qualname__ = plain.__qualname__ = "t"  # as if each was what its module calls by that name

        def define(kind: str) -> None:
            cue.task("t", uses="one")(t if kind == "async" else plain)

        define("plain" if becomes == "async" else "async")
        cue.is_ready(lambda work: ready or work.params["n"] < 2)
        async with cue:
            handles = [await cue.submit("t", {"n": n}) for n in range(4)]
            await cue.cancel(handles[1])
            define(becomes)
            await cue.drain()
            assert ran == [becomes]
            ready = True
            define(becomes)  # once more: those that wait are asked again
            await cue.drain()
            assert ran == [becomes] * 3
            assert len(cue._core.all_tasks) == 1
        assert not any(run_queue.backlog() for run_queue in cue._core.run_queues.values())

    run(main)


def test_work_units_keep_their_order_when_their_task_uses_another_service() -> None:
    async def main() -> list[str]:
        cue = runcue.Cue()
        cue.service("a", concurrent=1)
        cue.service("b", concurrent=1)
        ran: list[str] = []

        def handler(work: runcue.Work) -> None:
            ran.append(f"{work.task}{work.params['n']}")

        for name in ("x", "y"):
            cue.task(name, uses="a")(handler)
        cue.task("z", uses="b")(handler)
        cue.priority(lambda ctx: 0.5 + ctx.work.params.get("urgent", 0))
        for n in range(3):
            for name in ("x", "y", "z"):
                await cue.submit(name, {"n": n})
        await cue.submit("x", {"n": 9, "urgent": 0.5})
        cue.task("x", uses="b")(handler)
        cue.start()
        await cue.stop()
        return ran

    ran = run(main)
    assert [one for one in ran if one[0] in "xz"] == ["x9", "x0", "z0", "x1", "z1", "x2", "z2"]
    assert [one for one in ran if one[0] == "y"] == ["y0", "y1", "y2"]


def test_a_task_may_be_defined_anew_in_another_thread_while_it_is_busy() -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=2)
    cue.service("other", concurrent=2)

    def t(work: runcue.Work) -> None:
        time.sleep(0.0005)

    async def later(work: runcue.Work) -> None:
        await asyncio.sleep(0)

    later.__qualname__ = t.__qualname__ = "t"  # as if each was what its module calls by that name
    cue.task("t", uses="one")(t)
    with runcue.blocking(cue) as b:
        handles = []
        for n in range(300):
            handles.append(b.submit("t", {"n": n}))
            if n % 10 == 0:
                cue.task("t", uses=["one", "other"][n // 10 % 2])([t, later][n // 20 % 2])
                cue.is_ready(lambda work: True)
        for handle in handles:
            b.result(handle)
        summary = b.drain()
    assert summary.counts["completed"] == 300
    assert not any(service.in_use for service in cue.services())
    with pytest.raises(runcue.ConfigurationError, match="run_in"):
        cue.task("t", run_in="nowhere")(t)


def test_who_takes_over_a_running_handler_of_the_former_task_gives_back_what_that_holds() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("a", concurrent=1)
        cue.service("b", concurrent=1)
        went_on = asyncio.Event()

        def cell(version: int, service: str) -> None:
            @cue.task("t", uses=service, key="one")
            async def t(work: runcue.Work) -> int:
                await went_on.wait()
                return version

        cell(1, "a")
        async with cue:
            leader, follower = await cue.submit("t"), await cue.submit("t")
            await asyncio.sleep(1)
            cell(2, "b")
            assert await cue.cancel(leader)
            await asyncio.sleep(1)
            in_use = {service.name: service.in_use for service in cue.services()}
            assert in_use == {"a": 1, "b": 0}
            went_on.set()
            assert await follower == 1
            assert await (await cue.submit("t")) == 2
        assert not any(service.in_use for service in cue.services())

    run(main)


def test_what_was_learned_of_a_task_holds_for_what_it_is_now() -> None:
    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        made: set[int] = set()

        def makes(work: runcue.Work) -> None:
            made.add(work.params["n"])

        def needs(work: runcue.Work) -> None: ...

        cue.task("makes")(makes)
        cue.task("needs")(needs)
        cue.is_ready(task="needs")(lambda work: work.params["n"] in made)
        async with cue:
            for n in range(2):
                waits = await cue.submit("needs", {"n": n})
                await asyncio.sleep(1)
                await (await cue.submit("makes", {"n": n}))
                await waits
                learned = cue._core.tasks["makes"].learned_dependents
                assert cue._core.tasks["needs"] in learned
                for name, handler in (("makes", makes), ("needs", needs)):
                    cue.task(name)(handler)
                assert [task.name for task in cue._core.tasks["makes"].learned_dependents] == ["needs"]

    run(main)


@given(st.integers(0, 2**32))
@settings(max_examples=40)
def test_whatever_is_under_way_when_tasks_are_defined_anew_settles_and_gives_all_back(seed: int) -> None:
    luck = random.Random(seed)

    async def main() -> None:
        cue = runcue.Cue(recheck=True)
        for name in "abc":
            cue.service(name, concurrent=luck.choice([1, 2]))
        cue.service("rate", rate="5/sec")
        open_gates = False
        ordered = luck.random() < 0.5
        if ordered:
            cue.priority(lambda ctx: ctx.work.params["n"] % 3 / 2)

        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(work.params["n"] % 4 / 10)

        def plain(work: runcue.Work) -> None: ...

        def is_ready(work: runcue.Work) -> bool:
            return open_gates or work.params["n"] % 3 > 0

        async def is_ready_later(work: runcue.Work) -> bool:
            await asyncio.sleep(0.05)
            return is_ready(work)

        t.__qualname__ = plain.__qualname__ = "t"  # as if each was what its module calls by that name
        names = ("x", "y")

        def define(name: str) -> None:
            uses = luck.sample(["a", "b", "c", "rate"], luck.randint(0, 2))
            cue.task(name, uses=uses)(luck.choice([t, plain]))

        for name in names:
            define(name)
        cue.is_ready(luck.choice([is_ready, is_ready_later]))
        cue.start()
        handles = []
        for n in range(40):
            handles.append(await cue.submit(luck.choice(names), {"n": n}))
            if luck.random() < 0.3:
                await asyncio.sleep(luck.random() / 5)
            if luck.random() < 0.15:
                define(luck.choice(names))
            if luck.random() < 0.1:
                luck.choice(handles).cancel()
        open_gates = True
        cue.nudge()
        summary = await cue.stop()
        assert sum(summary.counts.values()) == 40
        assert not summary.blocked
        assert not summary.failed
        core = cue._core
        assert not any(service.active for service in (*core.services.values(), core.threads))
        assert not any(queue.backlog() or queue.asking for queue in core.run_queues.values())
        # Whoever was cancelled among those that wait stays in line, a tombstone, till it surfaces.
        assert all(len(task.waiting) == task.waiting_tombstones for task in core.all_tasks)

    run(main)


# One execution.


def test_in_a_script_two_definitions_of_one_name_are_two() -> None:
    cue = runcue.Cue()
    heard: list[str] = []
    for word in ("a", "b"):

        @cue.on_complete
        def _(work: runcue.Work, result: object, duration: float, word: str = word) -> None:
            heard.append(word)

    cue.on_complete(_)
    cue.task("work")(lambda work: None)
    assert heard_of(cue, heard) == ["a", "b", "b"]


class Equal:
    """A limit that is the same as others of its size."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal) and self.size == other.size

    __hash__ = None  # type: ignore[assignment]

    def room(self, now: float, work: runcue.Work) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *about: None


class Sulky(Equal):
    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError("eq")

    __hash__ = None  # type: ignore[assignment]


def test_limits_are_the_same_by_their_meaning() -> None:
    import aiolimiter

    limiter, sulky = aiolimiter.AsyncLimiter(5, 1), Sulky(1)
    same: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"limits": []}),
        ({"rate": "60/min"}, {"rate": "60 per 60s"}),
        ({"rate": "1.5/sec"}, {"rate": "3/2s"}),
        ({"rate": "1_000/h", "burst": 5}, {"rate": "1000.0 / hour", "burst": 5}),
        ({"concurrent": 1}, {"concurrent": 1.0}),
        ({"limiter": limiter}, {"limiter": limiter}),
        ({"limits": Equal(1)}, {"limits": [Equal(1)]}),
        ({"limits": sulky}, {"limits": (sulky,)}),
    ]
    other: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"rate": "60/min"}, {"rate": "1/sec"}),
        ({"rate": "60/min"}, {}),
        ({"rate": "60/min"}, {"rate": "60/min", "burst": 60}),
        ({"concurrent": 2}, {"concurrent": 3}),
        ({"limiter": limiter}, {"limiter": aiolimiter.AsyncLimiter(5, 1)}),
        ({"limits": Equal(1)}, {"limits": Equal(2)}),
        ({"limits": Equal(1)}, {"limits": [Equal(1), Equal(1)]}),
        ({"limits": Sulky(1)}, {"limits": Sulky(1)}),
    ]
    for first, again in same:
        cue = runcue.Cue()
        assert cue.service("api", **first) == cue.service("api", **again) == "api"
        assert len(cue.services()) == 1
    for first, again in other:
        cue = runcue.Cue()
        cue.service("api", **first)
        before = cue.services()
        with pytest.raises(runcue.ConfigurationError, match="'api' is already registered with other limits"):
            cue.service("api", **again)
        assert cue.services() == before
