"""Processes that are forked from a program with a cue: it stays with the parent, and other ids are given."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from tests.support.programs import but_for_slowness, run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forked processes")

HEAD = """
import asyncio, multiprocessing, os, signal, sys, threading, time
if {loop!r} == "asyncio":
    sys.modules["uvloop"] = None
import runcue

def said_by_child(call):
    told, tells = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            os.write(tells, str(call()).encode())
        except BaseException as error:
            os.write(tells, f"{{type(error).__name__}}: {{error}}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(told, 2000).decode()
"""


def run(source: str, loop: str = "asyncio") -> list[str]:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    text = HEAD.format(loop=loop) + textwrap.dedent(source)
    done = run_python("-W", "ignore::DeprecationWarning", "-c", text)
    assert done.returncode == 0, done.stderr
    assert not but_for_slowness(done.stderr)
    return done.stdout.splitlines()


@pytest.mark.rule(19)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_in_a_forked_process_a_cue_that_the_parent_has_started_is_an_error_that_says_so(loop: str) -> None:
    source = """
        cue = runcue.Cue()
        cue.task("child")(lambda work: None)

        @cue.task("parent")
        def parent(work):
            handle = work.params["handle"]
            async def enter():
                async with cue: ...
            for name, call in {
                "work.submit": lambda: work.submit("child"),
                "submit_threadsafe": lambda: cue.submit_threadsafe("child"),
                "submit": lambda: asyncio.run(cue.submit("child")),
                "drain": lambda: asyncio.run(cue.drain()),
                "stop": lambda: asyncio.run(cue.stop()),
                "get": lambda: asyncio.run(cue.get("x")),
                "cancel": lambda: asyncio.run(cue.cancel("x")),
                "result": lambda: asyncio.run(handle.result()),
                "wait": lambda: asyncio.run(handle.wait()),
                "await": lambda: asyncio.run(asyncio.wait_for(handle, 5)),
                "handle.cancel": lambda: handle.cancel(),
                "async with": lambda: asyncio.run(enter()),
                "nudge": lambda: cue.nudge(),
            }.items():
                print(name, "-", said_by_child(call), flush=True)

        async def main():
            async with cue:
                await cue.submit("parent", params={"handle": await cue.submit("waits")})

        cue.is_ready(task="waits")(lambda work: cue.get_task("parent") and bool(done))
        cue.task("waits")(lambda work: None)
        done = []
        cue.on_complete(task="parent")(lambda work, result, seconds: done.append(1))
        runcue.run(main)
    """
    lines = run(source, loop)
    assert len(lines) == 13
    for line in lines:
        assert " - WrongLoop: " in line, line
        assert "forked process: this cue was started by process" in line, line


@pytest.mark.rule(19)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_process_that_is_forked_in_the_event_loop_is_told_so_as_well(loop: str) -> None:
    source = """
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)

        def step(coroutine):
            coroutine.send(None)

        async def main():
            async with cue:
                print(said_by_child(lambda: step(cue.submit("t"))))
                print(said_by_child(lambda: step(cue.drain())))
                print(said_by_child(lambda: cue.submit_threadsafe("t")))
        runcue.run(main)
    """
    lines = run(source, loop)
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("WrongLoop: "), line
        assert "forked process" in line


def test_a_child_of_multiprocessing_is_told_so_and_ends() -> None:
    source = """
        cue = runcue.Cue()
        cue.task("child")(lambda work: None)
        def submits(work):
            try:
                work.submit("child")
            except runcue.WrongLoop as error:
                sys.exit(7)
        @cue.task("parent")
        def parent(work):
            process = multiprocessing.get_context("fork").Process(target=submits, args=(work,))
            process.start()
            process.join(20)
            print(process.exitcode)
        async def main():
            async with cue:
                await cue.submit("parent")
        asyncio.run(main())
    """
    assert run(source) == ["7"]


def test_with_runcue_blocking_a_child_is_told_so() -> None:
    source = """
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)
        with runcue.blocking(cue) as b:
            handle = b.submit("t")
            print(said_by_child(lambda: b.submit("t")))
            print(said_by_child(lambda: b.result(handle)))
    """
    for line in run(source):
        assert line.startswith("WrongLoop: runcue.blocking() in a forked process"), line


def test_a_forked_process_gives_other_ids_unless_they_were_fixed() -> None:
    source = """
        cues = [runcue.Cue(), runcue.Cue(id_prefix="fixed-")]
        for cue in cues:
            cue.task("t")(lambda work: work.id)
        async def main():
            ids = []
            for cue in cues:
                async with cue:
                    ids.append(await (await cue.submit("t")).result())
            return ids
        here = asyncio.run(main())
        prefixes = {tuple(id.split("-")) for id in here}
        for _ in range(2):
            there = eval(said_by_child(lambda: asyncio.run(main())))
            print(there[0].split("-")[0] != here[0].split("-")[0], there[1])
        print(here[1], asyncio.run(main())[0].split("-")[0] == here[0].split("-")[0])
    """
    assert run(source) == ["True fixed-2", "True fixed-2", "fixed-1 True"]


def test_a_cue_that_the_parent_has_stopped_or_never_started_serves_the_child() -> None:
    source = """
        cue = runcue.Cue()
        cue.task("t")(lambda work: "ran")
        async def main():
            async with cue:
                return await (await cue.submit("t")).result()
        print(said_by_child(lambda: asyncio.run(main())))
        print(asyncio.run(main()))
        print(said_by_child(lambda: asyncio.run(main())))
    """
    assert run(source) == ["ran"] * 3


def test_what_the_parent_has_left_to_do_is_not_told_by_a_child_that_ends() -> None:
    source = """
        cue = runcue.Cue()
        cue.task("t")(lambda work: time.sleep(0.05))
        async def main():
            async with cue:
                await cue.submit("t")
                child = os.fork()
                if child == 0:
                    import atexit
                    atexit._run_exitfuncs()
                    sys.stderr.flush()
                    os._exit(0)
                os.waitpid(child, 0)
        asyncio.run(main())
        print("done")
    """
    assert run(source) == ["done"]


@pytest.mark.parametrize("way", ["sys.exit(3)", "return", "raise ValueError('child')"])
def test_a_child_that_comes_out_of_the_handler_ends_and_leaves_its_parents_files_alone(
    way: str, tmp_path: Path
) -> None:
    source = f"""
        cue = runcue.Cue()
        @cue.task("t", outputs={str(tmp_path / "o")!r})
        def t(work):
            with work.write(work.outputs[0]) as file:
                file.write("whole")
            child = os.fork()
            if child == 0:
                if "raise" in {way!r}:
                    os.close(2)
                {way}
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        async def main():
            async with cue:
                await (await cue.submit("t")).result()
        asyncio.run(main())
    """
    assert run(source) == [{"sys.exit(3)": "3", "return": "0"}.get(way, "1")]
    assert (tmp_path / "o").read_text() == "whole"


def test_a_child_that_comes_out_of_what_reads_a_value_back_ends() -> None:
    source = """
        cue = runcue.Cue()
        cue.is_stale(lambda work: False)
        def load(work):
            child = os.fork()
            return child and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        cue.task("t", load=load)(lambda work: None)
        async def main():
            async with cue:
                print(await (await cue.submit("t")))
        asyncio.run(main())
    """
    assert run(source) == ["0"]


ASYNC = """
    cue = runcue.Cue()
    beside = []
    @cue.task("beside")
    async def goes_on(work):
        while not beside:
            await asyncio.sleep(0.001)
        print("beside")
    async def forks(work):
        with work.write(work.outputs[0]) as file:
            file.write("whole")
        if {later}:
            await asyncio.sleep(0)
        child = os.fork()
        if child == 0:
            if {way!r} != "return" and "exit" not in {way!r}:
                sys.stderr = sys.stdout
            {way}
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        beside.append(work)
    if {plain}:
        cue.task("t", outputs={path!r})(lambda work: forks(work))
    else:
        cue.task("t", outputs={path!r})(forks)
    async def main():
        async with cue:
            handles = [await cue.submit(name) for name in ("beside", "t")]
            await asyncio.gather(*handles)
    asyncio.run(main())
