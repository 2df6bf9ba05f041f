"""Observers, `on_submit` and listeners of one task: who hears what, when, in which order, and what it disturbs."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

import runcue
from runcue._model.attempts import Again
from runcue._model.events import Event
from runcue._scheduling.attempts import FailedAttempt
from runcue.abc import CueWarning
from runcue.testing import Recorder, run
from tests.support.virtual_time import now, virtual

BOUND = ["on_submit", "on_start", "on_complete", "on_failure", "on_skip", "on_cancel", "on_pending_warning"]
METHODS = ["attached", "submitted", "started", "settled", "warned"]

REQUEST = contextvars.ContextVar("REQUEST", default="nobody's")


class Book(runcue.Observer):
    """Writes down everything it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[CueWarning] = []
        self.durations: dict[str, float] = {}

    def attached(self, cue: runcue.Cue) -> None:
        self.lines.append(f"attached to {len(cue.tasks())} tasks")

    def submitted(self, work: runcue.Work) -> None:
        self.lines.append(f"submitted {work.id} {work.state.value}")

    def started(self, work: runcue.Work) -> None:
        self.lines.append(f"started {work.id} {work.state.value}")

    def settled(self, work: runcue.Work, duration: float) -> None:
        end = "skipped" if work.skipped else work.state.value
        self.lines.append(f"settled {work.id} {end}")
        self.durations[work.id] = duration

    def warned(self, warning: CueWarning) -> None:
        self.warnings.append(warning)

    def kinds(self) -> list[str]:
        return [warning.kind for warning in self.warnings]


def described(**options: Any) -> runcue.Cue:
    """A cue with a task for each way to end."""
    cue = runcue.Cue(id_prefix="", **options)

    @cue.task("works")
    async def works(work: runcue.Work) -> str:
        await asyncio.sleep(2)
        return "fine"

    @cue.task("fails")
    async def fails(work: runcue.Work) -> None:
        await asyncio.sleep(3)
        raise ValueError("as planned")

    @cue.task("skipped")
    async def skipped(work: runcue.Work) -> None: ...

    @cue.task("waits")
    async def waits(work: runcue.Work) -> None: ...

    cue.is_stale(task="skipped")(lambda work: False)
    cue.is_ready(task="waits")(lambda work: (False, "never"))
    return cue


async def pass_time(seconds: int) -> None:
    """In steps: warnings wake no clock."""
    for _ in range(seconds):
        await asyncio.sleep(1)


def said(caplog: pytest.LogCaptureFixture, text: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "runcue" and text in record.getMessage()]


@virtual
async def test_an_observer_hears_of_everything_in_order() -> None:
    cue, book = described(), Book()
    cue.observe(book)
    async with cue:
        for task in ("works", "fails", "skipped", "waits"):
            await cue.submit(task)
        assert await cue.cancel("4")
    assert book.lines == [
        "attached to 4 tasks",
        *(f"submitted {number} pending" for number in (1, 2, 3, 4)),
        "settled 4 cancelled",
        "started 1 running",
        "started 2 running",
        "settled 3 skipped",
        "settled 1 completed",
        "settled 2 failed",
    ]
    assert book.durations == {"4": 0.0, "3": 0.0, "1": 2.0, "2": 3.0}
    assert book.kinds() == ["failure"]


@virtual
async def test_the_duration_is_how_long_a_handler_has_run() -> None:
    cue, book = runcue.Cue(id_prefix=""), Book()

    @cue.task("slow", timeout=5)
    async def slow(work: runcue.Work) -> None:
        await asyncio.sleep(10)

    @cue.task("plain", timeout=7)
    def plain(work: runcue.Work) -> None:
        raise ValueError

    cue.observe(book)
    async with cue:
        for task in ("slow", "slow", "plain"):
            await cue.submit(task)
        await asyncio.sleep(3)
        await cue.cancel("2")
    # 2 was cancelled, and 3 has taken no virtual time.
    assert book.durations == {"1": 5.0, "2": 3.0, "3": 0.0}


