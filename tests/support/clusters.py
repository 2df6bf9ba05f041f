"""A Dask cluster on this machine, for tests.

Lives here: `Cluster`, whose processes can be killed and joined by others meanwhile.

Must not know: what is tested.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from tests.support.programs import start_python, wait_until

QUIET = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__GIL__ENABLED": "False",
}
"""What an idle cluster does of its own: it took 3 % of a core for each of its processes as long as the tests ran."""


class Cluster:
    """A scheduler and some workers.

    Args:
        folder: For what they write.
        workers: How many there are at first.
        threads: Of each worker.
        allowed_failures: Of the scheduler.
    """

    def __init__(
        self, folder: Path, workers: int = 2, *, threads: int = 1, allowed_failures: int = 0
    ) -> None:
        self._folder = folder
        self._first = workers
        self._threads = threads
        self._failures = allowed_failures
        self._file = folder / "scheduler.json"
        self.scheduler: subprocess.Popen[str]
        self.workers: list[subprocess.Popen[str]] = []
        self.address = ""

    def __enter__(self) -> Self:
        self._begin("0")
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def restart(self) -> None:
        """End all of it, and begin anew at the same address."""
        self._end()
        self._begin(self.address.rpartition(":")[2])

    def _begin(self, port: str) -> None:
        self._file.unlink(missing_ok=True)
        # Should this process be killed, it ends some time, and its workers with it.
        ending = ("--idle-timeout", "20 minutes")
        at = ("--host", "127.0.0.1", "--port", port, "--dashboard-address", "127.0.0.1:0")
        self.scheduler = self._start("scheduler", *at, *ending)
        for _ in range(self._first):
            self.add_worker()

        def address() -> Any:
            with contextlib.suppress(FileNotFoundError, ValueError):
                return json.loads(self._file.read_text())["address"]

        self.address = wait_until(address)

    def _end(self) -> None:
        # The scheduler first: else it might tell of the end of a worker, as the first or as the only thing.
        for process in (self.scheduler, *self.workers):
            process.kill()
        for process in (*self.workers, self.scheduler):
            process.wait()
        self.workers.clear()

    def add_worker(self) -> subprocess.Popen[str]:
        """One more worker."""
        worker = self._start("worker", "--no-nanny", "--no-dashboard", "--nthreads", str(self._threads))
        self.workers.append(worker)
        return worker

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        with (self._folder / "log").open("a") as log:
            return start_python(
                "-m",
                "dask",
                *arguments,
                "--scheduler-file",
                self._file,
                env={**QUIET, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(self._failures)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=sys.platform != "win32",
            )
