"""What in a value it is that cannot be pickled.

Lives here: `find_culprit`.

Must not know: what is pickled for what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from runcue._model.texts import LONGEST_PATH, message_of, shortened, words_of

__all__ = ["find_culprit"]

_DEEPEST: Final = 20
_LONGEST: Final = 80


def find_culprit(
    value: Any, path: str, dumps: Callable[[Any], bytes], error: BaseException
) -> tuple[str, str]:
    """What in a value it is that cannot be pickled.

    Args:
        value: What cannot be.
        path: What it is called.
        dumps: What pickles it.
        error: What that has raised.

    Returns:
        The path to it, and what is wrong with it, as the end of a sentence that begins with the path.
    """
    seen: set[int] = set()
    whole = path
    for _ in range(_DEEPEST):
        seen.add(id(value))
        for part, inner in _parts_of(value):
            if id(inner) in seen:
                continue
            try:
                dumps(inner)
            except Exception as raised:
                path, value, error = path + part, inner, raised
                break
        else:
            break
    else:
        if isinstance(error, RecursionError):
            return shortened(whole, LONGEST_PATH), "is nested too deeply to be pickled"
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    article = "an" if name[:1].lower() in "aeiou" else "a"
    name = shortened(name, _LONGEST)
    return shortened(
        path, LONGEST_PATH
    ), f"is {article} {name}, which cannot be pickled ({message_of(error)})"


def _parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value consists of, each with what its path has more."""
    try:
        if isinstance(value, dict):
            for key, one in list(value.items()):
                yield f"[{shortened(words_of(key), _LONGEST)}]", one
            for key in value:
                yield f".key {shortened(words_of(key), _LONGEST)}", key
        elif isinstance(value, (list, tuple)):
            fields = getattr(value, "_fields", None)
            for index, one in enumerate(value):
                yield (f".{fields[index]}" if fields else f"[{index}]"), one
        elif isinstance(value, (set, frozenset)):
            for one in value:
                yield f"{{{shortened(words_of(one), _LONGEST)}}}", one
        elif not isinstance(value, type):
            attributes = dict(getattr(value, "__dict__", None) or {})
            for kind in type(value).__mro__:
                slots = kind.__dict__.get("__slots__", ())
                for name in (slots,) if isinstance(slots, str) else slots:
                    if not name.startswith("__") and hasattr(value, name):
                        attributes.setdefault(name, getattr(value, name))
            for name, one in attributes.items():
                yield f".{name}", one
    except Exception:  # it does not let itself be looked into
        return
