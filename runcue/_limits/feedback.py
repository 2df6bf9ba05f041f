"""What a service learns from the ends of attempts: that its server refuses some, how many it takes, that it is down.

Lives here: `Feedback`, which has the limits that follow from that, and hands them what is heard. Most services have
none: a service that has neither a breaker nor adaptive slots, and was never throttled, hears of no end.

Must not know: what an error means, which work units use the service.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias

from runcue._limits.adaptive import AdaptiveSlots
from runcue._limits.breaker import BreakerLimit
from runcue._limits.throttle import Throttle
from runcue._model.work import Work

__all__ = ["Feedback", "How"]

How: TypeAlias = 'BaseException | Literal["passed", "otherwise"]'
"""How an attempt has ended: it has succeeded; it has failed, by that error; or what it did says nothing of a server."""


class Slots(Protocol):
    """A service, as far as it is known here.

    Attributes:
        concurrent: How many slots it has.
    """

    concurrent: int


class Feedback:
    """What one service has learned. It does not know the service: of those for keys, nothing is to keep one alive.

    Attributes:
        throttle: Its pauses, None if there never was one.
        slots: What moves its slots, None if nothing does.
        breaker: Its breaker, None if it has none.
        opened: Told that it has opened: of which service, in words, by the attempt of which work unit.
    """

    __slots__ = ("breaker", "opened", "slots", "throttle")

    def __init__(self) -> None:
        self.throttle: Throttle | None = None
        self.slots: AdaptiveSlots | None = None
        self.breaker: BreakerLimit | None = None
        self.opened: Callable[[Any, str, Work], object] = _not_told

    def ended(self, service: Slots, now: float, run: Work, how: How) -> None:
        """An attempt has ended, in another way than by being refused by this service.

        Args:
            service: That one.
            now: Monotonic.
            run: The work unit that its handler was started for.
            how: See `How`.
        """
        if self.breaker is not None and self.breaker.ended(now, run, how):
            self.opened(service, self.breaker.describe(now, run), run)
        if self.throttle is not None:
            self.throttle.ended(now, run, how)
        if self.slots is not None:
            self.slots.ended(now, run, how)
            service.concurrent = self.slots.number

    def throttled(
        self,
        service: Slots,
        now: float,
        run: Work,
        seconds: float | None,
        took: float,
        luck: Callable[[], float],
        alone: float = 0.0,
    ) -> float | None:
        """The server has refused an attempt.

        Args:
            service: Whose.
            now: Monotonic.
            run: The work unit that its handler was started for.
            seconds: For how long it is to be left in peace; None: nobody has said.
            took: How long the handler has run.
            luck: Gives numbers from 0.0 to 1.0.
            alone: Seconds for which the work unit would have to wait alone, if nobody has said for how long.

        Returns:
            The instant from which on it may be tried again; None: the service does not pause, but the work unit alone.
        """
        if self.breaker is not None:
            self.breaker.ended(now, run, "otherwise")
        if self.slots is not None:
            refuses_all = self.slots.throttled(run)
            service.concurrent = self.slots.number
            if seconds is None and not refuses_all:
                if self.throttle is not None:
                    self.throttle.replace(run)
                return None
        if self.throttle is None:
            self.throttle = Throttle(luck)
        # Where work units have waited alone, the service goes on from there.
        return self.throttle.throttled(now, run, seconds, took, 0.0 if self.slots is None else alone)

    def resume(self) -> None:
        """Let the service go on, whatever it has learned that keeps it from that."""
        if self.throttle is not None:
            self.throttle.resume()
        if self.breaker is not None:
            self.breaker.close()

    def status(self, now: float) -> tuple[float | None, float | None]:
        """Seconds until one is let through by its throttle, and by its breaker; None: that lets all pass."""
        throttle, breaker = self.throttle, self.breaker
        return (
            max(0.0, throttle.until - now) if throttle is not None and throttle.closed else None,
            max(0.0, breaker.until - now) if breaker is not None and breaker.is_open else None,
        )

    def shift(self, by: float) -> None:
        """The clock is another one from now on, that much ahead."""
        if self.throttle is not None:
            self.throttle.shift(by)
        if self.breaker is not None:
            self.breaker.until += by
            self.breaker.since += by

    def is_broken(self, now: float) -> bool:
        """Whether its breaker lets nothing start for a while."""
        return self.breaker is not None and now < self.breaker.until


def _not_told(service: object, words: str, work: Work) -> None:
    """A service that has no breaker."""
