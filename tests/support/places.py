"""Texts that name lines of files, told as if they were those of a checkout that lies anywhere.

Where a checkout lies deep its paths take the room that texts have, and are cut themselves.

Must not know: who tells of which line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from runcue._model import callables

__all__ = ["from_the_checkout"]

_ROOT: Final = f"{Path(__file__).resolve().parents[2]}/"


@contextmanager
def from_the_checkout() -> Iterator[None]:
    """In here the files of functions are named by their paths in the checkout: "tests/support/places.py"."""
    usual = callables._short
    callables._short = lambda words: usual(words.removeprefix(_ROOT))
    try:
        yield
    finally:
        callables._short = usual
