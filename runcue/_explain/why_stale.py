"""Why a work unit ran, or did not have to: the answer to `cue.why_stale()`.

Lives here: reading what the last check of a work unit's outputs found, and the words for every verdict of such a check,
which a plan uses as well.

Must not know: how freshness is checked, how to change anything.
"""

from __future__ import annotations

from typing import Any, Final

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.flag import Flag
from runcue._explain.answers import WhyStale
from runcue._model.phases import CANCELLED, FAILED, RUNNING, SETTLED
from runcue._model.texts import describe, error_words, listed, name_of, words_of
from runcue._model.work import Work

__all__ = ["out_of_date", "why_stale"]


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
        verdict, artifact, other = found
        return WhyStale(
            work,
            True,
            verdict,
            artifact if isinstance(artifact, Artifact) else None,
            other if isinstance(other, Artifact) else None,
            "it was submitted with force=True" if verdict == "forced" else out_of_date(*found),
        )
    if work._phase < RUNNING:
        rest = f"; it waits for {name_of(awaited)}" if awaited is not None else ""
        return WhyStale(work, None, "not asked", None, None, f"that is asked once it is ready{rest}")
    if work._phase == SETTLED and work._outcome in (CANCELLED, FAILED) and work.started_at is None:
        return WhyStale(
            work, None, "not asked", None, None, f"it {_ENDED[work._outcome]} before it could start"
        )
    if work._task.is_stale is not None:
        return WhyStale(work, True, "is_stale", None, None, _said_by(work._task.is_stale))
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
        return WhyStale(work, False, "up to date", None, None, _said_by(work._task.is_stale))
    outputs = listed(map(words_of, declared.outputs))
    if declared.fresh is None or not declared.inputs:
        details = f"{outputs} {'is' if len(declared.outputs) == 1 else 'are'} valid"
    else:
        details = f"{outputs} by {words_of(declared.fresh)} up to date with {listed(map(words_of, declared.inputs))}"
    return WhyStale(work, False, "up to date", None, None, details)


def _said_by(is_stale: object) -> str:
    return f"the is_stale callback {describe(is_stale)} said so"


def out_of_date(verdict: str, artifact: Any, other: Any, *, planned: bool = False) -> str:
    """What makes outputs out of date, as part of a sentence.

    Args:
        verdict: In a word or two, as a check of the outputs gives it.
        artifact: The output or input at fault, None if none is.
        other: What it was compared to, or what is wrong with it; None if nothing.
        planned: Of a work unit that has not run yet, in few words. Otherwise as of the moment when it started.
    """
    form = _OUT_OF_DATE.get(verdict)
    if form is None:  # the word of a policy of the user's own
        return ": ".join([verdict, *(words_of(one) for one in (artifact, other) if one is not None)])
    if verdict == "missing" and isinstance(artifact, Flag):
        form = "{its_output}{one} {is_} not set"
    return form.format(
        one=words_of(artifact),
        other=other if isinstance(other, str) else words_of(other),
        error=error_words(other) if isinstance(other, BaseException) else "",
        its_output="" if planned else "its output ",
        its_input="" if planned else "its input ",
        is_="is" if planned else "was",
    )


_ENDED: Final = {FAILED: "failed", CANCELLED: "was cancelled"}

_OUT_OF_DATE: Final = {
    "missing": "{its_output}{one} {is_} missing",
    "not valid": "{its_output}{one} {other}",
    "older": "{its_output}{one} {is_} not newer than {its_input}{other}",
    "future": "{its_output}{one} {is_} dated in the future, which says nothing of when it was made",
    "future input": "{its_input}{other} {is_} dated in the future, so nothing can be newer",
    "made inside": "something was made in {its_input}{other} after {one}",
    "changed": "{its_input}{other} has other content than when {one} was made",
    "params": "its params are not those that {one} was made with",
    "no stamp": "nothing is known of how {one} was made",
    "other stamp": "the note on how {one} was made is that of another version of runcue",
    "unreadable stamp": "the note on how {one} was made cannot be read",
    "output changed": "{its_output}{one} is not what was made",
    "new input": "{one} was made without {its_input}{other}",
    "lost input": "{one} was made with other inputs",
    "unproven": "{its_output}{one} {is_} left by a handler that did not succeed (mark {other})",
    "unreadable mark": "{its_output}{one} {is_} in doubt by a mark that cannot be read ({other})",
    "outdated": "an input changed while {its_output}{one} was made (mark {other})",
    "raised": "{one} could not be looked at: {error}",
}
