"""An artifact that a work unit waits for: what is wrong with it, who makes it, and how that prints.

Must not know: how it is found (`lacks`).
"""

from __future__ import annotations

from dataclasses import dataclass

from runcue._artifacts.artifact import Artifact
from runcue._model.callables import by_whom
from runcue._model.texts import LONGEST_REPR, clause_of, in_one_line, name_of, shortened, words_of
from runcue._model.work import Work

__all__ = ["Missing", "what_is_missing"]


@dataclass(frozen=True, slots=True, repr=False)
class Missing:
    """An artifact that a work unit waits for, as one of `Why.missing`. `print()` it.

    Attributes:
        artifact: The artifact; an output of the work unit itself if another one keeps it from being made. None for a
            key that is taken.
        problem: What is wrong with it, as the end of a sentence.
        maker: The work that makes it, or failed to; None if there is none.
        state: What that one is: "pending", "running", "failed", "cancelled"; or "nobody".
        how: What the maker has to do with it, if it is not that it makes this very artifact.
        step: What to do about it, as a sentence; "" if what is done about all that nobody makes, or somebody does.
    """

    artifact: Artifact | None
    problem: str
    maker: Work | None
    state: str
    how: str = ""
    step: str = ""

    def __str__(self) -> str:
        if self.maker is None:
            who = "nothing that is pending or running declares it as an output"
        elif self.state in ("failed", "cancelled"):
            error = f": {clause_of(self.maker.error)}" if self.maker.error else ""
            ended = f"was cancelled{by_whom(self.maker._value)}" if self.state == "cancelled" else self.state
            who = f"{name_of(self.maker)}, which was to make it, {ended}{error}"
        else:
            who = f"{name_of(self.maker)} {self.how or 'makes it'} ({self.state})"
        if self.artifact is None:
            return shortened(who)
        if self.problem:
            return shortened(f"{what_is_missing(self)}; {who}")
        return shortened(f"its output {words_of(self.artifact)}: {who}")

    def __repr__(self) -> str:
        return in_one_line(f"<Missing {self}>", LONGEST_REPR)


def what_is_missing(missing: Missing) -> str:
    """What is wrong with an artifact, and nothing of who makes it."""
    return shortened(f"{words_of(missing.artifact)} {missing.problem}")


# In tracebacks, in pickles and in documentation it is named as users import it.
Missing.__module__ = "runcue"
