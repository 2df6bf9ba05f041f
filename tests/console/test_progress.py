"""`with runcue.progress(cue):` around a program: in and out of async code, on all kinds of loops, whatever happens."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
import threading
import time
from pathlib import Path

import pytest

import runcue
from runcue.console.views import Lines
from runcue.testing import run
from tests.support.programs import but_for_slowness, run_python
from tests.support.virtual_time import virtual

PAUSE = 0.05


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that do not keep a test waiting."""
    monkeypatch.setattr(Lines, "delay", PAUSE)
    monkeypatch.setattr(Lines, "pause", PAUSE)


def napping(seconds: float = 0.0) -> runcue.Cue:
    cue = runcue.Cue()

    @cue.task("nap")
    async def nap(work: runcue.Work) -> None:
        await asyncio.sleep(seconds)

    return cue


def lines(file: io.StringIO) -> list[str]:
    return file.getvalue().splitlines()


async def until(file: io.StringIO, pattern: str) -> None:
    async with asyncio.timeout(10):
        while not re.search(pattern, file.getvalue()):
            await asyncio.sleep(0.01)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "runcue-progress"]


async def test_without_a_terminal_a_line_is_written_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    cue = napping()
    with runcue.progress(cue, title="Naps"):
        async with cue:
            for _ in range(7):
                await cue.submit("nap")
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"Naps: 0\.\d s: 100%, 7 of 7, 0 pending, 0 running, 0 failed, \d+/s in all\n", err)
    assert threads() == []


async def test_without_a_terminal_a_line_is_written_every_few_seconds(quick: None) -> None:
    cue, file = napping(60.0), io.StringIO()
    cue.service("one", concurrent=1)
    with runcue.progress(cue, file=file):
        cue.start()
        for _ in range(3):
            await cue.submit("nap")
        await until(file, "3 running")
        await cue.stop(drain=False, timeout=0)
    assert (Lines.delay, Lines.pause) == (PAUSE, PAUSE)
    assert re.fullmatch(
        r"0.\d s: 0%, 0 of 3, \d pending, 3 running, 0 failed, 0/s in all, ETA \? .*", lines(file)[-2]
    )
    assert lines(file)[-1].startswith("0.")
    assert "100%, 3 of 3, 0 pending, 0 running" in lines(file)[-1]


def test_lines_are_some_seconds_apart() -> None:
    assert Lines.delay == Lines.pause == 5.0


def test_it_can_be_around_everything() -> None:
    cue, file = napping(), io.StringIO()

    async def main() -> None:
        async with cue:
            for _ in range(5):
                await cue.submit("nap")

    with runcue.progress(cue, file=file):
        runcue.run(main)
    assert "100%, 5 of 5" in lines(file)[-1]


def test_it_can_be_around_two_runs(quick: None) -> None:
    cue, file = napping(0.1), io.StringIO()

    async def main(number: int) -> None:
        async with cue:
            for _ in range(number):
                await cue.submit("nap")

    with runcue.progress(cue, file=file):
        asyncio.run(main(2))
        time.sleep(4 * PAUSE)  # long enough to see that the loop has ended
        runcue.run(main(3))
    assert "100%, 5 of 5" in lines(file)[-1]
    assert not any("answered" in line for line in lines(file))


def test_nothing_at_all_happens_inside() -> None:
    cue, file = napping(), io.StringIO()
    with runcue.progress(cue, total=4, file=file):
        pass
    assert lines(file) == ["0.0 s: 0%, 0 of 4, 0 pending, 0 running, 0 failed, 0/s in all, ETA ?"]


async def test_it_may_begin_late_and_end_early() -> None:
    cue, file = napping(0.2), io.StringIO()
    async with cue:
        for _ in range(3):
            await cue.submit("nap")
        await asyncio.sleep(0.05)
        with runcue.progress(cue, file=file):
            await cue.submit("nap")
            await asyncio.sleep(0.05)
        said = file.getvalue()
    assert "0 of 4, 0 pending, 4 running" in said
    assert file.getvalue() == said
    assert threads() == []


