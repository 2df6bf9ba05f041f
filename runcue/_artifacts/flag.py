"""A proof in memory.

Lives here: `Flag`, one per name within a cue, and `StandInFlags`, which stands for the flags of a cue where questions
are asked that must change nothing.

Must not know: work units, tasks, order.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from contextvars import Context, copy_context
from itertools import count
from typing import Never

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.changes import changed
from runcue._artifacts.reads import OVERLAY, READS
from runcue._model.checks import check_name, refuse_options, says_what_it_takes
from runcue._model.current import CURRENT
from runcue._model.errors import ConfigurationError
from runcue._model.texts import shortened, words_of

__all__ = ["Flag", "StandInFlags"]


_unnamed = count(1)
_last_set = 0


class Flag(Artifact):
    """A proof in memory: set or not, gone with the process. For steps whose results are kept in memory, and for tests.

    Within a cue all flags of one name are one flag, as two `File`s of one path are: a cue makes the flags of its work
    units' declarations, and those used in its handlers and gates, share what is set. Outside of a cue, use the same
    object.

    Args:
        name: What it is known by; without one it is known by the object alone.

    Example:
        >>> import runcue
        >>> baked = runcue.Flag("baked")
        >>> baked.set()
        >>> baked.valid()
        True
    """

    __slots__ = ("_cell", "_home")
    _asked_plainly = True
    _key: str

    def __init__(self, name: str | None = None, *misplaced: Never, **unknown: Never) -> None:
        if misplaced or unknown:
            refuse_options(Flag.__init__, unknown)
        if name is None:
            name = f"#{next(_unnamed)}"
        elif type(name) is not str or not name:
            name = check_name(name, "Flag")
        self._key = f"flag:{name}"
        # When it was set, in a list that flags of one name can share.
        self._cell: list[int] = [0]
        # The cells of the cue with which it is shared.
        self._home: dict[Hashable, list[int]] | None = None

    @property
    def name(self) -> str:
        """What it is known by."""
        return self._key[5:]

    def share(self, cells: dict[Hashable, list[int]]) -> None:
        """Become one with the flag of this name in a cue.

        Args:
            cells: Those of the cue, by key.
        """
        if type(cells) is StandInFlags:
            return
        cell = cells.setdefault(self._key, self._cell)
        if cell is not self._cell:
            cell[0] = max(cell[0], self._cell[0])
            self._cell = cell
        self._home = cells

    def _own(self) -> list[int]:
        if self._home is None and (here := CURRENT.get()) is not None:
            if type(here) is StandInFlags:
                return [max(self._cell[0], here.cells.get(self._key, self._cell)[0])]
            self.share(here.flags)
        return self._cell

    def valid(self) -> bool:
        """Whether it is set."""
        reads = READS.get()
        if reads is not None:
            reads[self._key] = self
            if (overlay := OVERLAY.get()) is not None:
                return bool(overlay.valid(self))
        return (self._cell if self._home is not None else self._own())[0] > 0

    def version(self) -> int | None:
        """When it was set, in nanoseconds since the epoch, None if it is not. No two flags are set at one instant."""
        reads = READS.get()
        if reads is not None:
            reads[self._key] = self
            if (overlay := OVERLAY.get()) is not None:
                return overlay.version(self)  # type: ignore[no-any-return]
        return self._own()[0] or None

    def stamp(self) -> int | None:
        """Its version if it is set."""
        return (self._cell if self._home is not None else self._own())[0] or None

    def set(self, *misplaced: Never, **unknown: Never) -> None:
        """Set it, or set it anew: work units that wait for it are asked again, what was made from it is out of date."""
        if misplaced or unknown:
            raise ConfigurationError("Flag.set() takes no value: a flag is set, or unset by clear().")
        global _last_set  # noqa: PLW0603 - strictly increasing, so that what is made from a flag is newer than it
        # Two threads at once may take the same number; that makes neither newer, so at worst something runs again.
        _last_set = stamp = max(_last_set + 1, time.time_ns())
        (self._cell if self._home is not None else self._own())[0] = stamp
        changed(self._key)

    @says_what_it_takes
    def clear(self) -> None:
        """Unset it."""
        self._own()[0] = 0
        changed(self._key)

    @says_what_it_takes
    def touch(self) -> None:
        """The same as `set()`."""
        self.set()

    def identity(self) -> Hashable:
        """Its name."""
        return self._key

    def problem(self) -> str:
        """What is wrong with it, as the end of a sentence that begins with its name."""
        return "is not set"

    def __str__(self) -> str:
        return f"flag {shortened(self.name)}"

    def __repr__(self) -> str:
        return f"Flag({words_of(self.name)})"


class StandInFlags(dict[Hashable, list[int]]):
    """Stands for the flags of a cue where questions are asked that must change nothing, in the place of `CURRENT` too.

    Flags look as if they were shared with that cue, and none is.

    Attributes:
        cells: Those of the cue, by key.
    """

    def __init__(self, cells: Mapping[Hashable, list[int]]) -> None:
        self.cells = cells

    def context(self) -> Context:
        """A context of its own to ask in: of these flags, with no note of what is looked at."""
        context = copy_context()
        context.run(CURRENT.set, self)
        context.run(READS.set, None)
        return context
