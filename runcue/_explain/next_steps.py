"""What to do about a reason, in words: one sentence each.

Must not know: how reasons are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, Final

from runcue._artifacts.file import File
from runcue._explain.cuts import Cut
from runcue._explain.holders import Holding
from runcue._explain.kinds import Kind
from runcue._explain.problems import RAISED
from runcue._explain.reasons import Reason
from runcue._explain.slot_words import missing_for
from runcue._limits.keyed import KeyService
from runcue._limits.service import Service
from runcue._model.phases import CHECKING, HELD, JOINED, SETTLED
from runcue._model.texts import listed, name_of, shortened, words_of
from runcue._model.work import Work
from runcue._scheduling.knots import Knot
from runcue._scheduling.lanes import is_behind_in_lane

__all__ = [
    "CORRECT",
    "cut_in_words",
    "next_step",
    "step_for",
    "step_for_all",
    "step_for_no",
    "step_for_stuck",
    "way_out",
]

CORRECT: Final = "Correct the path, or submit what makes it"
"""What to do about a missing file in whose place another one is there, or whose folder is missing as well."""

_IS_WATCHED: Final = "is watched: it starts when the file"

_LONGEST_NAME: Final = 60


def next_step(reason: Reason, who: str = "it") -> str:
    """What to do about a reason, as a sentence; "" if there is nothing to be done.

    Args:
        reason: The reason.
        who: What the work unit is called that others go before.
    """
    kind = reason.kind
    if reason.goes_on:
        return "Ask cue.why() without a work unit: it follows all that wait to the end"
    if reason.knot is not None:
        return way_out(reason.knot)
    if kind == "said no":
        return step_for_no(reason.said)
    if kind == "slots":
        return _step_for_slots(reason, who)
    if kind in ("rate", "budget", "limit", "throttle", "breaker") and reason.passing is not None:
        return f"{_go_first(who)}{'; a higher rate= helps, too' if kind == 'rate' else ''}"
    if kind in ("paused", "breaker"):
        key = f"key={words_of(reason.subject.key)}" if isinstance(reason.subject, KeyService) else ""
        resume = f"cue.get_service({words_of(reason.subject.name)}).resume({key})"
        if kind == "breaker":
            return f"Wait, or mend what fails; {resume} lets it go on at once"
        return f"Call {resume}" if reason.until == inf else f"Wait; {resume} lets it go on at once"
    if kind == "input" and not reason.lacks:
        return "cue.nudge() has it asked at once; else it is asked again now and then"
    if kind in ("input", "no producer"):
        lacks = [(one.artifact, one.step) for one in reason.lacks if one.state == "nobody"]
        return step_for_all(lacks) if lacks else _NEXT_STEPS.get(kind, "")
    if kind == "upstream":
        makers = [one.maker for one in reason.lacks if one.maker is not None and one.state in _LOST]
        return _step_for_makers(makers, any(one.state == "failed" for one in reason.lacks)) if makers else ""
    if kind == "cycle" and isinstance(reason.subject, Cut):
        return cut_in_words(reason.subject)
    if kind == "running":
        return _step_for_running(reason)
    if kind == "throttled":
        return "Wait: it goes on by itself; fewer slots or a lower rate= would have the server refuse less"
    if reason.name == "not_due":
        one = words_of(reason.work.id)
        return f"Wait; cue.cancel({one}) and then cue.retry({one}) {_HURRIED[kind]}, as a new work unit"
    return _NEXT_STEPS.get(kind, "")


def _step_for_running(reason: Reason) -> str:
    if not reason.said and (missing := missing_for(reason.work)):
        return missing
    return _end(reason.holding[0]) if _is_late(reason) else ""


def _step_for_makers(makers: Sequence[Work], failed: bool) -> str:
    """What to do about those who were to make something, and did not."""
    names = listed(dict.fromkeys(map(name_of, makers)), 3)
    ids = {work.id for work in makers}
    one = words_of(makers[0].id) if len(ids) == 1 else ""
    have = "Mend that, then have" if failed else "Have"
    return f"{have} {names} run again, by cue.retry({one}) or a new submit()"


def step_for(artifact: Any, problem: str, folder: str | None, *, rechecks: bool) -> str:
    """What to do about an artifact that nobody makes; "" if what is done about all such.

    Args:
        artifact: The artifact.
        problem: What is wrong with it.
        folder: The watched one that it is in; None if it is in none.
        rechecks: Whether it is looked for again now and then.
    """
    if problem.startswith(RAISED):
        return "Mend that function: while it raises, the work unit is not ready"
    if folder is not None:
        then = "comes" if problem.startswith("is missing") else "is right"
        return f"{words_of(folder)} {_IS_WATCHED} {then}"
    if isinstance(artifact, File):
        if "its max_age of" in problem:
            return "Have it made anew, or correct its max_age="
        if problem.startswith("is not valid: "):
            what = "validate=" if type(artifact).valid is File.valid else "valid()"
            return f"Have it made anew, or correct its {what}"
    if not rechecks:
        return "Submit the work unit that makes it; if it comes from outside, say so by cue.nudge() when it is there"
    return ""


def step_for_all(lacks: Sequence[tuple[Any, str]]) -> str:
    """What to do about artifacts that nobody makes.

    Args:
        lacks: Each with what is to be done about it; "" if what is done about all such.
    """
    alike: dict[str, dict[str, Any]] = {}
    for artifact, step in lacks:
        if _IS_WATCHED in step and any(_IS_WATCHED not in one for _, one in lacks):
            continue  # these come, the others are to be seen to
        alike.setdefault(step, {})[shortened(words_of(artifact), _LONGEST_NAME)] = artifact
    if len(alike) == 1:
        [(step, named)] = alike.items()
        artifacts = list(named.values())
        if len(artifacts) == 1:
            return step or f"Submit the work unit that makes it. {_from_outside(artifacts)}"
        if step == CORRECT:
            return "Correct these paths, or submit what makes them"
        return step or f"Submit the work units that make them. {_from_outside(artifacts)}"
    parts = []
    for step in sorted(alike, key=lambda one: (not one, one != CORRECT)):
        what = listed(alike[step], 2 if len(alike[step]) == 2 else 1)
        if step == CORRECT:
            parts.append(f"correct the path of {what}")
        else:
            parts.append(f"{what}: {_lowered(step)}" if step else f"submit what makes {what}")
    text = "; ".join(parts)
    text = text if text.startswith(("'", "File", "Flag")) else f"{text[0].upper()}{text[1:]}"
    if "" not in alike:
        return text
    comes, are = _it_comes(len(alike[""]))
    return f"{text}. If {comes} from outside, wait: {are} looked for again"


def _it_comes(number: int) -> tuple[str, str]:
    return ("it comes", "it is") if number == 1 else ("they come", "they are")


def _from_outside(artifacts: Sequence[Any]) -> str:
    """What to do about artifacts that are not made by work units."""
    comes, are = _it_comes(len(artifacts))
    files = all(isinstance(one, File) for one in artifacts)
    nudge = "cue.watch(folder) or cue.nudge(path)" if files else "cue.nudge()"
    return f"If {comes} from outside, wait: {are} looked for again now and then, at once with {nudge}"


def step_for_stuck(reasons: Sequence[Reason], *, rechecks: bool) -> str:
    """What to do about work units whose is_ready goes on saying no, or raises.

    Args:
        reasons: Of each task, why one of its work units is not ready.
        rechecks: Whether they are asked again now and then.
    """
    steps = {_step_for_one_stuck(reason, len(reasons) == 1, rechecks) for reason in reasons}
    return steps.pop() if len(steps) == 1 else "cue.why() says what to do about each"


def _step_for_one_stuck(reason: Reason, alone: bool, rechecks: bool) -> str:
    if reason.kind == "raised":
        return _NEXT_STEPS["raised"]
    if reason.said.startswith(_NO_ANSWER):
        return step_for_no(reason.said)
    waits = "it waits" if alone else "one waits"
    again = "is_ready is asked again now and then, and cue.nudge() has that done at once"
    comes = again if rechecks else "say so by cue.nudge() when it is there"
    return (
        f"If what {waits} for comes from outside, {comes}; if another work unit makes it, declare it as inputs= and "
        "outputs=, and runcue says who is to make it"
    )


_LOST: Final = ("failed", "cancelled")
_NO_ANSWER: Final = "it "
"""How what is_ready has said begins if that is no answer."""

_HURRIED: Final[dict[Kind, str]] = {
    "retry": "have it tried at once",
    "postponed": "call its handler at once",
    "delayed": "run it at once",
}
_NEXT_STEPS: Final[dict[Kind, str]] = {
    "rate": "Wait; where the provider allows it, a higher rate= lets them start sooner",
    "budget": "Wait; where the provider allows it, a larger budget= lets it start sooner. Smaller ones behind it start "
    "meanwhile where they do not put it off",
    "limit": "Wait; that limit is the program's own, and says when there is room again",
    "server": "Wait; nothing that its server says pauses longer than max_pause= of the service",
    "throttle": "Wait: the server has refused some; fewer slots or a lower rate= would have it refuse less",
    "no thread": "Wait; to start another thread is tried again and again. Fewer slots need fewer threads",
    "left free": "Wait; more slots of the services that it needs let both run",
    "left to": "Wait: a start would put that one off; where the provider allows it, higher limits let both start",
    "said no": "When that has come, cue.nudge() has it asked at once; else it is asked again now and then",
    "raised": "Mend that callback: while it raises, the work unit is not ready",
    "gate": "Give what it awaits a time-out of its own, by asyncio.timeout()",
    "input": "If it comes from outside, wait: it is looked for again now and then; else submit what makes it",
    "lane": "Wait: of one lane one runs at a time, in the order of submission; another lane= is for what need not wait "
    "for the others",
    "unreturned": "Wait until it has returned; if it hangs, give what it waits for a time-out",
    "not started": "Call start(), or use `async with cue`",
}


def _is_late(reason: Reason) -> bool:
    """Whether it takes much longer than usual, or very long where nothing is known of that."""
    usual = reason.numbers.get("usual")
    return usual is not None and any(one.seconds > _MUCH_LONGER * usual for one in reason.holding)


_MUCH_LONGER: Final = 5.0


def step_for_no(said: str) -> str:
    """What to do about an is_ready that says no."""
    if said.startswith(_NO_ANSWER):
        return 'Let it return True, or False, or (False, "reason")'
    return _NEXT_STEPS["said no"] if said else _SAY_WHY


_SAY_WHY: Final = (
    'Let it say why not, by `return False, "reason"`; if it waits for files, let it look by runcue.exists(), so that '
    "runcue knows which"
)


def _go_first(who: str) -> str:
    return f'Give {who} a higher priority=, or let waiting count: Cue(head_start="1 min")'


def _step_for_slots(reason: Reason, who: str) -> str:
    full = [one for one in (reason, *reason.beside) if one.kind == "slots"]
    # An executor elsewhere may take something and have nobody yet who would run it.
    if missing := next(filter(None, (missing_for(one.work) for one in full)), ""):
        return missing
    ways = listed(dict.fromkeys(_way_to_more(one.subject, (one.work,)) for one in full))
    go_first = f"{_go_first(who)}; more slots help, too ({ways})"
    wait = f"Wait; more slots let more of them run at once ({ways})"
    if not reason.holding:
        asked = next((one for one in reason.others if one._phase == CHECKING), None)
        if asked is not None:
            return (
                f"Give what the async gate of {name_of(asked)} awaits a time-out of its own, by asyncio.timeout(): "
                f"while it is asked it holds a slot; more slots help, too ({ways})"
            )
        return wait if reason.passing is None else go_first
    holding = reason.holding[0]
    usual = holding.usual
    if holding.oldest._phase == SETTLED or (
        usual is not None and holding.seconds > _MUCH_LONGER * max(usual, 0.1)
    ):
        return _end(holding)
    if reason.passing is not None:
        return go_first
    return f"{wait}. If it hangs, {_lowered(_end(holding))}" if usual is None else wait


def _way_to_more(service: Service, users: Iterable[Work]) -> str:
    """The option by which a service has more slots. Those of threads and other executors are none of the user's."""
    own = any(service.name in work._task.services for work in users)
    if own:
        return "concurrent="
    if service.name != "processes" and any(hasattr(work._task.executor, "workers") for work in users):
        return "more workers"
    return f"Cue(max_{'processes' if service.name == 'processes' else 'threads'}=)"


