"""What users write must pass a strict type checker, and get back the types they expect. Checked, never run.

`.ci/run` checks this file twice: in the source tree, and against the installed wheel.
"""

import asyncio
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from email.message import Message
from typing import Any, assert_type

import runcue
import runcue.abc
import runcue.testing

cue = runcue.Cue(pending_warn_after=30, pending_timeout=300, stall_warn_after=30, stall_timeout=60)
unlimited = runcue.Cue(keep=10_000, max_threads=64, id_prefix="night")

cue.service("openai", rate="60/min", concurrent=5)
cue.service("knife", concurrent=1)
bursty = cue.service("bursty", rate="10/sec", burst=20)
assert_type(bursty, runcue.Service)
assert_type(cue.get_service("bursty"), runcue.Service)
name_of_it: str = bursty
bursty.change(rate="20/sec", burst=None, concurrent=runcue.Adaptive(1, 5), limits=None, max_pause="5 min")
cue.service(
    "api", throttle=runcue.http_errors, max_throttled="5 min", breaker=runcue.Breaker(3, cooldown="30s")
)
cue.service("other", throttle=lambda error: 12.5 if isinstance(error, OSError) else None, breaker=None)
cue.service("third", throttle=lambda error: "12")  # type: ignore[arg-type, return-value]
assert_type(runcue.Throttled("12", service=bursty).retry_after, float | None)
bursty.change(concurent=2)  # type: ignore[call-arg]
bursty.change(concurrent="2")  # type: ignore[arg-type]
bursty.pause()
bursty.pause(timedelta(seconds=5))
bursty.pause("5 min", key="user")
bursty.resume(key=("user", 42))
bursty.read_headers({"retry-after": "5"})
bursty.read_headers(Message())
bursty.read_headers([(b"retry-after", b"5")], key="user")
assert_type(bursty.status().paused, float | None)


