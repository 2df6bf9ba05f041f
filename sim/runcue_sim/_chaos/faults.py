"""What goes wrong, by seed: whom a fault strikes, when, and how.

Lives here: the kinds of faults; `Faults`, which draws them, by name and never in turn, so that leaving one out changes
no other; `Injected`, what was really done, for those who have to tell a fault from its consequences.

Must not know: cues, event loops, how a fault is brought about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from runcue_sim._chaos.policies import FORMS, Policy
from runcue_sim._workload.luck import Luck

KINDS: Final = {
    "hang": "handlers hang, or take their time when they are cancelled",
    "raise": "handlers raise",
    "retry": "what fails is tried again, as its submission says in one of several ways",
    "postpone": "handlers ask by RetryLater to be called again",
    "timeout": "submissions bring a time-out of their own, which handlers may well reach",
    "cancel": "work units are cancelled, pending or running",
    "again": "work units are submitted a second time",
    "tear": "somebody cancels the asyncio tasks of handlers",
    "outage": "services are away for a while",
    "delay": "work units are submitted for later",
    "gate-raise": "is_ready and is_stale raise",
    "gate-block": "is_ready and is_stale block the event loop",
    "gate-await": "is_ready and is_stale are async, and some take their time",
    "priority": "a priority callback orders, raises and blocks",
    "listener-raise": "listeners raise",
    "listener-block": "listeners block the event loop, or take their time",
    "vanish": "artifacts vanish",
    "renew": "artifacts are made anew by somebody else",
    "untold": "some of these changes nobody tells of",
    "death": "the process dies, and everything is submitted again",
}
"""Each with what it means."""

BLOCK: Final = 0.2
"""Seconds for which a callback blocks."""

_WAYS_TO_RAISE: Final = ("error", "error", "error", "give up", "exit", "cancelled")
_HANG: Final = 1000.0
_FOR_EVER: Final = 1 << 30


class Blow(NamedTuple):
    """What strikes a handler.

    Attributes:
        kind: "hang", "raise", "postpone" or "tear".
        after: Seconds after it was entered.
        seconds: How long it hangs, or until it wants to be called again.
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


class Wish(NamedTuple):
    """What a submission says of when its work unit runs, and for how long.

    Attributes:
        policy: Of its retries, None for one attempt.
        timeout: Of each attempt, None for that of its task.
        delay: Seconds until it may start.
        by_wall: Whether that is said as an instant of the wall clock.
    """

    policy: Policy | None = None
    timeout: float | None = None
    delay: float = 0.0
    by_wall: bool = False


NO_WISH: Final = Wish()


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
        for kind in ("hang", "raise", "postpone", "tear"):
            if kind in self.kinds:
                roll, when, how, length = self._four(kind, task, item, nth, *again)
                if roll < self.share:
                    after = min(self._after(when), self.pace)
                    if kind == "hang":
                        return Blow(kind, after, _HANG)
                    return Blow(
                        kind, after, self._after(length), _WAYS_TO_RAISE[int(how * len(_WAYS_TO_RAISE))]
                    )
        return None

    def wish(self, task: str, item: str, nth: int) -> Wish:
        """What a submission says of when its work unit runs."""
        policy, timeout, delay, by_wall = None, None, 0.0, False
        if "retry" in self.kinds:
            # By task: those who join each other must not differ in it.
            attempts, initial, form, skipped = self._four("retry", task)
            if attempts < 0.9:
                policy = Policy(
                    FORMS[int(form * len(FORMS))],
                    attempts=2 + int(attempts * 4),
                    initial=self._after(initial),
                    maximum=self.pace * 4,
                    is_exit_final=skipped < 0.5,
                )
        if "timeout" in self.kinds:
            roll, length, _, _ = self._four("timeout", task, item, nth)
            if roll < 2 * self.share:
                timeout = max(self.pace, 0.001) * (0.5 + int(length * 6) / 2)
        if "delay" in self.kinds:
            roll, length, how, _ = self._four("delay", task, item, nth)
            if roll < 2 * self.share:
                delay, by_wall = self._after(length), how < 0.4
        return Wish(policy, timeout, delay, by_wall)

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
    settlements: int = 0
    changes: int = 0
