"""Having a cue tell a checker what becomes of its work units.

Lives here: `listen`.

Must not know: what is promised.
"""

from __future__ import annotations

from collections.abc import Callable

import runcue
from runcue_sim._chaos.checker import Checker
from runcue_sim._records.ledger import item_of, outcome_of


def listen(
    checker: Checker,
    cue: runcue.Cue,
    clock: Callable[[], float],
    is_expected: Callable[[BaseException], bool],
) -> None:
    """Have a cue tell a checker. Nobody who takes their time may hear of its work units before.

    Args:
        checker: Is told.
        cue: Described.
        clock: Seconds of the loop.
        is_expected: Whether a failure was asked for.
    """
    cue.observe(_Ear(checker, clock, is_expected))


class _Ear(runcue.Observer):
    """Tells a checker what a cue does."""

    def __init__(
        self,
        checker: Checker,
        clock: Callable[[], float],
        is_expected: Callable[[BaseException], bool],
    ) -> None:
        self._checker = checker
        self._clock = clock
        self._is_expected = is_expected

    def submitted(self, work: runcue.Work) -> None:
        self._checker.submitted(self._clock(), work.id, work.task, item_of(work))

    def started(self, work: runcue.Work) -> None:
        self._checker.started(self._clock(), work.id, work.attempt, resumes=False)

    def resumed(self, work: runcue.Work) -> None:
        self._checker.started(self._clock(), work.id, work.attempt, resumes=True)

    def attempt_failed(self, work: runcue.Work, error: BaseException, delay: float) -> None:
        self._checker.attempt_failed(work.id, error)

    def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
        self._checker.put_back(self._clock(), work.id, reason, delay or 0.0)

    def settled(self, work: runcue.Work, duration: float) -> None:
        now, error, checker = self._clock(), work.exception, self._checker
        if error is not None and not work.skipped:
            checker.failed(now, work.id, error, expected=self._is_expected(error))
            return
        ends = {"completed": checker.completed, "skipped": checker.skipped, "cancelled": checker.cancelled}
        ends[outcome_of(work)](now, work.id)
