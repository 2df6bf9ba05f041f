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
    for name in work.places:
        concurrent, count, period, further = observed.limits[name]
        busy = observed.busy(name)
        if concurrent is not None and busy >= concurrent:
            return broken(
                "slots",
                f"{work} starts at {now:g}, and then {busy + 1} are at work in {name}, which has "
                f"{counted(concurrent, 'slot')}",
                work,
                *(observed.works[one] for one in observed.inside[name]),
            )
        if refused := observed.refusals[name].objection(now, work):
            return broken("refused", refused, work)
        if count is not None and (one := _one_too_many(now, observed, work, name, count, period)) is not None:
            return one
        if further is not None and (one := _one_too_many(now, observed, work, name, *further)) is not None:
            return one
    return None


def _one_too_many(
    now: float, observed: Observations, work: ObservedWork, name: str, count: int, period: float
) -> Violation | None:
    """Whether there is one start more than a window allows."""
    starts = observed.starts[name]
    if len(starts) < count or is_over(starts[-count].at, period, now):
        return None
    first = starts[-count]
    text = (
        f"{work} starts at {now:g}, {now - first.at:g} s after {first.work}; so there are "
        f"{count + 1} starts in less than {period:g} s in {name}, which allows {count}"
    )
    return broken("rate", text, work, *(start.work for start in list(starts)[-count:]))


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
    for places, works in observed.there.items():
        if not works or not all(observed.has_room(name, now) for name in places):
            continue
        for work in works.values():
            if can_run(observed, work) and not any(name in observed.untold for name in work.needs):
                if not observed.gives_way(work, now) and not observed.may_be_kept(work, now):
                    return _late(now, observed, work)
                break
    return None


def _late(now: float, observed: Observations, work: ObservedWork) -> Violation:
    state = []
    for name in work.places:
        concurrent, count, period, _ = observed.limits[name]
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
