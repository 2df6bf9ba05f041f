"""A real run, recorded and read again: what is measured, what is in the file, which files are refused."""

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.rehearsal import rehearse
from runcue.testing import FakeExecutor, VirtualTimeLoop, run
from runcue_sim._text.usage import BadUsage
from runcue_sim._workload.latency import Recorded
from runcue_sim.recording import Recording, load


def refusal(path: Path, content: object) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadUsage) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path.parent}/")


def test_durations_are_in_the_order_of_submission_whatever_the_order_of_the_ends(tmp_path: Path) -> None:
    cue = runcue.Cue()

    @cue.task("ask")
    async def ask(work: runcue.Work) -> None:
        await asyncio.sleep(work.params["seconds"])

    recording = Recording(cue)

    async def main() -> None:
        await asyncio.sleep(7)
        async with cue:
            for seconds in (3, 1, 2):
                await cue.submit("ask", params={"seconds": seconds})

    run(main)
    recording.save(tmp_path / "run.json")
    recorded = load(tmp_path / "run.json")
    assert recorded == recording.run
    assert recorded.makespan == 3
    assert recorded.tasks["ask"].durations == [3, 1, 2]
    assert recorded.latencies() == {"ask": Recorded((3, 1, 2))}


def test_failures_are_recorded_with_their_durations_and_what_did_not_run_keeps_its_place(
    tmp_path: Path,
) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(2.0))

    @cue.task("ask", timeout=5)
    def ask(work: runcue.Work) -> None:
        if work.params["number"] % 4 == 0:
            raise ValueError("no")

    @cue.task("idle")
    def idle(work: runcue.Work) -> None: ...

    @cue.task("never")
    def never(work: runcue.Work) -> None: ...

    cue.is_ready(task="never")(lambda work: False)
    cue.is_stale(task="ask")(lambda work: work.params["number"] < 8)
    cue.on_failure(lambda work, error: None)
    recording = Recording(cue)

    async def main() -> None:
        async with cue:
            for number in range(10):
                await cue.submit("ask", params={"number": number})
            await cue.submit("never")

    run(main)
    recorded = recording.run
    assert recorded.tasks["ask"].durations == [2.0] * 8 + [None] * 2
    assert recorded.tasks["ask"].failed == [0, 4]
    assert recorded.latencies() == {"ask": Recorded((2.0,) * 10, frozenset((0, 4)))}
    recording.save(tmp_path / "run.json")
    assert load(tmp_path / "run.json") == recorded
    assert list(recorded.tasks) == ["ask", "idle", "never"]


def test_who_joined_another_work_has_not_run() -> None:
    cue = runcue.Cue()
    made = runcue.Flag("made")

    @cue.task("make", outputs=made)
    async def make(work: runcue.Work) -> None:
        await asyncio.sleep(1)
        made.set()

    recording = Recording(cue)

    async def main() -> None:
        async with cue:
            await cue.submit("make")
            await cue.submit("make")

    run(main)
    assert recording.run.tasks["make"].durations == [1, None]


def test_params_and_results_are_not_in_the_file(tmp_path: Path) -> None:
    cue = runcue.Cue()

    @cue.task("ask")
    async def ask(work: runcue.Work) -> str:
        return "hush"

    recording = Recording(cue)

    async def main() -> None:
        async with cue:
            await cue.submit("ask", params={"password": "hush"})

    run(main)
    recording.save(tmp_path / "run.json")
    text = (tmp_path / "run.json").read_text(encoding="utf-8")
    assert "hush" not in text
    assert json.loads(text).keys() == {"format", "version", "makespan", "tasks"}


def test_a_duration_is_how_long_the_slot_was_kept_publication_included(tmp_path: Path) -> None:
    # In real time: the thread's way to the handler and back, and the disk, are what the handler alone does not take.
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    inside: list[float] = []

    @cue.task("write", uses="one", outputs=lambda work: tmp_path / f"{work.params['number']}.txt")
    def write(work: runcue.Work) -> None:
        began = time.monotonic()
        with work.write(work.outputs[0]) as file:
            file.write("x" * 100_000)
        time.sleep(0.01)
        inside.append(time.monotonic() - began)

    recording = Recording(cue)

    async def main() -> None:
        async with cue:
            for number in range(10):
                await cue.submit("write", params={"number": number})

    asyncio.run(main())
    recorded = recording.run
    durations = recorded.tasks["write"].durations
    assert all(whole >= part for whole, part in zip(durations, inside, strict=True))
    # One slot: what is not in the durations is the scheduler's own, which is next to nothing.
    assert sum(durations) <= recorded.makespan
    assert sum(durations) == pytest.approx(recorded.makespan, rel=0.2)


def test_a_recorded_run_rehearsed_takes_as_long_as_it_did(tmp_path: Path) -> None:
    def described() -> runcue.Cue:
        cue = runcue.Cue()
        cue.service("two", concurrent=2)

        @cue.task("ask", uses="two")
        async def ask(work: runcue.Work) -> None:
            await asyncio.sleep(work.params["seconds"])

        return cue

    async def submit(cue: runcue.Cue) -> float:
        async with cue:
            for seconds in (5, 1, 1, 4, 2, 6):
                await cue.submit("ask", params={"seconds": seconds})
        return asyncio.get_running_loop().time()

    cue = described()
    recording = Recording(cue)
    took = run(lambda: submit(cue))
    recording.save(tmp_path / "run.json")
    latency = load(tmp_path / "run.json").latencies()["ask"]
    again = described()
    count = iter(range(6))
    rehearse(again, lambda work: latency.seconds(0.5, next(count)))
    assert run(lambda: submit(again)) == took == recording.run.makespan


