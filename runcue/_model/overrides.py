"""What a submission says of its one work unit, in place of what its task says of all.

Lives here: `Overrides`.

Must not know: tasks, what becomes of it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

__all__ = ["DEFAULT", "NO_OVERRIDES", "Overrides"]

DEFAULT: Any = object()
"""Stands for "as usual" where None has a meaning of its own."""


class Overrides(NamedTuple):
    """What a submission declares for its work unit alone.

    Attributes:
        inputs: As given; None for the task's.
        outputs: Likewise.
        fresh: Likewise; `DEFAULT` for the task's.
        key: Likewise.
        duplicate: What is to become of it if another makes the same; None for what its task says.
        force: Run even if up to date.
        priority: How urgent it is; None for what is usual.
        timeout: Seconds that a run may take, inf for no limit; None for what its task says.
        retry: How many attempts there are, or what else says it, as `_scheduling.retry` has it; None for what its task
            says.
        must_complete: Whether a stop runs it whatever it cuts off; None for what its task says.
        delay: Seconds before which it may not begin; None for none.
        run_at: The instant before which it may not begin, in seconds since the epoch; None for none.
        retry_of: The id of the work unit that it does once more, None if none. That is for `Cue.retry` alone to say.
    """

    # A named tuple, since one is made for each such submission: half the price of a frozen dataclass.
    inputs: object = None
    outputs: object = None
    fresh: object = DEFAULT
    key: object = None
    duplicate: str | None = None
    force: bool = False
    priority: float | None = None
    timeout: float | None = None
    retry: Any = None
    must_complete: bool | None = None
    delay: Any = None
    run_at: Any = None
    retry_of: str | None = None

    @property
    def declares(self) -> bool:
        """Whether it says anything of artifacts, and not only how its work unit runs."""
        return not (
            self.inputs is self.outputs is self.key is self.duplicate is None
            and self.fresh is DEFAULT
            and self.force is False
        )

    def once_more(self, work_id: str, **declared: Any) -> Overrides:
        """The same for a work unit that does once more what another was to do.

        Args:
            work_id: Of that one.
            **declared: What it has declared by values, which may have been such as are gone through once.
        """
        return self._replace(retry_of=work_id, delay=None, run_at=None, **declared)


NO_OVERRIDES: Final = Overrides()