@virtual
async def test_what_joins_another_is_heard_of_as_well() -> None:
    cue, book = runcue.Cue(id_prefix=""), Book()
    cue.observe(book)

    @cue.task("makes", key="one")
    async def makes(work: runcue.Work) -> None:
        await asyncio.sleep(1)

    async with cue:
        await cue.submit("makes")
        await asyncio.sleep(0.5)
        await cue.submit("makes")
    assert book.lines[1:] == [
        "submitted 1 pending",
        "started 1 running",
        "submitted 2 running",
        "settled 1 completed",
        "settled 2 completed",
    ]


@virtual
async def test_a_failed_attempt_is_heard_of_if_another_one_follows() -> None:
    cue = described()
    heard: list[str] = []

    def decide(ended: FailedAttempt) -> Again:
        return Again(ended.now + 5, counts=ended.now < 4)

    class Attempts(runcue.Observer):
        def started(self, work: runcue.Work) -> None:
            heard.append(f"{now():g}: started attempt {work.attempt}")

        async def attempt_failed(self, work: runcue.Work, error: BaseException, delay: float) -> None:
            heard.append(f"{now():g}: {error}, is {work.state.value}, again in {delay:g} s")

        def settled(self, work: runcue.Work, duration: float) -> None:
            heard.append(f"{now():g}: {work.state.value} after {duration:g} s")

    cue._core.decide = decide
    cue.observe(Attempts())
    async with cue:
        await cue.submit("fails")
        # The second end counts as none of an attempt, and the work is cancelled while it waits for the next.
        await asyncio.sleep(13)
        await cue.cancel("1")
    assert heard == [
        "0: started attempt 1",
        "3: as planned, is pending, again in 5 s",
        "8: started attempt 2",
        "13: cancelled after 0 s",
    ]


# Attaching and ending


def test_an_observer_can_be_attached_where_no_loop_runs() -> None:
    cue, book = described(), Book()
    stop = cue.observe(book)
    assert book.lines == ["attached to 4 tasks"]
    stop()

    async def main() -> None:
        async with cue:
            await cue.submit("works")

    run(main)
    assert book.lines == ["attached to 4 tasks"]


@virtual
async def test_one_that_comes_late_hears_of_the_rest() -> None:
    cue, book = described(), Book()
    async with cue:
        await cue.submit("works")
        await asyncio.sleep(1)
        cue.observe(book)
    assert book.lines == ["attached to 4 tasks", "settled 1 completed"]


@virtual
async def test_one_that_is_attached_by_a_listener_hears_of_what_comes_after_that_event() -> None:
    cue, book = described(), Book()

    @cue.on_start
    def on_start(work: runcue.Work) -> None:
        if work.id == "1":
            cue.observe(book)

    async with cue:
        await cue.submit("works")
        await asyncio.sleep(1)
        await cue.submit("works")
    assert book.lines == [
        "attached to 4 tasks",
        "submitted 2 pending",
        "started 2 running",
        "settled 1 completed",
        "settled 2 completed",
    ]


@virtual
async def test_stop_ends_it_and_may_be_called_again() -> None:
    cue, book = described(), Book()
    stop = cue.observe(book)
    async with cue:
        await cue.submit("works")
        await asyncio.sleep(1)
        stop()
        stop()
        await cue.submit("works")
    assert book.lines == ["attached to 4 tasks", "submitted 1 pending", "started 1 running"]


@virtual
async def test_stop_inside_of_a_callback_ends_it_for_that_event_already() -> None:
    cue, book = described(), Book()
    stops: list[Callable[[], None]] = []

    class Ends(runcue.Observer):
        def started(self, work: runcue.Work) -> None:
            for stop in stops:
                stop()

    stops.append(cue.observe(Ends()))
    stops.append(cue.observe(book))
    recorder = Recorder(cue)
    async with cue:
        await cue.submit("works")
    assert book.lines == ["attached to 4 tasks", "submitted 1 pending"]
    assert recorder.of("1") == ["start", "complete"]


@virtual
async def test_each_attachment_of_one_observer_is_its_own() -> None:
    cue, book = described(), Book()
    first, second = cue.observe(book), cue.observe(book)
    first()
    async with cue:
        await cue.submit("skipped")
        second()
    assert book.lines == ["attached to 4 tasks"] * 2 + ["submitted 1 pending"]


