"""Whose fault it is: what a user's program raised, as one line that names the file and the line of it.

Lives here: `told`, which makes that line; `place`, where a function is; `shown`, a path as people know it.

Must not know: how a program is imported or what it is asked for.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import sysconfig
from asyncio import CancelledError
from collections.abc import Iterator
from pathlib import Path
from traceback import walk_tb
from typing import Any, Final

import runcue
from runcue_sim._text.figures import shortened
from runcue_sim._text.usage import BadUsage

_STDLIB, *_LIBRARIES = (
    os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "purelib", "platlib")
)
_OWN: Final = tuple(
    str(Path(module.__file__ or "").resolve().parent) + os.sep
    for module in (runcue, sys.modules[__name__.partition(".")[0]])
)


class Refused(BaseException):
    """A program would do real work. No `Exception`: programs that catch those shall not catch this one.

    The text says what is wrong with that.
    """


@contextlib.contextmanager
def told(where: str, what: str) -> Iterator[None]:
    """Make one line of what the program raises.

    Args:
        where: Of the program, for what has no line of its own.
        what: What raised, for messages.

    Raises:
        BadUsage: It raised; that is the cause.
    """
    try:
        yield
    except (BadUsage, KeyboardInterrupt, CancelledError, GeneratorExit):
        raise
    except Refused as error:
        raise BadUsage(f"{_line_of(error) or where}: {error}") from error
    except SystemExit as error:
        code = one_line(str(error.code))
        raise BadUsage(f"{_line_of(error) or where}: {what} exits (SystemExit: {code})") from error
    except BaseException as error:
        words = one_line(str(error.msg if isinstance(error, SyntaxError) else error))
        text = f"{_line_of(error) or where}: {type(error).__name__}{f': {words}' if words else ''}"
        if isinstance(error, ImportError) and "relative import" in words:
            text += "; name it as a module, as in package.module:cue"
        raise BadUsage(text) from error


def _line_of(error: BaseException) -> str:
    """The line that is to blame: the innermost one of the user's, or at least one outside of Python and runcue."""
    if isinstance(error, SyntaxError) and error.filename and not error.filename.startswith("<"):
        return f"{shown(error.filename)}:{error.lineno or 1}"
    lines = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    # Compiled modules name files that are not here.
    lines = [one for one in lines if Path(one[0]).is_file()]
    # Of an installed program every line is one of a library; then any is better than none.
    for others in ((_STDLIB, *_LIBRARIES, *_OWN), (_STDLIB, *_OWN)):
        for file, line in reversed(lines):
            if not _is_among(file, others):
                return f"{shown(file)}:{line}"
    return ""


def _is_among(file: str, folders: tuple[str, ...]) -> bool:
    real = os.path.realpath(file)
    installed = os.sep + "site-packages" + os.sep
    # Where there is no virtual environment, that one lies in the folder of the standard library.
    return real.startswith(tuple(one for one in folders if one != _STDLIB or installed not in real))


def place(call: Any) -> str:
    """Where a callable is defined: "submit of app.py:12"."""
    function = inspect.unwrap(getattr(call, "func", call))
    name = str(getattr(function, "__qualname__", type(function).__qualname__)).rpartition("<locals>.")[2]
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return name if code is None else f"{name} of {shown(code.co_filename)}:{code.co_firstlineno}"


def shown(file: str) -> str:
    """A path as short as it can be: from the working folder if it is in there."""
    path = Path(file).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def one_line(text: str, longest: int = 300) -> str:
    """Text without its line breaks, and not too long."""
    return shortened(" ".join(text.split()), longest)


def kind_of(value: object) -> str:
    """What a value is, with its article."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    name = type(value).__qualname__
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"
