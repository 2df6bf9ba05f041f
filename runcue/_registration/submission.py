"""What a submission says of its one work unit.

Lives here: `Overrides`, what it declares in place of what its task declares, and taking its params over.

Must not know: tasks, what becomes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_not
from typing import Any, Final, NamedTuple

from runcue._model.errors import InvalidParams
from runcue._model.texts import error_words, words_of

__all__ = ["DEFAULT", "NO_OVERRIDES", "Overrides", "take_over"]

DEFAULT: Any = object()
"""Stands for "as usual" where None has a meaning of its own."""


class Overrides(NamedTuple):
    """What a submission declares for its work unit alone.

    Attributes:
        inputs: As given; None for the task's.
        outputs: Likewise.
        fresh: Likewise; `DEFAULT` for the task's.
        key: Likewise.
        duplicate: What is to become of it if another makes the same; None for what its task says.
        force: Run even if up to date.
        priority: How urgent it is; None for what is usual.
    """

    # A named tuple, since one is made for each such submission: half the price of a frozen dataclass.
    inputs: object = None
    outputs: object = None
    fresh: object = DEFAULT
    key: object = None
    duplicate: str | None = None
    force: bool = False
    priority: object = None

    @property
    def declares(self) -> bool:
        """Whether it says anything of artifacts, and not only how urgent its work unit is."""
        return any(map(is_not, self[:-1], NO_OVERRIDES[:-1]))


NO_OVERRIDES: Final = Overrides()


def take_over(params: object) -> dict[str, Any]:
    """Copy the params of a submission, so that later changes of the caller's mapping are not seen.

    Raises:
        InvalidParams: It is no mapping.
    """
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise InvalidParams(
            f'params must be a mapping, such as {{"page": 1}}, not {type(params).__name__}: {words_of(params)}.'
        )
    try:
        return dict(params)
    except Exception as error:
        raise InvalidParams(f"params must be a mapping that can be copied: {error_words(error)}.") from error
