"""Every place that calls user code, and everything that user code may do there: one table.

Whatever happens in one place, the work unit that it is about settles once, nobody else's is disturbed, nothing leaves
through the calls of whoever submits, and it is told by name.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, NamedTuple

import pytest

import runcue
from runcue.abc import Limit
from runcue.testing import FakeExecutor
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import now, virtual
from tests.support.worlds import GuardedLoop

Odd = Callable[..., Any]


class Place(NamedTuple):
    """A place that calls user code.

    Attributes:
        name: Its name.
        put: Puts a function there; gives the options of the task whose work units it is about.
        good: What the function should answer.
        awaits: Whether what has to be awaited is.
    """

    name: str
    put: Callable[[runcue.Cue, Odd], dict[str, Any]]
    good: Any = None
    awaits: bool = True

    def __str__(self) -> str:
        return self.name


def callback(name: str) -> Callable[[runcue.Cue, Odd], dict[str, Any]]:
    def put(cue: runcue.Cue, odd: Odd) -> dict[str, Any]:
        getattr(cue, name)(task="odd")(odd)
        return {}

    return put


def priority(cue: runcue.Cue, odd: Odd) -> dict[str, Any]:
    def odd_priority(ctx: runcue.PriorityContext) -> Any:
        return odd(ctx) if ctx.work.task == "odd" else 0.5

    cue.priority(odd_priority)
    return {}


def observer(method: str) -> Callable[[runcue.Cue, Odd], dict[str, Any]]:
    def put(cue: runcue.Cue, odd: Odd) -> dict[str, Any]:
        def odd_method(self: Any, *heard: Any) -> Any:
            return odd(*heard)

        cue.observe(type("Odd", (runcue.Observer,), {method: odd_method})())
        return {}

    return put


def option(name: str, **others: Any) -> Callable[[runcue.Cue, Odd], dict[str, Any]]:
    return lambda cue, odd: {name: odd, **others}


class Thing(runcue.Artifact):
    """Valid, and of the same version for ever."""

    def __init__(self, name: str = "thing") -> None:
        self.name = name

    def valid(self) -> bool:
        return True

    def version(self) -> int:
        return 1


def artifact(method: str) -> Callable[[runcue.Cue, Odd], dict[str, Any]]:
    def put(cue: runcue.Cue, odd: Odd) -> dict[str, Any]:
        kind = type("Odd", (Thing,), {method: lambda self: odd(self)})
        # A new one for each work unit: an identity is asked once.
        return {
            "inputs": lambda work: Thing("other"),
            "outputs": lambda work: kind(work.id),
            "fresh": runcue.newer(),
        }

    return put


class OddPolicy:
    by_content = True

    def stale(self, work: runcue.Work) -> Any:
        return ("older", None, None)

    def started(self, work: runcue.Work) -> Any: ...

    def finished(self, work: runcue.Work) -> Any: ...


def policy(method: str) -> Callable[[runcue.Cue, Odd], dict[str, Any]]:
    def put(cue: runcue.Cue, odd: Odd) -> dict[str, Any]:
        fresh = OddPolicy()
        setattr(fresh, method, odd)
        return {"outputs": "odd.out", "fresh": fresh}

    return put


def limit(method: str) -> Callable[[runcue.Cue, Odd], dict[str, Any]]:
    def put(cue: runcue.Cue, odd: Odd) -> dict[str, Any]:
        kind = type("Odd", (Limit,), {"room": lambda self, now, work: True})
        one: Any = kind()
        setattr(one, method, odd)
        cue.service("odd", limits=[one])
        return {"uses": "odd"}

    return put


class OddExecutor(FakeExecutor):
    """Its repr says so."""


def executor(method: str) -> Callable[[runcue.Cue, Odd], dict[str, Any]]:
    def put(cue: runcue.Cue, odd: Odd) -> dict[str, Any]:
        inner: Any = OddExecutor(0.01)
        usual = getattr(inner, method)

        def odd_method(*args: Any, **options: Any) -> Any:
            answer = odd()
            usual(*args, **options)
            return answer

        setattr(inner, method, odd_method)
        return {"run_in": inner, "handler": lambda work: "done"}

    return put


GATES = [Place("is_ready", callback("is_ready"), True), Place("is_stale", callback("is_stale"), True)]
LISTENERS = [
    Place(f"on_{event}", callback(f"on_{event}"))
    for event in ("submit", "start", "complete", "failure", "skip", "cancel")
]
OBSERVERS = [
    Place(f"observer's {method}", observer(method)) for method in ("submitted", "started", "settled")
]
PLAIN = [
    Place("priority", priority, 0.5, awaits=False),
    Place("inputs=", option("inputs"), (), awaits=False),
    Place("outputs=", option("outputs"), (), awaits=False),
    Place("key=", option("key"), "a key", awaits=False),
    Place("valid()", artifact("valid"), True, awaits=False),
    Place("version()", artifact("version"), 1, awaits=False),
    Place("identity()", artifact("identity"), "an identity", awaits=False),
    Place("policy's stale()", policy("stale"), ("older", None, None), awaits=False),
    Place("policy's started()", policy("started"), awaits=False),
    Place("policy's finished()", policy("finished"), awaits=False),
    Place("limit's room()", limit("room"), True, awaits=False),
    Place("limit's acquire()", limit("acquire"), awaits=False),
    Place("limit's entered()", limit("entered"), awaits=False),
    Place("limit's release()", limit("release"), awaits=False),
    Place("executor's submit()", executor("submit"), awaits=False),
    Place("executor's stop()", executor("stop"), awaits=False),
]
PLACES = [*GATES, *LISTENERS, *OBSERVERS, *PLAIN]
each_place = pytest.mark.parametrize("place", PLACES, ids=str)


class Seen(NamedTuple):
    """What became of it all.

    Attributes:
        odd: The work units that it was about.
        others: Those of another task, which were beside them.
        told: What was logged.
    """

    odd: list[runcue.Work]
    others: list[runcue.Work]
    told: list[str]


async def happens(place: Place, odd: Odd) -> tuple[list[runcue.Work], list[runcue.Work]]:
    """Let work units go by a place where a function is that does something odd, with others beside them."""
    cue = runcue.Cue(id_prefix="", recheck=False)
    cue.service("slots", concurrent=3)
    options = {"uses": "slots", "outputs": None, **place.put(cue, odd)}

    async def usual(work: runcue.Work) -> str:
        await asyncio.sleep(0.01)
        if place.name == "on_failure":
            raise ValueError("as planned")
        if place.name == "on_cancel":
            await asyncio.sleep(100)
        return "done"

    cue.task("odd", **{key: value for key, value in options.items() if key != "handler"})(
        options.get("handler", usual)
    )
    if place.name == "on_skip":
        cue.is_stale(task="odd")(lambda work: False)

    @cue.task("other", uses="slots")
    async def other(work: runcue.Work) -> str:
        await asyncio.sleep(0.01)
        return "done"

    ended: list[str] = []
    cue.on_complete(lambda work, result, duration: ended.append(work.id))
    cue.on_failure(lambda work, error: ended.append(work.id))
    cue.on_skip(lambda work: ended.append(work.id))
    cue.on_cancel(lambda work: ended.append(work.id))
    cue.start()
    handles = [await cue.submit(task) for task in ("other", "odd", "other", "odd", "other")]
    await asyncio.sleep(1)
    if place.name == "on_cancel":
        for handle in handles[1::2]:
            await cue.cancel(handle)
    await cue.drain()
    await cue.stop()
    works = [handle.work for handle in handles]
    assert sorted(ended) == sorted(work.id for work in works), "each ends once"
    return works[1::2], works[::2]


def see(place: Place, odd: Odd, caplog: pytest.LogCaptureFixture) -> Seen:
    with asyncio.Runner(loop_factory=GuardedLoop) as runner:
        found, others = runner.run(happens(place, odd))
        complaints = runner.get_loop().complaints  # type: ignore[attr-defined]
    assert not complaints, complaints
    assert [work.result for work in others] == ["done"] * len(others)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return Seen(found, others, told)


@pytest.fixture(autouse=True)
def folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.out").write_text("made before")


def expect_told(seen: Seen) -> None:
    errors = [work.error or "" for work in seen.odd]
    assert any("odd" in text.lower() for text in [*seen.told, *errors]), seen.told


class Strange(BaseException):
    """Neither an Exception nor one of Python's own exits."""


