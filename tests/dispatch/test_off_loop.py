"""What is done beside the event loop, where threads are short: it is waited for, and done in the loop at last."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue._dispatch import off_loop
from tests.support.virtual_time import virtual

pytestmark = pytest.mark.rule(37)


def allow_threads_after(refusals: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Refuse that many threads to `off_loop`. Returns when each was asked for, by the loop's clock."""
    asked: list[float] = []

    class Thread(threading.Thread):
        def start(self) -> None:
            asked.append(asyncio.get_running_loop().time())
            if len(asked) <= refusals:
                raise RuntimeError("can't start new thread")
            super().start()

    class Threading:
        pass

    monkeypatch.setattr(off_loop, "threading", Threading)
    Threading.Thread = Thread  # type: ignore[attr-defined]
    return asked


def nobody_told(began: float, ended: float) -> None:
    raise AssertionError("it did not keep the loop")


@virtual
async def test_a_thread_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = allow_threads_after(2, monkeypatch)
    there: list[int] = []
    await off_loop.off_loop(lambda: there.append(threading.get_ident()), nobody_told)
    assert there != [threading.get_ident()]
    assert len(asked) == 3
    assert asked[2] - asked[0] == pytest.approx(0.4)


@virtual
async def test_where_none_is_to_be_had_it_is_done_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_threads_after(1000, monkeypatch)
    there: list[int] = []
    await off_loop.off_loop(lambda: there.append(threading.get_ident()), nobody_told)
    assert there == [threading.get_ident()]

    def raises() -> None:
        raise StopIteration("mine")

    with pytest.raises(RuntimeError) as caught:
        await off_loop.off_loop(raises, nobody_told)
    assert isinstance(caught.value.__cause__, StopIteration)


@virtual
async def test_who_is_cancelled_while_a_thread_is_waited_for_has_nothing_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allow_threads_after(1000, monkeypatch)
    done: list[int] = []
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(off_loop.off_loop(lambda: done.append(1), nobody_told), 0.5)
    await asyncio.sleep(5)
    assert not done


@pytest.mark.rule(15)
def test_a_handler_whose_files_keep_the_loop_for_want_of_a_thread_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    allow_threads_after(1000, monkeypatch)
    monkeypatch.setattr(off_loop, "_PAUSE", 0.001)
    flush: Any = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(0.1)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    caplog.set_level(logging.WARNING, "runcue")
    cue = runcue.Cue()

    @cue.task("t", outputs=tmp_path / "o")
    async def t(work: runcue.Work) -> None:
        with work.write(work.outputs[0]) as file:
            file.write("whole")

    async def main() -> None:
        async with cue:
            await (await cue.submit("t"))

    asyncio.run(main())
    assert (tmp_path / "o").read_text() == "whole"
    told = [
        one.getMessage() for one in caplog.records if "Publishing what task 't' has made" in one.getMessage()
    ]
    assert len(told) == 1
    assert "no thread could be had for it" in told[0]
