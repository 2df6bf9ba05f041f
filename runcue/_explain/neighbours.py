"""What is there in place of files that nobody makes, told with the reason why they are waited for.

Lives here: `Neighbours`, for one question: it lists folders, and of many that wait for the same file it does so once.

Must not know: what is alike (`_artifacts.near_misses`), who is told.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from importlib import import_module
from itertools import islice
from math import inf
from typing import Any, Final, NamedTuple

from runcue._artifacts.descriptors import patiently
from runcue._artifacts.file import File
from runcue._explain.next_steps import CORRECT
from runcue._explain.reasons import Reason
from runcue._model.texts import SHOWN, name_of, shortened
from runcue._model.work import Work
from runcue._scheduling.core import Core

__all__ = ["Neighbours", "Place"]

_MOST_COMPARED: Final = 5_000
"""So many paths of what others make are compared with those of missing files, for one question."""


class Place(NamedTuple):
    """Where a missing file was looked for.

    Attributes:
        where: That, as a phrase; "" if the path says so.
        instead: What is there in its place; "" if nothing is.
        folder: That its folder is missing as well, if nothing is there in its place; "" if it is not.
    """

    where: str
    instead: str
    folder: str = ""

    def __str__(self) -> str:
        return "; ".join(filter(None, self))

    @property
    def clue(self) -> str:
        """What of that tells most: what is there in its place, or that its folder is missing."""
        return self.instead or self.folder

    def step(self, otherwise: str) -> str:
        """What to do about the file, where otherwise that would be done."""
        return CORRECT if self.instead else otherwise or (CORRECT if self.folder else "")


_NOWHERE: Final = Place("", "")


class Neighbours:
    """Looks what may be meant by missing files.

    Args:
        core: The state.
        most: For so many files it is looked; of others nothing is told.
    """

    def __init__(self, core: Core, most: float = inf) -> None:
        self._makers = core.dependencies.producer_of
        self._places: dict[Hashable, Place] = {}
        self._most = most
        self._compared = 0

    def told(self, reason: Reason) -> Reason:
        """A reason that says of missing files which nobody makes where they were looked for, and what may be meant."""
        if reason.root is not None:
            reason = reason._replace(root=self.told(reason.root))
        if not reason.lacks:
            return reason
        lacks = list(reason.lacks)
        for number, lack in enumerate(lacks[:SHOWN]):
            if lack.state == "nobody" and any(place := self.place_of(lack.artifact, reason.work)):
                lacks[number] = replace(lack, problem=f"{lack.problem} ({place})", step=place.step(lack.step))
        return reason._replace(lacks=tuple(lacks))

    def place_of(self, artifact: Any, work: Work) -> Place:
        """Where a missing file was looked for and what may be meant by it.

        Args:
            artifact: What is missing.
            work: Who needs it.
        """
        if not isinstance(artifact, File):
            return _NOWHERE
        place = self._places.get(artifact._key)
        if place is None:
            if len(self._places) >= self._most:
                return _NOWHERE
            place = self._places[artifact._key] = self._look(artifact, work)
        return place

    def _look(self, artifact: File, work: Work) -> Place:
        # It takes a while to load, and there may be nothing left to open it with.
        patiently(import_module, "runcue._artifacts.near_misses")
        from runcue._artifacts.near_misses import (  # noqa: PLC0415
            missing_folder,
            near_miss,
            where_missing,
        )

        instead = near_miss(artifact) or self._meant(artifact, work)
        return Place(where_missing(artifact), instead, "" if instead else missing_folder(artifact))

    def _meant(self, artifact: File, work: Work) -> str:
        """What others are about to make that may be meant by a file which nobody makes, as a phrase; "" if nothing."""
        from runcue._artifacts.near_misses import meant_among  # noqa: PLC0415 - as above

        makers = self._makers
        some = islice(makers.items(), max(0, _MOST_COMPARED - self._compared))
        self._compared += len(makers)
        path = meant_among(artifact, (key for key, one in some if isinstance(key, str) and one is not work))
        return "" if path is None else f"'{shortened(path, 120)}' is made by {name_of(makers[path])}"
