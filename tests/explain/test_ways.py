"""The way from a work unit to its root: followed in short steps, as far as is said, and never to a wrong one."""

from __future__ import annotations

import asyncio
from math import inf
from random import Random
from typing import Any

import pytest

import runcue
from runcue import Flag
from runcue._explain import lacks, turn, waits, why
from runcue._explain.waits import Waits
from runcue._model.phases import SETTLED
from runcue._scheduling.key_holds import KeyHolds
from tests.support.virtual_time import virtual


async def nothing(work: runcue.Work) -> None:
    pass


async def forever(work: runcue.Work) -> None:
    await asyncio.sleep(1e6)


def busy() -> runcue.Cue:
    """A cue of which the only slot is taken, so that whatever is submitted stays where it is."""
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    cue.task("hog", uses="one")(forever)
    cue.task("step", uses="one")(nothing)
    cue.task("wait", uses="one")(nothing)
    cue.start()
    return cue


def waits_of(cue: runcue.Cue, **bounds: float) -> Waits:
    inquiry: Any = cue._inquiry
    found: Waits = inquiry._questions._explainer.waits(**bounds)
    return found


def step_by_step(cue: runcue.Cue, start: runcue.Work, beside: float) -> tuple[list[Any], list[Any]]:
    """The same way by single steps, each looked up: those on it, and of these those that go round."""
    one: Any = start
    way: list[Any] = []
    ways = waits_of(cue, beside=beside)
    while one is not None:
        if one in way:
            return way, way[way.index(one) :]
        way.append(one)
        one = ways.next_work(one)
    return way, []


async def tangle(cue: runcue.Cue, luck: Random) -> list[runcue.Work]:
    """Work units that wait for each other in all sorts of ways; those of them that are pending."""
    made = [Flag(f"made {number}") for number in range(120)]
    for flag in luck.sample(made, 6):
        flag.set()
    # With such none of the others is followed in the short way.
    has_later = luck.random() < 0.2
    spare = [Flag(f"spare {number}") for number in range(10)]
    handles = []
    order = list(range(len(made)))
    if luck.random() < 0.5:
        luck.shuffle(order)
    for number in order:
        # Mostly of those before, now and then of any: then some go round.
        upto = len(made) if luck.random() < 0.02 else max(number, 1)
        near = made[max(0, number - 3) : upto]
        inputs = luck.sample(near, min(len(near), luck.choice((1, 1, 1, 2, 6)))) if number else []
        if luck.random() < 0.1:
            inputs.append(luck.choice(spare))
        options: dict[str, Any] = {}
        if luck.random() < 0.05:
            options["lane"] = luck.choice("ab")
        if has_later and luck.random() < 0.05:
            options["delay"] = 3600
        # If there is a second one, it joins the first.
        alike = range(luck.choice((1, 1, 1, 1, 2)))
        handles += [await cue.submit("step", inputs=inputs, outputs=made[number], **options) for _ in alike]
        if luck.random() < 0.05:
            await asyncio.sleep(1)
    await asyncio.sleep(5)
    for handle in luck.sample(handles, 8):
        await cue.cancel(handle)
    if luck.random() < 0.5:
        await asyncio.sleep(5)
    return [handle.work for handle in handles if handle.work._phase != SETTLED]


@pytest.mark.parametrize("seed", range(8))
@virtual
async def test_the_short_way_leads_where_single_steps_do(seed: int) -> None:
    cue = busy()
    await cue.submit("hog")
    luck = Random(seed)
    pending = await tangle(cue, luck)
    cue.why()
    lengths = set()
    for work in pending:
        for beside in (0, 40, inf):
            expected, cycle = step_by_step(cue, work, 0 if beside == 0 else inf)
            if beside != 40:
                assert waits_of(cue, beside=beside).way_from(work) == (expected, cycle, False)
            bound = luck.randrange(1, 12)
            way = waits_of(cue, beside=0 if beside == 0 else inf, links=bound).way_from(work)
            assert way.works == expected[: len(way.works)]
            assert len(set(way.works)) == len(way.works)
            if way.goes_on:
                assert len(way.works) == bound < len(expected)
            else:
                assert (way.works, way.cycle) == (expected, cycle)
        lengths.add(len(expected))
    assert max(lengths) > 5
    await cue.stop(drain=False, timeout=1)


