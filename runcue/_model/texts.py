"""How values, artifacts and numbers are worded in messages.

Lives here: quoting what users' objects say of themselves, whatever they do when they are asked, and the small phrases
that several messages share.

Must not know: anything of runcue, but that a work unit has a task, an id and params.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from math import inf
from typing import Any, Final, Protocol, TypeVar

from runcue._model.awaitables import discard, is_awaitable

Thing = TypeVar("Thing")

__all__ = [
    "LONGEST",
    "LONGEST_PATH",
    "LONGEST_REPR",
    "SHOWN",
    "Entries",
    "around",
    "clause_of",
    "describe",
    "error_words",
    "how_many",
    "in_one_line",
    "listed",
    "listed_of",
    "message_of",
    "name_of",
    "printable",
    "problem_of",
    "seconds_in_words",
    "short_params",
    "shortened",
    "title_of",
    "used_up",
    "which_of",
    "without_middle",
    "words_of",
]

LONGEST: Final = 500
"""So many characters of a text are told at most: of a longer one those in its middle are left out."""

LONGEST_PATH: Final = 200
"""So many characters of a path are told where others stand beside it."""

_LONGEST_ERROR: Final = 400
_LONGEST_VALUE: Final = 200

_LONGEST_NAME: Final = 80

_LONGEST_WORD: Final = 16

LONGEST_REPR: Final = 200
"""So many characters has a repr."""

_LONGEST_PARAMS: Final = 120
_LONGEST_END: Final = 60
# Of a value so many items are looked at, at either end, and so deep.
_MOST: Final = 100
_DEEPEST: Final = 4

SHOWN: Final = 5
"""So many of several are named in a message; the rest is counted."""


class _Named(Protocol):
    @property
    def task(self) -> str: ...
    @property
    def id(self) -> str: ...


class _Submitted(_Named, Protocol):
    @property
    def params(self) -> dict[str, Any]: ...


def shortened(text: str, most: int = LONGEST) -> str:
    """A text without its middle, if it is too long: how it begins and how it ends is what helps.

    Args:
        text: The text.
        most: So many characters at most.
    """
    if len(text) <= most:
        return text
    ends = (most - 5) // 3
    return without_middle(text[: most - 5 - ends], text[-ends:])


def without_middle(head: str, tail: str) -> str:
    """The beginning and the end of a text of which there is too much, in whole words unless they are long themselves.

    Of a path these are its parts.

    Args:
        head: So much there is room for at its beginning.
        tail: Likewise at its end.
    """
    if (cut := head.rfind(" ", -_LONGEST_WORD)) > 0:
        head = head[:cut]
    elif (cut := head.rfind("/", -_LONGEST_WORD)) > 0:
        head = head[: cut + 1]
    if (cut := tail.find(" ", 0, _LONGEST_WORD)) >= 0:
        tail = tail[cut + 1 :]
    elif (cut := tail.find("/", 0, _LONGEST_WORD)) > 0:
        tail = tail[cut:]
    return f"{head} ... {tail}"


def in_one_line(text: str, most: int = LONGEST) -> str:
    """A text without its ends of lines, shortened if it is too long."""
    return shortened(" ".join(text.splitlines()), most)


def clause_of(text: str, most: int = _LONGEST_VALUE) -> str:
    """What an error says, short and without its full stop, as a part of a sentence."""
    return in_one_line(text, most).removesuffix(".")


def name_of(work: _Named) -> str:
    """What a work unit is called in messages: its task and its id."""
    return f"{printable(shortened(work.task, _LONGEST_NAME))} {printable(shortened(work.id, _LONGEST_NAME))}"


def which_of(work: _Submitted) -> str:
    """Which work unit it is, after the word "work": "3 of task fetch {'page': 7}"."""
    name, task = (printable(shortened(one, _LONGEST_NAME)) for one in (work.id, work.task))
    params = short_params(work.params)
    return f"{name} of task {task}{params and ' '}{params}"


def short_params(params: dict[str, Any]) -> str:
    """The params of a work unit where they tell which one it is: `{'page': 7}`; "" if it has none."""
    if not params:
        return ""
    words = words_of(params)
    if len(words) > _LONGEST_PARAMS:
        # A path tells which one it is at its end.
        words = words_of({name: _end_of_path(value) for name, value in params.items()})
    return printable(in_one_line(words, _LONGEST_PARAMS))


def _end_of_path(value: Any) -> Any:
    """A long path without its beginning; whatever else is given as it is."""
    # Not by its class, which is not loaded with this.
    text = str(value) if type(value).__module__.startswith("pathlib") else value
    if type(text) is not str or len(text) <= _LONGEST_END or "/" not in text or "://" in text:
        return value
    end = text[-_LONGEST_END:]
    return f"...{end[max(end.find('/', 0, -1), 0) :]}"


def printable(text: str) -> str:
    """A text that any stream takes: one that came out of a file's name may hold halves of characters."""
    return text if text.isprintable() else text.encode(errors="backslashreplace").decode()


