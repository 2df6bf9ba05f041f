"""What pending work units wait for, summed up from a few of each task.

Lives here: `Waits`, which asks `cue.why()`, and `Waiting`, one answer. `cue.debug_blocked()` would tell it of each of
them: of 100,000 that takes a second, for which the event loop would stand still. Here it is some 30 of each task, those
that have waited longest and those that came last, within a few milliseconds, and at most a hundredth of the time.

Must not know: how it is shown.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

import runcue

_EVERY: Final = 1.0
_SHARE: Final = 100.0
_BUDGET: Final = 0.005
_SAMPLED: Final = 16
# What has come just now was not even asked yet: it need not be explained, nor its gates be asked for that.
_SETTLING: Final = 0.5

_NO_WAIT: Final = frozenset(("about to start", "running", "completed", "skipped", "failed", "cancelled"))
_FOR_AN_INSTANT: Final = frozenset(("waiting for a retry", "waiting for its time"))
# Their details do not say what the matter is.
_UNTOLD: Final = frozenset(("no producer", "cycle", "upstream failed"))
# As the other texts have it.
_CALLED: Final[dict[str, str]] = {"upstream failed": "input not made"}
_HOPELESS: Final = _UNTOLD | {"waiting for an artifact", "not ready"}
# Ids of runcue and numbers: what else is alike in two texts is one reason.
_NUMBERS: Final = re.compile(r"\b[0-9a-f]{6}-\d+|\d+")


class Waiting(NamedTuple):
    """Work units of a task that wait for the same.

    Attributes:
        number: How many.
        task: The name of their task.
        details: What for. "#" stands for numbers that differ.
        for_turn: Whether it is only their turn that they wait for: a slot, a rate, an answer.
        about: Whether the number was inferred from some of them.
        ahead: Seconds until the last of those that were asked about may start at all; 0.0 if they may.
    """

    number: int
    task: str
    details: str
    for_turn: bool = False
    about: bool = False
    ahead: float = 0.0


class Waits:
    """Knows what waits for what, as of a second ago or so.

    Attributes:
        hopeless: Whether nothing that was asked about waits for its turn alone.
    """

    def __init__(self) -> None:
        self._found: tuple[Waiting, ...] = ()
        self._again = 0.0
        self._state: object = None
        self.hopeless = False

    def ask(
        self,
        cue: runcue.Cue,
        pending: Mapping[str, dict[runcue.Work, None]],
        wall: float,
        state: object = None,
    ) -> tuple[Waiting, ...]:
        """What waits for what, the most first.

        Args:
            cue: The cue.
            pending: The work units of each task that have not started, by its name.
            wall: The instant now, in seconds since the epoch, on the clock of the cue.
            state: When it is another one than before, what was found is no longer so.
        """
        began = time.monotonic()
        if began < self._again and state == self._state:
            return tuple(
                one._replace(number=min(one.number, len(pending[one.task])))
                for one in self._found
                if pending[one.task]
            )
        found: list[Waiting] = []
        self.hopeless = True
        self._state = state
        tasks = sorted(filter(pending.__getitem__, pending), key=lambda name: -len(pending[name]))
        for place, task in enumerate(tasks, 1):
            # Each has its share, so that one whose artifacts take long to look at leaves something to the others.
            if time.monotonic() - began < _BUDGET:
                found += self._of(cue, task, pending[task], wall, began + _BUDGET * place / len(tasks))
            else:
                self.hopeless = False  # nobody has asked
        self._found = tuple(sorted(found, key=lambda one: -one.number))
        ended = time.monotonic()
        self._again = ended + max(_EVERY, _SHARE * (ended - began))
        return self._found

    def _of(
        self, cue: runcue.Cue, task: str, pending: dict[runcue.Work, None], wall: float, until: float
    ) -> Iterator[Waiting]:
        asked = 0
        groups: dict[tuple[str, bool], list[str]] = {}
        ahead: dict[tuple[str, bool], float] = {}
        for work in some(pending):
            asked += 1
            if wall - work.created_at < _SETTLING:
                self.hopeless = False
                continue
            why = cue.why(work)
            for_turn = why.verdict not in _HOPELESS
            self.hopeless &= not for_turn
            if why.verdict not in _NO_WAIT:
                text = (
                    f"{_CALLED.get(why.verdict, why.verdict)}: {why.details}"
                    if why.verdict in _UNTOLD
                    else why.details
                )
                # What comes after the first clause tells more of each, and no longer what they have in common.
                key = (_NUMBERS.sub("#", text.partition("; ")[0]), for_turn)
                groups.setdefault(key, []).append(text)
                if why.verdict in _FOR_AN_INSTANT and why.eta is not None:
                    ahead[key] = max(ahead.get(key, 0.0), why.eta)
            if time.monotonic() > until:
                break
        for key, texts in groups.items():
            for_turn = key[1]
            if len(set(texts)) > 1:
                first_clauses = [text.partition("; ")[0] for text in texts]
                alike = len(set(first_clauses)) == 1
                texts = first_clauses if alike else [_NUMBERS.sub("#", text) for text in texts]
            count = round(len(texts) * len(pending) / asked)
            details, about = Counter(texts).most_common(1)[0][0], asked < len(pending)
            yield Waiting(count, task, details, for_turn, about, ahead.get(key, 0.0))


def some(pending: dict[runcue.Work, None]) -> Iterable[runcue.Work]:
    """Those that have waited longest and those that came last, and all if they are few."""
    if len(pending) <= _SAMPLED:
        return list(pending)
    return [*islice(pending, _SAMPLED // 2), *islice(reversed(pending), _SAMPLED // 2)]