@virtual
async def test_one_observer_can_watch_several_cues() -> None:
    book = Book()
    for _ in range(2):
        cue = described()
        cue.observe(book)
        async with cue:
            await cue.submit("skipped")
    assert book.lines == ["attached to 4 tasks", "submitted 1 pending", "settled 1 skipped"] * 2


@virtual
async def test_listeners_and_observers_hear_in_the_order_in_which_they_came() -> None:
    cue = described()
    heard: list[str] = []

    class Named(runcue.Observer):
        def __init__(self, name: str) -> None:
            self.name = name

        def submitted(self, work: runcue.Work) -> None:
            heard.append(f"submitted {self.name}")

        def started(self, work: runcue.Work) -> None:
            heard.append(f"started {self.name}")

        def settled(self, work: runcue.Work, duration: float) -> None:
            heard.append(f"settled {self.name}")

    def listen(name: str) -> None:
        cue.on_submit(lambda work: heard.append(f"submitted {name}"))
        cue.on_start(lambda work: heard.append(f"started {name}"))
        cue.on_complete(lambda work, result, duration: heard.append(f"settled {name}"))

    cue.observe(Named("a"))
    listen("b")
    cue.observe(Named("c"))
    listen("d")
    async with cue:
        await cue.submit("works")
    assert heard == [f"{event} {name}" for event in ("submitted", "started", "settled") for name in "abcd"]


# What can be attached


def test_a_method_that_is_not_overridden_is_nowhere() -> None:
    cue = runcue.Cue()

    class Ends(runcue.Observer):
        def settled(self, work: runcue.Work, duration: float) -> None: ...

    cue.observe(runcue.Observer())
    assert not any(cue._listeners.of)
    stop = cue.observe(Ends())
    hears = {event for event, there in zip(Event, cue._listeners.of, strict=True) if there}
    assert hears == {Event.COMPLETE, Event.FAILURE, Event.SKIP, Event.CANCEL}
    assert not cue._warnings.hearers
    stop()
    assert not any(cue._listeners.of)


@virtual
async def test_a_method_may_be_inherited_or_set_on_the_object() -> None:
    heard: list[str] = []

    class Parent(runcue.Observer):
        def started(self, work: runcue.Work) -> None:
            heard.append("started")

    class Child(Parent): ...

    child = Child()
    child.submitted = lambda work: heard.append("submitted")  # type: ignore[method-assign, assignment, func-returns-value]
    cue = described()
    cue.observe(child)
    async with cue:
        await cue.submit("works")
    assert heard == ["submitted", "started"]


class Duck:
    def settled(self, work: runcue.Work, duration: float) -> None: ...


@pytest.mark.parametrize("wrong", [None, Duck(), Book, "book", print])
def test_what_is_no_observer_is_refused(wrong: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match=r"instance of a subclass of runcue\.Observer"):
        runcue.Cue().observe(wrong)


def test_a_method_that_cannot_be_called_with_what_it_would_hear_is_refused() -> None:
    class Wrong(runcue.Observer):
        def settled(self, work: runcue.Work) -> None:  # type: ignore[override]
            ...

    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError, match=r"Wrong\.settled.* must take \(work, duration\)"):
        cue.observe(Wrong())
    assert not any(cue._listeners.of)


# What it cannot disturb


@pytest.mark.rule(13)
@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("method", METHODS)
def test_an_observer_that_raises_is_logged_and_disturbs_nothing(
    method: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def plain(*heard: Any) -> None:
        raise LookupError("broken")

    async def later(*heard: Any) -> None:
        await asyncio.sleep(1)
        raise LookupError("broken")

    async def main() -> None:
        cue, before, after = described(), Book(), Book()
        faulty = type("Faulty", (runcue.Observer,), {method: plain if kind == "plain" else later})()
        cue.observe(before)
        cue.observe(faulty)
        cue.observe(after)
        async with cue:
            done = await cue.submit("works")
            await cue.submit("fails")
            assert await done.result() == "fine"
        assert before.lines == after.lines
        assert before.lines[-1] == "settled 2 failed"
        assert before.kinds().count("raised") == (method != "warned")

    run(main)
    [record] = said(caplog, "observer Faulty." + method)
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)
    if method in {"submitted", "started"}:
        assert "work 1" in record.getMessage()


