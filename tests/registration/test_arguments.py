"""Whatever a call is given, it works or is refused by an error of runcue, in that line, and nothing is half done.

One table: every argument that takes a value, with the odd values that it takes; all others are refused.
"""

from __future__ import annotations

import asyncio
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from inspect import isawaitable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runcue
from runcue._registration.submission import overrides_of
from runcue.abc import Observer

LONG = "x" * 105_000


class Raises:
    """Raises when it is asked what it is."""

    def __repr__(self) -> str:
        raise ZeroDivisionError("repr")

    __str__ = __repr__

    def __format__(self, form: str) -> str:
        raise ZeroDivisionError("format")


class NoText:
    """Says something that is no text."""

    def __repr__(self) -> str:
        return 5  # type: ignore[return-value]


class OddText(str):
    """A text that raises."""

    __slots__ = ()

    def __repr__(self) -> str:
        raise ZeroDivisionError

    __str__ = __repr__


class Evil:
    """Raises whatever it is asked."""

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError("eq")

    def __hash__(self) -> int:
        raise ZeroDivisionError("hash")

    def __bool__(self) -> bool:
        raise ZeroDivisionError("bool")

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)

    def __fspath__(self) -> str:
        raise ZeroDivisionError("fspath")


VALUES: dict[str, Any] = {
    "None": None,
    "True": True,
    "False": False,
    "NUL": "a\0b",
    "surrogate": "a\ud800",
    "empty": "",
    "long": LONG,
    "odd text": OddText("odd"),
    "bytes": b"bytes",
    "no bytes": b"",
    "NUL bytes": b"a\0",
    "number": 3,
    "negative": -1,
    "huge": 10**5000,
    "float": 1.5,
    "nan": math.nan,
    "inf": math.inf,
    "complex": 1j,
    "array": np.array([1, 2]),
    "list": [],
    "dict": {},
    "object": object(),
    "raises": Raises(),
    "no text": NoText(),
    "evil": Evil(),
}
PATHS = {"long", "odd text", "bytes"}
TEXTS = {"long", "odd text", "NUL", "surrogate"}
WHOLE = {"number", "huge"}
SECONDS = {"None", "number", "float"}
BOOLS = {"True", "False"}
NONE = {"None"}
HASHABLE = {*VALUES} - {"array", "list", "dict", "evil"}

Call = Callable[[runcue.Cue, Any], Any]


def option(call: str, name: str, *positional: Any) -> Call:
    """A call of a cue with one option."""
    return lambda cue, value: getattr(cue, call)(*positional, **{name: value})


def name_in_a_dict(value: Any) -> Any:
    return value if isinstance(value, (str, bytes, int, float, Raises, NoText)) else "no field"


def described_by(name: str) -> Call:
    """A new cue with one option."""
    return lambda cue, value: runcue.Cue(**{name: value})


