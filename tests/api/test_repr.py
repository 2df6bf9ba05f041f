"""`repr(cue)` says what it is and what it holds."""

from __future__ import annotations

import asyncio

import pytest

import runcue
from runcue.testing import run


def test_a_cue_says_what_was_described_and_what_it_holds() -> None:
    async def main() -> list[str]:
        cue = runcue.Cue()
        said = [repr(cue)]
        cue.service("api", concurrent=1)

        @cue.task("call", uses="api")
        async def call(work: runcue.Work) -> None:
            await asyncio.sleep(1)
            if work.params.get("fails"):
                raise ValueError("on purpose")

        cue.is_stale(lambda work: not work.params.get("done"))
        cue.on_failure(lambda work, error: None)
        for params in ({}, {"fails": True}, {"done": True}, *({} for _ in range(1500))):
            await cue.submit("call", params=params)
        said.append(repr(cue))
        cue.start()
        await asyncio.sleep(2.5)
        said.append(repr(cue))
        stopping = asyncio.create_task(cue.stop(drain=False))
        await asyncio.sleep(0.1)
        said.append(repr(cue))
        await stopping
        said.append(repr(cue))
        return said

    assert run(main) == [
        "<Cue not started: 0 services, 0 tasks; no work yet>",
        "<Cue not started: 1 service, 1 task; 1,503 pending>",
        "<Cue started: 1 service, 1 task; 1,499 pending, 1 running, 1 completed, 1 skipped, 1 failed>",
        "<Cue stopping: 1 service, 1 task; 1 running, 1 completed, 1 skipped, 1 failed, 1,499 cancelled>",
        "<Cue stopped: 1 service, 1 task; 2 completed, 1 skipped, 1 failed, 1,499 cancelled>",
    ]


def test_a_cue_whose_scheduler_has_failed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> str:
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)
        cue.start()
        cue._dispatcher.turns.fail(ZeroDivisionError("planted"))
        return repr(cue)

    assert run(main) == "<Cue failed: 0 services, 1 task; no work yet>"
