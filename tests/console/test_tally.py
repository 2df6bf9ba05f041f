"""What is counted of a cue: that it agrees with what happens, costs little, and tells what waits for what."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.abc import Limit
from runcue.console.eta import Eta
from runcue.console.snapshot import Snapshot, TaskCounts
from runcue.console.tally import Tally
from runcue.console.waits import Waiting, Waits
from runcue.testing import VirtualTimeLoop, run
from tests.support.calls import calls_in


def watched(cue: runcue.Cue, total: int | None = None) -> Tally:
    tally = Tally("a try", total, lambda: ["careful"])
    cue.observe(tally)
    return tally


def look(tally: Tally) -> Snapshot:
    """A snapshot for which it is asked again what waits, too."""
    tally._waits._again = 0.0
    return tally.take()


def counts(snapshot: Snapshot) -> dict[str, tuple[int, ...]]:
    """Pending, running, done, failed, skipped and cancelled, by task."""
    return {one.name: tuple(one[1:7]) for one in snapshot.tasks}


def test_snapshots_of_a_run_agree_with_what_has_happened() -> None:
    cue = runcue.Cue(id_prefix="w-")
    cue.service("api", rate="10/min", concurrent=2)
    cue.service("disk", concurrent=1)

    @cue.task("ask", uses="api")
    async def ask(work: runcue.Work) -> None:
        await asyncio.sleep(2.0)
        if work.params["n"] == 3:
            raise ZeroDivisionError

    @cue.task("store", uses="disk", inputs=lambda work: f"/nowhere/{work.params['n']}")
    async def store(work: runcue.Work) -> None: ...

    async def main() -> list[Snapshot]:
        tally = watched(cue, total=20)
        snapshots = []
        async with cue:
            for n in range(15):
                await cue.submit("ask", params={"n": n})
            for n in range(3):
                await cue.submit("store", params={"n": n})
            for _ in range(3):
                await asyncio.sleep(5.0)
                snapshots.append(look(tally))
        snapshots.append(look(tally))
        return snapshots

    first, second, third, last = run(main)
    assert counts(first) == {"ask": (9, 2, 3, 1, 0, 0), "store": (3, 0, 0, 0, 0, 0)}
    assert (first.title, first.virtual, first.elapsed, first.notes) == ("a try", True, 5.0, ("careful",))
    assert (first.total, first.whole.settled, first.whole.pending, first.share) == (20, 4, 12, 0.2)
    api, disk = first.services
    assert (api.in_use, api.concurrent, api.tokens, api.count) == (2, 2, 4, 10)
    assert (disk.in_use, disk.concurrent, disk.rate) == (0, 1, None)
    # 20 are expected and 18 submitted; the tenth start was at 8 s, so the last five of 15 may begin at 60 s.
    assert (first.eta.source, first.eta.at_least) == ("from the rate of api", True)
    assert first.elapsed + (first.eta.seconds or 0.0) == pytest.approx(66.0)
    assert third.elapsed + (third.eta.seconds or 0.0) == pytest.approx(66.0)
    assert second.whole.pace == pytest.approx(0.8, abs=0.21)
    assert counts(last) == {"ask": (0, 0, 14, 1, 0, 0), "store": (0, 0, 0, 0, 0, 3)}
    assert last.waits == ()


def test_one_that_waits_for_its_next_attempt_or_has_asked_for_later_is_pending() -> None:
    cue = runcue.Cue()
    calls: list[int] = []

    @cue.task("fails", retry=runcue.Retry(2, wait_initial=10, wait_jitter=0))
    async def fails(work: runcue.Work) -> None:
        await asyncio.sleep(1)
        if work.attempt < 2:
            raise OSError("on purpose")

    @cue.task("later")
    async def later(work: runcue.Work) -> None:
        await asyncio.sleep(1)
        calls.append(1)
        if len(calls) < 2:
            raise runcue.RetryLater(10)

    async def main() -> list[dict[str, tuple[int, ...]]]:
        tally = watched(cue)
        found = []
        async with cue:
            for task in ("fails", "later"):
                await cue.submit(task)
            for _ in range(2):
                await asyncio.sleep(0.5)
                found.append(counts(look(tally)))
                await asyncio.sleep(5)
                found.append(counts(look(tally)))
                await asyncio.sleep(5.5)
        found.append(counts(look(tally)))
        return found

    runs, waits, done = (0, 1, 0, 0, 0, 0), (1, 0, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0)
    assert run(main) == [{"fails": state, "later": state} for state in (runs, waits, runs, done, done)]


def test_skipped_joined_and_cancelled_ones_are_told_apart(tmp_path: Path) -> None:
    cue = runcue.Cue()
    (tmp_path / "there").write_text("")

    @cue.task("make", outputs=lambda work: tmp_path / work.params["name"])
    async def make(work: runcue.Work) -> None:
        await asyncio.sleep(1.0)
        (tmp_path / work.params["name"]).write_text("")

    async def main() -> tuple[Snapshot, Snapshot]:
        tally = watched(cue)
        async with cue:
            for name in ("there", "new", "new", "other"):
                handle = await cue.submit("make", params={"name": name})
            await asyncio.sleep(0.5)
            await cue.cancel(handle)
            between = look(tally)
        return between, look(tally)

    between, last = run(main)
    assert counts(between) == {"make": (1, 1, 0, 0, 1, 1)}
    assert counts(last) == {"make": (0, 0, 2, 0, 1, 1)}
    assert last.is_over


def test_what_there_was_before_is_taken_over() -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)

    @cue.task("nap", uses="one")
    async def nap(work: runcue.Work) -> None:
        await asyncio.sleep(1.0)

    async def main() -> list[dict[str, tuple[int, ...]]]:
        seen = []
        for _ in range(3):
            await cue.submit("nap")
        tally = watched(cue)
        seen.append(counts(look(tally)))
        async with cue:
            await asyncio.sleep(1.5)
            late = watched(cue)
            seen += [counts(look(tally)), counts(look(late))]
        seen += [counts(look(tally)), counts(look(late))]
        return seen

    assert run(main) == [
        {"nap": (3, 0, 0, 0, 0, 0)},
        {"nap": (1, 1, 1, 0, 0, 0)},
        {"nap": (1, 1, 0, 0, 0, 0)},  # it has seen none end
        {"nap": (0, 0, 3, 0, 0, 0)},
        {"nap": (0, 0, 2, 0, 0, 0)},
    ]


def test_tasks_that_are_registered_later_are_counted_too() -> None:
    cue = runcue.Cue()

    async def main() -> tuple[Snapshot, Snapshot]:
        tally = watched(cue)
        before = look(tally)
        async with cue:
            cue.service("late", rate="5/sec")
            cue.task("late", uses="late")(lambda work: None)
            await cue.submit("late")
        return before, look(tally)

    before, after = run(main)
    assert (before.tasks, before.total, before.is_over) == ((), 0, False)
    assert counts(after) == {"late": (0, 0, 1, 0, 0, 0)}


def test_a_cue_that_is_started_again_in_another_loop_is_still_counted() -> None:
    cue = runcue.Cue()
    cue.task("nap")(lambda work: None)
    tally = watched(cue)

    async def main() -> None:
        async with cue:
            await cue.submit("nap")

    asyncio.run(main())
    assert counts(look(tally)) == {"nap": (0, 0, 1, 0, 0, 0)}
    tally.is_lost = True
    asyncio.run(main())
    assert counts(look(tally)) == {"nap": (0, 0, 2, 0, 0, 0)}


def test_blocked_work_units_are_no_end_in_sight() -> None:
    cue = runcue.Cue()

    @cue.task("store", inputs="/nowhere/at/all")
    async def store(work: runcue.Work) -> None: ...

    async def main() -> list[Eta]:
        tally = watched(cue)
        async with cue:
            await cue.submit("store")
            etas = [look(tally).eta]
            for _ in range(2):
                await asyncio.sleep(5.0)
                etas.append(look(tally).eta)
        return etas

    unknown, *blocked = run(main)
    assert unknown == Eta(None, "no store has finished yet")
    assert blocked == [Eta(None, "what is left is blocked")] * 2


def test_while_more_is_submitted_an_estimate_is_a_least() -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)

    @cue.task("nap", uses="one")
    async def nap(work: runcue.Work) -> None:
        await asyncio.sleep(2.0)
        if work.params["more"]:
            await cue.submit("nap", params={"more": work.params["more"] - 1})

    async def main() -> list[bool]:
        tally = watched(cue)
        seen = []
        async with cue:
            for _ in range(5):
                await cue.submit("nap", params={"more": 2})
            for _ in range(13):
                await asyncio.sleep(2.1)
                seen.append(look(tally).eta.at_least)
        return seen

    seen = run(main)
    assert all(seen[:8])
    assert not any(seen[-2:])


def test_before_anything_is_submitted_nothing_is_known() -> None:
    cue = runcue.Cue()
    cue.task("one")(lambda work: None)
    cue.task("other")(lambda work: None)

    async def main() -> list[Snapshot]:
        tally = watched(cue, total=7)
        snapshots = [look(tally)]
        async with cue:
            await cue.submit("one")
        return [*snapshots, look(tally)]

    for snapshot in run(main):
        assert snapshot.eta == Eta(None, "nothing is submitted")
        assert not snapshot.is_over


def test_limits_of_a_users_own_show_in_the_pace() -> None:
    class EverySecond(Limit):
        last = -1.0

        def room(self, now: float, work: runcue.Work) -> bool:
            return now - self.last >= 1.0

        def next_room(self, now: float, work: runcue.Work) -> float:
            return self.last + 1.0

        def acquire(self, now: float, work: runcue.Work) -> None:
            self.last = now

    cue = runcue.Cue()
    cue.service("odd", limits=[EverySecond()])

    @cue.task("nap", uses="odd")
    async def nap(work: runcue.Work) -> None: ...

    async def main() -> Snapshot:
        tally = watched(cue)
        async with cue:
            for _ in range(30):
                await cue.submit("nap")
            await asyncio.sleep(9.5)
            return look(tally)

    snapshot = run(main)
    assert "EverySecond has no room" in snapshot.waits[0].details
    assert snapshot.waits[0].for_turn
    assert snapshot.eta.source == "from the rate of odd"
    assert snapshot.eta.seconds == pytest.approx(20.0, abs=1.0)


def test_the_budget_that_binds_is_what_the_time_left_is_reckoned_from() -> None:
    cue = runcue.Cue()
    api = cue.service("api", rate=["50/sec", "600/min"], margin=0.5, budget={"tokens": "1_000/min"})

    @cue.task("ask", uses=api, cost=lambda n: {"tokens": 80 + n % 3 * 20})
    async def ask(work: runcue.Work) -> None:
        await asyncio.sleep(0.5)

    async def main() -> list[Snapshot]:
        tally = watched(cue)
        async with cue:
            for n in range(33):
                await cue.submit("ask", params={"n": n})
            await asyncio.sleep(10)
            snapshots = [look(tally)]
            api.pause()
            snapshots.append(look(tally))
            api.resume()
            await asyncio.sleep(111.5)
            return [*snapshots, look(tally)]

    first, paused, last = run(main)
    assert first.eta.source == "from the budget of api, tokens"
    assert first.eta.seconds == pytest.approx(3 * 60.5 + 0.5 - 10)
    assert not first.eta.at_least
    assert paused.eta == Eta(None, "api is paused")
    assert last.eta.seconds == pytest.approx(60, abs=0.5)


def test_notes_that_raise_are_told_once_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    cue = runcue.Cue()

    def notes() -> list[str]:
        raise ZeroDivisionError

    async def main() -> list[Snapshot]:
        tally = Tally("", None, notes)
        cue.observe(tally)
        return [tally.take(), tally.take()]

    assert [snapshot.notes for snapshot in run(main)] == [(), ()]
    [record] = caplog.records
    assert "notes= of runcue.progress()" in record.getMessage()


# --- What waits -------------------------------------------------------------------------------------------------------


def waiting(main: Callable[[runcue.Cue], Awaitable[object]], seconds: float = 1.0) -> tuple[Waiting, ...]:
    """What waits, a second after something was submitted."""
    cue = runcue.Cue()
    cue.service("api", rate="3/day")

    async def all_of_it() -> tuple[Waiting, ...]:
        tally = watched(cue)
        await main(cue)
        cue.start()
        await asyncio.sleep(seconds)
        waits = look(tally).waits
        await cue.stop(drain=False)
        return waits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runcue.console.waits._BUDGET", 5.0)  # however slow this machine is
        return run(all_of_it)


def test_what_waits_is_summed_up_by_what_differs_in_numbers_only() -> None:
    async def main(cue: runcue.Cue) -> None:
        cue.task("call", uses="api")(lambda work: None)
        cue.task("read", inputs=lambda work: f"/nowhere/{work.params['n']}")(lambda work: None)
        for n in range(12):
            await cue.submit("read", params={"n": n})
        for n in range(8):
            await cue.submit("call", params={"n": n})

    read, call = waiting(main)
    assert (read.number, read.task, read.for_turn, read.about) == (12, "read", False, False)
    assert read.details.startswith(
        "File('/nowhere/#') is missing (the folder '/nowhere' is missing); nothing that is"
    )
    assert (call.number, call.task, call.for_turn) == (5, "call", True)
    assert call.details.startswith("api: 3/day is used up, next start in")


def test_of_a_great_many_a_few_are_asked_about_and_the_number_is_about_right() -> None:
    async def main(cue: runcue.Cue) -> None:
        cue.task("call", uses="api")(lambda work: None)
        cue.task("ask", inputs=lambda work: f"/nowhere/{work.params['n']}")(lambda work: None)
        for n in range(2000):
            await cue.submit("ask" if n % 2 else "call", params={"n": n})

    ask, call = waiting(main)
    assert (ask.number, ask.about) == (1000, True)
    assert (call.number, call.about) == (997, True)


def test_what_has_come_just_now_is_not_asked_about() -> None:
    cue = runcue.Cue(recheck=False)
    cue.task("ask")(lambda work: None)
    asked = []

    @cue.is_ready
    def is_ready(work: runcue.Work) -> bool:
        asked.append(work.id)
        return False

    async def main() -> None:
        tally = watched(cue)
        cue.start()
        await cue.submit("ask")
        assert look(tally).waits == ()  # not even the cue itself has asked yet
        assert asked == []
        await asyncio.sleep(0.4)
        before = len(asked)
        assert look(tally).waits == ()
        await asyncio.sleep(0.4)
        [one] = look(tally).waits
        assert one.details.startswith("is_ready said no for params {}: ")
        assert len(asked) == before
        await cue.stop(drain=False)

    run(main)


def test_what_there_is_to_say_of_a_cue_that_is_not_started() -> None:
    cue = runcue.Cue()
    cue.task("nap")(lambda work: None)

    async def main() -> tuple[Waiting, ...]:
        tally = watched(cue)
        await cue.submit("nap")
        await asyncio.sleep(1.0)
        return look(tally).waits

    assert run(main) == (Waiting(1, "nap", "the cue is not started: call start()", for_turn=True),)


class Slow:
    """Stands for a cue whose answers take their time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked = 0

    def why(self, work: runcue.Work) -> runcue.Why:
        self.asked += 1
        time.sleep(self.seconds)
        return runcue.Why(work, "not ready", "is_ready said no", 0.0, 0.0)


