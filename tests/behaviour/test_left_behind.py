"""A cue that nobody has stopped: what is left of its work is told, and nothing keeps it when its loop has ended."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import textwrap
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.abc import CueWarning
from tests.support.programs import but_for_slowness, run_python

pytestmark = pytest.mark.rule(34)

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
ENDS = pytest.mark.parametrize("end", ["a runner", "close()"])


def factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if loop == "asyncio":
        return asyncio.new_event_loop
    found: Callable[[], asyncio.AbstractEventLoop] = pytest.importorskip("uvloop").new_event_loop
    return found


def run(main: Callable[[], Any], loop: str = "asyncio", end: str = "a runner") -> None:
    if end == "a runner":
        with asyncio.Runner(loop_factory=factory(loop)) as runner:
            runner.run(main())
    else:
        made = factory(loop)()
        made.run_until_complete(main())
        made.close()


def left(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if " left (" in record.getMessage()]


def a_cue(**options: Any) -> runcue.Cue:
    cue = runcue.Cue(**options)
    cue.service("some", concurrent=2)

    @cue.task("async", uses="some")
    async def in_the_loop(work: runcue.Work) -> None:
        await asyncio.sleep(30)

    cue.task("sync", uses="some")(lambda work: work.params["until"].wait(30))
    cue.task("quick")(lambda work: work.id)
    return cue


class Heard(runcue.Observer):
    def __init__(self) -> None:
        self.warnings: list[CueWarning] = []

    def warned(self, warning: CueWarning) -> None:
        self.warnings.append(warning)


@LOOPS
@pytest.mark.parametrize("sleeps", [0.0, 0.02], ids=["at once", "when some run"])
def test_what_is_left_when_the_loop_ends_is_told_with_numbers_tasks_and_what_was_missing(
    sleeps: float, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    cue = a_cue()
    heard = Heard()
    cue.observe(heard)

    async def main() -> None:
        cue.start()
        for name in ("async", "async", "async", "sync"):
            await cue.submit(name, params={"until": threading.Event()})
        await asyncio.sleep(sleeps)

    run(main, loop)
    [text] = left(caplog)
    assert text.startswith(
        "4 work units are left (3 of async, 1 of sync): the event loop has ended without stop()"
    )
    assert "await cue.stop()" in text
    assert "async with cue" in text
    assert [len(warning.works) for warning in heard.warnings if warning.kind == "left"] == [4]


@LOOPS
def test_those_whose_gates_are_awaited_when_the_loop_ends_are_told_with_the_others(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    cue = a_cue()

    @cue.is_ready(task="sync")
    async def asks_for_long(work: runcue.Work) -> bool:
        await asyncio.sleep(30)
        return True

    async def main() -> None:
        cue.start()
        for name in ("async", "sync"):
            await cue.submit(name)
        await asyncio.sleep(0.02)

    run(main, loop)
    [text] = left(caplog)
    assert text.startswith("2 work units are left (1 of ")
    assert "1 of sync" in text


@LOOPS
@pytest.mark.rule(24)
def test_a_work_unit_whose_gate_the_end_of_the_loop_cuts_off_stays_pending_and_is_asked_anew(
    loop: str,
) -> None:
    cue = runcue.Cue()
    handles: list[runcue.WorkHandle] = []
    cancelled: list[runcue.Work] = []
    asked: list[str] = []
    cue.on_cancel(cancelled.append)

    @cue.task("t")
    async def t(work: runcue.Work) -> str:
        return "done"

    @cue.is_ready
    async def is_ready(work: runcue.Work) -> bool:
        asked.append(work.id)
        if len(asked) == 1:
            await asyncio.sleep(30)
        return True

    async def main() -> None:
        cue.start()
        handles.append(await cue.submit("t"))
        await asyncio.sleep(0.02)

    async def again() -> None:
        cue.start()
        assert await handles[0] == "done"
        await cue.stop()

    run(main, loop)
    assert handles[0].state is runcue.WorkState.PENDING
    assert len(asked) == 1
    run(again, loop)
    assert len(asked) > 1
    assert not cancelled


@pytest.mark.rule(4, 24)
async def test_who_cancels_the_task_of_a_gate_has_it_asked_again_and_cancels_nothing() -> None:
    asked: list[str] = []
    async with runcue.Cue() as cue:

        @cue.task("t")
        async def t(work: runcue.Work) -> str:
            return "done"

        @cue.is_ready
        async def is_ready(work: runcue.Work) -> bool:
            asked.append(work.id)
            if len(asked) == 1:
                await asyncio.sleep(30)
            return True

        mine = asyncio.all_tasks()
        handle = await cue.submit("t")
        await asyncio.sleep(0.01)
        for task in asyncio.all_tasks() - mine:
            task.cancel()
        assert await handle == "done"
        assert len(asked) > 1


@LOOPS
def test_what_was_submitted_to_a_cue_that_was_never_started_is_told_once(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    cues = [a_cue()]

    async def main() -> None:
        await cues[0].submit("quick")

    run(main, loop)
    [text] = left(caplog)
    assert text.startswith("1 work unit is left (1 of quick): their cue was never started")
    assert "cue.start()" in text
    cues.clear()
    gc.collect()
    assert len(left(caplog)) == 1


def test_a_stop_that_the_end_of_the_loop_cuts_off_is_told(caplog: pytest.LogCaptureFixture) -> None:
    cue = a_cue()
    stops: list[asyncio.Task[Any]] = []

    async def main() -> None:
        cue.start()
        await cue.submit("async")
        stops.append(asyncio.create_task(cue.stop()))
        await asyncio.sleep(0.01)

    run(main)
    [text] = left(caplog)
    assert "while their cue was stopping" in text
    assert "Await `cue.stop()`" in text


def test_an_exception_out_of_main_stays_what_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    cue = a_cue()

    async def main() -> None:
        cue.start()
        await cue.submit("async")
        raise ZeroDivisionError("as planned")

    with pytest.raises(ZeroDivisionError, match="as planned"):
        run(main)
    assert len(left(caplog)) == 1


def test_nothing_is_told_of_cues_that_hold_nothing_or_were_stopped(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        a_cue()
        done = a_cue()
        done.start()
        await (await done.submit("quick")).result()
        async with a_cue() as stopped:
            await stopped.submit("quick")
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - it is what leaves the block
            async with a_cue() as ended:
                await ended.submit("async")
                raise ZeroDivisionError

    run(main)
    gc.collect()
    assert left(caplog) == []


def test_what_is_left_by_one_loop_runs_in_the_next_and_news_are_told_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cue = runcue.Cue()
    ran: list[str] = []
    cue.task("t")(lambda work: ran.append(work.id))
    ready: list[bool] = []
    cue.is_ready(lambda work: bool(ready))

    async def leaves() -> None:
        cue.start()
        await cue.submit("t")

    async def goes_on() -> None:
        ready.append(True)
        async with cue:
            await cue.drain()

    run(leaves)
    run(leaves)
    assert [text.partition(" left")[0] for text in left(caplog)] == ["1 work unit is", "2 work units are"]
    run(goes_on)
    assert len(ran) == 2
    assert len(left(caplog)) == 2


def test_long_names_of_tasks_and_many_of_them_make_no_long_text(caplog: pytest.LogCaptureFixture) -> None:
    cue = runcue.Cue()
    for n in range(20):
        cue.task(f"{n}" + "x" * 1_000)(lambda work: None)

    async def main() -> None:
        for task in cue.tasks():
            await cue.submit(task.name)

    run(main)
    [text] = left(caplog)
    assert len(text) <= 650
    assert "and 15 more" in text


SCRIPT = """
import asyncio, sys, threading, time
import runcue
cue = runcue.Cue()
@cue.task("t")
async def t(work):
    await asyncio.sleep(30)
