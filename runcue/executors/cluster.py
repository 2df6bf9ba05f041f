"""Calls on the workers of a Dask cluster, for `run_in=runcue.executors.dask("tcp://...")`.

Lives here: `DaskExecutor`, and `DaskPool`, through which it works: a `concurrent.futures.Executor` with a thread and an
event loop of its own, in which a `distributed.Client` lives. So it works beside whatever loop a cue runs on, virtual or
not, and the scheduler hears of it while that one is blocked. It connects with the first call.

Dask does the work, and decides nothing. By itself it would run again what a lost worker had begun, or had ended and
still kept the answer of; it would move calls between workers; and it tells whoever cancels a running call that this has
ended, which is not so. Therefore:

- Of the scheduler's `allowed-failures` it is required that it is 0. That is one for all who use that scheduler.
- Each call is given to one thread of one worker by its address, and to no other. When that worker is lost the call
  fails; it is never run again, also if it had ended and only its answer is lost.
- Nothing is cancelled. A thread is taken until Dask reports, whether somebody waits for that or not.
- No time-out of Dask's is used (dask/distributed#3196).

Must not know: work units, order, limits. What is called, and with what, are bytes to Dask, its scheduler included.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import nullcontext, suppress
from typing import Any, Final
from uuid import uuid4

from runcue._model.errors import ConfigurationError, WorkerDied
from runcue._model.texts import error_words

__all__ = ["DaskPool"]

_CONNECT_FOR: Final = 8.0
"""Seconds after which it is given up to connect: whoever waits is told within ten."""

_CLOSE_FOR: Final = 2.0
"""Seconds for taking leave of a scheduler, which may have gone."""

_LOOK_EVERY: Final = 1.0
"""Seconds after which it is looked whether the scheduler is still the one that was connected to, and which workers it
has."""

_LINGER: Final = 0.02
"""Seconds for which Dask keeps an answer that is here already. To give it up takes a message, and what is sent within
10 ms after another one waits for the rest of these: that would be the next call."""

_LARGE: Final = 1 << 20
_WARNS_FROM: Final = "distributed.admin.large-graph-warning-threshold"
"""Of so many bytes Dask warns that they might be sent in another way: there is none for what is called once."""

_THREAD: Final = "runcue-dask"


class _Future(Future[Any]):
    """What gets an answer.

    Attributes:
        place: The worker that has the call, for people; "" while none has.
    """

    place = ""


class _Call:
    """A call, from being asked for to its answer.

    Attributes:
        payload: What is called, and with what: to unpickle it is to do so.
        future: Gets the answer.
    """

    __slots__ = ("future", "payload")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.future = _Future()

    def fail(self, error: BaseException) -> None:
        """There will be no answer."""
        if self.future.running() or self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class _Worker:
    """A worker of the cluster.

    Attributes:
        address: Where it is.
        threads: How many it has.
        calls: What it was given and has not reported, each with who follows it.
    """

    __slots__ = ("address", "calls", "threads")

    def __init__(self, address: str, threads: int) -> None:
        self.address = address
        self.threads = threads
        self.calls: dict[_Call, asyncio.Task[None]] = {}

    def load(self) -> float:
        """How busy it is; from 1 on it takes nothing more."""
        return len(self.calls) / self.threads


class _Deferred:
    """A call that takes place where this is unpickled: so neither Dask nor its scheduler has to know the function."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


