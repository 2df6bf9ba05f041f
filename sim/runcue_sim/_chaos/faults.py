"""What goes wrong, by seed: whom a fault strikes, when, and how.

Lives here: the kinds of faults; `Faults`, which draws them, by name and never in turn, so that leaving one out changes
no other; `Injected`, what was really done, for those who have to tell a fault from its consequences.

Must not know: cues, event loops, how a fault is brought about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import runcue
from runcue_sim._chaos.policies import FORMS, Policy
from runcue_sim._chaos.regimes import Regimes
from runcue_sim._chaos.wishes import NO_WISH, Wish
from runcue_sim._workload.luck import Luck

KINDS: Final = {
    "hang": "handlers hang, or take their time when they are cancelled",
    "raise": "handlers raise",
    "retry": "what fails is tried again, as its task or its submission says in one of several ways",
    "postpone": "handlers ask by RetryLater to be called again",
    "refuse": "servers refuse work for now, or all for a while, and say for how long, or do not",
    "timeout": "submissions bring a time-out of their own, which handlers may well reach",
    "must": "work units must complete, as their task or their submission says",
    "cancel": "work units are cancelled, pending or running",
    "again": "work units are submitted a second time",
    "tear": "somebody cancels the asyncio tasks of handlers",
    "outage": "services are away for a while",
    "budget": "services have budgets and further windows, and handlers spend more or less than was said",
    "keys": "services have their limits for each key",
    "change": "limits are changed while work units run",
    "pause": "services are paused by hand",
    "breaker": "services are left in peace after failures in a row",
    "delay": "work units are submitted for later",
    "lane": "some tasks have their work units run one at a time, in one lane or two",
    "gate-raise": "is_ready and is_stale raise",
    "gate-block": "is_ready and is_stale block the event loop",
    "gate-await": "is_ready and is_stale are async, and some take their time",
    "priority": "a priority callback orders, raises and blocks",
    "listener-raise": "listeners raise",
    "listener-block": "listeners block the event loop, or take their time",
    "vanish": "artifacts vanish",
    "renew": "artifacts are made anew by somebody else",
    "untold": "some of these changes nobody tells of",
    "stop": "the cue is stopped before all is done, in ways that cut more and more off",
    "death": "the process dies, and everything is submitted again",
}
"""Each with what it means."""

BLOCK: Final = 0.2
"""Seconds for which a callback blocks."""

_WAYS_TO_RAISE: Final = ("error", "error", "error", "give up", "exit", "cancelled")
_HANG: Final = 1000.0
_IN_LANES: Final = 0.3
_FOR_EVER: Final = 1 << 30
_UNHEEDED: Final = runcue.Retry(9, wait_initial=0)


class Blow(NamedTuple):
    """What strikes a handler.

    Attributes:
        kind: "hang", "raise", "postpone", "tear" or "refuse".
        after: Seconds after it was entered.
        seconds: How long it hangs, or until it wants to be called again; of "refuse" 0.0: that is not said.
        how: Of "raise": "error", "give up", "exit" or "cancelled".
    """

    kind: str
    after: float
    seconds: float = 0.0
    how: str = ""


class Change(NamedTuple):
    """What becomes of an artifact that was made.

    Attributes:
        kind: "vanish" or "renew".
        after: Seconds later.
        told: Whether somebody says so.
        again: Seconds until its maker is submitted again, None for never.
    """

    kind: str
    after: float
    told: bool
    again: float | None


class StopCall(NamedTuple):
    """A call of `cue.stop`.

    Attributes:
        after: Seconds since the one before, or since the life began.
        drain: As there.
        timeout: As there.
        delayed: As there.
    """

    after: float
    drain: bool = True
    timeout: float | None = None
    delayed: Literal["wait", "cancel"] = "wait"


class Manner(NamedTuple):
    """How a callback of the user is written.

    Attributes:
        is_async: It is an `async def`.
        seconds: What it awaits.
    """

    is_async: bool = False
    seconds: float = 0.0


class Faults:
    """Draws the faults of one life of a process.

    Args:
        luck: Where the rolls of the dice come from.
        kinds: Which of `KINDS` may happen.
        share: How many of those that could be struck are, 0.0 to 1.0.
        pace: Seconds that a handler usually takes; faults come at multiples of it, or anywhere near.
        life: Another life has other faults.

    Attributes:
        regimes: What else services are limited by.
    """

    def __init__(
        self,
        luck: Luck,
        kinds: Collection[str] = tuple(KINDS),
        *,
        share: float = 0.1,
        pace: float = 0.1,
        life: int = 0,
    ) -> None:
        self.kinds = frozenset(kinds)
        self.share = share
        self.pace = pace
        self._luck = luck
        self._life = life
        self._windows: dict[str, tuple[float, float] | None] = {}
        self.regimes = Regimes(self._four, self._after, self.kinds, share, pace)

    def _four(self, *names: object) -> tuple[float, float, float, float]:
        return self._luck.four(self._life, *names)

    def _after(self, roll: float) -> float:
        """An instant: often one at which something else happens as well."""
        if roll < 0.2:
            return 0.0
        if roll < 0.5:
            return self.pace * (1 + int((roll - 0.2) * 20))
        return self.pace * 40 * (roll - 0.5) ** 2

    def blow(self, task: str, item: str, nth: int, entry: int = 1) -> Blow | None:
        """What strikes a handler, None if nothing does.

        Args:
            task: The work's task.
            item: What it is about.
            nth: Which submission of the same it is.
            entry: How many times its handler was entered, with this one.
        """
        again = () if entry == 1 else (entry,)
        for kind in ("hang", "raise", "postpone", "tear", "refuse"):
            if kind in self.kinds:
                roll, when, how, length = self._four(kind, task, item, nth, *again)
                if roll < self.share:
                    after = min(self._after(when), self.pace)
                    if kind == "hang":
                        return Blow(kind, after, _HANG)
                    if kind == "refuse":
                        return Blow(kind, after, self._after(length) * 5 if how < 0.7 else 0.0)
                    return Blow(
                        kind, after, self._after(length), _WAYS_TO_RAISE[int(how * len(_WAYS_TO_RAISE))]
                    )
        return None

    def policy(self, task: str) -> Policy | None:
        """The retries of all work units of a task: those who join each other must not differ in them."""
        if "retry" not in self.kinds:
            return None
        attempts, initial, form, skipped = self._four("retry", task)
        if attempts >= 0.9:
            return None
        policy = Policy(
            FORMS[int(form * len(FORMS))],
            attempts=2 + int(attempts * 4),
            initial=self._after(initial),
            maximum=self.pace * 4,
            is_exit_final=skipped < 0.5,
        )
        endless, bounded, length, _ = self._four("retry without end", task)
        if policy.form == "function":
            return policy
        if bounded < 0.4:
            policy = policy._replace(timeout=self.pace * 20 * length)
        if endless < 0.3:
            # Else the time in which a service is away would never pass.
            policy = policy._replace(attempts=-1, initial=max(policy.initial, self.pace))
        return policy

    def says(self, task: str) -> dict[str, Any]:
        """The options that a task says itself."""
        retried, must, decoy, _ = self._four("task", task)
        policy = self.policy(task)
        said: dict[str, Any] = {}
        if policy is not None and (retried < 0.4 or decoy < 0.2):
            # Where its submissions say something else, that of the task counts for nothing.
            said["retry"] = policy.option() if retried < 0.4 else _UNHEEDED
        if "must" in self.kinds and must < 0.3:
            said["must_complete"] = True
        return said

    def wish(self, task: str, item: str, nth: int) -> Wish:
        """What is wished for the work unit of a submission."""
        timeout, delay, by_wall = None, 0.0, False
        policy, said = self.policy(task), self.says(task)
        must, of_task = said.get("must_complete", False), set()
        if said.get("retry", _UNHEEDED) is not _UNHEEDED:
            of_task.add("retry")
        if "timeout" in self.kinds:
            roll, length, _, _ = self._four("timeout", task, item, nth)
            if roll < 2 * self.share:
                timeout = max(self.pace, 0.001) * (0.5 + int(length * 6) / 2)
        if "delay" in self.kinds:
            roll, length, how, _ = self._four("delay", task, item, nth)
            if roll < 2 * self.share:
                delay, by_wall = self._after(length), how < 0.4
        roll = self._four("must", task, item, nth)[0] if "must" in self.kinds else 1.0
        if roll < 2 * self.share:
            must = not must
        else:
            of_task.add("must_complete")
        return Wish(
            policy, timeout, delay, by_wall, must, lane=self.lane(task, item), of_task=frozenset(of_task)
        )

    def lane(self, task: str, item: str) -> str | None:
        """The lane of all that is submitted of an item, so that it may join; None if it is in none.

        Only what one task does is in one lane: else the first might need what comes after it.
        """
        if "lane" not in self.kinds or self._four("lane", task)[0] >= _IN_LANES:
            return None
        return f"{task} {int(2 * self._four('lane', task, item)[0])}"

    def stops(self) -> tuple[StopCall, ...]:
        """How a life is stopped before all is done; empty if it is not."""
        number, spread, _, _ = self._four("stops")
        if "stop" not in self.kinds or number < 0.3:
            return ()
        calls = []
        for nth in range(1 + int((number - 0.3) * 4)):
            when, how, length, delayed = self._four("stop", nth)
            calls.append(
                StopCall(
                    after=self._after(when) * (1 if nth or spread < 0.5 else 5),
                    drain=how < 0.4,
                    timeout=0.0 if how >= 0.9 else self._after(length) if how < 0.2 or how >= 0.7 else None,
                    delayed="cancel" if delayed < 0.3 else "wait",
                )
            )
        return tuple(calls)

    def lingering(self, task: str, item: str, nth: int) -> float | None:
        """What a handler does when it is cancelled: seconds of clean-up, or None to go on as if nothing was."""
        if "hang" not in self.kinds:
            return 0.0
        roll, length, _, _ = self._four("linger", task, item, nth)
        if roll < 0.5:
            return 0.0
        return None if roll < 0.6 else self._after(length)

    def cancels(self, task: str, item: str, nth: int) -> float | None:
        """Seconds from its submission until a work is cancelled, None for never."""
        if "cancel" not in self.kinds:
            return None
        roll, when, _, _ = self._four("cancel", task, item, nth)
        return self._after(when) if roll < self.share else None

    def leaves(self, task: str, item: str, nth: int) -> float | None:
        """Seconds from its submission until the one before it that is about the same is cancelled, None for never."""
        if "cancel" not in self.kinds or not nth:
            return None
        roll, when, _, _ = self._four("leave", task, item, nth)
        return self._after(when) if roll < 0.5 else None

    def again(self, task: str, item: str, nth: int) -> float | None:
        """Seconds from its submission until a work is submitted a second time, None for never."""
        if "again" not in self.kinds or nth:
            return None
        roll, when, _, _ = self._four("again", task, item)
        return self._after(when) if roll < self.share else None

    def away(self, service: str, seconds: float) -> float | None:
        """Whether a service is away.

        Args:
            service: Its name.
            seconds: Since the life began.

        Returns:
            Seconds until it is back, None if it is there.
        """
        if "outage" not in self.kinds:
            return None
        if service not in self._windows:
            roll, begin, length, _ = self._four("outage", service)
            begin = self._after(begin)
            self._windows[service] = (begin, begin + self.pace * (1 + 9 * length)) if roll < 0.6 else None
        window = self._windows[service]
        return window[1] - seconds if window is not None and window[0] <= seconds < window[1] else None

    def manner(self, what: str, task: str) -> Manner:
        """How the gate (`what` is "ready" or "stale") of a task is written, or the listener of an event."""
        if what in ("ready", "stale"):
            if "gate-await" not in self.kinds:
                return Manner()
        elif "listener-block" not in self.kinds:
            return Manner()
        roll, length, _, _ = self._four("manner", what, task)
        if roll < 0.4:
            return Manner()
        return Manner(is_async=True, seconds=0.0 if roll < 0.7 else self._after(length))

    def gate_raises(self, question: str, task: str, item: str, asked: int) -> bool:
        """Whether a gate raises: the first few times it is asked about a work, or always.

        Args:
            question: "ready" or "stale".
            task: The work's task.
            item: What it is about.
            asked: How often it was asked about it before.
        """
        if "gate-raise" not in self.kinds:
            return False
        roll, often, _, _ = self._four("gate-raise", question, task, item)
        return roll < self.share and asked < (1, 1, 2, 3, _FOR_EVER)[int(often * 5)]

    def blocks(self, what: str, task: str, item: str, nth: int) -> bool:
        """Whether a callback blocks this time, `what` being "ready", "stale", "priority" or a listener's event."""
        kind = "gate-block" if what in ("ready", "stale") else "listener-block"
        if (what if what == "priority" else kind) not in self.kinds:
            return False
        return self._four("block", what, task, item, nth)[0] < self.share / 2

    def listener_raises(self, event: str, task: str, item: str, nth: int) -> bool:
        """Whether a listener raises this time."""
        return (
            "listener-raise" in self.kinds
            and self._four("listener-raise", event, task, item, nth)[0] < self.share
        )

    def priority(self, task: str, item: str) -> float | None:
        """What the priority callback answers, None if it raises."""
        roll, value, _, _ = self._four("priority", task, item)
        return None if roll < self.share else value

    def change(self, name: str, nth: int) -> Change | None:
        """What becomes of an artifact that was made for the n-th time, None if it stays as it is."""
        for kind in ("vanish", "renew"):
            if kind in self.kinds:
                roll, when, told, again = self._four(kind, name, nth)
                if roll < self.share:
                    return Change(
                        kind,
                        self._after(when),
                        "untold" not in self.kinds or told < 0.5,
                        self._after(2 * again) if again < 0.5 else None,
                    )
        return None

    def death(self, events: int) -> int | None:
        """With which event the process dies, None if it lives on.

        Args:
            events: How many there will be, roughly.
        """
        if "death" not in self.kinds:
            return None
        return 1 + int(self._four("death")[0] * events)