async def started():
    cue.start()
    for _ in range(4):
        await cue.submit("t")
async def not_started():
    for _ in range(4):
        await cue.submit("t")
async def fails():
    await started()
    raise ZeroDivisionError
def closed(main):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
async def goes_on():
    await started()
    told.set()
    await asyncio.sleep(30)
told = threading.Event()
{end}
"""


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("asyncio.run(started())", "the event loop has ended without stop()"),
        ("runcue.run(started)", "the event loop has ended without stop()"),
        ("asyncio.run(not_started())", "their cue was never started"),
        ("asyncio.run(fails())", "the event loop has ended without stop()"),
        ("closed(started)", "the program has ended without stop()"),
        ("closed(not_started)", "their cue was never started"),
        (
            "threading.Thread(target=asyncio.run, args=(goes_on(),), daemon=True).start(); told.wait()",
            "the program has ended without stop()",
        ),
        ("sys.exit(0)", None),
    ],
)
def test_a_script_without_any_logging_tells_it_in_one_line(end: str, told: str | None) -> None:
    done = run_python("-c", textwrap.dedent(SCRIPT).format(end=end))
    lines = [line for line in done.stderr.splitlines() if "work units" in line]
    if told is None:
        assert but_for_slowness(done.stderr) == ""
        return
    [line] = lines
    assert line.startswith(f"4 work units are left (4 of t): {told}")
    assert ("Traceback" in done.stderr) == ("fails" in end)


# Which the collector takes first, a suspended handler or the file that it has open, is the collector's affair.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@LOOPS
@ENDS
@pytest.mark.parametrize("state", ["idle", "handlers in flight", "waiting"])
def test_a_cue_that_nobody_has_stopped_is_collected_with_its_threads_and_a_warning_says_so(
    state: str, end: str, loop: str, tmp_path: Path
) -> None:
    gc.collect()  # a cue that another test has left would be counted
    cues: list[weakref.ref[runcue.Cue]] = []
    caught: list[runcue.Flag] = []
    before = threading.active_count()

    async def main() -> None:
        cue = a_cue()
        cues.append(weakref.ref(cue))
        cue.task("waits", inputs=tmp_path / "missing")(lambda work: None)

        @cue.task("makes", outputs=tmp_path / "o")
        async def makes(work: runcue.Work) -> None:
            with work.write(tmp_path / "o") as file:
                file.write("x")
                if state == "handlers in flight":
                    await asyncio.sleep(30)

        caught.append(runcue.Flag("shared"))
        cue.on_complete(lambda work, result, seconds: caught[-1].set())
        cue.start()
        handles = [await cue.submit("quick") for _ in range(3)]
        made = await cue.submit("makes")
        if state == "waiting":
            await cue.submit("waits")
        for handle in handles:
            await handle.result()
        if state != "handlers in flight":
            await made.result()

    with pytest.warns(ResourceWarning, match="A Cue was not stopped") as told:  # noqa: PT031 - all of it may warn
        for _ in range(3):
            run(main, loop, end)
        deadline = time.monotonic() + 30
        while any(cue() for cue in cues) and time.monotonic() < deadline:
            gc.collect()  # a thread may be in the midst of letting go of the last
        assert [cue() for cue in cues] == [None] * 3
    texts = [str(one.message) for one in told if "A Cue was not stopped" in str(one.message)]
    left = {"idle": "0", "waiting": "1", "handlers in flight": "1"}[state]
    for text in texts:
        assert f"Its tasks: async, sync, quick, waits, makes; left in it: {left}" in text
    assert len(texts) == 3
    deadline = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert threading.active_count() <= before


def test_a_cue_whose_thread_is_still_at_work_is_collected_when_that_has_returned() -> None:
    until = threading.Event()
    cues: list[weakref.ref[runcue.Cue]] = []

    async def main() -> None:
        cue = a_cue()
        cues.append(weakref.ref(cue))
        cue.start()
        await cue.submit("sync", params={"until": until})
        await asyncio.sleep(0.01)

    with pytest.warns(ResourceWarning, match="A Cue was not stopped"):
        run(main)
    until.set()
    deadline = time.monotonic() + 30
    while cues[0]() is not None and time.monotonic() < deadline:
        gc.collect()
    assert cues[0]() is None


def test_what_is_written_afterwards_is_queued_in_no_cue_whose_loop_has_ended(tmp_path: Path) -> None:
    cues = [a_cue() for _ in range(3)]

    async def main(cue: runcue.Cue) -> None:
        cue.start()

    for cue, end in zip(cues, ["a runner", "close()", "close()"], strict=True):
        run(lambda cue=cue: main(cue), end=end)  # type: ignore[misc]
    for n in range(50):
        runcue.atomic_write(tmp_path / f"o{n}", "x", durable=False)
    for cue in cues:
        assert not cue._dispatcher.changes._changes


def test_a_cue_that_is_started_lets_go_of_others_whose_loops_were_only_closed() -> None:
    forgotten, other = a_cue(), a_cue()

    async def start(cue: runcue.Cue) -> None:
        cue.start()

    run(lambda: start(forgotten), end="close()")
    assert "started" in repr(forgotten)
    with pytest.warns(ResourceWarning, match="A Cue was not stopped"):
        run(lambda: start(other))
    assert "not started" in repr(forgotten)


def test_a_cue_that_is_stopped_or_holds_nothing_makes_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    gc.collect()
    recwarn.clear()  # of a cue that another test has left

    async def main() -> None:
        async with a_cue() as cue:
            await cue.submit("quick")
        a_cue()

    run(main)
    gc.collect()
    assert not [one for one in recwarn if one.category is ResourceWarning and "Cue" in str(one.message)]


def test_tasks_of_handlers_that_began_as_the_loop_ended_are_ended_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cue = a_cue()
        cue.start()
        await cue.submit("async")

    run(main)
    gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@LOOPS
def test_a_gate_that_is_asked_while_the_loop_ends_gives_its_slot_back_once(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    asked: list[str] = []
    running: list[int] = []

    @cue.task("ends slowly")
    async def ends_slowly(work: runcue.Work) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.15)  # meanwhile those that are not ready are asked again

    @cue.task("t", uses="one")
    async def t(work: runcue.Work) -> None:
        running.append(running.pop() + 1 if running else 1)
        assert running == [1]
        await asyncio.sleep(0)
        running.clear()

    @cue.is_ready(task="t")
    async def is_ready(work: runcue.Work) -> bool:
        asked.append(work.id)
        if len(asked) == 1:
            return False
        while len(asked) == 2 and cue._dispatcher.turns.loop is not None:
            await asyncio.sleep(0)
        return True

    async def main() -> None:
        cue.start()
        await cue.submit("ends slowly")
        await cue.submit("t")
        await asyncio.sleep(0.01)

    async def again() -> None:
        async with cue:
            handles = [await cue.submit("t") for _ in range(3)]
            await asyncio.wait_for(asyncio.gather(*handles), 10)
            await asyncio.wait_for(cue.drain(), 10)

    run(main, loop)
    assert len(asked) == 2
    run(again, loop)
    gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@LOOPS
@pytest.mark.parametrize("waits", ["a handle", "drain()", "stop()"])
def test_who_waited_in_a_loop_that_was_closed_disturbs_nobody_in_the_next(
    waits: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    first: list[bool] = [True]
    waiting: list[asyncio.Task[Any]] = []
    handles: list[runcue.WorkHandle] = []

    @cue.task("t", uses="one")
    async def t(work: runcue.Work) -> str:
        await asyncio.sleep(30 if first else 0)
        return work.id

    async def main() -> None:
        cue.start()
        handles.extend([await cue.submit("t") for _ in range(3)])
        await asyncio.sleep(0.01)
        call = {"a handle": handles[2].result, "drain()": cue.drain, "stop()": cue.stop}[waits]
        waiting.append(asyncio.create_task(call()))
        waiting[0]._log_destroy_pending = False  # type: ignore[attr-defined]  # it is the program's own
        await asyncio.sleep(0.01)

    async def again() -> None:
        first.clear()
        cue.start()
        waiting.clear()
        gc.collect()  # the coroutine of who waited is closed, while the cue runs
        handles.append(await cue.submit("t"))
        assert await asyncio.wait_for(asyncio.gather(*handles[1:]), 10) == handles[1:]
        await asyncio.wait_for(cue.drain(), 10)
        await asyncio.wait_for(cue.stop(), 10)

    run(main, loop, "close()")
    run(again, loop)
    assert [handle.state.name for handle in handles] == ["CANCELLED", *["COMPLETED"] * 3]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


BEGINS_AND_CLOSES = """
    import asyncio, gc, sys
    import runcue
    {imports}

    def begins() -> runcue.Cue:
        loop = {loop}.new_event_loop()
        cue = runcue.Cue()

        @cue.task("t")
        async def t(work):
            pass

        async def main():
            cue.start()
            await cue.submit("t")

        loop.run_until_complete(main())
        loop.close()
        return cue

    cue = begins()
    if sys.argv[1] == "collected":
        del cue
        gc.collect()
    print("END")