class DaskPool(Executor):
    """Calls functions on the workers of a Dask cluster, at most one in each of their threads.

    Args:
        address: Of the scheduler.
        counted: Called whenever it was found out how many threads there are, in the pool's own thread.
    """

    # What is asked of any pool: how many calls it can run at once. Before that is known, one is enough to find out.
    _max_workers: Final = 1

    def __init__(self, address: str, counted: Callable[[int], object]) -> None:
        self._address = address
        self._counted = counted
        # Held where the pool's own thread meets others.
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._has_begun = False
        self._shutdown = False
        self._session: _Session | None = None
        # Why it is of no use any more.
        self._fault: BaseException | None = None

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `concurrent.futures.Executor.submit`; arguments go by their places.

        Raises:
            BrokenExecutor: The scheduler was not reached, or is lost.
            RuntimeError: It was shut down.
        """
        call = _Call(pickle.dumps(_Deferred(function, args)))
        with self._lock:
            if self._shutdown:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self._fault is not None or (self._session is not None and self._session.is_lost):
                raise BrokenExecutor(error_words(self._fault or _lost(self._address)))
            self._waiting.append(call)
            if not self._has_begun:
                self._has_begun = True
                threading.Thread(target=self._run, name=_THREAD, daemon=True).start()
            elif self._session is not None:
                self._session.wake()
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `concurrent.futures.Executor.shutdown`; it never waits for what runs, which cannot be ended."""
        with self._lock:
            self._shutdown = True
            if cancel_futures:
                for call in self._waiting:
                    call.future.cancel()
            if self._session is not None:
                self._session.wake()

    def _run(self) -> None:
        """The thread."""
        fault: BaseException = RuntimeError("it was shut down")
        try:
            # No loop of what the policy says: that may be one without time, or without what Dask needs.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.get_loop().set_exception_handler(_complain)
                runner.run(self._live())
        except BaseException as error:
            fault = error
        with self._lock:
            self._fault = fault
            left, self._waiting = self._waiting, deque()
        for call in left:
            call.fail(fault)

    async def _live(self) -> None:
        """Connect, and see to calls until it is shut down and all have reported.

        Raises:
            OSError: The scheduler could not be reached.
            BrokenExecutor: It is lost.
            ConfigurationError: It is not as it has to be.
        """
        session = _Session(self._address, self._waiting, self._counted)
        try:
            await session.connect()
            with self._lock:
                self._session = session
            while session.goes_on(self._shutdown):
                await session.news()
        finally:
            with self._lock:
                self._session = None
            await session.close()


