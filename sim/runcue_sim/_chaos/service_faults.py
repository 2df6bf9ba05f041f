"""What becomes of the limits of services while work units run: they are changed, and paused by hand.

Lives here: `Turn`, one of these; `turns_of`, which draws those of a service; `limits_after`, what its limits are then.

Must not know: cues, event loops, who judges what starts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from runcue_sim._chaos.invariants import Limits

__all__ = ["Turn", "limits_after", "turns_of"]

_MOST = 4
_SHORT = 0.001


class Turn(NamedTuple):
    """Something that is done to a service.

    Attributes:
        kind: "change" or "pause".
        after: Seconds since the life began.
        options: Of "change": what is to be another.
        seconds: Of "pause": for how long; 0.0: it is let go on.
    """

    kind: str
    after: float
    options: dict[str, Any]
    seconds: float = 0.0


def turns_of(
    service: str,
    limits: Limits,
    kinds: Collection[str],
    rolls: Callable[..., tuple[float, float, float, float]],
    after: Callable[[float], float],
) -> list[Turn]:
    """What becomes of a service in one life, in the order of time.

    Args:
        service: Its name.
        limits: Those that it begins with.
        kinds: Which faults may happen.
        rolls: Rolls four dice by names.
        after: Makes an instant of a roll.
    """
    turns = []
    for kind in ("change", "pause"):
        number, _, _, _ = rolls(kind, service)
        for nth in range(int(number * (_MOST + 1)) if kind in kinds else 0):
            when, what, how, length = rolls(kind, service, nth)
            at = after(when) * (1 + nth)
            if kind == "pause":
                # Who lets a service go on has the last word over its server as well; that is another matter.
                goes_on = how < 0.3 and "refuse" not in kinds
                turns.append(Turn(kind, at, {}, 0.0 if goes_on else max(after(length), _SHORT)))
            elif options := _change(limits, what, how):
                turns.append(Turn(kind, at, options))
    return sorted(turns, key=lambda turn: turn.after)


def _change(limits: Limits, what: float, how: float) -> dict[str, Any]:
    """Other slots, or another number of starts in the same time: of a longer one it is not known what is remembered."""
    if limits.starts is not None and what < 0.5:
        return {"rate": f"{1 + int(how * 2 * limits.starts)}/{limits.period:g}sec"}
    if limits.concurrent is None and how < 0.3:
        return {"concurrent": None}
    return {"concurrent": 1 + int(how * 2 * (limits.concurrent or 3))}


def limits_after(limits: Limits, options: dict[str, Any]) -> Limits:
    """What the limits of a service are by a change."""
    if "rate" in options:
        return limits._replace(starts=int(options["rate"].partition("/")[0]))
    return limits._replace(concurrent=options["concurrent"])
