"""Whether what a successful run leaves will still be proof when it is asked for the next time.

If its policy would call the outputs out of date directly after the run, the work unit runs again for ever. Whatever the
handler has done to make it so (it gave its output an old date, or did not write it because nothing had changed, or made
it a link to its input), its user has to know.

Lives here: `LastingProof`, which asks the policy once more, and `Finding`, its answer.

Must not know: event loops, how it is told.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import Any, Final, NamedTuple

from runcue._artifacts.artifact import Artifact, plainly
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._artifacts.reads import READS
from runcue._callbacks.declared_gate import check_verdict
from runcue._callbacks.failures import Failures
from runcue._callbacks.forks import FORKS, leave
from runcue._model.declaration import Declaration
from runcue._model.texts import words_of
from runcue._model.work import Work

__all__ = ["UNSTEADY", "Finding", "LastingProof"]

UNSTEADY: Final = "unsteady"
"""The verdict on an input whose version is another one each time that it is asked for."""


_MOST_TIED: Final = 10_000


class Finding(NamedTuple):
    """Why outputs are no proof directly after they were made.

    Attributes:
        verdict: Of the policy, or UNSTEADY.
        artifact: The output at fault, None if none is.
        other: What it was compared to, None if nothing.
        version: Of the artifact, None if it has none.
        other_version: Of the other one.
    """

    verdict: str
    artifact: Any
    other: Any
    version: Any = None
    other_version: Any = None


class LastingProof:
    """Asks about what runs have left.

    Args:
        failures: Hears of artifacts and policies that raise.
    """

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        # Outputs that were found once to be dated as their inputs, in whole seconds.
        self._tied: set[Hashable] = set()

    def objection(self, run: Work) -> Finding | None:
        """Why a run will be repeated as soon as somebody asks for it.

        Args:
            run: The work unit that the handler was started for. It has succeeded, and its outputs are valid.

        Returns:
            None if it will not be, or for a good reason: an input has changed during the run.
        """
        declared = run._declared
        if (
            declared is None
            or declared.fresh is None
            or not declared.outputs
            or declared.rehearsed is not None
        ):
            return None
        if declared.input_changed:
            return None  # as was told
        # This is no reading of a gate.
        token = READS.set(None)
        forks = FORKS.number
        try:
            found = _objection(run, declared)
            if FORKS.number != forks:
                leave(None)
            return None if found is not None and self._may_pass(found) else found
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            self._failures.raised(
                f"{words_of(declared.fresh)} or an artifact, asked after a run,", error, run
            )
            return None
        finally:
            READS.reset(token)

    def _may_pass(self, found: Finding) -> bool:
        """Whether it is a tie of a filesystem that counts in whole seconds, and the first one of this output.

        By the next run that second is over, unless dates do not tell time there at all.
        """
        version = found.version
        if type(version) is not int or version != found.other_version or version % 1_000_000_000 != 0:
            return False
        key = found.artifact._key
        if key in self._tied:
            return False
        if len(self._tied) >= _MOST_TIED:
            self._tied.clear()
        self._tied.add(key)
        return True


def _objection(run: Work, declared: Declaration) -> Finding | None:
    inputs, outputs, before = declared.inputs, declared.outputs, declared.before
    # Such a policy has just recorded what the inputs that are files were, and has told if it could not.
    by_content = getattr(declared.fresh, "by_content", False)
    now: list[Any] = []
    for artifact, then in zip(inputs, before, strict=False):
        if by_content and isinstance(artifact, (File, Flag)):
            now.append(then)
            continue
        version = _version_of(artifact)
        now.append(version)
        if version is not None and version != then and not _changes_itself(artifact, outputs):
            if isinstance(artifact, (File, Flag)) or _version_of(artifact) == version:
                return None
            return Finding(UNSTEADY, outputs[0], artifact)
    if by_content or len(now) < len(inputs):
        return None
    was = [_version_of(output) for output in outputs]
    kept = declared.before, declared.was
    declared.before, declared.was = now, was
    try:
        found = declared.fresh.stale(run)
        if found is not None:
            check_verdict(found, declared.fresh)
    finally:
        declared.before, declared.was = kept
    if found is None:
        return None
    versions = [
        next((v for a, v in known if a is one), None)
        for one, known in (
            (found[1], zip(outputs, was, strict=True)),
            (found[2], zip(inputs, now, strict=True)),
        )
    ]
    return Finding(*found, *versions)


def _version_of(artifact: Any) -> Any:
    kind = type(artifact)
    if kind is File:
        try:
            return os.stat(artifact._path).st_mtime_ns
        except OSError:
            return None
    return artifact.stamp() if kind is Flag else plainly(artifact.version(), artifact)


def _changes_itself(artifact: Artifact, outputs: tuple[Any, ...]) -> bool:
    """Whether a run changes this input by making its outputs: it is one of them, or a folder with one in it."""
    key = artifact._key
    return any(
        output._key == key
        or (
            isinstance(artifact, File)
            and isinstance(output, File)
            and output._key.startswith(f"{key}{os.sep}")
        )
        for output in outputs
    )
