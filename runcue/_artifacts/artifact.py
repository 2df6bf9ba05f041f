"""Artifacts: proof, outside of runcue, that work unit was done.

Lives here: `Artifact`, which users subclass for rows, objects and whatever else can prove something; `File` and `Flag`,
the two that come with runcue; and the two threads that tie artifacts to scheduling. One leads in: an artifact that is
asked inside a gate writes itself down in `READS`, so that the work that asked is woken when it changes. One leads out:
`changed` tells every started cue that an artifact was published or touched.

An artifact is known by its identity, not by the object: two `File`s of one path are one artifact.

Must not know: work units, tasks, order, event loops.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Mapping
from contextvars import ContextVar
from functools import wraps
from inspect import isawaitable, iscoroutinefunction
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final

from runcue._model.current import CURRENT
from runcue._model.errors import ArtifactError, ConfigurationError
from runcue._model.rate import parse_duration
from runcue._model.texts import words_of

if TYPE_CHECKING:
    # Both cost more to import than all of this; whoever gives or asks for one has them.
    from datetime import timedelta
    from pathlib import Path

__all__ = [
    "OVERLAY",
    "READS",
    "Artifact",
    "File",
    "Flag",
    "Rehearsal",
    "as_artifacts",
    "changed",
    "exists",
    "hear_changes",
    "key_of",
    "others_hear",
    "plainly",
    "unhear_changes",
]

READS: ContextVar[dict[Hashable, Artifact] | None] = ContextVar("runcue_reads", default=None)
"""Where artifacts that are asked write themselves down, None outside of gates."""

OVERLAY: ContextVar[Any] = ContextVar("runcue_overlay", default=None)
"""What answers for artifacts that gates ask, in a cue that is rehearsed (`runcue.rehearsal.Overlay`); usually None."""

Hear = Callable[[Hashable], None]

# Replaced, never changed in place: threads walk through it.
_hearers: tuple[Hear, ...] = ()


def hear_changes(hear: Hear) -> None:
    """Have a function called with the key of every artifact that is published or touched, in whatever thread."""
    global _hearers  # noqa: PLW0603 - one list per process is the point: publishers know no cue
    _hearers = (*_hearers, hear)


def others_hear() -> bool:
    """Whether more than one cue is told of changes."""
    return len(_hearers) > 1


def unhear_changes(hear: Hear) -> None:
    """The counterpart of `hear_changes`. Harmless if it was not called."""
    global _hearers  # noqa: PLW0603
    _hearers = tuple(one for one in _hearers if one != hear)


def changed(key: Hashable) -> None:
    """Say that an artifact has changed."""
    for hear in _hearers:
        hear(key)


def _written_down(ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let a method note that its artifact was asked."""

    @wraps(ask)
    def asked(self: Artifact) -> Any:
        reads = READS.get()
        if reads is not None:
            reads[key_of(self)] = self
            if (overlay := OVERLAY.get()) is not None:
                return getattr(overlay, ask.__name__)(self)
        return ask(self)

    return asked


