"""Judging starts: whether limits and artifacts allow one, and whether one is due.

Lives here: functions that give the violation that they find, or nothing.

Must not know: what becomes of a violation, who listens.
"""

from __future__ import annotations

from runcue_sim._chaos.invariants import Violation, is_over
from runcue_sim._chaos.observations import Observations
from runcue_sim._chaos.observed_work import ObservedWork, broken
from runcue_sim._text.figures import counted


def within_limits(now: float, observed: Observations, work: ObservedWork) -> Violation | None:
    """Whether the services of a work unit that starts have room for it."""
    for name in work.duty.services:
        concurrent, count, period = observed.limits[name]
        busy = observed.busy(name)
        if concurrent is not None and busy >= concurrent:
            return broken(
                "slots",
                f"{work} starts at {now:g}, and then {busy + 1} are at work in {name}, which has "
                f"{counted(concurrent, 'slot')}",
                work,
                *(observed.works[one] for one in observed.inside[name]),
            )
        refused = observed.refusals[name].objection(now, work)
        if refused:
            return broken("refused", refused, work)
        paused_until = observed.paused_until.get(name, now)
        if now < paused_until:
            text = f"{work} starts at {now:g}, and {name} is paused by hand until {paused_until:g}"
            return broken("paused", text, work)
        starts = [] if count is None else list(observed.starts[name])[-count:]
        if starts and len(starts) == count and not is_over(starts[0].at, period, now):
            text = (
                f"{work} starts at {now:g}, {now - starts[0].at:g} s after {starts[0].work}; so there are "
                f"{count + 1} starts in less than {period:g} s in {name}, which allows {count}"
            )
            return broken("rate", text, work, *(start.work for start in starts))
    return None


def with_reason(now: float, observed: Observations, work: ObservedWork) -> Violation | None:
    """Whether all is there that a work unit needs which starts, and what it makes is not."""
    injected = observed.injected
    # An is_stale that was awaited leaves room for changes after is_ready has answered.
    if injected.asked_at.get(work.id, injected.changes) != injected.changes:
        return None
    missing = observed.missing(work)
    maker = observed.maker_of_needs(work, surely=True)
    if missing:
        return broken("ready", f"{work} starts at {now:g} without {', '.join(missing)}", work)
    if maker is not None:
        text = f"{work} starts at {now:g} before {maker}, which makes what it needs"
        return broken("ready", text, work, maker)
    if observed.is_up_to_date(work) and not seems_stale(observed, work):
        text = f"{work} starts at {now:g} although {', '.join(work.proves)} is there"
        return broken("twice", text, work)
    return None


def seems_stale(observed: Observations, work: ObservedWork) -> bool:
    """Whether its is_stale raised when it was asked last, which counts as stale. What is declared comes first."""
    return not work.declared and work.id in observed.injected.stale_raised


def can_run(observed: Observations, work: ObservedWork) -> bool:
    """Whether nothing but limits can keep a pending work from its start."""
    injected = observed.injected
    return (
        observed.is_there(work)
        and work.id not in injected.awaited
        and work.id not in injected.raised
        and not observed.waits_for_others(work)
    )


def should_be_skipped(observed: Observations, work: ObservedWork) -> bool:
    """Whether a work unit that was up to date when it was submitted is to be skipped by now."""
    return (
        not work.ended
        and work.started is None
        and can_run(observed, work)
        and not seems_stale(observed, work)
        and work.task not in observed.injected.async_gates  # which are asked only while a slot is free
        and work.versions == observed.versions(work)
    )


def overdue(now: float, observed: Observations) -> Violation | None:
    """Whether something does not run for which there is room, and of which the cue can know that it is to."""
    for services, works in observed.there.items():
        if not works or not all(observed.has_room(name, now) for name in services):
            continue
        for work in works.values():
            if can_run(observed, work) and not any(name in observed.untold for name in work.needs):
                if not observed.gives_way(work, now):
                    return _late(now, observed, work)
                break
    return None


def _late(now: float, observed: Observations, work: ObservedWork) -> Violation:
    state = []
    for name in work.duty.services:
        concurrent, count, period = observed.limits[name]
        if concurrent is not None:
            slots = counted(concurrent, "slot")
            state.append(f"{observed.busy(name)} of {slots} of {name} taken")
        if count is not None:
            used = observed.tokens(name, now)
            state.append(f"{used} of {count} starts in {period:g} s used")
    if work.needs:
        state.append(f"{', '.join(work.needs)} there")
    text = f"{work} could start at {now:g} and does not: {', '.join(state) or 'no limits'}"
    return broken("prompt", text, work)
