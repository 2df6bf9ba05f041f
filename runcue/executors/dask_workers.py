"""Handlers on the workers of a Dask cluster: what `runcue.executors.dask()` gives.

Lives here: `DaskExecutor`. The connection is in `cluster`.

Must not know: limits, order, states, what is in a call.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final

from runcue._model.errors import ConfigurationError
from runcue._model.texts import words_of
from runcue.abc import Clock, Deliver
from runcue.executors.cluster import DaskPool
from runcue.executors.futures import FuturesExecutor

__all__ = ["DaskExecutor"]

_ADDRESS: Final = re.compile(r"((tcp|tls|wss?|ucxx?)://)?(\[[^\]\s]+\]|[^\s:/\[\]]+):\d{1,5}/?")


class DaskExecutor(FuturesExecutor):
    """Runs handlers on the workers of a Dask cluster.

    Args:
        address: Of its scheduler.

    Raises:
        ConfigurationError: It is no address, or Dask is not installed.
    """

    name = "dask"
    # With this a handler may be of `__main__`, which is another one there.
    pickler = "cloudpickle"
    knows_main = True
    takes_calls = True

    def __init__(self, address: Any) -> None:
        if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
            raise ConfigurationError(
                'dask() takes the address of a Dask scheduler, such as "tcp://10.0.0.1:8786", not '
                f"{words_of(address)}."
            )
        if find_spec("distributed") is None:
            raise ConfigurationError("dask() needs Dask, which is not installed: pip install runcue[dask]")
        super().__init__(self._connect, f"The Dask cluster at {address}")
        self._address = address
        self._loop: asyncio.AbstractEventLoop | None = None
        self.workers = DaskPool._max_workers
        # Of all workers together, as far as that was found out; None while nobody is connected.
        self._threads: int | None = None

    def start(self, deliver: Deliver, entered: Callable[[Any, float], None], clock: Clock) -> None:
        """See `Executor.start`."""
        super().start(deliver, entered, clock)
        self._loop = asyncio.get_running_loop()

    def _connect(self) -> DaskPool:
        """A pool, which connects as soon as it is given something."""
        loop = self._loop
        assert loop is not None

        def counted(threads: int) -> None:
            try:
                loop.call_soon_threadsafe(self._resize, pool, threads)
            except RuntimeError:
                pass  # that loop has ended

        self._threads = None
        pool = DaskPool(self._address, counted)
        return pool

    def where(self, work: Any) -> str:
        """Which worker has the handler of a work unit, for people; "" while none has."""
        place: str = getattr(self._futures.get(work), "place", "")
        return place

    @property
    def missing(self) -> str:
        """What is missing for a call to begin, as a sentence without its end that says what to do; "" if nothing is."""
        if self._threads is None:
            return f"Wait until the Dask scheduler at {self._address} answers, or see that it runs"
        if not self._threads:
            return f"Start a worker for the Dask scheduler at {self._address}: there is none, and a call waits for it"
        return ""

    def _resize(self, pool: DaskPool, threads: int) -> None:
        if pool is self._pool:
            self._threads = threads
        if pool is self._pool and self.heard is not None:
            # While there is no worker, one call waits for the first that comes, and the others are pending.
            self.workers = max(DaskPool._max_workers, threads)
            self.heard(self.workers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DaskExecutor) and self._address == other._address

    def __hash__(self) -> int:
        return hash(self._address)

    def __repr__(self) -> str:
        return f"runcue.executors.dask({self._address!r})"
