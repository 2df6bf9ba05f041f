"""A4 and A6: files that are all up to date, submitted again, so that there is nothing to do but to find that out.

Lives here: trees of files, each output made from one source; the same no-op run through a cue and by bare system calls;
and as whole processes beside make, ninja and doit.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import runcue
from benchmarks.measuring import Figure, compare, compared, in_new_process, timed, value

__all__ = ["a4", "a6"]

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "out"
LIMIT = 100
PER_FOLDER = 1000
HOUR_NS = 3600 * 10**9


class Tree:
    """Sources and an output of each, in folders of a thousand; only the names of them.

    Attributes:
        root: The folder.
        names: What follows src/ and made/.
        sources: Their paths, absolute.
        outputs: Likewise, in the same order.
    """

    def __init__(self, root: str, files: int) -> None:
        self.root = root
        self.names = [f"{number // PER_FOLDER:03}/{number:06}.txt" for number in range(files)]
        self.sources = [f"{root}/src/{name}" for name in self.names]
        self.outputs = [f"{root}/made/{name}" for name in self.names]

    def make(self) -> None:
        """Make the files, outputs newer than sources."""
        for number in range(0, len(self.names), PER_FOLDER):
            Path(self.sources[number]).parent.mkdir(parents=True)
            Path(self.outputs[number]).parent.mkdir(parents=True)
        long_ago = time.time_ns() - HOUR_NS
        for source, output in zip(self.sources, self.outputs, strict=True):
            Path(source).write_text(source, encoding="utf-8")
            os.utime(source, ns=(long_ago, long_ago))
            Path(output).write_text(output, encoding="utf-8")


@contextmanager
def tree_of(files: int) -> Iterator[Tree]:
    """A tree on the disk of the repository, for as long as the block lasts."""
    OUT.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=OUT, prefix="tree-") as root:
        tree = Tree(root, files)
        tree.make()
        yield tree


async def through_cue(tree: Tree, fresh: Any, *, with_sources: bool = True, skipping: bool = True) -> float:
    """Submit a work for each output.

    Args:
        tree: Where the files are.
        fresh: The policy.
        with_sources: Declare the sources as well.
        skipping: Whether there must be nothing to do, rather than everything.
    """

    def write(work: runcue.Work) -> None:
        Path(work.params["output"]).write_text(work.params["output"], encoding="utf-8")

    cue = runcue.Cue()
    cue.service("service", concurrent=LIMIT)
    cue.task(
        "write",
        uses="service",
        inputs=(lambda work: work.params["source"]) if with_sources else None,
        outputs=lambda work: work.params["output"],
        fresh=fresh,
    )(write)
    began = time.perf_counter()
    cue.start()
    for source, output in zip(tree.sources, tree.outputs, strict=True):
        await cue.submit("write", params={"source": source, "output": output})
    summary = await cue.drain()
    took = time.perf_counter() - began
    await cue.stop()
    assert summary.ok
    assert summary.counts["skipped" if skipping else "completed"] == len(tree.names)
    return took


async def by_stat(tree: Tree, *, with_sources: bool) -> float:
    stat = os.stat
    if with_sources:
        began = time.perf_counter()
        for source, output in zip(tree.sources, tree.outputs, strict=True):
            stat(source)
            stat(output)
    else:
        began = time.perf_counter()
        for output in tree.outputs:
            stat(output)
    return time.perf_counter() - began


def a4(*, quick: bool) -> list[Figure]:
    files, few = (2_000, 300) if quick else (100_000, 10_000)
    figures = []
    with tree_of(files) as tree:
        for with_sources, reach in ((True, 3.0), (False, None)):
            found = compare(
                partial(timed, partial(by_stat, tree, with_sources=with_sources)),
                partial(timed, partial(through_cue, tree, runcue.newer(), with_sources=with_sources)),
            )
            name = f"{files:,} files up to date, {'input and output' if with_sources else 'outputs only'}"
            beside = f"os.stat of {'both' if with_sources else 'each'}"
            figures.append(
                compared("A4", name, reach, found, scale=1e6 / files, each="µs per work", beside=beside)
            )
    with tree_of(few) as tree:
        figures += against_tools(tree, rounds=3 if quick else 5)
    return figures


class Tool(NamedTuple):
    """A program that brings files up to date.

    Attributes:
        name: Of its executable.
        options: How it is called.
        file: Where it looks for its description.
        head: With what that begins; FILES stands for how many there are.
        each: What there is for each file; {name} stands for it.
        says: What it prints when nothing was to do; doit does for each file.
    """

    name: str
    options: list[str]
    file: str
    head: str
    each: str
    says: str


# All three are told each file by name, as a generator of such descriptions would; only doit computes them, as do we.
TOOLS = [
    Tool(
        "make",
        ["-r"],  # its built-in rules, which look for an RCS file of each source, would take ten times as long
        "Makefile",
        ".PHONY: all\nall:\n",
        "all: made/{name}\nmade/{name}: src/{name}\n\tcp $< $@\n",
        "Nothing to be done for 'all'",
    ),
    Tool(
        "ninja",
        [],
        "build.ninja",
        "rule copy\n  command = cp $in $out\n",
        "build made/{name}: copy src/{name}\n",
        "ninja: no work to do.",
    ),
    Tool(
        "doit",
        [],
        "dodo.py",
        """\
