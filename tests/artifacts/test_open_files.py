"""A shortage of open files is waiting: real limits, in processes of their own."""

from __future__ import annotations

import asyncio
import errno
import os
import textwrap
import threading
import time
from pathlib import Path

import pytest

import runcue
from runcue._artifacts import descriptors, temp_files
from runcue._artifacts.publication import OutputTransaction
from runcue.abc import CueWarning
from tests.support.loops import LOOPS, each_loop, run_on
from tests.support.programs import run_python

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts the files that are open")

DAY = 24 * 3600.0

HEAD = """
import asyncio, logging, os, resource, sys, threading, time
if {loop!r} == "asyncio":
    sys.modules["uvloop"] = None
import runcue
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
def opened():
    return len(os.listdir("/proc/self/fd"))
held = []
def take_all():
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
def free_all():
    while held:
        os.close(held.pop())
"""


def run(source: str, folder: Path, limit: int = 200, loop: str = "asyncio") -> tuple[list[str], str]:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    text = HEAD.format(loop=loop, limit=limit) + textwrap.dedent(source)
    done = run_python("-c", text, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


@pytest.mark.rule(37)
@pytest.mark.parametrize(("kind", "limit"), [("def", 200), ("async def", 200), ("def", 40)])
def test_a_work_unit_with_more_outputs_than_files_may_be_open_is_made(
    kind: str, limit: int, tmp_path: Path
) -> None:
    source = f"""
        outputs = [f"o{{n}}" for n in range(300)]
        cue = runcue.Cue()
        @cue.task("t", outputs=outputs)
        {kind} t(work):
            for output in outputs:
                with work.write(output, durable=output == "o299") as file:
                    file.write(output)
            print(opened())
        async def main():
            async with cue:
                await (await cue.submit("t")).result()
        asyncio.run(main())
    """
    lines, told = run(source, tmp_path, limit)
    assert int(lines[0]) < limit * 0.7
    assert "open files" not in told
    assert {file.name: file.read_text() for file in tmp_path.iterdir() if file.is_file()} == {
        f"o{n}": f"o{n}" for n in range(300)
    }


@pytest.mark.rule(37)
def test_300_work_units_under_a_limit_of_60_are_made_and_that_it_was_short_is_told_once(
    tmp_path: Path,
) -> None:
    source = """
        cue = runcue.Cue()
        @cue.task("t", outputs=lambda work: work.params["output"])
        def t(work):
            with work.write(work.params["output"], durable=False) as file:
                time.sleep(0.01)
        async def main():
            async with cue:
                for n in range(300):
                    await cue.submit("t", params={"output": f"o{n}"})
                print(await cue.drain())
        asyncio.run(main())
    """
    lines, told = run(source, tmp_path, 60)
    assert lines[0].startswith("300 completed")
    assert told.count("Too many open files") <= 1


HELD_FOR_A_WHILE = """
    async def main(kind, fresh, write):
        cue = runcue.Cue()
        def make(work):
            if write:
                with work.write(f"{kind} o") as file:
                    file.write("x")
            else:
                os.utime(f"{kind} o")
        async def make_in_the_loop(work):
            make(work)
        cue.task(kind, inputs="i", outputs=f"{kind} o", fresh=fresh)(make if "sync" == kind else make_in_the_loop)
        if not write:
            open(f"{kind} o", "w").close()
            os.utime(f"{kind} o", (1e9, 1e9))
        async with cue:
            take_all()
            threading.Timer(0.15, free_all).start()
            handle = await cue.submit(kind)
            await handle.result()
            free_all()
            handle = await cue.submit(kind)
            await handle.wait()
            print(handle.work.skipped)
    open("i", "w").close()
    os.utime("i", (1.1e9, 1.1e9))
    for kind in ("sync", "async"):
        for fresh in (runcue.newer(), runcue.digest()):
            for write in (True, False):
                asyncio.Runner(loop_factory=FACTORY).run(main(kind, fresh, write))
                os.unlink(f"{kind} o")
"""


@pytest.mark.rule(37)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_runcue_opens_itself_waits_while_all_descriptors_are_taken(loop: str, tmp_path: Path) -> None:
    factory = "None" if loop == "asyncio" else "__import__('uvloop').new_event_loop"
    lines, told = run(HELD_FOR_A_WHILE.replace("FACTORY", factory), tmp_path, 64, loop)
    assert lines == ["True"] * 8
    assert told.count("Too many open files") == 1
    assert "this process may have 64 open at a time" in told
    assert "Traceback" not in told


@pytest.mark.rule(37)
def test_what_a_handler_opens_raises_as_ever_and_a_shortage_that_lasts_is_a_clear_error(
    tmp_path: Path,
) -> None:
    source = """
        cue = runcue.Cue()
        @cue.task("own")
        def own(work):
            open("i")
        @cue.task("writes", outputs=["o1", "o2"])
        async def writes(work):
            with work.write("o1"), work.write("o2"):
                pass
        async def main():
            async with cue:
                open("i", "w").close()
                take_all()
                for name in ("own", "writes"):
                    handle = await cue.submit(name)
                    await handle.wait()
                    print(type(handle.work.exception).__name__, handle.work.error)
                free_all()
        asyncio.run(main())
    """
    lines, _ = run(source, tmp_path, 64)
    assert lines[0].startswith("OSError [Errno 24]")
    assert lines[1].startswith("PublishError Cannot write")
    assert "keep fewer of them open at once, or allow more (ulimit -n)" in lines[1]
    assert not [file for file in tmp_path.iterdir() if file.name not in {"i", ".runcue-marks"}]


def descriptors_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.rule(30, 37)
def test_beyond_64_a_written_file_that_is_not_published_holds_no_descriptor(tmp_path: Path) -> None:
    before = descriptors_open()
    transaction = OutputTransaction()
    for n in range(100):
        with transaction.open(tmp_path / f"o{n}", durable=n > 90) as file:
            file.write(str(n))
    assert descriptors_open() - before <= 64
    names = [file.name for file in tmp_path.iterdir()]
    # More than that if something else in this process holds files.
    assert sum(name.startswith(".runcue-day-") for name in names) >= 36
    transaction.publish()
    assert descriptors_open() == before
    assert sorted(int(file.read_text()) for file in tmp_path.iterdir()) == list(range(100))
    with OutputTransaction().open(tmp_path / "again") as file:
        assert ".runcue-day-" not in file.name  # all have been given back
    transaction.discard()


@pytest.mark.rule(30, 37)
def test_a_file_that_holds_no_descriptor_counts_as_dead_after_a_day_but_never_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temp_files.ClaimsHeld, "take", lambda self: False)
    transaction = OutputTransaction()
    with transaction.open(tmp_path / "o") as file:
        temp = Path(file.name)
        file.write("x")
        file.flush()
        old = time.time() - 2 * DAY
        os.utime(temp, (old, old))
        assert temp_files.clear_dead(tmp_path) == 0
    os.utime(temp, (old + 1.5 * DAY, old + 1.5 * DAY))
    assert temp_files.clear_dead(tmp_path) == 0
    assert temp.exists()
    os.utime(temp, (old, old))
    assert temp_files.clear_dead(tmp_path) == 1
    transaction.discard()