@pytest.mark.rule(13)
@pytest.mark.parametrize("seconds", [None, 0.1, 100], ids=lambda seconds: f"after {seconds} s")
@virtual
async def test_what_raises_while_it_is_warned_brings_about_no_warning(seconds: float | None) -> None:
    class Faulty(runcue.Observer):
        heard = 0

        def warned(self, warning: CueWarning) -> Any:
            self.heard += 1
            # A new type each time: the log has no reason to leave any of them out.
            error = type(f"Error{self.heard}", (Exception,), {})()
            if seconds is None:
                raise error
            return self.fail_later(seconds, error)

        async def fail_later(self, seconds: float, error: Exception) -> None:
            await asyncio.sleep(seconds)
            raise error

    cue, one, other, book = described(), Faulty(), Faulty(), Book()
    for observer in (one, other, book):
        cue.observe(observer)
    async with cue:
        await cue.submit("fails")
    assert one.heard == other.heard == 1
    assert book.kinds() == ["failure"]


@pytest.mark.rule(12, 23)
@virtual
async def test_an_async_observer_brings_about_no_asking() -> None:
    cue = runcue.Cue(recheck=False)
    asked: list[float] = []

    @cue.task("waits")
    async def waits(work: runcue.Work) -> None: ...

    @cue.is_ready
    async def is_ready(work: runcue.Work) -> bool:
        asked.append(now())
        await asyncio.sleep(1000)  # longer than a gate may take, which is warned of
        return False

    class Slow(runcue.Observer):
        async def warned(self, warning: CueWarning) -> None:
            await asyncio.sleep(100)

    cue.observe(Slow())
    async with asyncio.timeout(10_000), cue:
        await cue.submit("waits")
    # At first, when nothing moves any more, and before it is given up; not because somebody was warned of one of these.
    assert len(asked) <= 4


