"""Folders whose files are submitted as they come: `cue.watch(folder, submit=task)`.

How this goes about it. Whoever watches a folder tells, in a thread, what has changed there; at the start, and for what
was not told, the folder is looked through. Whatever may have changed is looked at in the event loop, a slice at a time
(`look`). A file that has rested is submitted, unless its task makes it. While a work unit is on its way with a file,
other changes of that file wait; when it has settled, the file is looked at once more.

Lives here: `DropFolders`, those of one cue.

Must not know: how folders are watched, when a file has rested, how work units run.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, suppress
from contextvars import Context
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runcue._api.expected import Expected, expect
from runcue._artifacts.file import File
from runcue._artifacts.places import resolve
from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.timers import Alarm
from runcue._lifecycle.room import Place
from runcue._model.declaration import Declaration
from runcue._model.overrides import NO_OVERRIDES
from runcue._model.task import Task
from runcue._model.texts import error_words, listed, words_of
from runcue._model.work import Work
from runcue._registration.submission import params_for
from runcue._scheduling.core import Core

if TYPE_CHECKING:
    from runcue._api.intake import Intake

    # It comes with the first folder: few cues have any.
    from runcue._api.tray import Tray
    from runcue._artifacts.drop_folder import DropFolder
    from runcue._lifecycle.stopping import Stopping

__all__ = ["DropFolders"]

_SLICE: Final = 0.002
_STEP: Final = 16
"""So many files are looked at before the clock is."""
_NET: Final = 2.0
"""Seconds after which it is looked, at the earliest, whether something has come that nobody has told."""
_PAUSE: Final = 50
"""That takes at most a fiftieth of one core."""


class _Walk:
    """A folder that is being looked through.

    Attributes:
        tray: For whose files.
        drop: Which watched folder it is in, or is.
        folder: Its path.
        old_if_before: A file in there has rested that was changed before this instant of the wall clock.
        whole: Also through the folders in there that were looked through before.
        was_there: Whether it was a folder when it was looked through last.
        files: What is found in there.
        found: What was found so far.
    """

    __slots__ = ("drop", "files", "folder", "found", "old_if_before", "tray", "was_there", "whole")

    def __init__(
        self, tray: Tray, drop: DropFolder, folder: str, *, old_if_before: float = -inf, whole: bool = True
    ) -> None:
        self.tray = tray
        self.drop = drop
        self.folder = folder
        self.old_if_before = old_if_before
        self.whole = whole
        self.was_there = folder in drop.dates
        self.files = drop.files(folder, whole=whole)
        self.found: set[str] = set()


class DropFolders:
    """Those of one cue.

    Args:
        core: Its tasks, and who makes what.
        dispatcher: Is woken.
        log: Where it is told what could not be submitted.

    Attributes:
        trays: What is known of the files of each task, by its name; empty as long as there are no folders.
    """

    def __init__(self, core: Core, dispatcher: Dispatcher, log: WarningLog) -> None:
        self._core = core
        self._dispatcher = dispatcher
        self._turns = dispatcher.turns
        self._log = log
        self.trays: dict[str, Tray] = {}
        self._is_rehearsed = False
        # Who takes the work units in, and until when: None while nothing is submitted.
        self._intake: Intake | None = None
        self._stopping: Stopping | None = None
        # What watchers have told, in their threads, and whether the loop will take it.
        self._news: deque[tuple[list[str], list[str]]] = deque()
        self._are_told = False
        # What is to be looked at, and what is to be looked through.
        self._paths: OrderedDict[str, None] = OrderedDict()
        self._walks: deque[_Walk] = deque()
        # What was made while the cue stops: once each, or work units that make each other's files would never end.
        self._made_last: set[str] = set()
        # Where as many work units are pending as may be: the place in line for the next one.
        self._place: Place | None = None
        self._look_alarm = Alarm(dispatcher.timers, lambda now: None)
        self._net_alarm = Alarm(dispatcher.timers, self._look_for_untold, passive=True)

    def add(self, folder: str, task: Task, pattern: str | None, *, recursive: bool) -> None:
        """Submit the files of one more folder, unless that is done already.

        Args:
            folder: As given.
            task: What its work units are of.
            pattern: What their names must match.
            recursive: Also what is in its folders.
        """
        if self._is_rehearsed:
            return
        from runcue._api.tray import Tray  # noqa: PLC0415 - it comes with the first folder
        from runcue._artifacts.drop_folder import DropFolder  # noqa: PLC0415

        drop = DropFolder(folder, pattern, recursive=recursive)
        tray = self.trays.get(task.name)
        if tray is None:
            tray = self.trays[task.name] = Tray(task.name, self._core.dependencies.producer_of)
        known = ((one.path, one.pattern, one.recursive) for one in tray.folders)
        if (drop.path, pattern, recursive) not in known:
            tray.folders.append(drop)
            if self._takes:
                self._begin(tray, drop)

    def rehearse(self) -> None:
        """Submit nothing: neither out of those that there are nor out of those that come."""
        self._is_rehearsed = True
        self.trays.clear()

    def start(self, intake: Intake, stopping: Stopping) -> None:
        """Submit from now on, and first what is there.

        Args:
            intake: Takes the work units in.
            stopping: Says for how long. What was seen before the cue begins to stop is submitted all the same.
        """
        self._leave()  # what a loop has left that ended without a stop
        self._are_told = False
        self._made_last.clear()
        self._intake, self._stopping = intake, stopping
        if intake.room is not None:
            # What was seen before a stop is submitted all the same.
            self._place = Place(intake.room, lambda error: self._turns.wake(), stays=True)
        for tray in self.trays.values():
            tray.begin()
            for drop in tray.folders:
                self._begin(tray, drop)

    def _begin(self, tray: Tray, drop: DropFolder) -> None:
        assert self._intake is not None
        self._intake.declared_to = self._note_declared
        self._dispatcher.endings.made_to = self._has_made
        # By the wall clock of the files, whatever time it is for the cue.
        self._walks.append(_Walk(tray, drop, drop.path, old_if_before=time.time() - tray.rest))
        self._net_alarm.set(self._turns.now() + _NET)
        self._turns.wake()

    def stop(self) -> None:
        """The cue has stopped."""
        self._leave()
        self._net_alarm.clear()
        self._intake = self._stopping = None

    def _leave(self) -> None:
        """Submit nothing of what was seen."""
        if self._place is not None:
            self._place.leave()
        self._news.clear()
        self._paths.clear()
        self._walks.clear()
        for tray in self.trays.values():
            tray.leave()

    @property
    def _takes(self) -> bool:
        """Whether what comes now is to be submitted."""
        stopping = self._stopping
        return stopping is not None and stopping.level is None

    @property
    def _submits(self) -> bool:
        """Whether what has come is submitted."""
        stopping = self._stopping
        return stopping is not None and not stopping.shut and self._turns.failure is None

    def awaited(self) -> bool:
        """Whether something was seen that is going to be submitted by itself. A file that goes on growing is not."""
        return (
            bool(self.trays)
            and self._submits
            and (
                bool(self._news or self._paths or self._walks)
                or any(tray.rested or tray.arrivals.expects() for tray in self.trays.values())
            )
        )

    def hear(self, paths: Iterable[str], folders: Iterable[str]) -> float:
        """Files were changed by somebody. Called in a watcher's thread; see `Watcher`."""
        loop = self._turns.loop
        if self.trays and self._takes and loop is not None:
            self._news.append((list(paths), list(folders)))
            if not self._are_told:
                self._are_told = True
                try:
                    loop.call_soon_threadsafe(self._take, context=Context())
                except RuntimeError:
                    self._are_told = False  # it has ended at this very moment
        return 0.0

    def _take(self) -> None:
        self._are_told = False  # before anything is taken: what comes after that tells again
        for _ in range(len(self._news)):
            paths, folders = self._news.popleft()
            self._paths.update(dict.fromkeys(paths))
            for folder in folders:
                self._look_through(folder)
        self._turns.wake()

    def look_through(self) -> None:
        """Look what is there by now: a drain or a stop is about to begin, and watchers tell a moment late."""
        for tray in self.trays.values() if self._takes else ():
            for drop in tray.folders:
                self._walks.append(_Walk(tray, drop, drop.path))

    def _look_through(self, folder: str) -> None:
        """Anything may have changed in a folder."""
        for tray in self.trays.values():
            for drop in tray.folders:
                if (where := drop.reaches(folder)) is not None:
                    self._walks.append(_Walk(tray, drop, where))

    def _look_for_untold(self, now: float) -> None:
        """What nobody tells (the system's queue ran over, or another machine did it) shows by the dates of folders."""
        began = time.perf_counter()
        if self._takes:
            for tray in self.trays.values():
                for drop in tray.folders:
                    for folder in drop.changed():
                        self._walks.append(_Walk(tray, drop, folder, whole=False))
            self._net_alarm.set(now + max(_NET, _PAUSE * (time.perf_counter() - began)))

    def look(self) -> None:
        """Look at what may have changed, and submit what has rested, for a slice of time. In the event loop."""
        if not self._submits:
            self._leave()
        now = self._turns.now()
        trays = self.trays.values()
        waits = self._place is not None and self._place.waits
        if (
            self._paths
            or self._walks
            or any((tray.rested and not waits) or tray.arrivals.next() <= now for tray in trays)
        ):
            # Of whatever is called in there, nothing belongs to a gate.
            Context().run(self._advance, now)
            self._turns.wake()  # for what is left, and for who waits until nothing is
        self._look_alarm.set(min(tray.arrivals.next() for tray in trays))

    def _advance(self, now: float) -> None:
        try:
            with closing(self._steps(now)) as steps:
                for number, _ in enumerate(steps, 1):
                    if number % _STEP == 0 and self._turns.now() > now + _SLICE:
                        break
        except KeyboardInterrupt as error:
            # Out of a function that says what a task makes: that is no failure of the scheduler.
            self._turns.interrupt(error)

    def _steps(self, now: float) -> Generator[None, None, None]:
        """All that is to be done, file by file, as far as it is asked for."""
        while self._paths:
            path, _ = self._paths.popitem(last=False)
            for tray in self.trays.values():
                if (drop := tray.holding(path)) is not None and tray.note(drop, path, now, -inf):
                    self._has_rested(tray, path)
            yield
        while self._walks:
            walk = self._walks[0]
            for path in walk.files:
                walk.found.add(path)
                if walk.tray.note(walk.drop, path, now, walk.old_if_before):
                    self._has_rested(walk.tray, path)
                yield
            self._walks.popleft()
            is_gone = walk.was_there and walk.folder not in walk.drop.dates
            if is_gone or (walk.whole and walk.folder == walk.drop.path):
                walk.tray.forget_in(walk.drop, walk.folder, but=walk.found)
            yield
        for tray in self.trays.values():
            for path in tray.arrivals.rested(now):
                self._has_rested(tray, path)
                yield
        for tray in self.trays.values():
            # Not before: one of them may be what the work unit of another one makes.
            yield from self._submit_rested(tray)

    def _has_rested(self, tray: Tray, path: str) -> None:
        if (drop := tray.holding(path)) is None:
            return
        expected, task = None, self._core.tasks[tray.task]
        if task.outputs is not None:
            # What its work unit would make is known before any is submitted.
            with suppress(Exception):  # it will fail by that itself, and say so
                params = params_for(task, {"path": drop.called(path)})
                expected = expect(task, params, self._dispatcher.flags)
                tray.note_declared(expected)
        tray.rested[path] = drop, expected

    def _note_declared(self, work: Work) -> None:
        """A work unit says what it makes, whoever submits it."""
        if (tray := self.trays.get(work.task)) is not None:
            tray.note_declared(work)

    def _has_made(self, work: Work, declared: Declaration) -> None:
        """A work unit has succeeded: what it has made may be for another task, also while the cue stops."""
        if (own := self.trays.get(work.task)) is not None:
            self._warn(own.note_written(work, declared))
        if not self._submits:
            return
        made = {one._key for one in declared.makes if isinstance(one, File)}
        for key in made.union(map(resolve, declared.published)):
            if not self._takes:
                if key in self._made_last:
                    continue
                self._made_last.add(key)
            for tray in self.trays.values():
                for drop, path in tray.lying(key):
                    if Path(path).is_dir():
                        self._walks.append(_Walk(tray, drop, path))
                    else:
                        self._paths[path] = None

    def _has_room(self, tray: Tray) -> bool:
        """Whether one more may be submitted; if not, it stands in line for that."""
        assert self._intake is not None
        room = self._intake.room
        return (
            room is None or self._place is None or self._place.has_room(tray.task, lambda: not room.is_free())
        )

    def _submit_rested(self, tray: Tray) -> Iterator[None]:
        refused: dict[str, Exception] = {}
        try:
            while tray.rested and self._has_room(tray):
                path, (drop, expected) = tray.rested.popitem(last=False)
                try:
                    self._submit(tray, drop, path, expected)
                except Exception as error:  # whatever it is: the next one may be better
                    refused[words_of(drop.called(path))] = error
                yield
        finally:
            if refused:
                some = "; the first of them" if len(refused) > 1 else ""
                first = error_words(next(iter(refused.values())))
                text = "Of a watched folder %s could not be submitted to task %r%s: %s"
                self._log.tell("inbox", (), text, listed(refused), tray.task, some, first)

    def _submit(self, tray: Tray, drop: DropFolder, path: str, expected: Expected | None) -> None:
        if tray.makes(path):
            return
        if not tray.arrivals.is_readable(path):
            raise PermissionError("it may not be read")
        assert self._intake is not None
        task = self._core.tasks[tray.task]
        said = None if expected is None else expected.said(task)
        params = params_for(task, {"path": drop.called(path)})
        work = self._intake.admit(
            task, params, Context(), said or (NO_OVERRIDES if task.says_per_work else None)
        )
        work._overrides = None  # these are the answers of its task: who does it once more asks anew
        self._warn(tray.submitted(path, work, self._settled))

    def _settled(self, tray: Tray, path: str, work: Work) -> None:
        """A work unit of ours has settled. Whoever has settled it wakes the turns."""
        self._warn(tray.settled(path, work, self._turns.now() if self._takes else None))

    def _warn(self, warning: str | None) -> None:
        if warning is not None:
            self._log.tell("inbox", (), "%s", warning)
