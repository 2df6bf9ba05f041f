"""Handlers for processes, which have to be found there by their names.

Must not know: what is tested.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import ctypes
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

SAID: contextvars.ContextVar[str] = contextvars.ContextVar("SAID", default="nothing")

begun: list[str] = []
"""What initializers have noted in this process."""


def who() -> int:
    """The process that this runs in."""
    return os.getpid()


def loaded() -> list[str]:
    """The modules of runcue that there are in this process."""
    return sorted(name for name in sys.modules if name.partition(".")[0] == "runcue")


def meet(folder: str, others: int) -> int:
    """Wait until so many of these run at once, for a while."""
    Path(folder, str(os.getpid())).touch()
    until = time.monotonic() + 10
    while len(list(Path(folder).iterdir())) < others:
        if time.monotonic() > until:
            raise TimeoutError("the others do not come")
        time.sleep(0.002)
    return os.getpid()


def read_input() -> str:
    """What there is to be read."""
    return sys.stdin.read()


def end_by(what: str, beginning: str = "") -> None:
    """Let this process end."""
    if beginning:
        Path(beginning).touch()
    if what == "exit":
        os._exit(3)
    if what == "segfault":
        ctypes.string_at(0)
    if what == "closing":
        os.closerange(3, 1000)
        time.sleep(60)
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(seconds: float, beginning: str = "") -> str:
    """Take time."""
    if beginning:
        Path(beginning).write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(seconds)
    return "slept"


def leave_a_child(note: str, *, forked: bool) -> None:
    """Start a process, note which, and die before that has ended."""
    child = os.fork() if forked else subprocess.Popen(["sleep", "60"]).pid
    if not child:
        time.sleep(60)
        os._exit(0)
    Path(note).write_text(f"{os.getpid()} {child}", encoding="utf-8")
    time.sleep(60)


def fork_and_die(note: str) -> None:
    """Fork, and be killed."""
    if not os.fork():
        os.setsid()  # where nobody kills it
        time.sleep(3)
        os._exit(0)
    Path(note).touch()
    os.kill(os.getpid(), signal.SIGKILL)


def fork_and_return() -> tuple[int, str]:
    """Fork, and tell how the child has ended, which returns as well."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 2)
        return 0, "of the child"
    os.close(writing)
    said = b""
    while part := os.read(reading, 1_000):
        said += part
    os.close(reading)
    return os.waitpid(child, 0)[1], said.decode()


def interrupt() -> str:
    """Be interrupted as by a terminal."""
    os.kill(os.getpid(), signal.SIGINT)
    done = subprocess.run(
        [sys.executable, "-c", "import signal; print(signal.getsignal(2))"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def log(levels: list[int]) -> None:
    """Say something to the log, of each of these levels."""
    for level in levels:
        logging.getLogger("tests.in_processes").log(
            level, "of %s", level, extra={"odd": threading.Lock(), "even": 2}
        )


def log_an_error() -> None:
    """Say to the log what was raised."""
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("tests.in_processes").exception("it went wrong")


def said() -> str:
    """What a context variable says here."""
    return SAID.get()


def where(to: str = "") -> str:
    """The working folder, and go to another one."""
    here = str(Path.cwd())
    if to:
        os.chdir(to)
    return here


def prepare() -> None:
    """An initializer."""
    begun.append("prepared")


def prepare_badly() -> None:
    """An initializer that fails the first time."""
    begun.append("tried")
    if len(begun) == 1:
        raise OSError("no model yet")


def what_has_begun() -> list[str]:
    """What initializers have done in this process."""
    return begun


def also_what_has_begun() -> list[str]:
    """The same, for another task."""
    return begun


def size(content: bytes) -> bytes:
    """Much in and much out."""
    return content[::-1]


def note_the_end(path: str) -> None:
    """Have something done when this process ends by itself."""
    atexit.register(Path(path).touch)


def fail(error: Any) -> None:
    """Raise."""
    raise error


def make(work: Any, number: int, folder: str) -> int:
    """Note that it was begun, and write something in several steps."""
    note = os.open(Path(folder, "begun"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(note, f"{number} {work.attempt}\n".encode())
    os.close(note)
    with work.write(work.outputs[0]) as file:
        for part in range(20):
            file.write(f"{number} {part}\n")
            file.flush()
            time.sleep(0.0002)
    return number


def let_go_of_all() -> None:
    """Close all pipes, and live on."""
    os.closerange(3, 256)
    time.sleep(60)


def have_another_do_it() -> tuple[int, int]:
    """This process, and the one in which a cue of its own has a handler run."""
    import runcue  # of others it is seen that they need none of it

    async def main() -> int:
        async with cue:
            pid: int = await (await cue.call(who))
        return pid

    cue = runcue.Cue(max_processes=1)
    cue.task(run_in="process")(who)
    return os.getpid(), asyncio.run(main())


def act(work: Any, number: int, acts: list[str], folder: str, most: int) -> int:
    """Note that it was begun, hold one of so many locks, which end with who holds them, and end as is said."""
    note = os.open(Path(folder, "begun"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(note, f"{number} {work.attempt} {os.getpid()}\n".encode())
    os.close(note)
    for place in range(most):
        slot = os.open(Path(folder, f"slot {place}"), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            os.close(slot)
    else:
        Path(folder, "too many").touch()
        return -1
    try:
        what = acts[min(work.attempt, len(acts)) - 1]
        if what == "exit":
            os._exit(3)
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep({"hang": 30, "pause": 0.02}.get(what, 0.001))
        if what == "raise":
            raise ValueError("on purpose")
        return number
    finally:
        os.close(slot)