class Artifact:
    """Proof that work unit was done: a row, an object in a store, a page. Subclass it and say when it is valid.

    A subclass defines `valid()` and, for freshness, `version()`. Both are plain functions, asked in the event loop, so
    they should be quick; both may raise, which counts as not valid and is logged.

    Two artifacts are the same if `identity()` says so: by default, if they are of one class and their public attributes
    are equal. Keep whatever is no part of that (a connection, a cache) in attributes that begin with an underscore.

    Example:
        >>> import runcue
        >>> class Marker(runcue.Artifact):
        ...     def __init__(self, store, name):
        ...         self._store = store
        ...         self.name = name
        ...
        ...     def valid(self):
        ...         return self.name in self._store
        >>> Marker({"a"}, "a").valid()
        True
        >>> Marker({"a"}, "a") == Marker({}, "a")
        True
    """

    __slots__ = ("__weakref__", "_key")

    _key: Hashable
    _asked_plainly: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("valid", "version"):
            method = cls.__dict__.get(name)
            if iscoroutinefunction(method):
                raise ConfigurationError(
                    f"{cls.__qualname__}.{name}() must be a plain function: it is asked in the step in which a work "
                    "starts. Ask in an async is_ready what has to be awaited."
                )
            if callable(method) and not cls.__dict__.get("_asked_plainly"):
                setattr(cls, name, _written_down(method))

    def valid(self) -> bool:
        """Whether it proves that the work was done."""
        raise NotImplementedError(f"{type(self).__qualname__} must define valid().")

    def version(self) -> Any:
        """What is compared to know whether one artifact is newer than another (or other than before).

        Returns:
            For `newer()`: something ordered; beside files, whole nanoseconds since the epoch or a datetime. For
            `digest()`: anything with a stable repr, such as an ETag. None: not known; then only validity counts.
        """
        return None

    def identity(self) -> Hashable:
        """What makes two artifacts the same one."""
        public = [(name, value) for name, value in _attributes_of(self) if not name.startswith("_")]
        if not public:
            return type(self).__qualname__, id(self)
        return type(self).__qualname__, *((name, _hashable(value)) for name, value in public)

    def problem(self) -> str:
        """What is wrong with it, as the end of a sentence that begins with its name."""
        return "is not valid"

    def touch(self) -> None:
        """Say that it has changed: work units that looked at it are asked again."""
        changed(key_of(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Artifact) and key_of(self) == key_of(other)

    def __hash__(self) -> int:
        return hash(key_of(self))

    def __str__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        public = ", ".join(f"{n}={v!r}" for n, v in _attributes_of(self) if not n.startswith("_"))
        return f"{type(self).__qualname__}({public})"


def key_of(artifact: Artifact) -> Hashable:
    """The identity of an artifact, made once."""
    try:
        return artifact._key
    except AttributeError:
        key = artifact.identity()
        object.__setattr__(artifact, "_key", key)  # a frozen dataclass allows no other way
        return key


def _attributes_of(artifact: Artifact) -> list[tuple[str, Any]]:
    found = dict(getattr(artifact, "__dict__", {}))
    for cls in type(artifact).__mro__:
        if cls is Artifact:
            break
        for name in getattr(cls, "__slots__", ()):
            if hasattr(artifact, name):
                found[name] = getattr(artifact, name)
    return sorted(found.items())


def _hashable(value: Any) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value  # type: ignore[no-any-return]


class File(Artifact):
    """A file (or a folder) as an artifact: valid if it exists, is young enough and passes a check of yours.

    It can be given to `open()` and `Path()` like a path.

    Args:
        path: Where it is. A relative one is taken from the working folder at this moment.
        max_age: How long it stays valid after it was written: seconds, a timedelta, or text such as "24h".
        validate: Takes its `Path` and says whether the content is right. Asked often; keep it quick.

    Raises:
        ConfigurationError: A value cannot work.

    Example:
        >>> import runcue
        >>> runcue.File("no/such/file.txt", max_age="24h").valid()
        False
    """

    __slots__ = ("_given", "_max_age", "bare", "validate")
    _asked_plainly = True
    _key: str

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_age: float | str | timedelta | None = None,
        validate: Callable[[Path], object] | None = None,
    ) -> None:
        self._given = given = path if type(path) is str else _text_of(path)
        # The usual absolute path is taken as it is; what may need tidying goes the long way.
        if (
            given[:1] == "/"
            and given[-1] != "/"
            and "/." not in given
            and "//" not in given
            and "\0" not in given
        ):
            self._key = given
        else:
            self._key = _absolute(given)
        # Whether to be there is all that is asked of it.
        self.bare = max_age is None and validate is None
        self._max_age = None if max_age is None else parse_duration(max_age, f"max_age of File({given!r})")
        self.validate = validate
        plain: object = validate  # what it was declared to be is not known to be so
        if plain is not None and (not callable(plain) or iscoroutinefunction(plain)):
            raise ConfigurationError(
                f"validate of File({given!r}) must be a plain function that takes a Path, not {validate!r}."
            )

    @property
    def path(self) -> Path:
        """Where it is, absolute."""
        from pathlib import Path  # noqa: PLC0415

        return Path(self._key)

    @property
    def max_age(self) -> float | None:
        """Seconds for which it stays valid, None for ever."""
        return self._max_age

    def valid(self) -> bool:
        """Whether it exists, is no older than `max_age` and passes `validate`."""
        reads = READS.get()
        if reads is not None:
            reads[self._key] = self
            if (overlay := OVERLAY.get()) is not None:
                return bool(overlay.valid(self))
        return self.stamp() is not None

    def version(self) -> int | None:
        """When it was last written, in nanoseconds since the epoch; None if it is missing."""
        reads = READS.get()
        if reads is not None:
            reads[self._key] = self
            if (overlay := OVERLAY.get()) is not None:
                return overlay.version(self)  # type: ignore[no-any-return]
        try:
            return os.stat(self._key).st_mtime_ns
        except OSError:
            return None

    def stamp(self) -> int | None:
        """Its version if it is valid, None if it is not: both questions at the price of one look at the disk."""
        try:
            written = os.stat(self._key).st_mtime_ns
        except OSError:
            return None
        # By the wall clock of the machine, also on a virtual one: files are dated by that.
        if self._max_age is not None and time.time() - written / 1e9 > self._max_age:
            return None
        if self.validate is not None and not plainly(self.validate(self.path), self):
            return None
        return written

    def identity(self) -> Hashable:
        """Its absolute path."""
        return self._key

    def problem(self) -> str:
        """What is wrong with it, as the end of a sentence that begins with its name."""
        try:
            written = os.stat(self._key).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return "is missing"
        except OSError as error:
            return f"cannot be looked at: {error.strerror}"
        age = time.time() - written / 1e9
        if self._max_age is not None and age > self._max_age:
            return f"is {_words_for(age)} old, with max_age {_words_for(self._max_age)}"
        return "is not valid: validate said no" if self.validate is not None else "is there now"

    def touch(self) -> None:
        """Date it now, make it (empty) if it is missing, and tell the work units that looked at it."""
        self.path.touch()
        changed(self._key)

    def __fspath__(self) -> str:
        return self._key

    def __str__(self) -> str:
        return self._given

    def __repr__(self) -> str:
        return f"File({self._given!r})"


