"""Declared artifacts on a real cue: the gate that they give, makers and readers, outputs that are missing or written.

Rules 2, 13, 15, 27, 29 and 30 as works see them. Joining stands in test_joining.py, reads that are tracked in
test_tracked.py, how files are published in test_publish.py.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import File, Flag
from runcue.testing import FakeExecutor, Recorder
from tests.support.virtual_time import now, there, virtual
from tests.support.worlds import GuardedLoop

HOUR = 3600.0
COMPLETED, PENDING = runcue.WorkState.COMPLETED, runcue.WorkState.PENDING
FAILED, CANCELLED = runcue.WorkState.FAILED, runcue.WorkState.CANCELLED


def worker(cue: runcue.Cue, name: str = "t", *, lasts: float = 0.0, **options: Any) -> list[Any]:
    """Registers a task that sets its flags and touches its files; notes the number of each start."""
    ran: list[Any] = []

    @cue.task(name, **options)
    async def handler(work: runcue.Work) -> None:
        ran.append(work.params.get("n", name))
        if lasts:
            await asyncio.sleep(lasts)
        for artifact in work.outputs:
            if isinstance(artifact, File):
                with work.write(artifact, durable=False) as file:
                    file.write("x")
            else:
                artifact.touch()

    return ran


class Asked(runcue.Artifact):
    """An artifact that counts how often it is asked, and by whom."""

    def __init__(self, name: str, valid: Any = True, version: Any = None) -> None:
        self.name = name
        self._valid = valid
        self._version = version
        self._asked = 0
        self._threads: set[int] = set()

    def valid(self) -> Any:
        self._asked += 1
        self._threads.add(threading.get_ident())
        return self._valid() if callable(self._valid) else self._valid

    def version(self) -> Any:
        return self._version

    def touch(self) -> None:
        self._valid = True
        super().touch()


@dataclass(frozen=True)
class Page(runcue.Artifact):
    """A frozen dataclass; its list cannot be hashed."""

    url: str
    words: list[str]

    def valid(self) -> bool:
        return len(self.words) > 0


@dataclass(frozen=True, slots=True)
class Slotted(runcue.Artifact):
    url: str

    def valid(self) -> bool:
        return self.url == "there"


class Plain(runcue.Artifact):
    def __init__(self, url: str) -> None:
        self.url = url

    def valid(self) -> bool:
        return self.url == "there"


def paths(folder: Path) -> list[tuple[Any, Any]]:
    """(declared, the artifact that is meant), all there."""
    path = folder / "there"
    path.write_text("x", encoding="utf-8")
    return [
        (str(path), File(path)),
        (path, File(path)),
        (File(path), File(path)),
        (Page("u", ["a"]), Page("u", ["a"])),
        (Slotted("there"), Slotted("there")),
        (Plain("there"), Plain("there")),
    ]


FORMS: dict[str, Callable[[Any], Any]] = {
    "value": lambda one: one,
    "list": lambda one: [one],
    "tuple": lambda one: (one, one),
    "set": lambda one: {one},
    "iterator": lambda one: iter([one]),
    "callable": lambda one: lambda work: one,
    "callable many": lambda one: lambda work: [one, one],
    "generator": lambda one: lambda work: (each for each in [one]),
}


@pytest.mark.rule(2)
@pytest.mark.parametrize("on_submit", [False, True], ids=["task", "submit"])
@pytest.mark.parametrize("form", FORMS)
@virtual
async def test_each_form_of_a_declaration_means_the_same_artifacts(
    form: str, on_submit: bool, tmp_path: Path
) -> None:
    for number, (declared, meant) in enumerate(paths(tmp_path)):
        if form == "set" and not isinstance(declared, str | Path):
            continue  # a set of one path and one File is no case of its own
        for side in ("inputs", "outputs"):
            cue = runcue.Cue(id_prefix="")
            ran = worker(cue, **({} if on_submit else {side: FORMS[form](declared)}))
            async with cue:
                handle = await cue.submit(
                    "t", params={"n": number}, **({side: FORMS[form](declared)} if on_submit else {})
                )
                work = await handle.wait()
            assert getattr(work, side)
            assert all(one == meant for one in getattr(work, side))
            assert work.state is COMPLETED
            assert ran == ([number] if side == "inputs" else []), "inputs alone never skip, outputs alone do"


@pytest.mark.rule(2)
@pytest.mark.parametrize("on_submit", [False, True], ids=["task", "submit"])
@pytest.mark.parametrize(
    "absent", [Page("u", []), Slotted("gone"), Plain("gone"), "gone", File("gone"), Flag("gone")], ids=repr
)
@virtual
async def test_a_missing_input_keeps_a_work_pending_and_a_missing_output_runs_it(
    absent: Any, on_submit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if isinstance(absent, File):
        absent = File("gone")  # here
    cue = runcue.Cue()
    ran: list[str] = []
    options = {} if on_submit else {"inputs": absent}

    @cue.task("reads", **options)
    def reads(work: runcue.Work) -> None:
        ran.append("reads")

    @cue.task("makes", **({} if on_submit else {"outputs": absent}))
    def makes(work: runcue.Work) -> None:
        ran.append("makes")

    async with cue:
        waits = await cue.submit("reads", **({"inputs": absent} if on_submit else {}))
        await cue.drain()
        assert waits.work.state is PENDING
        assert "no producer" in cue.debug_blocked()[0]["details"]
        await cue.cancel(waits)
        cue.on_failure(lambda work, error: None)
        made = await (await cue.submit("makes", **({"outputs": absent} if on_submit else {}))).wait()
    assert ran == ["makes"]
    assert isinstance(made.exception, runcue.MissingOutput)


@pytest.mark.rule(2)
@virtual
async def test_what_is_declared_on_submit_replaces_what_the_task_declares_and_nothing_may_be_declared() -> (
    None
):
    cue = runcue.Cue()
    never, a, b = Flag("never"), Flag("a"), Flag("b")
    ran = worker(cue, inputs=never, outputs=a)
    async with cue:
        there(cue, a)
        await (await cue.submit("t", params={"n": 1}, inputs=[], outputs=b)).wait()
        assert b.valid()
        work = await (await cue.submit("t", params={"n": 2}, inputs=b, outputs=[])).wait()
        assert work.inputs == (b,)
        assert work.outputs == ()
        blocked = await cue.submit("t", params={"n": 3})
        await cue.drain()
        assert blocked.work.inputs == (never,)
        await cue.cancel(blocked)
    assert ran == [1, 2]


@virtual
async def test_a_task_that_declares_nothing_but_a_policy_has_it_for_what_is_declared_on_submit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runcue.atomic_write("i", "one")
    cue = runcue.Cue()
    ran = []

    @cue.task("t", fresh=runcue.digest())
    def t(work: runcue.Work) -> None:
        ran.append(Path("i").read_text())
        Path("o").write_text("made")

    async with cue:
        await (await cue.submit("t", inputs="i", outputs="o")).wait()
        runcue.atomic_write("i", "two")
        os.utime("i", (1e9, 1e9))  # older, but other content
        await (await cue.submit("t", inputs="i", outputs="o")).wait()
        os.utime("i")
        await (await cue.submit("t", inputs="i", outputs="o")).wait()
    assert ran == ["one", "two"]


@virtual
async def test_callables_see_the_params_and_the_other_callables_see_what_was_declared_before() -> None:
    cue = runcue.Cue()
    seen: list[tuple[Any, ...]] = []

    @cue.task(
        "t",
        inputs=lambda work: [Flag(f"in {n}") for n in work.params["n"]],
        outputs=lambda work: [Flag(f"{one.name} done") for one in work.inputs],
        key=lambda work: tuple(one.name for one in work.outputs),
    )
    async def handler(work: runcue.Work) -> None:
        seen.append((work.inputs, work.outputs))
        for flag in work.outputs:
            flag.set()

    async with cue:
        there(cue, Flag("in 1"), Flag("in 2"))
        work = await (await cue.submit("t", params={"n": [1, 2]})).wait()
    assert [one.name for one in work.outputs] == ["in 1 done", "in 2 done"]
    assert seen == [(work.inputs, work.outputs)]


@virtual
async def test_callables_are_called_once_at_the_submission() -> None:
    calls: Counter[str] = Counter()

    def declared(work: runcue.Work) -> Flag:
        calls[work.id] += 1
        return Flag(f"{work.params['n']}")

    cue = runcue.Cue()
    worker(cue, outputs=declared)
    async with cue:
        for number in (1, 2, 1):
            await cue.submit("t", params={"n": number})
        assert sum(calls.values()) == 3
    assert sum(calls.values()) == 3


@pytest.mark.rule(2)
@pytest.mark.parametrize("per_task", [False, True], ids=["global", "per task"])
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize(
    ("inputs_valid", "ready", "stale_outputs", "stale", "outcome"),
    [
        (True, True, True, True, "ran"),
        (False, True, True, True, "waits"),
        (True, False, True, True, "waits"),
        (False, False, True, True, "waits"),
        (True, True, False, True, "skipped"),
        (True, True, True, False, "skipped"),
        (True, True, False, False, "skipped"),
        (False, True, False, False, "waits"),
    ],
)
@virtual
async def test_what_is_declared_and_the_callbacks_must_both_say_yes(
    inputs_valid: bool,
    ready: bool,
    stale_outputs: bool,
    stale: bool,
    outcome: str,
    is_async: bool,
    per_task: bool,
) -> None:
    cue = runcue.Cue()
    inside, outside = Flag("in"), Flag("out")

    def answer(value: bool) -> Any:
        async def slowly() -> bool:
            await asyncio.sleep(0.1)
            return value

        return (lambda work: slowly()) if is_async else (lambda work: value)

    ran = worker(cue, inputs=inside, outputs=outside)
    if per_task:
        cue.is_ready(task="t")(answer(ready))
        cue.is_stale(task="t")(answer(stale))
        cue.is_ready(lambda work: not ready)  # replaced for "t"
        cue.is_stale(lambda work: not stale)
    else:
        cue.is_ready(answer(ready))
        cue.is_stale(answer(stale))
    async with cue:
        there(cue, *([inside] if inputs_valid else []), *([] if stale_outputs else [outside]))
        handle = await cue.submit("t")
        await cue.drain()
        work = handle.work
        found = "waits" if work.state is PENDING else "skipped" if work.skipped else "ran"
        assert found == outcome
        assert bool(ran) == (outcome == "ran")
        await cue.cancel(handle)


@pytest.mark.rule(2)
@pytest.mark.parametrize("yes", [True, 1, (True, "all there")])
@virtual
async def test_what_is_declared_is_asked_whichever_yes_is_ready_gives_and_without_is_stale(yes: Any) -> None:
    cue = runcue.Cue()
    outside = Flag("out")
    ran = worker(cue, outputs=outside)
    cue.is_ready(lambda work: yes)
    async with cue:
        there(cue, outside)
        handle = await cue.submit("t")
        await handle.wait()
        assert handle.work.skipped
        assert not ran


@pytest.mark.rule(2)
@virtual
async def test_the_order_of_questions_is_inputs_ready_outputs_stale() -> None:
    cue = runcue.Cue()
    asked: list[str] = []

    def note(what: str, *, value: bool = True) -> Callable[..., bool]:
        def answer(*_: object) -> bool:
            asked.append(what)
            return value

        return answer

    cue.is_ready(note("ready"))
    cue.is_stale(note("stale"))

    @cue.task("t", inputs=Asked("i", note("inputs")), outputs=Asked("o", note("outputs", value=False)))
    async def handler(work: runcue.Work) -> None:
        asked.append("handler")

    cue.on_failure(lambda work, error: None)
    async with cue:
        await cue.submit("t")
    assert asked == ["inputs", "ready", "outputs", "stale", "handler", "outputs"]


@pytest.mark.rule(2)
@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after a wait"])
@virtual
async def test_an_artifact_is_asked_at_most_twice_for_each_work_that_needs_it(waits: bool) -> None:
    cue = runcue.Cue(recheck=False)
    cue.service("one", concurrent=1)
    flag = Asked("in", valid=not waits)
    ran = worker(cue, uses="one", lasts=1.0)

    @cue.task("maker", outputs=flag)
    async def producer(work: runcue.Work) -> None:
        await asyncio.sleep(10.0)
        flag.touch()

    async with cue:
        if waits:
            await cue.submit("maker")
        before = flag._asked
        for number in range(20):
            await cue.submit("t", params={"n": number}, inputs=flag)
        await cue.drain()
        # Once by the gate and once behind the handler for the maker's own sake.
        assert flag._asked - before <= 2 * 20 + 2
    assert ran == list(range(20))


@virtual
async def test_artifacts_are_asked_in_the_thread_of_the_event_loop_also_for_sync_handlers() -> None:
    cue = runcue.Cue()
    before, after = Asked("in"), Asked("out", valid=False)

    @cue.task("t", inputs=before, outputs=after)
    def handler(work: runcue.Work) -> None:
        assert threading.get_ident() != main
        after._valid = True

    main = threading.get_ident()
    async with cue:
        work = await (await cue.submit("t")).wait()
    assert work.state is COMPLETED
    assert before._threads == after._threads == {main}


@pytest.mark.rule(2)
@virtual
async def test_force_runs_what_is_up_to_date_but_not_what_is_not_ready() -> None:
    cue = runcue.Cue()
    inside, outside = Flag("in"), Flag("out")
    ran = worker(cue, inputs=inside, outputs=outside)
    cue.is_stale(lambda work: False)
    async with cue:
        there(cue, outside)
        waits = await cue.submit("t", force=True)
        await cue.drain()
        assert waits.work.state is PENDING
        there(cue, inside)
        await waits.wait()
        assert (await (await cue.submit("t")).wait()).skipped
    assert ran == ["t"]


@pytest.mark.parametrize("max_age", ["24h", 86400, 86400.0, timedelta(days=1), "1 day", "1440min"], ids=repr)
@virtual
async def test_a_file_that_is_older_than_its_max_age_is_made_anew_and_is_no_input(
    max_age: Any, tmp_path: Path
) -> None:
    path = tmp_path / "page"
    for age, runs in ((86300, False), (86500, True)):
        path.write_text("x", encoding="utf-8")
        os.utime(path, (time.time() - age,) * 2)
        cue = runcue.Cue()
        ran = worker(cue, outputs=File(path, max_age=max_age))
        worker(cue, "reads")
        cue.start()
        reader = await cue.submit("reads", inputs=File(path, max_age=max_age))
        await cue.drain()
        assert (reader.work.state is PENDING) == runs
        await (await cue.submit("t")).wait()
        assert (await reader.wait()).state is COMPLETED, "it is young now, or was before"
        assert bool(ran) == runs
        await cue.stop()


@pytest.mark.parametrize("max_age", ["3 fortnights", "", "-1h", 0, -5, float("nan"), timedelta(0), True, [1]])
def test_an_age_that_cannot_be_read_is_refused_with_the_value_where_it_is_written(max_age: Any) -> None:
    with pytest.raises(runcue.ConfigurationError) as raised:
        File("x", max_age=max_age)
    assert repr(max_age) in str(raised.value)
    assert "max_age" in str(raised.value)


@virtual
async def test_validate_decides_whether_what_is_there_counts(tmp_path: Path) -> None:
    path = tmp_path / "page.json"
    path.write_text("{", encoding="utf-8")
    seen: list[Path] = []

    def is_whole(file: Path) -> bool:
        seen.append(file)
        return file.read_text(encoding="utf-8") == "x"

    cue = runcue.Cue()
    ran = worker(cue, outputs=lambda work: File(path, validate=is_whole))
    async with cue:
        assert not (await (await cue.submit("t")).wait()).skipped
        assert (await (await cue.submit("t")).wait()).skipped
    assert ran == ["t"]
    assert set(seen) == {path}


class Ambiguous:
    """Like an array: neither true nor false."""

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


def raises(error: BaseException) -> Callable[[], Any]:
    def call() -> Any:
        raise error

    return call


async def _later() -> bool:
    return True


MISBEHAVIOUR: dict[str, Callable[[], Any]] = {
    "raises": raises(OSError("disk on fire")),
    "exits": raises(SystemExit(3)),
    "is cancelled": raises(asyncio.CancelledError()),
    "is ambiguous": Ambiguous,
    "must be awaited": _later,
}


@pytest.mark.rule(13)
@pytest.mark.parametrize("misbehaves", MISBEHAVIOUR)
@virtual
async def test_an_input_that_cannot_be_asked_is_not_ready_and_disturbs_nobody(
    misbehaves: str, caplog: pytest.LogCaptureFixture
) -> None:
    cue = runcue.Cue()
    ran = worker(cue)
    bad = Asked("bad", MISBEHAVIOUR[misbehaves])
    async with cue:
        blocked = await cue.submit("t", params={"n": "bad"}, inputs=bad)
        await (await cue.submit("t", params={"n": "other"})).wait()
        await cue.drain()
        assert blocked.work.state is PENDING
        assert "Asked(name='bad')" in caplog.text
        assert cue.debug_blocked()[0]["reason"] == "not_ready"
        assert str(cue.why(blocked))
        gc.collect()
    assert ran == ["other"]


@pytest.mark.rule(13, 29)
@pytest.mark.parametrize("misbehaves", MISBEHAVIOUR)
@virtual
async def test_an_output_that_cannot_be_asked_is_stale_and_after_the_run_it_is_missing(
    misbehaves: str, caplog: pytest.LogCaptureFixture
) -> None:
    cue = runcue.Cue()
    ran: list[str] = []

    @cue.task("t")
    async def handler(work: runcue.Work) -> None:
        ran.append(work.id)

    async with cue:
        work = await (await cue.submit("t", outputs=Asked("bad", MISBEHAVIOUR[misbehaves]))).wait()
        assert (await (await cue.submit("t")).wait()).state is COMPLETED
        gc.collect()
    assert len(ran) == 2
    assert work.state is FAILED
    assert isinstance(work.exception, runcue.MissingOutput)


@pytest.mark.rule(13)
@virtual
async def test_what_cannot_say_what_is_wrong_with_it_is_blocked_all_the_same() -> None:
    class Mute(Asked):
        def problem(self) -> str:
            raise RuntimeError("no words")

        def __repr__(self) -> str:
            raise RuntimeError("no name")

    cue = runcue.Cue(pending_warn_after=5.0, stall_warn_after=5.0)
    worker(cue)
    cue.start()
    handle = await cue.submit("t", inputs=Mute("m", valid=False))
    await asyncio.sleep(10.0)
    assert cue.debug_blocked()[0]["reason"] == "not_ready"
    assert str(cue.why(handle))
    summary = await cue.stop()
    assert summary.counts["cancelled"] == 1


@pytest.mark.rule(13)
@pytest.mark.parametrize("side", ["inputs", "outputs"])
@virtual
async def test_an_identity_that_cannot_be_hashed_or_told_fails_its_work_and_no_other(side: str) -> None:
    class Unhashable(Asked):
        def identity(self) -> Any:
            return ["never"]

    class Raising(Asked):
        def identity(self) -> Any:
            raise ValueError("who am I")

    cue = runcue.Cue()
    ran = worker(cue)
    worker(cue, "maker", outputs=Flag("x"), lasts=1.0)
    cue.on_failure(lambda work, error: None)
    async with cue:
        await cue.submit("maker")
        for kind in (Unhashable, Raising):
            given: Any = {side: lambda work, kind=kind: kind("x")}
            handle = await cue.submit("t", params={"n": 1}, **given)
            work = await handle.wait()
            assert work.state is FAILED
            assert isinstance(work.exception, runcue.ArtifactError)
            given = {side: kind("x")}
            with pytest.raises((runcue.ConfigurationError, ValueError)):
                await cue.submit("t", **given)
        await cue.submit("t", params={"n": 2})
        summary = await cue.drain()
    assert ran == [2]
    assert summary.counts == {"completed": 2, "skipped": 0, "failed": 2, "cancelled": 0}


@pytest.mark.rule(16)
@pytest.mark.parametrize("side", ["inputs", "outputs", "key"])
@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@virtual
async def test_a_callable_that_raises_fails_its_work_with_the_cause_and_the_params(
    side: str, sync: bool
) -> None:
    cue = runcue.Cue()
    heard = Recorder(cue)

    def declared(work: runcue.Work) -> Any:
        return Flag(work.params["name"])

    options: Any = {side: declared}
    if sync:

        @cue.task("t", **options)
        def handler(work: runcue.Work) -> None:
            work.outputs[0].set() if work.outputs else None

    else:
        worker(cue, **options)
    async with cue:
        there(cue, Flag("a"))
        bad = await cue.submit("t", params={"nome": "a"})
        good = await cue.submit("t", params={"name": "a"})
        assert (await good.wait()).state is COMPLETED
        work = await bad.wait()
        with pytest.raises(runcue.ArtifactError):
            await bad.result()
    assert side in str(work.error)
    assert "nome" in str(work.error)
    assert isinstance(work.exception, runcue.ArtifactError)
    assert isinstance(work.exception.__cause__, KeyError)
    assert heard.of(bad) == ["failure"]


@pytest.mark.parametrize("value", [5, [5], {"a": 1}, b"a\0b", "", "a\0b", [[]], object()])
@virtual
async def test_what_is_no_artifact_is_refused_where_it_is_written(value: Any) -> None:
    cue = runcue.Cue()
    worker(cue)
    for side in ("inputs", "outputs"):
        with pytest.raises(runcue.ConfigurationError):
            cue.task("u", **{side: value})
        with pytest.raises(runcue.ConfigurationError):
            await cue.submit("t", **{side: value})
    assert await cue.list() == []


@pytest.mark.rule(15)
@pytest.mark.parametrize("with_callbacks", [False, True])
def test_an_artifact_that_blocks_the_loop_is_named_and_the_callback_beside_it_is_not(
    with_callbacks: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def slow() -> bool:
        time.sleep(0.08)
        return True

    async def main() -> None:
        cue = runcue.Cue()
        worker(cue, inputs=Asked("slow one", slow))
        if with_callbacks:

            @cue.is_ready
            def innocent(work: runcue.Work) -> bool:
                return True

        async with cue:
            await cue.submit("t")

    asyncio.run(main())
    told = [record.getMessage() for record in caplog.records if "blocked" in record.getMessage()]
    assert len(told) == 1
    assert "slow one" in told[0] or "inputs" in told[0]
    assert "innocent" not in told[0]


DIAMOND = {"top": (), "left": ("top",), "right": ("top",), "bottom": ("left", "right"), "aside": ()}


def diamond(cue: runcue.Cue, *, sync: bool, uses: Any = None) -> list[str]:
    ran: list[str] = []

    def make(work: runcue.Work) -> None:
        ran.append(work.task)
        work.outputs[0].set()

    for name, needs in DIAMOND.items():
        options: Any = {"inputs": [Flag(need) for need in needs], "outputs": Flag(name), "uses": uses}
        if sync:
            cue.task(name, **options)(lambda work: make(work))
        else:

            @cue.task(name, **options)
            async def handler(work: runcue.Work) -> None:
                await asyncio.sleep(1.0)
                make(work)

    return ran


@pytest.mark.rule(27)
@pytest.mark.parametrize("limit", [None, "slot", "rate"])
@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@virtual
async def test_in_whatever_order_all_is_submitted_what_is_downstream_of_a_change_reruns_and_nothing_else(
    sync: bool, limit: str | None
) -> None:
    for order in itertools.permutations(DIAMOND):
        cue = runcue.Cue(run_in=FakeExecutor(1.0), recheck=False)
        cue.service("slot", concurrent=1)
        cue.service("rate", rate="1/min")
        ran = diamond(cue, sync=sync, uses=limit)
        async with cue:
            for name in order:
                await cue.submit(name)
            await cue.drain()
            assert sorted(ran) == sorted(DIAMOND)
            for needs, name in ((needs, name) for name, needs in DIAMOND.items()):
                assert all(ran.index(need) < ran.index(name) for need in needs)
            for changed, expected in {
                "top": {"top", "left", "right", "bottom"},
                "left": {"left", "bottom"},
                "bottom": {"bottom"},
                None: set[str](),
            }.items():
                ran.clear()
                for name in order:
                    await cue.submit(name, force=name == changed)
                await cue.drain()
                assert sorted(ran) == sorted(expected), (order, changed)


@pytest.mark.rule(27)
@pytest.mark.parametrize("ends", ["completes", "fails", "is cancelled", "is skipped", "times out"])
@pytest.mark.parametrize("valid", [True, False], ids=["input there", "input missing"])
@pytest.mark.parametrize("state", ["pending", "running"])
@virtual
async def test_a_reader_waits_for_its_maker_and_is_then_judged_by_what_is_there(
    state: str, valid: bool, ends: str
) -> None:
    cue = runcue.Cue(recheck=False)
    cue.service("one", concurrent=1)
    cue.on_failure(lambda work, error: None)
    x, out = Flag("x"), Flag("out")
    up_to_date = ends != "is skipped"
    ran = worker(cue, "reads", inputs=x, outputs=out)
    worker(cue, "busy", uses="one", lasts=5.0)

    @cue.task("makes", outputs=x, uses="one", timeout=8.0 if ends == "times out" else None)
    async def makes(work: runcue.Work) -> None:
        await asyncio.sleep(7.0 if ends != "times out" else 100.0)
        if ends == "fails":
            raise ValueError("on purpose")
        x.set()

    cue.is_stale(task="makes")(lambda work: up_to_date)
    async with cue:
        there(cue, *([x] if valid else []), out)
        if state == "pending":
            await cue.submit("busy")
        producer = await cue.submit("makes", force=ends != "is skipped")
        reader = await cue.submit("reads")
        await asyncio.sleep(4.0)
        if ends == "is skipped" and valid:
            assert reader.work.skipped, "both are up to date, which needs no slot"
            return
        assert reader.work.state is PENDING, "not skipped, though its output is newer than its input"
        if ends == "is cancelled":
            await cue.cancel(producer)
        await producer.wait()
        await cue.drain()
        if ends == "completes":
            assert ran == ["reads"]
        elif valid:
            assert reader.work.skipped
            assert reader.work.completed_at == producer.work.completed_at, "at once"
        else:
            assert reader.work.state is PENDING
        await cue.cancel(reader)


@pytest.mark.rule(27)
@pytest.mark.parametrize("wait", ["slot", "rate", "input", "async gate", "async stale"])
@virtual
async def test_a_maker_that_comes_after_its_reader_was_judged_goes_first(wait: str) -> None:
    cue = runcue.Cue(recheck=False)
    cue.service("slot", concurrent=1)
    cue.service("rate", rate="1/min")
    x = Flag("x")
    order: list[str] = []
    limit = wait if wait in {"slot", "rate"} else None
    worker(cue, "burn", uses=limit, lasts=30.0 if wait == "slot" else 0.0)

    @cue.task("reads", uses=limit, inputs=[x, Flag("other")])
    async def reads(work: runcue.Work) -> None:
        order.append("reads")

    @cue.task("makes", outputs=x)
    async def makes(work: runcue.Work) -> None:
        await asyncio.sleep(100.0)
        order.append("makes")
        x.set()

    async def slowly(work: runcue.Work) -> bool:
        await asyncio.sleep(10.0)
        return True

    if wait == "async gate":
        cue.is_ready(task="reads")(slowly)
    if wait == "async stale":
        cue.is_stale(task="reads")(slowly)
    async with cue:
        there(cue, x, *([] if wait == "input" else [Flag("other")]))
        await cue.submit("burn")
        await asyncio.sleep(1.0)
        await cue.submit("reads")
        await asyncio.sleep(1.0)
        await cue.submit("makes", force=True)
        if wait == "input":
            await asyncio.sleep(1.0)
            there(cue, Flag("other"))
        await cue.drain()
    assert order == ["makes", "reads"]


@pytest.mark.rule(27)
@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
@virtual
async def test_a_reader_of_several_inputs_waits_for_all_their_makers(order: tuple[int, ...]) -> None:
    cue = runcue.Cue(recheck=False)
    flags = [Flag(str(number)) for number in range(3)]
    ends: list[Any] = []

    @cue.task("makes", outputs=lambda work: flags[work.params["n"]])
    async def makes(work: runcue.Work) -> None:
        await asyncio.sleep(3.0 - work.params["n"])
        ends.append(work.params["n"])
        work.outputs[0].set()

    @cue.task("reads", inputs=flags)
    async def reads(work: runcue.Work) -> None:
        ends.append("reads")

    async with cue:
        there(cue, *flags)
        for number in order:
            if number == 3:
                await cue.submit("reads")
            else:
                await cue.submit("makes", params={"n": number}, force=True)
    assert ends == [2, 1, 0, "reads"]


@pytest.mark.rule(27)
@virtual
async def test_a_work_that_makes_its_own_input_anew_does_not_wait_for_itself() -> None:
    cue = runcue.Cue(recheck=False)
    x = Flag("x")
    ran = worker(cue, inputs=x, outputs=x)
    async with cue:
        there(cue, x)
        await cue.submit("t", force=True)
        await cue.drain()
        assert ran == ["t"]
        assert (await (await cue.submit("t")).wait()).skipped


@pytest.mark.rule(27)
@virtual
async def test_a_reader_whose_maker_has_no_slot_for_an_hour_is_judged_when_the_maker_is_cancelled() -> None:
    cue = runcue.Cue(recheck=False)
    cue.service("api", rate="1/hour")
    x, y = Flag("x"), Flag("y")
    worker(cue, "makes", uses="api", outputs=x)
    ran = worker(cue, "reads", inputs=x, outputs=y)
    worker(cue, "burn", uses="api")
    async with cue:
        there(cue, x)
        await cue.submit("burn")
        producer = await cue.submit("makes", force=True)
        reader = await cue.submit("reads")
        await asyncio.sleep(HOUR / 2)
        assert reader.work.state is PENDING
        assert ran == []
        await cue.cancel(producer)
        await reader.wait()
        assert now() == HOUR / 2
    assert ran == ["reads"]


@pytest.mark.rule(2, 27)
@pytest.mark.parametrize("limit", ["rate", "slot"])
@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize("ordered", [False, True], ids=["plain", "priorities"])
@virtual
async def test_up_to_date_work_is_skipped_at_once_though_its_service_is_exhausted_also_when_it_was_held(
    ordered: bool, sync: bool, limit: str
) -> None:
    cue = runcue.Cue(recheck=False, run_in=FakeExecutor(HOUR))
    cue.service("rate", rate="1/hour")
    cue.service("slot", concurrent=1)
    if ordered:
        cue.priority(lambda ctx: 0.5)
    flags = [Flag(str(number)) for number in range(6)]

    @cue.task("burn", uses=limit)
    async def burn(work: runcue.Work) -> None:
        await asyncio.sleep(HOUR)

    def chained(number: int) -> Any:
        return {"inputs": flags[number - 1] if number else [], "outputs": flags[number]}

    if sync:

        @cue.task("link", uses=limit)
        def link(work: runcue.Work) -> None:
            raise AssertionError("up to date")

    else:

        @cue.task("link", uses=limit)
        async def async_link(work: runcue.Work) -> None:
            raise AssertionError("up to date")

    @cue.task("first")
    async def first(work: runcue.Work) -> None:
        await asyncio.sleep(10.0)  # and leaves what it finds

    async with cue:
        there(cue, *flags)
        await cue.submit("burn")
        await asyncio.sleep(1.0)
        await cue.submit("first", outputs=flags[0], force=True)
        handles = [await cue.submit("link", **chained(number)) for number in (5, 3, 1, 2, 4)]
        for handle in handles:
            assert (await handle.wait()).skipped
        assert now() == 11.0


@pytest.mark.rule(6, 27)
@virtual
async def test_held_work_units_are_asked_for_their_priority_when_they_become_ready() -> None:
    cue = runcue.Cue(recheck=False)
    cue.service("one", concurrent=1)
    x = Flag("x")
    worker(cue, "makes", outputs=x, lasts=5.0)
    asked: list[tuple[Any, float]] = []

    @cue.priority
    def priority(ctx: runcue.PriorityContext) -> float:
        asked.append((ctx.work.params.get("n"), now()))
        return float(ctx.work.params.get("n", 0)) / 10

    ran = worker(cue, "reads", uses="one", inputs=x, lasts=1.0)
    async with cue:
        await cue.submit("makes")
        for number in range(5):
            await cue.submit("reads", params={"n": number})
    assert ran == [4, 3, 2, 1, 0]
    assert [number for number, at in asked if at == 5.0] == [0, 1, 2, 3, 4]
    assert len(asked) == 6


@pytest.mark.rule(7, 27)
@virtual
async def test_held_work_units_of_a_rated_service_use_each_token_as_it_comes() -> None:
    cue = runcue.Cue(recheck=False)
    cue.service("api", rate="2/min")
    x = Flag("x")
    worker(cue, "makes", outputs=x, lasts=30.0)
    worker(cue, "reads", uses="api", inputs=x)
    heard = Recorder(cue)
    async with cue:
        await cue.submit("makes")
        for number in range(6):
            await cue.submit("reads", params={"n": number})
    assert heard.times("start") == [0.0, 30.0, 30.0, 90.0, 90.0, 150.0, 150.0]


@pytest.mark.rule(16, 23, 27)
@pytest.mark.parametrize("how", ["stop", "drain", "no drain", "timeout"])
@virtual
async def test_work_units_held_by_a_blocked_maker_are_listed_and_each_ends_with_one_event(how: str) -> None:
    cue = runcue.Cue(recheck=False)
    heard = Recorder(cue)
    a, b, c = Flag("a"), Flag("b"), Flag("c")
    worker(cue, "makes", inputs=Flag("never"), outputs=a)
    worker(cue, "middle", inputs=a, outputs=b)
    worker(cue, "reads", inputs=b, outputs=c)
    cue.start()
    handles = [await cue.submit(task) for task in ("reads", "middle", "makes")]
    if how == "drain":
        summary = await cue.drain()
        assert {one["work"] for one in summary.blocked} == {handle.work for handle in handles}
        assert heard.events == []
    summary = await cue.stop(drain=how != "no drain", timeout=5.0 if how == "timeout" else None)
    assert summary.counts["cancelled"] == 3
    if how != "no drain":
        assert {one["work"] for one in summary.blocked} == {handle.work for handle in handles}
    assert [heard.of(handle) for handle in handles] == [["cancel"]] * 3
    assert now() == 0.0


@pytest.mark.rule(20, 21, 27)
@virtual
async def test_time_spent_held_counts_as_pending_and_is_no_stall_while_the_maker_runs() -> None:
    cue = runcue.Cue(recheck=False, pending_timeout=20.0, stall_timeout=3.0)
    cue.on_failure(lambda work, error: None)
    x = Flag("x")
    worker(cue, "makes", outputs=x, lasts=100.0)
    worker(cue, "reads", inputs=x)
    async with cue:
        producer = await cue.submit("makes")
        reader = await cue.submit("reads")
        await reader.wait()
        assert now() == 20.0
        assert isinstance(reader.work.exception, runcue.PendingTimeout)
        assert "makes" in str(reader.work.error)
        assert (await producer.wait()).state is COMPLETED


@pytest.mark.rule(21, 27)
@virtual
async def test_work_units_that_hold_each_other_are_a_stall_and_each_is_told_why() -> None:
    cue = runcue.Cue(recheck=False, stall_timeout=3.0)
    heard = Recorder(cue)
    a, b = Flag("a"), Flag("b")
    worker(cue, "one", inputs=a, outputs=b)
    worker(cue, "two", inputs=b, outputs=a)
    async with cue:
        handles = [await cue.submit("one"), await cue.submit("two")]
        for handle in handles:
            await handle.wait()
            assert isinstance(handle.work.exception, runcue.StallTimeout)
            assert "cycle" in str(handle.work.error)
            assert heard.of(handle) == ["failure"]
        assert now() == 3.0


@pytest.mark.rule(16, 17, 27)
@virtual
async def test_a_held_work_can_be_cancelled_and_its_own_readers_go_on_by_what_is_there() -> None:
    cue = runcue.Cue(recheck=False)
    heard = Recorder(cue)
    a, b, c = Flag("a"), Flag("b"), Flag("c")
    worker(cue, "makes", outputs=a, lasts=50.0)
    worker(cue, "middle", inputs=a, outputs=b)
    ran = worker(cue, "reads", inputs=b, outputs=c)
    async with cue:
        there(cue, b)
        await cue.submit("makes")
        middle = await cue.submit("middle")
        reader = await cue.submit("reads")
        await asyncio.sleep(5.0)
        assert await cue.cancel(middle)
        await reader.wait()
        assert now() == 5.0
        assert heard.of(middle) == ["cancel"]
    assert ran == ["reads"]


@pytest.mark.rule(18, 27)
@virtual
async def test_nothing_of_makers_and_readers_is_kept_when_no_work_is_kept() -> None:
    cue = runcue.Cue(keep=0, recheck=False)
    cue.on_failure(lambda work, error: None)

    @cue.task(
        "t",
        inputs=lambda work: [Flag(str(work.params["n"] - 1))] if work.params["n"] % 5 else [],
        outputs=lambda work: Flag(str(work.params["n"])),
    )
    async def handler(work: runcue.Work) -> None:
        if work.params["n"] % 5 == 4:
            raise ValueError("on purpose")
        work.outputs[0].set()

    async with cue:
        for number in reversed(range(200)):
            await cue.submit("t", params={"n": number})
        summary = await cue.drain()
    assert summary.counts == {"completed": 160, "skipped": 0, "failed": 40, "cancelled": 0}
    dependencies = cue._core.dependencies
    assert not dependencies.producer_of
    assert not dependencies.keyed
    assert not dependencies.failed
    assert not dependencies.subscribers
    assert dependencies.subscribed == 0


@pytest.mark.rule(27)
@pytest.mark.parametrize("where", ["handler", "listener", "thread", "work.submit"])
@virtual
async def test_makers_and_readers_may_come_from_anywhere(where: str) -> None:
    cue = runcue.Cue(recheck=False)
    x, y = Flag("x"), Flag("y")
    ran: list[str] = []
    submitted: list[runcue.WorkHandle] = []

    @cue.task("makes", outputs=x)
    async def makes(work: runcue.Work) -> None:
        await asyncio.sleep(5.0)
        ran.append("makes")
        x.set()

    @cue.task("reads", inputs=x, outputs=y)
    async def reads(work: runcue.Work) -> None:
        ran.append("reads")
        y.set()

    async def both() -> None:
        submitted.append(await cue.submit("reads"))
        submitted.append(await cue.submit("makes", force=True))

    if where == "work.submit":

        @cue.task("start")
        def in_thread(work: runcue.Work) -> None:
            work.submit("reads")
            work.submit("makes", force=True)

    else:

        @cue.task("start")
        async def start(work: runcue.Work) -> None:
            if where == "handler":
                await both()

    if where == "listener":

        @cue.on_complete
        async def heard(work: runcue.Work, result: Any, duration: float) -> None:
            if work.task == "start":
                await both()

    def from_thread() -> None:
        cue.submit_threadsafe("reads")
        cue.submit_threadsafe("makes", force=True)

    async with cue:
        await (await cue.submit("start")).wait()
        if where == "thread":
            await asyncio.get_running_loop().run_in_executor(None, from_thread)
    assert ran == ["makes", "reads"]


@pytest.mark.rule(27)
@virtual
async def test_a_work_whose_declaration_failed_does_not_take_the_place_of_the_real_maker() -> None:
    cue = runcue.Cue(recheck=False)
    cue.on_failure(lambda work, error: None)
    x = Flag("x")
    ran = worker(cue, "makes", outputs=x, key="k", lasts=5.0)

    @cue.task("bad", inputs=lambda work: work.params["no such"], outputs=x, key="k")
    async def bad(work: runcue.Work) -> None: ...

    worker(cue, "reads", inputs=x)
    async with cue:
        there(cue, x)
        await cue.submit("makes", force=True)
        await asyncio.sleep(1.0)
        assert (await (await cue.submit("bad")).wait()).state is FAILED
        reader = await cue.submit("reads")
        joined = await cue.submit("makes", force=True)
        await reader.wait()
        assert now() == 5.0
        assert joined.work.completed_at is not None
    assert ran == ["makes"], "it was joined, not run beside itself"


@pytest.mark.rule(2)
@virtual
async def test_a_gate_for_another_task_changes_nothing_for_what_declares_by_submission() -> None:
    cue = runcue.Cue(recheck=False)
    x = Flag("x")
    ran = worker(cue)
    async with cue:
        handle = await cue.submit("t", inputs=x)
        worker(cue, "other")
        cue.is_ready(task="other")(lambda work: True)
        await cue.drain()
        assert handle.work.state is PENDING
        there(cue, x)
        await handle.wait()
    assert ran == ["t"]


KINDS = ("sync", "async", "suspended", "awaitable", "late awaitable")


def handler_of(kind: str, body: Callable[[runcue.Work], Any]) -> Callable[[runcue.Work], Any]:
    """A handler with that body: in a thread, async, or sync and returning what is then awaited."""

    async def now(work: runcue.Work) -> Any:
        return body(work)

    async def later(work: runcue.Work) -> Any:
        await asyncio.sleep(1.0)
        return body(work)

    return {
        "sync": lambda work: body(work),
        "async": now,
        "suspended": later,
        "awaitable": lambda work: now(work),
        "late awaitable": lambda work: later(work),
    }[kind]


@pytest.mark.rule(29)
@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_a_handler_that_returns_without_its_outputs_has_failed_and_the_text_says_which(
    kind: str, tmp_path: Path
) -> None:
    cue = runcue.Cue()
    heard = Recorder(cue)
    made, missing = Flag("made"), File(tmp_path / "missing.txt")
    cue.task("t", outputs=[made, missing])(handler_of(kind, lambda work: made.set()))
    worker(cue, "reads", inputs=missing)
    async with cue:
        handle = await cue.submit("t")
        reader = await cue.submit("reads")
        with pytest.raises(runcue.MissingOutput, match=r"missing\.txt"):
            await handle.result()
        assert heard.of(handle) == ["start", "failure"]
        await cue.drain()
        assert reader.work.state is PENDING
        await cue.cancel(reader)


@pytest.mark.rule(29)
@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_what_a_handler_raised_is_not_covered_by_a_missing_output(kind: str) -> None:
    def body(work: runcue.Work) -> None:
        raise ZeroDivisionError("on purpose")

    cue = runcue.Cue()
    cue.on_failure(lambda work, error: None)
    cue.task("t", outputs=Flag("x"))(handler_of(kind, body))
    async with cue:
        with pytest.raises(ZeroDivisionError):
            await (await cue.submit("t")).result()


def here(folder: Path) -> list[str]:
    """All files but marks: those of what has failed are to stay."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != ".runcue-marks"]
    return sorted(str(path.relative_to(folder)) for path in files)


