"""What is behind what: `cue.why()` of one work unit and of all that waits follow the same way to the same root."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import runcue
from runcue import Flag
from runcue._model.texts import words_of
from tests.support.virtual_time import virtual


async def nothing(work: runcue.Work) -> None:
    pass


async def slow(work: runcue.Work) -> None:
    await asyncio.sleep(100)


async def a_missing_input_beside_one_that_is_being_made(cue: runcue.Cue) -> tuple[runcue.WorkHandle, str]:
    cue.task("make", outputs=Flag("made"))(slow)
    cue.task("read", inputs=[Flag("made"), Flag("never")])(nothing)
    reader = await cue.submit("read")
    await asyncio.sleep(0.1)
    await cue.submit("make")
    return reader, "Flag('never')"


async def what_failed_beside_what_is_being_made(cue: runcue.Cue) -> tuple[runcue.WorkHandle, str]:
    cue.on_failure(lambda work, error: None)

    async def fail(work: runcue.Work) -> None:
        raise OSError("no space left")

    cue.task("fail", outputs=Flag("lost"))(fail)
    cue.task("make", outputs=Flag("made"))(slow)
    cue.task("read", inputs=[Flag("made"), Flag("lost")], outputs=Flag("read"))(nothing)
    cue.task("end", inputs=Flag("read"))(nothing)
    await cue.submit("read")
    await cue.submit("fail")
    reader = await cue.submit("end")
    await asyncio.sleep(0.1)
    await cue.submit("make")
    return reader, "no space left"


async def a_maker_that_awaits_what_waits_for_a_rate(cue: runcue.Cue) -> tuple[runcue.WorkHandle, str]:
    cue.service("api", rate="1/min")
    cue.task("ask", uses="api")(nothing)

    @cue.task("make", outputs=Flag("made"))
    async def make(work: runcue.Work) -> None:
        await (await cue.submit("ask"))

    cue.task("read", inputs=Flag("made"))(nothing)
    await cue.submit("ask")
    await cue.submit("make")
    return await cue.submit("read"), "1/min"


async def a_maker_that_awaits_one_that_runs(cue: runcue.Cue) -> tuple[runcue.WorkHandle, str]:
    cue.task("help")(slow)

    @cue.task("make", outputs=Flag("made"))
    async def make(work: runcue.Work) -> None:
        await (await cue.submit("help"))

    cue.task("read", inputs=Flag("made"))(nothing)
    await cue.submit("make")
    return await cue.submit("read"), "help 3"


@pytest.mark.parametrize(
    "plant",
    [
        a_missing_input_beside_one_that_is_being_made,
        what_failed_beside_what_is_being_made,
        a_maker_that_awaits_what_waits_for_a_rate,
        a_maker_that_awaits_one_that_runs,
    ],
)
@virtual
async def test_why_of_one_and_of_all_name_the_same_root(
    plant: Callable[[runcue.Cue], Awaitable[tuple[runcue.WorkHandle, str]]],
) -> None:
    cue = runcue.Cue(id_prefix="")
    cue.start()
    reader, cause = await plant(cue)
    await asyncio.sleep(0.5)
    one = cue.why(reader)
    deepest = one if one.root is None else one.root
    [group] = [group for group in cue.why().groups if reader in [work.id for work in group.examples]]
    assert (deepest.verdict, deepest.work.id) == (group.verdict, group.root.id)
    assert cause in str(one)
    assert cause in str(group)
    await cue.stop(drain=False, timeout=0)


@virtual
async def test_why_of_one_that_runs_goes_on_to_what_it_awaits() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.service("api", rate="1/min")
    cue.task("ask", uses="api")(nothing)

    @cue.task("parent")
    async def parent(work: runcue.Work) -> None:
        await (await cue.submit("ask"))

    cue.start()
    await cue.submit("ask")
    handle = await cue.submit("parent")
    await asyncio.sleep(0.5)
    why = cue.why(handle)
    assert why.verdict == "running"
    assert why.root is not None
    assert (why.root.verdict, why.root.work.task) == ("waiting for rate", "ask")
    assert "api: 1/min is used up" in str(why)
    await cue.stop(drain=False, timeout=0)


@virtual
async def test_debug_blocked_gives_the_root_and_the_next_step_of_the_first_and_of_those_that_share_it() -> (
    None
):
    cue = runcue.Cue(id_prefix="")
    made = [Flag(f"made {number}") for number in range(3001)]
    cue.task(
        "step", inputs=lambda work: made[work.params["n"]], outputs=lambda work: made[work.params["n"] + 1]
    )(nothing)
    cue.service("api", rate="1/min")
    cue.task("ask", uses="api")(nothing)
    cue.task("read", inputs="/no/such/folder/page")(nothing)
    cue.is_ready(task="wait")(lambda work: (False, "the office is closed"))
    cue.task("wait")(nothing)
    cue.start()
    for task in ("wait", "ask", "ask", "read"):
        await cue.submit(task)
    for number in range(3000):
        await cue.submit("step", params={"n": number})
    for task in ("read", "wait"):
        await cue.submit(task)
    await asyncio.sleep(1)
    found = {entry["work"].id: entry for entry in cue.debug_blocked()}
    make = (
        "Submit the work unit that makes it. If it comes from outside, wait: it is looked for again now and then, at "
        "once with cue.nudge()"
    )
    for number in ("6", "500", "2000", "3004"):
        assert "in the end" in found[number]["details"]
        assert (
            "because of step 5 (waiting for an artifact): Flag('made 0') is not set"
            in found[number]["details"]
        )
        assert found[number]["next_step"] == make
    for number in ("4", "3005"):
        assert "(the folder '/no' is missing)" in found[number]["details"]
        assert found[number]["next_step"] == "Correct the path, or submit what makes it"
    for number in ("1", "3006"):
        assert "the office is closed, by " in found[number]["details"]
        assert found[number]["next_step"].startswith("When that has come, cue.nudge()")
    assert found["3"]["next_step"].startswith("Wait; where the provider allows it, a higher rate=")
    await cue.stop(drain=False)


@pytest.mark.rule(14)
@virtual
async def test_on_a_way_of_thousands_why_asks_some_hundred_artifacts_and_names_the_root_all_the_same() -> (
    None
):
    asked: list[Asked] = []

    class Asked(runcue.Artifact):
        def __init__(self, name: str) -> None:
            self.name = name

        def valid(self) -> bool:
            asked.append(self)
            return True

    async with runcue.Cue() as cue:
        cue.service("one", concurrent=1)
        free = asyncio.Event()

        @cue.task("hog", uses="one")
        async def hog(work: runcue.Work) -> None:
            await free.wait()

        @cue.task("step", uses="one")
        async def step(work: runcue.Work) -> None:
            for output in work.outputs:
                output.set()

        await cue.submit("hog")
        await asyncio.sleep(0)
        root = await cue.submit("step", outputs=runcue.Flag("0"))
        for n in range(2_000):
            inputs = [runcue.Flag(f"{n}"), Asked(f"{n}")]
            last = await cue.submit("step", inputs=inputs, outputs=runcue.Flag(f"{n + 1}"))
        await asyncio.sleep(1)
        asked.clear()
        why = cue.why(last)
        assert why.chain[-1] == root.work
        assert len(why.chain) == 2_001
        assert 100 < len(asked) < 400
        free.set()


def test_of_a_long_value_its_ends_are_told_however_deep_it_lies() -> None:
    rows = [{"row": "x" * 50}] * 100_000
    text = words_of({"a": {"b": rows, "c": [1, [2, 3]]}})
    assert text.startswith("{'a': {'b': [{'row': 'xxx")
    assert text.endswith("'c': [1, [2, 3]]}}")
    assert words_of([[], {}, (), [1], "a", b"b", None]) == "[[], {}, (), [1], 'a', b'b', None]"
