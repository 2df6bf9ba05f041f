"""Versions of artifacts, as times.

Must not know: policies, work units.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.file import File

__all__ = ["as_time", "is_dated", "version_of"]


def as_time(version: Any) -> Any:
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


def is_dated(artifact: Artifact) -> TypeGuard[File]:
    """Whether its version is the time of a file."""
    return type(artifact) is File or (isinstance(artifact, File) and type(artifact).version is File.version)


def version_of(artifact: Artifact) -> Any:
    """The version of an artifact, None if it is not known."""
    try:
        return artifact.version()
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None
