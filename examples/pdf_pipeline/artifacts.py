"""Files that prove work was done, and the one rule by which they are believed.

Lives here: `Artifact`, a file with what it was made from. It is valid when it exists, everything it was made from is
valid, and none of that has changed since. Changed means that it has another content or was made once more. What the
modification times say does not matter: two files written within one tick of the clock are no riddle, and a copy of the
folder is as good as the folder.

Must not know: PDFs, texts, services, runcue. This is the answer to its two questions, and such an answer could as well
look at rows of a database.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

STAMPS = ".made_from"
"""The folder beside artifacts which holds a stamp for each."""

_ABANDONED_AFTER = 60.0
"""Seconds after which a temporary file has no writer any more; writing one takes milliseconds."""


class _Stamp(NamedTuple):
    """What is noted of an artifact when it is made: a digest of its inputs, and a name for this making."""

    made_from: str
    birth: str


@dataclass(frozen=True)
class Artifact:
    """A file, and what it is made from.

    Attributes:
        path: Where it is.
        inputs: What it is made from. None makes it a source: valid if it is there.
        recipe: How it is made from them, in words. Other words make it out of date, too.
    """

    path: Path
    inputs: tuple[Artifact, ...] = ()
    recipe: str = ""

    def is_valid(self) -> bool:
        """Tell whether the file is there and up to date, and all that it came from is."""
        if not self.inputs:
            return self.path.is_file()
        return (
            self.first_invalid_input() is None
            and self.path.is_file()
            and self._stamp().made_from == self.made_from()
        )

    def first_invalid_input(self) -> Artifact | None:
        """Return the first input that must be made before this can be, if there is one."""
        return next((artifact for artifact in self.inputs if not artifact.is_valid()), None)

    def made_from(self) -> str:
        """Return a digest of the recipe and of the inputs as they are now.

        Whoever makes the artifact asks for it before reading them: an input that changes in the meantime then leaves
        an artifact that is out of date, instead of one that looks current and is not.
        """
        return _digest(
            "\0".join([self.recipe, *(artifact.fingerprint() for artifact in self.inputs)]).encode()
        )

    def fingerprint(self) -> str:
        """Return what tells this version of the file from every other: its content, and which time it was made."""
        return f"{_file_digest(self.path)} {self._stamp().birth}"

    def publish(self, content: bytes, made_from: str, *, same_is_news: bool = True) -> None:
        """Put the finished content in place.

        A kill at any instant leaves no half file and no wrong belief: the old stamp goes first and the new one comes
        last, so that between them the artifact is merely out of date.

        Args:
            content: The whole file.
            made_from: What `made_from` said before the work began.
            same_is_news: Whether what was made from the file before is out of date even if the same content came out
                once more. A file that had been deleted is news in any case: whoever deleted it wanted that.
        """
        known = self._stamp().birth if _file_digest(self.path) == _digest(content) else ""
        birth = known if known and not same_is_news else secrets.token_hex(8)
        self._stamp_path.unlink(missing_ok=True)
        self._replace(self.path, content)
        self._replace(self._stamp_path, f"{made_from} {birth}".encode())

    def _stamp(self) -> _Stamp:
        try:
            made_from, birth = self._stamp_path.read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return _Stamp("", "")
        return _Stamp(made_from, birth)

    @property
    def _stamp_path(self) -> Path:
        return self.path.parent / STAMPS / self.path.name

    def _replace(self, target: Path, content: bytes) -> None:
        temporary = self.path.parent / STAMPS / f"{target.name}.{os.getpid()}.tmp"
        temporary.write_bytes(content)
        temporary.replace(target)


def prepare(artifacts: Iterable[Artifact]) -> None:
    """Make the folders that the artifacts go to, and remove from them what an earlier run left and nobody wants.

    That is half-written files of a run that was killed, and pages that the document no longer has. Nothing is removed
    that this example did not make itself.

    Args:
        artifacts: All that will be made.

    Raises:
        OSError: A folder cannot be made or written to.
    """
    wanted = {artifact.path for artifact in artifacts}
    for folder in {path.parent for path in wanted}:
        stamps = folder / STAMPS
        stamps.mkdir(parents=True, exist_ok=True)
        # Whether one may write can only be found out by writing: permissions are not the only obstacle.
        trial = stamps / f"trial.{os.getpid()}.tmp"
        trial.write_bytes(b"")
        trial.unlink()
        for stamp in stamps.iterdir():
            if stamp.suffix == ".tmp":
                if time.time() - stamp.stat().st_mtime > _ABANDONED_AFTER:
                    stamp.unlink(missing_ok=True)
            elif folder / stamp.name not in wanted:
                (folder / stamp.name).unlink(missing_ok=True)
                stamp.unlink(missing_ok=True)


def _file_digest(path: Path) -> str:
    """The digest of a file's content; of a missing one, the empty word."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return _digest_as_of(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=10_000)
def _digest_as_of(path: Path, inode: int, size: int, modified: int) -> str:
    # The two questions are asked often and files change seldom. Replacing a file gives it a new inode, so that even
    # two versions of one size within one tick of the clock are told apart.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
