"""What `cue.plan()` forecasts, that it keeps its word when the work units are run, and that it changes nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiolimiter
import hypothesis
import hypothesis.strategies as st
import pytest

import runcue
import runcue.testing
from tests.support.calls import calls_in

Names = list[str]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(*paths: str, age: float = 0.0) -> None:
    for path in paths:
        Path(path).write_text(path)
        if age:
            then = time.time() - age
            os.utime(path, (then, then))


def kitchen(fresh: Any = "default") -> runcue.Cue:
    """Flour to dough to bread to joy: each step writes its output."""
    cue = runcue.Cue(id_prefix="w")
    cue.service("hands", concurrent=1)
    policy: dict[str, Any] = {} if fresh == "default" else {"fresh": fresh}

    def add(name: str, inputs: str, outputs: str) -> None:
        @cue.task(name, uses="hands", inputs=inputs, outputs=outputs, **policy)
        def write(work: runcue.Work) -> None:
            with work.write(work.outputs[0]) as file:
                file.write(f"{work.task} {work.params}")

    for step in (("mix", "flour", "dough"), ("bake", "dough", "bread"), ("eat", "bread", "joy")):
        add(*step)
    return cue


def names(works: Iterable[runcue.PlannedWork]) -> Names:
    return [f"{work.task} {work.id}" for work in works]


def reasons(works: Iterable[runcue.PlannedWork]) -> dict[str, str]:
    return {work.task: work.reason for work in works}


async def outcomes(cue: runcue.Cue, submissions: list[str]) -> dict[str, Names]:
    """What becomes of work units when they are run."""
    async with cue:
        for task in submissions:
            await cue.submit(task)
        await cue.drain()
        blocked = [entry["work"].task for entry in cue.debug_blocked()]
    works = await cue.list(limit=1000)
    ran = [work.task for work in sorted(works, key=lambda work: work.started_at or 0.0) if work.started_at]
    return {"runs": ran, "up_to_date": [work.task for work in works if work.skipped], "blocked": blocked}


def fates(plan: runcue.Plan) -> dict[str, Names]:
    found = {"runs": plan.runs, "up_to_date": plan.up_to_date, "blocked": plan.blocked}
    return {name: [work.task for work in works] for name, works in found.items()}


def test_work_units_are_in_the_order_in_which_one_makes_what_the_next_needs() -> None:
    make("flour")
    plan = kitchen().plan(["eat", "bake", "mix"])
    assert names(plan.runs) == ["mix #3", "bake #2", "eat #1"]
    assert reasons(plan.runs) == {
        "mix": "File('dough') is missing",
        "bake": "File('bread') is missing",
        "eat": "File('joy') is missing",
    }
    assert plan.ok


def test_work_units_that_do_not_need_each_other_are_in_the_order_of_their_submission() -> None:
    cue = runcue.Cue()

    @cue.task("paint", outputs=lambda work: runcue.Flag(work.params["wall"]))
    def paint(work: runcue.Work) -> None: ...

    plan = cue.plan([("paint", {"wall": wall}) for wall in "cab"])
    assert [work.params["wall"] for work in plan.runs] == ["c", "a", "b"]
    assert [work.number for work in plan.runs] == [1, 2, 3]
    assert [work.outputs for work in plan.runs] == [(runcue.Flag(wall),) for wall in "cab"]
    assert plan.runs[0].reason == "Flag('c') is not set"


def test_what_is_up_to_date_is_listed_with_the_reason() -> None:
    make("flour", age=20)
    make("dough", age=10)
    make("bread")
    plan = kitchen().plan(["mix", "bake"])
    assert plan.runs == ()
    assert reasons(plan.up_to_date) == {
        "mix": "File('dough') is newer than its inputs",
        "bake": "File('bread') is newer than its inputs",
    }


def test_what_is_older_than_its_input_runs_and_so_does_what_is_made_from_it() -> None:
    make("dough", age=20)
    make("bread", "joy", age=10)
    make("flour")
    plan = kitchen().plan(["mix", "bake", "eat"])
    assert reasons(plan.runs) == {
        "mix": "File('dough') is not newer than File('flour')",
        "bake": "input File('dough') is made anew by mix #1",
        "eat": "input File('bread') is made anew by bake #2",
    }
    assert not any(work.may for work in plan.runs)


def test_forced_work_runs_although_it_is_up_to_date() -> None:
    make("flour", age=10)
    make("dough")
    plan = kitchen().plan([{"task": "mix", "force": True}])
    assert reasons(plan.runs) == {"mix": "forced"}


def test_by_content_what_is_made_from_a_rerun_only_may_run() -> None:
    cue = kitchen(fresh=runcue.digest())
    make("flour")
    asyncio.run(outcomes(cue, ["mix", "bake", "eat"]))
    assert names(kitchen(fresh=runcue.digest()).plan(["mix", "bake", "eat"]).up_to_date) == [
        "mix #1",
        "bake #2",
        "eat #3",
    ]
    make("flour")
    Path("flour").write_text("rye")
    plan = kitchen(fresh=runcue.digest()).plan(["mix", "bake", "eat"])
    assert reasons(plan.runs) == {
        "mix": "File('flour') has other content than when File('dough') was made",
        "bake": "input File('dough') is made anew by mix #1; if it turns out the same, this may be up to date",
        "eat": "input File('bread') may be made anew by bake #2, with other content or the same",
    }
    assert [work.may for work in plan.runs] == [False, True, True]


def test_with_no_policy_a_rerun_makes_nothing_out_of_date() -> None:
    make("flour", "bread")
    plan = kitchen(fresh=None).plan(["mix", "bake"])
    assert fates(plan) == {"runs": ["mix"], "up_to_date": ["bake"], "blocked": []}
    assert "fresh=None" in plan.up_to_date[0].reason


def test_a_policy_of_the_users_is_not_asked_about_what_is_yet_to_be_made() -> None:
    class Never:
        def stale(self, work: Any) -> None:
            assert Path("dough").exists()

        def started(self, work: Any) -> None: ...
        def finished(self, work: Any) -> None: ...

    make("flour", "bread")
    plan = kitchen(fresh=Never()).plan(["mix", "bake"])
    assert [(work.task, work.may) for work in plan.runs] == [("mix", False), ("bake", True)]


def test_of_artifacts_without_version_only_validity_counts_downstream_too() -> None:
    class Row(runcue.Artifact):
        def __init__(self, name: str) -> None:
            self.name = name

        def valid(self) -> bool:
            return self.name != "new"

    cue = runcue.Cue()
    cue.task("one", outputs=[Row("old"), Row("new")])(lambda work: None)
    cue.task("two", inputs=Row("old"), outputs=Row("other"))(lambda work: None)
    assert fates(cue.plan(["one", "two"])) == {"runs": ["one"], "up_to_date": ["two"], "blocked": []}


@pytest.mark.parametrize(
    "there",
    [
        [],
        ["flour"],
        ["flour", "dough"],
        ["flour", "dough", "bread"],
        ["flour", "dough", "bread", "joy"],
        ["dough", "bread", "flour", "joy"],
        ["bread", "dough", "flour"],
        ["dough", "bread"],
        ["joy", "bread", "dough", "flour"],
        ["bread", "joy"],
    ],
    ids="-".join,
)
@pytest.mark.parametrize("fresh", [runcue.newer(), runcue.digest(), None], ids=["newer", "digest", "none"])
@pytest.mark.parametrize(
    "order", [["mix", "bake", "eat"], ["eat", "bake", "mix"], ["eat", "mix"]], ids="-".join
)
def test_what_was_forecast_happens(there: Names, fresh: Any, order: Names) -> None:
    for number, path in enumerate(there):
        make(path, age=1000.0 - 10 * number)
    plan = kitchen(fresh=fresh).plan(order)
    assert plan.unsure == ()
    happened = asyncio.run(outcomes(kitchen(fresh=fresh), order))
    expected = fates(plan)
    assert happened.pop("runs") == expected.pop("runs")
    assert {name: sorted(tasks) for name, tasks in happened.items()} == {
        name: sorted(tasks) for name, tasks in expected.items()
    }


graphs = st.lists(
    st.tuples(st.sets(st.integers(0, 6), max_size=3), st.integers(0, 6) | st.none()), min_size=1, max_size=7
)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(graphs, st.lists(st.integers(0, 6), unique=True), st.sampled_from(["newer", "none"]))
def test_what_was_foretold_of_any_graph_happens(
    works: list[tuple[set[int], int | None]], there: list[int], fresh: str
) -> None:
    for path in Path().glob("f*"):
        path.unlink()
    for number, name in enumerate(there):
        make(f"f{name}", age=1000.0 - 10 * number)
    cue = runcue.Cue(stall_timeout=None)
    cue.service("hands", concurrent=1)

    @cue.task(
        "work",
        uses="hands",
        inputs=lambda work: [f"f{name}" for name in sorted(work.params["needs"])],
        outputs=lambda work: None if work.params["makes"] is None else f"f{work.params['makes']}",
        fresh=runcue.newer() if fresh == "newer" else None,
    )
    async def work(work: runcue.Work) -> None:
        for output in work.outputs:
            with work.write(output, durable=False) as file:
                file.write("x")

    given = [
        {"needs": needs, "makes": makes, "number": number} for number, (needs, makes) in enumerate(works)
    ]
    plan = cue.plan([("work", params) for params in given])

    async def main() -> dict[str, list[int]]:
        refused = []
        async with cue:
            for params in given:
                try:
                    await cue.submit("work", params=params)
                except runcue.DuplicateWork:
                    refused.append(params["number"])
            await cue.drain()
            blocked = {entry["work"].params["number"] for entry in cue.debug_blocked()}
        done = await cue.list(limit=100)
        ran = sorted((w for w in done if w.started_at), key=lambda w: w.started_at or 0.0)
        return {
            "runs": [w.params["number"] for w in ran],
            "up to date": sorted(w.params["number"] for w in done if w.skipped),
            "blocked": sorted(blocked),
            "refused": refused,
        }

    assert asyncio.run(main()) == {
        "runs": [planned.params["number"] for planned in plan.runs],
        "up to date": sorted(planned.params["number"] for planned in plan.up_to_date),
        "blocked": sorted(planned.params["number"] for planned in plan.blocked),
        "refused": [int(problem.split(":")[0].removeprefix("submission ")) - 1 for problem in plan.problems],
    }


def test_a_missing_input_that_nobody_makes_blocks_and_so_does_what_waits_for_that() -> None:
    plan = kitchen().plan(["eat", "bake", "mix"])
    assert plan.runs == ()
    assert not plan.ok
    assert reasons(plan.blocked) == {
        "mix": "input File('flour') is missing, and nothing planned makes it",
        "bake": "input File('dough') is to be made by mix #3, which is blocked",
        "eat": "input File('bread') is to be made by bake #2; that is blocked in the end by mix #3",
    }


def test_what_is_there_does_not_help_a_work_whose_maker_is_blocked() -> None:
    make("dough")
    assert fates(kitchen().plan(["bake", "mix"]))["blocked"] == ["bake", "mix"]


def test_a_callable_that_raises_blocks_its_work_but_not_those_that_can_do_without() -> None:
    cue = runcue.Cue()
    cue.task("mix", inputs=lambda work: work.params["flour"], outputs="dough")(lambda work: None)
    cue.task("bake", inputs="dough", outputs="bread")(lambda work: None)
    plan = cue.plan(["bake", "mix"])
    assert "KeyError: 'flour'" in plan.blocked[1].reason
    assert (
        plan.blocked[0].reason
        == "input File('dough') is missing, and mix #2, which is to make it, cannot run"
    )
    make("dough")
    assert names(cue.plan(["bake", "mix"]).runs) == ["bake #1"]


def test_an_input_that_raises_blocks_and_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(runcue.Artifact):
        def valid(self) -> bool:
            raise OSError("no route to host")

    cue = runcue.Cue()
    cue.task("read", inputs=Broken())(lambda work: None)
    assert "cannot be looked at: OSError: no route to host" in cue.plan(["read"]).blocked[0].reason
    assert caplog.records == []


def test_an_input_that_failed_to_be_made_says_who_failed() -> None:
    cue = kitchen()

    @cue.task("sow", outputs="flour")
    def sow(work: runcue.Work) -> None:
        raise ValueError("hail")

    cue.on_failure(lambda work, error: None)
    asyncio.run(outcomes(cue, ["sow"]))
    reason = cue.plan(["mix"]).blocked[0].reason
    assert reason == "input File('flour') is missing, and sow w1, which was to make it, failed"


def test_one_input_that_nobody_makes_blocks_although_another_is_made() -> None:
    make("flour")
    cue = kitchen()
    cue.task("top", inputs=["dough", "cheese"], outputs="pizza")(lambda work: None)
    plan = cue.plan(["mix", "top"])
    assert reasons(plan.blocked) == {"top": "input File('cheese') is missing, and nothing planned makes it"}


def test_of_several_inputs_those_that_stay_are_compared_now() -> None:
    make("pizza", age=20)
    make("flour", "cheese")
    cue = kitchen()
    cue.task("top", inputs=["dough", "cheese"], outputs="pizza")(lambda work: None)
    assert reasons(cue.plan(["mix", "top"]).runs)["top"] == "File('pizza') is not newer than File('cheese')"


class Odd(runcue.Artifact):
    """Not valid, and cannot say why."""

    def valid(self) -> bool:
        return False

    def problem(self) -> str:
        raise OSError("no idea")


def test_an_input_that_cannot_say_what_is_wrong_with_it_blocks_all_the_same() -> None:
    cue = runcue.Cue()
    cue.task("read", inputs=Odd())(lambda work: None)
    assert "no idea" in cue.plan(["read"]).blocked[0].reason


def test_an_input_that_is_too_old_for_one_is_not_made_anew_by_a_maker_that_is_up_to_date() -> None:
    make("dough", age=100)
    cue = runcue.Cue()
    cue.task("mix", outputs="dough")(lambda work: None)
    cue.task("bake", inputs=runcue.File("dough", max_age=60), outputs="bread")(lambda work: None)
    reason = cue.plan(["mix", "bake"]).blocked[0].reason
    assert "which is more than its max_age of 60 s, though mix #1, which makes it, is up to date" in reason


def test_several_outputs_are_told_together() -> None:
    make("a", "b", "c")
    cue = runcue.Cue()
    cue.task("make", outputs=["a", "b", "c"])(lambda work: None)
    assert cue.plan(["make"]).up_to_date[0].reason == "each of File('a') and 2 more is valid"


def ring(cue: runcue.Cue, number: int, letter: str = "x") -> list[Any]:
    """Work units in a cycle: each needs what the one before makes."""

    @cue.task(
        f"turn {letter}",
        inputs=lambda work: runcue.Flag(f"{letter}{(work.params['at'] - 1) % number}"),
        outputs=lambda work: runcue.Flag(f"{letter}{work.params['at']}"),
    )
    def turn(work: runcue.Work) -> None: ...

    return [(turn, {"at": at}) for at in range(number)]


def test_a_cycle_is_reported_before_anything_runs_once_and_in_order() -> None:
    cue = runcue.Cue()
    plan = cue.plan(ring(cue, 3))
    assert [names(cycle.works) for cycle in plan.cycles] == [["turn x #1", "turn x #2", "turn x #3"]]
    assert plan.cycles[0].artifacts == (runcue.Flag("x0"), runcue.Flag("x1"), runcue.Flag("x2"))
    assert str(plan.cycles[0]) == (
        "turn x #1 makes Flag('x0') for turn x #2, turn x #2 makes Flag('x1') for turn x #3, "
        "turn x #3 makes Flag('x2') for turn x #1"
    )
    assert len(plan.blocked) == 3
    assert str(plan).count("Flag('x1')") == 1


def test_each_cycle_is_reported_and_what_is_behind_them() -> None:
    cue = runcue.Cue()
    both = ring(cue, 2, "x") + ring(cue, 4, "y")
    cue.task("after", inputs=[runcue.Flag("y2"), runcue.Flag("x0")], outputs="out")(lambda work: None)
    cue.task("later", inputs="out")(lambda work: None)
    plan = cue.plan(["later", "after", *both])
    assert [names(cycle.works) for cycle in plan.cycles] == [
        ["turn x #3", "turn x #4"],
        ["turn y #5", "turn y #6", "turn y #7", "turn y #8"],
    ]
    said = reasons(plan.blocked)
    assert said["after"].startswith(
        "input Flag('y2') is to be made by turn y #7; that is blocked in the end by the cycle"
    )
    assert said["later"].startswith(
        "input File('out') is to be made by after #2; that is blocked in the end by the cycle"
    )


def test_a_cycle_among_work_units_that_are_up_to_date_is_one_all_the_same() -> None:
    make("a", "b")
    cue = runcue.Cue()
    cue.task("one", inputs="a", outputs="b", fresh=None)(lambda work: None)
    cue.task("two", inputs="b", outputs="a", fresh=None)(lambda work: None)
    assert len(cue.plan(["one", "two"]).cycles) == 1


def test_a_work_that_changes_its_own_input_is_no_cycle() -> None:
    make("log")
    cue = runcue.Cue()
    cue.task("append", inputs="log", outputs=["log", "done"])(lambda work: None)
    assert fates(cue.plan(["append"]))["runs"] == ["append"]


def test_cycles_beyond_all_number_are_reported_as_far_as_helps() -> None:
    cue = runcue.Cue()
    flags = [runcue.Flag(f"f{number}") for number in range(300)]
    cue.task(
        "knot",
        inputs=lambda work: [flag for at, flag in enumerate(flags) if at != work.params["at"]],
        outputs=lambda work: flags[work.params["at"]],
    )(lambda work: None)
    plan = cue.plan([("knot", {"at": at}) for at in range(len(flags))])
    assert len(plan.blocked) == len(flags)
    assert 1 <= len(plan.cycles) < 10_000
    assert "many more" in str(plan)


def test_a_work_that_makes_the_same_joins_and_hands_on_force() -> None:
    make("flour", age=10)
    make("dough")
    plan = kitchen().plan(["mix", {"task": "mix", "force": True}])
    assert reasons(plan.runs) == {"mix": "forced"}
    assert names(plan.joined) == ["mix #2"]
    assert plan.joined[0].reason == "mix #1 makes the same"


def test_a_collision_is_listed_as_a_problem_and_not_raised() -> None:
    make("flour")
    plan = kitchen().plan(["mix", ("mix", {"much": 1}), "bake", {"task": "mix", "duplicate": "error"}])
    assert names(plan.runs) == ["mix #1", "bake #3"]
    assert not plan.ok
    assert plan.problems[0].startswith(
        "submission 2: 'mix' with params {'much': 1}: its output File('dough')"
    )
    assert plan.problems[1].startswith("submission 4: 'mix'")


def test_plain_callbacks_are_asked_once_where_nothing_is_about_to_change() -> None:
    asked: list[str] = []
    cue = runcue.Cue()
    cue.task("fetch")(lambda work: None)
    cue.is_ready(lambda work: asked.append(f"ready {work.id}") or True)
    cue.is_stale(lambda work: asked.append(f"stale {work.id}") or work.params["old"])
    plan = cue.plan([("fetch", {"old": True}), ("fetch", {"old": False})])
    assert asked == ["ready #1", "stale #1", "ready #2", "stale #2"]
    assert [work.reason for work in (*plan.runs, *plan.up_to_date)] == [
        "is_stale says so",
        "is_stale says no",
    ]
    assert plan.unsure == ()


def test_without_any_question_nothing_says_that_work_is_up_to_date() -> None:
    cue = runcue.Cue()
    cue.task("fetch")(lambda work: None)
    assert reasons(cue.plan(["fetch"]).runs) == {"fetch": "nothing says it is up to date"}


def test_both_the_declared_artifacts_and_is_stale_must_say_that_it_runs() -> None:
    make("flour")
    cue = kitchen()
    cue.is_stale(lambda work: False)
    assert fates(cue.plan(["mix"]))["up_to_date"] == ["mix"]
    cue.is_stale(lambda work: True)
    assert reasons(cue.plan(["mix"]).runs) == {"mix": "File('dough') is missing"}
    os.utime("flour", (time.time() - 5, time.time() - 5))
    make("dough")
    cue.is_stale(task="mix")(lambda work: pytest.fail("what is up to date as declared is not asked about"))
    assert fates(cue.plan(["mix"]))["up_to_date"] == ["mix"]


def test_a_work_that_is_not_ready_now_is_unsure_and_is_stale_is_not_asked() -> None:
    cue = runcue.Cue()
    cue.task("fetch")(lambda work: None)
    cue.is_ready(lambda work: (False, "no network"))
    cue.is_stale(lambda work: pytest.fail("not before it is ready"))
    plan = cue.plan(["fetch"])
    assert plan.runs == plan.unsure
    assert plan.unsure[0].unsure == "is_ready says not ready now: no network"
    assert "no network" in str(plan)


@pytest.mark.filterwarnings("error")
def test_async_callbacks_are_not_awaited_and_leave_it_unsure() -> None:
    async def later(work: runcue.Work) -> bool:
        raise AssertionError

    cue = runcue.Cue()
    cue.task("fetch")(lambda work: None)
    cue.task("send")(lambda work: None)
    cue.is_ready(task="fetch")(later)
    cue.is_stale(task="send")(lambda work: later(work) or True)
    plan = cue.plan(["fetch", "send"])
    assert [work.unsure for work in plan.runs] == ["is_ready has to be awaited", "is_stale has to be awaited"]


def test_callbacks_that_raise_are_told_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(work: runcue.Work) -> bool:
        raise ValueError("bad day")

    cue = runcue.Cue()
    cue.task("fetch")(lambda work: None)
    cue.task("send")(lambda work: None)
    cue.is_ready(task="fetch")(broken)
    cue.is_stale(task="send")(broken)
    plan = cue.plan(["fetch", "send"])
    assert plan.runs[0].unsure == "is_ready raised ValueError: bad day"
    assert plan.runs[1].reason == "is_stale raised ValueError: bad day, which counts as yes"
    assert caplog.records == []


def test_ctrl_c_in_a_callback_ends_the_plan() -> None:
    class Slow(runcue.Artifact):
        def valid(self) -> bool:
            raise KeyboardInterrupt

    cue = runcue.Cue()
    cue.task("read", inputs=Slow())(lambda work: None)
    with pytest.raises(KeyboardInterrupt):
        cue.plan(["read"])


def test_callbacks_are_not_asked_about_what_is_yet_to_be_made() -> None:
    make("flour", "bread")
    cue = kitchen()
    cue.is_ready(task="bake")(lambda work: pytest.fail("dough is not made yet"))
    cue.is_stale(task="bake")(lambda work: pytest.fail("dough is not made yet"))
    plan = cue.plan(["mix", "bake"])
    assert reasons(plan.runs)["bake"] == "input File('dough') is made anew by mix #1"
    assert plan.unsure[0].unsure == "is_ready and is_stale can be asked only once its inputs are made"
    assert names(plan.unsure) == ["bake #2"]


def test_what_is_made_from_something_unsure_only_may_be_out_of_date() -> None:
    make("flour", age=20)
    make("bread")
    cue = kitchen()
    cue.is_ready(task="mix")(lambda work: False)
    plan = cue.plan(["mix", "bake"])
    assert reasons(plan.runs)["bake"] == "input File('dough') may be made anew by mix #1"


def test_nothing_is_called_submitted_or_changed() -> None:
    make("flour")
    flag = runcue.Flag("oven")
    flag.set()
    made = runcue.Flag("made")
    cue = kitchen()
    for register in (cue.on_start, cue.on_skip, cue.on_failure, cue.on_cancel):
        register(lambda *heard: pytest.fail("a listener was called"))
    cue.task("heat", inputs=flag, outputs=made)(lambda work: pytest.fail("a handler was called"))
    seen: list[bool] = []
    cue.is_ready(task="look")(lambda work: seen.append(runcue.Flag("made").valid()) or True)
    cue.task("look")(lambda work: None)
    before = sorted(Path().iterdir())
    assert names(cue.plan(["mix", "heat", "look"]).runs) == ["mix #1", "heat #2", "look #3"]
    assert sorted(Path().iterdir()) == before
    assert asyncio.run(cue.list()) == []
    assert cue._dispatcher.flags == {}
    assert flag._home is None
    assert seen == [False]


def test_the_flags_of_the_cue_are_seen_under_their_names() -> None:
    cue = runcue.Cue()

    @cue.task("heat", outputs=lambda work: runcue.Flag("oven"))
    async def heat(work: runcue.Work) -> None:
        work.outputs[0].set()

    @cue.task("bake", inputs=lambda work: runcue.Flag("oven"))
    async def bake(work: runcue.Work) -> None: ...

    cue.is_ready(task="bake")(lambda work: runcue.Flag("oven").valid())

    async def main() -> runcue.Plan:
        async with cue:
            await (await cue.submit(heat)).result()
            return cue.plan(["heat", "bake"])

    plan = asyncio.run(main())
    assert reasons(plan.up_to_date) == {"heat": "Flag('oven') is valid"}
    assert names(plan.runs) == ["bake #2"]
    assert plan.unsure == ()


def test_pending_and_running_work_units_are_planned_with_what_is_given() -> None:
    make("flour", "bread", "joy")
    cue = kitchen()
    plans: list[runcue.Plan] = []

    @cue.task("stir", uses="hands", outputs="dough2")
    async def stir(work: runcue.Work) -> None:
        plans.append(cue.plan(["eat"]))
        make("dough2")

    cue.task("taste", inputs="dough2", outputs="joy2")(lambda work: make("joy2"))

    async def main() -> None:
        async with cue:
            for task in ("stir", "taste", "bake", "mix", "bake"):
                await cue.submit(task)

    asyncio.run(main())
    plan = plans[0]
    assert names(plan.runs) == ["taste w2", "mix w4", "bake w3", "eat #1"]
    assert [work.number for work in plan.runs] == [None, None, None, 1]
    assert names(plan.joined) == ["bake w5"]
    assert plan.joined[0].reason == "bake w3 makes the same"


def test_what_a_running_work_makes_is_made_anew() -> None:
    make("bread")
    cue = kitchen()
    plans: list[runcue.Plan] = []

    @cue.task("knead", outputs="dough")
    async def knead(work: runcue.Work) -> None:
        plans.append(cue.plan(["bake", "knead"]))
        make("dough")

    async def main() -> None:
        async with cue:
            await cue.submit("knead")

    asyncio.run(main())
    assert reasons(plans[0].runs) == {"bake": "input File('dough') is made anew by knead w1"}
    assert reasons(plans[0].joined) == {"knead": "knead w1 makes the same"}


def test_planning_what_is_pending_leaves_it_as_it_is() -> None:
    make("flour")

    async def main() -> None:
        cue = kitchen()
        await cue.submit("bake")
        await cue.submit("mix", force=True)
        before = [
            (w.id, w._phase, w._not_ready_reason, w._declared.stale, w._refusals)
            for w in await cue.list()
            if w._declared
        ]
        assert names(cue.plan().runs) == ["mix w2", "bake w1"]
        assert reasons(cue.plan([]).runs) == {"mix": "forced", "bake": "File('bread') is missing"}
        after = [
            (w.id, w._phase, w._not_ready_reason, w._declared.stale, w._refusals)
            for w in await cue.list()
            if w._declared
        ]
        assert after == before
        async with cue:
            summary = await cue.stop()
        assert summary.counts["completed"] == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("submission", "error", "text"),
    [
        ("bak", runcue.UnknownTask, "Submission 2 of plan(): Unknown task: 'bak'. Did you mean 'bake'?"),
        (("bake", 5), runcue.InvalidParams, "Submission 2 of plan(): params must be a mapping"),
        ((), runcue.ConfigurationError, "write a task, (task, params) or a mapping"),
        (("bake", {}, 1), runcue.ConfigurationError, "write a task, (task, params) or a mapping"),
        (
            {"params": {}},
            runcue.ConfigurationError,
            'it has no "task"; beside that there may be params, inputs',
        ),
        (
            {"task": "bake", "fources": 1},
            runcue.ConfigurationError,
            "there is no field 'fources'; did you mean 'force'?",
        ),
        ({"task": "bake", "fresh": 1}, runcue.ConfigurationError, "fresh must be runcue.newer()"),
        ({"task": "bake", "duplicate": "no"}, runcue.ConfigurationError, "duplicate must be"),
        ({"task": "bake", "outputs": 5}, runcue.ConfigurationError, "outputs must be artifacts"),
        (None, runcue.UnknownTask, "Submission 2"),
    ],
)
def test_a_mistake_in_a_submission_is_raised_with_its_number(submission: Any, error: Any, text: str) -> None:
    with pytest.raises(error) as raised:
        kitchen().plan(["bake", submission])
    assert text in str(raised.value)
    assert "Submission 2" in str(raised.value)


@pytest.mark.parametrize("given", ["bake", {"task": "bake"}, 5, len])
def test_a_single_submission_is_no_list_of_them(given: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match="several submissions"):
        kitchen().plan(given)


def test_submissions_may_say_all_that_submit_takes() -> None:
    make("a")
    cue = kitchen()
    entry = {
        "task": "mix",
        "params": {"x": 1},
        "inputs": "a",
        "outputs": ["b", "c"],
        "fresh": None,
        "key": "k",
    }
    plan = cue.plan(iter([entry, ["mix", {"x": 1}], {"task": "bake", "key": "k"}]))
    assert reasons(plan.runs) == {"mix": "File('b') is missing"}
    assert plan.runs[0].inputs == (runcue.File("a"),)
    assert "by another task" in plan.problems[0]
    assert names(plan.blocked) == ["mix #2"]  # its own flour is missing


@pytest.mark.parametrize(("starts", "seconds"), [(0, 0), (1, 0), (60, 0), (61, 60), (120, 60), (121, 120)])
def test_a_rate_gives_the_lower_bound_of_time(starts: int, seconds: float) -> None:
    cue = runcue.Cue()
    cue.service("api", rate="60/min")
    cue.task("call", uses="api")(lambda work: None)
    plan = cue.plan(["call"] * starts)
    assert plan.seconds == seconds
    assert plan.binding == ("api" if seconds else None)
    if seconds:
        assert plan.services["api"] == runcue.ServiceTime(starts, seconds, "60/min")


def test_the_bound_is_what_a_run_takes_on_the_virtual_clock() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("slow", rate="7/min")
        cue.service("burst", rate="2/sec", burst=5)
        for name in ("slow", "burst"):

            @cue.task(name, uses=name)
            async def call(work: runcue.Work, name: str = name) -> None: ...

        for name in ("slow", "burst"):
            loop = asyncio.get_running_loop()
            began = loop.time()
            bound = cue.plan([name] * 40).seconds
            cue.start()
            for _ in range(40):
                await cue.submit(name)
            await cue.stop()
            assert bound == pytest.approx(loop.time() - began, abs=0.01)

    runcue.testing.run(main)


def test_of_several_services_the_slowest_binds_and_what_is_up_to_date_takes_no_time() -> None:
    make("there")
    cue = runcue.Cue()
    cue.service("a", rate="1/sec")
    cue.service("b", rate="10/hour")
    cue.service("c", concurrent=2)
    cue.service("d", limiter=aiolimiter.AsyncLimiter(1, 1))
    cue.task("call", uses=["a", "b", "c"], outputs=lambda work: work.params.get("out"))(lambda work: None)
    cue.task("other", uses="d")(lambda work: None)
    plan = cue.plan([*["call"] * 11, ("call", {"out": "there"}), "other"])
    assert (plan.seconds, plan.binding) == (3600.0, "b")
    assert plan.services["a"] == runcue.ServiceTime(11, 10.0, "1/sec")
    assert plan.services["c"].seconds == 0.0
    assert plan.services["d"].seconds is None
    assert "At least 60 min by the limits: 'b' (10/hour) starts 11 work units" in str(plan)
    assert "Nothing is known of the limiter of 'd'" in str(plan)


def test_a_plan_prints_as_a_table_of_80_columns() -> None:
    make("flour")
    cue = kitchen()
    cue.task("go" * 60 + "\n", inputs="/" + "long/" * 100)(lambda work: None)
    cue.priority(lambda ctx: 1.0)
    text = str(cue.plan(["mix", "bake", "go" * 60 + "\n", *ring(cue, 9), ("bake", {"x": 1}), "mix"]))
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[0] == ("Plan: 2 run, 10 are blocked, 1 joins another, 1 is refused, 1 cycle")
    for title in (
        "Run, in this order, unless priorities",
        "Blocked:",
        "Cycles:",
        "Refused:",
        "Join others:",
    ):
        assert f"\n{title}" in text
    assert "   1  mix #1   File('dough') is missing\n" in text
    assert "... 5 more ..." in text


def test_long_lists_are_shortened_with_counts_per_task() -> None:
    cue = runcue.Cue()
    for name in "abcdef":
        cue.task(name)(lambda work: None)
    text = str(cue.plan([name for number, name in enumerate("abcdef", 1) for _ in range(number * 10)]))
    assert text.splitlines()[-1] == "      and 198 more: 60 f, 50 e, 40 d, 30 c, 18 of 1 other task"
    assert len(text.splitlines()) < 20


def test_an_empty_plan_says_so() -> None:
    assert str(runcue.Cue().plan()) == "Plan: nothing to do"
    assert repr(runcue.Plan()) == "<Plan: nothing to do>"


def test_what_is_planned_shows_itself() -> None:
    make("flour")
    plan = kitchen().plan(["mix"])
    assert repr(plan.runs[0]) == "<PlannedWork mix #1: File('dough') is missing>"
    with pytest.raises(AttributeError):
        plan.runs[0].number = 5  # type: ignore[misc]
    with pytest.raises(AttributeError):
        plan.runs = ()  # type: ignore[misc]


@pytest.mark.parametrize("closed", [False, True], ids=["chain", "ring"])
def test_a_long_chain_is_planned_in_linear_time(closed: bool) -> None:
    def plan_of(number: int) -> runcue.Plan:
        cue = runcue.Cue()

        @cue.task(
            "step",
            inputs=lambda work: (
                f"f{(work.params['at'] - 1) % number}" if closed or work.params["at"] else None
            ),
            outputs=lambda work: f"f{work.params['at']}",
        )
        def step(work: runcue.Work) -> None: ...

        return cue.plan([("step", {"at": at}) for at in reversed(range(number))])

    number = 20_000  # as deep as no stack is
    plan = plan_of(number)
    if closed:
        assert len(plan.cycles[0].works) == number
    else:
        assert [work.params["at"] for work in plan.runs] == list(range(number))
    assert len(str(plan)) < 4000
    few, many = (calls_in(lambda number=number: plan_of(number)) for number in (1000, 4000))  # type: ignore[misc]
    assert many < 4.4 * few  # a square would be 16


def test_a_plan_knows_folders_and_what_is_in_them() -> None:
    Path("shelf").mkdir()
    make("shelf/flour")
    os.utime("shelf", (1e9, 1e9))
    make("list")
    cue = runcue.Cue()

    @cue.task("list", inputs="shelf", outputs="list")
    async def listing(work: runcue.Work) -> None: ...

    @cue.task("fill", outputs="shelf/deep/sugar")
    async def fill(work: runcue.Work) -> None: ...

    @cue.task("take", inputs="pantry/salt", outputs="taken")
    async def take(work: runcue.Work) -> None: ...

    @cue.task("stock", outputs="pantry")
    async def stock(work: runcue.Work) -> None: ...

    plan = cue.plan(["list", "fill", "take", "stock"])
    assert [work.task for work in plan.runs] == ["fill", "list", "stock", "take"]
    assert reasons(plan.runs)["list"] == "input File('shelf') is made anew by fill #2"
    assert fates(cue.plan(["list"]))["up_to_date"] == ["list"]


def test_a_plan_is_not_held_up_by_folders_that_are_read_and_filled() -> None:
    for folder in ("one", "two"):
        Path(folder).mkdir()
        make(f"{folder}/a")
    cue = runcue.Cue()

    @cue.task("there", inputs="one", outputs="two/b")
    async def there(work: runcue.Work) -> None: ...

    @cue.task("back", inputs="two", outputs="one/b")
    async def back(work: runcue.Work) -> None: ...

    @cue.task("page", inputs="one", outputs=lambda work: f"one/{work.params['n']}")
    async def page(work: runcue.Work) -> None: ...

    @cue.task("never", inputs="missing", outputs="two/c")
    async def never(work: runcue.Work) -> None: ...

    plan = cue.plan(["there", "back", *(("page", {"n": n}) for n in range(20)), "never"])
    assert len(plan.runs) == 22
    assert [work.task for work in plan.blocked] == ["never"]
    assert not plan.cycles


def test_a_plan_finds_cycles_through_folders() -> None:
    Path("dir").mkdir()
    make("dir/f")
    cue = runcue.Cue()

    @cue.task("take", inputs="dir/f", outputs="x")
    async def take(work: runcue.Work) -> None: ...

    @cue.task("fill", inputs="x", outputs="dir")
    async def fill(work: runcue.Work) -> None: ...

    (cycle,) = cue.plan(["take", "fill"]).cycles
    assert [work.task for work in cycle.works] == ["take", "fill"]


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, SystemExit, ValueError])
@pytest.mark.parametrize("question", ["is_ready", "is_stale"])
def test_whatever_a_gate_raises_is_told_in_the_plan(question: str, error: type[BaseException]) -> None:
    cue = runcue.Cue()
    cue.task("t")(lambda work: None)

    def gate(work: runcue.Work) -> bool:
        raise error

    getattr(cue, question)(task="t")(gate)
    assert f"{question} raised" in str(cue.plan(["t"]))


def test_of_params_that_differ_a_plan_names_which_with_both_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def write(work: runcue.Work) -> None:
        Path("out").write_text("made")

    def cue_with_it() -> runcue.Cue:
        cue = runcue.Cue()
        cue.task("t", outputs="out", fresh=runcue.digest())(write)
        return cue

    async def main() -> str:
        async with cue_with_it() as cue:
            await cue.submit("t", {"size": 80, "form": "png"})
            await cue.drain()
            return cue.plan([("t", {"size": 120, "form": "png"})]).runs[0].reason

    begin = "its params are not those that File('out') was made with: size was"
    assert runcue.testing.run(main) == f"{begin} 80 and is 120 now"
    unseen = cue_with_it().plan([("t", {"size": 120, "form": "png"})]).runs[0].reason
    assert unseen == f"{begin} another value and is 120 now (a stamp keeps no values, only digests)"
