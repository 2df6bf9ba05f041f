"""Params and values in words that are the same whenever they mean the same, and the digest of these words.

Must not know: files, stamps, work units.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b16encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any, Final

from runcue._model.errors import ArtifactError
from runcue._model.texts import words_of

__all__ = ["digest_of_params", "digest_of_text", "digest_of_value"]

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_ADDRESS: Final = re.compile(r"\b0x[0-9a-fA-F]{6,}")


def digest_of_text(text: str) -> str:
    # Names of files may hold surrogates: bytes that are no text.
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def digest_of_params(params: Mapping[str, Any]) -> str:
    """One digest for all params, the same in every process.

    Raises:
        ArtifactError: One cannot be put in words that are.
    """
    for name, value in params.items():
        if type(value) not in _PLAIN or type(name) is not str:
            break
    else:
        return blake2b(_encode(params).encode(), digest_size=16).hexdigest()
    worded = {
        str(name): _worded_as(
            value,
            f"The param {name!r}",
            "Pass something plain (text, numbers, paths, lists and dicts of those), or use digest(params=False).",
        )
        for name, value in params.items()
    }
    return digest_of_text(_encode(worded))


def digest_of_value(value: object, what: str) -> str:
    """The digest of a version or an identity.

    Args:
        value: Whatever a user's artifact gave.
        what: What it is, for messages.

    Raises:
        ArtifactError: It cannot be put in words that are the same in every process.
    """
    return digest_of_text(
        _encode(_worded_as(value, what, "Return something plain, such as text or numbers."))
    )


def _worded_as(value: Any, what: str, remedy: str) -> Any:
    try:
        return _worded(value)
    except RecursionError:
        raise ArtifactError(f"{what} cannot be part of a digest: it contains itself. {remedy}") from None
    except Exception as error:
        raise ArtifactError(f"{what} cannot be part of a digest: {words_of(error)}. {remedy}") from error


def _worded(value: Any) -> Any:
    """A value as JSON can hold it."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Enum):
        # The name alone would miss a new value; members made of nothing but object() have only their names.
        inner = None if type(value.value) is object else _worded(value.value)
        return [type(value).__qualname__, value.name, inner]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, os.PathLike):  # a File as well
        return os.fsdecode(value)
    if isinstance(value, Mapping):
        return _worded_mapping(value)
    if isinstance(value, list | tuple):
        return [_worded(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted((_worded(one) for one in value), key=_encode)
    if is_dataclass(value) and not isinstance(value, type):
        # What does not count when two are compared (a cache, a lock) does not count here.
        parts = {field.name: _worded(getattr(value, field.name)) for field in fields(value) if field.compare}
        return {type(value).__qualname__: parts}
    return _worded_other(value)


def _worded_mapping(value: Mapping[Any, Any]) -> Any:
    if all(type(key) is str for key in value):
        return {key: _worded(one) for key, one in value.items()}
    return sorted(([_worded(key), _worded(one)] for key, one in value.items()), key=_encode)


def _worded_other(value: Any) -> Any:
    try:
        view = memoryview(value)
    except (TypeError, ValueError):
        return _repr_of(value)
    content = b16encode(view.tobytes()).decode().lower()
    if isinstance(value, bytes | bytearray | memoryview):
        return content
    # An array: its repr would leave out the middle.
    return [type(value).__qualname__, view.format, list(view.shape or ()), content]


def _repr_of(value: object) -> str:
    """A repr that says the same in every process.

    Raises:
        ValueError: It has none.
    """
    text = repr(value)
    if _ADDRESS.search(text):
        raise ValueError(f"{words_of(value)} has an address in its repr, which no other process has")
    if "..." in text:
        raise ValueError(f"the repr of a {type(value).__qualname__} leaves something out: {words_of(value)}")
    return text