def listed(words: Iterable[str], most: int = SHOWN, separator: str = ", ") -> str:
    """Several of something in a line: "a, b and 3 more"; "" if there are none.

    Args:
        words: What each of them is called.
        most: So many are named.
        separator: Between those.
    """
    every = list(words)
    shown = separator.join(every[:most])
    return f"{shown} and {len(every) - most} more" if len(every) > most else shown


def listed_of(
    things: Sequence[Thing], words: Callable[[Thing], str], most: int = SHOWN, *, are_all: bool = True
) -> str:
    """The same of things, of which there may be thousands: only those that are named are put in words.

    Args:
        things: The things.
        words: Says what one is called.
        most: So many are named.
        are_all: Whether there are no others.
    """
    shown = ", ".join(map(words, things[:most]))
    at_least = "" if are_all else "at least "
    return f"{shown} and {at_least}{len(things) - most} more" if len(things) > most else shown


class Entries:
    """Several of something in a line, of which whole ones are left out where there is no room for all.

    Args:
        lines: Each in words.
        counts: How many each of these stands for.
        left: How many more there are.
        see: Where all of them are to be found, as said in brackets if some are left out.
        before: What comes before the first, if there is one.
    """

    def __init__(
        self, lines: Sequence[str], counts: Sequence[int], left: int = 0, see: str = "", before: str = ""
    ) -> None:
        self._lines, self._counts, self._left, self._see, self._before = lines, counts, left, see, before

    def within(self, room: float) -> str:
        """As many of them as fit into so many characters, the first one at least in part."""
        number = len(self._lines)
        while True:
            text = self._told(number)
            if number <= 1 or len(text) <= room:
                break
            number -= 1
        if len(text) <= room:
            return text
        lacking = len(text) - int(room)
        first = shortened(self._lines[0], max(len(self._lines[0]) - lacking, _LEAST))
        return self._told(1, first)

    def _told(self, number: int, first: str | None = None) -> str:
        lines = self._lines[:number] if first is None else (first,)
        left = self._left + sum(self._counts[number:])
        text = self._before + "; ".join(lines) if lines else ""
        if not left:
            return text
        return f"{text}; and {left} more{self._see and f' ({self._see})'}"

    def __str__(self) -> str:
        return self.within(inf)


_LEAST: Final = 80