class _Session:
    """The connection to a cluster, in an event loop.

    Args:
        address: Of the scheduler.
        waiting: Calls for which no worker was chosen; other threads append to it.
        counted: Told how many threads there are, whenever that was found out.
    """

    def __init__(self, address: str, waiting: deque[_Call], counted: Callable[[int], object]) -> None:
        import dask.config  # noqa: PLC0415 - they take as long as twenty times runcue
        import distributed  # noqa: PLC0415

        for logger in ("distributed.client", "distributed.batched"):
            logging.getLogger(logger).addFilter(_is_not_ours)
        self._address = address
        self._waiting = waiting
        self._counted = counted
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._fault: BaseException | None = None
        self._workers: dict[str, _Worker] = {}
        # Of these it was told that they have gone, possibly while they were being counted.
        self._gone: set[str] = set()
        self._counting: set[asyncio.Task[None]] = set()
        self._counted_at = self._loop.time()
        self._client: Any = distributed.Client(
            address, asynchronous=True, timeout=_CONNECT_FOR, set_as_default=False, name="runcue"
        )
        self._connection: object = None
        self._config: Any = dask.config

    async def connect(self) -> None:
        """Find the scheduler, and what there is.

        Raises:
            OSError: Nobody answers.
            ConfigurationError: The scheduler runs again by itself what a lost worker had begun.
        """
        try:
            async with asyncio.timeout(_CONNECT_FOR):
                await self._client
                # Without a name it goes by value: the scheduler need not have runcue.
                allowed = await self._client.run_on_scheduler(
                    lambda dask_scheduler: dask_scheduler.allowed_failures
                )
        except OSError as error:  # a TimeoutError is one, too
            raise ConnectionError(
                f"No Dask scheduler answers at {self._address} ({error_words(error)})."
            ) from error
        if allowed:
            raise ConfigurationError(
                f"The Dask scheduler at {self._address} has allowed-failures={allowed}: so often would it run again by "
                "itself what a lost worker had begun. Start it with DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0 "
                "among its variables; whether something is tried again is for retry= of its task to say."
            )
        self._connection = self._client.scheduler_comm
        # In this order: of who comes and goes while they are counted it is told, too.
        self._client.subscribe_topic("all", self._hear)
        await self._count()

    async def close(self) -> None:
        """Take leave. What has no answer gets none any more."""
        for address in list(self._workers):
            self._lose(address, self._fault or _lost(self._address))
        with suppress(Exception):
            await asyncio.wait_for(self._client.close(_CLOSE_FOR), _CLOSE_FOR)

    @property
    def is_lost(self) -> bool:
        """Whether the scheduler is. Another one in its place is another one."""
        return self._fault is not None or self._client.scheduler_comm is not self._connection

    def wake(self) -> None:
        """There is something to look at. Called in any thread."""
        self._loop.call_soon_threadsafe(self._news.set)

    async def news(self) -> None:
        """Wait until there is something to look at."""
        # Dask tells nobody that a scheduler is lost while it connects to another one in its place.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY):
                await self._news.wait()
        self._news.clear()
        # Nor of a worker that was lost while this began to listen: it would be given a call, and never answer.
        if not self._counting and self._loop.time() >= self._counted_at + _LOOK_EVERY:
            self._begin_to_count()

    def goes_on(self, is_shut_down: bool) -> bool:
        """Give calls to workers that have threads for them. Returns whether there is anything to come.

        Raises:
            BrokenExecutor: The scheduler is lost.
        """
        if self._fault is None and self.is_lost:
            self._fault = _lost(self._address)
        if self._fault is not None:
            raise self._fault
        while self._waiting:
            call = self._waiting[0]
            worker = min(self._workers.values(), key=_Worker.load, default=None)
            if not call.future.cancelled() and (worker is None or worker.load() >= 1):
                break
            self._waiting.popleft()
            if call.future.set_running_or_notify_cancel():
                assert worker is not None
                call.future.place = f"Dask worker {worker.address}"
                worker.calls[call] = self._loop.create_task(self._follow(call, worker))
        return not is_shut_down or bool(self._waiting) or any(one.calls for one in self._workers.values())

    async def _follow(self, call: _Call, worker: _Worker) -> None:
        """Have a worker run a call, and wait for what it reports."""
        answer, failed = None, None
        try:
            with (
                self._config.set({_WARNS_FROM: 2 * len(call.payload)})
                if len(call.payload) > _LARGE
                else nullcontext()
            ):
                future = self._client.submit(
                    pickle.loads,
                    call.payload,
                    key=f"runcue-{uuid4().hex}",
                    pure=False,
                    retries=0,
                    workers=[worker.address],
                    allow_other_workers=False,
                )
            answer = await future
            self._loop.call_later(_LINGER, future.release)
        except BaseException as error:
            failed = error
        if call not in worker.calls:
            return  # it was lost with its worker
        if self.is_lost:
            self._fault = self._fault or _lost(self._address)
        else:
            del worker.calls[call]
            if failed is None:
                call.future.set_result(answer)
            else:
                call.fail(_told(failed, worker.address))
        self._news.set()

    def _hear(self, event: tuple[float, Any]) -> None:
        """Something has happened in the cluster."""
        said = event[1]
        action = said.get("action") if isinstance(said, dict) else None
        if action == "add-worker":
            self._gone.discard(said["worker"])
            self._begin_to_count()
        elif action == "remove-worker":
            self._gone.add(said["worker"])
            self._lose(said["worker"], _worker_lost(said["worker"]))

    def _begin_to_count(self) -> None:
        self._counted_at = self._loop.time()
        counting = self._loop.create_task(self._count())
        self._counting.add(counting)
        counting.add_done_callback(self._counting.discard)

    async def _count(self) -> None:
        """Find out which workers there are."""
        known = set(self._workers)
        try:
            threads_of = await self._client.nthreads()
        except OSError:
            return  # with the scheduler, which is seen elsewhere
        for address in known.difference(threads_of):
            self._lose(address, _worker_lost(address))
        for address, threads in threads_of.items():
            if address not in self._gone and threads > 0:
                self._workers.setdefault(address, _Worker(address, threads)).threads = threads
        self._tell()

    def _lose(self, address: str, why: BaseException) -> None:
        """A worker has gone, and what it was given with it."""
        if (worker := self._workers.pop(address, None)) is None:
            return
        calls, worker.calls = worker.calls, {}
        for call, follower in calls.items():
            follower.cancel()
            call.fail(why)
        self._tell()

    def _tell(self) -> None:
        self._counted(sum(worker.threads for worker in self._workers.values()))
        self._news.set()


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell what nobody has waited for, but not of what Dask has left behind where a worker was lost."""
    if not type(context.get("exception")).__module__.startswith("distributed"):
        loop.default_exception_handler(context)


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Whether something is logged by another client than that of a pool, which tells by itself what has failed."""
    return record.threadName != _THREAD


def _told(error: BaseException, address: str) -> BaseException:
    """Why a call has failed that was given to a worker: not by what it calls, which answers in any case."""
    if type(error).__name__ == "KilledWorker":
        return _worker_lost(address)
    if isinstance(error, ImportError):
        return ConfigurationError(
            f"The Dask worker at {address} cannot carry out calls ({error_words(error)}): install runcue there, too."
        )
    return error if isinstance(error, Exception) else BrokenExecutor(error_words(error))


def _worker_lost(address: str) -> WorkerDied:
    return WorkerDied(
        f"The Dask worker at {address} was lost before it had reported: killed, out of memory, or shut down."
    )


def _lost(address: str) -> BrokenExecutor:
    return BrokenExecutor(f"The Dask scheduler at {address} was lost.")
