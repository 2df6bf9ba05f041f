"""Runs the benchmarks: `python3 dev.py bench [--quick] [--only P1 P4] [--json FILE] [--markdown]`.

Lives here: the command line, the processes in which benchmarks run, and how figures are shown: on the terminal, as
JSON, and as the table in docs/benchmarks.md.

Must not know: what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a program knows its own folder only

from benchmarks.adaptive import l5  # noqa: E402
from benchmarks.answers import a9  # noqa: E402
from benchmarks.artifacts import a1, a2, a3, a5  # noqa: E402
from benchmarks.clusters import h5  # noqa: E402
from benchmarks.crowds import p2, p3  # noqa: E402
from benchmarks.edges import a8  # noqa: E402
from benchmarks.fidelity import s3  # noqa: E402
from benchmarks.graphs import p4, p4b  # noqa: E402
from benchmarks.importing import p8  # noqa: E402
from benchmarks.keys import l6  # noqa: E402
from benchmarks.llm import l3, l4  # noqa: E402
from benchmarks.many import h4  # noqa: E402
from benchmarks.measuring import Figure, Spread  # noqa: E402
from benchmarks.outputs import a7  # noqa: E402
from benchmarks.peers import h2  # noqa: E402
from benchmarks.processes import h2b, h3  # noqa: E402
from benchmarks.promptness import p5  # noqa: E402
from benchmarks.rates import p7  # noqa: E402
from benchmarks.simulator import s1, s2  # noqa: E402
from benchmarks.throughput import h1, p1, p6  # noqa: E402
from benchmarks.up_to_date import a4, a6  # noqa: E402
from benchmarks.waiting import p9  # noqa: E402

RESULTS = ROOT / "benchmarks" / "out" / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- results: begin (written by benchmarks/run.py --markdown) -->"
END = "<!-- results: end -->"

BENCHMARKS: dict[str, Callable[..., list[Figure]]] = {
    "P1": p1,
    "P2": p2,
    "P3": p3,
    "P4": p4,
    "P4b": p4b,
    "P5": p5,
    "P6": p6,
    "P7": p7,
    "P8": p8,
    "P9": p9,
    "A1": a1,
    "A2": a2,
    "A3": a3,
    "A4": a4,
    "A5": a5,
    "A6": a6,
    "A7": a7,
    "A8": a8,
    "A9": a9,
    "S1": s1,
    "S2": s2,
    "S3": s3,
    "H1": h1,
    "H2": h2,
    "H2b": h2b,
    "H3": h3,
    "H4": h4,
    "H5": h5,
    "L3": l3,
    "L4": l4,
    "L5": l5,
    "L6": l6,
}


def measure(name: str, *, quick: bool) -> list[Figure]:
    """Run one benchmark in a process of its own: what an earlier one left in memory is not its affair."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(BENCHMARKS[name], quick=quick).result()


