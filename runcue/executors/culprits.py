"""What in a value it is that cannot be pickled.

Lives here: `find_culprit`.

Must not know: what is pickled for what.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, Final

from runcue._model.texts import LONGEST_PATH, message_of, shortened, words_of

__all__ = ["find_culprit"]

_DEEPEST: Final = 20
_LONGEST: Final = 80
_KNOWN_BY_NAME: Final = (type, FunctionType, ModuleType)


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


def _state_of(value: Any) -> dict[str, Any]:
    """Of which attributes a value is made anew. Some leave out a lock, say, which is in nobody's way then."""
    reduced = value.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    state = reduced[2] if isinstance(reduced, tuple) and len(reduced) > 2 else None
    # Those of a `__dict__`, and with them those of slots.
    parts: tuple[Any, ...] = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    if all(part is None or isinstance(part, dict) for part in parts):
        return {name: one for part in parts for name, one in (part or {}).items()}
    # It is in a form that only its class knows: a dataclass with slots has a list.
    names = [*getattr(value, "__dict__", ()), *getattr(value, "__slots__", ())]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


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
        elif not isinstance(value, _KNOWN_BY_NAME):
            for name, one in _state_of(value).items():
                yield f".{name}", one
    except Exception:  # it does not let itself be looked into
        return
