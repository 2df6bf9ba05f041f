"""What is wrong with work units that wait for ever, or were left outdated: found and told.

Lives here: four findings, each told once as a warning. An artifact that work units wait for and that nothing makes;
work units that wait for each other in a cycle; work units whose is_ready says no while nothing runs or is timed that
could change it; artifacts made from something that has been made anew since.

Must not know: when it is looked, how anything is decided.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import Any, Final

from runcue._artifacts.declared import names_of, question_of
from runcue._artifacts.file import File
from runcue._artifacts.watched_folders import WatchedFolders
from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.dispatcher import Dispatcher
from runcue._explain.cuts import cut_of, waited_for
from runcue._explain.lacks import needs_all
from runcue._explain.likeness import grouped
from runcue._explain.neighbours import Neighbours
from runcue._explain.next_steps import cut_in_words, step_for, step_for_all, step_for_stuck
from runcue._explain.problems import problem_now
from runcue._explain.reasons import Reason, unready
from runcue._explain.why import Explainer
from runcue._explain.wording import details_of
from runcue._model.phases import COMPLETED, HELD, NOT_READY, SKIPPED
from runcue._model.texts import LONGEST, SHOWN, around, how_many, listed, name_of, problem_of, words_of
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.cycles import follow
from runcue._scheduling.lanes import is_behind_in_lane

__all__ = ["Findings"]

STUCK_AGAIN_AFTER: Final = 60.0
"""Seconds until other work units of the same task are told to be stuck."""

_MANY: Final = 10_000

_AROUND: Final = 85
"""Characters around what nobody makes and what is to be done, by and large."""


class Findings:
    """What was found in one cue since it was started.

    Args:
        core: The state.
        dispatcher: Says what moves.
        explainer: Says why work units do not run.
        watched: The folders of which changes are told.
        log: Where it is told.
        began: When the cue was started, in nanoseconds by the wall clock of the machine, as files are dated.
    """

    def __init__(
        self,
        core: Core,
        dispatcher: Dispatcher,
        explainer: Explainer,
        watched: WatchedFolders,
        log: WarningLog,
        began: int,
    ) -> None:
        self._watched = watched
        self._log = log
        self._core = core
        self._dispatcher = dispatcher
        self._gate, self._declared_gate = dispatcher.callbacks.gate, dispatcher.callbacks.declared_gate
        self._explainer = explainer
        self._began = began
        # Work units that were too young to be told of when they were looked at.
        self._young: list[Work] = []
        self._told: set[Hashable] = set()
        # When it was last said that work units of a task are stuck.
        self._said_stuck: dict[str, float] = {}

    def look(self, now: float, grace: float, *, at_rest: bool, too_many: bool) -> bool:
        """Tell what is found of those that wait.

        Args:
            now: Monotonic.
            grace: Seconds that a work unit must have waited.
            at_rest: Whether nothing moves.
            too_many: Whether very many have come to wait since the last look.

        Returns:
            Whether everything was looked at.
        """
        newcomers = self._newcomers(at_rest=at_rest, too_many=too_many)
        self._tell_cycles(newcomers)
        whole = self._tell_unmade(newcomers, now, grace, at_rest)
        if at_rest:
            whole &= self._tell_stuck(now, grace)
        return whole

    def _newcomers(self, *, at_rest: bool, too_many: bool) -> list[Work]:
        """The work units to be looked at: those that have come to wait for artifacts since the last time.

        What was in order then can be out of it only by what has come since, or by an end: once nothing moves, all are
        looked at again. A pass over all that waits, every half a second, would be a tenth of the time of a big run. If
        very many have come at once, these are left until then.
        """
        dependencies = self._core.dependencies
        if too_many and not at_rest:
            dependencies.newcomers.clear()
            found = self._young
        elif at_rest:
            dependencies.newcomers.clear()
            self._young = []
            found = [
                work
                for there in dependencies.all_subscribers()
                for work in (there if isinstance(there, dict) else (there,))
            ]
        else:
            found = [*self._young, *dependencies.newcomers]
            dependencies.newcomers.clear()
        return [work for work in dict.fromkeys(found) if work._phase in (NOT_READY, HELD)]

    def _is_news(self, what: Hashable) -> bool:
        if what in self._told:
            return False
        if len(self._told) > _MANY:
            self._told.clear()
        self._told.add(what)
        return True

    def _tell_unmade(self, works: list[Work], now: float, grace: float, at_rest: bool) -> bool:
        found: list[tuple[Work, list[Any]]] = []
        self._young = young = []
        for work in works:
            if work._phase != NOT_READY:
                continue
            if now - work._phase_since < grace:
                young.append(work)
                continue
            artifacts = work.inputs if needs_all(work) else work._awaited or ()
            if not needs_all(work) and any(map(self._core.dependencies.maker_of, artifacts)):
                continue  # which may be enough for its is_ready
            unmade = [artifact for artifact in artifacts if self._is_unmade(work, artifact, at_rest)]
            # Beside one that nobody was told of all are named that it lacks.
            news = [artifact for artifact in unmade if self._is_news(("unmade", question_of(artifact)))]
            if news:
                found.append((work, unmade))
        if found:
            self._tell_found_unmade(found, at_rest)
        return not young

    def _tell_found_unmade(self, found: list[tuple[Work, list[Any]]], at_rest: bool) -> None:
        """Tell of what nobody makes, of those first of which it is known what may be meant.

        For one of them it is told where it was looked for, for the others what is there in their place.
        """
        neighbours = Neighbours(self._core, SHOWN)
        found.sort(key=lambda one: not any(neighbours.place_of(each, one[0]).clue for each in one[1]))
        plain: list[tuple[Work, str]] = []
        clues: dict[Work, str] = {}
        in_full: dict[Work, str] = {}
        steps: list[tuple[Any, str]] = []
        where_is_told = False
        for work, unmade in found:
            words, short, full = [], [], []
            for artifact in unmade:
                problem = problem_now(artifact) or problem_of(artifact)
                place = neighbours.place_of(artifact, work)
                what = f"{words_of(artifact)} {problem}"
                words.append(what)
                short.append(f"{what} ({place.clue})" if place.clue else what)
                full.append(short[-1] if where_is_told or not any(place) else f"{what} ({place})")
                where_is_told |= any(place)
                step = step_for(artifact, problem, None, rechecks=self._dispatcher.rechecks)
                steps.append((artifact, place.step(step)))
            plain.append((work, listed(words)))
            clues[work], in_full[work] = listed(short), listed(full)
        step = step_for_all(steps)
        told = grouped(plain, in_full=in_full)
        if len(str(told)) + len(step) > LONGEST - _AROUND:
            told = grouped(plain, in_full=clues)
        self._log.tell(
            "unmade",
            (work for work, _ in found),
            "No producer%s: %s. Nothing that is pending or running declares %s as an output. %s",
            "" if at_rest else " so far",
            told,
            "it" if len(steps) == 1 else "them",
            step,
        )

    def _is_unmade(self, work: Work, artifact: Any, at_rest: bool) -> bool:
        dependencies = self._core.dependencies
        for one in names_of(artifact):
            if dependencies.maker_of(one) is not None or dependencies.failure_of(one) is not None:
                return False
        if not at_rest and self._explainer.lacks.somebody_may_make(work, (artifact,)):
            return False
        return not self._watched.covers(artifact) and problem_now(artifact) is not None

    def _tell_cycles(self, works: list[Work]) -> None:
        seen: set[Work] = set()
        maker_for = self._explainer.waits().maker_for
        for start in works:
            way, cycle = follow(start, maker_for, seen)
            seen.update(way)
            cycle = cycle or self._cycle_of_one(start)
            if cycle and self._is_news(("cycle", min(work.id for work in cycle))):
                self._tell_cycle(cycle)

    def _cycle_of_one(self, work: Work) -> list[Work]:
        """A work unit that needs what only it makes, if this one does."""
        if work._phase != NOT_READY or not needs_all(work):
            return []
        own = waited_for(self._core, work, work)
        return [work] if own is not None and problem_now(own) is not None else []

    def _tell_cycle(self, cycle: list[Work]) -> None:
        if len(cycle) == 1:
            self._log.tell(
                "cycle",
                cycle,
                "Cycle: %s needs %s, which only it makes: it can never run. %s; cue.plan() finds this beforehand",
                name_of(cycle[0]),
                words_of(waited_for(self._core, cycle[0], cycle[0])),
                cut_in_words(cut_of(self._core, tuple(cycle))),
            )
            return
        names = map(self._name_in_cycle, cycle, [*cycle[1:], cycle[0]])
        self._log.tell(
            "cycle",
            cycle,
            "Cycle: %s. None of these %d work units can ever run. %s; cue.plan() finds this beforehand",
            around(names, len(cycle), name_of(cycle[0])),
            len(cycle),
            cut_in_words(cut_of(self._core, tuple(cycle))),
        )

    def _name_in_cycle(self, work: Work, following: Work) -> str:
        """What a work unit is called, and for which artifact it waits for the next."""
        if is_behind_in_lane(work):
            return f"{name_of(work)} (for lane {work._declared.lane!r})"  # type: ignore[union-attr]
        artifact = waited_for(self._core, work, following)
        return name_of(work) if artifact is None else f"{name_of(work)} (for {words_of(artifact)})"

    def _tell_stuck(self, now: float, grace: float) -> bool:
        found: list[Reason] = []
        whole = True
        waiting = self._core.count[NOT_READY]
        for task in self._core.all_tasks:
            for work in task.waiting:
                if work._phase != NOT_READY or work._awaited is not None:
                    continue
                if now - work._phase_since < grace:
                    whole = False
                elif now >= self._said_stuck.get(task.name, -inf) + STUCK_AGAIN_AFTER and self._is_news(
                    work.id
                ):
                    self._said_stuck[task.name] = now
                    found.append(unready(work))
                break
        if found:
            wall = now + self._dispatcher.turns.skew
            self._log.tell(
                "stuck",
                (reason.work for reason in found),
                "Stuck: %s. No work unit of this cue can change that (%s not ready). %s",
                grouped((reason.work, details_of(reason, now, wall)) for reason in found),
                how_many(waiting, "work unit is", "work units are"),
                step_for_stuck(found, rechecks=self._dispatcher.rechecks),
            )
        return whole

    def tell_outdated(self) -> None:
        """Tell of what was made from something that has been made anew since."""
        remade = self._core.dependencies.remade
        anew = {}
        while remade:
            producer = remade.popleft()
            for artifact in producer.outputs:
                anew[artifact._key] = (producer, artifact)
        latest: dict[Hashable, tuple[Work, Work, Any]] = {}
        for work in self._core.history.line:
            if work._outcome not in (COMPLETED, SKIPPED) or not work.outputs:
                continue
            hit = next((anew[one._key] for one in work.inputs if one._key in anew), None)
            if hit is not None:
                latest[work.outputs[0]._key] = (work, *hit)
        found = []
        for key, (work, producer, artifact) in latest.items():
            if key in self._core.dependencies.producer_of or work is producer:
                continue
            if self._declared_gate.is_out_of_date(work) and self._is_news((work.id, producer.id)):
                found.append(
                    (work, f"{words_of(work.outputs[0])} was made from an older {words_of(artifact)}")
                )
        found += self._outdated_by_reads()
        if found:
            self._log.tell(
                "outdated",
                (work for work, _ in found),
                "Stale downstream: %s. What it was made from has been made anew since; submit %s again",
                grouped(found, see=""),
                "it" if len(found) == 1 else "them",
            )

    def _outdated_by_reads(self) -> list[tuple[Work, str]]:
        """Work units that is_stale had skipped although they look outdated.

        Of the files that their gate looked at, one is of this run and newer than another that is not: the first is most
        likely the input, the second the output.
        """
        found = []
        skipped = self._gate.skipped
        while skipped:
            work, reads = skipped.popleft()
            files = [(one.version() or 0, one) for one in reads if isinstance(one, File)]
            if len(files) < 2:
                continue
            files.sort(key=lambda pair: pair[0])
            (older, output), (newer, made) = files[0], files[-1]
            if 0 < older < self._began <= newer and self._is_news((work.id, made._key)):
                found.append((work, f"{words_of(output)} is older than {words_of(made)}, and it was skipped"))
        return found