@pytest.mark.parametrize("bits", [0o400, 0o200, 0o600])
def test_a_file_that_holds_no_descriptor_keeps_the_bits_of_its_target_and_is_flushed(
    bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temp_files.ClaimsHeld, "take", lambda self: False)
    target = tmp_path / "o"
    target.touch()
    target.chmod(bits)
    transaction = OutputTransaction()
    with transaction.open(target) as file:
        file.write("new")
    transaction.publish()
    assert target.stat().st_mode & 0o777 == bits
    target.chmod(0o600)
    assert target.read_text() == "new"


def test_the_reserve_is_not_taken_for_a_descriptor_of_somebody_else(tmp_path: Path) -> None:
    theirs = os.open(tmp_path, os.O_RDONLY)
    mine = descriptors._reserve.descriptor
    descriptors._reserve.descriptor = theirs  # the program has closed all and opened others
    try:
        with descriptors._reserve:
            os.fstat(theirs)
        os.fstat(theirs)
    finally:
        os.close(theirs)
        if mine is not None:
            os.close(mine)


@pytest.mark.rule(37)
@pytest.mark.parametrize("where", ["in a thread", "in the loop"])
@each_loop
def test_who_observes_a_cue_hears_of_the_shortage_as_well(
    loop: str, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(descriptors._reserve._news, "_told", False)
    warnings: list[CueWarning] = []
    heard_in: list[int] = []

    class Hears(runcue.Observer):
        def warned(self, warning: CueWarning) -> None:
            warnings.append(warning)
            heard_in.append(threading.get_ident())

    async def main() -> None:
        stopped, started = runcue.Cue(), runcue.Cue()
        for cue in (stopped, started):
            cue.observe(Hears())
        async with stopped:
            pass
        async with started:
            for _ in range(2):
                error = OSError(errno.EMFILE, "Too many open files")
                if where == "in a thread":
                    await asyncio.to_thread(descriptors._reserve.tell, error)
                else:
                    descriptors._reserve.tell(error)
            await asyncio.sleep(0.01)

    run_on(loop, main)
    [warning] = warnings
    assert warning.kind == "shortage"
    assert warning.text in caplog.messages
    assert "ulimit -n" in warning.text
    assert heard_in == [threading.get_ident()]


@pytest.mark.rule(37)
@each_loop
def test_a_cue_whose_loop_was_closed_keeps_nobody_from_hearing_of_the_shortage(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors._reserve._news, "_told", False)
    left, started = runcue.Cue(), runcue.Cue()
    heard: list[runcue.Cue] = []

    def listen(cue: runcue.Cue) -> None:
        class Hears(runcue.Observer):
            def warned(self, warning: CueWarning) -> None:
                heard.append(cue)

        cue.observe(Hears())

    async def leave_without_stop() -> None:
        left.start()

    async def main() -> None:
        async with started:
            ended = LOOPS[loop]()
            await asyncio.to_thread(ended.run_until_complete, leave_without_stop())
            ended.close()
            descriptors._reserve.tell(OSError(errno.EMFILE, "Too many open files"))
            await asyncio.sleep(0.01)

    listen(left)
    listen(started)
    run_on(loop, main)
    assert heard == [started]


@pytest.mark.rule(37, 58)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_commands_wait_for_each_other_where_their_pipes_take_more_than_may_be_open(
    loop: str, tmp_path: Path
) -> None:
    source = """
        async def main():
            cue = runcue.Cue(max_processes=12)
            cue.task("t", outputs=lambda n: f"o{n}")(runcue.shell("sleep 0.1; echo > {outputs[0]}"))
            async with cue:
                for n in range(12):
                    await cue.submit("t", {"n": n})
                print((await cue.drain()).counts["completed"])
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened() + 32,) * 2)
        runcue.run(main)
    """
    lines, said = run(source, tmp_path, loop=loop)
    assert lines == ["12"]
    assert said.count("Too many open files") <= 1
