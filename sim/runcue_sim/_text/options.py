"""Options of the command line, each declared where its value is used: as a field of a frozen dataclass.

Lives here: `option`, a field that the command line can fill; `add_options`, which has a parser take them; `read`, which
makes such a dataclass of what was given. Fields may hold further dataclasses of options; defaults stand in the fields
and nowhere else.

Must not know: which options there are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any, Final, TypeVar

T = TypeVar("T")

Reader = Callable[[str], Any]

_KEY: Final = "option"


@dataclass(frozen=True, slots=True)
class _Option:
    flags: tuple[str, ...]
    group: str
    either: str
    how: Mapping[str, Any]


def option(default: T, form: str, group: str, help: str, read: Reader = str, *, either: str = "") -> T:
    """A field that the command line can fill.

    Args:
        default: Its value if nothing is said. False makes a switch of it, an empty tuple one that may be repeated.
        form: What is typed, as the help shows it: "-n, --count N", "--fast", or "APP" for what is named by its place.
        group: The key of the group in which the help shows it.
        help: What it does.
        read: Makes the value of the text, or raises ValueError with what is wrong.
        either: Of all with the same word here, one at the most can be given.
    """
    *flags, last = form.split(", ")
    flag, _, metavar = last.partition(" ")
    how: dict[str, Any] = {"help": help}
    if not flag.startswith("-"):
        how.update(nargs="?", metavar=flag)
    elif default is False:
        how["action"] = "store_true"
    else:
        how.update(action="append" if default == () else "store", metavar=metavar, type=_told(read))
    taken = (*flags, flag) if flag.startswith("-") else ()
    found: T = field(default=default, metadata={_KEY: _Option(taken, group, either, how)})
    return found


def _told(read: Reader) -> Callable[[str], Any]:
    def told(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return told


def add_options(groups: Mapping[str, Any], kinds: Iterable[type]) -> None:
    """Have a parser take the options of some dataclasses. Those that are not given leave no trace in its namespace.

    Args:
        groups: Those of an `argparse.ArgumentParser`, by their keys.
        kinds: The dataclasses. A field that is no option is one of another of them.
    """
    either: dict[str, Any] = {}
    for name, one in _options(kinds).items():
        group = groups[one.group]
        if one.either:
            if one.either not in either:
                either[one.either] = group.add_mutually_exclusive_group()
            group = either[one.either]
        named = {"dest": name} if one.flags else {}
        group.add_argument(*(one.flags or (name,)), **named, default=argparse.SUPPRESS, **one.how)


def flags_of(kinds: Iterable[type]) -> dict[str, str]:
    """What is typed for the options of some dataclasses, by the names of their fields."""
    return {name: one.flags[-1] for name, one in _options(kinds).items() if one.flags}


def names_in(kind: type) -> frozenset[str]:
    """The names of all fields of a dataclass of options, those of nested ones included."""
    return frozenset(one.name for one in _fields(kind))


def read(kind: type[T], given: Mapping[str, Any]) -> T:
    """Make such a dataclass of what the command line has said.

    Args:
        kind: The dataclass.
        given: The values that were given, by name; others than its own may be among them.
    """
    values: dict[str, Any] = {}
    for one in fields(kind):  # type: ignore[arg-type]
        if (nested := _nested(one)) is not None:
            values[one.name] = read(nested, given)
        elif one.name in given:
            value = given[one.name]
            values[one.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def _options(kinds: Iterable[type]) -> dict[str, _Option]:
    return {one.name: one.metadata[_KEY] for kind in kinds for one in _fields(kind) if _KEY in one.metadata}


def _fields(kind: type) -> Iterator[Field[Any]]:
    for one in fields(kind):
        if (nested := _nested(one)) is not None:
            yield from _fields(nested)
        else:
            yield one


def _nested(one: Field[Any]) -> type | None:
    kind: Any = one.default_factory
    return kind if is_dataclass(kind) else None  # type: ignore[return-value]
