"""What a real run took, kept for rehearsals: `Recording` writes it down, `load` reads it.

Lives here: the two, and the form of the file. It holds durations, counts and what was spent of budgets, by task, and
nothing of what the work units were about: params may be secret.

A duration is what the model has to stand in for: how long a work kept its slots, from the moment it was handed over to
the moment its slots were free again. That is more than the handler alone takes, by the start of a thread, the
publication of what was written, and the event loop's way back; all of it keeps the next work waiting.

Must not know: how a rehearsal uses it.

Example:
    cue = runcue.Cue()
    ...
    recording = Recording(cue)
    async with cue:
        ...
    recording.save("run.json")

    $ runcue-sim app.py:cue,submit --recorded run.json --sweep openai.concurrent=1,2,5,10
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any, Final

import runcue
from runcue.rehearsal import spent_by
from runcue_sim._text.usage import BadUsage
from runcue_sim._workload.latency import Latency, Recorded, Try

__all__ = ["RecordedRun", "RecordedTask", "Recording", "load"]

_FORMAT: Final = "runcue-recording"
_VERSION: Final = 1
_REASONS: Final = ("failed", "throttled", "postponed")
_KINDS: Final[dict[type, str]] = {list: "a list", dict: "an object"}


@dataclass
class RecordedTask:
    """What became of the work units of one task.

    Attributes:
        durations: Seconds for which each work ran, in the order of their submission; None for one that did not run to
            an end of its own: it was up to date, joined another, or was cancelled.
        failed: The places in `durations` of those that failed.
        tries: By place, the runs of its handler after which it came back.
        spent: By place, what its last run has said that it spent of budgets.
    """

    durations: list[float | None] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    tries: dict[int, list[Try]] = field(default_factory=dict)
    spent: dict[int, dict[str, str]] = field(default_factory=dict)


@dataclass
class RecordedRun:
    """A run as it was recorded.

    Attributes:
        makespan: Seconds from the first submission to the last settlement.
        tasks: By name.
    """

    makespan: float
    tasks: dict[str, RecordedTask]

    def latencies(self) -> dict[str, Latency]:
        """How long the work units of each task took and which failed, for tasks of which one ran.

        A work that did not run is taken to last as long as the others usually did.
        """
        found: dict[str, Latency] = {}
        for name, task in self.tasks.items():
            known = [seconds for seconds in task.durations if seconds is not None]
            if known:
                usual = median(known)
                durations = tuple(usual if seconds is None else seconds for seconds in task.durations)
                found[name] = Recorded(durations, frozenset(task.failed), tries=task.tries, spent=task.spent)
        return found


class Recording(runcue.Observer):
    """Observes a cue while it works, and writes down how long that took.

    Args:
        cue: The cue, before it is started.
    """

    def __init__(self, cue: runcue.Cue) -> None:
        self._began = self._ended = 0.0
        self._submitted = 0
        # What is known of work units that have not settled yet.
        self._places: dict[str, int] = {}
        self._started: dict[str, float] = {}
        self._tasks = {task.name: RecordedTask() for task in cue.tasks()}
        cue.observe(self)

    @property
    def run(self) -> RecordedRun:
        """What was recorded so far."""
        return RecordedRun(
            self._ended - self._began,
            {
                name: RecordedTask(
                    [*task.durations],
                    sorted(task.failed),
                    {place: [*tries] for place, tries in task.tries.items()},
                    {**task.spent},
                )
                for name, task in self._tasks.items()
            },
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was recorded so far.

        Args:
            path: Of a JSON file, which appears whole or not at all.

        Raises:
            runcue.PublishError: It cannot be written there.
        """
        run = self.run
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "makespan": round(run.makespan, 6),
            "tasks": {
                name: {
                    "durations": [
                        None if seconds is None else round(seconds, 6) for seconds in task.durations
                    ],
                    "failed": task.failed,
                    # Only what there is: most runs have neither.
                    **(
                        {"tries": {str(place): _written(tries) for place, tries in task.tries.items()}}
                        if task.tries
                        else {}
                    ),
                    **(
                        {"spent": {str(place): spent for place, spent in task.spent.items()}}
                        if task.spent
                        else {}
                    ),
                }
                for name, task in run.tasks.items()
            },
        }
        runcue.atomic_write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def submitted(self, work: runcue.Work) -> None:
        """See `runcue.Observer.submitted`."""
        if not self._submitted:
            self._began = self._ended = _now()
        self._submitted += 1
        durations = self._tasks.setdefault(work.task, RecordedTask()).durations
        self._places[work.id] = len(durations)
        durations.append(None)

    def started(self, work: runcue.Work) -> None:
        """See `runcue.Observer.started`."""
        self._started[work.id] = _now()

    def resumed(self, work: runcue.Work) -> None:
        """See `runcue.Observer.resumed`."""
        self._started[work.id] = _now()

    def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
        """See `runcue.Observer.put_back`."""
        started, place = self._started.pop(work.id, None), self._places.get(work.id)
        if started is not None and place is not None:
            tries = self._tasks[work.task].tries.setdefault(place, [])
            tries.append(Try(_now() - started, reason, delay or 0.0, _spent(work)))

    def settled(self, work: runcue.Work, duration: float) -> None:
        """See `runcue.Observer.settled`."""
        self._ended = _now()
        place, started = self._places.pop(work.id, None), self._started.pop(work.id, None)
        is_cancelled = work.state is runcue.WorkState.CANCELLED
        if place is None or started is None or is_cancelled:  # it was submitted before, or joined another
            return
        task = self._tasks[work.task]
        task.durations[place] = self._ended - started
        if work.exception is not None:
            task.failed.append(place)
        if spent := _spent(work):
            task.spent[place] = spent