RAISED = [
    ValueError("broken"),
    StopIteration("broken"),
    SystemExit("broken"),
    GeneratorExit("broken"),
    asyncio.CancelledError("broken"),
    Strange("broken"),
]


@pytest.mark.rule(13, 16)
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@each_place
def test_whatever_is_raised_disturbs_nobody_else_and_is_told(
    place: Place, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def odd(*heard: Any) -> Any:
        raise error

    seen = see(place, odd, caplog)
    ends = [work.exception and f"{work.exception} {work.exception.__cause__}" for work in seen.odd]
    if not all("broken" in (end or "") for end in ends):
        assert any("odd" in text.lower() and type(error).__name__ in text for text in seen.told), seen.told


class Unclear:
    """Cannot be asked for anything."""

    def __bool__(self) -> bool:
        raise ValueError("neither")

    def __repr__(self) -> str:
        raise SystemExit("no words")

    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")


@pytest.mark.rule(13, 16)
@each_place
def test_an_answer_that_can_be_asked_for_nothing_disturbs_nobody_else(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    seen = see(place, lambda *heard: Unclear(), caplog)
    if place in GATES or place.name == "priority":
        expect_told(seen)


class Shy(Exception):
    """Cannot be asked for its class, nor for anything else."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


@pytest.mark.rule(13, 16)
@pytest.mark.parametrize("where", ["first step", "later step", "plain"])
def test_a_handlers_error_that_lets_nobody_look_at_it_fails_its_own_work_unit(where: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.on_failure(lambda work, error: None)

        async def fails(work: runcue.Work) -> None:
            if where == "later step":
                await asyncio.sleep(0)
            raise Shy

        def fails_in_a_thread(work: runcue.Work) -> None:
            raise Shy

        cue.task("t")(fails_in_a_thread if where == "plain" else fails)
        cue.task("other")(lambda work: "done")
        async with cue:
            handles = [await cue.submit(task) for task in ("t", "other")]
            with pytest.raises(Shy):
                await handles[0]
            assert await handles[1] == "done"

    asyncio.run(main())


@pytest.mark.rule(13, 16)
@each_place
def test_an_interrupt_ends_the_loop_and_is_not_an_error_that_nobody_has_retrieved(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def odd(*heard: Any) -> Any:
        raise KeyboardInterrupt("broken")

    loops: list[GuardedLoop] = []

    def loop() -> GuardedLoop:
        loops.append(GuardedLoop())
        return loops[0]

    with pytest.raises(KeyboardInterrupt, match="broken"), asyncio.Runner(loop_factory=loop) as runner:
        runner.run(happens(place, odd))
    gc.collect()
    assert not loops[0].complaints


@pytest.mark.rule(13, 16)
@pytest.mark.parametrize(
    "where", ["gate", "listener", "async listener", "handler", "later in a handler", "thread"]
)
@each_loop
def test_so_it_is_on_real_loops_and_out_of_handlers(loop: str, where: str) -> None:
    def interrupts() -> None:
        raise KeyboardInterrupt("broken")

    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("t")
        async def t(work: runcue.Work) -> None:
            if where == "later in a handler":
                await asyncio.sleep(0)
            if "handler" in where:
                interrupts()

        cue.task("thread")(lambda work: interrupts())

        @cue.on_start
        def hears(work: runcue.Work) -> None:
            if where == "listener":
                interrupts()

        @cue.on_start
        async def hears_later(work: runcue.Work) -> None:
            if where == "async listener":
                interrupts()

        @cue.is_ready
        def asks(work: runcue.Work) -> bool:
            if where == "gate":
                interrupts()
            return True

        cue.start()
        handles.append(await cue.submit("thread" if where == "thread" else "t"))
        await asyncio.sleep(100)

    handles: list[runcue.WorkHandle] = []
    with pytest.raises(KeyboardInterrupt, match="broken"):
        run_on(loop, main)
    gc.collect()
    if "handler" in where or where == "thread":
        assert isinstance(handles[0].exception(), runcue.HandlerExited)


@pytest.mark.rule(13, 16)
@each_place
def test_who_cancels_the_current_task_cancels_nobody_elses(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def odd(*heard: Any) -> Any:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # in a thread
            task = None
        if task is not None:
            task.cancel()
        return place.good

    seen = see(place, odd, caplog)
    expected = {"on_failure": "failed", "on_cancel": "cancelled"}.get(place.name, "completed")
    assert [work.state.value for work in seen.odd] == [expected] * 2


@pytest.mark.rule(15)
@each_place
def test_who_keeps_the_loop_is_told_of_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    def odd(*heard: Any) -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, GuardedLoop)
        loop.reach(now() + 0.08)
        return place.good

    seen = see(place, odd, caplog)
    if place.name not in (
        "policy's finished()",
        "executor's stop()",
    ):  # in a thread; and nothing is left to be kept
        [line] = [text for text in seen.told if "blocked the event loop" in text]
        assert "80 ms" in line or "160 ms" in line
        assert "odd" in line.lower()


def answers_later(answer: Any, done: list[str]) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def odd(*heard: Any) -> Any:
        await asyncio.sleep(0.01)
        done.append("once")
        return answer

    return odd


@pytest.mark.rule(12)
@pytest.mark.parametrize("how", ["coroutine", "of a coroutine", "of a future"])
@each_place
def test_what_is_awaitable_is_awaited_to_its_end_or_refused_by_name(
    place: Place, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    def odd(*heard: Any) -> Any:
        def twice() -> Any:
            done.append("twice")
            if how == "of a coroutine":
                return answers_later(place.good, done)()
            future = asyncio.get_running_loop().create_future()
            future.set_result(place.good)
            return future

        async def outer() -> Any:
            return twice()

        return answers_later(place.good, done)() if how == "coroutine" else outer()

    seen = see(place, odd, caplog)
    if place.awaits:
        times, more = {"coroutine": (1, 0), "of a coroutine": (1, 1), "of a future": (0, 1)}[how]
        # Observers hear of the others as well.
        assert (done.count("once"), done.count("twice")) in [(2 * times, 2 * more), (5 * times, 5 * more)]
        assert not any("odd" in text for text in seen.told)
    else:
        assert not done
        expect_told(seen)


@pytest.mark.rule(12)
@each_place
def test_an_async_def_is_awaited_or_refused_where_it_is_registered(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []
    odd = answers_later(place.good, done)
    if place.awaits:
        see(place, odd, caplog)
        assert len(done) in (2, 5)
    elif place.name in ("inputs=", "outputs=", "key=") or "policy" in place.name or "limit" in place.name:
        with pytest.raises(runcue.ConfigurationError, match=r"plain") as refused:
            see(place, odd, caplog)
        assert len(str(refused.value)) < 500


@pytest.mark.rule(13)
@pytest.mark.parametrize("place", [*GATES, *LISTENERS, *OBSERVERS], ids=str)
@pytest.mark.parametrize("when", ["before it awaits", "at its end"])
def test_an_async_callback_that_cancels_its_own_task_cancels_nobody_elses(
    when: str, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[str] = []

    async def odd(*heard: Any) -> Any:
        called.append("")
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if when == "before it awaits":
            await asyncio.sleep(0)
        return place.good

    seen = see(place, odd, caplog)
    assert len(called) >= 2, "the line of a listener goes on"
    expected = {"on_failure": "failed", "on_cancel": "cancelled"}.get(place.name, "completed")
    if place.name == "is_ready" and when == "before it awaits":
        expected = "cancelled"  # it counts as raising, so that it is not ready, and stop() gives it up
    assert [work.state.value for work in seen.odd] == [expected] * 2
    expect_told(seen)


class Cancelling(runcue.Artifact):
    """An input that is never there, and cancels the task that it is asked in."""

    def __init__(self) -> None:
        self.key = "cancelling"

    def valid(self) -> bool:
        task = asyncio.current_task()
        if task is not None and task.get_name() != "runcue":
            task.cancel()
        return False


@pytest.mark.rule(13, 23)
@each_loop
@pytest.mark.parametrize(
    "how", ["drain", "stop", "stop at once", "why", "why all", "blocked", "graph", "plan"]
)
def test_an_artifact_that_is_asked_for_an_answer_cancels_nobody_who_wants_that(how: str, loop: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("read", inputs=Cancelling())
        def read(work: runcue.Work) -> None: ...

        cue.start()
        handle = await cue.submit("read")
        if how == "drain":
            assert (await cue.drain()).blocked
        elif how == "stop":
            assert (await cue.stop()).blocked
        elif how == "stop at once":
            assert (await cue.stop(drain=False)).cancelled
        else:
            await asyncio.sleep(0.01)
            asks: dict[str, Callable[[], object]] = {
                "why": lambda: cue.why(handle),
                "why all": cue.why,
                "blocked": cue.debug_blocked,
                "graph": cue.graph,
                "plan": lambda: cue.plan(["read"]),
            }
            asks[how]()
        await asyncio.sleep(0)  # here it would come
        me = asyncio.current_task()
        assert me is not None
        assert not me.cancelling()
        await cue.stop()

    run_on(loop, main)


@pytest.mark.rule(12)
@pytest.mark.parametrize("place", [*GATES, *LISTENERS], ids=str)
def test_a_handle_that_is_returned_is_a_value(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    never_started = runcue.Cue()
    never_started.task("never")(lambda work: None)

    async def odd(*heard: Any) -> Any:
        return await never_started.submit("never")

    seen = see(place, odd, caplog)
    expected = {"on_failure": "failed", "on_cancel": "cancelled"}.get(place.name, "completed")
    assert [work.state.value for work in seen.odd] == [expected] * 2


WHERE: ContextVar[str] = ContextVar("where", default="nowhere")


@pytest.mark.rule(12)
@pytest.mark.parametrize("declares", [False, True])
@pytest.mark.parametrize("how", ["at once", "after a while", "a future", "three deep"])
@pytest.mark.parametrize("kind", ["async", "plain"])
@virtual
async def test_what_a_handler_gives_is_awaited_to_its_end_in_its_context(
    kind: str, how: str, declares: bool, tmp_path: Any
) -> None:
    output = tmp_path / "output"

    async def at_once() -> str:
        output.write_text("made")
        return WHERE.get()

    async def after_a_while() -> str:
        await asyncio.sleep(1)
        return await at_once()

    async def deep() -> Any:
        await asyncio.sleep(1)
        return after_a_while()

    def rest() -> Any:
        if how == "a future":
            return asyncio.ensure_future(at_once())
        return {"at once": at_once, "after a while": after_a_while, "three deep": deep}[how]()

    async def in_the_loop(work: runcue.Work) -> Any:
        return rest()

    def elsewhere(work: runcue.Work) -> Any:
        return rest()

    async with runcue.Cue(run_in=FakeExecutor()) as cue:
        cue.service("one", concurrent=1)
        handler: Any = in_the_loop if kind == "async" else elsewhere
        cue.task("t", uses="one", outputs=str(output) if declares else None)(handler)
        WHERE.set("submitted here")
        handle = await cue.submit("t")
        assert await handle.result() == "submitted here"
        assert output.read_text() == "made"


@pytest.mark.rule(12, 16)
@pytest.mark.parametrize("kind", ["async", "plain"])
@virtual
async def test_what_it_raises_at_its_end_fails_the_work(kind: str) -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise ValueError("at the end")

    async def in_the_loop(work: runcue.Work) -> Any:
        return fails()

    async with runcue.Cue(run_in=FakeExecutor()) as cue:
        handler: Any = in_the_loop if kind == "async" else lambda work: fails()
        cue.task("t")(handler)
        with pytest.raises(ValueError, match="at the end"):
            await (await cue.submit("t")).result()


@pytest.mark.rule(12)
@virtual
async def test_a_value_that_cannot_be_asked_for_its_class_is_a_value() -> None:
    class Proxy:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("working outside of a context")

    proxy = Proxy()
    async with runcue.Cue(run_in=FakeExecutor()) as cue:

        @cue.task("async")
        async def gives_it(work: runcue.Work) -> Any:
            return proxy

        cue.task("plain")(lambda work: proxy)
        for task in ("async", "plain"):
            assert await (await cue.submit(task)).result() is proxy


@pytest.mark.rule(13, 16)
@pytest.mark.parametrize("suspends", [False, True])
@virtual
async def test_a_handler_that_cancels_its_own_task_reaches_no_other(suspends: bool) -> None:
    async with runcue.Cue() as cue:
        cue.service("one", concurrent=1)

        @cue.task("cancels", uses="one")
        async def cancels(work: runcue.Work) -> str:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if suspends:
                await asyncio.sleep(0)
            return "returned"

        @cue.task("other", uses="one")
        async def other(work: runcue.Work) -> str:
            await asyncio.sleep(0.01)
            return "done"

        handles = [await cue.submit(task) for task in ("cancels", "other", "other")]
        assert [await handle.result() for handle in handles[1:]] == ["done"] * 2
        assert handles[0].work.state.value == ("cancelled" if suspends else "completed")


@pytest.mark.rule(13, 16)
@virtual
async def test_a_work_that_goes_on_elsewhere_can_be_cancelled_before_its_first_step() -> None:
    async with runcue.Cue() as cue:
        handles: list[runcue.WorkHandle] = []

        @cue.task("t")
        async def t(work: runcue.Work) -> None:
            pytest.fail("it was entered")

        @cue.on_start
        def cancels(work: runcue.Work) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            asyncio.get_running_loop().call_soon(handles[0].cancel)

        handles.append(await cue.submit("t"))
        await handles[0].wait()
        assert handles[0].work.state is runcue.WorkState.CANCELLED
    assert cue.services() == []


@virtual
async def test_a_plan_takes_answers_as_the_gate_does() -> None:
    cue = runcue.Cue()
    for name, ready, stale in (("unready", None, True), ("stale", True, None), ("fresh", True, False)):
        cue.task(name)(lambda work: None)
        cue.is_ready(task=name)(lambda work, answer=ready: answer)
        cue.is_stale(task=name)(lambda work, answer=stale: answer)
    plan = cue.plan(["unready", "stale", "fresh"])
    assert [one.task for one in plan.runs] == ["unready", "stale"]
    assert [one.task for one in plan.up_to_date] == ["fresh"]
    assert "returned None" in str(plan.runs[0].unsure), "it is not ready now"
    assert plan.runs[1].unsure is None
