"""What stands in for the limits of several keys: an instant."""

from __future__ import annotations

from math import inf

from runcue._scheduling.instant import STAMPED, Instant


def test_an_instant_has_room_from_then_on() -> None:
    instant = Instant(5.0)
    assert [instant.room(now) for now in (4.9, 5.0)] == [False, True]
    assert instant.next_room(1.0) == instant.nth_room(1.0, 3) == instant.unused_from() == 5.0
    assert STAMPED.room(0.0)
    assert STAMPED.unused_from() == -inf
