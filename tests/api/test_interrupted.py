"""What Ctrl-C means to programs that are not async, in real processes with real signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.programs import SECONDS, start_python

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals to child processes")

HEAD = """
import os, signal, sys, threading, time
import runcue

def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n"); sys.stdout.flush()

go_on = threading.Event()
cue = runcue.Cue()
cue.service("two", concurrent=2)
cue.on_start(lambda work: say("started"))

@cue.task(uses="two")
def fetch(n: int) -> int:
    while not (go_on.is_set() or work_is_cut()):
        time.sleep(0.005)
    return n

def work_is_cut():
    return cue._stopping.level == 4

def finish():
    while not cue._stopping.shut:
        time.sleep(0.005)
    go_on.set()
"""


@contextmanager
def program(source: str) -> Iterator[subprocess.Popen[str]]:
    text = HEAD + textwrap.dedent(source)
    options = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with start_python("-c", text, stderr=subprocess.STDOUT, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], line: str, times: int = 1) -> None:
    assert process.stdout is not None
    said = []
    for one in process.stdout:
        said.append(one)
        times -= line in one
        if not times:
            return
    pytest.fail(f"it ended without {line!r}: {said}")


def end(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT), said
    assert said.splitlines()[-1] == "KeyboardInterrupt", said
    return said


IN_A_MAP = """
with runcue.blocking(cue) as b:
    try:
        for work in b.map(fetch, range(100)):
            pass
    finally:
        say("raised")
"""

IN_A_GROUP = """
with runcue.blocking(cue) as b, b.group() as group:
    for n in range(10):
        group.call(fetch, n)
    for work in group.as_completed():
        pass
"""

IN_A_RESULT = """
with runcue.blocking(cue) as b:
    handles = [b.call(fetch, n) for n in range(10)]
    b.result(handles[-1])
"""

IN_BETWEEN = """
with runcue.blocking(cue) as b, runcue.blocking(runcue.Cue()):
    for n in range(10):
        b.call(fetch, n)
    threading.Event().wait(60)
"""

AT_THE_END = """
with runcue.blocking(cue) as b:
    for n in range(10):
        b.call(fetch, n)
"""

ITS_OWN_HANDLER = """
def own(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, own)
with runcue.blocking(cue) as b:
    for n in range(10):
        b.call(fetch, n)
    threading.Event().wait(60)
"""


@pytest.mark.rule(23)
@pytest.mark.parametrize("body", [IN_A_MAP, IN_A_GROUP, IN_A_RESULT, IN_BETWEEN, AT_THE_END, ITS_OWN_HANDLER])
def test_ctrl_c_finishes_what_runs_and_starts_nothing_more(body: str) -> None:
    source = f"""
threading.Thread(target=finish, daemon=True).start()
try:
{textwrap.indent(body, "    ")}
finally:
    say(cue.counts()["completed"], "completed", cue.counts()["failed"], "failed")
"""
    with program(source) as process:
        until(process, "started", times=2)
        process.send_signal(signal.SIGINT)
        said = end(process)
    assert "2 completed 0 failed" in said
    assert "Interrupted: finishing 2 running work units. Ctrl-C again cancels them." in said
    assert "started" not in said
    assert "abandoned" not in said
    assert "CueStopped" not in said


@pytest.mark.rule(23)
def test_a_second_one_cancels_what_runs() -> None:
    with program(IN_A_MAP) as process:
        until(process, "started", times=2)
        process.send_signal(signal.SIGINT)
        until(process, "raised")
        process.send_signal(signal.SIGINT)
        assert "2 fetch" in end(process)


IN_VAIN = """
from runcue._api.interruption import Interruption

@cue.task(uses="two")
async def compute() -> None:
    threading.Thread(target=interrupt, args=Interruption._open, daemon=True).start()
    while True:
        pass

def interrupt(block):
    for number in range(1, 4):
        ctrl_c()
        while block._signals < number:  # two that come at once may be one
            time.sleep(0.005)

with runcue.blocking(cue) as b:
    try:
        b.result(b.call(compute))
    finally:
        say(Interruption._open[0]._signals, "came")
        os._exit(0)
"""


@pytest.mark.rule(23)
def test_a_third_one_brings_the_program_back_where_a_handler_computes_and_never_awaits() -> None:
    with program(IN_VAIN) as process:
        said, _ = process.communicate(timeout=SECONDS)
    assert said.splitlines()[-1] == "3 came"


WHILE_IT_BEGINS = """
cue.start = lambda start=cue.start: (start(), ctrl_c())
with runcue.blocking(cue) as b:
    say("entered")
"""


def test_while_it_begins_it_is_ended_again() -> None:
    with program(WHILE_IT_BEGINS) as process:
        said = end(process)
    assert "entered" not in said
    assert "Traceback" in said
