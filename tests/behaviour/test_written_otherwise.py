"""What newcomers write in another way than it should be works, or the text says what to write."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import submissions, testing
from runcue._model.checks import says_what_it_takes
from runcue.testing import Recorder, run
from runcue.timeline import Timeline
from tests.support.virtual_time import virtual

pytestmark = pytest.mark.rule(34)


def test_params_may_come_second_wherever_a_work_unit_is_submitted(tmp_path: Path) -> None:
    cue = runcue.Cue()

    @cue.task("child")
    async def child(work: runcue.Work) -> Any:
        return work.params["n"]

    @cue.task("parent")
    def parent(work: runcue.Work) -> Any:
        return work.submit("child", {"n": 2}), cue.submit_threadsafe(child, {"n": 3})

    with runcue.blocking(cue) as b:
        assert b.result(b.submit("child", {"n": 1})) == 1
        assert [b.result(handle) for handle in b.result(b.submit("parent"))] == [2, 3]


@pytest.mark.parametrize(
    "register",
    [
        lambda cue, handler: cue.task(handler),
        lambda cue, handler: cue.task()(handler),
        lambda cue, handler: cue.task(timeout=5)(handler),
        lambda cue, handler: cue.task(handler, timeout=5),
    ],
    ids=["bare", "with parentheses", "with options", "called"],
)
@pytest.mark.parametrize("kind", ["plain", "async", "decorated", "method"])
def test_a_task_without_a_name_is_called_as_its_handler_is(
    register: Callable[[runcue.Cue, Any], Any], kind: str
) -> None:
    class Baker:
        def bake(self, work: runcue.Work) -> str:
            return "baked"

    def bake(work: runcue.Work) -> str:
        return "baked"

    @functools.wraps(bake)
    def decorated(*about: Any) -> str:
        return bake(*about)

    async def later(work: runcue.Work) -> str:
        return "baked"

    later.__name__ = "bake"
    handler = {"plain": bake, "async": later, "decorated": decorated, "method": Baker().bake}[kind]

    async def main() -> None:
        async with runcue.Cue() as cue:
            assert register(cue, handler) is handler
            assert await (await cue.submit("bake")).result() == "baked"
            assert await (await cue.submit(handler)).result() == "baked"

    run(main)


@pytest.mark.parametrize(
    "handler", [lambda work: None, functools.partial(print, end="")], ids=["lambda", "partial"]
)
def test_a_handler_without_a_name_of_its_own_needs_one(handler: Any) -> None:
    cue = runcue.Cue()
    for register in (cue.task, cue.task()):
        with pytest.raises(runcue.ConfigurationError, match=r'needs a name.*write cue\.task\("name"\)'):
            register(handler)
    assert cue.tasks() == []


async def test_a_task_is_found_by_a_decorated_form_of_its_handler() -> None:
    cue = runcue.Cue()

    @cue.task
    def bake(work: runcue.Work) -> None: ...

    @functools.wraps(bake)
    def timed(work: runcue.Work) -> None: ...

    assert (await cue.submit(timed)).work.task == "bake"
    timed.__wrapped__ = timed  # type: ignore[attr-defined]  # leads nowhere
    with pytest.raises(runcue.UnknownTask, match="neither the name"):
        await cue.submit(timed)
    assert len(await cue.list()) == 1
    for work in await cue.list():
        await cue.cancel(work)


async def test_what_service_returns_is_what_uses_takes() -> None:
    cue = runcue.Cue()
    api, gpu = cue.service("api", rate="1/s"), cue.service("gpu", concurrent=1)
    cue.task("one", uses=api)(print)
    cue.task("both", uses=[api, gpu])(print)
    assert [task.services for task in cue.tasks()] == [("api",), ("api", "gpu")]
    with pytest.raises(ValueError, match=r"must be the name of a service.*not ServiceStatus\(name='api'"):
        cue.task("status", uses=cue.services()[0])  # type: ignore[call-overload]


REFUSED: dict[str, tuple[Callable[[runcue.Cue], Any], str]] = {
    "params by name": (lambda cue: cue.submit("t", n=1), r"params=\{'n': 1\}"),
    "params and more": (
        lambda cue: cue.submit("t", {}, page=2, size="a"),
        r"params=\{'page': 2, 'size': 'a'\}",
    ),
    "params one by one": (
        lambda cue: cue.submit("t", 1, 2),
        r'such as \{"page": 1\}, .* several values: 1, 2\.',
    ),
    "File(maxage=)": (lambda cue: runcue.File("f", maxage="1h"), "did you mean max_age="),
    "output=": (lambda cue: cue.submit("t", output="o"), "did you mean outputs="),
    "param=": (lambda cue: cue.submit("t", param={}), "did you mean params="),
    "threadsafe": (lambda cue: cue.submit_threadsafe("t", n=1), r"params=\{'n': 1\}"),
    "pairs": (lambda cue: cue.submit("t", [("n", 1)]), r"such as \{\"page\": 1\}, not list"),
    "drain(time=)": (lambda cue: cue.drain(time=5), "did you mean timeout="),
    "stop(time=)": (lambda cue: cue.stop(time=5), "did you mean timeout="),
    "list(tasks=)": (lambda cue: cue.list(tasks="t"), "did you mean task="),
    "input=": (lambda cue: cue.task("new", input="i"), "did you mean inputs="),
    "colour=": (lambda cue: cue.task("new", colour="red"), "no option colour=; there is uses=, timeout="),
    "two to task": (
        lambda cue: cue.task("new", print),
        "task.. takes one argument, name, and options by keyword: uses=",
    ),
    "rates=": (lambda cue: cue.service("new", rates="1/s"), "did you mean rate="),
    "rate second": (
        lambda cue: cue.service("new", "1/s"),
        "takes one argument, name, and options by keyword: rate=",
    ),
    "no service": (lambda cue: cue.service(), "takes one argument, name"),
    "max_thread=": (lambda cue: runcue.Cue(max_thread=1), "did you mean max_threads="),
    "Cue(5)": (
        lambda cue: runcue.Cue(5),
        "takes options by keyword alone: pending_warn_after=",
    ),
    "drain(5)": (lambda cue: cue.drain(5), r"takes options by keyword alone: timeout=\."),
    "stop(5)": (lambda cue: cue.stop(5), r"takes options by keyword alone: drain=, timeout=, delayed=\."),
    "is_ready(tasks=)": (lambda cue: cue.is_ready(tasks="t"), "did you mean task="),
    "on_complete of all": (lambda cue: cue.on_complete(name="t")(print), "there is task="),
    "priority(task=)": (
        lambda cue: cue.priority(task="t"),
        r"priority\(\) takes one argument, call; it has no option task=\.",
    ),
    "watch(folder, True)": (
        lambda cue: cue.watch(".", True),
        "takes one argument, folder, and options by keyword: recursive=",
    ),
    "why(a, b)": (lambda cue: cue.why("a", "b"), r"why\(\) takes one argument, work_id\."),
    "debug_blocked(1)": (lambda cue: cue.debug_blocked(1), r"debug_blocked\(\) takes no arguments\."),
    "tasks(1)": (lambda cue: cue.tasks(1), r"tasks\(\) takes no arguments\."),
    "services(name=)": (
        lambda cue: cue.services(name="api"),
        r"services\(\) takes no arguments; it has no option name=\.",
    ),
    "list(t)": (
        lambda cue: cue.list("t"),
        "list.. takes options by keyword alone: state=",
    ),
    "start(1)": (lambda cue: cue.start(1), r"start\(\) takes no arguments\."),
    "start(drain=)": (
        lambda cue: cue.start(drain=True),
        r"start\(\) takes no arguments; it has no option drain=\.",
    ),
    "get_task(task=)": (
        lambda cue: cue.get_task(task="t"),
        r"get_task\(\) takes one argument, name; it has no option task=\.",
    ),
    "observe(class, 1)": (lambda cue: cue.observe(runcue.Observer, 1), "takes one argument, observer"),
    "graph(works, 5)": (
        lambda cue: cue.graph("works", 5),
        "takes one argument, of, and options by keyword: limit=",
    ),
    "newer(input)": (lambda cue: runcue.newer("input"), r"newer\(\) takes no arguments\."),
    "digest(param=)": (lambda cue: runcue.digest(param=False), "did you mean params="),
    "Recorder(None)": (lambda cue: Recorder(None), "takes a runcue.Cue, not None"),
    "Timeline(name)": (lambda cue: Timeline("t"), "draws a runcue.Cue, not 't'"),
    "testing.run(None)": (
        lambda cue: testing.run(None),
        "takes an async function or its coroutine, not None",
    ),
    "testing.run(main, order)": (
        lambda cue: testing.run(lambda: None, order="a"),
        "order must be a number or None, not 'a'",
    ),
    "get()": (lambda cue: cue.get(), r"meant by its id, .* not by nothing\."),
    "get(1, 2)": (lambda cue: cue.get("1", "2"), r"get\(\) takes one argument, work_id\."),
    "get(id=)": (lambda cue: cue.get(id="1"), r"get\(\) takes one argument, work_id; it has no option id=\."),
    "cancel()": (lambda cue: cue.cancel(), r"meant by its id, .* not by nothing\."),
    "cancel(1, 2)": (lambda cue: cue.cancel("1", "2"), r"cancel\(\) takes one argument, work_id\."),
    "cancel(5)": (lambda cue: cue.cancel(5), r"meant by its id, .* not by 5\."),
    "retry()": (lambda cue: cue.retry(), r"meant by its id, .* not by nothing\."),
    "submit()": (
        lambda cue: cue.submit(),
        r"needs the name of a task or its handler first, such as submit\(",
    ),
    "submit(name=)": (lambda cue: cue.submit(name="t"), r"submit\(\) has no option name=; params are given"),
    "submit_threadsafe()": (lambda cue: cue.submit_threadsafe(), "needs the name of a task or its handler"),
    "work.write()": (lambda cue: a_work().write(), r"write\(\) takes 2 arguments, output, mode, and options"),
    "work.write(encodng=)": (lambda cue: a_work().write("o", encodng="x"), "did you mean encoding="),
    "Flag(valid=)": (
        lambda cue: runcue.Flag("f", valid=True),
        r"Flag\(\) takes one argument, name; .* valid=",
    ),
    "Flag(a, b)": (lambda cue: runcue.Flag("a", "b"), r"Flag\(\) takes one argument, name\."),
    "set(True)": (lambda cue: runcue.Flag("a").set(True), "takes no value: a flag is set, or unset by clear"),
    "File()": (lambda cue: runcue.File(), "A File needs a path, as text or a Path, not nothing"),
    "File(a, b)": (lambda cue: runcue.File("a", "b"), r"File\(\) takes one argument, path, and options"),
    "exists()": (lambda cue: runcue.exists(), "A File needs a path"),
    "exists(a, b)": (lambda cue: runcue.exists("a", "b"), r"exists\(\) takes one argument, path\."),
    "Timeline()": (lambda cue: Timeline(), "draws a runcue.Cue, not None"),
    "Timeline(lable=)": (
        lambda cue: Timeline(cue, lable=str),
        "label= and keep= by keyword, and has no option lable=",
    ),
    "Timeline.svg(x=)": (
        lambda cue: Timeline(cue).svg(x=1),
        r"svg\(\) takes the option title= .* no option x=",
    ),
    "write_svg()": (lambda cue: Timeline(cue).write_svg(), r"write_svg\(\) takes the path of a file, and"),
    "write_svg(a, b)": (
        lambda cue: Timeline(cue).write_svg("a", "b"),
        r"takes the path of a file, and the option",
    ),
    "touch(x)": (lambda cue: runcue.File("a").touch("x"), r"touch\(\) takes no arguments"),
    "Flag.touch(x)": (lambda cue: runcue.Flag("a").touch(1), r"touch\(\) takes no arguments"),
    "Flag.clear(x)": (lambda cue: runcue.Flag("a").clear(1), r"clear\(\) takes no arguments"),
    "set(value=)": (
        lambda cue: runcue.Flag("a").set(value=1),
        "takes no value: a flag is set, or unset by clear",
    ),
    "Work()": (lambda cue: runcue.Work(), r"Work\(\) takes 4 arguments, id, task, params, created_at\."),
    "checkpoint(x)": (lambda cue: a_work().checkpoint("x"), r"checkpoint\(\) takes no arguments"),
    "Recorder.of()": (lambda cue: Recorder(cue).of(), r"of\(\) takes"),
    "testing.run()": (lambda cue: run(), r"run\(\) takes one argument, main, and options by keyword: order="),
    "read()": (lambda cue: submissions.read(), r"read\(\) takes one argument, written"),
    "Retry(on=an error)": (
        lambda cue: runcue.Retry(on=ValueError("x")),
        r"on of Retry must be .*, not ValueError\('x'\)\. Write on=ValueError\.",
    ),
    "retry=an error": (lambda cue: cue.task("u", retry=KeyError("x")), r"not KeyError\('x'\)\. Did you mean"),
    "timeout=an error": (lambda cue: cue.task("u", timeout=KeyError("x")), r"not KeyError\('x'\)\."),
    "progress()": (lambda cue: runcue.progress(), "shows a runcue.Cue, not None"),
    "progress(titel=)": (lambda cue: runcue.progress(cue, titel="t"), "title=, .* and has no option titel="),
    "run()": (lambda cue: runcue.run(), r"run\(\) takes one argument, main, and options by keyword: debug="),
    "@on_complete": (lambda cue: cue.on_complete("t"), r"must be callable, not 't'; .* write task='t'"),
    "@is_ready": (lambda cue: cue.is_ready("t"), r"must be callable, not 't'; .* write task='t'"),
    "async with blocking": (
        lambda cue: runcue.blocking(cue).__aenter__(),
        r"with runcue\.blocking\(cue\) as b:",
    ),
    "with": (lambda cue: cue.__enter__(), r"`async with cue:`.*runcue\.blocking\(cue\)"),
}


def a_work() -> Any:
    return runcue.Work("1", "t", {}, 0.0)


async def as_written(call: Callable[[runcue.Cue], Any], cue: runcue.Cue) -> None:
    answer = call(cue)
    if inspect.isawaitable(answer):
        await answer


@pytest.mark.parametrize("what", REFUSED)
async def test_what_cannot_work_says_what_to_write(what: str) -> None:
    cue = runcue.Cue()
    cue.task("t")(print)
    call, text = REFUSED[what]
    with pytest.raises((runcue.ConfigurationError, runcue.UsageError), match=text):
        await as_written(call, cue)
    assert repr(cue) == "<Cue not started: 0 services, 1 task; no work yet>"


@pytest.mark.parametrize("call", ["result", "wait"])
@pytest.mark.parametrize("given", [((5,), {}), ((), {"timeout": 5})], ids=str)
async def test_a_time_out_for_a_handle_says_how_it_is_written(call: str, given: Any) -> None:
    async with runcue.Cue() as cue:
        cue.task("t")(lambda work: "done")
        handle = await cue.submit("t")
        with pytest.raises(runcue.UsageError, match=r"write `await asyncio\.wait_for\(handle.*, 5\)`"):
            await getattr(handle, call)(*given[0], **given[1])
        assert await handle == "done"


def test_a_method_in_the_body_of_its_class_says_how_it_is_registered() -> None:
    cue = runcue.Cue()
    for register in (cue.task("t"), cue.is_ready, cue.on_start):
        with pytest.raises(
            runcue.ConfigurationError, match=r"A method belongs to an object: make one, .* bound method"
        ):

            class Report:
                @register
                def write(self, work: runcue.Work) -> None: ...


def test_params_of_a_handler_that_are_given_as_options_are_told_where_they_go() -> None:
    def handler(page: int, size: int) -> None: ...

    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(handler)
        with pytest.raises(runcue.InvalidParams, match="params are given as one mapping"):
            await cue.submit("t", page=1, size=2)  # type: ignore[call-arg]
        with pytest.raises(
            runcue.InvalidParams, match=r"handler\(page: int, size: int\) cannot .* 'size' is missing"
        ):
            await cue.submit("t", {"page": 1})

    run(main)


def test_a_type_error_inside_of_a_call_stays_what_it_is() -> None:
    class Odd(runcue.Artifact):
        def identity(self) -> Any:
            return len(5)  # type: ignore[arg-type]

        def valid(self) -> bool:
            return True

    with pytest.raises(runcue.ConfigurationError, match=r"TypeError: object of type 'int' has no len"):
        runcue.Cue().task("t", inputs=Odd())

    @says_what_it_takes
    def call(*, size: Any) -> int:
        return len(size)

    with pytest.raises(TypeError, match="has no len"):
        call(size=5)
    with pytest.raises(
        runcue.ConfigurationError, match=r"call\(\) has no option sise=; did you mean size=\?"
    ):
        call(sise=5)


async def handle_of(cue: runcue.Cue) -> runcue.WorkHandle:
    cue.task("t")(print)
    handle = await cue.submit("t")
    handle.cancel()
    return handle


@pytest.mark.parametrize(
    ("call", "form"),
    [
        (lambda cue: cue.submit("t"), r"await cue\.submit\(\.\.\.\).*plain handler `work\.submit"),
        (lambda cue: cue.drain(), r"await cue\.drain\(\)"),
        (lambda cue: cue.stop(), r"await cue\.stop\(\)"),
        (lambda cue: cue.get("id"), r"await cue\.get\(\.\.\.\)"),
        (lambda cue: cue.list(), r"await cue\.list\(\.\.\.\)"),
        (lambda cue: cue.cancel("id"), r"await cue\.cancel\(\.\.\.\)"),
        (lambda cue: asyncio.run(handle_of(cue)).result(), "await handle`"),
        (lambda cue: asyncio.run(handle_of(cue)).wait(), r"await handle\.wait\(\)"),
    ],
)
def test_a_call_that_is_not_awaited_is_told_with_what_to_write(
    call: Callable[[runcue.Cue], Any], form: str
) -> None:
    with pytest.warns(RuntimeWarning, match=f"write .*{form}.* was never awaited") as told:
        call(runcue.Cue())
    assert told[0].filename == __file__


def test_in_a_plain_handler_it_is_told_as_well() -> None:
    cue = runcue.Cue()

    @cue.task
    def handler(work: runcue.Work) -> None:
        cue.submit("handler")  # type: ignore[unused-coroutine]

    with pytest.warns(RuntimeWarning, match="in a plain handler `work.submit"), runcue.blocking(cue) as b:
        b.wait(b.submit("handler"))


def test_a_main_that_takes_something_says_how_it_is_given() -> None:
    async def main(cue: runcue.Cue) -> int:
        return 5

    with pytest.raises(
        runcue.UsageError, match=r"main without arguments.*\(cue: .*write runcue\.run\(.*main\(\.\.\.\)\)"
    ):
        runcue.run(main)  # type: ignore[arg-type]
    assert runcue.run(main(runcue.Cue())) == 5


async def in_async(work: runcue.Work) -> None:
    async with work.write("o") as file:  # type: ignore[attr-defined]
        file.write("text")


def nested(work: runcue.Work) -> None:
    with work.write("o") as file:
        file.write("outer")
        with work.write("o") as inner:
            inner.write("inner")


WRITERS: dict[str, tuple[Callable[[runcue.Work], Any], str]] = {
    "without with": (
        lambda work: work.write("o").write("text"),
        r"write `with work\.write\('.*o'\) as file: file\.write",
    ),  # type: ignore[attr-defined]
    "as a file": (lambda work: print("text", file=work.write("o")), r"as file: file\.write"),  # type: ignore[call-overload]
    "by its name": (lambda work: work.write("o").name, r"as file: file\.name"),  # type: ignore[attr-defined]
    "as a path": (lambda work: Path(work.write("o")), r"as file:`, and give `file\.name`"),  # type: ignore[arg-type]
    "async with": (in_async, "without async"),
    "twice at once": (nested, "the `with` statement of its first write.. is still open"),
}


@pytest.mark.parametrize("what", WRITERS)
def test_a_file_that_is_written_in_another_way_says_how_and_nothing_is_published(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    writer, text = WRITERS[what]

    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(writer)
            handle = await cue.submit("t")
            with pytest.raises(runcue.UsageError, match=text):
                await handle.result()

    asyncio.run(main())
    assert not (tmp_path / "o").exists()


def test_one_file_may_be_written_again_once_it_was_written(tmp_path: Path) -> None:
    def handler(work: runcue.Work) -> None:
        for text in ("first", "second"):
            with work.write(tmp_path / "o") as file:
                file.write(text)
        with pytest.raises(AttributeError, match="has no attribute 'colour'"):
            print(work.write(tmp_path / "o").colour)  # type: ignore[attr-defined]
        with work.write(tmp_path / "o") as file:
            file.write("third")

    cue = runcue.Cue()
    cue.task("t")(handler)
    with runcue.blocking(cue) as b:
        b.wait(b.submit("t"))
    assert (tmp_path / "o").read_text() == "third"


@virtual
async def test_who_awaits_a_work_unit_is_told_what_to_await_and_one_that_is_returned_is_a_value() -> None:
    cue = runcue.Cue(id_prefix="")

    @cue.task
    async def returns(work: runcue.Work) -> runcue.Work:
        return work

    async with cue:
        handle = await cue.submit(returns)
        work = await handle
        assert work is handle.work
        with pytest.raises(runcue.UsageError, match="for returns 1 write `await handle`"):
            await work
        with pytest.raises(runcue.UsageError, match="A work unit is not awaited"):
            await asyncio.gather(work)
