"""One file that is written beside its target, and takes its place when whoever wrote it has succeeded.

Whoever writes it is this process, by the open file that it gives; or another program, which makes it in a temp folder
beside the target, from where it is taken over.

Lives here: `StagedFile`. `temp_files` says how temp files are made and claimed, `targets` what may be in the way.

Must not know: other files of the same work unit, work units, artifacts, event loops.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, NamedTuple, NoReturn

from runcue._artifacts import temp_files
from runcue._artifacts.descriptors import is_shortage, patiently, refill, with_descriptor
from runcue._artifacts.targets import absolute_target, make_folder, permissions, refusal
from runcue._artifacts.temp_files import (
    CLAIMS_HELD,
    OPEN_FLAGS,
    clear_dead_once,
    close_quietly,
    create_claimed,
    remove_quietly,
    take_over_claimed,
)
from runcue._model.checks import yes_or_no
from runcue._model.errors import ConfigurationError, UsageError
from runcue._model.texts import words_of

__all__ = ["StagedFile"]

# What is asked of files by those who take a staged file for one.
_OF_FILES: Final = (
    "write",
    "writelines",
    "read",
    "close",
    "flush",
    "seek",
    "tell",
    "truncate",
    "fileno",
    "name",
)


class _Opened(NamedTuple):
    """A temp file that is open to be written.

    Attributes:
        path: Where it is.
        claim: A descriptor of our own: the user's file object closes its own, and the claim must outlive that. None
            where too many are held.
        file: What the user writes to.
    """

    path: Path
    claim: int | None
    file: IO[Any]


class StagedFile:
    """One file being written: a context manager that gives the open file.

    Left normally, the file stays staged until `publish()`; left by an exception, it is discarded. The file's `name` is
    the path of the temp file, so another program may be told to write there. A target that exists keeps its permission
    bits; one that is a symlink stays one, and what it leads to is replaced.

    Args:
        target: What it will be. A relative one is taken from the working folder at this moment.
        mode: As for `open()`, without those that read or append: "w", "wt", "wb", "w+", "wb+", or with "x" in place of
            "w" for a target that must not exist when the file is opened. Line ends in text are those of `open()`.
        encoding: Of text, UTF-8 by default; none in binary modes.
        durable: Whether it must survive a power cut: the disk is waited for.

    Attributes:
        target: The absolute path that was asked for.
        path: What is replaced: the same, with symlinks followed.
        durable: As given.
        grown: The folders that get a new entry by it.
        over: Whether it is published or discarded, so that nothing is left to do.

    Raises:
        ConfigurationError: An argument cannot work.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        mode: str = "w",
        encoding: str | None = None,
        durable: bool = True,
    ) -> None:
        self.target = absolute_target(target)
        self.path = Path(os.path.realpath(self.target))
        self.durable = yes_or_no(durable, "durable")
        self.grown: list[Path] = []
        self.over = False
        self._mode = mode
        self._encoding = _checked_encoding(self.target, mode, encoding)
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._entered = False
        self._file: IO[Any] | None = None
        self._temp: Path | None = None
        # Where another program makes it, until it is taken over from there.
        self._made: Path | None = None
        # See `_Opened`.
        self._claim: int | None = None

    def __getattr__(self, name: str) -> Any:
        """Say what to write where it is taken for the file itself. What it has does not come here."""
        if name in _OF_FILES:
            raise UsageError(
                f"write() opens no file by itself: write `with {self._as} as file: file.{name}(...)`."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __fspath__(self) -> str:
        """Say what to write where it is taken for a path."""
        raise UsageError(f"write() gives no path: write `with {self._as} as file:`, and give `file.name`.")

    async def __aenter__(self) -> NoReturn:
        """Say what to write instead."""
        raise UsageError(f"write() needs no waiting: write `with {self._as} as file:`, without async.")

    async def __aexit__(self, *error: object) -> None:
        """There is no getting here."""

    @property
    def _as(self) -> str:
        return f"work.write({words_of(self.target)})"

    @property
    def is_open(self) -> bool:
        """Whether it is being written."""
        return self._file is not None

    def __enter__(self) -> IO[Any]:
        with self._lock:
            spent = self._entered or self.over
            self._entered = True
        if spent:
            raise UsageError(
                f"{self.target!r} was written or discarded before; call write() anew to write it again."
            )
        try:
            opened = self._open()
        except OSError as error:
            self.over = True
            raise refusal(self.target, error) from error
        with self._lock:
            self._temp, self._claim, self._file = opened
        if self.over:  # discarded by another thread in the meantime
            self.__exit__(None, None, None)
            raise UsageError(f"{self.target!r} was discarded while it was opened: its work has ended.")
        return opened.file

    def _open(self) -> _Opened:
        if "x" in self._mode and os.path.lexists(self.target):
            reason = f"it exists, and mode {self._mode!r} replaces nothing; remove it or use 'w'"
            raise FileExistsError(errno.EEXIST, reason)
        bits = permissions(self.path)
        self.make_folders()
        clear_dead_once(self.path.parent)
        if CLAIMS_HELD.take():
            try:
                return self._open_temp(bits, held=True)
            except BaseException as error:
                CLAIMS_HELD.give_back()
                if not (isinstance(error, OSError) and is_shortage(error)):
                    raise
        return patiently(self._open_temp, bits, held=False)

    def _open_temp(self, bits: int | None, *, held: bool) -> _Opened:
        temp, descriptor = create_claimed(self.path, 0o666 if bits is None else bits, held=held)
        owned = True

        def hand_over(*_: object) -> int:
            nonlocal owned
            if held:
                return os.dup(descriptor)
            owned = False
            return descriptor

        try:
            if bits is not None and hasattr(os, "fchmod"):
                with contextlib.suppress(OSError):  # a filesystem without such bits
                    os.fchmod(descriptor, bits)  # gives back what the umask took
            file = open(  # noqa: SIM115 - this is its context manager
                temp, self._mode, encoding=self._encoding, opener=hand_over
            )
        except BaseException:
            if owned:
                close_quietly(descriptor)
            remove_quietly(temp)
            raise
        return _Opened(temp, descriptor if held else None, file)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        complete = False
        try:
            self._file.close()
            complete = kind is None
        except OSError as failure:  # what was still buffered found no room, say
            if kind is None and not self.over:
                raise refusal(self.target, failure) from failure
        finally:
            if not complete or self.over:
                self.discard()  # again, if that came while it was open: Windows removes no open file
            self._file = None
            refill()

    def make_folders(self) -> None:
        """Make the folders that it is to lie in.

        Raises:
            OSError: There cannot be such folders.
        """
        folder = self.path.parent
        self.grown = [*make_folder(folder), folder]

    def let_make(self, made: Path) -> None:
        """Have another program make it, at a place on the filesystem of its target."""
        self._entered, self._made = True, made

    def take_over(self) -> None:
        """Take what another program has made, if that is how it comes and it was not taken yet.

        Raises:
            PublishError: It is not there, or is no file that can be published.
        """
        with self._lock:
            if self.over or self._made is None:
                return
            made, self._made = self._made, None
            held = CLAIMS_HELD.take()
            try:
                bits = permissions(self.path)
                self._temp, descriptor = patiently(take_over_claimed, made, self.path, held=held)
                if bits is not None and hasattr(os, "fchmod"):
                    with contextlib.suppress(OSError):  # a filesystem without such bits
                        os.fchmod(descriptor, bits)
            except OSError as error:
                if held:
                    CLAIMS_HELD.give_back()
                raise refusal(self.target, error) from error
            if held:
                self._claim = descriptor
            else:
                close_quietly(descriptor)

    def flush_to_disk(self) -> None:
        """Find out what may stand in the way of publishing it, and wait for the disk if it is to be durable.

        Raises:
            ConfigurationError: Its `with` was not left or not entered.
            PublishError: It cannot be published.
        """
        try:
            with self._lock:
                if self.over:
                    return
                temp = self._finished()
                permissions(self.path)
                if not os.path.lexists(temp):
                    raise FileNotFoundError(
                        errno.ENOENT, f"its temp file {temp.name!r} was removed; write it again"
                    )
                if not self.durable:
                    return
                # One that a discard from another thread does not close.
                descriptor = None if self._claim is None else patiently(os.dup, self._claim)
            if descriptor is None:
                access = os.O_RDONLY if os.access(temp, os.R_OK) else os.O_WRONLY
                with_descriptor(temp, access | OPEN_FLAGS, os.fsync)
                return
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise refusal(self.target, error) from error

    def touch(self) -> int:
        """Date it now, by the clock of its filesystem. Returns that date.

        Raises:
            PublishError: It is gone.
        """
        temp = self._finished()
        with contextlib.suppress(OSError):  # a filesystem without owners, say: it keeps the date it has
            os.utime(temp)
        return self.look().st_mtime_ns

    def look(self) -> os.stat_result:
        """What it is by now, whole.

        Raises:
            PublishError: It is gone.
        """
        temp = self._finished()
        try:
            return os.stat(temp)
        except OSError as error:
            raise refusal(self.target, error) from error

    def date(self, mtime_ns: int) -> None:
        """Give it another date, as far as its filesystem can."""
        temp = self._finished()
        with contextlib.suppress(OSError):
            os.utime(temp, ns=(mtime_ns, mtime_ns))

    def replaces(self) -> int:
        """When the file that it replaces was written, in nanoseconds; 0 if there is none."""
        try:
            return os.stat(self.path).st_mtime_ns
        except OSError:
            return 0

    def publish(self) -> None:
        """Put it in place. Nothing happens if it is over.

        Raises:
            ConfigurationError: Its `with` was not left or not entered.
            PublishError: It cannot be renamed.
        """
        with self._lock:
            if self.over:
                return
            temp = self._finished()
            if not temp_files.CLAIMS:
                self._release()  # Windows renames no open file
            try:
                os.replace(temp, self.path)
            except OSError as error:
                raise refusal(self.target, error) from error
            self.over = True
            self._release()

    def discard(self) -> None:
        """Remove what was written, unless it is published. Never raises, and any thread may call it at any time.

        A file that is still open is left to who writes it: to close it from here would be to wait for a write. In a
        forked process nothing happens: it is the parent that writes.
        """
        if os.getpid() != self._process:
            return
        with self._lock:
            self.over = True
            self._release()
            if self._temp is not None:
                remove_quietly(self._temp)

    def _finished(self) -> Path:
        """The temp file, once all of it is written."""
        if not self._entered:
            raise ConfigurationError(
                f"{words_of(self.target)} cannot be published: nothing has written it, since write() opens no file by "
                f"itself: write `with {self._as} as file: file.write(...)`."
            )
        if self._file is not None or self._temp is None:
            raise ConfigurationError(
                f"{words_of(self.target)} cannot be published: the with statement that writes it is still open. Let it "
                "end before the work does."
            )
        return self._temp

    def _release(self) -> None:
        if self._claim is not None:
            close_quietly(self._claim)
            self._claim = None
            CLAIMS_HELD.give_back()


def _checked_encoding(target: str, mode: Any, encoding: str | None) -> str | None:
    """What to pass to `open()` as encoding.

    Raises:
        ConfigurationError: Mode and encoding are not for writing a whole file.
    """
    if not isinstance(mode, str) or not re.fullmatch(r"\+?[bt]?[wx]", "".join(sorted(str.__str__(mode)))):
        raise ConfigurationError(
            f"mode {words_of(mode)} cannot write {target!r}: a file is published as a whole, "
            "never read or appended to. Use 'w', 'wt', 'wb', 'w+' or 'wb+', or 'x' in place of 'w' if it must not "
            "exist yet."
        )
    if "b" in mode:
        if encoding is not None:
            raise ConfigurationError(
                f"mode {mode!r} takes no encoding: {words_of(encoding)} for {target!r}. Use 'w' for text."
            )
        return None
    encoding = "utf-8" if encoding is None else encoding
    try:
        "".encode(encoding)
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"encoding {words_of(encoding)} cannot write {target!r}: use the name of a text encoding, such as 'utf-8'."
        ) from error
    return encoding
