"""Retries as a task or a submission may ask for them, and what follows from that by arithmetic of its own.

Lives here: `Policy`, which says so in one of the forms that `retry=` takes.

Must not know: who fails, what is judged.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

import runcue

FORMS: Final = ("Retry", "function", "error")
"""How it may be written: a `Retry`, a function, or a `Retry` that asks the error first."""


class Policy(NamedTuple):
    """The retries of work units.

    Attributes:
        form: One of `FORMS`.
        attempts: In all; -1 for no end of them, which a function cannot say.
        initial: Seconds before the second one.
        maximum: Before any.
        is_exit_final: Whether a handler that leaves by something like SystemExit is not tried again.
        timeout: Seconds after the first start in which another one may begin, None for any number; likewise.
    """

    form: str
    attempts: int
    initial: float
    maximum: float
    is_exit_final: bool
    timeout: float | None = None

    @property
    def ends(self) -> bool:
        """Whether there is a last attempt, whatever becomes of them."""
        return self.attempts >= 0 or self.timeout is not None

    def option(self) -> Any:
        """It as `retry=` takes it."""
        return self.after if self.form == "function" else _retry(self)

    def after(self, attempt: int, error: BaseException, elapsed: float) -> float | None:
        """Seconds between the end of an attempt that has failed and the next one; None if it was the last.

        Args:
            attempt: Its number.
            error: Why.
            elapsed: Seconds since the first one began.
        """
        if isinstance(error, runcue.HandlerExited) and error.__cause__ is not None:
            error = error.__cause__  # what the handler has raised itself
        if 0 <= self.attempts <= attempt or isinstance(error, runcue.GiveUp) or not self.is_worth_it(error):
            return None
        own = self.by_error(error) if self.form == "error" else None
        wait = min(self.maximum, self.initial * 2.0 ** min(attempt - 1, 99)) if own is None else own
        return None if self.timeout is not None and elapsed + wait > self.timeout else wait

    def is_worth_it(self, error: BaseException) -> bool:
        """Whether another attempt may end otherwise."""
        if not self.ends and isinstance(error, runcue.WorkTimeout):
            return False  # it may take as long each time
        return isinstance(error, Exception) or not self.is_exit_final

    def by_error(self, error: BaseException) -> float | None:
        """Seconds before the next one that an error asks for; None: it does not."""
        return 2.5 * self.maximum if isinstance(error, ConnectionError) else None


# To make one is to look into its functions, which takes as long as the work unit that it is for.
@lru_cache(1000)
def _retry(policy: Policy) -> runcue.Retry:
    return runcue.Retry(
        attempts=policy.attempts,
        on=policy.is_worth_it,
        wait_initial=policy.initial,
        wait_max=policy.maximum,
        wait_jitter=0,  # it would be luck that no seed repeats
        timeout=policy.timeout,
        wait_from=policy.by_error if policy.form == "error" else None,
    )
