"""`digest()` on a real cue and real files: content decides where it is known, and it is read once, in the right place.

What the policy makes of files without a cue stands in tests/freshness.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import File
from runcue._freshness import comparison, content, stamps
from tests.support.virtual_time import now, virtual

LOOPS = ["asyncio", "uvloop"]
LARGE = 3 << 20


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    content._known.clear()
    yield
    content._known.clear()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The files that are opened for their content, each with whether that is done in the main thread."""
    seen: list[tuple[str, bool]] = []
    real = os.open

    def opening(path: Any, flags: int, *args: Any, **named: Any) -> int:
        if flags == content.OPEN_TO_READ and ".runcue-" not in str(path):
            seen.append((Path(path).name, threading.current_thread() is threading.main_thread()))
        return real(path, flags, *args, **named)

    monkeypatch.setattr(os, "open", opening)
    return seen


def put(name: str, text: str = "text", *, long_ago: bool = True) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if long_ago:
        wait_a_tick(path)
    return path


def wait_a_tick(path: str | Path) -> None:
    while content.glance_at(str(Path(path).absolute())).recent:
        time.sleep(0.002)


def in_a_new_process() -> None:
    """What this process knows of contents is forgotten."""
    content._known.clear()


def remove(name: str) -> None:
    Path(name).unlink()


def run(coroutine: Any, loop: str = "asyncio") -> Any:
    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


def outcome(
    handler: Callable[..., Any],
    inputs: Any = "i",
    outputs: Any = "o",
    fresh: Any = None,
    params: Any = None,
    loop: str = "asyncio",
) -> str:
    """Submits a work unit to a new cue. Returns what became of it: "ran" or "skipped"."""

    async def main() -> str:
        cue = runcue.Cue()
        cue.task("t", inputs=inputs, outputs=outputs, fresh=fresh or runcue.digest())(handler)
        async with cue:
            handle = await cue.submit("t", params=params)
            await cue.drain()
            work = await cue.get(handle)
            assert work.error is None
            return "skipped" if work.skipped else "ran"

    return str(run(main(), loop))


def write(work: runcue.Work) -> None:
    for output in work.outputs:
        Path(output).write_text("made", encoding="utf-8")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "runcue" and one.levelname == "WARNING"]


def a_link(work: runcue.Work) -> None:
    Path("o").unlink(missing_ok=True)
    os.link("i", "o")


def other_rights(work: runcue.Work) -> None:
    Path("i").chmod(0o600)
    write(work)


def one_more_link(work: runcue.Work) -> None:
    Path("also").unlink(missing_ok=True)
    os.link("i", "also")
    write(work)


def away_and_back(work: runcue.Work) -> None:
    Path("i").rename("away")
    Path("away").rename("i")
    write(work)


def an_attribute(work: runcue.Work) -> None:
    try:
        os.setxattr("i", "user.note", str(time.time_ns()).encode())
    except (AttributeError, OSError):
        pytest.skip("no such attributes here")
    write(work)


async def a_link_in_the_loop(work: runcue.Work) -> None:
    a_link(work)


