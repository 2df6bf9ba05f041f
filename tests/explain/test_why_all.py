"""`cue.why()` of all that waits: one group for each root, the largest first, with what is to be done about it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import runcue
from runcue import Flag
from runcue.abc import Limit
from tests.support.calls import calls_in
from tests.support.virtual_time import virtual


async def submit(cue: runcue.Cue, task: str, number: int) -> list[runcue.WorkHandle]:
    return [await cue.submit(task, params={"n": n}) for n in range(number)]


def told(answer: runcue.WhyAll) -> list[tuple[str, int]]:
    """What the groups are, and how many are in each."""
    return [(group.verdict, group.count) for group in answer.groups]


@virtual
async def test_nothing_waits_is_an_answer() -> None:
    cue = runcue.Cue()
    assert str(cue.why()) == "Nothing waits or runs"
    cue.task("t")(_sleep)
    async with cue:
        await submit(cue, "t", 2)
        await asyncio.sleep(0.5)
        answer = cue.why()
        assert (answer.groups, answer.count, answer.running) == ((), 0, 2)
        assert str(answer) == "Nothing waits, 2 running"
        assert repr(answer) == "<WhyAll nothing waits>"


async def _sleep(work: runcue.Work) -> None:
    await asyncio.sleep(1)


@pytest.mark.rule(14)
@virtual
async def test_all_that_wait_for_one_rate_are_one_group_and_what_nobody_makes_is_another(
    tmp_path: Path,
) -> None:
    cue = runcue.Cue(id_prefix="")
    cue.service("openai", rate="60/min")
    page = tmp_path / "page-7.png"
    cue.task("ask", uses="openai")(_nothing)
    cue.task("read", inputs=page)(_nothing)
    cue.start()
    await submit(cue, "ask", 1264)
    await submit(cue, "read", 3)
    await asyncio.sleep(0.1)
    answer = cue.why()
    assert told(answer) == [("waiting for rate", 1204), ("waiting for an artifact", 3)]
    assert answer.count == 1207
    first, second = str(answer).splitlines()
    assert first.startswith(
        "1,204 ask wait for the rate of openai (60/min), done in 21 min at the earliest. "
    )
    assert second.startswith(
        f"3 read wait for File({str(page)!r}), which nobody makes, as far as is declared: it is missing"
    )
    rate, made = answer.groups
    assert rate.eta == pytest.approx(59.9 + 20 * 60)
    assert (rate.tasks, [work.id for work in rate.examples[:2]]) == ({"ask": 1204}, ["61", "62"])
    assert made.root.task == "read"
    assert "cue.nudge" in made.next_step
    assert repr(answer) == "<WhyAll 1,204 waiting for rate, 3 waiting for an artifact>"
    assert repr(rate) == "<WhyGroup 1,204 waiting for rate>"
    await cue.stop(drain=False)


async def _nothing(work: runcue.Work) -> None:
    pass


@virtual
async def test_where_slots_decide_all_are_done_in_about_as_long_as_they_usually_take() -> None:
    cue = runcue.Cue()
    cue.service("db", concurrent=2)
    cue.task("query", uses="db")(_sleep)
    async with cue:
        await submit(cue, "query", 104)
        await asyncio.sleep(0.5)
        [group] = cue.why().groups
        assert group.eta is None  # none of them has ended so far
        await asyncio.sleep(1)
        [group] = cue.why().groups
        assert (group.count, group.eta) == (100, 50)
        assert str(group).startswith("100 query wait for a slot of db (all 2 are in use by query ")
        assert ", done in about 50 s. " in str(group)


@virtual
async def test_a_bucket_gives_its_tokens_one_by_one() -> None:
    cue = runcue.Cue()
    cue.service("api", rate="60/min", burst=5)
    cue.task("ask", uses="api")(_nothing)
    async with cue:
        await submit(cue, "ask", 105)
        await asyncio.sleep(0.5)
        [group] = cue.why().groups
        assert (group.count, group.eta) == (100, pytest.approx(99.5))


@virtual
async def test_a_limit_of_the_users_own_that_does_not_tell_has_no_eta() -> None:
    class Never(runcue.abc.Limit):
        def room(self, now: float, work: object) -> bool:
            return False

        def next_room(self, now: float, work: object) -> float:
            return now + 5

        def describe(self, now: float, work: object) -> str:
            return "the budget is spent"

    cue = runcue.Cue()
    cue.service("api", limits=Never())
    cue.task("ask", uses="api")(_nothing)
    cue.start()
    await submit(cue, "ask", 3)
    await asyncio.sleep(0.5)
    [group] = cue.why().groups
    assert (group.verdict, group.count, group.eta) == ("waiting for a limit", 3, None)
    assert "3 ask wait for a limit of api (the budget is spent" in str(group)
    await cue.stop(drain=False)


@virtual
async def test_those_far_behind_are_counted_with_the_root_of_their_chain() -> None:
    cue = runcue.Cue(id_prefix="")
    made = [Flag(f"made {number}") for number in range(101)]
    cue.task(
        "step", inputs=lambda work: made[work.params["n"]], outputs=lambda work: made[work.params["n"] + 1]
    )(_nothing)
    cue.task("use", inputs=made[100])(_nothing)
    async with cue:
        await submit(cue, "step", 100)
        await submit(cue, "use", 5)
        await asyncio.sleep(0.1)
        [group] = cue.why().groups
        assert (group.verdict, group.count, group.tasks) == ("no producer", 105, {"step": 100, "use": 5})
        assert group.root.params == {"n": 0}
        assert str(group).startswith(
            "105 work units wait for Flag('made 0'), which nobody makes, 104 of them "
            "through others of them: it is not set. "
        )
        await cue.stop(drain=False)


@virtual
async def test_who_waits_for_who_stands_in_a_line_waits_for_what_that_line_waits_for() -> None:
    cue = runcue.Cue()
    cue.service("api", concurrent=1)
    flag = Flag("made")

    @cue.task("make", uses="api", outputs=flag)
    async def make(work: runcue.Work) -> None:
        flag.set()

    cue.task("hold", uses="api")(_sleep)
    cue.task("use", inputs=flag)(_nothing)
    async with cue:
        [holder] = await submit(cue, "hold", 1)
        await asyncio.sleep(0.1)
        await cue.submit("make")
        await submit(cue, "use", 4)
        await asyncio.sleep(0.1)
        [group] = cue.why().groups
        assert (group.verdict, group.count) == ("waiting for a slot", 5)
        assert f"a slot of api (the only one is in use by hold {holder} for 0.2 s)" in str(group)
        assert ", 4 of them through others of them" in str(group)


@virtual
async def test_what_a_running_handler_makes_is_waited_for_by_name() -> None:
    cue = runcue.Cue()
    flag = Flag("made")

    @cue.task("make", outputs=flag)
    async def make(work: runcue.Work) -> None:
        await asyncio.sleep(1)
        flag.set()

    cue.task("use", inputs=flag)(_nothing)
    async with cue:
        maker = await cue.submit("make")
        await submit(cue, "use", 2)
        await asyncio.sleep(0.5)
        answer = cue.why()
        assert told(answer) == [("running", 2)]
        assert str(answer) == f"2 use wait for what make {maker} makes, which has run for 0.5 s"


@virtual
async def test_who_runs_and_waits_for_others_is_no_root_but_what_those_wait_for_is() -> None:
    cue = runcue.Cue()
    cue.service("api", rate="1/min")
    flag = Flag("made")

    @cue.task("make", outputs=flag)
    async def make(work: runcue.Work) -> None:
        await (await cue.submit("ask"))
        flag.set()

    cue.task("ask", uses="api")(_nothing)
    cue.task("use", inputs=flag)(_nothing)
    async with cue:
        await cue.submit("ask")
        await cue.submit("make")
        await submit(cue, "use", 2)
        await asyncio.sleep(0.5)
        [group] = cue.why().groups
        assert (group.verdict, group.count, group.tasks) == ("waiting for rate", 3, {"ask": 1, "use": 2})


@virtual
async def test_what_failed_is_the_root_of_all_that_come_after_it() -> None:
    cue = runcue.Cue(id_prefix="")
    made, more = Flag("made"), Flag("more")

    @cue.task("make", outputs=made)
    async def make(work: runcue.Work) -> None:
        raise ValueError("no ink")

    cue.on_failure(lambda work, error: None)
    cue.task("use", inputs=made, outputs=more)(_nothing)
    cue.task("end", inputs=more)(_nothing)
    cue.start()
    await cue.submit("make")
    await cue.submit("use")
    await submit(cue, "end", 3)
    await asyncio.sleep(0.1)
    [group] = cue.why().groups
    assert (group.verdict, group.count) == ("upstream failed", 4)
    assert str(group) == (
        "4 work units wait for what make 1 was to make, which failed: no ink, 3 of them "
        "through others of them. "
        "Mend that, then have make 1 run again, by cue.retry('1') or a new submit()"
    )
    await cue.stop()


@virtual
async def test_gates_that_say_alike_are_one_group_and_those_that_raise_are_another() -> None:
    cue = runcue.Cue()
    cue.task("a")(_nothing)
    cue.task("b")(_nothing)

    @cue.is_ready(task="a")
    def page_is_there(work: runcue.Work) -> tuple[bool, str]:
        return False, f"no page-{work.params['n']}.png yet"

    @cue.is_ready(task="b")
    def broken(work: runcue.Work) -> bool:
        raise KeyError("page")

    cue.start()
    await submit(cue, "a", 30)
    await submit(cue, "b", 2)
    await asyncio.sleep(0.1)
    answer = cue.why()
    assert told(answer) == [("not ready", 30), ("not ready", 2)]
    assert "no page-0.png yet" in str(answer.groups[0])
    assert "KeyError" in str(answer.groups[1])
    await cue.stop()


@virtual
async def test_who_waits_in_a_cycle_or_for_one_is_told_of_the_cycle() -> None:
    cue = runcue.Cue(id_prefix="")
    one, other = Flag("one"), Flag("other")
    cue.task("a", inputs=one, outputs=other)(_nothing)
    cue.task("b", inputs=other, outputs=one)(_nothing)
    cue.task("use", inputs=one)(_nothing)
    cue.start()
    await cue.submit("a")
    await cue.submit("b")
    await submit(cue, "use", 3)
    await asyncio.sleep(0.1)
    [group] = cue.why().groups
    assert (group.verdict, group.count) == ("cycle", 5)
    assert "waits for b 2 waits for a 1" in str(group) or "waits for a 1 waits for b 2" in str(group)
    await cue.stop()


@virtual
async def test_those_in_a_deadlock_are_told_though_all_of_them_run() -> None:
    cue = runcue.Cue(id_prefix="")
    handles: list[runcue.WorkHandle] = []

    @cue.task("a")
    async def a(work: runcue.Work) -> None:
        await asyncio.sleep(0.1)
        await handles[1 - work.params["n"]]

    cue.start()
    handles += await submit(cue, "a", 2)
    await asyncio.sleep(0.2)
    [group] = cue.why().groups
    assert (group.verdict, group.count) == ("deadlock", 2)
    assert "a 1 waits for a 2" in str(group)
    await cue.stop(drain=False, timeout=0)


@virtual
async def test_a_handler_that_needs_its_own_slot_is_told_with_those_behind_it() -> None:
    cue = runcue.Cue()
    cue.service("api", concurrent=1)

    @cue.task("parent", uses="api")
    async def parent(work: runcue.Work) -> None:
        await (await cue.submit("child"))

    cue.task("child", uses="api")(_nothing)
    cue.start()
    await submit(cue, "parent", 10)
    await asyncio.sleep(0.1)
    [group] = cue.why().groups
    assert group.verdict == "deadlock"
    assert group.count == 11
    assert "Give api more slots" in str(group)
    await cue.stop(drain=False, timeout=0)


@virtual
async def test_who_has_joined_waits_for_what_its_leader_waits_for() -> None:
    cue = runcue.Cue()
    cue.task("t", outputs=Flag("out"), inputs=Flag("in"))(_nothing)
    cue.start()
    for _ in range(4):
        await cue.submit("t")
    await asyncio.sleep(0.1)
    assert told(cue.why()) == [("no producer", 4)]
    await cue.stop()


@virtual
async def test_what_is_asked_and_what_comes_again_are_groups_too() -> None:
    cue = runcue.Cue()
    cue.task("t")(_nothing)

    @cue.is_ready
    async def slow(work: runcue.Work) -> bool:
        await asyncio.sleep(1)
        return True

    async with cue:
        await submit(cue, "t", 3)
        await asyncio.sleep(0.5)
        assert told(cue.why()) == [("being asked", 3)]


@virtual
async def test_before_the_start_all_wait_for_that() -> None:
    cue = runcue.Cue()
    cue.task("t")(_nothing)
    await submit(cue, "t", 3)
    answer = cue.why()
    assert told(answer) == [("not started", 3)]
    assert str(answer) == "3 t wait for the cue to be started. Call start(), or use `async with cue`"
    async with cue:
        pass


@virtual
async def test_what_was_submitted_in_this_step_is_asked_for_the_answer() -> None:
    cue = runcue.Cue()
    cue.task("t")(_nothing)
    cue.task("free")(_nothing)
    cue.is_ready(task="t")(lambda work: (False, "not yet"))
    async with cue:
        await submit(cue, "t", 3)
        await submit(cue, "free", 1)
        answer = cue.why()
        assert told(answer) == [("not ready", 3), ("about to start", 1)]
        await cue.stop()


@virtual
async def test_many_reasons_of_one_kind_are_put_together_and_the_large_ones_stay_apart(
    tmp_path: Path,
) -> None:
    cue = runcue.Cue()
    cue.task("t", inputs=lambda work: tmp_path / str(max(work.params["n"] - 50, 0)))(_nothing)
    cue.start()
    await submit(cue, "t", 100)
    await asyncio.sleep(0.1)
    answer = cue.why()
    assert told(answer) == [("no producer", 51), ("no producer", 49)]
    assert f"File({str(tmp_path / '0')!r}), which" in str(answer.groups[0])
    assert f"File({str(tmp_path / '3')!r}) and 46 more, which nobody makes" in str(answer.groups[1])
    await cue.stop()


@pytest.mark.rule(14)
@virtual
async def test_at_most_fifteen_lines_are_printed_and_the_rest_is_counted() -> None:
    cue = runcue.Cue()
    for task in range(40):
        cue.task(f"t{task}")(_nothing)
        cue.is_ready(task=f"t{task}")(_ready(task))
    cue.start()
    for task in range(40):
        await submit(cue, f"t{task}", 40 - task)
    await asyncio.sleep(0.1)
    answer = cue.why()
    assert sum(group.count for group in answer.groups) == answer.count == 820
    assert len(str(answer).splitlines()) <= 15
    await cue.stop()


def _ready(task: int) -> Callable[[runcue.Work], tuple[bool, str]]:
    return lambda work: (False, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[task])


@virtual
async def test_more_reasons_than_are_told_apart_are_still_all_counted() -> None:
    cue = runcue.Cue()
    cue.task("t", inputs=lambda work: Flag(str(work.params["n"])))(_nothing)
    cue.start()
    await submit(cue, "t", 3000)
    await asyncio.sleep(0.1)
    [group] = cue.why().groups
    assert group.count == 3000
    assert "and 2,997 more, which nobody makes" in str(group)
    await cue.stop(drain=False)


@virtual
async def test_each_line_is_short_whatever_the_users_repr_is() -> None:
    class Long(runcue.Artifact):
        def __init__(self, n: int) -> None:
            self.n = n

        def valid(self) -> bool:
            return False

        def __repr__(self) -> str:
            if self.n == 1:
                raise RuntimeError
            return "x" * 10_000

    cue = runcue.Cue()
    cue.task("t", inputs=lambda work: Long(work.params["n"]))(_nothing)
    cue.start()
    await submit(cue, "t", 3)
    await asyncio.sleep(0.1)
    answer = cue.why()
    assert answer.count == 3
    assert max(map(len, str(answer).splitlines())) <= 600
    assert len(repr(answer)) <= 200
    assert len(repr(cue.why(answer.groups[0].examples[0]))) <= 200
    await cue.stop()


@virtual
async def test_a_group_is_one_line_whatever_its_texts_are() -> None:
    cue = runcue.Cue()
    flag = Flag("made")

    @cue.task("make\nit", outputs=flag)
    async def make(work: runcue.Work) -> None:
        raise ValueError("first\nsecond")

    cue.on_failure(lambda work, error: None)
    cue.task("use\nit", inputs=flag)(_nothing)
    cue.start()
    maker = await cue.submit("make\nit")
    user = await cue.submit("use\nit")
    await asyncio.sleep(0.1)
    assert str(cue.why()) == (
        f"use it {user} waits for what make it {maker} was to make, which failed: first second. "
        f"Mend that, then have make it {maker} run again, by cue.retry('{maker}') or a new submit()"
    )
    assert "\n" not in repr(cue.why()) + repr(cue.why(user)) + repr(cue.why_stale(user))
    await cue.stop()


def test_who_waits_for_a_handler_that_was_given_up_is_told_so() -> None:
    async def main() -> None:
        cue = runcue.Cue(id_prefix="")
        release = threading.Event()

        @cue.task("make", outputs=Flag("made"), timeout=0.01)
        def make(work: runcue.Work) -> None:
            release.wait()

        cue.on_failure(lambda work, error: None)
        cue.task("use", inputs=Flag("made"))(_nothing)
        cue.start()
        await (await cue.submit("make")).wait()
        await cue.submit("make")
        await cue.submit("use")
        await asyncio.sleep(0.05)
        [group] = cue.why().groups
        assert (group.verdict, group.count) == ("waiting for an artifact", 2)
        assert str(group).startswith(
            "2 work units wait until the handler of make 1 has returned, which was given up"
        )
        release.set()
        await cue.stop()

    asyncio.run(main())


@virtual
async def test_what_is_nested_in_handlers_is_followed_to_what_the_innermost_waits_for() -> None:
    cue = runcue.Cue()
    cue.task("child", inputs=Flag("never"))(_nothing)

    @cue.task("parent", outputs=Flag("made"))
    async def parent(work: runcue.Work) -> None:
        await (await cue.submit("child"))

    cue.task("use", inputs=Flag("made"))(_nothing)
    cue.start()
    await cue.submit("parent")
    await submit(cue, "use", 2)
    await asyncio.sleep(0.1)
    [group] = cue.why().groups
    assert (group.verdict, group.tasks) == ("no producer", {"child": 1, "use": 2})
    await cue.stop(drain=False, timeout=0)


@virtual
async def test_lines_of_several_services_are_told_by_the_first_that_has_no_room() -> None:
    cue = runcue.Cue()
    cue.service("a", concurrent=1)
    cue.service("b", concurrent=1)
    cue.task("one", uses="a")(_sleep)
    cue.task("both", uses=["b", "a"])(_sleep)
    async with cue:
        await submit(cue, "one", 3)
        await submit(cue, "both", 2)
        await asyncio.sleep(0.5)
        [group] = cue.why().groups
        assert (group.verdict, group.tasks) == ("waiting for a slot", {"one": 2, "both": 2})
        assert "a slot of a (the only one is in use by one" in str(group)


def test_a_blocking_cue_answers_as_well() -> None:
    cue = runcue.Cue()
    cue.task("t")(_nothing)
    cue.is_ready(lambda work: (False, "not yet"))
    with runcue.blocking(cue) as b:
        handle = b.submit("t")
        answer = b.why()
        assert told(answer) == [("not ready", 1)]
        assert b.why(handle).verdict == "not ready"


@pytest.mark.parametrize("wrong", [None, 3, ["t"]])
@virtual
async def test_what_is_no_work_unit_is_not_taken_for_all_of_them(wrong: object) -> None:
    with pytest.raises(runcue.ConfigurationError):
        runcue.Cue().why(wrong)  # type: ignore[call-overload]


@virtual
async def test_many_makers_are_counted_while_they_run_and_after_they_were_cancelled() -> None:
    cue = runcue.Cue(id_prefix="")
    flags = [Flag(str(number)) for number in range(30)]
    cue.task("make", outputs=lambda work: flags[work.params["n"]])(_sleep)
    cue.task("use", inputs=lambda work: flags[work.params["n"]])(_nothing)
    cue.start()
    makers = await submit(cue, "make", 30)
    await submit(cue, "use", 30)
    await asyncio.sleep(0.5)
    assert str(cue.why()) == ("30 use wait for what 30 make make, of which make 1 has run longest, for 0.5 s")
    for maker in makers:
        maker.cancel()
    await asyncio.sleep(0.1)
    assert str(cue.why()) == (
        "30 use wait for what make 1, make 2, make 3 and 27 more were to make, which failed or were cancelled. "
        "Mend what failed, and submit them again"
    )
    await cue.stop()


@virtual
async def test_what_nobody_makes_is_told_although_another_input_is_being_made() -> None:
    cue = runcue.Cue()
    cue.task("make", outputs=Flag("made"))(_sleep)
    cue.task("use", inputs=[Flag("made"), Flag("never")])(_nothing)
    cue.start()
    await cue.submit("make")
    await cue.submit("use")
    await asyncio.sleep(0.1)
    [group] = cue.why().groups
    assert "waits for Flag('never'), which nobody makes" in str(group)
    await cue.stop(drain=False, timeout=0)


@virtual
async def test_who_waits_for_itself_until_a_time_out_is_told_until_when() -> None:
    cue = runcue.Cue()
    cue.service("api", concurrent=1)

    @cue.task("parent", uses="api")
    async def parent(work: runcue.Work) -> None:
        async with asyncio.timeout(5):
            await (await cue.submit("child"))

    cue.on_failure(lambda work, error: None)
    cue.task("child", uses="api")(_nothing)
    async with cue:
        await cue.submit("parent")
        await cue.submit("child")
        await asyncio.sleep(0.5)
        [group] = cue.why().groups
        assert (group.verdict, group.count) == ("waiting for a slot", 3)
        assert "waits for itself until" in str(group)
        assert "Give api more slots" in str(group)


@virtual
async def test_more_than_there_is_room_for_are_not_said_to_start_all_at_once() -> None:
    cue = runcue.Cue()
    cue.service("api", concurrent=2)
    cue.task("t", uses="api")(_nothing)
    async with cue:
        await submit(cue, "t", 2)
        assert str(cue.why()) == "2 t are about to start"
        await submit(cue, "t", 3)
        assert str(cue.why()) == "5 t are about to start, as far as there is room"


@pytest.mark.parametrize("inputs", ["chain", "many files", "one line"])
@virtual
async def test_it_takes_a_few_calls_for_each_that_waits_however_many_there_are(
    inputs: str, tmp_path: Path
) -> None:
    taken = []
    for number in (1500, 3000):
        cue = runcue.Cue()
        cue.service("api", rate="1/hour")
        flags = [Flag(f"{inputs} {place}") for place in range(number + 1)]
        if inputs == "chain":
            cue.task(
                "t",
                inputs=lambda work, flags=flags: flags[work.params["n"]],
                outputs=lambda work, flags=flags: flags[work.params["n"] + 1],
            )(_nothing)
        elif inputs == "many files":
            cue.task("t", inputs=lambda work: tmp_path / str(work.params["n"]))(_nothing)
        else:
            cue.task("t", uses="api")(_nothing)
        cue.start()
        await submit(cue, "t", number)
        await asyncio.sleep(0.1)
        taken.append(calls_in(cue.why))
        await cue.stop(drain=False)
    assert taken[1] < 2.2 * taken[0]
    assert taken[1] < 150 * 3000


@virtual
async def test_who_waits_for_what_a_handler_makes_that_was_given_up_is_told_whose_it_is() -> None:
    async with runcue.Cue() as cue:
        made = Flag("made")

        @cue.task("make", outputs=made)
        async def make(work: runcue.Work) -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                await asyncio.sleep(10)

        cue.task("read", inputs=made)(_sleep)
        reader = await cue.submit("read")
        await asyncio.sleep(1)
        maker = await cue.submit("make")
        await asyncio.sleep(1)
        maker.cancel()
        await asyncio.sleep(1)
        text = f"1 waits until the handler of make {maker} has returned, which was given up"
        assert text in str(cue.why())
        reader.cancel()


@virtual
async def test_a_key_that_is_free_again_in_this_very_step_is_no_artifact() -> None:
    told: list[str] = []

    class Slot(Limit):
        def room(self, now: float, work: runcue.Work) -> bool:
            return True

        def release(self, now: float, work: runcue.Work, actual: object) -> None:
            if second is not None and second.state is runcue.WorkState.PENDING:
                told.extend([str(cue.why(second)), str(cue.why())])

    second = None
    async with runcue.Cue() as cue:
        cue.service("own", limits=Slot())

        @cue.task("t", uses="own", timeout=1)
        async def t(work: runcue.Work) -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                await asyncio.sleep(10)

        await cue.submit("t", key="k")
        await asyncio.sleep(2)
        second = await cue.submit("t", key="k")
        await asyncio.sleep(12)
        second.cancel()
    assert len(told) == 2
