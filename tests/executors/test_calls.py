"""Calls as they are carried out: bytes in, bytes out. Both ends in this process, without a cue."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue._handlers.parameters import parameters_of
from runcue._handlers.remote_calls import Calls
from runcue.executors import calls
from runcue.executors.culprits import find_culprit
from tests.support import apart as elsewhere
from tests.support.apart import InPlace


def world(handler: Any, *, initializer: Any = None, **options: Any) -> tuple[runcue.Cue, Any]:
    """A cue with one task in another process, and what packs its calls."""
    cue = runcue.Cue(id_prefix="")
    cue.service("api", budget={"tokens": "1000/min"})
    cue.task("task", run_in=InPlace(), initializer=initializer, uses="api", **options)(handler)
    return cue, cue.get_task("task").calls  # type: ignore[union-attr]


async def called(handler: Any, params: dict[str, Any] | None = None, **options: Any) -> calls.Answer:
    """The answer of one call, carried out here."""
    cue, packs = world(handler, **options)
    handle = await cue.submit("task", params or {})
    return calls.load_answer(calls.run(packs.pack(handle.work)))


async def test_a_handler_is_called_as_it_takes_its_work_unit_and_its_params() -> None:
    assert (await called(elsewhere.double, {"number": 4})).value == 8
    assert (await called(elsewhere.with_both, {"x": 1})).value == ("task", 1, 2)
    assert (await called(elsewhere.with_rest, {"x": 1, "z": 3})).value == ("task", 1, {"z": 3})
    assert (await called(elsewhere.with_work_by_name, {"x": 1})).value == ("task", 1)
    assert (await called(elsewhere.Machine(3).times, {"number": 4})).value == 12
    assert (await called(elsewhere.Machine(3), {"number": 4})).value == 12
    assert (await called(partial(elsewhere.with_both, x=7))).value == ("task", 7, 2)


async def test_a_handler_that_a_class_decorates_goes_by_its_name() -> None:
    for handler in (elsewhere.stamped, elsewhere.sealed):
        assert (await called(handler, {"number": 4})).value == "stamped 4"
        assert (await called(partial(handler, number=5))).value == "stamped 5"
        assert (await called(handler.__call__, {"number": 6})).value == "stamped 6"
    # The decorator of the task was the inner one.
    assert (await called(elsewhere.sealed.function, {"number": 7})).value == 7


@pytest.mark.filterwarnings("error")
async def test_a_coroutine_cannot_be_sent_back_and_nothing_is_said_of_its_never_being_awaited() -> None:
    answer = await called(elsewhere.promise)
    assert answer.failure is not None
    assert "result cannot be sent back" in answer.failure[1]
    assert "it is a coroutine" in answer.failure[1]


async def test_who_was_interrupted_elsewhere_is_named() -> None:
    cue, packs = world(elsewhere.raise_what)
    work = (await cue.submit("task", {"what": "interrupt"})).work
    outcome = packs.conclude(work, calls.run(packs.pack(work)), "").outcome
    assert isinstance(outcome, runcue.HandlerExited)
    assert str(outcome) == "The handler of 'task' ended with KeyboardInterrupt"


async def test_a_handler_sees_a_picture_of_its_work_unit(tmp_path: Path) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    cue, packs = world(elsewhere.whole, inputs=source, outputs=target)
    handle = await cue.submit("task", {"page": 1}, metadata={"user": "anna"})
    seen = calls.load_answer(calls.run(packs.pack(handle.work))).value
    assert seen == {
        "id": "1",
        "task": "task",
        "params": {"page": 1},
        "attempt": 1,
        "metadata": {"user": "anna"},
        "inputs": [str(source)],
        "outputs": [str(target)],
        "repr": "<Work 1 task>",
    }
    handle.work._declared.transaction.discard()  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["checkpoint", "submit", "cancelled", "state"])
async def test_what_a_picture_does_not_show_is_told_with_what_it_does(name: str) -> None:
    answer = await called(elsewhere.look_for, {"name": name})
    assert answer.failure is not None
    kind, text, trace = answer.failure
    assert (kind, not answer.final) == ("AttributeError", True)
    assert f"has no {name!r}. There is id, task, params, attempt" in text
    assert "in look_for" in trace
    assert "executors/calls.py" not in trace


async def test_what_python_says_of_a_picture_names_a_work_and_one_that_is_given_back_comes_back() -> None:
    answer = await called(elsewhere.add_to_work)
    assert answer.failure is not None
    assert answer.failure[:2] == ("TypeError", "unsupported operand type(s) for +: 'Work' and 'int'")
    assert repr((await called(elsewhere.give_work)).value) == "<Work 1 task>"


@pytest.mark.parametrize(
    ("handler", "value"),
    [(elsewhere.shouted, "hello anna!"), (elsewhere.undecorated, "hello anna")],
    ids=["around", "inside"],
)
async def test_a_decorated_function_is_found_by_its_name_and_so_is_what_is_in_it(
    handler: Any, value: str
) -> None:
    assert (await called(handler, {"name": "anna"})).value == value


async def test_errors_come_as_they_are_if_they_come_back_equal_and_else_in_words() -> None:
    answer = await called(elsewhere.raise_what, {"what": "apart"})
    error = calls.load_error(answer.error or b"")
    assert (type(error), error.args) == (elsewhere.Apart, ("far", 3))
    for what, text in (("odd", "odd (3)"), ("silent", "silent night")):
        with elsewhere.plainly_pickled():
            answer = await called(elsewhere.raise_what, {"what": what})
        assert answer.error is None
        assert answer.failure is not None
        assert answer.failure[:2] == (f"tests.support.apart.{what.capitalize()}", text)
    answer = await called(elsewhere.raise_what, {"what": "cause"})
    assert answer.failure is not None
    assert "KeyError: 'inner'" in answer.failure[2]


async def test_a_result_that_cannot_be_sent_is_told_by_its_path_and_needs_no_other_attempt() -> None:
    answer = await called(elsewhere.raise_what, {"what": "unpicklable"})
    assert answer.final
    error = calls.load_error(answer.error or b"")
    assert isinstance(error, pickle.PicklingError)
    assert str(error).startswith(
        "result['rows'][1]['call'] cannot be sent back from where the handler of task 'task' runs: it is a function, "
        "which cannot be pickled"
    )
    nested: list[Any] = []
    for _ in range(10_000):
        nested = [nested]
    assert find_culprit(nested, "result", pickle.dumps, RecursionError()) == (
        "result",
        "is nested too deeply to be pickled",
    )


async def test_an_initializer_is_called_once_before_the_first_call_and_again_if_it_has_raised() -> None:
    elsewhere.LOADED.clear()
    cue, packs = world(elsewhere.loaded, initializer=elsewhere.load_badly)
    handle = await cue.submit("task")
    answers = [calls.load_answer(calls.run(packs.pack(handle.work))) for _ in range(3)]
    assert answers[0].failure is not None
    assert answers[0].failure[1] == "cannot be loaded"
    assert not answers[0].final
    assert [answer.value for answer in answers[1:]] == [["badly", "badly"]] * 2
    elsewhere.LOADED.clear()


async def test_what_is_called_at_the_entry_comes_after_the_initializer_and_right_before_the_handler() -> None:
    elsewhere.LOADED.clear()
    cue, packs = world(elsewhere.loaded, initializer=elsewhere.load)
    payload = packs.pack((await cue.submit("task")).work)
    answer = calls.run(payload, None, lambda: elsewhere.LOADED.append("entered"))
    assert calls.load_answer(answer).value == ["loaded", "entered"]
    elsewhere.LOADED.clear()


def test_the_main_program_is_loaded_before_a_name_of_it_is_looked_up_and_not_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[int] = []
    answer = calls.run(_payload(elsewhere.double, {"number": 1}), lambda: loaded.append(1))
    assert (calls.load_answer(answer).value, loaded) == (2, [])
    monkeypatch.setattr(sys.modules["__main__"], "Point", elsewhere.Point, raising=False)
    monkeypatch.setattr(elsewhere.Point, "__module__", "__main__")
    answer = calls.run(_payload(elsewhere.point, {"at": elsewhere.Point(3)}), lambda: loaded.append(2))
    assert (calls.load_answer(answer).value, loaded) == (elsewhere.Point(4), [2])


def test_what_the_main_program_raises_is_a_failure_that_needs_no_other_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load() -> None:
        raise ImportError("the main program cannot be imported")

    monkeypatch.setattr(sys.modules["__main__"], "Point", elsewhere.Point, raising=False)
    monkeypatch.setattr(elsewhere.Point, "__module__", "__main__")
    answer = calls.load_answer(calls.run(_payload(elsewhere.point, {"at": elsewhere.Point(3)}), load))
    assert answer.failure is not None
    assert (answer.failure[1], answer.final) == ("the main program cannot be imported", True)


def _payload(handler: Any, params: dict[str, Any]) -> bytes:
    form = parameters_of(handler).form  # type: ignore[union-attr]
    named = pickle.dumps((handler, form, None, None), 5)
    body = pickle.dumps(("1", "task", 1, params, {}, (), (), (), ()), 5)
    return len(named).to_bytes(4, "big") + named + body


def test_a_module_that_cannot_be_imported_is_a_failure_that_needs_no_other_attempt() -> None:
    payload = _payload(elsewhere.double, {"number": 1})
    answer = calls.load_answer(calls.run(payload.replace(b"tests.support.apart", b"tests.support.apert")))
    assert answer.failure is not None
    assert answer.failure[0] == "ModuleNotFoundError"
    assert answer.final


def test_what_says_nothing_of_itself_is_told_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

        def __reduce__(self) -> Any:
            raise ValueError

    answer = calls.load_answer(calls._failed(None, Mute(), False, calls._dumps, 0.0))
    assert answer.failure is not None
    assert answer.failure[1] == "a " + Mute.__qualname__ + " without a text"


def test_a_long_traceback_is_told_by_its_ends() -> None:
    try:
        raise ValueError("x" * 30_000)
    except ValueError as error:
        answer = calls.load_answer(calls._failed(None, error, False, calls._dumps, 0.0))
    assert answer.failure is not None
    assert len(answer.failure[2]) < 20_100
    assert len(answer.failure[1]) == 300


def test_the_module_is_loaded_without_the_rest_of_runcue() -> None:
    program = (
        "import importlib.util, sys\n"
        f"folder = {str(Path(calls.__file__).parent)!r}\n"
        "for name in ('pictures', 'calls'):\n"
        "    full = f'runcue.executors.{name}'\n"
        "    spec = importlib.util.spec_from_file_location(full, f'{folder}/{name}.py')\n"
        "    sys.modules[full] = module = importlib.util.module_from_spec(spec)\n"
        "    spec.loader.exec_module(module)\n"
        "print(sorted(name for name in sys.modules if name.startswith('runcue')), 'asyncio' in sys.modules)\n"
        "print(module.here() != '')\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told == "['runcue.executors.calls', 'runcue.executors.pictures'] False\nTrue\n"


def test_a_machine_that_has_no_such_file_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Path, encoding: str) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert calls.here.__wrapped__().endswith(sys.platform)


def test_all_functions_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_MOST_KNOWN", 1)
    for handler in (elsewhere.double, elsewhere.sleep):
        calls.run(_payload(handler, {parameters_of(handler).names[0]: 0}))  # type: ignore[union-attr]
    assert len(calls._known) == 1


# What is told of what cannot be sent there.


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (lambda work: None, "it is a lambda, which has no name to be found by: use def"),
        (elsewhere.bare(elsewhere.whole), "it is inside of another function"),
        (partial(lambda work: None), "it is a lambda"),
    ],
    ids=["lambda", "local", "partial"],
)
def test_a_function_without_a_name_of_its_own_is_refused_where_it_is_registered(
    handler: Any, words: str
) -> None:
    with pytest.raises(
        runcue.ConfigurationError, match=r"^The handler of task 'task', .* cannot be sent"
    ) as raised:
        world(handler)
    assert words in str(raised.value)
    with pytest.raises(runcue.ConfigurationError, match=r"^initializer of task 'task', .*<lambda>"):
        world(elsewhere.double, initializer=lambda: None)


async def test_a_name_that_leads_to_something_else_is_told_with_the_first_submission() -> None:
    def impostor(work: Any) -> None: ...

    impostor.__qualname__, impostor.__module__ = "double", elsewhere.__name__
    cue, _ = world(impostor)
    with pytest.raises(
        runcue.ConfigurationError, match=r"its name, tests.support.apart.double, leads to something"
    ):
        await cue.submit("task")
    impostor.__qualname__ = "gone"
    cue, _ = world(elsewhere.whole, initializer=partial(impostor, None))
    with pytest.raises(runcue.ConfigurationError, match=r"Its initializer cannot be sent .*gone"):
        await cue.submit("task")


class Nested:
    def __init__(self) -> None:
        self.lines = ({"a": {1}}, [open])
        self._lock = __import__("threading").Lock()


@dataclass(frozen=True, slots=True)
class Frozen:
    inner: Any


class Careful:
    """Sends no lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inner = [lambda: 3]

    def __getstate__(self) -> dict[str, Any]:
        return {"inner": self.inner}


