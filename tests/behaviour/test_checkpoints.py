"""A plain handler that nobody waits for any more, and asks for that: `work.checkpoint()`."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from pathlib import Path

import pytest

import runcue
from runcue import File
from runcue.testing import Recorder, run
from tests.support.loops import each_loop, run_on


async def settled_in_its_thread(cue: runcue.Cue) -> None:
    """Until no handler is in flight any more."""
    while cue._dispatcher.in_flight.works or cue._dispatcher.in_flight.late:
        await asyncio.sleep(0.001)


@pytest.mark.rule(17, 21)
@pytest.mark.parametrize("how", ["cancelled", "timed out", "stopped"])
@each_loop
def test_a_checkpoint_leads_out_of_a_handler_that_nobody_waits_for(
    how: str, loop: str, tmp_path: Path
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("one", concurrent=1)
        entered = threading.Event()
        raised: list[BaseException] = []

        @cue.task("t", uses="one", outputs=File(tmp_path / "out"))
        def t(work: runcue.Work) -> None:
            entered.set()
            # On a slow machine it is over by now.
            with suppress(runcue.UsageError), work.write(work.outputs[0]) as file:
                file.write("half")
            try:
                while True:
                    work.checkpoint()
            except runcue.WorkCancelled as error:
                raised.append(error)
                raise

        cue.task("next", uses="one")(lambda work: "done")
        recorder = Recorder(cue)
        cue.start()
        handle = await cue.submit("t", timeout=0.05 if how == "timed out" else None)
        await asyncio.to_thread(entered.wait)
        if how == "stopped":
            await cue.stop(timeout=0)
        else:
            if how == "cancelled":
                handle.cancel()
            await handle.wait()
            assert await (await cue.submit("next")).result() == "done"  # its slot is free again
        await settled_in_its_thread(cue)
        assert len(raised) == 1
        assert f"t {handle}" in str(raised[0])
        assert recorder.of(handle) == ["start", "failure" if how == "timed out" else "cancel"]
        assert not (tmp_path / "out").exists()
        await cue.stop()

    run_on(loop, main)


@pytest.mark.rule(17)
def test_a_checkpoint_does_nothing_as_long_as_somebody_waits() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("t", outputs=runcue.Flag("made"))
            async def t(work: runcue.Work) -> str:
                await asyncio.sleep(10)
                work.checkpoint()
                work.outputs[0].set()
                return "done"

            leader, follower = await cue.submit("t"), await cue.submit("t")
            await asyncio.sleep(5)
            leader.cancel()  # it runs for the other one from here on
            assert await follower.result() == "done"
            follower.work.checkpoint()

    run(main)


@pytest.mark.rule(17)
def test_a_checkpoint_raises_in_an_async_handler_as_well() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            raised: list[str] = []

            @cue.task("t")
            async def t(work: runcue.Work) -> None:
                await cue.cancel(work)
                try:
                    work.checkpoint()
                except runcue.WorkCancelled as error:
                    raised.append(str(error))
                    raise

            handle = await cue.submit("t")
            assert (await handle.wait()).state is runcue.WorkState.CANCELLED
            assert len(raised) == 1

    run(main)
