"""What is known of a work unit and of a service that books of a run are kept of, and nobody else asks for.

Lives here: what `runcue.rehearsal` offers of it: instants, costs, keys, and what holds a service.

Must not know: who keeps such books.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from runcue._limits.budget import charge_of
from runcue._limits.pause import Pause
from runcue._model.checks import says_what_it_takes
from runcue._model.errors import ConfigurationError
from runcue._model.texts import words_of
from runcue._model.work import Work
from runcue._registration.keys import service_of_key

if TYPE_CHECKING:
    from runcue._model.amounts import Amount

__all__ = ["Place", "cost_of", "holds_of", "keys_of", "not_before", "places_of", "spent_by"]


class Place(NamedTuple):
    """Where handlers run that do not run in the event loop, and that bounds how many of them run at once.

    Attributes:
        name: "threads" or "processes", those of the cue's own; "dask"; else the class of a pool, or "pool".
        slots: How many of them run there at once.
        is_known: Whether it is known how many workers it has. Of a pool that a function makes, and of a cluster, it is
            not before somebody works there: until then they count as `Cue(max_threads=)`.
    """

    name: str
    slots: int
    is_known: bool


# In tracebacks, in pickles and in documentation it is named as users import it.
Place.__module__ = "runcue.rehearsal"


@says_what_it_takes
def places_of(cue: Any) -> Mapping[str, Place]:
    """Where the handlers of tasks run, by the name of the task, as far as they are bounded by that.

    Threads bound those that no service has slots for, and so it is with commands, which are among the processes of the
    cue; processes and pools bound all that run there. Those that have the same object share its slots.

    Args:
        cue: The `runcue.Cue`.
    """
    places: dict[int, Place] = {}
    found = {}
    for task in _cue(cue, "places_of").tasks():
        slots = cue._core.run_queues.place_of(task.run_queue, cue._core.services)
        if slots is not None:
            is_known = getattr(task.executor, "is_known", True)
            found[task.name] = places.setdefault(id(slots), Place(slots.name, slots.concurrent, is_known))
    return found


@says_what_it_takes
def not_before(work: Work) -> float | None:
    """Before when a work unit does not start: it is for later, or waits for its next attempt.

    Args:
        work: Pending.

    Returns:
        Seconds of the event loop's clock, as far as is known; None if it may start at once.
    """
    attempts = _checked(work, "not_before")._attempts
    return None if attempts is None else attempts.again.at


@says_what_it_takes
def cost_of(work: Work) -> Mapping[str, Amount]:
    """What a work unit takes of each budget when it starts, by name.

    Args:
        work: Pending or running.
    """
    return charge_of(_checked(work, "cost_of"))


@says_what_it_takes
def spent_by(work: Work) -> Mapping[str, Amount]:
    """What the attempt of a work unit has spent of budgets by `work.spent()`, by name; others are not in it.

    Args:
        work: Running, or ended in this very step: observers may ask when they hear of that.
    """
    services = _checked(work, "spent_by")._task.run_queue.services_for(work)
    budgets = {name: budget for service in services for name, budget in service.all_budgets().items()}
    told = {name: budget.spent_by(work) for name, budget in budgets.items()}
    return {name: amount for name, amount in told.items() if amount is not None}


@says_what_it_takes
def keys_of(work: Work) -> Mapping[str, Hashable]:
    """The key that a work unit has in each service with limits per key (`per=`), by the name of the service.

    Args:
        work: Pending or running.
    """
    return {one.name: one.key for one in _checked(work, "keys_of")._keyed or ()}


@says_what_it_takes
def holds_of(cue: Any, name: str, key: Hashable = None) -> Callable[[], Mapping[str, tuple[float, float]]]:
    """A way to ask again and again whether nothing of a service can start, because of a pause or its breaker.

    Args:
        cue: The `runcue.Cue`.
        name: Of the service.
        key: Of a service with limits per key, the one that is meant.

    Returns:
        A function that says what holds it, "paused" or "broken", and from when until when: math.inf if nobody knows.
    """
    named = _cue(cue, "holds_of").get_service(name)
    service = cue._core.services[named]
    if key is not None:
        service = service_of_key(service, key)

    def look() -> Mapping[str, tuple[float, float]]:
        found = {}
        if isinstance(pause := service.installed("paused"), Pause):
            found["paused"] = (pause.since, pause.until)
        breaker = None if service.feedback is None else service.feedback.breaker
        if breaker is not None and breaker.is_open:
            found["broken"] = (breaker.since, inf)
        return found

    return look


def _checked(work: Any, call: str) -> Work:
    if not isinstance(work, Work) or not hasattr(work, "_task"):
        raise ConfigurationError(f"{call}() takes a runcue.Work of a cue, not {words_of(work)}.")
    return work


def _cue(cue: Any, call: str) -> Any:
    if not hasattr(type(cue), "get_service"):
        raise ConfigurationError(f"{call}() takes a runcue.Cue, not {words_of(cue)}.")
    return cue
