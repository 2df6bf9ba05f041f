"""When outputs that are there and valid are out of date: the policies a task can choose from.

Lives here: `newer`, which compares times; `provenance` sees that the times of what is made can be compared. The other
policy, which compares contents with those of the last run, is `digest`.

An artifact that is both input and output of one work unit is changed by that very work, so it counts as an output.

Must not know: event loops, order, who makes what.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Sequence
from time import time_ns
from typing import Any, ClassVar, Final

from runcue._artifacts.artifact import Artifact, key_of
from runcue._artifacts.dating import TIE_NS
from runcue._artifacts.file import File
from runcue._artifacts.places import final
from runcue._freshness.folder_news import FOLDER_NEWS
from runcue._freshness.versions import as_time, is_dated
from runcue._model.checks import says_what_it_takes
from runcue._model.declaration import Declaration
from runcue._model.errors import ArtifactError
from runcue._model.texts import words_of
from runcue._model.work import Work

__all__ = ["Newer", "Verdict", "newer"]

Verdict = tuple[str, Artifact | None, Artifact | None]
"""What makes outputs stale, the output at fault and the input it was compared to."""


class Newer:
    """Outputs are out of date unless each of them is newer than all inputs. See `newer`."""

    __slots__ = ()

    quick: ClassVar[bool] = True
    """`finished` takes microseconds, so it may be called in the event loop."""

    def stale(self, work: Work) -> Verdict | None:
        """Whether an input is as new as an output, or newer, or nothing can be said because of a date in the future.

        Returns:
            ("older", the oldest output, the newest input), ("future", output, None), ("future input", an output, the
            input), ("made inside", an output, the folder), or None.

        Raises:
            ArtifactError: Two versions cannot be compared.
        """
        declared = work._declared
        assert declared is not None
        before, was = declared.before, declared.was
        if not before or not was:
            return _from_the_future(declared) if was else None
        try:
            # Nearly always there is one of each, and to look for the greatest of one takes a call.
            newest = before[0] if len(before) == 1 else max(before)
            oldest = latest = was[0]
            if len(was) > 1:
                oldest, latest = min(was), max(was)
            # An artifact that is both input and output never passes here, having one version.
            if type(newest) is int and newest < oldest and latest <= time_ns() + TIE_NS:
                return _made_inside(declared) if FOLDER_NEWS.latest else None
        except (TypeError, ValueError):
            pass  # versions of several kinds, or unknown ones
        return _from_the_future(declared) or _older(declared) or _made_inside(declared)

    def started(self, work: Work) -> None:
        """Nothing: what is to be known of inputs is noted for every policy. See `Provenance`."""

    def finished(self, work: Work) -> None:
        """Nothing: the outputs of every run are dated so that they can be compared. See `Provenance`."""

    def __repr__(self) -> str:
        return "newer()"


def _from_the_future(declared: Declaration) -> Verdict | None:
    """A file that is dated in the future: when it was written is not known, and it would be believed until then."""
    latest = time_ns() + TIE_NS
    for output, version in zip(declared.outputs, declared.was, strict=False):
        if type(version) is int and version > latest and is_dated(output):
            return "future", output, None
    for one, version in zip(declared.inputs, declared.before, strict=False):
        if type(version) is int and version > latest and is_dated(one):
            return "future input", declared.outputs[0], one
    return None


def _made_inside(declared: Declaration) -> Verdict | None:
    """Of a folder in which this process has made something since, the date need not tell."""
    folder = FOLDER_NEWS.later_than(declared)
    return None if folder is None else ("made inside", declared.outputs[0], folder)


def _older(declared: Declaration) -> Verdict | None:
    """The verdict of `Newer` where it takes more than a glance."""
    # Links cost a look each, and only what seems to be out of date may be one file by two names.
    return _compared(declared, key_of) and _compared(declared, _leads_to)


def _leads_to(artifact: Artifact) -> Hashable:
    return final(artifact._key) if isinstance(artifact, File) else key_of(artifact)


def _compared(declared: Declaration, identity: Callable[[Artifact], Hashable]) -> Verdict | None:
    inputs = [pair for pair in zip(declared.inputs, declared.before, strict=False) if pair[1] is not None]
    outputs = [pair for pair in zip(declared.outputs, declared.was, strict=False) if pair[1] is not None]
    both = set(map(identity, declared.inputs)) & set(map(identity, declared.outputs))
    if not both:
        return _behind(outputs, inputs)
    # Of two artifacts that are both, each would have to be newer than the other: those are compared with none of them.
    return _behind([pair for pair in outputs if identity(pair[0]) not in both], inputs) or _behind(
        [pair for pair in outputs if identity(pair[0]) in both],
        [pair for pair in inputs if identity(pair[0]) not in both],
    )


_Versioned = tuple[Artifact, Any]


def _behind(outputs: Sequence[_Versioned], inputs: Sequence[_Versioned]) -> Verdict | None:
    """Whether one of the outputs is not newer than one of the inputs."""
    if not outputs or not inputs:
        return None
    oldest, newest = outputs[0], inputs[0]
    for output in outputs[1:]:
        if _holds(operator.lt, output, oldest):
            oldest = output
    for one in inputs[1:]:
        if _holds(operator.gt, one, newest):
            newest = one
    return ("older", oldest[0], newest[0]) if not _holds(operator.lt, newest, oldest) else None


def _holds(comparison: Callable[[Any, Any], Any], one: _Versioned, other: _Versioned) -> bool:
    try:
        return bool(comparison(as_time(one[1]), as_time(other[1])))
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"The version of {words_of(one[0])}, {words_of(one[1])}, cannot be compared with that of "
            f"{words_of(other[0])}, {words_of(other[1])}. For newer() give both in nanoseconds since the epoch, or "
            "both as a datetime."
        ) from error


_NEWER: Final = Newer()


@says_what_it_takes
def newer() -> Newer:
    """Outputs are out of date if an input is newer than one of them, or exactly as new. What `fresh=` is by default.

    For files the time of their last change is compared, for other artifacts `version()`: whole nanoseconds since the
    epoch or a datetime (a naive one is local time), or anything else that can be compared. Of an artifact whose version
    is None only the validity counts. The time of a folder tells when an entry came or went, not what happened inside.

    Equal counts as older, because an input that is changed within one tick of the clock after its output was made could
    not be told from one that was not (cargo#5919). Since that clock would also make many a new output as old as its
    input, an output of this run that is no newer by at most 0.1 s is dated anew, a tick later. If an input changes
    during the run, the outputs stay out of date. So do a file that is dated in the future, by more than 0.1 s, and what
    is made from it: nobody knows when it was written.

    Example:
        >>> import runcue
        >>> runcue.newer()
        newer()
    """
    return _NEWER
