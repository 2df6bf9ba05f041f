"""The prompts of `examples/llm_batch`, run for real against its own server and rehearsed, for S3.

Lives here: a run on the real clock with its recording. This file is the program that is rehearsed, too: the environment
says how many prompts, and in which period the limits hold.

Must not know: what a rehearsal says, how figures are shown.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "llm_batch"
sys.path[:0] = [str(ROOT), str(EXAMPLE)]  # the example is a folder of programs, not a package

import runcue  # noqa: E402
from runcue.rehearsal import set_limits  # noqa: E402

__all__ = ["BATCH", "VARIABLE", "Batch", "for_real", "make_cue", "submit"]

VARIABLE = "RUNCUE_FIDELITY_BATCH"


@dataclass(frozen=True)
class Batch:
    """How the prompts are sent.

    Attributes:
        out: The folder that the answers go to.
        prompts: How many.
        requests: So many of them within a period.
        tokens: So many tokens within a period.
        period: Seconds.
    """

    out: str = ""
    prompts: int = 500
    requests: int = 500
    tokens: int = 90_000
    period: int = 60


BATCH = Batch()


def make_cue(how: Batch | None = None) -> runcue.Cue:
    """The cue of the example."""
    import batch

    how = _said() if how is None else how
    batch.OUT, batch.PROMPTS = Path(how.out), how.prompts
    cue = batch.make_cue()
    rate, budget = f"{how.requests}/{how.period}s", {"tokens": f"{how.tokens}/{how.period}s"}
    set_limits(cue, {"api": {"rate": rate, "budget": budget}})
    return cue


async def submit(cue: runcue.Cue) -> None:
    """Submit its prompts, as the example does."""
    import batch

    await batch.submit(cue)


def _said() -> Batch:
    return Batch(**json.loads(os.environ[VARIABLE]))


def for_real(how: Batch, recording: Path) -> float:
    """Send the prompts, and write down what that took.

    Returns:
        Seconds from the first submission to the last settlement.
    """
    import httpx

    import batch
    import model_server
    from runcue_sim.recording import Recording

    async def main(url: str) -> float:
        batch.CLIENT = httpx.AsyncClient(base_url=url, timeout=None, trust_env=False)  # noqa: S113 - as there
        cue = make_cue(how)
        recorded = Recording(cue)
        async with batch.CLIENT, cue:
            await submit(cue)
            summary = await cue.drain()
        assert summary.counts["completed"] == how.prompts, summary
        recorded.save(recording)
        return recorded.run.makespan

    limits = {"--requests": how.requests, "--tokens": how.tokens, "--period": how.period}
    with model_server.running_server(*(str(one) for pair in limits.items() for one in pair)) as url:
        return asyncio.run(main(url))
