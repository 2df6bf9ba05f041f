"""The metrics example: what is scraped over HTTP is what the cue says of itself."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

import runcue
from examples.metrics import wire
from tests.support.programs import run_example

PROGRAM = Path(__file__).parents[2] / "examples" / "metrics.py"


class Scraped:
    """One scrape: a number by the name of the sample and its labels."""

    def __init__(self, text: str) -> None:
        self.numbers = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.numbers.get((name, *sorted(labels.items())), 0)

    def total(self, name: str, **labels: str) -> float:
        """Add up the samples that carry these labels, whatever others they have."""
        return sum(
            n
            for (found, *has), n in self.numbers.items()
            if found == name and set(labels.items()) <= set(has)
        )


@pytest.fixture
async def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def url(registry: CollectorRegistry) -> AsyncIterator[str]:
    server, thread = prometheus_client.start_http_server(0, addr="127.0.0.1", registry=registry)
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    await asyncio.to_thread(server.shutdown)
    server.server_close()
    thread.join()


async def scrape(url: str) -> Scraped:
    async with httpx.AsyncClient() as client:
        answer = await client.get(url)
    assert answer.status_code == 200
    return Scraped(answer.text)


async def test_a_scrape_shows_what_waits_what_runs_and_how_it_ended(
    registry: CollectorRegistry, url: str
) -> None:
    cue = runcue.Cue()
    cue.service("api", concurrent=2)
    resume = asyncio.Event()
    running = asyncio.Semaphore(0)

    @cue.task("fetch", uses="api")
    async def fetch(work: runcue.Work) -> None:
        running.release()
        await resume.wait()
        if work.params["number"] == 4:
            raise ValueError("page 4 is damaged")

    @cue.task("note")
    async def note(work: runcue.Work) -> None: ...

    @cue.is_stale
    def is_stale(work: runcue.Work) -> bool:
        return bool(work.params["number"] != 3)

    @cue.is_ready(task="note")
    def never(work: runcue.Work) -> bool:
        return False

    wire(cue, registry)
    cue.start()
    for number in range(6):
        await cue.submit("fetch", params={"number": number})
    await cue.submit("note", params={"number": 0})
    await running.acquire()
    await running.acquire()

    during = await scrape(url)
    assert during("runcue_running_works", task="fetch", service="api") == 2
    # Six, less the two that run and the one that was skipped at once though no slot was free.
    assert during("runcue_pending_works", task="fetch", service="api") == 3
    assert during("runcue_pending_works", task="note", service="") == 1
    assert during("runcue_works_total", task="fetch", outcome="skipped") == 1
    assert during("runcue_works_total", task="fetch", outcome="completed") == 0

    resume.set()
    summary = await cue.stop()
    assert summary.counts == {"completed": 4, "skipped": 1, "failed": 1, "cancelled": 1}

    after = await scrape(url)
    assert after.total("runcue_running_works") == 0
    assert after.total("runcue_pending_works") == 0
    for outcome, number in summary.counts.items():
        assert after.total("runcue_works_total", outcome=outcome) == number
    assert after("runcue_work_duration_seconds_count", task="fetch", service="api") == 4
    assert after("runcue_work_duration_seconds_sum", task="fetch", service="api") > 0


async def test_work_of_several_services_is_seen_under_each(registry: CollectorRegistry, url: str) -> None:
    cue = runcue.Cue()
    cue.service("cpu", concurrent=1)
    cue.service("database", concurrent=1)

    @cue.task("index", uses=["cpu", "database"])
    async def index(work: runcue.Work) -> None: ...

    wire(cue, registry)
    async with cue:
        await (await cue.submit("index")).result()
        scraped = await scrape(url)
    assert scraped("runcue_work_duration_seconds_count", task="index", service="cpu") == 1
    assert scraped("runcue_work_duration_seconds_count", task="index", service="database") == 1
    assert scraped("runcue_works_total", task="index", outcome="completed") == 1


async def test_budgets_refusals_and_pauses_are_seen(registry: CollectorRegistry, url: str) -> None:
    cue = runcue.Cue()
    api = cue.service("api", budget={"tokens": "1_000/min", "usd": "2.50/day"})
    refused = asyncio.Event()

    @cue.task("ask", uses=api, cost={"tokens": 250, "usd": "0.50"})
    async def ask(work: runcue.Work, again: bool) -> None:
        if again:
            refused.set()
            raise runcue.Throttled(600)

    wire(cue, registry)
    cue.start()
    await (await cue.submit("ask", params={"again": False})).result()
    await cue.submit("ask", params={"again": True})
    await refused.wait()
    during = await scrape(url)
    assert during("runcue_budget_used", service="api", budget="tokens") == 0.25
    assert during("runcue_budget_used", service="api", budget="usd") == 0.2
    assert during("runcue_throttled_total", task="ask") == 1
    assert during("runcue_service_held", service="api", by="throttled") == 1
    assert during("runcue_service_held", service="api", by="paused") == 0
    await cue.stop(drain=False, timeout=0)


def run_program(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_example(PROGRAM, *arguments, folder=folder)


def test_the_program_serves_while_it_runs_and_ends_with_the_cues_own_numbers(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, PROGRAM, "--pages", "40"],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        announced = re.search(r"http://127\.0\.0\.1:\d+/metrics", process.stdout.readline())
        assert announced is not None
        during = httpx.get(announced.group(), timeout=10)
        assert during.status_code == 200
        assert "# TYPE runcue_pending_works gauge" in during.text
        output, errors = process.communicate(timeout=50)
    assert process.returncode == 0
    assert "Traceback" not in errors
    last = Scraped(output[output.index("# HELP") : output.index("the cue's own summary")])
    for outcome, number in {"completed": 32 + 36 + 36, "skipped": 8, "failed": 4, "cancelled": 4}.items():
        assert last.total("runcue_works_total", outcome=outcome) == number
        assert f"{number} {outcome}" in output[output.index("the cue's own summary") :].splitlines()[1]


def test_the_program_explains_itself(tmp_path: Path) -> None:
    done = run_program("--help", folder=tmp_path)
    assert done.returncode == 0
    assert "serve its Prometheus metrics" in done.stdout


def test_bad_input_is_one_clear_line(tmp_path: Path) -> None:
    for arguments in (["--pages", "0"], ["--port", "70000"], ["--port", "http"]):
        refused = run_program(*arguments, folder=tmp_path)
        assert refused.returncode == 2
        assert "metrics.py: error: " in refused.stderr.splitlines()[-1]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = run_program("--port", str(port), folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"metrics: cannot serve on port {port}: ")
    assert refused.stderr.count("\n") == 1
