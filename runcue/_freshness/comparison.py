"""What is there, compared with the stamp of the last run: first all looks, then the contents of what looks different.

Lives here: `Comparison`, one asking about one work unit. To read takes time: `unread` says of how many bytes nothing is
known, so that whoever asks in an event loop can have it done elsewhere. What was read there is kept in the declaration
of the work unit for the next asking.

What only looks different is noted in the stamp anew (`renew`), or each later process would read it again.

Must not know: event loops, params, runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from os import stat_result
from typing import Any, NamedTuple

from runcue._artifacts.artifact import Artifact, identity_of
from runcue._artifacts.declared import is_among
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._freshness.content import Look, Reading, glance_at, known_digest, looks_like, read
from runcue._freshness.encoding import digest_of_value
from runcue._freshness.newer import Verdict
from runcue._freshness.stamps import write_stamp
from runcue._model.declaration import Declaration
from runcue._model.texts import words_of

__all__ = ["Comparison", "is_as_stamped", "key_text"]


class _Suspect(NamedTuple):
    """A file or a folder that does not look as it did.

    Attributes:
        file: Which.
        digest: Of its content, as recorded.
        look: How it looks now.
        size: How many bytes there are to read.
        without: What in it makes no difference.
        entries: The part of the stamp in which it is.
        verdict: What it means if it has another content.
    """

    file: File
    digest: str
    look: Look
    size: int
    without: Sequence[str]
    entries: dict[str, Any]
    verdict: Verdict


def key_text(artifact: Artifact) -> str:
    """The key of an input in a stamp."""
    if isinstance(artifact, (File, Flag)):
        return artifact._key
    return digest_of_value(identity_of(artifact), f"The identity of {words_of(artifact)}")


def is_as_stamped(declared: Declaration, stamp: dict[str, Any]) -> bool:
    """Whether all is known to look as it did: the answer nearly always, at the price of a glance.

    False says nothing: then `Comparison` takes a closer look.

    Raises:
        TypeError, ValueError: An entry has not the form of one.
    """
    inputs, outputs = stamp["inputs"], stamp["outputs"]
    if not len(inputs) == len(declared.inputs) == len(declared.before) or len(declared.was) < len(
        declared.outputs
    ):
        return False
    for artifacts, versions, entries in (
        (declared.inputs, declared.before, inputs),
        (declared.outputs, declared.was, outputs),
    ):
        for artifact, status in zip(artifacts, versions, strict=False):
            entry = entries.get(artifact._key)
            if entry is None or type(status) is not stat_result:
                return False
            _, look = entry
            if look != [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]:
                return False
    return True


class Comparison:
    """Compares what a work unit declares with a stamp.

    Args:
        declared: With the versions as of this asking.
        output: The output beside which the stamp is.
        stamp: As it was read.
        readings: What was read since the last asking, by key.

    Attributes:
        readings: What was read.
    """

    __slots__ = ("_declared", "_is_news", "_output", "_outputs", "_stamp", "_suspects", "readings")

    def __init__(
        self, declared: Declaration, output: File, stamp: dict[str, Any], readings: Mapping[str, Reading]
    ) -> None:
        self._declared = declared
        self._output = output
        self._stamp = stamp
        self._is_news = False
        self._suspects: list[_Suspect] = []
        self.readings = readings
        self._outputs = [one._key for one in declared.outputs if isinstance(one, File)]

    def look(self) -> Verdict | None:
        """What is other than it was recorded, as far as that can be known without reading anything.

        Raises:
            ArtifactError: A version cannot be told exactly.
            TypeError, ValueError: An entry has not the form of one.
        """
        return self._look_at_inputs() or self._look_at_outputs()

    def _look_at_inputs(self) -> Verdict | None:
        declared, output = self._declared, self._output
        inputs = self._stamp["inputs"]
        before = declared.before
        found = 0
        for index, artifact in enumerate(declared.inputs):
            is_file = isinstance(artifact, File)
            key = artifact._key if is_file else key_text(artifact)
            entry = inputs.get(key)
            if entry is None:
                if is_among(artifact, declared.makes):
                    continue
                return "new input", output, artifact
            found += 1
            digest, look = entry
            if is_file:
                status = before[index] if index < len(before) else None
                if look is None or not looks_like(key, look, status):
                    verdict = "changed", output, artifact
                    # What a run leaves in a folder that it reads makes no difference to that.
                    without = [key for key in self._outputs if key != artifact._key]
                    if self._is_other(artifact, digest, look, without, inputs, verdict):
                        return verdict
                continue
            version = before[index]
            if version is not None and digest != digest_of_value(
                version, f"The version of {words_of(artifact)}"
            ):
                return "changed", output, artifact
        return None if found == len(inputs) else ("lost input", output, _lost(declared, inputs))

    def _look_at_outputs(self) -> Verdict | None:
        outputs = self._stamp["outputs"]
        was = self._declared.was
        for index, file in enumerate(self._declared.outputs):
            if isinstance(file, File):
                status = was[index] if index < len(was) else None
                if file._key not in outputs:
                    return "no stamp", file, None
                digest, look = outputs[file._key]
                if look is None or not looks_like(file._key, look, status):
                    verdict = "output changed", file, None
                    if self._is_other(file, digest, look, (), outputs, verdict):
                        return verdict
        return None

    def _is_other(
        self,
        file: File,
        digest: str,
        look: Look | None,
        without: Sequence[str],
        entries: dict[str, Any],
        verdict: Verdict,
    ) -> bool:
        """Whether a file is known not to be what was recorded. If only its content will tell, it is a suspect."""
        try:
            glance = glance_at(file._key, without)
        except OSError:
            return self._evident(verdict, look)
        if glance.look == look:  # a folder, at which it took a closer look
            return False
        known = known_digest(file._key, glance.look)
        if known is not None and known != digest:
            return self._evident(verdict, look)
        size = 0 if known is not None or self._reading_of(file, glance.look) is not None else glance.size
        self._suspects.append(_Suspect(file, digest, glance.look, size, without, entries, verdict))
        return False

    def _evident(self, verdict: Verdict, look: Look | None) -> bool:
        """Note how that looked which is other now. Returns True."""
        self._declared.evidence = verdict[0], look
        return True

    def _reading_of(self, file: File, look: Look) -> Reading | None:
        reading = self.readings.get(file._key)
        return reading if reading is not None and reading.look == look else None

    @property
    def has_suspects(self) -> bool:
        """Whether something does not look as it did."""
        return bool(self._suspects)

    @property
    def unread(self) -> int:
        """How many bytes have to be read to know the rest."""
        return sum(suspect.size for suspect in self._suspects)

    def read(self) -> None:
        """Read what has to be read, for the next asking. In whatever thread."""
        readings = {}
        for suspect in self._suspects:
            try:
                reading = readings[suspect.file._key] = self._read(suspect)
            except OSError:
                break  # as the next asking will find
            if reading.digest != suspect.digest:
                break  # that is enough to know
        self.readings = readings

    def _read(self, suspect: _Suspect) -> Reading:
        known = self._reading_of(suspect.file, suspect.look)
        return known or read(suspect.file._key, suspect.without)

    def decide(self) -> Verdict | None:
        """What is other than it was recorded, by the contents of what looks different, read where they must be."""
        readings = []
        for suspect in self._suspects:
            try:
                reading: Reading | None = self._read(suspect)
            except OSError:
                reading = None
            if reading is None or reading.digest != suspect.digest:
                self._evident(suspect.verdict, suspect.entries[suspect.file._key][1])
                return suspect.verdict
            readings.append(reading)
        # They serve one asking: what was changed just before it was read may change again, and look the same.
        self.readings = {}
        for suspect, reading in zip(self._suspects, readings, strict=True):
            suspect.entries[suspect.file._key] = suspect.digest, reading.look if reading.lasting else None
            self._is_news |= reading.lasting
        return None

    def renew(self) -> None:
        """Note in the stamp how that looks which `decide` has found to be the same, if a later change will show."""
        if not self._is_news:
            return
        stamp = self._stamp
        try:
            write_stamp(
                self._output._key, stamp["params"], stamp.get("code"), stamp["inputs"], stamp["outputs"]
            )
        except OSError:
            pass  # then it is read again the next time


def _lost(declared: Declaration, inputs: dict[str, Any]) -> File | None:
    """An input that was recorded and is none any more; None if it was no file."""
    keys = {artifact._key for artifact in declared.inputs if isinstance(artifact, File)}
    lost = next((key for key in inputs if key not in keys and os.path.isabs(key)), None)
    return None if lost is None else File(lost)
