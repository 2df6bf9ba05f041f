"""What many work units say that wait for the same, in one line.

Must not know: what they say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from runcue._model.texts import SHOWN, Entries, listed, name_of
from runcue._model.work import Work

__all__ = ["ALL", "grouped", "likeness"]

ALL: Final = "cue.why() has all"

# Compiled, and remembered by `re`, where something is told.
_PARTICULAR: Final = r"'[^']*'|\b\w*-?\d[\w.-]*"


def likeness(words: str) -> str:
    """What a text has in common with others that differ from it in names, ids and numbers only."""
    return re.sub(_PARTICULAR, "...", words)


def grouped(
    reasons: Iterable[tuple[Work, str]],
    *,
    in_full: Mapping[Work, str] | None = None,
    see: str = ALL,
    before: str = "",
) -> Entries:
    """Reasons in one line, those of one task that are alike together.

    Args:
        reasons: Work units and why they do not run.
        in_full: What is told of some that are the first of their kind, in place of that.
        see: Where all of them are to be found.
        before: What comes before the first.
    """
    groups: dict[tuple[str, str], list[tuple[Work, str]]] = {}
    for work, words in reasons:
        groups.setdefault((work.task, likeness(words)), []).append((work, words))
    lines = []
    for (task, _), alike in list(groups.items())[:SHOWN]:
        first, words = alike[0]
        such_as = "" if all(other == words for _, other in alike) else "such as "
        words = words if in_full is None else in_full.get(first, words)
        if len(alike) == 1:
            lines.append(f"{name_of(first)}: {words}")
            continue
        ids = listed((work.id for work, _ in alike), 3)
        lines.append(f"{len(alike)} {task} ({ids}): {such_as}{words}")
    counts = list(map(len, groups.values()))
    return Entries(lines, counts[: len(lines)], sum(counts[len(lines) :]), see, before)
