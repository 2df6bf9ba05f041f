"""Each promise, told to the checker by hand: a history that breaks it is found, one that keeps it is not."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

import runcue
from runcue.testing import run
from runcue_sim._chaos.allowances import Allowances
from runcue_sim._chaos.checker import Checker
from runcue_sim._chaos.faults import Injected, StopCall
from runcue_sim._chaos.hearing import listen
from runcue_sim._chaos.invariants import INVARIANTS, Duty, Limits, duties_of, limits_of
from runcue_sim._chaos.policies import Policy
from runcue_sim._chaos.regimes import NO_REGIME, Allowance, Regime
from runcue_sim._chaos.wishes import Wish

# "make x" proves x/made; "read x" needs that and proves x/read; "opaque x" does so too, but declares nothing.
# Others need nothing, and prove what they are called.
NEEDS = {"make": (), "read": ("made",), "opaque": ("made",)}
PROVES = {"make": ("made",), "read": ("read",), "opaque": ("read",)}
SERVICES = {
    "api": Limits(concurrent=2, starts=3, period=1.0),
    "wide": Limits(),
    "one": Limits(concurrent=1),
    "metered": Limits(),
    "fragile": Limits(),
    "shared": Limits(concurrent=1),
    "windowed": Limits(starts=2, period=1.0, further=(3, 5.0)),
}
REGIMES = dict.fromkeys(SERVICES, NO_REGIME) | {
    "metered": Regime(budget=Allowance(4, 1.0)),
    "fragile": Regime(failures=2, cooldown=5.0),
    "shared": Regime(keys=2),
}
TASKS = {
    "both": Duty(("one", "wide")),
    "lone": Duty(("one",)),
    "make": Duty(("api",)),
    "read": Duty(("api",)),
    "opaque": Duty(("api",), declared=False),
    "slow": Duty(("one",), timeout=2.0),
    "plain": Duty(("one",), is_plain=True),
    "free": Duty(("wide",)),
    "meter": Duty(("metered",)),
    "frail": Duty(("fragile",)),
    "share": Duty(("shared",)),
    "window": Duty(("windowed",)),
}

Step = tuple[Any, ...]


class Story:
    """A checker and a world, to which steps are told: a method of the checker and its arguments, or one of these."""

    def __init__(self) -> None:
        self.made: dict[str, int] = {}
        self.injected = Injected()
        self.allowances = Allowances(REGIMES)
        self.checker = Checker(
            SERVICES,
            TASKS,
            lambda task, item: tuple(f"{item}/{name}" for name in NEEDS.get(task, ())),
            lambda task, item: tuple(f"{item}/{name}" for name in PROVES.get(task, (task,))),
            self.made,
            self.injected,
            self.allowances,
        )
        self.versions = 0

    def found(self, steps: list[Step]) -> str | None:
        for name, *args in steps:
            how = args.pop() if name == "stop" else {}
            (getattr(self, name, None) or getattr(self.checker, name))(*args, **how)
        violation = self.checker.violation
        return None if violation is None else violation.invariant

    def there(self, now: float, name: str) -> None:
        self.make(now, name)
        self.checker.told(name)

    def make(self, now: float, name: str) -> None:
        self.versions += 1
        self.made[name] = self.versions
        self.checker.changed(now, name)

    def spoil(self, now: float, name: str) -> None:
        del self.made[name]
        self.checker.changed(now, name)

    def run(self, began: float, id: str, ended: float) -> None:
        """A handler runs, and its work completes."""
        self.checker.started(began, id)
        self.left(id, ended)
        self.checker.completed(ended, id)

    def left(self, id: str, now: float = 0.0) -> None:
        self.checker.left(now, id)

    def fail(self, now: float, id: str, error: BaseException, expected: bool) -> None:
        self.checker.failed(now, id, error, expected=expected)

    def excuse(self, what: str, *value: Any) -> None:
        known = getattr(self.injected, what)
        if isinstance(known, dict):
            known[value[0]] = value[1]
        else:
            known.add(value[0])

    def wish(self, wish: dict[str, Any]) -> None:
        """What the next submissions say."""
        self.injected.wish = Wish(**wish)

    def wish_for(self, seconds: float, attempts: int = 2) -> None:
        self.wish({"policy": Policy("Retry", attempts, seconds, 60.0, is_exit_final=True)})

    def goes_back(self, now: float, id: str, delay: float, error: BaseException | None = None) -> None:
        """An attempt is over, and its handler has returned."""
        self.left(id, now)
        if error is None:
            self.injected.postponed[id] = delay
            self.checker.put_back(now, id, "postponed", delay)
        else:
            self.checker.attempt_failed(id, error)
            self.checker.put_back(now, id, "failed", delay)

    def refuse(self, now: float, id: str, seconds: float | None, longer: float = 0.0) -> None:
        """A server has refused it, and it stays away for longer; None: it did not say for how long."""
        self.left(id, now)
        self.injected.refused[id] = "api", seconds
        self.checker.put_back(now, id, "throttled", (seconds or 0.0) + longer)

    def count_block(self) -> None:
        """Callbacks block the loop."""
        self.injected.counts["listener-block"] += 1

    def cost(self, amount: int) -> None:
        """What the next submissions take of budgets."""
        self.wish({"cost": amount})

    def spend(self, id: str, amount: int) -> None:
        self.injected.spent[id] += amount

    def halted(self, place: str, until: float) -> None:
        self.allowances.halted(place, until)

    def resumed(self, service: str) -> None:
        self.allowances.resumed(service, service)

    def budget(self, service: str, limit: int) -> None:
        self.allowances.set_budget(service, limit)

    def slots(self, service: str, concurrent: int) -> None:
        limits = self.checker.observed.limits[service]
        self.checker.observed.set_limits(service, limits._replace(concurrent=concurrent))

    def breaks(self, began: float, id: str, ended: float) -> None:
        """A handler fails, and its work unit with it."""
        self.checker.started(began, id)
        self.left(id, ended)
        self.fail(ended, id, ERROR, expected=True)

    def awaiting(self, service: str) -> None:
        self.injected.asking[service] += 1

    def stop(self, now: float, **how: Any) -> None:
        self.checker.stopping(now, StopCall(0.0, **how))

    def end(self, now: float, counts: dict[str, int] | None = None, left: list[str] | None = None) -> None:
        self.checker.ended(now, counts or {}, left or ())

    def start_as(self, now: float, id: str, resumes: bool) -> None:
        self.checker.started(now, id, resumes=resumes)

    def finish(self, *everything: str) -> None:
        self.checker.finished(everything, self.made)


def submitted(*works: str, at: float = 0.0) -> list[Step]:
    """Submissions of "task item", with the ids 1, 2 and so on."""
    return [("submitted", at, str(number), *work.split()) for number, work in enumerate(works, 1)]


MAKE_4 = submitted("make a", "make b", "make c", "make d")
THREE_RUN = [("run", 0.0, "1", 0.1), ("run", 0.1, "2", 0.2), ("run", 0.2, "3", 0.3)]
A_IS_MADE = ("there", 0.0, "a/made")
A_IS_READ = ("there", 0.0, "a/read")
MADE_A = ("completed", 1.0, "1")
ERROR = ValueError("on its own account")
LATE = runcue.WorkTimeout("late")

RETRIED = [
    ("wish_for", 5.0),
    *submitted("make a"),
    ("started", 0.0, "1"),
    ("goes_back", 1.0, "1", 5.0, ERROR),
]
LATER = [*submitted("make a"), ("started", 0.0, "1"), ("goes_back", 1.0, "1", 5.0)]
# Of "make", which uses "api".
REFUSED = [*submitted("make a", "make b"), ("started", 0.0, "1"), ("refuse", 1.0, "1", 5.0)]
REFUSED_TWICE = [*REFUSED, ("started", 6.0, "1"), ("refuse", 7.0, "1", 5.0)]
DELAYED = [("wish", {"delay": 5.0}), *submitted("make a")]
IN_A_LANE = [("wish", {"lane": "x"}), *submitted("free a", "free b")]
MUST = {"must_complete": True}
FINISH = {"drain": False}
# Who makes something, and who needs that, and must complete.
NEEDED = [*submitted("make a"), ("wish", MUST), ("submitted", 0.0, "2", "read", "a")]
# Two that must complete and use one slot, which a plain handler keeps that has run out of time, until a stop cuts off.
KEEPS_ITS_SLOT = [
    ("wish", {**MUST, "timeout": 1.0}),
    *submitted("plain a", "lone b"),
    ("started", 0.0, "1"),
    ("stop", 0.5, {**FINISH, "timeout": 1.0}),
    ("look", 0.5),
    ("fail", 1.0, "1", LATE, False),
    ("look", 1.0),
]
# Who must complete is tried again after a stop that lets nothing more start, and who need not has joined it.
JOINS_WHAT_MUST = [
    ("wish", {**MUST, "policy": Policy("Retry", 2, 5.0, 60.0, is_exit_final=True)}),
    *submitted("make a"),
    ("wish", {}),
    ("submitted", 0.0, "2", "make", "a"),
    ("started", 0.0, "1"),
    ("stop", 0.5, FINISH),
    ("goes_back", 1.0, "1", 5.0, ERROR),
    ("look", 1.0),
]
ENDLESS = [
    ("wish", {"policy": Policy("Retry", -1, 5.0, 60.0, is_exit_final=True)}),
    *submitted("make a"),
    ("started", 0.0, "1"),
    ("goes_back", 1.0, "1", 5.0, ERROR),
]
BOUNDED = [
    ("wish", {"policy": Policy("Retry", 3, 2.0, 60.0, is_exit_final=True, timeout=4.0)}),
    *submitted("make a"),
    ("started", 0.0, "1"),
    ("goes_back", 1.0, "1", 2.0, ERROR),
]
# One that waits for its next attempt, and another one that has joined it.
FOLLOWED = [*RETRIED[:2], ("submitted", 0.0, "2", "make", "a"), *RETRIED[2:]]
LEADER_LEAVES = [("excuse", "cancelled", "1"), ("cancelled", 2.0, "1")]

OVER = [("left", "1"), ("completed", 0.1, "1")]
LINGERS = [("excuse", "cancelled", "1"), ("cancelled", 0.1, "1")]
METERED = [("cost", 3), *submitted("meter a", "meter b", "meter c")]
BROKE_TWICE = [
    *submitted("frail a", "frail b", "frail c"),
    ("breaks", 0.0, "1", 0.1),
    ("breaks", 0.1, "2", 0.2),
]

# Two in a lane that may be for later or not, as callbacks block, when a stop has given its time to what can run.
DELAYED_IN_A_LANE = [
    ("count_block",),
    ("wish", {"lane": "x", "delay": 1.0}),
    *submitted("free a"),
    ("wish", {"lane": "x"}),
    ("submitted", 0.0, "2", "free", "b"),
    ("excuse", "raised", "1", 0),
    ("stop", 2.0, {"delayed": "cancel"}),
    ("look", 3.0),
]

BROKEN: dict[str, tuple[str, list[Step]]] = {
    "a start while another one of its lane is at work": (
        "lane",
        [*IN_A_LANE, ("started", 0.0, "1"), ("started", 0.0, "2")],
    ),
    "a start before what comes first in its lane": ("lane", [*IN_A_LANE, ("started", 0.0, "2")]),
    "an attempt before its time": ("early", [*RETRIED, ("started", 5.9, "1")]),
    "a start again of what asked for later, before its time": ("early", [*LATER, ("started", 5.9, "1")]),
    "a start of what is for later, before its time": ("early", [*DELAYED, ("started", 4.9, "1")]),
    "an attempt that does not come when it could": ("prompt", [*RETRIED, ("look", 5.9), ("look", 6.0)]),
    "what is for later does not come when it could": ("prompt", [*DELAYED, ("look", 4.9), ("look", 5.0)]),
    "a second start of an attempt": ("once", [*RETRIED, ("started", 6.0, "1"), ("started", 6.0, "1")]),
    "an attempt while the handler of the last is at work": (
        "once",
        [*RETRIED[:-1], ("attempt_failed", "1", ERROR), ("put_back", 1.0, "1", "failed", 5.0)],
    ),
    "an attempt after another time than was asked for": (
        "attempts",
        [*RETRIED[:-1], ("goes_back", 1.0, "1", 4.0, ERROR)],
    ),
    "a start that takes more of a budget than is left": (
        "budget",
        [*METERED, ("run", 0.0, "1", 0.1), ("started", 0.9, "2")],
    ),
    "a start while something is owed to a budget": (
        "budget",
        [*METERED, ("started", 0.0, "1"), ("spend", "1", 7), *OVER, ("started", 1.0, "2")],
    ),
    "a start beside one that was cancelled and is still at work": (
        "budget",
        [*METERED, ("started", 0.0, "1"), *LINGERS, ("started", 0.5, "2")],
    ),
    "a start that takes more than is left by one that was cancelled and went on": (
        "budget",
        [
            *METERED,
            ("started", 0.0, "1"),
            *LINGERS,
            ("spend", "1", 2),
            ("left", "1", 0.4),
            ("started", 0.5, "2"),
        ],
    ),
    "a start that takes more than a budget that has become smaller": (
        "budget",
        [*METERED, ("run", 0.0, "1", 0.1), ("budget", "metered", 2), ("started", 0.9, "2")],
    ),
    "a start while a service is paused by hand": (
        "paused",
        [*submitted("make a"), ("halted", "api", 5.0), ("started", 4.9, "1")],
    ),
    "a start of a key that is paused until it is resumed": (
        "paused",
        [*submitted("share a"), ("halted", "shared/1", inf), ("started", 4.9, "1")],
    ),
    "a start that does not come when a pause is over": (
        "prompt",
        [*submitted("make a"), ("halted", "api", 5.0), ("look", 4.9), ("look", 5.0)],
    ),
    "a start while a breaker is open": ("broken", [*BROKE_TWICE, ("started", 5.1, "3")]),
    "one that stays away for longer after two refusals": (
        "attempts",
        [*REFUSED, ("started", 6.0, "1"), ("refuse", 7.0, "1", 5.0, 5.0)],
    ),
    "one that stays away for much longer after three": (
        "attempts",
        [*REFUSED_TWICE, ("run", 12.0, "2", 12.1), ("started", 13.0, "1"), ("refuse", 14.0, "1", 5.0, 11.0)],
    ),
    "a start beside one that was let through by a breaker": (
        "broken",
        [
            *BROKE_TWICE,
            ("wish", {"timeout": 9.0}),
            ("submitted", 0.2, "4", "frail", "d"),
            ("started", 5.2, "4"),
            ("started", 10.7, "3"),
        ],
    ),
    "a start that does not come when a cooldown is over": (
        "prompt",
        [*BROKE_TWICE, ("look", 5.1), ("look", 5.3)],
    ),
    "a start that waits for a slot of another key": (
        "prompt",
        [*submitted("share a", "share b"), ("started", 0.0, "1"), ("look", 0.0)],
    ),
    "one start too many of a key": (
        "slots",
        [*submitted("share a", "share c"), ("started", 0.0, "1"), ("started", 0.0, "2")],
    ),
    "a start too many in the second window": (
        "rate",
        [
            *submitted("window a", "window b", "window c", "window d"),
            ("run", 0.0, "1", 0.0),
            ("run", 1.0, "2", 1.0),
            ("run", 2.0, "3", 2.0),
            ("started", 4.9, "4"),
        ],
    ),
    "a start too many for slots that have become fewer": (
        "slots",
        [*submitted("make a", "make b"), ("started", 0.0, "1"), ("slots", "api", 1), ("started", 0.0, "2")],
    ),
    "an attempt after the last": (
        "attempts",
        [*RETRIED, ("started", 6.0, "1"), ("goes_back", 7.0, "1", 10.0, ERROR)],
    ),
    "an attempt that still waits for its gate when no more may begin": (
        "attempts",
        [*BOUNDED, ("excuse", "awaited", "1"), ("look", 4.1)],
    ),
    "an attempt that nobody asked for": (
        "attempts",
        [*submitted("make a"), ("started", 0.0, "1"), ("goes_back", 1.0, "1", 5.0, ERROR)],
    ),
    "an attempt with the number of the last": ("attempts", [*RETRIED, ("started", 6.0, "1", 1)]),
    "a start again that is told to be a new attempt": (
        "attempts",
        [*LATER, ("start_as", 6.0, "1", False)],
    ),
    "a failure with an attempt to come": (
        "attempts",
        [*RETRIED[:-1], ("left", "1"), ("fail", 1.0, "1", ERROR, True)],
    ),
    "a later that no handler has asked for": (
        "attempts",
        [
            *submitted("make a"),
            ("started", 0.0, "1"),
            ("left", "1"),
            ("put_back", 1.0, "1", "postponed", 5.0),
        ],
    ),
    "a start before a server that has refused another one wants to be asked again": (
        "refused",
        [*REFUSED, ("started", 2.0, "2")],
    ),
    "a start before the end of a pause of which nobody has said how long it is, while callbacks block": (
        "refused",
        [
            ("count_block",),
            *REFUSED,
            ("started", 6.0, "1"),
            ("refuse", 7.0, "1", None, 1.0),
            ("started", 7.9, "2"),
        ],
    ),
    "a start beside the one that goes first": (
        "refused",
        [*REFUSED, ("started", 6.0, "1"), ("entered", 6.0, "1"), ("started", 7.0, "2")],
    ),
    "one that is put back as refused, and was not": (
        "attempts",
        [
            *submitted("make a"),
            ("started", 0.0, "1"),
            ("left", "1"),
            ("put_back", 1.0, "1", "throttled", 5.0),
        ],
    ),
    "a stop that cancels what was submitted for later before it": (
        "cause",
        [*DELAYED, ("stopping", 0.0), ("cancelled", 1.0, "1")],
    ),
    "a stop that does not list what it leaves": (
        "left",
        [*LATER, ("stopping", 0.0), ("cancelled", 2.0, "1"), ("end", 2.0, {"cancelled": 1})],
    ),
    "a drain that leaves what is for later": ("drained", [*DELAYED, ("drained", 1.0)]),
    "a drain that leaves what waits for its next attempt": ("drained", [*RETRIED, ("drained", 2.0)]),
    "a stop that cancels what waits for its next attempt": (
        "cause",
        [*RETRIED, ("cancelled", 2.0, "1")],
    ),
    "a handler that is waited for longer than as much time again": (
        "timeout",
        [
            ("wish_for", 5.0),
            *submitted("slow a"),
            ("started", 0.0, "1"),
            ("look", 2.0),
            ("look", 3.9),
            ("look", 4.0),
        ],
    ),
    "a timeout of a submission that does not strike": (
        "timeout",
        [("wish", {"timeout": 1.0}), *submitted("slow a"), ("started", 0.0, "1"), ("look", 1.0)],
    ),
    "a stop that leaves what has an end": (
        "left",
        [*RETRIED, ("stopping", 0.0), ("end", 2.0, {}, ["1"])],
    ),
    "a start after a stop that lets nothing more start": (
        "stopped",
        [*submitted("make a"), ("stop", 0.0, FINISH), ("started", 0.0, "1")],
    ),
    "what waits is not cancelled when the time of a stop is over": (
        "stopped",
        [
            *submitted("lone a", "lone b"),
            ("started", 0.0, "1"),
            ("stop", 0.0, {"timeout": 1.0}),
            ("cancelled", 1.0, "1"),
            ("look", 1.0),
            ("look", 1.1),
        ],
    ),
    "what runs is cancelled by a stop that lets it go on": (
        "stopped",
        [*submitted("make a"), ("started", 0.0, "1"), ("stop", 0.5, FINISH), ("cancelled", 0.5, "1")],
    ),
    "what waits is not cancelled by a stop that lets nothing more start": (
        "stopped",
        [*submitted("read a"), ("stop", 0.5, FINISH), ("look", 0.5)],
    ),
    "what runs is not cancelled when the time of a stop is over": (
        "stopped",
        [
            *submitted("make a"),
            ("started", 0.0, "1"),
            ("stop", 0.5, {"timeout": 1.0}),
            ("look", 1.5),
            ("look", 1.6),
        ],
    ),
    "what must complete is cut off while it runs": (
        "stopped",
        [
            ("wish", MUST),
            *submitted("make a"),
            ("started", 0.0, "1"),
            ("stop", 0.5, {"timeout": 1.0}),
            ("cancelled", 1.5, "1"),
        ],
    ),
    "what must complete is cancelled though it could run": (
        "drained",
        [
            ("wish", MUST),
            *submitted("make a", "make b", "make c"),
            ("started", 0.0, "1"),
            ("started", 0.0, "2"),
            ("look", 0.0),
            ("stop", 0.5, FINISH),
            ("look", 0.5),
            ("cancelled", 1.0, "3"),
        ],
    ),
    "who makes what that needs is cancelled though it could run": (
        "drained",
        [
            *NEEDED,
            ("awaiting", "api"),
            ("awaiting", "api"),
            ("look", 0.0),
            ("stop", 0.0, FINISH),
            ("cancelled", 0.5, "1"),
        ],
    ),
    "what need not complete is tried again after a stop that lets nothing more start": (
        "stopped",
        [*RETRIED[:-1], ("stop", 0.5, FINISH), ("goes_back", 1.0, "1", 5.0, ERROR)],
    ),
    "who takes the place of what must complete waits for its turn after a stop that lets nothing more start": (
        "stopped",
        [*JOINS_WHAT_MUST, ("excuse", "cancelled", "1"), ("cancelled", 2.0, "1"), ("look", 2.0)],
    ),
    "who takes the place of what must complete runs on when the time of a stop is over": (
        "stopped",
        [
            *JOINS_WHAT_MUST[:5],
            ("stop", 0.5, {"timeout": 1.0}),
            ("look", 1.6),
            ("excuse", "cancelled", "1"),
            ("cancelled", 2.0, "1"),
            ("look", 2.0),
        ],
    ),
    "a stop that waits for nothing takes too long": (
        "stopped",
        [
            *submitted("make a"),
            ("started", 0.0, "1"),
            ("stop", 0.5, {"timeout": 0.0}),
            ("cancelled", 0.5, "1"),
            ("end", 1.6, {"cancelled": 1}),
        ],
    ),
    "what is tried without end is tried again while the cue stops": (
        "left",
        [*ENDLESS, ("stopping", 2.0), ("started", 6.0, "1")],
    ),
    "what is tried without end is not listed": (
        "left",
        [*ENDLESS, ("stopping", 2.0), ("cancelled", 2.0, "1"), ("end", 2.0, {"cancelled": 1})],
    ),
    "what is for later is not listed although whoever stops does not wait for it": (
        "left",
        [
            *DELAYED,
            ("stop", 1.0, {"delayed": "cancel"}),
            ("cancelled", 1.0, "1"),
            ("end", 1.0, {"cancelled": 1}),
        ],
    ),
    "an attempt after the time for all of them": ("attempts", [*BOUNDED, ("started", 4.1, "1")]),
    "an attempt that cannot come in time any more is waited for": (
        "attempts",
        [*BOUNDED, ("awaiting", "api"), ("awaiting", "api"), ("look", 3.9), ("look", 4.0)],
    ),
    "a failure of what does not run": ("cause", [*BOUNDED, ("fail", 3.9, "1", ERROR, True)]),
    "a successor that begins before the instant of the one in whose place it is": (
        "early",
        [*FOLLOWED, *LEADER_LEAVES, ("started", 5.9, "2")],
    ),
    "a successor that does not begin when the one in whose place it is would have": (
        "prompt",
        [*FOLLOWED, *LEADER_LEAVES, ("look", 5.9), ("look", 6.0)],
    ),
    "a successor that begins with the first attempt": (
        "attempts",
        [*FOLLOWED, *LEADER_LEAVES, ("started", 6.0, "2", 1)],
    ),
    "a start too early by the rate": ("rate", [*MAKE_4, *THREE_RUN, ("started", 0.9, "4")]),
    "a start too early after handlers that were entered late": (
        "rate",
        [
            *MAKE_4,
            ("started", 0.0, "1"),
            ("entered", 0.2, "1"),
            ("left", "1"),
            ("completed", 0.2, "1"),
            ("run", 0.2, "2", 0.3),
            ("run", 0.3, "3", 0.4),
            ("started", 1.1, "4"),
        ],
    ),
    "a start without the second of its services": (
        "slots",
        [*submitted("both a", "slow b"), ("started", 0.0, "1"), ("started", 0.0, "2")],
    ),
    "a start of another while one has not found two services free for less than a minute": (
        "prompt",
        [*submitted("lone a", "both b", "free c"), ("started", 0.0, "1"), ("look", 59.0)],
    ),
    "a third start in two slots": (
        "slots",
        [*MAKE_4, ("started", 0.0, "1"), ("started", 0.0, "2"), ("started", 0.1, "3")],
    ),
    "a start while a cancelled handler still cleans up": (
        "slots",
        [
            *submitted("slow a", "slow b"),
            ("started", 0.0, "1"),
            ("excuse", "cancelled", "1"),
            ("cancelled", 0.5, "1"),
            ("started", 0.5, "2"),
        ],
    ),
    "a start without what is needed": ("ready", [*submitted("read a"), ("started", 0.0, "1")]),
    "a start without what is needed and not declared": (
        "ready",
        [*submitted("opaque a"), ("started", 0.0, "1")],
    ),
    "a start without what was there and has vanished": (
        "ready",
        [A_IS_MADE, *submitted("read a"), ("spoil", 0.0, "a/made"), ("started", 0.0, "1")],
    ),
    "a start before what it needs is made anew": (
        "ready",
        [A_IS_MADE, *submitted("read a", "make a"), ("started", 0.0, "1")],
    ),
    "a start of what is proved": ("twice", [A_IS_MADE, *submitted("make a"), ("started", 0.0, "1")]),
    "a start of what is proved by something newer than what it needs": (
        "twice",
        [A_IS_MADE, A_IS_READ, *submitted("read a"), ("started", 0.0, "1")],
    ),
    "a start of what is proved, without a declaration": (
        "twice",
        [A_IS_READ, A_IS_MADE, *submitted("opaque a"), ("started", 0.0, "1")],
    ),
    "an is_stale that raises does not excuse what is declared": (
        "twice",
        [A_IS_MADE, *submitted("make a"), ("excuse", "stale_raised", "1"), ("started", 0.0, "1")],
    ),
    "two starts of one work": (
        "once",
        [*submitted("make a"), ("started", 0.0, "1"), ("left", "1"), ("started", 0.1, "1")],
    ),
    "two ends of one work": (
        "once",
        [*submitted("make a"), ("run", 0.0, "1", 0.1), ("completed", 0.1, "1")],
    ),
    "two different ends of one work": (
        "once",
        [*submitted("make a"), ("run", 0.0, "1", 0.1), ("cancelled", 0.1, "1")],
    ),
    "a start after the end": (
        "once",
        [A_IS_MADE, *submitted("make a"), ("skipped", 0.0, "1"), ("started", 0.1, "1")],
    ),
    "an end without a start": ("once", [*submitted("make a"), MADE_A]),
    "a skip of what nobody has made": ("unproved", [*submitted("make a"), ("skipped", 0.0, "1")]),
    "a skip of what is older than what it was made from": (
        "unproved",
        [A_IS_READ, A_IS_MADE, *submitted("read a"), ("skipped", 0.0, "1")],
    ),
    "a skip after the start": ("once", [*submitted("make a"), ("started", 0.0, "1"), ("skipped", 0.1, "1")]),
    "one id for two work units": ("once", [*submitted("make a"), *submitted("make b")]),
    "a start of nobody knows what": ("once", [("started", 0.0, "1")]),
    "a work that never ends": ("once", [*submitted("make a"), ("started", 0.0, "1"), ("end", 1.0)]),
    "a wrong summary": (
        "once",
        [*submitted("make a"), ("run", 0.0, "1", 0.1), ("end", 1.0, {"completed": 2})],
    ),
    "a failure that nobody asked for": (
        "cause",
        [*submitted("make a"), ("started", 0.0, "1"), ("fail", 0.1, "1", ERROR, False)],
    ),
    "a cancellation that nobody asked for": ("cause", [*submitted("make a"), ("cancelled", 0.0, "1")]),
    "a cancellation that somebody asked of another one": (
        "cause",
        [*submitted("make a", "make b"), ("excuse", "cancelled", "2"), ("cancelled", 0.0, "1")],
    ),
    "a work that could start and does not": ("prompt", [*submitted("make a"), ("look", 0.0)]),
    "a work without any limits": ("prompt", [*submitted("free a"), ("look", 0.0)]),
    "a work whose slot is free again": (
        "prompt",
        [
            *submitted("slow a", "slow b"),
            ("started", 0.0, "1"),
            ("look", 0.0),
            ("left", "1"),
            MADE_A,
            ("look", 1.0),
        ],
    ),
    "a work whose token is back": ("prompt", [*MAKE_4, *THREE_RUN, ("look", 0.9), ("look", 1.0)]),
    "a work whose input was made and told of": (
        "prompt",
        [*submitted("read a"), ("look", 0.0), ("there", 1.0, "a/made"), ("look", 1.0)],
    ),
    "a work whose input is there although its maker has failed": (
        "prompt",
        [
            *submitted("make a", "read a"),
            ("started", 0.0, "1"),
            ("there", 0.5, "a/made"),
            ("look", 0.5),
            ("left", "1"),
            ("fail", 1.0, "1", ERROR, True),
            ("look", 1.0),
        ],
    ),
    "a work that is held back for too long": (
        "prompt",
        [
            *submitted("free a", "free b"),
            ("started", 0.0, "1"),
            ("excuse", "torn", "1"),
            ("left", "1"),
            ("cancelled", 0.0, "1"),
            ("look", 0.0),
            ("look", 0.04),
            ("look", 0.05),
        ],
    ),
    "an excuse that is another one's": (
        "prompt",
        [*submitted("make a", "free b"), ("excuse", "raised", "1", 0), ("look", 0.0)],
    ),
    "what was up to date is not skipped though no slot is free": (
        "skipped",
        [
            ("there", 0.0, "b/slow"),
            *submitted("slow a", "slow b"),
            ("started", 0.0, "1"),
            ("look", 0.0),
        ],
    ),
    "a handler that outlives its timeout": (
        "timeout",
        [*submitted("slow a"), ("started", 0.0, "1"), ("look", 1.9), ("look", 2.0)],
    ),
    "a timeout that strikes too early": (
        "timeout",
        [
            *submitted("slow a"),
            ("started", 0.0, "1"),
            ("entered", 0.5, "1"),
            ("fail", 2.4, "1", LATE, False),
        ],
    ),
    "a drain that leaves what could run": (
        "drained",
        [*submitted("read a"), ("make", 0.5, "a/made"), ("look", 0.5), ("drained", 1.0)],
    ),
    "a drain that leaves what is up to date": (
        "drained",
        [
            *submitted("read a"),
            ("make", 0.5, "a/made"),
            ("make", 0.5, "a/read"),
            ("look", 0.5),
            ("drained", 1.0),
        ],
    ),
    "a drain that has not asked again what raised": (
        "drained",
        [
            *submitted("make a", "make b"),
            ("excuse", "raised", "1", 0),
            ("run", 0.0, "2", 0.5),
            ("look", 0.5),
            ("drained", 1.0),
        ],
    ),
    "a stop that cancels what could run": (
        "drained",
        [
            *submitted("read a"),
            ("make", 0.5, "a/made"),
            ("look", 0.5),
            ("stopping", 0.0),
            ("cancelled", 1.0, "1"),
        ],
    ),
    "a stop that cancels what came before one that it may have left, in their lane": (
        "drained",
        [
            *submitted("make m"),
            ("wish", {"lane": "x"}),
            ("submitted", 0.0, "2", "free", "a"),
            ("wish", {"lane": "x", "delay": 1.0}),
            ("submitted", 0.0, "3", "free", "b"),
            ("excuse", "raised", "2", 0),
            ("run", 0.0, "1", 1.0),
            ("count_block",),
            ("stop", 2.0, {"delayed": "cancel"}),
            ("look", 3.0),
            ("cancelled", 3.0, "3"),
            ("cancelled", 3.0, "2"),
        ],
    ),
    "a stop that does not ask what was behind one that it may have left, in their lane": (
        "drained",
        [
            *DELAYED_IN_A_LANE,
            ("excuse", "raised", "1", 0),
            ("cancelled", 3.0, "1"),
            ("excuse", "raised", "2", 0),
            ("look", 3.0),
            ("cancelled", 4.0, "2"),
        ],
    ),
    "a start before a stop has cut off a plain handler that has run out of time": (
        "slots",
        [*KEEPS_ITS_SLOT, ("started", 1.4, "2")],
    ),
    "something that is missing in the end": (
        "lost",
        [*submitted("make a"), ("run", 0.0, "1", 0.1), ("end", 1.0, {"completed": 1}), ("finish", "a/made")],
    ),
}

KEPT: dict[str, list[Step]] = {
    "starts as a budget allows": [
        *METERED,
        ("started", 0.0, "1"),
        ("spend", "1", 1),
        *OVER,
        ("run", 0.2, "2", 0.3),
        ("look", 0.3),
        ("started", 1.2, "3"),
    ],
    "a start when one that was cancelled and went on has spent less than was reserved": [
        *METERED,
        ("started", 0.0, "1"),
        *LINGERS,
        ("spend", "1", 1),
        ("left", "1", 0.4),
        ("started", 0.5, "2"),
    ],
    "a start that waits for what one has spent that was cancelled and went on": [
        *METERED,
        ("started", 0.0, "1"),
        *LINGERS,
        ("look", 8.0),
        ("spend", "1", 7),
        ("left", "1", 8.0),
        ("look", 8.5),
        ("started", 9.0, "2"),
    ],
    "a start when what was owed is paid": [
        *METERED,
        ("started", 0.0, "1"),
        ("spend", "1", 7),
        *OVER,
        ("look", 1.9),
        ("run", 2.0, "2", 2.1),
    ],
    "a start when somebody has resumed what was paused": [
        *submitted("make a"),
        ("halted", "api", inf),
        ("look", 1.0),
        ("resumed", "api"),
        ("started", 1.0, "1"),
    ],
    "a drain that leaves what is paused without an end": [
        *submitted("make a"),
        ("halted", "api", inf),
        ("look", 1.0),
        ("drained", 1.0),
    ],
    "a start after the cooldown": [*BROKE_TWICE, ("look", 5.1), ("started", 5.2, "3")],
    "a start after a cooldown that a time-out may have begun": [
        *submitted("frail a", "frail b", "frail c", "frail d"),
        ("started", 0.0, "1"),
        ("started", 0.0, "2"),
        ("started", 0.0, "3"),
        ("fail", 0.1, "1", LATE, True),
        ("left", "2"),
        ("fail", 0.2, "2", ERROR, True),
        ("left", "3"),
        ("fail", 0.3, "3", ERROR, True),
        ("look", 5.1),
        ("started", 5.2, "4"),
    ],
    "a handler that has as much time again, of whose time-out nobody could look in time": [
        ("wish", {"timeout": 2.0, "policy": Policy("Retry", 2, 1.0, 60.0, is_exit_final=True, timeout=3.5)}),
        *submitted("make a"),
        ("started", 0.0, "1"),
        ("look", 3.0),
        ("goes_back", 3.2, "1", 0.0, LATE),
        ("started", 3.2, "1"),
    ],
    "another attempt that a breaker keeps since a time-out of which nobody has heard": [
        ("wish_for", 2.0),
        *submitted("frail a"),
        ("wish", {"timeout": 2.0, "policy": Policy("Retry", 2, 9.0, 60.0, is_exit_final=True)}),
        ("submitted", 0.0, "2", "frail", "b"),
        ("started", 0.0, "1"),
        ("started", 0.05, "2"),
        ("goes_back", 0.1, "1", 2.0, ERROR),
        ("look", 2.1),
        ("goes_back", 2.2, "2", 8.9, LATE),
        ("look", 7.0),
        ("started", 7.2, "1"),
    ],
    "a start beside one that was let through by a breaker and has run out of time": [
        *BROKE_TWICE,
        ("wish", {"timeout": 0.5}),
        ("submitted", 0.2, "4", "frail", "d"),
        ("started", 5.2, "4"),
        ("started", 10.7, "3"),
    ],
    "one that a breaker holds that two unheard time-outs have opened": [
        ("wish", {"timeout": 0.5, "policy": Policy("Retry", 2, 5.0, 60.0, is_exit_final=True)}),
        *submitted("frail a", "frail b"),
        ("started", 0.0, "1"),
        ("started", 0.0, "2"),
        ("submitted", 0.5, "3", "frail", "c"),
        ("look", 0.5),
    ],
    "a stop that cancels what a breaker holds that an unheard time-out has opened": [
        ("wish", {"timeout": 0.5}),
        ("slots", "fragile", 2),
        *submitted("frail a", "frail b", "frail c"),
        ("started", 0.0, "1"),
        ("started", 0.0, "2"),
        ("look", 0.4),
        ("stopping", 0.4),
        ("cancelled", 0.5, "3"),
    ],
    "one that is refused for nobody knows how long in a pause, and does not prolong it while callbacks block": [
        ("count_block",),
        *submitted("make a", "make b"),
        ("started", 0.0, "1"),
        ("started", 0.0, "2"),
        ("refuse", 1.0, "2", 5.0),
        ("refuse", 5.5, "1", None, 2.0),
        ("started", 6.0, "2"),
    ],
    "one that lets another one go first after two refusals": [
        *REFUSED_TWICE,
        ("look", 11.9),
        ("run", 12.0, "2", 12.1),
        ("look", 12.1),
        ("look", 13.0),
        ("run", 13.0, "1", 13.1),
    ],
    "a start when a stop has cut off a plain handler whose work unit has failed although it must complete": [
        *KEEPS_ITS_SLOT,
        ("started", 1.6, "2"),
    ],
    "a stop that cancels what was in a lane behind what one needs whose instant is about to come": [
        *submitted("make p", "make q"),
        ("started", 0.0, "1"),
        ("started", 0.0, "2"),
        ("wish", {"must_complete": True, "delay": 1.0, "by_wall": True}),
        ("submitted", 0.0, "3", "read", "a"),
        ("wish", {"lane": "x"}),
        ("submitted", 0.0, "4", "make", "a"),
        ("wish", {"lane": "x", "must_complete": True}),
        ("submitted", 0.0, "5", "make", "b"),
        ("look", 0.5),
        ("stop", 0.5, {"drain": False}),
        ("cancelled", 1.0 - 1e-7, "3"),
        ("cancelled", 1.0 - 1e-7, "4"),
        ("cancelled", 1.0 - 1e-7, "5"),
    ],
    "one that goes first in the place of one that is cancelled at the instant at which its time is over": [
        ("wish", {"timeout": 0.5}),
        *REFUSED,
        ("started", 6.0, "1"),
        ("entered", 6.0, "1"),
        ("left", "1", 6.5),
        ("excuse", "cancelled", "1"),
        ("cancelled", 6.5, "1"),
        ("started", 6.5, "2"),
        ("submitted", 6.5, "3", "make", "c"),
        ("look", 6.5),
        ("look", 6.99),
        ("left", "2", 7.01),
        ("completed", 7.01, "2"),
        ("look", 7.01),
    ],
    "one that stays away for longer after three": [
        *REFUSED_TWICE,
        ("run", 12.0, "2", 12.1),
        ("started", 13.0, "1"),
        ("refuse", 14.0, "1", 5.0, 10.0),
        ("look", 19.0),
        ("run", 29.0, "1", 29.1),
    ],
    "starts of several keys": [
        *submitted("share a", "share b", "share c"),
        ("started", 0.0, "1"),
        ("started", 0.0, "2"),
        ("look", 0.0),
    ],
    "starts in several windows": [
        *submitted("window a", "window b", "window c"),
        ("run", 0.0, "1", 0.0),
        ("run", 0.0, "2", 0.0),
        ("look", 0.5),
        ("run", 1.0, "3", 1.0),
    ],
    "attempts in their time": [
        *RETRIED,
        ("look", 5.9),
        ("started", 6.0, "1", 2),
        ("left", "1"),
        ("completed", 7.0, "1"),
        ("end", 7.0, {"completed": 1}),
    ],
    "a failure with the last attempt": [
        *RETRIED,
        ("started", 6.0, "1", 2),
        ("left", "1"),
        ("fail", 7.0, "1", ERROR, True),
    ],
    "a skip in place of the next attempt": [
        *RETRIED,
        ("there", 2.0, "a/made"),
        ("skipped", 6.0, "1"),
    ],
    "a slot that is free between attempts": [
        ("wish_for", 5.0),
        *submitted("lone a"),
        ("started", 0.0, "1"),
        ("goes_back", 1.0, "1", 5.0, ERROR),
        ("wish", {}),
        ("submitted", 1.0, "2", "lone", "b"),
        ("started", 1.0, "2"),
    ],
    "a start again with the same attempt": [*LATER, ("start_as", 6.0, "1", True)],
    "what is for later holds up nobody who came before": [
        A_IS_MADE,
        *submitted("read a"),
        ("wish", {"delay": 5.0}),
        ("submitted", 0.0, "2", "make", "a"),
        ("started", 0.0, "1"),
    ],
    "who joins what is for later lends it an earlier instant": [
        *DELAYED,
        ("wish", {}),
        ("submitted", 1.0, "2", "make", "a"),
        ("started", 1.0, "1"),
    ],
    "who joins what waits for its next attempt does not": [
        *RETRIED,
        ("wish", {}),
        ("submitted", 2.0, "2", "make", "a"),
        ("look", 2.0),
    ],
    "a handler that has as much time again to return": [
        ("wish_for", 5.0),
        *submitted("slow a"),
        ("started", 0.0, "1"),
        ("look", 2.0),
        ("look", 3.9),
        ("goes_back", 3.9, "1", 3.1, LATE),
        ("started", 7.0, "1", 2),
    ],
    "who has joined fails by the time-out of the other one": [
        ("wish", {"timeout": 2.0}),
        *submitted("make a"),
        ("started", 0.0, "1"),
        ("wish", {}),
        ("submitted", 1.0, "2", "make", "a"),
        ("fail", 2.0, "1", LATE, False),
        ("fail", 2.0, "2", LATE, False),
    ],
    "a stop that leaves what has no end": [
        *LATER,
        ("stopping", 0.0),
        ("cancelled", 2.0, "1"),
        ("end", 2.0, {"cancelled": 1}, ["1"]),
    ],
    "a stop that leaves what was submitted for later during it": [
        ("stopping", 0.0),
        *DELAYED,
        ("cancelled", 0.0, "1"),
        ("end", 2.0, {"cancelled": 1}, ["1"]),
    ],
    "who had wanted it earlier leaves": [
        ("wish", {"delay": 5.0}),
        *submitted("make a"),
        ("wish", {}),
        ("submitted", 1.0, "2", "make", "a"),
        ("excuse", "cancelled", "2"),
        ("cancelled", 1.0, "2"),
        ("look", 4.9),
        ("started", 5.0, "1"),
    ],
    "a stop that lets what runs go on, and cancels the rest": [
        *submitted("make a", "make b"),
        ("started", 0.0, "1"),
        ("stop", 0.0, FINISH),
        ("cancelled", 0.0, "2"),
        ("look", 0.0),
        ("left", "1"),
        ("fail", 1.0, "1", runcue.CueStopped("by a submission from inside"), False),
        ("end", 1.0, {"cancelled": 1, "failed": 1}),
    ],
    "a stop that runs what must complete and who makes what it needs": [
        *NEEDED,
        ("stop", 0.0, FINISH),
        ("started", 0.0, "1"),
        ("look", 0.0),
        ("there", 1.0, "a/made"),
        ("left", "1"),
        MADE_A,
        ("started", 1.0, "2"),
        ("look", 1.0),
    ],
    "a stop whose time is over, and that waits for what must complete": [
        *submitted("make a"),
        ("wish", MUST),
        ("submitted", 0.0, "2", "make", "b"),
        ("started", 0.0, "1"),
        ("started", 0.0, "2"),
        ("stop", 0.5, {"timeout": 1.0}),
        ("cancelled", 1.5, "1"),
        ("look", 1.5),
        ("left", "2"),
        ("completed", 9.0, "2"),
        ("end", 9.0, {"cancelled": 1, "completed": 1}),
    ],
    "a failure that is not tried again after a stop that lets nothing more start": [
        *RETRIED[:-1],
        ("stop", 0.5, FINISH),
        ("left", "1"),
        ("fail", 1.0, "1", ERROR, True),
    ],
    "what is tried without end is left": [
        *ENDLESS,
        ("stopping", 2.0),
        ("cancelled", 2.0, "1"),
        ("end", 2.0, {"cancelled": 1}, ["1"]),
    ],
    "what is for later is left by who does not wait for it": [
        *DELAYED,
        ("stop", 1.0, {"delayed": "cancel"}),
        ("cancelled", 1.0, "1"),
        ("end", 1.0, {"cancelled": 1}, ["1"]),
    ],
    "an attempt that cannot come in time any more fails": [
        *BOUNDED,
        ("awaiting", "api"),
        ("awaiting", "api"),
        ("look", 3.9),
        ("fail", 4.0, "1", ERROR, True),
        ("look", 4.0),
    ],
    "an attempt whose gate is asked at the last instant": [
        *BOUNDED,
        ("excuse", "awaited", "1"),
        ("look", 4.0),
        ("started", 4.0, "1"),
    ],
    "one that has joined what is tried again after a stop that lets nothing more start": JOINS_WHAT_MUST,
    "one that has joined what must complete, when the time of a stop is over": [
        *JOINS_WHAT_MUST[:5],
        ("stop", 0.5, {"timeout": 1.0}),
        ("look", 1.6),
        ("goes_back", 2.0, "1", 5.0, ERROR),
        ("look", 2.0),
        ("started", 7.0, "1"),
        ("look", 7.0),
        ("left", "1"),
        ("completed", 8.0, "1"),
        ("completed", 8.0, "2"),
        ("end", 8.0, {"completed": 2}),
    ],
    "who was for later takes the place of what is tried again while the cue stops": [
        *RETRIED[:-1],
        ("stopping", 0.5),
        ("goes_back", 1.0, "1", 5.0, ERROR),
        ("wish", {"policy": Policy("Retry", 2, 5.0, 60.0, is_exit_final=True), "delay": 9.0}),
        ("submitted", 2.0, "2", "make", "a"),
        ("excuse", "cancelled", "1"),
        ("cancelled", 3.0, "1"),
        ("look", 3.0),
        ("look", 5.9),
        ("started", 6.0, "2", 2),
        ("look", 6.0),
    ],
    "a stop that gives up one, and then who was behind it in its lane and has not been asked": [
        *DELAYED_IN_A_LANE,
        ("excuse", "raised", "1", 0),
        ("cancelled", 3.0, "1"),
        ("cancelled", 3.0, "2"),
    ],
    "a stop that gives up one, and then who had joined it and has not been asked": [
        ("wish", {**MUST, "delay": 1.0}),
        *submitted("make a", "make a"),
        ("wish", MUST),
        ("submitted", 0.0, "3", "read", "b"),
        ("excuse", "raised", "1", 0),
        ("look", 1.0),
        ("count_block",),
        ("stop", 2.0, FINISH),
        ("look", 3.0),
        ("cancelled", 3.0, "1"),
        ("cancelled", 3.0, "3"),
        ("cancelled", 3.0, "2"),
    ],
    "a successor that goes on where the one in whose place it is had been": [
        *FOLLOWED,
        *LEADER_LEAVES,
        ("look", 5.9),
        ("started", 6.0, "2", 2),
    ],
    "starts as the rate allows": [*MAKE_4, *THREE_RUN, ("started", 1.0, "4")],
    "starts as slots get free": [
        *MAKE_4[:3],
        ("started", 0.0, "1"),
        ("started", 0.0, "2"),
        ("left", "1"),
        MADE_A,
        ("started", 1.0, "3"),
    ],
    "a start while a cancelled handler still cleans up, in the other slot": [
        *MAKE_4[:3],
        ("started", 0.0, "1"),
        ("excuse", "cancelled", "1"),
        ("cancelled", 0.5, "1"),
        ("started", 0.5, "2"),
    ],
    "a start with what is needed": [A_IS_MADE, *submitted("read a"), ("started", 0.0, "1")],
    "a start when what is needed was made anew": [
        ("there", 0.0, "a/made"),
        *submitted("read a", "make a"),
        ("skipped", 0.0, "2"),
        ("started", 0.0, "1"),
    ],
    "a start because what is needed is newer": [
        A_IS_READ,
        A_IS_MADE,
        *submitted("read a"),
        ("started", 0.0, "1"),
    ],
    "a start because is_stale raised": [
        A_IS_MADE,
        A_IS_READ,
        *submitted("opaque a"),
        ("excuse", "stale_raised", "1"),
        ("started", 0.0, "1"),
    ],
    "a start on a yes that grew old while is_stale was awaited": [
        A_IS_MADE,
        *submitted("opaque a"),
        ("excuse", "asked_at", "1", 1),
        ("spoil", 0.1, "a/made"),
        ("started", 0.1, "1"),
    ],
    "an end with another one's": [
        *submitted("make a", "make a"),
        ("started", 0.0, "1"),
        ("look", 0.0),
        ("left", "1"),
        ("completed", 0.1, "1"),
        ("completed", 0.1, "2"),
        ("end", 0.2, {"completed": 2}),
    ],
    "a failure that somebody asked for": [
        *submitted("make a"),
        ("started", 0.0, "1"),
        ("left", "1"),
        ("fail", 0.1, "1", ERROR, True),
        ("end", 1.0, {"failed": 1}),
    ],
    "a cancellation that somebody asked for": [
        *submitted("make a"),
        ("excuse", "cancelled", "1"),
        ("cancelled", 0.0, "1"),
    ],
    "a cancellation together with another one": [
        *submitted("make a", "make a"),
        ("started", 0.0, "1"),
        ("excuse", "torn", "1"),
        ("left", "1"),
        ("cancelled", 0.0, "1"),
        ("cancelled", 0.0, "2"),
    ],
    "a work that waits for the second of its services": [
        *submitted("slow a", "both b"),
        ("started", 0.0, "1"),
        ("look", 0.0),
    ],
    "a work that waits for a slot": [*submitted("slow a", "slow b"), ("started", 0.0, "1"), ("look", 0.0)],
    "a work that waits for a slot with an async gate": [
        *submitted("slow a", "slow b"),
        ("awaiting", "one"),
        ("excuse", "awaited", "1"),
        ("look", 0.0),
    ],
    "a work that waits for a token": [*MAKE_4, *THREE_RUN, ("look", 0.9)],
    "a work whose token counts from when the handler was entered": [
        *MAKE_4,
        ("started", 0.0, "1"),
        ("entered", 0.2, "1"),
        ("left", "1"),
        ("completed", 0.2, "1"),
        ("run", 0.2, "2", 0.3),
        ("run", 0.3, "3", 0.4),
        ("look", 1.1),
    ],
    "a work that waits for its input": [*submitted("read a"), ("look", 0.0), ("drained", 1.0)],
    "a work that waits until the maker of its input has settled": [
        *submitted("make a", "read a"),
        ("started", 0.0, "1"),
        ("there", 0.1, "a/made"),
        ("look", 0.1),
    ],
    "a work whose input was made and nobody has told": [
        *submitted("read a"),
        ("make", 1.0, "a/made"),
        ("look", 1.0),
    ],
    "a work whose is_ready raised": [
        *submitted("make a"),
        ("excuse", "raised", "1", 0),
        ("look", 0.0),
        ("drained", 1.0),
    ],
    "a work that is held back after a stranger's cancellation": [
        *submitted("free a", "free b"),
        ("started", 0.0, "1"),
        ("excuse", "torn", "1"),
        ("left", "1"),
        ("cancelled", 0.0, "1"),
        ("look", 0.0),
        ("look", 0.04),
        ("started", 0.05, "2"),
        ("look", 0.05),
    ],
    "a work that is held back after a stranger's end of a handler that it had joined": [
        *submitted("free a", "free a", "free b"),
        ("started", 0.0, "1"),
        ("excuse", "cancelled", "1"),
        ("cancelled", 0.0, "1"),
        ("excuse", "torn", "1"),
        ("left", "1"),
        ("cancelled", 0.0, "2"),
        ("look", 0.0),
        ("started", 0.05, "3"),
        ("look", 0.05),
    ],
    "a work that leaves its slot to one that never finds two services free": [
        *submitted("lone a", "both b", "free c"),
        ("started", 0.0, "1"),
        ("started", 0.0, "3"),
        ("left", "3"),
        ("completed", 61.0, "3"),
        ("submitted", 61.0, "4", "free", "d"),
        ("look", 61.0),
    ],
    "a work that waits for a maker that has settled and goes on": [
        ("there", 0.0, "a/made"),
        *submitted("make a", "read a"),
        ("excuse", "stale_raised", "1"),
        ("spoil", 0.0, "a/made"),
        ("started", 0.0, "1"),
        ("there", 0.0, "a/made"),
        ("excuse", "cancelled", "1"),
        ("cancelled", 0.1, "1"),
        ("look", 0.1),
    ],
    "what is up to date is skipped": [
        ("there", 0.0, "b/slow"),
        *submitted("slow a", "slow b"),
        ("started", 0.0, "1"),
        ("skipped", 0.0, "2"),
        ("look", 0.0),
    ],
    "what is up to date and has an async gate waits for a slot": [
        ("there", 0.0, "b/slow"),
        *submitted("slow a", "slow b"),
        ("excuse", "async_gates", "slow"),
        ("started", 0.0, "1"),
        ("look", 0.0),
    ],
    "a timeout in time": [
        *submitted("slow a"),
        ("started", 0.0, "1"),
        ("entered", 0.5, "1"),
        ("look", 2.4),
        ("fail", 2.5, "1", LATE, False),
        ("look", 2.5),
    ],
    "a drain in whose last instant something comes": [
        ("look", 0.5),
        *submitted("make a", at=1.0),
        ("drained", 1.0),
    ],
    "a drain in whose last instant something is made and nobody has told": [
        *submitted("read a"),
        ("look", 0.5),
        ("make", 1.0, "a/made"),
        ("drained", 1.0),
    ],
    "a drain in whose last instant something settles": [
        *submitted("make a", "make b"),
        ("excuse", "raised", "1", 0),
        ("excuse", "raised", "2", 0),
        ("look", 0.5),
        ("excuse", "cancelled", "2"),
        ("cancelled", 1.0, "2"),
        ("drained", 1.0),
    ],
    "a stop that cancels what waits for what it cancels": [
        *submitted("make a", "read a"),
        ("excuse", "raised", "1", 0),
        ("there", 0.5, "a/made"),
        ("stopping", 0.0),
        ("cancelled", 1.0, "1"),
        ("cancelled", 1.0, "2"),
        ("end", 1.0, {"cancelled": 2}),
    ],
    "everything is there in the end": [
        *submitted("make a"),
        ("run", 0.0, "1", 0.1),
        A_IS_MADE,
        ("end", 1.0, {"completed": 1}),
        ("finish", "a/made"),
    ],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_found_at_the_step_that_breaks_it(name: str) -> None:
    invariant, steps = BROKEN[name]
    assert Story().found(steps[:-1]) is None
    assert Story().found(steps) == invariant


@pytest.mark.parametrize("name", KEPT)
def test_a_history_that_keeps_all_promises_passes(name: str) -> None:
    story = Story()
    assert story.found(KEPT[name]) is None, story.checker.violation


def test_each_promise_that_a_history_can_break_has_one_that_does() -> None:
    # A run that does not end and a scheduler that fails are no histories; whole runs show them.
    assert {invariant for invariant, _ in BROKEN.values()} == set(INVARIANTS) - {"ends", "sound"}


def test_a_violation_says_what_happened_to_which_work_units_and_artifacts() -> None:
    story = Story()
    story.found([*submitted("read a"), ("started", 0.25, "1")])
    violation = story.checker.violation
    assert violation is not None
    assert violation.text == "read 1 (a) starts at 0.25 without a/made"
    assert violation.works == ("1",)
    assert violation.names == ("a/made", "a/read")


def test_only_the_first_violation_counts_and_nothing_is_taken_in_after_it() -> None:
    story = Story()
    told: list[str] = []
    story.checker.on_violation = lambda: told.append("violation")
    story.checker.on_event = lambda: told.append("event")
    story.found(
        [*submitted("read a", "make b"), ("started", 0.0, "1"), ("cancelled", 0.0, "2"), ("look", 1.0)]
    )
    assert told == ["event", "event", "violation"]
    assert story.checker.violation is not None
    assert story.checker.violation.invariant == "ready"


def test_limits_and_duties_are_those_that_were_declared() -> None:
    cue = runcue.Cue()
    cue.service("api", rate="100/15min", concurrent=5)
    cue.service("wide")

    @cue.task("declared", uses="api", inputs="a", timeout=3)
    async def declared(work: runcue.Work) -> None: ...

    @cue.task("opaque", uses=["api", "wide"])
    async def opaque(work: runcue.Work) -> None: ...

    assert limits_of(cue) == {"api": Limits(5, 100, 900.0), "wide": Limits(None, None, 0.0)}
    assert duties_of(cue) == {
        "declared": Duty(("api",), declared=True, timeout=3.0),
        "opaque": Duty(("api", "wide"), declared=False, timeout=None),
    }


def test_a_real_cue_tells_the_checker_everything() -> None:
    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        cue.service("wide")
        made: dict[str, int] = {}

        @cue.task("free", uses="wide")
        async def free(work: runcue.Work) -> None:
            if work.params["item"] == "bad":
                raise ERROR

        @cue.is_ready
        def ready(work: runcue.Work) -> bool:
            return work.params["item"] != "blocked"

        @cue.is_stale
        def stale(work: runcue.Work) -> bool:
            return work.params["item"] != "done"

        checker = Checker(limits_of(cue), duties_of(cue), lambda task, item: (), lambda task, item: (), made)
        heard: list[str] = []
        for name in ("started", "completed", "skipped", "cancelled", "failed"):
            setattr(
                checker, name, lambda now, one, *rest, name=name, **more: heard.append(f"{name} {one[-1]}")
            )
        listen(checker, cue, lambda: 0.0, lambda error: True)
        async with cue:
            for item in ("good", "bad", "done", "blocked"):
                await cue.submit("free", params={"item": item})
        assert sorted(heard) == [
            "cancelled 4",
            "completed 1",
            "failed 2",
            "skipped 3",
            "started 1",
            "started 2",
        ]

    run(main())
