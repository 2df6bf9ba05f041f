"""What is told of a run that has succeeded and left no lasting proof.

Lives here: `ProofNews`: that it will run again each time, that an input changed meanwhile, that an output was dated in
the future, that work units make each other's folders out of date. Each once per task, or nearly so.

Must not know: what ended the run, who is told.
"""

from __future__ import annotations

from typing import Final

from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.failures import REPEAT_AFTER
from runcue._callbacks.lasting_proof import Finding, LastingProof
from runcue._explain.still_stale import why_out_of_date, why_still_stale
from runcue._freshness.folder_news import FOLDER_NEWS
from runcue._model.declaration import Declaration
from runcue._model.texts import listed, title_of, which_of
from runcue._model.work import Work

__all__ = ["ProofNews"]

_FIRST_RUNS: Final = 100
"""So many runs per task that make something for the first time are asked whether that will last. A question takes 5 µs,
a third of what a work unit costs that does nothing."""


class ProofNews:
    """What is told of the runs of one cue.

    What is to be looked at after a run is asked by who has seen its end: two questions that are nearly always answered
    with no are no call.

    Args:
        callbacks: Where it is told, and what becomes of policies that raise.

    Attributes:
        told: The tasks whose runs were told to leave no lasting proof.
        told_of_change: When it was told of a task that an input changed during a run.
        has_looked_at_first_runs: The tasks of which enough runs were looked at that made something for the first time.
    """

    def __init__(self, callbacks: Callbacks) -> None:
        self._log = callbacks.failures.log
        self._lasting_proof = LastingProof(callbacks.failures)
        # The tasks whose runs were told to leave no lasting proof.
        self.told: set[str] = set()
        self._first_runs: dict[str, int] = {}
        self.has_looked_at_first_runs: set[str] = set()
        # Those that were told to have had an output from the future.
        self._told_of_future: set[str] = set()
        # Those of which some have run since in which none did.
        self.told_of_change: dict[str, float] = {}
        self._undisturbed: set[str] = set()
        # Those that were told to make each other's out of date.
        self._told_of_folders: set[str] = set()

    def note_made(self, declared: Declaration, work: Work) -> None:
        """Files were made: who has read the folders that they are in is out of date."""
        folder = FOLDER_NEWS.note(declared)
        told = work.task in self._told_of_folders or work.task in self.told
        if folder is not None and declared.fresh is not None and not told:
            self._told_of_folders.add(work.task)
            self._log.tell(
                "outdated",
                (work,),
                "Work %s reads the folder %s and makes something in it, as others do: each makes the others "
                "out of date. As inputs name the files that are read, in place of the folder",
                which_of(work),
                folder,
            )

    def look_at_proof(self, declared: Declaration, run: Work, work: Work) -> None:
        """Tell, once per task, of a run that will be repeated for ever, because of what it has left."""
        if declared.stale is not None and declared.stale[0] == "missing":
            seen = self._first_runs[work.task] = self._first_runs.get(work.task, 0) + 1
            if seen >= _FIRST_RUNS:
                self.has_looked_at_first_runs.add(work.task)
        finding = self._lasting_proof.objection(run)
        if finding is not None:
            self.told.add(work.task)
            self._log.tell(
                "still_stale",
                (work,),
                "Work %s has succeeded, and will run again each time that it is submitted: %s",
                which_of(work),
                why_still_stale(finding),
            )
            return
        if declared.stale is not None and declared.stale[0] == "future":
            self._tell_of_future(declared, work)

    def look_at_change(self, declared: Declaration, work: Work, now: float) -> None:
        """Tell that an input changed during a run: once per task.

        And again if it is not so each time, which is the doing of somebody else; but not within a minute.
        """
        if not declared.input_changed:
            self._undisturbed.add(work.task)
            return
        artifact, is_crowded = declared.input_changed
        told = self.told_of_change.get(work.task)
        if is_crowded or (
            told is not None and (now < told + REPEAT_AFTER or work.task not in self._undisturbed)
        ):
            return
        self.told_of_change[work.task] = now
        self._undisturbed.discard(work.task)
        self._log.tell(
            "still_stale",
            (work,),
            "%s stays out of date after work %s: %s",
            listed(map(title_of, declared.outputs)),
            which_of(work),
            why_out_of_date(declared, artifact),
        )

    def _tell_of_future(self, declared: Declaration, work: Work) -> None:
        """Tell, once per task, that an output was dated in the future: by now it has another date."""
        assert declared.stale is not None
        if work.task in self._told_of_future:
            return
        self._told_of_future.add(work.task)
        output = declared.stale[1]
        finding = Finding(
            "future",
            output,
            declared.inputs[0] if declared.inputs else None,
            next(
                version for one, version in zip(declared.outputs, declared.was, strict=False) if one is output
            ),
            declared.before[0] if declared.inputs else None,
        )
        self._log.tell(
            "outdated",
            (work,),
            "Work %s had to run because %s",
            which_of(work),
            why_still_stale(finding),
        )
