"""Every error runcue raises, as one tree under `RuncueError`.

Lives here: the classes. An error says whose fault it is by its class and what to
do by its text; the text carries the offending value and is written where the mistake is noticed. Each class is also the
builtin a caller would expect to catch: configuration errors are `ValueError`, failed look-ups `LookupError`, time-outs
`TimeoutError`.

Not here: `NotSettled`, which is an error of asyncio's, too, and stands beside the handle that raises it; and what a
handler raises to say something of its attempts, which stands beside these.

Must not know: anything of runcue but how texts are kept short.
"""

from __future__ import annotations

from typing import Any, TypeGuard, TypeVar

from runcue._model.texts import LONGEST, shortened, words_of

__all__ = [
    "ArtifactError",
    "CommandFailed",
    "ConfigurationError",
    "CueFailed",
    "CueStopped",
    "DuplicateTask",
    "DuplicateWork",
    "HandlerExited",
    "InvalidParams",
    "InvalidTransition",
    "LimitError",
    "MissingOutput",
    "PendingTimeout",
    "PublishError",
    "RemoteError",
    "RetryError",
    "RuncueError",
    "StallTimeout",
    "UnknownService",
    "UnknownTask",
    "UnknownWork",
    "UsageError",
    "WorkCancelled",
    "WorkTimeout",
    "WorkerDied",
    "WrongLoop",
    "is_a",
]

E = TypeVar("E", bound=BaseException)


class RuncueError(Exception):
    """What all errors of runcue have in common: a text of a few hundred characters at most, whatever it is about."""

    def __init__(self, *args: object) -> None:
        if args and isinstance(args[0], str) and len(args[0]) > LONGEST:
            args = shortened(args[0]), *args[1:]
        super().__init__(*args)


class ConfigurationError(RuncueError, ValueError):
    """A service, a task or a cue was described with a value that cannot work."""


class DuplicateTask(ConfigurationError):
    """A task name is taken by another handler."""


class DuplicateWork(ConfigurationError):
    """An artifact (or a key) is already being made by another pending or running work unit that cannot be joined."""


class InvalidParams(ConfigurationError, TypeError):
    """The params of a submission are not a mapping, were not given as one, or are not what the handler takes."""


class UnknownTask(RuncueError, LookupError, ValueError):
    """No task of that name is registered."""


class UnknownWork(RuncueError, LookupError):
    """The cue knows no work unit of that id, or no longer."""


class UnknownService(RuncueError, LookupError, ValueError):
    """No service of that name is registered."""


class UsageError(RuncueError, RuntimeError):
    """A call that cannot be made here or now: outside a loop, twice, or from inside a handler."""


class WrongLoop(UsageError):
    """A cue was used from another thread or event loop than the one it was started in."""


class CueStopped(UsageError):
    """Work was submitted to a cue that has stopped or is stopping."""


class CueFailed(RuncueError):
    """The scheduler itself failed. Whatever waits on the cue raises this, with the cause attached."""


class InvalidTransition(RuncueError):
    """A work unit was asked to make a step that its state does not allow. Always a defect of runcue."""


class WorkCancelled(RuncueError):
    """Raised by `result()` of a work unit that was cancelled.

    Not `asyncio.CancelledError`: someone else's cancelled work unit must not cancel the waiter.
    """


class HandlerExited(RuncueError):
    """Raised by `result()` when a handler ended with an exception that is no `Exception`.

    `SystemExit`, `KeyboardInterrupt` and `CancelledError` out of a handler would end the waiter; they arrive wrapped,
    with the original as `__cause__`.
    """


class RemoteError(RuncueError):
    """A handler that ran elsewhere has raised what cannot be brought here as it is: this comes in its place.

    Args:
        type: What it has raised: the class, with its module.
        text: What that says.
        traceback: Where it was, as text.

    Attributes:
        type: As given.
        text: As given.
        traceback: As given; it is the cause of this, too.
    """

    def __init__(self, type: str, text: str, traceback: str = "") -> None:
        super().__init__(type, text, traceback)
        self.type, self.text, self.traceback = type, text, traceback

    def __str__(self) -> str:
        return shortened(f"{self.type}: {self.text}" if self.text else self.type)


class WorkerDied(RuncueError):
    """The process that ran a handler has ended in the middle of it: the attempt has failed.

    Attributes:
        exitcode: How it has ended: its exit code, or -9 for signal 9 and so on; None: that is not known.
    """

    def __init__(self, text: str, exitcode: int | None = None) -> None:
        super().__init__(text)
        self.exitcode = exitcode

    def __reduce__(self) -> tuple[type[WorkerDied], tuple[Any, int | None]]:
        return type(self), (self.args[0], self.exitcode)


class PublishError(RuncueError, OSError):
    """A file could not be written or put in its place. The text says what is in the way."""


class ArtifactError(RuncueError):
    """Artifacts could not be declared or looked at: the callable or the artifact itself raised, or gave no artifact."""


class MissingOutput(RuncueError):
    """A handler returned, but an output that its task declares is not there, or not valid."""


class CommandFailed(RuncueError):
    """A command of `runcue.shell` has ended with another exit code than 0, was killed, or could not be started.

    Args:
        returncode: As below.
        stderr: Likewise.
        command: The command, as it was written.

    Attributes:
        returncode: Its exit code, or less than zero: the number of the signal that has killed it. 127 if there is no
            such program, 126 if it cannot be run, as shells have it.
        stderr: The end of what it has written to stderr.
        command: The command, as it was written: text for a shell, or its words.
    """

    def __init__(self, returncode: int, stderr: str = "", command: str | tuple[str, ...] = "") -> None:
        super().__init__(returncode, stderr, command)
        self.returncode = returncode
        self.stderr = stderr
        self.command = command

    def __str__(self) -> str:
        from runcue._model.exit_codes import end_of_command, last_words  # noqa: PLC0415 - few have commands

        command = self.command if isinstance(self.command, str) else list(self.command)
        said = last_words(self.stderr) or "it has written nothing to stderr"
        return f"The command {shortened(words_of(command), 120)} {end_of_command(self.returncode)}: {said}"


class LimitError(RuncueError):
    """A limit could not be asked about a work unit: it raised, or gave no answer. The original is the `__cause__`."""


class RetryError(RuncueError):
    """A function that was to say whether and when there is another attempt has raised, or has given no answer.

    Its `__cause__` is what the function raised, and behind that stands what the attempt has failed with.

    Attributes:
        error: What the attempt has failed with.
    """

    error: BaseException | None = None


class PendingTimeout(RuncueError, TimeoutError):
    """A work unit was pending for longer than `pending_timeout`."""


class StallTimeout(RuncueError, TimeoutError):
    """Nothing moved for `stall_timeout`, nothing was running and no instant was known at which that would change."""


class WorkTimeout(RuncueError, TimeoutError):
    """A handler ran for longer than its task's `timeout`."""


def is_a(error: BaseException, kind: type[E]) -> TypeGuard[E]:
    """Whether an error is one of these, by its type alone: one of a user's may let nobody ask for its class."""
    return issubclass(type(error), kind)


def is_made_of(error: BaseException | None, kinds: tuple[type[BaseException], ...]) -> bool:
    """Whether an error is of one of these kinds, or a group of such."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_made_of(one, kinds) for one in error.exceptions)
    return isinstance(error, kinds)