class Remade:
    """Has a lock, which is not what is in the way."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Remade, (lambda: 3,)


class Slotted:
    __slots__ = ("__weakref__", "inner", "unset")

    def __init__(self) -> None:
        self.inner = lambda: 3


@pytest.mark.parametrize(
    ("value", "path", "what"),
    [
        ({"rows": [1, 2, lambda: 3]}, "params['value']['rows'][2]", "a function"),
        ((1, [Nested()]), "params['value'][1][0]._lock", "a _thread.lock"),
        (Slotted(), "params['value'].inner", "a function"),
        (Frozen(threading.Lock()), "params['value'].inner", "a _thread.lock"),
        (Careful(), "params['value'].inner[0]", "a function"),
        (Remade(), "params['value'] cannot", "a tests.executors.test_calls.Remade"),
        ({"os": os}, "params['value']['os'] cannot", "a module"),
        ({Nested: 1, "x": {open, sys}}, "params['value']['x']{<module 'sys' (built-in)>}", "a module"),
        ({(lambda: 3): 1}, "params['value'].key <function", "a function"),
    ],
    ids=["rows", "attribute", "slot", "frozen slot", "state", "remade", "module", "set", "key"],
)
async def test_params_that_cannot_be_sent_are_told_by_their_path_at_the_first_submission(
    value: Any, path: str, what: str
) -> None:
    cue, _ = world(elsewhere.raise_what)
    with pytest.raises(runcue.InvalidParams) as raised:
        await cue.submit("task", {"what": value})
    text = str(raised.value)
    assert text.startswith(path.replace("'value'", "'what'"))
    assert f"it is {what}, which cannot be pickled" in text
    assert 'such as a path, or run it in a thread (run_in="thread")' in text
    assert len(text) <= 500
    # Nothing was taken in by that, and the next one is looked at likewise.
    assert not await cue.list()
    with pytest.raises(runcue.InvalidParams):
        await cue.submit("task", {"what": value})
    await cue.submit("task", {"what": 3})


async def test_a_flag_cannot_be_an_output_of_what_runs_elsewhere() -> None:
    cue, _ = world(elsewhere.whole, outputs=runcue.Flag("done"))
    with pytest.raises(
        runcue.ConfigurationError, match=r"cannot set Flag\('done'\), which is in the memory of this"
    ):
        await cue.submit("task")


class Row(runcue.Artifact):
    """An artifact with something that cannot be sent."""

    def __init__(self, name: str, store: Any = None) -> None:
        self.name = name
        self._store = store

    def valid(self) -> bool:
        return True


def rows(work: Any) -> Any:
    return [work.inputs[0].name, repr(work.inputs[1]), work.inputs[1].name]


async def test_an_artifact_that_cannot_be_sent_is_missed_only_by_who_asks_for_what_it_has() -> None:
    names = [Row("sent"), Row("stays", open)]
    answer = await called(rows, inputs=[*names[:1], Row("sent too")])
    assert answer.value == ["sent", repr(Row("sent too")), "sent too"]
    answer = await called(rows, inputs=[names[0], Row("stays", lambda: 3)])
    assert answer.failure is not None
    assert answer.failure[0] == "AttributeError"
    assert "is not here, where the handler runs: it._store is a function" in answer.failure[1]


def test_a_class_that_was_typed_in_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.setattr(elsewhere.Point, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Point", elsewhere.Point, raising=False)
    monkeypatch.setattr(elsewhere.double, "__module__", "__main__")
    with pytest.raises(runcue.ConfigurationError, match="it is in `__main__`, which has no file here"):
        world(elsewhere.double)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["__main__"], "__file__", f"{__file__}/__main__.py", raising=False)
        with pytest.raises(
            runcue.ConfigurationError, match=r"no file here \(it is in an archive, test_calls\.py\)"
        ):
            world(elsewhere.double)
    cue, _ = world(elsewhere.point)

    async def main() -> None:
        with pytest.raises(
            runcue.InvalidParams, match="params hold a Point of `__main__`, which has no file"
        ):
            await cue.submit("task", {"at": elsewhere.Point(1)})
        await cue.submit("task", {"at": ["__main__", elsewhere.with_both]})

    asyncio.run(main())


def test_an_initializer_is_for_processes() -> None:
    cue = runcue.Cue()
    with pytest.raises(
        runcue.ConfigurationError, match="initializer of task 'task' is called in each process"
    ):
        cue.task("task", initializer=elsewhere.load)(elsewhere.double)
    for bad in (3, elsewhere.double):
        with pytest.raises(runcue.ConfigurationError, match=r"^initializer of task 'task'"):
            cue.task("task", run_in=InPlace(), initializer=bad)(elsewhere.sleep)  # type: ignore[arg-type]

    async def load() -> None: ...

    with pytest.raises(runcue.ConfigurationError, match="must be a plain function, not the async def"):
        cue.task("task", run_in=InPlace(), initializer=load)(elsewhere.sleep)


def test_calls_are_packed_by_what_their_executor_wants() -> None:
    class Cloud(InPlace):
        pickler = "tests.support.pickler"

    assert Calls("task", lambda work: None, None, None, Cloud())._pickler == "tests.support.pickler"
