"""What a submission says of its one work unit, in place of what its task says of all.

Lives here: `Overrides`, and the options of a submission.

Must not know: tasks, what becomes of it, how options are checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["DEFAULT", "NO_OVERRIDES", "OPTIONS", "Overrides"]

DEFAULT: Any = object()
"""Stands for "as usual" where None has a meaning of its own."""


class Overrides:
    """What a submission declares for its work unit alone.

    Never changed: a work unit and the one that does it once more may have the same.

    Args:
        said: What is not as usual, checked, by the names of the attributes. It is not copied.

    Attributes:
        inputs: As given; None for the task's.
        outputs: Likewise.
        fresh: Likewise; `DEFAULT` for the task's.
        key: Likewise.
        lane: The lane that it is in: a value, or a function that gives it; None for what its task says.
        duplicate: What is to become of it if another makes the same; None for what its task says.
        force: Run even if up to date.
        priority: How urgent it is; None for what is usual.
        timeout: Seconds that a run may take, inf for no limit; None for what its task says.
        retry: How many attempts there are, or what else says it, as `_scheduling.retry` has it; None for what its task
            says.
        must_complete: Whether a stop runs it whatever it cuts off; None for what its task says.
        cost: What it takes of budgets, as `_registration.costs` has it; None for what its task says.
        delay: Seconds before which it may not begin; None for none.
        run_at: The instant before which it may not begin, in seconds since the epoch; None for none.
        metadata: What the user wants to know of it; None for nothing.
        wait: Whether whoever submits it waits for room.
        retry_of: The id of the work unit that it does once more, None if none. That is for `Cue.retry` alone to say.
        declares: Whether it says anything of artifacts, and not only how its work unit runs.
        waits: Whether it says when its work unit may begin.
    """

    # What is usual stands here, and the options of the call are the dict of the instance: one is made for each such
    # submission, and a tuple of all fields, most of them as usual, took four times as long.
    inputs: object = None
    outputs: object = None
    fresh: object = DEFAULT
    key: object = None
    lane: Any = None
    duplicate: str | None = None
    force: bool = False
    priority: float | None = None
    timeout: float | None = None
    retry: Any = None
    must_complete: bool | None = None
    cost: Any = None
    delay: float | None = None
    run_at: float | None = None
    metadata: dict[Any, Any] | None = None
    wait: bool = True
    retry_of: str | None = None
    declares: bool = False
    waits: bool = False

    def __init__(self, said: dict[str, Any]) -> None:
        self.__dict__ = said

    def once_more(self, work_id: str, **declared: Any) -> Overrides:
        """The same for a work unit that does once more what another was to do.

        Args:
            work_id: Of that one.
            **declared: What it has declared by values, which may have been such as are gone through once.
        """
        said = {**self.__dict__, **declared, "retry_of": work_id}
        if self.metadata is not None:
            said["metadata"] = dict(self.metadata)
        return Overrides(
            {name: value for name, value in said.items() if name not in ("delay", "run_at", "waits", "wait")}
        )


NO_OVERRIDES: Final = Overrides({})

OPTIONS: Final[Mapping[str, Any]] = {
    name: getattr(Overrides, name)
    for name in Overrides.__annotations__
    if name not in ("retry_of", "declares", "waits")
}
"""What a submission may say, with what is usual."""