"""


@pytest.mark.rule(19)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("place", ["first step", "later step", "returned by a plain one"])
@pytest.mark.parametrize(
    "way", ["sys.exit(3)", "return", "raise ValueError('child')", "await asyncio.sleep(0)"]
)
def test_so_does_a_child_of_an_async_handler_and_the_loop_is_not_served_twice(
    way: str, place: str, loop: str, tmp_path: Path
) -> None:
    source = ASYNC.format(
        way=way,
        later=place == "later step",
        plain=place.endswith("plain one"),
        path=str(tmp_path / "o"),
    )
    if loop == "uvloop":
        source = source.replace("asyncio.run(main())", "import uvloop; uvloop.run(main())")
    *told, code, beside = run(source, loop)
    assert beside == "beside"
    assert code == {"sys.exit(3)": "3", "return": "0"}.get(way, "1")
    assert (tmp_path / "o").read_text() == "whole"
    said = "\n".join(told)
    if "await" in way:
        assert "runcue.WrongLoop: " in said
        assert "has forked this process, which awaits something" in said
        assert "os._exit()" in said
    else:
        assert ("ValueError: child" in said) == ("raise" in way)


CALLBACKS = """
    from runcue.abc import Limit
    from runcue.testing import FakeExecutor

    def fork(answer, way):
        if forks:  # once
            forks.clear()
            child = os.fork()
            if child == 0:
                if way == "raises":
                    os.close(2)
                    raise ValueError("child")
                if way == "exits":
                    sys.exit(3)
                return answer
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return answer

    def in_callback(name, answer):
        return lambda cue, way: (getattr(cue, name)(lambda *heard: fork(answer, way)), {})[1]

    def in_async_callback(name, answer):
        def put(cue, way):
            async def forks_later(*heard):
                await asyncio.sleep(0)
                return fork(answer, way)
            getattr(cue, name)(forks_later)
            return {}
        return put

    def in_option(name, answer):
        return lambda cue, way: {name: lambda work: fork(answer, way)}

    def in_observer(cue, way):
        cue.observe(type("Observes", (runcue.Observer,), {"started": lambda self, work: fork(None, way)})())
        return {}

    def in_limit(name, answer):
        def put(cue, way):
            limit = type("Own", (Limit,), {"room": lambda self, now, work: True})()
            setattr(limit, name, lambda *asked: fork(answer, way))
            cue.service("own", limits=[limit])
            return {"uses": "own"}
        return put

    def in_artifact(name, answer, side):
        def put(cue, way):
            class Own(runcue.Artifact):
                def valid(self):
                    return True
                def version(self):
                    return 1
            setattr(Own, name, lambda self: fork(answer, way))
            own = Own()
            return {side: [own]}
        return put

    def in_executor(cue, way):
        executor = FakeExecutor(0.01)
        submit = executor.submit
        executor.submit = lambda *args, **options: (submit(*args, **options), fork(None, way))[0]
        return {"run_in": executor}

    places = {
        "is_ready": in_callback("is_ready", True),
        "is_stale": in_callback("is_stale", True),
        "async is_ready": in_async_callback("is_ready", True),
        "async is_stale": in_async_callback("is_stale", True),
        "priority": in_callback("priority", 0.5),
        "on_submit": in_callback("on_submit", None),
        "on_start": in_callback("on_start", None),
        "on_complete": in_callback("on_complete", None),
        "async on_complete": in_async_callback("on_complete", None),
        "observer": in_observer,
        "key=": in_option("key", "a key"),
        "inputs=": in_option("inputs", ()),
        "outputs=": in_option("outputs", ()),
        "priority=": in_option("priority", 0.5),
        "room()": in_limit("room", True),
        "acquire()": in_limit("acquire", None),
        "entered()": in_limit("entered", None),
        "release()": in_limit("release", None),
        "valid() of an input": in_artifact("valid", True, "inputs"),
        "version() of an input": in_artifact("version", 1, "inputs"),
        "valid() of an output": in_artifact("valid", True, "outputs"),
        "valid() of an output after its handler": in_artifact("valid", True, "outputs"),
        "executor": in_executor,
        "retry=": lambda cue, way: {"retry": lambda attempt, error, elapsed: fork(None, way)},
    }

    async def main():
        for name, put in places.items():
            for way in "returns", "raises", "exits":
                cue = runcue.Cue()
                forks.append(name)
                codes.clear()
                cue.task("t", **put(cue, way))(fails if name == "retry=" else handler)
                async with cue:
                    work = await (await cue.submit("t", force="handler" in name)).wait()
                assert not forks, name
                if work.skipped:
                    print("run", flush=True)
                print(name, way, codes, flush=True)

    def handler(work):
        print("run", flush=True)

    def fails(work):
        print("run", flush=True)
        raise ValueError("as planned")

    forks, codes = [], []
    if {uvloop}:
        import uvloop; uvloop.run(main())
    else:
        asyncio.run(main())
    print("end", flush=True)
