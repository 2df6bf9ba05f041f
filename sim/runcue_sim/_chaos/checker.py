"""Judging a run from outside: by what was heard and by what exists, not by what the cue says of itself.

Lives here: `Witness`, which is told of everything that happens in one life of a process and finds what must not be.
`listen` has a cue tell it; a test can tell it anything.

That no wake-up is forgotten is judged whenever time is about to pass: by then, all that could start at this instant
must have started. So a work that starts late is found at the moment at which it should have, without any tolerance.

Must not know: how works come to be, which faults there are beyond `Inflicted`, event loops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Final

import runcue
from runcue_sim._chaos.faults import Inflicted
from runcue_sim._chaos.invariants import Duty, Limits, Violation, is_over, number_of
from runcue_sim._chaos.observations import Seen, Sightings

QUIET: Final = 0.05
"""Seconds without starts after a stranger has cancelled a handler's asyncio task: runcue expects the loop to end."""


class Witness:
    """Watches one life of a process.

    Args:
        services: Their limits.
        tasks: What is known of the tasks.
        needs: The artifacts without which a work may not run, by its task and what it is about.
        proves: Those that it makes.
        made: The versions of the artifacts that are there, later ones higher. It is read again and again.
        inflicted: Which faults were brought about: they excuse what follows from them, and nothing else.

    Attributes:
        violation: The first that was found.
        on_violation: Called once, when one was found.
        on_event: Called with each event that was heard, after it was judged.
        open: Whether anything more is taken in.
        seen: What was seen.
    """

    def __init__(
        self,
        services: Mapping[str, Limits],
        tasks: Mapping[str, Duty],
        needs: Callable[[str, str], tuple[str, ...]],
        proves: Callable[[str, str], tuple[str, ...]],
        made: Mapping[str, int],
        inflicted: Inflicted | None = None,
    ) -> None:
        self.violation: Violation | None = None
        self.on_violation: Callable[[], object] = lambda: None
        self.on_event: Callable[[], object] = lambda: None
        self.open = True
        self._has_timeouts = any(duty.timeout is not None for duty in tasks.values())
        self._inflicted = Inflicted() if inflicted is None else inflicted
        self.seen = Sightings(services, tasks, needs, proves, made, self._inflicted)
        # Submitted up to date since time has passed.
        self._new: list[Seen] = []
        # When time was last about to pass, and how many works had settled by then.
        self._looked_at = -inf
        self._settled_then = 0
        self._torn = False
        self._quiet_until = -inf
        self._stopping = False
        self._rest_is_judged = False

    def blame(self, invariant: str, text: str, *works: Seen, names: Iterable[str] = ()) -> None:
        """Note a violation; only the first counts."""
        if not self.open:
            return
        concerned = dict.fromkeys(names)
        for one in works:
            concerned.update(dict.fromkeys((*one.needs, *one.proves)))
        self.violation = Violation(invariant, text, tuple(one.id for one in works), tuple(concerned))
        self.open = False
        self.on_violation()

    def _event(self) -> None:
        if self.open:
            self.on_event()

    # --- What is heard ------------------------------------------------------------------------------------------

    def listen(
        self, cue: runcue.Cue, clock: Callable[[], float], is_expected: Callable[[BaseException], bool]
    ) -> None:
        """Have a cue tell what becomes of its works. No listener that takes its time may have been added before.

        Args:
            cue: Described.
            clock: Seconds of the loop.
            is_expected: Whether a failure was asked for.
        """
        cue.on_start(lambda work: self.started(clock(), work.id))
        cue.on_complete(lambda work, result, duration: self.completed(clock(), work.id))
        cue.on_skip(lambda work: self.skipped(clock(), work.id))
        cue.on_cancel(lambda work: self.cancelled(clock(), work.id))
        cue.on_failure(lambda work, error: self.failed(clock(), work.id, error, expected=is_expected(error)))

    def submitted(self, now: float, id: str, task: str, item: str) -> None:
        """A work was submitted."""
        if not self.open:
            return
        if id in self.seen.works:
            self.blame("once", f"{task} {id} was submitted twice", self.seen.works[id])
            return
        seen = self.seen.submit(now, id, task, item)
        if seen.versions is not None:
            self._new.append(seen)
        self._event()

    def started(self, now: float, id: str) -> None:
        """A handler is about to be entered."""
        seen = self._find(id, "started")
        if seen is None:
            return
        if seen.started is not None or seen.ended:
            was = seen.ended or "started"
            self.blame("once", f"{seen} starts at {now:g} although it has {was} before", seen)
            return
        self._judge_limits(now, seen)
        self._judge_start(now, seen)
        self.seen.start(now, seen)
        self._event()

    def entered(self, now: float, id: str) -> None:
        """It was entered."""
        if self.open:
            self.seen.enter(now, id)

    def left(self, id: str) -> None:
        """A handler has come to its end, whatever became of its work before."""
        if self.open:
            self.seen.leave(id)

    def completed(self, now: float, id: str) -> None:
        """A work has completed."""
        seen = self._settled(now, id, "completed")
        if seen is not None and seen.started is None and not seen.joinable:
            self.blame("once", f"{seen} completes without having started", seen)

    def skipped(self, now: float, id: str) -> None:
        """A work was skipped."""
        known = self.seen.works.get(id)
        # Asked before it is settled: then it is no longer among those who are about to make something.
        joined = known is not None and not known.ended and self.seen.is_joined(known)
        seen = self._settled(now, id, "skipped")
        if seen is not None and seen.started is not None:
            self.blame("once", f"{seen} is skipped although it has started", seen)
        elif (
            seen is not None
            and not self.seen.is_up_to_date(seen)
            and seen.task not in self._inflicted.async_gates  # an answer may be out of date when it comes
            and not joined
        ):
            self.blame(
                "unproved", f"{seen} is skipped at {now:g}, and what it makes is not there or old", seen
            )

    def failed(self, now: float, id: str, error: BaseException, *, expected: bool) -> None:
        """A work has failed.

        Args:
            now: The instant.
            id: Of the work.
            error: Why.
            expected: Whether somebody asked for such failures.
        """
        running = self.seen.running.get(id)
        seen = self._settled(now, id, "failed")
        if seen is None:
            return
        limit = seen.duty.timeout
        if isinstance(error, runcue.WorkTimeout) and limit is not None:
            if running is not None and now < running.at + limit:
                ran = now - running.at
                self.blame("timeout", f"{seen} fails by its timeout of {limit:g} s after {ran:g} s", seen)
        elif not expected:
            self.blame("cause", f"{seen} fails: {type(error).__name__}: {error}", seen)

    def cancelled(self, now: float, id: str) -> None:
        """A work was cancelled."""
        excused = self._is_cancelled_by_fault(id)
        if self._stopping and not self._rest_is_judged and not excused:
            # The first that a stop gives up. Those that wait for it must be judged before it has settled.
            self._judge_rest(now, "stop() cancels")
        seen = self._settled(now, id, "cancelled")
        if seen is None:
            return
        self._torn = self._torn or id in self._inflicted.torn
        if not self._stopping and not excused:
            self.blame("cause", f"{seen} is cancelled at {now:g}, and nobody has asked for that", seen)

    def changed(self, now: float, name: str) -> None:
        """An artifact was made or has vanished."""
        self.seen.change(now, name)

    def told(self, name: str) -> None:
        """Somebody has told of it."""
        self.seen.untold.pop(name, None)

    def _find(self, id: str, what: str) -> Seen | None:
        if not self.open:
            return None
        seen = self.seen.works.get(id)
        if seen is None:
            self.blame("once", f"{id} has {what}, and was never submitted")
        return seen

    def _settled(self, now: float, id: str, how: str) -> Seen | None:
        seen = self._find(id, how)
        if seen is None:
            return None
        if seen.ended:
            self.blame("once", f"{seen} has {how} at {now:g} although it has {seen.ended} before", seen)
            return None
        self.seen.settle(seen, how)
        self._event()
        return seen

    def _is_cancelled_by_fault(self, id: str) -> bool:
        inflicted, works = self._inflicted, self.seen.works
        if id in inflicted.cancelled or id in inflicted.torn:
            return True
        seen = works.get(id)
        # Who has joined another settles with it.
        return (
            seen is not None
            and seen.joinable
            and any(works[one].proves == seen.proves for one in inflicted.torn)
        )

    # --- Judging a start ----------------------------------------------------------------------------------------

    def _judge_limits(self, now: float, seen: Seen) -> None:
        for name in seen.duty.services:
            concurrent, count, period = self.seen.limits[name]
            busy = self.seen.busy(name)
            if concurrent is not None and busy >= concurrent:
                self.blame(
                    "slots",
                    f"{seen} starts at {now:g}, and then {busy + 1} are at work in {name}, which has "
                    f"{number_of(concurrent, 'slot')}",
                    seen,
                    *(self.seen.works[one] for one in self.seen.inside[name]),
                )
            starts = self.seen.starts[name]
            if count is not None and len(starts) == count and not is_over(starts[0].at, period, now):
                text = (
                    f"{seen} starts at {now:g}, {now - starts[0].at:g} s after {starts[0].seen}; so there are "
                    f"{count + 1} starts in less than {period:g} s in {name}, which allows {count}"
                )
                self.blame("rate", text, seen, *(start.seen for start in starts))

    def _judge_start(self, now: float, seen: Seen) -> None:
        inflicted = self._inflicted
        # An is_stale that was awaited leaves room for changes after is_ready has answered.
        if inflicted.asked_at.get(seen.id, inflicted.changes) != inflicted.changes:
            return
        missing = self.seen.missing(seen)
        maker = self.seen.maker_of_needs(seen)
        if missing:
            self.blame("ready", f"{seen} starts at {now:g} without {', '.join(missing)}", seen)
        elif maker is not None:
            self.blame(
                "ready", f"{seen} starts at {now:g} before {maker}, which makes what it needs", seen, maker
            )
        elif self.seen.is_up_to_date(seen) and not self._seems_stale(seen):
            self.blame("twice", f"{seen} starts at {now:g} although {', '.join(seen.proves)} is there", seen)

    def _seems_stale(self, seen: Seen) -> bool:
        """Whether its is_stale raised when it was asked last, which counts as stale. What is declared comes first."""
        return not seen.declared and seen.id in self._inflicted.stale_raised

    # --- Judging what does not happen ---------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Time is about to pass: everything that could happen at this instant must have happened."""
        if not self.open:
            return
        self._looked_at, self._settled_then = now, self._inflicted.settlements
        self._judge_running(now)
        if self._torn:
            self._torn = False
            self._quiet_until = now + QUIET
        if now < self._quiet_until:
            return
        if self._new:
            self._judge_new(now)
        for services, works in self.seen.there.items():
            if works and all(self.seen.has_room(name, now) for name in services):
                for seen in works.values():
                    if self._can_run(seen) and not any(name in self.seen.untold for name in seen.needs):
                        self._blame_late(now, seen)
                        return

    def _judge_running(self, now: float) -> None:
        for start in self.seen.running.values() if self._has_timeouts else ():
            seen = start.seen
            limit = seen.duty.timeout
            if limit is not None and now >= start.at + limit:
                ran = now - start.at
                self.blame("timeout", f"{seen} still runs after {ran:g} s, its timeout is {limit:g} s", seen)
                return

    def _judge_new(self, now: float) -> None:
        new, self._new = self._new, []
        for seen in new:
            if (
                not seen.ended
                and seen.started is None
                and self._can_run(seen)
                and not self._seems_stale(seen)
                and seen.task not in self._inflicted.async_gates  # which are asked only while a slot is free
                and seen.versions == self.seen.versions(seen)
            ):
                text = f"{seen} is still pending at {now:g}, and was up to date when it came"
                self.blame("skipped", text, seen)

    def _can_run(self, seen: Seen) -> bool:
        """Whether nothing but limits can keep a pending work from its start."""
        inflicted = self._inflicted
        return (
            self.seen.is_there(seen)
            and seen.id not in inflicted.awaited
            and seen.id not in inflicted.raised
            and not self.seen.waits_for_others(seen)
        )

    def _blame_late(self, now: float, seen: Seen) -> None:
        state = []
        for name in seen.duty.services:
            concurrent, count, period = self.seen.limits[name]
            if concurrent is not None:
                slots = number_of(concurrent, "slot")
                state.append(f"{self.seen.busy(name)} of {slots} of {name} taken")
            if count is not None:
                used = self.seen.tokens(name, now)
                state.append(f"{used} of {count} starts in {period:g} s used")
        if seen.needs:
            state.append(f"{', '.join(seen.needs)} there")
        self.blame(
            "prompt", f"{seen} could start at {now:g} and does not: {', '.join(state) or 'no limits'}", seen
        )

    def drained(self, now: float) -> None:
        """A drain has ended: what is pending now cannot run."""
        self._judge_rest(now, "a drain ends and leaves")

    def stopping(self) -> None:
        """The cue is being stopped: works that cannot run will be cancelled."""
        self._stopping = True

    def _judge_rest(self, now: float, what: str) -> None:
        self._rest_is_judged = self._stopping
        seen, inflicted = self.seen, self._inflicted
        # Whatever has come, settled or changed since time last passed may have done so when all had been asked.
        for one in list(seen.pending.values()):
            if (
                seen.is_there(one)
                and not seen.waits_for_others(one)
                # What raised when it was asked is not ready; but asked it must have been since something settled.
                and inflicted.raised.get(one.id, -inf) < self._settled_then
                and one.submitted <= self._looked_at
                and not any(seen.untold.get(name, -inf) > self._looked_at for name in one.needs)
            ):
                state = "up to date" if seen.is_up_to_date(one) else "able to run"
                self.blame("drained", f"{what} {one} at {now:g}, which is {state}", one)
                return

    # --- Judging the end ----------------------------------------------------------------------------------------

    def ended(self, now: float, counts: Mapping[str, int]) -> None:
        """The cue has stopped.

        Args:
            now: The instant.
            counts: What its summary says of how works ended.
        """
        for seen in self.seen.works.values():
            if not seen.ended:
                self.blame("once", f"{seen} has not settled when the cue has stopped at {now:g}", seen)
                return
        for how in ("completed", "skipped", "failed", "cancelled"):
            said, heard = counts.get(how, 0), self.seen.counts[how]
            if said != heard:
                self.blame("once", f"the summary counts {said} {how}, and {heard} were heard of")
                return

    def finished(self, everything: Iterable[str], made: Mapping[str, int]) -> None:
        """The last life has ended, in which nothing went wrong: all must be there.

        Args:
            everything: What there should be.
            made: What there is.
        """
        missing = [name for name in everything if name not in made]
        if missing:
            concerned = [one for one in self.seen.works.values() if set(one.proves) & set(missing)]
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            text = f"after the last life there is no {', '.join(missing[:3])}{more}"
            self.blame("lost", text, *concerned, names=missing)
