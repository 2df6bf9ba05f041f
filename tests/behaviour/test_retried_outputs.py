"""What attempts leave that fail: no proof, whatever they did, and in the way of nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue._artifacts.looks import is_recent
from tests.support.virtual_time import now, virtual

SOON = runcue.Retry(3, wait_initial=10, wait_exp_base=1, wait_jitter=0)


def made_before(path: Path) -> None:
    """And not so lately that one more change might look the same."""
    path.write_text("made before")
    while is_recent(path.stat(), time.time_ns()):
        time.sleep(0.001)


def making(cue: runcue.Cue, path: Path, changes: set[int], succeeds: float, retry: Any = SOON) -> list[int]:
    """A task "t" that changes its output in certain attempts, and succeeds in one. Returns which there were."""
    attempts: list[int] = []

    @cue.task("t", outputs=path, retry=retry)
    async def t(work: runcue.Work) -> None:
        attempts.append(work.attempt)
        if work.attempt in changes:
            path.write_text(f"half by {work.attempt}")  # noqa: ASYNC240 - nothing else goes on
        if work.attempt < succeeds:
            raise ValueError(f"attempt {work.attempt}")
        path.write_text("whole")  # noqa: ASYNC240

    cue.on_failure(lambda work, error: None)
    return attempts


@pytest.mark.rule(25, 32)
@pytest.mark.parametrize("changes", [{1}, {2}, {3}, {1, 2, 3}])
@virtual
async def test_what_any_of_the_attempts_has_changed_is_no_proof_though_the_later_ones_left_it_alone(
    tmp_path: Path, changes: set[int]
) -> None:
    out = tmp_path / "out"
    made_before(out)
    cue = runcue.Cue()
    attempts = making(cue, out, changes, 9)
    async with cue:
        assert (await (await cue.submit("t", force=True)).wait()).state is runcue.WorkState.FAILED
        del attempts[:]
        again = await (await cue.submit("t", retry=1)).wait()
        assert not again.skipped
    assert attempts == [1]


@pytest.mark.rule(25, 32)
@virtual
async def test_what_no_attempt_has_changed_is_as_good_as_before(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made_before(out)
    cue = runcue.Cue()
    making(cue, out, set(), 9)
    async with cue:
        await (await cue.submit("t", force=True)).wait()
        assert (await (await cue.submit("t")).wait()).skipped


@pytest.mark.rule(25, 27, 32)
@virtual
async def test_between_attempts_readers_wait_and_what_is_half_made_skips_nobody(tmp_path: Path) -> None:
    out = tmp_path / "out"
    cue = runcue.Cue()
    attempts = making(cue, out, {1}, 2)
    read = []

    @cue.task("reader", inputs=out)
    async def reader(work: runcue.Work) -> None:
        read.append((now(), out.read_text()))

    @cue.task("stranger")
    async def stranger(work: runcue.Work) -> None:
        read.append((now(), "a stranger"))

    async with cue:
        maker, _ = await cue.submit("t"), await cue.submit("reader")
        await cue.submit("stranger")
        assert not (await maker.wait()).skipped, "half of it is there as its next attempt is due"
    assert attempts == [1, 2]
    assert read == [(0.0, "a stranger"), (10.0, "whole")]


@pytest.mark.rule(25, 32)
@virtual
async def test_what_somebody_has_made_right_between_two_attempts_is_taken(tmp_path: Path) -> None:
    out = tmp_path / "out"
    cue = runcue.Cue()
    attempts = making(cue, out, {1}, 9)
    cue.on_retry(lambda work, error, delay: runcue.atomic_write(out, "by hand"))
    async with cue:
        handle = await cue.submit("t")
        assert (await handle.wait()).skipped
    assert (attempts, out.read_text()) == ([1], "by hand")


PROGRAM = """
import asyncio, os, signal, sys
from pathlib import Path
import runcue

async def main():
    cue = runcue.Cue()
    out = Path(sys.argv[1])

    @cue.task("t", outputs=out, retry=runcue.Retry(9, wait_initial=0, wait_jitter=0))
    async def t(work):
        if work.attempt == 1:
            out.write_text("half")
        raise ValueError(work.attempt)

    @cue.on_retry
    def kill(work, error, delay):
        if work.attempt == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

    async with cue:
        await cue.submit("t")

asyncio.run(main())
"""


@pytest.mark.rule(25, 32)
@pytest.mark.parametrize("next_attempt", ["2", "4"])
async def test_a_kill_between_two_attempts_leaves_no_proof(tmp_path: Path, next_attempt: str) -> None:
    out = tmp_path / "out"
    ended = subprocess.run(  # noqa: ASYNC221 - nothing else goes on
        [sys.executable, "-c", PROGRAM, str(out), next_attempt],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert out.read_text() == "half"
    cue = runcue.Cue()
    making(cue, out, set(), 1)
    async with cue:
        assert not (await (await cue.submit("t")).wait()).skipped
        assert (await (await cue.submit("t")).wait()).skipped
    assert out.read_text() == "whole"


class SlowDisk:
    """The first flush takes until it is let go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.go_on = threading.Event(), threading.Event()
        self._flush = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        if not self.entered.is_set():
            self.entered.set()
            assert self.go_on.wait(30)
        self._flush(descriptor)


@pytest.mark.rule(25, 30)
async def test_the_next_attempt_waits_for_the_disk_that_the_last_one_has_timed_out_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    cue = runcue.Cue()
    attempts = []
    retry = runcue.Retry(2, wait_initial=0, wait_jitter=0)

    @cue.task("t", outputs=tmp_path / "out", timeout=1, retry=retry)
    async def t(work: runcue.Work) -> None:
        attempts.append(work.attempt)
        with work.write(work.outputs[0]) as file:
            file.write(f"attempt {work.attempt}")

    async with cue:
        handle = await cue.submit("t")
        while not handle.work.cancelled:  # its time is over
            await asyncio.sleep(0.01)
        assert disk.entered.is_set()
        assert attempts == [1]
        disk.go_on.set()
        assert (await handle.wait()).attempt == 2
    assert handle.work.exception is None
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out"]  # noqa: ASYNC240
    assert (tmp_path / "out").read_text() == "attempt 2"


@pytest.mark.rule(17, 28)
async def test_who_is_cancelled_while_the_disk_is_waited_for_holds_its_slot_until_that_is_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    cue = runcue.Cue()
    cue.service("disk", concurrent=1)

    @cue.task("t", uses="disk", outputs=tmp_path / "out")
    async def t(work: runcue.Work) -> None:
        with work.write(work.outputs[0]) as file:
            file.write("whole")

    async with cue:
        first = await cue.submit("t")
        while not disk.entered.is_set():
            await asyncio.sleep(0.001)
        assert first.cancel()
        assert first.done()
        again = await cue.submit("t")
        await asyncio.sleep(0.05)
        assert (cue.services()[0].in_use, again.state) == (1, runcue.WorkState.PENDING)
        assert not (tmp_path / "out").exists()
        disk.go_on.set()
        assert (await again.wait()).exception is None
    assert (tmp_path / "out").read_text() == "whole"
