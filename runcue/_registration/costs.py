"""What work units take of budgets: checked where the mistake is made, and found out for each of them.

Lives here: the rules for `cost=` of tasks and submissions, and `price`, which asks for it.

Must not know: how budgets are kept, when a work unit starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from runcue._callbacks.forks import FORKS, leave
from runcue._limits.budget import Budget
from runcue._limits.service import Service
from runcue._model.amounts import amount_in_words, amounts_of
from runcue._model.awaitables import discard, is_awaitable
from runcue._model.callables import located
from runcue._model.checks import is_async, nearest
from runcue._model.errors import ConfigurationError, InvalidParams, LimitError, RuncueError
from runcue._model.kept_errors import kept
from runcue._model.no_answers import mistake_in
from runcue._model.overrides import Overrides
from runcue._model.task import Task
from runcue._model.texts import error_words, listed, message_of, words_of
from runcue._model.work import Work
from runcue._registration.tasks import by_names, check_function
from runcue._scheduling.lines import services_for

if TYPE_CHECKING:
    from runcue._model.amounts import Amount

__all__ = [
    "can_be_had",
    "check_cost",
    "check_fits",
    "check_names",
    "price",
]

_RAISED: Final = object()


def check_cost(value: Any, what: str) -> dict[str, Amount] | Callable[..., Any] | None:
    """Check what is said of costs: amounts by the names of budgets, or a plain function that gives them.

    Raises:
        ConfigurationError: It is neither.
    """
    if value is None or not callable(value):
        return None if value is None else amounts_of(value, what)
    check_function(value, what)
    if is_async(value):
        raise ConfigurationError(
            f"{what} must be given by a plain function, not by the `async def` {located(value)}: submit() needs it at "
            "once."
        )
    return value  # type: ignore[no-any-return]


def check_names(amounts: Any, services: Iterable[Service], what: str) -> None:
    """Check that there are the budgets that amounts are of.

    Args:
        amounts: By name; of a function that gives them nothing is known yet.
        services: Those that the task uses; of those with limits for each key what the keys of a work unit have, if that
            is known.
        what: What the amounts are, for the message.

    Raises:
        ConfigurationError: There is none of that name.
    """
    if amounts is None or callable(amounts):
        return
    services = tuple(services)
    if any(service.budgets_by_key for service in services):
        return  # it is seen for each key
    known = dict.fromkeys(name for service in services for name in service.named_budgets)
    for name in amounts:
        if name not in known:
            names = listed(words_of(service.name) for service in services)
            has = f"of {names} there is {listed(map(repr, known))}" if known else f"{names or 'none'} has one"
            if not known:
                has = f"{names} has none" if services else "it uses no service"
            near = nearest(name, known)
            hint = f" Did you mean {near!r}?" if near is not None else ""
            raise ConfigurationError(f"{what} names the budget {words_of(name)}, and {has}.{hint}")


def _misfit(services: Iterable[Service], amounts: Mapping[str, Amount]) -> tuple[str, Budget] | None:
    """The first budget that can never have what is taken of it, and what its service is called."""
    for service in services:
        for name, budget in service.named_budgets.items():
            if name in amounts and not budget.can_ever(amounts[name]):
                return words_of(service.name) + service.label[len(service.name) :], budget
    return None


def check_fits(services: Iterable[Service], amounts: Mapping[str, Amount], what: str) -> None:
    """Check that what is taken of budgets can ever be there.

    Raises:
        ConfigurationError: It is more than that.
    """
    if (found := _misfit(services, amounts)) is not None:
        service, budget = found
        raise ConfigurationError(
            f"{what} takes {amount_in_words(amounts[budget.name])} {budget.name} at once, and the budget of service "
            f"{service} never has more than {amount_in_words(budget.limit)} (per {budget.allowance.per}): it could "
            'never start. Let it take less, or write oversize="borrow" at the service.'
        )


def can_be_had(task: Task, amounts: Mapping[str, Amount]) -> bool:
    """Whether the services of a task have such budgets, and enough of each."""
    services = task.run_queue.services
    known = {name for service in services for name in service.named_budgets}
    return known.issuperset(amounts) and _misfit(services, amounts) is None


def price(work: Work, overrides: Overrides) -> LimitError | None:
    """Find out what a new work unit takes of budgets, by its task and its submission.

    A function that raises is the work's fault, not the submitter's: the work will fail by it.

    Returns:
        Why that cannot be found out, None if it has been.

    Raises:
        ConfigurationError: It is more than there ever is, or a value given to `submit()` cannot work.
    """
    task, cost = work._task, overrides.cost
    if cost is None and task.cost is None:
        return None
    if cost is None and callable(task.cost):
        return _ask(work, task.cost, None)
    if cost is not None:
        what = f"cost of a submission of task {task.name!r}"
        services = _services_of(work)
        check_names(cost, services, what)
        cost = by_names(cost, what, task.parameters)
        if callable(cost):
            return _ask(work, cost, what)
    else:
        services = _services_of(work)
        cost = task.cost
        check_names(cost, services, f"cost of task {task.name!r}")  # one may have been taken away
    work._charge = cost
    check_fits(services, cost, f"A work unit of task {task.name!r}")
    return None


def _services_of(work: Work) -> tuple[Service, ...]:
    """Those that its task uses; not what bounds them where no service has slots."""
    return tuple(one for one in services_for(work) if one.name in work._task.services)


def _ask(work: Work, cost: Callable[..., Any], what: str | None) -> LimitError | None:
    """Ask a function what a new work unit takes; see `price`.

    Args:
        work: That one.
        cost: The function.
        what: What it is, for messages; None: that of its task.
    """
    forks, given = FORKS.number, _RAISED
    work._charge = {}
    try:
        given = cost(work)
        if FORKS.number != forks:
            leave(None)
        if type(given) is dict and _is_plain(given, work._task.run_queue.budgets):
            work._charge = given.copy()
            return None
        amounts = amounts_of(_at_once(given), "it")
        services = _services_of(work)
        check_names(amounts, services, "it")
    except (KeyboardInterrupt, InvalidParams):  # it lacks a param
        raise
    except BaseException as error:
        if FORKS.number != forks:
            leave(error)
        return _fault_of(work, what or f"cost of task {work._task.name!r}", cost, error, given)
    work._charge = amounts
    check_fits(services, amounts, f"A work unit of task {work._task.name!r}")
    return None


def _is_plain(given: dict[Any, Any], budgets: Iterable[Budget]) -> bool:
    """Whether these are whole amounts of budgets that all keys share, and there is as much: nearly always they are.

    Then the rest need not be looked at, which takes a quarter of what runcue does for such a work unit as a whole.
    """
    known = 0
    for budget in budgets:
        amount = given.get(budget.name, _RAISED)
        if amount is not _RAISED:
            if type(amount) is not int or not 0 <= amount <= budget.limit:
                return False
            known += 1
    return known == len(given)


def _at_once(given: Any) -> Any:
    """What a function has given, unless it would have to be awaited, or nothing of it has run.

    Raises:
        ConfigurationError: It would.
    """
    if is_awaitable(given):
        discard(given)
        raise ConfigurationError(
            "it gave something to be awaited; a cost is needed at once, by a plain function"
        )
    if given is None or isinstance(given, (GeneratorType, AsyncGeneratorType)):
        raise ConfigurationError(
            "it returned None; is a `return` missing?"
            if given is None
            else "it gave a generator: write `return`"
        )
    if (
        type(given) is not dict
        and not isinstance(given, Mapping)
        and (mistake := mistake_in(given)) is not None
    ):
        raise ConfigurationError(f"it {mistake}")
    return given


def _fault_of(
    work: Work, what: str, function: Callable[..., Any], error: BaseException, given: Any
) -> LimitError:
    """The error of a work unit of which it cannot be said what it costs."""
    params = f"(params {words_of(work.params)})"
    if given is not _RAISED and isinstance(error, RuncueError):
        # Nobody has raised anything there: what was returned is no good, and the traceback would be runcue's.
        return LimitError(f"{what}, by {located(function)}: {message_of(error)} {params}")
    fault = LimitError(f"{what} raised {error_words(error)} in {located(function)} {params}")
    fault.__cause__ = kept(error)  # it is kept with the work unit, and who has submitted that still runs
    return fault