@pytest.mark.rule(15)
@pytest.mark.parametrize("method", METHODS)
@virtual
async def test_an_observer_that_blocks_is_reported_by_name(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    cue = described()

    def block(self: runcue.Observer, *heard: Any) -> None:
        loop: Any = asyncio.get_running_loop()
        loop.reach(loop.time() + 1)

    cue.start()
    cue.observe(type("Slow", (runcue.Observer,), {method: block})())
    await cue.submit("works")
    await cue.submit("fails")
    await cue.stop()
    [record] = said(caplog, "blocked the event loop")
    assert record.getMessage().startswith(f"observer Slow.{method} (")
    assert "test_observers.py:" in record.getMessage()
    assert "blocked the event loop for 1000 ms" in record.getMessage()


@pytest.mark.rule(12)
@virtual
async def test_async_methods_are_awaited_in_one_line_for_each_observer() -> None:
    cue = described()
    heard: list[tuple[str, float]] = []

    class Slow(runcue.Observer):
        async def attached(self, cue: runcue.Cue) -> None:
            await self._note("attached")

        async def submitted(self, work: runcue.Work) -> None:
            await self._note("submitted")

        async def settled(self, work: runcue.Work, duration: float) -> None:
            await self._note("settled")

        def started(self, work: runcue.Work) -> None:
            heard.append(("started", now()))

        async def _note(self, what: str) -> None:
            await asyncio.sleep(10)
            heard.append((what, now()))

    cue.observe(Slow())
    async with cue:
        handle = await cue.submit("works")
        await handle.wait()
        assert now() == 2
    # The drain has waited for them, and none has waited for another observer or for the work.
    assert heard == [("started", 0.0), ("attached", 10.0), ("submitted", 20.0), ("settled", 30.0)]


@pytest.mark.rule(12)
def test_what_is_left_to_be_awaited_before_any_loop_runs_is_awaited_first() -> None:
    heard: list[str] = []

    class Later(runcue.Observer):
        async def attached(self, cue: runcue.Cue) -> None:
            await asyncio.sleep(1)
            heard.append("attached")

        async def submitted(self, work: runcue.Work) -> None:
            heard.append("submitted")

    cue = described()
    cue.observe(Later())

    async def main() -> None:
        async with cue:
            await cue.submit("works")

    run(main)
    assert heard == ["attached", "submitted"]


@pytest.mark.rule(15)
def test_a_failure_that_only_observers_hear_of_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cue = described()
        recorder = Recorder(cue)
        async with cue:
            await cue.submit("fails")
        assert recorder.of("1") == ["start", "failure"]

    run(main)
    assert (
        len(
            said(
                caplog,
                "Work 1 of task fails failed, and your program has not asked why: ValueError: as planned",
            )
        )
        == 1
    )


# on_submit


@pytest.mark.rule(1)
@virtual
async def test_on_submit_is_called_inside_of_submit_before_anything_is_asked() -> None:
    cue = described()
    heard: list[str] = []

    @cue.is_ready
    def is_ready(work: runcue.Work) -> bool:
        heard.append(f"asked {work.id}")
        return True

    @cue.on_submit
    def on_submit(work: runcue.Work) -> None:
        heard.append(f"submitted {work.id} {work.state.value} {work.params}")

    cue.start()
    await cue.submit("works", params={"page": 1})
    assert heard == ["submitted 1 pending {'page': 1}"]
    await cue.stop()
    assert heard[1] == "asked 1"


@virtual
async def test_on_submit_finds_the_work_among_those_that_the_cue_knows() -> None:
    cue = described()
    known: list[Any] = []

    @cue.on_submit
    async def on_submit(work: runcue.Work) -> None:
        known.append(await cue.get(work.id))
        known.append(await cue.list())

    async with cue:
        handle = await cue.submit("works")
    assert known == [handle.work, [handle.work]]


@virtual
async def test_nothing_is_heard_of_a_submission_that_is_refused() -> None:
    cue, book = described(), Book()
    cue.observe(book)
    cue.start()
    for task, params in (("unknown", {}), ("works", 7)):
        with pytest.raises(ValueError, match=r"Unknown task|must be a mapping"):
            await cue.submit(task, params=params)  # type: ignore[arg-type]
    with pytest.raises(runcue.ConfigurationError):
        await cue.submit("works", duplicate="perhaps")  # type: ignore[arg-type]
    await cue.stop()
    assert book.lines == ["attached to 4 tasks"]


@pytest.mark.rule(1)
def test_a_submission_from_a_thread_is_heard_of_in_the_loop() -> None:
    threads: list[int] = []

    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("inner")
        async def inner(work: runcue.Work) -> None: ...

        @cue.task("outer")
        def outer(work: runcue.Work) -> None:
            work.submit("inner")
            cue.submit_threadsafe("inner")

        @cue.on_submit
        def on_submit(work: runcue.Work) -> None:
            threads.append(threading.get_ident())

        async with cue:
            await cue.submit("outer")

    asyncio.run(main())
    assert threads == [threading.get_ident()] * 3


@virtual
async def test_on_submit_sees_the_context_of_the_submitter_and_leaves_it_alone() -> None:
    cue = described()
    seen: list[str] = []

    @cue.task("tells")
    async def tells(work: runcue.Work) -> None:
        seen.append(f"handler {REQUEST.get()}")

    @cue.on_submit
    def on_submit(work: runcue.Work) -> None:
        seen.append(f"listener {REQUEST.get()}")
        REQUEST.set("the listener's")

    async with cue:
        await cue.submit("works")
        REQUEST.set("mine")
        await cue.submit("tells")
        assert REQUEST.get() == "mine"
    assert seen == ["listener nobody's", "listener mine", "handler mine"]


@pytest.mark.rule(1, 4)
@virtual
async def test_what_on_submit_looks_at_does_not_count_as_looked_at_by_a_gate() -> None:
    cue = runcue.Cue(recheck=False)
    theirs, own = runcue.Flag("theirs"), runcue.Flag("own")
    asked: list[str] = []

    @cue.task("child")
    async def child(work: runcue.Work) -> None: ...

    @cue.task("parent")
    async def parent(work: runcue.Work) -> None: ...

    @cue.is_ready(task="parent")
    async def is_ready(work: runcue.Work) -> bool:
        asked.append("parent")
        if len(asked) == 1:
            await cue.submit("child")
        return own.valid()

    @cue.on_submit(task="child")
    def on_submit(work: runcue.Work) -> None:
        theirs.valid()

    async with cue:
        await cue.submit("parent")
        await asyncio.sleep(1)
        before = len(asked)
        cue.nudge(theirs)
        await asyncio.sleep(1)
        assert len(asked) == before
        cue.nudge(own)
        await asyncio.sleep(1)
        assert len(asked) == before + 1
        own.share(cue._dispatcher.flags)
        own.set()


@virtual
async def test_a_submission_by_on_submit_is_heard_after_the_one_that_it_was_made_in() -> None:
    cue = described()
    heard: list[str] = []

    @cue.on_submit
    def submits(work: runcue.Work) -> None:
        heard.append(f"first {work.id}")
        if int(work.id) < 4:
            # As a task of an eager task factory does: the submission is made here and now.
            with pytest.raises(StopIteration):
                cue.submit("works").send(None)

    cue.on_submit(lambda work: heard.append(f"second {work.id}"))
    async with cue:
        await cue.submit("works")
        assert heard == [f"{which} {number}" for number in (1, 2, 3, 4) for which in ("first", "second")]


@pytest.mark.rule(23)
@virtual
async def test_what_on_submit_spawns_may_submit_while_the_cue_stops() -> None:
    cue, book = described(), Book()
    spawned: list[asyncio.Task[Any]] = []

    @cue.on_submit
    def on_submit(work: runcue.Work) -> None:
        async def later() -> None:
            await asyncio.sleep(1)
            await cue.submit("works")

        if work.id == "1":
            spawned.append(asyncio.create_task(later()))

    cue.observe(book)
    async with cue:
        await cue.submit("works")
    await spawned[0]
    assert "settled 2 completed" in book.lines


@virtual
async def test_work_that_is_submitted_before_the_start_is_heard_of_at_once() -> None:
    cue, book = described(), Book()
    heard: list[str] = []

    @cue.on_submit
    async def on_submit(work: runcue.Work) -> None:
        heard.append(work.id)

    cue.observe(book)
    await cue.submit("works")
    assert book.lines[1:] == ["submitted 1 pending"]
    async with cue:
        pass
    assert heard == ["1"]


def test_a_keyboard_interrupt_of_on_submit_goes_on_up() -> None:
    async def main() -> None:
        cue = described()

        @cue.on_submit
        def on_submit(work: runcue.Work) -> None:
            raise KeyboardInterrupt

        async with cue:
            await cue.submit("works")
            await asyncio.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


# Listeners of one task


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("event", BOUND)
@virtual
async def test_a_listener_of_one_task_hears_of_its_work_alone(event: str, kind: str) -> None:
    cue = runcue.Cue(id_prefix="", pending_warn_after=1)
    heard: dict[str, list[str]] = {"one": [], "all": [], "other": []}

    async def one(work: runcue.Work, *rest: Any) -> None:
        heard["one"].append(work.task)

    def one_plainly(work: runcue.Work, *rest: Any) -> None:
        heard["one"].append(work.task)

    register, listener = getattr(cue, event), one if kind == "async" else one_plainly
    assert register(task="a")(listener) is listener
    register(lambda work, *rest: heard["all"].append(work.task))
    register(task="unused")(lambda work, *rest: heard["other"].append(work.task))
    for task in ("a", "b", "unused"):

        @cue.task(task)
        async def handler(work: runcue.Work) -> None:
            if event == "on_failure":
                raise ValueError
            await asyncio.sleep(5)

    if event == "on_skip":
        cue.is_stale(lambda work: False)
    if event == "on_pending_warning":
        cue.is_ready(lambda work: now() > 2)
    async with cue:
        for task in ("a", "b"):
            await cue.submit(task)
        await pass_time(3)
        if event == "on_cancel":
            for number in ("1", "2"):
                await cue.cancel(number)
    assert heard == {"one": ["a"], "all": ["a", "b"], "other": []}


@pytest.mark.rule(15)
def test_a_failure_that_only_a_listener_of_another_task_could_hear_of_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cue = described()
        cue.on_failure(task="works")(lambda work, error: None)
        async with cue:
            await cue.submit("fails")

    run(main)
    assert len(said(caplog, "Work 1 of task fails failed")) == 1


def test_what_no_listener_of_its_task_is_warned_of_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cue, book, heard = described(pending_warn_after=5), Book(), []
        cue.is_ready(task="works")(lambda work: now() > 20)
        cue.on_pending_warning(task="works")(lambda work, seconds: heard.append((work.id, seconds)))
        cue.observe(book)
        async with cue:
            await cue.submit("works")
            await cue.submit("waits")
            await pass_time(21)
        assert heard == [("1", 5.0)]
        pending = [warning for warning in book.warnings if warning.kind == "pending"]
        assert sorted(work.id for warning in pending for work in warning.works) == ["1", "2"]

    run(main)
    [record] = said(caplog, "pending for more than")
    assert "waits" in record.getMessage()
    assert "works" not in record.getMessage()


@pytest.mark.parametrize("wrong", ["", 7, ["works"]], ids=repr)
@pytest.mark.parametrize("event", BOUND)
def test_a_task_that_is_no_name_is_refused(event: str, wrong: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match=f"task of an {event} listener must be"):
        getattr(runcue.Cue(), event)(task=wrong)(lambda work, *rest: None)


@virtual
async def test_a_listener_for_a_task_that_does_not_exist_is_told_of_at_the_start() -> None:
    cue, book = described(), Book()
    cue.observe(book)
    cue.on_start(task="work")(lambda work: None)
    cue.on_start(task="works")(lambda work: None)
    async with cue:
        pass
    [warning] = book.warnings
    assert warning == CueWarning(
        "unknown_task",
        "on_start is registered for a task 'work' that does not exist. Did you mean 'works'?",
    )


@virtual
async def test_a_callback_of_a_started_cue_for_a_task_that_never_comes_to_be_is_told_of_once_when_it_stops() -> (
    None
):
    cue, book = described(), Book()
    cue.observe(book)
    cue.on_start(task="early")(lambda work: None)  # told of at the start, and not again
    async with cue:
        assert [warning.kind for warning in book.warnings] == ["unknown_task"]
        cue.is_ready(task="work")(lambda work: True)
        cue.on_complete(task="late")(lambda work, result, duration: None)
        cue.task("late")(lambda work: None)
        await cue.drain()
        assert len(book.warnings) == 1
    await cue.stop()
    assert [warning.text for warning in book.warnings[1:]] == [
        "is_ready is registered for a task 'work' that does not exist. Did you mean 'works'?"
    ]


# Warnings


@virtual
async def test_a_callback_that_raises_is_a_warning() -> None:
    cue, book = described(), Book()
    cue.observe(book)

    @cue.is_ready
    def is_ready(work: runcue.Work) -> bool:
        raise LookupError

    async with cue:
        await cue.submit("works")
    assert book.kinds()[0] == "raised"
    assert [work.id for work in book.warnings[0].works] == ["1"]
    assert "is_ready" in book.warnings[0].text


@virtual
async def test_each_kind_of_warning_has_its_text_and_its_work() -> None:
    cue, book = described(stall_warn_after=10, pending_warn_after=20), Book()
    cue.service("slow", rate="1/min")
    cue.task("needs", inputs="no/such/file")(lambda work: None)
    cue.task("left", inputs=runcue.Flag("a"), outputs=runcue.Flag("b"))(lambda work: None)
    cue.task("right", inputs=runcue.Flag("b"), outputs=runcue.Flag("a"))(lambda work: None)

    @cue.task("limited", uses="slow")
    async def limited(work: runcue.Work) -> None: ...

    cue.observe(book)
    cue.start()
    for task in ("needs", "left", "right", "waits"):
        await cue.submit(task)
    await pass_time(30)
    for _ in range(3):
        await cue.submit("limited")
    ticking = asyncio.ensure_future(pass_time(1000))
    await cue.stop()
    ticking.cancel()
    found = {warning.kind: warning for warning in reversed(book.warnings)}
    assert {kind: sorted(work.task for work in warning.works) for kind, warning in found.items()} == {
        "unmade": ["needs"],
        "cycle": ["left", "right"],
        "stuck": ["waits"],
        "stalled": [],
        "pending": ["left", "needs", "right", "waits"],
        "draining": [],
        "cancelled": ["left", "needs", "right", "waits"],
    }
    assert found["unmade"].text.startswith("No producer")
    assert found["cycle"].text.startswith("Cycle: ")
    assert found["stuck"].text.startswith("Stuck: ")
    assert found["stalled"].text.startswith("No progress for 10 s: 4 work units are pending")
    assert found["pending"].text.startswith("4 work units are pending for more than 20 s")
    assert found["draining"].text.startswith("Draining: 2 work units wait for")
    assert found["cancelled"].text.startswith("stop() cancelled 4 work units that could not run")


@virtual
async def test_what_is_out_of_date_by_now_is_a_warning() -> None:
    cue, book = described(), Book()
    first, second = runcue.Flag("first"), runcue.Flag("second")
    cue.observe(book)

    @cue.task("first", outputs=first)
    async def make_first(work: runcue.Work) -> None:
        first.set()

    @cue.task("second", inputs=first, outputs=second)
    async def make_second(work: runcue.Work) -> None:
        second.set()

    async with cue:
        await cue.submit("first")
        await cue.submit("second")
        await cue.drain()
        await cue.submit("first", force=True)
        await cue.drain()
    assert [(warning.kind, [work.task for work in warning.works]) for warning in book.warnings] == [
        ("outdated", ["second"])
    ]


@virtual
async def test_a_deadlock_and_what_is_abandoned_are_warnings() -> None:
    cue, book = described(), Book()
    cue.observe(book)

    @cue.task("blocked")
    async def blocked(work: runcue.Work) -> None:
        await (await cue.submit("waits")).wait()

    @cue.task("stubborn")
    async def stubborn(work: runcue.Work) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(100)

    @cue.on_start(task="stubborn")
    async def never_ends(work: runcue.Work) -> None:
        await asyncio.sleep(1000)

    cue.start()
    await cue.submit("blocked")
    await cue.drain()
    assert [(warning.kind, [work.task for work in warning.works]) for warning in book.warnings][:1] == [
        ("deadlock", ["blocked"])
    ]
    await cue.submit("stubborn")
    await asyncio.sleep(1)
    await cue.stop(timeout=1)
    abandoned = [warning for warning in book.warnings if warning.kind == "abandoned"]
    assert [[work.task for work in warning.works] for warning in abandoned] == [["stubborn"], []]
    assert "never_ends" in abandoned[1].text


@virtual
async def test_a_work_that_is_waited_for_before_the_start_is_a_warning() -> None:
    cue, book = described(), Book()
    cue.observe(book)
    handle = await cue.submit("works")
    waiting = asyncio.ensure_future(handle.wait())
    await asyncio.sleep(1)
    async with cue:
        pass
    await waiting
    assert [(warning.kind, warning.works) for warning in book.warnings] == [("not_started", (handle.work,))]


@virtual
async def test_listeners_of_warnings_take_the_place_of_the_log_and_not_of_observers() -> None:
    cue, book = described(stall_warn_after=5, pending_warn_after=5), Book()
    heard: list[str] = []
    cue.on_stall_warning(lambda seconds, pending: heard.append("stalled"))
    cue.on_pending_warning(lambda work, seconds: heard.append("pending"))
    cue.observe(book)
    async with cue:
        await cue.submit("waits")
        await asyncio.sleep(6)
    assert sorted(heard) == ["pending", "stalled"]
    assert {"pending", "stalled"} <= set(book.kinds())


def test_a_warning_is_a_value() -> None:
    warning = CueWarning("stuck", "Stuck: a 1")
    assert warning == CueWarning("stuck", "Stuck: a 1", ())
    with pytest.raises(AttributeError):
        warning.text = "other"  # type: ignore[misc]
