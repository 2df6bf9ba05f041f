"""Where files are to be put: what is there, what is in the way, and the folders on the way.

Must not know: what is written there, or how it gets there.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from runcue._artifacts.descriptors import is_shortage
from runcue._artifacts.places import absolute, path_text
from runcue._model.errors import ConfigurationError, PublishError
from runcue._model.texts import words_of

__all__ = ["absolute_target", "make_folder", "permissions", "refusal"]


def permissions(path: Path) -> int | None:
    """The permission bits of a file that can be replaced, None if there is no file.

    Not the setuid and setgid bits: the new file belongs to whoever runs this.

    Raises:
        OSError: Something else is there, or in the way.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file in it")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file but a device, a pipe or a socket; name another")
    return mode & 0o777


def make_folder(folder: Path) -> list[Path]:
    """Makes a folder with all above it. Returns the folders that got an entry by it."""
    grown = []
    above = folder
    while not os.path.lexists(above):
        above = above.parent
        grown.append(above)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
    return grown


def absolute_target(target: object) -> str:
    """The absolute path of a target.

    Raises:
        ConfigurationError: It is no path of a file.
    """
    try:
        path = path_text(target)
    except ConfigurationError:
        raise ConfigurationError(
            f"A file to write must be named by a path, as text or a Path, not {words_of(target)}."
        ) from None
    if path.endswith(("/", os.sep)):
        raise ConfigurationError(
            f"{words_of(path)} names a folder: it ends in a slash. Name the file to write."
        )
    return absolute(path)


def refusal(target: str, error: OSError) -> PublishError:
    """What to tell of a target that cannot be written: what is in the way and what to do."""
    why = error.strerror or str(error)
    if isinstance(error, NotADirectoryError):
        above = Path(os.path.realpath(target)).parents
        blocker = next((one for one in above if os.path.lexists(one) and not one.is_dir()), None)
        if blocker is not None:
            why = f"{str(blocker)!r} is a file where a folder must be; move it away or write elsewhere"
    elif isinstance(error, PermissionError):
        folder = Path(error.filename or target).parent
        why = f"{why}; let this process write in the folder {str(folder)!r}, or write elsewhere"
    elif is_shortage(error):
        why = f"{why}; keep fewer of them open at once, or allow more (ulimit -n)"
    refusal = PublishError(f"Cannot write {target!r}: {why}.")
    refusal.errno = error.errno
    return refusal