@dataclass
class Injected:
    """What was done in one life, and what follows from it that is no fault of the scheduler.

    Attributes:
        counts: How often each kind struck.
        raised: Work units whose is_ready raised when it was asked last, with `settlements` as of then.
        stale_raised: The same for is_stale.
        async_gates: Tasks with an async gate, which is asked only while a slot is free.
        asking: How many async gates are being awaited, by service.
        awaited: Work units about which one is.
        asked_at: `changes` when is_ready was asked last, of work units whose is_stale is awaited after that.
        cancelled: Work units that were given to `cue.cancel`.
        torn: Work units whose handler's asyncio task was cancelled.
        wish: What the submission that is being made says.
        postponed: In how many seconds a handler has asked to be called again, by its work unit.
        refused: By which service's server a work unit was refused, and for how long; None: that was not said.
        spent: What handlers have said that they have spent, by their work unit.
        settlements: How many work units have settled; counted by whoever watches.
        changes: How many times an artifact has changed; likewise.
    """

    counts: Counter[str] = field(default_factory=Counter)
    raised: dict[str, int] = field(default_factory=dict)
    stale_raised: set[str] = field(default_factory=set)
    async_gates: set[str] = field(default_factory=set)
    asking: Counter[str] = field(default_factory=Counter)
    awaited: set[str] = field(default_factory=set)
    asked_at: dict[str, int] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    torn: set[str] = field(default_factory=set)
    wish: Wish = NO_WISH
    postponed: dict[str, float] = field(default_factory=dict)
    refused: dict[str, tuple[str, float | None]] = field(default_factory=dict)
    spent: Counter[str] = field(default_factory=Counter)
    settlements: int = 0
    changes: int = 0

    @property
    def blocks(self) -> bool:
        """Whether callbacks have blocked the event loop."""
        return any(self.counts[kind] for kind in ("gate-block", "listener-block", "priority"))
