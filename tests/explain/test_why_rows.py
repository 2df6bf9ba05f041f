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

FOLDER = "{folder}"
DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
CLOCK = r"\d\d:\d\d:\d\d"
UNMADE = "nothing that is pending or running declares it as an output"
SUBMIT = (
    r"^  Submit the work unit that makes it\. If it comes from outside, wait: it is looked for again now and then, at "
    r"once with cue\.watch\(folder\) or cue\.nudge\(path\)\.$"
)
MORE_SLOTS = r"^  Wait; more slots let more of them run at once \(concurrent=\)\."
TWICE = r"found not ready \d times"

# What print(cue.why(...)) has to say, as patterns: since when, the cause with its numbers, callbacks and places, until
# when, and what to do.
WHY = {
    "behind others in its lane": [
        "^post 3: waiting for its lane, for 5 s$",
        r"^  third in lane 'anna', behind post 1 \(has run for 5 s\)$",
        rf"its handler runs; it is at post_for {HERE}",
    ],
    "handler awaits what comes after it in its lane": [
        "^parent 1: deadlock, for 3 s$",
        "Deadlock: parent 1 waits for child 2; child 2 needs the lane 'x', which parent 1 has$",
        "A handler must not wait for what comes after it in its lane: give that another lane=, or submit it and return",
    ],
    "missing producer": [
        rf"^slice 1: no producer, for 1 s, {TWICE}$",
        rf"File\('loaf'\) is missing \(at '{FOLDER}/loaf', from the working folder\); {UNMADE}$",
        SUBMIT,
    ],
    "missing producer, of what is_ready looks at": [
        rf"^slice 1: no producer, for 1 s, {TWICE}$",
        rf"File\('loaf'\) is missing \(at '{FOLDER}/loaf', from the working folder\); {UNMADE}$",
        SUBMIT,
    ],
    "dependency cycle": [
        "^egg 2: cycle, for 1 s$",
        r"File\('hen'\) is missing; hen 1 makes it \(pending\)",
        "a cycle: egg 2 waits for hen 1 waits for egg 2",
        r"To break it, begin with the input File\('egg'\) of hen 1: its maker, egg 2, was submitted later\.",
    ],
    "upstream failed": [
        rf"^slice 2: input not made, for 1 s, {TWICE}$",
        r"File\('loaf'\) is missing; bake 1, which was to make it, failed: the oven is cold",
        r"Mend that, then have bake 1 run again, by cue\.retry\('1'\) or a new submit\(\)\.",
    ],
    "upstream cancelled": [
        rf"^slice 2: input not made, for 1 s, {TWICE}$",
        rf"File\('loaf'\) is missing; bake 1, which was to make it, was cancelled by upstream_cancelled {HERE}",
        r"^  Have bake 1 run again, by cue\.retry\('1'\) or a new submit\(\)\.$",
    ],
    "rate used up": [
        "^ask 5: waiting for rate, for 1 s$",
        (
            r"openai: 1/min is used up, next start in 59\.0 s; ask 5 is number 4 in line, and its turn comes in 3\.98 "
            rf"min \(at {CLOCK}\)"
        ),
        "Wait; where the provider allows it, a higher rate= lets them start sooner",
    ],
    "budget used up": [
        r"^ask 2: waiting for a budget, for \d+ s$",
        (
            r"api: its budget of 90,000 tokens per min is used up: 88,200 used, needs 2,000, in 11 s; ask 2 is next in "
            rf"line, and its turn comes in 11 s \(at {CLOCK}\)$"
        ),
        r"^  Wait; where the provider allows it, a larger budget= lets it start sooner\.",
    ],
    "rate of its key used up": [
        r"^sync 4: waiting for rate, for \d+ s$",
        (
            r"crm for key 'acme': 2/min is used up, next start in 47\.0 s; sync 4 is number 2 in line, and its turn "
            rf"comes in 47 s \(at {CLOCK}\)$"
        ),
        "Wait; where the provider allows it, a higher rate= lets them start sooner",
    ],
    "paused by hand": [
        "^ask 1: paused, for 1 s$",
        (
            r"openai: paused by hand for another 9\.98 min; ask 1 is next in line, and its turn comes in "
            rf"9\.98 min \(at {CLOCK}\)$"
        ),
        r"^  Wait; cue\.get_service\('openai'\)\.resume\(\) lets it go on at once\.$",
    ],
    "server asks to wait": [
        "^ask 2: waiting for its server, for 1 s$",
        (
            r"openai: its server asks to wait for another 39 s \(retry-after\); ask 2 is next in line, and its turn "
            rf"comes in 39 s \(at {CLOCK}\)$"
        ),
        r"^  Wait; nothing that its server says pauses longer than max_pause= of the service\.$",
    ],
    "refused by its server": [
        "^ask 1: waiting for its time, for 1 s$",
        rf"^  service openai has refused it for now; it goes on at {CLOCK}, in 39 s$",
        "^  Wait: it goes on by itself; fewer slots or a lower rate= would have the server refuse less.$",
    ],
    "behind one that was refused": [
        "^ask 2: waiting for its server, for 1 s$",
        (
            r"openai: its server has refused some, one is let through in 39 s; ask 2 is next in line, and its turn "
            rf"comes in 39 s \(at {CLOCK}\)$"
        ),
        "^  Wait: the server has refused some; fewer slots or a lower rate= would have it refuse less.$",
    ],
    "breaker open": [
        "^ask 4: waiting for a limit, for 1 s$",
        (
            r"openai: its breaker is open after 3 failures in a row \(the last: ConnectionError: connection refused\); "
            rf"one is let through in 59 s; ask 4 is next in line, and its turn comes in 59 s \(at {CLOCK}\)$"
        ),
        r"^  Wait, or mend what fails; cue\.get_service\('openai'\)\.resume\(\) lets it go on at once\.$",
    ],
    "slot held by a slow handler": [
        r"^query 5: waiting for a slot, for 2\.5 s$",
        (
            r"db: the only slot is in use; query 4 has run for 2\.5 s and holds the slot that query 5 needs; "
            rf"query usually takes about 0\.3 s; query 4 is at \S*query {HERE}; query 5 is next in line, "
            rf"and when its turn comes "
            "is not known"
        ),
        r"^  Give the task query a timeout=, which ends such a handler\.$",
    ],
    "slot held by a thread that hangs": [
        r"^query 2: waiting for a slot, for \d(\.\d)? s$",
        (
            r"db: the only slot is in use, held by query 1 \(timed out \S+ s ago, by "
            r"timeout=0\.05; its handler has not "
            r"returned\); query 1 has run for \S+ s and holds the slot that query 2 needs; "
            rf"query 1 is at \S*query {HERE}; query 2 is next in line, and when its turn comes is not known"
        ),
        (
            r"^  Set a time-out on the call inside query 1 that does not return \(request, lock\): a thread cannot be "
            r"ended\.$"
        ),
    ],
    "is_ready raises": [
        r"^slice 1: not ready, for 1 s, found not ready \d times$",
        rf"is_ready raised KeyError: 'loaf', in \S*there_is_a_loaf {HERE}$",
        "Mend that callback: while it raises, the work unit is not ready",
    ],
    "is_ready False for ever, opaque": [
        r"^slice 1: not ready, for 1 s, found not ready \d times$",
        rf"is_ready said no for params {{}}: \S*there_is_a_loaf {HERE} returned False$",
        r'Let it say why not, by `return False, "reason"`; if it waits for files, let it look by runcue\.exists\(\)',
    ],
    "is_ready False with a reason": [
        r"^slice 1: not ready, for 1 s, found not ready \d times$",
        rf"is_ready said no: the loaf is still hot, by \S*there_is_a_loaf {HERE}$",
        r"When that has come, cue\.nudge\(\) has it asked at once; else it is asked again now and then",
    ],
    "waits for its next attempt": [
        r"^call 1: waiting for a retry, for 1 s",
        "attempt 2 of 5 in 11 s, after TimeoutError: the service did not answer",
    ],
    "is for later": ["^mail 1: waiting for its time", r"it is for later, at \d\d:\d\d:\d\d, in "],
    "async gate hangs": [
        r"^slice 1: being asked, for 1\.6 s$",
        (
            rf"its is_ready \S*there_is_a_loaf {HERE} has not answered for 1\.6 s; after 30 s, which is in "
            r"28\.4 s, that counts as an "
            "error, and the work unit as not ready"
        ),
        r"Give what it awaits a time-out of its own, by asyncio\.timeout\(\)",
    ],
    "several services, one of them full": [
        "^feast 4: waiting for a slot, for 1 s$",
        (
            rf"oven: the only slot is in use; roast 1 has run for 1 s and holds the slot that feast "
            rf"4 needs; roast 1 is at "
            rf"forever {HERE}; "
        ),
        (
            rf"gas: the only slot is in use; fry 2 has run for 1 s and holds the slot that feast 4 needs; fry 2 is at "
            rf"forever {HERE}; "
        ),
        r"shop: 1/min is used up, next start in 59\.0 s; feast 4 is next in line, and when its turn comes is not known",
        rf"{MORE_SLOTS} If it hangs, give the task roast a timeout=, which ends such a handler\.$",
    ],
    "handler awaits a work unit that needs its slot": [
        "^roast 2: deadlock, for 1 s$",
        (
            r"Deadlock: dinner 1 waits for roast 2; roast 2 needs a slot \(oven: the only slot is "
            r"in use, held by dinner 1\)"
        ),
        (
            r"Give oven more slots \(concurrent=\), or do not wait in a slot for what needs one: "
            r"submit and return, or wait "
            "in a task that does not use oven"
        ),
    ],
    "low priority, starved": [
        "^patient 2: waiting for a slot, for 6 s$",
        (
            r"oven: the only slot is in use; urgent 13 has run for 0\.5 s and holds the slot that "
            r"urgent 14 and 1 more need; "
            rf"urgent usually takes about 0\.5 s; urgent 13 is at \S*urgent {HERE}; patient 2 is number 2 "
            rf"in line, and its turn "
            rf"comes in about 54 s \(at {CLOCK}; 0\.5 s if no more come\)"
        ),
        (
            r"11 of higher priority that came later \(task urgent\) have passed it in the last 5\.5 s, "
            r"one every 0\.5 s; none that "
            rf"comes after {CLOCK} can pass it \(head_start=60 s\)"
        ),
        MORE_SLOTS,
    ],
    "output older than its input": [
        "^bake 1: completed 1 s ago$",
        (
            rf"it ran because its output File\('loaf'\), dated {DATE}, was not newer than its input "
            rf"File\('dough'\), dated {DATE}$"
        ),
    ],
    "digest: content changed": [
        "^bake 2: completed 1 s ago$",
        (
            r"it ran because its input File\('dough'\) has other content than when File\('loaf'\) "
            r"was made \(then 3 bytes, dated "
            rf"{DATE}\S*; now 5 bytes, dated {DATE}\S*\)$"
        ),
    ],
    "max_age is over": [
        rf"^bake 1: no producer, for 1 s, {TWICE}$",
        rf"File\('dough'\) is 3 days old, which is more than its max_age of 24 h; {UNMADE}$",
        r"^  Have it made anew, or correct its max_age=\.$",
    ],
    "artifact there but not valid": [
        rf"^bake 1: no producer, for 1 s, {TWICE}$",
        rf"File\('dough'\) is not valid: \S*has_risen {HERE} said no; {UNMADE}$",
        r"^  Have it made anew, or correct its validate=\.$",
    ],
    "path that nobody will ever make": [
        rf"^read 1: no producer, for 1 s, {TWICE}$",
        (
            rf"File\('page-1\.png'\) is missing \(at '{FOLDER}/page-1\.png', from the working "
            rf"folder; 'Page-1\.png' is there, "
            rf"beside it, with other capitals\); {UNMADE}$"
        ),
        r"Correct the path, or submit what makes it\.",
    ],
    "stale downstream": [
        "^slice 2: completed 1 s ago$",
        (
            r"it ran because its output File\('slices'\) was missing\. By now it is out of date: "
            r"File\('slices'\) is not newer "
            r"than File\('loaf'\); submit it again"
        ),
    ],
    "joined another": [
        "^bake 2: completed 1 s ago$",
        "it settled with bake 1, which it had joined",
        "  bake 1: completed 1 s ago$",
        r"its handler returned; it ran because its output File\('loaf'\) was missing",
    ],
    "skipped though a run was expected": [
        "^bake 1: skipped 1 s ago$",
        (
            r"it was up to date: File\('loaf'\) is up to date with File\('dough'\), by newer\(\), "
            r"which compares neither params nor "
            r"the code of the handler\. submit\(force=True\) runs it all the same; fresh=runcue\.digest\(\) "
            r"compares contents and "
            r"params, digest\(code=True\) the code as well"
        ),
    ],
}