def _text_of(path: object) -> str:
    try:
        text = os.fspath(path)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise ConfigurationError(f"A File needs a path, as text or a Path, not {path!r}.")
    return text


def _absolute(given: str) -> str:
    if len(given) == 0 or "\0" in given:
        raise ConfigurationError(f"A File needs a path, not {given!r}.")
    return os.path.abspath(given)


def plainly(answer: Any, artifact: object) -> Any:
    """An artifact's answer, unless it would have to be awaited: a coroutine is truthy.

    Raises:
        ArtifactError: It would.
    """
    if answer is True or answer is False or answer is None or not isawaitable(answer):
        return answer
    if hasattr(answer, "close"):
        answer.close()
    raise ArtifactError(f"{words_of(artifact)} must answer plainly: what it returned has to be awaited.")


def _words_for(seconds: float) -> str:
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


_unnamed = count(1)
_last_set = 0


class Flag(Artifact):
    """A proof in memory: set or not, gone with the process. For steps whose results are kept in memory, and for tests.

    Within a cue all flags of one name are one flag, as two `File`s of one path are: a cue makes the flags of its work
    units' declarations, and those used in its handlers and gates, share what is set. Outside of a cue, use the same
    object.

    Args:
        name: What it is known by; without one it is known by the object alone.

    Example:
        >>> import runcue
        >>> baked = runcue.Flag("baked")
        >>> baked.set()
        >>> baked.valid()
        True
    """

    __slots__ = ("_cell", "_home")
    _asked_plainly = True
    _key: str

    def __init__(self, name: str | None = None) -> None:
        if name is None:
            name = f"#{next(_unnamed)}"
        elif type(name) is not str or len(name) == 0:
            raise ConfigurationError(f"The name of a Flag must be a non-empty str, not {name!r}.")
        self._key = f"flag:{name}"
        # When it was set, in a list that flags of one name can share.
        self._cell: list[int] = [0]
        # The cells of the cue with which it is shared.
        self._home: dict[Hashable, list[int]] | None = None

    @property
    def name(self) -> str:
        """What it is known by."""
        return self._key[5:]

    def share(self, cells: dict[Hashable, list[int]]) -> None:
        """Become one with the flag of this name in a cue.

        Args:
            cells: Those of the cue, by key.
        """
        if type(cells) is Rehearsal:
            return
        cell = cells.setdefault(self._key, self._cell)
        if cell is not self._cell:
            cell[0] = max(cell[0], self._cell[0])
            self._cell = cell
        self._home = cells

    def _own(self) -> list[int]:
        if self._home is None and (here := CURRENT.get()) is not None:
            if type(here) is Rehearsal:
                return [max(self._cell[0], here.cells.get(self._key, self._cell)[0])]
            self.share(here.flags)
        return self._cell

    def valid(self) -> bool:
        """Whether it is set."""
        reads = READS.get()
        if reads is not None:
            reads[self._key] = self
            if (overlay := OVERLAY.get()) is not None:
                return bool(overlay.valid(self))
        return (self._cell if self._home is not None else self._own())[0] > 0

    def version(self) -> int | None:
        """When it was set, in nanoseconds since the epoch, None if it is not. No two flags are set at one instant."""
        reads = READS.get()
        if reads is not None:
            reads[self._key] = self
            if (overlay := OVERLAY.get()) is not None:
                return overlay.version(self)  # type: ignore[no-any-return]
        return self._own()[0] or None

    def stamp(self) -> int | None:
        """Its version if it is set."""
        return (self._cell if self._home is not None else self._own())[0] or None

    def set(self) -> None:
        """Set it, or set it anew: work units that wait for it are asked again, what was made from it is out of date."""
        global _last_set  # noqa: PLW0603 - strictly increasing, so that what is made from a flag is newer than it
        # Two threads at once may take the same number; that makes neither newer, so at worst something runs again.
        _last_set = stamp = max(_last_set + 1, time.time_ns())
        (self._cell if self._home is not None else self._own())[0] = stamp
        for hear in _hearers:
            hear(self._key)

    def clear(self) -> None:
        """Unset it."""
        self._own()[0] = 0
        changed(self._key)

    def touch(self) -> None:
        """The same as `set()`."""
        self.set()

    def identity(self) -> Hashable:
        """Its name."""
        return self._key

    def problem(self) -> str:
        """What is wrong with it, as the end of a sentence that begins with its name."""
        return "is not set"

    def __str__(self) -> str:
        return f"flag {self.name}"

    def __repr__(self) -> str:
        return f"Flag({self.name!r})"