def test_it_takes_a_few_milliseconds_and_a_hundredth_of_the_time() -> None:
    pending = {name: dict.fromkeys(runcue.Work(f"{name}-{n}", name) for n in range(100)) for name in "abc"}
    slow, waits = Slow(0.001), Waits()
    began = time.monotonic()
    found = waits.ask(slow, pending, 1e9)  # type: ignore[arg-type]
    assert 1 <= slow.asked <= 6
    assert sum(one.number for one in found) in (100, 200, 300)
    assert waits._again - began > 1.0
    assert waits.ask(slow, pending, 1e9) == found  # type: ignore[arg-type]
    assert slow.asked <= 6
    very_slow, waits = Slow(0.05), Waits()
    began = time.monotonic()
    waits.ask(very_slow, pending, 1e9)  # type: ignore[arg-type]
    assert very_slow.asked == 1
    assert waits._again - began > 4.0
    # What has gone since is not shown any more.
    assert waits.ask(very_slow, {name: {} for name in "abc"}, 1e9) == ()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def crowd() -> Iterator[tuple[Tally, Callable[[], int]]]:
    """100,000 pending work units, and how many calls a snapshot of them takes."""
    cue = runcue.Cue()
    cue.service("api", rate="10/day", concurrent=5)
    cue.task("call", uses="api")(lambda work: None)
    cue.task("ask", inputs=lambda work: f"/nowhere/{work.params['n']}")(lambda work: None)
    loop = VirtualTimeLoop()

    async def begin() -> Tally:
        tally = watched(cue)
        for n in range(50_000):
            await cue.submit("call", params={"n": n})
            await cue.submit("ask", params={"n": n})
        cue.start()
        await asyncio.sleep(3.0)
        return tally

    async def take(tally: Tally) -> int:
        return calls_in(lambda: look(tally))

    def however_slow_this_machine_is(steps: Coroutine[Any, Any, Any]) -> Any:
        # Not for longer: others of these tests run while this crowd is there.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("runcue.console.waits._BUDGET", 5.0)
            return loop.run_until_complete(steps)

    tally = however_slow_this_machine_is(begin())
    yield tally, lambda: however_slow_this_machine_is(take(tally))
    loop.run_until_complete(cue.stop(drain=False))
    loop.close()


