"""When outputs that are there and valid are out of date: the policies a task can choose from.

Lives here: `newer`, which compares times and repairs what the clocks of filesystems get wrong, and `digest`, which
compares contents with those of the last run.

Both look at the inputs before the run and once more after it. An input that changed in between leaves the outputs out
of date, whatever their time says: nobody knows which of its contents they were made from. (Learned from cargo#5919,
where such outputs counted as fresh for ever, and from doit#119 and snakemake#1694, where it was noted after the run.)

An artifact that is both input and output of one work is changed by that very work, so it counts as an output.

Must not know: event loops, order, who makes what, how a stamp is written (that is `_stamps`).
"""

# ruff: noqa: PTH110, PTH116, PTH117 - a look at a file is the hot path, and a Path costs more than looking

from __future__ import annotations

import logging
import operator
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, NamedTuple

from runcue._artifacts import Artifact, File, Flag, key_of
from runcue._errors import ArtifactError, ConfigurationError, words_of
from runcue._stamps import (
    Look,
    digest_of_params,
    digest_of_value,
    glance_at,
    is_unchanged,
    known_digest,
    looks_like,
    read,
    read_stamp,
    remove_stamp,
    settle,
    unreadable,
    write_stamp,
)
from runcue._work import Declaration, Work

__all__ = ["Digest", "Newer", "digest", "newer"]

logger = logging.getLogger("runcue")

Verdict = tuple[str, Artifact | None, Artifact | None]
"""What makes outputs stale, the output at fault and the input it was compared to."""

_TIE_NS: Final = 100_000_000
"""By how much an output may be older than its input and be the newer one all the same.

The kernel dates files by a clock that ticks every 1 to 10 ms, and a time of another kind, such as that of a `Flag`, may
be ahead of it by a tick. What differs by more comes from a clock that is wrong, which is not for us to hide.
"""

_SMALL: Final = 1 << 20
"""Up to so many bytes are read in the event loop to be safe from a rewrite within one tick: about a millisecond.

More would keep the loop waiting. So if a larger input that was written within the last tick is rewritten within that
same tick, at the same size and in place, it is not noticed.
"""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Newer:
    """Outputs are out of date unless each of them is newer than all inputs. See `newer`."""

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
            before = [*declared.before, *map(_version_of, inputs[len(declared.before) :])]
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
    if not isinstance(version, datetime):
        return version
    try:
        aware = version.astimezone()
    except (OverflowError, OSError, ValueError):
        aware = version.replace(tzinfo=UTC)  # datetime.min and the like: some hours make no difference there
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1000


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


def _version_of(artifact: Artifact) -> Any:
    try:
        return artifact.version()
    except Exception:  # noqa: BLE001 - the user's; a gate that asks it tells
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


class _Noted(NamedTuple):
    """What was known just before a run.

    Attributes:
        params: Their digest, None if they do not count.
        versions: The digests of the versions of inputs that are no files, by key as text.
        files: The inputs that are files, with what was seen and, if that may hide a change, the digest.
    """

    params: str | None
    versions: dict[str, str]
    files: list[tuple[File, Look, str | None]]


