"""Each situation in which users ask "why?": the true cause is named, with its numbers, places and the next step."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import pytest

from runcue.testing import VirtualTimeLoop
from tests.support.situations import REAL, SITUATIONS

HERE = r"\(\S*situations\.py:\d+\)"

# What print(cue.why(...)) has to say, as patterns: the verdict and the cause, and what to do.
WHY = {
    "missing producer": [
        r"no producer, for 1 s",
        r"File\('loaf'\).* missing",
        "Submit the work unit that makes it",
    ],
    "missing producer, of what is_ready looks at": ["no producer", r"File\('loaf'\).* missing", "cue.nudge"],
    "dependency cycle": [
        "egg 2: cycle",
        "egg 2 waits for hen 1",
        r"Cut first what hen 1 needs of egg 2: File\('egg'\)",
    ],
    "upstream failed": [
        "upstream failed",
        "bake 1.* failed: the oven is cold",
        "Mend that, and submit bake 1 again",
    ],
    "upstream cancelled": [
        "upstream failed",
        rf"bake 1, .* was cancelled by upstream_cancelled {HERE}",
        r"Submit bake 1 again",
    ],
    "rate used up": ["waiting for rate, for 1 s", "openai: 1/min is used up", "rate="],
    "slot held by a slow handler": [
        r"waiting for a slot, for 2\.5 s",
        r"query 4 has run for 2\.5 s and holds the slot that query 5 needs",
        r"query usually takes about 0\.3 s",
        rf"query 4 is at \S*query {HERE}",
        "timeout=",
    ],
    "slot held by a thread that hangs": [
        r"query 1 \(timed out 1.* s ago, by timeout=0\.05; its handler has not returned\)",
        r"query 1 has run for 1",
        rf"query 1 is at \S*query {HERE}",
        "timeout=",
    ],
    "is_ready raises": [
        rf"is_ready raised KeyError: 'loaf', in \S*there_is_a_loaf {HERE}",
        "Mend that callback",
    ],
    "is_ready False for ever, opaque": [rf"there_is_a_loaf {HERE} returned False", "Let it say why not"],
    "is_ready False with a reason": [
        rf"the loaf is still hot, by \S*there_is_a_loaf {HERE}",
        r"cue\.nudge\(\)",
    ],
    "waits for its next attempt": [
        "call 1: waiting for a retry, for 1 s",
        "attempt 2 of 5 in 11 s, after TimeoutError: the service did not answer",
    ],
    "is for later": ["mail 1: waiting for its time", r"it is for later, at \d\d:\d\d:\d\d, in "],
    "async gate hangs": [
        r"being asked, for 1\.6 s",
        rf"its is_ready \S*there_is_a_loaf {HERE} has been awaited for 1\.6 s; after 30 s, in 28\.4 s",
        "time-out",
    ],
    "several services, one of them full": [
        "oven: the only slot is in use; roast 1 has run for 1 s",
        "gas: the only slot is in use; fry 2 has run for 1 s",
        "shop: 1/min is used up",
    ],
    "handler awaits a work unit that needs its slot": [
        "deadlock",
        r"dinner 1 waits for roast 2; roast 2 needs a slot \(oven: the only slot is in use, held by dinner 1\)",
        "Give oven more slots",
    ],
    "low priority, starved": ["patient 2: waiting for a slot, for 6 s", "oven: the only slot is in use"],
    "output older than its input": [r"it ran because its output File\('loaf'\).* not newer than its input"],
    "digest: content changed": [r"its input File\('dough'\).* has other content"],
    "max_age is over": [r"File\('dough'\).* is 3 days old, which is more than its max_age of 24 h"],
    "artifact there but not valid": [r"File\('dough'\).* is not valid"],
    "path that nobody will ever make": [r"File\('page-1\.png'\).* missing"],
    "stale downstream": ["completed"],
    "joined another": [
        "it settled with bake 1, which it had joined",
        r"bake 1: completed",
        r"it ran because its output File\('loaf'\) was missing",
    ],
    "skipped though a run was expected": ["skipped", "it was up to date", "force=True"],
}

# What is told unasked, within a second.
TOLD = {
    "missing producer": "No producer: slice 1: ",
    "missing producer, of what is_ready looks at": "No producer: slice 1: ",
    "dependency cycle": "Cycle: .* Cut first what hen 1 needs of egg 2",
    "is_ready raises": rf"Stuck: slice 1: is_ready raised KeyError: 'loaf', in \S*there_is_a_loaf {HERE}",
    "is_ready False for ever, opaque": rf"Stuck: slice 1: .*there_is_a_loaf {HERE} returned False",
    "is_ready False with a reason": "Stuck: slice 1: is_ready said no: the loaf is still hot",
    "handler awaits a work unit that needs its slot": "Deadlock: dinner 1 waits for roast 2",
    "max_age is over": r"No producer: bake 1: .* is 3 days old",
    "artifact there but not valid": "No producer: bake 1: .* is not valid",
    "path that nobody will ever make": "No producer: read 1: ",
    "stale downstream": r"Stale downstream: slice 2: File\('slices'\) was made from the File\('loaf'\) before",
}


def asked_after_a_second(name: str) -> str:
    """Plant a situation, and ask a second later."""

    async def main() -> str:
        planted = await SITUATIONS[name]()
        await asyncio.sleep(1)
        found = str(planted.cue.why(planted.work))
        logging.disable()
        try:
            await planted.end()
        finally:
            logging.disable(logging.NOTSET)
        return found

    with asyncio.Runner(loop_factory=None if name in REAL else VirtualTimeLoop) as runner:
        return runner.run(main())


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_true_cause_is_named_with_the_next_step(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    text = asked_after_a_second(name)
    for pattern in WHY[name]:
        assert re.search(pattern, text), f"{pattern!r} is not in:\n{text}"
    assert all(len(line) <= 600 for line in text.splitlines())
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    if name in TOLD:
        assert [message for message in told if re.search(TOLD[name], message)], told