"""


@LOOPS
@pytest.mark.parametrize("end", ["collected", "the program ends"])
def test_who_was_about_to_run_in_a_loop_that_is_closed_is_no_coroutine_that_was_never_awaited(
    loop: str, end: str
) -> None:
    imports = "" if loop == "asyncio" else "import uvloop"
    program = textwrap.dedent(BEGINS_AND_CLOSES.format(loop=loop, imports=imports))
    ended = run_python("-X", "dev", "-c", program, end)
    assert ended.stdout == "END\n"
    if loop == "asyncio":  # uvloop goes on for a turn, in which it has run
        assert "1 work unit is left (1 of t)" in ended.stderr
    assert "never awaited" not in ended.stderr
    assert "pending" not in ended.stderr


SUSPENDS_AND_CLOSES = """
    import asyncio, gc, random, sys
    import runcue
    {imports}

    async def for_long(*heard):
        global begun
        begun += 1
        await asyncio.sleep(30)

    async def returns_all_the_same(work):
        try:
            await for_long()
        except BaseException:
            return 5

    class Observes(runcue.Observer):
        async def settled(self, work, duration):
            await for_long()

    def suspends(handler, asked, heard, waits) -> runcue.Cue:
        global begun
        begun = 0
        loop = {loop}.new_event_loop()
        cue = runcue.Cue()
        cue.task("t")(handler)
        if asked:
            cue.is_ready(for_long)
        if heard:
            cue.on_complete(for_long)
            cue.observe(Observes())

        async def main():
            cue.start()
            for _ in range(3):
                await cue.submit("t")
            await asyncio.sleep(0)
            while waits and begun < (2 if heard else 3):
                await asyncio.sleep(0.001)

        loop.run_until_complete(main())
        loop.close()
        return cue

    async def nothing(work):
        pass

    def plain(work):
        return for_long()

    kept = []
    for shuffled in range(3):
        for handler, asked, heard in [
            (for_long, False, False),
            (returns_all_the_same, False, False),
            (plain, False, False),
            (nothing, True, False),
            (nothing, False, True),
        ]:
            for waits in True, False:
                if handler is plain and not waits:
                    continue  # what it has returned may come to nobody
                cue = suspends(handler, asked, heard, waits)
                if sys.argv[1] == "the program ends":
                    kept.append(cue)
                del cue
                if shuffled:  # in which order the collector comes to what it finds
                    gc.collect(shuffled - 1)
            gc.collect()
    print("END")
"""


@LOOPS
@pytest.mark.parametrize("end", ["collected", "the program ends"])
def test_what_was_suspended_in_a_loop_that_is_closed_neither_fails_nor_goes_on(loop: str, end: str) -> None:
    imports = "" if loop == "asyncio" else "import uvloop"
    program = textwrap.dedent(SUSPENDS_AND_CLOSES.format(loop=loop, imports=imports))
    ended = run_python("-X", "dev", "-W", "ignore::ResourceWarning", "-c", program, end)
    assert ended.stdout == "END\n"
    left = re.findall(r"^\d work units? (?:is|are) left .*$", ended.stderr, re.MULTILINE)
    assert len(left) >= 3 * 5  # of those that listeners hear of none is left, if they have run
    assert len(left) == len(ended.stderr.splitlines()), ended.stderr