CALLS: dict[str, tuple[Call, set[str]]] = {
    "exists": (lambda cue, value: runcue.exists(value), PATHS),
    "File": (lambda cue, value: runcue.File(value), PATHS),
    "File(max_age)": (lambda cue, value: runcue.File("f", max_age=value), SECONDS),
    "File(validate)": (lambda cue, value: runcue.File("f", validate=value), NONE),
    "Flag": (lambda cue, value: runcue.Flag(value), TEXTS | NONE),
    "digest(params)": (lambda cue, value: runcue.digest(params=value), BOOLS),
    "atomic_write": (lambda cue, value: runcue.atomic_write(value, "x", durable=False), PATHS - {"long"}),
    "atomic_write(content)": (
        lambda cue, value: runcue.atomic_write("o", value, durable=False),
        {"empty", "bytes", "no bytes", "NUL bytes", "array", *TEXTS} - {"surrogate"},
    ),
    "atomic_write(encoding)": (lambda cue, value: runcue.atomic_write("o", "x", encoding=value), NONE),
    "atomic_write(durable)": (lambda cue, value: runcue.atomic_write("o", "x", durable=value), BOOLS),
    **{
        f"Cue({name})": (described_by(name), takes)
        for name, takes in {
            "pending_warn_after": SECONDS,
            "pending_timeout": SECONDS,
            "stall_warn_after": SECONDS,
            "stall_timeout": SECONDS,
            "head_start": SECONDS,
            "keep": WHOLE,
            "max_threads": WHOLE,
            "max_processes": WHOLE | NONE,
            "recheck": BOOLS,
            "id_prefix": {"None", "empty", *TEXTS},
            "run_in": NONE,
        }.items()
    },
    "service": (lambda cue, value: cue.service(value), TEXTS),
    **{
        f"service({name})": (option("service", name, "new"), takes)
        for name, takes in {
            "rate": NONE,
            "concurrent": WHOLE | NONE,
            "limiter": NONE,
            "limits": {"None", "list"},
            "budget": {"None", "dict"},
            "oversize": NONE,
        }.items()
    },
    "service(margin)": (lambda cue, value: cue.service("new", rate="1/s", margin=value), SECONDS),
    "service(burst)": (lambda cue, value: cue.service("new", rate="1/s", burst=value), WHOLE | NONE),
    "task": (lambda cue, value: cue.task(value)(print), TEXTS),
    "task(...)(handler)": (lambda cue, value: cue.task("new")(value), set()),
    **{
        f"task({name})": (option("task", name, "new"), takes)
        for name, takes in {
            "uses": {"None", "list"},
            "timeout": SECONDS,
            "inputs": {*PATHS, "None", "list"},
            "outputs": {*PATHS, "None", "list"},
            "fresh": NONE,
            "key": HASHABLE,
            "duplicate": set[str](),
            "priority": NONE,
            "must_complete": BOOLS,
            "cost": {"None", "dict"},
            "run_in": NONE,
        }.items()
    },
    "submit": (lambda cue, value: cue.submit(value), set()),
    **{
        f"submit({name})": (option("submit", name, "task"), takes)
        for name, takes in {
            "params": {"None", "dict"},
            "inputs": {*PATHS, "None", "list"},
            "outputs": {*PATHS, "None", "list"},
            "fresh": NONE,
            "key": HASHABLE,
            "duplicate": NONE,
            "force": BOOLS,
            "priority": NONE,
            "timeout": SECONDS | {"inf"},
            "must_complete": BOOLS | NONE,
            "cost": {"None", "dict"},
        }.items()
    },
    "list(state)": (option("list", "state"), NONE),
    "list(task)": (option("list", "task"), NONE),
    "list(limit)": (option("list", "limit"), WHOLE | NONE),
    "list(after)": (option("list", "after"), NONE),
    "get": (lambda cue, value: cue.get(value), {"empty", *TEXTS}),
    "cancel": (lambda cue, value: cue.cancel(value), {"empty", *TEXTS}),
    "retry": (lambda cue, value: cue.retry(value), set()),
    "why": (lambda cue, value: cue.why(value), set()),
    "why_stale": (lambda cue, value: cue.why_stale(value), set()),
    "get_task": (lambda cue, value: cue.get_task(value), TEXTS),
    "nudge": (lambda cue, value: cue.nudge(value), PATHS | NONE),
    "watch": (lambda cue, value: cue.watch(value), set()),
    "watch(recursive)": (option("watch", "recursive", "."), BOOLS),
    "watch(submit)": (lambda cue, value: cue.watch(".", submit=value), NONE),
    "watch(pattern)": (
        lambda cue, value: cue.watch(".", submit="task", pattern=value),
        (NONE | TEXTS) - {"NUL"},
    ),
    "plan": (lambda cue, value: cue.plan(value), {"None", "list", "no bytes"}),
    "plan([...])": (lambda cue, value: cue.plan([value]), set()),
    "plan([(task, ...)])": (lambda cue, value: cue.plan([("task", value)]), {"None", "dict"}),
    "plan([{...: 1}])": (lambda cue, value: cue.plan([{name_in_a_dict(value): 1}]), set()),
    "plan(priority)": (lambda cue, value: cue.plan([{"task": "task", "priority": value}]), NONE),
    "plan(timeout)": (
        lambda cue, value: cue.plan([{"task": "task", "timeout": value}]),
        SECONDS | {"inf"},
    ),
    "plan(force)": (lambda cue, value: cue.plan([{"task": "task", "force": value}]), BOOLS),
    "graph": (lambda cue, value: cue.graph(value), set()),
    "graph(limit)": (option("graph", "limit"), WHOLE),
    "observe": (lambda cue, value: cue.observe(value), set()),
    "stop(drain)": (option("stop", "drain"), BOOLS),
    "stop(timeout)": (option("stop", "timeout"), SECONDS),
    "is_ready": (lambda cue, value: cue.is_ready(value), NONE),
    "is_stale": (lambda cue, value: cue.is_stale(value), NONE),
    "priority": (lambda cue, value: cue.priority(value), NONE),
    "on_complete": (lambda cue, value: cue.on_complete(value), NONE),
    "on_stall_warning": (lambda cue, value: cue.on_stall_warning(value), NONE),
    "is_ready(task)": (lambda cue, value: cue.is_ready(task=value)(print), TEXTS | NONE),
    "on_complete(task)": (lambda cue, value: cue.on_complete(task=value)(print), TEXTS | NONE),
    "blocking": (lambda cue, value: runcue.blocking(value), set()),
    "run": (lambda cue, value: runcue.run(value), set()),
}


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.Runner]:
    monkeypatch.chdir(tmp_path)
    with asyncio.Runner() as runner:
        yield runner


