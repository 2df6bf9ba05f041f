"""Does the installed package work where the source tree is not? `.ci/run` asks a fresh environment with only the wheel.

What lives here: one run through the face of the library, with nothing but the standard library and runcue itself. Run
it as `python -I tests/smoke.py`: isolated, so that neither this folder nor the caller's is importable.
"""

import asyncio
import importlib.metadata
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import runcue


def check_package() -> None:
    """The wheel brought both packages, their type markers, the command and nothing else; the version is told twice."""
    location = Path(runcue.__file__).resolve()
    assert location.is_relative_to(Path(sys.prefix).resolve()), (
        f"imported from {location}, not from {sys.prefix}"
    )
    assert runcue.__version__ == importlib.metadata.version("runcue")
    files = importlib.metadata.files("runcue") or []
    names = {str(file) for file in files}
    for package in ("runcue", "runcue_sim"):
        assert f"{package}/py.typed" in names, "without py.typed type checkers ignore the annotations"
    tops = {file.parts[0] for file in files if ".dist-info" not in file.parts[0] and file.parts[0] != ".."}
    assert tops == {"runcue", "runcue_sim"}, f"the wheel installs {tops}"
    outside = {file.name.removesuffix(".exe") for file in files if file.parts[0] == ".."}
    assert outside == {"runcue-sim"}, f"the wheel installs {outside} elsewhere"


async def run_pipeline() -> None:
    """Three uppercase letters, then the word: dependencies through a set, a sync and an async handler, a limit."""
    made: set[str] = set()
    threads: set[str] = set()
    cue = runcue.Cue()
    cue.service("letters", rate="100/sec", concurrent=2)

    @cue.task("letter", uses="letters")
    def letter(work: runcue.Work) -> str:
        threads.add(threading.current_thread().name)
        made.add(work.params["of"])
        return str(work.params["of"]).upper()

    @cue.task("word")
    async def word(work: runcue.Work) -> str:
        await asyncio.sleep(0)
        return "".join(sorted(made))

    @cue.is_ready
    def is_ready(work: runcue.Work) -> bool:
        return work.task == "letter" or made == set("cue")

    @cue.is_stale
    def is_stale(work: runcue.Work) -> bool:
        return work.params.get("of") not in made

    async with cue:
        joined = await cue.submit("word")
        letters = [await cue.submit("letter", params={"of": of}) for of in "cue"]
        assert [await handle.result() for handle in letters] == ["C", "U", "E"]
        assert await joined.result() == "ceu"
        again = await cue.submit("letter", params={"of": "c"})
        assert (await again.wait()).skipped
    assert threading.current_thread().name not in threads


def check_extras() -> None:
    """What takes an extra that is not installed says which."""
    cue, folder = runcue.Cue(), Path(__file__).parent
    calls: dict[str, Callable[[], object]] = {
        "watch": lambda: cue.watch(folder),
        "console": lambda: runcue.progress(cue),
    }
    for extra, call in calls.items():
        told = ""
        try:
            call()
        except runcue.ConfigurationError as error:
            told = str(error)
        assert f"pip install runcue[{extra}]" in told, told or f"{extra} works: is the extra installed?"


def main() -> None:
    """Checks the package and one pipeline, and says so in one line."""
    began = time.monotonic()
    check_package()
    check_extras()
    asyncio.run(asyncio.wait_for(run_pipeline(), timeout=30))
    where = Path(runcue.__file__).parent
    print(f"smoke: runcue {runcue.__version__} in {where} works ({time.monotonic() - began:.2f} s)")


if __name__ == "__main__":
    main()
