"""Retries as a submission may ask for them, and what follows from that by arithmetic of its own.

Lives here: `Policy`, which says so in one of the forms that `retry=` takes.

Must not know: who fails, what is judged.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import runcue

FORMS: Final = ("Retry", "function", "error")
"""How it may be written: a `Retry`, a function, or a `Retry` that asks the error first."""


class Policy(NamedTuple):
    """The retries of one submission.

    Attributes:
        form: One of `FORMS`.
        attempts: In all.
        initial: Seconds before the second one.
        maximum: Before any.
        is_exit_final: Whether a handler that leaves by something like SystemExit is not tried again.
    """

    form: str
    attempts: int
    initial: float
    maximum: float
    is_exit_final: bool

    def option(self) -> Any:
        """It as `retry=` takes it."""
        if self.form == "function":
            return lambda attempt, error, elapsed: self.after(attempt, error)
        return runcue.Retry(
            attempts=self.attempts,
            on=self._is_worth_it,
            wait_initial=self.initial,
            wait_max=self.maximum,
            wait_jitter=0,  # it would be luck that no seed repeats
            wait_from=self._by_error if self.form == "error" else None,
        )

    def after(self, attempt: int, error: BaseException) -> float | None:
        """Seconds between the end of an attempt that has failed and the next one; None if it was the last."""
        if isinstance(error, runcue.HandlerExited) and error.__cause__ is not None:
            error = error.__cause__  # what the handler has raised itself
        if attempt >= self.attempts or isinstance(error, runcue.GiveUp) or not self._is_worth_it(error):
            return None
        own = self._by_error(error) if self.form == "error" else None
        return min(self.maximum, self.initial * 2.0 ** (attempt - 1)) if own is None else own

    def _is_worth_it(self, error: BaseException) -> bool:
        return isinstance(error, Exception) or not self.is_exit_final

    def _by_error(self, error: BaseException) -> float | None:
        return 2.5 * self.maximum if isinstance(error, ConnectionError) else None
