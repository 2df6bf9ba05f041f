"""Which work units make something inside a folder, at any depth.

Lives here: `Folders`, a tree of the folders in which something is being made. Each artifact stands in it once, at its
folder, however deep that is; "who makes something in here" takes as many steps as the folder has levels below it, not
as many as there are makers, so that `/` and folders of 100,000 files are cheap.

Makers that read the folder themselves, or one above it, stand apart: they are *bound* to it. They hold up only those
readers that come after them (see `dependencies`), so a hundred thousand of them must be in nobody's way. To folders
above those that they read they are makers like all others.

Must not know: phases, who waits for whom; links, the disk: a folder is a path.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator

from runcue._model.work import Work

__all__ = ["Folder", "Folders", "folder_of", "folders_above"]


def folder_of(key: str) -> str:
    """The folder that the file of this key lies in."""
    return key.rpartition(os.sep)[0] or os.sep


def folders_above(key: str) -> tuple[str, ...]:
    """All folders that the file of this key lies in, the nearest first."""
    found = []
    while len(key) > 1:
        found.append(key := folder_of(key))
    return tuple(found)


class Folder:
    """A folder in which something is being made.

    Attributes:
        path: Its path.
        free: Who makes what in it, by key, in the order of submission: those that are not bound to it. Those that are
            bound to a folder in it stand here as well.
        bound: Those that are bound to it, likewise.
        inner: Folders directly in it with free makers in or below them, as the keys of a dict.
    """

    __slots__ = ("bound", "free", "inner", "path")

    # Ordered dicts: of a plain one the first key is found by passing over all that were deleted before it.
    def __init__(self, path: str) -> None:
        self.path = path
        self.free: OrderedDict[str, Work] = OrderedDict()
        self.bound: OrderedDict[str, Work] = OrderedDict()
        self.inner: OrderedDict[Folder, None] = OrderedDict()


class Folders:
    """The tree of one cue.

    Attributes:
        by_path: The folders of the tree.
    """

    __slots__ = ("_bound_to", "by_path")

    def __init__(self) -> None:
        self.by_path: dict[str, Folder] = {}
        # By the key of what is made: the topmost folder that its maker is bound to.
        self._bound_to: dict[str, str] = {}

    def add(self, key: str, maker: Work, above: tuple[str, ...], reads: Collection[Hashable]) -> None:
        """A work unit is going to make something.

        Args:
            key: Of the file.
            maker: Who makes it from now on.
            above: The folders that it lies in.
            reads: The keys of the maker's inputs.
        """
        self.remove(
            key, above
        )  # there may be one that has settled and not returned, or that has been succeeded
        top = next((folder for folder in reversed(above) if folder in reads), None)
        if top is not None:
            self._bound_to[key] = top
        self._enter(key, maker, above, top)

    def _enter(self, key: str, maker: Work, above: tuple[str, ...], top: str | None) -> None:
        free_in = 0
        if top is not None:
            free_in = above.index(top) + 1
            for path in above[:free_in]:
                bound = self._folder(path).bound
                late = bool(bound) and next(reversed(bound.values()))._seq > maker._seq
                bound[key] = maker
                if late:  # it has taken the place of another
                    for one in sorted(bound, key=lambda one: bound[one]._seq):
                        bound.move_to_end(one)
        if free_in < len(above):
            folder = self._folder(above[free_in])
            folder.free[key] = maker
            for path in above[free_in + 1 :]:
                outer = self._folder(path)
                if folder in outer.inner:
                    break
                outer.inner[folder] = None
                folder = outer

    def _folder(self, path: str) -> Folder:
        folder = self.by_path.get(path)
        if folder is None:
            folder = self.by_path[path] = Folder(path)
        return folder

    def remove(self, key: str, above: tuple[str, ...]) -> None:
        """Nobody is going to make this any more."""
        top = self._bound_to.pop(key, None)
        free_in = 0
        if top is not None:
            free_in = above.index(top) + 1
            for path in above[:free_in]:
                folder = self.by_path[path]
                folder.bound.pop(key, None)
                self._drop_if_empty(folder)
        if free_in == len(above) or (inner := self.by_path.get(above[free_in])) is None:
            return
        inner.free.pop(key, None)
        for path in above[free_in + 1 :]:
            if inner.free or inner.inner:
                return
            outer = self.by_path.get(path)
            if outer is not None:
                outer.inner.pop(inner, None)
            self._drop_if_empty(inner)
            if outer is None:
                return
            inner = outer
        self._drop_if_empty(inner)

    def _drop_if_empty(self, folder: Folder) -> None:
        if not (folder.free or folder.bound or folder.inner):
            self.by_path.pop(folder.path, None)

    def bind(self, key: str, above: tuple[str, ...], top: str) -> None:
        """The maker of something in a folder turned out to depend on a reader of it: from now on it is bound.

        Args:
            key: Of what it makes.
            above: The folders that this lies in.
            top: The folder, one of these.
        """
        before = self._bound_to.get(key)
        if before is not None and above.index(before) >= above.index(top):
            return
        maker = self.maker_of(key, above)
        if maker is not None:
            self.remove(key, above)
            self._bound_to[key] = top
            self._enter(key, maker, above, top)

    def maker_of(self, key: str, above: tuple[str, ...]) -> Work | None:
        """Who makes something."""
        folder = self.by_path.get(above[0])
        return None if folder is None else folder.free.get(key) or folder.bound.get(key)

    @staticmethod
    def last_free(folder: Folder) -> tuple[str, Work] | None:
        """Of the makers in a folder that are not bound to it the last one, roughly by submission; and what it makes."""
        while not folder.free:
            if not folder.inner:
                return None
            folder = next(reversed(folder.inner))
        return next(reversed(folder.free.items()))

    @staticmethod
    def keys(folder: Folder) -> Iterator[str]:
        """What is made in a folder by those that are not bound to it, at any depth."""
        line = [folder]
        while line:
            one = line.pop()
            yield from one.free
            line.extend(one.inner)

    @staticmethod
    def makers(folder: Folder) -> Iterator[Work]:
        """All makers in a folder, bound or not, each once for each thing that it makes."""
        yield from folder.bound.values()
        line = [folder]
        while line:
            one = line.pop()
            yield from one.free.values()
            line.extend(one.inner)
