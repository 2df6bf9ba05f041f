"""Artifacts: proof, outside of runcue, that work was done.

Lives here: `Artifact`, which users subclass for rows, objects and whatever else can prove something. Two threads tie
artifacts to scheduling. One leads in: an artifact that is asked inside a gate writes itself down (`reads`), so that the
work unit that asked is woken when it changes. One leads out: every started cue is told that an artifact was published
or touched (`changes`).

An artifact is known by its identity, not by the object: two `File`s of one path are one artifact.

Must not know: work units, tasks, order, event loops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from collections.abc import Set as AbstractSet
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from types import AsyncGeneratorType, GeneratorType
from typing import Any, ClassVar

from runcue._artifacts.changes import changed
from runcue._artifacts.reads import OVERLAY, READS
from runcue._model.awaitables import discard, is_awaitable
from runcue._model.callables import located
from runcue._model.checks import says_what_it_takes
from runcue._model.errors import ArtifactError, ConfigurationError
from runcue._model.identity import Identity
from runcue._model.no_answers import is_reason, mistake_in, never_returns, short
from runcue._model.texts import error_words, shortened, words_of

__all__ = [
    "Artifact",
    "attributes_of",
    "check_identity",
    "identity_of",
    "is_valid",
    "key_of",
    "plainly",
    "truly",
]


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
    """Proof that work was done: a row, an object in a store, a page. Subclass it and say when it is valid.

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
    # The folder that it lies in; only files lie in any.
    _place: Any = None
    _asked_plainly: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("valid", "version", "identity", "problem"):
            method = cls.__dict__.get(name)
            if iscoroutinefunction(method) or isasyncgenfunction(method) or isgeneratorfunction(method):
                raise ConfigurationError(
                    f"{cls.__qualname__}.{name}() must be a plain function with `return`: it is asked in the step in "
                    "which a work starts. Ask in an async is_ready what has to be awaited."
                )
            if name in ("valid", "version") and callable(method) and not cls.__dict__.get("_asked_plainly"):
                setattr(cls, name, _written_down(method))

    def valid(self) -> bool:
        """Whether it proves that the work was done."""
        raise NotImplementedError(f"{type(self).__qualname__} must define valid().")

    def version(self) -> Any:
        """What is compared to know whether one artifact is newer than another (or other than before).

        Returns:
            For `newer()`: something ordered; beside files, whole nanoseconds since the epoch or a datetime. For
            `digest()`: anything that a param may be, such as an ETag. None: not known; then only validity counts.
        """
        return None

    def identity(self) -> Hashable:
        """What makes two artifacts the same one."""
        public = [(name, value) for name, value in attributes_of(self) if not name.startswith("_")]
        if not public:
            return type(self).__qualname__, id(self)
        return type(self).__qualname__, *((name, _hashable(value)) for name, value in public)

    def problem(self) -> str:
        """What is wrong with it, as the end of a sentence that begins with its name."""
        return f"is not valid: {located(type(self).valid)} said no"

    @says_what_it_takes
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
        public = ", ".join(f"{n}={words_of(v)}" for n, v in attributes_of(self) if not n.startswith("_"))
        return shortened(f"{type(self).__qualname__}({public})")


def key_of(artifact: Artifact) -> Hashable:
    """What an artifact is known by: its identity, asked once."""
    try:
        return artifact._key
    except AttributeError:
        key = Identity(plainly(artifact.identity(), type(artifact)))
        object.__setattr__(artifact, "_key", key)  # a frozen dataclass allows no other way
        return key


def identity_of(artifact: Artifact) -> Hashable:
    """What its `identity()` gave when it was asked."""
    key = key_of(artifact)
    return key.value if isinstance(key, Identity) else key


def check_identity(artifact: Artifact) -> None:
    """Check that an artifact can be told from others, as far as that shows beforehand.

    Raises:
        ArtifactError: What it says of that raises.
    """
    try:
        _compare(identity_of(artifact))
        bool(artifact == artifact)  # noqa: PLR0124 - it may raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ArtifactError(
            f"The identity of {words_of(artifact)} cannot be used: {error_words(error)}"
        ) from error


