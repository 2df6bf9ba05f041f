"""A user's own pipeline, made ready to be rehearsed.

Lives here: `prepare_program`, which takes a program's cue, puts the model behind it and notes what a rehearsal cannot
show.

Must not know: how programs are imported, how reads of the disk are noticed.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from types import CodeType
from typing import Any, Final

import runcue
from runcue.rehearsal import rehearse
from runcue_sim._engine.run import Run
from runcue_sim._pipelines import limits
from runcue_sim._pipelines.handler_model import ModelOptions
from runcue_sim._pipelines.outside_reads import OutsideReads
from runcue_sim._pipelines.prepared import ID_PREFIX, PipelineOptions, Prepared, is_on_purpose
from runcue_sim._pipelines.program import App, load
from runcue_sim._pipelines.scenarios import SimulatedError
from runcue_sim._pipelines.submissions import Submission, read, submit
from runcue_sim._records.event_log import Trace
from runcue_sim._records.ledger import Ledger
from runcue_sim._text.error_origin import place
from runcue_sim._text.usage import BadUsage
from runcue_sim._workload.latency import Draw, Model

_SUBMITS: Final = frozenset(("submit", "submit_threadsafe"))


@contextlib.contextmanager
def prepare_program(options: PipelineOptions, target: str, seed: int, trace: Trace) -> Iterator[Prepared]:
    """Make a user's own pipeline ready. Inside the context it can be run, once.

    Args:
        options: What the command line says.
        target: Where the program is, as they say it.
        seed: Of the model's luck.
        trace: Takes the log.

    Raises:
        BadUsage: It cannot be run.
    """
    app = load(target)
    cue = app.cue
    tasks = [task.name for task in cue.tasks()]
    if not tasks:
        raise BadUsage(f"{app.name}: the cue has no tasks")
    model = options.model.model(seed, tasks)
    submit_rate = options.settings.submit_rate
    submissions = None if options.submit is None else read(options.submit, tasks)
    if submissions is None and app.submit is None:
        raise BadUsage(
            f"{app.name} says what there is, not what to do: name an async function, as in app.py:cue,submit, or "
            "give work units with --submit work.jsonl"
        )
    callers = [(f"the handler of {task.name}", task.handler) for task in cue.tasks()]
    if submissions is None and submit_rate is not None:
        raise BadUsage(f"--submit-rate is for work units of --submit; {app.name} submits as it likes")
    # The jitter of retries is luck as well, and equal seeds are to print equal text.
    random.seed(seed)
    with OutsideReads(cue) as outside:
        stand_in = _StandIn(model)
        overlay = rehearse(
            cue, stand_in.duration, stand_in.outcome, id_prefix=ID_PREFIX, stall_timeout=options.timeout
        )
        limits.apply(cue, options.limits)
        cue.observe(stand_in)
        ledger = Ledger(cue, trace, on_purpose=is_on_purpose, ready_at=outside.ready_at)
        outside.asking = ledger.asking
        stand_in.spend = ledger.spend
        ended: list[str] = []
        run = Run(cue, _submitter(app, submissions, submit_rate, ended), ledger, trace)
        run.rechecks = any(task.is_ready is not None for task in cue.tasks())

        callers += [("a listener", call) for call in overlay.silenced]

        def notes() -> list[str]:
            about_model = _notes_on_model(options.model, tasks, model)
            about_proofs = _notes_on_proofs(cue, ledger)
            return [*ended, *about_model, *_notes_on_callers(callers), *about_proofs, *outside.lines()]

        yield Prepared(run, app.name, app.name, None, notes)


class _StandIn(runcue.Observer):
    """Stands in for the handlers, as the model says."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._numbers: Counter[str] = Counter()
        # Which of its task a work unit is, by the order of submission: that in which they run depends on limits.
        self._places: dict[str, int] = {}
        self._draws: dict[str, Draw] = {}
        # How often the handler of a work unit that came back has run.
        self._runs: Counter[str] = Counter()
        self.spend: Callable[[runcue.Work, Mapping[str, Fraction]], None]

    def submitted(self, work: runcue.Work) -> None:
        """Note its number."""
        self._places[work.id] = self._numbers[work.task]
        self._numbers[work.task] += 1

    def settled(self, work: runcue.Work, duration: float) -> None:
        """It needs no more luck."""
        self._places.pop(work.id, None)
        self._runs.pop(work.id, None)

    def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
        """It runs once more."""
        self._runs[work.id] += 1

    def duration(self, work: runcue.Work) -> float:
        """Seconds for which it runs. Each attempt has luck of its own."""
        place = self._places.get(work.id, 0)
        draw = self._draws[work.id] = self._model.draw(
            work.task, work.id, place, attempt=work.attempt, run=self._runs.get(work.id, 0)
        )
        return draw.seconds

    def outcome(self, work: runcue.Work) -> None:
        """Spend what the model says, and come back or fail if it says so."""
        draw = self._draws.pop(work.id)
        if draw.spent:
            spent = {name: Fraction(amount) for name, amount in draw.spent.items()}
            with contextlib.suppress(runcue.ConfigurationError):  # there is no such budget any more
                work.spent(**spent)
            self.spend(work, spent)
        if draw.comes_back is not None:
            if draw.comes_back.reason == "throttled":
                raise runcue.Throttled(draw.comes_back.delay)
            raise runcue.RetryLater(draw.comes_back.delay)
        if draw.fails:
            raise SimulatedError(f"simulated error in {work.task}")


def _submitter(
    app: App, submissions: list[Submission] | None, rate: float | None, ended: list[str]
) -> Callable[[], Any]:
    async def submit_all() -> None:
        if app.submit is not None:
            try:
                await app.submit()
            except BadUsage as error:
                if error.__cause__ is None or not is_on_purpose(error.__cause__):
                    raise
                ended.append(f"the submitter ended early, by a failure that was asked for: {error}")
        if submissions is not None:
            await submit(app.cue, submissions, rate)

    return submit_all


def _notes_on_model(options: ModelOptions, tasks: list[str], model: Model) -> Iterator[str]:
    if any(one.task is None for one in options.latency):
        return
    unknown = [task for task in tasks if task not in model.latencies]
    if unknown:
        yield (
            f"nothing is known of how long {', '.join(unknown)} take: 100 ms is assumed; say --latency TASK=..., or "
            "--recorded with the latencies of a real run"
        )


def _notes_on_callers(callers: Iterable[tuple[str, Callable[..., Any]]]) -> Iterator[str]:
    """Handlers and listeners that seem to submit work units: they are not called, so these work units are missing."""
    for who, call in callers:
        # The code of a command is that of the line in which it was written.
        code = getattr(call, "__code__", None) if inspect.isroutine(call) else None
        if isinstance(code, CodeType) and not _SUBMITS.isdisjoint(_names_in(code)):
            yield (
                f"{who} ({place(call)}) seems to submit work units; a rehearsal does not call it, so submit those "
                "yourself to have them in it"
            )


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _notes_on_proofs(cue: runcue.Cue, ledger: Ledger) -> Iterator[str]:
    """Tasks of whose work units nothing exists afterwards, where gates may look for it."""
    if any(task.is_ready or task.is_stale for task in cue.tasks()):
        unproved = [account.name for account in ledger.tasks.values() if account.unproved]
        if unproved:
            yield (
                f"there are tasks without outputs= ({', '.join(unproved)}): in a rehearsal nothing of what they make "
                "exists, so a gate that looks for it looks in vain"
            )