def test_a_snapshot_of_a_hundred_thousand_pending_ones_looks_at_a_few_of_them(
    crowd: tuple[Tally, Callable[[], int]],
) -> None:
    tally, take = crowd
    took = [take() for _ in range(20)]
    assert tally.take().whole.pending == 100_000 - 10
    assert max(took) < 20_000  # which is a few milliseconds
    assert {one.task for one in tally.take().waits} == {"ask", "call"}


def test_counts_need_no_thread_of_their_own() -> None:
    before = threading.active_count()
    watched(runcue.Cue())
    assert threading.active_count() == before


def test_the_sum_of_no_tasks_is_nothing() -> None:
    assert Snapshot().whole == TaskCounts("all 0")
    assert (Snapshot().share, Snapshot(total=5).share, Snapshot().is_over) == (0.0, 0.0, False)


def test_who_waits_for_its_next_attempt_is_not_counted_as_running_and_the_time_left_knows_of_it() -> None:
    cue = runcue.Cue(id_prefix="w-")
    cue.service("api", concurrent=2)

    @cue.task("call", uses="api", retry=runcue.Retry(3, wait_initial=50, wait_jitter=0))
    async def call(work: runcue.Work) -> None:
        await asyncio.sleep(2.0)
        if work.params["n"] == 0 and work.attempt == 1:
            raise ConnectionError("reset by peer")

    again = [True]

    @cue.task("report")
    async def report(work: runcue.Work) -> None:
        await asyncio.sleep(1.0)
        if again:
            again.pop()
            raise runcue.RetryLater(40)

    async def main() -> None:
        tally = watched(cue)
        async with cue:
            for n in range(2):
                await cue.submit("call", params={"n": n})
            await cue.submit("report")
            await asyncio.sleep(3)
            shot = look(tally)
            assert counts(shot) == {"call": (1, 0, 1, 0, 0, 0), "report": (1, 0, 0, 0, 0, 0)}
            details = {one.task: one.details for one in shot.waits}
            assert details["call"] == "attempt 2 of 3 in 49 s, after ConnectionError: reset by peer"
            assert shot.eta.seconds == 51.0
            assert shot.eta.source == "from when call is to start"
            await asyncio.sleep(38.5)
            assert counts(look(tally))["report"] == (0, 1, 0, 0, 0, 0), "it goes on"
            await cue.drain()
            assert counts(look(tally)) == {"call": (0, 0, 2, 0, 0, 0), "report": (0, 0, 1, 0, 0, 0)}

    run(main)