async def test_a_cue_that_is_stopped_inside_is_shown_to_the_end(quick: None) -> None:
    cue, file = napping(), io.StringIO()
    with runcue.progress(cue, file=file):
        async with cue:
            await cue.submit("nap")
        await until(file, "100%, 1 of 1")
        async with cue:
            await cue.submit("nap")
    assert "100%, 2 of 2" in lines(file)[-1]


async def test_an_exception_inside_goes_through() -> None:
    cue, file = napping(60.0), io.StringIO()

    async def fails() -> None:
        with runcue.progress(cue, file=file):
            async with cue:
                await cue.submit("nap")
                await asyncio.sleep(0.01)
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    assert "100%, 1 of 1" in lines(file)[-1]
    assert threads() == []


async def test_one_can_be_used_again_but_not_twice_at_a_time() -> None:
    cue, file = napping(), io.StringIO()
    shown = runcue.progress(cue, file=file)
    for _ in range(2):
        with shown:
            async with cue:
                await cue.submit("nap")
            with pytest.raises(runcue.UsageError, match="needs one of its own"):
                shown.__enter__()
    assert ["1 of 1" in line for line in lines(file)] == [True, True]


async def test_nested_ones_show_their_cues() -> None:
    one, other = napping(), napping()
    file = io.StringIO()
    with (
        runcue.progress(one, title="one", file=file),
        runcue.progress(other, title="other", file=file),
        runcue.progress(one, title="one again", file=file),
    ):
        async with one, other:
            await one.submit("nap")
    assert [line.partition(":")[0] for line in lines(file)] == ["one again", "other", "one"]
    assert ["1 of 1" in line for line in lines(file)] == [True, False, True]


def test_a_cue_in_another_thread_is_shown(quick: None) -> None:
    cue, file = napping(), io.StringIO()
    with runcue.blocking(cue) as blocking, runcue.progress(cue, file=file):
        blocking.wait(blocking.submit("nap"))
        blocking.wait(blocking.submit("nap"))
    assert "100%, 2 of 2" in lines(file)[-1]
    with runcue.progress(cue, file=file), runcue.blocking(cue) as blocking:
        blocking.wait(blocking.submit("nap"))
    assert "100%, 1 of 1" in lines(file)[-1]


async def test_a_loop_that_does_not_answer_is_shown_as_that(quick: None) -> None:
    cue, file = napping(), io.StringIO()
    with runcue.progress(cue, file=file):
        async with cue:
            await cue.submit("nap")
            await until(file, "1 of 1")
            time.sleep(3.6)  # noqa: ASYNC251 - that is it
            frozen = lines(file)
            await cue.submit("nap")
            said = len(frozen)
            await until(file, r"100%, 2 of 2")
    assert re.search(r"1 of 1.*, the event loop has not answered for [23] s$", frozen[-1])
    assert "answered" not in lines(file)[-1]
    assert not any("answered" in line for line in lines(file)[said + 1 :])


def test_a_virtual_clock_is_not_kept_going(quick: None) -> None:
    cue, file = napping(3600.0), io.StringIO()
    cue.service("api", rate="1/day")

    async def main() -> tuple[float, float]:
        with runcue.progress(cue, file=file):
            async with cue:
                await cue.submit("nap")
            ended = asyncio.get_running_loop().time()
            deadline = time.monotonic() + 10 * PAUSE
            while time.monotonic() < deadline:
                await asyncio.sleep(1.0)
        return ended, asyncio.get_running_loop().time()

    ended, _ = run(main)
    assert ended == 3600.0
    assert "of virtual time" not in file.getvalue()
    assert re.match(r"\d+ min|\d+ h", lines(file)[-1])