def _end(holding: Holding) -> str:
    """How to be rid of a handler that takes too long."""
    work = holding.oldest
    executor = work._task.executor
    if executor is None or getattr(executor, "kills", False):
        if work._phase == SETTLED and executor is None:
            return (
                f"Let the handler of {name_of(work)} end when it is cancelled, and set a time-out on what it awaits "
                "meanwhile"
            )
        if work._timeout < inf:
            return f"Wait for the timeout={work._timeout:g} of {name_of(work)}, which ends it, or make that shorter"
        return f"Give the task {shortened(work.task, _LONGEST_NAME)} a timeout=, which ends such a handler"
    from runcue.executors.threads import ThreadExecutor  # noqa: PLC0415 - comes with the first cue

    what = "a thread" if isinstance(executor, ThreadExecutor) else "what runs it"
    return (
        f"Set a time-out on the call inside {name_of(work)} that does not return (request, lock): {what} cannot be "
        "ended"
    )


def _lowered(sentence: str) -> str:
    return f"{sentence[0].lower()}{sentence[1:]}"


def way_out(knot: Knot) -> str:
    """What to do about those who wait for each other although some of them run."""
    if knot.services:
        names = listed(service.label for service in knot.services)
        more = " and ".join(dict.fromkeys(_way_to_more(one, knot.works) for one in knot.services))
        return (
            f"Give {names} more slots ({more}), or do not wait in a slot for what needs one: submit and return, or "
            f"wait in a task that does not use {names}"
        )
    if any(is_behind_in_lane(work) for work in knot.works):
        return (
            "A handler must not wait for what comes after it in its lane: give that another lane=, or submit it and "
            "return"
        )
    if any(work._phase == HELD for work in knot.works):
        return "A handler that makes what another work unit needs must not wait for that one: submit it, and return"
    if any(work._phase == JOINED for work in knot.works):
        return (
            "A work unit that makes the same has joined it, and settles with it: do not wait for that one, or give it "
            "another key="
        )
    if any(work._phase == CHECKING for work in knot.works):
        return "A gate must not wait for a work unit that waits for its answer: let it say no, and it is asked again"
    return "One of them has to return without waiting for the others: submit and return"


def cut_in_words(cut: Cut) -> str:
    """Which link of a cycle to cut first, and why, as a sentence."""
    if cut.work is cut.maker:
        return f"Take {words_of(cut.artifact)} out of its inputs or out of its outputs"
    work, maker = name_of(cut.work), name_of(cut.maker)
    if cut.because == "of a lane":
        return f"To break it, submit {work} before {maker}, or give one of the two another lane="
    what = "the input" if cut.artifact is None else f"the input {words_of(cut.artifact)}"
    why = {
        "it is there": "it is there already",
        "of a folder": (
            f"it waits for {maker} only because one of the two is a folder around the other; name the files themselves"
        ),
        "of the order": f"its maker, {maker}, was submitted later",
    }[cut.because]
    return f"To break it, begin with {what} of {work}: {why}"
