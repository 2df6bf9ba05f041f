"""How submissions are written down where several are given at once, as to `cue.plan()`.

Lives here: the forms, and reading them.

Must not know: which tasks there are, what becomes of a submission.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from runcue._model.errors import ConfigurationError
from runcue._model.texts import words_of

__all__ = ["Submission", "listed", "read"]

Submission = str | Callable[..., Any] | tuple[Any, ...] | list[Any] | Mapping[str, Any]
"""What `cue.plan()` takes several of."""

_OPTIONS: Final = ("inputs", "outputs", "fresh", "key", "duplicate", "force")


def listed(submissions: Iterable[Any] | None) -> list[Any]:
    """Several submissions, or none.

    Raises:
        ConfigurationError: It is a single one, or nothing of the kind.
    """
    if submissions is None:
        return []
    if (
        isinstance(submissions, (str, Mapping))
        or callable(submissions)
        or not isinstance(submissions, Iterable)
    ):
        raise ConfigurationError(
            f"plan() takes several submissions, not {words_of(submissions)}; write plan([...]) for one."
        )
    return list(submissions)


def read(submission: Any) -> tuple[Any, Any, Mapping[str, Any]]:
    """The task, the params and the options of a submission."""
    if isinstance(submission, Mapping):
        unknown = [key for key in submission if key not in ("task", "params", *_OPTIONS)]
        if unknown or "task" not in submission:
            what = f"{words_of(unknown[0])} is not among them" if unknown else "it has no task"
            raise ConfigurationError(
                f"{what}: a mapping has the keys task, params, {', '.join(_OPTIONS)}, all but task as they are needed."
            )
        return (
            submission["task"],
            submission.get("params"),
            {k: submission[k] for k in _OPTIONS if k in submission},
        )
    if isinstance(submission, (tuple, list)):
        if not 1 <= len(submission) <= 2:
            raise ConfigurationError(
                f"{words_of(submission)} is none: write a task, (task, params) or a mapping with the key task."
            )
        return submission[0], submission[1] if len(submission) == 2 else None, {}
    return submission, None, {}
