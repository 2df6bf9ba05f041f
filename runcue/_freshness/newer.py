"""When outputs that are there and valid are out of date: the policies a task can choose from.

Lives here: `newer`, which compares times and repairs what the clocks of filesystems get wrong. The other policy, which
compares contents with those of the last run, is `digest`.

Both policies look at the inputs before the run and once more after it. An input that changed in between leaves the
outputs out of date, whatever their time says: nobody knows which of its contents they were made from. (Learned from
cargo#5919, where such outputs counted as fresh for ever, and from doit#119 and snakemake#1694, where it was noted after
the run.)

An artifact that is both input and output of one work unit is changed by that very work, so it counts as an output.

Must not know: event loops, order, who makes what.
"""

from __future__ import annotations

import logging
import operator
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from runcue._artifacts.artifact import Artifact, key_of
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._model.errors import ArtifactError
from runcue._model.texts import words_of
from runcue._model.work import Declaration, Work

__all__ = ["Newer", "Verdict", "newer", "version_of"]

logger = logging.getLogger("runcue")

Verdict = tuple[str, Artifact | None, Artifact | None]
"""What makes outputs stale, the output at fault and the input it was compared to."""

_TIE_NS: Final = 100_000_000
"""By how much an output may be older than its input and be the newer one all the same.

The kernel dates files by a clock that ticks every 1 to 10 ms, and a time of another kind, such as that of a `Flag`, may
be ahead of it by a tick. What differs by more comes from a clock that is wrong, which is not for us to hide.
"""


class Newer:
    """Outputs are out of date unless each of them is newer than all inputs. See `newer`."""

    __slots__ = ()

    quick: ClassVar[bool] = True
    """`finished` takes microseconds, so it may be called in the event loop."""

    def stale(self, work: Work) -> Verdict | None:
        """Whether an input is as new as an output, or newer.

        Returns:
            ("older", the oldest output, the newest input), or None.

        Raises:
            ArtifactError: Two versions cannot be compared.
        """
        declared = work._declared
        assert declared is not None
        before, was = declared.before, declared.was
        if not before or not was:
            return None
        try:
            newest = max(before)
            # An artifact that is both input and output never passes here, having one version.
            if type(newest) is int and newest < min(was):
                return None
        except (TypeError, ValueError):
            pass  # versions of several kinds, or unknown ones
        return _older(declared)

    def started(self, work: Work) -> None:
        """Note how old everything was before the run."""
        declared = work._declared
        assert declared is not None
        declared.token = None
        inputs, outputs = declared.inputs, declared.outputs
        if inputs and any(map(_is_dated, outputs)):
            # What the gate did not ask: all if forced, the outputs from the first that is missing.
            before = [*declared.before, *map(version_of, inputs[len(declared.before) :])]
            was = [*declared.was, *(_mtime_of(output) for output in outputs[len(declared.was) :])]
            declared.token = before, was

    def finished(self, work: Work) -> None:
        """Give the outputs of this run the times that tell the truth about them.

        If an input changed meanwhile, they are dated back to what was seen before the run, so that they stay out of
        date. Otherwise those that are not newer than their inputs for a tick of the clock are made newer.
        """
        declared = work._declared
        assert declared is not None
        noted, declared.token = declared.token, None
        if noted is None:
            return
        written = [
            _Written(output, status)
            for output, then in zip(declared.outputs, noted[1], strict=True)
            if _is_dated(output) and (status := _status_of(output)) is not None and status.st_mtime_ns != then
        ]
        if not written:
            return
        paths = [str(key_of(output)) for output in declared.outputs]
        seen = [_seen(one, version, paths) for one, version in zip(declared.inputs, noted[0], strict=True)]
        # What is one file with an input can have no time of its own.
        inputs = {(one.status.st_dev, one.status.st_ino) for one in seen if one.status and not one.own}
        written = [one for one in written if (one.status.st_dev, one.status.st_ino) not in inputs]
        changed = next((one for one in seen if one.has_changed), None)
        if changed is None:
            _date_forward(written, seen)
            return
        _date_back(written, [one for one in seen if not one.own])
        logger.warning(
            "%s changed while work %s of task %s ran, so %s stays out of date",
            changed.artifact,
            work.id,
            work.task,
            ", ".join(str(output) for output in declared.outputs),
        )

    def __repr__(self) -> str:
        return "newer()"


def _older(declared: Declaration) -> Verdict | None:
    """The verdict of `Newer` where it takes more than a glance."""
    inputs = [pair for pair in zip(declared.inputs, declared.before, strict=False) if pair[1] is not None]
    outputs = [pair for pair in zip(declared.outputs, declared.was, strict=False) if pair[1] is not None]
    both = set(map(key_of, declared.inputs)) & set(map(key_of, declared.outputs))
    if not both:
        return _behind(outputs, inputs)
    # Of two artifacts that are both, each would have to be newer than the other: those are compared with none of them.
    return _behind([pair for pair in outputs if key_of(pair[0]) not in both], inputs) or _behind(
        [pair for pair in outputs if key_of(pair[0]) in both],
        [pair for pair in inputs if key_of(pair[0]) not in both],
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
        return bool(comparison(_as_time(one[1]), _as_time(other[1])))
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"The version of {one[0]!r}, {words_of(one[1])}, cannot be compared with that of {other[0]!r}, "
            f"{words_of(other[1])}. For newer() give both in nanoseconds since the epoch, or both as a datetime."
        ) from error