@pytest.mark.rule(33)
@pytest.mark.parametrize("recent", [False, True], ids=["known to be old", "written just now"])
@pytest.mark.parametrize(
    "handler", [a_link, a_link_in_the_loop, other_rights, one_more_link, away_and_back, an_attribute]
)
def test_an_input_of_which_only_the_status_changed_during_the_run_has_not_changed(
    handler: Callable[..., Any], recent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    put("i", long_ago=not recent)
    assert [outcome(handler), outcome(handler)] == ["ran", "skipped"]
    in_a_new_process()
    assert outcome(handler) == "skipped"
    assert warnings(caplog) == []


def test_nor_has_a_folder_in_which_that_happened_to_one_file() -> None:
    put("i/a")
    put("i/b")

    def handler(work: runcue.Work) -> None:
        Path("i/a").chmod(0o600)
        write(work)

    assert [outcome(handler), outcome(handler)] == ["ran", "skipped"]


@pytest.mark.parametrize("how", ["an equal copy in its place", "touched", "rewritten", "one more file"])
def test_what_changed_otherwise_during_the_run_is_told_and_runs_again(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    put("i/a")

    def handler(work: runcue.Work) -> None:
        if how == "an equal copy in its place":
            put("copy", long_ago=False)
            os.utime("copy", ns=(0, Path("i/a").stat().st_mtime_ns))
            Path("copy").replace("i/a")
        elif how == "touched":
            os.utime("i/a")
        elif how == "rewritten":
            put("i/a", "txet", long_ago=False)
        else:
            put("i/b", long_ago=False)
        write(work)

    assert outcome(handler, inputs="i") == "ran"
    assert [("changed while it ran" in text) for text in warnings(caplog)] == [True]
    assert outcome(handler, inputs="i") == "ran"


def test_what_was_rewritten_with_its_date_set_back_is_found_where_the_content_was_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    put("i", "one", long_ago=False)  # so recent that its content is looked at before the run

    def handler(work: runcue.Work) -> None:
        before = Path("i").stat()
        Path("i").write_text("two", encoding="utf-8")
        os.utime("i", ns=(0, before.st_mtime_ns))
        write(work)

    assert outcome(handler) == "ran"
    assert "changed while it ran" in warnings(caplog)[0]
    assert outcome(write) == "ran"


def touch(name: str = "i") -> None:
    os.utime(name)
    wait_a_tick(name)


def test_a_touched_file_is_read_once_and_not_by_every_later_process(opened: list[Any]) -> None:
    put("i")
    assert outcome(write) == "ran"
    in_a_new_process()
    touch()
    opened.clear()
    assert outcome(write) == "skipped"
    assert opened == [("i", True)]
    opened.clear()
    for _ in range(2):
        in_a_new_process()
        assert outcome(write) == "skipped"
    assert opened == []
    put("i", "other")
    assert outcome(write) == "ran"


def test_so_is_an_output_that_was_touched_and_a_folder_in_which_one_file_was(opened: list[Any]) -> None:
    put("i/a")
    put("i/b")
    assert outcome(write) == "ran"
    in_a_new_process()
    touch("i/a")
    touch("o")
    opened.clear()
    assert outcome(write) == "skipped"
    assert sorted(name for name, _ in opened) == ["a", "b", "o"]
    opened.clear()
    in_a_new_process()
    assert outcome(write) == "skipped"
    assert opened == []


def test_what_only_asks_writes_no_stamp(opened: list[Any]) -> None:
    put("i")
    assert outcome(write) == "ran"
    touch()
    stamp = Path(stamps.stamp_path("o"))

    def looks() -> tuple[int, bytes]:
        return stamp.stat().st_mtime_ns, stamp.read_bytes()

    before = looks()

    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t", inputs="i", outputs="o", fresh=runcue.digest())(write)
        assert len(cue.plan(["t"]).up_to_date) == 1
        handle = await cue.submit("t")
        cue.why(handle)
        cue.why_stale(handle)
        async with cue:
            work = await cue.submit("t", outputs="another")
            cue.why(work)
            assert before == looks()

    run(main())
    assert before[1] != stamp.read_bytes()


def test_a_stamp_that_cannot_be_noted_anew_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put("i")
    assert outcome(write) == "ran"

    def refuse(*args: Any) -> None:
        raise runcue.PublishError("read-only")

    monkeypatch.setattr(comparison, "write_stamp", refuse)
    touch()
    assert outcome(write) == "skipped"
    assert warnings(caplog) == []


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "sizes", [[LARGE], [500_000] * 3], ids=["one large file", "three that are large together"]
)
def test_much_is_read_beside_the_event_loop(sizes: list[int], loop: str, opened: list[Any]) -> None:
    names = [f"i{number}" for number in range(len(sizes))]
    for name, size in zip(names, sizes, strict=True):
        put(name, "x" * size)
    assert outcome(write, inputs=names) == "ran"
    in_a_new_process()
    for name in names:
        touch(name)
    opened.clear()
    assert outcome(write, inputs=names, loop=loop) == "skipped"
    assert opened == [(name, False) for name in names]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_large_folder_and_a_large_output_as_well(loop: str, opened: list[Any]) -> None:
    put("i/a", "x" * LARGE)
    put("i/b")

    def handler(work: runcue.Work) -> None:
        put("o", "x" * LARGE, long_ago=False)

    assert outcome(handler) == "ran"
    for name in ("i/b", "o"):
        in_a_new_process()
        touch(name)
        opened.clear()
        assert outcome(handler, loop=loop) == "skipped"
        assert opened
        assert not any(in_main for _, in_main in opened)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("part", ["input", "output"])
def test_what_was_found_beside_the_loop_to_be_other_content_makes_it_run(part: str, loop: str) -> None:
    put("i", "x" * LARGE)

    def handler(work: runcue.Work) -> None:
        put("o", "x" * LARGE, long_ago=False)

    assert outcome(handler) == "ran"
    in_a_new_process()
    put("i" if part == "input" else "o", "y" * LARGE)
    assert outcome(handler, loop=loop) == "ran"
    assert outcome(handler, loop=loop) == "skipped"


def test_what_was_written_just_now_is_read_once_per_asking_however_large(opened: list[Any]) -> None:
    put("i", "x" * LARGE)
    assert outcome(write) == "ran"
    in_a_new_process()
    opened.clear()
    os.utime("i", (time.time() + 60,) * 2)  # of a date in the future nothing is known to last
    assert outcome(write) == "skipped"
    assert opened == [("i", False)]


class Gated:
    """A cue whose one task reads a large file, and whose reading waits until a test lets it go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **service: Any) -> None:
        self.asked: list[str] = []
        self.reading = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.at_once = self.most = 0
        lock = threading.Lock()
        real = comparison.read

        def reading(path: str, *args: Any) -> content.Reading:
            if threading.current_thread() is threading.main_thread():
                return real(path, *args)
            with lock:
                self.at_once += 1
                self.most = max(self.most, self.at_once)
            self.reading.release()
            assert self.go_on.wait(20)
            found = real(path, *args)
            with lock:
                self.at_once -= 1
            return found

        monkeypatch.setattr(comparison, "read", reading)
        self.cue = runcue.Cue()
        if service:
            self.cue.service("s", **service)
        self.cue.task(
            "t",
            uses=["s"] if service else (),
            inputs=lambda work: f"i{work.params['n']}",
            outputs=lambda work: f"o{work.params['n']}",
            fresh=runcue.digest(),
        )(self.handler)
        self.ran: list[int] = []

    async def handler(self, work: runcue.Work) -> None:
        self.ran.append(work.params["n"])
        write(work)

    async def has_begun(self, times: int = 1) -> None:
        for _ in range(times):
            assert await asyncio.to_thread(self.reading.acquire, timeout=20)


def made(number: int) -> None:
    """Large files that were made into something, and touched since."""
    for one in range(number):
        put(f"i{one}", "x" * (2 << 20), long_ago=False)
    wait_a_tick(f"i{number - 1}")

    async def main() -> None:
        cue = runcue.Cue()
        cue.task(
            "t",
            inputs=lambda work: f"i{work.params['n']}",
            outputs=lambda work: f"o{work.params['n']}",
            fresh=runcue.digest(),
        )(write)
        async with cue:
            for one in range(number):
                await cue.submit("t", params={"n": one})
            assert (await cue.drain()).counts["completed"] == number

    run(main())
    for one in range(number):
        os.utime(f"i{one}")
    wait_a_tick(f"i{number - 1}")
    in_a_new_process()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.rule(2)
def test_nobody_waits_for_the_reading_of_another_and_no_slot_is_held_for_it(
    monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    made(1)

    async def main() -> None:
        gated = Gated(monkeypatch, concurrent=1)
        gated.cue.task("other", uses="s")(lambda work: None)
        async with gated.cue:
            reads = await gated.cue.submit("t", params={"n": 0})
            await gated.has_begun()
            await (await gated.cue.submit("other")).result()
            why = gated.cue.why(reads)
            assert (why.verdict, why.details) == (
                "being asked",
                "files that do not look as they did are being read",
            )
            assert not gated.go_on.is_set()
            gated.go_on.set()
            await gated.cue.drain()
            assert gated.cue.why_stale(reads).verdict == "up to date"

    run(main(), loop)


@pytest.mark.rule(2)
def test_is_stale_is_asked_after_that_and_inputs_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    made(3)

    async def main() -> None:
        gated = Gated(monkeypatch, concurrent=1)
        asked = []
        gated.cue.is_stale(task="t")(lambda work: asked.append(work.params["n"]) or work.params["n"] == 1)
        async with gated.cue:
            for one in range(3):
                await gated.cue.submit("t", params={"n": one})
            await gated.has_begun(3)
            put("i0", "y" * (2 << 20))  # others
            put("i1", "y" * (2 << 20))
            remove("i2")
            gated.go_on.set()
            summary = await gated.cue.drain()
            assert sorted(asked) == [0, 1]
            assert gated.ran == [1]
            assert summary.counts["skipped"] == 1
            assert len(summary.blocked) == 1
            put("i2")

    run(main())


@pytest.mark.rule(2, 12)
def test_an_async_is_stale_after_it_holds_a_slot_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    made(6)
    for one in range(6):
        put(f"i{one}", "y" * (2 << 20), long_ago=False)

    async def main() -> None:
        gated = Gated(monkeypatch, concurrent=2)
        at_once = most = 0

        @gated.cue.is_stale
        async def is_stale(work: runcue.Work) -> bool:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.01)
            at_once -= 1
            return True

        async with gated.cue:
            for one in range(6):
                await gated.cue.submit("t", params={"n": one})
            gated.go_on.set()
            summary = await gated.cue.drain()
            assert summary.counts["completed"] == 6
            assert sorted(gated.ran) == list(range(6))
            assert most <= 2

    run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_few_are_read_at_once_however_many_there_are(monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    made(9)

    async def main() -> None:
        gated = Gated(monkeypatch)
        async with gated.cue:
            for one in range(9):
                await gated.cue.submit("t", params={"n": one})
            await gated.has_begun(4)
            await asyncio.sleep(0.05)
            assert gated.most == 4
            gated.go_on.set()
            assert (await gated.cue.drain()).counts["skipped"] == 9
            assert gated.most == 4

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.rule(17, 23)
def test_cancelling_and_stopping_need_not_wait_for_what_is_read(
    monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    made(2)

    async def main() -> None:
        gated = Gated(monkeypatch)
        async with gated.cue:
            first = await gated.cue.submit("t", params={"n": 0})
            second = await gated.cue.submit("t", params={"n": 1})
            await gated.has_begun(2)
            assert await gated.cue.cancel(first)
            assert (await gated.cue.get(first)).state is runcue.WorkState.CANCELLED
            await gated.cue.stop(drain=False)
            assert (await gated.cue.get(second)).state is runcue.WorkState.CANCELLED
        gated.go_on.set()

    run(main(), loop)


@pytest.mark.rule(23)
def test_virtual_time_stands_still_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    made(1)

    @virtual
    async def skips() -> None:
        gated = Gated(monkeypatch)
        async with gated.cue:
            threading.Timer(0.05, gated.go_on.set).start()
            asyncio.get_running_loop().call_later(3600, lambda: None)
            handle = await gated.cue.submit("t", params={"n": 0})
            await gated.cue.drain()
            assert now() == 0
            assert (await gated.cue.get(handle)).skipped

    skips()


def test_a_lack_of_threads_means_that_it_is_read_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    made(1)

    class NoMore(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading, "Thread", NoMore)

    async def main() -> None:
        gated = Gated(monkeypatch)
        async with gated.cue:
            await gated.cue.submit("t", params={"n": 0})
            assert (await gated.cue.drain()).counts["skipped"] == 1

    run(main())


def of_the_first_form(name: str) -> None:
    """A stamp as it was written by the first versions."""
    path = Path(stamps.stamp_path(name))
    path.write_text('{"runcue-stamp":1,"params":null,"inputs":{},"outputs":{}}\n', encoding="utf-8")


@pytest.mark.parametrize("ends_by", ["drain", "stop"])
def test_stamps_of_another_form_are_not_believed_and_one_line_says_how_many_run_by_it(
    caplog: pytest.LogCaptureFixture, ends_by: str
) -> None:
    for one in range(3):
        put(f"o{one}")
        of_the_first_form(f"o{one}")

    async def main() -> list[str]:
        cue = runcue.Cue()
        cue.task("t", outputs=lambda work: f"o{work.params['n']}", fresh=runcue.digest())(write)
        planned = cue.plan([("t", {"n": 0})]).runs
        assert "another version of runcue" in planned[0].reason
        async with cue:
            handles = [await cue.submit("t", params={"n": one}) for one in range(3)]
            if ends_by == "drain":
                await cue.drain()
            await cue.stop()
        return [str(cue.why_stale(handle)) for handle in handles]

    assert all("another version of runcue" in text for text in run(main()))
    said = warnings(caplog)
    assert len(said) == 1
    assert said[0].startswith("3 work units ran again")
    caplog.clear()
    assert not any("another version" in text for text in run(main_again()))
    assert warnings(caplog) == []


async def main_again() -> list[str]:
    cue = runcue.Cue()
    cue.task("t", outputs=lambda work: f"o{work.params['n']}", fresh=runcue.digest())(write)
    async with cue:
        handles = [await cue.submit("t", params={"n": one}) for one in range(3)]
        assert (await cue.drain()).counts["skipped"] == 3
    return [str(cue.why_stale(handle)) for handle in handles]


def test_a_stamp_tells_one_digest_for_each_param() -> None:
    put("i")
    outcome(write, params={"model": "small", "pages": [1, 2]})
    stamp = json.loads(Path(stamps.stamp_path("o")).read_text(encoding="utf-8"))
    assert list(stamp["params"]) == ["model", "pages"]
    assert outcome(write, params={"pages": [1, 2], "model": "small"}) == "skipped"
    assert outcome(write, params={"pages": [1, 2], "model": "small", "more": None}) == "ran"
    assert outcome(write, params={"pages": (1, 2), "model": "small", "more": None}) == "ran"


@pytest.mark.rule(33)
def test_params_that_cannot_be_told_run_each_time_and_it_is_said_which_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    put("i")
    for _ in range(2):
        assert outcome(write, params={"settings": {"clients": [object()]}}) == "ran"
    assert len(warnings(caplog)) == 2
    assert all("params['settings']['clients'][0]" in text for text in warnings(caplog))


def test_a_file_is_input_by_whatever_name_a_link_gives_it() -> None:
    put("real/a")
    Path("link").symlink_to("real")
    put("real/made", "old")
    # The folder that is read has the output in it, by its other name.
    assert [outcome(write, inputs="link", outputs=File("real/made")) for _ in range(2)] == ["ran", "skipped"]
    put("real/a", "other")
    assert outcome(write, inputs="link", outputs=File("real/made")) == "ran"