def described() -> runcue.Cue:
    cue = runcue.Cue()
    cue.task("task")(lambda work: None)
    return cue


def told(cue: runcue.Cue) -> tuple[Any, ...]:
    """All that is known of a cue that was only described."""
    return cue.tasks(), cue.services(), [work.id for work in cue._core.history], cue._listeners.of, repr(cue)


@pytest.mark.rule(34)
@pytest.mark.parametrize("call", CALLS)
def test_an_odd_value_works_or_is_refused_by_an_error_of_runcue_and_nothing_is_half_done(
    call: str, loop: asyncio.Runner
) -> None:
    make, takes = CALLS[call]
    if call == "run":  # it says first that a loop is running already
        with pytest.raises(runcue.UsageError, match="async function"):
            runcue.run(Raises())  # type: ignore[arg-type]
        return

    async def one(cue: runcue.Cue, value: Any) -> str:
        before = told(cue)
        try:
            answer = make(cue, value)
            if isawaitable(answer):
                await answer
        except runcue.RuncueError as error:
            is_short = len(str(error)) <= 600 and len(repr(error)) <= 650
            is_whole = told(cue) == before
            return "refused" if is_short and is_whole else f"short: {is_short}, whole: {is_whole}"
        return "works"

    async def all_of_them() -> dict[str, str]:
        return {name: await one(described(), value) for name, value in VALUES.items()}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the truth of arrays
        found = loop.run(all_of_them())
    assert found == {name: "works" if name in takes else "refused" for name in VALUES}


@pytest.mark.parametrize(
    "value", [None, 5, b"id", Raises(), LONG, "", "nobody-1"], ids=lambda one: type(one).__name__
)
async def test_a_work_unit_is_known_by_id_handle_or_work_and_those_of_other_cues_are_not(value: Any) -> None:
    cue, other = runcue.Cue(id_prefix="same-"), runcue.Cue(id_prefix="same-")
    for one in (cue, other):
        one.task("task")(lambda work: None)
    handle, theirs = await cue.submit("task"), await other.submit("task")
    assert handle == theirs  # by chance they have one id
    assert await cue.get(handle) is await cue.get(str(handle)) is await cue.get(handle.work) is handle.work
    for stranger in (theirs, theirs.work):
        assert await cue.get(stranger) is None
        assert not await cue.cancel(stranger)
        with pytest.raises(LookupError, match="knows no work"):
            cue.why(stranger)
    if isinstance(value, str):
        assert await cue.get(value) is None
    else:
        with pytest.raises(ValueError, match="is meant by its id"):
            await cue.cancel(value)
    assert handle.work.state is runcue.WorkState.PENDING
    assert await cue.cancel(handle.work)
    await other.cancel(theirs)


async def test_work_units_are_listed_by_the_handler_of_their_task_as_they_are_submitted_by_it() -> None:
    cue = runcue.Cue()

    @cue.task
    def bake(work: runcue.Work) -> None: ...

    handle = await cue.submit(bake)
    assert await cue.list(task=bake) == [handle.work]
    with pytest.raises(runcue.UnknownTask):
        await cue.list(task=print)
    await cue.cancel(handle)


