"""runcue decides when background work runs; your code decides what it does.

A `Cue` holds services (rate and concurrency limits), tasks (handlers) and pending work units. Before it runs a work
unit it asks your code two questions: `is_ready` (are the inputs valid?) and `is_stale` (is the output missing or
old?).

Everything public is named here, and in `runcue.executors` what can be given for `run_in=`. `runcue.testing` (a virtual
clock, fakes, a recorder), `runcue.rehearsal` (a cue that only pretends), `runcue.timeline` (a picture of a run),
`runcue.submissions` (submissions as they are written down) and `runcue.abc` (the Protocols behind the seams) are
imported by name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from runcue._api.cue import Cue
from runcue._api.handle import NotSettled, WorkHandle
from runcue._api.run import run
from runcue._artifacts.artifact import Artifact
from runcue._artifacts.file import File, exists
from runcue._artifacts.flag import Flag
from runcue._freshness.newer import newer
from runcue._handlers.outputs import atomic_write
from runcue._model.attempts import Attempt, GiveUp, RetryLater, Throttled
from runcue._model.errors import (
    ArtifactError,
    CommandFailed,
    ConfigurationError,
    CueFailed,
    CueStopped,
    DuplicateTask,
    DuplicateWork,
    HandlerExited,
    InvalidParams,
    LimitError,
    MissingOutput,
    PendingTimeout,
    PublishError,
    RemoteError,
    RetryError,
    RuncueError,
    StallTimeout,
    UnknownService,
    UnknownTask,
    UnknownWork,
    UsageError,
    WorkCancelled,
    WorkerDied,
    WorkTimeout,
    WrongLoop,
)
from runcue._model.phases import WorkState
from runcue._model.priority import PriorityContext
from runcue._model.summary import Durations, Spent, Summary
from runcue._model.task import Task
from runcue._model.work import Work
from runcue._scheduling.retry import Retry
from runcue.abc import Observer

__all__ = [
    "Adaptive",
    "Artifact",
    "ArtifactError",
    "Attempt",
    "Blocking",
    "Breaker",
    "BudgetStatus",
    "CommandFailed",
    "ConfigurationError",
    "Cue",
    "CueFailed",
    "CueFull",
    "CueStopped",
    "Cycle",
    "DuplicateTask",
    "DuplicateWork",
    "Durations",
    "File",
    "Flag",
    "GiveUp",
    "Group",
    "HandlerExited",
    "InvalidParams",
    "LimitError",
    "Map",
    "Missing",
    "MissingOutput",
    "NotSettled",
    "Observer",
    "Passing",
    "PendingTimeout",
    "Plan",
    "PlannedWork",
    "PriorityContext",
    "PublishError",
    "RateStatus",
    "RemoteError",
    "Retry",
    "RetryError",
    "RetryLater",
    "RuncueError",
    "ServerStatus",
    "Service",
    "ServiceStatus",
    "ServiceTime",
    "Spent",
    "StallTimeout",
    "Summary",
    "Task",
    "Throttled",
    "Turn",
    "UnknownService",
    "UnknownTask",
    "UnknownWork",
    "UsageError",
    "Why",
    "WhyAll",
    "WhyGroup",
    "WhyStale",
    "Work",
    "WorkCancelled",
    "WorkHandle",
    "WorkState",
    "WorkTimeout",
    "WorkUnit",
    "WorkerDied",
    "WrongLoop",
    "atomic_write",
    "blocking",
    "digest",
    "exists",
    "http_errors",
    "newer",
    "progress",
    "run",
    "shell",
]

__version__ = "0.1.0"

WorkUnit = Work
"""The former name of `Work`."""

if TYPE_CHECKING:
    from runcue import executors as executors
    from runcue._api.blocking import Blocking, blocking
    from runcue._api.group import Group
    from runcue._api.many import Map
    from runcue._api.service import Service
    from runcue._callbacks.http_errors import http_errors
    from runcue._explain.answers import Why, WhyStale
    from runcue._explain.missing import Missing
    from runcue._explain.turn import Passing, Turn
    from runcue._explain.why_all import WhyAll, WhyGroup
    from runcue._freshness.digest import digest
    from runcue._handlers.commands import shell
    from runcue._lifecycle.room import CueFull
    from runcue._limits.adaptive import Adaptive
    from runcue._limits.breaker import Breaker
    from runcue._limits.status import BudgetStatus, RateStatus, ServerStatus, ServiceStatus
    from runcue._planning.plan import Cycle, Plan, PlannedWork, ServiceTime
    from runcue.console import progress

# Needed by few, and dear to import.
_LATE = {
    "Adaptive": "_limits.adaptive",
    "Blocking": "_api.blocking",
    "Breaker": "_limits.breaker",
    "CueFull": "_lifecycle.room",
    "Cycle": "_planning.plan",
    "Group": "_api.group",
    "Map": "_api.many",
    "Missing": "_explain.missing",
    "Passing": "_explain.turn",
    "Plan": "_planning.plan",
    "PlannedWork": "_planning.plan",
    "Service": "_api.service",
    "BudgetStatus": "_limits.status",
    "RateStatus": "_limits.status",
    "ServerStatus": "_limits.status",
    "ServiceStatus": "_limits.status",
    "ServiceTime": "_planning.plan",
    "Turn": "_explain.turn",
    "Why": "_explain.answers",
    "WhyAll": "_explain.why_all",
    "WhyGroup": "_explain.why_all",
    "WhyStale": "_explain.answers",
    "blocking": "_api.blocking",
    "digest": "_freshness.digest",
    "http_errors": "_callbacks.http_errors",
    "progress": "console",
    "shell": "_handlers.commands",
}


if not TYPE_CHECKING:  # to a type checker there would be whatever it is asked for

    def __getattr__(name: str) -> Any:
        room = _LATE.get(name)
        if name == "executors":
            return import_module(f"{__name__}.{name}")
        if room is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{room}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


for _name in __all__:
    # In tracebacks, in pickles and in documentation a class is named as its users import it.
    if _name not in _LATE and isinstance(globals()[_name], type):
        globals()[_name].__module__ = __name__