"""


@pytest.mark.rule(19)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_so_does_a_child_of_any_callback_and_nothing_is_done_twice(loop: str) -> None:
    told = run(CALLBACKS.replace("{uvloop}", str(loop == "uvloop")), loop)
    assert told[-1] == "end"
    ended = [line for line in told if line.endswith("]")]
    assert len(ended) == 24 * 3
    for line in ended:
        way, code = line.split()[-2:]
        assert code == {"returns": "[0]", "raises": "[1]", "exits": "[3]"}[way], line
    assert told.count("run") == len(ended)


@pytest.mark.rule(19)
def test_a_child_that_ends_the_loop_of_its_parent_leaves_what_that_writes_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "o")
    source = f"""
        cue = runcue.Cue()
        begun, forked = asyncio.Event(), asyncio.Event()
        @cue.task("t", outputs={path!r})
        async def t(work):
            with work.write(work.outputs[0]) as file:
                file.write("whole")
            begun.set()
            await forked.wait()
        async def main():
            cue.start()
            handle = await cue.submit("t")
            await begun.wait()
            child = os.fork()
            if child == 0:
                os.close(2)
                sys.exit(0)
            os.waitpid(child, 0)
            forked.set()
            await handle
            await cue.stop()
        asyncio.run(main())
        print("done")
    """
    assert run(source) == ["done"]
    assert (tmp_path / "o").read_text() == "whole"


@pytest.mark.rule(19, 35)
@pytest.mark.parametrize("asks", ["done()", "state", "exception()"])
def test_a_child_is_told_that_it_will_never_know_how_what_is_under_way_has_ended(asks: str) -> None:
    source = f"""
        cue = runcue.Cue()
        @cue.task("t")
        def t(work):
            time.sleep(0.05)
        cue.task("quick")(lambda work: None)
        async def main():
            async with cue:
                ended, handle = await cue.submit("quick"), await cue.submit("t")
                await ended
                print(said_by_child(lambda: handle.{asks}))
                print(said_by_child(lambda: (repr(handle), ended.{asks}) and "fine"))
        asyncio.run(main())
    """
    said, fine = run(source)
    assert said.startswith(f"WrongLoop: {asks} of t ")
    assert "in a forked process" in said
    assert fine == "fine"