@pytest.mark.rule(30)
@pytest.mark.parametrize("durable", [True, False], ids=["durable", "quick"])
@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_what_is_written_appears_when_the_handler_has_succeeded_and_not_before(
    kind: str, durable: bool, tmp_path: Path
) -> None:
    cue = runcue.Cue()
    text, binary, aside = tmp_path / "deep" / "er" / "t.txt", tmp_path / "b.bin", tmp_path / "aside.txt"
    binary.write_bytes(b"old")
    during: list[Any] = []

    def body(work: runcue.Work) -> str:
        with work.write(work.outputs[0], durable=durable) as file:
            file.write("Grüße\n")
        with work.write(work.outputs[1], mode="wb", durable=durable) as file:
            file.write(b"\x00new")
        with work.write(str(aside), encoding="latin-1", durable=durable) as file:
            file.write("é")
        during.append((text.exists(), binary.read_bytes(), aside.exists()))
        return "done"

    cue.task("t", outputs=[text, binary])(handler_of(kind, body))

    @cue.on_complete
    def complete(work: runcue.Work, result: Any, duration: float) -> None:
        during.append(here(tmp_path))

    async with cue:
        assert await (await cue.submit("t", force=True)).result() == "done"
    assert during[0] == (False, b"old", False)
    assert during[1] == here(tmp_path) == ["aside.txt", "b.bin", "deep/er/t.txt"]
    assert text.read_text(encoding="utf-8") == "Grüße\n"
    assert binary.read_bytes() == b"\x00new"
    assert aside.read_bytes() == b"\xe9"