def test_what_maps_will_submit_counts_to_the_whole_from_their_beginning() -> None:
    cue = runcue.Cue(id_prefix="")

    async def nap(number: int) -> None:
        await asyncio.sleep(1)

    async def main() -> list[int]:
        tally = watched(cue)
        totals = []
        async with cue:
            for number in range(5):
                await cue.call(nap, number)
            async with cue.map(nap, range(100), window=10) as naps:
                async for _ in naps:
                    totals.append(look(tally).total)
                    if len(totals) == 3:
                        break
            totals.append(look(tally).total)
            totals += [look(tally).total async for _ in cue.map(nap, range(20), window=10)]
            await cue.call(nap, 1)
            totals.append(look(tally).total)
        return totals

    totals = run(main)
    # 5, and the 12 that were submitted before the first map was left: the last one given was in hand.
    assert totals[:4] == [105, 105, 105, 17]
    assert totals[4:-1] == [37] * 20
    assert totals[-1] == 38


def test_how_long_a_map_takes_is_told_from_how_many_work_units_will_come() -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)

    @cue.task(uses="one")
    async def nap(number: int) -> None:
        await asyncio.sleep(1)

    async def main() -> tuple[int, Eta]:
        tally = watched(cue)
        async with cue, cue.map(nap, range(100), window=5) as naps:
            async for work in naps:
                if work.params["number"] == 19:
                    snapshot = look(tally)
                    return snapshot.total, snapshot.eta
        raise AssertionError

    total, eta = run(main)
    assert total == 100
    assert eta.seconds is not None
    assert 75 <= eta.seconds <= 85
