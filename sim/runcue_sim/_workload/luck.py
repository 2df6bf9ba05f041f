"""Luck that can be repeated: numbers drawn by name, not in turn.

Lives here: `Luck`. A draw depends on the seed and on what it is drawn for, and on nothing else. So the order in which
work units happen to run, which differs between a real and a virtual clock, changes no outcome.

Must not know: what is decided by a draw.
"""

from __future__ import annotations

from hashlib import blake2b
from random import SystemRandom
from struct import Struct

_FOUR = Struct("<4Q")
_SCALE = 2.0**-53


def seed_or_any(seed: int | None) -> int:
    """The seed that was asked for, or any."""
    return SystemRandom().randrange(10**6) if seed is None else seed


class Luck:
    """Draws by name.

    Args:
        seed: Equal seeds give equal draws, on every machine and version of Python.
    """

    __slots__ = ("_seed", "seed")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._seed = repr(seed)

    def four(self, *names: object) -> tuple[float, float, float, float]:
        """Four numbers, each in [0, 1), for whatever these names say.

        Args:
            *names: Text and numbers that have one repr on every machine.
        """
        digest = blake2b(f"{self._seed}{names!r}".encode(), digest_size=32).digest()
        first, second, third, fourth = _FOUR.unpack(digest)
        return (
            (first >> 11) * _SCALE,
            (second >> 11) * _SCALE,
            (third >> 11) * _SCALE,
            (fourth >> 11) * _SCALE,
        )

    def one(self, *names: object) -> float:
        """A number in [0, 1)."""
        return self.four(*names)[0]

    def below(self, limit: int, *names: object) -> int:
        """A whole number in [0, limit)."""
        return int(self.one(*names) * limit)
