"""A process that ends between any two steps of a publication: what the next one believes then.

A child runs one work unit and is killed with SIGKILL at the n-th system call after its handler has done its work, for
each n until there is none any more; or the work unit is cancelled there. Meanwhile its input has changed, or not.
Another process then does the same again, undisturbed: whatever it runs or skips, the output must be of the present
input.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runcue._artifacts import temp_files
from tests.support.programs import environment

pytestmark = pytest.mark.skipif(not temp_files.CLAIMS, reason="no fcntl here: nothing is killed like this")

PROGRAM = '''
import asyncio, importlib, os, pkgutil, signal, sys, threading, traceback
import runcue

# Loaded by then: to import takes system calls of its own, and time in each of the processes.
for module in pkgutil.walk_packages(runcue.__path__, "runcue."):
    if module.name.startswith("runcue._"):
        importlib.import_module(module.name)

how, meanwhile, policy, where, ending = sys.argv[1:]
OLD = 1_600_000_000
CALLS = "open close write fsync utime stat lstat replace unlink mkdir scandir readlink chmod".split()


def touch_input(text, at=None):
    with open("in", "w") as file:
        file.write(text)
    if at is not None:
        os.utime("in", (at, at))


def change():
    if meanwhile == "changed":
        touch_input("2")
    elif meanwhile == "replaced":  # by another one that is older, as `mv` and `cp -p` do
        with open("other", "w") as file:
            file.write("2")
        os.utime("other", (OLD + 1, OLD + 1))
        os.replace("other", "in")


def body(work, between):
    with open("in") as file:
        text = file.read()
    between()
    if how == "write":
        with work.write("out", durable=False) as file:
            file.write(text)
    elif how == "durable":
        with work.write("out") as file:
            file.write(text)
    elif how == "atomic":
        runcue.atomic_write("out", text, durable=False)
    else:
        with open("out", "w") as file:
            file.write(text)


def run(between, after):
    """Runs the work unit once; the functions are called in its handler. Returns whether it was skipped."""
    cue = runcue.Cue()

    def handler(work):
        body(work, between)
        after(cue, work)

    async def async_handler(work):
        handler(work)

    cue.task("make", inputs="in", outputs="out", fresh=getattr(runcue, policy)())(
        handler if where == "thread" else async_handler
    )

    async def main():
        async with cue:
            done = await cue.submit("make")
            await cue.drain()
            await done.wait()
            return done.work.skipped

    return asyncio.run(main())


def disturb(cue, work, number):
    """Has something happen at a system call that comes later. Prints "more" if it came to that."""
    made = 0

    def counted(real):
        def call(*args, **named):
            nonlocal made
            made += 1
            if made == number:
                os.write(1, b"more\\n")
                if ending == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                cancelled = threading.Event()

                def cancel():
                    asyncio.ensure_future(cue.cancel(work.id)).add_done_callback(lambda _: cancelled.set())

                cue._dispatcher.turns.loop.call_soon_threadsafe(cancel)
                cancelled.wait(0.02)  # it may have to wait for this very thread
            return real(*args, **named)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def forked(action):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def first(number):
    run(change, lambda cue, work: disturb(cue, work, number))


def second():
    ran = []
    skipped = run(lambda: ran.append(1), lambda *_: None)
    with open("in") as one, open("out") as other:
        wanted, got = one.read(), other.read()
    assert got == wanted, f"{'skipped' if skipped else 'ran'}, {got!r} is not of {wanted!r}"
    assert skipped is not bool(ran)


for number in range(1, 1000):
    os.makedirs(str(number))
    os.chdir(str(number))
    with open("out", "w") as file:
        file.write("0")
    os.utime("out", (OLD - 1, OLD - 1))
    touch_input("1", OLD)
    reading, writing = os.pipe()
    kept = os.dup(1)
    os.dup2(writing, 1)
    forked(lambda: first(number))
    os.dup2(kept, 1)
    os.close(kept)
    os.close(writing)
    more = os.read(reading, 100)
    os.close(reading)
    assert forked(second) == 0, f"after the end at system call {number}"
    os.chdir("..")
    if not more:
        print(number - 1)
        break
'''


@pytest.mark.rule(30)
@pytest.mark.parametrize(
    ("how", "meanwhile", "policy", "where", "ending"),
    [
        ("write", "changed", "newer", "thread", "kill"),
        ("write", "replaced", "newer", "loop", "kill"),
        ("durable", "nothing", "newer", "thread", "kill"),
        ("open", "changed", "newer", "thread", "kill"),
        ("atomic", "replaced", "newer", "loop", "kill"),
        ("write", "changed", "digest", "thread", "kill"),
        ("write", "changed", "newer", "thread", "cancel"),
        ("open", "replaced", "newer", "thread", "cancel"),
    ],
)
def test_whatever_a_process_ends_at_the_next_one_believes_no_output_that_is_stale(
    tmp_path: Path, how: str, meanwhile: str, policy: str, where: str, ending: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, how, meanwhile, policy, where, ending],
        cwd=tmp_path,
        # In development mode asyncio looks at source files, and so does coverage: each of them a system call more.
        env={name: value for name, value in environment().items() if not name.startswith("COVERAGE")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert int(ended.stdout.split()[-1]) > 3  # or nothing was disturbed, and this has shown nothing
