"""Whoever needs what many others make is asked a few times, not once after each of them, whatever their order."""

import random

import pytest

import runcue
from runcue._scheduling.holds import Holds
from runcue.testing import run

SIDE = 40


@pytest.mark.rule(1, 27)
@pytest.mark.parametrize("order", ["makers first", "readers first", "backwards", "shuffled"])
def test_a_reader_of_many_is_asked_a_few_times_whatever_the_order(
    order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    hold_of = Holds.hold_of

    def counted(self: Holds, *args: object) -> object:
        nonlocal asked
        asked += 1
        return hold_of(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Holds, "hold_of", counted)
    makers, readers = list(range(SIDE)), list(range(SIDE, 2 * SIDE))
    line = {
        "makers first": makers + readers,
        "readers first": readers + makers,
        "backwards": (makers + readers)[::-1],
        "shuffled": random.Random(3).sample(makers + readers, 2 * SIDE),
    }[order]

    async def main() -> None:
        flags = [runcue.Flag(str(number)) for number in range(SIDE)]
        done = []
        async with runcue.Cue() as cue:

            @cue.task("node")
            async def node(work: runcue.Work) -> None:
                if work.outputs:
                    flags[work.params["number"]].set()
                done.append(work.params["number"])

            for number in line:
                kind = {"outputs": flags[number]} if number < SIDE else {"inputs": flags}
                await cue.submit("node", params={"number": number}, **kind)  # type: ignore[arg-type]
        assert sorted(done[:SIDE]) == makers
        assert sorted(done[SIDE:]) == readers

    run(main())
    assert asked < 8 * SIDE