def number(value: float) -> str:
    """A number in about three digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(measured: Spread) -> str:
    """The median, and the range if there is one."""
    if measured.least == measured.most:
        return number(measured.median)
    return f"{number(measured.median)} ({number(measured.least)} .. {number(measured.most)})"


def with_unit(text: str, unit: str) -> str:
    """A figure for people: 0.55 of the floor, 20 ms."""
    return text if unit == "x" else f"{text} {unit}"


def reach_of(figure: Figure) -> str:
    """What the figure should be."""
    if figure.reach is None:
        return "-"
    return with_unit(f"{'>=' if figure.at_least else '<='} {figure.reach:g}", figure.unit)


def verdict_of(figure: Figure) -> str:
    """Whether it is."""
    return {True: "yes", False: "no", None: "-"}[figure.met]


def show(figure: Figure) -> None:
    """Print one figure beside its floor."""
    print(f"  {figure.name}")
    if figure.ours is not None and figure.floor is not None:
        print(f"    runcue {spread(figure.ours)} {figure.each}")
        print(f"    floor  {spread(figure.floor)} {figure.each}: {figure.beside}")
    label = "ratio " if figure.unit == "x" else "figure"
    text = with_unit(spread(figure.figure), figure.unit)
    print(f"    {label} {text}; reach {reach_of(figure)}; within reach: {verdict_of(figure)}", flush=True)


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    machine = report["machine"]
    where = (
        f"{machine['cores']} cores ({machine['processor']}), {machine['system']}, Python {report['python']}"
    )
    lines = [
        f"{report['date'][:10]}, {where}, asyncio's own loop. Median (least .. most).",
        "",
        "| | what | runcue | floor | figure | reach | met |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in report["figures"]:
        figure = figure_from(one)
        ours = f"{spread(figure.ours)} {figure.each}" if figure.ours else ""
        floor = f"{spread(figure.floor)}: {figure.beside}" if figure.floor else ""
        verdict = verdict_of(figure)
        text = with_unit(spread(figure.figure), figure.unit)
        cells = (figure.benchmark, figure.name, ours, floor, text, reach_of(figure))
        lines.append(f"| {' | '.join(cells)} | {'**no**' if verdict == 'no' else verdict} |")
    return "\n".join(lines)


def figure_from(one: dict[str, Any]) -> Figure:
    """A figure as it was written to JSON."""
    fields = {key: value for key, value in one.items() if key != "met"}
    for key in ("figure", "ours", "floor"):
        if fields[key] is not None:
            fields[key] = Spread(*(fields[key][part] for part in Spread._fields))
    return Figure(**fields)


def as_json(figure: Figure) -> dict[str, Any]:
    """A figure with named parts."""
    fields = asdict(figure)
    for key in ("figure", "ours", "floor"):
        found: Spread | None = getattr(figure, key)
        fields[key] = None if found is None else found._asdict()
    return {**fields, "met": figure.met}


def write_page(report: dict[str, Any]) -> None:
    """Put the table between the two markers of docs/benchmarks.md."""
    text = PAGE.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE} has lost its markers; they are\n{BEGIN}\n{END}")
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(report)}\n\n{END}{after}", encoding="utf-8")
    print(f"wrote the table into {PAGE}")


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def load() -> list[float] | None:
    """The load average, where there is one: a busy machine explains a strange figure."""
    return [round(one, 2) for one in os.getloadavg()] if hasattr(os, "getloadavg") else None


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="dev.py bench", description="runcue's benchmarks, each beside its floor."
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: shows that they work, not what they measure"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", default=list(BENCHMARKS), help=f"of {', '.join(BENCHMARKS)}"
    )
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--markdown", action="store_true", help="also put the table into docs/benchmarks.md")
    parser.add_argument(
        "--merge", action="store_true", help="keep the figures of other benchmarks that the JSON file holds"
    )
    parser.add_argument("--reuse", action="store_true", help="measure nothing: show what the JSON file holds")
    chosen = parser.parse_args(given)
    names = {name.lower(): name for name in BENCHMARKS}
    unknown = [name for name in chosen.only if name.lower() not in names]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    asked_for = {names[name.lower()] for name in chosen.only}
    chosen.only = [name for name in BENCHMARKS if name in asked_for]
    if chosen.markdown and chosen.quick:
        parser.error("--markdown with --quick: small sizes measure nothing worth writing down")
    if chosen.markdown and len(chosen.only) < len(BENCHMARKS) and not chosen.merge:
        parser.error("--markdown with --only needs --merge, or the table would lose its other rows")
    return chosen


def kept(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """The figures of other benchmarks that stay."""
    if not chosen.merge or not chosen.json.exists():
        return []
    report = json.loads(chosen.json.read_text(encoding="utf-8"))
    if report["quick"] != chosen.quick:
        raise SystemExit(f"{chosen.json} holds figures of {'a quick' if report['quick'] else 'a full'} run")
    return [one for one in report["figures"] if one["benchmark"] not in chosen.only]


def main(given: Sequence[str] | None = None) -> int:
    """Run what was asked for.

    Returns:
        0, whatever the figures are; 1 if a benchmark failed.
    """
    chosen = arguments(given)
    if chosen.reuse:
        report = json.loads(chosen.json.read_text(encoding="utf-8"))
        for one in report["figures"]:
            show(figure_from(one))
    else:
        report, failed = run(chosen)
        if failed:
            print(f"failed: {', '.join(failed)}")
            return 1
    if chosen.markdown:
        write_page(report)
    return 0


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Measure, show and write down.

    Returns:
        The report, and the names of benchmarks that failed.
    """
    figures = kept(chosen)
    failed = []
    report: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": chosen.quick,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "machine": {
            "cores": os.cpu_count(),
            "processor": processor(),
            "system": f"{platform.system()} {platform.release()}",
            "load": load(),
        },
    }
    for name in chosen.only:
        began = time.perf_counter()
        print(f"{name}", flush=True)
        try:
            found = measure(name, quick=chosen.quick)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        for figure in found:
            show(figure)
        figures += [as_json(figure) for figure in found]
        print(f"  ({time.perf_counter() - began:.0f} s)", flush=True)
    figures.sort(key=lambda one: list(BENCHMARKS).index(one["benchmark"]))
    report["figures"] = figures
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {chosen.json}")
    return report, failed


if __name__ == "__main__":
    sys.exit(main())
