"""What makes outputs out of date, in words: one table for `cue.why_stale()`, `cue.plan()` and warnings.

Must not know: how it was found out, what it was before and is now.
"""

from __future__ import annotations

from typing import Any, Final

from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._model.texts import error_words, words_of

__all__ = ["out_of_date"]


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
    if verdict == "changed" and not isinstance(other, File):
        form = "{its_input}{other} has another version than when {one} was made"
    return form.format(
        one=words_of(artifact),
        other=other if isinstance(other, str) else words_of(other),
        error=error_words(other) if isinstance(other, BaseException) else "",
        its_output="" if planned else "its output ",
        its_input="" if planned else "its input ",
        is_="is" if planned else "was",
    )


_OUT_OF_DATE: Final = {
    "missing": "{its_output}{one} {is_} missing",
    "not valid": "{its_output}{one} {other}",
    "older": "{its_output}{one} {is_} not newer than {its_input}{other}",
    "future": "{its_output}{one} {is_} dated in the future, which says nothing of when it was made",
    "future input": "{its_input}{other} {is_} dated in the future, so nothing can be newer",
    "made inside": "something was made in {its_input}{other} after {one}",
    "changed": "{its_input}{other} has other content than when {one} was made",
    "params": "its params are not those that {one} was made with",
    "new params": "its params were not compared before, so it is not known with which {one} was made",
    "code": "the code of its handler is not that which made {one}",
    "new code": "the code of its handler was not compared before, so it is not known by which {one} was made",
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
