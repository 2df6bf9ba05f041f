"""Why a work unit is settled as it is: with whom, because of what, and what its handler still does.

Must not know: work units that are pending, words.
"""

from __future__ import annotations

from typing import Final

from runcue._explain.activity import Activity
from runcue._explain.kinds import Kind
from runcue._explain.reasons import Reason
from runcue._explain.up_to_date import left_by
from runcue._explain.why_stale import why_stale
from runcue._handlers.outputs import run_of
from runcue._model.phases import COMPLETED, OUTCOMES, SETTLED
from runcue._model.texts import error_words
from runcue._model.work import Work

__all__ = ["explain_settled", "joined_with"]

# What `why_stale()` says of who declares nothing that could be out of date.
_UNTOLD: Final = frozenset(("nothing says otherwise", "is_stale"))


def explain_settled(activity: Activity, work: Work, now: float, wall: float) -> Reason:
    """The reason of a settled work unit.

    Args:
        activity: What has run it.
        work: The work unit.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """
    since = now - max(0.0, wall - (work.completed_at or wall))
    error = work.exception
    kind: Kind = OUTCOMES[work._outcome]
    run = run_of(work)
    late = (run,) if run in activity.holders() else ()
    if late:
        beside = (_explain_late(activity, run, now, wall),)
        return Reason(work, kind, None, since, said=_said(error), others=late, beside=beside)
    leader = joined_with(work)
    if leader is not None:
        root = explain_settled(activity, leader, now, wall)
        return Reason(work, kind, leader, since, said=_said(error), chain=(work, leader), root=root)
    if work.skipped or (work._declared is not None and work._outcome == COMPLETED):
        stale = why_stale(work, None)
        said = "" if stale.verdict in _UNTOLD else stale.details
        return Reason(work, kind, left_by(work), since, said=said)
    return Reason(work, kind, None, since, said=_said(error))


def _explain_late(activity: Activity, run: Work, now: float, wall: float) -> Reason:
    """A handler that has outlived its work unit."""
    since = now - max(0.0, wall - (run.started_at or wall))
    return Reason(run, "running", None, since, said=activity.where_it_is(run))


def _said(error: BaseException | None) -> str:
    return "" if error is None else error_words(error)


def joined_with(work: Work) -> Work | None:
    """The work unit with which a settled one that had joined it has settled; None if it has by itself."""
    leader: Work | None = None if work._declared is None else work._declared.leader
    if leader is None or leader._phase != SETTLED or leader._outcome != work._outcome:
        return None
    return leader
