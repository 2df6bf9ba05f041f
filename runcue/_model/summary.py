"""What became of work units, in numbers: what `drain()` and `stop()` return, and what a group has.

Must not know: how it is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runcue._model.checks import says_what_it_takes
from runcue._model.errors import PendingTimeout, RuncueError, StallTimeout, WorkTimeout, is_a
from runcue._model.phases import WorkState
from runcue._model.texts import how_many, in_one_line, listed, name_of
from runcue._model.work import Work

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["Durations", "Spent", "Summary"]

_UNSETTLED: Final = (WorkState.PENDING, WorkState.RUNNING)

_MOST_BUDGETS: Final = 6
_LONGEST_NAME: Final = 40
"""What was spent is told of so many budgets, and so many letters of what each counts."""


class Durations(NamedTuple):
    """For how long the handlers of a task took that have succeeded, each in its last attempt.

    Attributes:
        count: How many. A work unit that has joined another one had no handler of its own.
        total: Seconds in all.
        least: The fewest seconds.
        median: Half of them took no longer. Of the last hundred alone, and only of those that the cue still knows
            (`Cue(keep=)`); None if it knows none. All else is of all of them.
        most: The most seconds.
    """

    count: int  # type: ignore[assignment]  # nobody counts what is in it
    total: float
    least: float
    median: float | None
    most: float


class Spent(NamedTuple):
    """What was spent of one thing that budgets count. Amounts are ints where they are whole, else Decimals.

    Attributes:
        total: In all: what handlers have said by `work.spent()`, and where one said nothing what its `cost=` says. Each
            attempt that has ended counts, but none that a server has refused.
        wasted: What of that those attempts have taken that did not succeed, as they failed or were cancelled.
    """

    total: int | Decimal
    wasted: int | Decimal


class Summary:
    """What became of the work units of a cue since it was started, or of those of a group. `print()` it.

    In a line it says how many ended how. Under that, where there are several tasks or failures, it has a row for each
    task, and of each kind of failure how many they are and some of them, with their params.

    Attributes:
        counts: How many work units ended how: keys "completed" (a handler returned), "skipped", "failed", "cancelled".
        by_task: The same for each task, with those that are "pending" and "running".
        failed: The failed work units as far as the cue still keeps them (`Cue(keep=)`), in the order in which they have
            settled; of a group in that of their submission. Those that you go through, or take out of it, count as
            heard of: they are not in the log any more.
        cancelled: The cancelled ones, likewise.
        timed_out: Those of the failed whose time was over: `WorkTimeout`, `PendingTimeout`, `StallTimeout`.
        values: Of a group, what `result()` of each of its work units gives, in the order of their submission; None
            where that is nothing, or raises. Of a cue there are none: it does not keep them.
        blocked: Work units that could not run, as `debug_blocked()` describes them. After `drain()` they are still
            pending; after `stop()` they have been cancelled.
        left: Work units without an end. After `drain()` those that have not settled, be they blocked or, where its time
            was over, about to run; they go on. After `stop()` those that were to run later or are tried again without
            end, which it has cancelled, too.
        abandoned: Work units whose handlers were still running when a time-out of `stop()` struck and that could not be
            ended: threads, and coroutines that suppress their cancellation.
        deadlocked: Work units whose handlers wait for another work unit of the same cue that could never run.
        downstream: How many of the skipped are downstream of a failure: they were left as they are, because an artifact
            that they are made from was to be made anew, and was not. The other skipped ones are up to date.
        spent: What was spent of all that the budgets of services count, by its name, as `Spent`: total and wasted. What
            is counted by several services counts once. Of a group there is nothing: it does not keep that.
        refused: How many items of maps could not be submitted. Their work units failed without having been among those
            of the cue, so that they are in none of the other numbers.
        duration: Seconds since the start.
    """

    __slots__ = (
        "_because",
        "_durations",
        "_failed",
        "_given_up",
        "_tried",
        "abandoned",
        "blocked",
        "by_task",
        "cancelled",
        "counts",
        "deadlocked",
        "downstream",
        "duration",
        "failed",
        "left",
        "refused",
        "spent",
        "timed_out",
        "values",
    )

    def __init__(
        self,
        counts: dict[str, int],
        failed: list[Work],
        blocked: list[dict[str, Any]],
        duration: float,
        left: list[Work] | None = None,
        abandoned: list[Work] | None = None,
        deadlocked: list[Work] | None = None,
        downstream: int = 0,
        because: Sequence[Work] = (),
        *,
        cancelled: list[Work] | None = None,
        by_task: Mapping[str, dict[str, int]] | None = None,
        durations: Callable[[], dict[str, Durations]] = dict,
        values: list[Any] | None = None,
        spent: dict[str, Spent] | None = None,
        refused: int = 0,
    ) -> None:
        self.counts = counts
        self.spent = spent or {}
        self.refused = refused
        self.by_task = dict(by_task or {})
        self._failed = failed
        self.failed: list[Work] = _Failures(failed)
        self.cancelled = cancelled or []
        self.timed_out: list[Work] = _Failures(work for work in failed if _is_time_out(work.exception))
        # To be found out when somebody asks, or what was found.
        self._durations: Callable[[], dict[str, Durations]] | dict[str, Durations] = durations
        self.values = values or []
        self.blocked = blocked
        self.duration = duration
        self.left = left or []
        self.abandoned = abandoned or []
        self.deadlocked = deadlocked or []
        self.downstream = downstream
        self._because = because
        # After a stop those that could not run have been cancelled, and are counted there.
        given_up = [entry["work"] for entry in blocked if entry["work"].state is WorkState.CANCELLED]
        self._given_up = len(given_up)
        self._tried = sum(bool(work.attempts) or work.started_at is not None for work in given_up)

    @property
    def durations(self) -> dict[str, Durations]:
        """For how long handlers took, by task, as `Durations`: count, total, least, median and most.

        A task of which none has succeeded is not in it.
        """
        if not isinstance(self._durations, dict):
            self._durations = self._durations()
        return self._durations

    @property
    def ok(self) -> bool:
        """Whether everything was completed or skipped."""
        return not (
            self.counts["failed"] or self.counts["cancelled"] or self.blocked or self.left or self.refused
        )

    @says_what_it_takes
    def raise_for_errors(self) -> None:
        """Raise what the handlers of the failed work units have raised, and their time-outs, as one group; or nothing.

        Who is cancelled has not failed.

        Raises:
            ExceptionGroup: Of copies in the order of `failed`, each with the traceback that leads to the line in the
                handler, as `result()` raises them. Of those that are not kept any more (`Cue(keep=)`) is told how many
                they are.
        """
        number = self.counts["failed"]
        if not number:
            return
        from runcue._model.kept_errors import raised_again, say_whose  # noqa: PLC0415 - it comes with the first cue

        errors: list[Exception] = []
        for work in self.failed:
            error = work.exception
            if error is not None:
                copy = raised_again(error)
                assert isinstance(copy, Exception)  # what is none was wrapped
                say_whose(copy, work)
                errors.append(copy)
        tasks = {name: counts["failed"] for name, counts in self.by_task.items() if counts["failed"]}
        whole = sum(self.counts.values())
        which = (
            f": {listed((f'{count:,} {name}' for name, count in tasks.items()))}" if len(tasks) > 1 else ""
        )
        if len(errors) < number:
            errors.append(
                RuncueError(f"{number - len(errors):,} more have failed that are not kept, see Cue(keep=).")
            )
        raise ExceptionGroup(
            f"{number:,} of {how_many(whole, 'work unit', 'work units')} failed{which}", errors
        )

    def __str__(self) -> str:
        from runcue._model.summary_table import table_of  # noqa: PLC0415 - where it is shown

        table = table_of(self.by_task, self.durations, self._failed)
        first = [self._line(), *self._spent_line()]
        return "\n".join([*first, "", *table] if table else first)

    def _spent_line(self) -> list[str]:
        """What was spent, in a line; none if nothing was."""
        if not self.spent:
            return []
        total = listed((_of(one.total, name) for name, one in self.spent.items()), _MOST_BUDGETS)
        wasted = [_of(one.wasted, name) for name, one in self.spent.items() if one.wasted]
        those = (
            f"; {listed(wasted, _MOST_BUDGETS)} of that by attempts that did not succeed" if wasted else ""
        )
        return [f"spent {total}{those}"]

    def _line(self) -> str:
        counts = {what: number for what, number in self.counts.items() if number}
        parts = [f"{number:,} {what}{self._more(what, number)}" for what, number in counts.items()] or [
            "nothing ran"
        ]
        if waiting := len(self.blocked) - self._given_up:
            parts.append(f"{waiting:,} blocked")
        blocked = {entry["work"] for entry in self.blocked}
        goes_on = sum(work not in blocked and work.state in _UNSETTLED for work in self.left)
        if goes_on:
            parts.append(f"{goes_on:,} not settled yet")
        if self.refused:
            parts.append(f"{how_many(self.refused, 'item', 'items')} of maps could not be submitted")
        return f"{', '.join(parts)} in {self.duration:.2f} s"

    def _more(self, what: str, number: int) -> str:
        """What else is to be said of those that ended so."""
        if what == "skipped" and self.downstream:
            up_to_date = number - self.downstream
            also = f"{up_to_date:,} up to date, " if up_to_date > 0 else ""
            names = ", ".join(map(name_of, self._because[:3]))
            others = " and others" if len(self._because) > 3 else ""
            return f" ({also}{self.downstream:,} not run because of {names}{others})"
        if what == "cancelled":
            left = sum(work.state is WorkState.CANCELLED for work in self.left)
            new = self._given_up - self._tried
            they = "it" if new == 1 else "they"
            attempts = "its next attempt" if self._tried == 1 else "their next attempts"
            due = "it was due" if left == 1 else "they were due"
            kinds = (
                (new, f" before {they} could start", f"before {they} could start"),
                (self._tried, f" before {attempts}", f"before {attempts}"),
                (left, f" before {due}", f"before {due}"),
            )
            some_of_them = [f"{count:,} of them {some}" for count, _, some in kinds if 0 < count < number]
            if some_of_them:
                return f" ({', '.join(some_of_them)})"
            return "".join(all_of_them for count, all_of_them, _ in kinds if count)
        return ""

    def __repr__(self) -> str:
        return f"<Summary {self._line()}>"


class _Failures(list[Work]):
    """Failed work units; who takes one of them has heard of its failure. Who merely counts them has not."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Work]:
        for work in super().__iter__():
            _hear(work)
            yield work

    def __getitem__(self, place: Any) -> Any:
        taken = super().__getitem__(place)
        for work in taken if isinstance(place, slice) else (taken,):
            _hear(work)
        return taken


def _is_time_out(error: BaseException | None) -> bool:
    return error is not None and any(
        is_a(error, kind) for kind in (WorkTimeout, PendingTimeout, StallTimeout)
    )


def _of(amount: int | Decimal, name: str) -> str:
    """So much of what a budget counts."""
    from fractions import Fraction  # noqa: PLC0415 - see below

    from runcue._model.amounts import amount_in_words  # noqa: PLC0415 - a budget has loaded it

    return f"{amount_in_words(Fraction(amount))} {in_one_line(name, _LONGEST_NAME)}"


def _hear(work: Work) -> None:
    """The failure is in somebody's hands, as if its handle had been asked."""
    task = getattr(work, "_task", None)  # one that could not be submitted may have none
    if task is not None and task.dispatcher is not None:
        task.dispatcher.callbacks.unheard.heard(work._value)