# What is told unasked, within a second.
TOLD = {
    "missing producer": "No producer: slice 1: ",
    "missing producer, of what is_ready looks at": "No producer: slice 1: ",
    "dependency cycle": "Cycle: .* To break it, begin with the input File\\('egg'\\) of hen 1",
    "is_ready raises": rf"Stuck: slice 1: is_ready raised KeyError: 'loaf', in \S*there_is_a_loaf {HERE}",
    "is_ready False for ever, opaque": rf"Stuck: slice 1: .*there_is_a_loaf {HERE} returned False",
    "is_ready False with a reason": "Stuck: slice 1: is_ready said no: the loaf is still hot",
    "handler awaits a work unit that needs its slot": "Deadlock: dinner 1 waits for roast 2",
    "handler awaits what comes after it in its lane": "Deadlock: parent 1 waits for child 2; .* needs the lane 'x'",
    "max_age is over": r"No producer: bake 1: .* is 3 days old",
    "artifact there but not valid": "No producer: bake 1: .* is not valid",
    "path that nobody will ever make": "No producer: read 1: ",
    "stale downstream": r"Stale downstream: slice 2: File\('slices'\) was made from an older File\('loaf'\)",
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
        pattern = pattern.replace(FOLDER, re.escape(str(tmp_path)))
        assert re.search(pattern, text, re.MULTILINE), f"{pattern!r} is not in:\n{text}"
    # Wherever these sources lie.
    assert all(len(line) <= 500 for line in text.splitlines())
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    if name in TOLD:
        assert [message for message in told if re.search(TOLD[name], message)], told