class Rehearsal(dict[Hashable, list[int]]):
    """Stands for the flags of a cue where questions are asked that must change nothing, in the place of `CURRENT` too.

    Flags look as if they were shared with that cue, and none is.

    Attributes:
        cells: Those of the cue, by key.
    """

    def __init__(self, cells: Mapping[Hashable, list[int]]) -> None:
        self.cells = cells


_SEVERAL: Final = (list, tuple, set, frozenset)


def as_artifacts(value: Any, what: str) -> tuple[Artifact, ...]:
    """What a user declared, as artifacts: one or many, paths meaning files.

    Args:
        value: An artifact, a path, None, or a list, tuple, set or iterator of them.
        what: What it was declared as, for messages.

    Raises:
        ArtifactError: It is something else.
    """
    if type(value) is str:
        return (File(value),)
    if isinstance(value, Artifact):
        return (value,)
    if isinstance(value, os.PathLike):
        return (File(value),)
    if value is None:
        return ()
    if not isinstance(value, _SEVERAL) and not (hasattr(value, "__next__") and hasattr(value, "__iter__")):
        if hasattr(value, "__await__"):
            if hasattr(value, "close"):
                value.close()
            raise ArtifactError(f"{what} must be given by a plain function: its answer has to be awaited.")
        raise ArtifactError(f"{what} must be artifacts or paths, one or several, not {value!r}.")
    found: list[Artifact] = []
    for one in value:
        if isinstance(one, Artifact):
            found.append(one)
        elif isinstance(one, (str, os.PathLike)):
            found.append(File(one))
        else:
            raise ArtifactError(f"{what} must be artifacts or paths, one or several, not {one!r} among them.")
    return tuple(found)


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether a file exists, asked so that a cue knows of it: `File(path).valid()`.

    Inside `is_ready` it makes the work wait for this very file: it is asked again when that is published, touched or
    nudged, instead of every now and then.
    """
    return File(path).valid()
