"""Who hears of a failed work unit, and what is said where nobody does: once, in time, and with the line that failed."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import re
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue._callbacks.unheard import Unheard
from runcue._callbacks.warning_log import WarningLog
from runcue._model.kept_errors import kept
from runcue.abc import CueWarning
from runcue.testing import run
from tests.support.calls import calls_in
from tests.support.programs import environment
from tests.support.virtual_time import now


def plain_fails(work: runcue.Work) -> None:
    raise ValueError("as\nplanned")


async def async_fails(work: runcue.Work) -> None:
    raise ValueError("as\nplanned")


async def late_fails(work: runcue.Work) -> None:
    await asyncio.sleep(1)
    raise ValueError("as\nplanned")


def returns_what_fails(work: runcue.Work) -> Any:
    return late_fails(work)


HANDLERS = [plain_fails, async_fails, late_fails, returns_what_fails]
each_handler = pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.__name__)


def cue_with(handler: Callable[[runcue.Work], Any] = late_fails, **options: Any) -> runcue.Cue:
    cue = runcue.Cue(id_prefix="", **options)
    cue.task("t")(handler)
    return cue


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of failures: with or without a traceback, which leads to the line."""
    found = []
    for record in caplog.records:
        if record.name == "runcue" and "failed" in record.getMessage():
            assert record.levelno == logging.ERROR
            assert "\n" not in record.getMessage()
            assert "ValueError: as planned" in record.getMessage()
            text = logging.Formatter().format(record)
            if record.exc_info:
                assert "fails\n    raise ValueError(" in text
            words = re.match(
                r"Work (\S+) of task \S+ failed(?: \(and (.*) more like it: (.*)\))?", record.getMessage()
            )
            assert words is not None
            found.append(("traceback of " if record.exc_info else "line of ") + words[1])
            if words[2]:
                found[-1] += f" and {words[2]}: {words[3]}"
    return found