def test_numbers_of_other_kinds_are_numbers() -> None:
    cue = runcue.Cue(
        keep=1e4, max_threads=np.int64(3), stall_timeout=np.int64(5), pending_timeout=np.float64(2.5)
    )
    assert cue.max_threads == 3
    cue.service("api", rate="1/s", concurrent=np.int32(2))
    assert cue.services()[0].concurrent == 2


class Broken(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise ZeroDivisionError(key)

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        return 2


def test_several_services_out_of_an_iterator_that_raises_are_refused() -> None:
    def names() -> Iterator[str]:
        yield "api"
        raise ZeroDivisionError

    cue = runcue.Cue()
    cue.service("api")
    with pytest.raises(
        runcue.ConfigurationError, match="uses of task 'new' must be the name of a service, or a list"
    ):
        cue.task("new", uses=names())  # type: ignore[call-overload]
    cue.task("new", uses=dict.fromkeys(["api"]).keys())(print)  # type: ignore[call-overload]
    assert cue.tasks()[0].services == ("api",)


async def test_params_that_cannot_be_copied_are_refused() -> None:
    cue = described()
    with pytest.raises(TypeError, match="can be copied: ZeroDivisionError: a"):
        await cue.submit("task", params=Broken())
    assert await cue.list() == []


class Proxy:
    """Stands for something that is not there yet, and says so whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"not bound yet: {name}")

    def __repr__(self) -> str:
        raise RuntimeError("not bound yet")

    def __hash__(self) -> int:
        raise RuntimeError("not bound yet")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not bound yet")

    def __call__(self, *about: object) -> bool:
        return True


def unfit(
    one: object, two: object, three: object, four: object, *more: object, odd: object = Raises()
) -> None: ...


def test_what_is_called_like_a_function_may_do_anything_when_it_is_asked_what_it_is() -> None:
    cue, proxy = runcue.Cue(), Proxy()
    for register in (
        cue.is_ready,
        cue.is_stale,
        cue.priority,
        cue.on_start,
        cue.on_complete,
        cue.task("task"),
    ):
        assert register(proxy) is proxy  # type: ignore[operator]
    cue.task("other", inputs=proxy, outputs=proxy, key=proxy)(proxy)
    cue.task("task")(proxy)  # the same again
    assert runcue.File("f", validate=proxy).validate is proxy
    assert [task.name for task in cue.tasks()] == ["task", "other"]
    with pytest.raises(runcue.ConfigurationError, match="needs a name, and Proxy has none"):
        cue.task(proxy)


def test_a_function_with_a_default_that_cannot_be_shown_is_refused_all_the_same() -> None:
    cue = runcue.Cue()
    for register in (
        cue.is_ready,
        cue.is_stale,
        cue.priority,
        cue.on_start,
        cue.on_complete,
        cue.task("task"),
    ):
        with pytest.raises(runcue.ConfigurationError, match=r"unfit\(\.\.\.\),? must (not )?take"):
            register(unfit)  # type: ignore[operator]
    assert repr(cue) == "<Cue not started: 0 services, 0 tasks; no work yet>"


def test_an_observer_is_an_object_and_not_its_class() -> None:
    with pytest.raises(runcue.ConfigurationError, match="an instance"):
        runcue.Cue().observe(Observer)  # type: ignore[arg-type]


def test_options_are_those_of_their_own_submission_however_alike_the_one_before_was() -> None:
    first = overrides_of({"retry": 3, "timeout": 30})
    assert first is not None
    assert overrides_of({"retry": 3, "timeout": 30}) is first  # it is never changed
    for said in ({"retry": 3, "priority": None}, {"timeout": 30, "wait": False}, {"timeout": 30}):
        other = overrides_of(dict(said))
        assert other is not None
        assert other.__dict__ == said
        assert overrides_of({"retry": 3, "timeout": 30}) is not other
    for alike in (True, 3.5):
        overrides_of({"retry": 1, "timeout": 30})
        with pytest.raises(runcue.ConfigurationError, match="retry must be"):
            overrides_of({"retry": alike, "timeout": 30})
    assert overrides_of({}) is None
