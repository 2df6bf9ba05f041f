"""Handlers that run elsewhere, in other processes say: these import them from here.

Lives here: what the tests of several executors call, and what is sent and comes back.

Must not know: what is tested.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any


class Point:
    """A value that is sent and comes back."""

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    __hash__ = None  # type: ignore[assignment]


class Wrong(ValueError):
    """An error that comes back as it is."""


class Stubborn(Exception):
    """An error that cannot be made again of its args."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} at {where}")


def process(work: Any = None) -> int:
    """Where it runs."""
    return os.getpid()


def describe(work: Any) -> tuple[Any, ...]:
    """What is seen of a work unit."""
    return work.id, work.task, work.params, work.attempt, work.metadata


def swap(point: Point, times: int = 1) -> Point:
    """Takes params by their names."""
    for _ in range(times):
        point = Point(point.y, point.x)
    return point


def double(number: int) -> int:
    """Returns at once."""
    return 2 * number


def sleep(seconds: float) -> float:
    """Takes a while."""
    time.sleep(seconds)
    return seconds


def fail(how: str) -> None:
    """Raises."""
    raise {"wrong": Wrong("no", 7), "stubborn": Stubborn("it broke", "home"), "exit": SystemExit(3)}[how]


def give_what_cannot_be_sent(work: Any) -> list[Any]:
    """Its result stays where it is."""
    return [1, {"inner": threading.Lock()}]


def die(marker: str) -> str:
    """Ends its process the first time, and returns the second time."""
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return "the second time"
    os._exit(9)


def copy(work: Any) -> str:
    """Makes its outputs of its inputs: all of them, or it fails half-way."""
    text = Path(work.inputs[0]).read_text()
    for output in work.outputs:
        with work.write(output) as file:
            file.write(text)
            if work.params.get("fails"):
                raise Wrong("half-way")
    return text


def spend(work: Any) -> None:
    """Says what it has spent."""
    work.spent(tokens=30)


def note(path: Path, number: int, seconds: float) -> None:
    """Leaves a line in a file as it begins, and one as it ends."""
    for what in ("begins", "ends"):
        with open(path, "a") as file:  # noqa: PTH123
            file.write(f"{number} {what} {os.getpid()}\n")
        if what == "begins":
            time.sleep(seconds)


_ready: list[str] = []


def get_ready(what: str) -> None:
    """Remembers what is ready in this process."""
    _ready.append(what)


def what_is_ready() -> list[str]:
    """What is."""
    return _ready
