"""L3, L4: many prompts for an API with limits of its own, beside other libraries for that; and again in virtual time.

Lives here: the server, the contestants' processes, and what is judged: how much of the limit that binds was used, how
many answers were 429, and whether something was lost.

Must not know: how figures are shown, how a contestant goes about it (`api_batches`).
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [
    str(ROOT),
    str(ROOT / "examples" / "llm_batch"),
]  # the example is a folder of programs, not a package

import runcue  # noqa: E402
from benchmarks.api_batches.prompts import AT_ONCE, ATTEMPTS, REQUESTS, TIMEOUT, TOKENS, prompts  # noqa: E402
from benchmarks.measuring import Figure, value  # noqa: E402
from model_server import Api, parsed, running_server  # noqa: E402
from runcue.testing import run as in_virtual_time  # noqa: E402

__all__ = ["l3", "l4"]

CONTESTANTS = {
    "runcue": "runcue",
    "async_batch_llm": "async-batch-llm",
    "pyarallel": "pyarallel",
    "aiometer": "aiometer and tenacity",
    "cookbook": "the cookbook's way",
}
"""What they are called, by module."""

PERIOD = 60.0
MOST_EARNED = 3
"""So many answers may be 429, which clients whose clock is not the server's can hardly avoid."""


class Run(NamedTuple):
    """How one contestant did.

    Attributes:
        answered: How many prompts have their answer.
        seconds: From the first call to the last answer.
        earned: Answers that were 429.
        share: How much of the limit of tokens was used, in percent, by when the first request came that goes beyond so
            many full minutes; None if all fitted into the first.
    """

    answered: int
    seconds: float
    earned: int
    share: float | None


def contest(name: str, number: int, windows: str) -> Run:
    """Let one contestant send its prompts to a server of its own."""
    with running_server("--windows", windows) as url:
        command = [sys.executable, "-m", "benchmarks.api_batches.contestant", name, url, str(number)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr
        answered, seconds = done.stdout.split()
        with urllib.request.urlopen(f"{url}/stats") as answer:  # noqa: S310 - it is our own
            stats = json.load(answer)
    return Run(int(answered), float(seconds), stats["answers"].get("429", 0), share_of(stats["full_periods"]))


def share_of(full: list[float]) -> float | None:
    """How much of a limit was used, by how long after the first each further full amount of it was begun."""
    return 100.0 * PERIOD * len(full) / full[-1] if full else None


def lines_of(name: str) -> int:
    """How many lines of code a user has to write, without what they say about it."""
    text = (ROOT / "benchmarks" / "api_batches" / f"by_{name}.py").read_text(encoding="utf-8")
    code = text.split('"""', 2)[2]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in code.splitlines())


def l3(*, quick: bool) -> list[Figure]:
    """All contestants at the same time: they wait for nearly all of it."""
    number, modes = (40, ("sliding",)) if quick else (1000, ("sliding", "fixed"))
    there = [name for name in CONTESTANTS if name in ("runcue", "cookbook") or find_spec(name) is not None]
    figures = []
    for windows in modes:
        with ThreadPoolExecutor(len(there)) as pool:
            each = pool.map(partial(contest, number=number, windows=windows), there)
            runs = dict(zip(there, each, strict=True))
        for name, run in runs.items():
            ours = name == "runcue"
            what = f"{number:,} prompts, {windows} windows, {CONTESTANTS[name]} ({lines_of(name)} lines)"
            best = min(one.seconds for other, one in runs.items() if other != name) if len(runs) > 1 else None
            figures += [
                value("L3", f"{what}: makespan", best if ours else None, [run.seconds], "s"),
                value("L3", f"{what}: answers 429", MOST_EARNED if ours else None, [float(run.earned)], ""),
                value("L3", f"{what}: not answered", 0 if ours else None, [float(number - run.answered)], ""),
            ]
            if run.share is not None:
                figures.append(
                    value(
                        "L3",
                        f"{what}: used of the tokens",
                        97 if ours else None,
                        [run.share],
                        "%",
                        at_least=True,
                    )
                )
    return figures


async def rehearse(windows: str, seed: int, minutes: int) -> Run:
    """The same in this process, on a virtual clock, with the way to the server and back as a part of the latency."""
    loop = asyncio.get_running_loop()
    luck = random.Random(seed)
    api = Api(parsed(["--windows", windows, "--seed", str(seed)]), loop.time)
    cue = runcue.Cue()
    service = cue.service(
        "api",
        rate=f"{REQUESTS}/min",
        budget={"tokens": f"{TOKENS}/min"},
        concurrent=AT_ONCE,
        margin="0.5s",
        throttle=lambda error: error.retry_after if isinstance(error, Refused) else None,
    )

    @cue.task(uses=service, cost=lambda prompt: {"tokens": prompt.tokens}, retry=ATTEMPTS, timeout=TIMEOUT)
    async def ask(prompt: Any) -> str:
        await asyncio.sleep(luck.uniform(0.0, 0.05))
        status, headers, body = await api.complete(prompt.text, prompt.max_tokens, asyncio.Event())
        if status != 200:
            raise Refused(status, headers)
        return str(body["text"])

    asked = prompts(0)
    for number in count(1):
        asked = prompts(number * 100)
        if sum(prompt.tokens for prompt in asked) > minutes * TOKENS:
            break
    began = loop.time()
    async with cue:
        answers = [text async for text in cue.map(ask, asked, ordered=True, values=True)]
    lost = len(asked) - len(answers)
    return Run(-lost, loop.time() - began, api.answers[429], share_of(api.full))


class Refused(Exception):
    """An answer that is none."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__(f"status {status}")
        self.retry_after = float(headers["Retry-After"]) if status == 429 else None


def l4(*, quick: bool) -> list[Figure]:
    """Ten minutes of virtual time, twenty times."""
    minutes, seeds = (2, 2) if quick else (10, 20)
    figures = []
    for windows in ("sliding", "fixed"):
        runs = [in_virtual_time(rehearse(windows, seed, minutes)) for seed in range(seeds)]
        what = f"{minutes} min of virtual time, {windows} windows, {seeds} seeds"
        figures += [
            value(
                "L4",
                f"{what}: used of the tokens",
                97,
                [run.share or 0.0 for run in runs],
                "%",
                at_least=True,
            ),
            value("L4", f"{what}: answers 429", MOST_EARNED, [float(max(run.earned for run in runs))], ""),
            value("L4", f"{what}: not answered", 0, [float(max(-run.answered for run in runs))], ""),
        ]
    return figures