def _compare(value: object) -> None:
    if type(value) is tuple:
        for one in value:
            _compare(one)
    else:
        bool(value == value)  # noqa: PLR0124 - a tuple would not ask one and the same object


def attributes_of(artifact: Artifact) -> list[tuple[str, Any]]:
    """Its attributes by name, in the order of their names."""
    found = dict(getattr(artifact, "__dict__", {}))
    for cls in type(artifact).__mro__:
        if cls is Artifact:
            break
        for name in getattr(cls, "__slots__", ()):
            if hasattr(artifact, name):
                found[name] = getattr(artifact, name)
    return sorted(found.items())


def _hashable(value: Any) -> Hashable:
    """A value, or all of it as something that can be hashed: a repr may leave out the middle."""
    if not isinstance(value, memoryview):  # of which some are hashed by what may be another content tomorrow
        try:
            hash(value)
        except TypeError:
            pass
        else:
            return value  # type: ignore[no-any-return]
    kind = type(value).__qualname__
    if isinstance(value, (list, tuple, deque)):
        return kind, *map(_hashable, value)
    if isinstance(value, Mapping):
        return kind, frozenset((key, _hashable(one)) for key, one in value.items())
    if isinstance(value, AbstractSet):
        return kind, frozenset(value)
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None:
        compared = [name for name, field in fields.items() if field.compare]
        return kind, *((name, _hashable(getattr(value, name, None))) for name in compared)
    return _content_of(value, kind)


def _content_of(value: Any, kind: str) -> Hashable:
    """What is in an array, all of it."""
    try:
        with memoryview(value) as view:
            if view.format[-1:] in "?cbBhHiIlLqQnNefd" and len(view.format) <= 2:
                return kind, view.format, view.shape, view.tobytes()
    except (TypeError, ValueError, BufferError):
        pass
    as_list = getattr(value, "tolist", None)
    return (kind, _hashable(as_list())) if callable(as_list) else repr(value)


def plainly(answer: Any, artifact: object) -> Any:
    """An artifact's answer, unless it would have to be awaited, or nothing of it has run: a coroutine is truthy.

    Raises:
        ArtifactError: It would, or it is none.
    """
    if answer is True or answer is False or answer is None:
        return answer
    if is_awaitable(answer):
        discard(answer)
        raise ArtifactError(f"{words_of(artifact)} must answer at once: what it returned has to be awaited.")
    if answer is NotImplemented or isinstance(answer, (GeneratorType, AsyncGeneratorType)):
        raise ArtifactError(f"{words_of(artifact)} has returned {words_of(answer)}, which is no answer.")
    return answer


def is_valid(artifact: Artifact) -> bool:
    """What an artifact says when it is asked whether it is valid.

    Raises:
        BaseException: Whatever it raises; an ArtifactError, if what it says is no answer.
    """
    answer: Any = artifact.valid()  # a user may have given anything
    if answer is True or answer is False:
        return answer
    return truly(answer, artifact, getattr(type(artifact).valid, "__wrapped__", artifact.valid))


def truly(answer: Any, artifact: Artifact, asked: Callable[..., Any]) -> bool:
    """An answer to the question whether an artifact is valid, unless it is none. Nothing at all is a no.

    Args:
        answer: The answer.
        artifact: The artifact.
        asked: Who has given it.

    Raises:
        ArtifactError: It is none.
    """
    answer = plainly(answer, artifact)
    mistake = mistake_in(answer)
    if is_reason(answer):
        mistake = f"returned {short(answer)}; it says True or False alone, and problem() says what is wrong"
    elif answer is None and never_returns(asked):
        mistake = "returned None; there is no `return` in it"
    if mistake is not None:
        raise ArtifactError(f"{words_of(artifact)} gives no answer: {located(asked)} {mistake}.")
    return bool(answer)
