"""The files of watched folders that are for one task, and what is known of them: its in-tray.

Lives here: `Tray`; and `_Taken`, a file with which a work unit is on its way.

Must not know: how files are looked for, how and when they are submitted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Iterator, Mapping
from functools import partial
from math import inf
from os import sep
from os.path import lexists
from typing import Any, Final

from runcue._api.expected import Expected
from runcue._artifacts.arrivals import REST, Arrivals
from runcue._artifacts.descent import Descent
from runcue._artifacts.drop_folder import DropFolder
from runcue._artifacts.file import File
from runcue._artifacts.places import place_of, resolve
from runcue._dispatch.batch import waiters_of
from runcue._model.declaration import Declaration
from runcue._model.errors import ConfigurationError
from runcue._model.phases import COMPLETED, JOINED, RUNNING, SETTLED
from runcue._model.texts import words_of
from runcue._model.work import Work

__all__ = ["Tray"]

_SUSPICIOUS: Final = 3
"""So often, one time after the other, a file must change, or be named after one that was submitted, to be taken for of
its own task's making."""


class Tray:
    """The files for one task.

    Args:
        task: Its name: a redefinition takes its place.
        producers: Who is about to make something, by its key.

    Attributes:
        task: The name of the task.
        folders: Where the files come from.
        arrivals: Those that are there.
        rested: Those of them that are to be submitted, with what their work units will declare.
        rest: Seconds for which a file must look the same.
    """

    rest = REST

    def __init__(self, task: str, producers: Mapping[Any, Work]) -> None:
        self.task = task
        self.folders: list[DropFolder] = []
        self.arrivals = Arrivals()
        self.rested: OrderedDict[str, tuple[DropFolder, Expected | None]] = OrderedDict()
        self._producers = producers
        # With which files a work unit is on its way.
        self._busy: dict[str, _Taken] = {}
        # What work units of the task make in these folders, by keys; not what one makes of its own file in its place.
        self._made: set[str] = set()
        # How often a file has changed while its work unit was on its way, time and again; and whether a task that does
        # not say what it makes is given that.
        self._restless: dict[str, int] = {}
        self._descent = Descent()
        # What was warned of.
        self._told: set[str] = set()

    def begin(self) -> None:
        """Everything that is there is new, but for what is on its way since an earlier start."""
        self.arrivals.forget_all()
        self.rested.clear()
        self._restless.clear()
        self._busy = {path: taken for path, taken in self._busy.items() if taken.follow()}

    def leave(self) -> None:
        """Nothing that has come is to be submitted any more."""
        self.arrivals.leave()
        self.rested.clear()

    def holding(self, path: str) -> DropFolder | None:
        """The first of the folders of which a file is."""
        return next((one for one in self.folders if one.holds(path)), None)

    def note(self, drop: DropFolder, path: str, now: float, old_if_before: float) -> bool:
        """A file may have come, changed or gone.

        Args:
            drop: Where it is.
            path: Its absolute path.
            now: The instant.
            old_if_before: See `Arrivals.note`.

        Returns:
            Whether it has rested.
        """
        if (taken := self._busy.get(path)) is not None:
            work = taken.work
            if work._phase < RUNNING and work._phase != JOINED:
                self.arrivals.renew(path)  # its handler will see it as it is
            return False
        if self.makes(path):
            key = resolve(path)
            if key in self._made and not lexists(path) and key not in self._producers:
                self._made.discard(key)  # another file of that name may be somebody else's
            self.arrivals.forget(path)
            return False
        return self.arrivals.note(path, now, old_if_before=old_if_before)

    def makes(self, path: str) -> bool:
        """Whether the task makes a file, or a folder that it is in, as far as is known."""
        if self._made:
            key = resolve(path)
            while key:
                if key in self._made:
                    return True
                key = key.rpartition(sep)[0]
        return False

    def note_declared(self, work: Work) -> None:
        """A work unit of the task says what it makes, whoever submits it."""
        if work._declared is not None:
            for artifact in work._declared.makes:
                if isinstance(artifact, File):
                    self._note_made(artifact._key, work)

    def _note_made(self, key: str, work: Work) -> None:
        if next(self._inside(key), None) is None:
            return
        try:
            own = resolve(work.params["path"])
        except (LookupError, ConfigurationError):
            own = ""  # whoever has submitted it means something else by that
        if own != key:
            self._made.add(key)

    def note_written(self, work: Work, declared: Declaration) -> str | None:
        """A work unit of the task has succeeded, and written what it has not declared.

        Returns:
            What is to be warned of: that this will not be known in a later process. None: nothing is.
        """
        source = work.params.get("path")
        for key in map(resolve, declared.published):
            self._note_made(key, work)
            # What is made of a file that is gone then is told otherwise, with another remedy.
            if key in self._made and isinstance(source, str) and lexists(source):
                for drop, path in self._inside(key):
                    if drop.holds(path):
                        return self._once(
                            f"{words_of(drop.called(path))} lies where task {self.task!r} is given files from, and "
                            "was written by it without being declared: in a later process it will be taken for a new "
                            "file. Say by outputs= what the task makes, or let it write elsewhere, or give watch() a "
                            "pattern= that what it makes does not match",
                            "undeclared",
                        )
        return None

    def lying(self, key: str) -> Iterator[tuple[DropFolder, str]]:
        """Where to look when something was made: itself, or, of a folder that one of the folders is in, all of that."""
        yield from self._inside(key)
        for drop in self.folders:
            if f"{place_of(drop.path).path}{sep}".startswith(f"{key}{sep}"):
                yield drop, drop.path

    def _inside(self, key: str) -> Iterator[tuple[DropFolder, str]]:
        """The folders that something is in, each with its path as seen from there."""
        for drop in self.folders:
            root = place_of(drop.path).path
            if key.startswith(f"{root}{sep}"):
                yield drop, f"{drop.path}{key[len(root) :]}"

    def submitted(self, path: str, work: Work, settled: Callable[[Tray, str, Work], None]) -> str | None:
        """A work unit is on its way with a file.

        Args:
            path: The absolute path of the file.
            work: The work unit.
            settled: Called with this tray, the path and the work unit when that has settled.

        Returns:
            What is to be warned of: that its task seems to be given what it makes, which has no end. None: nothing is.
        """
        taken = _Taken(path, work, partial(settled, self))
        if taken.follow():
            self._busy[path] = taken
        if work._task.outputs is None and self._descent.note(path) == _SUSPICIOUS:
            return self._seems_own(work, "is named after one that is named after another one")
        return None

    def _seems_own(self, work: Work, sign: str) -> str | None:
        return self._once(
            f"Task {self.task!r} seems to be given files that it makes itself, again and again: "
            f"{words_of(work.params['path'])} {sign}. Say by outputs= what it makes, or let it write elsewhere, or "
            "give watch() a pattern= that these do not match",
            sign,
        )

    def _once(self, warning: str, of: str) -> str | None:
        if of in self._told:
            return None
        self._told.add(of)
        return warning

    def settled(self, path: str, work: Work, now: float | None) -> str | None:
        """A work unit has settled: its file may have changed meanwhile.

        Args:
            path: Of the file.
            work: The work unit.
            now: The instant; None: no file is looked at any more.

        Returns:
            What is to be warned of, as of `submitted`; or that what was made will not be known any more. None: nothing.
        """
        self._busy.pop(path, None)
        declared = work._declared
        if declared is not None and (declared.makes or declared.published):
            made = [one._key for one in declared.makes if isinstance(one, File)]
            made += map(resolve, declared.published)
            if resolve(path) in made:
                self.arrivals.renew(path)
            elif work._outcome == COMPLETED and not lexists(path):
                self.arrivals.forget(path)
                return self._cannot_be_known(work, made)
        if now is None or (drop := self.holding(path)) is None:
            return None
        self.note(drop, path, now, -inf)
        if not self.arrivals.rests(path):
            self._restless.pop(path, None)
            return None
        times = self._restless[path] = self._restless.get(path, 0) + 1
        if times == _SUSPICIOUS:
            return self._seems_own(work, "has changed each time while it was worked on")
        return None

    def _cannot_be_known(self, work: Work, made: list[str]) -> str | None:
        """What to warn of if something was made in the folders, and the file of which it was made is gone."""
        for key in made:
            for drop, path in self._inside(key):
                if drop.holds(path):
                    return self._once(
                        f"{words_of(drop.called(path))} lies where task {self.task!r} is given files from, and "
                        f"{words_of(work.params['path'])}, of which it was made, is gone: in a later process it will "
                        "be taken for a new file. Let the task write elsewhere, or give watch() a pattern= that what "
                        "it makes does not match",
                        "gone",
                    )
        return None

    def forget_in(self, drop: DropFolder, folder: str, but: Container[str]) -> None:
        """Forget what is not in a folder any more, or, where that is gone itself, what was.

        Args:
            drop: Where the folder is, or which one it is.
            folder: Its path.
            but: What is there.
        """
        inside = f"{folder}{sep}"
        if folder not in drop.dates:
            for one in [one for one in drop.dates if one.startswith(inside)]:
                del drop.dates[one]
        for path in [one for one in self.arrivals.paths() if one.startswith(inside) and one not in but]:
            if drop.holds(path):
                self.arrivals.forget(path)


class _Taken:
    """A file with which a work unit is on its way.

    It stands where somebody waits for that, and only hears of its end: a failure is in nobody's hands by that.

    Attributes:
        work: The work unit.
    """

    __slots__ = ("_path", "_settled", "work")

    def __init__(self, path: str, work: Work, settled: Callable[[str, Work], None]) -> None:
        self._path = path
        self._settled = settled
        self.work = work

    def follow(self) -> bool:
        """Hear of its end from now on. Returns whether it is still to come."""
        work = self.work
        if work._phase == SETTLED:
            return False
        waiters_of(work)[self] = work
        return True

    def settled(self, work: Work) -> None:
        """It has settled."""
        self._settled(self._path, work)

    def wake(self) -> None:
        """The scheduler has failed: nothing is submitted any more."""
