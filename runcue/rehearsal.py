"""Rehearsing: a cue as it is, with its limits, gates and priorities, but with nothing done and nobody told.

Lives here: `rehearse`, which takes away whoever listens to a cue or observes it, and puts a model in the place of each
handler; and `Overlay`, what the rehearsal has made, laid over what is really there. `runcue-sim` is made of them, and a
test of yours can be: on `runcue.testing.VirtualTimeLoop` a day of limits takes a second.

Must not know: where durations and outcomes come from, or what is made of what was seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Final

from runcue._api.cue import Cue
from runcue._artifacts.artifact import Artifact, key_of
from runcue._artifacts.changes import changed
from runcue._artifacts.file import File
from runcue._artifacts.reads import OVERLAY, READS
from runcue._freshness.newer import Verdict
from runcue._model.checks import check_callback, check_text, says_what_it_takes
from runcue._model.declaration import Declaration
from runcue._model.errors import ConfigurationError, UsageError
from runcue._model.rate import duration_or_none
from runcue._model.task import Task
from runcue._model.texts import words_of
from runcue._model.work import Work
from runcue._planning.facts import Place, cost_of, holds_of, keys_of, not_before, places_of, spent_by
from runcue._scheduling.core import Core
from runcue.testing import FakeExecutor

if TYPE_CHECKING:
    from datetime import timedelta


__all__ = [
    "Overlay",
    "Place",
    "StandIn",
    "cost_of",
    "holds_of",
    "keys_of",
    "not_before",
    "places_of",
    "rehearse",
    "set_limits",
    "spent_by",
]

_GONE: Final = 0


class Overlay:
    """What a rehearsal has made or unmade, laid over what is really there.

    An artifact that the rehearsal has not touched is asked itself: what is on the disk today counts.

    Attributes:
        silenced: The listeners and the methods of observers that were taken away.
    """

    def __init__(self) -> None:
        self.silenced: tuple[Callable[..., Any], ...] = ()
        # By key: when it was made, as a count, so that no two are made at one instant; _GONE if it was unmade.
        self._made: dict[Hashable, int] = {}
        self._count = 0

    def make(self, artifact: Artifact) -> None:
        """Make it: it is valid from now on, and newer than all that was made before."""
        self._count += 1
        self._set(artifact, self._count)

    def unmake(self, artifact: Artifact) -> None:
        """Let it vanish: it is not valid until it is made again."""
        self._set(artifact, _GONE)

    def _set(self, artifact: Artifact, made: int) -> None:
        key = _key_of(artifact)
        self._made[key] = made
        changed(key)

    def touched(self, artifact: Artifact) -> bool:
        """Whether the rehearsal has made or unmade it."""
        return _key_of(artifact) in self._made

    def valid(self, artifact: Artifact) -> bool:
        """Whether it is valid, as the rehearsal sees it."""
        made = self._made.get(_key_of(artifact))
        return bool(_really(artifact, "valid")) if made is None else made > _GONE

    def version(self, artifact: Artifact) -> Any:
        """Its version, as the rehearsal sees it: a count for what it has made."""
        made = self._made.get(_key_of(artifact))
        return _really(artifact, "version") if made is None else made or None

    def _older(self, inputs: tuple[Artifact, ...], outputs: tuple[Artifact, ...]) -> Verdict | None:
        """What makes outputs stale, for work units of which something was touched."""
        made = self._made
        # What is as it was before the rehearsal is older than all that it has made.
        newest = max(inputs, key=lambda one: made.get(key_of(one), 0), default=None)
        oldest = min(outputs, key=lambda one: made.get(key_of(one), 0))
        own = {key_of(one) for one in outputs}
        if newest is None or key_of(newest) in own:
            return None
        since = made.get(key_of(newest), 0)
        return ("older", oldest, newest) if since and since > made.get(key_of(oldest), 0) else None


def _key_of(artifact: Artifact) -> Hashable:
    """What tells an artifact from others.

    Raises:
        ConfigurationError: It is none.
    """
    if not isinstance(artifact, Artifact):
        raise ConfigurationError(
            f"A rehearsal makes artifacts, such as runcue.File(path), not {words_of(artifact)}."
        )
    return key_of(artifact)


def _really(artifact: Artifact, question: str) -> Any:
    """Ask an artifact itself."""
    token = READS.set(None)
    try:
        return getattr(artifact, question)()
    finally:
        READS.reset(token)


class StandIn(Artifact):
    """A declared artifact in a rehearsal: the overlay answers for it.

    Everything else (`path`, `name`, attributes of yours) is that of the real one.

    Args:
        real: The artifact as declared.
        overlay: What was made so far.
    """

    __slots__ = ("_overlay", "_real")
    _real: Artifact
    _overlay: Overlay

    def __init__(self, real: Artifact, overlay: Overlay) -> None:
        self._key = _key_of(real)
        self._real = real
        self._overlay = overlay

    @property
    def real(self) -> Artifact:
        """The artifact as declared."""
        return self._real

    def valid(self) -> bool:
        """Whether it is valid, as the rehearsal sees it."""
        return self._overlay.valid(self._real)

    def version(self) -> Any:
        """Its version, as the rehearsal sees it."""
        return self._overlay.version(self._real)

    def identity(self) -> Hashable:
        """That of the real one."""
        return self._key

    def problem(self) -> str:
        """What is wrong with it, as the end of a sentence that begins with its name."""
        return "is not made" if self._overlay.touched(self._real) else self._real.problem()

    def touch(self) -> None:
        """Make it anew in the rehearsal; the real one stays as it is."""
        self._overlay.make(self._real)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_real"), name)

    def __fspath__(self) -> str:
        path: str = self._real.__fspath__()  # type: ignore[attr-defined]
        return path

    def __str__(self) -> str:
        return str(self._real)

    def __repr__(self) -> str:
        return repr(self._real)


class _Freshness:
    """Stands for the freshness policy of a task: nothing is written, so nothing can be noted.

    Work units of which the rehearsal has touched nothing are up to date if the real policy says so.
    """

    quick = True

    def __init__(self, cue: Cue, overlay: Overlay) -> None:
        self._cue = cue
        self._overlay = overlay

    def stale(self, work: Work) -> Verdict | None:
        """See `runcue.abc.Freshness`."""
        declared = work._declared
        assert declared is not None
        overlay = self._overlay
        inputs = tuple(_real(one) for one in declared.inputs)
        outputs = tuple(_real(one) for one in declared.outputs)
        if any(map(overlay.touched, (*inputs, *outputs))):
            return overlay._older(inputs, outputs)
        token = READS.set(None)
        try:
            return self._cue._callbacks.declared_gate.why_stale(work, declared.rehearsed, inputs, outputs)
        finally:
            READS.reset(token)

    def started(self, work: Work) -> None:
        """See `runcue.abc.Freshness`."""

    def finished(self, work: Work) -> None:
        """See `runcue.abc.Freshness`."""


class _Cast:
    """Plays in the place of handlers and artifacts; see `_registration.registry.Understudy`."""

    def __init__(
        self,
        cue: Cue,
        overlay: Overlay,
        duration: Callable[[Work], float],
        outcome: Callable[[Work], Any] | None,
    ) -> None:
        self._overlay = overlay
        self._policy = _Freshness(cue, overlay)
        self._duration = duration
        self._outcome = outcome

    def replace_handler(self, task: Task) -> None:
        task.call = self._go_through if task.is_async else self._end
        task.load = None

    def lay_over(self, declared: Declaration) -> None:
        overlay = self._overlay
        declared.rehearsed = Declaration((), (), declared.fresh)
        declared.rehearsed.files, declared.rehearsed.whole = declared.files, declared.whole
        leads_to = [one for file in declared.inputs if isinstance(file, File) for one in file.pointed()]
        declared.inputs = declared.needs = tuple(StandIn(one, overlay) for one in declared.inputs)
        if leads_to:
            declared.needs += tuple(StandIn(one, overlay) for one in leads_to)
        pointed = declared.makes[len(declared.outputs) :]
        declared.outputs = declared.makes = tuple(StandIn(one, overlay) for one in declared.outputs)
        if pointed:
            declared.makes += tuple(StandIn(one, overlay) for one in pointed)
        declared.fresh = None if declared.fresh is None else self._policy
        declared.files = declared.whole = False

    async def _go_through(self, work: Work) -> Any:
        await asyncio.sleep(self._duration(work))
        return self._end(work)

    def _end(self, work: Work) -> Any:
        result = None if self._outcome is None else self._outcome(work)
        for artifact in () if work._declared is None else work._declared.makes:
            self._overlay.make(artifact)
        return result


def _real(artifact: Artifact) -> Artifact:
    return artifact._real if type(artifact) is StandIn else artifact


@says_what_it_takes
def rehearse(
    cue: Cue,
    duration: Callable[[Work], float],
    outcome: Callable[[Work], Any] | None = None,
    *,
    id_prefix: str | None = None,
    stall_timeout: float | str | timedelta | None = None,
) -> Overlay:
    """Turn a cue into one that only rehearses. There is no way back: make the real one anew.

    Its services, gates and priority stay. Its listeners and observers are taken away; those that come later hear. No
    handler is called any more: a work unit takes the time that `duration` says, and then ends as `outcome` does. When
    it has succeeded, its declared outputs count as made, without anything being written.

    Args:
        cue: Described, but neither started nor given any work.
        duration: Seconds for which a work unit will run.
        outcome: Returns its result or raises; None: the result is None.
        id_prefix: Fixes the first part of the ids.
        stall_timeout: Another one for the cue; None: its own.

    Returns:
        What the rehearsal makes.

    Raises:
        UsageError: The cue has been started or holds work units.
        ConfigurationError: A value cannot work.

    Example:
        >>> import asyncio
        >>> import runcue
        >>> from runcue.rehearsal import rehearse
        >>> from runcue.testing import run
        >>> cue = runcue.Cue()
        >>> model = cue.service("model", rate="60/min")
        >>> @cue.task("ask", uses=model)
        ... async def ask(work):
        ...     raise RuntimeError("this would cost money")
        >>> overlay = rehearse(cue, lambda work: 2.0)
        >>> async def main():
        ...     async with cue:
        ...         for number in range(601):
        ...             await cue.submit("ask", params={"number": number})
        ...     return asyncio.get_running_loop().time()
        >>> run(main)
        602.0
    """
    core = _untouched(cue, "rehearse()")
    check_callback(duration, "The duration of rehearse()", ("work",))
    if outcome is not None:
        check_callback(outcome, "The outcome of rehearse()", ("work",))
    timeout = core.stall.timeout
    if stall_timeout is not None:
        timeout = duration_or_none(stall_timeout, "stall_timeout of rehearse()")
    if id_prefix is not None:
        cue._intake.prefix = check_text(id_prefix, "id_prefix of rehearse()")
    core.stall.timeout = timeout
    overlay = Overlay()
    dispatcher = cue._dispatcher
    overlay.silenced = cue._listeners.silence()
    cue._registry.rehearse(_Cast(cue, overlay, duration, outcome))
    dispatcher.hand_off.stand_in(FakeExecutor(duration))
    # Gates ask through the overlay, in whatever context they are asked.
    dispatcher.asking.run(OVERLAY.set, overlay)
    cue._watched.clear()
    cue._drops.rehearse()
    return overlay


def _untouched(cue: Cue, call: str) -> Core:
    if not isinstance(cue, Cue):
        raise ConfigurationError(f"{call} takes a runcue.Cue, not {words_of(cue)}.")
    core = cue._core
    if cue._intake.loop is not None or core.submitted:
        raise UsageError("A cue can be rehearsed only before it is started and given work units.")
    return core


@says_what_it_takes
def set_limits(cue: Cue, limits: Mapping[str, Mapping[str, Any]]) -> None:
    """Give services other limits, to see what would change. What is not named stays.

    Args:
        cue: Described, but neither started nor given any work.
        limits: By service its options as for `Cue.service`, such as "rate" and "concurrent"; None takes one away. Of
            budgets as well, those that are not named stay.

    Raises:
        UsageError: The cue has been started or holds work units.
        UnknownService, ConfigurationError: The limits cannot be, or not beside those that stay.

    Example:
        >>> import runcue
        >>> from runcue.rehearsal import set_limits
        >>> cue = runcue.Cue()
        >>> llm = cue.service("llm", rate="60/min", burst=5, concurrent=3)
        >>> set_limits(cue, {"llm": {"rate": "600/min"}})
        >>> [status] = cue.services()
        >>> status.per_second, status.burst, status.concurrent
        (10.0, 5, 3)
    """
    _untouched(cue, "set_limits()")
    services = cue._services
    # All are read before the first is set.
    new = []
    for name, values in _items_of(limits, "limits of set_limits()"):
        given = dict(_items_of(values, f"limits of service {words_of(name)}"))
        if isinstance(given.get("budget"), Mapping):
            former = services.limits_of(services.find(name)).get("budget")
            there = {counted: one.text for counted, one in former.items()} if isinstance(former, dict) else {}
            budgets = _items_of({**there, **given["budget"]}, "budget")
            given["budget"] = {counted: one for counted, one in budgets if one is not None} or None
        new.append((name, services.changed(name, given)))
    for name, changed_limits in new:
        services.give(name, changed_limits)


def _items_of(value: object, what: str) -> list[tuple[Any, Any]]:
    """What a mapping holds.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        items = list(value.items()) if isinstance(value, Mapping) else None
    except Exception:  # what it does is its own business
        items = None
    if items is None:
        raise ConfigurationError(f"The {what} must be a mapping, not {words_of(value)}.")
    return items
