"""One run: a cue is started, given its work units and let run, on the clock of whatever loop that is.

Lives here: `Run`, what is run; `go_through`, which runs it and finds out what never can.

Must not know: scenarios, a user's program, how a run is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import runcue
from runcue_sim._engine.clocks import RehearsalLoop, wall_clock
from runcue_sim._records.event_log import Trace
from runcue_sim._records.ledger import Ledger, item_of
from runcue_sim._text.figures import plain

REAL_PATIENCE: Final = 60.0
"""Seconds of real time in which nothing but blocked work units were there, after which a submitter waits in vain."""

RECHECKED: Final = 5.0
"""Seconds after which runcue has asked every gate again that may have changed its mind without anybody telling."""

_FOR_EVER: Final = frozenset(("no producer", "cycle", "upstream failed"))
"""What `cue.why()` says of work units that more time would not help."""

_AHEAD: Final = frozenset(("waiting for a retry", "waiting for its time"))
"""What it says of those for which an instant will come."""

_CUT_SHORT: Final = ("duration", "interrupt")
"""Ways to be cut in the midst of the work."""

TICK: Final = 0.05
"""Seconds after which runcue asks opaque gates again, if they are few."""


@dataclass
class Run:
    """What is run.

    Attributes:
        cue: Described, not started.
        submit: Submits everything.
        ledger: Those of the cue.
        trace: Those who are told.
        needs: The names of what a work needs, by its task and what it is about; beyond what it declares.
        proves: The names of what it makes, likewise.
        rechecks: Whether there are gates whose answer may change by something that nobody tells of.
    """

    cue: runcue.Cue
    submit: Callable[[], Awaitable[object]]
    ledger: Ledger
    trace: Trace
    needs: Callable[[str, str], Iterable[Hashable]] = lambda task, item: ()
    proves: Callable[[str, str], Iterable[Hashable]] = lambda task, item: ()
    rechecks: bool = False


@dataclass
class Blocked:
    """Work units that never ran, for one reason.

    Attributes:
        task: The name of their task.
        count: How many.
        reason: "not_ready", "service_full", "unknown_task".
        verdict: The binding reason, as `cue.why()` says it.
        details: A line about the first of them.
        on_purpose: Whether only a failure that was asked for is to blame.
        given_up: Whether they have failed by the time-out since.
    """

    task: str
    count: int
    reason: str
    verdict: str
    details: str
    on_purpose: bool
    given_up: bool = False


@dataclass
class Ending:
    """How a run ended.

    Attributes:
        seconds: From the first submission to the last settlement.
        blocked: What could not run.
        ids: Those of the blocked work units.
        cut: Why it was ended early: "duration", "interrupt", "submitter" (it waits for what never comes), or "".
    """

    seconds: float = 0.0
    blocked: list[Blocked] = field(default_factory=list)
    ids: frozenset[str] = frozenset()
    cut: str = ""

    @property
    def stalled(self) -> int:
        """How many work units could not run for another reason than a failure that was asked for."""
        return sum(group.count for group in self.blocked if not group.on_purpose)


async def go_through(run: Run, *, duration: float | None = None, timeout: float | None = None) -> Ending:
    """Go through a run until nothing can move any more.

    Args:
        run: What to run.
        duration: End it after so many seconds of its clock.
        timeout: When nothing can move, wait for so many seconds: the stall time-out of the cue, which then gives up
            what is left.

    Returns:
        How it ended. What was cancelled by Ctrl-C is no exception, but is said.
    """
    cue, ledger = run.cue, run.ledger
    ending = Ending()
    cue.start()
    try:
        try:
            async with asyncio.timeout(duration):
                if not await _submit_all(run):
                    ending.cut = "submitter"
                await cue.drain()
            _look_at_blocked(run, ending)
            if timeout is not None and ending.blocked:
                # The cue's own timers do not keep a virtual clock going.
                await asyncio.sleep(timeout)
                await cue.drain()
                left = {one["work"].id for one in cue.debug_blocked()}
                for group in ending.blocked:
                    group.given_up = not left
        except TimeoutError:
            ending.cut = "duration"
            _look_at_blocked(run, ending, _FOR_EVER)
        except asyncio.CancelledError:
            ending.cut = "interrupt"
        now = asyncio.get_running_loop().time()
        until = now if ending.cut in _CUT_SHORT else ledger.ended
        ending.seconds = max(0.0, until - ledger.began)
    finally:
        ledger.close(cut=ending.cut in _CUT_SHORT)
        run.trace.takers.clear()
        await cue.stop(drain=False, timeout=0)
    return ending


async def _submit_all(run: Run) -> bool:
    """Let everything be submitted, by somebody who may wait for work units meanwhile.

    Returns:
        Whether it came to its end. It does not if it waits for a work that can never run.
    """
    loop = asyncio.get_running_loop()
    submitting = asyncio.ensure_future(run.submit())
    stuck = asyncio.ensure_future(
        _nothing_left(loop, run) if isinstance(loop, RehearsalLoop) else _nothing_moves(run)
    )
    try:
        await asyncio.wait({submitting, stuck}, return_when=asyncio.FIRST_COMPLETED)
        if not submitting.done():
            return False
    finally:
        submitting.cancel()
        stuck.cancel()
        if isinstance(loop, RehearsalLoop):
            loop.on_nothing_left = loop.step = None
    await submitting
    return True


async def _nothing_left(loop: RehearsalLoop, run: Run) -> None:
    """On the virtual clock it is known when nothing can happen any more."""
    told = asyncio.Event()
    ledger = run.ledger
    moves, since = -1, 0.0

    def step() -> float:
        nonlocal moves, since
        if ledger.moves != moves:
            moves, since = ledger.moves, loop.time()
        return max(TICK, (loop.time() - since) / 100)

    if run.rechecks:
        # Time must not jump over what opaque gates would be asked again for, as it may once all is submitted.
        loop.step = step
    while True:
        loop.on_nothing_left = told.set
        await told.wait()
        told.clear()
        before = ledger.moves
        if run.rechecks:
            await asyncio.sleep(RECHECKED)
        if ledger.moves == before:
            return


async def _nothing_moves(run: Run) -> None:
    """On the real clock it is taken to be so when only blocked work units have been there for long."""
    ledger = run.ledger
    while True:
        moves = ledger.moves
        await asyncio.sleep(REAL_PATIENCE)
        quiet = ledger.moves == moves and not ledger.running and ledger.pending
        if quiet and all(_is_stuck(run.cue, one) for one in run.cue.debug_blocked()):
            return


def _is_stuck(cue: runcue.Cue, blocked: dict[str, Any]) -> bool:
    """Whether it is not known that something will change for a work unit that is blocked."""
    return blocked["reason"] == "not_ready" and cue.why(blocked["work"]).verdict not in _AHEAD


def _look_at_blocked(run: Run, ending: Ending, verdicts_for: frozenset[str] | None = None) -> None:
    """Find out what cannot run, in groups of work units that are alike, the largest first.

    Args:
        run: At rest; or cut off, and then much waits for what would have come.
        ending: Takes what is found.
        verdicts_for: Only work units of which `cue.why()` says one of these; None: all.
    """
    found = run.cue.debug_blocked()
    if verdicts_for is not None:
        found = [one for one in found if run.cue.why(one["work"]).verdict in verdicts_for]
    works = [one["work"] for one in found]
    purposely = _lost_on_purpose(run, works)
    run.ledger.excused |= purposely
    ending.ids = frozenset(work.id for work in works)
    groups: dict[tuple[str, str, str, bool], Blocked] = {}
    verdicts: dict[tuple[str, str], str] = {}
    for one in found:
        work: runcue.Work = one["work"]
        verdict = verdicts.setdefault((work.task, one["reason"]), str(run.cue.why(work).verdict))
        key = (work.task, one["reason"], verdict, work.id in purposely)
        details = plain(one["details"])
        group = groups.setdefault(key, Blocked(work.task, 0, one["reason"], verdict, details, key[3]))
        group.count += 1
        if run.trace:
            run.trace.add(wall_clock(), "blocked", work.task, work.id, details)
    ending.blocked = sorted(groups.values(), key=lambda group: (group.on_purpose, -group.count))


def _lost_on_purpose(run: Run, blocked: list[runcue.Work]) -> set[str]:
    """The ids of blocked work units that wait, if only by way of others, for what a failure on purpose did not make."""
    ledger = run.ledger
    if not ledger.failed_on_purpose:
        return set()
    makers: dict[Hashable, str] = {}
    lost: set[str] = {record.id for record in ledger.records if record.on_purpose}
    needs: dict[str, list[Hashable]] = {}
    for work in blocked:
        missing = run.cue.why(work).missing
        for one in missing:
            if one.maker is not None:
                makers.setdefault(one.artifact, one.maker.id)
        item = item_of(work)
        needs[work.id] = [*run.needs(work.task, item), *(one.artifact for one in missing), *work.inputs]
        for name in (*run.proves(work.task, item), *work.outputs):
            makers.setdefault(name, work.id)
    for record in ledger.records:
        if record.on_purpose:
            for name in run.proves(record.task, record.item):
                makers[name] = record.id
    changed = True
    while changed:
        changed = False
        for work in blocked:
            if work.id not in lost and any(makers.get(name) in lost for name in needs[work.id]):
                lost.add(work.id)
                changed = True
    return lost
