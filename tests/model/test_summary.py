"""What a `Summary` says in a line: how many ended how, and which of the skipped are downstream of a failure."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import runcue
from runcue._artifacts.looks import is_recent
from tests.support.virtual_time import virtual


def pipeline(cue: runcue.Cue, folder: Path) -> None:
    """Pages that are rendered, then read, then bound; rendering fails where the params say so."""

    def path(name: str) -> object:
        return lambda work: folder / f"{name}-{work.params['page']}"

    @cue.task("render", inputs=path("source"), outputs=path("picture"))
    async def render(work: runcue.Work) -> None:
        if work.params.get("fails"):
            raise ValueError("no ink")
        work.outputs[0].path.write_text("picture")

    @cue.task("read", inputs=path("picture"), outputs=path("text"))
    async def read(work: runcue.Work) -> None:
        work.outputs[0].path.write_text("text")

    @cue.task("bind", inputs=path("text"), outputs=path("book"))
    async def bind(work: runcue.Work) -> None:
        work.outputs[0].path.write_text("book")

    cue.on_failure(lambda work, error: None)


async def run_of(folder: Path, pages: int, fails: set[int], *, twice: bool = False) -> runcue.Summary:
    cue = runcue.Cue(id_prefix="")
    pipeline(cue, folder)
    cue.start()
    for page in range(pages):
        params = {"page": page}
        if page in fails or not (folder / f"source-{page}").exists():
            (folder / f"source-{page}").write_text("source")
        await cue.submit("render", params=params | {"fails": page in fails})
        for _ in range(2 if twice else 1):
            await cue.submit("read", params=params)
            await cue.submit("bind", params=params)
    summary = await cue.stop()
    let_be_old(folder)
    return summary


def let_be_old(folder: Path) -> None:
    """Wait: what was changed so lately that one more change might look the same is in doubt after a failure."""
    while any(is_recent(path.stat(), time.time_ns()) for path in folder.iterdir()):
        time.sleep(0.005)


@virtual
async def test_what_is_downstream_of_a_failure_is_told_apart_from_what_is_up_to_date(tmp_path: Path) -> None:
    await run_of(tmp_path, 4, set())
    summary = await run_of(tmp_path, 4, {3})
    assert summary.counts == {"completed": 0, "skipped": 11, "failed": 1, "cancelled": 0}
    assert summary.downstream == 2
    failed = summary.failed[0].id
    line = f"11 skipped (9 up to date, 2 not run because of render {failed}), 1 failed in 0.00 s"
    assert str(summary).splitlines() == [
        line,
        "",
        "task    skipped  failed",
        "render        3       1",
        "read          4       -",
        "bind          4       -",
        "",
        "1 of render failed: ValueError: no ink",
        f"  {failed} {{'page': 3, 'fails': True}}",
    ]
    assert repr(summary) == f"<Summary {line}>"


@virtual
async def test_where_all_that_was_skipped_is_downstream_nothing_is_called_up_to_date(tmp_path: Path) -> None:
    await run_of(tmp_path, 2, set())
    summary = await run_of(tmp_path, 2, {0, 1})
    line = str(summary).splitlines()[0]
    assert line == "4 skipped (4 not run because of render 1, render 4), 2 failed in 0.00 s"


@virtual
async def test_of_many_failures_a_few_are_named(tmp_path: Path) -> None:
    await run_of(tmp_path, 9, set())
    summary = await run_of(tmp_path, 9, set(range(9)))
    assert summary.downstream == 18
    assert "because of render 1, render 4, render 7 and others)" in str(summary)


@virtual
async def test_who_has_joined_what_is_downstream_of_a_failure_is_downstream_too(tmp_path: Path) -> None:
    await run_of(tmp_path, 1, set())
    summary = await run_of(tmp_path, 1, {0}, twice=True)
    assert (summary.counts["skipped"], summary.downstream) == (4, 4)


@virtual
async def test_without_a_failure_what_was_skipped_is_up_to_date(tmp_path: Path) -> None:
    await run_of(tmp_path, 3, set())
    summary = await run_of(tmp_path, 3, set())
    assert (summary.downstream, repr(summary)) == (0, "<Summary 9 skipped in 0.00 s>")


@virtual
async def test_what_was_made_anew_after_all_is_no_reason_any_more(tmp_path: Path) -> None:
    await run_of(tmp_path, 1, set())
    cue = runcue.Cue()
    pipeline(cue, tmp_path)
    cue.start()
    (tmp_path / "source-0").write_text("source")
    await cue.submit("render", params={"page": 0, "fails": True})
    await cue.submit("read", params={"page": 0})
    await cue.submit("bind", params={"page": 0})
    assert (await cue.drain()).downstream == 2
    await cue.submit("render", params={"page": 0})
    await cue.submit("read", params={"page": 0})
    await cue.drain()
    await cue.submit("read", params={"page": 0})
    await cue.submit("bind", params={"page": 0})
    summary = await cue.stop()
    assert summary.downstream == 2
    assert summary.counts["completed"] == 3


@virtual
async def test_each_start_counts_anew(tmp_path: Path) -> None:
    await run_of(tmp_path, 1, set())
    cue = runcue.Cue()
    pipeline(cue, tmp_path)
    (tmp_path / "source-0").write_text("source")
    for fails, downstream in ((True, 2), (False, 0)):
        cue.start()
        await cue.submit("render", params={"page": 0, "fails": fails})
        await cue.submit("read", params={"page": 0})
        await cue.submit("bind", params={"page": 0})
        summary = await cue.stop()
        assert summary.downstream == downstream


@pytest.mark.parametrize("number", [1, 3])
def test_what_a_stop_has_cancelled_is_counted_once(number: int) -> None:
    @virtual
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)
        cue.is_ready(lambda work: (False, "not yet"))
        cue.start()
        for _ in range(number):
            await cue.submit("t")
        assert str(await cue.drain()) == f"nothing ran, {number} blocked in 0.00 s"
        them = "it" if number == 1 else "they"
        assert str(await cue.stop()) == f"{number} cancelled before {them} could start in 0.00 s"

    main()


@virtual
async def test_what_was_cancelled_by_the_user_is_told_apart_from_what_a_stop_gave_up() -> None:
    cue = runcue.Cue()
    cue.task("t")(lambda work: None)
    cue.is_ready(lambda work: (False, "not yet"))
    cue.start()
    first = await cue.submit("t")
    await cue.submit("t")
    await cue.cancel(first)
    assert str(await cue.stop()) == "2 cancelled (1 of them before it could start) in 0.00 s"
