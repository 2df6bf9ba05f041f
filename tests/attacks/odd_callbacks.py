"""Callbacks of all kinds that do odd things, many of them at once, beside work units that have nothing to do with it.

Lives here: the places that call user code, what it may do there, and what must hold all the same: each work unit ends
once, those beside them as if nothing were, nothing leaves through the calls of whoever submits, and nobody is left.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import runcue
from runcue.abc import Limit
from tests.attacks.loops import Run

PATIENCE = 600.0

ROUNDS = 150
"""So many cues, each with other odd things."""

TASKS = 8
EACH = 12

Odd = Callable[..., Any]


class Strange(BaseException):
    """Neither an Exception nor one of Python's own exits."""


RAISED = (
    ValueError,
    StopIteration,
    SystemExit,
    GeneratorExit,
    asyncio.CancelledError,
    Strange,
    RecursionError,
)


class Unclear:
    """Cannot be asked for anything."""

    def __bool__(self) -> bool:
        raise ValueError("neither")

    def __repr__(self) -> str:
        raise SystemExit("no words")

    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")


def behaviours(good: Any, luck: random.Random) -> dict[str, Odd]:
    """What user code may do in place of answering, or besides."""

    async def later(*heard: Any) -> Any:
        await asyncio.sleep(luck.choice((0, 0.001)))
        return good

    async def of_it(*heard: Any) -> Any:
        return later()

    async def generates(*heard: Any) -> Any:
        yield good

    async def cancels_later(*heard: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return good

    async def raises_later(*heard: Any) -> Any:
        await asyncio.sleep(0)
        raise luck.choice(RAISED)("odd")

    def raises(*heard: Any) -> Any:
        raise luck.choice(RAISED)("odd")

    def cancels(*heard: Any) -> Any:
        task = asyncio.current_task()
        if task is not None:
            task.cancel()
        return good

    def future(*heard: Any) -> Any:
        one = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(one.set_result, good)
        return one

    return {
        "answers": lambda *heard: good,
        "answers later": lambda *heard: later(),
        "answers later still": lambda *heard: of_it(),
        "answers in the future": future,
        "generates": lambda *heard: generates(),
        "raises": raises,
        "raises later": lambda *heard: raises_later(),
        "cancels": cancels,
        "cancels later": lambda *heard: cancels_later(),
        **{
            f"gives {name}": lambda *heard, value=value: value
            for name, value in {
                "None": None,
                "NotImplemented": NotImplemented,
                "nothing": (),
                "a function": later,
                "a word": "odd",
                "nan": float("nan"),
                "unclear": Unclear(),
            }.items()
        },
    }


class Policy:
    by_content = True

    def stale(self, work: Any) -> Any:
        return ("older", None, None)

    def started(self, work: Any) -> Any: ...

    def finished(self, work: Any) -> Any: ...


def observer(method: str) -> Callable[[runcue.Cue, str, Odd], dict[str, Any]]:
    def put(cue: runcue.Cue, task: str, odd: Odd) -> dict[str, Any]:
        cue.observe(type("Odd", (runcue.Observer,), {method: lambda self, *heard: odd(*heard)})())
        return {}

    return put


def callback(name: str) -> Callable[[runcue.Cue, str, Odd], dict[str, Any]]:
    def put(cue: runcue.Cue, task: str, odd: Odd) -> dict[str, Any]:
        getattr(cue, name)(task=task)(odd)
        return {}

    return put


def option(name: str) -> Callable[[runcue.Cue, str, Odd], dict[str, Any]]:
    return lambda cue, task, odd: {name: odd}


def artifact(method: str) -> Callable[[runcue.Cue, str, Odd], dict[str, Any]]:
    def put(cue: runcue.Cue, task: str, odd: Odd) -> dict[str, Any]:
        parts: dict[str, Any] = {
            "valid": lambda self: True,
            "version": lambda self: 1,
            "identity": lambda self: self.key,
            "__init__": lambda self, key: setattr(self, "key", key),
        }
        kind: Any = type("Odd", (runcue.Artifact,), {**parts, method: lambda self: odd(self)})
        return {"outputs": lambda work: kind(work.id)}

    return put


def policy(method: str) -> Callable[[runcue.Cue, str, Odd], dict[str, Any]]:
    def put(cue: runcue.Cue, task: str, odd: Odd) -> dict[str, Any]:
        fresh = Policy()
        setattr(fresh, method, odd)
        return {"outputs": lambda work: runcue.Flag(work.id), "fresh": fresh}

    return put


def limit(method: str) -> Callable[[runcue.Cue, str, Odd], dict[str, Any]]:
    def put(cue: runcue.Cue, task: str, odd: Odd) -> dict[str, Any]:
        one: Any = type("Odd", (Limit,), {"room": lambda self, now, work: True})()
        setattr(one, method, odd)
        cue.service(f"of {task}", limits=[one])
        return {"uses": f"of {task}"}

    return put


def priority(cue: runcue.Cue, task: str, odd: Odd) -> dict[str, Any]:
    cue.priority(lambda ctx: odd(ctx) if ctx.work.task == task else 0.5)
    return {}


PLACES: dict[str, tuple[Callable[[runcue.Cue, str, Odd], dict[str, Any]], Any]] = {
    "is_ready": (callback("is_ready"), True),
    "is_stale": (callback("is_stale"), True),
    "priority": (priority, 0.5),
    **{
        f"on_{event}": (callback(f"on_{event}"), None)
        for event in ("submit", "start", "complete", "failure", "skip", "cancel")
    },
    **{f"observer's {one}": (observer(one), None) for one in ("submitted", "started", "settled", "warned")},
    "inputs=": (option("inputs"), ()),
    "outputs=": (option("outputs"), ()),
    "key=": (option("key"), "key"),
    **{
        f"{one}()": (artifact(one), good)
        for one, good in (("valid", True), ("version", 1), ("identity", "id"))
    },
    **{f"policy's {one}": (policy(one), None) for one in ("stale", "started", "finished")},
    **{
        f"limit's {one}": (limit(one), good)
        for one, good in (
            ("room", True),
            ("next_room", 0.0),
            ("acquire", None),
            ("entered", None),
            ("release", None),
        )
    },
}


async def work_off(luck: random.Random, done: Counter[str]) -> None:
    """One cue with odd things in several places, and others beside them."""
    cue = runcue.Cue(id_prefix="")
    cue.service("slots", concurrent=luck.choice((1, 3, 20)))

    async def usual(work: runcue.Work) -> str:
        for _ in range(luck.choice((0, 0, 1, 2))):
            await asyncio.sleep(0)
        if work.params["fails"]:
            raise ValueError("as planned")
        return "done"

    def in_a_thread(work: runcue.Work) -> str:
        return "done"

    for number in range(TASKS):
        name = f"odd {number}"
        place = luck.choice(list(PLACES))
        put, good = PLACES[place]
        kind = luck.choice(list(behaviours(good, luck)))
        options = {"uses": "slots", **put(cue, name, behaviours(good, luck)[kind])}
        cue.task(name, **options)(luck.choice((usual, usual, in_a_thread)))
        if place == "on_skip":
            cue.is_stale(task=name)(lambda work: False)
        done[f"{place} {kind}"] += 1
    cue.task("other", uses="slots")(lambda work: "done")
    cue.task("other async", uses="slots")(usual)
    ended: Counter[str] = Counter()
    for event in (cue.on_complete, cue.on_failure, cue.on_skip, cue.on_cancel):
        event(lambda work, *more: ended.update([work.id]))
    cue.start()
    handles: list[runcue.WorkHandle] = []
    for turn in range(EACH):
        for task in ("other", "other async", *(f"odd {number}" for number in range(TASKS))):
            fails = task.startswith("odd") and luck.random() < 0.2
            try:
                handles.append(await cue.submit(task, params={"fails": fails, "turn": turn}))
            except runcue.ConfigurationError:  # a key of one more with other params, or none
                assert task.startswith("odd")
        if luck.random() < 0.3:
            await asyncio.sleep(0)
        if luck.random() < 0.2:
            await cue.cancel(luck.choice([one for one in handles if one.work.task.startswith("odd")]))
    async with asyncio.timeout(60):
        await cue.drain()
        await cue.stop()
    for handle in handles:
        assert ended[handle] == 1, (handle.work, ended[handle])
        if not handle.work.task.startswith("odd"):
            assert handle.work.result == "done", handle.work
        handle.done() and handle.work.exception is not None and handle.exception()
    assert asyncio.all_tasks() == {asyncio.current_task()}, asyncio.all_tasks()


def attack(run: Run[None], scale: float) -> str:
    """Runs cue after cue with other odd things."""
    complaints: list[str] = []
    done: Counter[str] = Counter()
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: complaints.append(repr(unraisable.exc_value))
    for number in range(max(1, round(ROUNDS * scale))):

        async def main(number: int = number) -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda loop, context: complaints.append(str(context.get("message"))))
            await work_off(random.Random(number), done)

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                run(main())
                gc.collect()
        except BaseException as error:
            raise AssertionError(f"round {number}: {error!r}") from error
        assert not complaints, f"round {number}: {complaints}"
    return f"{sum(done.values())} odd callbacks of {len(done)} kinds"
