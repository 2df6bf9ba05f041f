"""A Dask cluster on this machine: a scheduler and some workers, each a process. It knows nothing of runcue.

On several machines these are the same two commands, `dask scheduler` and `dask worker`, started by whatever starts
programs there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).resolve().parent


class Cluster:
    """Starts them on entering, ends them on leaving.

    Args:
        folder: For what they write: logs, and the file that says where the scheduler is.
        workers: How many.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self._number = workers
        self._file = folder / "scheduler.json"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file.unlink(missing_ok=True)
        try:
            # Any free port; no page that shows what goes on, as that takes more packages.
            self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0")
            for number in range(1, self._number + 1):
                # Without a nanny, which would start a worker anew that was killed. One thread: one tile at a time.
                self._start("worker", "--no-nanny", "--nthreads", "1", "--name", f"worker-{number}")
            self.address = self._find()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    @property
    def workers(self) -> list[subprocess.Popen[bytes]]:
        """The processes of the workers."""
        return self._processes[1:]

    def _start(self, *arguments: str) -> None:
        name = arguments[-1] if arguments[0] == "worker" else "scheduler"
        variables = {
            **os.environ,
            # What they are to run, they import: it must be found there.
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
            # What a killed worker had begun fails, and the cue decides whether it is tried again. Otherwise Dask would
            # do so by itself, up to three times.
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
        }
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *arguments, "--scheduler-file", str(self._file)],
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # Ctrl-C is for the program, which ends them itself.
                    start_new_session=True,
                )
            )

    def _find(self) -> str:
        """The scheduler's address, as soon as it is there."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if (code := self._processes[0].poll()) is not None:
                raise SystemExit(
                    f"dask_cluster: the scheduler ended with {code}; see {self._folder / 'scheduler.log'}"
                )
            try:
                address: str = json.loads(self._file.read_text())["address"]
            except (FileNotFoundError, ValueError):  # not there, or not complete
                time.sleep(0.05)
            else:
                return address
        raise SystemExit(f"dask_cluster: no scheduler after a minute; see {self._folder / 'scheduler.log'}")

    def _end(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
