"""What to do about a reason, in words: one sentence each.

Must not know: how reasons are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runcue._explain.cuts import Cut
from runcue._explain.reasons import RAISED, Kind, Reason
from runcue._model.phases import SETTLED
from runcue._model.texts import listed, name_of, words_of

__all__ = ["CORRECT", "cut_in_words", "next_step", "step_for", "step_for_all", "step_for_stuck"]

CORRECT: Final = "Correct the path, or submit what makes it"
"""What to do about a missing file in whose place another one is there, or whose folder is missing as well."""

_CORRECT_SOME: Final = (
    "Correct the path that is wrong, and submit what makes the others; if they come from outside, say so by "
    "cue.watch(folder) or cue.nudge(path)"
)


def next_step(reason: Reason) -> str:
    """What to do about a reason, as a sentence; "" if there is nothing to be done."""
    kind = reason.kind
    if kind == "said no":
        return _step_for_no(reason.said)
    if kind in ("slots", "self") and reason.holding:
        return _step_for_slots(reason)
    if kind == "input" and not reason.lacks:
        return "cue.nudge() has it asked at once; else it is asked again now and then"
    if kind in ("input", "no producer"):
        steps = [one.step for one in reason.lacks if one.state == "nobody"]
        if any(steps):
            return step_for_all(steps)
    if kind == "upstream":
        makers = [one.maker for one in reason.lacks if one.maker is not None and one.state in _LOST]
        mend = "Mend that, and submit" if any(one.state == "failed" for one in reason.lacks) else "Submit"
        return f"{mend} {listed(dict.fromkeys(map(name_of, makers)), 3)} again" if makers else ""
    if kind == "cycle" and isinstance(reason.subject, Cut):
        return cut_in_words(reason.subject)
    if kind == "running" and _is_late(reason):
        return _END_IT
    return _NEXT_STEPS.get(kind, "")


def step_for(problem: str, folder: str | None) -> str:
    """What to do about an artifact that nobody makes; "" if what is done about all such.

    Args:
        problem: What is wrong with it.
        folder: The watched one that it is in; None if it is in none.
    """
    if problem.startswith(RAISED):
        return "Mend that function: while it raises, the work unit is not ready"
    if folder is None:
        return ""
    then = "comes" if problem.startswith("is missing") else "is right"
    return f"{words_of(folder)} is watched: it starts when the file {then}"


def step_for_all(steps: Sequence[str]) -> str:
    """What to do about several artifacts that nobody makes.

    Args:
        steps: What is to be done about each; "" if what is done about all such.
    """
    if steps and steps[0] and len(set(steps)) == 1:
        return _CORRECT_SOME if steps[0] == CORRECT and len(steps) > 1 else steps[0]
    return _CORRECT_SOME if CORRECT in steps else _NEXT_STEPS["no producer"]


def step_for_stuck(reasons: Sequence[Reason]) -> str:
    """What to do about work units whose is_ready goes on saying no, or raises.

    Args:
        reasons: Of each task, why one of its work units is not ready.
    """
    if all(reason.kind == "raised" for reason in reasons):
        return _NEXT_STEPS["raised"]
    waits = "it waits" if len(reasons) == 1 else "they wait"
    return (
        f"If what {waits} for comes from outside, say so by cue.nudge() when it has come; if another work unit makes "
        "it, declare it as inputs= and outputs=, and runcue says who is to make it"
    )


_LOST: Final = ("failed", "cancelled")
_END_IT: Final = (
    "timeout= of the task gives up on a handler that takes too long; a thread cannot be ended by others, so give what "
    "it waits for a time-out of its own"
)

_NEXT_STEPS: Final[dict[Kind, str]] = {
    "slots": "Wait; more slots let more of them run at once (concurrent=, for threads Cue(max_threads=))",
    "rate": "Wait; where the provider allows it, a higher rate= lets them start sooner",
    "limit": "Wait; that limit is the program's own, and says when there is room again",
    "no thread": "Wait; to start another thread is tried again and again. Fewer slots need fewer threads",
    "left free": "Wait; more slots of the services that it needs let both run",
    "said no": "When that has come, cue.nudge() has it asked at once; else it is asked again now and then",
    "raised": "Mend that callback: while it raises, the work unit is not ready",
    "gate": "Give what it awaits a time-out of its own, by asyncio.timeout()",
    "input": "If it comes from outside, say so by cue.watch(folder) or cue.nudge(path); else submit what makes it",
    "no producer": (
        "Submit the work unit that makes it; if it comes from outside, say so by cue.watch(folder) or cue.nudge(path)"
    ),
    "retry": "Wait; cue.cancel() and then cue.retry() have it tried at once, as a new work unit",
    "postponed": "Wait; cue.cancel() and then cue.retry() call its handler at once, as a new work unit",
    "delayed": "Wait; cue.cancel() and then cue.retry() run it at once, as a new work unit",
    "unreturned": "Wait until it has returned; if it hangs, give what it waits for a time-out",
    "not started": "Call start(), or use `async with cue`",
}


def _is_late(reason: Reason) -> bool:
    """Whether it takes much longer than usual, or very long where nothing is known of that."""
    usual = reason.numbers.get("usual")
    return usual is not None and any(one.seconds > _MUCH_LONGER * usual for one in reason.holding)


_MUCH_LONGER: Final = 5.0


def _step_for_no(said: str) -> str:
    if said.startswith("it "):
        return 'Let it return True, or False, or (False, "reason")'
    return _NEXT_STEPS["said no"] if said else _SAY_WHY


_SAY_WHY: Final = (
    'Let it say why not, by `return False, "reason"`; if it waits for files, let it look by runcue.exists(), so that '
    "runcue knows which"
)


def _step_for_slots(reason: Reason) -> str:
    holding = reason.holding[0]
    oldest, usual = holding.oldest, holding.usual
    if oldest._phase == SETTLED or (usual is not None and holding.seconds > _MUCH_LONGER * max(usual, 0.1)):
        return _END_IT
    return f"{_NEXT_STEPS['slots']}; {_END_IT}" if usual is None else _NEXT_STEPS["slots"]


def cut_in_words(cut: Cut) -> str:
    """Which link of a cycle to cut first, and why, as a sentence."""
    if cut.work is cut.maker:
        return f"Take {words_of(cut.artifact)} out of its inputs or out of its outputs"
    what = "its input" if cut.artifact is None else words_of(cut.artifact)
    why = {
        "it is there": "is there already",
        "of a folder": (
            "is waited for only because one of the two is a folder around the other; name the files themselves"
        ),
        "of the order": "comes from a work unit that was submitted later",
    }[cut.because]
    return f"Cut first what {name_of(cut.work)} needs of {name_of(cut.maker)}: {what} {why}"