from shutil import copyfile

def task_copy():
    for number in range(FILES):
        name = f"{number // 1000:03}/{number:06}.txt"
        source, output = f"src/{name}", f"made/{name}"
        yield {
            "name": name,
            "file_dep": [source],
            "targets": [output],
            "actions": [(copyfile, (source, output))],
        }
""",
        "",
        "-- copy:",
    ),
]

PROGRAM = """\
from pathlib import Path
from shutil import copyfile

import runcue

ROOT = Path(__file__).parent
cue = runcue.Cue()


@cue.task(
    "copy",
    inputs=lambda work: f"{ROOT}/src/{work.params['name']}",
    outputs=lambda work: f"{ROOT}/made/{work.params['name']}",
)
def copy(work):
    copyfile(work.inputs[0], work.outputs[0])


async def main():
    cue.start()
    for number in range(FILES):
        await cue.submit("copy", params={"name": f"{number // 1000:03}/{number:06}.txt"})
    summary = await cue.drain()
    await cue.stop()
    return summary


print(runcue.run(main))
"""


def whole_process(command: list[str], tree: Tree, says: str, times: int = 1) -> float:
    """Seconds from the start of a process to its end.

    Args:
        command: What to run, in the folder of the tree.
        tree: The files.
        says: What it must print, to be believed.
        times: How often.
    """
    # A checkout may be set up not to write bytecode, and would be compiled each time; installed packages are not.
    bytecode = {"PYTHONPYCACHEPREFIX": f"{tree.root}/bytecode", "PYTHONDONTWRITEBYTECODE": ""}
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C", **bytecode}
    began = time.perf_counter()
    answer = subprocess.run(command, cwd=tree.root, env=variables, capture_output=True, text=True, check=True)
    took = time.perf_counter() - began
    assert answer.stdout.count(says) == times, answer.stdout[-1000:] + answer.stderr[-1000:]
    return took


def found_tool(tool: Tool) -> str | None:
    """Where its executable is: beside this Python's, or anywhere on the PATH."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return shutil.which(tool.name, path=os.pathsep.join(folders))


def version_of(executable: str) -> str:
    """Its version: the last word of the first line of what it says of itself, without what builders add."""
    answer = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.splitlines()[0].split()[-1].partition(".git")[0]


def against_tools(tree: Tree, *, rounds: int) -> list[Figure]:
    files = len(tree.names)
    program = Path(tree.root, "program.py")
    program.write_text(PROGRAM.replace("FILES", str(files)), encoding="utf-8")
    ours = partial(whole_process, [sys.executable, str(program)], tree, f"{files:,} skipped in ")
    name = f"{files:,} files up to date, as a whole process"
    figures = []
    for tool in TOOLS:
        executable = found_tool(tool)
        if executable is None:
            measured = [1e3 * ours() for _ in range(rounds)]
            figures.append(value("A4", f"{name}; {tool.name}: not installed", None, measured, "ms"))
            continue
        text = tool.head.replace("FILES", str(files))
        text += "".join(tool.each.replace("{name}", one) for one in tree.names)
        Path(tree.root, tool.file).write_text(text, encoding="utf-8")
        command = [executable, *tool.options]
        # Once for its notes: ninja and doit believe only in what they have made themselves.
        subprocess.run(command, cwd=tree.root, capture_output=True, check=True)
        times = files if tool.name == "doit" else 1
        found = compare(partial(whole_process, command, tree, tool.says, times), ours, rounds=rounds)
        beside = " ".join((tool.name, version_of(executable), *tool.options))
        figures.append(compared("A4", name, None, found, scale=1e3, each="ms", beside=beside))
    return figures


def by_digest(root: str, files: int) -> float:
    """Seconds for a cue of a process that knows nothing of the files."""
    return timed(partial(through_cue, Tree(root, files), runcue.digest()))


def by_hand(root: str, files: int) -> float:
    """Seconds to look at each source and output and to read each stamp."""
    tree = Tree(root, files)
    stamps = sorted(str(path) for path in Path(root, "made").rglob(".runcue-stamp-*"))
    assert len(stamps) == files
    stat = os.stat
    gc.collect()
    began = time.perf_counter()
    for source, output, stamp in zip(tree.sources, tree.outputs, stamps, strict=True):
        stat(source)
        stat(output)
        descriptor = os.open(stamp, os.O_RDONLY)
        os.read(descriptor, 8192)
        os.close(descriptor)
    return time.perf_counter() - began


def a6(*, quick: bool) -> list[Figure]:
    files = 500 if quick else 10_000
    with tree_of(files) as tree:
        time.sleep(0.1)  # sources that were changed within a tick of the clock would be read again each time
        asyncio.run(through_cue(tree, runcue.digest(), skipping=False))
        found = compare(
            partial(in_new_process, by_hand, tree.root, files),
            partial(in_new_process, by_digest, tree.root, files),
        )
    name = f"{files:,} files unchanged, digest(), in a new process"
    beside = "os.stat of both, open, read and close of the stamp"
    return [compared("A6", name, 2.5, found, scale=1e6 / files, each="µs per work", beside=beside)]
