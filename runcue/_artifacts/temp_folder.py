"""A temp folder beside targets, in which another program writes them under their own names.

Must not know: which program that is, what becomes of what it has written.
"""

from __future__ import annotations

from pathlib import Path

from runcue._artifacts.temp_files import (
    CLAIMS_HELD,
    clear_dead_once,
    close_quietly,
    create_claimed_folder,
    remove_folder_quietly,
)

__all__ = ["TempFolder"]


class TempFolder:
    """A claimed folder in a folder, until it is removed.

    Args:
        folder: Where it is made.

    Attributes:
        path: Where it is, absolute.

    Raises:
        OSError: It cannot be made there.
    """

    def __init__(self, folder: Path) -> None:
        clear_dead_once(folder)
        held = CLAIMS_HELD.take()
        try:
            self.path, descriptor = create_claimed_folder(folder, held=held)
        except BaseException:
            if held:
                CLAIMS_HELD.give_back()
            raise
        self._claim = descriptor if held else None
        if not held:
            close_quietly(descriptor)

    def remove(self) -> None:
        """Remove it with all that is in it. Never raises."""
        remove_folder_quietly(self.path)
        claim, self._claim = self._claim, None
        if claim is not None:
            close_quietly(claim)
            CLAIMS_HELD.give_back()
