"""Handlers that run elsewhere, at the top of a module that other processes can import; and pools that obey.

Must not know: what is tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copyreg
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextvars import Context
from pathlib import Path
from typing import Any

from runcue.abc import Call, Clock, Deliver
from runcue.executors.calls import run

COLOUR: contextvars.ContextVar[str] = contextvars.ContextVar("COLOUR", default="none")


@contextlib.contextmanager
def plainly_pickled() -> Iterator[None]:
    """Without what `distributed` has done by being imported: by its tblib any exception comes back as it was."""
    table = copyreg.dispatch_table
    foreign = {kind: how for kind, how in table.items() if how.__module__.startswith("tblib")}
    for kind in foreign:
        del table[kind]
    try:
        yield
    finally:
        table.update(foreign)


class Apart(Exception):
    """One that pickles."""


class Odd(Exception):
    """One that does not come back: its constructor takes something else than it keeps."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{reason} ({code})")


class Silent(Exception):
    """One that comes back as something else."""

    def __init__(self, text: str = "") -> None:
        super().__init__(f"silent {text}")


class Point:
    """A class of a user's."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return type(other) is Point and other.x == self.x

    __hash__ = None  # type: ignore[assignment]


class Unwilling:
    """One that can be pickled, and not unpickled."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise ValueError("not again")


def double(number: int) -> int:
    return 2 * number


def plus_one(number) -> int:  # type: ignore[no-untyped-def]
    return number + 1  # type: ignore[no-any-return]


def whole(work: Any) -> dict[str, Any]:
    """All that a picture shows."""
    return {
        "id": work.id,
        "task": work.task,
        "params": work.params,
        "attempt": work.attempt,
        "metadata": work.metadata,
        "inputs": [str(one) for one in work.inputs],
        "outputs": [str(one) for one in work.outputs],
        "repr": repr(work),
    }


def with_both(work: Any, x: int, y: int = 2) -> tuple[str, int, int]:
    return work.task, x, y


def with_rest(work: Any, x: int, **rest: Any) -> tuple[str, int, dict[str, Any]]:
    return work.task, x, rest


def with_work_by_name(*, work: Any, x: int) -> tuple[str, int]:
    return work.task, x


def point(at: Point) -> Point:
    return Point(at.x + 1)


def colour() -> str:
    return COLOUR.get()


def raise_what(what: str) -> Any:
    """Raises, or returns what is no result."""
    if what == "apart":
        raise Apart("far", 3)
    if what == "odd":
        raise Odd(3, reason="odd")
    if what == "silent":
        raise Silent("night")
    if what == "cause":
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise Apart("outer") from error
    if what == "exit":
        sys.exit(3)
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "unpicklable":
        return {"rows": [1, {"call": lambda: 3}]}
    if what == "unwilling":
        return Unwilling()
    return what


def write(work: Any, text: str) -> str:
    with work.write(work.outputs[0]) as file:
        file.write(text)
        return str(file.name)


def write_twice(work: Any) -> None:
    with work.write(work.outputs[0]) as file:
        file.write("first")
    with work.write(work.outputs[0], durable=False) as file:
        file.write("second")


def write_and_fail(work: Any) -> None:
    with work.write(work.outputs[0]) as file:
        file.write("half")
    raise Apart("after it was written")


def write_oddly(work: Any, how: str) -> Any:
    """Writes in ways that are none."""
    if how == "mode":
        with work.write(work.outputs[0], "a"):
            pass
    if how == "elsewhere":
        with work.write("elsewhere.txt"):
            pass
    if how == "number":
        with work.write(3):
            pass
    if how == "exclusive":
        with work.write(work.outputs[0], "x"):
            pass
    if how == "nested":
        with work.write(work.outputs[0]), work.write(work.outputs[0]):
            pass
    if how == "interrupted":
        try:
            with work.write(work.outputs[0]) as file:
                file.write("half")
                raise Apart("within")
        except Apart:
            return "went on"
    if how == "bytes":
        with work.write(os.fsencode(work.outputs[0]), "wb") as file:
            file.write(b"bytes")
    return how


def write_by_itself(work: Any) -> None:
    Path(work.outputs[0]).write_text("by itself")


def spend(work: Any, **amounts: Any) -> None:
    work.spent(**amounts)
    work.spent(**amounts)


def spend_nothing(work: Any) -> None:
    work.spent()


def add_to_work(work: Any) -> Any:
    """Takes its work unit for a number."""
    return work + 1


def give_work(work: Any) -> Any:
    """Gives back what it was given."""
    return work


def look_for(work: Any, name: str) -> Any:
    return getattr(work, name)


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def die(code: int = 7) -> None:
    os._exit(code)


def attempt(work: Any) -> int:
    if work.attempt < 3:
        raise Apart(f"attempt {work.attempt}")
    return int(work.attempt)


