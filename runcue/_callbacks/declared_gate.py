"""The gate that follows from what is declared: ready when every input is valid, stale when an output is out of date.

Lives here: asking the artifacts and the freshness policy of a work unit, whichever part of that is the user's code.

A raising input means not ready, a raising output or policy means stale.

Must not know: is_ready and is_stale, in which order the questions are asked, where artifacts are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from os import lstat, stat, stat_result
from os.path import islink
from stat import S_IFREG, S_ISLNK, S_ISREG
from typing import Any, Final

from runcue._artifacts.artifact import Artifact, is_valid, plainly
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._artifacts.marks import Doubt, doubt_of
from runcue._artifacts.places import PASS
from runcue._callbacks.door import Door
from runcue._callbacks.failures import Failures
from runcue._callbacks.forks import FORKS, leave
from runcue._callbacks.verdicts import NOT_READY, RUN, GateVerdict
from runcue._freshness.folder_news import FOLDER_NEWS
from runcue._freshness.newer import Newer
from runcue._model.callables import located
from runcue._model.declaration import Declaration
from runcue._model.kept_errors import kept
from runcue._model.texts import listed, problem_of, words_of
from runcue._model.work import Work
from runcue._scheduling.holds import Holds

__all__ = ["DeclaredGate", "check_verdict", "looking_at"]

_NOT_VALID: Final = object()
_IN_DOUBT: Final = object()
# The bits of a mode that tell kinds of files apart; S_ISREG() would take as long as the rest of looking at one.
_KINDS: Final = 0o170000
# The verdict of `digest()` of which it is told how many work units it has made run.
_OTHER_STAMP: Final = "other stamp"


def _gather_versions(
    artifacts: tuple[Any, ...],
    versions: list[Any],
    work: Work,
    declared: Declaration,
    links: list[File] | None,
) -> object:
    """Gather the versions of artifacts, up to the first that is not valid.

    Args:
        artifacts: The inputs or the outputs of a work unit.
        versions: Takes them: as many as there are artifacts before that one.
        work: The work unit.
        declared: What it declares.
        links: Takes the inputs that are links. None: these are outputs.

    Returns:
        None if all are valid, else what `_version_if_valid` says of that one.
    """
    whole, epoch = declared.whole, PASS.epoch
    for artifact in artifacts:
        kind = type(artifact)
        if kind is Flag:
            # As `stamp()` says, and nearly always without a call.
            version = artifact._cell[0] if artifact._home is not None else artifact.stamp()
            if not version:
                return _NOT_VALID
            versions.append(version)
            continue
        # A plain file in a plain place, without another call: this is asked once for each file of a big tree.
        if (
            kind is File
            and artifact._checks is None
            and artifact._path is artifact._key
            and artifact._place.unmarked == epoch
        ):
            try:
                status = lstat(artifact._path)
            except OSError:
                return _NOT_VALID
            if status.st_mode & _KINDS == S_IFREG:
                versions.append(status if whole else status.st_mtime_ns)
                continue
        version = _version_if_valid(artifact, work, declared, links)
        if version is _NOT_VALID or version is _IN_DOUBT:
            return version
        versions.append(version)
    return None


def _version_if_valid(artifact: Any, work: Work, declared: Declaration, links: list[File] | None) -> Any:
    """The version of an artifact that is valid, `_NOT_VALID` of one that is not, `_IN_DOUBT` of one that has a mark.

    Args:
        artifact: The artifact.
        work: The work unit for which it is asked.
        declared: What that declares.
        links: Takes it if it is a link. None: it is one of its outputs.
    """
    kind = type(artifact)
    if kind is not File and isinstance(artifact, File) and _asks_as_file(kind):
        kind = File
    if kind is File:
        # What `valid()` and `version()` would do, with one look.
        if artifact._path is not artifact._key:
            artifact.again()  # to notice that a link on the way was turned
        try:
            status = lstat(artifact._path)
            is_plain = S_ISREG(status.st_mode) and artifact._path is artifact._key
            is_link = not is_plain and S_ISLNK(status.st_mode)
            if is_link:
                if links is not None:
                    links.append(artifact)
                status = stat(artifact._path)
        except OSError:
            return _NOT_VALID
        if artifact._checks is not None and not artifact.passes(status):
            return _NOT_VALID
        if (artifact._place.unmarked != PASS.epoch or not is_plain) and _doubt_of(
            artifact, status, work, is_link=is_link, is_own=links is None
        ) is not None:
            return _IN_DOUBT
        return status if declared.whole else status.st_mtime_ns
    if links is not None and isinstance(artifact, File) and islink(artifact._path):
        links.append(artifact)
    if not is_valid(artifact):
        return _NOT_VALID
    if isinstance(artifact, File) and _doubt_now(artifact, work, is_own=links is None) is not None:
        return _IN_DOUBT
    return plainly(artifact.version(), artifact)


def _asks_as_file(kind: type[File]) -> bool:
    """Whether a subclass of File leaves the questions to it."""
    return kind.valid is File.valid and kind.version is File.version


def _doubt_now(artifact: File, work: Work, *, is_own: bool) -> Doubt | None:
    """By what mark a file is in doubt."""
    try:
        status = stat(artifact._path)
    except OSError:
        return None
    return _doubt_of(artifact, status, work, is_link=islink(artifact._path), is_own=is_own)


def _doubt_of(
    artifact: File, status: stat_result, work: Work, *, is_link: bool, is_own: bool
) -> Doubt | None:
    # What a work unit makes itself never holds up what it needs: it may be what it changes.
    declared = work._declared
    own = () if is_own or declared is None else [made._key for made in declared.makes]
    # What runs in its own cue holds it up otherwise, or must not.
    return doubt_of(
        artifact._key,
        artifact._place,
        status,
        path=artifact._path,
        is_link=is_link,
        is_own=is_own,
        but=own,
        running=work._task.dispatcher,
    )


def _why_not_valid(output: Any, work: Work, *, in_doubt: bool) -> tuple[str, Any, Any]:
    """The verdict on an output that is not valid, or in doubt by a mark."""
    kind = type(output)
    if isinstance(output, File) and (in_doubt or kind is not File):
        doubt = _doubt_now(output, work, is_own=True)
        if doubt is not None:
            return doubt.kind, output, doubt.mark
    if kind is File and output._checks is None:
        return "missing", output, None
    return "not valid", output, problem_of(output)


def looking_at(work: Work) -> str:
    """What a look at the inputs and outputs of a work unit is called, with the places of the user's code in it."""
    declared = work._declared
    places: dict[str, None] = {}
    for artifact in () if declared is None else (*declared.inputs, *declared.outputs):
        kind = type(artifact)
        if isinstance(artifact, File) and artifact.validate is not None:
            places[f"validate= {located(artifact.validate)}"] = None
        for method in (kind.valid, kind.version):
            # Those of runcue itself are not wrapped.
            if (own := getattr(method, "__wrapped__", None)) is not None:
                places[located(own)] = None
    fresh = None if declared is None else declared.fresh
    if fresh is not None and not type(fresh).__module__.startswith("runcue."):
        places[located(fresh.stale)] = None
    return f"looking at the inputs and outputs of task {work.task!r}{(places and f', by {listed(places)},') or ''}"