@pytest.mark.rule(16)
@each_handler
@pytest.mark.parametrize("comes", ["in time", "late", "both", "exception()"])
def test_who_awaits_a_failed_work_unit_sees_the_line_that_failed_whenever_they_come(
    handler: Callable[[runcue.Work], Any], comes: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def sees(handle: runcue.WorkHandle) -> None:
        try:
            if comes != "exception()":
                await handle
            await handle.wait()
            error = handle.exception()
            assert error is not None
            raise error
        except ValueError as raised:
            text = "".join(traceback.format_exception(raised))
        assert "fails\n    raise ValueError(" in text
        assert text.count(", in sees") == 1
        assert text.count("Traceback") == 1
        # What has called the handler is of no use to its author.
        assert "workers.py" not in text or comes in {"in time", "both"}

    async def main() -> None:
        async with cue_with(handler) as cue:
            handle = await cue.submit("t")
            waits = [asyncio.ensure_future(sees(handle)) for _ in range(3 * (comes in {"in time", "both"}))]
            await asyncio.gather(*waits)
            while not handle.done():
                await asyncio.sleep(0.5)
            if comes != "in time":
                for _ in range(3):
                    await sees(handle)
            await asyncio.gather(sees(handle), sees(handle))

    run(main)
    assert said(caplog) == []


@pytest.mark.rule(15)
@each_handler
def test_what_nobody_comes_for_is_told_in_a_line_after_a_second_and_with_its_traceback_at_the_end(
    handler: Callable[[runcue.Work], Any], caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[CueWarning] = []
    failed_at: list[float] = []

    class Watcher(runcue.Observer):
        def settled(self, work: runcue.Work, duration: float) -> None:
            failed_at.append(now())

        def warned(self, warning: CueWarning) -> None:
            heard.append(warning)
            assert now() == failed_at[0] + 1

    async def main() -> None:
        cue = cue_with(handler)
        cue.observe(Watcher())
        async with cue:
            handle = await cue.submit("t")
            await handle.work._task.dispatcher.waiting.settled(handle.work)
            await asyncio.sleep(0.9)
            assert said(caplog) == []
            await asyncio.sleep(0.2)
            assert said(caplog) == ["line of 1"]
            assert "@cue.on_failure" in caplog.text
            await asyncio.sleep(100)
            assert said(caplog) == ["line of 1"]
        assert [(warning.kind, warning.works) for warning in heard] == [("failure", (handle.work,))]

    run(main)
    assert said(caplog) == ["line of 1", "traceback of 1"]


@pytest.mark.rule(15)
def test_what_failed_within_the_last_second_is_told_at_the_end_once(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    class Watcher(runcue.Observer):
        def warned(self, warning: CueWarning) -> None:
            heard.append(warning.kind)

    async def main() -> None:
        cue = cue_with()
        cue.observe(Watcher())
        async with cue:
            await cue.submit("t")
        assert now() == 1

    run(main)
    assert said(caplog) == ["traceback of 1"]
    assert heard == ["failure"]


@pytest.mark.rule(15)
@pytest.mark.parametrize(
    "hears",
    [
        "listener",
        "its listener",
        "async listener",
        "result()",
        "late result()",
        "wait()",
        "late wait()",
        "exception()",
        "gather",
        "follower",
        "later, after the line",
    ],
)
def test_a_failure_that_somebody_hears_of_is_not_told_at_the_end(
    hears: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def later(work: runcue.Work, error: BaseException) -> None: ...

    async def main() -> None:
        cue = runcue.Cue(id_prefix="")
        cue.task("t", key="one")(late_fails)
        if hears == "listener":
            cue.on_failure(lambda work, error: None)
        elif hears == "its listener":
            cue.on_failure(task="t")(lambda work, error: None)
        elif hears == "async listener":
            cue.on_failure(later)
        async with cue:
            handle, other = await cue.submit("t"), await cue.submit("t")
            await asyncio.sleep(0 if hears in {"result()", "wait()", "gather"} else 1.5)
            if hears == "later, after the line":
                await asyncio.sleep(1)
                assert said(caplog) == ["line of 1"]
                caplog.clear()
            if hears == "exception()":
                assert isinstance(handle.exception(), ValueError)
            elif hears.endswith("wait()"):
                assert (await handle.wait()).error == "as\nplanned"
            elif "listener" not in hears:
                await asyncio.gather(other if hears == "follower" else handle, return_exceptions=True)
            await asyncio.sleep(5)
        assert handle.state is other.state is runcue.WorkState.FAILED

    run(main)
    assert said(caplog) == []


@pytest.mark.rule(15)
@pytest.mark.parametrize(
    "takes",
    [
        lambda summary: [work.error for work in summary.failed],
        lambda summary: summary.failed[0],
        lambda summary: summary.failed[:1],
        lambda summary: list(summary.failed),
        lambda summary: sorted(summary.failed, key=lambda work: work.id),
    ],
)
def test_who_goes_through_what_has_failed_has_heard_of_it(
    takes: Callable[[runcue.Summary], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue(id_prefix="")
        cue.task("t")(late_fails)
        async with cue:
            await cue.submit("t")
            assert takes(await cue.drain())
            await asyncio.sleep(5)

    run(main)
    assert said(caplog) == []


@pytest.mark.rule(15)
@pytest.mark.parametrize(
    "hears",
    [
        "nobody",
        "listener of another task",
        "observer",
        "length of a summary",
        "timed out",
        "cancelled",
        "done()",
        "in vain",
    ],
)
def test_a_failure_of_several_that_have_joined_is_told_once_if_nobody_hears_of_it(
    hears: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue(id_prefix="")
        cue.task("t", key="one")(late_fails)
        cue.task("other")(lambda work: None)
        if hears == "listener of another task":
            cue.on_failure(task="other")(lambda work, error: None)
        if hears == "observer":
            cue.observe(
                type("Watcher", (runcue.Observer,), {"settled": lambda self, work, duration: work.error})()
            )
        async with cue:
            handles = [await cue.submit("t") for _ in range(5)]
            if hears == "timed out":
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(handles[0], 0.5)
            if hears == "cancelled":
                task = asyncio.ensure_future(handles[0])
                await asyncio.sleep(0.5)
                task.cancel()
            if hears == "in vain":
                # The failure is on its way to who waits, who is cancelled before it arrives.
                task = asyncio.ensure_future(handles[0])
                cue.observe(
                    type(
                        "Cancels",
                        (runcue.Observer,),
                        {"settled": lambda self, work, duration: cancel_soon(task)},
                    )()
                )
            summary = await cue.drain()
            if hears == "done()":
                assert all(handle.done() for handle in handles)
            if hears == "length of a summary":
                print(summary, repr(summary), summary.failed == [handle.work for handle in handles])
                assert summary.failed
                assert len(summary.failed) == 5

    run(main)
    assert said(caplog) == ["traceback of 1"]


def cancel_soon(task: asyncio.Future[Any]) -> None:
    asyncio.get_running_loop().call_soon(task.cancel)


@pytest.mark.rule(15)
def test_telling_of_failures_keeps_neither_a_drain_nor_the_clock_going(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cue = cue_with()
        cue.start()
        for _ in range(3):
            await cue.submit("t")
        await cue.drain()
        assert now() == 1
        assert said(caplog) == []
        await asyncio.sleep(0.5)
        await cue.submit("t")
        await asyncio.sleep(0.6)
        assert said(caplog) == ["line of 1 and 2: 2, 3"]
        await asyncio.sleep(1.8)
        assert said(caplog)[1:] == []
        await asyncio.sleep(0.2)
        assert said(caplog)[1:] == ["line of 4"]
        caplog.clear()
        await cue.stop()
        assert said(caplog) == ["traceback of 1 and 3: 2, 3, 4"]
        caplog.clear()
        cue.start()
        await cue.stop()

    run(main)
    assert said(caplog) == []


@pytest.mark.rule(15)
def test_trouble_that_goes_on_is_told_about_as_soon_as_it_has_lasted_and_at_last_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[tuple[float, int]] = []

    class Watcher(runcue.Observer):
        def warned(self, warning: CueWarning) -> None:
            told.append((int(now()), len(warning.works)))

    async def fails(work: runcue.Work) -> None:
        raise OSError("no route to host")

    async def main() -> None:
        cue = cue_with(fails)
        cue.observe(Watcher())
        cue.start()
        for _ in range(600):
            await cue.submit("t")
            await asyncio.sleep(0.3)
        assert [round(at / 2) for at, _ in told] == [0, 2, 4, 8, 16, 32, 62]
        assert [number for _, number in told[:2]] == [1, 7]
        await asyncio.sleep(60)
        await asyncio.sleep(121)
        assert sum(number for _, number in told) == 600
        await cue.submit("t")
        await asyncio.sleep(1)
        assert told[-1][1] == 1  # at once again, after it was quiet for so long
        await cue.stop()

    run(main)


@pytest.mark.rule(15)
@pytest.mark.parametrize("lasts", [0.1, 1.5, 30.0], ids=["at once", "one by one", "for minutes"])
def test_six_failures_of_one_kind_are_told_as_one_and_what_is_of_another_kind_is_told_beside_them(
    lasts: float, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[tuple[str, ...]] = []

    class Watcher(runcue.Observer):
        def warned(self, warning: CueWarning) -> None:
            heard.append(tuple(work.id for work in warning.works))

    async def converts(work: runcue.Work) -> None:
        await asyncio.sleep(lasts)
        if work.params["page"] == 4:
            raise KeyError("another kind")
        if work.params["page"] == 5:
            raise subprocess.CalledProcessError(2, ["elsewhere"])
        command = [f"--option-{number}" for number in range(200)]
        raise subprocess.CalledProcessError(1, [*command, f"page-{work.params['page']}.pdf"])

    async def main() -> None:
        cue = cue_with(converts)
        cue.service("cpu", concurrent=2)
        cue.task("convert", uses="cpu")(converts)
        cue.observe(Watcher())
        async with cue:
            handles = [await cue.submit("convert", params={"page": page}) for page in range(1, 7)]
            noticed = handles[2]
            with pytest.raises(subprocess.CalledProcessError):
                await noticed

    run(main)
    at_the_end = [record for record in caplog.records if record.exc_info]
    assert len(at_the_end) == 3
    assert [record.getMessage().split(", and your")[0] for record in at_the_end] == [
        "Work 1 of task convert {'page': 1} failed (and 2 more like it: 2 {'page': 2}, 6 {'page': 6})",
        "Work 4 of task convert {'page': 4} failed",
        "Work 5 of task convert {'page': 5} failed",
    ]
    assert "page-1.pdf" in at_the_end[0].getMessage()
    assert sum(len(logging.Formatter().format(record).splitlines()) for record in at_the_end) <= 15
    assert all(len(record.getMessage()) <= 600 for record in caplog.records)
    # Each of them is heard of by observers once.
    assert sorted(one for works in heard for one in works) == ["1", "2", "4", "5", "6"]
    assert len(heard) == (3 if lasts < 1 else 4)


@pytest.mark.rule(15)
def test_lines_about_a_work_unit_tell_its_params_in_short(caplog: pytest.LogCaptureFixture) -> None:
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError("nobody is to look")

    def converts(work: runcue.Work) -> None:
        raise ValueError("the end is not the beginning, " * 30)

    async def main() -> None:
        cue = runcue.Cue(id_prefix="")
        cue.task("convert")(converts)
        cue.on_start(converts)
        async with cue:
            for page in ("in/a.txt", "in/b.txt", f"in/{'folder/' * 99}c.txt", "words " * 9999, Shy()):
                await cue.submit("convert", params={"page": page})

    run(main)
    raised, failed = caplog.messages
    assert raised.endswith("converts raised ValueError (work 1 of task convert {'page': 'in/a.txt'})")
    which = (
        "Work 1 of task convert {'page': 'in/a.txt'} failed (and 4 more like it: 2 {'page': 'in/b.txt'}, 3 {"
    )
    assert failed.startswith(which)
    assert all(len(line) <= 500 for line in caplog.messages)


@pytest.mark.rule(23)
def test_what_cannot_run_because_of_six_failures_is_told_by_the_first_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def converts(work: runcue.Work) -> None:
        raise subprocess.CalledProcessError(1, [f"--option-{number}" for number in range(200)])

    async def main() -> None:
        cue = runcue.Cue(id_prefix="")
        pages = [tmp_path / f"page-{number}.png" for number in range(6)]
        cue.task("convert")(converts)
        cue.task("join", inputs=pages, outputs=tmp_path / "book.pdf")(converts)
        cue.on_failure(task="convert")(lambda work, error: None)
        async with cue:
            for page in pages:
                await cue.submit("convert", outputs=page)
            await cue.submit("join")

    run(main)
    [line] = caplog.messages
    assert len(line) <= 600
    assert line.startswith("stop() cancelled 1 work unit that could not run: join 7: input not made: ")
    assert "page-0.png') is missing; convert 1, which was to make it, failed: Command '[" in line
    assert line.endswith("returned non-zero exit status 1; and 5 more artifacts are waited for")


@pytest.mark.rule(15)
def test_failures_of_many_kinds_are_gone_through_once_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def calls(tasks: int) -> int:
        unheard = Unheard(WarningLog())
        for number in range(400):
            unheard.add(runcue.Work(str(number), f"t{number % tasks}"), ValueError(number), 0.0)
        return calls_in(unheard.tell_rest) // tasks

    caplog.set_level(logging.CRITICAL, "runcue")
    assert calls(400) < calls(1)


@pytest.mark.rule(15)
def test_a_second_is_a_second_on_a_real_clock_too(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with cue_with(async_fails) as cue:
            handle = await cue.submit("t")
            while not handle.done():
                await asyncio.sleep(0.01)
            began = now()
            while not caplog.records:
                await asyncio.sleep(0.01)
            assert now() - began > 0.9

    asyncio.run(main())
    assert said(caplog) == ["line of 1", "traceback of 1"]


PROGRAM = """
import asyncio, gc, os, sys
import runcue

async def t(work):
    raise ValueError("as planned")

async def main(cue):
    cue.start()
    handle = await cue.submit("t")
    await asyncio.sleep(0.01)
    return handle

def make():
    cue = runcue.Cue(id_prefix="")
    cue.task("t")(t)
    return cue

how = sys.argv[1]
cue = make()
handle = asyncio.run(main(cue))
if how == "heard":
    handle.exception()
elif how == "collected":
    del cue, handle
    gc.collect()
elif how == "forks":
    if not os.fork():
        sys.exit()
    os.wait()
print("the program ends", file=sys.stderr)
"""


@pytest.mark.rule(15)
@pytest.mark.parametrize("how", ["exits", "forks", "collected", "heard"])
def test_a_cue_that_is_never_stopped_tells_with_its_last_breath(how: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", PROGRAM, how],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    told = "Work 1 of task t failed, and your program has not asked why: ValueError: as planned\nTraceback"
    assert ran.stderr.count(told) == (how != "heard"), ran.stderr
    if how in {"exits", "forks"}:
        assert ran.stderr.index("the program ends") < ran.stderr.index(told)


@pytest.mark.rule(15)
def test_what_has_no_cue_any_more_and_was_heard_of_by_nobody_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def failed(unheard: Unheard, name: str, now: float) -> BaseException:
        work = runcue.Work(name, "t")  # nobody keeps it
        try:
            plain_fails(work)
        except ValueError as raised:
            error = kept(raised)
        unheard.add(work, error, now)
        return error

    unheard = Unheard(WarningLog())
    failed(unheard, "1", 5.0)
    assert unheard.tell_due(6.5) == math.inf
    heard = failed(unheard, "2", 7.0)
    failed(unheard, "3", 7.5)
    assert unheard.tell_due(7.9) == 8.0
    unheard.heard(heard)
    unheard.heard(ValueError("of another cue"))
    assert said(caplog) == ["line of 1"]
    del unheard
    gc.collect()
    assert said(caplog) == ["line of 1", "traceback of 1 and 1: 3"]


class Sealed(Exception):
    """It lets nobody look at it."""

    __traceback__ = property(lambda self: 1 / 0)
    __cause__ = __context__ = args = __traceback__

    def __str__(self) -> str:
        raise SystemExit


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("the disk of the log is full")


@pytest.mark.rule(13, 15)
@pytest.mark.parametrize("broken", ["the error", "the log"])
@pytest.mark.parametrize("raises", ["handler", "is_stale"])
def test_a_failure_that_cannot_be_shown_disturbs_nothing(
    broken: str, raises: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fails(work: runcue.Work) -> bool:
        raise Sealed if broken == "the error" else ValueError("as planned")

    async def main() -> None:
        cue = cue_with(fails if raises == "handler" else lambda work: "ran")
        cue.task("other")(lambda work: "ran")
        if raises == "is_stale":
            cue.is_stale(task="t")(fails)
        async with cue:
            handle = await cue.submit("t")
            await asyncio.sleep(1.5)
            assert await (await cue.submit("other")) == "ran"
        assert handle.state.value == ("failed" if raises == "handler" else "completed")

    logger, handler = (
        logging.getLogger("runcue"),
        Broken() if broken == "the log" else logging.StreamHandler(),
    )
    caplog.set_level(logging.CRITICAL)  # this one only
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        run(main)
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    err = capsys.readouterr().err
    assert ("the disk of the log is full" if broken == "the log" else "Sealed") in err


@pytest.mark.rule(15, 18)
def test_of_very_many_failures_the_oldest_are_told_at_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runcue._callbacks.unheard._MOST", 3)

    async def main() -> None:
        async with cue_with(async_fails) as cue:
            for _ in range(5):
                await cue.submit("t")
            await cue.drain()
            assert said(caplog) == ["traceback of 1 and 3: 2, 3, 4"]

    run(main)
    assert said(caplog) == ["traceback of 1 and 3: 2, 3, 4", "traceback of 5"]


@pytest.mark.rule(18)
@each_handler
def test_ten_thousand_kept_failures_hold_nothing_of_what_their_handlers_had_in_hand(
    handler: Callable[[runcue.Work], Any],
) -> None:
    class Value:
        pass

    alive: weakref.WeakSet[Value] = weakref.WeakSet()

    def holds(work: runcue.Work) -> Any:
        mine = Value()
        alive.add(mine)
        return handler(work) or mine

    async def holds_later(work: runcue.Work) -> Any:
        mine = Value()
        alive.add(mine)
        await asyncio.sleep(0)
        return await handler(work) or mine

    async def main() -> None:
        is_plain = handler in {plain_fails, returns_what_fails}
        cue = runcue.Cue()
        cue.task("t")(holds if is_plain else holds_later)
        cue.on_failure(lambda work, error: None)
        number = 300 if is_plain else 1000
        async with cue:
            handles = [await cue.submit("t") for _ in range(number)]
            await cue.drain()
            errors = [handle.exception() for handle in handles]
            assert len(set(map(id, errors))) == number
            gc.collect()
            while len(alive) > 1 and threading.active_count() > 1:
                await asyncio.sleep(0.01)
                gc.collect()
            assert len(alive) == 0

    run(main)


@pytest.mark.rule(18)
@pytest.mark.parametrize("raises", ["inputs", "outputs", "key", "is_ready", "is_stale"])
def test_what_a_callback_has_raised_holds_nothing_of_what_it_or_who_submitted_had_in_hand(
    raises: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "runcue")  # a record of the log keeps what it shows

    class Value:
        pass

    alive: weakref.WeakSet[Value] = weakref.WeakSet()

    def hold() -> Value:
        mine = Value()
        alive.add(mine)
        return mine

    def fails(work: runcue.Work) -> None:
        mine = hold()
        try:
            raise KeyError(type(mine).__name__)
        except KeyError as error:
            raise ValueError("as planned") from error

    async def submits(cue: runcue.Cue) -> runcue.WorkHandle:
        mine = hold()
        handle = await cue.submit("t")
        assert mine in alive
        return handle

    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        cue.on_failure(lambda work, error: None)
        is_gate = raises.startswith("is_")
        cue.task("t", **({} if is_gate else {raises: fails}))(lambda work: None)
        if is_gate:
            getattr(cue, raises)(fails)
        cue.start()
        handle = await submits(cue)
        gc.collect()
        assert list(alive) == []
        await cue.drain()
        gc.collect()
        assert list(alive) == []
        assert handle.work.state.value == {"is_ready": "pending", "is_stale": "completed"}.get(
            raises, "failed"
        )
        await cue.stop()

    run(main)


@pytest.mark.rule(15, 16)
def test_a_listener_has_the_line_that_failed_and_the_values_there_while_nobody_else_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        seen: list[object] = []

        @cue.task("t")
        def t(work: runcue.Work) -> None:
            in_hand = work.params["n"]
            raise ValueError(in_hand)

        @cue.on_failure
        def notes(work: runcue.Work, error: BaseException) -> None:
            frame, _ = list(traceback.walk_tb(error.__traceback__))[-1]
            seen.append(frame.f_locals["in_hand"])
            assert traceback.extract_tb(work.exception.__traceback__)[-1].name == "t"  # type: ignore[union-attr]

        @cue.on_failure
        async def notes_later(work: runcue.Work, error: BaseException) -> None:
            await asyncio.sleep(3)
            frame, _ = list(traceback.walk_tb(error.__traceback__))[-1]
            seen.append(frame.f_locals["in_hand"])

        async with cue:
            await cue.submit("t", params={"n": 7})
        assert seen == [7, 7]

    run(main)
    assert caplog.records == []


async def test_the_path_of_an_output_that_a_command_has_not_made_stands_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cue = runcue.Cue()
    missing = tmp_path / "page.txt"
    cue.task("make", outputs=missing)(runcue.shell("true"))
    async with cue:
        await cue.submit("make")
    [line] = [one.getMessage() for one in caplog.records if "MissingOutput" in one.getMessage()]
    assert str(missing) in line