class Budget(runcue.abc.Limit):
    """A limit needs no more than what it decides by, if the Protocol is its base."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def room(self, now: float, work: runcue.Work) -> bool:
        return int(work.params["cents"]) <= self.cents

    def acquire(self, now: float, work: runcue.Work) -> None:
        self.cents -= int(work.params["cents"])


class Quota:
    """And any class with its methods is one, whatever it calls their arguments."""

    def room(self, instant: float, unit: runcue.Work) -> bool:
        return True

    def next_room(self, instant: float, unit: runcue.Work) -> float:
        return instant + 60

    def acquire(self, instant: float, unit: runcue.Work) -> None: ...

    def entered(self, instant: float, unit: runcue.Work, at: float) -> None: ...

    def release(self, instant: float, unit: runcue.Work, actual: object) -> None: ...

    def at_least(self, units: Sequence[runcue.Work]) -> float | None:
        return None

    def describe(self, instant: float, unit: runcue.Work) -> str:
        return "the quota of this hour is used up"


cue.service("llm", rate="60/min", limits=[Budget(250), Quota()])
cue.service("tenants", limits=Quota())
a_limit: runcue.abc.Limit = Quota()
assert_type(cue.services()[0].limits, tuple[str, ...])


@cue.task("extract_text", uses="openai")
def extract_text(work: runcue.Work) -> dict[str, str]:
    assert_type(work.id, str)
    assert_type(work.task, str)
    assert_type(work.attempt, int)
    assert_type(work.cancelled, bool)
    params: Mapping[str, Any] = work.params
    work.submit("summarize", params=params)
    return {"text": str(params["page"])}


@cue.task("summarize", uses=["openai", "knife"], timeout=30)
async def summarize(work: runcue.Work) -> str:
    handle = await cue.submit("extract_text", params={"page": 1})
    return str(await handle.result())


@cue.task
def shorten(work: runcue.Work) -> int:
    return len(str(work.params["text"]))


@cue.task(uses=bursty)
async def lengthen(work: runcue.Work) -> str:
    return work.submit("shorten", {"text": "..."})


assert_type(shorten(runcue.Work("id", "task")), int)


# A decorator gives back what it was given: the handler stays an ordinary function.
assert_type(extract_text(runcue.Work("id", "task")), dict[str, str])


@cue.is_ready
def is_ready(work: runcue.Work) -> bool:
    return work.task != "summarize"


@cue.is_ready(task="summarize")
async def is_ready_to_summarize(work: runcue.Work) -> tuple[bool, str]:
    return False, "no text yet"


@cue.is_stale
async def is_stale(work: runcue.Work) -> bool:
    return True


@cue.task(priority=lambda work: work.params["urgency"])
def urgent(work: runcue.Work) -> None: ...


@cue.priority
def priority(ctx: runcue.PriorityContext) -> float:
    assert_type(ctx.work, runcue.Work)
    assert_type(ctx.wait_time, float)
    assert_type(ctx.queue_depth, int)
    return 0.5


@cue.on_start
def on_start(work: runcue.Work) -> None: ...


@cue.on_complete
async def on_complete(work: runcue.Work, result: object, duration: float) -> None: ...


@cue.on_failure
def on_failure(work: runcue.Work, error: BaseException) -> None: ...


@cue.on_skip
def on_skip(work: runcue.Work) -> None: ...


@cue.on_cancel
def on_cancel(work: runcue.Work) -> None: ...


@cue.on_pending_warning
def on_pending_warning(work: runcue.Work, seconds: float) -> None: ...


@cue.on_submit
def on_submit(work: runcue.Work) -> None: ...


@cue.on_submit(task="summarize")
@cue.on_start(task="summarize")
@cue.on_skip(task="summarize")
@cue.on_cancel(task="summarize")
async def on_anything_of_one_task(work: runcue.Work) -> None: ...


@cue.on_complete(task="summarize")
def on_summary(work: runcue.Work, result: str, duration: float) -> int:
    return len(result)


# A listener of one task is given back as it was, too.
assert_type(on_summary(runcue.Work("id", "task"), "text", 1.0), int)


def backoff(attempt: int, error: BaseException, elapsed: float) -> float | None:
    return 2.0 if attempt < 3 else None


def is_transient(error: BaseException) -> bool:
    return isinstance(error, OSError)


patient = runcue.Retry(
    attempts=5,
    on=(ConnectionError, TimeoutError),
    wait_initial="0.5s",
    wait_max=timedelta(minutes=1),
    wait_jitter=1,
    wait_exp_base=2,
    timeout=None,
    wait_from=lambda error: getattr(error, "retry_after", None),
)


@cue.task("patient", retry=patient)
def with_patience(work: runcue.Work) -> str:
    assert_type(work.attempts, tuple[runcue.Attempt, ...])
    for attempt in work.attempts:
        assert_type(attempt.error, BaseException | None)
        assert_type(attempt.number + attempt.started_at + attempt.duration, float)
    if not work.params:
        raise runcue.GiveUp("nothing to do")
    raise runcue.RetryLater("10s")


cue.task("twice", retry=2)(with_patience)
cue.task("as_said", retry=backoff)(with_patience)
cue.task("if_transient", retry=runcue.Retry(-1, on=is_transient))(with_patience)


@cue.on_retry
def on_retry(work: runcue.Work, error: BaseException, delay: float) -> None: ...


@cue.on_retry(task="patient")
async def on_retried_patience(work: runcue.Work, error: BaseException, delay: float) -> None: ...


@cue.on_failure(task="summarize")
def on_failed_summary(work: runcue.Work, error: BaseException) -> None: ...


@cue.on_pending_warning(task="summarize")
def on_pending_summary(work: runcue.Work, seconds: float) -> None: ...


class Watcher(runcue.Observer):
    def attached(self, cue: runcue.Cue) -> None:
        self.cue = cue

    def submitted(self, work: runcue.Work) -> None: ...

    async def started(self, work: runcue.Work) -> None: ...

    def attempt_failed(self, work: runcue.Work, error: BaseException, delay: float) -> None: ...

    def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None: ...

    async def resumed(self, work: runcue.Work) -> None: ...

    def settled(self, work: runcue.Work, duration: float) -> None: ...

    def warned(self, warning: runcue.abc.CueWarning) -> None:
        if warning.kind == "stuck":
            assert_type(warning.text, str)
            assert_type(warning.works, tuple[runcue.Work, ...])


cue.watch("inbox")
cue.watch("inbox", submit="resize", pattern="*.pdf", recursive=False)
cue.watch(b"inbox", submit=print)
stop_watching = cue.observe(Watcher())
with runcue.progress(cue, title="Naps", total=7, notes=lambda: ["careful"], file=sys.stderr):
    pass
assert_type(stop_watching(), None)


@cue.on_stall_warning
def on_stall_warning(seconds_since_progress: float, pending_count: int) -> None: ...


async def main() -> int:
    cue.start()
    handle = await cue.submit("extract_text", params={"page": 1})
    await cue.submit(extract_text, {"page": 2}, priority=0.9)
    assert_type(await cue.list(after=handle), list[runcue.Work])
    assert_type(await cue.list(task=shorten), list[runcue.Work])
    assert_type(handle, runcue.WorkHandle)
    assert_type(await handle, Any)
    assert_type(await asyncio.wait_for(handle, 10), Any)
    assert_type(await asyncio.gather(*[handle]), list[Any])
    assert_type(await asyncio.shield(handle), Any)
    assert_type(handle.done(), bool)
    assert_type(handle.state, runcue.WorkState)
    assert_type(handle.exception(), BaseException | None)
    assert_type(handle.cancel(), bool)
    assert_type(asyncio.ensure_future(handle), asyncio.Task[Any])
    as_text: str = handle
    assert_type(await handle.wait(), runcue.Work)

    work = await cue.get(as_text)
    if work is not None:
        assert_type(work.state, runcue.WorkState)
        assert_type(work.started_at, float | None)
        assert_type(work.exception, BaseException | None)
        assert_type(work.error, str | None)
    assert_type(await cue.list(state=runcue.WorkState.PENDING, task="summarize", limit=10), list[runcue.Work])
    assert_type(await cue.cancel(handle), bool)
    assert_type((await cue.retry(handle)).work.retry_of, str | None)
    await cue.submit("patient", retry=1)
    await cue.submit("patient", retry=backoff)
    await cue.submit("patient", retry=patient)
    handle.work.checkpoint()
    for blocked in cue.debug_blocked():
        print(blocked["work"], blocked["reason"], blocked["details"])
    assert_type(cue.why(handle), runcue.Why)
    if (turn := cue.why(handle).turn) is not None:
        assert_type(turn, runcue.Turn)
        assert_type(turn.passing, runcue.Passing | None)
    waiting = cue.why()
    assert_type(waiting, runcue.WhyAll)
    for group in waiting.groups:
        assert_type(group, runcue.WhyGroup)
        assert_type(group.count, int)
        assert_type(group.eta, float | None)

    summary = await cue.drain()
    assert_type(summary, runcue.Summary)
    assert_type(summary.duration, float)
    print(summary.counts, summary.failed, summary.blocked)
    await cue.stop(drain=False, timeout=5)
    async with runcue.Cue() as inner:
        assert_type(inner, runcue.Cue)
    try:
        await handle.result()
    except runcue.NotSettled as early:
        too_early: asyncio.InvalidStateError = early
        raise too_early from None
    except (runcue.WorkCancelled, runcue.HandlerExited, runcue.WorkTimeout) as error:
        base: runcue.RuncueError = error
        raise base from None
    return 0


def from_a_thread() -> None:
    threading.Thread(target=cue.submit_threadsafe, args=("extract_text",)).start()


def without_await() -> None:
    with runcue.blocking(cue) as b:
        handle = b.submit("extract_text", params={"page": 1})
        b.result(handle)

        async def page_of(url: str, number: int = 1) -> float:
            return number / 2

        def title_of(work: runcue.Work, url: str) -> str:
            return url

        assert_type(b.call(page_of, "url", number=2), runcue.WorkHandle[float])
        assert_type(b.call(page_of, "url").result_sync(timeout="5s"), float)
        assert_type(b.call(title_of, "url").result_sync(), str)
        assert_type(b.result(b.call(page_of, "url")), float)
        b.call(page_of, 3)  # type: ignore[call-overload]
        for work in b.map(page_of, ["url"]):
            assert_type(work, runcue.Work)
        for value in b.map(page_of, ["url"], values=True):
            assert_type(value, float)
        for title in b.map(title_of, ["url"], values=True, ordered=True):
            assert_type(title, str)


def numbers() -> None:
    assert_type(cue.counts(), dict[str, int])
    assert_type(cue.counts(by="task"), dict[str, dict[str, int]])
    runcue.Cue(max_pending=10)


async def told(handle: runcue.WorkHandle, summary: runcue.Summary) -> None:
    assert_type(await cue.submit("extract_text", metadata={"user": "anna"}, wait=False), runcue.WorkHandle)
    assert_type(handle.work.metadata, dict[Any, Any])
    assert_type(summary.by_task, dict[str, dict[str, int]])
    assert_type(summary.durations["extract_text"].median, float | None)
    assert_type(summary.timed_out, list[runcue.Work])
    summary.raise_for_errors()


assert_type(runcue.run(main), int)
assert_type(runcue.WorkUnit("id", "task"), runcue.Work)


plan = cue.plan(
    ["summarize", extract_text, ("extract_text", {"page": 1}), {"task": "summarize", "force": True}]
)
assert_type(plan, runcue.Plan)
assert_type(plan.runs, tuple[runcue.PlannedWork, ...])
assert_type(plan.cycles, tuple[runcue.Cycle, ...])
assert_type(plan.problems, tuple[str, ...])
assert_type(plan.seconds, float)
assert_type(plan.binding, str | None)
assert_type(plan.services["openai"].seconds, float | None)
for planned in plan.runs:
    assert_type(planned.task, str)
    assert_type(planned.params, dict[str, Any])
    assert_type(planned.reason, str)
    assert_type(planned.unsure, str | None)
    assert_type(planned.number, int | None)
cue.plan()
cue.plan(("extract_text", {"page": page}) for page in range(3))
assert_type(cue.graph(), str)
assert_type(cue.graph("works", limit=50), str)
