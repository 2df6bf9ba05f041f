"""Params and values as digests that are equal, in every process, if and only if the values are.

How it goes about it: a value becomes bytes that begin with a tag for its type. Of what holds other values (a list, a
dict, an object) the bytes are the digest of its parts, each with its length before it, so that no two values can run
into each other, and neither size nor depth can make them grow. What knows itself how it can be made again, because it
can be pickled, is known by that: the callable, its arguments and its state, encoded in their turn. A `repr` says
nothing here: it may leave out the middle (re.compile of a long pattern, an array), or tell an address.

What cannot be told exactly is refused, with the path of the value: an `object()`, a lambda, what contains itself.

Must not know: stamps, work units.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from copyreg import dispatch_table
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cached_property
from hashlib import blake2b
from pathlib import PurePath
from types import FunctionType, MappingProxyType
from typing import Any, Final

from runcue._artifacts.artifact import Artifact, attributes_of, identity_of
from runcue._artifacts.file import File
from runcue._model.errors import ArtifactError
from runcue._model.texts import message_of, words_of

__all__ = ["digest_of_params", "digest_of_text", "digest_of_value", "is_found_by_name"]

_DEEPEST: Final = 100
"""Levels of values in values. Each takes up to seven Python frames, of which an interpreter allows a thousand."""

_LONGEST_WAY: Final = 12
# How pickle wants to be told of a value: the last protocol that gives all buffers as bytes.
_PROTOCOL: Final = 4
_PLAIN_BUFFERS: Final = frozenset("?cbBhHiIlLqQnNefd")
_Step = tuple[str, Any]


class _Refused(Exception):
    """A value that cannot be told exactly, and why."""


def digest_of_text(text: str) -> str:
    # Names of files may hold surrogates: bytes that are no text.
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def digest_of_params(params: Mapping[str, Any]) -> dict[str, str]:
    """One digest for each param, by name, the same in every process.

    Raises:
        ArtifactError: One cannot be told exactly.
    """
    digests = {}
    for name, value in params.items():
        kind = type(value)
        if kind is str:
            encoded = b"s" + value.encode("utf-8", "surrogatepass")
        elif kind in _SCALARS:
            encoded = _SCALARS[kind](value)
        else:
            encoded = _exactly(
                value,
                f"params[{name!r}]" if type(name) is str else f"params[{words_of(name)}]",
                "Pass something plain (text, numbers, paths, lists and dicts of those), or use digest(params=False).",
            )
        if type(name) is not str or name[:1] == "\0":
            name = "\0" + _exactly(name, f"The name {words_of(name)} of a param", "Use text.").hex()
        digests[name] = blake2b(encoded, digest_size=16).hexdigest()
    return digests


def digest_of_value(
    value: object, what: str, remedy: str = "Return something plain, such as text or numbers."
) -> str:
    """The digest of a version or an identity, or of what a handler is bound to.

    Args:
        value: Whatever a user's artifact gave.
        what: What it is, for messages.
        remedy: What to do where it cannot be told, as a sentence.

    Raises:
        ArtifactError: It cannot be told exactly.
    """
    encoded = _exactly(value, what, remedy)
    return blake2b(encoded, digest_size=16).hexdigest()


def _exactly(value: object, what: str, remedy: str) -> bytes:
    encoder = _Encoder()
    try:
        return encoder.encode(value)
    except _Refused as refusal:
        problem = str(refusal)
    except RecursionError:
        problem = "it is nested too deeply"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # out of what a user's class does when it is asked how to be made again
        problem = message_of(error)
    raise ArtifactError(f"{what}{encoder.way()} cannot be part of a digest: {problem}. {remedy}")


_SCALARS: Final[dict[type, Callable[[Any], bytes]]] = {
    str: lambda value: b"s" + value.encode("utf-8", "surrogatepass"),
    # By base 16, which has no limit of digits and takes no more than linear time.
    int: lambda value: b"i%x" % value,
    bool: lambda value: b"1" if value else b"0",
    float: lambda value: b"f" + float.__repr__(value).encode(),
    bytes: lambda value: b"b" + value,
    type(None): lambda value: b"n",
}


def _together(tag: bytes, parts: Iterable[bytes]) -> bytes:
    """What stands for a value that consists of others, by their encodings."""
    whole = blake2b(digest_size=16)
    for part in parts:
        whole.update(b"%d:" % len(part))
        whole.update(part)
    return tag + whole.digest()


class _Encoder:
    """Encodes one value."""

    def __init__(self) -> None:
        # From the value to the part that is being encoded: that is where a refusal comes from.
        self._steps: list[_Step] = []
        self._open: set[int] = set()
        # By identity, with the part itself, or another one could get its identity meanwhile.
        self._known: dict[int, tuple[object, bytes]] = {}
        # Classes that have told how to make an instance of them again.
        self._made_of: set[type] = set()

    def way(self) -> str:
        """The part that was refused, as it is written in Python behind the name of the whole."""
        steps = [f".{step}" if kind == "attribute" else f"[{words_of(step)}]" for kind, step in self._steps]
        return "".join(steps if len(steps) <= _LONGEST_WAY else [*steps[:3], " ... ", *steps[-3:]])

    def encode(self, value: Any) -> bytes:
        """The encoding of a value or a part of it.

        Raises:
            _Refused: It cannot be told exactly.
        """
        scalar = _SCALARS.get(type(value))
        if scalar is not None:
            return scalar(value)
        identity = id(value)
        known = self._known.get(identity)
        if known is not None:
            return known[1]
        if identity in self._open:
            raise _Refused("it contains itself")
        if len(self._open) >= _DEEPEST:
            raise _Refused(f"it is nested more than {_DEEPEST} levels deep")
        self._open.add(identity)
        encoded = self._compound(value)
        self._open.remove(identity)
        self._known[identity] = value, encoded
        return encoded

    def _part(self, kind: str, step: Any, value: Any) -> bytes:
        self._steps.append((kind, step))
        encoded = self.encode(value)
        self._steps.pop()
        return encoded

    def _compound(self, value: Any) -> bytes:
        kind = type(value)
        if kind is list or kind is tuple:
            return _together(b"l" if kind is list else b"t", self._items(value))
        if kind is dict:
            return _together(b"d", self._entries(value))
        if kind is set or kind is frozenset:
            return _together(b"S" if kind is set else b"Z", sorted(map(self.encode, value)))
        if kind is bytearray:
            return b"B" + blake2b(value, digest_size=16).digest()
        if kind is memoryview:
            return self._buffer(value)
        if kind is MappingProxyType:
            return _together(b"M", self._entries(value))
        if isinstance(value, type) or kind is FunctionType:
            return self._global(value)
        if isinstance(value, Enum):
            return self._member(value)
        if isinstance(value, PurePath):
            # By its text, not its parts, which are told otherwise by other versions of Python.
            return _together(b"P", [_name_of(kind), self.encode(str(value))])
        if isinstance(value, Artifact):
            return self._artifact(value)
        if is_dataclass(value) and not _knows_how_it_is_made(kind):
            return self._dataclass(value)
        return self._made_again(value)

    def _items(self, values: Iterable[Any]) -> list[bytes]:
        return [self._part("item", place, value) for place, value in enumerate(values)]

    def _entries(self, mapping: Any) -> list[bytes]:
        # Equal dicts are the same, in whatever order their keys have come.
        pairs = sorted((self.encode(key), self._part("item", key, one)) for key, one in mapping.items())
        return [part for pair in pairs for part in pair]

    def _in_order(self, entries: Iterable[tuple[Any, Any]]) -> list[bytes]:
        return [part for key, one in entries for part in (self.encode(key), self._part("item", key, one))]

    def _attributes(self, attributes: Mapping[str, Any], owner: type) -> bytes:
        # What a class works out from the rest and keeps makes no difference: there it is today, and not tomorrow.
        pairs = sorted(
            (self.encode(name), self._part("attribute", name, one))
            for name, one in attributes.items()
            if not isinstance(_found_in(owner, name), cached_property)
        )
        return _together(b"d", [part for pair in pairs for part in pair])

    def _buffer(self, view: memoryview) -> bytes:
        if view.format.lstrip("@=<>!") not in _PLAIN_BUFFERS:
            raise _Refused(f"a buffer of the format {view.format!r} may hold addresses")
        content = blake2b(view.tobytes(), digest_size=16).digest()
        return _together(b"V", [view.format.encode(), repr(view.shape).encode(), content])

    def _global(self, value: Any) -> bytes:
        """A class or a function, by its name: what it does is code, as the handler is."""
        if value not in self._made_of and value.__module__ != "builtins" and not is_found_by_name(value):
            raise _Refused(
                f"nothing in {value.__module__} is found by the name {value.__qualname__}, as no lambda and no inner "
                "function is"
            )
        return _together(b"G", [_name_of(value)])

    def _member(self, member: Enum) -> bytes:
        # The name alone would miss a new value; members made of nothing but object() have only their names.
        inner = b"" if type(member.value) is object else self._part("attribute", "value", member.value)
        return _together(b"E", [_name_of(type(member)), self.encode(member.name), inner])

    def _artifact(self, artifact: Artifact) -> bytes:
        kind = type(artifact)
        key = identity_of(artifact)
        if key == (kind.__qualname__, id(artifact)):
            raise _Refused(
                f"{words_of(artifact)} has no public attributes and no identity() that tells it apart"
            )
        # Which one it is says not yet what it is like: two files of one path may be valid for different times.
        public = {name: one for name, one in attributes_of(artifact) if not name.startswith("_")}
        if isinstance(artifact, File):
            public |= {"max_age": artifact.max_age, "validate": artifact.validate}
        attributes = self._attributes(public, kind)
        # What it is known by, if nothing else is said, is those attributes.
        inner = b"" if kind.identity is Artifact.identity and public else self.encode(key)
        return _together(b"A", [_name_of(kind), inner, attributes])

    def _dataclass(self, value: Any) -> bytes:
        # All of them: what does not count when two are compared may still make a difference to a handler.
        own = [field.name for field in fields(value)]
        attributes = {name: getattr(value, name) for name in own if hasattr(value, name)}
        more = {name: one for name, one in getattr(value, "__dict__", {}).items() if name not in own}
        return _together(
            b"D",
            [
                _name_of(type(value)),
                self._attributes({**more, **attributes}, type(value)),
                self._inherited(value),
            ],
        )

    def _inherited(self, value: Any) -> bytes:
        """What a value is beside its attributes: a list, say, or text."""
        base: Any
        for base in (str, int, float, complex, bytes, list, tuple, dict):
            if isinstance(value, base):
                return self.encode(base(value))
        return b""

    def _made_again(self, value: Any) -> bytes:
        """What pickle would have to know."""
        kind = type(value)
        if kind is object:
            raise _Refused("an object() is known by its identity alone")
        reducer = dispatch_table.get(kind)
        recipe: Any = value.__reduce_ex__(_PROTOCOL) if reducer is None else reducer(value)
        if type(recipe) is str:
            module = getattr(value, "__module__", None) or kind.__module__
            return _together(b"G", [f"{module}.{recipe}".encode("utf-8", "surrogatepass")])
        self._made_of.add(kind)
        maker, arguments, state, items, entries, setter = [*recipe, None, None, None, None][:6]
        parts = [
            _name_of(kind),
            self.encode(maker),
            _together(b"t", map(self.encode, arguments)),
            self._state(state, kind),
            b"" if items is None else _together(b"l", self._items(items)),
            # In their order, which may be what makes the difference (OrderedDict).
            b"" if entries is None else _together(b"l", self._in_order(entries)),
            self.encode(setter),
        ]
        return _together(b"O", parts)

    def _state(self, state: Any, kind: type) -> bytes:
        if type(state) is dict:
            return self._attributes(state, kind)
        if (
            type(state) is tuple
            and len(state) == 2
            and type(state[1]) is dict
            and type(state[0]) in (dict, type(None))
        ):
            inner = b"n" if state[0] is None else self._attributes(state[0], kind)
            return _together(b"t", [inner, self._attributes(state[1], kind)])
        return self.encode(state)


def is_found_by_name(value: Any) -> bool:
    """Whether a class or a function is what its module calls by its name, so that each process finds the same."""
    found: Any = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value


def _found_in(owner: type, name: str) -> Any:
    """What a class has under a name, as it stands there."""
    return next((vars(one)[name] for one in owner.__mro__ if name in vars(one)), None)


def _knows_how_it_is_made(kind: type) -> bool:
    return getattr(kind, "__reduce__", None) is not object.__reduce__


def _name_of(kind: Any) -> bytes:
    return f"{kind.__module__}.{kind.__qualname__}".encode("utf-8", "surrogatepass")
