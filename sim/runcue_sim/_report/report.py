"""What a run has shown, as text for people and as JSON for programs.

Lives here: `Report`. Both forms come from one dictionary, so they cannot disagree.

Must not know: clocks, cues, where the numbers come from beyond the ledger.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any, Final

from runcue_sim._engine.run import Ending
from runcue_sim._records.accounts import Record, ServiceAccount
from runcue_sim._records.critical_path import binding
from runcue_sim._records.holds import BROKEN, PAUSED, REFUSED, WORDS, Held
from runcue_sim._records.ledger import Ledger
from runcue_sim._text.figures import WIDTH, counted, figure, percent, plain, seconds_in_words, table, wrapped

_SHOWN: Final = 5
_WAITS: Final = (
    "⚠ The submitter has not ended: it waits for work units that cannot run, or for a thread, for which a virtual "
    "clock does not wait (--realtime does)"
)
_CAUSES: Final = 0.02
_HOLDERS: Final = {
    REFUSED: "its server refused {}",
    BROKEN: "its breaker was open",
    PAUSED: "it was paused by hand",
}
_CUT: Final = {"duration": "Ended by --duration", "interrupt": "Interrupted"}

OK: Final = 0
FAILURES: Final = 1
USAGE: Final = 2
STALLED: Final = 3
INTERRUPTED: Final = 130


class Report:
    """The outcome of one run.

    Args:
        ledger: Closed.
        ending: How it ended.
        title: What was run, in a line.
        clock: "virtual" or "real".
        seed: What the luck came from.
        took: Seconds of real time.
        max_failures: How many work units may fail; None: as many as were asked for.
        notes: Further lines for people: what callbacks look at, what runcue warned of.
    """

    def __init__(
        self,
        ledger: Ledger,
        ending: Ending,
        *,
        title: str,
        clock: str,
        seed: int,
        took: float,
        max_failures: int | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._ledger = ledger
        self._ending = ending
        self._max_failures = max_failures
        self.facts = self._gather(title, clock, seed, took, notes)

    @property
    def code(self) -> int:
        """The exit code of the program."""
        ledger, ending = self._ledger, self._ending
        if ending.cut == "interrupt":
            return INTERRUPTED
        # What timed out because it was blocked is a stall, not a failure of its own.
        stalled = {
            record.id for record in ledger.records if record.id in ending.ids and not record.on_purpose
        }
        unasked = sum(
            record.outcome == "failed" and not record.on_purpose and record.id not in stalled
            for record in ledger.records
        )
        too_many = unasked > 0 if self._max_failures is None else ledger.failed > self._max_failures
        if too_many:
            return FAILURES
        return STALLED if ending.stalled or ending.cut == "submitter" else OK

    def _gather(self, title: str, clock: str, seed: int, took: float, notes: Sequence[str]) -> dict[str, Any]:
        ledger, ending = self._ledger, self._ending
        seconds = ending.seconds
        return {
            "version": 1,
            "title": title,
            "seed": seed,
            "clock": clock,
            "took": round(took, 3),
            "makespan": seconds,
            "cut": ending.cut,
            "exit": self.code,
            "works": {
                "submitted": ledger.submitted,
                "completed": ledger.completed,
                "failed": ledger.failed,
                "failed_on_purpose": ledger.failed_on_purpose,
                "retries": ledger.retries,
                "skipped": ledger.skipped,
                "cancelled": ledger.cancelled,
                "blocked": sum(group.count for group in ending.blocked if not group.given_up),
                "blocked_on_purpose": sum(
                    group.count for group in ending.blocked if group.on_purpose and not group.given_up
                ),
                "unfinished": ledger.running + ledger.pending if ending.cut else 0,
            },
            "binds": [
                {
                    "kind": stretch.kind,
                    "name": stretch.name,
                    "words": stretch.words(ledger),
                    "seconds": stretch.seconds,
                    "share": stretch.seconds / seconds if seconds else 0.0,
                }
                for stretch in binding(ledger)
            ],
            "services": [_service(ledger, name, seconds) for name in ledger.services],
            "tasks": [
                {
                    "name": task.name,
                    "submitted": task.submitted,
                    "completed": task.done,
                    "failed": task.failed,
                    "retries": task.retries,
                    "skipped": task.skipped,
                    **_spread(task.durations),
                }
                for task in ledger.tasks.values()
            ],
            "waits": [_wait(record) for record in _longest(ledger.records)],
            "blocked": [asdict(group) for group in ending.blocked],
            "notes": list(notes),
        }

    def json(self) -> str:
        """As JSON, one object."""
        return json.dumps(self.facts, indent=2) + "\n"

    def text(self, *, timed: bool = True) -> str:
        """As lines for people.

        Args:
            timed: Say how long the simulation itself took. Without it equal seeds give equal text.
        """
        facts = self.facts
        lines = [*self._headline(timed=timed), ""]
        if facts["cut"] in _CUT:
            after, unfinished = seconds_in_words(facts["makespan"]), facts["works"]["unfinished"]
            lines += [f"{_CUT[facts['cut']]} after {after}, {unfinished} unfinished", ""]
        if facts["cut"] == "submitter":
            lines += [*wrapped(_WAITS, 2), ""]
        lines += _blocked_lines(facts["blocked"])
        lines += table(
            ("SERVICE", "SLOTS USED", "RATE USED", "RATE WAS DRY", "DONE", "FAILED", "PER SECOND"),
            (
                (
                    one["name"] if one["keys"] is None else f"{one['name']}, {counted(one['keys'], 'key')}",
                    _slots(one),
                    _rate(one),
                    percent(one["dry"]) if one["rate"] else "-",
                    str(one["completed"]),
                    str(one["failed"]),
                    f"{one['per_second']:.3g}",
                )
                for one in facts["services"]
            ),
        )
        lines += _budget_lines(facts["services"])
        lines += _hold_lines(facts["services"])
        # A column for what few programs ask for.
        retries = ("retries",) if facts["works"]["retries"] else ()
        keys = ("submitted", "completed", "failed", *retries, "skipped")
        lines += table(
            ("TASK", "SUBMITTED", "DONE", "FAILED", *map(str.upper, retries), "SKIPPED", "MEDIAN", "P95"),
            (
                (
                    one["name"],
                    *(str(one[key]) for key in keys),
                    *("-" if one[key] is None else seconds_in_words(one[key]) for key in ("median", "p95")),
                )
                for one in facts["tasks"]
                if one["submitted"]
            ),
        )
        causes = [one for one in facts["binds"] if one["share"] >= _CAUSES][:_SHOWN]
        if causes:
            lines += wrapped(f"What binds: {causes[0]['words']}. Of the way from start to end it is")
            for one in causes:
                share, seconds = percent(one["share"]), seconds_in_words(one["seconds"])
                lines += wrapped(f"  {share:>5}  {seconds:>8}  {one['words']}", 19)
            lines.append("")
        waits = facts["waits"][:_SHOWN]
        if waits:
            lines.append("Longest waits:")
            for one in waits:
                seconds = seconds_in_words(one["seconds"])
                lines += wrapped(f"  {seconds:>8}  {one['task']} {one['work']}: {one['words']}", 12)
            lines.append("")
        for note in facts["notes"]:
            lines += wrapped(f"Note: {plain(note)}", 6)
        return "\n".join(lines).rstrip() + "\n"

    def _headline(self, *, timed: bool) -> Iterable[str]:
        facts = self.facts
        works = facts["works"]
        parts = [f"{works['completed']} completed"]
        if works["failed"]:
            asked = works["failed_on_purpose"]
            unasked = works["failed"] - asked
            parts.append(f"{works['failed']} failed" + (f" ({_asked(asked, unasked)})" if asked else ""))
        parts += [f"{works[what]} {what}" for what in ("skipped", "cancelled") if works[what]]
        if works["blocked"]:
            parts.append(f"{works['blocked']} blocked")
        clock = "virtual time" if facts["clock"] == "virtual" else "real time"
        submitted = counted(works["submitted"], "work unit")
        again = f", tried again {counted(works['retries'], 'time')}" if works["retries"] else ""
        ends, took = (
            f"{', '.join(parts)} of {submitted}{again}",
            f"in {seconds_in_words(facts['makespan'])} of {clock}",
        )
        yield from [f"{ends} {took}"] if len(f"{ends} {took}") <= WIDTH else [*wrapped(ends), took]
        settled = sum(works[what] for what in ("completed", "failed", "skipped", "cancelled"))
        speed = settled / facts["took"] if facts["took"] > 0 else 0.0
        if facts["clock"] == "virtual" and timed:
            took = seconds_in_words(facts["took"])
            yield f"simulated in {took} ({speed:,.0f} work units a second), seed {facts['seed']}"
        else:
            yield f"seed {facts['seed']}"


def _asked(asked: int, unasked: int) -> str:
    return "all asked for" if not unasked else f"{asked} of them asked for"


def _blocked_lines(blocked: Sequence[dict[str, Any]]) -> Iterable[str]:
    downstream = [group for group in blocked if group["on_purpose"]]
    stalled = [group for group in blocked if not group["on_purpose"]]
    if stalled:
        works = sum(group["count"] for group in stalled)
        yield f"⚠ Stall detected! {counted(works, 'work unit')} blocked:"
        yield from itertools.chain.from_iterable(map(_group_lines, stalled))
        yield ""
    if downstream:
        works = sum(group["count"] for group in downstream)
        yield f"Blocked behind failures that --error-rate or --faults asked for: {works}"
        yield from itertools.chain.from_iterable(map(_group_lines, downstream))
        yield ""


def _group_lines(group: dict[str, Any]) -> list[str]:
    given_up = ", given up by the time-out" if group["given_up"] else ""
    return wrapped(
        f"  {group['count']:>5} x {group['task']}: {group['reason']}{given_up} - {group['details']}", 10
    )


def _budget_lines(services: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        (
            f"{plain(one['name'])} {plain(budget['name'])}",
            f"{budget['most']} of {budget['text']}",
            budget["charged"],
            percent(budget["dry"]),
        )
        for one in services
        for budget in one["budgets"]
    ]
    return table(("BUDGET", "MOST IN A WINDOW", "IN ALL", "WAS USED UP"), rows) if rows else []


def _hold_lines(services: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        (
            f"{plain(one['name'])}: {_HOLDERS[held['by']].format(counted(one['refusals'], 'time'))}",
            str(held["times"]),
            seconds_in_words(held["seconds"]),
            "-" if one["keys"] is not None and held["by"] != REFUSED else percent(held["share"]),
        )
        for one in services
        for held in one["holds"]
    ]
    return table(("NOTHING COULD START", "TIMES", "FOR", "OF THE TIME"), rows)


def _holds(account: ServiceAccount, began: float, ended: float) -> list[Held]:
    """What has held a service; of what its keys have each counts for itself, but for what its server has refused."""
    found: dict[str, Held] = {}
    for part in (account, *(account.keys or {}).values()):
        for one in part.holds.by(began, ended):
            if part is account or one.by != REFUSED:
                so_far = found.get(one.by, Held(one.by, 0, 0.0))
                found[one.by] = Held(one.by, so_far.times + one.times, so_far.seconds + one.seconds)
    return sorted(found.values(), key=lambda one: -one.seconds)


def _service(ledger: Ledger, name: str, seconds: float) -> dict[str, Any]:
    account = ledger.services[name]
    # With limits for each key, of the key that had to wait most.
    worst = account.worst()
    keys = [account] if account.keys is None else account.keys.values()
    return {
        "name": name,
        "keys": None if account.keys is None else len(account.keys),
        "concurrent": worst.concurrent,
        "rate": account.rate_text or None,
        "completed": account.done,
        "failed": account.failed,
        "most_in_use": account.most,
        "mean_in_use": account.busy / seconds if seconds else 0.0,
        "slots_used": worst.slots_used(seconds),
        "rate_used": worst.rate_used(ledger.began),
        "dry": worst.dry / seconds if seconds else 0.0,
        "budgets": [
            {
                "name": budget.name,
                "text": account.budget_text(budget.name),
                "limit": float(budget.limit),
                "period": budget.period,
                "most": figure(budget.most),
                "charged": figure(
                    sum(one.charged for key in keys for one in key.budgets if one.name == budget.name)
                ),
                "dry": budget.dry / seconds if seconds else 0.0,
            }
            for budget in worst.budgets
        ],
        "refusals": account.refusals,
        "holds": [
            {**one._asdict(), "share": one.seconds / seconds if seconds else 0.0}
            for one in _holds(account, ledger.began, ledger.ended)
        ],
        "per_second": (account.done + account.failed) / seconds if seconds else 0.0,
    }


def _rate(one: dict[str, Any]) -> str:
    # Of how many keys it has stands before it.
    of = (one["rate"] or "").removesuffix(" per key")
    return f"{percent(one['rate_used'] or 0.0)} of {of}" if of else "-"


def _spread(durations: Sequence[float]) -> dict[str, float | None]:
    if not durations:
        return {"median": None, "p95": None}
    ordered = sorted(durations)
    return {"median": median(ordered), "p95": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]}


def _longest(records: Sequence[Record]) -> list[Record]:
    ran = [one for one in records if one.started is not None and one.started - one.submitted > 1e-9]
    ran.sort(key=lambda one: one.submitted - (one.started or 0.0))
    return ran[:10]


def _wait(record: Record) -> dict[str, Any]:
    assert record.started is not None
    reasons = {
        f"rate of {record.bound_by}": record.rate,
        f"{record.counted} of {record.bound_by}": record.budget,
        f"slots of {record.bound_by}": record.slots,
        WORDS.get(record.held_by, "").format(record.bound_by): record.held,
        "what it needs": record.gate,
        "work units before it": record.other,
        "the instant that it is for": record.ahead,
        "its next attempt": record.put_back,
        "attempts before it": record.tried,
    }
    reasons = {what: seconds for what, seconds in reasons.items() if seconds > 1e-6}
    ordered = sorted(reasons.items(), key=lambda pair: -pair[1])
    told = [(what, seconds) for what, seconds in ordered if seconds >= _CAUSES * ordered[0][1]]
    return {
        "work": f"{record.id} {record.item}".strip(),
        "task": record.task,
        "seconds": record.started - record.submitted,
        "reasons": dict(ordered),
        "words": ", ".join(f"{seconds_in_words(seconds)} for {what}" for what, seconds in told),
    }


def _slots(one: dict[str, Any]) -> str:
    if one["concurrent"] is None:
        return f"{one['mean_in_use']:.1f}, no limit"
    if one["keys"] is not None:
        return f"{one['mean_in_use']:.1f}, {one['concurrent']} per key"
    return f"{percent(one['slots_used'])} of {one['concurrent']}"
