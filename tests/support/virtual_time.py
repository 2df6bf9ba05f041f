"""What tests on the virtual clock share: the clock itself, and artifacts that are there when they begin.

Must not know: what is tested.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import runcue
from runcue import Flag
from tests.support.worlds import GuardedLoop

__all__ = ["now", "there", "virtual"]


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on the virtual clock, where a lost wake-up and a spin end it at once."""

    @functools.wraps(test)
    def on_virtual_clock(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=GuardedLoop) as runner:
            runner.run(test(*args, **kwargs))
            complaints = runner.get_loop().complaints  # type: ignore[attr-defined]
        assert not complaints, complaints

    return on_virtual_clock


def now() -> float:
    """The time of the running loop."""
    return asyncio.get_running_loop().time()


def there(cue: runcue.Cue, *flags: Flag) -> None:
    """Set flags that belong to a cue, in order: each is newer than those before it."""
    for flag in flags:
        flag.share(cue._dispatcher.flags)
        flag.set()
