"""What is wrong with an artifact at this moment.

Must not know: who waits for it, how that is told.
"""

from __future__ import annotations

from typing import Any, Final

from runcue._artifacts.artifact import is_valid
from runcue._artifacts.file import File
from runcue._model.callables import located
from runcue._model.texts import error_words, problem_of

__all__ = ["RAISED", "problem_now"]

RAISED: Final = "cannot be looked at, because "
"""How what is wrong with an artifact begins if it raised."""


def problem_now(artifact: Any) -> str | None:
    """What is wrong with an artifact at this moment, None if it is valid. Whatever it does itself."""
    try:
        if is_valid(artifact):
            return None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        call = artifact.validate if isinstance(artifact, File) else None
        return f"{RAISED}{located(call or type(artifact).valid)} raised {error_words(error)}"
    return problem_of(artifact)
