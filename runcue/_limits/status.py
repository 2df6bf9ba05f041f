"""A service at one instant, as those see it who merely look: `Service.status()`, `cue.services`.

Lives here: `ServiceStatus`, and what is in it. It is loaded when somebody looks.

Must not know: how limits are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, NamedTuple

from runcue._model.texts import shortened, words_of

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["BudgetStatus", "RateStatus", "ServerStatus", "ServiceStatus"]


@dataclass(frozen=True, slots=True)
class RateStatus:
    """One of the rates of a service at one instant.

    Attributes:
        text: As it was written.
        count: Starts allowed in any window of `period`.
        period: Seconds.
        tokens: Starts that it allows at this instant.
    """

    text: str
    count: int
    period: float
    tokens: int


class BudgetStatus(NamedTuple):
    """A budget of a service at one instant.

    Attributes:
        used: What the window that ends now has been charged, what is reserved for those that run among it.
        limit: What it may be charged in any window of `period`.
        period: Seconds.
        debt: What has yet to be charged, before anything else starts.

    Amounts are ints where they are whole, else Decimals.
    """

    used: int | Decimal
    limit: int | Decimal
    period: float
    debt: int | Decimal


class ServerStatus(NamedTuple):
    """One of the limits of its server, as the last answer has told of it and as it is reckoned since.

    Attributes:
        left: How much there is of it at this instant, less what has started since; 0.0 where it asks to wait.
        until: Seconds until this has no say any more.
        said: The header that has said so.
    """

    left: float
    until: float
    said: str


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A service and its limits at one instant.

    Attributes:
        name: Its name.
        concurrent: How many handlers may run at the same time, None if any number.
        in_use: How many slots are taken.
        rate: The rate as it was written, None if there is none (or a bucket decides). There may be several: "10/sec,
            500/min".
        count: Starts allowed by the rate in any window of `period`; of several the one that allows the fewest now.
        period: Seconds.
        tokens: Starts that the rate allows at this instant, None if there is none.
        next_token: Seconds until it allows one more; 0.0 if it does now, None if that is not known.
        burst: Size of the bucket (`burst=`, `limiter=`) that decides instead of a rate, None if there is none.
        per_second: Starts that flow back into it per second, None if there is none.
        limits: What the limits of your own (`limits=`) are called. What they allow depends on the work unit.
        paused: Seconds for which it stays paused by hand, math.inf until `resume()` is called; None if it is not. A key
            is as long as all of them are.
        budgets: Its budgets by name, each with what is used of it, its limit, its period and what is owed.
        throttled: Seconds until one is let through, as its server has refused some; 0.0 while that one runs; None: it
            has not.
        broken: The same of a breaker that is open.
        keys: With `per=`: how many keys there are whose limits remember something. Then all else is that of one key,
            if it was asked for that, and None or 0 if not. None without.
        rates: Each of its rates; none if a bucket decides.
        margin: Seconds by which each window is counted longer.
        server: What its server has said of its limits (`read_headers`) and still has a say, by what that counts:
            "requests", "tokens", "starts" if it does not say; "retry-after" where it asks to wait.
    """

    name: str
    concurrent: int | None
    in_use: int
    rate: str | None
    count: int | None
    period: float | None
    tokens: int | None
    next_token: float | None
    burst: float | None
    per_second: float | None
    limits: tuple[str, ...] = ()
    paused: float | None = None
    budgets: Mapping[str, BudgetStatus] = field(default_factory=dict)
    throttled: float | None = None
    broken: float | None = None
    keys: int | None = None
    rates: tuple[RateStatus, ...] = ()
    margin: float = 0.0
    server: Mapping[str, ServerStatus] = field(default_factory=dict)

    def __repr__(self) -> str:
        told = ", ".join(f"{one.name}={words_of(getattr(self, one.name))}" for one in fields(self))
        return shortened(f"ServiceStatus({told})")


# In tracebacks, in pickles and in documentation they are named as users import them.
for _public in (ServiceStatus, BudgetStatus, RateStatus, ServerStatus):
    _public.__module__ = "runcue"
