"""Why a work unit will run again although it has just succeeded, and what can be done about it, in words.

Must not know: how that was found out, who is told.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

from runcue._artifacts.file import File
from runcue._callbacks.lasting_proof import UNSTEADY, Finding
from runcue._explain.dates import dates_in_words
from runcue._explain.out_of_date import out_of_date
from runcue._model.declaration import Declaration
from runcue._model.texts import words_of

__all__ = ["why_out_of_date", "why_still_stale"]


def why_still_stale(finding: Finding) -> str:
    """What makes it so, with the dates, and a remedy: one sentence, and another."""
    verdict, artifact, other, version, other_version = finding
    if verdict == UNSTEADY:
        return (
            f"the version of its input {words_of(other)} is another one each time that it is asked for. Let version() "
            "return what stays the same for as long as the artifact does"
        )
    known = [
        (words_of(one), one, v) for one, v in ((artifact, version), (other, other_version)) if v is not None
    ]
    if verdict == "future":
        known.append(("now", artifact, time.time_ns()))
    dates = _in_brackets((told, v if isinstance(one, File) else words_of(v)) for told, one, v in known)
    return f"{out_of_date(verdict, artifact, other, planned=True)}{dates}{_remedy(finding)}"


def why_out_of_date(declared: Declaration, changed: Any) -> str:
    """What an input that changed during a run was and is, and a remedy: one sentence, and another.

    Args:
        declared: Of the work unit.
        changed: The input.
    """
    then = next((v for one, v in zip(declared.inputs, declared.before, strict=False) if one is changed), None)
    then = getattr(then, "st_mtime_ns", then)
    try:
        now = changed.path.stat().st_mtime_ns if isinstance(changed, File) else changed.stamp()
    except OSError:
        now = None
    dates = _in_brackets((when, v) for when, v in (("before", then), ("after", now)) if type(v) is int)
    return (
        f"its input {words_of(changed)} changed while it ran{dates}. If the handler itself writes there, let it not do "
        "so, or declare this as an output as well"
    )


def _in_brackets(versions: Iterable[tuple[str, int | str]]) -> str:
    """Versions by name, numbers as the dates that they are; "" if there are none."""
    known = list(versions)
    dates = iter(dates_in_words(*(version for _, version in known if isinstance(version, int))))
    told = [f"{name}: {version if isinstance(version, str) else next(dates)}" for name, version in known]
    return f" ({', '.join(told)})" if told else ""


def _remedy(finding: Finding) -> str:
    verdict, artifact, other = finding[:3]
    if verdict in ("future", "future input"):
        late = artifact if verdict == "future" else other
        return f". Set the clock right that has dated it, and then its date: File({str(late)!r}).touch()"
    if verdict != "older":
        return ""
    if isinstance(artifact, File) and isinstance(other, File):
        if artifact._key.startswith(f"{other._key}{os.sep}"):
            return (
                ". What comes into a folder dates it anew: name the files in it that are needed, in its place"
            )
        contents = "compare contents, by fresh=runcue.digest()"
        if _are_one(artifact, other):
            return f". They are one file, which has one date: copy it, or {contents}"
        return f". If it is right as it is, let the handler end with File({str(artifact)!r}).touch(), or {contents}"
    return ". Let each run leave outputs whose versions are later than those of the inputs"


def _are_one(one: File, other: File) -> bool:
    try:
        return one.path.samefile(other.path)
    except OSError:
        return False