@dataclass(frozen=True, slots=True)
class Digest:
    """Outputs are out of date unless inputs, params and they themselves are as the last run left them. See `digest`."""

    params: bool = True

    wants_status: ClassVar[bool] = True
    """As versions of files it is given what the disk says of them, so that nothing is asked for twice."""

    def __post_init__(self) -> None:
        if not isinstance(self.params, bool):
            raise ConfigurationError(f"params of digest() must be True or False, not {self.params!r}.")

    def check(self, outputs: Sequence[Artifact]) -> None:
        """Check that there is a place for the stamp.

        Args:
            outputs: Those of a work.

        Raises:
            ConfigurationError: There is none.
        """
        _place_among(outputs)

    def stale(self, work: Work) -> Verdict | None:
        """Whether something is other than the last run left it.

        What looks as before is not read. What does not is read here, in the event loop, since it is seldom: about a
        millisecond per megabyte. What turns out to have the same content is not read again in this process.

        Returns:
            ("no stamp", output, None), ("unreadable stamp", output, None), ("params", output, None), ("new input",
            output, input), ("lost input", output, input), ("changed", output, input), ("output changed", output, None),
            or None.

        Raises:
            ArtifactError: A param or a version cannot be put in words that are the same in every process.
            ConfigurationError: There is no file among the outputs.
        """
        declared = work._declared
        assert declared is not None
        output = _place_among(declared.outputs)
        stamp = read_stamp(output._key)
        if type(stamp) is str:
            return stamp, output, None
        assert type(stamp) is dict
        if self.params and stamp.get("params") != digest_of_params(work.params):
            return "params", output, None
        try:
            return _difference(declared, output, stamp["inputs"], stamp["outputs"])
        except (TypeError, ValueError):
            # An entry is not of the form it should have: written by hand, or by a disk that loses bits.
            return unreadable(output._key, "an entry has not the form of one"), output, None

    def started(self, work: Work) -> None:
        """Note what the inputs and the params are, so that the stamp can tell what the run was made from."""
        declared = work._declared
        assert declared is not None
        try:
            params = digest_of_params(work.params) if self.params else None
            declared.token = _noted(declared, params)
        except (ArtifactError, OSError) as error:
            declared.token = words_of(error)

    def finished(self, work: Work) -> None:
        """Stamp the outputs, unless an input has changed since the start."""
        declared = work._declared
        assert declared is not None
        noted, declared.token = declared.token, None
        files = [output for output in declared.outputs if isinstance(output, File)]
        if noted is None or not files:
            return
        output = files[0]
        if not all(os.path.exists(one._key) for one in files):
            remove_stamp(output._key)
            return  # the work fails for it, which says enough
        try:
            problem = noted if isinstance(noted, str) else _record(output, files, noted)
        except OSError as error:
            problem = words_of(error)
        if problem is not None:
            remove_stamp(output._key)
            logger.warning(
                "%s stays out of date after work %s of task %s: %s", output, work.id, work.task, problem
            )

    def __repr__(self) -> str:
        return f"digest(params={self.params})"


def _place_among(outputs: Sequence[Artifact]) -> File:
    """The output beside which the stamp is kept."""
    for output in outputs:
        if isinstance(output, File):
            return output
    named = ", ".join(map(repr, outputs)) or "none"
    raise ConfigurationError(
        f"digest() keeps a stamp beside a file that the work makes, so one of its outputs must be a File; there are "
        f"{named}. Declare one, or use newer()."
    )


def _key_text(artifact: Artifact) -> str:
    """The key of an input in a stamp."""
    if isinstance(artifact, (File, Flag)):
        return artifact._key
    return digest_of_value(key_of(artifact), f"The identity of {artifact!r}")


def _difference(
    declared: Declaration, output: File, inputs: dict[str, Any], outputs: dict[str, Any]
) -> Verdict | None:
    """What is other than it was recorded. First all looks, then the contents of what looks different."""
    found = 0
    before = declared.before
    suspects: list[tuple[File, str, Look | None]] = []
    for index, artifact in enumerate(declared.inputs):
        is_file = isinstance(artifact, File)
        key = artifact._key if is_file else _key_text(artifact)
        entry = inputs.get(key)
        if entry is None:
            if artifact in declared.outputs:
                continue
            return "new input", output, artifact
        found += 1
        digest, look = entry
        if is_file:
            status = before[index] if index < len(before) else None
            if look is None or not looks_like(key, look, status):
                suspects.append((artifact, digest, look))
            continue
        version = declared.before[index]
        if version is not None and digest != digest_of_value(version, f"The version of {artifact!r}"):
            return "changed", output, artifact
    if found != len(inputs):
        return "lost input", output, _lost(declared, inputs)
    for file, digest, look in suspects:
        if not _is_same(file, digest, look, _outputs_in(file, declared)):
            return "changed", output, file
    was = declared.was
    for index, file in enumerate(declared.outputs):
        if isinstance(file, File):
            status = was[index] if index < len(was) else None
            if file._key not in outputs:
                return "no stamp", file, None
            digest, look = outputs[file._key]
            if (look is None or not looks_like(file._key, look, status)) and not _is_same(file, digest, look):
                return "output changed", file, None
    return None