@pytest.mark.rule(30)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("inside", [True, False], ids=["while writing", "after writing"])
@virtual
async def test_a_handler_that_raises_publishes_nothing_and_leaves_nothing(
    inside: bool, error: type[BaseException], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    path.write_text("old", encoding="utf-8")

    def body(work: runcue.Work) -> None:
        with work.write(path) as file:
            file.write("new")
            if inside:
                raise error
        raise error

    cue = runcue.Cue()
    cue.on_failure(lambda work, error: None)
    cue.task("t", outputs=path)(handler_of(kind, body))
    async with cue:
        assert (await (await cue.submit("t", force=True)).wait()).state is FAILED
    assert here(tmp_path) == ["x"]
    assert path.read_text(encoding="utf-8") == "old"


@pytest.mark.rule(17, 30)
@pytest.mark.parametrize("how", ["cancel", "timeout", "stop", "exit"])
@pytest.mark.parametrize("kind", ["async", "awaitable"])
@virtual
async def test_async_work_that_is_ended_while_it_writes_publishes_nothing_and_leaves_nothing(
    kind: str, how: str, tmp_path: Path
) -> None:
    path = tmp_path / "x"

    async def writes(work: runcue.Work) -> None:
        with work.write(path) as file:
            file.write("half")
            file.flush()
            await asyncio.sleep(100.0)
            file.write("whole")

    handle: runcue.WorkHandle | None = None
    cue = runcue.Cue()
    cue.on_failure(lambda work, error: None)
    cue.task("t", outputs=path, timeout=5.0 if how == "timeout" else None)(
        writes if kind == "async" else (lambda work: writes(work))
    )
    try:
        async with cue:
            handle = await cue.submit("t")
            await asyncio.sleep(2.0)
            assert len(here(tmp_path)) == 1
            assert here(tmp_path) != ["x"]
            if how == "cancel":
                await cue.cancel(handle)
            elif how == "stop":
                await cue.stop(timeout=1.0)
            elif how == "exit":
                raise KeyError("the program's own")
            await handle.wait()
    except KeyError:
        pass
    assert handle is not None
    assert handle.work.state is (FAILED if how == "timeout" else CANCELLED)
    assert here(tmp_path) == []
    assert now() < 10.0


@pytest.mark.rule(17, 30)
@pytest.mark.parametrize("how", ["cancel", "timeout", "stop"])
def test_a_thread_that_goes_on_writing_after_its_work_has_ended_publishes_nothing(
    how: str, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    inside, goes_on, left = threading.Event(), threading.Event(), threading.Event()

    async def main() -> None:
        cue = runcue.Cue()
        cue.on_failure(lambda work, error: None)

        @cue.task("t", outputs=path, timeout=0.05 if how == "timeout" else None)
        def writes(work: runcue.Work) -> None:
            with work.write(path) as file:
                file.write("half")
                inside.set()
                assert goes_on.wait(10)
                file.write("whole")
            left.set()

        cue.start()
        handle = await cue.submit("t")
        while not inside.is_set():
            await asyncio.sleep(0.001)
        if how == "cancel":
            await cue.cancel(handle)
        elif how == "stop":
            summary = await cue.stop(timeout=0.01)
            assert summary.abandoned == [handle.work]
        await handle.wait()
        goes_on.set()
        if how != "stop":
            await cue.stop()
        while not left.is_set():
            await asyncio.sleep(0.001)
        for _ in range(1000):
            if not here(tmp_path):
                break
            await asyncio.sleep(0.001)
        assert here(tmp_path) == []

    asyncio.run(main())


@pytest.mark.rule(30)
@pytest.mark.parametrize("kind", ["sync", "async", "suspended"])
def test_a_work_that_is_cancelled_while_its_output_is_flushed_publishes_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    flushing, goes_on = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        flushing.set()
        assert goes_on.wait(10)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)

    async def main() -> None:
        cue = runcue.Cue()

        def body(work: runcue.Work) -> None:
            with work.write(path) as file:
                file.write("x")

        async def suspended(work: runcue.Work) -> None:
            await asyncio.sleep(0)
            body(work)

        cue.task("t", outputs=path)(suspended if kind == "suspended" else handler_of(kind, body))
        async with cue:
            handle = await cue.submit("t")
            while not flushing.is_set():
                await asyncio.sleep(0.001)
            await cue.cancel(handle)
            goes_on.set()
        assert handle.work.state is CANCELLED
        for _ in range(1000):
            if not here(tmp_path):
                break
            await asyncio.sleep(0.001)
        assert here(tmp_path) == []

    asyncio.run(main())


@pytest.mark.rule(30)
@virtual
async def test_writing_is_for_work_units_that_run_and_for_files(tmp_path: Path) -> None:
    cue = runcue.Cue()
    caught: list[type[BaseException]] = []

    @cue.task("t")
    async def handler(work: runcue.Work) -> None:
        for output, mode in ((Flag("x"), "w"), (tmp_path / "y", "r"), (tmp_path / "y", "a"), (5, "w")):
            try:
                work.write(output, mode)
            except runcue.ConfigurationError as error:
                caught.append(type(error))

    async with cue:
        handle = await cue.submit("t")
        with pytest.raises(runcue.UsageError):
            handle.work.write(tmp_path / "early")
        await handle.wait()
        with pytest.raises(runcue.UsageError):
            handle.work.write(tmp_path / "late")
    assert len(caught) == 4
    assert here(tmp_path) == []


@pytest.mark.rule(30)
@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_a_file_where_a_folder_must_be_fails_the_work_and_names_it(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "folder").mkdir()

    def body(work: runcue.Work) -> None:
        with work.write(work.outputs[0]) as file:
            file.write("x")

    cue = runcue.Cue()
    cue.on_failure(lambda work, error: None)
    cue.task("t", outputs=lambda work: tmp_path / work.params["path"])(handler_of(kind, body))
    async with cue:
        for path in ("file/x", "folder"):
            handle = await cue.submit("t", params={"path": path}, force=True)
            with pytest.raises(runcue.PublishError, match=path):
                await handle.result()
    assert here(tmp_path) == ["file"]


@pytest.mark.rule(30)
@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_a_file_left_open_fails_the_work_and_is_removed(kind: str, tmp_path: Path) -> None:
    kept: list[Any] = []

    def body(work: runcue.Work) -> None:
        staged = work.write(tmp_path / "x")
        kept.append((staged, staged.__enter__()))

    cue = runcue.Cue()
    cue.on_failure(lambda work, error: None)
    cue.task("t")(handler_of(kind, body))
    async with cue:
        handle = await cue.submit("t")
        with pytest.raises(runcue.ConfigurationError, match="still open"):
            await handle.result()
    for _, file in kept:
        file.close()
    assert here(tmp_path) == []


@pytest.mark.rule(27, 30)
@pytest.mark.parametrize("in_thread", [False, True], ids=["loop", "thread"])
@virtual
async def test_atomic_write_makes_folders_replaces_and_wakes_the_readers(
    in_thread: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a" / "b"
    cue = runcue.Cue(recheck=False)
    ran = worker(cue, inputs=path)
    async with cue:
        handle = await cue.submit("t")
        await asyncio.sleep(1.0)
        if in_thread:
            await asyncio.get_running_loop().run_in_executor(None, runcue.atomic_write, path, "text")
        else:
            runcue.atomic_write(path, b"bytes", durable=False)
        await handle.wait()
        assert now() == 1.0
    assert ran == ["t"]
    assert here(tmp_path) == ["a/b"]


@pytest.mark.rule(27, 30)
@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_a_chain_of_files_runs_in_order_is_skipped_then_and_reruns_from_what_was_touched(
    kind: str, tmp_path: Path
) -> None:
    ran: list[int] = []

    def body(work: runcue.Work) -> None:
        ran.append(work.params["n"])
        with work.write(work.outputs[0], durable=False) as file:
            file.write("".join(Path(one).read_text(encoding="utf-8") for one in work.inputs) + "x")

    cue = runcue.Cue(recheck=False)
    cue.task(
        "t",
        inputs=lambda work: tmp_path / str(work.params["n"] - 1) if work.params["n"] else None,
        outputs=lambda work: tmp_path / str(work.params["n"]),
    )(handler_of(kind, body))
    async with cue:
        for expected, forced in (([0, 1, 2, 3, 4], None), ([], None), ([2, 3, 4], 2), ([], None)):
            ran.clear()
            for number in (4, 2, 0, 3, 1):
                await cue.submit("t", params={"n": number}, force=number == forced)
            await cue.drain()
            assert ran == expected
    assert (tmp_path / "4").read_text(encoding="utf-8") == "xxxxx"


def test_bad_files_are_told_in_the_log_only_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        worker(cue)
        cue.start()
        bad = Asked("bad", raises(OSError("disk on fire")))
        for _ in range(20):
            await cue.submit("t", inputs=bad)
        await asyncio.sleep(30.0)
        await cue.stop()

    with caplog.at_level(logging.ERROR), asyncio.Runner(loop_factory=GuardedLoop) as runner:
        runner.run(main())
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
