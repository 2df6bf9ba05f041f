"""What the property tests share: generated services and work units, and a real cue on the virtual clock that runs them.

Lives here: `Book`, which handlers write into when they are entered and left; `LateExecutor`, in which a thread is late
on purpose; `virtually`, which turns a hang, a spin and an error that nobody retrieved into failures. What is promised,
and so what is asserted, stands in the tests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, NamedTuple, TypeVar

from hypothesis import strategies as st

import runcue
from runcue.abc import Clock, Deliver, Limit
from runcue.testing import FakeExecutor, VirtualTimeLoop

T = TypeVar("T")

TURNS = 5_000  # of the event loop that may pass within a millisecond; the busiest example needs some hundred


class Tally:
    """How many examples this process has run, for `torture.py`."""

    examples = 0


class Spins(AssertionError):
    """The event loop turned and turned, and the virtual time did not get anywhere."""


class GuardedLoop(VirtualTimeLoop):
    """A virtual loop that ends when it spins, and that keeps what it would have logged as unhandled."""

    def __init__(self, *, order: int | None = None) -> None:
        super().__init__(order=order)
        self._spent = 0
        self._reached = 0.0
        self.complaints: list[str] = []
        self.set_exception_handler(self._complain)

    def _complain(self, loop: object, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _run_once(self) -> None:
        self._spent += 1
        if self.time() >= self._reached + 0.001:
            self._spent, self._reached = 0, self.time()
        if self._spent > TURNS:
            self._spent = -TURNS  # enough to clean up
            raise Spins(f"{TURNS} turns of the loop, and it is still {self.time()} s")
        super()._run_once()  # type: ignore[misc]


@contextmanager
def silence() -> Iterator[None]:
    """No log lines: formatting a traceback for every generated failure takes longer than running it."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)


# Half of the examples run in an order of what asyncio leaves open that is not that of registration. It is drawn like
# the rest of the example, so that a failure names it, and prefers none.
orders = st.none() | st.integers(0, 999)


def virtually(main: Callable[[], Coroutine[Any, Any, T]], order: int | None) -> T:
    """Run an example on the virtual clock; what the loop would only have complained about is a failure.

    Args:
        main: The example.
        order: See `VirtualTimeLoop`; drawn from `orders`.
    """
    Tally.examples += 1
    with silence(), asyncio.Runner(loop_factory=lambda: GuardedLoop(order=order)) as runner:
        result = runner.run(main())
        loop = runner.get_loop()
        assert isinstance(loop, GuardedLoop)
    assert not loop.complaints, loop.complaints
    return result


class ServicePlan(NamedTuple):
    """A service; `count` per `period` is what `rate` means."""

    rate: str | None = None
    count: int = 0
    period: float = 1.0
    burst: int | None = None
    concurrent: int | None = None
    limits: tuple[Limit, ...] = ()


class TaskPlan(NamedTuple):
    uses: tuple[int, ...]
    is_async: bool


RATES = (
    ("1/sec", 1, 1.0),
    ("2/sec", 2, 1.0),
    ("5 per second", 5, 1.0),
    ("1.5/sec", 3, 2.0),
    ("3/0.7sec", 3, 0.7),
    ("2/0.1sec", 2, 0.1),
    ("4/min", 4, 60.0),
    ("7/hour", 7, 3600.0),
    ("3/15min", 3, 900.0),
)

# Few different values, so that instants coincide; a third and a tenth, so that sums are rounded.
SECONDS = (0.0, 0.1, 0.25, 1 / 3, 0.7, 1.0, 2.0, 7.0, 60.0)
seconds = st.sampled_from(SECONDS)


@st.composite
def services(draw: st.DrawFn, *, rated: bool = False) -> ServicePlan:
    rate, count, period = draw(st.sampled_from(RATES)) if rated or draw(st.booleans()) else (None, 0, 1.0)
    burst = draw(st.none() | st.integers(1, 6)) if rate is not None else None
    concurrent = draw(st.none() | st.integers(1, 4))
    return ServicePlan(rate, count, period, burst, concurrent)


def tasks(number_of_services: int) -> st.SearchStrategy[TaskPlan]:
    several = st.lists(st.integers(0, number_of_services - 1), max_size=3, unique=True).map(tuple)
    return st.builds(TaskPlan, uses=several, is_async=st.booleans())


class Entry(NamedTuple):
    """A handler was entered."""

    number: int
    time: float
    order: int