@virtual
async def test_a_chain_longer_than_is_followed_is_told_as_at_least_and_all_at_once_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(why, "_LINKS", 30)
    cue = busy()
    hog = await cue.submit("hog")
    before: list[Flag] = []
    handles = []
    for number in range(50):
        made = Flag(f"made {number}")
        handles.append(await cue.submit("step", inputs=before, outputs=made))
        before = [made]
    await asyncio.sleep(1)
    far = cue.why(handles[-1])
    assert far.goes_on
    assert far.verdict == "waiting for an artifact"
    assert far.chain == tuple(handle.work for handle in reversed(handles[-30:]))
    assert far.root is not None
    assert (far.root.work, far.root.goes_on, far.root.verdict) == (far.chain[-1], True, far.verdict)
    told = str(far).splitlines()
    assert told[2:] == [
        "  through at least 29 other work units, of which the last that was looked at waits, too:",
        f"  step {far.chain[-1].id}: waiting for an artifact, for 1 s",
        f"    Flag('made 19') is not set; step {handles[19].work.id} makes it (pending)",
        "    Ask cue.why() without a work unit: it follows all that wait to the end.",
    ]
    near = cue.why(handles[29])
    assert not near.goes_on
    assert near.root is not None
    assert near.root.work == handles[0].work
    assert "through 28 other work units, in the end because of" in str(near)
    assert f"hog {hog.work.id}" in str(cue.why())
    assert "at least" not in str(cue.why())
    assert "(through 48 others) because of" in cue.debug_blocked()[-1]["details"]
    await cue.stop(drain=False, timeout=1)


@pytest.mark.parametrize("kind", ["nobody", "some", "all"])
@virtual
async def test_of_more_inputs_than_are_looked_through_the_others_are_counted(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lacks, "_MADE", 150)
    monkeypatch.setattr(waits, "_MOST_WANTED", 120)
    cue = busy()
    hog = await cue.submit("hog")
    inputs = [Flag(f"input {number}") for number in range(400)]
    for one in inputs if kind == "all" else inputs[-5:] if kind == "some" else ():
        await cue.submit("step", outputs=one)
    reader = await cue.submit("wait", inputs=inputs, outputs=Flag("end"))
    follower = await cue.submit("wait", inputs=Flag("end"))
    await asyncio.sleep(1)
    told = cue.why(reader)
    assert len(told.missing) <= 100
    assert len({id(one.artifact) for one in told.missing}) == len(told.missing)
    assert len(told.missing) + told.more_missing + told.unasked == 400
    assert "and at least" in str(told)
    assert cue.why(follower).chain[:2] == (follower.work, reader.work)
    if kind == "nobody":
        assert told.root is None
        assert {one.state for one in told.missing} == {"nobody"}
    if kind == "some":
        # It is held by who makes the last of them, however far back that stands.
        assert inputs[-1] in [one.artifact for one in told.missing]
    if kind == "all":
        assert told.root is not None
        assert f"hog {hog.work.id}" in told.root.details
    await cue.stop(drain=False, timeout=1)


@virtual
async def test_of_very_many_holders_some_tell_when_a_slot_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    cue = runcue.Cue()
    cue.service("many", concurrent=60)

    @cue.task("step", uses="many")
    async def step(work: runcue.Work) -> None:
        await asyncio.sleep(60)

    async with cue:
        handles = []
        for _ in range(60):
            handles.append(await cue.submit("step"))
            await asyncio.sleep(1)
        handles += [await cue.submit("step") for _ in range(300)]
        await asyncio.sleep(100)
        asked = [handles[180], handles[250], handles[-1]]
        exact = [cue.why(one).eta for one in asked]
        monkeypatch.setattr(turn, "_ENDS", 10)
        some = [cue.why(one).eta for one in asked]
        assert exact[:2] == [20, 90]
        assert None not in (*exact, *some)
        for one, other in zip(exact, some, strict=True):
            assert 0 <= one - other <= 6  # type: ignore[operator]
        await cue.stop(drain=False)


@virtual
async def test_holders_are_found_by_their_line_and_not_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cue = runcue.Cue()
    cue.service("user", concurrent=1, per=lambda user: user)
    cue.service("total", concurrent=300)
    cue.service("apart", concurrent=5)
    cue.task("ask", uses=["user", "total"])(forever)
    cue.task("other", uses="apart")(forever)
    async with cue:
        handles = [await cue.submit("ask", {"user": number % 300}) for number in range(600)]
        apart = [await cue.submit("other") for _ in range(6)]
        await asyncio.sleep(1)
        looked = []
        keys_of = KeyHolds.keys_of

        def counted(self: KeyHolds, work: runcue.Work) -> Any:
            looked.append(work)
            return keys_of(self, work)

        monkeypatch.setattr(KeyHolds, "keys_of", counted)
        told = cue.why(handles[-1])
        assert told.held_by == (handles[299].work,)
        assert f"held by ask {handles[299].work.id}" in told.details
        assert len(looked) < 30
        assert cue.why(apart[-1]).held_by == tuple(one.work for one in apart[:-1])
        await cue.stop(drain=False, timeout=1)
