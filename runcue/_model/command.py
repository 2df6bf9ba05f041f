"""The noun: a command of the system as a handler.

Lives here: what those need to know of one who do not run it: `_handlers.commands` does.

Must not know: shells, processes, how values get into a command.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from runcue._model.callables import caller
from runcue._model.texts import words_of

__all__ = ["Command"]


class Command(ABC):
    """A handler that runs a command in a process of its own.

    Args:
        text: The command as its user wrote it: text for a shell, or its words.
        cwd: The folder that it runs in; None: that of the program.
        env: What is added to the environment variables of the program.

    Attributes:
        text, cwd, env: Likewise.
    """

    def __init__(self, text: str | tuple[str, ...], cwd: str | None, env: Mapping[str, str]) -> None:
        self.text, self.cwd, self.env = text, cwd, env
        if (place := caller()) is not None:
            # Where it was written is where it is defined: that stands in texts about it, as of any function.
            code, line = place
            self.__code__ = code.replace(co_firstlineno=line)

    @abstractmethod
    def check_artifacts(self, inputs: Any, outputs: Any, what: str) -> None:
        """Check that the artifacts it names are there, as far as a task says which it has.

        Args:
            inputs: As the task declares them.
            outputs: Likewise.
            what: What the task is called in messages.

        Raises:
            ConfigurationError: One is not.
        """

    @abstractmethod
    def where(self, work: Any) -> str:
        """What it does for a work unit at this moment, as what follows "is at"; "" if it does nothing."""

    @abstractmethod
    def last_words(self, work: Any) -> str:
        """The last that what runs for a work unit has written to stderr, in a line; "" if it is nothing."""

    @abstractmethod
    async def __call__(self, work: Any, /, **params: Any) -> str:
        """Run it for a work unit. Returns what it has printed."""

    def is_again(self, other: Any) -> bool:
        """Whether another one is the same, written anew."""
        return isinstance(other, Command) and self._all == other._all

    @property
    def _all(self) -> tuple[object, ...]:
        return self.text, self.cwd, self.env

    def __repr__(self) -> str:
        # Of the variables nothing: a password may be among them.
        cwd = "" if self.cwd is None else f", cwd={words_of(self.cwd)}"
        return f"shell({words_of(self.text if isinstance(self.text, str) else list(self.text))}{cwd})"
