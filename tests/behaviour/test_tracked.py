"""Rule 4 for artifacts that a gate was seen to look at: whoever changes one wakes exactly those that looked at it."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import File, Flag
from runcue.testing import VirtualTimeLoop, run
from tests.support.calls import counted_calls

pytestmark = pytest.mark.rule(4)


class Row(runcue.Artifact):
    """A user's artifact, of one of a table's rows."""

    def __init__(self, table: set[str], name: str) -> None:
        self._table = table
        self.name = name

    def valid(self) -> bool:
        return self.name in self._table


def waiting_cue(
    looks: Callable[[runcue.Work], object], *, asked: Counter[Any], asynchronous: bool = False
) -> runcue.Cue:
    """A cue without recheck whose work units wait for what `looks` looks at; a busy one keeps it from idle rechecks."""
    cue = runcue.Cue(recheck=False)

    @cue.task("t")
    async def t(work: runcue.Work) -> None: ...

    @cue.task("busy")
    async def busy(work: runcue.Work) -> None:
        await asyncio.sleep(1000)

    def is_ready(work: runcue.Work) -> object:
        asked[work.params["n"]] += 1
        return looks(work)

    async def is_ready_later(work: runcue.Work) -> object:
        asked[work.params["n"]] += 1
        await asyncio.sleep(0)
        answer = looks(work)
        await asyncio.sleep(0)
        return answer

    cue.is_ready(task="t")(is_ready_later if asynchronous else is_ready)
    return cue


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain gate", "async gate"])
@pytest.mark.parametrize("kind", ["flag", "file", "exists", "version", "row"])
@pytest.mark.parametrize("how", ["publish", "touch", "nudge"])
def test_exactly_the_work_units_that_looked_at_an_artifact_are_asked_when_it_changes(
    kind: str, how: str, asynchronous: bool, tmp_path: Path
) -> None:
    rows: set[str] = set()
    flags = {str(n): Flag(str(n)) for n in range(10)}
    asked: Counter[Any] = Counter()

    def artifact(name: str) -> runcue.Artifact:
        return {"flag": flags[name], "row": Row(rows, name)}.get(kind) or File(tmp_path / name)

    def looks(work: runcue.Work) -> object:
        name = str(work.params["n"] % 10)
        if kind == "exists":
            return runcue.exists(tmp_path / name)
        return artifact(name).version() is not None if kind == "version" else artifact(name).valid()

    async def main() -> None:
        cue = waiting_cue(looks, asked=asked, asynchronous=asynchronous)
        cue.start()
        await cue.submit("busy")
        handles = [await cue.submit("t", params={"n": n}) for n in range(20)]
        await asyncio.sleep(1)
        before = asked.copy()
        if kind == "row":
            rows.add("3")
            artifact("3").touch() if how != "nudge" else cue.nudge(artifact("3"))
        elif kind == "flag":
            flags["3"].set() if how != "nudge" else (flags["3"].set(), cue.nudge(flags["3"]))
        elif how == "publish":
            runcue.atomic_write(tmp_path / "3", "text")
        elif how == "touch":
            File(tmp_path / "3").touch()
        else:
            (tmp_path / "3").touch()
            cue.nudge(tmp_path / "3")
        await asyncio.wait_for(asyncio.gather(handles[3].wait(), handles[13].wait()), 1)
        await asyncio.sleep(1)
        assert set((asked - before).elements()) == {3, 13}
        await cue.stop(drain=False, timeout=1)

    run(main)


def test_reads_that_change_from_one_asking_to_the_next_are_tracked_anew() -> None:
    asked: Counter[Any] = Counter()
    first, second = Flag("first"), Flag("second")

    async def main() -> None:
        cue = waiting_cue(lambda work: first.valid() and second.valid(), asked=asked)
        cue.start()
        await cue.submit("busy")
        handle = await cue.submit("t", params={"n": 1})
        await asyncio.sleep(1)
        assert asked[1] == 1
        second.set()  # not looked at yet
        await asyncio.sleep(1)
        assert asked[1] == 1
        second.clear()
        first.set()
        await asyncio.sleep(1)
        assert asked[1] == 2
        second.set()
        await asyncio.wait_for(handle.wait(), 1)
        await cue.stop(drain=False, timeout=1)

    run(main)


def test_a_change_while_an_async_gate_is_awaited_is_not_lost() -> None:
    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        flag = Flag("made meanwhile")

        @cue.task("t")
        async def t(work: runcue.Work) -> str:
            return "ran"

        @cue.task("busy")
        async def busy(work: runcue.Work) -> None:
            await asyncio.sleep(1000)

        @cue.is_ready(task="t")
        async def slow(work: runcue.Work) -> bool:
            seen = flag.valid()
            await asyncio.sleep(1)
            return seen

        cue.start()
        await cue.submit("busy")
        handle = await cue.submit("t")
        await asyncio.sleep(0.5)
        flag.set()
        assert await asyncio.wait_for(handle.result(), 5) == "ran"
        await cue.stop(drain=False, timeout=1)

    run(main)


def test_changes_by_threads_at_any_moment_wake_those_that_looked() -> None:
    async def main() -> None:
        flags = [Flag(f"{n}") for n in range(300)]
        cue = waiting_cue(lambda work: flags[work.params["n"]].valid(), asked=Counter())
        cue.start()
        await cue.submit("busy")
        threads = [
            threading.Thread(target=lambda part: [flag.set() for flag in flags[part::4]], args=(part,))
            for part in range(4)
        ]
        handles = []
        for number in range(300):
            handles.append(await cue.submit("t", params={"n": number}))
            if number % 75 == 10:
                threads[number // 75].start()
            if number % 20 == 0:
                await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*(handle.wait() for handle in handles)), 20)
        for thread in threads:
            thread.join()
        await cue.stop(drain=False, timeout=1)

    asyncio.run(main())


def test_what_one_cue_makes_wakes_the_work_units_of_another(tmp_path: Path) -> None:
    async def main() -> None:
        producer, reader = runcue.Cue(recheck=False), runcue.Cue(recheck=False)

        @producer.task("make", outputs=tmp_path / "made")
        async def make(work: runcue.Work) -> None:
            (tmp_path / "made").touch()  # not through runcue: its end is what tells

        @reader.task("read", inputs=tmp_path / "made")
        async def read(work: runcue.Work) -> str:
            return "read"

        @reader.task("busy")
        async def busy(work: runcue.Work) -> None:
            await asyncio.sleep(1000)

        async with producer:
            reader.start()
            await reader.submit("busy")
            handle = await reader.submit("read")
            await asyncio.sleep(1)
            await producer.submit("make")
            assert await asyncio.wait_for(handle.result(), 1) == "read"
            await reader.stop(drain=False, timeout=1)

    run(main)


def test_a_change_nobody_tells_of_is_noticed_within_two_seconds(tmp_path: Path) -> None:
    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("t")
        async def t(work: runcue.Work) -> float:
            return asyncio.get_running_loop().time()

        @cue.task("busy")
        async def busy(work: runcue.Work) -> None:
            await asyncio.sleep(1000)

        async def tick() -> None:  # time passes here only where somebody waits for it
            while True:
                await asyncio.sleep(0.1)

        cue.is_ready(task="t")(lambda work: runcue.exists(tmp_path / "x"))
        cue.start()
        ticking = asyncio.create_task(tick())
        await cue.submit("busy")
        handle = await cue.submit("t")
        await asyncio.sleep(5)
        (tmp_path / "x").touch()
        assert 5 <= await handle.result() <= 7.2
        ticking.cancel()
        await cue.stop(drain=False, timeout=1)

    loop: Any = VirtualTimeLoop
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_work_units_of_which_nothing_is_known_keep_their_net_beside_ten_thousand_tracked_ones() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        never, made = Flag("never"), []

        @cue.task("t")
        async def t(work: runcue.Work) -> float:
            return time.monotonic()

        cue.is_ready(lambda work: bool(made) if work.params["n"] < 0 else never.valid())
        cue.start()
        for number in range(10_000):
            await cue.submit("t", params={"n": number})
        handle = await cue.submit("t", params={"n": -1})
        await asyncio.sleep(0.5)
        made.append(time.monotonic())
        # 50 ms are promised; a machine that is busy with other things gets more. Without a net it would be never.
        assert await handle.result() - made[0] < 30
        await cue.stop(drain=False)

    asyncio.run(main())


def test_a_drain_looks_once_more_before_it_says_that_work_is_blocked(tmp_path: Path) -> None:
    async def main() -> None:
        cue = runcue.Cue(recheck=False)

        @cue.task("t", inputs=tmp_path / "x")
        async def t(work: runcue.Work) -> None: ...

        cue.start()
        handle = await cue.submit("t")
        assert (await cue.drain()).blocked
        (tmp_path / "x").touch()
        assert not (await cue.drain()).blocked
        assert handle.work.state is runcue.WorkState.COMPLETED
        await cue.stop()

    run(main)


def test_work_units_that_find_no_slot_for_their_gate_keep_no_work_of_another_service_waiting() -> None:
    # Found by `runcue-sim --check`: of the work units that a change queued, one was put back for each turn.
    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        cue.service("slow", concurrent=1)
        cue.service("free", concurrent=1)
        flag = Flag("a")
        started = []

        @cue.task("waits", uses="slow", inputs=flag)
        async def waits(work: runcue.Work) -> None: ...

        @cue.is_ready(task="waits")
        async def ready(work: runcue.Work) -> bool:
            return True

        @cue.task("other", uses="free", inputs=flag)
        async def other(work: runcue.Work) -> None:
            started.append(asyncio.get_running_loop().time())

        @cue.task("holds", uses="slow")
        async def holds(work: runcue.Work) -> None:
            await asyncio.sleep(0.5)
            flag.set()
            await asyncio.sleep(10)

        cue.start()
        for _ in range(20):
            await cue.submit("waits")
        await asyncio.sleep(0.5)
        await cue.submit("other")
        await cue.submit("holds")
        await cue.stop()
        assert started == [1.0]

    run(main)


def test_an_async_gate_slower_than_the_recheck_does_not_keep_a_drain_asking() -> None:
    # Found by `runcue-sim --check`: the recheck cut off the look that would have found that nothing can run.
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("one", concurrent=1)
        asked = 0

        @cue.task("looker")
        async def looker(work: runcue.Work) -> None: ...

        @cue.task("opaque")
        async def opaque(work: runcue.Work) -> None: ...

        @cue.task("short", uses="one")
        async def short(work: runcue.Work) -> None:
            await asyncio.sleep(0.1)

        @cue.is_ready(task="looker")
        async def ready(work: runcue.Work) -> bool:
            nonlocal asked
            asked += 1
            if asked < 50:  # then it gives up, or nothing would end here
                await asyncio.sleep(0.4)
            return Row(set(), "missing").valid()

        cue.is_ready(task="opaque")(lambda work: False)
        cue.start()
        await cue.submit("looker")
        await cue.submit("opaque")
        await cue.drain()
        for _ in range(5):
            await cue.submit("short")
        summary = await cue.drain()
        assert len(summary.blocked) == 2
        assert asked < 20
        await cue.stop()

    run(main)


def test_very_many_work_units_whose_gates_wait_for_a_slot_cost_nothing_meanwhile() -> None:
    # More than can be looked through in one turn of the loop.
    async def main() -> int:
        cue = runcue.Cue(recheck=False)
        cue.service("slow", concurrent=1)
        flag = Flag("a")

        @cue.task("waits", uses="slow", inputs=flag)
        async def waits(work: runcue.Work) -> None: ...

        @cue.is_ready(task="waits")
        async def ready(work: runcue.Work) -> bool:
            return True

        @cue.task("holds", uses="slow")
        async def holds(work: runcue.Work) -> int:
            flag.set()
            await asyncio.sleep(0.3)
            with counted_calls() as calls:
                await asyncio.sleep(0.5)
            return calls()

        cue.start()
        for _ in range(10_000):
            await cue.submit("waits")
        await asyncio.sleep(0.3)
        holding = await cue.submit("holds")
        called: int = await holding.result()
        await cue.stop(drain=False, timeout=0)
        return called

    # A call for each, and more in asyncio's debug mode, would be tens of thousands.
    assert run(main) < 10_000


def test_whose_gate_finds_no_free_slot_holds_up_no_gate_of_another_service_when_all_are_asked_again() -> None:
    started: list[str] = []
    there = {"holds"}

    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        cue.service("full", concurrent=1)
        cue.service("free", concurrent=1)

        async def note(work: runcue.Work) -> None:
            started.append(work.task)

        cue.task("a", uses="full")(note)
        cue.task("b", uses="free")(note)

        @cue.task("holds", uses="full")
        async def holds(work: runcue.Work) -> None:
            await asyncio.sleep(1000)

        @cue.is_ready
        async def is_ready(work: runcue.Work) -> bool:
            await asyncio.sleep(0.1)
            return Row(there, work.task).valid()

        cue.start()
        for task in ("a", "b", "a", "b"):
            await cue.submit(task)
        await asyncio.sleep(5)
        await cue.submit("holds")
        await asyncio.sleep(1)
        there.update("ab")
        cue.nudge()
        await asyncio.sleep(1)
        assert started == ["b", "b"]
        await cue.stop(drain=False, timeout=1)

    run(main)
