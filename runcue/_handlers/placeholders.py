"""Values in commands: `{inputs[0]}`, `{outputs[0]}`, `{params[width]}`, `{work.id}`, as `str.format` has them.

How it goes about it: a command is taken apart where it is written, and each placeholder is tried on a stand-in there,
so that what can never be is told in that line. Later each is looked up in what a work unit has, and becomes a word:
text, a path, a number; of a list a word each.

Lives here: `Template`, one text with placeholders; `Fields`, what they are looked up in.

Must not know: where in a command a value may stand, processes, where outputs are written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from string import Formatter
from typing import Any, Final, NamedTuple

from runcue._model.checks import nearest
from runcue._model.errors import ConfigurationError
from runcue._model.texts import how_many, listed, message_of, shortened, words_of

__all__ = ["Fields", "Placeholder", "Template"]

_FORMATTER: Final = Formatter()
_OF_WORK: Final = ("id", "task", "attempt", "params", "inputs", "outputs", "metadata")
_FORMS: Final = "{inputs[0]}, {outputs[0]}, {params[...]} and {work.id}"
_TWICE: Final = "a brace of the command itself is written twice, as in awk '{{print $1}}'"
_BREAKS: Final = frozenset(" \t\n;&|()<>`")
"""What ends a word in a shell."""

_QUOTES: Final = "\"'"

_KEYS: Final = re.compile(r"\[[^\]]*\]")
_INNER: Final = re.compile(r"\.(_\w*)")
"""What stands in brackets, and after a dot the name of something inside of a value, such as `__class__`."""


class Placeholder(NamedTuple):
    """A place in a text where a value goes.

    Attributes:
        field: What is between the braces, up to the format: "params[width]".
        conversion: "r", "s" or "a"; None for none.
        form: The format: "03d".
        is_alone: Whether nothing that belongs to the same word stands beside it.
    """

    field: str
    conversion: str | None
    form: str
    is_alone: bool

    def __str__(self) -> str:
        conversion = f"!{self.conversion}" if self.conversion else ""
        return f"{{{self.field}{conversion}{self.form and ':'}{self.form}}}"


class Template:
    """A text with placeholders, checked.

    Args:
        text: As it was written.
        whose: What it is called in messages.
        in_shell: Whether a shell makes words of it; else it is one.

    Attributes:
        pieces: Its parts in their order: text as it is, and placeholders.
        params: The params that it names.
        indices: Of "inputs" and "outputs" the numbers that it names.
        all_of: Which of these it names as a whole.

    Raises:
        ConfigurationError: It names what no work unit has.
    """

    def __init__(self, text: str, whose: str, *, in_shell: bool) -> None:
        self._whose = whose
        self.params: dict[str, None] = {}
        self.indices: dict[str, set[int]] = {"inputs": set(), "outputs": set()}
        self.all_of: set[str] = set()
        self.pieces: list[str | Placeholder] = []
        try:
            parts = list(_FORMATTER.parse(text))
        except ValueError as error:
            raise ConfigurationError(f"{whose}: {message_of(error)}; {_TWICE}.") from None
        for number, (literal, field, form, conversion) in enumerate(parts):
            if literal:
                self.pieces.append(literal)
            if field is None:
                continue
            # Two placeholders with nothing between them belong to one word.
            before = self.pieces[-1] if self.pieces else " "
            before = before if isinstance(before, str) else "x"
            after = (parts[number + 1][0] or "x") if number + 1 < len(parts) else " "
            is_alone = (
                before[-1] in _BREAKS and after[0] in _BREAKS if in_shell else len(parts) == 1 and not literal
            )
            one = Placeholder(field, conversion, form or "", is_alone)
            self._check(one)
            self.pieces.append(one)

    def _check(self, one: Placeholder) -> None:
        """Try a placeholder on what stands in for the values."""
        probes = {"work": _WorkProbe(self), "params": _ParamsProbe(self)}
        probes |= {name: _ArtifactsProbe(name, self) for name in self.indices}
        name = re.split(r"[.\[]", one.field, maxsplit=1)[0]
        try:
            if name not in probes:
                raise _Wrong(_no_such(one.field, name))
            if (inner := _INNER.search(_KEYS.sub("[]", one.field))) is not None:
                raise _Wrong(
                    f"{inner[1]} is nothing that a command is given: its name begins with an underscore"
                )
            found, _ = _FORMATTER.get_field(one.field, (), probes)
            if isinstance(found, _ArtifactsProbe):
                if not one.is_alone or one.form or one.conversion:
                    raise _Wrong(
                        f"it stands for all of them, a word each, and must stand alone; {{{one.field}[0]}} is one"
                    )
                self.all_of.add(found.name)
            elif isinstance(found, _Probe) and found.whole:
                raise _Wrong(found.whole)
            if "{" in one.form:
                raise _Wrong("a format cannot hold a placeholder")
            if one.conversion not in (None, "r", "s", "a"):
                raise _Wrong(f"there is no conversion !{one.conversion}")
        except (_Wrong, ValueError) as error:
            raise ConfigurationError(
                f"{self._whose} has {words_of(str(one))}: {message_of(error)}."
            ) from None

    def quoted(self, fields: Mapping[str, Any]) -> str:
        """The text for a shell, with the values in it.

        Args:
            fields: What they are looked up in; see `Fields`.

        Raises:
            ConfigurationError: There is no such value, or it can be no word.
        """
        return "".join(
            one if isinstance(one, str) else " ".join(map(quote, self._words(one, fields)))
            for one in self.pieces
        )

    def words(self, fields: Mapping[str, Any]) -> list[str]:
        """The word that it is with the values in it; of one that is nothing but a list, each of its words.

        Args:
            fields: As for `quoted`.

        Raises:
            ConfigurationError: Likewise.
        """
        parts = [[one] if isinstance(one, str) else self._words(one, fields) for one in self.pieces]
        return parts[0] if len(parts) == 1 else ["".join(word for part in parts for word in part)]

    def _words(self, one: Placeholder, fields: Mapping[str, Any]) -> list[str]:
        try:
            value, _ = _FORMATTER.get_field(one.field, (), fields)
            if one.conversion or one.form:
                return [_checked(format(_FORMATTER.convert_field(value, one.conversion), one.form))]
            if isinstance(value, (list, tuple)):
                if not one.is_alone:
                    raise _Wrong(f"it is {words_of(value)}, a word for each, and must stand alone")
                return [_word(part) for part in value]
            return [_word(value)]
        except _Wrong as error:
            why = str(error)
        except (LookupError, AttributeError, TypeError, ValueError) as error:
            why = f"there is no such value ({type(error).__name__}: {message_of(error)})"
        raise ConfigurationError(f"{self._whose} cannot be filled in: {words_of(str(one))}: {why}.")


class Fields(dict[str, Any]):
    """What placeholders of a work unit are looked up in.

    Args:
        work: The work unit.
        inputs: What it needs, as paths, or as they are where they are none.
        outputs: Likewise where what it makes is to be written.
    """

    def __init__(self, work: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        super().__init__()
        self["inputs"], self["outputs"] = _Several("inputs", inputs), _Several("outputs", outputs)
        self["params"] = _Params(work.params)
        self["work"] = _Seen(work, self)


class _Wrong(Exception):
    """What is wrong with a placeholder."""


class _Several(list[Any]):
    """The inputs or the outputs."""

    def __init__(self, name: str, artifacts: Sequence[Any]) -> None:
        super().__init__(artifacts)
        self._name = name

    def __getitem__(self, index: Any) -> Any:
        if index < len(self):
            found = super().__getitem__(index)
            if not isinstance(found, os.PathLike):
                raise _Wrong(f"{words_of(found)} is no file")
            return found
        each = listed([words_of(str(one)) for one in self], 3)
        there = how_many(len(self), self._name[:-1], self._name)
        raise _Wrong(f"the work unit has {there}{each and f': {each}'}")

    def __iter__(self) -> Iterator[Any]:
        """All of them that are files: a flag is no word of a command."""
        return (one for one in super().__iter__() if isinstance(one, os.PathLike))


class _Params(dict[str, Any]):
    def __missing__(self, key: Any) -> Any:
        if not isinstance(key, str) and str(key) in self:
            return self[str(key)]
        near = nearest(key, self)
        hint = f"; did you mean {near!r}?" if near else ""
        raise _Wrong(f"the work unit has {shortened(words_of(dict(self)), 120)} as its params{hint}")


class _Seen:
    """What is seen of a work unit."""

    def __init__(self, work: Any, fields: Fields) -> None:
        self.id, self.task, self.attempt = work.id, work.task, work.attempt
        self.params, self.metadata = fields["params"], _Params(work.metadata)
        self.inputs, self.outputs = fields["inputs"], fields["outputs"]


class _Probe:
    """Stands for a value of which nothing is known.

    Attributes:
        whole: What is wrong if a placeholder stands for all of it; "" if nothing is.
    """

    whole = ""

    def __getitem__(self, key: Any) -> Any:
        return _Probe()

    def __getattr__(self, name: str) -> Any:
        return _Probe()


class _ParamsProbe(_Probe):
    whole = "name one of them, as in {params[width]}"

    def __init__(self, template: Template) -> None:
        self._template = template

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str) and key[:1] in _QUOTES and key[-1:] == key[:1]:
            raise _Wrong(f"a name stands in brackets without quotes: {{params[{key[1:-1]}]}}")
        self._template.params[str(key)] = None
        return _Probe()

    def __getattr__(self, name: str) -> Any:
        raise _Wrong(f"a param stands in brackets: {{params[{name}]}}")


class _ArtifactsProbe(_Probe):
    def __init__(self, name: str, template: Template) -> None:
        self.name = name
        self._template = template

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, int):
            raise _Wrong(f"they are counted from 0, as in {{{self.name}[0]}}")
        self._template.indices[self.name].add(key)
        return _PathProbe()

    def __getattr__(self, name: str) -> Any:
        raise _Wrong(f"say which of them, as in {{{self.name}[0].{name}}}")


class _PathProbe(_Probe):
    """Stands for a path: what a `pathlib.Path` has may be named."""

    def __getattr__(self, name: str) -> Any:
        if not hasattr(Path, name) or callable(getattr(Path, name)):
            raise _Wrong("what can be named of a path is .name, .stem, .suffix, .parent and the like")
        return _PathProbe() if name == "parent" else _Probe()

    def __getitem__(self, key: Any) -> Any:
        raise _Wrong("a path has no parts in brackets")


class _WorkProbe(_Probe):
    whole = "say what of it, as in {work.id}"

    def __init__(self, template: Template) -> None:
        self._template = template

    def __getattr__(self, name: str) -> Any:
        if name in ("inputs", "outputs"):
            return _ArtifactsProbe(name, self._template)
        if name == "params":
            return _ParamsProbe(self._template)
        if name not in _OF_WORK:
            raise _Wrong(f"what can be named of it is {listed(_OF_WORK, len(_OF_WORK))}")
        return _Probe()

    def __getitem__(self, key: Any) -> Any:
        raise _Wrong("what it has is named after a dot, as in {work.id}")


def _no_such(field: str, name: str) -> str:
    """What is wrong with a placeholder that begins with a name that there is not."""
    if near := nearest(name, ("inputs", "outputs", "params", "work")):
        return f"did you mean {{{near}{field[len(name) :]}}}? There are {_FORMS}"
    if name.isidentifier():
        return f"there are {_FORMS}; a param is written {{params[{name}]}}, and {_TWICE}"
    return f"there are {_FORMS}; {_TWICE}"


def _word(value: Any) -> str:
    """A value as a word of a command."""
    if isinstance(value, (str, bytes, os.PathLike)):
        return _checked(os.fsdecode(value))
    if value is None:
        raise _Wrong("it is None; write it with !s if the word None is meant")
    return _checked(str(value))


def _checked(word: str) -> str:
    if "\0" in word:
        raise _Wrong(f"{words_of(word)} holds a null character, which no command takes")
    try:
        os.fsencode(word)
    except UnicodeEncodeError:
        raise _Wrong(f"{words_of(word)} holds what is no character") from None
    return word
