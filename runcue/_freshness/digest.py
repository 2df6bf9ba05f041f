"""`digest()`: outputs are out of date by content, not by time.

Lives here: the policy `Digest`. It has what is there compared with the stamp of the last run (`comparison`), notes
what the inputs are before a run, and writes the stamp after it, unless an input has changed in between.

An artifact that is both input and output of one work unit is changed by that very work, so it counts as an output.

Must not know: event loops, order, who makes what, how a stamp is written (that is `stamps`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.declared import is_among
from runcue._artifacts.file import File
from runcue._freshness.comparison import Comparison, is_as_stamped, key_text
from runcue._freshness.content import Look, differs_in_ctime, glance_at, known_digest, read, settle
from runcue._freshness.encoding import digest_of_params, digest_of_value
from runcue._freshness.newer import Verdict
from runcue._freshness.stamps import read_stamp, remove_stamp, unreadable, write_stamp
from runcue._freshness.versions import version_of
from runcue._model.checks import says_what_it_takes
from runcue._model.declaration import Declaration
from runcue._model.errors import ArtifactError, ConfigurationError
from runcue._model.texts import LONGEST_PATH, message_of, title_of, which_of, words_of
from runcue._model.work import Work

__all__ = ["Digest", "digest"]

logger = logging.getLogger("runcue")

_SMALL: Final = 1 << 20
"""Up to so many bytes are read in the event loop: about a millisecond.

More would keep the loop waiting. So what looks different is read elsewhere if it is larger. And if a larger input is
rewritten during a run, at the same size and in place, it is not noticed if it is dated back, or was written within the
last tick when the run began and is rewritten in that same tick.
"""


class _Noted(NamedTuple):
    """What was known just before a run.

    Attributes:
        params: Their digests by name, None if they do not count.
        code: The digests of the parts of the handler's code, None if they do not count.
        versions: The digests of the versions of inputs that are no files, by key as text.
        files: The inputs that are files, with what was seen and, if that may hide a change, the digest.
    """

    params: dict[str, str] | None
    code: dict[str, str] | None
    versions: dict[str, str]
    files: list[tuple[File, Look, str | None]]


@dataclass(frozen=True, slots=True)
class Digest:
    """Outputs are out of date unless inputs, params and they themselves are as the last run left them. See `digest`."""

    params: bool = True
    code: bool = False

    by_content: ClassVar[bool] = True
    """The dates of outputs need not tell what they were made from."""

    wants_status: ClassVar[bool] = True
    """As versions of files it is given what the disk says of them, so that nothing is asked for twice."""

    def __post_init__(self) -> None:
        for name in ("params", "code"):
            if not isinstance(value := getattr(self, name), bool):
                raise ConfigurationError(f"{name} of digest() must be True or False, not {words_of(value)}.")

    @property
    def wants_code(self) -> bool:
        """Whether the code of handlers is to be read when their tasks are registered."""
        return self.code

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

        What looks as before is not read; what does not is read here.

        Returns:
            ("no stamp", output, None), ("other stamp", output, None), ("unreadable stamp", output, None), ("params",
            output, None), ("code", output, None), ("new input", output, input), ("lost input", output, input),
            ("changed", output, input), ("output changed", output, None), or None. ("new params", output, None) and
            ("new code", output, None) say that these did not count before.

        Raises:
            ArtifactError: A param or a version cannot be told exactly.
            ConfigurationError: There is no file among the outputs.
        """
        found = self._look(work)
        return found.decide() if isinstance(found, Comparison) else found

    def stale_or_unread(self, work: Work) -> Verdict | Callable[[], None] | None:
        """The same, asked in an event loop.

        What only looks different is for whoever skips the work unit to note in the stamp: `Declaration.comparison`.

        Returns:
            The same, or what takes so long that it has to be called in another thread, before this is asked again.
        """
        found = self._look(work)
        if not isinstance(found, Comparison):
            return found
        assert work._declared is not None
        work._declared.comparison = found
        return found.read if found.unread > _SMALL else found.decide()

    def _look(self, work: Work) -> Verdict | Comparison | None:
        declared = work._declared
        assert declared is not None
        output = _place_among(declared.outputs)
        stamp = read_stamp(output._key)
        if type(stamp) is str:
            return stamp, output, None
        assert type(stamp) is dict
        if self.params and stamp.get("params") != (params := digest_of_params(work.params)):
            return _other("params", stamp, params, declared, output)
        if self.code and stamp.get("code") != (code := work._task.code or {}):
            return _other("code", stamp, code, declared, output)
        earlier: Comparison | None = declared.comparison
        if earlier is not None:
            declared.comparison = None
        try:
            if is_as_stamped(declared, stamp):
                return None
            comparison = Comparison(declared, output, stamp, {} if earlier is None else earlier.readings)
            return comparison.look() or (comparison if comparison.has_suspects else None)
        except (TypeError, ValueError):
            # An entry is not of the form it should have: written by hand, or by a disk that loses bits.
            return unreadable(output._key, "an entry has not the form of one"), output, None

    def started(self, work: Work) -> None:
        """Note what the inputs and the params are, so that the stamp can tell what the run was made from."""
        declared = work._declared
        assert declared is not None
        declared.comparison = None
        try:
            params = digest_of_params(work.params) if self.params else None
            declared.token = _noted(declared, params, work._task.code if self.code else None)
        except (ArtifactError, OSError) as error:
            declared.token = message_of(error)

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
            problem = noted if isinstance(noted, str) else _record(declared, output, files, noted)
        except OSError as error:
            problem = message_of(error)
        if problem is not None:
            remove_stamp(output._key)
        if problem:
            logger.warning(
                "%s stays out of date after work %s: %s",
                title_of(output, LONGEST_PATH),
                which_of(work),
                problem,
            )

    def __repr__(self) -> str:
        return f"digest(params={self.params}{', code=True' if self.code else ''})"


