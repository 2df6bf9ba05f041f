"""Where files really are: paths as the operating system takes them, and a memory of the folders they lead through.

Two paths are one file if they lead to one entry of one folder. So the key of a file is the real path of its folder,
links followed and `..` taken behind them, with the last name as it stands: the entry is what work units make and
remove, and may itself be a link that is turned elsewhere (see `final`).

To find that out takes a system call for every folder on the way, and files come by the hundred thousand. So folders are
remembered, and looked at again at most once per *pass*: a turn of the event loop in which something is asked, or a few
milliseconds outside of such turns. A plain folder further up is looked at after `_LASTING` at the latest. Nothing is
known of a folder by its device and inode alone, because a folder that was moved, with a link left in its place, is the
same one in another place; therefore it is asked whether each name on the way is a link.

Lives here: `Place`, one folder by one spelling; `place_of`, `locate`, `resolve` and `final`, which go from a path to
where it leads; and the pass.

Must not know: artifacts, who is interested in which file, event loops.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Iterator
from itertools import count
from stat import S_ISDIR, S_ISLNK
from time import monotonic, time_ns
from typing import Any, Final, NamedTuple, TypeGuard
from weakref import WeakValueDictionary

from runcue._model.errors import ConfigurationError
from runcue._model.texts import words_of

__all__ = [
    "PASS",
    "SEEN",
    "Location",
    "Place",
    "absolute",
    "final",
    "is_file",
    "leads",
    "locate",
    "next_epoch",
    "next_pass",
    "path_text",
    "place_of",
    "resolve",
]

_PASS_LASTS: Final = 0.005
"""Seconds after which a pass has ended, whether or not somebody has begun a new one."""
_LASTING: Final = 0.02
"""Seconds for which a folder that is none of the links on the way, but above the folder in question, is believed."""
_MOST_LINKS: Final = 40
"""So many links in a row are followed by Linux; then it says ELOOP."""
_MOST_REMEMBERED: Final = 100_000
_FEW: Final = 16
_CHEAPER: Final = 64
"""To look whether a name is a link costs about four times what it costs to list one. Folders are listed when no more
than so many times the names that were looked at have to be listed: at worst that triples the price for these."""


class Pass:
    """The present pass.

    Attributes:
        number: Its number. What was looked at in this pass need not be looked at again.
        until: When it ends at the latest; monotonic.
        turned: How often a folder was found to lead elsewhere than before, so that keys may no longer be true.
        epoch: Another number, which advances with each pass and whenever this process has written a mark.
    """

    __slots__ = ("epoch", "number", "turned", "until")

    def __init__(self) -> None:
        self.number = 1
        self.epoch = 1
        self.until = 0.0
        self.turned = 0


PASS: Final = Pass()
_epochs: Final = count(2)


def next_pass() -> None:
    """Begin a new pass: whatever is asked from now on is looked at anew."""
    PASS.number += 1
    SEEN.clear()
    PASS.epoch = next(_epochs)
    PASS.until = monotonic() + _PASS_LASTS


def next_epoch() -> None:
    """Begin a new epoch: what this process has noted of marks counts from now on."""
    PASS.epoch = next(_epochs)


SEEN: Final[dict[str, Place]] = {}
"""The folders that were seen in this pass to be no links, by their path. Not the root."""


class Place:
    """A folder as it is spelled in a path; there need not be one.

    What others remember of a folder they remember at its real one (`real`), which is one object for all spellings.

    Attributes:
        above: The folder above it, in the same spelling; None for the root.
        real: Where it leads, links followed: itself, unless it or one above it is a link.
        path: The real path.
        identity: Device and inode, None if there is no folder.
        mtime_ns: When an entry last came or went, 0 if there is no folder.
        seen: The number of the pass in which it was last seen to be its own real place; 0 if it is not.
        linkless: The number of the pass in which nothing in it was last known to be a link.
        marks: Room for what is remembered of the marks in it.
        unmarked: The epoch in which nothing in it was last known to be in doubt by a mark.
    """

    __slots__ = (
        "__weakref__",
        "_asked",
        "_is_known",
        "_links",
        "_listed",
        "_looked_at",
        "_looked_in",
        "_name",
        "_pays_after",
        "_text",
        "above",
        "identity",
        "linkless",
        "marks",
        "mtime_ns",
        "path",
        "real",
        "seen",
        "unmarked",
    )

    def __init__(self, text: str, above: Place | None) -> None:
        self._text = text
        self._name = text.rpartition(os.sep)[2]
        self.above = above
        self.real = self
        self.path = text or os.sep
        self.identity: tuple[int, int] | None = None
        self.mtime_ns = 0
        self.seen = 0
        self.linkless = 0
        self.marks: Any = None
        self.unmarked = 0
        # The links in it, as of the listing when it was dated so; how many names were looked at since then, and after
        # how many of them another listing pays.
        self._links: frozenset[str] = frozenset()
        self._listed = 0
        self._asked = 0
        self._pays_after = _FEW
        self._is_known = False
        self._looked_in = 0
        self._looked_at = 0.0

    def look(self) -> Place:
        """Look where it leads, unless that was done in this pass. Returns itself."""
        if self._looked_in != PASS.number:
            with _lock:
                self._look(0)
        return self

    def _look(self, links: int, *, anew: bool = False) -> None:
        """Look at it, and before that at those above it of which nothing certain is known.

        Args:
            links: How many links have led here.
            anew: Look again whether what was no real folder in this pass still leads where it did.
        """
        number, now = PASS.number, monotonic()
        line: list[Place] = []
        one: Place | None = self
        while one is not None and (one._looked_in != number or (anew and one.real is not one)):
            if one is not self and one.real is one and now - one._looked_at < _LASTING:
                break
            line.append(one)
            one = one.above
        for one in reversed(line):
            # Noted before it is done: a link that leads to itself comes back here.
            one._looked_in, one._looked_at = number, now
            real = one._find(links, anew=anew)
            if one._is_known and real is not one.real:
                PASS.turned += 1
            one._is_known = True
            one.real, one.path = real, real._text or os.sep
            if real is one:
                one.seen = number
                if one._text:
                    SEEN[one._text] = one
            else:
                one.seen = 0
                one.identity, one.mtime_ns = real.identity, real.mtime_ns

    def _find(self, links: int, *, anew: bool) -> Place:
        """Find the real place."""
        above = self.above
        if above is not None:
            if self._name == os.pardir:
                return above.real.above or above.real
            if above.real is not above:
                beyond = _remembered(f"{above.real._text}{os.sep}{self._name}")
                beyond._look(links, anew=anew)
                return beyond.real
        self.identity, self.mtime_ns = None, 0
        try:
            status = os.lstat(self._text or os.sep)
            if S_ISLNK(status.st_mode) and above is not None and links < _MOST_LINKS:
                target = _remembered(_tidy(os.path.join(above.path, os.readlink(self._text))).rstrip(os.sep))
                target._look(links + 1, anew=anew)
                return target.real
        except (OSError, ValueError):
            return self  # it may come
        if S_ISDIR(status.st_mode):
            self.identity, self.mtime_ns = (status.st_dev, status.st_ino), status.st_mtime_ns
        return self

    def has_link(self, name: str) -> bool:
        """Whether something in it is a link. To be asked of a real place that was looked at in this pass.

        One name costs a system call. Of many in one folder it costs a fraction to list them all, and that holds until
        something in there comes or goes.
        """
        if self.identity is None:
            self.linkless = PASS.number
            return False
        if not self._listed or self._listed != self.mtime_ns:
            self._asked += 1
            if self._asked < self._pays_after or not self._list():
                return os.path.islink(f"{self._text}{os.sep}{name}")
        if not self._links:
            self.linkless = PASS.number
        return name in self._links

    def _list(self) -> bool:
        """List the links in it. Returns whether that is worth something."""
        # What changed within a tick of its clock, which may be two seconds long, can change again unseen.
        tick = 20_000_000 if self.mtime_ns % 1_000_000_000 else 2_000_000_000
        if time_ns() - self.mtime_ns < tick:
            return False
        self._listed = 0
        links, number = [], 0
        try:
            with os.scandir(self.path) as entries:
                for number, entry in enumerate(entries, 1):
                    if entry.is_symlink():
                        links.append(entry.name)
                    if number > _CHEAPER * self._asked:
                        self._pays_after = 2 * self._asked
                        return False
            status = os.stat(self.path)
        except OSError:
            status = None
        if status is None or status.st_mtime_ns != self.mtime_ns:
            self._pays_after = 2 * self._asked
            return False
        self._links, self._listed = frozenset(links), self.mtime_ns
        self._asked, self._pays_after = 0, max(_FEW, number // _CHEAPER)
        return True

    def __repr__(self) -> str:
        return f"<Place {self._text or os.sep}{'' if self.real is self else f' at {self.path}'}>"


# The folders that are remembered, by how they are spelled: absolute, without a slash at the end. Not the root.
_folders: Final[dict[str, Place]] = {}
# Those that were forgotten, as long as a file still knows them: there are no two for one spelling.
_alive: WeakValueDictionary[str, Place] = WeakValueDictionary()
_root: Final = Place("", None)
_lock = threading.RLock()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = threading.RLock()
    next_pass()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _remembered(text: str) -> Place:
    """The place of a folder, not looked at. With the lock held.

    Args:
        text: Absolute and tidy, without a slash at the end; "" for the root.
    """
    names = []
    found: Place | None = None
    # Not by recursion: there are paths of a thousand folders.
    while text and (found := _folders.get(text) or _alive.get(text)) is None:
        text, _, name = text.rpartition(os.sep)
        names.append(name)
    place = found or _root
    if found is not None:
        _folders[text] = found  # it may have been forgotten
    for name in reversed(names):
        text = f"{place._text}{os.sep}{name}"
        place = Place(text, place)
        if len(_folders) >= _MOST_REMEMBERED:
            _folders.clear()
        _folders[text] = _alive[text] = place
    return place


def place_of(folder: str) -> Place:
    """The place of a folder, looked at in this pass.

    Args:
        folder: A path; a relative one is taken from the working folder.
    """
    return _place_of(absolute(folder).rstrip(os.sep))


def _place_of(text: str) -> Place:
    if monotonic() > PASS.until:
        next_pass()
    with _lock:
        place = _remembered(text)
        # Links are turned by who then submits, in one step.
        if place._looked_in != PASS.number or place.real is not place:
            place._look(0, anew=True)
    return place


class Location(NamedTuple):
    """Where a path leads.

    Attributes:
        path: Absolute, and else as it was given: what is opened and looked at.
        key: The real path of its folder and its last name: what it is known by.
        place: The real folder that its key is in.
    """

    path: str
    key: str
    place: Place


def locate(given: str) -> Location:
    """Find out where a path leads.

    The last name stands for itself, whether or not it is a link. A path that ends in a slash or in `..` has none: that
    one is the folder to which it leads.

    Raises:
        ConfigurationError: It cannot be the path of a file.
    """
    path = absolute(given)
    folder, _, name = path.rpartition(os.sep)
    if name and name != os.pardir:
        place = _place_of(folder).real
        key = f"{place._text}{os.sep}{name}"
        return Location(path, path if key == path else key, place)
    real = _place_of(path.rstrip(os.sep)).real
    return Location(path, real.path, real.above or real)


def is_file(key: Hashable) -> TypeGuard[str]:
    """Whether a key is that of a file, rather than of an artifact of another kind."""
    return type(key) is str and key[:1] == os.sep


def resolve(path: str) -> str:
    """The key of a file: the real path of its folder and its last name."""
    return locate(path).key


def leads(key: str) -> list[str]:
    """The keys of what a link leads to, one after the other; none if it is no link.

    The last one may be missing. Of links that lead in a circle each is given once.
    """
    keys: list[str] = []
    while len(keys) < _MOST_LINKS:
        try:
            target = os.readlink(key)
        except OSError:
            break
        key = resolve(os.path.join(key.rpartition(os.sep)[0] or os.sep, target))
        if key in keys:
            break
        keys.append(key)
    return keys


def final(key: str) -> str:
    """The key of what a file leads to in the end, if it is a link; its own if it is none."""
    return (leads(key) or [key])[-1]


def path_text(path: Any, who: str = "A File") -> str:
    """A path as text, however it is given: bytes as the filesystem takes them.

    Raises:
        ConfigurationError: It cannot be a path; `who` needs one.
    """
    try:
        text = str.__str__(os.fsdecode(path))
        if text and "\0" not in text:
            os.fsencode(text)
            return text
        problem = "not"
    except UnicodeError:
        problem = "in characters that the filesystem can take, not"
    except Exception:  # out of an object's own __fspath__, say
        problem = "as text or a Path, not"
    raise ConfigurationError(f"{who} needs a path, {problem} {words_of(path)}.")


def absolute(given: str) -> str:
    """The absolute path that leads where this one leads.

    Nothing is left out of it but what makes no difference to the operating system: `a/../b` need not be `b`.

    Raises:
        ConfigurationError: It is relative, and the working folder is gone.
    """
    given = path_text(given)
    if os.sep != "/":
        return os.path.abspath(given)  # Windows itself takes `..` as the text says
    if given[0] != "/":
        try:
            given = f"{os.getcwd()}/{given}"
        except OSError as error:
            raise ConfigurationError(
                f"{words_of(given)} is taken from the working folder, and there is none: {error.strerror}."
            ) from None
    return _tidy(given)


def _tidy(path: str) -> str:
    """A path without empty names and dots. One slash stays at the end of a path that ends in one, or in a dot."""
    if "//" not in path and "/." not in path:
        return path
    return f"/{'/'.join(_names(path))}"


def _names(path: str) -> Iterator[str]:
    *folders, last = path.split("/")
    yield from (name for name in folders if name not in ("", "."))
    yield "" if last == "." else last
