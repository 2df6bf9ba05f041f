"""What handlers say that they have spent: `work.spent(tokens=712)`.

Lives here: `spend`. It may be called in any thread.

Must not know: how budgets are kept, how handlers run.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, Final

from runcue._limits.budget import Budget, charge_of
from runcue._model.amounts import amounts_of
from runcue._model.checks import nearest
from runcue._model.errors import ConfigurationError, UsageError
from runcue._model.phases import RUNNING, SETTLED
from runcue._model.texts import listed, name_of, words_of
from runcue._model.work import Work
from runcue._scheduling.lines import services_for

__all__ = ["spend"]

# A handler may say it from several threads of its own. Nobody else changes it as long as that runs.
_spending: Final = Lock()


def spend(work: Work, amounts: dict[str, Any]) -> None:
    """The handler of a work unit has spent so much more of budgets.

    Raises:
        ConfigurationError: There is no such budget, or an amount is none.
        UsageError: The handler does not run.
    """
    what = f"spent() of {name_of(work)}"
    services = services_for(work)
    budgets: list[Budget] = [one for service in services for one in service.all_budgets().values()]
    known = dict.fromkeys(name for service in services for name in service.budgets)
    if not amounts:
        example = next(iter(known), "tokens")
        raise ConfigurationError(
            f"{what} takes amounts by the names of budgets, such as spent({example}=712)."
        )
    given = amounts_of(amounts, what)
    for name in given:
        # One that was taken away while the handler runs is no mistake of its.
        if name not in known and name not in charge_of(work):
            near = nearest(name, known)
            there_is = f"there is {listed(map(repr, known))}" if known else "no service of its task has any"
            hint = f" Did you mean {near!r}?" if near is not None else ""
            raise ConfigurationError(f"{what} names the budget {words_of(name)}, and {there_is}.{hint}")
    with _spending:
        noted = [budget.spent(work, given[budget.name]) for budget in budgets if budget.name in given]
    if not any(noted) and work._phase != RUNNING:
        state = "has settled" if work._phase == SETTLED else "has not started"
        raise UsageError(f"{what} is called while its handler runs; {name_of(work)} {state}.")
