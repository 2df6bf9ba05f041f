"""Services as they are declared and changed: what is made of their limits.

Lives here: `Services`.

Must not know: tasks, how anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from runcue._callbacks.warning_log import WarningLog
from runcue._limits.guarded import Ask, Failed, GuardedLimit, Raised
from runcue._limits.heirs import FORMER_RATES, inherit
from runcue._limits.leaver import exchange
from runcue._limits.service import UNBOUNDED, Service, name_of
from runcue._limits.sliding_window import SlidingWindow
from runcue._limits.token_bucket import TokenBucket
from runcue._model.checks import check_name
from runcue._model.errors import ConfigurationError, UnknownService
from runcue._model.origin import Execution
from runcue._model.phases import JOINED
from runcue._model.rate import Rate
from runcue._model.texts import words_of
from runcue._model.work import Work
from runcue._registration.charges import look_at_cost
from runcue._registration.equipment import equip
from runcue._registration.keys import ByKey, function_of_work
from runcue._registration.limits import Limits, hint
from runcue._scheduling.core import Core
from runcue._scheduling.misfits import fault_of_change
from runcue.abc import Limit

if TYPE_CHECKING:
    from runcue._limits.budget import Budget
    from runcue._limits.keyed import KeyedService, KeyService

__all__ = ["Services"]


class _Declaration(NamedTuple):
    """What `Cue.service` has said of a service last, and in which execution of the program."""

    limits: Limits
    execution: Execution


class _Pattern:
    """What is made for each key of a service, worked out once: there may be a great many.

    Attributes:
        limits: What was said of the service.
        is_plain: Whether it is slots and windows alone, and those of all keys are alike.
        rates: Of the windows.
        margin: By that they are counted longer.
        slots: How many.
    """

    __slots__ = ("is_plain", "limits", "margin", "rates", "slots")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.rates: tuple[Rate, ...] = ()
        self.margin = limits.get("margin") or 0.0
        self.slots = UNBOUNDED
        slots, rates = limits.get("concurrent"), limits.get("rate")
        others = set(limits.set_options()) - {"rate", "concurrent", "margin", "per"}
        if not isinstance(limits.get("limits"), ByKey):
            others.discard("limits")
        self.is_plain = not others and isinstance(slots or 1, int) and not isinstance(rates, ByKey)
        if self.is_plain:
            self.rates, self.slots = rates or (), slots or UNBOUNDED


class Underway(Protocol):
    """What is on its way."""

    def now(self) -> float:
        """Monotonic."""

    def begun(self, service: Service) -> set[Work]:
        """The work units that may have been let start by a service, and have not given back what they took."""

    def starting(self, service: Service) -> int:
        """How many of these have not entered their handlers yet, at the most."""


class Services:
    """Enters services into a core, and changes them.

    Args:
        core: Gets them.
        ask: Calls the methods of limits that runcue has not written.
        failed: Takes a work unit that fails by what a limit has raised, and the error.
        unfit: Likewise, one that can never start any more, as limits were changed.
        raised: Tells of what a limit has raised where that disturbs nothing.
        unpriced: Told of a work unit that starts and says nothing of what it costs, and of a service of it that counts
            that.
        wake: Has everything looked at, after a change.
        underway: Knows what is on its way while limits are changed.
        log: Where it is told what becomes of services.
    """

    def __init__(
        self,
        core: Core,
        ask: Ask,
        failed: Failed,
        unfit: Failed,
        raised: Raised,
        unpriced: Callable[[Work, str], object],
        wake: Callable[[], object],
        underway: Underway,
        log: WarningLog,
    ) -> None:
        self._core = core
        self._ask = ask
        self._failed = failed
        self._unfit = unfit
        self._raised = raised
        self._unpriced = unpriced
        self._wake = wake
        self._underway = underway
        self._log = log
        self._declared: dict[str, _Declaration] = {}
        # What they have by now.
        self._limits: dict[str, Limits] = {}

    def add(self, name: object, given: Mapping[str, Any], execution: Execution) -> None:
        """Register a service; or find that it is there with the same limits, or give it others in a cell run again.

        Args:
            name: Its name.
            given: Options of `Cue.service` that were not left out; None takes one away.
            execution: In which execution of the program that is said.

        Raises:
            ConfigurationError: A value cannot work, or the service has other limits.
        """
        name = check_name(name, "service")
        said = _Declaration(Limits().but(name, given), execution)
        if name in self._core.services:
            self._declare_again(name, said, given)
        else:
            limits = self._limits[name] = said.limits
            if limits.get("per") is None:
                rates, own = self._rates(name, limits), self._own(name, limits.get("limits") or ())
                service = Service(name, rates, own=own, budgets=self._budgets(name, limits))
                equip(service, limits, self._opened)
                self._core.services[name] = service
            else:
                self._add_keyed(name, limits)
        self._declared[name] = said

    def _add_keyed(self, name: str, limits: Limits) -> None:
        """Register a service that has limits for each key."""
        from runcue._limits.keyed import KeyedService, KeyService  # noqa: PLC0415 - loaded with the first of them

        own = limits.get("limits") or ()
        pattern = _Pattern(limits)

        def make(service: KeyedService, key: Hashable) -> KeyService:
            nonlocal pattern
            if pattern.limits is not self._limits[name]:
                pattern = _Pattern(self._limits[name])
            if pattern.is_plain:
                one = KeyService(
                    service,
                    key,
                    [SlidingWindow(rate, pattern.margin) for rate in pattern.rates],
                    service.shared,
                )
                one.concurrent = pattern.slots
                return one
            its = pattern.limits.of_key(name, key)
            own = service.shared or self._own(name, its.get("limits") or ())
            one = KeyService(service, key, self._rates(name, its), own, self._budgets(name, its))
            equip(one, its, self._opened)
            return one

        per = function_of_work(limits.get("per"), f"per of service {name!r}")
        shared = [] if isinstance(own, ByKey) else self._own(name, own)
        service = self._core.services[name] = KeyedService(name, per, make, shared)
        service.template = self._template(name, limits)
        self._core.keyed.append(service)

    def _template(self, name: str, limits: Limits) -> dict[str, Budget] | None:
        """The budgets that each key has; None if they differ."""
        if isinstance(limits.get("budget"), ByKey):
            return None
        return {budget.name: budget for budget in self._budgets(name, limits)}

    def _declare_again(self, name: str, said: _Declaration, given: Mapping[str, Any]) -> None:
        known, limits = self._declared[name], self._limits[name]
        if said.execution.is_later(known.execution):
            for option in known.limits.set_options():
                if option not in given and limits.get(option) is not None:
                    raise ConfigurationError(
                        f"Service {name!r} is declared again without {option}=, which was set: {known.limits}. Write "
                        f"it as it was, or {option}=None to take that limit away."
                    )
            if given:
                self.give(name, self.changed(name, given))
        elif said.limits.differing(known.limits) and said.limits.differing(limits):
            raise ConfigurationError(
                f"Service {name!r} is already registered with other limits: {limits}; here it has: {said.limits}. To "
                f"change what it has, write cue.get_service({name!r}).change(...), with what is to be another; give "
                "these to another name if it is another service."
            )

    def find(self, name: object) -> str:
        """The name of a registered service, as a plain str.

        Raises:
            UnknownService: There is none of that name.
        """
        services = self._core.services
        if not isinstance(name, str) or name not in services:
            raise UnknownService(f"Unknown service: {words_of(name)}. {hint(name, services)}")
        return str.__str__(name)

    def limits_of(self, name: str) -> Limits:
        """What a service has by now."""
        return self._limits[name]

    def change(self, name: str, given: Mapping[str, Any]) -> None:
        """Give a service other limits, where they are named; see `Service.change`.

        Raises:
            ConfigurationError: A value cannot work, or not beside what stays.
        """
        self.give(name, self.changed(name, given))

    def changed(self, name: object, given: Mapping[Any, Any]) -> Limits:
        """What the limits of a service are with others among them, for `give`. What is not named stays as it is.

        Args:
            name: Of the service.
            given: Options that are to be others, as for `Cue.service`; None takes one away.

        Raises:
            UnknownService: There is none of that name.
            ConfigurationError: A value cannot work, or not beside what stays.
        """
        name = self.find(name)
        return self._limits[name].but(name, given)

    def give(self, name: str, limits: Limits) -> None:
        """Give a service the limits that `changed` has made of its own."""
        service, before = self._core.services[name], self._limits[name]
        if service.is_keyed:
            service = cast("KeyedService", service)
            # All of them before the first is changed: a function may raise.
            changes = [
                (one, before.of_key(name, one.key), limits.of_key(name, one.key)) for one in service.each()
            ]
            service.per = function_of_work(limits.get("per"), f"per of service {name!r}")
            service.template = self._template(name, limits)
            if not isinstance(own := limits.get("limits") or (), ByKey):
                service.shared = self._own(name, own)
            for one, was, will_be in changes:
                self._give(one, was, will_be, service.shared)
                if one.active:
                    self._core.run_queues.changed[one] = None
                one.reopen()
        else:
            self._give(service, before, limits)
        self._limits[name] = limits
        self._core.run_queues.note_change(service)
        for task in self._core.all_tasks:
            look_at_cost(task)
        if not {"budget", "oversize"}.isdisjoint(before.differing(limits)):
            self._fail_misfits(name)
        self._wake()

    def _give(
        self, service: Service, before: Limits, limits: Limits, shared: Sequence[GuardedLimit] = ()
    ) -> None:
        name, others = service.name, before.differing(limits)
        equip(service, limits, self._opened)
        if not {"rate", "burst", "limiter", "margin"}.isdisjoint(others):
            known = service.installed(FORMER_RATES)
            former = service.rates if known is None else (*service.rates, known)
            service.set_limits(rates=self._rates(name, limits))
            now = self._underway.now()
            left = inherit(service.rates, former, lambda: self._underway.starting(service), now)
            if left is not known:
                service.install(FORMER_RATES, left)
        if not {"budget", "oversize", "margin"}.isdisjoint(others):
            budgets = service.all_budgets()
            service.set_limits(budgets=self._budgets(name, limits, budgets))
            self._keep_dropped(service, budgets)
        if "limits" in others:
            self._exchange(service, list(shared or self._own(name, limits.get("limits") or ())))

    def _keep_dropped(self, service: Service, former: Mapping[str, Budget]) -> None:
        """Have budgets that a service has no longer remembered: they may be given again, and some still run."""
        from runcue._limits.dropped_budget import DroppedBudget, kind_of  # noqa: PLC0415 - see `_budgets`

        for counted, budget in former.items():
            kind = kind_of(counted)
            if counted in service.budgets:
                if service.installed(kind) is not None:
                    service.install(kind, None)
            elif service.installed(kind) is None:
                service.install(kind, DroppedBudget(budget))

    def _fail_misfits(self, name: str) -> None:
        """Fail the pending work units that can never have any more what they take of budgets of a service."""
        for work in list(self._core.pending_works()):
            if work._phase != JOINED and name in work._task.services and (error := fault_of_change(work)):
                self._unfit(work, error)

    def _exchange(self, service: Service, own: list[GuardedLimit]) -> None:
        """Let other limits of the user's take the place of those that a service has."""
        former = [limit for limit in service.own if isinstance(limit, GuardedLimit)]
        there, leavers = exchange(former, own, self._underway.begun(service))
        service.set_limits(own=there)
        for leaver in leavers:
            service.install(leaver.kind, leaver)

    def _rates(self, name: str, limits: Limits) -> tuple[Limit, ...]:
        """What keeps the rates of a service."""
        rates: tuple[Rate, ...] = limits.get("rate") or ()
        burst, limiter = limits.get("burst"), limits.get("limiter")
        margin = limits.get("margin") or 0.0
        if limiter is not None:
            return (self._guarded(limiter, f"the limiter of service {name!r}"),)
        if burst is not None:
            return (TokenBucket(burst, rates[0].per_second, rates[0].text, margin),)
        return tuple(SlidingWindow(rate, margin) for rate in rates)

    def _budgets(
        self, name: str, limits: Limits, former: Mapping[str, Budget] = MappingProxyType({})
    ) -> list[Budget]:
        """The budgets of a service. Those that it has had so far go on with what was charged to them."""
        if limits.get("budget") is None:
            return []
        # Loaded with the first of them, and so is what their work units need: later there may be no file to be had.
        import runcue._handlers.spending  # noqa: PLC0415
        import runcue._registration.costs  # noqa: F401, PLC0415
        from runcue._limits.budget import Budget  # noqa: PLC0415
        from runcue._limits.expenses import Expense  # noqa: PLC0415

        margin, borrows = limits.get("margin") or 0.0, limits.get("oversize") == "borrow"
        found = []
        for counted, allowance in limits.get("budget").items():
            budget = former.get(counted)
            if budget is None:
                expense = self._core.run_queues.expenses.setdefault(counted, Expense())
                expense.counted_by(name)
                unpriced = self._tell(name)
                budget = Budget(
                    counted, allowance, expense, borrows=borrows, margin=margin, unpriced=unpriced
                )
            else:
                budget.keep(allowance, self._underway.now(), borrows=borrows, margin=margin)
            found.append(budget)
        return found

    def _tell(self, name: str) -> Callable[[Work], None]:
        """Tells of work units that start and say nothing of what they cost."""

        def tell(work: Work) -> None:
            self._unpriced(work, f"service {words_of(name)}, which has {self._limits[name]},")

        return tell

    def _own(self, name: str, own: tuple[Limit, ...]) -> list[GuardedLimit]:
        return [self._guarded(limit, f"limit {name_of(limit)} of service {name!r}") for limit in own]

    def _guarded(self, limit: Limit, name: str) -> GuardedLimit:
        return GuardedLimit(limit, name, self._failed, self._raised, self._ask)

    def _opened(self, service: Service, words: str, work: Work) -> None:
        """The breaker of a service, or of one of its keys, has opened."""
        self._core.run_queues.broken.add(service)
        which = service.label[len(service.name) :]
        self._log.tell("breaker", (work,), "Service %r%s: %s", service.name, which, words)
