"""What a user forgets is told once, by name, file and line: a `return`, an await, a pair of parentheses."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import importlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.abc import CueWarning
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import virtual

pytestmark = pytest.mark.rule(34)

HERE = "test_forgotten.py:"


def said(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "runcue" and text in record.getMessage()
    ]


def forgets(work: runcue.Work) -> None:
    """A gate without a `return`."""


async def forgets_later(work: runcue.Work) -> None:
    await asyncio.sleep(0)


class Forgets:
    def method(self, work: runcue.Work) -> None: ...

    def __call__(self, work: runcue.Work) -> None: ...


@functools.wraps(forgets)
def wrapped(work: runcue.Work) -> None:
    return forgets(work)


FORGETFUL: dict[str, Callable[[runcue.Work], Any]] = {
    "forgets": forgets,
    "forgets_later": forgets_later,
    "Forgets.method": Forgets().method,
    "Forgets.__call__": Forgets(),
    "partial": functools.partial(forgets),
    "wrapped": wrapped,
    "lambda": lambda work: None,
    "lambda that returns a coroutine": lambda work: forgets_later(work),
}


@pytest.mark.parametrize("form", FORGETFUL)
@virtual
async def test_none_from_is_stale_is_no_answer_and_the_work_runs(
    form: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with runcue.Cue() as cue:

        @cue.task("t")
        async def t(work: runcue.Work) -> str:
            return "ran"

        cue.is_stale(FORGETFUL[form])  # type: ignore[type-var]
        for _ in range(3):
            assert await (await cue.submit("t")).result() == "ran"
    [line] = said(caplog, "That is no answer")
    assert line.startswith("is_stale callback ")
    assert HERE in line
    assert "returned None" in line
    assert "return" in line.split("None")[1]


@pytest.mark.parametrize("form", FORGETFUL)
@virtual
async def test_none_from_is_ready_is_not_ready(form: str, caplog: pytest.LogCaptureFixture) -> None:
    cue = runcue.Cue()

    @cue.task("t")
    async def t(work: runcue.Work) -> None:
        pytest.fail("it ran")

    cue.is_ready(FORGETFUL[form])  # type: ignore[type-var]
    cue.start()
    handles = [await cue.submit("t") for _ in range(3)]
    summary = await cue.drain()
    assert [blocked["work"].id for blocked in summary.blocked] == handles
    assert all("returned None" in blocked["details"] for blocked in summary.blocked)
    await cue.stop()
    [line] = said(caplog, "That is no answer")
    assert line.startswith("is_ready callback ")
    assert HERE in line


@virtual
async def test_each_callback_is_told_of_once_and_each_cue_tells_it(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        async with runcue.Cue() as cue:
            for name in ("a", "b"):

                @cue.task(name)
                async def t(work: runcue.Work) -> None: ...

            cue.is_stale(task="a")(lambda work: None)
            cue.is_stale(task="b")(lambda work: None)
            for name in ("a", "b", "a", "b"):
                await cue.submit(name)
    lines = said(caplog, "That is no answer")
    assert len(lines) == 4
    assert len(set(lines)) == 2  # two lines of this file


@virtual
async def test_what_is_declared_and_a_forgetful_is_stale_must_both_say_that_it_is_stale(
    tmp_path: Any,
) -> None:
    output = tmp_path / "made"
    output.write_text("before")
    async with runcue.Cue() as cue:

        @cue.task("t", outputs=str(output))
        async def t(work: runcue.Work) -> None:
            output.write_text("anew")

        cue.is_stale(forgets)
        handle = await cue.submit("t")
        await handle.wait()
        assert handle.work.skipped, "its output is valid, whatever else is asked"
        output.unlink()
        handle = await cue.submit("t")
        await handle.wait()
        assert not handle.work.skipped


class There(runcue.Artifact):
    def valid(self) -> bool:
        return True


def generates(work: runcue.Work) -> Any:
    yield True


async def generates_later(work: runcue.Work) -> Any:
    yield True


MISTAKES: dict[str, tuple[Callable[[runcue.Work], Any], str]] = {
    "a function that was not called": (lambda work: forgets, "call it"),
    "an async one": (lambda work: forgets_later, "call it"),
    "a method": (lambda work: Forgets().method, "call it"),
    "a class": (lambda work: There, "call it"),
    "a generator": (lambda work: generates(work), "in place of `yield`"),
    "an async generator": (lambda work: generates_later(work), "in place of `yield`"),
    "an exception": (lambda work: ValueError("broken"), "raise it"),
    "NotImplemented": (lambda work: NotImplemented, "NotImplemented"),
    "an artifact": (lambda work: There(), "valid()"),
    "nothing in a tuple": (lambda work: (), "tuple ()"),
    "too much in a tuple": (lambda work: (False, "a", "b"), "tuple"),
    "a coroutine in a tuple": (lambda work: (forgets_later(work), "a reason"), "tuple"),
    "a function in a tuple": (lambda work: (forgets, "a reason"), ""),
    "a generator expression": (lambda work: (one.exists() for one in [Path("a")]), "any(...) or all(...)"),
    "files that were not counted": (lambda work: Path().glob("*.txt"), "any(...) or all(...)"),
    "a map": (lambda work: map(Path.exists, [Path("a")]), "any(...) or all(...)"),
    "a filter": (lambda work: filter(None, []), "any(...) or all(...)"),
    "an iterator": (lambda work: iter([]), "any(...) or all(...)"),
    "a future of a thread": (lambda work: concurrent.futures.Future(), "result()"),
    "a kind of exception": (lambda work: FileNotFoundError, "raise it"),
    "a reason in a list": (lambda work: [False, "a reason"], "the list [False, 'a reason']"),
}


@pytest.mark.parametrize("gate", ["is_ready", "is_stale"])
@pytest.mark.parametrize("mistake", MISTAKES)
@virtual
async def test_what_is_plainly_a_mistake_is_no_answer_either(
    mistake: str, gate: str, caplog: pytest.LogCaptureFixture
) -> None:
    call, remedy = MISTAKES[mistake]
    cue = runcue.Cue()

    @cue.task("t")
    async def t(work: runcue.Work) -> None: ...

    getattr(cue, gate)(call)
    cue.start()
    handle = await cue.submit("t")
    await cue.drain()
    assert handle.work.state.value == ("pending" if gate == "is_ready" else "completed")
    assert not handle.work.skipped
    await cue.stop()
    [line] = said(caplog, "That is no answer")
    assert remedy in line
    assert HERE in line
    assert len(line) < 500


@pytest.mark.parametrize("function", [generates, generates_later])
@pytest.mark.parametrize("where", ["is_ready", "is_stale", "priority", "on_start", "on_failure", "key"])
def test_a_generator_function_is_refused_where_it_is_registered(
    where: str, function: Callable[[runcue.Work], Any]
) -> None:
    cue = runcue.Cue()
    callback: Any = function
    if where == "on_failure":

        def callback(work: runcue.Work, error: BaseException) -> Any:
            yield error

    def register() -> None:
        if where == "key":
            cue.task("t", key=callback)
        else:
            getattr(cue, where)(callback)

    with pytest.raises(runcue.ConfigurationError, match=r"yield|plain"):
        register()


@virtual
async def test_a_listener_that_returns_a_generator_is_told_that_nothing_of_it_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with runcue.Cue() as cue:

        @cue.task("t")
        async def t(work: runcue.Work) -> None: ...

        cue.on_start(lambda work: generates(work))
        await cue.submit("t")
        await cue.submit("t")
    [line] = said(caplog, "generator")
    assert line.startswith("on_start listener ")
    assert HERE in line


@virtual
async def test_none_from_a_key_function_is_no_key(caplog: pytest.LogCaptureFixture) -> None:
    async with runcue.Cue() as cue:
        ran: list[str] = []

        @cue.task("t", key=forgets)
        async def t(work: runcue.Work) -> None:
            ran.append(work.id)

        handles = [await cue.submit("t") for _ in range(3)]
        await asyncio.gather(*(handle.wait() for handle in handles))
        assert ran == handles, "none has joined another"
    [line] = said(caplog, "returned None")
    assert line.startswith("key= forgets (")
    assert HERE in line


@virtual
async def test_a_reason_beside_an_answer_of_is_stale_or_without_one_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with runcue.Cue() as cue:

        @cue.task("t")
        async def t(work: runcue.Work) -> str:
            return "ran"

        cue.is_stale(lambda work: (False, "it is as it was"))
        cue.is_ready(lambda work: "waits for page 7")
        assert await (await cue.submit("t")).result() == "ran"
    stale, ready = said(caplog, "returned")[::-1]
    assert "True or False alone" in stale
    assert "counts as yes" in ready
    assert '(False, "reason")' in ready


@virtual
async def test_true_and_false_of_other_kinds_are_answers(caplog: pytest.LogCaptureFixture) -> None:
    class Bool:
        def __init__(self, answer: bool) -> None:
            self.answer = answer

        def __bool__(self) -> bool:
            return self.answer

    async with runcue.Cue() as cue:

        @cue.task("t")
        async def t(work: runcue.Work) -> None: ...

        cue.is_ready(lambda work: Bool(True))
        cue.is_stale(lambda work: [1] if work.params["n"] else Bool(False))
        handles = [await cue.submit("t", params={"n": n}) for n in (0, 1)]
        for handle in handles:
            await handle.wait()
        assert [handle.work.skipped for handle in handles] == [True, False]
    assert not said(caplog, "returned")


@virtual
async def test_observers_hear_of_it_with_its_kind() -> None:
    heard: list[CueWarning] = []

    class Book(runcue.Observer):
        def warned(self, warning: CueWarning) -> None:
            heard.append(warning)

    async with runcue.Cue() as cue:
        cue.observe(Book())

        @cue.task("t")
        async def t(work: runcue.Work) -> None: ...

        cue.is_stale(forgets)
        await (await cue.submit("t")).result()
    assert [(warning.kind, [work.task for work in warning.works]) for warning in heard] == [
        ("no_answer", ["t"])
    ]


SLEEP = 0.1


def keeps_the_loop() -> None:
    time.sleep(SLEEP)  # as requests.post() would


def milliseconds(line: str) -> float:
    return float(line.partition(" ms")[0].rpartition(" ")[2])


@pytest.mark.rule(15)
@pytest.mark.parametrize("step", ["first", "later", "after an error"])
@each_loop
def test_an_async_handler_that_keeps_the_loop_is_told_of_once_with_the_remedy(
    loop: str, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.service("api", concurrent=20)

            @cue.task("fetch", uses="api")
            async def fetches_wrongly(work: runcue.Work) -> None:
                if step == "later":
                    await asyncio.sleep(0)
                elif step == "after an error":
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(asyncio.Event().wait(), 0.001)
                keeps_the_loop()

            for _ in range(2):
                await cue.submit("fetch")

    run_on(loop, main)
    [line] = said(caplog, "blocked the event loop")
    assert line.startswith("The handler of task 'fetch', ")
    assert "fetches_wrongly (" in line
    assert HERE in line
    assert "make it a plain `def`" in line
    assert line.endswith(
        "This was its first run: what it has to do but once, such as loading something or making a client, do at the "
        "top of the file"
    )
    assert milliseconds(line) >= SLEEP * 1000


@pytest.mark.rule(15)
@pytest.mark.parametrize("lasts", [SLEEP, 0.6])
@each_loop
def test_imports_at_the_first_use_are_told_only_if_they_take_long_and_blocking_again_is(
    loop: str, lasts: float, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"lent_for_a_test_{loop}_{int(lasts * 1000)}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(f"import time\ntime.sleep({lasts})\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    lines: list[list[str]] = []

    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task
            async def fetch(again: bool) -> None:
                if again:
                    keeps_the_loop()
                else:
                    importlib.import_module(name)

            for again in (False, True):
                await (await cue.submit(fetch, {"again": again}))
                lines.append(said(caplog, "blocked the event loop"))

    run_on(loop, main)
    first, second = lines
    if lasts == SLEEP:
        assert first == []
        assert "await what it waits for" in second[0]
    else:
        assert first[0].endswith(f"it imported {name}: import that at the top of the file")
        assert second == first, "each is told of once"


@pytest.mark.rule(15)
@virtual
async def test_of_a_later_run_it_is_not_said_that_it_was_the_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with runcue.Cue() as cue:

        @cue.task("fetch")
        async def fetch(work: runcue.Work) -> None:
            loop: Any = asyncio.get_running_loop()
            loop.reach(loop.time() + work.params["lasts"])

        for lasts in (0, 1):
            await (await cue.submit("fetch", {"lasts": lasts}))
    [line] = said(caplog, "blocked the event loop")
    assert line.endswith("or await what it waits for")


@pytest.mark.rule(15)
@virtual
async def test_what_is_runcues_own_is_not_blamed_and_nobody_else_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = """
class Slow(runcue.Observer):
    def started(self, work):
        loop = asyncio.get_running_loop()
        loop.reach(loop.time() + 1)

    async def settled(self, work, duration):
        self.started(work)