class Book:
    """Who is inside, and when everybody was entered. Works are known by `work.params["number"]`."""

    def __init__(self, services_: list[ServicePlan], tasks_: list[TaskPlan]) -> None:
        self.services = services_
        self.tasks = tasks_
        self.entries: list[Entry] = []
        self.inside: dict[int, int] = {}
        self.held = [0] * len(services_)
        self.wrong: list[str] = []
        self._order = 0

    def tick(self) -> int:
        """A number that only ever grows, for what happens in the same instant."""
        self._order += 1
        return self._order

    def hold(self, task: int) -> None:
        """A slot of each of its services is in use."""
        for service in self.tasks[task].uses:
            self.held[service] += 1
            allowed = self.services[service].concurrent
            if allowed is not None and self.held[service] > allowed:
                self.wrong.append(
                    f"{self.held[service]} at once in service {service}, which has {allowed} slots"
                )

    def release(self, task: int) -> None:
        """The counterpart of `hold`."""
        for service in self.tasks[task].uses:
            self.held[service] -= 1

    def enter(self, work: runcue.Work) -> None:
        """First line of a handler."""
        number = work.params["number"]
        self.entries.append(Entry(number, asyncio.get_running_loop().time(), self.tick()))
        if number in self.inside:
            self.wrong.append(f"work {number} was entered twice")
        self.inside[number] = task = int(work.task)
        self.hold(task)

    def leave(self, work: runcue.Work) -> None:
        """Last line of a handler."""
        self.release(self.inside.pop(work.params["number"]))

    def times(self, service: int, task_of: Callable[[int], int]) -> list[float]:
        """When handlers that use a service were entered, in order."""
        return sorted(
            entry.time for entry in self.entries if service in self.tasks[task_of(entry.number)].uses
        )


class LateExecutor:
    """Runs sync handlers in the loop like `FakeExecutor`, but as a busy machine would.

    A handler is entered some time after the hand-off, the loop hears of that some time later still, and in between the
    reports of others may overtake. The handler returns after its duration.

    Args:
        duration: Of a work.
        lateness: Of a work: until it is entered, and from there until that is told.
        left: Called when a handler has come to its end.
    """

    def __init__(
        self,
        duration: Callable[[runcue.Work], float],
        lateness: Callable[[runcue.Work], tuple[float, float]],
        left: Callable[[runcue.Work], None],
    ) -> None:
        self._duration = duration
        self._lateness = lateness
        self._left = left

    def start(self, deliver: Deliver, entered: Callable[[Any, float], None], clock: Clock) -> None:
        self._deliver, self._entered, self._clock = deliver, entered, clock

    def submit(self, work: Any, handler: Callable[[Any], Any], context: Context, *, stamped: bool) -> None:
        until_entered, until_told = self._lateness(work)
        loop = asyncio.get_running_loop()

        def enter() -> None:
            began = self._clock.monotonic()
            try:
                outcome, succeeded = context.run(handler, work), True
            except BaseException as error:
                outcome, succeeded = error, False
            loop.call_later(until_told, tell, succeeded, outcome, began)

        def tell(succeeded: bool, outcome: Any, began: float) -> None:
            if stamped:
                self._entered(work, began)
            # In two steps, since timers of the same instant run in no certain order.
            loop.call_later(self._duration(work), leave, succeeded, outcome, began)

        def leave(succeeded: bool, outcome: Any, began: float) -> None:
            self._left(work)
            self._deliver(work, succeeded, outcome, began, self._clock.monotonic() - until_told)

        loop.call_later(until_entered, enter)

    def stop(self) -> None: ...


class Body:
    """What the handlers of a world do. A test overrides what it is about.

    Attributes:
        book: Where they write.
        late: Whether sync handlers run in a `LateExecutor`.
    """

    def __init__(self, book: Book, *, late: bool) -> None:
        self.book = book
        self.late = late

    def pauses(self, work: runcue.Work) -> tuple[float, ...]:
        """How long an async handler sleeps, step by step; an empty one never suspends."""
        return ()

    def lateness(self, work: runcue.Work) -> tuple[float, float]:
        """See `LateExecutor`."""
        return (0.0, 0.0)

    def entered(self, work: runcue.Work) -> None:
        """Called on entry."""

    def finish(self, work: runcue.Work) -> Any:
        """The last that a handler does: return or raise."""
        return work.params["number"]

    def _enter(self, work: runcue.Work) -> float:
        self.book.enter(work)
        self.entered(work)
        return sum(self.pauses(work))

    def executor(self) -> Any:
        if self.late:
            return LateExecutor(lambda work: sum(self.pauses(work)), self.lateness, self.book.leave)
        # A FakeExecutor calls the handler at the end of its time, and asks how long that is at its beginning.
        return FakeExecutor(self._enter)

    def sync(self, work: runcue.Work) -> Any:
        if self.late:
            self._enter(work)
        else:
            self.book.leave(work)
        return self.finish(work)

    async def steps(self, work: runcue.Work) -> Any:
        self._enter(work)
        try:
            for pause in self.pauses(work):
                await asyncio.sleep(pause)
            return self.finish(work)
        finally:
            self.book.leave(work)

    def cue(self, **options: Any) -> runcue.Cue:
        """A cue with all services and tasks of the book, not started."""
        cue = runcue.Cue(run_in=self.executor(), id_prefix="", **options)
        for number, service in enumerate(self.book.services):
            cue.service(
                str(number),
                rate=service.rate,
                burst=service.burst,
                concurrent=service.concurrent,
                limits=service.limits,
            )
        for number, task in enumerate(self.book.tasks):
            uses = [str(service) for service in task.uses]
            if task.is_async:

                async def handler(work: runcue.Work) -> Any:
                    return await self.steps(work)

            else:

                def handler(work: runcue.Work) -> Any:  # type: ignore[misc]
                    return self.sync(work)

            cue.task(str(number), uses=uses)(handler)
        return cue
