"""Why a work unit ran, or did not have to: the answer to `cue.why_stale()`.

Lives here: reading what the last check of a work unit's outputs found, and putting it in words.

Must not know: how freshness is checked, how to change anything.
"""

from __future__ import annotations

from typing import Any, Final

from runcue._artifacts.artifact import Artifact
from runcue._explain.answers import WhyStale
from runcue._model.phases import CANCELLED, FAILED, RUNNING, SETTLED
from runcue._model.texts import listed, name_of, words_of
from runcue._model.work import Work

__all__ = ["why_stale"]


def why_stale(work: Work, awaited: Work | None) -> WhyStale:
    """Explain what made a work unit run, or why it did not have to.

    Args:
        work: The work.
        awaited: Which one it has to wait for; None if for none.
    """
    declared = work._declared
    if work._phase == SETTLED and work.skipped:
        return _why_skipped(work)
    if declared is not None and declared.fault is not None:
        return WhyStale(work, None, "fault", None, None, words_of(declared.fault))
    found = None if declared is None else declared.stale
    if found is not None:
        return _in_words(work, *found)
    if work._phase < RUNNING:
        rest = f"; it waits for {name_of(awaited)}" if awaited is not None else ""
        return WhyStale(work, None, "not asked", None, None, f"that is asked once it is ready{rest}")
    if work._phase == SETTLED and work._outcome in (CANCELLED, FAILED) and work.started_at is None:
        return WhyStale(
            work, None, "not asked", None, None, f"it {_ENDED[work._outcome]} before it could start"
        )
    if work._task.is_stale is not None:
        name = getattr(work._task.is_stale, "__qualname__", "is_stale")
        return WhyStale(work, True, "is_stale", None, None, f"the is_stale callback {name} said so")
    return WhyStale(
        work,
        True,
        "nothing says otherwise",
        None,
        None,
        "no outputs are declared and there is no is_stale",
    )


def _why_skipped(work: Work) -> WhyStale:
    declared = work._declared
    if declared is None or not declared.outputs or declared.stale is not None:
        name = getattr(work._task.is_stale, "__qualname__", "is_stale")
        return WhyStale(work, False, "up to date", None, None, f"the is_stale callback {name} said so")
    outputs = listed(map(words_of, declared.outputs))
    if declared.fresh is None or not declared.inputs:
        details = f"{outputs} {'is' if len(declared.outputs) == 1 else 'are'} valid"
    else:
        details = f"{outputs} by {declared.fresh!r} up to date with {listed(map(words_of, declared.inputs))}"
    return WhyStale(work, False, "up to date", None, None, details)


_ENDED: Final = {FAILED: "failed", CANCELLED: "was cancelled"}


def _in_words(work: Work, verdict: str, artifact: Any, other: Any) -> WhyStale:
    name, beside = words_of(artifact), words_of(other)
    details = {
        "forced": "it was submitted with force=True",
        "missing": f"its output {name} was missing",
        "not valid": f"its output {name} {other}",
        "older": f"its output {name} was not newer than its input {beside}",
        "changed": f"its input {beside} has other content than when {name} was made",
        "params": f"its params are not those that {name} was made with",
        "no stamp": f"nothing is known of how {name} was made",
        "unreadable stamp": f"the note on how {name} was made cannot be read",
        "output changed": f"its output {name} is not what was made",
        "new input": f"{name} was made without its input {beside}",
        "lost input": f"{name} was made with other inputs",
        "raised": f"{name} could not be looked at: {beside}",
    }.get(verdict, f"{verdict}: {name}" + (f", {beside}" if other is not None else ""))
    return WhyStale(
        work,
        True,
        verdict,
        artifact if isinstance(artifact, Artifact) else None,
        other if isinstance(other, Artifact) else None,
        details,
    )
