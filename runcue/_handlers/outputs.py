"""What is around a handler whose work deals in artifacts: writing, publishing, and whether it left what it promised.

Lives here: `run_handler`, which executors run instead of a bare handler; `write`, behind `work.write`; publishing what
was written (`commit_due`, `commit`, `rollback`), once the handler has succeeded and only if somebody still wants it;
marking what is about to be made, until it is proof (`mark`, `prove`); and `atomic_write` for use outside of work units.

Must not know: event loops, states of work units beyond "is it still wanted", how files are made safe (that is
`_artifacts.publication`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from enum import Enum, auto
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

from runcue._artifacts.artifact import Artifact, is_valid, plainly
from runcue._artifacts.changes import file_changed
from runcue._artifacts.dating import MustWait
from runcue._artifacts.descriptors import patiently
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._artifacts.marks import vouch_for
from runcue._artifacts.places import absolute, locate, path_text
from runcue._callbacks.forks import FORKS, leave
from runcue._model.awaitables import is_awaitable
from runcue._model.checks import says_what_it_takes
from runcue._model.declaration import Declaration, alone, is_common
from runcue._model.errors import ConfigurationError, MissingOutput, UsageError
from runcue._model.phases import RUNNING, SETTLED
from runcue._model.texts import error_words, name_of, problem_of, words_of
from runcue._model.work import Work

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Commit",
    "atomic_write",
    "commit",
    "commit_due",
    "let_make",
    "load_for_files",
    "mark",
    "owner_of",
    "prove",
    "remove_orphans",
    "rollback",
    "run_handler",
    "run_of",
    "write",
]


def load_for_files() -> None:
    """Load what is needed when work units with files run: by then there may be no descriptor left to read it by."""
    from runcue._artifacts import publication, run_marks  # noqa: F401, PLC0415
    from runcue._freshness import provenance  # noqa: F401, PLC0415


def owner_of(run: Work) -> Work:
    """The work that a running handler belongs to: the one it was started for, or a successor of that."""
    declared = run._declared
    if declared is None or declared.left is None:
        return run
    successor: Work = declared.left.leader
    return successor


def run_of(owner: Work) -> Work:
    """The counterpart: the work for which the handler was started that runs for this one, if any does."""
    declared = owner._declared
    if declared is None or declared.followers is None:
        return owner
    run: Work = declared.followers.run or owner
    return run


def write(
    work: Work, output: Any, mode: str, encoding: str | None, durable: bool
) -> AbstractContextManager[IO[Any]]:
    """See `Work.write`."""
    if work._phase < RUNNING or owner_of(work)._phase == SETTLED:
        raise UsageError(f"write() is for the handler of a work that runs; {work!r} does not.")
    if isinstance(output, Artifact) and not isinstance(output, File):
        raise ConfigurationError(
            f"Only files can be written; {words_of(output)} is none. Store it your own way."
        )
    if work._declared is None:
        work._declared = Declaration()
    declared = alone(work)
    target = output._path if isinstance(output, File) else _path_of(output, declared)
    staged: AbstractContextManager[IO[Any]] = _transaction(declared).open(target, mode, encoding, durable)
    return staged


def let_make(work: Work, output: File) -> Path:
    """Have another program make an output of a work unit that runs, to be published like what is written.

    Returns:
        Where that program is to write it; nothing is there.

    Raises:
        PublishError: There can be no such file.
    """
    assert work._declared is not None
    made: Path = _transaction(alone(work)).let_make(output._path)
    return made


def _transaction(declared: Declaration) -> Any:
    if declared.transaction is None:
        from runcue._artifacts.publication import OutputTransaction  # noqa: PLC0415 - not needed by who writes nothing

        declared.transaction = OutputTransaction()
    return declared.transaction


def _path_of(given: Any, declared: Declaration) -> str:
    """Where a path leads that a handler writes to: what was given so as an output is that output.

    The working folder may be another one by now than when that was submitted.
    """
    text = path_text(given)
    if text[0] != os.sep:
        tidy = absolute(os.sep + text)
        for output in declared.outputs:
            if (
                isinstance(output, File)
                and output._given[0] != os.sep
                and absolute(os.sep + output._given) == tidy
            ):
                return output._path
    return File(text)._path


def run_handler(work: Work) -> Any:
    """Run a sync handler and publish what it wrote. In the handler's thread, once `mark` has been called.

    The name `work` is read out of its frame, by `thread_runs.run_here`.
    """
    forks = FORKS.number
    try:
        value = work._task.call(work)
        if FORKS.number != forks:
            leave(None)
        if work._declared is not None and not is_awaitable(value):
            commit(work)
    except BaseException as error:
        if FORKS.number != forks:
            leave(error)
        rollback(work)
        raise
    return value


def mark(work: Work) -> None:
    """Mark what a handler is about to make: until its work unit has succeeded, that is no proof.

    Raises:
        PublishError: The disk is full.
    """
    from runcue._artifacts.run_marks import RunMarks  # noqa: PLC0415 - only for work units that run

    assert work._declared is not None
    marks = RunMarks(work._task.dispatcher, name_of(work))
    marks.write(work._declared.outputs)
    work._declared.marks = marks


class Commit(Enum):
    """What a handler that has succeeded leaves to be done."""

    QUICK = auto()
    """It takes so little time that it may be done in the event loop."""
    SLOW = auto()
    """The disk has to be waited for, or content to be read."""


def commit_due(work: Work) -> Commit | None:
    """What is to be committed once the handler has succeeded: the one question about it. None: nothing is."""
    declared = work._declared
    if declared is None or declared.committed:
        return None
    transaction = declared.transaction
    noting = declared.fresh if declared.files else None
    if transaction is None and noting is None:
        return None
    lasting = transaction is not None and transaction.durable
    if lasting or (noting is not None and not getattr(noting, "quick", False)):
        return Commit.SLOW
    return Commit.QUICK


def commit(work: Work, *, patient: bool = True) -> bool:
    """Publish what a handler that has succeeded wrote, and let the freshness policy note what it needs.

    Args:
        work: The work unit that the handler was started for.
        patient: Wait where it takes that, for a tick of the clock by which files are dated. Not in the event loop.

    Returns:
        Whether it is done. If not, to call this again will do the rest.

    Raises:
        PublishError: It could not be published; nothing was, or not all.
    """
    declared = work._declared
    if declared is None or is_common(declared):
        return True
    declared.committed = True
    if _is_unwanted(work):
        rollback(work)
        return True
    provenance, transaction = declared.provenance, declared.transaction
    try:
        if transaction is not None:
            # It stays where `rollback` finds it: who is cancelled while the disk is waited for publishes nothing.
            declared.published = transaction.publish(provenance, patient=patient)
            declared.transaction = None
        if _is_unwanted(work):
            return True  # meanwhile: nothing was published, and nothing may be noted of it
        if provenance is not None:
            provenance.settle_after(patient=patient)
    except MustWait:
        declared.committed = False
        return False
    declared.provenance = None
    if provenance is not None and provenance.changed is not None:
        # Of work units that make each other out of date in this way it is told otherwise: once per task, too.
        declared.input_changed = (provenance.changed, provenance.is_crowded)
    if declared.fresh is not None and declared.files:
        forks = FORKS.number
        try:
            plainly(declared.fresh.finished(work), declared.fresh)
            if FORKS.number != forks:
                leave(None)
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            raise
    published, declared.published = declared.published, ()
    own = {artifact._key for artifact in declared.makes} if published else ()
    for path in published:
        path, key, place = locate(path)
        if key not in own:  # what is declared is proof when all of it is there
            vouch_for(key, place, path=path)
            declared.published += (path,)
        file_changed(key)
    return True


def _is_unwanted(work: Work) -> bool:
    """Whether a work unit was cancelled or has timed out, and nobody has taken over.

    `cancelled` is set before what was written is thrown away, and the state after that; this may run in between.
    """
    return work.cancelled or owner_of(work)._phase == SETTLED


def rollback(work: Work, *, returned: bool = False) -> None:
    """Throw away what a handler wrote that has failed or is not wanted any more. What is left of it is no proof.

    Args:
        work: What it was started for.
        returned: Whether the handler has come to its end, so that it changes nothing any more.
    """
    declared = work._declared
    if declared is None or is_common(declared):
        return
    declared.provenance = None
    if declared.transaction is not None:
        transaction, declared.transaction = declared.transaction, None
        transaction.discard()
    marks = declared.marks  # by the thread of a handler that was given up they may be taken meanwhile
    if marks is not None:
        marks.fail()
        if returned:
            marks.end()
            declared.marks = None


def prove(run: Work, work: Work) -> MissingOutput | None:
    """See whether a handler has left what its work unit declares. If so, that is proof from now on.

    Args:
        run: What it was started for.
        work: What it belongs to by now.

    Returns:
        The error if something is missing.
    """
    missing: MissingOutput | None = None
    assert work._declared is not None
    for artifact in work._declared.outputs:
        if (type(artifact) is not Flag or artifact.stamp() is None) and (missing := _missing(artifact, work)):
            rollback(run, returned=True)
            return missing
    if run._declared is not None and run._declared.marks is not None:
        marks, run._declared.marks = run._declared.marks, None
        marks.succeed(work.outputs)
    return None


def _missing(artifact: Any, work: Work) -> MissingOutput | None:
    """The error of a work unit whose handler has returned without an output of it, None if that is there.

    In the event loop: artifacts of users may live in a connection that belongs to its thread.
    """
    forks = FORKS.number
    kind = type(artifact)
    cause: BaseException | None = None
    try:
        if kind is File or kind is Flag:
            if artifact.stamp() is not None:
                return None
        else:
            is_proof = is_valid(artifact)
            if FORKS.number != forks:
                leave(None)
            if is_proof:
                return None
        said = artifact.problem_as_made() if kind is File else problem_of(artifact)
        problem = said + (_elsewhere(artifact) or _in_its_place(artifact))
    except BaseException as raised:
        if FORKS.number != forks:
            leave(raised)
        cause = raised
        problem = f"could not be looked at: {error_words(raised)}"
    missing = MissingOutput(
        f"The handler of {work.task!r} returned, but its output {words_of(artifact)} {problem}. "
        "An output is what proves that the work was done."
    )
    missing.__cause__ = cause
    return missing


def _elsewhere(artifact: Artifact) -> str:
    """Where a relative path leads by now, if that is another place than it was declared to be."""
    if not isinstance(artifact, File) or artifact._given[0] == os.sep:
        return ""
    try:
        now = File(artifact._given)
    except ConfigurationError:  # the working folder is gone
        return f" at {artifact._path!r}"
    if now._key == artifact._key:
        return ""
    return f" at {artifact._path!r} (the working folder is another one now, from which it would be {now._path!r})"


def _in_its_place(artifact: Artifact) -> str:
    """Where it was looked for, and what is there instead: a handler may have mistyped its name."""
    patiently(import_module, "runcue._artifacts.near_misses")
    from runcue._artifacts.near_misses import (  # noqa: PLC0415 - if it is wrong
        missing_folder,
        near_miss,
        where_missing,
    )

    # Many may fail alike, and this is the event loop.
    near = near_miss(artifact, most=1_000) or missing_folder(artifact)
    told = "; ".join(filter(None, (where_missing(artifact), near)))
    return told and f" ({told})"


def remove_orphans(works: Iterable[Work]) -> None:
    """Remove what killed processes left where these work units have their outputs, once per folder.

    Writing does that before it begins; this is for folders in which nothing had to be written any more.
    """
    # Places, of which there is one for each folder: it is quicker than to compare their paths.
    places = {
        output._place
        for work in works
        if work._declared is not None and work._declared.files
        for output in work._declared.outputs
        if isinstance(output, File)
    }
    if not places:
        return
    for place in places:
        marks = place.marks
        while marks is not None:  # where folders were missing, marks were further up
            marks.tidy()
            marks = marks.above
    from runcue._artifacts.temp_files import clear_dead_once  # noqa: PLC0415

    for folder in {place.path for place in places}:
        try:
            clear_dead_once(folder)
        except OSError:
            pass  # it may be gone; and to clear up is no reason to fail


@says_what_it_takes
def atomic_write(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    content: str | bytes,
    *,
    encoding: str = "utf-8",
    durable: bool = True,
) -> None:
    """Write a file so that at any instant, kill -9 and power cuts included, there is the old content or the new one.

    Work units that wait for this file are asked again. Missing folders are made. In a handler prefer `work.write`,
    which publishes only when the handler has succeeded.

    Args:
        path: Where to.
        content: All of it, text or bytes.
        encoding: Of text.
        durable: Wait until it is on the disk. False is quicker, and safe against a kill but not against a power cut.

    Raises:
        PublishError: It cannot be written there.
    """
    from runcue._artifacts.publication import atomic_write as publish  # noqa: PLC0415

    target = File(path)._path
    publish(target, content, encoding=encoding, durable=durable)
    target, key, place = locate(target)
    vouch_for(key, place, path=target)
    file_changed(key)