def test_what_is_submitted_from_threads_and_handlers_is_recorded() -> None:
    cue = runcue.Cue()

    @cue.task("outer")
    def outer(work: runcue.Work) -> None:
        work.submit("inner")

    @cue.task("inner")
    async def inner(work: runcue.Work) -> None: ...

    recording = Recording(cue)

    async def main() -> None:
        async with cue:
            await cue.submit("outer")
            thread = threading.Thread(target=cue.submit_threadsafe, args=("inner",))
            thread.start()
            await asyncio.to_thread(thread.join)

    asyncio.run(main())
    recorded = recording.run
    assert {name: len(task.durations) for name, task in recorded.tasks.items()} == {"outer": 1, "inner": 2}


def test_what_was_recorded_so_far_can_be_saved_at_any_time(tmp_path: Path) -> None:
    cue = runcue.Cue()

    @cue.task("ask")
    async def ask(work: runcue.Work) -> None:
        await asyncio.sleep(1)
        recording.save(tmp_path / "run.json")

    recording = Recording(cue)
    recording.save(tmp_path / "run.json")
    assert load(tmp_path / "run.json").makespan == 0

    async def main() -> None:
        async with cue:
            await cue.submit("ask")
            await asyncio.sleep(2)
            await cue.submit("ask")

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    assert load(tmp_path / "run.json").tasks["ask"].durations == [1, None]
    with pytest.raises(runcue.PublishError):
        recording.save(tmp_path)


def test_files_that_are_no_recording_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match=r"none\.json cannot be read: No such file or directory$"):
        load(tmp_path / "none.json")
    with pytest.raises(BadUsage, match=r"cannot be read: Is a directory$"):
        load(tmp_path)
    path = tmp_path / "run.json"
    assert refusal(path, '{\n"format": oops\n}') == "run.json:2: no JSON: Expecting value at column 11"
    other = "run.json is no recording: runcue_sim.Recording writes them, with save()"
    assert refusal(path, []) == refusal(path, {"makespan": 3}) == other
    path.write_bytes(b'{"format": "\xff"}')
    with pytest.raises(BadUsage, match=r"run\.json is no recording: 'utf-8' codec can't decode byte 0xff"):
        load(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": 2}, "has version 2; this program reads version 1"),
        ({"makespan": -1}, "is no recording: makespan must be a number of seconds, not -1"),
        ({"makespan": "3"}, "is no recording: makespan must be a number of seconds, not '3'"),
        ({"tasks": []}, "is no recording: tasks must be an object, not []"),
        ({"tasks": {"ask": 3}}, "is no recording: tasks.ask must be an object, not 3"),
        ({"tasks": {"ask": {}}}, "is no recording: tasks.ask.durations is missing"),
        ({"tasks": {"ask": {"durations": 3}}}, "is no recording: tasks.ask.durations must be a list, not 3"),
        (
            {"tasks": {"ask": {"durations": [1, "2"], "failed": []}}},
            "is no recording: tasks.ask.durations[1] must be a number of seconds, not '2'",
        ),
        (
            {"tasks": {"ask": {"durations": [float("nan")], "failed": []}}},
            "is no recording: tasks.ask.durations[0] must be a number of seconds, not nan",
        ),
        ({"tasks": {"ask": {"durations": []}}}, "is no recording: tasks.ask.failed is missing"),
        (
            {"tasks": {"ask": {"durations": [], "failed": 0}}},
            "is no recording: tasks.ask.failed must be a list, not 0",
        ),
        (
            {"tasks": {"ask": {"durations": [None, 1], "failed": [2]}}},
            "is no recording: tasks.ask.failed[0] must be a place in durations, not 2",
        ),
        (
            {"tasks": {"ask": {"durations": [1], "failed": [], "tries": {"1": []}}}},
            "is no recording: tasks.ask.tries must be a place in durations, not 1",
        ),
        (
            {"tasks": {"ask": {"durations": [1], "failed": [], "tries": {"0": [{"reason": "bored"}]}}}},
            "is no recording: tasks.ask.tries.0[0].reason must be one of failed, throttled, postponed, not 'bored'",
        ),
        (
            {"tasks": {"ask": {"durations": [1], "failed": [], "tries": {"0": [{"reason": "failed"}]}}}},
            "is no recording: tasks.ask.tries.0[0].seconds is missing",
        ),
        (
            {"tasks": {"ask": {"durations": [1], "failed": [], "spent": {"0": {"usd": "-1"}}}}},
            "is no recording: tasks.ask.spent.0.usd must be a number as text, not '-1'",
        ),
        (
            {"tasks": {"ask": {"durations": [1], "failed": [], "spent": {"x": {}}}}},
            "is no recording: tasks.ask.spent must be a place in durations, not 'x'",
        ),
    ],
)
def test_a_malformed_field_is_named(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    whole = {"format": "runcue-recording", "version": 1, "makespan": 1.0, "tasks": {}}
    assert refusal(tmp_path / "run.json", {**whole, **change}) == f"run.json {text}"
