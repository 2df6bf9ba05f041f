"""The functions that say what a work unit declares, as they are called inside of `submit()`.

Lives here: `Declaring`, which calls them through the door of user code.

Must not know: what they say, and what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runcue._callbacks.callbacks import Callbacks
from runcue._dispatch.turns import Turns
from runcue._model.callables import located
from runcue._model.errors import ArtifactError
from runcue._model.texts import error_words
from runcue._model.work import Work

__all__ = ["Declaring"]


class Declaring:
    """Calls the functions of one cue.

    Args:
        callbacks: What becomes known of them.
        turns: Where an interrupt is raised.
    """

    def __init__(self, callbacks: Callbacks, turns: Turns) -> None:
        self._door = callbacks.door
        self._turns = turns

    def call(self, name: str, function: Callable[[Work], Any], work: Work) -> Any:
        """Ask a function.

        Args:
            name: What it says: "inputs", "outputs" or "key".
            function: It.
            work: Of which work unit.

        Raises:
            BaseException: What it raised, but for a KeyboardInterrupt, which is raised in the loop as well.
        """
        try:
            answer = self._door.ask(f"{name}=", function, work)
        except KeyboardInterrupt as error:
            self._turns.interrupt(error)
            raise ArtifactError(error_words(error)) from error
        if answer is None and name == "key":
            words = "returned None; is a `return` missing? That is no key: what the work unit makes is what counts"
            self._door.no_answer(f"key= {located(function)}", words, work)
        return answer
