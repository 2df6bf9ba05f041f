"""Bringing faults about: a stage on which things go wrong.

Lives here: `FaultyStage`, whose handlers are struck, and which wraps gates, adds listeners, cancels work units and
changes artifacts behind the back of a scenario. It works on either clock; on the virtual one, what blocks takes no real
time.

Must not know: which faults strike whom, what is promised in spite of them, how a process dies.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import runcue
from runcue_sim._chaos.faults import BLOCK, Blow, Change, Faults, Injected, Manner, StopCall
from runcue_sim._chaos.injected_errors import InjectedError, OwnCancelledError
from runcue_sim._chaos.limiting import Limiting
from runcue_sim._chaos.wishes import NO_WISH
from runcue_sim._engine.clocks import wall_clock
from runcue_sim._engine.world import World
from runcue_sim._pipelines.scenarios import Scenario, Settings, Stage
from runcue_sim._records.event_log import Trace
from runcue_sim._records.ledger import item_of
from runcue_sim._workload.latency import Model

Gate = Callable[[runcue.Work], Any]


class FaultyStage(Stage):
    """A stage with faults. After `Scenario.describe`, call `inject_into`; when nothing more shall go wrong, `relent`.

    Args:
        cue: See `Stage`.
        world: See `Stage`.
        model: See `Stage`.
        settings: See `Stage`.
        trace: See `Stage`. It is told of each fault.
        faults: Says what goes wrong.

    Attributes:
        injected: What was done.
        limiting: What services are limited by.
    """

    def __init__(
        self, cue: runcue.Cue, world: World, model: Model, settings: Settings, trace: Trace, faults: Faults
    ) -> None:
        super().__init__(cue, world, model, settings, trace)
        self.faults = faults
        self.injected = Injected()
        self._active = True
        self._began: float | None = None
        self._keys: dict[str, tuple[str, str, int]] = {}
        self._submitted: Counter[tuple[str, str]] = Counter()
        # The last work unit of each submission, that those who come after it may have joined.
        self._latest: dict[tuple[str, str], runcue.Work] = {}
        self._asked: Counter[tuple[str, str]] = Counter()
        self._inside: set[str] = set()
        # How often a handler was entered for the same work unit.
        self._entries: Counter[str] = Counter()
        self._blows: dict[str, Blow] = {}
        self._depths: Counter[str] = Counter()
        self.on_asking = self._awaiting
        self._timers: list[asyncio.TimerHandle] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._services: dict[str, tuple[str, ...]] = {}
        # Tasks with a gate of the scenario's own that looks first and takes its time then.
        self._look_early: set[str] = set()
        self._scenario: Scenario | None = None
        self.limiting = Limiting(cue, faults.regimes, self.injected, self._tell, self._later)
        self._is_begun = False

    def service(self, name: str, **options: Any) -> None:
        """See `Stage.service`. It may have other limits as well."""
        self.limiting.add(name, options)

    def inject_into(self, scenario: Scenario) -> None:
        """Let the faults that are not the handlers' own strike as well.

        Args:
            scenario: Described.
        """
        cue, kinds = self.cue, self.faults.kinds
        self._scenario = scenario
        self._services = {task.name: task.services for task in cue.tasks()}
        self._look_early = {task.name for task in cue.tasks() if inspect.iscoroutinefunction(task.is_ready)}
        self.injected.async_gates |= self._look_early
        for task in cue.tasks():
            said = self.faults.says(task.name)
            task.retry, task.must_complete = said.get("retry"), said.get("must_complete", False)
        if kinds & {"gate-raise", "gate-block", "gate-await"}:
            for task in cue.tasks():
                ready, stale = task.is_ready, task.is_stale
                cue.is_ready(task=task.name)(self._gate("ready", task.name, ready))
                cue.is_stale(task=task.name)(self._gate("stale", task.name, stale))
        if "priority" in kinds:
            cue.priority(self._priority)
        if kinds & {"listener-raise", "listener-block"}:
            self._listen()
        if kinds & {"vanish", "renew"}:
            cue.on_complete(self._on_complete)

    def relent(self) -> None:
        """Let nothing more go wrong, and tell of nothing that still does."""
        self._active = False
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _tell(self, kind: str, details: str, work: runcue.Work | None = None) -> None:
        if not self._active:
            return
        self.injected.counts[kind] += 1
        if self.trace:
            about = ("", "") if work is None else (work.task, work.id)
            self.trace.add(wall_clock(), "fault", *about, details)

    def _later(self, seconds: float, call: Callable[..., object], *args: Any) -> None:
        if self._active:
            self._timers.append(asyncio.get_running_loop().call_later(seconds, call, *args))

    def _do(self, call: Callable[[runcue.Work], Coroutine[Any, Any, None]], work: runcue.Work) -> None:
        task = asyncio.get_running_loop().create_task(call(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _key(self, work: runcue.Work) -> tuple[str, str, int]:
        """What fate knows a work by: ids depend on the order of submission."""
        return self._keys.get(work.id) or (work.task, item_of(work), 0)

    async def perform(self, work: runcue.Work, item: str, round_: int = 0) -> None:
        """See `Stage.perform`. It may also hang, raise something else, or go on after it was cancelled."""
        self._inside.add(work.id)
        self._entries[work.id] += 1
        try:
            await self._go_through(work, item, round_, self._blow(work))
        except OwnCancelledError:
            raise
        except asyncio.CancelledError:
            seconds = self.faults.lingering(*self._key(work))
            if seconds is None:
                self._tell("hang", "goes on although it was cancelled", work)
                return
            if seconds:
                self._tell("hang", f"takes {seconds:g} s to be cancelled", work)
                await asyncio.sleep(seconds)
            raise
        finally:
            self._inside.discard(work.id)

    def begin(self, work: runcue.Work, item: str) -> float:
        """See `Stage.begin`. It may hang, and it can be cancelled by nobody."""
        seconds = super().begin(work, item)
        self._entries[work.id] += 1
        blow = self._blow(work)
        if blow is not None and blow.kind == "hang":
            self._tell("hang", f"hangs for {blow.seconds:g} s", work)
            return blow.after + blow.seconds
        if blow is not None and blow.kind in ("raise", "postpone", "refuse"):
            self._blows[work.id] = blow
            return blow.after
        return seconds

    def _blow(self, work: runcue.Work) -> Blow | None:
        blow = self.faults.blow(*self._key(work), self._entries[work.id])
        # Without a service there is no server.
        return (
            None if blow is not None and blow.kind == "refuse" and not self._services.get(work.task) else blow
        )

    def end(self, work: runcue.Work, item: str) -> None:
        """See `Stage.end`. It may also raise something else."""
        self._need_services(work)
        blow = self._blows.pop(work.id, None)
        if blow is not None:
            self._raise(blow, work)
        self.limiting.spend(work, self._services[work.task], *self._key(work), self._entries[work.id])
        super().end(work, item)

    async def _go_through(self, work: runcue.Work, item: str, round_: int, blow: Blow | None) -> None:
        self._need_services(work)
        if blow is not None:
            if blow.kind == "tear":
                self._tear_after(blow.after, work)
            elif blow.after:
                await asyncio.sleep(blow.after)
            if blow.kind == "hang":
                self._tell("hang", f"hangs for {blow.seconds:g} s", work)
                await asyncio.sleep(blow.seconds)
            elif blow.kind in ("raise", "postpone", "refuse"):
                self._raise(blow, work)
        await super().perform(work, item, round_)
        self.limiting.spend(work, self._services[work.task], *self._key(work), self._entries[work.id])
        self._need_services(work)

    def _need_services(self, work: runcue.Work) -> None:
        now = asyncio.get_running_loop().time()
        began = self._began = now if self._began is None else self._began
        for service in self._services.get(work.task, ()):
            left = self.faults.away(service, now - began)
            if left is not None:
                self._tell("outage", f"{service} is away for another {left:.3g} s", work)
                raise ConnectionError(f"{service} is away")
        for service in self._services.get(work.task, ())[-1:]:
            seconds = self.faults.regimes.refuses(service, now - began)
            if seconds is not None:
                self.limiting.refuse(work, service, seconds)

    def _raise(self, blow: Blow, work: runcue.Work) -> None:
        if blow.kind == "postpone":
            self._tell("postpone", f"wants to be called again in {blow.seconds:g} s", work)
            self.injected.postponed[work.id] = blow.seconds
            raise runcue.RetryLater(blow.seconds)
        if blow.kind == "refuse":
            self.limiting.refuse(work, self._services[work.task][-1], blow.seconds)
        self._tell("raise", f"raises ({blow.how})", work)
        if blow.how == "give up":
            raise runcue.GiveUp(f"injected into {item_of(work)}")
        if blow.how == "exit":
            raise SystemExit(3)
        if blow.how == "cancelled":
            raise OwnCancelledError
        raise InjectedError(f"injected into {item_of(work)}")

    def _tear_after(self, seconds: float, work: runcue.Work) -> None:
        task = asyncio.current_task()
        if seconds:
            self._later(seconds, self._tear, work, task)
        else:
            self._tear(work, task)

    def _tear(self, work: runcue.Work, task: asyncio.Task[Any] | None) -> None:
        if work.id in self._inside and task is not None:
            self._tell("tear", "somebody cancels its asyncio task", work)
            self.injected.torn.add(work.id)
            task.cancel()

    async def submit(self, task: str, item: str, **options: Any) -> runcue.Work:
        """See `Stage.submit`. The work may be cancelled or submitted again later, by whoever has submitted it."""
        what = task, item
        if not self._is_begun:
            self._is_begun = True
            self.limiting.begin(asyncio.get_running_loop().time)
        wish = self.faults.wish(task, item, self._submitted[what])
        cost = self.limiting.cost(self._services.get(task, ()), task, item, self._submitted[what])
        wish = self.injected.wish = wish._replace(cost=cost)
        options.update(wish.options(wall_clock()))
        try:
            work = await super().submit(task, item, **options)
        finally:
            self.injected.wish = NO_WISH
        self._keys[work.id] = work.task, item_of(work), self._submitted[what]
        self._submitted[what] += 1
        if wish.policy is not None:
            self.injected.counts["retry"] += self._active
        if wish.must_complete:
            self.injected.counts["must"] += self._active
        if wish.lane is not None:
            self.injected.counts["lane"] += self._active
        if self._active:
            self.limiting.count(self._services.get(task, ()))
        if wish.timeout is not None:
            self._tell("timeout", f"has a timeout of {wish.timeout:g} s", work)
        if wish.delay:
            self._tell(
                "delay", f"is for {'the instant ' if wish.by_wall else ''}{wish.delay:g} s later", work
            )
        seconds = self.faults.cancels(*self._key(work))
        if seconds is not None:
            self._later(seconds, self._do, self._cancel, work)
        seconds, before = self.faults.leaves(*self._key(work)), self._latest.get(what)
        if seconds is not None and before is not None:
            self._later(seconds, self._do, self._cancel, before)
        self._latest[what] = work
        seconds = self.faults.again(*self._key(work))
        if seconds is not None:
            self._later(seconds, self._do, self._submit_again, work)
        return work

    def stopped(self, call: StopCall) -> None:
        """Tell that the cue is stopped before all is done."""
        said = [
            *([] if call.drain else ["drain=False"]),
            *([] if call.timeout is None else [f"timeout={call.timeout:g}"]),
            *([] if call.delayed == "wait" else ['delayed="cancel"']),
        ]
        self._tell("stop", f"stop({', '.join(said)})")

    async def _cancel(self, work: runcue.Work) -> None:
        if work.state in (runcue.WorkState.PENDING, runcue.WorkState.RUNNING):
            self._tell("cancel", "is cancelled", work)
            self.injected.cancelled.add(work.id)
            await self.cue.cancel(work.id)

    def _gate(self, question: str, task: str, original: Gate | None) -> Gate:
        manner = self.faults.manner(question, task)

        def answer(work: runcue.Work) -> Any:
            self._go_wrong_in_gate(question, work)
            return True if original is None else original(work)

        async def answer_slowly(work: runcue.Work) -> Any:
            self._awaiting(work, 1)
            self.injected.counts["gate-await"] += self._active
            try:
                if manner.seconds:
                    await asyncio.sleep(manner.seconds)
                found = answer(work)
                return await found if inspect.isawaitable(found) else found
            finally:
                self._awaiting(work, -1)

        if not manner.is_async:
            return answer
        self.injected.async_gates.add(task)
        if question == "ready":
            return answer_slowly

        def answer_later(work: runcue.Work) -> Any:
            # While this one is awaited, what is_ready has said grows old.
            if task not in self._look_early:
                self.injected.asked_at[work.id] = self.injected.changes
            return answer_slowly(work)

        return answer_later

    @contextmanager
    def asking(self, work: runcue.Work) -> Iterator[None]:
        """See `Stage.asking`."""
        # From here on the answer grows old.
        self.injected.asked_at[work.id] = self.injected.changes
        with super().asking(work):
            yield

    def _awaiting(self, work: runcue.Work, step: int) -> None:
        # A gate of a scenario's own may be awaited inside of one that a fault has made slow.
        injected, was = self.injected, self._depths[work.id]
        self._depths[work.id] += step
        if was == max(0, -step):
            for place in self.limiting.places(self._services.get(work.task, ()), work):
                injected.asking[place] += step
            (injected.awaited.add if step > 0 else injected.awaited.discard)(work.id)

    def _go_wrong_in_gate(self, question: str, work: runcue.Work) -> None:
        injected = self.injected
        asked = self._asked[question, work.id]
        self._asked[question, work.id] += 1
        task, item, number = self._key(work)
        if self.faults.blocks(question, task, item, asked):
            self._block("gate-block", f"is_{question} blocks the loop for {BLOCK:g} s", work)
        raises = self._active and self.faults.gate_raises(question, task, f"{item}#{number}", asked)
        if question == "ready":
            injected.raised.pop(work.id, None)
            if raises:
                injected.raised[work.id] = injected.settlements
        else:
            injected.stale_raised.discard(work.id)
            if raises:
                injected.stale_raised.add(work.id)
        if raises:
            self._tell("gate-raise", f"is_{question} raises", work)
            raise InjectedError(f"is_{question} of {item}")

    def _block(self, kind: str, details: str, work: runcue.Work) -> None:
        if not self._active:
            return
        self._tell(kind, details, work)
        loop = asyncio.get_running_loop()
        reach = getattr(loop, "reach", None)
        if reach is None:
            time.sleep(BLOCK)
        else:
            reach(loop.time() + BLOCK)

    def _priority(self, ctx: runcue.PriorityContext) -> float:
        task, item, number = self._key(ctx.work)
        if self.faults.blocks("priority", task, item, number):
            self._block("priority", f"priority blocks the loop for {BLOCK:g} s", ctx.work)
        value = self.faults.priority(task, item)
        if value is None:
            self._tell("priority", "priority raises", ctx.work)
            raise InjectedError(f"priority of {item}")
        return value

    def _listen(self) -> None:
        cue = self.cue
        for event, listen in (
            ("start", cue.on_start),
            ("complete", cue.on_complete),
            ("failure", cue.on_failure),
            ("skip", cue.on_skip),
            ("cancel", cue.on_cancel),
        ):
            listen(self._listener(event, self.faults.manner(event, "")))

    def _listener(self, event: str, manner: Manner) -> Callable[..., Any]:
        def hear(work: runcue.Work, *rest: object) -> None:
            task, item, number = self._key(work)
            if self.faults.blocks(event, task, item, number):
                self._block("listener-block", f"on_{event} blocks the loop for {BLOCK:g} s", work)
            if self._active and self.faults.listener_raises(event, task, item, number):
                self._tell("listener-raise", f"on_{event} raises", work)
                raise InjectedError(f"on_{event} of {item}")

        async def hear_slowly(work: runcue.Work, *rest: object) -> None:
            if manner.seconds:
                await asyncio.sleep(manner.seconds)
            hear(work)

        return hear_slowly if manner.is_async else hear

    def _on_complete(self, work: runcue.Work, result: object, duration: float) -> None:
        if self._scenario is None:
            return
        for name in self._scenario.proves(work.task, item_of(work)):
            made = self.world.times.get(name, 0)
            change = self.faults.change(name, made) if made else None
            if change is not None:
                self._later(change.after, self._alter, name, change, work)

    def _alter(self, name: str, change: Change, work: runcue.Work) -> None:
        told = "" if change.told else ", and nobody tells"
        if change.kind == "renew":
            self._tell("renew", f"{name} is made anew by somebody else{told}")
            self.world.make(name)
        elif self.world.has(name):
            self._tell("vanish", f"{name} vanishes{told}")
            self.world.spoil(name)
        if change.told and self._scenario is not None:
            self._scenario.tell(name)
        else:
            self.injected.counts["untold"] += self._active
        if change.again is not None:
            self._later(change.again, self._do, self._submit_again, work)

    async def _submit_again(self, work: runcue.Work) -> None:
        if self._active and self._scenario is not None:
            self._tell("again", "is submitted again", work)
            try:
                await self._scenario.add(work.task, item_of(work))
            except runcue.CueStopped:
                pass