def check_verdict(found: Any, fresh: Any) -> None:
    """Check what a freshness policy says of outputs that it finds out of date.

    Raises:
        TypeError: It is no verdict.
        ArtifactError: It would have to be awaited.
    """
    plainly(found, fresh)
    if not (
        isinstance(found, tuple)
        and len(found) == 3
        and isinstance(found[0], str)
        and all(one is None or isinstance(one, Artifact) for one in found[1:])
    ):
        raise TypeError(
            f"stale() gave {words_of(found)}; it gives None, or a verdict, the artifact at fault and the other one, "
            'such as ("older", output, input), with None where there is none'
        )


class DeclaredGate:
    """Asks what work units declare.

    Args:
        failures: Hears of artifacts and policies that raise.
        holds: Says whom a work unit has to wait for.
        door: Hears of policies that block; None: one of its own.

    Attributes:
        reads: The artifacts that were asked while the last question was, by key; empty between questions.
        other_stamps: How many work units have started because the stamp of their outputs is that of another version of
            runcue, until somebody tells it.
        turned: How often links in folders had been turned when what is pending was last declared anew.
    """

    def __init__(self, failures: Failures, holds: Holds, door: Door | None = None) -> None:
        self.reads: dict[Hashable, Artifact] = {}
        self.other_stamps = 0
        self.turned = PASS.turned
        self._failures = failures
        self._door = door or Door(failures)
        self._holds = holds

    def ask_inputs(self, work: Work, declared: Declaration) -> GateVerdict:
        """Whether all declared inputs are valid.

        Returns:
            RUN, or NOT_READY or HELD, for which the work unit's `_not_ready_reason` says why (of HELD it is the
            `Hold`); INVALID if the inputs are not known.
        """
        if declared.fault is not None:
            return GateVerdict.INVALID
        inputs, producers = declared.inputs, self._holds.producers
        asks: object = producers.running or producers.later or producers.folders or declared._needs
        producer_of, places = producers.producer_of, producers.places
        for artifact in inputs:
            # What nobody makes, and lies in a known place in which nothing is related to it, is seen without a call.
            key = artifact._key
            if asks or key in producer_of or artifact._place not in places or key in producers.known_folders:
                asks = True
                break
        if asks and (hold := self._holds.hold_of(work, declared)) is not None:
            work._not_ready_reason = hold
            return GateVerdict.HELD
        if not inputs:
            return RUN
        before: list[Any] = []
        links: list[File] = []
        forks = FORKS.number
        try:
            refusal = _gather_versions(inputs, before, work, declared, links)
            if FORKS.number != forks:
                leave(None)
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            artifact = inputs[len(before)]
            self._failures.raised(f"input {words_of(artifact)}", error, work)
            work._not_ready_reason = kept(error)
            self.reads[artifact._key] = artifact
            return NOT_READY
        if refusal is not None:
            return self._not_valid(inputs[len(before)], refusal, links, work, declared)
        if PASS.turned != self.turned and any(
            isinstance(one, File) and one.again() is not one for one in inputs
        ):
            # Who makes them is not known before they are declared anew, and that is about to be done.
            work._not_ready_reason = None
            self.reads.update((one._key, one) for one in inputs)
            return NOT_READY
        if (links or declared._needs is not None) and self._held_through(links, work, declared):
            return GateVerdict.HELD
        declared.before = before
        if self.reads:
            self.reads.clear()  # what artifacts of users read by themselves is no read of is_ready
        return RUN

    def _not_valid(
        self, artifact: Any, refusal: object, links: list[File], work: Work, declared: Declaration
    ) -> GateVerdict:
        """What it means that an input is not valid.

        Args:
            artifact: The input.
            refusal: What `_version_if_valid` says of it.
            links: The inputs that were just seen to be links, it among them if it is one.
            work: The work unit.
            declared: What it declares.
        """
        if links and self._held_through(links, work, declared):
            return GateVerdict.HELD
        work._not_ready_reason = artifact
        self.reads[artifact._key] = artifact
        if refusal is _IN_DOUBT:
            doubt = _doubt_now(artifact, work, is_own=False)
            if doubt is not None and doubt.named not in self.reads:
                self.reads[doubt.named] = File(doubt.named)  # that may be what somebody vouches for
        if links and links[-1] is artifact:
            # Whatever happens to what it leads to may make it valid.
            self.reads.update((one._key, one) for one in artifact.pointed())
        return NOT_READY

    def _held_through(self, links: list[File], work: Work, declared: Declaration) -> bool:
        """Whether a work unit has to wait for another because of what its inputs lead to.

        Links are turned by handlers, so it is looked at each time where they lead. (Only what is looked at before an
        input that is not valid is known; the others are looked at when that is.)

        Args:
            links: The inputs that were just seen to be links.
            work: The work unit.
            declared: What it declares.
        """
        pointed = tuple(one for link in links for one in link.pointed())
        needs = (*declared.inputs, *pointed) if pointed else declared.inputs
        if [one._key for one in needs] == [one._key for one in declared.needs]:
            return False
        declared.needs = needs
        declared.hold = None
        hold = self._holds.hold_of(work, declared)
        if hold is None:
            return False
        self.reads.clear()
        work._not_ready_reason = hold
        return True

    def is_stale(
        self, work: Work, declared: Declaration, *, defers: bool = False
    ) -> bool | Callable[[], None]:
        """Whether a declared output is missing, not valid or out of date. `declared.stale` says which.

        Args:
            work: The work.
            declared: What it declares.
            defers: Whether reading that would keep an event loop waiting is left to whoever asks.

        Returns:
            The answer; or what has to be called in another thread before this is asked again.
        """
        was: list[Any] = []
        declared.was = was
        outputs, fresh = declared.outputs, declared.fresh
        forks = FORKS.number
        try:
            refusal = _gather_versions(outputs, was, work, declared, None)
            if refusal is not None:
                if FORKS.number != forks:
                    leave(None)
                output = outputs[len(was)]
                if not was:
                    declared.was = ()  # no list for each that has made nothing yet
                declared.stale = (
                    ("missing", output, None)
                    if type(output) is Flag
                    else _why_not_valid(output, work, in_doubt=refusal is _IN_DOUBT)
                )
                return True
            if defers and declared.whole:
                found = fresh.stale_or_unread(work)
                if callable(found):
                    return found  # type: ignore[no-any-return]
            else:
                found = None if fresh is None else fresh.stale(work)
                if found is not None and type(fresh) is not Newer:
                    check_verdict(found, fresh)
            if FORKS.number != forks:
                leave(None)
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            artifact = outputs[len(was)] if len(was) < len(outputs) else fresh
            self._failures.raised(f"output {words_of(artifact)}", error, work)
            declared.stale = ("raised", artifact if isinstance(artifact, Artifact) else None, error)
            return True
        if found is None:
            if declared.stale is not None:
                declared.stale = None
            declared.before = declared.was = ()  # for those that run
            return False
        declared.stale = found
        return True

    def note_start(self, work: Work, declared: Declaration) -> None:
        """Let the freshness policy know that a handler is about to be entered."""
        declared.input_changed = False
        declared.seen = FOLDER_NEWS.count
        if declared.stale is not None and declared.stale[0] == _OTHER_STAMP and work.attempt == 1:
            self.other_stamps += 1
        if declared.fresh is not None:
            if declared.inputs and not getattr(declared.fresh, "by_content", False):
                from runcue._freshness.provenance import Provenance  # noqa: PLC0415 - not needed by who makes nothing

                declared.provenance = Provenance(declared.inputs, declared.before, declared.outputs)
            try:
                plainly(self._door.ask("freshness policy", declared.fresh.started, work), declared.fresh)
            except BaseException as error:
                self._failures.raised(f"started() of {words_of(declared.fresh)}", error, work)

    def is_out_of_date(self, work: Work) -> bool:
        """Whether a settled work unit would run again for what it declares. Asked of a stand-in."""
        known = work._declared
        if known is None or not known.outputs:
            return False
        return self.why_stale(work, known, known.inputs, known.outputs) is not None

    def why_stale(
        self,
        work: Work,
        known: Declaration,
        inputs: tuple[Any, ...],
        outputs: tuple[Any, ...],
        *,
        reads: bool = True,
    ) -> tuple[str, Any, Any] | None:
        """What would make a work unit stale if it declared these artifacts. Asked of a stand-in; the work is untouched.

        Args:
            work: For its task and params.
            known: For the policy.
            inputs: What it would need.
            outputs: What would prove it.
            reads: Whether files are read for it, which may take long; else nothing is said where that would be needed.
        """
        twin = Work(work.id, work.task, work.params)
        twin._task, twin._seq = work._task, work._seq
        declared = twin._declared = Declaration(inputs, outputs, known.fresh)
        declared.files, declared.whole = known.files, known.whole
        if self.ask_inputs(twin, declared) is RUN and self.is_stale(twin, declared, defers=not reads) is True:
            return declared.stale
        return None
