"""Where a cue is shown if not on a terminal: in a notebook, or as a plain line now and then.

Lives here: `View`, what is asked of such a place; `Lines`; `Notebook`, on the display of IPython, since rich's own way
needs ipywidgets and a page that has them.

Must not know: what is in a snapshot, when it is taken.
"""

from __future__ import annotations

import io
import sys
import threading
from typing import Any, Final, TextIO
from uuid import uuid4

from rich.console import Console

from runcue.console.frame import frame, in_a_line
from runcue.console.snapshot import Snapshot

_WIDTH: Final = 100
_HEIGHT: Final = 40
_HTML: Final = '<pre style="line-height: normal; font-family: monospace">{code}</pre>'


class View:
    """A place to show a cue in.

    Attributes:
        delay: Seconds until it is shown first.
        pause: Seconds between two times, at the least.
    """

    delay = 0.0
    pause = 0.5

    def open(self, owner: threading.Event) -> None:
        """Somebody has something to show from now on.

        Args:
            owner: Who. It is set when `flush` should be called.
        """

    def show(self, owner: threading.Event, snapshot: Snapshot) -> None:
        """Show a snapshot in place of the one before."""
        raise NotImplementedError

    def flush(self) -> None:
        """Show what cannot wait until the next snapshot."""

    def close(self, owner: threading.Event, snapshot: Snapshot | None) -> None:
        """Show a snapshot for the last time, and leave it there; None: what is there already."""
        if snapshot is not None:
            self.show(owner, snapshot)


class Lines(View):
    """A line now and then, for where nothing can be drawn.

    Args:
        file: Takes them; None: nobody does.
    """

    delay = pause = 5.0

    def __init__(self, file: TextIO | None) -> None:
        self._file = file

    def show(self, owner: threading.Event, snapshot: Snapshot) -> None:
        """Write a line."""
        if self._file is not None:
            try:
                self._file.write(f"{in_a_line(snapshot, self._file.encoding or 'utf-8')}\n")
                self._file.flush()
            except (OSError, ValueError):
                self._file = None  # whoever read it has left, which is no reason to end a program


class Notebook(View):
    """A block in the output of a cell, which is updated in place."""

    def __init__(self) -> None:
        self._id = uuid4().hex

    def open(self, owner: threading.Event) -> None:
        """Take its place among what the cell puts out."""
        self._ipython.display.display({"text/plain": ""}, raw=True, display_id=self._id)

    def show(self, owner: threading.Event, snapshot: Snapshot) -> None:
        """Draw it anew."""
        console = Console(
            file=io.StringIO(), width=_WIDTH, record=True, color_system="standard", force_jupyter=False
        )
        console.print(frame(snapshot, _WIDTH, _HEIGHT))
        shown = {"text/plain": console.export_text(clear=False)}
        shown["text/html"] = console.export_html(code_format=_HTML, inline_styles=True)
        self._ipython.display.update_display(shown, raw=True, display_id=self._id)

    @property
    def _ipython(self) -> Any:
        # Not imported, so that there is nothing to install: without it there is no notebook.
        return sys.modules["IPython"]


def is_notebook() -> bool:
    """Whether the program runs in the kernel of a notebook. IPython is asked only if somebody has imported it."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
