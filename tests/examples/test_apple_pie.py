"""The apple pie example: a day of waiting on the virtual clock, and the program as a user runs it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter
from pathlib import Path

import runcue
import runcue.testing
from examples.apple_pie import DAY, HOUR, MINUTE, Kitchen, bake, kitchen_cue
from tests.support.programs import run_example

PROGRAM = Path(__file__).parents[2] / "examples" / "apple_pie.py"
PIES = ["apple", "tatin", "strudel", "crumble"]


def kitchen_on_the_loops_clock(folder: Path, *, max_age: float = DAY, baking: float = 40 * MINUTE) -> Kitchen:
    loop = asyncio.get_running_loop()
    return Kitchen(folder, now=loop.time, max_age=max_age, slicing=10 * MINUTE, baking=baking)


class Watcher:
    """Notes who uses what and when, by the cue's own events."""

    def __init__(self, cue: runcue.Cue, kitchen: Kitchen) -> None:
        self.starts: Counter[tuple[str, str]] = Counter()
        self.in_use: Counter[str] = Counter()
        self.most_in_use: Counter[str] = Counter()
        self.age_at_baking: list[float] = []

        @cue.on_start
        def started(work: runcue.Work) -> None:
            pie = work.params["pie"]
            self.starts[work.task, pie] += 1
            self.in_use[work.task] += 1
            self.most_in_use[work.task] = max(self.most_in_use[work.task], self.in_use[work.task])
            if work.task == "make_pie":
                sliced_at = json.loads(kitchen.slices_path(pie).read_text())["sliced_at"]
                self.age_at_baking.append(kitchen.now() - sliced_at)

        @cue.on_complete
        def completed(work: runcue.Work, result: object, duration: float) -> None:
            self.in_use[work.task] -= 1


def test_apples_are_sliced_once_and_again_only_when_a_day_has_passed(tmp_path: Path) -> None:
    async def two_days() -> None:
        kitchen = kitchen_on_the_loops_clock(tmp_path)
        cue = kitchen_cue(kitchen)
        watcher = Watcher(cue, kitchen)
        once = Counter({(task, pie): 1 for task in ("slice_apples", "make_pie") for pie in PIES})

        async with cue:
            await bake(cue, PIES)
            assert watcher.starts == once
            summary = await bake(cue, PIES)
            assert watcher.starts == once
            assert summary.counts["skipped"] == 2 * len(PIES)

            await asyncio.sleep(DAY)
            assert not kitchen.slices_valid(PIES[0], DAY)
            await bake(cue, PIES)
        assert watcher.starts == once + once
        assert all(kitchen.pie_valid(pie) for pie in PIES)

    runcue.testing.run(two_days)


def test_the_knife_is_never_used_by_two_and_both_ovens_are_used(tmp_path: Path) -> None:
    async def busy_day() -> None:
        kitchen = kitchen_on_the_loops_clock(tmp_path)
        cue = kitchen_cue(kitchen)
        watcher = Watcher(cue, kitchen)
        async with cue:
            await bake(cue, PIES)
        assert watcher.most_in_use == {"slice_apples": 1, "make_pie": 2}
        # 10 min until the first slices are there, then two ovens with two pies each, 40 min a pie; the second oven
        # begins 10 min after the first and so ends 10 min after it.
        assert abs(kitchen.now() - 100 * MINUTE) < 1

    runcue.testing.run(busy_day)


def test_baking_waits_while_brown_slices_are_made_anew(tmp_path: Path) -> None:
    async def next_morning() -> None:
        kitchen = kitchen_on_the_loops_clock(tmp_path)
        cue = kitchen_cue(kitchen)
        async with cue:
            await bake(cue, ["apple"])
            await asyncio.sleep(DAY)
            morning = kitchen.now()
            pie = await cue.submit("make_pie", params={"pie": "apple"})
            await asyncio.sleep(HOUR)
            (blocked,) = cue.debug_blocked()
            assert (blocked["work"].id, blocked["reason"]) == (pie, "not_ready")
            assert "no fresh slices" in blocked["details"]
            await cue.submit("slice_apples", params={"pie": "apple"})
            await pie.result()
        assert kitchen.now() - morning >= HOUR + 50 * MINUTE
        assert kitchen.pie_valid("apple")

    runcue.testing.run(next_morning)


def test_slices_that_go_brown_in_the_queue_for_an_oven_are_never_baked(tmp_path: Path) -> None:
    async def slow_ovens() -> None:
        kitchen = kitchen_on_the_loops_clock(tmp_path, max_age=HOUR, baking=3 * HOUR)
        cue = kitchen_cue(kitchen)
        watcher = Watcher(cue, kitchen)
        async with cue:
            await bake(cue, PIES)
        assert all(watcher.starts["make_pie", pie] == 1 for pie in PIES)
        assert watcher.starts.total() > 2 * len(PIES)
        assert max(watcher.age_at_baking) < HOUR

    runcue.testing.run(slow_ovens)


def test_slices_that_are_brown_at_once_end_the_baking_instead_of_going_on_for_ever(tmp_path: Path) -> None:
    async def hot_day() -> None:
        kitchen = kitchen_on_the_loops_clock(tmp_path, max_age=0)
        cue = kitchen_cue(kitchen)
        async with cue:
            summary = await bake(cue, PIES)
        assert len(summary.blocked) == len(PIES)

    runcue.testing.run(hot_day)


def run_program(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_example(PROGRAM, *arguments, folder=folder)


def test_the_program_bakes_and_then_skips_everything(tmp_path: Path) -> None:
    first = run_program("--pies", "2", folder=tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.count("done") == 4
    assert "2 of 2 pies on the table" in first.stdout
    second = run_program("--pies", "2", folder=tmp_path)
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout.count("skip") == 4
    assert "start" not in second.stdout


def test_the_program_bakes_for_three_days_in_no_time(tmp_path: Path) -> None:
    done = run_program("--pies", "3", "--days", "3", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("done") == 3 * 3 * 2


def test_the_program_explains_itself(tmp_path: Path) -> None:
    done = run_program("--help", folder=tmp_path)
    assert done.returncode == 0
    assert "one knife" in done.stdout


def test_bad_input_is_one_clear_line(tmp_path: Path) -> None:
    for arguments in (["--pies", "0"], ["--days", "-1"], ["--max-age", "nan"]):
        refused = run_program(*arguments, folder=tmp_path)
        assert refused.returncode == 2
        assert "error: --" in refused.stderr.splitlines()[-1]
    (tmp_path / "file").touch()
    refused = run_program("--out", "file/kitchen", folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("apple_pie: cannot use file/kitchen as a kitchen")
    assert refused.stderr.count("\n") == 1
