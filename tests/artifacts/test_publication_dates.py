"""When what is published is dated, so that its date says no more than is true. Real files, real clocks, a real cue."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import Flag
from runcue._artifacts import dating
from runcue._artifacts.dating import Dating, MustWait
from runcue._artifacts.publication import OutputTransaction, atomic_write
from runcue._freshness import provenance

SECOND = 1_000_000_000
OLD = 1_600_000_000 * SECOND + 5
WAYS = ["write", "durable", "open", "atomic"]
LOOPS: list[Any] = [asyncio.new_event_loop]
with contextlib.suppress(ImportError):
    import uvloop

    LOOPS.append(uvloop.new_event_loop)


def put(work: runcue.Work, path: Path, text: str, way: str) -> None:
    """Writes a file in one of the ways in which a handler may."""
    if way in ("write", "durable"):
        with work.write(path, durable=way == "durable") as file:
            file.write(text)
    elif way == "atomic":
        runcue.atomic_write(path, text, durable=False)
    else:
        path.write_text(text)


def content(path: Path) -> str:
    return path.read_text()


def mtime(path: Path) -> int:
    return path.stat().st_mtime_ns


def old(path: Path, text: str = "old", at: int = OLD) -> Path:
    path.write_text(text)
    os.utime(path, ns=(at, at))
    return path


def run(main: Callable[[], Any], loop: Any = asyncio.new_event_loop) -> Any:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


async def settled(cue: runcue.Cue, *tasks: str, **options: Any) -> list[bool]:
    """Submits tasks and tells which of them ran."""
    works = [(await cue.submit(task, **options)).work for task in tasks]
    await cue.drain()
    assert [work.error for work in works] == [None] * len(works)
    return [not work.skipped for work in works]


def copies(
    cue: runcue.Cue, name: str, source: Path, target: Path, way: str = "write", **options: Any
) -> None:
    """A task that makes a file from another."""

    @cue.task(name, inputs=source, outputs=target, **options)
    async def copy(work: runcue.Work) -> None:
        put(work, target, content(source), way)


class TestAReaderOfThePredecessor:
    """It has read the old file while the new one was being made."""

    @pytest.mark.rule(30)
    @pytest.mark.parametrize("reader_ends", ["before the maker", "after the maker"])
    @pytest.mark.parametrize("reads", WAYS)
    @pytest.mark.parametrize("makes", WAYS)
    @pytest.mark.parametrize("loop", LOOPS)
    def test_runs_again(self, tmp_path: Path, loop: Any, makes: str, reads: str, reader_ends: str) -> None:
        source, middle = old(tmp_path / "i", "new"), old(tmp_path / "a", at=OLD - SECOND)
        target = tmp_path / "b"

        async def first() -> None:
            entered, read_on = asyncio.Event(), asyncio.Event()
            written, make_on = asyncio.Event(), asyncio.Event()
            cue = runcue.Cue()

            @cue.task("read", inputs=middle, outputs=target)
            async def read(work: runcue.Work) -> None:
                text = middle.read_text()
                entered.set()
                await read_on.wait()
                put(work, target, text, reads)

            @cue.task("make", inputs=source, outputs=middle)
            async def make(work: runcue.Work) -> None:
                put(work, middle, source.read_text(), makes)
                written.set()
                await make_on.wait()

            async with cue:
                reader = await cue.submit("read")
                await entered.wait()
                maker = await cue.submit("make")
                await written.wait()
                await asyncio.sleep(0.02)  # what is dated by its writing is older than what is written now
                for on, one in [(read_on, reader), (make_on, maker)][:: 1 if "before" in reader_ends else -1]:
                    on.set()
                    await one.wait()

        async def again() -> list[bool]:
            cue = runcue.Cue()
            copies(cue, "make", source, middle)
            copies(cue, "read", middle, target)
            async with cue:
                return await settled(cue, "read", "make")

        run(first, loop)
        run(again, loop)
        assert [one.read_text() for one in (middle, target)] == ["new", "new"]
        assert run(again, loop) == [False, False]

    @pytest.mark.parametrize("way", WAYS)
    def test_is_seen_through_a_chain_of_threads_that_all_run_at_once(self, tmp_path: Path, way: str) -> None:
        files = [old(tmp_path / str(number), at=OLD - number * SECOND) for number in range(5)]

        def cue_of(order: list[int]) -> runcue.Cue:
            cue = runcue.Cue()
            for number in order:

                @cue.task(f"t{number}", inputs=files[number], outputs=files[number + 1])
                def copy(work: runcue.Work, number: int = number) -> None:
                    text = files[number].read_text()
                    time.sleep(0.01 * ((number * 3) % 4))
                    put(work, files[number + 1], text, way)

            return cue

        async def at_once() -> None:
            # Each in a cue of its own, as in so many processes: nobody waits for anybody.
            cues = [cue_of([number]) for number in range(4)]
            async with contextlib.AsyncExitStack() as stack:
                for cue in cues:
                    await stack.enter_async_context(cue)
                for number, cue in enumerate(cues):
                    await cue.submit(f"t{number}", force=True)
                for cue in cues:
                    await cue.drain()

        async def in_turn() -> list[bool]:
            cue = cue_of([0, 1, 2, 3])
            async with cue:
                return await settled(cue, "t3", "t2", "t1", "t0")

        for text in ("one", "two"):
            files[0].write_text(text)
            run(at_once)
            run(in_turn)
            assert [file.read_text() for file in files] == [text] * 5
            assert run(in_turn) == [False] * 4


class TestDates:
    @pytest.mark.parametrize("way", WAYS)
    def test_are_those_of_the_publication_and_never_ahead_of_the_clock(
        self, tmp_path: Path, way: str
    ) -> None:
        source, target = tmp_path / "i", tmp_path / "o"
        cue = runcue.Cue()
        copies(cue, "t", source, target, way)

        async def main() -> None:
            async with cue:
                for number in range(20):
                    source.write_text(str(number))
                    assert await settled(cue, "t") == [True]
                    assert mtime(source) < mtime(target) <= time.time_ns()
                    assert target.read_text() == str(number)

        run(main)

    @pytest.mark.parametrize("where", ["loop", "thread"])
    @pytest.mark.parametrize("way", WAYS)
    def test_show_a_change_that_follows_at_once(self, tmp_path: Path, way: str, where: str) -> None:
        source, target = tmp_path / "i", tmp_path / "o"
        numbers = itertools.count()
        cue = runcue.Cue()

        def body(work: runcue.Work) -> None:
            put(work, target, source.read_text(), way)

        async def async_body(work: runcue.Work) -> None:
            body(work)

        cue.task("t", inputs=source, outputs=target)(body if where == "thread" else async_body)

        async def main() -> None:
            async with cue:

                @cue.on_complete
                def change(work: runcue.Work, result: Any, duration: float) -> None:
                    source.write_text(f"{next(numbers)}")

                source.write_text("first")
                for _ in range(30):
                    assert await settled(cue, "t") == [True]
                    assert target.read_text() != source.read_text()

        run(main)

    def test_grow_with_each_replacement(self, tmp_path: Path) -> None:
        target = tmp_path / "o"
        dates = []
        for number in range(30):
            atomic_write(target, str(number), durable=False)
            dates.append(mtime(target))
        assert dates == sorted(set(dates))

    def test_of_what_replaces_a_file_from_the_near_future_are_later(self, tmp_path: Path) -> None:
        target = old(tmp_path / "o", at=time.time_ns() + SECOND // 20)
        ahead = mtime(target)
        atomic_write(target, "new", durable=False)
        assert ahead < mtime(target) <= time.time_ns()

    def test_of_what_replaces_a_file_from_another_age_are_those_of_the_clock(
        self, tmp_path: Path, monkeypatch: Any
    ) -> None:
        target = old(tmp_path / "o", at=time.time_ns() + 3600 * SECOND)
        pauses: list[float] = []
        monkeypatch.setattr(time, "sleep", pauses.append)
        atomic_write(target, "new", durable=False)
        assert mtime(target) <= time.time_ns()
        assert pauses == [], "that other age is not waited for"

    def test_are_later_than_a_flag_that_is_ahead_of_the_clock_of_files(self, tmp_path: Path) -> None:
        target, flag = tmp_path / "o", Flag("f")
        cue = runcue.Cue()

        @cue.task("t", inputs=flag, outputs=target)
        async def t(work: runcue.Work) -> None:
            put(work, target, "x", "write")

        async def main() -> None:
            async with cue:
                for _ in range(10):
                    flag.set()
                    assert await settled(cue, "t") == [True]
                    assert await settled(cue, "t") == [False]

        flag.share(cue._dispatcher.flags)
        run(main)

    def test_are_not_waited_for_where_they_prove_nothing(self, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))
        monkeypatch.setattr(os, "utime", lambda *_, **__: pytest.fail("dated"))
        for number in range(3):
            atomic_write(tmp_path / "stamp", str(number), durable=False, dated=False)


class StoppedClock:
    """A filesystem whose clock stands still, or counts in large steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = time.time_ns()
        self.stands = True
        self.step = 1
        self._real = os.utime
        monkeypatch.setattr(os, "utime", self._utime)

    def _utime(self, path: Any, times: None = None, *, ns: tuple[int, int] | None = None) -> None:
        now = self.at if self.stands else time.time_ns()
        access, change = (now, now) if ns is None else ns
        self._real(path, ns=(access, change // self.step * self.step))


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    return StoppedClock(monkeypatch)


class TestTheFuture:
    @pytest.mark.parametrize("way", WAYS)
    def test_of_an_output_proves_nothing_and_is_told_once_with_the_dates(
        self, tmp_path: Path, way: str, caplog: Any, monkeypatch: Any
    ) -> None:
        # By short names, so that nothing is left out in the middle of what is told.
        monkeypatch.chdir(tmp_path)
        source, target = old(Path("i"), "1"), Path("o")
        cue = runcue.Cue()
        copies(cue, "t", source, target, way)

        async def main() -> None:
            async with cue:
                for _ in range(2):
                    old(target, "from another age", time.time_ns() + 3600 * SECOND)
                    work = await cue.submit("t")
                    await work.wait()
                    assert not work.work.skipped
                    assert target.read_text() == "1"  # noqa: ASYNC240 - it takes microseconds
                    assert re.fullmatch(
                        rf"t {work}: it ran because its output File\('{target}'\) was dated in the future, which says "
                        r"nothing of when it was made \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\)",
                        str(cue.why_stale(work)),
                    )
                    assert await settled(cue, "t") == [False]

        run(main)
        (said,) = [one.getMessage() for one in caplog.records if one.name == "runcue"]
        assert "2020-09-13" in said  # when the input was written
        assert ".touch()" in said

    @pytest.mark.parametrize("way", WAYS)
    def test_of_an_input_lets_the_work_unit_run_and_is_told_once(
        self, tmp_path: Path, way: str, caplog: Any
    ) -> None:
        source, target = old(tmp_path / "i", "1", time.time_ns() + 3600 * SECOND), tmp_path / "o"
        cue = runcue.Cue()
        copies(cue, "t", source, target, way)

        async def main() -> None:
            async with cue:
                for _ in range(3):
                    assert await settled(cue, "t") == [True]
                old(source, "2")
                assert await settled(cue, "t") == [False]  # by dates alone; see docs/artifacts.md

        run(main)
        assert sum("dated in the future" in one.getMessage() for one in caplog.records) == 1

    def test_does_not_matter_under_digest(self, tmp_path: Path, caplog: Any) -> None:
        source, target = old(tmp_path / "i", "1", time.time_ns() + 3600 * SECOND), tmp_path / "o"
        cue = runcue.Cue()
        copies(cue, "t", source, target, fresh=runcue.digest())

        async def main() -> None:
            async with cue:
                assert await settled(cue, "t") == [True]
                os.utime(target, (time.time() + 9999,) * 2)
                assert await settled(cue, "t") == [False]

        run(main)
        assert not caplog.records


class TestAClockThatCountsInSeconds:
    @pytest.mark.parametrize("way", WAYS)
    def test_makes_a_work_unit_run_once_more_and_that_is_told_if_it_happens_twice(
        self, tmp_path: Path, stopped: StoppedClock, way: str, caplog: Any
    ) -> None:
        stopped.step, stopped.at = 2 * SECOND, stopped.at - 60 * SECOND
        source, target = old(tmp_path / "i", at=stopped.at), tmp_path / "o"
        cue = runcue.Cue()

        @cue.task("t", inputs=source, outputs=target)
        async def t(work: runcue.Work) -> None:
            put(work, target, "x", way)
            if target.exists():
                os.utime(target)  # as the filesystem would

        async def main() -> None:
            async with cue:
                for told in (0, 1, 1):
                    assert await settled(cue, "t") == [True]
                    if way in ("open", "atomic"):
                        os.utime(target)
                    assert (
                        sum("will run again each time" in one.getMessage() for one in caplog.records) == told
                    )
                stopped.at += 2 * SECOND
                assert await settled(cue, "t") == [True]
                assert await settled(cue, "t") == [False]

        run(main)


class TestWaitingForTheClock:
    @pytest.mark.parametrize("way", ["write", "open"])
    def test_ends_after_a_tenth_of_a_second_and_only_then_is_a_date_ahead_of_it(
        self, tmp_path: Path, stopped: StoppedClock, way: str
    ) -> None:
        source = old(tmp_path / "i", at=stopped.at)
        target = tmp_path / "o"
        cue = runcue.Cue()

        @cue.task("t", inputs=source, outputs=target)
        def t(work: runcue.Work) -> None:
            put(work, target, "x", way)
            if way == "open":
                os.utime(target)

        async def main() -> None:
            async with cue:
                began = time.monotonic()
                assert await settled(cue, "t") == [True]
                assert time.monotonic() - began > 0.1
                assert mtime(target) == stopped.at + 1
                assert await settled(cue, "t") == [False]

        run(main)

    @pytest.mark.parametrize("loop", LOOPS)
    @pytest.mark.parametrize("way", ["write", "open"])
    def test_does_not_keep_the_event_loop(
        self, tmp_path: Path, stopped: StoppedClock, way: str, loop: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dating, "_LONGEST", 5.0)  # it ends by a turn of the loop, however slow that is
        source = old(tmp_path / "i", at=stopped.at)
        target = tmp_path / "o"
        cue = runcue.Cue()
        waits: list[bool] = []

        @cue.task("t", inputs=source, outputs=target)
        async def t(work: runcue.Work) -> None:
            put(work, target, "x", way)
            if way == "open":
                os.utime(target)
            waits.append(True)

        async def main() -> None:
            async with cue:
                work = await cue.submit("t")
                turns = 0
                while work.work.state is not runcue.WorkState.COMPLETED:
                    await asyncio.sleep(0.001)
                    turns += bool(waits)
                    stopped.stands = turns < 6
                assert turns > 5
                assert mtime(target) > stopped.at + 1

        run(main, loop)

    def test_lets_others_publish_meanwhile(
        self, tmp_path: Path, stopped: StoppedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dating, "_LONGEST", 5.0)
        old(tmp_path / "tied", at=stopped.at)
        waits = threading.Thread(target=atomic_write, args=(tmp_path / "tied", "x"))
        waits.start()
        for number in range(4):
            atomic_write(tmp_path / f"{number}", "x", durable=False)
            assert waits.is_alive()
        stopped.stands = False
        waits.join()

    def test_is_ended_by_a_discard(self, tmp_path: Path, stopped: StoppedClock) -> None:
        old(tmp_path / "o", at=stopped.at)
        transaction = OutputTransaction()
        with transaction.open(tmp_path / "o", durable=False) as file:
            file.write("new")
        threading.Timer(0.03, transaction.discard).start()
        assert transaction.publish() == []
        assert (tmp_path / "o").read_text() == "old"
        assert [one.name for one in tmp_path.iterdir()] == ["o"]

    def test_is_refused_by_who_may_not_wait_and_can_be_taken_up_again(
        self, tmp_path: Path, stopped: StoppedClock
    ) -> None:
        old(tmp_path / "o", at=stopped.at)
        transaction = OutputTransaction()
        with transaction.open(tmp_path / "o", durable=False) as file:
            file.write("new")
        for _ in range(2):
            with pytest.raises(MustWait):
                transaction.publish(patient=False)
        assert (tmp_path / "o").read_text() == "old"
        stopped.stands = False
        assert transaction.publish(patient=False) == [str(tmp_path / "o")]
        assert (tmp_path / "o").read_text() == "new"


class TestOneAtATime:
    def test_nobody_looks_between_the_dating_and_the_renaming_of_another(
        self, tmp_path: Path, monkeypatch: Any
    ) -> None:
        middle = old(tmp_path / "a")
        renaming, go_on = threading.Event(), threading.Event()
        real = os.replace

        def replace(*paths: Any) -> None:
            renaming.set()
            go_on.wait(5)
            real(*paths)

        monkeypatch.setattr(os, "replace", replace)
        cue = runcue.Cue()
        copies(cue, "read", middle, tmp_path / "b", "open")

        async def main() -> None:
            async with cue:
                publishes = threading.Thread(target=atomic_write, args=(middle, "new"))
                publishes.start()
                await asyncio.to_thread(renaming.wait, 5)
                reader = await cue.submit("read")
                await asyncio.sleep(0.05)  # the loop has turns, though the lock is held
                assert reader.work.state is runcue.WorkState.RUNNING
                go_on.set()
                publishes.join()
                await reader.wait()
                assert (tmp_path / "b").read_text() == "old"
                assert await settled(cue, "read") == [True]
                assert (tmp_path / "b").read_text() == "new"

        run(main)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    def test_a_forked_child_does_not_wait_for_what_is_not_there_any_more(self, tmp_path: Path) -> None:
        with Dating():
            child = os.fork()
            if child == 0:
                atomic_write(tmp_path / "o", "by the child")
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert (tmp_path / "o").read_text() == "by the child"


class TestAnInputThatChanges:
    """While the handler runs, after it was read."""

    @pytest.mark.parametrize("where", ["loop", "thread"])
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize(
        "change",
        [
            lambda path: path.write_text("2"),
            lambda path: old(path, "2", OLD - 5),
            lambda path: (old(path, "22"),),  # of the same date, but not of the same size
            lambda path: os.replace(old(path.with_name("other"), "2"), path),  # only the inode tells
            lambda path: (path.write_text("2"), os.utime(path, ns=(OLD, OLD + 1))),
        ],
        ids=["now", "older", "size", "inode", "a bit later"],
    )
    def test_leaves_the_output_out_of_date(
        self, tmp_path: Path, way: str, where: str, change: Callable[[Path], object]
    ) -> None:
        source, target = old(tmp_path / "i", "1"), tmp_path / "o"
        changes = [change]
        cue = runcue.Cue()

        def body(work: runcue.Work) -> None:
            text = source.read_text()
            if changes:
                changes.pop()(source)
            put(work, target, text, way)

        async def async_body(work: runcue.Work) -> None:
            body(work)

        cue.task("t", inputs=source, outputs=target)(body if where == "thread" else async_body)

        async def main() -> None:
            async with cue:
                assert await settled(cue, "t") == [True]
                assert target.read_text() == "1"
                assert await settled(cue, "t") == [True]
                assert target.read_text() == source.read_text()
                assert await settled(cue, "t") == [False]

        run(main)

    @pytest.mark.parametrize("where", ["loop", "thread"])
    @pytest.mark.parametrize("way", WAYS)
    def test_leaves_an_output_that_is_new_and_proof_for_its_readers(
        self, tmp_path: Path, way: str, where: str
    ) -> None:
        source, middle, target = old(tmp_path / "i", "1"), old(tmp_path / "a", "0", OLD - 9), tmp_path / "b"
        changes = ["2", "3"]
        cue = runcue.Cue()

        def body(work: runcue.Work) -> None:
            text = source.read_text()
            if changes:
                source.write_text(changes.pop(0))
            put(work, middle, text, way)

        async def async_body(work: runcue.Work) -> None:
            body(work)

        cue.task("make", inputs=source, outputs=middle)(body if where == "thread" else async_body)
        copies(cue, "read", middle, target)

        async def main() -> None:
            async with cue:
                assert await settled(cue, "read") == [True]
                for text in ("1", "2", "3"):
                    assert await settled(cue, "read", "make") == [True, True]
                    assert [middle.read_text(), target.read_text()] == [text, text]
                assert await settled(cue, "read", "make") == [False, False]

        run(main)

    @pytest.mark.parametrize("way", WAYS)
    def test_leaves_an_output_out_of_date_in_another_process_too(self, tmp_path: Path, way: str) -> None:
        source, target = old(tmp_path / "i", "1"), tmp_path / "o"
        changes = ["2"]

        async def main() -> list[bool]:
            cue = runcue.Cue()

            @cue.task("t", inputs=source, outputs=target)
            async def t(work: runcue.Work) -> None:
                text = content(source)
                if changes:
                    old(source, changes.pop(), OLD - SECOND)  # by dates alone the output would be newer
                put(work, target, text, way)

            async with cue:
                return await settled(cue, "t")

        assert run(main) == [True]
        assert run(main) == [True]
        assert target.read_text() == "2"
        assert run(main) == [False]

    @pytest.mark.parametrize("way", ["write", "open"])
    def test_dates_the_output_back_where_no_mark_can_be_written(
        self, tmp_path: Path, way: str, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(provenance, "outdate", lambda *_: False)
        renamed: list[int] = []
        real = os.replace

        def replace(temp: Any, place: Any) -> None:
            renamed.append(mtime(Path(temp)))
            real(temp, place)

        monkeypatch.setattr(os, "replace", replace)
        source, target = old(tmp_path / "i", "1"), tmp_path / "o"
        changes = ["2"]
        cue = runcue.Cue()

        @cue.task("t", inputs=source, outputs=target)
        async def t(work: runcue.Work) -> None:
            text = content(source)
            if changes:
                source.write_text(changes.pop())
            put(work, target, text, way)

        async def main() -> None:
            async with cue:
                assert await settled(cue, "t") == [True]
                assert mtime(target) == OLD
                assert renamed == ([OLD] if way == "write" else [])
                assert await settled(cue, "t") == [True]
                assert await settled(cue, "t") == [False]

        run(main)

    def test_but_was_moved_away_is_used_up(self, tmp_path: Path) -> None:
        source, target = old(tmp_path / "i", "1"), tmp_path / "o"
        cue = runcue.Cue()

        @cue.task("t", inputs=source, outputs=target)
        async def t(work: runcue.Work) -> None:
            source.rename(tmp_path / "done")
            put(work, target, "1", "write")

        async def main() -> None:
            async with cue:
                assert await settled(cue, "t") == [True]
                (tmp_path / "done").rename(source)
                assert await settled(cue, "t") == [False]

        run(main)

    @pytest.mark.parametrize("way", WAYS)
    def test_is_found_out_under_a_policy_of_the_users_own(self, tmp_path: Path, way: str) -> None:
        class Own:
            """Wraps the usual policy, as one does to log what it says."""

            def stale(self, work: Any) -> Any:
                return runcue.newer().stale(work)

            def started(self, work: Any) -> None: ...

            def finished(self, work: Any) -> None: ...

        source, target = old(tmp_path / "i", "1"), tmp_path / "o"
        cue = runcue.Cue()
        changes = ["2"]

        @cue.task("t", inputs=source, outputs=target, fresh=Own())
        async def t(work: runcue.Work) -> None:
            text = source.read_text()
            if changes:
                source.write_text(changes.pop())
            put(work, target, text, way)

        async def main() -> None:
            async with cue:
                assert await settled(cue, "t") == [True]
                assert await settled(cue, "t") == [True]
                assert await settled(cue, "t") == [False]

        run(main)

    def test_does_not_matter_where_nothing_is_compared(self, tmp_path: Path, caplog: Any) -> None:
        source, target = old(tmp_path / "i", "1"), tmp_path / "o"
        cue = runcue.Cue()

        @cue.task("t", inputs=source, outputs=target, fresh=None)
        async def t(work: runcue.Work) -> None:
            source.write_text("2")
            put(work, target, "1", "write")

        async def main() -> None:
            async with cue:
                assert await settled(cue, "t") == [True]
                assert await settled(cue, "t") == [False]

        run(main)
        assert not caplog.records


class TestInPlace:
    @pytest.mark.parametrize("way", WAYS)
    def test_what_is_input_and_output_is_up_to_date_after_its_run(self, tmp_path: Path, way: str) -> None:
        source, both, other = old(tmp_path / "i"), old(tmp_path / "f", at=OLD - 9), tmp_path / "g"
        cue = runcue.Cue()

        @cue.task("t", inputs=[source, both], outputs=[both, other])
        async def t(work: runcue.Work) -> None:
            put(work, other, "x", way)
            put(work, both, both.read_text() + "x", way)

        async def main() -> None:
            async with cue:
                assert await settled(cue, "t") == [True]
                assert mtime(source) < mtime(both) < mtime(other) <= time.time_ns()
                assert await settled(cue, "t") == [False]

        run(main)

    def test_what_somebody_else_replaced_meanwhile_is_made_again(self, tmp_path: Path) -> None:
        source, both = old(tmp_path / "i"), old(tmp_path / "f", "1", at=OLD - 9)
        cue = runcue.Cue()
        changes = ["2"]

        @cue.task("t", inputs=[source, both], outputs=both)
        async def t(work: runcue.Work) -> None:
            text = both.read_text()
            if changes:
                atomic_write(both, changes.pop(), durable=False)
            put(work, both, text + "x", "write")

        async def main() -> None:
            async with cue:
                assert await settled(cue, "t") == [True]
                assert await settled(cue, "t") == [True]
                assert await settled(cue, "t") == [False]

        run(main)

    @pytest.mark.parametrize("linked", ["input", "output"])
    @pytest.mark.parametrize("way", WAYS)
    def test_a_link_to_the_input_counts_as_both(self, tmp_path: Path, way: str, linked: str) -> None:
        both, link = old(tmp_path / "f"), tmp_path / "link"
        link.symlink_to("f")
        source, target = (link, both) if linked == "input" else (both, link)
        cue = runcue.Cue()

        @cue.task("t", inputs=[source, old(tmp_path / "i", at=OLD + 9)], outputs=target)
        async def t(work: runcue.Work) -> None:
            put(work, target, source.read_text() + "x", way)

        async def main() -> None:
            async with cue:
                assert await settled(cue, "t") == [True]
                assert both.read_text() == "oldx"
                assert link.is_symlink()
                assert await settled(cue, "t") == [False]

        run(main)


class TestInsideAFolderThatIsRead:
    @pytest.mark.parametrize("inside", ["x", "sub/x", "new/x"])
    @pytest.mark.parametrize("way", WAYS)
    def test_what_is_made_is_up_to_date(self, tmp_path: Path, way: str, inside: str) -> None:
        folder = tmp_path / "folder"
        (folder / "sub").mkdir(parents=True)
        old(folder / "page")
        target = folder / inside
        cue = runcue.Cue()

        @cue.task("t", inputs=folder, outputs=target)
        async def t(work: runcue.Work) -> None:
            target.parent.mkdir(exist_ok=True)
            put(work, target, "x", way)

        async def main() -> None:
            async with cue:
                assert await settled(cue, "t") == [True]
                assert mtime(folder) < mtime(target) <= time.time_ns()
                assert await settled(cue, "t") == [False]
                old(folder / "another")
                assert await settled(cue, "t") == [True]
                assert await settled(cue, "t") == [False]

        run(main)

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize(
        "change",
        [
            lambda folder: old(folder / "came"),
            lambda folder: (folder / "page").unlink(),
            lambda folder: os.replace(old(folder / "came", at=OLD), folder / "page"),
        ],
        ids=["came", "went", "replaced"],
    )
    def test_what_comes_or_goes_meanwhile_leaves_it_out_of_date(
        self, tmp_path: Path, way: str, change: Callable[[Path], object]
    ) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        old(folder / "page")
        changes = [change]
        cue = runcue.Cue()

        @cue.task("t", inputs=folder, outputs=folder / "x")
        async def t(work: runcue.Work) -> None:
            if changes:
                changes.pop()(folder)
            put(work, folder / "x", "x", way)

        async def main() -> None:
            async with cue:
                assert await settled(cue, "t") == [True]
                assert await settled(cue, "t") == [True]
                assert await settled(cue, "t") == [False]

        run(main)

    def test_of_a_folder_with_too_many_names_nothing_is_known(self, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.setattr(provenance, "_MOST_NAMES", 3)
        for number in range(4):
            old(tmp_path / str(number))
        cue = runcue.Cue()

        @cue.task("t", inputs=tmp_path, outputs=tmp_path / "x")
        async def t(work: runcue.Work) -> None:
            put(work, tmp_path / "x", "x", "write")

        async def main() -> None:
            async with cue:
                assert await settled(cue, "t") == [True]
                assert await settled(cue, "t") == [True]
                (tmp_path / "0").unlink()
                assert await settled(cue, "t") == [True]
                assert await settled(cue, "t") == [False]

        run(main)
