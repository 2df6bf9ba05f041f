"""Metrics: runcue's callbacks as Prometheus counters, gauges and histograms, scraped over HTTP.

`wire(cue, registry)` is the part to take home. It needs prometheus-client and nothing of the rest of this file:

    runcue_works_total{task, outcome}               work units that settled: completed, skipped, failed, cancelled
    runcue_pending_works{task, service}             work units that wait now, for readiness, a slot or the rate
    runcue_running_works{task, service}             work units whose handler runs now
    runcue_work_duration_seconds{task, service}     how long handlers of completed work units ran
    runcue_throttled_total{task}                    how often a server refused a work unit for now
    runcue_budget_used{service, budget}             the share of a budget that is used now, 0.0 to 1.0; more: it is owed
    runcue_service_held{service, by}                1 while nothing of a service starts: paused, throttled or broken

A work unit that uses several services is seen under each of them, so `sum by (service)` tells the load of a service;
to add up work units across services take `runcue_works_total`. A work unit that uses none has the service "".

The counters and the histogram are pushed: a listener adds to them when something happens. The gauges are pulled: what
is pending or running is counted in the event loop when someone scrapes, which takes about 50 ms per 100,000 work
units, and costs nothing in between. A count kept beside the scheduler's own would be a second truth, and one missed
event would make it wrong for ever.

The program around it runs a small pipeline for a few seconds in which work units complete, are skipped, fail and are
cancelled, and prints where to scrape it meanwhile:

    python examples/metrics.py
    curl http://127.0.0.1:<port>/metrics
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import prometheus_client
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

import runcue

SCRAPE_TIMEOUT = 5.0


def wire(cue: runcue.Cue, registry: CollectorRegistry) -> None:
    """Make the registry show what the cue does.

    Call it once per cue, in the event loop that runs the cue. Scrapes come from other threads, as those of
    `prometheus_client.start_http_server` do.

    Args:
        cue: Started or not.
        registry: Its own one, or prometheus_client.REGISTRY.
    """
    works = prometheus_client.Counter(
        "runcue_works", "Work units that settled, by how they ended.", ["task", "outcome"], registry=registry
    )
    durations = prometheus_client.Histogram(
        "runcue_work_duration_seconds",
        "How long the handlers of completed work units ran.",
        ["task", "service"],
        registry=registry,
    )
    throttled = prometheus_client.Counter(
        "runcue_throttled", "How often a server refused a work unit for now.", ["task"], registry=registry
    )
    registry.register(_Gauges(cue, asyncio.get_running_loop()))

    @cue.on_complete
    def completed(work: runcue.Work, result: Any, duration: float) -> None:
        works.labels(work.task, "completed").inc()
        for service in _services(cue, work.task):
            durations.labels(work.task, service).observe(duration)

    cue.on_skip(lambda work: works.labels(work.task, "skipped").inc())
    cue.on_failure(lambda work, error: works.labels(work.task, "failed").inc())
    cue.on_cancel(lambda work: works.labels(work.task, "cancelled").inc())
    cue.observe(_Refusals(throttled))


def _services(cue: runcue.Cue, task: str) -> tuple[str, ...]:
    registered = cue.get_task(task)
    return (registered.services if registered else ()) or ("",)


class _Refusals(runcue.Observer):
    """Counts what servers refuse for now; no listener hears of that, since it is no attempt."""

    def __init__(self, counter: prometheus_client.Counter) -> None:
        self._counter = counter

    def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
        """A work unit goes on later."""
        if reason == "throttled":
            self._counter.labels(work.task).inc()


class _Gauges(Collector):
    """Counts pending and running work units, and reads budgets and pauses, when a scrape asks for them.

    A cue belongs to its event loop and scrapes come in threads of their own, so the counting is sent into the loop.

    Args:
        cue: Whose work units are counted.
        loop: The loop that runs it.
    """

    def __init__(self, cue: runcue.Cue, loop: asyncio.AbstractEventLoop) -> None:
        self._cue = cue
        self._loop = loop

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name the gauges without counting: `register()` asks this, and it asks in the loop's own thread."""
        for state, meaning in ((runcue.WorkState.PENDING, "wait"), (runcue.WorkState.RUNNING, "run")):
            yield GaugeMetricFamily(
                f"runcue_{state.value}_works", f"Work units that {meaning} now.", labels=["task", "service"]
            )
        yield GaugeMetricFamily(
            "runcue_budget_used", "The share of a budget that is used.", labels=["service", "budget"]
        )
        yield GaugeMetricFamily(
            "runcue_service_held", "1 while nothing of a service starts.", labels=["service", "by"]
        )

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Answer a scrape. A loop that has ended holds none any more; one that is stuck fails the scrape, loudly."""
        if self._loop.is_closed():
            return
        counts = asyncio.run_coroutine_threadsafe(self._count(), self._loop).result(SCRAPE_TIMEOUT)
        for gauge, count in zip(self.describe(), counts, strict=True):
            for labels, number in sorted(count.items()):
                gauge.add_metric(labels, number)
            yield gauge

    async def _count(self) -> list[Mapping[tuple[str, str], float]]:
        services = self._cue.services()
        used = {
            (one.name, name): float((budget.used + budget.debt) / budget.limit)
            for one in services
            for name, budget in one.budgets.items()
        }
        held = {
            (one.name, by): float(getattr(one, by) is not None)
            for one in services
            for by in ("paused", "throttled", "broken")
        }
        works = [
            Counter(
                (work.task, service)
                for work in await self._cue.list(state=state, limit=sys.maxsize)
                for service in _services(self._cue, work.task)
            )
            for state in (runcue.WorkState.PENDING, runcue.WorkState.RUNNING)
        ]
        return [*works, used, held]


def pipeline_cue(pages: int) -> runcue.Cue:
    """Build the small pipeline to look at: fetch a page, parse it, put it into an index.

    Artifacts are flags in memory, since this example is about other things. Every fifth page was fetched before, so
    its fetch is skipped; every tenth is damaged, so its parsing fails and its indexing can never run.
    """
    cue = runcue.Cue()
    cue.service("api", rate="20/sec", concurrent=4)
    cue.service("cpu", concurrent=2)
    cue.service("database", concurrent=1)
    fetched = {page: runcue.Flag(f"page {page} fetched") for page in range(1, pages + 1)}
    parsed = {page: runcue.Flag(f"page {page} parsed") for page in fetched}
    for page in range(5, pages + 1, 5):
        fetched[page].set()

    @cue.task("fetch", uses="api", outputs=lambda work: fetched[work.params["page"]])
    async def fetch(work: runcue.Work) -> None:
        await asyncio.sleep(0.05)
        work.outputs[0].set()

    @cue.task(
        "parse",
        uses="cpu",
        inputs=lambda work: fetched[work.params["page"]],
        outputs=lambda work: parsed[work.params["page"]],
    )
    def parse(work: runcue.Work) -> None:
        time.sleep(0.02)
        if work.params["page"] % 10 == 0:
            raise ValueError(f"page {work.params['page']} is damaged")
        work.outputs[0].set()

    @cue.task("index", uses=["cpu", "database"], inputs=lambda work: parsed[work.params["page"]])
    def index(work: runcue.Work) -> None:
        time.sleep(0.03)

    return cue


def scrape(url: str) -> str:
    """Read the metrics as Prometheus would."""
    with urllib.request.urlopen(url, timeout=SCRAPE_TIMEOUT) as answer:  # noqa: S310 - the URL is our own
        return str(answer.read().decode())


async def watch(url: str, interval: float = 0.5) -> None:
    """Scrape now and then, and show what a dashboard would."""
    while True:
        families = {
            family.name: family
            for family in text_string_to_metric_families(await asyncio.to_thread(scrape, url))
        }
        settled = sum(s.value for s in families["runcue_works"].samples if s.name.endswith("_total"))
        load = ", ".join(
            f"{sample.labels['task']} on {sample.labels['service']}: {sample.value:.0f}"
            for sample in families["runcue_running_works"].samples
        )
        print(f"  {settled:4.0f} settled; running: {load or 'nothing'}", flush=True)
        await asyncio.sleep(interval)


async def run_pipeline(pages: int, port: int) -> int:
    """Serve the metrics, run the pipeline, show the final scrape. Returns the exit code."""
    cue = pipeline_cue(pages)
    registry = CollectorRegistry()
    wire(cue, registry)
    try:
        server, thread = prometheus_client.start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        print(f"metrics: cannot serve on port {port}: {error}", file=sys.stderr)
        return 1
    url = f"http://127.0.0.1:{server.server_port}/metrics"
    print(f"metrics at {url}", flush=True)

    cue.start()
    for page in range(1, pages + 1):
        for task in ("fetch", "parse", "index"):
            await cue.submit(task, params={"page": page})
    watcher = asyncio.create_task(watch(url))
    summary = await cue.stop()
    watcher.cancel()

    print(await asyncio.to_thread(scrape, url))
    print(f"the cue's own summary:\n{summary}")
    server.shutdown()
    server.server_close()
    thread.join()
    return 0


def main(argv: list[str] | None = None) -> int:
    """Read the command line and run the pipeline. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Run a small pipeline and serve its Prometheus metrics over HTTP, on loopback, while it runs.",
        epilog="The function wire(cue, registry) in this file does the same for any cue.",
    )
    parser.add_argument(
        "--pages", type=int, default=60, help="how many pages go through the pipeline (default 60)"
    )
    parser.add_argument(
        "--port", type=int, default=0, help="where to serve the metrics (default: any free port)"
    )
    options = parser.parse_args(argv)
    if options.pages < 1:
        parser.error("--pages must be at least 1")
    if not 0 <= options.port <= 65535:
        parser.error("--port must be 0 to 65535")
    try:
        return runcue.run(functools.partial(run_pipeline, options.pages, options.port))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
