"""What binds: the chain of causes that leads from the beginning of a run to its end.

Lives here: `binding`, which goes back from the last work that settled. It asks why that work did not start earlier: it
waited for a slot, a rate or a budget, or for what another work made, which is asked next. The stretches found cover
the whole run without overlap, so their shares say what to change: a limit that covers nine tenths binds, and one that
is full all the time but covers nothing does not.

Must not know: how anything is printed.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from runcue_sim._records.accounts import Record
from runcue_sim._records.holds import WORDS
from runcue_sim._records.ledger import Ledger


class Stretch(NamedTuple):
    """A share of the way from the beginning of a run to its end.

    Attributes:
        kind: "rate", "budget", "slots", "refused", "broken", "paused", "running", "gate", "order", "attempts",
            "retry", "delay", "submission" or "timeout".
        name: The service, or the task; of a budget, the service and what it counts.
        seconds: How long it was, in all.
    """

    kind: str
    name: str
    seconds: float

    def words(self, ledger: Ledger) -> str:
        """It in words."""
        service = ledger.services.get(self.name)
        if self.kind == "budget":
            name, _, counted = self.name.rpartition(".")
            if (service := ledger.services.get(name)) is not None:
                return f"the budget of {name} ({service.budget_text(counted)})"
        if self.kind == "rate" and service is not None:
            return f"the rate of {self.name} ({service.rate_text})"
        if (place := ledger.places.get(self.name)) is not None:
            return place
        if self.kind == "slots" and service is not None:
            return f"the slots of {self.name} ({service.slots_text})"
        if self.kind in WORDS:
            return WORDS[self.kind].format(self.name)
        return {
            "running": f"the handler of {self.name}",
            "gate": f"is_ready of {self.name}",
            "order": f"work units before {self.name}",
            "delay": f"the instant that {self.name} was submitted for",
            "attempts": f"attempts of {self.name} that were tried again",
            "retry": f"the waits of {self.name} for its next attempt",
            "timeout": "the time-out of what was blocked",
        }.get(self.kind, "the pace of submission")


def binding(ledger: Ledger) -> list[Stretch]:
    """The stretches of the way to the end of the run, the longest first; none if nothing ran."""
    lengths: dict[tuple[str, str], float] = {}

    def walk(kind: str, name: str, seconds: float) -> None:
        if seconds > 0:
            lengths[kind, name] = lengths.get((kind, name), 0.0) + seconds

    ran = [record for record in ledger.records if record.started is not None and record.ended is not None]
    record = max(ran, key=lambda one: one.ended or 0.0, default=None)
    gave_up = any(one.outcome == "failed" and one.started is None for one in ledger.records)
    rest = ledger.ended - (ledger.began if record is None else record.ended or 0.0)
    walk("timeout" if gave_up else "submission", "", rest)
    seen: set[str] = set()
    while record is not None and record.id not in seen:
        seen.add(record.id)
        record = _step_back(ledger, record, walk)
    found = [Stretch(kind, name, seconds) for (kind, name), seconds in lengths.items()]
    return sorted(found, key=lambda stretch: -stretch.seconds)


def _step_back(ledger: Ledger, record: Record, walk: _Walk) -> Record | None:
    """Account for one work of the way, back to its submission or to the work that it needed."""
    assert record.started is not None
    assert record.ready is not None
    assert record.ended is not None
    walk("running", record.task, record.ended - record.started)
    walk("rate", record.bound_by, record.rate)
    walk("budget", f"{record.bound_by}.{record.counted}", record.budget)
    walk("slots", record.bound_by, record.slots)
    walk(record.held_by, record.bound_by, record.held)
    walk("order", record.task, record.other)
    walk("attempts", record.task, record.tried)
    walk("retry", record.task, record.put_back)
    # What had to wait for its own instant was not let go by whoever ended then.
    was_due = record.ahead > 0 and not record.gate
    before = None if was_due else ledger.ended_at(record.ready)
    if (
        before is not None
        and before is not record
        and before.started is not None
        and before.ended is not None
    ):
        return before
    walk("gate", record.task, record.gate)
    walk("delay", record.task, record.ahead)
    parent = ledger.ended_at(record.submitted)
    if parent is not None and parent is not record and parent.started is not None:
        return parent
    walk("submission", "", record.submitted - ledger.began)
    return None


class _Walk(Protocol):
    """The type of the function that notes a stretch."""

    def __call__(self, kind: str, name: str, seconds: float) -> None: ...
