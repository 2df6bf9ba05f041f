"""The PDF pipeline example under kill -9: at no instant is half an artifact believed, or one lost that was there.

Each run is a real process that does what `python examples/pdf_pipeline` does. It is forked from one that has imported
everything, since starting an interpreter takes longer than the run itself; pages are few and small, and the summary
server answers quickly and often. The kills are spread over the run by a seed: each run of a certain kind is measured
undisturbed, and cut into as many slices as there are kills.

    python tests/examples/test_pdf_pipeline_kill.py 500        # as `dev.py torture` does
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from runcue._artifacts import temp_files

EXAMPLE = Path(__file__).parents[2] / "examples" / "pdf_pipeline"
PAGES = 3
SEED = 20240913

TEMP = re.compile(r"\.runcue-[0-9a-f]{12}-")
STAMP = re.compile(r"\.runcue-stamp-")
TIMELINE = "timeline.svg"  # a picture of the last run, so never twice the same, and nothing depends on it

# A parent that never starts a thread, so that a fork of it is as good as a new process. The disk is made a slow one, or
# hardly a kill would fall into a write.
FORKS = """
import importlib, os, pkgutil, runpy, sys, time
import runcue
sys.path.insert(0, sys.argv[1])
import summary_server
summary_server.LIMIT, summary_server.ANSWERS_AFTER = 1000, 0.01
fsync = os.fsync
os.fsync = lambda descriptor: (time.sleep(0.008), fsync(descriptor))
pipeline = runpy.run_path(sys.argv[1], run_name="pipeline under test")
for module in pkgutil.walk_packages(runcue.__path__, "runcue."):
    if module.name.startswith(("runcue._", "runcue.timeline")):
        importlib.import_module(module.name)  # or each of the processes would have to
for line in sys.stdin:
    pdf, out = line.split()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(out + ".log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
        os.dup2(1, 2)
        code = pipeline["main"]([pdf, "--out", out, "--text-from", "layer", "--rate", "1000/sec"])
        sys.stdout.flush()
        os._exit(code)
    print(child, flush=True)
    sys.stdin.readline()  # until then the number is the child's own, dead or alive
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Pipeline:
    """Runs the example, one run after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, pdf: Path, out: Path, kill_after: float | None = None) -> int:
        """Runs it to the end, or to its death. Returns the exit code, -SIGKILL after a kill."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{pdf} {out}\n")
        self._process.stdin.flush()
        child = self._line()
        if kill_after is not None:
            time.sleep(kill_after)  # real time is what this is about
            os.kill(child, signal.SIGKILL)
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@contextmanager
def pipeline() -> Iterator[Pipeline]:
    with subprocess.Popen(
        [sys.executable, "-c", FORKS, EXAMPLE],
        cwd=EXAMPLE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Pipeline(process)


def make_pdf(path: Path, edition: str) -> Path:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), pagesize=(200, 120), invariant=1)
    for number in range(PAGES):
        # The second page is the same in all editions, and so need not be read again.
        words = "The same in each edition" if number == 1 else f"Page {number} of the {edition} edition"
        canvas.drawString(10, 60, f"{words}.")
        canvas.showPage()
    canvas.save()
    return path


def artifacts(out: Path) -> dict[str, bytes]:
    """Everything there but what begins with .runcue-, whole."""
    files = [
        path for path in out.rglob("*") if path.is_file() and ".runcue-" not in str(path.relative_to(out))
    ]
    return {str(path.relative_to(out)): path.read_bytes() for path in files if path.name != TIMELINE}


def temps(out: Path) -> list[str]:
    return [path.name for path in out.rglob(".runcue-*") if path.is_file() and not STAMP.match(path.name)]


def marks(out: Path) -> list[str]:
    return [path.name for path in out.rglob(".runcue-marks/*")]


@dataclass
class Findings:
    """What the kills hit.

    Attributes:
        instants: How many there were.
        alive: How many of the runs were still running then.
        writing: How many left a temp file, so fell into the writing of something.
        between: How many left some artifacts of the run and not others.
        temps: What was being written, by the end of its name.
    """

    instants: int = 0
    alive: int = 0
    writing: int = 0
    between: int = 0
    temps: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.temps.items()))
        return (
            f"{self.instants} instants: {self.alive} in a run, {self.writing} of them into a write ({kinds}), "
            f"{self.between} between two artifacts"
        )