def _spent(work: runcue.Work) -> dict[str, str]:
    """What it has spent of budgets, exactly, as text."""
    return {name: str(amount) for name, amount in spent_by(work).items()}


def _written(tries: list[Try]) -> list[dict[str, Any]]:
    return [
        {
            "seconds": round(one.seconds, 6),
            "reason": one.reason,
            "delay": round(one.delay, 6),
            **({"spent": one.spent} if one.spent else {}),
        }
        for one in tries
    ]


def _now() -> float:
    """The instant now, on the clock by which the cue lives."""
    # Not the loop's own time: uvloop's counts whole milliseconds, and stands still within a step of the loop.
    clock = getattr(asyncio.get_running_loop(), "runcue_clock", None)
    return time.monotonic() if clock is None else float(clock.monotonic())


def load(path: str | os.PathLike[str]) -> RecordedRun:
    """Read what `Recording.save` has written.

    Raises:
        BadUsage: It cannot be read, or is something else.
    """
    name = os.fspath(path)
    try:
        found = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise BadUsage(f"{name} cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise BadUsage(f"{name}:{error.lineno}: no JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise BadUsage(f"{name} is no recording: {error}") from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise BadUsage(f"{name} is no recording: runcue_sim.Recording writes them, with save()")
    if found.get("version") != _VERSION:
        raise BadUsage(f"{name} has version {found.get('version')!r}; this program reads version {_VERSION}")
    try:
        tasks = _field(found, "", "tasks", dict)
        return RecordedRun(
            _seconds(_field(found, "", "makespan"), "makespan"),
            {task: _task(_field(tasks, "tasks.", task, dict), f"tasks.{task}.") for task in tasks},
        )
    except _MalformedError as error:
        raise BadUsage(f"{name} is no recording: {error}") from None


class _MalformedError(Exception):
    """What is wrong with a field."""


def _task(found: dict[str, Any], where: str) -> RecordedTask:
    durations = _field(found, where, "durations", list)
    failed = _field(found, where, "failed", list)
    return RecordedTask(
        [
            None if value is None else _seconds(value, f"{where}durations[{number}]")
            for number, value in enumerate(durations)
        ],
        [_place(value, f"{where}failed[{number}]", len(durations)) for number, value in enumerate(failed)],
        {
            place: [_try(one, f"{where}tries.{place}[{number}].") for number, one in enumerate(tries)]
            for place, tries in _by_place(found, where, "tries", len(durations), list)
        },
        {
            place: _amounts(spent, f"{where}spent.{place}")
            for place, spent in _by_place(found, where, "spent", len(durations), dict)
        },
    )


def _by_place(
    found: dict[str, Any], where: str, name: str, length: int, kind: type
) -> Iterator[tuple[int, Any]]:
    """What is said of some work units, by their places; older files have none of it."""
    for text, value in (_field(found, where, name, dict) if name in found else {}).items():
        place = _place(int(text) if text.isdecimal() else text, f"{where}{name}", length)
        if not isinstance(value, kind):
            raise _MalformedError(f"{where}{name}.{place} must be {_KINDS[kind]}, not {value!r:.60}")
        yield place, value


def _try(found: object, where: str) -> Try:
    if not isinstance(found, dict):
        raise _MalformedError(f"{where[:-1]} must be an object, not {found!r:.60}")
    reason = _field(found, where, "reason")
    if reason not in _REASONS:
        raise _MalformedError(f"{where}reason must be one of {', '.join(_REASONS)}, not {reason!r:.60}")
    seconds, delay = (_seconds(_field(found, where, name), f"{where}{name}") for name in ("seconds", "delay"))
    return Try(seconds, reason, delay, _amounts(found.get("spent", {}), f"{where}spent"))


def _amounts(found: object, where: str) -> dict[str, str]:
    if not isinstance(found, dict):
        raise _MalformedError(f"{where} must be an object, not {found!r:.60}")
    for name, amount in found.items():
        try:
            is_amount = isinstance(amount, str) and Fraction(amount) >= 0
        except (ValueError, ZeroDivisionError):
            is_amount = False
        if not is_amount:
            raise _MalformedError(f"{where}.{name} must be a number as text, not {amount!r:.60}")
    return found


def _field(found: dict[str, Any], where: str, name: str, kind: type = object) -> Any:
    if name not in found:
        raise _MalformedError(f"{where}{name} is missing")
    value = found[name]
    if not isinstance(value, kind):
        raise _MalformedError(f"{where}{name} must be {_KINDS[kind]}, not {value!r:.60}")
    return value


def _seconds(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise _MalformedError(f"{name} must be a number of seconds, not {value!r:.60}")
    return float(value)


def _place(value: object, name: str, length: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < length:
        raise _MalformedError(f"{name} must be a place in durations, not {value!r:.60}")
    return value