LOADED: list[str] = []


def load() -> None:
    LOADED.append("loaded")


def load_badly() -> None:
    LOADED.append("badly")
    if len(LOADED) < 2:
        raise Apart("cannot be loaded")


def loaded() -> list[str]:
    return LOADED


def shout(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that hands on what it is given."""

    @functools.wraps(function)
    def around(*args: Any, **kwargs: Any) -> Any:
        return f"{function(*args, **kwargs)}!"

    return around


def bare(function: Callable[..., Any]) -> Callable[..., Any]:
    """One that does not say what it is around."""

    def around(work: Any) -> Any:
        return function(work)

    return around


def _plain(name: str) -> str:
    return f"hello {name}"


undecorated = _plain
undecorated.__qualname__ = undecorated.__name__ = "shouted"
shouted = shout(undecorated)

hidden = bare(whole)


class Stamp:
    """A decorator that is a class, and does not say what it is around."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.lock = threading.Lock()  # it cannot be sent
        self.function = function

    def __call__(self, number: int) -> str:
        return f"stamped {self.function(number)}"


class Seal(Stamp):
    """One that says it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        super().__init__(function)


@Stamp
def stamped(number: int) -> int:
    return number


@Seal
def sealed(number: int) -> int:
    return number


async def later() -> int:
    return 3


def promise() -> Any:
    return later()


class Machine:
    """Handlers that are methods, and objects that are called."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def times(self, number: int) -> int:
        return number * self.factor

    def __call__(self, work: Any) -> int:
        return self.factor * int(work.params["number"])


class InPlace:
    """Carries out calls in this process, each after some time of the loop's: what other processes do, without these.

    Args:
        duration: Seconds.
        workers: As a pool would tell.
        kills: As `CallExecutor.kills`.
        ends: Whether what is cancelled is ended.
    """

    takes_calls = True
    pickler: str | None = None
    knows_main = False

    def __init__(
        self, duration: float = 0.0, *, workers: int | None = None, kills: bool = False, ends: bool = False
    ) -> None:
        self.duration, self.workers, self.kills, self.ends = duration, workers, kills, ends
        self.calls: list[str] = []
        self.cancelled: list[str] = []
        self.most = self.running = 0
        self.given: dict[Any, tuple[bytes, float]] = {}

    def start(self, deliver: Deliver, entered: Callable[[Any, float], None], clock: Clock) -> None:
        self.deliver, self.entered, self.clock = deliver, entered, clock
        self.loop = asyncio.get_running_loop()

    def submit(self, work: Any, call: Call, context: Context, *, stamped: bool) -> None:
        self.calls.append(work.id)
        self.running += 1
        self.most = max(self.most, self.running)
        # It is entered at once, as elsewhere; what it gives is heard of later.
        self.given[work] = run(call.payload), self.clock.monotonic()
        self.loop.call_later(self.duration, self.answer, work)
        if stamped and self.kills:
            self.loop.call_soon(self.entered, work, self.clock.monotonic())

    def answer(self, work: Any, error: BaseException | None = None) -> None:
        if work not in self.given:
            return
        answer, began = self.given.pop(work)
        self.running -= 1
        self.deliver(work, error is None, error or answer, began, self.clock.monotonic())

    def cancel(self, work: Any) -> bool:
        self.cancelled.append(work.id)
        if self.ends and work in self.given:
            self.loop.call_soon(self.answer, work, Apart("ended"))
            return True
        return False

    def stop(self) -> None:
        """Nothing to stop."""


class ByHand(Executor):
    """A pool whose futures are done when a test says so.

    Args:
        workers: As a pool would tell; None: it does not.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None:
            self._max_workers = workers
        self.given: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.broken = False
        self._shutdown = False

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.broken:
            raise BrokenExecutor("a process has died")
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[Any] = Future()
        self.given.append((future, functools.partial(call, *args, **kwargs)))
        return future

    def begin(self, index: int = 0) -> None:
        """Begin with one, so that it can no longer be cancelled."""
        self.given[index][0].set_running_or_notify_cancel()

    def finish(self, index: int = 0) -> None:
        """Carry one out that has begun."""
        future, call = self.given.pop(index)
        if not future.running():
            future.set_running_or_notify_cancel()
        if not future.cancelled():
            future.set_result(call())

    def break_down(self) -> None:
        """Lose all that it was given."""
        self.broken = True
        given, self.given = self.given, []
        for future, _ in given:
            future.set_exception(BrokenExecutor("a process has died"))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._shutdown = True
        if cancel_futures:
            for future, _ in self.given:
                future.cancel()


class Slow:
    """A value that takes its time to be pickled, and to be unpickled."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __getstate__(self) -> float:
        time.sleep(self.seconds)
        return self.seconds

    def __setstate__(self, seconds: float) -> None:
        self.seconds = seconds
        time.sleep(seconds)
