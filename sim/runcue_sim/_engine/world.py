"""What the scenarios make: proofs in memory, which outlive a simulated process.

Lives here: `World`, all proofs there are; `Proof`, one of them as an artifact of runcue.

Must not know: what proves what, who makes it.
"""

from __future__ import annotations

from collections.abc import Hashable

import runcue


class World:
    """What exists, as a disk would hold it.

    Attributes:
        made: The version of each proof that is there.
        times: How often each was made, whatever became of it.
        notes: Whatever else has to outlive a process, by name.
    """

    __slots__ = ("_count", "_proofs", "made", "notes", "times")

    def __init__(self) -> None:
        self._count = 0
        self._proofs: dict[str, Proof] = {}
        self.made: dict[str, int] = {}
        self.times: dict[str, int] = {}
        self.notes: dict[str, int] = {}

    def make(self, name: str) -> None:
        """Make a proof, or make it anew: newer than all others."""
        self._count += 1
        self.made[name] = self._count
        self.times[name] = self.times.get(name, 0) + 1

    def spoil(self, name: str) -> None:
        """Let a proof vanish."""
        self.made.pop(name, None)

    def tell(self, name: str) -> None:
        """Somebody has told the cue that it may have changed."""

    def has(self, name: str) -> bool:
        """Whether it is there."""
        return name in self.made

    def proof(self, name: str) -> Proof:
        """It as an artifact."""
        proof = self._proofs.get(name)
        if proof is None:
            proof = self._proofs[name] = Proof(self, name)
        return proof


class Proof(runcue.Artifact):
    """A proof in a world."""

    __slots__ = ("_world", "name")

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.name = name

    def valid(self) -> bool:
        """Whether it is there."""
        return self.name in self._world.made

    def version(self) -> int | None:
        """A count over all proofs of its world."""
        return self._world.made.get(self.name)

    def identity(self) -> Hashable:
        """Its name."""
        return f"proof:{self.name}"

    def touch(self) -> None:
        """See `runcue.Artifact.touch`."""
        super().touch()
        self._world.tell(self.name)

    def problem(self) -> str:
        """What is wrong with it, as the end of a sentence."""
        return "is not made"

    def __repr__(self) -> str:
        return self.name
