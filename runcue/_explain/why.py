"""Why a work unit does not run, and why it ran: the answers to `cue.why()` and `cue.why_stale()`.

Lives here: reading the state of a cue, following what waits for what down to the root of it, and putting it in words.
Artifacts are asked again for this, so an answer is as of now.

Must not know: how to change anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from runcue._artifacts.artifact import Artifact, plainly
from runcue._explain.reasons import Reason, describe_answer, describe_delay, first_limit, reason_of
from runcue._model.phases import (
    CANCELLED,
    CHECKING,
    DELAYED,
    FAILED,
    HELD,
    JOINED,
    NEW,
    NOT_READY,
    OUTCOMES,
    RUNNING,
    SETTLED,
)
from runcue._model.texts import how_many, words_of
from runcue._model.work import Work
from runcue._scheduling.ageing import pending_since
from runcue._scheduling.core import Core

__all__ = ["Explainer", "Missing", "Verdict", "Why", "WhyStale", "grouped"]

Verdict = Literal[
    "completed",
    "skipped",
    "failed",
    "cancelled",
    "running",
    "being asked",
    "about to start",
    "not started",
    "waiting for rate",
    "waiting for a slot",
    "waiting for a retry",
    "waiting for an artifact",
    "no producer",
    "cycle",
    "upstream failed",
    "not ready",
]
"""What `why()` can say. "not ready" is the word of an opaque is_ready that looked at no artifact."""

_SHOWN: Final = 5
# So many work units are explained to the root when all are asked for, over so many links together.
_LOOKED_INTO: Final = 1000
_FOLLOWED: Final = 20_000


@dataclass(frozen=True, slots=True)
class Missing:
    """An artifact that a work unit waits for.

    Attributes:
        artifact: The artifact.
        problem: What is wrong with it, as the end of a sentence.
        maker: The work that makes it, or failed to; None if there is none.
        state: What that one is: "pending", "running", "failed", "cancelled"; or "nobody".
    """

    artifact: Artifact
    problem: str
    maker: Work | None
    state: str

    def __str__(self) -> str:
        if self.maker is None:
            who = "nothing that is pending or running declares it as an output"
        elif self.state in ("failed", "cancelled"):
            error = f": {self.maker.error}" if self.maker.error else ""
            was = "was " if self.state == "cancelled" else ""
            who = f"{_name(self.maker)}, which was to make it, {was}{self.state}{error}"
        else:
            who = f"{_name(self.maker)} makes it ({self.state})"
        return f"{words_of(self.artifact)} {self.problem}; {who}"


@dataclass(frozen=True, slots=True, eq=False)
class Why:
    """Why a work unit is where it is. `print()` it.

    Attributes:
        work: The work.
        verdict: The binding reason, in two or three words.
        details: The same in a line.
        since: When that reason began, in seconds since the epoch.
        seconds: How long it has lasted.
        asked: How often it was found not ready.
        missing: The artifacts it waits for, and who would make them.
        held_by: For a slot: the work units that have it.
        eta: For a rate: seconds until the next token comes; for a retry, until it is due. None if that is not known.
        next_token_at: The instant of that, in seconds since the epoch.
        chain: The work units that wait for each other, from this one to the root of it.
        root: Why the last of the chain does not run; None if that is this work.
        cycle: The work units that wait for each other in a cycle.
    """

    work: Work
    verdict: Verdict
    details: str
    since: float
    seconds: float
    asked: int = 0
    missing: tuple[Missing, ...] = ()
    held_by: tuple[Work, ...] = ()
    eta: float | None = None
    next_token_at: float | None = None
    chain: tuple[Work, ...] = ()
    root: Why | None = None
    cycle: tuple[Work, ...] = ()

    def __str__(self) -> str:
        asked = f", found not ready {how_many(self.asked, 'time', 'times')}" if self.asked else ""
        lines = [f"{_name(self.work)}: {self.verdict}, for {_seconds(self.seconds)}{asked}"]
        if not self.missing:
            lines.append(f"  {self.details}")
        lines += [f"  {one}" for one in self.missing[:_SHOWN]]
        if len(self.missing) > _SHOWN:
            lines.append(f"  and {len(self.missing) - _SHOWN} more")
        if self.cycle:
            lines.append(f"  a circle: {_around(self.cycle)}")
        between = len(self.chain) - 2
        if self.root is not None:
            if between > 0:
                works = how_many(between, "other work unit", "other work units")
                lines.append(f"  through {works}, in the end because of {_name(self.root.work)}:")
            lines += [f"  {line}" for line in str(self.root).splitlines()]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, eq=False)
class WhyStale:
    """Why a work unit ran, or did not have to. `print()` it.

    Attributes:
        work: The work.
        stale: Whether it was found out of date; None if that is not known yet.
        verdict: In a word or two: "missing", "not valid", "older", "changed", "forced", "is_stale", "up to date", ...
        artifact: The output or input at fault, if one is.
        other: What it was compared to, if it was.
        details: In a line.
    """

    work: Work
    stale: bool | None
    verdict: str
    artifact: Artifact | None
    other: Artifact | None
    details: str

    def __str__(self) -> str:
        words = {True: "out of date", False: "up to date", None: "not known yet"}
        return f"{_name(self.work)}: {words[self.stale]}: {self.details}"


class Explainer:
    """Answers for one cue.

    Args:
        core: The state.
        holders: Gives the work units that hold slots at this moment.
        watched: Whether changes of an artifact are watched for from outside.
        watches: Whether anything is.
        is_still: Whether nothing runs, is asked or is timed: then nothing that is pending will make anything.
    """

    def __init__(
        self,
        core: Core,
        holders: Callable[[], Iterable[Work]],
        watched: Callable[[Any], bool],
        watches: Callable[[], bool],
        is_idle: Callable[[], bool],
    ) -> None:
        self._core = core
        self._holders = holders
        self._watched = watched
        self.watches = watches
        self._is_still = is_idle
        self._followed = 0

    # --- Why it does not run ------------------------------------------------------------------------------------

    def why(self, work: Work, now: float, wall: float) -> Why:
        """Explain one work.

        Args:
            work: The work.
            now: Monotonic.
            wall: The same instant in seconds since the epoch.
        """
        own = self._why_alone(work, now, wall)
        if work._phase not in (NOT_READY, HELD, JOINED):
            return own
        chain, cycle = self._follow(work)
        self._followed += len(chain)
        if work in cycle:
            return _but(own, verdict="cycle", details=_around(cycle), chain=tuple(chain), cycle=cycle)
        if len(chain) == 1:
            return own
        root = self._why_alone(chain[-1], now, wall)
        if cycle:
            root = _but(root, verdict="cycle", details=_around(cycle), cycle=cycle)
        if work._phase == JOINED:
            same = {name: getattr(root, name) for name in ("verdict", "eta", "next_token_at", "held_by")}
            return _but(own, **same, chain=tuple(chain), root=root)
        return _but(own, chain=tuple(chain), root=root)

    def _follow(self, work: Work) -> tuple[list[Work], tuple[Work, ...]]:
        """Who waits for whom, from a work on. Returns the work units on the way, and those of a cycle at its end."""
        chain = [work]
        producer_of = self._core.dependencies.producer_of
        # A chain may be as long as work units are pending, so no set is kept of what was seen: a mark that is set
        # anew at each power of two is met again in any cycle (Brent's algorithm).
        mark, next_mark = work, 2
        following: Work | None = work
        while following is not None:
            if following._phase == HELD and following._awaited is not None:
                following = producer_of.get(following._awaited[0]._key)
            else:
                following = self.waits_for(following)
            if following is None:
                break
            chain.append(following)
            if following is mark:
                return self._cut(chain)
            if len(chain) == next_mark:
                mark, next_mark = following, 2 * next_mark
        return chain, ()

    @staticmethod
    def _cut(chain: list[Work]) -> tuple[list[Work], tuple[Work, ...]]:
        """A chain that ends in a cycle: up to the first work unit that is met again, and the cycle."""
        seen: dict[Work, int] = {}
        for number, work in enumerate(chain):
            if work in seen:
                return chain[:number], tuple(chain[seen[work] : number])
            seen[work] = number
        return chain, ()

    def waits_for(self, work: Work) -> Work | None:
        """The work that another has to wait for, None if that is not what it waits for."""
        phase = work._phase
        producer_of = self._core.dependencies.producer_of
        if phase == HELD:
            assert work._awaited is not None
            return producer_of.get(work._awaited[0]._key)
        if phase == JOINED:
            return work._declared.leader if work._declared is not None else None
        if phase == NOT_READY:
            for artifact in work._awaited or ():
                producer = producer_of.get(artifact._key)
                if producer is not None and producer is not work and _problem_of(artifact) is not None:
                    return producer
        return None

    def _why_alone(self, work: Work, now: float, wall: float) -> Why:
        """What can be said of a work unit by itself."""
        phase = work._phase
        skew = wall - now
        if phase >= RUNNING:
            return self._why_past(work, wall)
        since = (
            work._submitted_at
            if phase in (NEW, JOINED)
            else getattr(work, "_phase_since", work._submitted_at)
        )
        base = Why(work, "not ready", "", since + skew, max(0.0, now - since), work._refusals)
        if phase == CHECKING:
            return _but(base, verdict="being asked", details="its is_ready or is_stale is being awaited")
        if phase == JOINED:
            assert work._declared is not None
            leader = work._declared.leader
            return _but(
                base, details=f"it settles with {_name(leader)}, which makes the same" if leader else ""
            )
        if phase in (NOT_READY, HELD) or (phase == NEW and work._not_ready_reason is not None):
            return self._why_not_ready(work, base)
        if phase == DELAYED:
            eta = max(0.0, pending_since(work) - now)
            return _but(base, verdict="waiting for a retry", details=describe_delay(work, now), eta=eta)
        limit = first_limit(work, now)
        if limit is None:
            return _but(base, verdict="about to start", details="nothing is in its way")
        service, lacks_slot = limit
        if lacks_slot:
            held_by = tuple(one for one in self._holders() if service in one._task.run_queue.services)
            shown = ", ".join(map(_holder, held_by[:_SHOWN])) + (
                f" and {len(held_by) - _SHOWN} more" if len(held_by) > _SHOWN else ""
            )
            details = f"{service.describe_slots()}{', held by ' if shown else ''}{shown}"
            return _but(base, verdict="waiting for a slot", details=details, held_by=held_by)
        when = service.next_token(now)
        known = when != float("inf")
        return _but(
            base,
            verdict="waiting for rate",
            details=service.describe_rate(now),
            eta=max(0.0, when - now) if known else None,
            next_token_at=when + skew if known else None,
        )

    def _why_past(self, work: Work, wall: float) -> Why:
        if work._phase == RUNNING:
            began = work.started_at or wall
            return Why(work, "running", "its handler runs", began, max(0.0, wall - began), work._refusals)
        ended = work.completed_at or wall
        verdict: Any = OUTCOMES[work._outcome]
        details = {
            "completed": "its handler returned",
            "skipped": "it was up to date",
            "failed": f"{type(work.exception).__name__}: {words_of(work.exception)}",
            "cancelled": "it was cancelled",
        }[verdict]
        if work in self._holders():
            details += "; its handler has not returned yet and still holds its slot"
        return Why(work, verdict, details, ended, max(0.0, wall - ended), work._refusals)

    def _why_not_ready(self, work: Work, base: Why) -> Why:
        missing = self._missing(work)
        if not missing:
            return _but(base, details=describe_answer(work))
        verdict: Verdict = "waiting for an artifact"
        if any(one.maker is work for one in missing):
            details = "it needs what only it makes: " + "; ".join(map(str, missing[:_SHOWN]))
            return _but(base, verdict="cycle", details=details, missing=tuple(missing), cycle=(work,))
        lost = [one for one in missing if one.state in ("failed", "cancelled", "nobody")]
        if len(lost) < len(missing) and not needs_all(work):
            lost = []  # one of the others may be enough for its is_ready
        if lost and all(one.state == "nobody" for one in lost):
            if not self.somebody_may_make_it(work, (one.artifact for one in lost)):
                verdict = "no producer"
        elif lost:
            verdict = "upstream failed"
        return _but(
            base, verdict=verdict, details="; ".join(map(str, missing[:_SHOWN])), missing=tuple(missing)
        )

    def _missing(self, work: Work) -> list[Missing]:
        """The artifacts that keep a work from being ready, those that nobody makes first."""
        declared = work._declared
        artifacts: Collection[Any] = work._awaited or ()
        if declared is not None and declared.inputs and isinstance(work._not_ready_reason, Artifact):
            artifacts = declared.inputs
        dependencies = self._core.dependencies
        found = []
        for artifact in artifacts:
            producer = dependencies.producer_of.get(artifact._key)
            problem = _problem_of(artifact)
            if problem is None:
                if producer is None or work._phase != HELD:
                    continue
                problem = "is there, and is to be made anew"
            if producer is not None:
                state = "running" if producer._phase == RUNNING else "pending"
            else:
                producer = dependencies.failed.get(artifact._key)
                state = "nobody" if producer is None else OUTCOMES[producer._outcome]
            found.append(Missing(artifact, problem, producer, state))
        return sorted(found, key=lambda one: one.state in ("pending", "running"))

    def somebody_may_make_it(self, work: Work, artifacts: Iterable[Any]) -> bool:
        """Whether artifacts that no work unit declares may come all the same.

        They may come from outside if that is watched, or from work units that do not say what they make.
        """
        core = self._core
        silent = core.unsettled - core.proving - (0 if work.outputs else 1)
        return (silent > 0 and not self._is_still()) or any(map(self._watched, artifacts))

    def reason(self, work: Work, now: float, *, deep: bool = True) -> Reason | None:
        """Why a pending work unit does not run, in the form of `debug_blocked()`; None if nothing is in its way.

        Args:
            work: The work.
            now: Monotonic.
            deep: Follow what it waits for to the root, and name what is missing.
        """
        if not deep or work._phase not in (NOT_READY, HELD, JOINED):
            return reason_of(work, now)
        why = self.why(work, now, now)
        details = why.details if why.verdict == "not ready" else f"{why.verdict}: {why.details}"
        root = why.root
        if root is not None:
            between = len(why.chain) - 2
            through = f" (through {how_many(between, 'other', 'others')})" if between > 0 else ""
            details += f"; in the end{through} because of {_name(root.work)} ({root.verdict}): {root.details}"
        return Reason(work, "not_ready", details)

    def reasons(self, works: Iterable[Work], now: float) -> Iterator[tuple[Work, Reason | None]]:
        """The reasons of many: the first thousand are followed to the root, unless the way there is very long.

        Args:
            works: Pending work units.
            now: Monotonic.
        """
        self._followed = 0
        for number, work in enumerate(works):
            deep = number < _LOOKED_INTO and self._followed < _FOLLOWED
            yield work, self.reason(work, now, deep=deep)

    def details(self, work: Work) -> str:
        """What was said when a work unit was found not ready."""
        return describe_answer(work)

    def is_watched(self, artifact: Any) -> bool:
        """Whether changes of an artifact from outside are watched for."""
        return self._watched(artifact)

    @staticmethod
    def is_valid(artifact: Any) -> bool:
        """Whether an artifact is valid at this moment; not, if it cannot be asked."""
        return _problem_of(artifact) is None

    # --- Why it ran ---------------------------------------------------------------------------------------------

    def why_stale(self, work: Work) -> WhyStale:
        """Explain what made a work unit run, or why it did not have to."""
        declared = work._declared
        if work._phase == SETTLED and work.skipped:
            return self._why_skipped(work)
        if declared is not None and declared.fault is not None:
            return WhyStale(work, None, "fault", None, None, words_of(declared.fault))
        found = None if declared is None else declared.stale
        if found is not None:
            return _in_words(work, *found)
        if work._phase < RUNNING:
            following = self.waits_for(work)
            rest = f"; it waits for {_name(following)}" if following is not None else ""
            return WhyStale(work, None, "not asked", None, None, f"that is asked once it is ready{rest}")
        if work._phase == SETTLED and work._outcome in (CANCELLED, FAILED) and work.started_at is None:
            return WhyStale(
                work, None, "not asked", None, None, f"it {_ENDED[work._outcome]} before it could start"
            )
        if work._task.is_stale is not None:
            name = getattr(work._task.is_stale, "__qualname__", "is_stale")
            return WhyStale(work, True, "is_stale", None, None, f"the is_stale callback {name} said so")
        return WhyStale(
            work,
            True,
            "nothing says otherwise",
            None,
            None,
            "no outputs are declared and there is no is_stale",
        )

    @staticmethod
    def _why_skipped(work: Work) -> WhyStale:
        declared = work._declared
        if declared is None or not declared.outputs or declared.stale is not None:
            name = getattr(work._task.is_stale, "__qualname__", "is_stale")
            return WhyStale(work, False, "up to date", None, None, f"the is_stale callback {name} said so")
        outputs = _listed(declared.outputs)
        if declared.fresh is None or not declared.inputs:
            details = f"{outputs} {'is' if len(declared.outputs) == 1 else 'are'} valid"
        else:
            details = f"{outputs} by {declared.fresh!r} up to date with {_listed(declared.inputs)}"
        return WhyStale(work, False, "up to date", None, None, details)


def needs_all(work: Work) -> bool:
    """Whether a work unit that is not ready needs all it waits for: what it declares, but not what its gate read."""
    return isinstance(work._not_ready_reason, Artifact) and work._not_ready_reason in work.inputs


_ENDED = {FAILED: "failed", CANCELLED: "was cancelled"}


def _in_words(work: Work, verdict: str, artifact: Any, other: Any) -> WhyStale:
    name, beside = words_of(artifact), words_of(other)
    details = {
        "forced": "it was submitted with force=True",
        "missing": f"its output {name} was missing",
        "not valid": f"its output {name} {other}",
        "older": f"its output {name} was not newer than its input {beside}",
        "changed": f"its input {beside} has other content than when {name} was made",
        "params": f"its params are not those that {name} was made with",
        "no stamp": f"nothing is known of how {name} was made",
        "unreadable stamp": f"the note on how {name} was made cannot be read",
        "output changed": f"its output {name} is not what was made",
        "new input": f"{name} was made without its input {beside}",
        "lost input": f"{name} was made with other inputs",
        "raised": f"{name} could not be looked at: {beside}",
    }.get(verdict, f"{verdict}: {name}" + (f", {beside}" if other is not None else ""))
    return WhyStale(
        work,
        True,
        verdict,
        artifact if isinstance(artifact, Artifact) else None,
        other if isinstance(other, Artifact) else None,
        details,
    )


def _problem_of(artifact: Any) -> str | None:
    """What is wrong with an artifact, None if it is valid. Whatever it does itself."""
    try:
        if plainly(artifact.valid(), artifact):
            return None
        return str(artifact.problem())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"cannot be looked at: {type(error).__name__}: {words_of(error)}"


def _but(why: Why, **changes: Any) -> Why:
    values = {name: getattr(why, name) for name in Why.__slots__}
    return Why(**(values | changes))


def _name(work: Work) -> str:
    return f"{work.task} {work.id}"


def _holder(work: Work) -> str:
    return _name(work) + (" (cancelled, its handler has not returned)" if work._phase == SETTLED else "")


def _around(cycle: tuple[Work, ...]) -> str:
    shown = [_name(work) for work in cycle[:_SHOWN]]
    if len(cycle) > _SHOWN:
        shown.append(f"{len(cycle) - _SHOWN} more")
    return f"{' waits for '.join(shown)} waits for {_name(cycle[0])}"


def _listed(artifacts: tuple[Any, ...]) -> str:
    shown = ", ".join(map(words_of, artifacts[:_SHOWN]))
    return f"{shown} and {len(artifacts) - _SHOWN} more" if len(artifacts) > _SHOWN else shown


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def grouped(reasons: Iterable[tuple[Work, str]], limit: int = _SHOWN) -> str:
    """Reasons in one line, those of one task that are alike together.

    Args:
        reasons: Work units and why they do not run.
        limit: At most so many groups in words.
    """
    groups: dict[tuple[str, str], list[tuple[Work, str]]] = {}
    for work, words in reasons:
        # Alike is what differs in names, ids and numbers only.
        groups.setdefault((work.task, _PARTICULAR.sub("...", words)), []).append((work, words))
    lines = []
    for (task, _), alike in list(groups.items())[:limit]:
        first, words = alike[0]
        if len(alike) == 1:
            lines.append(f"{task} {first.id}: {words}")
            continue
        ids = ", ".join(work.id for work, _ in alike[:3]) + (
            f" and {len(alike) - 3} more" if len(alike) > 3 else ""
        )
        such_as = "" if all(other == words for _, other in alike) else "such as "
        lines.append(f"{len(alike)} {task} ({ids}): {such_as}{words}")
    left = sum(map(len, list(groups.values())[limit:]))
    return "; ".join(lines) + (f"; and {left} more" if left else "")


_PARTICULAR = re.compile(r"'[^']*'|\b\w*-?\d[\w.-]*")
