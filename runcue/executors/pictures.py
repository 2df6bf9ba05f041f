"""What a handler that runs elsewhere sees of its work unit.

Lives here: `Picture`, and `Room`, what it may write. It is loaded in worker processes, and knows the standard library
alone, but for what is loaded when a handler asks for it.

Must not know: how a picture gets there, what becomes of what was written.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from decimal import Decimal
    from fractions import Fraction

__all__ = ["Picture", "Room"]


class Room(NamedTuple):
    """What a handler may write: an output that is a file.

    Attributes:
        path: Where it will be, absolute.
        given: As it was given.
        temp: The file that is written in its place; None: it cannot be written.
        refusal: Why that is so, for the error; "" if it is not.
    """

    path: str
    given: str
    temp: str | None
    refusal: str


class Picture:
    """What a handler that runs elsewhere sees of its work unit.

    Attributes:
        id: As of `runcue.Work`.
        task: Likewise.
        params: Likewise; what is done to them here is seen by nobody.
        attempt: Likewise.
        metadata: Likewise.
        inputs: The artifacts that it needs, as declared.
        outputs: The artifacts that prove it, as declared.
    """

    __slots__ = (
        "_budgets",
        "_inputs",
        "_open",
        "_outputs",
        "_rooms",
        "_spent",
        "_written",
        "attempt",
        "id",
        "metadata",
        "params",
        "task",
    )

    def __init__(
        self,
        id: str,
        task: str,
        attempt: int,
        params: dict[str, Any],
        metadata: dict[Any, Any],
        inputs: tuple[Any, ...],
        outputs: tuple[Any, ...],
        rooms: tuple[tuple[Any, ...], ...],
        budgets: tuple[str, ...],
    ) -> None:
        self.id, self.task, self.attempt = id, task, attempt
        self.params, self.metadata = params, metadata
        # Files by their paths until somebody asks for them: that loads runcue.
        self._inputs, self._outputs = inputs, outputs
        self._rooms, self._budgets = tuple(Room(*room) for room in rooms), budgets
        self._spent: list[dict[str, Any]] = []
        self._written: dict[str, bool] = {}
        self._open: set[str] = set()

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The artifacts that it needs, as declared."""
        self._inputs = tuple(map(_artifact, self._inputs))
        return self._inputs

    @property
    def outputs(self) -> tuple[Any, ...]:
        """The artifacts that prove it, as declared."""
        self._outputs = tuple(map(_artifact, self._outputs))
        return self._outputs

    @contextmanager
    def write(
        self, output: Any, mode: str = "w", *, encoding: str | None = None, durable: bool = True
    ) -> Iterator[IO[Any]]:
        """Write an output that appears only when the handler has succeeded, whole; see `runcue.Work.write`.

        Args:
            output: One of `outputs` that is a file, or its path.
            mode: "w" for text, "wb" for bytes.
            encoding: Of text, by default UTF-8.
            durable: Wait until it is on the disk, before the work unit is done.
        """
        room = self._room_of(output)
        temp = room.temp
        if temp is None:
            raise _error("PublishError", room.refusal)
        if not re.fullmatch(r"\+?[bt]?[wx]", "".join(sorted(str(mode)))):
            raise _error(
                "ConfigurationError",
                f"mode {_words(mode)} cannot write {_words(room.path)}: a file is published as a whole. Use 'w' or "
                "'wb'.",
            )
        if "x" in mode and os.path.lexists(room.path):
            raise _error("PublishError", f"Cannot write {_words(room.path)}: it exists, and mode {mode!r}.")
        if room.path in self._open:
            raise _error(
                "UsageError",
                f"{_words(room.path)} is being written: the `with` statement of its first write() is still open.",
            )
        if encoding is None and "b" not in mode:
            encoding = "utf-8"
        # What was written before is discarded, whatever becomes of this.
        self._written.pop(room.path, None)
        self._open.add(room.path)
        try:
            with Path(temp).open(mode.replace("x", "w"), encoding=encoding) as file:
                yield file
            self._written[room.path] = bool(durable)
        finally:
            self._open.discard(room.path)

    def spent(self, *misplaced: Any, **amounts: float | str | Decimal | Fraction) -> None:
        """Say what this attempt has spent of the budgets of its services; see `runcue.Work.spent`.

        Args:
            *misplaced: None: an amount is given by the name of its budget.
            **amounts: By the names of the budgets.
        """
        what = f"spent() of {self.task} {self.id}"
        if misplaced or not amounts:
            raise _error(
                "ConfigurationError",
                f"{what} takes amounts by the names of budgets, such as spent(tokens=712).",
            )
        for name in amounts:
            if name not in self._budgets:
                there_is = (
                    f"there is {', '.join(map(repr, self._budgets))}"
                    if self._budgets
                    else "no service of its task has any"
                )
                raise _error("ConfigurationError", f"{what} names the budget {name!r}, and {there_is}.")
        # Whatever is wrong with an amount is told in the line of the mistake.
        # What is noted are plain numbers, which can be sent whatever was given.
        self._spent.append(import_module("runcue._model.amounts").amounts_of(amounts, what))

    def _room_of(self, output: Any) -> Room:
        """The room of an output.

        Raises:
            ConfigurationError: It is none that can be written here.
        """
        try:
            text = os.fsdecode(output)
        except (TypeError, ValueError):
            raise _error(
                "ConfigurationError",
                f"Only files can be written; {_words(output)} is none. Store it your own way.",
            ) from None
        path = os.path.normpath(text)
        for room in self._rooms:
            if path in (os.path.normpath(room.path), os.path.normpath(room.given)):
                return room
        there_is = ", ".join(_words(room.given) for room in self._rooms[:5])
        raise _error(
            "ConfigurationError",
            f"write() takes an output that its task declares, where its handler runs elsewhere; {_words(text)} is "
            f"none: {f'there is {there_is}' if there_is else 'there are none'}. Name it in outputs=.",
        )

    def __getattr__(self, name: str) -> Any:
        """Say what there is, where something is asked for that a work unit has elsewhere."""
        raise AttributeError(
            f"A handler that runs elsewhere sees a picture of its work unit, which has no {name!r}. There is id, task, "
            "params, attempt, metadata, inputs, outputs, write() and spent()."
        )

    def __repr__(self) -> str:
        return f"<Work {self.id} {self.task}>"


# What Python says of it, such as "'Work' object is not callable", names what a user knows, wherever a handler runs.
Picture.__name__ = Picture.__qualname__ = "Work"
Work = Picture
"""By its name it is found when a handler gives it back."""


class _Unsent:
    """In the place of an artifact that cannot be sent."""

    def __init__(self, words: str, why: str) -> None:
        self._words, self._why = words, why

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self._words} is not here, where the handler runs: {self._why}.")

    def __repr__(self) -> str:
        return self._words


def _artifact(given: Any) -> Any:
    """An artifact as it was sent: a file by its path, any other pickled, or why that could not be."""
    if isinstance(given, str):
        return import_module("runcue").File(given)
    if isinstance(given, bytes):
        return pickle.loads(given)  # noqa: S301 - by who has sent the handler
    return _Unsent(*given) if type(given) is tuple else given


def _error(name: str, text: str) -> Exception:
    error: Exception = getattr(import_module("runcue._model.errors"), name)(text)
    return error


def _words(value: Any) -> str:
    try:
        return repr(value)[:80]
    except Exception:
        return f"<{type(value).__qualname__}>"