def test_where_nothing_is_left_that_is_still_found_out(quick: None) -> None:
    async def main() -> None:
        with runcue.progress(napping(), file=io.StringIO()):
            await asyncio.get_running_loop().create_future()

    with pytest.raises(runcue.testing.NothingLeft):
        run(main)
    assert threads() == []


@pytest.mark.parametrize("order", [None, 1, 2, 3])
def test_what_happens_is_the_same_with_and_without(order: int | None, quick: None) -> None:
    def happened(*, shown: bool) -> list[object]:
        cue = runcue.Cue(id_prefix="")
        cue.service("api", rate="20/min", concurrent=3)
        events: list[object] = []

        @cue.task("ask", uses="api")
        async def ask(work: runcue.Work) -> None:
            events.append((work.id, asyncio.get_running_loop().time()))
            await asyncio.sleep(work.params["n"] % 7)

        async def main() -> None:
            async with cue:
                for n in range(100):
                    await cue.submit("ask", params={"n": n})

        async def watched() -> None:
            with runcue.progress(cue, file=io.StringIO()):
                await main()

        run(watched if shown else main, order=order)
        return events

    assert happened(shown=True) == happened(shown=False)


async def test_a_drain_does_not_wait_for_it(quick: None) -> None:
    cue = napping()
    with runcue.progress(cue, file=io.StringIO()):
        cue.start()
        async with asyncio.timeout(5):
            assert (await cue.drain()).blocked == []
        await cue.stop()


async def test_it_lets_go_of_the_cue() -> None:
    cue = napping()
    before = [list(there) for there in cue._listeners.of]
    with runcue.progress(cue, file=io.StringIO()):
        assert [list(there) for there in cue._listeners.of] != before
    assert [list(there) for there in cue._listeners.of] == before


async def test_what_fails_in_it_is_told_and_disturbs_nothing(
    quick: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Lines, *arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Lines, "show", fails)
    cue, file = napping(), io.StringIO()
    with runcue.progress(cue, file=file):
        async with cue:
            await cue.submit("nap")
            async with asyncio.timeout(10):
                while not caplog.records:
                    await asyncio.sleep(0.01)
    [record] = caplog.records
    assert record.getMessage() == "runcue.progress() has failed and shows nothing more; the cue goes on."
    assert file.getvalue() == ""


async def test_a_snapshot_that_fails_is_told_and_disturbs_nothing(
    quick: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cue, file = napping(), io.StringIO()

    def fails() -> object:
        raise ZeroDivisionError

    with runcue.progress(cue, file=file):
        async with cue:
            await cue.submit("nap")
            monkeypatch.setattr(cue, "services", fails)
            async with asyncio.timeout(10):
                while not caplog.records:
                    await asyncio.sleep(0.01)
            monkeypatch.undo()
    assert [record.name for record in caplog.records] == ["runcue"]


async def test_a_reader_that_has_left_ends_nothing(quick: None) -> None:
    class Left(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    cue = napping()
    with runcue.progress(cue, file=Left()):
        async with cue:
            await cue.submit("nap")
            await asyncio.sleep(3 * PAUSE)


async def test_without_standard_error_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    cue = napping()
    with runcue.progress(cue):
        async with cue:
            await cue.submit("nap")


async def test_an_encoding_gets_signs_that_it_has() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, "ascii")
    cue = napping()
    with runcue.progress(cue, title="Nickerchen für 漢字 \x1b[2J", file=file):
        async with cue:
            await cue.submit("nap")
    assert raw.getvalue().startswith(b"Nickerchen f?r ??  [2J: 0.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cue": "a cue"}, r"progress\(\) shows a runcue.Cue, not 'a cue'"),
        ({"total": -1}, "total must be a whole number of at least 0, or None, not -1"),
        ({"total": 2.5}, "total must be a whole number"),
    ],
)
def test_what_cannot_work_is_told_at_once(options: dict[str, object], message: str) -> None:
    with pytest.raises(runcue.ConfigurationError, match=message):
        runcue.progress(**{"cue": napping(), **options})  # type: ignore[arg-type]


