"""What explains is loaded when something is to be explained, whatever is going on at that moment."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.support.programs import run_python

HEAD = """
import asyncio, logging, os, resource, sys
if {loop!r} == "asyncio":
    sys.modules["uvloop"] = None
import runcue

def loaded():
    return "runcue._explain.why" in sys.modules

def take_all_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
    try:
        while True:
            os.open(os.devnull, os.O_RDONLY)
    except OSError:
        pass

heard = []
class Ear(runcue.Observer):
    def warned(self, warning):
        heard.append(str(warning))

cue = runcue.Cue()
cue.service("one", concurrent=1)

"""

COMMON = """
@cue.task(outputs=lambda work: work.params["path"])
def make(work):
    with open(work.outputs[0], "w") as file:
        file.write("made")

async def main():
    async with cue:
        for _ in range(2):
            await cue.submit("make", params={"path": "made"})
            summary = await cue.drain()
    print(summary, cue.counts())

runcue.run(main)
print(loaded())
"""

IN_NEED = {
    "stop": """
        async def main():
            cue.task("never")(lambda work: None)
            cue.is_ready(lambda work: (False, "not yet"), task="never")
            async with cue:
                await cue.submit("never")
                take_all_descriptors()
                assert not loaded()
                summary = await cue.stop(timeout=0)
                print("not asked yet" in str(summary.blocked))
        """,
    "an unmade input": """
        async def main():
            cue.observe(Ear())
            cue.task("needs", inputs="nobody-makes-this")(lambda work: None)
            async with cue:
                await cue.submit("needs")
                take_all_descriptors()
                assert not loaded()
                await cue.drain()
                print(any("No producer" in text for text in heard))
        """,
    "a deadlock": """
        async def main():
            cue.observe(Ear())
            @cue.task(uses="one")
            async def inner(work): ...
            @cue.task(uses="one")
            async def outer(work):
                await (await cue.submit("inner"))
            async with cue:
                await cue.submit("outer")
                take_all_descriptors()
                await cue.drain()
                print(any("Deadlock" in text for text in heard))
                await cue.stop(timeout=0)
        """,
}


def run(source: str, folder: Path, loop: str = "asyncio") -> list[str]:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    done = run_python("-W", "error", "-c", HEAD.format(loop=loop) + source, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_program_in_which_nothing_waits_and_nobody_asks_loads_nothing_that_explains(tmp_path: Path) -> None:
    assert run(COMMON, tmp_path)[-1] == "False"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="takes all descriptors")
@pytest.mark.parametrize("need", IN_NEED)
def test_what_explains_is_loaded_also_when_no_file_can_be_opened_any_more(need: str, tmp_path: Path) -> None:
    program = textwrap.dedent(IN_NEED[need])
    loop = "uvloop" if need == "a deadlock" else "asyncio"
    assert run(f"{program}\nruncue.run(main)\n", tmp_path, loop)[-1] == "True"
