"""No work unit runs again for ever in silence: what leaves no lasting proof is told once per task, with the remedy."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import File, Flag
from runcue.abc import CueWarning
from tests.support.virtual_time import virtual

HOUR = 3600.0


class Heard(runcue.Observer):
    def __init__(self) -> None:
        self.warnings: list[CueWarning] = []

    def warned(self, warning: CueWarning) -> None:
        self.warnings.append(warning)


class Row(runcue.Artifact):
    """A row with whatever version a test wants."""

    def __init__(self, name: str, version: Callable[[], Any]) -> None:
        self.name = name
        self._version = version

    def valid(self) -> bool:
        return True

    def version(self) -> Any:
        return self._version()


@pytest.fixture(autouse=True)
def _with_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("i").write_text("in", encoding="utf-8")
    dated("i", time.time() - HOUR)


def dated(name: str, at: float) -> None:
    os.utime(name, (at, at))


def plainly(work: runcue.Work) -> None:
    Path("o").write_text("out", encoding="utf-8")


def atomically(work: runcue.Work) -> None:
    with work.write("o") as file:
        file.write("out")


async def in_the_loop(work: runcue.Work) -> None:
    plainly(work)


def with_an_old_date(work: runcue.Work) -> None:
    plainly(work)
    dated("o", 1e9)


async def with_an_old_date_in_the_loop(work: runcue.Work) -> None:
    with_an_old_date(work)


def by_a_hard_link(work: runcue.Work) -> None:
    Path("o").unlink(missing_ok=True)
    os.link("i", "o")


def by_a_link(work: runcue.Work) -> None:
    Path("o").unlink(missing_ok=True)
    Path("o").symlink_to("i")


def by_a_copy_with_its_dates(work: runcue.Work) -> None:
    plainly(work)
    at = Path("i").stat().st_mtime_ns
    os.utime("o", ns=(at, at))


def only_if_it_differs(work: runcue.Work) -> None:
    if not Path("o").exists():
        plainly(work)
        dated("o", time.time() - 2 * HOUR)


def in_the_future(work: runcue.Work) -> None:
    plainly(work)
    dated("o", time.time() + HOUR)


def twice(
    handler: Callable[..., Any],
    inputs: Any = "i",
    outputs: Any = "o",
    fresh: Any = None,
    before: Callable[[], object] = lambda: None,
) -> tuple[list[str], list[CueWarning]]:
    """Submits the same twice. Returns what became of it, and what was warned of."""

    async def main() -> tuple[list[str], list[CueWarning]]:
        cue, heard = runcue.Cue(), Heard()
        cue.observe(heard)
        cue.task("t", inputs=inputs, outputs=outputs, fresh=fresh or runcue.newer())(handler)
        became = []
        async with cue:
            for _ in range(2):
                before()
                handle = await cue.submit("t")
                await cue.drain()
                work = await cue.get(handle)
                became.append("skipped" if work.skipped else work.state.value)
        return became, heard.warnings

    return asyncio.run(main())


@pytest.mark.rule(33)
@pytest.mark.parametrize("fresh", [runcue.newer(), runcue.digest(), None], ids=repr)
@pytest.mark.parametrize("handler", [plainly, atomically, in_the_loop, by_a_link, by_a_copy_with_its_dates])
def test_what_leaves_lasting_proof_is_skipped_and_nothing_is_said(
    handler: Callable[..., Any], fresh: Any
) -> None:
    assert twice(handler, fresh=fresh) == (["completed", "skipped"], [])


@pytest.mark.rule(33)
@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (with_an_old_date, ["2001-09-09 ", "File('o').touch()", "digest()"]),
        (with_an_old_date_in_the_loop, ["2001-09-09 ", "File('o').touch()"]),
        (only_if_it_differs, ["File('o').touch()"]),
        (by_a_hard_link, ["one file", "copy it"]),
        (in_the_future, ["in the future", "now:"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_its_dates_make_stale_at_once_is_told_once_with_them_and_the_remedy(
    handler: Callable[..., Any], words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    dated("i", time.time() - HOUR + 0.25)
    became, warnings = twice(handler)
    assert became == ["completed", "completed"]
    assert [warning.kind for warning in warnings] == ["still_stale"]
    text = warnings[0].text
    assert len(warnings[0].works) == 1
    assert [record.getMessage() for record in caplog.records if record.name == "runcue"] == [text]
    assert all(
        word in text for word in ["task t", "File('o')", "File('i')" if "future" not in text else "", *words]
    )
    assert text.count(time.strftime("%Y-")) + text.count("2001-") == 2
    assert len(text) < 500


@pytest.mark.parametrize(
    "handler",
    [
        with_an_old_date,
        only_if_it_differs,
        by_a_hard_link,
        by_a_link,
        by_a_copy_with_its_dates,
        in_the_future,
    ],
)
def test_by_content_none_of_these_matters(handler: Callable[..., Any]) -> None:
    assert twice(handler, fresh=runcue.digest()) == (["completed", "skipped"], [])


@pytest.mark.rule(33)
def test_an_input_that_is_dated_in_the_future_is_told(caplog: pytest.LogCaptureFixture) -> None:
    dated("i", time.time() + HOUR)
    became, warnings = twice(plainly)
    assert became == ["completed", "completed"]
    assert [warning.kind for warning in warnings] == ["still_stale"]
    assert "File('i') is dated in the future" in warnings[0].text
    assert "File('i').touch()" in warnings[0].text
    assert twice(plainly, fresh=runcue.digest()) == (["completed", "skipped"], [])


@pytest.mark.rule(33)
@pytest.mark.parametrize("fresh", [runcue.newer(), runcue.digest()], ids=repr)
def test_a_version_that_is_another_one_each_time_is_told(fresh: Any) -> None:
    became, warnings = twice(plainly, inputs=Row("r", time.time_ns), fresh=fresh)
    assert became == ["completed", "completed"]
    assert [warning.kind for warning in warnings] == ["still_stale"]
    assert "Row(name='r')" in warnings[0].text
    assert "version()" in warnings[0].text


def test_a_version_without_a_date_is_told_as_it_is() -> None:
    became, warnings = twice(lambda work: None, inputs=Row("in", lambda: 5), outputs=Row("out", lambda: 4))
    assert became == ["completed", "completed"]
    assert [warning.kind for warning in warnings] == ["still_stale"]
    assert "Row(name='out'): 4, Row(name='in'): 5" in warnings[0].text


def test_a_policy_of_the_users_own_is_told_in_its_words() -> None:
    class Never:
        def stale(self, work: Any) -> Any:
            return "not to my liking", work.outputs[0], None

        def started(self, work: Any) -> None: ...

        def finished(self, work: Any) -> None: ...

    became, warnings = twice(plainly, fresh=Never())
    assert became == ["completed", "completed"]
    assert "not to my liking: File('o')" in warnings[0].text


@pytest.mark.parametrize("fresh", [runcue.newer(), runcue.digest()], ids=repr)
def test_an_input_that_changed_during_the_run_is_told_by_itself(
    fresh: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(work: runcue.Work) -> None:
        dated("i", time.time() + 0.01)
        plainly(work)

    became, warnings = twice(handler, fresh=fresh)
    assert became == ["completed", "completed"]
    (warning,) = warnings
    assert warning.kind == "still_stale"
    assert warning.text in caplog.text
    told = "before: 20", "after: 20", "changed while it ran", "declare this as an output as well", "File('i')"
    assert all(words in warning.text for words in told)


@pytest.mark.rule(33)
@pytest.mark.parametrize("fresh", [runcue.newer(), runcue.digest()], ids=repr)
@pytest.mark.parametrize("in_loop", [False, True])
def test_a_handler_that_changes_its_input_each_time_is_told_of_once(fresh: Any, in_loop: bool) -> None:
    def change(work: runcue.Work) -> None:
        grow()
        plainly(work)

    async def change_in_the_loop(work: runcue.Work) -> None:
        change(work)

    heard = changed_in(change_in_the_loop if in_loop else change, fresh, [0.0, 100.0, 100.0, 100.0])
    assert len(heard) == 1


@pytest.mark.rule(33)
@pytest.mark.parametrize("fresh", [runcue.newer(), runcue.digest()], ids=repr)
def test_what_somebody_else_changes_now_and_then_is_told_of_again_after_a_minute(fresh: Any) -> None:
    runs = iter("c.c.c")  # the third comes 40 s after the first, the fifth 80 s after it

    async def handler(work: runcue.Work) -> None:
        if next(runs) == "c":
            grow()
        plainly(work)

    assert len(changed_in(handler, fresh, [0.0, 20.0, 20.0, 20.0, 20.0])) == 2


def grow() -> None:
    with Path("i").open("a") as file:
        file.write("more")


def changed_in(handler: Callable[..., Any], fresh: Any, pauses: list[float]) -> list[CueWarning]:
    """What is warned of when the same runs again and again, after so many seconds each."""
    cue, heard = runcue.Cue(), Heard()
    cue.observe(heard)
    cue.task("t", inputs="i", outputs="o", fresh=fresh)(handler)

    async def main() -> None:
        async with cue:
            for pause in pauses:
                await asyncio.sleep(pause)
                handle = await cue.submit("t", force=True)
                await handle.wait()

    virtual(main)()
    return heard.warnings


@pytest.mark.rule(33)
@pytest.mark.parametrize("fresh", [runcue.newer()], ids=repr)
def test_an_output_from_the_future_proves_nothing_where_nothing_is_needed_either(fresh: Any) -> None:
    async def main() -> tuple[list[bool], list[CueWarning]]:
        cue, heard = runcue.Cue(), Heard()
        cue.observe(heard)
        cue.task("t", outputs="o", fresh=fresh)(plainly)
        skipped = []
        in_the_future(None)  # type: ignore[arg-type]
        async with cue:
            for _ in range(2):
                handle = await cue.submit("t")
                await handle.wait()
                skipped.append(handle.work.skipped)
                if not skipped[-1]:
                    assert "dated in the future" in str(cue.why_stale(handle))
        return skipped, heard.warnings

    skipped, warnings = asyncio.run(main())
    assert skipped == [False, True]
    (warning,) = warnings
    assert "in the future" in warning.text
    assert "now:" in warning.text


def test_what_leaves_an_output_in_the_future_is_told_where_nothing_is_needed() -> None:
    became, warnings = twice(in_the_future, inputs=())
    assert became == ["completed", "completed"]
    assert [warning.kind for warning in warnings] == ["still_stale"]


@pytest.mark.parametrize("fresh", [runcue.newer(), runcue.digest()], ids=repr)
def test_an_input_that_changes_only_afterwards_is_no_fault_of_the_run(fresh: Any) -> None:
    flag = Flag("changes")
    flag.set()
    assert twice(plainly, inputs=[flag, "i"], fresh=fresh, before=flag.set) == (
        ["completed", "completed"],
        [],
    )


def test_what_is_changed_in_place_is_up_to_date() -> None:
    def handler(work: runcue.Work) -> None:
        Path("i").write_text("again", encoding="utf-8")
        done.set()

    done = Flag("done")
    assert twice(handler, inputs="i", outputs="i") == (["skipped", "skipped"], [])
    assert twice(handler, inputs="i", outputs=["i", done]) == (["completed", "skipped"], [])


def test_a_folder_that_holds_its_own_output_is_no_news() -> None:
    Path("d").mkdir()
    assert twice(lambda work: Path("d/x").write_text("x", "utf-8") and None, inputs="d", outputs="d/x") == (
        ["completed", "skipped"],
        [],
    )


def test_a_filesystem_of_whole_seconds_makes_it_run_once_more_which_is_told_only_if_it_happens_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = os.utime
    second = int(time.time()) * 1_000_000_000
    monkeypatch.setattr(os, "utime", lambda path, *args, **named: real(path, ns=(second, second)))
    os.utime("i")

    def handler(work: runcue.Work) -> None:
        plainly(work)
        os.utime("o")

    async def main(times: int) -> list[str]:
        cue, heard = runcue.Cue(), Heard()
        cue.observe(heard)
        cue.task("t", inputs="i", outputs="o")(handler)
        async with cue:
            for _ in range(times):
                await cue.submit("t")
                assert (await cue.drain()).counts["skipped"] == 0
        return [warning.kind for warning in heard.warnings]

    assert asyncio.run(main(1)) == []
    assert asyncio.run(main(2)) == ["still_stale"]


@pytest.mark.rule(33)
def test_each_task_is_told_of_once_however_many_run() -> None:
    async def main() -> list[CueWarning]:
        cue, heard = runcue.Cue(), Heard()
        cue.observe(heard)

        def handler(work: runcue.Work) -> None:
            for output in work.outputs:
                Path(output).write_text("out", encoding="utf-8")
                dated(output, 1e9)

        for name in ("a", "b", "c"):
            cue.task(name, inputs="i", outputs=lambda work: f"{work.task}{work.params['n']}")(handler)
        async with cue:
            for number in range(20):
                for name in ("a", "b"):
                    await cue.submit(name, params={"n": number})
            await cue.drain()
        async with cue:
            await cue.submit("c", params={"n": 0})
            await cue.submit("a", params={"n": 0})
        return heard.warnings

    warnings = asyncio.run(main())
    assert sorted((one.kind, one.works[0].task) for one in warnings) == [
        ("still_stale", name) for name in ("a", "b", "c")
    ]


@pytest.mark.rule(13)
def test_an_artifact_that_raises_when_it_is_asked_after_a_run_hurts_nobody() -> None:
    asked = []

    def version() -> int:
        asked.append(1)
        if len(asked) == 2:
            raise RuntimeError("broken")
        return 1

    became, warnings = twice(plainly, inputs=Row("r", version))
    assert became == ["completed", "skipped"]
    assert [warning.kind for warning in warnings] == ["raised"]


def test_a_rehearsal_says_nothing_of_it() -> None:
    from runcue import rehearsal

    async def main() -> list[CueWarning]:
        cue, heard = runcue.Cue(), Heard()
        cue.task("t", inputs="i", outputs=File("o"))(with_an_old_date)
        rehearsal.rehearse(cue, lambda work: 0.0)
        cue.observe(heard)
        async with cue:
            await cue.submit("t")
            assert (await cue.drain()).counts["completed"] == 1
        return heard.warnings

    assert asyncio.run(main()) == []
