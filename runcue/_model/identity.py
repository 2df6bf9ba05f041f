"""What something of the user's is known by.

Lives here: `Identity`, a value of the user's as a key of a dict.

Must not know: what is known by it.
"""

from __future__ import annotations

from collections.abc import Hashable

from runcue._model.texts import words_of

__all__ = ["Identity"]


class Identity:
    """A value of the user's that something is known by: what `identity()` of an artifact gave, or `per=` of a service.

    Whoever looks something up by it is not at the mercy of the objects in there: they are hashed once, and what cannot
    be compared is not the same.

    Args:
        value: Hashable.
    """

    __slots__ = ("_hash", "value")

    def __init__(self, value: Hashable) -> None:
        self.value = value
        self._hash = hash(value)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not Identity or self._hash != other._hash:
            return False
        try:
            return bool(self.value == other.value)
        except KeyboardInterrupt:
            raise
        except BaseException:
            return False

    def __reduce__(self) -> tuple[type, tuple[Hashable]]:
        return Identity, (self.value,)  # in another process its hash is another one

    def __repr__(self) -> str:
        return words_of(self.value)