def test_without_rich_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(runcue.ConfigurationError, match=r"pip install runcue\[console\]$"):
        runcue.progress(napping())


def test_rich_is_imported_only_when_something_is_shown() -> None:
    code = """
import sys, runcue
assert not [name for name in sys.modules if name.startswith(("rich", "runcue.console"))]
assert "progress" in dir(runcue)
from runcue import *
shown = progress(Cue())
assert "rich" not in sys.modules and "IPython" not in sys.modules
with shown: pass
assert "rich" in sys.modules and "IPython" not in sys.modules
"""
    run_python("-W", "error", "-c", code, check=True)


def test_a_program_that_exits_inside_leaves_its_line() -> None:
    code = """
import runcue, sys
with runcue.progress(runcue.Cue(), title="Naps"):
    sys.exit(3)
"""
    done = run_python("-c", code)
    assert done.returncode == 3
    assert done.stderr == "Naps: 0.0 s: 0%, 0 of 0, 0 pending, 0 running, 0 failed, 0/s in all, ETA ?\n"


# --- In a notebook ----------------------------------------------------------------------------------------------------


CELL = """
import asyncio, runcue
cue = runcue.Cue()
@cue.task("nap")
async def nap(work):
    await asyncio.sleep(0.7)
with runcue.progress(cue, title="Naps & <co>"):
    async with cue:
        for _ in range(3):
            await cue.submit("nap")
        await asyncio.sleep(0)
        print("printed in the middle")
"""


def test_a_notebook_gets_one_block_that_is_updated_in_place() -> None:
    """IPython itself, with a kernel that has nobody at its other end."""
    pytest.importorskip("IPython", reason="the block of notebooks is NOT tested: IPython is not installed")
    code = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.displaypub import DisplayPublisher
from tests.console.test_progress import CELL
class Page(DisplayPublisher):
    def publish(self, data, metadata=None, *, transient=None, update=False, **others):
        shown.append((data, transient, update))
shown = []
shell = InteractiveShell.instance(display_pub_class=Page)
shell.kernel = object()
shell.run_cell(CELL).raise_error()
print(json.dumps(shown))
"""
    done = run_python("-W", "ignore", "-c", code, check=True)
    *_, printed, published = done.stdout.splitlines()
    assert printed == "printed in the middle"
    assert but_for_slowness(done.stderr) == ""
    shown = json.loads(published)
    assert [update for _, _, update in shown] == [False, *[True] * (len(shown) - 1)]
    assert len(shown) >= 2
    assert len({transient["display_id"] for _, transient, _ in shown}) == 1
    last, _, _ = shown[-1]
    assert re.search(r"Naps & <co>\n.*100%  done\n3 of 3 ", last["text/plain"])
    assert "Naps &amp; &lt;co&gt;" in last["text/html"]
    assert "<script" not in last["text/html"]


def test_a_real_notebook_has_one_output_for_it(tmp_path: Path) -> None:
    for needed in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(needed, reason=f"a real notebook is NOT tested: {needed} is not installed")
    code = f"""
import json, nbclient, nbformat
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell({CELL!r})])
nbclient.NotebookClient(notebook, timeout=40).execute()
print(json.dumps(notebook.cells[0].outputs))
"""
    outputs = json.loads(run_python("-W", "ignore", "-c", code, check=True).stdout.splitlines()[-1])
    [block] = [output for output in outputs if output["output_type"] == "display_data"]
    assert re.search(r"100%  done\n3 of 3 ", block["data"]["text/plain"])
    [printed] = [output for output in outputs if output["output_type"] == "stream"]
    assert printed["text"] == "printed in the middle\n"


@virtual
async def test_async_with_is_told_that_it_is_a_plain_with() -> None:
    with pytest.raises(runcue.UsageError, match=r"write `with runcue.progress\(cue\):`, without async"):
        async with runcue.progress(runcue.Cue()):  # type: ignore[attr-defined]
            pass
