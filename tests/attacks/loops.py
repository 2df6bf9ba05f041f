"""The event loops that everything is attacked on, by name.

An attack is a module beside this one that has `PATIENCE`, the seconds after which it counts as hanging, and
`attack(run, scale)`: what takes so long that it is no test. `run` runs a coroutine on a fresh loop, as often as is
wanted; `scale` says how long to go on, in terms of what is usual. It returns what is worth telling, and raises where
something is wrong. `torture.py` runs each attack on each loop, in a process of its own.

Lives here: `LOOPS`, and `run_on`, which runs a coroutine on a fresh one.

Must not know: what is attacked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

__all__ = ["LOOPS", "Run", "run_on"]

T = TypeVar("T")

Run = Callable[[Coroutine[Any, Any, T]], T]
"""What an attack is given: it runs a coroutine to its end on a fresh loop of the kind that is attacked."""

LOOPS = ("asyncio", "uvloop") if find_spec("uvloop") else ("asyncio",)


def run_on(loop: str, main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a fresh loop of that name."""
    factory = import_module("uvloop").new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