def seconds_in_words(seconds: float) -> str:
    """A span of time in the unit in which a person would say it, to three digits."""
    if seconds == inf:
        return "an endless time"
    for size, unit in ((31_556_952.0, "years"), (86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            span = seconds / size
            return f"{span:,.0f} {unit}" if 999.5 <= span < 1e9 else f"{span:.3g} {unit}"
    return f"{round(seconds, 4):.3g} s"


def around(names: Iterable[str], length: int, first: str) -> str:
    """A cycle in a line: "a waits for b waits for a".

    Args:
        names: What those in it are called, in their order; the first few will do.
        length: How many they are.
        first: What the first is called when it is met again.
    """
    way = " waits for ".join(islice(names, SHOWN))
    if length > SHOWN:
        return f"{way}, and so on through {length - SHOWN} more, of which the last waits for {first}"
    return f"{way} waits for {first}"


def error_words(error: BaseException) -> str:
    """An exception in a line: its type and what it says."""
    name, words = type(error).__name__, message_of(error)
    return words if words == name else f"{name}: {words}"


def message_of(error: BaseException) -> str:
    """What an exception says, whatever its `__str__` does.

    Returns:
        A few hundred characters at most; the name of its type where it says nothing or raises.
    """
    try:
        words = str.__str__(str(error))
    except BaseException:
        words = ""
    return shortened(words, _LONGEST_ERROR) or type(error).__name__


def words_of(thing: object) -> str:
    """What a value is by its repr, whatever that does; of an exception as well, which is given where none is meant.

    Returns:
        A few hundred characters at most; the name of its type where it says nothing or raises.
    """
    return shortened(_repr_of(thing), _LONGEST_VALUE) or type(thing).__name__


def _repr_of(thing: Any, depth: int = 0) -> str:
    """The repr of a value; of a very long one without what is in its middle, which would not be shown."""
    kind = type(thing)
    try:
        if kind is str or kind is bytes:
            if len(thing) <= 2 * _LONGEST_VALUE:
                return repr(thing)
            return f"{thing[:_LONGEST_VALUE]!r}{thing[-_LONGEST_VALUE:]!r}"
        # What is in them are the caller's objects: if one raises, the others are told all the same.
        if kind is dict and depth < _DEEPEST:
            items = thing.items() if len(thing) <= _MOST else islice(thing.items(), _MOST)
            pairs = [f"{_repr_of(key)}: {_repr_of(value, depth + 1)}" for key, value in items]
            return f"{{{', '.join(pairs)}}}"
        if kind is list and thing and depth < _DEEPEST:
            some = thing if len(thing) <= 2 * _MOST else [*thing[:_MOST], *thing[-_MOST:]]
            return f"[{', '.join([_repr_of(one, depth + 1) for one in some])}]"
        return str.__str__(repr(thing))  # a subclass of str may do anything
    except BaseException:
        return kind.__name__


def title_of(artifact: object, most: int = LONGEST) -> str:
    """What an artifact is called where its kind is clear, whatever its `__str__` does: of a file the path as given.

    Args:
        artifact: The artifact, or a path.
        most: So many characters at most.
    """
    try:
        return printable(shortened(str(artifact), most))
    except KeyboardInterrupt:
        raise
    except BaseException:
        return type(artifact).__name__


def problem_of(artifact: Any) -> str:
    """What an artifact says is wrong with it, as the end of a sentence, whatever its `problem()` does."""
    try:
        said = artifact.problem()
        if is_awaitable(said):
            discard(said)
            return "is not valid (and what problem() returned would have to be awaited)"
        if said is None:
            return "is not valid (and problem() returned None)"
        return shortened(str(said))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"is not valid (and problem() raised {error_words(error)})"


def how_many(number: int, one: str, many: str) -> str:
    """A number with its noun: "1 work unit", "2 work units"."""
    return f"{number} {one if number == 1 else many}"


def used_up(rate: str, seconds: float) -> str:
    """That a rate allows no start now, and in how many seconds it will; inf: that depends on one on its way."""
    # Not of tokens: who reads this need not know of buckets, and what is called so may be what a language model counts.
    until = "not known until those on their way have begun" if seconds == inf else f"in {seconds:.1f} s"
    return f"{rate} is used up, next start {until}"


def describe(call: object) -> str:
    """What a function is called in messages: its qualified name, or its repr where it has none."""
    try:
        name = getattr(call, "__qualname__", None)
    except Exception:
        name = None
    return shortened(name) if isinstance(name, str) and name else words_of(call)
