"""Judging a run from outside: by what was heard and by what exists, not by what the cue says of itself.

Lives here: `Checker`, which is told of everything that happens in one life of a process and finds what must not be.
`hearing` has a cue tell it; a test can tell it anything.

That no wake-up is forgotten is judged whenever time is about to pass: by then, all that could start at this instant
must have started. So a work that starts late is found at the moment at which it should have, without any tolerance.

Must not know: how work units come to be, which faults there are beyond `Injected`, event loops.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from math import inf
from typing import Final

import runcue
from runcue_sim._chaos import attempts, lanes, starts
from runcue_sim._chaos.allowances import Allowances
from runcue_sim._chaos.faults import Injected, StopCall
from runcue_sim._chaos.invariants import Duty, Limits, Violation
from runcue_sim._chaos.observations import Observations
from runcue_sim._chaos.observed_work import ObservedWork, broken
from runcue_sim._chaos.stops import Stops

NO_HURRY: Final = StopCall(after=0.0)
"""A stop that waits for all that can run."""

QUIET: Final = 0.05
"""Seconds without starts after a stranger has cancelled a handler's asyncio task: runcue expects the loop to end."""


class Checker:
    """Watches one life of a process.

    Args:
        services: Their limits.
        tasks: What is known of the tasks.
        needs: The artifacts without which a work may not run, by its task and what it is about.
        proves: Those that it makes.
        made: The versions of the artifacts that are there, later ones higher. It is read again and again.
        injected: Which faults were brought about: they excuse what follows from them, and nothing else.
        allowances: What services allow beside slots and rates, None if that is nothing.

    Attributes:
        violation: The first that was found.
        on_violation: Called once, when one was found.
        on_event: Called with each event that was heard, after it was judged.
        open: Whether anything more is taken in.
        observed: What was seen.
    """

    def __init__(
        self,
        services: Mapping[str, Limits],
        tasks: Mapping[str, Duty],
        needs: Callable[[str, str], tuple[str, ...]],
        proves: Callable[[str, str], tuple[str, ...]],
        made: Mapping[str, int],
        injected: Injected | None = None,
        allowances: Allowances | None = None,
    ) -> None:
        self.violation: Violation | None = None
        self.on_violation: Callable[[], object] = lambda: None
        self.on_event: Callable[[], object] = lambda: None
        self.open = True
        self._injected = Injected() if injected is None else injected
        self.observed = Observations(services, tasks, needs, proves, made, self._injected, allowances)
        self._allowances = allowances
        if allowances is not None:
            allowances.running = self.observed.running
        # Submitted up to date since time has passed.
        self._new: list[ObservedWork] = []
        # When time was last about to pass, and how many work units had settled by then.
        self._looked_at = -inf
        self._settled_then = 0
        self._torn = False
        self._quiet_until = -inf
        self._stops = Stops(self.observed)
        self._rest_is_checked = False
        # Since time has passed: those of which it is not known whether a stop gives them up or leaves them.
        self._given_up: list[ObservedWork] = []

    def report(self, invariant: str, text: str, *works: ObservedWork, names: Iterable[str] = ()) -> None:
        """Note a violation; only the first counts."""
        self._finds(broken(invariant, text, *works, names=names))

    def _finds(self, violation: Violation | None) -> bool:
        if violation is not None and self.open:
            self.violation = violation
            self.open = False
            self.on_violation()
        return violation is not None

    def _event(self) -> None:
        if self.open:
            self.on_event()

    def submitted(self, now: float, id: str, task: str, item: str) -> None:
        """A work was submitted."""
        if not self.open:
            return
        if id in self.observed.works:
            self.report("once", f"{task} {id} was submitted twice", self.observed.works[id])
            return
        work = self.observed.submit(now, id, task, item)
        if work.versions is not None:
            self._new.append(work)
        self._stops.look_for_essential(now)
        self._event()

    def started(
        self, now: float, id: str, attempt: int | None = None, *, resumes: bool | None = None
    ) -> None:
        """A handler is about to be entered.

        Args:
            now: The instant.
            id: Of the work.
            attempt: The number of the attempt; None: not known.
            resumes: Whether it was said that the attempt is the same as before; None: not known.
        """
        work = self._find(id, "started")
        if work is None or self._objects(attempts.of_start(now, work, attempt, resumes=resumes), work):
            return
        observed = self.observed
        self._stops.give_up(now)
        if (
            self._objects(self._stops.of_start(now, work), work)
            or self._finds(starts.within_limits(now, observed, work))
            or (self._allowances is not None and self._objects(self._allowances.of_start(now, work), work))
            or self._finds(starts.with_reason(now, observed, work))
            or self._finds(lanes.in_its_turn(now, observed.works.values(), work))
        ):
            return
        self._injected.spent.pop(id, None)  # by the attempt before
        observed.start(now, work)
        self._event()

    def _objects(self, objection: attempts.Objection, work: ObservedWork) -> bool:
        if objection is not None:
            self.report(*objection, work)
        return objection is not None

    def attempt_failed(self, id: str, error: BaseException) -> None:
        """An attempt has failed, and another one is to follow."""
        work = self._find(id, "failed in an attempt")
        if work is not None:
            work.error = error

    def put_back(self, now: float, id: str, reason: str, delay: float) -> None:
        """An attempt is over, and its work unit waits for an instant.

        Args:
            now: The instant.
            id: Of the work.
            reason: Why, as it was told.
            delay: Seconds, as they were told.
        """
        work = self._find(id, "been put back")
        start = self.observed.running.get(id)
        if (
            work is None
            or self._objects(attempts.of_repetition(now, self.observed, work, start, reason), work)
            or self._objects(self._stops.of_repetition(now, work, reason), work)
        ):
            return
        refused = ""
        if reason == "throttled":
            # Or by that of which the handler belonged to another one.
            refused = self._injected.refused.get(id, (work.duty.services[-1],))[0]
        objection, at, slack = attempts.of_wait(now, self.observed, work, start, reason, delay)
        if self._objects(objection, work):
            return
        counts = reason not in ("postponed", "throttled")
        if self._allowances is not None:
            how: object = work.error if reason == "failed" and work.error is not None else reason
            self._allowances.over(now, work, start, how, self._injected.spent.get(id))
        self.observed.put_back(now, work, at, slack, counts=counts, refused_by=refused)
        self._event()

    def entered(self, now: float, id: str) -> None:
        """It was entered."""
        if self.open:
            self.observed.enter(now, id)

    def left(self, now: float, id: str) -> None:
        """A handler has come to its end, whatever became of its work before."""
        if self.open:
            self._leave(now, id)
            self.observed.leave(id)

    def _leave(self, now: float, id: str) -> None:
        work = self.observed.works.get(id)
        if self._allowances is not None and work is not None and work.started is not None and not work.left:
            injected = self._injected
            self._allowances.left(now, work, injected.spent.get(id), refused=id in injected.refused)

    def completed(self, now: float, id: str) -> None:
        """A work has completed."""
        work = self._settled(now, id, "completed")
        if work is not None and work.started is None and not work.joinable:
            self.report("once", f"{work} completes without having started", work)

    def skipped(self, now: float, id: str) -> None:
        """A work was skipped."""
        known = self.observed.works.get(id)
        # Asked before it is settled: then it is no longer among those who are about to make something.
        joined = known is not None and not known.ended and self.observed.is_joined(known)
        work = self._settled(now, id, "skipped")
        if work is not None and work.started is not None:
            self.report("once", f"{work} is skipped although it has started", work)
        elif (
            work is not None
            and not self.observed.is_up_to_date(work)
            and work.task not in self._injected.async_gates  # an answer may be out of date when it comes
            and not joined
        ):
            self.report(
                "unproved", f"{work} is skipped at {now:g}, and what it makes is not there or old", work
            )

    def failed(self, now: float, id: str, error: BaseException, *, expected: bool) -> None:
        """A work has failed.

        Args:
            now: The instant.
            id: Of the work.
            error: Why.
            expected: Whether somebody asked for such failures.
        """
        work = self._find(id, "failed")
        if work is None:
            return
        running, limit, cuts_off = self.observed.running.get(id), work.timeout, self._stops.cuts_off(now)
        # What a stop cuts off is not tried again.
        must_go_on = self._must_go_on(now, id)
        objection = attempts.of_end(now, work, running, error) if must_go_on else None
        if self._settled(now, id, "failed", error) is None or self._objects(objection, work):
            return
        if isinstance(error, runcue.WorkTimeout) and self.observed.may_time_out(work):
            if limit is not None and running is not None and now < running.at + limit:
                ran = now - running.at
                self.report("timeout", f"{work} fails by its timeout of {limit:g} s after {ran:g} s", work)
        elif not expected and not (cuts_off and isinstance(error, runcue.CueStopped)):
            self.report("cause", f"{work} fails: {type(error).__name__}: {error}", work)

    def cancelled(self, now: float, id: str) -> None:
        """A work was cancelled."""
        known, must_go_on = self.observed.works.get(id), self._must_go_on(now, id)
        excused = self._is_cancelled_by_fault(id)
        if known is not None:
            known.is_left = self._stops.is_left(now, known)
            # With it goes what it alone had needed: that, too, was waited for as long.
            if known.is_left is None or (self._given_up and not must_go_on and not excused):
                self._given_up.append(known)
            if excused and known.is_left:
                known.is_left = None  # it may have been either
            excused = excused or known.is_left is not False
        if known is not None and self._stops.begun and not excused:
            if self._objects(self._stops.of_cancellation(now, known), known):
                return
            if must_go_on and not self._rest_is_checked:
                # The first that a stop gives up. Those that wait for it must be judged before it has settled.
                self._rest_is_checked = True
                self._check_rest(now, "stop() cancels")
        work = self._settled(now, id, "cancelled")
        if work is None:
            return
        self._torn = self._torn or self._is_torn(work)
        is_early = must_go_on and work.may_start > now and not work.joinable
        if not excused and (not self._stops.begun or is_early):
            self.report("cause", f"{work} is cancelled at {now:g}, and nobody has asked for that", work)

    def _must_go_on(self, now: float, id: str) -> bool:
        """Whether no stop may cut a work unit off."""
        work = self.observed.works.get(id)
        return work is not None and not work.ended and self._stops.must_go_on(now, work)

    def changed(self, now: float, name: str) -> None:
        """An artifact was made or has vanished."""
        self.observed.change(now, name)

    def told(self, name: str) -> None:
        """Somebody has told of it."""
        self.observed.untold.pop(name, None)

    def _find(self, id: str, what: str) -> ObservedWork | None:
        if not self.open:
            return None
        work = self.observed.works.get(id)
        if work is None:
            self.report("once", f"{id} has {what}, and was never submitted")
        return work

    def _settled(
        self, now: float, id: str, how: str, error: BaseException | None = None
    ) -> ObservedWork | None:
        work = self._find(id, how)
        if work is None:
            return None
        if work.ended:
            self.report("once", f"{work} has {how} at {now:g} although it has {work.ended} before", work)
            return None
        self._stops.look_for_essential(now)  # as long as it is needed
        if self._allowances is not None:
            outcome = {"completed": "passed", "failed": error}.get(how, "otherwise")
            start = self.observed.running.get(id)
            self._allowances.over(now, work, start, outcome, self._injected.spent.get(id))
        self.observed.settle(now, work, how)
        self._event()
        return work

    def _is_cancelled_by_fault(self, id: str) -> bool:
        work = self.observed.works.get(id)
        return id in self._injected.cancelled or (work is not None and self._is_torn(work))

    def _is_torn(self, work: ObservedWork) -> bool:
        """Whether a stranger has cancelled the asyncio task of the handler that it settles with.

        That may be the handler of another one, which it has joined; even after that one was cancelled.
        """
        torn, works = self._injected.torn, self.observed.works
        return work.id in torn or (work.joinable and any(works[one].proves == work.proves for one in torn))

    def look(self, now: float) -> None:
        """Time is about to pass: everything that could happen at this instant must have happened."""
        if not self.open:
            return
        self._looked_at, self._settled_then = now, self._injected.settlements
        self._given_up.clear()
        self.observed.come_due(now)
        self._check_running(now)
        if (late := self._stops.look(now)) is not None:
            self.report(*late)
        if self._torn:
            self._torn = False
            self._quiet_until = now + QUIET
        if now < self._quiet_until:
            return
        if self._new:
            self._check_new(now)
        self._finds(starts.overdue(now, self.observed))

    def _check_running(self, now: float) -> None:
        for start in self.observed.running.values():
            if self._objects(attempts.of_running(now, start), start.work):
                return
        for work in list(self.observed.bounded.values()):
            if self._objects(attempts.of_waiting(now, self.observed, work), work):
                return

    def _check_new(self, now: float) -> None:
        new, self._new = self._new, []
        for work in new:
            if starts.should_be_skipped(self.observed, work):
                text = f"{work} is still pending at {now:g}, and was up to date when it came"
                self.report("skipped", text, work)

    def drained(self, now: float) -> None:
        """A drain has ended: what is pending now cannot run."""
        self._check_rest(now, "a drain ends and leaves")
        for work in self.observed.waiting_for_instants(now):
            if not self.observed.waits_for_others(work):
                text = f"a drain ends at {now:g} and leaves {work}, which is to start at {work.surely:g}"
                self.report("drained", text, work)

    def stopping(self, now: float, call: StopCall = NO_HURRY) -> None:
        """The cue is about to be stopped, or to be stopped in another way."""
        self._rest_is_checked = False
        self._given_up.clear()
        self._stops.called(
            now, drain=call.drain, timeout=call.timeout, leaves_delayed=call.delayed == "cancel"
        )

    def _check_rest(self, now: float, what: str) -> None:
        observed, injected, allowances = self.observed, self._injected, self._allowances
        observed.come_due(now)
        if allowances is not None and (
            allowances.is_halted_without_end(now) or (self._stops.begun and allowances.may_be_broken(now))
        ):
            return  # and so may be what waits for what waits for these
        # Whatever has come, settled or changed since time last passed may have done so when all had been asked.
        for one in list(observed.pending.values()):
            if (
                observed.is_there(one)
                and not observed.waits_for_others(one)
                # What raised when it was asked is not ready; but asked it must have been since something settled.
                and injected.raised.get(one.id, -inf) < self._settled_then
                and one.submitted <= self._looked_at
                and not any(observed.untold.get(name, -inf) > self._looked_at for name in one.needs)
                # What waits for one that was given up first, or may be left, or had joined it or was behind it, has
                # waited for it when all was asked.
                and not any(self._has_waited_for(one, first) for first in self._given_up)
            ):
                state = "up to date" if observed.is_up_to_date(one) else "able to run"
                self.report("drained", f"{what} {one} at {now:g}, which is {state}", one)
                return

    def _has_waited_for(self, work: ObservedWork, ended: ObservedWork) -> bool:
        """Whether a pending work may have waited for another one as long as that had not settled."""
        makes = not set(ended.proves).isdisjoint((*work.needs, *work.proves))
        return makes or lanes.comes_first(self.observed.works.values(), ended, work)

    def ended(self, now: float, counts: Mapping[str, int], left: Collection[str] = ()) -> None:
        """The cue has stopped.

        Args:
            now: The instant.
            counts: What its summary says of how work units ended.
            left: The ids of those that it says are left.
        """
        for work in self.observed.works.values():
            if work.is_left not in (work.id in left, None):
                text = f"{work} is {'not ' * work.is_left}listed as left when the cue has stopped at {now:g}"
                self.report("left", text, work)
                return
            if not work.ended:
                self.report("once", f"{work} has not settled when the cue has stopped at {now:g}", work)
                return
        for how in ("completed", "skipped", "failed", "cancelled"):
            said, heard = counts.get(how, 0), self.observed.counts[how]
            if said != heard:
                self.report("once", f"the summary counts {said} {how}, and {heard} were heard of")
                return
        # Callbacks that block the loop may keep it from ending in time.
        late = None if self._injected.blocks else self._stops.of_end(now)
        if late is not None:
            self.report(*late)

    def finished(self, everything: Iterable[str], made: Mapping[str, int]) -> None:
        """The last life has ended, in which nothing went wrong: all must be there.

        Args:
            everything: What there should be.
            made: What there is.
        """
        missing = [name for name in everything if name not in made]
        if missing:
            concerned = [one for one in self.observed.works.values() if set(one.proves) & set(missing)]
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            text = f"after the last life there is no {', '.join(missing[:3])}{more}"
            self.report("lost", text, *concerned, names=missing)
