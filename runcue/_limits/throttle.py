"""A pause of a service whose server has said "too many": for all of a burst once, and then one goes first.

Lives here: `Throttle`. A burst of answers 429 is one event: those whose attempts began before the pause belong to it,
and the latest instant that one of them was told counts. At that instant one work unit is let through, the probe. When
it has ended in any other way, or has run for twice as long as it took the throttled ones to be refused, it has passed,
and the rest follow. Where nobody says for how long, the pause is a second, then two, then four, up to a minute, until
one passes (bullmq#1571: a pause for each of a burst; hermes-agent#109234: all at once after it).

The rest do not follow at once: what was refused together would come together again. They are spread, by chance, over a
tenth of the pause, at most five seconds.

Must not know: what an answer 429 looks like, which service it is, where chance comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nextafter
from typing import Any, Final

from runcue._model.texts import seconds_in_words
from runcue._model.work import Work
from runcue.abc import Limit

__all__ = ["FIRST_WAIT", "LONGEST_WAIT", "Throttle", "doubled", "nth_wait"]

FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 60.0
"""Seconds of a pause of which nobody has said how long it is: of the first one, and at the most."""

_UP_TO_THE_LONGEST: Final = 10
"""So often it is doubled at the most."""

_SPREAD: Final = 0.1
_MOST_SPREAD: Final = 5.0
"""Over so much of the pause, and so many seconds at the most, the rest are spread."""

_AT_LEAST: Final = 10
"""Over that they are spread as if they were so many, however few were refused: the others wait in line."""

_LONG_ENOUGH: Final = 2.0
_AT_ONCE: Final = 0.05
"""So many times as long as it took the throttled ones to be refused, and so many seconds at least, a probe has to run
to
have passed: what is refused without an answer of a server takes no time."""


def doubled(wait: float) -> float:
    """The pause after one of so many seconds, of which nobody has said how long it is; 0: there was none."""
    return min(max(FIRST_WAIT, 2 * wait), LONGEST_WAIT)


def nth_wait(number: int) -> float:
    """The last of so many pauses in a row of which nobody has said how long they are."""
    return min(FIRST_WAIT * 2.0 ** min(number - 1, _UP_TO_THE_LONGEST), LONGEST_WAIT)


class Throttle(Limit):
    """The pauses of one service.

    Args:
        luck: Gives numbers from 0.0 to 1.0.

    Attributes:
        until: Before this instant nothing starts; -inf: it was never throttled, or somebody has ended that.
        closed: Whether it is throttled: paused, or its probe has not passed yet.
        probe: The work unit that is let through first, once it has started.
        served_at: When an attempt that began after the pause has ended otherwise than by being refused; -inf: never.
    """

    kind = "throttle"
    __slots__ = (
        "_began",
        "_gap",
        "_later",
        "_luck",
        "_next",
        "_paused",
        "_paused_since",
        "_probe_returned",
        "_probed_at",
        "_returned",
        "_size",
        "_spread_until",
        "_took",
        "_wait",
        "closed",
        "probe",
        "served_at",
        "until",
    )

    def __init__(self, luck: Callable[[], float]) -> None:
        self._luck = luck
        self.until = self._began = self.served_at = -inf
        self.closed = False
        self.probe: Work | None = None
        # When its handler was entered; None: that is not known yet. Whether it has returned, and nobody has said how.
        self._probed_at: float | None = None
        self._probe_returned = False
        # Those that have begun since the pause did, and that of them which has returned in this step: what these are
        # told is another burst.
        self._later: dict[Work, None] = {}
        self._returned: Work | None = None
        # How many belong to the burst, the longest that one of them has run, and the last pause of unknown length.
        self._size = 0
        self._took = self._wait = 0.0
        # Seconds of pauses, but for the last one or those that went over into each other; and when these began.
        self._paused = self._paused_since = 0.0
        # While the rest are spread: until when, when the next one comes, and how far apart they are on average.
        self._spread_until = self._next = -inf
        self._gap = 0.0

    def throttled(
        self, now: float, run: Work, seconds: float | None, took: float, at_least: float = 0.0
    ) -> float:
        """The server has refused an attempt.

        Args:
            now: Monotonic.
            run: The work unit whose attempt it was.
            seconds: For how long it is to be left in peace; None: nobody has said.
            took: How long the handler has run.
            at_least: If nobody has said: what would follow for the work unit alone, which was refused before.

        Returns:
            The instant from which on it may be tried again.
        """
        belongs = self._began > -inf and not self._began_later(run)
        self._returned = None
        self._look(now)
        if not belongs:
            self._began = now
            self._later.clear()
            self._size, self._took = 0, 0.0
            if seconds is None:
                seconds = self._wait = max(doubled(self._wait), at_least)
            self._pause_until(now, max(self.until, now + seconds))
            self._close()
        elif seconds is not None and now + seconds > self.until:
            self._pause_until(now, now + seconds)
            if not self.closed:
                self._close()
        self._size += 1
        self._took = max(self._took, took)
        return max(self.until, now)

    def _pause_until(self, now: float, until: float) -> None:
        if now > self.until:
            self._paused, self._paused_since = self.paused(now), now
        self.until = until

    def paused(self, now: float) -> float:
        """Seconds of all its pauses so far."""
        return self._paused + max(0.0, min(now, self.until) - self._paused_since)

    def over(self, at: float) -> float:
        """When the pause is over that an instant lies in; that instant if it lies in none, or an earlier one."""
        return self.until if self._paused_since <= at < self.until else at

    def is_probe(self, now: float, run: Work) -> bool:
        """Whether an attempt was let through first, and has not passed."""
        self._look(now)
        return run is self.probe

    def is_probed(self, now: float) -> bool:
        """Whether one that was let through first runs, and has not passed. One that was cancelled is replaced."""
        if self.probe is not None and (self._probe_returned or self.probe.cancelled):
            self._dismiss_probe()
        self._look(now)
        return self.probe is not None

    def _began_later(self, run: Work) -> bool:
        """Whether an attempt has begun since the pause has."""
        return run in self._later or run is self._returned

    def _look(self, now: float) -> None:
        """See whether the probe has run for long enough."""
        if self.probe is not None and now >= (passes := self._passes()):
            self._pass(passes)

    def _close(self) -> None:
        self.closed = True
        self._dismiss_probe()
        self._spread_until = self._next = -inf

    def _dismiss_probe(self) -> None:
        self.probe = self._probed_at = None
        self._probe_returned = False

    def ended(self, now: float, run: Work, how: object, /) -> None:
        """An attempt has ended, in another way than by being refused here."""
        if self._began_later(run):
            self._wait = 0.0  # not before: one that has run for long may be refused nevertheless
            self.served_at = now
        self._returned = None
        self._look(now)
        if run is self.probe:
            self._pass(now)

    def replace(self, run: Work) -> None:
        """An attempt was refused that pauses nobody else. If it was the probe, another one goes first."""
        self._returned = None
        if run is self.probe:
            self._dismiss_probe()

    def _pass(self, at: float) -> None:
        """The probe has passed, at that instant."""
        self._dismiss_probe()
        if at < self.until:
            return  # somebody else was told to wait for longer, and then there is another one
        self.closed = False
        spread = min((self.until - self._began) * _SPREAD, _MOST_SPREAD)
        self._spread_until = at + spread
        self._gap = spread / max(self._size, _AT_LEAST)
        self._next = min(at + 2 * self._luck() * self._gap, self._spread_until)

    def resume(self) -> None:
        """End the pause by hand: all may start."""
        self.closed = False
        self.until = self._spread_until = self._next = -inf
        self._wait = 0.0
        self._dismiss_probe()

    def shift(self, by: float) -> None:
        """The clock is another one from now on, that much ahead."""
        self.until += by
        self._began += by
        self._paused_since += by
        self.served_at = -inf  # what it is compared with is not told of the clock
        self._spread_until += by
        self._next += by
        if self._probed_at is not None:
            self._probed_at += by

    def room(self, now: float, work: Work, /) -> bool:
        """See `Limit.room`."""
        if self.closed:
            if now < self.until:
                return False
            is_probed = self.is_probed(now)
            if self.closed:
                return not is_probed
        return now >= self._next or now >= self._spread_until

    def _passes(self) -> float:
        """When the probe that runs has run for long enough; inf while it is not known when it was entered."""
        return inf if self._probed_at is None else self._probed_at + max(_LONG_ENOUGH * self._took, _AT_ONCE)

    def next_room(self, now: float, work: Work, /) -> float:
        """See `Limit.next_room`."""
        when = self.until if now < self.until else self._passes() if self.closed else self._next
        # A timer for now would fire for ever.
        return max(when, nextafter(now, inf))

    def acquire(self, now: float, work: Work, /) -> None:
        """See `Limit.acquire`."""
        self._later[work] = None
        if self.closed:
            self.probe = work
        elif now < self._spread_until:
            self._next = min(now + 2 * self._luck() * self._gap, self._spread_until)

    def entered(self, now: float, work: Work, at: float, /) -> None:
        """See `Limit.entered`."""
        if work is self.probe:
            self._probed_at = at

    def release(self, now: float, work: Work, actual: Any, /) -> None:
        """See `Limit.release`. How it has ended is said in the same step, unless nobody waits for it any longer."""
        self._look(now)  # it may have passed before it was cancelled, while nobody could look
        self._returned = None
        if work in self._later:
            del self._later[work]
            self._returned = work
        if work is self.probe:
            self._probe_returned = True

    def unused_from(self) -> float:
        """From when on nothing is left of it but that its pause is over; inf while some run that may be told more."""
        if self._later:
            return inf
        # The next pause is twice as long, if it comes soon.
        return max(self.until + (LONGEST_WAIT if self._wait else 0.0), self._spread_until)

    def at_least(self, works: object, /) -> float:
        """See `Limit.at_least`."""
        return 0.0

    def describe(self, now: float, work: Work, /) -> str:
        """See `Limit.describe`."""
        if not self.closed:
            return f"its server had refused some, the rest follow one by one, the next {_in_seconds(self._next - now)}"
        if now < self.until:
            return f"its server has refused some, one is let through {_in_seconds(self.until - now)}"
        return "its server has refused some, one was let through, and the rest follow when that has passed"


def _in_seconds(seconds: float) -> str:
    return f"in {seconds_in_words(round(seconds, 1))}"
