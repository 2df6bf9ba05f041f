"""Where handlers run that do not run in the event loop.

Lives here: what there is for `run_in=` beside words and pools: `dask()`.

Must not know: work units, order, limits; each executor is one module that knows `runcue.abc`, and errors and texts of
`_model`.

Open first: `threads`; for what runs in other processes `calls`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runcue.executors.dask_workers import DaskExecutor

__all__ = ["dask"]


def dask(address: str) -> DaskExecutor:
    """The workers of a Dask cluster, for `run_in=` of a task: the cue decides when, they do the work.

    It takes the extra `dask`, and runcue where the workers are. They import the modules of handlers by their names;
    what is in the program itself, `__main__`, is sent to them. Files are theirs and the program's: at the same paths.

    The first handler that runs there connects. The scheduler's `allowed-failures` must be 0: what a lost worker had
    begun is a failed attempt, and it is for `retry=` of the task to say whether there is another one. Each thread of
    each worker has one handler at a time. Neither a time-out nor `cancel()` ends what runs there: it is not waited for
    any more, but its slot stays taken.

    Args:
        address: Of the cluster's scheduler, such as "tcp://10.0.0.1:8786".

    Raises:
        ConfigurationError: It is no such address, or Dask is not installed.

    Example:
        >>> import runcue
        >>> cue = runcue.Cue()
        >>> @cue.task(run_in=runcue.executors.dask("tcp://10.0.0.1:8786"), retry=3)
        ... def half(number: float) -> float:
        ...     return number / 2
    """
    from runcue.executors.dask_workers import DaskExecutor  # noqa: PLC0415 - needed by few

    return DaskExecutor(address)
