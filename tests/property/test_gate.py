"""Every way through the gate agrees: asked one by one, in batches, or with answers that have to be awaited.

An answer means the same however it is given and whatever it stands beside. The rules are written down once more below,
without any of the short ways that the gate takes.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from math import inf
from typing import Any, NamedTuple

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from runcue._artifacts.artifact import Artifact, key_of
from runcue._artifacts.reads import READS
from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.verdicts import AwaitableAnswer, GateVerdict
from runcue._callbacks.warning_log import WarningLog
from runcue._model.awaitables import is_awaitable
from runcue._model.declaration import Declaration
from runcue._model.phases import NEW
from runcue._model.task import Task
from runcue._model.work import Work
from runcue._scheduling.dependencies import Dependencies
from runcue._scheduling.holds import Holds
from tests.support.worlds import Tally

RUN, NOT_READY, SKIP = GateVerdict.RUN, GateVerdict.NOT_READY, GateVerdict.SKIP


class Unclear:
    """An answer that is neither yes nor no."""

    def __bool__(self) -> bool:
        raise ValueError("neither")

    def __repr__(self) -> str:
        return "unclear"


def later(answer: Any) -> Any:
    """An answer that has to be awaited."""

    async def answering() -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return answering()


def nothing() -> Iterator[bool]:
    """What a gate gives that was written with `yield`."""
    yield from ()


ANSWERS: dict[str, Callable[[], Any]] = {
    "True": lambda: True,
    "False": lambda: False,
    "None": lambda: None,
    "1": lambda: 1,
    "0": lambda: 0,
    "a word": lambda: "no",
    "no word": lambda: "",
    "yes with a reason": lambda: (True, "a reason"),
    "no with a reason": lambda: (False, "a reason"),
    "no with None": lambda: (0, None),
    "three of them": lambda: (False, "a", "b"),
    "nothing of them": lambda: (),
    "itself": lambda: later,
    "not implemented": lambda: NotImplemented,
    "an artifact": lambda: Proof("not asked"),
    "an error": lambda: ValueError,
    "a generator": nothing,
    "unclear": Unclear,
    "unclear with a reason": lambda: (Unclear(), "a reason"),
    "raises": lambda: RuntimeError("broken"),
    "exits": lambda: SystemExit("broken"),
    "is cancelled": lambda: asyncio.CancelledError("broken"),
    "True later": lambda: later(True),
    "False later": lambda: later(False),
    "a reason later": lambda: later((False, "a reason")),
    "raises later": lambda: later(RuntimeError("broken")),
    "None later": lambda: later(None),
    "None later still": lambda: later(later(None)),
    "True later still": lambda: later(later(True)),
}
NO_ANSWER = {
    "None",
    "None later",
    "None later still",
    "three of them",
    "nothing of them",
    "itself",
    "not implemented",
    "an artifact",
    "an error",
    "a generator",
}
LATER = {name for name in ANSWERS if " later" in name}
# What is usual comes more often: what is short for one kind of answer must not be so for another.
VALID = (True, True, True, True, 1, False, None, RuntimeError("broken"))


class Proof(Artifact):
    """An artifact that answers as it was told to."""

    def __init__(self, name: str, answer: Any = True) -> None:
        self.name = name
        self._answer = answer

    def valid(self) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Policy(NamedTuple):
    """A freshness policy that answers as it was told to."""

    answer: Any

    def stale(self, work: Work) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Declared(NamedTuple):
    """What a work unit declares."""

    inputs: list[Any]
    outputs: list[Any]
    fresh: Any
    forced: bool


class Asked(NamedTuple):
    """One question: its answer, what it looks at, and how long it takes."""

    answer: str
    reads: bool
    takes: float


class Plan(NamedTuple):
    """A work unit of one of three tasks: the first has both callbacks, the second is_ready, the third is_stale."""

    task: int
    ready: Asked
    stale: Asked
    declared: Declared | None


seconds = st.sampled_from((0.0, 0.0, 0.0, 0.06))
asked = st.builds(Asked, st.sampled_from([*["True"] * 9, *ANSWERS]), st.booleans(), seconds)
declared = st.builds(
    Declared,
    st.lists(st.sampled_from(VALID), max_size=2),
    st.lists(st.sampled_from(VALID), max_size=2),
    st.sampled_from(
        (None, None, Policy(None), Policy(("older", None, None)), Policy(RuntimeError("broken")))
    ),
    st.sampled_from((False, False, True)),
)
# Long lines of plain refusals, now and then something else: that is what batches are for.
refused = st.builds(Asked, st.just("False"), st.just(False), seconds)
dull = st.builds(Plan, st.integers(0, 1), refused, asked, st.none())
plans = st.builds(Plan, st.integers(0, 2), asked, asked, st.none() | declared)
lines = st.lists(dull | plans, max_size=30)


def by_the_rules(plan: Plan) -> GateVerdict:
    """Both must say yes: what is declared, and the callbacks."""
    own = plan.declared
    if own is not None and not all(valid in (True, 1) for valid in own.inputs):
        return NOT_READY
    if plan.task != 2 and not says_yes(plan.ready.answer, if_raised=False, reasons=True):
        return NOT_READY
    if own is not None:
        if own.forced:
            return RUN
        if (
            own.outputs
            and all(valid in (True, 1) for valid in own.outputs)
            and own.fresh in (None, Policy(None))
        ):
            return SKIP
    if plan.task != 1 and not says_yes(plan.stale.answer, if_raised=True, reasons=False):
        return SKIP
    return RUN


def says_yes(name: str, *, if_raised: bool, reasons: bool) -> bool:
    if name == "raises later":
        return if_raised
    if name in NO_ANSWER:
        return if_raised
    answer = {
        "True later": True,
        "True later still": True,
        "False later": False,
        "a reason later": (False, "a reason"),
    }.get(name, name)
    answer = ANSWERS[name]() if answer is name else answer
    if isinstance(answer, BaseException):
        return if_raised
    if isinstance(answer, tuple):
        if not reasons:
            return if_raised
        answer = answer[0]
    return if_raised if isinstance(answer, Unclear) else bool(answer)


class World:
    """Work units by plan, and a gate on a clock of its own. `told` is what the log was told, numbers apart."""

    def __init__(self, plans: list[Plan], wrap: Callable[[Any], Any] | None = None) -> None:
        Tally.examples += 1
        self.time = 0.0
        self.plans = plans
        self.wrap = wrap
        self.called: list[tuple[str, str]] = []
        self.told: list[str] = []
        self.found: dict[str, tuple[Any, ...]] = {}
        self.callbacks = Callbacks(Holds(Dependencies()), WarningLog())
        self.callbacks.use_clock(lambda: self.time)
        self.gate = self.callbacks.gate
        tasks = [Task(f"task {number}", lambda work: None, (), None, None) for number in range(3)]
        for number, task in enumerate(tasks):
            task.gated = True
            task.is_ready = None if number == 2 else self.callback("is_ready", number)
            task.is_stale = None if number == 1 else self.callback("is_stale", number)
        self.works = [self.work(number, plan, tasks[plan.task]) for number, plan in enumerate(plans)]

    def work(self, number: int, plan: Plan, task: Task) -> Work:
        work = Work(str(number), task.name)
        work._task = task
        if plan.declared is not None:
            inputs, outputs, fresh, forced = plan.declared
            work._declared = Declaration(
                tuple(Proof(f"input {number} {place}", valid) for place, valid in enumerate(inputs)),
                tuple(Proof(f"output {number} {place}", valid) for place, valid in enumerate(outputs)),
                fresh,
            )
            work._declared.forced = forced
            for artifact in (*work.inputs, *work.outputs):
                key_of(artifact)
        return work

    def callback(self, question: str, task: int) -> Callable[[Work], Any]:
        def asks(work: Work) -> Any:
            plan = self.plans[int(work.id)]
            name, reads, takes = plan.ready if question == "is_ready" else plan.stale
            self.called.append((question, work.id))
            self.time += takes
            if reads:
                Proof(f"seen for {work.id}").valid()
            answer = ANSWERS[name]()
            if self.wrap is not None and name not in LATER:
                return self.wrap(answer)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        asks.__qualname__ = f"{question} of {task}"
        return asks

    def note(self, work: Work, verdict: GateVerdict | AwaitableAnswer) -> None:
        while isinstance(verdict, AwaitableAnswer):
            value, error = verdict.awaitable, None
            while is_awaitable(value):
                try:
                    value.send(None)  # type: ignore[attr-defined]
                except StopIteration as end:
                    value = end.value
                except BaseException as raised:
                    value, error = None, raised
            verdict = self.gate.resume(work, verdict.question, value, error)
        reason = work._not_ready_reason if verdict is NOT_READY else None
        if isinstance(reason, BaseException):
            reason = repr(reason)
        stale = None if work._declared is None or work._declared.stale is None else work._declared.stale[0]
        self.found[work.id] = (verdict, reason, stale, [*self.gate.reads])

    def one_by_one(self) -> None:
        for work in self.works:
            self.note(work, self.gate.ask(work, self.time))

    def in_batches(self) -> None:
        line = deque(self.works)
        while line:
            batch = self.gate.ask_batch(line, NEW, inf)
            assert not (batch.not_ready and self.gate.reads) or batch.work is not None
            reads = dict(self.gate.reads)
            self.gate.reads.clear()
            for work in batch.not_ready:
                self.note(work, NOT_READY)
            self.gate.reads.update(reads)
            if batch.work is not None:
                self.note(batch.work, self.gate.interpret(batch.work, batch.answer))
            elif line:
                self.note(line[0], self.gate.ask(line.popleft(), self.time))
        event(f"{len(self.works) // 10 * 10} work units or more")

    def run(self, way: Callable[[], None]) -> None:
        with told(self.told):
            context = copy_context()
            context.run(READS.set, self.gate.reads)
            context.run(way)


@contextmanager
def told(texts: list[str]) -> Iterator[None]:
    """Keeps what is logged meanwhile, in no order: a batch looks at its clock only now and then."""

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(re.sub(r"\d+ ms", "some ms", record.getMessage()))

    logger, keeper = logging.getLogger("runcue"), Keeper()
    logger.addHandler(keeper)
    try:
        yield
    finally:
        logger.removeHandler(keeper)
        texts.sort()


@pytest.mark.rule(2, 12, 13, 14, 15)
@given(lines)
def test_a_batch_finds_what_asking_one_by_one_finds(plans: list[Plan]) -> None:
    one, batch = World(plans), World(plans)
    one.run(one.one_by_one)
    batch.run(batch.in_batches)
    assert batch.found == one.found
    assert batch.called == one.called
    assert batch.told == one.told
    assert batch.gate.at == one.gate.at == batch.time == one.time
    skipped = [[(work.id, reads) for work, reads in world.gate.skipped] for world in (batch, one)]
    assert skipped[0] == skipped[1]


@pytest.mark.rule(12, 13)
@given(st.lists(plans, max_size=12))
def test_an_answer_means_the_same_when_it_has_to_be_awaited(plans: list[Plan]) -> None:
    plain, awaited = World(plans), World(plans, wrap=later)
    plain.run(plain.one_by_one)
    awaited.run(awaited.one_by_one)
    assert [found[:3] for found in awaited.found.values()] == [found[:3] for found in plain.found.values()]
    assert awaited.called == plain.called


@pytest.mark.rule(2, 12, 13)
@given(st.lists(plans, max_size=12))
def test_what_is_declared_and_the_callbacks_must_both_say_yes_on_every_way(plans: list[Plan]) -> None:
    world = World(plans)
    world.run(world.one_by_one)
    assert [found[0] for found in world.found.values()] == [by_the_rules(plan) for plan in plans]