def kill_at(folder: Path, instants: int, shown: Callable[[Findings], bool] = lambda found: True) -> Findings:
    """Kills the pipeline at so many instants, each followed by a look at the folder and a run to the end.

    Three kinds of run take turns: one from nothing, one in which a new edition of the document replaces what was made
    of the former, and one in which a text was deleted.

    Args:
        folder: Where.
        instants: How many at least.
        shown: Whether enough was hit. On a busy machine it takes more of them.
    """
    chance = random.Random(SEED)
    pdf, out = folder / "book.pdf", folder / "out"
    found = Findings()
    with pipeline() as example:
        editions = {name: make_pdf(folder / f"{name}.pdf", name).read_bytes() for name in ("first", "second")}
        undisturbed: dict[str, dict[str, bytes]] = {}
        for name, content in editions.items():
            pdf.write_bytes(content)
            assert example.run(pdf, out) == 0, Path(f"{out}.log").read_text()
            undisturbed[name] = artifacts(out)
            out.rename(folder / name)
        assert undisturbed["first"].keys() == undisturbed["second"].keys()
        assert len(undisturbed["first"]) == 3 * PAGES + 1

        def begin(kind: str) -> None:
            """Brings about what a run of this kind begins with."""
            shutil.rmtree(out, ignore_errors=True)
            if kind != "nothing":
                shutil.copytree(folder / "first", out)
            pdf.write_bytes(editions["second" if kind == "edition" else "first"])
            if kind == "deleted":
                (out / "text" / "page-01.txt").unlink()

        lengths: dict[str, float] = {}
        for kind in ("nothing", "edition", "deleted") * 2:
            begin(kind)
            began = time.monotonic()
            assert example.run(pdf, out) == 0
            lengths[kind] = min(time.monotonic() - began, lengths.get(kind, 60.0))

        for number in count():
            if number >= instants and shown(found):
                break
            assert number < 10 * instants, f"hardly anything was hit: {found}"
            kind = ("nothing", "edition", "deleted", "edition")[number % 4]
            begin(kind)
            before = artifacts(out)
            goal = undisturbed["second" if kind == "edition" else "first"]
            share = (number + chance.random()) / instants % 1.0
            code = example.run(pdf, out, kill_after=lengths[kind] * share)
            told = f"{kind}, killed after {share:.3f} of the run ({SEED=})"

            left, half = artifacts(out), temps(out)
            found.instants += 1
            found.alive += code == -signal.SIGKILL
            # The machine is now more, now less busy than when it was measured.
            lengths[kind] *= 0.95 if code == 0 else 1.02
            found.writing += bool(half)
            found.between += (
                any(left.get(name) == goal[name] != before.get(name) for name in goal) and left != goal
            )
            found.temps.update(TEMP.sub("", name) for name in half)
            assert before.keys() <= left.keys(), f"lost: {before.keys() - left.keys()}; {told}"
            assert left.keys() <= goal.keys(), f"unknown: {left.keys() - goal.keys()}; {told}"
            for name, content in left.items():
                assert content in (before.get(name), goal[name]), f"half of {name}; {told}"
            assert all(TEMP.match(name) for name in half), f"{half}; {told}"

            assert example.run(pdf, out) == 0, f"{Path(f'{out}.log').read_text()}; {told}"
            after = artifacts(out)
            differing = [name for name in goal if after.get(name) != goal[name]]
            assert not differing, f"believed and wrong: {differing}; {told}"
            assert after.keys() == goal.keys(), told
            assert not temps(out), f"of the dead: {temps(out)}; {told}"
            assert not marks(out), f"of what has been made: {marks(out)}; {told}"
    return found


@pytest.mark.rule(30)
@pytest.mark.skipif(
    not temp_files.CLAIMS or not hasattr(os, "fork"),
    reason="no fork and flock here: NOTHING IS KILLED LIKE THIS",
)
def test_a_pipeline_killed_at_any_instant_leaves_whole_artifacts_and_the_next_run_makes_the_rest(
    tmp_path: Path,
) -> None:
    for module in ("reportlab", "pypdfium2", "httpx", "PIL"):
        pytest.importorskip(module, reason=f"{module} is missing: KILLING THE PDF PIPELINE IS NOT TESTED")
    found = kill_at(tmp_path, 18, lambda found: found.alive >= 8 and found.writing + found.between >= 3)
    print(found)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(kill_at(Path(scratch), int(sys.argv[1])))
