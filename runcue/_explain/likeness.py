"""What many work units say that wait for the same, in one line.

Must not know: what they say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from runcue._model.texts import SHOWN, listed, name_of
from runcue._model.work import Work

__all__ = ["grouped", "likeness"]

_PARTICULAR: Final = re.compile(r"'[^']*'|\b\w*-?\d[\w.-]*")


def likeness(words: str) -> str:
    """What a text has in common with others that differ from it in names, ids and numbers only."""
    return _PARTICULAR.sub("...", words)


def grouped(reasons: Iterable[tuple[Work, str]], limit: int = SHOWN) -> str:
    """Reasons in one line, those of one task that are alike together.

    Args:
        reasons: Work units and why they do not run.
        limit: At most so many groups in words.
    """
    groups: dict[tuple[str, str], list[tuple[Work, str]]] = {}
    for work, words in reasons:
        groups.setdefault((work.task, likeness(words)), []).append((work, words))
    lines = []
    for (task, _), alike in list(groups.items())[:limit]:
        first, words = alike[0]
        if len(alike) == 1:
            lines.append(f"{name_of(first)}: {words}")
            continue
        ids = listed((work.id for work, _ in alike), 3)
        such_as = "" if all(other == words for _, other in alike) else "such as "
        lines.append(f"{len(alike)} {task} ({ids}): {such_as}{words}")
    left = sum(map(len, list(groups.values())[limit:]))
    return "; ".join(lines) + (f"; and {left} more" if left else "")