def _as_time(version: Any) -> Any:
    """A version with datetimes as what files have: nanoseconds since the epoch."""
    if not hasattr(version, "astimezone"):
        return version
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 - who gives one has imported it already

    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    try:
        aware = version.astimezone()
    except (OverflowError, OSError, ValueError):
        aware = version.replace(tzinfo=UTC)  # datetime.min and the like: some hours make no difference there
    return (aware - epoch) // timedelta(microseconds=1) * 1000


def _is_dated(artifact: Artifact) -> bool:
    """Whether its version is the time of a file."""
    return isinstance(artifact, File) and type(artifact).version is File.version


def _status_of(artifact: Artifact) -> os.stat_result | None:
    try:
        return os.stat(str(key_of(artifact)))
    except OSError:
        return None


def _mtime_of(artifact: Artifact) -> int | None:
    status = _status_of(artifact) if _is_dated(artifact) else None
    return None if status is None else status.st_mtime_ns


def version_of(artifact: Artifact) -> Any:
    try:
        return artifact.version()
    except Exception:
        return None


class _Written(NamedTuple):
    """A file that was written in this run."""

    output: Artifact
    status: os.stat_result

    @property
    def mtime(self) -> int:
        return self.status.st_mtime_ns


class _Seen(NamedTuple):
    """An input after the run: its time before it, None if not known, and now; whether the work itself changes it."""

    artifact: Artifact
    then: int | None
    now: int | None
    own: bool
    status: os.stat_result | None

    @property
    def has_changed(self) -> bool:
        # One that is gone was used up or put away; if it comes back it has a time that can be compared.
        return not self.own and self.now is not None and self.then is not None and self.now != self.then


def _seen(artifact: Artifact, version: Any, outputs: Collection[str]) -> _Seen:
    time = _as_time(version)
    then = now = time if type(time) is int else None
    status = None
    if _is_dated(artifact):
        status = _status_of(artifact)
        now = None if status is None else status.st_mtime_ns
    elif isinstance(artifact, Flag):
        now = artifact.version()
    # Publishing changes the folder in which an output is.
    key = str(key_of(artifact))
    own = any(path == key or path.startswith(key + os.sep) for path in outputs)
    return _Seen(artifact, then, now, own, status)


def _date_back(written: Sequence[_Written], inputs: Sequence[_Seen]) -> None:
    """Make files as old as the inputs were before the run: what is as old as its input is out of date."""
    # An input may also have been replaced by an older one.
    newest_then = max(one.then for one in inputs if one.then is not None)
    newest_now = max(one.now for one in inputs if one.now is not None)
    for one in written:
        if one.mtime > min(newest_then, newest_now):
            _date(one, min(newest_then, newest_now))


def _date_forward(written: Sequence[_Written], inputs: Sequence[_Seen]) -> None:
    """Make files newer than their inputs that are so but for a tick of the clock."""
    newest = max((one.now for one in inputs if not one.own and one.now is not None), default=0)
    own = {key_of(one.artifact) for one in inputs if one.own}
    for one in written:
        if key_of(one.output) in own and newest - _TIE_NS <= one.mtime <= newest:
            _date(one, newest + 1)
    # What the work changes itself is as new as it is now, and was read before that.
    newest_own = max((_mtime_of(one.artifact) or 0 for one in inputs if one.own), default=0)
    for one in written:
        if key_of(one.output) not in own and newest - _TIE_NS <= one.mtime <= max(newest, newest_own):
            _date(one, max(newest, newest_own) + 1)


def _date(one: _Written, mtime: int) -> None:
    path = str(key_of(one.output))
    try:
        os.utime(path, ns=(one.status.st_atime_ns, mtime))
        taken = os.stat(path).st_mtime_ns == mtime
    except OSError as error:
        logger.warning("%s cannot be dated: %s", one.output, error.strerror)
        return
    if not taken and mtime > one.mtime:
        logger.info("%s cannot be dated exactly: its filesystem counts in steps", one.output)


_NEWER: Final = Newer()


def newer() -> Newer:
    """Outputs are out of date if an input is newer than one of them, or exactly as new. What `fresh=` is by default.

    For files the time of their last change is compared, for other artifacts `version()`: whole nanoseconds since the
    epoch or a datetime (a naive one is local time), or anything else that can be compared. Of an artifact whose version
    is None only the validity counts. The time of a folder tells when an entry came or went, not what happened inside.

    Equal counts as older, because an input that is changed within one tick of the clock after its output was made could
    not be told from one that was not (cargo#5919). Since that clock would also make many a new output as old as its
    input, an output of this run that is no newer by at most 0.1 s is dated a nanosecond later than its inputs. If an
    input changes during the run, its outputs are dated back instead, and so stay out of date.

    Example:
        >>> import runcue
        >>> runcue.newer()
        newer()
    """
    return _NEWER