"""
    names: dict[str, Any] = {"runcue": runcue, "asyncio": asyncio}
    exec(compile(source, str(Path(runcue.__file__).parent / "slow.py"), "exec"), names)  # noqa: S102 - as if it were in runcue
    cue = runcue.Cue()
    cue.observe(names["Slow"]())
    async with cue:
        cue.task("t")(lambda work: None)
        await cue.submit("t")
    assert not said(caplog, "blocked the event loop")


@pytest.mark.rule(15)
@each_loop
def test_a_handler_that_awaits_what_it_waits_for_is_not_told_of(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("waits")
            async def waits(work: runcue.Work) -> None:
                for _ in range(3):
                    await asyncio.sleep(SLEEP / 3)

            @cue.task("in a thread")
            def in_a_thread(work: runcue.Work) -> None:
                keeps_the_loop()

            await cue.submit("waits")
            await cue.submit("in a thread")

    run_on(loop, main)
    assert not said(caplog, "blocked the event loop")


@pytest.mark.rule(15)
@each_loop
def test_what_a_plain_handler_returns_to_be_awaited_is_told_of_as_well(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def rest() -> str:
        keeps_the_loop()
        return "done"

    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(lambda work: rest())
            assert await (await cue.submit("t")).result() == "done"

    run_on(loop, main)
    [line] = said(caplog, "blocked the event loop")
    assert line.startswith("What the handler of task 't', ")
    assert "plain `def`" not in line


class Collected:
    """Something that the collector takes a while for."""

    def __del__(self) -> None:
        time.sleep(SLEEP)


def has_the_collector_run() -> None:
    collected = Collected()
    collected.itself = collected  # type: ignore[attr-defined]
    del collected
    gc.collect()


PLACES = [
    "is_ready",
    "is_stale",
    "on_start",
    "on_complete",
    "observer",
    "priority",
    "handler",
    "later step",
    "async gate",
]


@pytest.mark.rule(15)
@pytest.mark.parametrize("place", PLACES)
def test_nobody_is_to_blame_for_the_pauses_of_the_collector(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("t")
        async def t(work: runcue.Work) -> str:
            if place == "later step":
                await asyncio.sleep(0)
            if place in ("handler", "later step"):
                has_the_collector_run()
            return "ran"

        def callback(*heard: Any) -> Any:
            has_the_collector_run()
            return 0.5 if place == "priority" else True

        async def async_callback(*heard: Any) -> Any:
            await asyncio.sleep(0)
            return callback()

        class Watches(runcue.Observer):
            def settled(self, work: runcue.Work, duration: float) -> None:
                has_the_collector_run()

        if place == "observer":
            cue.observe(Watches())
        elif place == "async gate":
            cue.is_ready(async_callback)
        elif "handler" not in place and "step" not in place:
            getattr(cue, place)(callback)
        gc.collect()
        async with cue:
            assert await (await cue.submit("t")).result() == "ran"

    run_on("asyncio", main)
    assert not said(caplog, "blocked")


@pytest.mark.rule(15)
def test_who_keeps_the_loop_besides_is_told_without_the_collectors_share(
    caplog: pytest.LogCaptureFixture,
) -> None:
    took: list[float] = []

    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("t")
            async def t(work: runcue.Work) -> None: ...

            @cue.on_start
            def does_both(work: runcue.Work) -> None:
                began = time.monotonic()
                has_the_collector_run()
                time.sleep(0.06)
                took.append(time.monotonic() - began)

            await cue.submit("t")

    gc.collect()
    run_on("asyncio", main)
    [line] = said(caplog, "blocked")
    assert milliseconds(line) >= 60
    assert milliseconds(line) <= 1000 * (took[0] - SLEEP / 2)


@pytest.mark.rule(15)
@virtual
async def test_who_calls_what_keeps_the_loop_is_not_told_of_beside_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with runcue.Cue() as cue:

        @cue.task("outer")
        async def submits(work: runcue.Work) -> None:
            await cue.submit("inner")
            await cue.submit("inner")

        @cue.task("inner")
        async def inner(work: runcue.Work) -> None: ...

        @cue.on_submit(task="inner")
        def hears(work: runcue.Work) -> None:
            loop: Any = asyncio.get_running_loop()
            loop.reach(loop.time() + 1)

        await cue.submit("outer")
    [line] = said(caplog, "blocked")
    assert line.startswith("on_submit listener ")


@pytest.mark.rule(15)
def test_who_is_slow_among_busy_threads_is_told_that_a_part_may_be_theirs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def spins(stop: threading.Event) -> None:
        while not stop.is_set():
            sum(range(1000))

    async def main() -> None:
        stop = threading.Event()
        async with runcue.Cue() as cue:

            @cue.task("t")
            async def t(work: runcue.Work) -> None: ...

            @cue.on_complete
            def slow(work: runcue.Work, result: None, duration: float) -> None:
                time.sleep(0.6)

            threads = [threading.Thread(target=spins, args=(stop,), daemon=True) for _ in range(3)]
            for thread in threads:
                thread.start()
            try:
                await (await cue.submit("t")).result()
            finally:
                stop.set()
            for thread in threads:
                thread.join()

    # Where other processes leave these threads no time at the very moment of the look, nothing is seen of them.
    for _ in range(10):
        caplog.clear()
        run_on("asyncio", main)
        [line] = said(caplog, "slow")
        if "Other threads of this process" in line:
            return
    pytest.fail(f"ten times nothing was said of other threads, at last: {line}")


def slow(seconds: float = 1.0) -> None:
    loop: Any = asyncio.get_running_loop()
    loop.reach(loop.time() + seconds)


class Slow(runcue.Artifact):
    def __init__(self) -> None:
        self.name = "slow"

    def valid(self) -> bool:
        slow()
        return True


class SlowVersion(There):
    def version(self) -> int:
        slow()
        return 1


class SlowPolicy:
    def stale(self, work: runcue.Work) -> Any:
        slow()
        return "older", None, None

    def started(self, work: runcue.Work) -> None: ...

    def finished(self, work: runcue.Work) -> None: ...


def checks_slowly(path: Path) -> bool:
    slow()
    return True


@pytest.mark.rule(15)
@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"inputs": runcue.File(__file__, validate=checks_slowly)}, "validate= checks_slowly ("),
        ({"inputs": Slow()}, "Slow.valid ("),
        ({"inputs": SlowVersion(), "outputs": lambda work: There()}, "SlowVersion.version ("),
        ({"outputs": lambda work: There(), "fresh": SlowPolicy()}, "SlowPolicy.stale ("),
    ],
    ids=["validate", "valid", "version", "policy"],
)
@virtual
async def test_who_looks_at_artifacts_slowly_is_told_of_with_its_place(
    options: dict[str, Any], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with runcue.Cue() as cue:
        cue.task("t", **options)(lambda work: None)
        await (await cue.submit("t"))
        await (await cue.submit("t"))
    [line] = said(caplog, "looking at")
    assert line.startswith("looking at the inputs and outputs of task 't', by ")
    assert name in line
    assert HERE in line
    assert len(line) < 500
