"""How a program has ended, in words: its exit code or the signal, and the last that it said.

Must not know: how programs are run.
"""

from __future__ import annotations

import signal
from typing import Final

from runcue._model.texts import printable

__all__ = ["end_in_words", "end_of_command", "last_words"]

_SHELLS_ADD: Final = 128
"""What a shell adds to the number of the signal that has killed a program of its."""

_LONGEST: Final = 180
_NOT_FOUND: Final = 127
_NOT_RUN: Final = 126


def end_in_words(returncode: int) -> str:
    """How it has ended: "ended with exit code 1", "was killed by SIGKILL".

    Args:
        returncode: Its exit code, or less than zero: the number of the signal that has killed it.
    """
    if returncode < 0:
        return f"was killed by {_signal(-returncode)}"
    return f"ended with exit code {returncode}"


def end_of_command(returncode: int) -> str:
    """The same of a command, with what its exit code means by convention.

    Args:
        returncode: As of `end_in_words`.
    """
    words = end_in_words(returncode)
    if returncode == _NOT_FOUND:
        return f"{words} (there is no such program)"
    if returncode == _NOT_RUN:
        return f"{words} (it cannot be run)"
    if returncode > _SHELLS_ADD and (name := _signal(returncode - _SHELLS_ADD)).startswith("SIG"):
        return f"{words} (as if {name} had killed a part of it)"
    return words


def last_words(said: str) -> str:
    """The end of what a program has said, in one line: its last lines are most likely about its end."""
    words = " ".join(said.split())
    words = "".join(one if one.isprintable() else " " for one in printable(words))
    if len(words) <= _LONGEST:
        return words
    end = words[-_LONGEST:]
    return f"... {end.partition(' ')[2] or end}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
