"""The first parts of ids are random, and others in a forked child."""

from __future__ import annotations

import runcue
from runcue._api import prefixes


def test_a_forked_child_begins_another_series_of_ids_unless_it_was_fixed() -> None:
    drawn, fixed = runcue.Cue(), runcue.Cue(id_prefix="fixed-")
    before = drawn._intake.prefix
    prefixes._redraw()  # as os.fork() has it called in the child
    assert drawn._intake.prefix != before
    assert fixed._intake.prefix == "fixed-"
