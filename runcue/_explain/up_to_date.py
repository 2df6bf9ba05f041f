"""Why a work unit was skipped, in words that say what was not compared for that and what to do.

Lives here: what each policy does not compare.

Must not know: how freshness is checked.
"""

from __future__ import annotations

from typing import Any, Final

from runcue._explain.out_of_date import out_of_date
from runcue._freshness.newer import Newer
from runcue._model.callables import located
from runcue._model.phases import CANCELLED
from runcue._model.texts import listed, name_of, words_of
from runcue._model.work import Work

__all__ = ["LEFT", "left_by", "said_by", "why_skipped"]

LEFT: Final = "left as it was"
"""What is said of one that was skipped downstream of a failure, in place of being up to date."""

_FORCE: Final = "submit(force=True) runs it all the same"
_CODE: Final = "the code of the handler"
_DIGEST: Final = "fresh=runcue.digest() compares contents and params, digest(code=True) the code as well"


def left_by(work: Work) -> Work | None:
    """Who has failed, downstream of which a work unit was skipped; None if it was not."""
    evidence = None if work._declared is None or not work.skipped else work._declared.evidence
    return evidence[1][0] if evidence is not None and evidence[0] == LEFT else None


def _why_left(work: Work) -> str:
    """Why a work unit was left as it was, and the way on."""
    assert work._declared is not None
    failed, artifact, itself = work._declared.evidence[1]
    cancelled = failed._outcome == CANCELLED
    ended = f"{name_of(failed)} {'was cancelled' if cancelled else 'failed'}"
    name = words_of(artifact)
    why = (
        f"{ended}, which was to make {name} anew" if itself else f"its input {name} was, too, because {ended}"
    )
    return f"{why}. {'Submit' if cancelled else 'Mend that, and submit'} both again"


def why_skipped(work: Work) -> tuple[str, tuple[str, ...]]:
    """Why a work unit was skipped, what was not compared for that, and how it is run all the same.

    Returns:
        All of that in a line; and what was not compared, by itself.
    """
    if left_by(work) is not None:
        return _why_left(work), ()
    declared = work._declared
    if declared is None or not declared.outputs or declared.stale is not None:
        although = (
            "" if declared is None or declared.stale is None else f", although {out_of_date(*declared.stale)}"
        )
        return f"{said_by(work._task.is_stale)}{although}. {_FORCE}", ()
    fresh = declared.fresh if declared.rehearsed is None else declared.rehearsed.fresh
    outputs = listed(map(words_of, declared.outputs))
    is_ = "is" if len(declared.outputs) == 1 else "are"
    if fresh is None or (isinstance(fresh, Newer) and not declared.inputs):
        details = f"{outputs} {is_} valid"
    else:
        inputs = f" with {listed(map(words_of, declared.inputs))}" if declared.inputs else ""
        details = f"{outputs} {is_} up to date{inputs}"
    left_out, words, remedy = _not_compared(fresh)
    more = "" if remedy is None else f"; {remedy}"
    gate = work._task.is_stale
    unasked = (
        "" if gate is None else f"; the is_stale callback {located(gate)} is asked only where that says no"
    )
    return f"{details}, by {words}{unasked}. {_FORCE}{more}", left_out


def _not_compared(fresh: Any) -> tuple[tuple[str, ...], str, str | None]:
    """What a policy does not compare that a user may have changed.

    Returns:
        That, nothing of one of his own; the policy in words that say so; which one compares more, None if none does.
    """
    from runcue._freshness.digest import Digest  # noqa: PLC0415 - not every program uses it

    if fresh is None:
        left_out: tuple[str, ...] = ("dates", "contents", "params", "code")
        return left_out, "fresh=None, which compares neither dates, contents, params nor code", _DIGEST
    if isinstance(fresh, Newer):
        return ("params", "code"), f"newer(), which compares neither params nor {_CODE}", _DIGEST
    if not isinstance(fresh, Digest):
        return (), words_of(fresh), None
    words = words_of(fresh)
    if fresh.code and fresh.params:
        return ("what the handler calls",), f"{words}, which does not compare what the handler calls", None
    if fresh.code:
        left_out = ("params", "what the handler calls")
        return left_out, f"{words}, which compares neither params nor what the handler calls", None
    if fresh.params:
        return ("code",), f"digest(), which does not compare {_CODE}", "digest(code=True) compares it"
    left_out = ("params", "code")
    return left_out, f"{words}, which compares neither params nor {_CODE}", "digest(code=True) compares both"


def said_by(is_stale: object) -> str:
    """That a callback has decided."""
    return f"the is_stale callback {located(is_stale)} said so"