def _other(
    counts: str, stamp: Mapping[str, Any], now: Mapping[str, str], declared: Declaration, output: File
) -> Verdict:
    """The verdict on params or code that are not those of the last run, with what is other noted as evidence."""
    then = stamp.get(counts)
    if not isinstance(then, dict):
        return f"new {counts}", output, None
    declared.evidence = (
        counts,
        # Of code that is not there any more as well: "" is no digest.
        {
            name: "" if counts == "code" and name not in now else then.get(name)
            for name in (*now, *then)
            if then.get(name) != now.get(name)
        },
    )
    return counts, output, None


def _place_among(outputs: Sequence[Artifact]) -> File:
    """The output beside which the stamp is kept."""
    for output in outputs:
        if isinstance(output, File):
            return output
    named = ", ".join(map(words_of, outputs)) or "none"
    raise ConfigurationError(
        f"digest() keeps a stamp beside a file that the work makes, so one of its outputs must be a File; there are "
        f"{named}. Declare one, or use newer()."
    )


def _noted(declared: Declaration, params: dict[str, str] | None, code: dict[str, str] | None) -> _Noted:
    noted = _Noted(params, code, {}, [])
    # What is known now shows a change that leaves only another ctime; it is not read again after the run.
    unread = _SMALL
    without = [output._key for output in declared.outputs if isinstance(output, File)]
    for index, artifact in enumerate(declared.inputs):
        if is_among(artifact, declared.makes):
            continue
        if not isinstance(artifact, File):
            version = declared.before[index] if index < len(declared.before) else version_of(artifact)
            noted.versions[key_text(artifact)] = digest_of_value(
                version, f"The version of {words_of(artifact)}"
            )
            continue
        glance = glance_at(artifact._key, without)
        digest = known_digest(artifact._key, glance.look)
        if digest is None and glance.size <= (_SMALL if glance.recent else unread):
            digest = read(artifact._key, without).digest
            unread -= glance.size
        noted.files.append((artifact, glance.look, digest))
    return noted


def _record(declared: Declaration, output: File, files: Sequence[File], noted: _Noted) -> str | None:
    """Write the stamp.

    Returns:
        "" if there is none because an input has changed, which is noted in the declaration; None if there is one.

    Raises:
        OSError: Something could not be read or written.
    """
    inputs: dict[str, Any] = {key: (digest, None) for key, digest in noted.versions.items()}
    without = [file._key for file in files]
    for file, look, digest in noted.files:
        reading = read(file._key, without)
        # One more link to it, other rights, a way there and back: the content decides, as far as it was known.
        is_same_file = reading.look == look or differs_in_ctime(reading.look, look)
        if not is_same_file or digest not in (None, reading.digest):
            declared.input_changed = file, False
            return ""
        inputs[file._key] = reading.digest, reading.look if reading.lasting else None
    outputs = {}
    for file in files:
        reading = read(file._key, settled=settle(file._key))
        outputs[file._key] = reading.digest, reading.look if reading.lasting else None
    write_stamp(output._key, noted.params, noted.code, inputs, outputs)
    return None


@says_what_it_takes
def digest(params: bool = True, code: bool = False) -> Digest:
    """Outputs are out of date if the content of an input is other than at the last run, whatever its time.

    A file that is written anew with the same content makes nothing out of date; one that is replaced by an older one
    does. So do other inputs than before, other params, and an output that is not what the run left there. Of artifacts
    that are no files `version()` is compared, such as an ETag.

    What was compared is kept in a stamp beside the first file among the outputs, `.runcue-stamp-<its name>`: remove it
    and the work is done again. It tells of the inputs as they were before the run, and none is written if one of them
    changed during it. A file of which size, times and inode are as recorded is not read; one of which they are not is
    read once, and above 1 MB not in the event loop.

    Args:
        params: Whether the params of the work count. They are compared exactly, by type and value: 1 is not True, and
            a list is no tuple; equal dicts are the same in whatever order. They may be whatever can be pickled, and
            count whole: what does not count when two dataclasses are compared, too, and `max_age` of a `File`.
            Functions and classes count by their names. What has no name, or is known by nothing but itself (a lambda,
            an `object()`), is refused: the work then runs each time, and a warning says which param is to blame.
        code: Whether the code of the handler counts, as it is when its task is registered: its source text, as it
            stands, without its decorators; what it is bound to (defaults, what it has from a function around it,
            arguments of a `partial`, the object of a method), compared like params; and the same of what it is a
            decorated form of by `functools.wraps`. Not what it calls, nor global names. Where the source or a value
            cannot be had, to register the task is an error. What was made before this counted is made once more.

    Raises:
        ConfigurationError: params or code is not True or False.

    Example:
        >>> import runcue
        >>> runcue.digest()
        digest(params=True)
    """
    return Digest(params, code)
