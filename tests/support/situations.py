"""Situations in which users ask "why?", each planted by one function: its true cause is known here.

Lives here: `SITUATIONS`, by their names, and `Planted`, what each gives: a started cue and the work unit to be asked
about. They are planted in the working folder and the running event loop, virtual or not; who plants one ends it.

Must not know: what is said of them.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import runcue
from runcue import File
from runcue._artifacts.looks import is_recent

__all__ = ["REAL", "SITUATIONS", "Planted"]

OLD: Final = 1_000_000_000


@dataclass
class Planted:
    """A situation.

    Attributes:
        cue: Started, in it.
        work: The work unit that is asked about.
        others: Those that have to do with it.
        let_go: Ends what would not end by itself.
    """

    cue: runcue.Cue
    work: runcue.WorkHandle
    others: tuple[runcue.WorkHandle, ...] = ()
    let_go: Callable[[], object] = field(default=lambda: None)

    async def end(self) -> None:
        """Stop the cue."""
        self.let_go()
        await self.cue.stop(drain=False, timeout=1)


Plant = Callable[[], Awaitable[Planted]]


def cue_with(**options: Any) -> runcue.Cue:
    return runcue.Cue(id_prefix="", **options)


async def forever(work: runcue.Work) -> None:
    await asyncio.sleep(1e6)


def write_outputs(work: runcue.Work) -> None:
    for output in work.outputs:
        output.path.write_text("made")


def write(path: str, text: str) -> None:
    Path(path).write_text(text)


def write_and_let_be(path: str, text: str) -> None:
    """Write what has been left alone for so long that any change would show."""
    write(path, text)
    while is_recent(Path(path).stat(), time.time_ns()):
        time.sleep(0.005)


def dated(path: str, when: float, text: str = "there") -> None:
    write(path, text)
    os.utime(path, (when, when))


async def started(cue: runcue.Cue, *tasks: str) -> list[runcue.WorkHandle]:
    cue.start()
    return [await cue.submit(task) for task in tasks]


async def settled_after(cue: runcue.Cue, *tasks: str) -> list[runcue.WorkHandle]:
    handles = await started(cue, *tasks)
    for handle in handles:
        await handle.wait()
    return handles


async def missing_producer() -> Planted:
    cue = cue_with()
    cue.task("slice", inputs="loaf", outputs="slices")(write_outputs)
    return Planted(cue, *await started(cue, "slice"))


async def missing_producer_of_what_is_ready_looks_at() -> Planted:
    cue = cue_with()
    cue.task("slice")(forever)

    @cue.is_ready(task="slice")
    def there_is_a_loaf(work: runcue.Work) -> bool:
        return runcue.exists("loaf")

    return Planted(cue, *await started(cue, "slice"))


async def cycle() -> Planted:
    cue = cue_with()
    cue.task("hen", inputs="egg", outputs="hen")(write_outputs)
    cue.task("egg", inputs="hen", outputs="egg")(write_outputs)
    first, second = await started(cue, "hen", "egg")
    return Planted(cue, second, (first,))


async def upstream_failed() -> Planted:
    cue = cue_with()

    @cue.task("bake", outputs="loaf")
    async def bake(work: runcue.Work) -> None:
        raise ValueError("the oven is cold")

    cue.task("slice", inputs="loaf", outputs="slices")(write_outputs)
    baked, sliced = await started(cue, "bake", "slice")
    await baked.wait()
    return Planted(cue, sliced, (baked,))


async def upstream_cancelled() -> Planted:
    cue = cue_with()
    cue.task("bake", outputs="loaf")(forever)
    cue.task("slice", inputs="loaf", outputs="slices")(write_outputs)
    baked, sliced = await started(cue, "bake", "slice")
    await asyncio.sleep(0.01)
    baked.cancel()
    return Planted(cue, sliced, (baked,))


async def rate_used_up() -> Planted:
    cue = cue_with()
    cue.service("openai", rate="1/min")
    cue.task("ask", uses="openai")(forever)
    handles = await started(cue, *["ask"] * 5)
    await asyncio.sleep(0.01)
    return Planted(cue, handles[-1], tuple(handles[:-1]))


async def budget_used_up() -> Planted:
    cue = cue_with()
    cue.service("api", budget={"tokens": "90_000/min"}, concurrent=20)
    cue.task("ask", uses="api", cost=lambda work: {"tokens": work.params["tokens"]})(forever)
    cue.start()
    handles = [await cue.submit("ask", {"tokens": tokens}) for tokens in (88_200, 2_000, 1_900)]
    await asyncio.sleep(48)
    return Planted(cue, handles[1], (handles[0], handles[2]))


async def key_used_up() -> Planted:
    cue = cue_with()
    cue.service("crm", per=lambda work: work.params["tenant"], rate="2/min")
    cue.task("sync", uses="crm")(forever)
    cue.start()
    handles = [await cue.submit("sync", {"tenant": tenant}) for tenant in ("acme",) * 4 + ("globex",)]
    await asyncio.sleep(12)
    return Planted(cue, handles[3], (handles[2],))


async def paused_by_hand() -> Planted:
    cue = cue_with()
    api = cue.service("openai", rate="60/min")
    cue.task("ask", uses=api)(forever)
    api.pause("10 min")
    handles = await started(cue, "ask")
    return Planted(cue, *handles)


async def server_asks_to_wait() -> Planted:
    cue = cue_with()
    api = cue.service("openai", rate="60/min")

    @cue.task("ask", uses=api)
    async def ask(work: runcue.Work) -> None:
        api.read_headers({"retry-after": "40"})

    cue.start()
    await (await cue.submit("ask")).wait()
    waits = await cue.submit("ask")
    return Planted(cue, waits)


async def refused_by_its_server() -> Planted:
    cue = cue_with()
    cue.service("openai", concurrent=1)

    @cue.task("ask", uses="openai")
    async def ask(work: runcue.Work) -> None:
        raise runcue.Throttled(40)

    handles = await started(cue, "ask", "ask")
    return Planted(cue, handles[0], tuple(handles[1:]))


async def behind_one_that_was_refused() -> Planted:
    refused = await refused_by_its_server()
    return Planted(refused.cue, refused.others[0])


async def breaker_open() -> Planted:
    cue = cue_with()
    cue.service("openai", concurrent=1, breaker=runcue.Breaker(failures=3, cooldown="60s"))

    @cue.task("ask", uses="openai")
    async def ask(work: runcue.Work) -> None:
        raise ConnectionError("connection refused")

    cue.on_failure(lambda work, error: None)
    handles = await started(cue, *["ask"] * 4)
    return Planted(cue, handles[-1])


async def slot_held_by_a_slow_handler() -> Planted:
    cue = cue_with()
    cue.service("db", concurrent=1)

    @cue.task("query", uses="db")
    async def query(work: runcue.Work) -> None:
        await asyncio.sleep(work.params["seconds"])

    cue.start()
    for seconds in (0.2, 0.3, 0.4):
        await (await cue.submit("query", params={"seconds": seconds})).wait()
    slow = await cue.submit("query", params={"seconds": 1e6})
    waits = await cue.submit("query", params={"seconds": 0})
    await asyncio.sleep(1.5)
    return Planted(cue, waits, (slow,))


async def slot_held_by_a_thread_that_hangs() -> Planted:
    cue = cue_with()
    cue.service("db", concurrent=1)
    answered, asked = threading.Event(), threading.Event()

    @cue.task("query", uses="db", timeout=0.05)
    def query(work: runcue.Work) -> None:
        asked.set()
        answered.wait()

    hangs, waits = await started(cue, "query", "query")
    await asyncio.to_thread(asked.wait)
    await hangs.wait()
    return Planted(cue, waits, (hangs,), answered.set)


async def is_ready_raises() -> Planted:
    cue = cue_with()
    cue.task("slice")(forever)

    @cue.is_ready(task="slice")
    def there_is_a_loaf(work: runcue.Work) -> bool:
        return bool(work.params["loaf"])

    return Planted(cue, *await started(cue, "slice"))


async def is_ready_says_no_and_not_why() -> Planted:
    cue = cue_with()
    cue.task("slice")(forever)

    @cue.is_ready(task="slice")
    def there_is_a_loaf(work: runcue.Work) -> bool:
        return False

    return Planted(cue, *await started(cue, "slice"))


async def is_ready_says_no_with_its_reason() -> Planted:
    cue = cue_with()
    cue.task("slice")(forever)

    @cue.is_ready(task="slice")
    def there_is_a_loaf(work: runcue.Work) -> tuple[bool, str]:
        return False, "the loaf is still hot"

    return Planted(cue, *await started(cue, "slice"))


async def waits_for_its_next_attempt() -> Planted:
    cue = cue_with()

    @cue.task("call", retry=runcue.Retry(5, wait_initial="12s", wait_jitter=0))
    async def call(work: runcue.Work) -> None:
        raise TimeoutError("the service did not answer")

    [handle] = await started(cue, "call")
    return Planted(cue, handle)


async def is_for_later() -> Planted:
    cue = cue_with()
    cue.task("mail")(forever)
    handle = await cue.submit("mail", delay="2h")
    cue.start()
    return Planted(cue, handle)


async def async_gate_hangs() -> Planted:
    cue = cue_with()
    cue.task("slice")(forever)

    @cue.is_ready(task="slice")
    async def there_is_a_loaf(work: runcue.Work) -> bool:
        await asyncio.Event().wait()
        return True

    handles = await started(cue, "slice")
    await asyncio.sleep(0.6)
    return Planted(cue, *handles)


async def one_of_several_services_is_full() -> Planted:
    cue = cue_with()
    cue.service("oven", concurrent=1)
    cue.service("gas", concurrent=1)
    cue.service("shop", rate="1/min")
    cue.service("table", concurrent=9)
    cue.task("roast", uses="oven")(forever)
    cue.task("fry", uses="gas")(forever)
    cue.task("buy", uses="shop")(forever)
    cue.task("feast", uses=["table", "oven", "gas", "shop"])(forever)
    *others, feast = await started(cue, "roast", "fry", "buy", "feast")
    await asyncio.sleep(0.01)
    return Planted(cue, feast, tuple(others))


async def handler_awaits_what_needs_its_slot() -> Planted:
    cue = cue_with()
    cue.service("oven", concurrent=1)
    children: list[runcue.WorkHandle] = []

    @cue.task("dinner", uses="oven")
    async def dinner(work: runcue.Work) -> None:
        children.append(await cue.submit("roast"))
        await children[0]

    cue.task("roast", uses="oven")(forever)
    parent = (await started(cue, "dinner"))[0]
    while not children:
        await asyncio.sleep(0.01)
    return Planted(cue, children[0], (parent,), lambda: children[0].cancel())


async def starved_by_others() -> Planted:
    cue = cue_with()
    cue.service("oven", concurrent=1)

    @cue.task("urgent", uses="oven")
    async def urgent(work: runcue.Work) -> None:
        await cue.submit("urgent")
        await asyncio.sleep(0.5)

    cue.task("patient", uses="oven")(forever)

    @cue.priority
    def by_task(ctx: Any) -> float:
        return 1.0 if ctx.work.task == "urgent" else 0.0

    handles = await started(cue, "urgent", "patient")
    await asyncio.sleep(5)
    return Planted(cue, handles[1], (handles[0],))


async def output_older_than_its_input() -> Planted:
    dated("dough", OLD + 60)
    dated("loaf", OLD)
    cue = cue_with()
    cue.task("bake", inputs="dough", outputs="loaf", fresh=runcue.newer())(write_outputs)
    return Planted(cue, *await settled_after(cue, "bake"))


async def content_changed() -> Planted:
    write("salt", "salt")
    write_and_let_be("dough", "rye")
    cue = cue_with()
    cue.task("bake", inputs=["salt", "dough"], outputs="loaf", fresh=runcue.digest())(write_outputs)
    await settled_after(cue, "bake")
    write("dough", "wheat")
    again = await cue.submit("bake")
    await again.wait()
    return Planted(cue, again)


async def max_age_is_over() -> Planted:
    dated("dough", time.time() - 3 * 86400)
    cue = cue_with()
    cue.task("bake", inputs=File("dough", max_age="24h"), outputs="loaf")(write_outputs)
    return Planted(cue, *await started(cue, "bake"))


async def artifact_there_but_not_valid() -> Planted:
    write("dough", "")
    cue = cue_with()

    def has_risen(path: Path) -> bool:
        return bool(path.stat().st_size)

    cue.task("bake", inputs=File("dough", validate=has_risen), outputs="loaf")(write_outputs)
    return Planted(cue, *await started(cue, "bake"))


async def path_that_nobody_makes() -> Planted:
    write("Page-1.png", "there")
    cue = cue_with()
    cue.task("read", inputs="page-1.png", outputs="text")(write_outputs)
    return Planted(cue, *await started(cue, "read"))


async def stale_downstream() -> Planted:
    write("flour", "rye")
    cue = cue_with()
    cue.task("bake", inputs="flour", outputs="loaf", fresh=runcue.digest())(write_outputs)
    cue.task("slice", inputs="loaf", outputs="slices", fresh=runcue.newer())(write_outputs)
    sliced = (await settled_after(cue, "bake", "slice"))[1]
    write("flour", "wheat")
    baked = await cue.submit("bake", force=True)
    await baked.wait()
    return Planted(cue, sliced, (baked,))


async def behind_others_in_its_lane() -> Planted:
    cue = cue_with()
    cue.task("post", lane=lambda user: user)(post_for)
    cue.start()
    handles = [await cue.submit("post", {"user": "anna", "text": str(number)}) for number in range(3)]
    await asyncio.sleep(4)
    return Planted(cue, handles[2], (handles[0],))


async def post_for(user: str, text: str) -> None:
    await asyncio.sleep(1e6)


async def handler_awaits_what_comes_after_it() -> Planted:
    cue = cue_with()
    cue.task("child", lane="x")(forever)
    children: list[runcue.WorkHandle] = []

    @cue.task("parent", lane="x")
    async def parent(work: runcue.Work) -> None:
        children.append(await cue.submit("child"))
        await children[0]

    cue.start()
    handle = await cue.submit("parent")
    await asyncio.sleep(2)
    return Planted(cue, handle, tuple(children))


async def joined_another() -> Planted:
    cue = cue_with()
    cue.task("bake", outputs="loaf")(write_outputs)
    first, second = await settled_after(cue, "bake", "bake")
    return Planted(cue, second, (first,))


async def skipped_though_a_run_was_expected() -> Planted:
    dated("dough", OLD)
    dated("loaf", OLD + 60)
    cue = cue_with()
    cue.task("bake", inputs="dough", outputs="loaf", fresh=runcue.newer())(write_outputs)
    cue.start()
    baked = await cue.submit("bake", params={"day": date(2026, 1, 2)})
    await baked.wait()
    return Planted(cue, baked)


SITUATIONS: Final[dict[str, Plant]] = {
    "missing producer": missing_producer,
    "missing producer, of what is_ready looks at": missing_producer_of_what_is_ready_looks_at,
    "dependency cycle": cycle,
    "upstream failed": upstream_failed,
    "upstream cancelled": upstream_cancelled,
    "rate used up": rate_used_up,
    "budget used up": budget_used_up,
    "rate of its key used up": key_used_up,
    "paused by hand": paused_by_hand,
    "server asks to wait": server_asks_to_wait,
    "refused by its server": refused_by_its_server,
    "behind one that was refused": behind_one_that_was_refused,
    "breaker open": breaker_open,
    "slot held by a slow handler": slot_held_by_a_slow_handler,
    "slot held by a thread that hangs": slot_held_by_a_thread_that_hangs,
    "is_ready raises": is_ready_raises,
    "is_ready False for ever, opaque": is_ready_says_no_and_not_why,
    "is_ready False with a reason": is_ready_says_no_with_its_reason,
    "waits for its next attempt": waits_for_its_next_attempt,
    "is for later": is_for_later,
    "async gate hangs": async_gate_hangs,
    "several services, one of them full": one_of_several_services_is_full,
    "handler awaits a work unit that needs its slot": handler_awaits_what_needs_its_slot,
    "behind others in its lane": behind_others_in_its_lane,
    "handler awaits what comes after it in its lane": handler_awaits_what_comes_after_it,
    "low priority, starved": starved_by_others,
    "output older than its input": output_older_than_its_input,
    "digest: content changed": content_changed,
    "max_age is over": max_age_is_over,
    "artifact there but not valid": artifact_there_but_not_valid,
    "path that nobody will ever make": path_that_nobody_makes,
    "stale downstream": stale_downstream,
    "joined another": joined_another,
    "skipped though a run was expected": skipped_though_a_run_was_expected,
}
"""All of them, by their names."""

REAL: Final = frozenset(["slot held by a thread that hangs"])
"""Those that have to be planted in real time: while a thread is in a handler, a virtual clock stands still."""