def _is_same(file: File, digest: str, look: Look | None, without: Collection[str] = ()) -> bool:
    try:
        return is_unchanged(file._key, digest, look, without)
    except OSError:
        return False


def _outputs_in(folder: File, declared: Declaration) -> Collection[str]:
    """The outputs inside an input: what a run leaves there makes no difference to it."""
    beginning = folder._key + os.sep
    return {
        output._key
        for output in declared.outputs
        if isinstance(output, File) and output._key.startswith(beginning)
    }


def _lost(declared: Declaration, inputs: dict[str, Any]) -> File | None:
    """An input that was recorded and is none any more; None if it was no file."""
    keys = {artifact._key for artifact in declared.inputs if isinstance(artifact, File)}
    lost = next((key for key in inputs if key not in keys and os.path.isabs(key)), None)
    return None if lost is None else File(lost)


def _noted(declared: Declaration, params: str | None) -> _Noted:
    noted = _Noted(params, {}, [])
    for index, artifact in enumerate(declared.inputs):
        if artifact in declared.outputs:
            continue
        if not isinstance(artifact, File):
            version = declared.before[index] if index < len(declared.before) else _version_of(artifact)
            noted.versions[_key_text(artifact)] = digest_of_value(version, f"The version of {artifact!r}")
            continue
        without = _outputs_in(artifact, declared)
        glance = glance_at(artifact._key, without)
        digest = known_digest(artifact._key, glance.look)
        if digest is None and glance.recent and glance.size <= _SMALL:
            digest = read(artifact._key, without).digest
        noted.files.append((artifact, glance.look, digest))
    return noted


def _record(output: File, files: Sequence[File], noted: _Noted) -> str | None:
    """Write the stamp.

    Returns:
        Why there is none, None if there is one.

    Raises:
        OSError: Something could not be read or written.
    """
    inputs: dict[str, Any] = {key: (digest, None) for key, digest in noted.versions.items()}
    without = {file._key for file in files}
    for file, look, digest in noted.files:
        reading = read(file._key, without)
        if reading.look != look or digest not in (None, reading.digest):
            return f"{file} changed while it ran"
        inputs[file._key] = reading.digest, reading.look if reading.lasting else None
    outputs = {}
    for file in files:
        reading = read(file._key, settled=settle(file._key))
        outputs[file._key] = reading.digest, reading.look if reading.lasting else None
    write_stamp(output._key, noted.params, inputs, outputs)
    return None


def digest(params: bool = True) -> Digest:
    """Outputs are out of date if the content of an input is other than at the last run, whatever its time.

    A file that is written anew with the same content makes nothing out of date; one that is replaced by an older one
    does. So do other inputs than before, other params, and an output that is not what the run left there. Of artifacts
    that are no files `version()` is compared, such as an ETag.

    What was compared is kept in a stamp beside the first file among the outputs, `.runcue-stamp-<its name>`: remove it
    and the work is done again. It tells of the inputs as they were before the run, and none is written if one of them
    changed during it. A file of which size, times and inode are as recorded is not read.

    Args:
        params: Whether the params of the work count. They must then be made of plain values, paths, containers, enums
            and dataclasses, or have a repr that is the same in every process.

    Raises:
        ConfigurationError: params is not True or False.

    Example:
        >>> import runcue
        >>> runcue.digest()
        digest(params=True)
    """
    return Digest(params)
