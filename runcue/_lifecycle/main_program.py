"""The main program, when a process imports it that was started for handlers.

Lives here: `check_not_imported`. Such a process, one of runcue's or of multiprocessing's, runs the script once more to
have the functions that are in it. One that does not keep its beginning to itself would begin all its work there anew.

Must not know: processes, how they come to import it.
"""

from __future__ import annotations

import sys
from types import FrameType

from runcue._model.errors import UsageError

__all__ = ["check_not_imported"]

_NAME = "__mp_main__"


def check_not_imported() -> None:
    """Check that no thread is about to import the main program in a process for handlers.

    Raises:
        UsageError: One is.
    """
    for innermost in sys._current_frames().values():
        frame: FrameType | None = innermost
        while frame is not None:
            if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == _NAME:
                raise UsageError(
                    f"start() in a process that only imports {frame.f_code.co_filename}, for the handlers or "
                    'classes that are in it: put what starts the cue there under `if __name__ == "__main__":`, or '
                    "these into a module of their own."
                )
            frame = frame.f_back
