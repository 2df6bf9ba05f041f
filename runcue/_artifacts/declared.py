"""What users declare as artifacts: one or many, paths meaning files.

Must not know: for what they are declared.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable
from types import MethodType
from typing import Any, Final

from runcue._artifacts.artifact import Artifact, key_of
from runcue._artifacts.file import File
from runcue._artifacts.places import leads
from runcue._model.awaitables import discard, is_awaitable
from runcue._model.errors import ArtifactError
from runcue._model.texts import words_of

__all__ = ["as_artifacts", "is_among", "names_of", "question_of"]


_SEVERAL: Final = (list, tuple, set, frozenset)


def is_among(artifact: Artifact, others: Iterable[Artifact]) -> bool:
    """Whether an artifact is one of these: by its own name or, if it is a link, by what it leads to.

    It is not asked, nor are they: how they compare is the user's code.
    """
    keys = {*map(key_of, others)}
    return key_of(artifact) in keys or (
        isinstance(artifact, File) and not keys.isdisjoint(leads(artifact._key))
    )


def names_of(artifact: Artifact) -> tuple[Artifact, ...]:
    """An artifact and, if it is a link, what it leads to."""
    return (artifact, *artifact.pointed()) if isinstance(artifact, File) else (artifact,)


def question_of(artifact: Any) -> Hashable:
    """What is asked of an artifact: which one it is and, of a file, its checks. The same question has one answer."""
    checks = artifact._checks if isinstance(artifact, File) else None
    if checks is None:
        return artifact._key  # type: ignore[no-any-return]
    age, validate = checks
    # By what it is: how it compares is the user's code.
    if type(validate) is MethodType:
        return artifact._key, age, id(validate.__self__), id(validate.__func__)
    return artifact._key, age, id(validate)


def as_artifacts(value: Any, what: str) -> tuple[Artifact, ...]:
    """What a user declared, as artifacts: one or many, paths meaning files.

    Args:
        value: An artifact, a path, None, or a list, tuple, set or iterator of them.
        what: What it was declared as, for messages.

    Raises:
        ArtifactError: It is something else.
    """
    if type(value) is str:
        return (File(value),)
    if isinstance(value, Artifact):
        return (value,)
    if isinstance(value, (str, bytes, os.PathLike)):
        return (File(value),)
    if value is None:
        return ()
    if not isinstance(value, _SEVERAL) and not (
        hasattr(type(value), "__next__") and hasattr(type(value), "__iter__")
    ):
        if is_awaitable(value):
            discard(value)
            raise ArtifactError(f"{what} must be given by a plain function: its answer has to be awaited.")
        raise ArtifactError(f"{what} must be artifacts or paths, one or several, not {words_of(value)}.")
    found: list[Artifact] = []
    for one in value:
        if isinstance(one, Artifact):
            found.append(one)
        elif isinstance(one, (str, bytes, os.PathLike)):
            found.append(File(one))
        else:
            raise ArtifactError(
                f"{what} must be artifacts or paths, one or several, not {words_of(one)} among them."
            )
    return tuple(found)
