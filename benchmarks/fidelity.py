"""S3: whether a rehearsal tells the truth. The PDF pipeline and the prompts of the examples, run and rehearsed.

Lives here: real runs, on the real clock, with the real summary server on this machine and, where it is installed, real
tesseract; their recordings, given to `runcue-sim` as its users would; and what it said beside what was measured. This
file is the program that is rehearsed, too: `make_cue` describes the pipeline, `submit` submits its work units, and the
environment says how.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "pdf_pipeline"
sys.path[:0] = [str(ROOT), str(EXAMPLE)]  # the example is a folder of programs, not a package

import runcue  # noqa: E402
from benchmarks import recorded_batch  # noqa: E402
from benchmarks.measuring import Figure, Spread  # noqa: E402
from benchmarks.recorded_batch import VARIABLE, Batch  # noqa: E402
from runcue.rehearsal import set_limits  # noqa: E402

__all__ = ["make_cue", "s3", "submit"]

FREELY = "10000/sec"
"""Of a server that refuses nothing."""

_VARIABLE = "RUNCUE_FIDELITY"


@dataclass(frozen=True)
class Case:
    """A way to run the pipeline.

    Attributes:
        out: The folder that everything goes to.
        rate: Of the summarizer.
        readers: Slots of tesseract, 0 for one per processor.
        language: What tesseract shall read, "" to take the text that the PDF carries in itself.
    """

    out: str
    rate: str
    readers: int = 0
    language: str = "eng"


def make_cue(case: Case | None = None, client: Any = None) -> runcue.Cue:
    """The pipeline of the example, as the case says; without one, as the environment says."""
    from pipeline import declare

    case = _case() if case is None else case
    cue = runcue.Cue()
    declare(cue, _plan(case), client, case.rate)
    if case.readers and case.language:
        set_limits(cue, {"tesseract": {"concurrent": case.readers}})
    return cue


async def submit(cue: runcue.Cue) -> None:
    """Submit its work units, as the example does."""
    from pipeline import submit_everything

    await submit_everything(cue, _plan(_case()))


def _case() -> Case:
    return Case(**json.loads(os.environ[_VARIABLE]))


def _plan(case: Case) -> Any:
    from document import read_outline
    from pipeline import Plan, TextSource

    pdf = EXAMPLE / "handbook" / "handbook.pdf"
    source = TextSource(f"tesseract ({case.language})" if case.language else "layer", case.language or None)
    return Plan(pdf, read_outline(pdf), Path(case.out), source)


def for_real(case: Case, recording: Path) -> float:
    """Run the pipeline, and write down what it took.

    Returns:
        Seconds from the first submission to the last settlement.
    """
    import httpx

    import summary_server
    from pipeline import prepare, submit_everything
    from runcue_sim.recording import Recording

    summary_server.LIMIT = 10_000  # the rate is the client's affair here; the server shall answer
    plan = _plan(case)
    prepare(plan)

    async def main(url: str) -> float:
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            cue = make_cue(case, client)
            recorded = Recording(cue)
            async with cue:
                await submit_everything(cue, plan)
                summary = await cue.drain()
        assert summary.counts["completed"] == 3 * plan.outline.pages + 1, summary
        recorded.save(recording)
        return recorded.run.makespan

    with summary_server.SummaryServer() as server:
        return asyncio.run(main(server.url))


def rehearsed(case: Case | Batch, recording: Path) -> tuple[float, str]:
    """Ask the simulator.

    Returns:
        The makespan it predicts, and what it says binds.
    """
    program, variable = (
        (__file__, _VARIABLE) if isinstance(case, Case) else (recorded_batch.__file__, VARIABLE)
    )
    command = [sys.executable, "-m", "runcue_sim", f"{program}:make_cue,submit"]
    answer = subprocess.run(
        [*command, "--recorded", str(recording), "--json", "-"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, variable: json.dumps(asdict(case))},
    )
    assert answer.returncode == 0, answer.stderr
    facts = json.loads(answer.stdout)
    assert facts["works"]["completed"] == facts["works"]["submitted"] > 0, facts["works"]
    binds = ", ".join(f"{one['share']:.0%} {one['words']}" for one in facts["binds"] if one["share"] >= 0.05)
    return facts["makespan"], binds


@dataclass
class Outcome:
    """What was predicted and what was measured, round by round.

    Attributes:
        name: What was run.
        reach: What the error should be at most, in percent; None: shown for comparison only.
        predicted: Seconds.
        measured: Seconds.
        binds: What the simulator said binds.
    """

    name: str
    reach: float | None
    predicted: list[float]
    measured: list[float]
    binds: str

    @property
    def errors(self) -> list[float]:
        """By how many percent the predictions were wrong."""
        return [abs(one / other - 1) * 100 for one, other in zip(self.predicted, self.measured, strict=True)]


RATE_BOUND = Case("", rate="3/3sec")
SLOTS_BOUND = Case("", rate=FREELY)
MIXED = Case("", rate="2/sec")
QUICK_BATCH = Batch(prompts=120, requests=50, tokens=9_000, period=6)
QUICKLY = {"3/3sec": "6/sec", "2/sec": "8/sec"}


def measure(rounds: int, language: str, *, quick: bool) -> Iterator[Outcome]:
    """Run each case for real, and rehearse it with what was recorded.

    A run that was not recorded is beside it: it shows how far the machine repeats itself, which no simulator knows.

    Args:
        rounds: How often.
        language: What tesseract shall read, "" for none.
        quick: Wait less for the rates, and leave out what is only shown for comparison.
    """
    with tempfile.TemporaryDirectory() as temporary:
        fresh = (Path(temporary) / str(number) for number in itertools.count())

        def empty(case: Case) -> Case:
            # Nothing may be up to date, neither for real nor in the rehearsal.
            rate = QUICKLY.get(case.rate, case.rate) if quick else case.rate
            return replace(case, out=str(next(fresh)), language=language, rate=rate)

        recordings: list[Path] = []
        for name, case, reach in (
            ("pdf pipeline, rate-bound", RATE_BOUND, 5),
            ("pdf pipeline, concurrency-bound", SLOTS_BOUND, 5),
            ("pdf pipeline, mixed", MIXED, 10),
        ):
            recordings = [next(fresh) for _ in range(rounds)]
            for_real(empty(case), recordings[0])  # fills caches, and is thrown away
            measured = [for_real(empty(case), recording) for recording in recordings]
            predicted, binds = rehearsals(empty(case), recordings)
            yield Outcome(name, reach, predicted, measured, binds)
            if rounds > 1:
                others = [*measured[1:], measured[0]]
                yield Outcome(f"{name}, beside another run", None, predicted, others, binds)
        batch = QUICK_BATCH if quick else recorded_batch.BATCH
        answers = [next(fresh) for _ in range(rounds)]
        measured = [
            recorded_batch.for_real(replace(batch, out=str(next(fresh))), recording) for recording in answers
        ]
        predicted, binds = rehearsals(replace(batch, out=str(next(fresh))), answers)
        yield Outcome("prompts for an API", 5, predicted, measured, binds)
        if quick:
            return
        for name, case in (
            ("pdf pipeline, half the rate", replace(MIXED, rate="1/sec")),
            ("pdf pipeline, no rate", SLOTS_BOUND),
            ("pdf pipeline, no rate and one tesseract", replace(SLOTS_BOUND, readers=1)),
        ):
            predicted, binds = rehearsals(empty(case), recordings)
            measured = [for_real(empty(case), next(fresh)) for _ in recordings]
            yield Outcome(f"{name}, recorded with {MIXED.rate}", None, predicted, measured, binds)


def rehearsals(case: Case | Batch, recordings: Sequence[Path]) -> tuple[list[float], str]:
    """Rehearse a case with each of several recordings.

    Returns:
        The makespans, and what the last one says binds.
    """
    answers = [rehearsed(case, recording) for recording in recordings]
    return [seconds for seconds, _ in answers], answers[-1][1]


def outcomes(*, quick: bool) -> Iterator[Outcome]:
    """All of them, as they come."""
    logging.getLogger("runcue").setLevel(
        logging.ERROR
    )  # it tells who waits for the rate, which is the point here
    return measure(1, "", quick=True) if quick else measure(3, _language(), quick=False)


def _language() -> str:
    from ocr import OcrError, find_tesseract

    try:
        find_tesseract("eng")
    except OcrError as error:
        print(f"  text from the PDF itself: {error}")
        return ""
    return "eng"


def s3(*, quick: bool) -> list[Figure]:
    return [
        Figure(
            "S3",
            f"{one.name}: error of the predicted makespan",
            Spread.of(one.errors),
            "%",
            reach=one.reach,
            ours=Spread.of(one.predicted),
            floor=Spread.of(one.measured),
            each="s",
            beside="measured, on the real clock",
            rounds=len(one.errors),
        )
        for one in outcomes(quick=quick)
    ]


def main() -> None:
    print(f"{'':46}{'predicted':>10}{'measured':>10}{'error':>8}{'reach':>8}")
    for one in outcomes(quick="--quick" in sys.argv[1:]):
        reach = "-" if one.reach is None else f"{one.reach:g} %"
        print(
            f"{one.name:46}{median(one.predicted):8.2f} s{median(one.measured):8.2f} s"
            f"{median(one.errors):6.1f} %{reach:>8}   ({', '.join(f'{error:.1f}' for error in one.errors)})",
            flush=True,
        )
        if one.reach is not None:
            print(f"    {one.binds}", flush=True)


if __name__ == "__main__":
    main()
