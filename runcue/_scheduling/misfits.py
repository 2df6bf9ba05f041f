"""Work units that can never start any more, as the budgets that they take of were changed, or taken away.

What waits fails when that happens; what runs at that moment, and what has joined another one, when it would come back
or take that one's place.

Lives here: `fault_of_change`.

Must not know: who changes budgets, how anything fails.
"""

from __future__ import annotations

from runcue._model.errors import LimitError
from runcue._model.texts import listed, name_of, words_of
from runcue._model.work import Work
from runcue._scheduling.lines import services_for

__all__ = ["fault_of_change"]


def fault_of_change(work: Work) -> LimitError | None:
    """Why a work unit can never start any more, as limits were changed; None if it can."""
    charge = work._charge
    if charge is None:
        charge = work._task.charge
    if not charge:
        return None
    from runcue._model.amounts import amount_in_words  # noqa: PLC0415 - who has a charge has loaded it

    services = services_for(work)
    for name, amount in charge.items():
        what = f"{name_of(work)} takes {amount_in_words(amount)} {name}"
        those = [service for service in services if name in service.budgets]
        if not those:
            used = listed(words_of(service.name) for service in services)
            return LimitError(f"{what}, and there is no budget of that name any more: {used} was changed.")
        for service in those:
            budget = service.budgets[name]
            if not budget.can_ever(amount):
                return LimitError(
                    f"{what} at once, and the budget of service {service.name!r} was changed, so that it never has "
                    f"more than {amount_in_words(budget.limit)} (per {budget.allowance.per}): it can never start."
                )
    return None
