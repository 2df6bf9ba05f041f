"""The line in which plain handlers wait for a thread: who is woken up, and when."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import pytest

from runcue.executors.threads import _Line, _serve


class Tokens:
    """Counts who is woken up; nobody sleeps."""

    def __init__(self) -> None:
        self.given = 0

    def put(self, token: None) -> None:
        self.given += 1


def line_of(*handlers: Any) -> tuple[_Line, Tokens]:
    tokens = Tokens()
    line = _Line(tokens)  # type: ignore[arg-type]
    for handler in handlers:
        line.put(handler)
    return line, tokens


def test_however_many_handlers_are_put_in_one_thread_is_woken_up() -> None:
    _, tokens = line_of("a", "b", "c")
    assert tokens.given == 1


def test_who_takes_a_handler_and_leaves_more_behind_has_somebody_come_for_them() -> None:
    line, tokens = line_of(None, None)
    line.is_awaited = False  # the one who was on its way is there
    _serve(line)
    assert (len(line.handlers), tokens.given) == (1, 2)


def test_who_takes_the_last_one_wakes_nobody_up() -> None:
    line, tokens = line_of(None)
    line.is_awaited = False
    _serve(line)
    assert (len(line.handlers), tokens.given) == (0, 1)


def test_what_is_put_in_while_one_who_was_woken_up_looks_wakes_up_another() -> None:
    line = _Line(SimpleQueue())
    line.put("a")
    line.sleep()
    line.put("b")
    assert line.tokens.qsize() == 1


def test_an_interrupt_between_two_steps_leaves_no_handler_without_a_thread() -> None:
    class Interrupted(Tokens):
        def put(self, token: None) -> None:
            if not self.given:
                self.given = 1
                raise KeyboardInterrupt
            super().put(token)

    tokens = Interrupted()
    line = _Line(tokens)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        line.put("a")
    line.put("b")
    assert tokens.given == 2
