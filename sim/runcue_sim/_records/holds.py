"""When nothing of a service could start, whatever its slots, rates and budgets allow.

Its server had refused some, its breaker was open, or somebody had paused it by hand.

Lives here: `Holds`, of one service or of one of its keys.

Must not know: what starts, who waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

Span: TypeAlias = tuple[float, float]
"""From when and until when."""

Look: TypeAlias = Callable[[], Mapping[str, Span]]
"""Tells by what a service is held at this instant, since when, and until when at the most."""

REFUSED: Final = "refused"
BROKEN: Final = "broken"
PAUSED: Final = "paused"

WORDS: Final = {
    REFUSED: "the server of {}, which had refused some",
    BROKEN: "the breaker of {}, open after failures",
    PAUSED: "the pause of {} by hand",
}
"""What has held a service, with its name."""


class Held(NamedTuple):
    """How much something has held a service.

    Attributes:
        by: What has.
        times: How often.
        seconds: For how long in all.
    """

    by: str
    times: int
    seconds: float


class Holds:
    """What has held one service, and when.

    Args:
        look: See `Look`; None: nothing but its server is known of.
    """

    def __init__(self, look: Look | None = None) -> None:
        self._look = look
        # Those that are over, in order, and none of one kind touches another one of that; and those that go on.
        self._over: dict[str, list[Span]] = {}
        self._open: dict[str, Span] = {}

    def __bool__(self) -> bool:
        return bool(self._over or self._open)

    def watch(self, now: float) -> None:
        """Something has happened: see by what it is held now."""
        if self._look is None:
            return
        there = self._look()
        if not there and not self._open:
            return
        for by, (since, until) in list(self._open.items()):
            if by not in there or there[by][0] > until:
                del self._open[by]
                self.add(by, since, min(until, now))
        for by, (since, until) in there.items():
            self._open[by] = (self._open.get(by, (since, until))[0], until)

    def add(self, by: str, since: float, until: float) -> None:
        """It was held so long."""
        spans = self._over.setdefault(by, [])
        while spans and spans[-1][1] >= since:
            start, end = spans.pop()
            since, until = min(since, start), max(until, end)
        spans.append((since, until))

    def by(self, since: float, until: float) -> list[Held]:
        """What has held it within a span, most of the time first."""
        found = []
        for by in {**self._over, **self._open}:
            spans = [*self._over.get(by, ()), *([self._open[by]] if by in self._open else ())]
            within = [(max(start, since), min(end, until)) for start, end in spans]
            lengths = [end - start for start, end in within if end > start]
            if lengths:
                found.append(Held(by, len(lengths), sum(lengths)))
        return sorted(found, key=lambda one: -one.seconds)
