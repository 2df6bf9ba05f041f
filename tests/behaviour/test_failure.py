"""Rule 32: what a handler has left that did not succeed is no proof, in this process or a later one.

Handlers write half with plain open() and end in every way there is; then the same is submitted again, by the same cue,
by another one, by another process. Marks by themselves stand in tests/artifacts/test_marks.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import File
from runcue._artifacts import run_marks
from tests.support.forks import Ran, forks
from tests.support.programs import wait_until

Run = Callable[..., Ran]
COMPLETED, PENDING = runcue.WorkState.COMPLETED, runcue.WorkState.PENDING
POLICIES: dict[str, Any] = {"newer": runcue.newer(), "digest": runcue.digest(), "none": None}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(path: str, text: str = "old", *, age: float = 100.0) -> None:
    """Makes a file that is old, as far as anybody can tell."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    then = time.time() - age
    os.utime(path, (then, then))
    time.sleep(0.03)  # the ctime cannot be set


def text_of(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def write(path: str, text: str = "half") -> None:
    Path(path).write_text(text, encoding="utf-8")


def folder(path: str) -> None:
    Path(path).mkdir(exist_ok=True)


def listing() -> list[tuple[Path, int]]:
    return sorted((path, path.stat().st_mtime_ns) for path in Path().rglob("*"))


def marks() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*.mark"))


async def is_there(path: str, text: str = "half") -> None:
    while not (os.path.exists(path) and text_of(path) == text):  # noqa: PTH110, ASYNC240 - it takes microseconds
        await asyncio.sleep(0.002)


def runs(source: str) -> Any:
    """A fixture that runs a program: each time a process of its own, forked from one for the whole module."""

    @pytest.fixture(scope="module")
    def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
        said = tmp_path_factory.mktemp("said")
        with forks(source) as running:
            yield lambda *arguments: running.run(arguments, said)

    return run


def both_loops() -> list[Any]:
    found = [pytest.param(asyncio.new_event_loop, id="asyncio")]
    try:
        import uvloop

        found.append(pytest.param(uvloop.new_event_loop, id="uvloop"))
    except ImportError:
        pass
    return found


each_loop = pytest.mark.parametrize("loop", both_loops())
each_policy = pytest.mark.parametrize("policy", list(POLICIES))
each_kind = pytest.mark.parametrize("kind", ["sync", "async", "suspended"])


class Kitchen:
    """A cue whose task `t` writes a half into its output, and then ends as it is told; None: it writes the rest."""

    def __init__(self, kind: str, *, recheck: bool = True, **options: Any) -> None:
        self.end: Callable[[], Any] | None = None
        self.write = lambda text: Path("o").write_text(text, encoding="utf-8")
        self.goes_on = threading.Event()
        self.cue = cue = runcue.Cue(recheck=recheck)
        cue.on_failure(lambda work, error: None)
        options = {"inputs": "i", "outputs": "o", **options}

        def begin(work: runcue.Work) -> None:
            self.write("half")
            if self.end is not None:
                self.end()
            self.write("whole")

        if kind == "sync":

            @cue.task("t", **options)
            def handler(work: runcue.Work) -> None:
                begin(work)

        else:

            @cue.task("t", **options)
            async def handler(work: runcue.Work) -> None:
                if kind == "suspended":
                    await asyncio.sleep(0)
                self.write("half")
                if self.end is not None:
                    answer = self.end()
                    if answer is not None:
                        await answer
                self.write("whole")

    async def run(self, **options: Any) -> runcue.Work:
        return await (await self.cue.submit("t", **options)).wait()


def fail() -> None:
    raise OSError("on purpose")


def leave() -> None:
    raise SystemExit(1)


@pytest.mark.rule(32)
@each_loop
@each_policy
@each_kind
@pytest.mark.parametrize("end", [fail, leave])
@pytest.mark.parametrize("before", [None, "old"])
def test_half_a_file_is_no_proof_after_a_failure(
    before: str | None, end: Callable[[], None], kind: str, policy: str, loop: Any
) -> None:
    make("i", age=200.0)

    async def main() -> None:
        kitchen = Kitchen(kind, fresh=POLICIES[policy])
        async with kitchen.cue as cue:
            if before is not None:
                await kitchen.run()
                make("o", before, age=300.0)  # older than its input: it has to be made again
            kitchen.end = end
            failed = await (await cue.submit("t", force=True)).wait()
            assert failed.exception is not None
            assert text_of("o") == "half", "nothing of the user's is deleted"
            assert not File("o").valid()
            kitchen.end = None
            again = await kitchen.run()
            assert not again.skipped
            why = cue.why_stale(again)
            assert why.verdict == "unproven"
            assert f"(mark {Path.cwd()}/.runcue-marks/o.mark)" in str(why)
            assert text_of("o") == "whole"
            assert (await kitchen.run()).skipped
        assert marks() == []

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@pytest.mark.rule(32)
@each_loop
@pytest.mark.parametrize("end", ["timeout", "cancel", "stop"])
@pytest.mark.parametrize("kind", ["sync", "async", "suspended"])
def test_half_a_file_is_no_proof_after_a_time_out_or_a_cancellation(kind: str, end: str, loop: Any) -> None:
    make("i")

    async def main() -> None:
        kitchen = Kitchen(kind, timeout=0.05 if end == "timeout" else None)
        kitchen.end = (lambda: kitchen.goes_on.wait()) if kind == "sync" else (lambda: asyncio.sleep(60))
        cue = kitchen.cue
        cue.start()
        handle = await cue.submit("t")
        await is_there("o")
        if end == "cancel":
            await cue.cancel(handle)
        elif end == "timeout":
            await handle.wait()
        else:
            await cue.stop(drain=False, timeout=0.01)
        assert not File("o").valid(), "also while a late thread is still writing"
        assert len(marks()) == 1
        kitchen.goes_on.set()
        if end != "stop":
            await cue.stop()
        elif kind == "sync":
            # stop() has given the thread up, which may come after who makes the file next.
            await is_there("o", "whole")
        other = Kitchen(kind)
        async with other.cue as cue:
            again = await other.run()
            assert not again.skipped
            assert cue.why_stale(again).verdict == "unproven"
            assert (await other.run()).skipped

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@pytest.mark.rule(32)
def test_what_is_written_by_a_thread_that_is_late_stays_in_doubt_until_somebody_succeeds() -> None:
    make("i")

    async def main() -> None:
        kitchen = Kitchen("sync", timeout=0.05)
        kitchen.end = lambda: kitchen.goes_on.wait()
        async with kitchen.cue as cue:
            await (await cue.submit("t")).wait()
            kitchen.goes_on.set()
            await is_there("o", "whole")
            await asyncio.sleep(0.05)
            assert not File("o").valid(), "whole, but nobody knows that"
            kitchen.end = None
            # Not within the same 50 ms: the machine may be at something else.
            assert not (await kitchen.run(timeout=60)).skipped
            assert File("o").valid()

    asyncio.run(main())


@pytest.mark.rule(32)
@each_policy
def test_a_failed_write_that_left_the_old_file_alone_still_counts(policy: str) -> None:
    make("i", age=200.0)

    async def main() -> None:
        cue = runcue.Cue()
        cue.on_failure(lambda work, error: None)
        fails = False

        @cue.task("t", inputs="i", outputs="o", fresh=POLICIES[policy])
        def t(work: runcue.Work) -> None:
            with work.write("o") as file:
                file.write("whole")
            if fails:
                raise OSError("on purpose")

        @cue.task("read", inputs="o", outputs="r")
        def read(work: runcue.Work) -> None:
            shutil.copyfile("o", "r")

        async with cue:
            await (await cue.submit("t")).wait()
            await asyncio.sleep(0.05)
            fails = True
            await (await cue.submit("t", force=True)).wait()
            assert File("o").valid()
            assert len(marks()) == 1
            assert (await (await cue.submit("t")).wait()).skipped
            assert (await (await cue.submit("read")).wait()).state is COMPLETED

    asyncio.run(main())


@pytest.mark.rule(32)
@each_loop
@pytest.mark.parametrize("remedy", ["touch", "atomic_write", "make it", "remove the mark"])
def test_who_needs_it_waits_and_why_names_the_mark_and_the_remedy(remedy: str, loop: Any) -> None:
    make("i")

    async def main() -> None:
        kitchen = Kitchen("async", recheck=False)
        kitchen.end = fail

        @kitchen.cue.task("read", inputs="o", outputs="r")
        def read(work: runcue.Work) -> None:
            shutil.copyfile("o", "r")

        async with kitchen.cue as cue:
            await kitchen.run()
            reads = await cue.submit("read")
            await cue.drain()
            assert reads.work.state is PENDING
            why = str(cue.why(reads))
            assert f"{Path.cwd()}/.runcue-marks/o.mark" in why
            assert "File('o').touch()" in why
            assert "run what makes it again" in why
            if remedy == "touch":
                File("o").touch()
            elif remedy == "atomic_write":
                runcue.atomic_write("o", "by hand")
            elif remedy == "make it":
                kitchen.end = None
                await kitchen.run()
            else:
                os.remove(marks()[0])  # noqa: PTH107 - in a step of the loop
                cue.nudge("o")
            await asyncio.wait_for(reads.wait(), 10.0)
            assert text_of("r") == text_of("o")

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@pytest.mark.rule(32)
def test_a_work_unit_that_changes_its_input_in_place_is_not_held_up_by_its_own_mark() -> None:
    make("f")

    async def main() -> None:
        cue = runcue.Cue()
        cue.on_failure(lambda work, error: None)
        fails = True

        @cue.task("t", inputs=["f", "d"], outputs=["f", "d/out"])
        def t(work: runcue.Work) -> None:
            Path("f").write_text("half", encoding="utf-8")
            Path("d/out").write_text("half", encoding="utf-8")
            if fails:
                raise OSError("on purpose")

        folder("d")
        async with cue:
            await (await cue.submit("t")).wait()
            fails = False
            again = await asyncio.wait_for((await cue.submit("t")).wait(), 5.0)
            assert again.state is COMPLETED
            assert not again.skipped

    asyncio.run(main())


@pytest.mark.rule(32)
def test_another_attempt_keeps_the_first_record_and_runs() -> None:
    make("i", age=200.0)
    make("o", age=300.0)
    attempts: list[bytes] = []

    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("t", inputs="i", outputs="o")
        def t(work: runcue.Work) -> None:
            attempts.append(Path(".runcue-marks/o.mark").read_bytes())
            if len(attempts) == 1:
                Path("o").write_text("half", encoding="utf-8")
            if len(attempts) < 3:
                raise OSError("on purpose")
            Path("o").write_text("whole", encoding="utf-8")

        cue.on_failure(lambda work, error: None)
        async with cue:
            for _ in range(3):
                await (await cue.submit("t")).wait()
            assert (await (await cue.submit("t")).wait()).skipped

    asyncio.run(main())
    assert len(attempts) == 3
    assert len(set(attempts)) == 1
    assert marks() == []


@pytest.mark.rule(28, 32)
def test_a_handler_that_goes_on_for_a_successor_proves_what_it_makes() -> None:
    make("i")

    async def main() -> None:
        kitchen = Kitchen("sync")
        kitchen.end = kitchen.goes_on.wait
        async with kitchen.cue as cue:
            first, second = [await cue.submit("t") for _ in range(2)]
            await is_there("o")
            await cue.cancel(first)
            assert len(marks()) == 1
            kitchen.goes_on.set()
            assert (await second.wait()).state is COMPLETED
            assert marks() == []
            assert (await kitchen.run()).skipped

    asyncio.run(main())


@pytest.mark.rule(29, 32)
def test_outputs_of_a_handler_that_left_another_one_out_are_no_proof() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.on_failure(lambda work, error: None)

        @cue.task("t", outputs=["o", "p"])
        def t(work: runcue.Work) -> None:
            Path("o").write_text("x", encoding="utf-8")

        async with cue:
            failed = await (await cue.submit("t")).wait()
            assert isinstance(failed.exception, runcue.MissingOutput)
            assert not File("o").valid()
            assert marks() == [".runcue-marks/o.mark", ".runcue-marks/p.mark"]

    asyncio.run(main())


@pytest.mark.rule(32)
def test_a_handler_finds_its_own_output_valid_and_a_gate_does_not() -> None:
    seen: dict[str, bool] = {}

    async def main() -> None:
        cue = runcue.Cue()
        written, looked = asyncio.Event(), asyncio.Event()

        @cue.task("t", outputs="o")
        async def t(work: runcue.Work) -> None:
            write("o")
            seen["handler"] = File("o").valid()
            written.set()
            await looked.wait()

        @cue.is_ready(task="look")
        def is_ready(work: runcue.Work) -> bool:
            there = runcue.exists("o")
            seen.setdefault("gate", there)
            looked.set()
            return there

        @cue.task("look")
        def look(work: runcue.Work) -> None: ...

        async with cue:
            await cue.submit("t")
            await written.wait()
            await (await cue.submit("look")).wait()

    asyncio.run(main())
    assert seen == {"handler": True, "gate": False}


@pytest.mark.rule(32)
def test_a_folder_that_was_left_half_made_is_no_proof_with_what_is_in_it() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.on_failure(lambda work, error: None)
        fails = True

        @cue.task("site", outputs="site")
        def site(work: runcue.Work) -> None:
            Path("site").mkdir(exist_ok=True)
            Path("site/a").write_text("a", encoding="utf-8")
            if fails:
                raise OSError("on purpose")

        @cue.task("read", inputs="site/a", outputs="r")
        def read(work: runcue.Work) -> None:
            shutil.copyfile("site/a", "r")

        @cue.task("a", outputs="site/a")
        def a(work: runcue.Work) -> None:
            Path("site/a").write_text("alone", encoding="utf-8")

        async with cue:
            await (await cue.submit("site")).wait()
            reads = await cue.submit("read")
            await cue.drain()
            assert reads.work.state is PENDING
            await (await cue.submit("a")).wait()
            assert (await reads.wait()).state is COMPLETED
            assert text_of("r") == "alone"
            assert not File("site").valid()
            fails = False
            assert not (await (await cue.submit("site")).wait()).skipped
            assert (await (await cue.submit("site")).wait()).skipped

    asyncio.run(main())
    assert marks() == []


@pytest.mark.rule(32)
@pytest.mark.parametrize("remedy", ["make it", "touch"])
def test_who_reads_a_folder_waits_while_something_in_it_is_half_made_and_who_fills_it_does_not(
    remedy: str,
) -> None:
    make("dir/f")
    make("dir/g")

    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        cue.on_failure(lambda work, error: None)
        fails = True

        @cue.task("f", outputs="dir/f")
        async def f(work: runcue.Work) -> None:
            write("dir/f")
            if fails:
                raise OSError("on purpose")
            write("dir/f", "whole")

        @cue.task("read", inputs="dir", outputs="r")
        def read(work: runcue.Work) -> None:
            shutil.copyfile("dir/f", "r")

        @cue.task("fill", inputs="dir", outputs="dir/n")
        def fill(work: runcue.Work) -> None:
            write("dir/n", "n")

        async with cue:
            await (await cue.submit("f", force=True)).wait()
            fills = await (await cue.submit("fill")).wait()
            assert fills.state is COMPLETED
            reads = await cue.submit("read")
            await cue.drain()
            assert reads.work.state is PENDING
            # Not in the whole answer, whose lines have an end, however long the path of this folder is.
            assert f"File('{Path.cwd()}/dir/f').touch()" in cue.why(reads).missing[0].problem
            fails = False
            if remedy == "touch":
                File("dir/f").touch()
            else:
                await (await cue.submit("f")).wait()
            await asyncio.wait_for(reads.wait(), 5.0)
            assert text_of("r") == ("half" if remedy == "touch" else "whole")

    asyncio.run(main())


@pytest.mark.rule(32)
def test_what_another_handler_publishes_is_proof_though_it_is_none_of_its_outputs() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.on_failure(lambda work, error: None)

        @cue.task("half", outputs="o")
        async def half(work: runcue.Work) -> None:
            write("o")
            raise OSError("on purpose")

        @cue.task("other", outputs="p")
        async def other(work: runcue.Work) -> None:
            write("p")
            with work.write("o") as file:
                file.write("whole")

        async with cue:
            await (await cue.submit("half")).wait()
            assert not File("o").valid()
            await (await cue.submit("other")).result()
            assert File("o").valid()

    asyncio.run(main())


@pytest.mark.rule(32)
def test_after_a_stop_nothing_is_left_of_marks_but_their_folder() -> None:
    names = [f"new/{number}" for number in range(80)]

    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("t", outputs=names)
        def t(work: runcue.Work) -> None:
            folder("new")
            for name in names:
                write(name)

        async with cue:
            for _ in range(2):
                await (await cue.submit("t", force=True)).result()

    asyncio.run(main())
    assert sorted(Path().rglob(".runcue-marks")) == [Path(".runcue-marks"), Path("new/.runcue-marks")]
    assert list(Path().rglob(".runcue-marks/*")) == []


@pytest.mark.rule(32)
def test_a_mark_that_its_handler_removed_is_there_again_after_it_failed() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.on_failure(lambda work, error: None)

        @cue.task("t", outputs="d/o")
        async def t(work: runcue.Work) -> None:
            shutil.rmtree("d", ignore_errors=True)
            folder("d")
            write("d/o")
            raise OSError("on purpose")

        folder("d")
        async with cue:
            await (await cue.submit("t")).wait()
            assert not File("d/o").valid()
            again = await (await cue.submit("t")).wait()
            assert cue.why_stale(again).verdict == "unproven"

    asyncio.run(main())


@pytest.mark.rule(32)
@each_kind
def test_a_full_disk_fails_the_work_unit_before_its_handler_is_entered(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("i")

    def full(path: str, text: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_marks, "write_mark", full)

    async def main() -> None:
        kitchen = Kitchen(kind)
        async with kitchen.cue:
            failed = await kitchen.run()
        assert isinstance(failed.exception, runcue.PublishError)
        assert "No space left" in str(failed.exception)
        assert listing() == before

    before = listing()
    asyncio.run(main())


@pytest.mark.rule(32)
def test_where_no_mark_can_be_written_the_work_unit_runs_and_it_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_marks, "_told", set())
    make("i")
    make(".runcue-marks", "somebody's own")

    async def main() -> None:
        kitchen = Kitchen("sync")
        async with kitchen.cue as cue:
            for _ in range(2):
                assert (await (await cue.submit("t", force=True)).wait()).state is COMPLETED

    asyncio.run(main())
    assert sum("cannot note in the folder" in record.message for record in caplog.records) == 1
    assert text_of(".runcue-marks") == "somebody's own"


@pytest.mark.rule(32)
def test_questions_write_no_marks_and_remove_none() -> None:
    make("i")

    async def main() -> None:
        kitchen = Kitchen("async")
        cue = kitchen.cue
        before = listing()
        assert "t #1" in str(cue.plan(["t"]))
        assert listing() == before
        kitchen.end = fail
        async with cue:
            failed = await kitchen.run()
            before = listing()
            assert "did not succeed" in str(cue.plan(["t"]))
            assert "did not succeed" in str(cue.why_stale(failed)) or cue.why(failed) or cue.graph()
            assert listing() == before

    asyncio.run(main())


PROGRAM = """
import asyncio, os, signal, subprocess, sys, time
from pathlib import Path
import runcue

how, policy = sys.argv[1:3]
cue = runcue.Cue()
cue.on_failure(lambda work, error: None)
fresh = {"newer": runcue.newer(), "digest": runcue.digest(), "none": None}[policy]
output = "d" if how == "folder" else "new/er/o" if how == "new folder" else "link" if how == "link" else "o"

@cue.task("t", inputs=None if how == "no inputs" else "i", outputs=output, fresh=fresh)
def t(work):
    target = Path(output)
    if how == "folder":
        target.mkdir(exist_ok=True)
        target /= "f"
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == "work.write":
        with work.write(output) as file:
            file.write("half")
            file.flush()
            end()
            file.seek(0)
            file.write("whole")
        return
    if how == "subprocess":
        code = f"import time; open('o', 'w').write('half'); time.sleep(0.3); open('o', 'a').write(' and late')"
        child = subprocess.Popen([sys.executable, "-c", code])
        while not Path("o").exists() or Path("o").read_text() == "":
            time.sleep(0.002)
        end()
        child.wait()
    else:
        target.write_text("half")
        end()
    target.write_text("whole")

def end():
    if "kill" in sys.argv:
        print("half", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with cue:
        work = await (await cue.submit("t", force="kill" in sys.argv)).wait()
    print(cue.why_stale(work).verdict)

asyncio.run(main())
"""


run_program = runs(PROGRAM)


@pytest.mark.rule(32)
@each_policy
@pytest.mark.parametrize(
    "how", ["plain", "no inputs", "folder", "new folder", "link", "subprocess", "work.write"]
)
def test_what_a_process_left_that_was_killed_is_no_proof_in_the_next_one(
    how: str, policy: str, run_program: Run
) -> None:
    make("i", age=200.0)
    make("kept/by the user", age=200.0)
    if how == "link":
        make("target", age=300.0)
        Path("link").symlink_to("target")
    if how == "work.write":
        make("o", age=300.0)
    half = (
        "d/f" if how == "folder" else "new/er/o" if how == "new folder" else "link" if how == "link" else "o"
    )
    killed = run_program(how, policy, "kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if how == "subprocess":
        wait_until(lambda: text_of("o") == "half and late")
    elif how == "work.write":
        assert text_of("o") == "old"
        assert File("o").valid(), "it was left alone"
        File("o").path.unlink()
    else:
        assert text_of(half) == "half"
    ran = run_program(how, policy)
    assert ran.stdout == ("missing\n" if how == "work.write" else "unproven\n"), ran
    assert text_of(half) == "whole"
    assert run_program(how, policy).stdout == "up to date\n"
    assert marks() == []
    assert text_of("kept/by the user") == "old"


@pytest.mark.rule(32)
def test_a_subprocess_that_outlives_its_killed_process_does_not_make_its_file_proof(run_program: Run) -> None:
    make("i", age=200.0)
    assert run_program("subprocess", "newer", "kill").returncode == -signal.SIGKILL
    seen = {File("o").valid()}
    while text_of("o") != "half and late":
        time.sleep(0.01)
        seen.add(File("o").valid())
    assert seen == {False}


TURNING = """
import asyncio, os, signal, sys
import runcue
from runcue import File

how = sys.argv[1]
cue = runcue.Cue()
cue.on_failure(lambda work, error: None)

@cue.task("build", outputs=["cur/o", "never"][: 1 + (how == "missing")], timeout=0.2 if how == "timeout" else None)
async def build(work):
    os.makedirs("b2", exist_ok=True)
    with open("b2/o", "w") as file:
        file.write("whole" if how == "again" else "half")
    os.symlink("b2", "next")
    os.replace("next", "cur")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how in ("timeout", "cancel"):
        await asyncio.sleep(60)
    if how == "raise":
        raise OSError("in the middle")

@cue.task("read", inputs="cur/o", outputs="r", fresh=None)
async def read(work):
    with open("r", "w") as file:
        file.write(open("cur/o").read())

async def main():
    async with cue:
        if how != "read":
            work = await cue.submit("build", force=True)
            if how == "cancel":
                while not os.path.exists("b2/o"):
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
                await cue.cancel(work)
            await work.wait()
        reader = await cue.submit("read")
        try:
            await asyncio.wait_for(reader.wait(), 60 if how == "again" else 0.3)
        except asyncio.TimeoutError:
            print("waits:", cue.why(reader))
        await cue.stop(drain=False)

asyncio.run(main())
"""


run_turning = runs(TURNING)


@pytest.mark.rule(32)
@pytest.mark.parametrize("how", ["raise", "timeout", "cancel", "missing", "kill"])
def test_what_a_handler_left_behind_a_folder_link_that_it_has_turned_is_no_proof(
    how: str, run_turning: Run
) -> None:
    make("b1/o")
    Path("cur").symlink_to("b1")
    ran = run_turning(how)
    assert ran.returncode == (-signal.SIGKILL if how == "kill" else 0), ran.stderr
    assert text_of("cur/o") == "half"
    for reads in (ran, run_turning("read")) if how != "kill" else (run_turning("read"),):
        assert "may be unfinished" in reads.stdout, reads
    assert not Path("r").exists()
    assert run_turning("again").returncode == 0
    assert text_of("r") == "whole"


@pytest.mark.rule(32)
@pytest.mark.parametrize("output", ["book/ch/x", "book/new/er/x", f"book/{'n' * 150}"])
@each_policy
def test_who_reads_a_folder_waits_for_what_is_half_made_in_it_however_deep(policy: str, output: str) -> None:
    make("book/ch/old")
    cue = runcue.Cue()
    cue.on_failure(lambda work, error: None)
    fails = True

    @cue.task("make", outputs=output)
    def make_it(work: runcue.Work) -> None:
        make(output, "half" if fails else "whole", age=0.0)
        if fails:
            raise OSError("in the middle")

    @cue.task("read", inputs="book", outputs="r", fresh=POLICIES[policy])
    def read(work: runcue.Work) -> None:
        write("r", text_of(output))

    async def main() -> None:
        nonlocal fails
        async with cue:
            await (await cue.submit("make")).wait()
            reader = await cue.submit("read")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.wait(), 0.2)
            assert "may be unfinished" in str(cue.why(reader))
            assert not Path("r").exists()  # noqa: ASYNC240 - it takes microseconds
            fails = False
            await cue.submit("make")
            await asyncio.wait_for(reader.wait(), 10)

    asyncio.run(main())
    assert text_of("r") == "whole"


@pytest.mark.rule(32)
def test_a_reader_is_told_which_handler_has_to_return_before_a_touch_says_anything() -> None:
    cue = runcue.Cue()
    cue.on_failure(lambda work, error: None)
    goes_on = threading.Event()

    @cue.task("late", outputs="o", timeout=0.05)
    def late(work: runcue.Work) -> None:
        write("o")
        goes_on.wait(10)

    @cue.task("read", inputs="o", outputs="r")
    def read(work: runcue.Work) -> None:
        write("r")

    async def main() -> None:
        async with cue:
            first = await cue.submit("late")
            await first.wait()
            reader = await cue.submit("read")
            await asyncio.sleep(0.1)
            File("o").touch()
            said = str(cue.why(reader))
            assert "has not returned" in said
            assert f"the handler of late {first}, which was to make it," in said
            assert "or, if you know that it is right, call File('o').touch(), which removes" not in said
            goes_on.set()
            while "call File('o').touch(), which removes" not in str(cue.why(reader)):
                await asyncio.sleep(0.005)
            File("o").touch()
            await asyncio.wait_for(reader.wait(), 10)

    asyncio.run(main())
