"""Services that have their limits for each key (`per=`): rule 47."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

import pytest

import runcue
from runcue._limits.keyed import KeyedService, KeyService
from runcue.abc import Limit
from runcue.testing import FakeExecutor
from tests.support.virtual_time import now, there, virtual

pytestmark = pytest.mark.rule(47)


def user(work: runcue.Work) -> Any:
    return work.params["user"]


class Uncomparable:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("never")

    def __hash__(self) -> int:
        return 1


def registered(
    cue: runcue.Cue,
    *,
    uses: Any = "api",
    lasts: float = 0.0,
    sync: bool = False,
    name: str = "ask",
    **options: Any,
) -> dict[Any, list[float]]:
    """Registers a task of which it is noted when its handlers were entered, by user."""
    entered: dict[Any, list[float]] = defaultdict(list)
    if sync:

        @cue.task(name, uses=uses, **options)
        def ask_in_thread(work: runcue.Work) -> None: ...

        cue.on_start(lambda work: entered[work.params["user"]].append(now()) if work.task == name else None)
    else:

        @cue.task(name, uses=uses, **options)
        async def ask(work: runcue.Work) -> None:
            entered[work.params["user"]].append(now())
            await asyncio.sleep(lasts)

    return entered


def keys_of(cue: runcue.Cue, name: str = "api") -> KeyedService:
    service = cue._core.services[name]
    assert isinstance(service, KeyedService)
    return service


@pytest.mark.parametrize("sync", [False, True])
@virtual
async def test_each_key_has_the_rate_for_itself_and_holds_up_nobody(sync: bool) -> None:
    cue = runcue.Cue(run_in=FakeExecutor())
    cue.service("api", per=user, rate="2/sec")
    entered = registered(cue, sync=sync)
    async with cue:
        for one, number in (("a", 5), ("b", 1), ("c", 3)):
            for _ in range(number):
                await cue.submit("ask", {"user": one})
    assert entered == {"a": [0, 0, 1, 1, 2], "b": [0], "c": [0, 0, 1]}


@pytest.mark.parametrize("sync", [False, True])
@virtual
async def test_each_key_has_its_slots(sync: bool) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(lambda work: 1.0))
    cue.service("api", per=user, concurrent=1)
    entered = registered(cue, sync=sync, lasts=1.0)
    async with cue:
        for one in "aababc":
            await cue.submit("ask", {"user": one})
    assert entered == {"a": [0, 1, 2], "b": [0, 1], "c": [0]}


@virtual
async def test_limits_may_be_functions_of_the_key() -> None:
    cue = runcue.Cue()
    cue.service(
        "api",
        per=lambda user: user,
        rate=lambda key: "1/min" if key == "free" else None,
        concurrent=lambda key: {"free": 5, "paid": 2}[key],
    )
    entered = registered(cue, lasts=1.0)
    async with cue:
        for one in ("free", "paid") * 3:
            await cue.submit("ask", {"user": one})
    assert entered == {"free": [0, 60, 120], "paid": [0, 0, 1]}


@virtual
async def test_a_burst_is_of_each_key() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, rate="1/sec", burst=2)
    entered = registered(cue)
    async with cue:
        for one in "aaaabb":
            await cue.submit("ask", {"user": one})
    assert entered == {"a": [0, 0, 1, 2], "b": [0, 0]}


@virtual
async def test_a_total_beside_it_is_a_second_service_and_both_are_taken_or_none() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    cue.service("all", concurrent=2)
    running: list[str] = []

    @cue.task(uses=["api", "all"])
    async def ask(user: str) -> None:
        running.append(user)
        assert len(running) <= 2
        assert running.count(user) == 1
        await asyncio.sleep(1)
        running.remove(user)

    async with cue:
        for one in "aaaabbbbccd":
            await cue.submit(ask, {"user": one})
        began = now()
    # Whoever holds nothing up is used: two at a time as long as there are two keys.
    assert now() - began == 6


@virtual
async def test_order_is_that_of_submission_among_those_whose_keys_have_room() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    cue.service("all", concurrent=1)
    order: list[Any] = []

    @cue.task(uses=["api", "all"])
    async def ask(user: str, number: int) -> None:
        order.append((user, number))
        await asyncio.sleep(1)

    async with cue:
        for number, one in enumerate("aababc"):
            await cue.submit(ask, {"user": one, "number": number})
    assert order == [("a", 0), ("a", 1), ("b", 2), ("a", 3), ("b", 4), ("c", 5)]


@virtual
async def test_more_urgent_work_of_a_key_passes_what_waits_for_that_key() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    order: list[int] = []

    @cue.task(uses="api")
    async def ask(user: str, number: int) -> None:
        order.append(number)
        await asyncio.sleep(1)

    async with cue:
        for number in range(4):
            await cue.submit(ask, {"user": "a", "number": number})
        await asyncio.sleep(0.5)
        await cue.submit(ask, {"user": "a", "number": 9}, priority=1.0)
    assert order == [0, 9, 1, 2, 3]


@virtual
async def test_two_services_may_have_keys_of_their_own() -> None:
    cue = runcue.Cue()
    cue.service("users", per=user, concurrent=1)
    cue.service("models", per=lambda model: model, concurrent=1)
    running: list[tuple[str, str]] = []

    @cue.task(uses=["users", "models"])
    async def ask(user: str, model: str) -> None:
        assert user not in [one for one, _ in running]
        assert model not in [other for _, other in running]
        running.append((user, model))
        await asyncio.sleep(1)
        running.remove((user, model))

    async with cue:
        began = now()
        for one in "abc":
            for other in "xyz":
                await cue.submit(ask, {"user": one, "model": other})
    assert 3 <= now() - began <= 5
    assert not running


@virtual
async def test_tasks_of_several_kinds_share_what_a_key_has() -> None:
    cue = runcue.Cue(run_in=FakeExecutor(lambda work: 1.0))
    cue.service("api", per=user, concurrent=1)
    cue.service("db", concurrent=5)
    entered = registered(cue, lasts=1.0, name="one")
    others = registered(cue, sync=True, name="two")
    more = registered(cue, uses=["api", "db"], lasts=1.0, name="three")
    async with cue:
        for name in ("one", "two", "three") * 2:
            await cue.submit(name, {"user": "a"})
    assert sorted(entered["a"] + others["a"] + more["a"]) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "options", [{"priority": 0.9}, {"timeout": 5}, {"retry": 2}, {"delay": 0.5}, {"key": "k"}]
)
@virtual
async def test_submissions_with_options_of_their_own_have_their_keys_as_well(options: dict[str, Any]) -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    entered = registered(cue, lasts=1.0)
    async with cue:
        await cue.submit("ask", {"user": "a"}, **options)
        await asyncio.sleep(0.6)
        for _ in range(2):
            await cue.submit("ask", {"user": "a"})
    assert len(entered["a"]) == 3
    assert all(after - before >= 1 for before, after in itertools.pairwise(entered["a"]))


@virtual
async def test_a_key_is_found_out_once_when_its_work_unit_is_submitted() -> None:
    cue = runcue.Cue()
    asked: list[str] = []

    def per(work: runcue.Work) -> str:
        asked.append(work.id)
        return str(work.params["user"])

    cue.service("api", per=per, concurrent=1)
    registered(cue)
    async with cue:
        handles = [await cue.submit("ask", {"user": "a"}) for _ in range(3)]
        assert asked == handles
    assert asked == handles


@pytest.mark.parametrize(
    ("per", "error"),
    [
        (lambda work: [work.params["user"]], "unhashable type: 'list'"),
        (lambda work: math.nan, "not equal to itself"),
        (lambda work: Uncomparable(), "cannot be compared: RuntimeError: never"),
        (lambda work: 1 / 0, "raised ZeroDivisionError"),
        (lambda work: (one for one in "a"), "generator"),
        (lambda work: asyncio.sleep(0), "awaited"),
        (lambda work: work, "it gave the work unit itself"),
    ],
)
@virtual
async def test_what_is_no_key_fails_that_work_unit_alone(per: Callable[..., Any], error: str) -> None:
    cue = runcue.Cue()
    cue.service("api", per=lambda work: "a" if work.params["user"] == "good" else per(work), concurrent=1)
    entered = registered(cue)
    async with cue:
        bad, good = await cue.submit("ask", {"user": "bad"}), await cue.submit("ask", {"user": "good"})
        with pytest.raises(runcue.LimitError, match=error) as raised:
            await bad
        await good
    assert "per of service 'api'" in str(raised.value)
    assert "test_keys.py:" in str(raised.value)
    assert list(entered) == ["good"]


@virtual
async def test_a_param_that_is_lacking_is_told_where_it_is_submitted() -> None:
    cue = runcue.Cue()
    cue.service("api", per=lambda user, tenant: (user, tenant), concurrent=1)
    registered(cue)
    async with cue:
        with pytest.raises(
            runcue.InvalidParams, match=r"per of service 'api', by .* needs the param 'tenant'"
        ):
            await cue.submit("ask", {"user": "a"})


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"rate": lambda key: "5/fortnight"}, "rate of service 'api', by .*, for key 'a': .*5/fortnight"),
        (
            {"concurrent": lambda key: 0},
            "concurrent of service 'api', by .*, for key 'a' must be .*at least 1",
        ),
        ({"rate": "1/s", "burst": lambda key: -1}, "burst of service 'api', by"),
        ({"rate": lambda key: None, "burst": 3}, "For key 'a': .*burst=3 needs a rate"),
        (
            {"concurrent": lambda key: {}[key]},
            "concurrent of service 'api', by .*, for key 'a': it raised KeyError",
        ),
    ],
)
@virtual
async def test_a_limit_that_cannot_work_for_a_key_fails_the_work_units_of_that_key(
    options: dict[str, Any], error: str
) -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, **options)
    registered(cue)
    async with cue:
        bad = await cue.submit("ask", {"user": "a"})
        with pytest.raises(runcue.LimitError, match=error):
            await bad


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"per": "user"}, "per of service 'api' must be a function"),
        ({"per": lambda: "a"}, r"must take \(work\)"),
        ({"rate": lambda key: "1/s"}, "rate of service 'api' is a function, of the key that per= gives"),
        ({"per": user, "rate": lambda: "1/s"}, r"rate of service 'api' .* must take \(key\)"),
        ({"per": user, "burst": lambda key: 3}, "burst=.* needs a rate"),
        ({"per": user, "rate": "much"}, "much"),
    ],
)
def test_what_can_never_work_is_told_where_it_is_written(options: dict[str, Any], error: str) -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError, match=error):
        cue.service("api", **options)
    assert not cue.services()


def test_functions_that_do_not_answer_at_once_are_refused() -> None:
    cue = runcue.Cue()

    async def key(work: runcue.Work) -> str:
        return "a"

    def nothing(work: runcue.Work) -> None:
        work.params["user"]

    with pytest.raises(runcue.ConfigurationError, match="must be a plain function, not the `async def`"):
        cue.service("api", per=key)
    with pytest.raises(runcue.ConfigurationError, match="returns nothing; is a `return` missing"):
        cue.service("api", per=nothing)


@virtual
async def test_a_key_without_room_is_named_where_it_is_asked_why() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, rate="1/min", concurrent=1)
    registered(cue, lasts=1.0)
    async with cue:
        handles = [await cue.submit("ask", {"user": one}) for one in "aaab"]
        await asyncio.sleep(0.5)
        why = str(cue.why(handles[2]))
        assert "api for key 'a': the only slot is in use" in why
        assert "number 2 in line" in why
        await asyncio.sleep(1.0)
        blocked = {one["work"].id: one["details"] for one in cue.debug_blocked()}
        assert list(blocked) == handles[1:3]
        assert "api for key 'a': 1/min is used up" in blocked[handles[1]]
        assert "key 'a'" in str(cue.why())
        for one in handles[1:3]:
            await cue.cancel(one)


@virtual
async def test_up_to_date_work_is_skipped_although_its_key_is_used_up() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, rate="1/hour")
    registered(cue)

    @cue.is_stale
    def is_stale(work: runcue.Work) -> bool:
        return bool(work.params["stale"])

    async with cue:
        await cue.submit("ask", {"user": "a", "stale": True})
        await asyncio.sleep(1)
        late = await cue.submit("ask", {"user": "a", "stale": True})
        fresh = await cue.submit("ask", {"user": "a", "stale": False})
        await asyncio.sleep(1)
        assert fresh.work.skipped
        assert not late.done()
        await cue.cancel(late)


@virtual
async def test_async_gates_hold_a_slot_of_their_key_alone() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    entered = registered(cue, lasts=1.0)
    asking: list[Any] = []

    @cue.is_ready
    async def is_ready(work: runcue.Work) -> bool:
        assert work.params["user"] not in asking
        asking.append(work.params["user"])
        await asyncio.sleep(0.25)
        asking.remove(work.params["user"])
        return True

    async with cue:
        for one in "aab":
            await cue.submit("ask", {"user": one})
    assert entered == {"a": [0.25, 1.5], "b": [0.25]}


@virtual
async def test_who_waits_for_a_slot_of_its_key_to_be_asked_keeps_no_other_key_from_being_asked() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    registered(cue, lasts=1.0)
    asked: list[tuple[Any, float]] = []
    cue.priority(lambda ctx: 0.5)

    @cue.is_ready
    async def is_ready(work: runcue.Work) -> bool:
        asked.append((work.params["user"], now()))
        await asyncio.sleep(0.25)
        return True

    async with cue:
        for one in "aaab":
            await cue.submit("ask", {"user": one})
    assert asked[:2] == [("a", 0), ("b", 0)]


@virtual
@pytest.mark.parametrize("told", [False, True])
async def test_who_is_to_be_asked_again_and_lacks_a_slot_of_its_key_keeps_no_other_key_waiting(
    told: bool,
) -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    entered = registered(cue)
    held = registered(cue, lasts=60.0, name="hold")
    ready: set[str] = set()

    @cue.is_ready
    async def is_ready(work: runcue.Work) -> bool:
        return work.task == "hold" or work.params["user"] in ready

    async with cue:
        for one in "aabc":
            await cue.submit("ask", {"user": one})
        await asyncio.sleep(1)
        await cue.submit("hold", {"user": "a"})
        for at, one in ((2, "b"), (12, "c")):
            await asyncio.sleep(at - now())
            ready.add(one)
            if told:
                cue.nudge()
        await asyncio.sleep(1)
        ready.add("a")
    assert held == {"a": [1]}
    assert 2 <= entered["b"][0] <= 2.1
    assert 12 <= entered["c"][0] <= 12.1
    assert len(entered["a"]) == 2
    assert entered["a"][0] == 61


@virtual
async def test_however_many_lack_a_slot_of_their_key_in_a_row_those_behind_are_asked_again() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    entered = registered(cue)
    registered(cue, lasts=60.0, name="hold")
    ready: set[str] = set()
    asked: dict[str, int] = defaultdict(int)

    @cue.is_ready
    async def is_ready(work: runcue.Work) -> bool:
        asked[work.params["user"]] += 1
        return work.task == "hold" or work.params["user"] in ready

    async with cue:
        for one in ["a"] * 300 + ["b"]:
            await cue.submit("ask", {"user": one})
        await asyncio.sleep(1)
        await cue.submit("hold", {"user": "a"})
        await asyncio.sleep(1)
        before = asked["a"]
        ready.add("b")
        await asyncio.sleep(20)
        assert 2 <= entered["b"][0] <= 2.1
        assert asked["a"] == before
        ready.add("a")
    assert {round(at) for at in entered["a"]} == {61}
    assert len(entered["a"]) == 300


@virtual
async def test_who_waits_for_a_slot_of_its_key_to_be_asked_again_can_leave() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    cue.service("other", concurrent=2)
    entered = registered(cue)
    registered(cue, lasts=60.0, name="hold")
    ready = False

    @cue.is_ready
    async def is_ready(work: runcue.Work) -> bool:
        return work.task == "hold" or ready

    async with cue:
        works = [await cue.submit("ask", {"user": "a"}) for _ in range(4)]
        # Who has joined one for later lets it wait for its instant again when it leaves.
        works.append(await cue.submit("ask", {"user": "a"}, key="one", delay=100))
        joined = await cue.submit("ask", {"user": "a"}, key="one")
        await asyncio.sleep(1)
        await cue.submit("hold", {"user": "a"})
        await asyncio.sleep(5)
        waiters = cue._core.tasks["ask"].run_queue.slot_waiters
        assert len(waiters.parked) == 5
        works[1].cancel()
        joined.cancel()
        await asyncio.sleep(5)
        assert len(waiters.parked) == 3
        ready = True
    assert [round(at) for at in entered["a"]] == [61, 61, 61, 100]
    assert not waiters.parked


@virtual
async def test_who_waits_for_a_slot_of_its_key_is_taken_over_by_a_task_that_is_registered_again() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    cue.service("other", concurrent=2)
    registered(cue, lasts=60.0, name="hold")
    entered: list[tuple[str, float]] = []
    ready = False

    def register(uses: str) -> None:
        @cue.task("ask", uses=uses)
        async def ask(work: runcue.Work) -> None:
            entered.append((uses, now()))

    @cue.is_ready
    async def is_ready(work: runcue.Work) -> bool:
        return work.task == "hold" or ready

    register("api")
    async with cue:
        for _ in range(3):
            await cue.submit("ask", {"user": "a"})
        await asyncio.sleep(1)
        await cue.submit("hold", {"user": "a"})
        await asyncio.sleep(5)
        assert len(cue._core.tasks["ask"].run_queue.slot_waiters.parked) == 3
        register("other")
        ready = True
        cue.nudge()
        await asyncio.sleep(5)
    assert entered == [("other", 6)] * 3


@virtual
async def test_who_waits_for_an_artifact_and_a_slot_of_its_key_keeps_no_other_key_waiting() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    entered = registered(cue)
    registered(cue, lasts=60.0, name="hold")
    ready: set[str] = set()

    class Seen(runcue.Artifact):
        def __init__(self, name: str) -> None:
            self.name = name

        def is_valid(self) -> bool:
            return self.name in ready

    @cue.is_ready
    async def is_ready(work: runcue.Work) -> bool:
        return work.task == "hold" or Seen(work.params["user"]).is_valid()

    async with cue:
        for one in "aabc":
            await cue.submit("ask", {"user": one})
        await asyncio.sleep(1)
        await cue.submit("hold", {"user": "a"})
        for at, one in ((2, "b"), (12, "c")):
            await asyncio.sleep(at - now())
            ready.add(one)  # nobody tells
        await asyncio.sleep(10)
        ready.add("a")
    assert 2 <= entered["b"][0] <= 4.1
    assert 12 <= entered["c"][0] <= 14.1
    assert len(entered["a"]) == 2


async def test_who_waits_for_its_key_is_asked_a_few_at_a_time_and_who_has_left_is_not_asked() -> None:
    cue, happened = runcue.Cue(), list[int]()
    cue.service("api", per=user, concurrent=1)
    done = asyncio.Event()

    @cue.task(uses="api")
    async def ask(work: runcue.Work) -> None:
        await done.wait()

    @cue.is_ready(task="ask")
    def is_ready(work: runcue.Work) -> bool:
        happened.append(work.params["number"])
        if work.params["number"]:
            time.sleep(0.03)  # more than a slice of the event loop
        return True

    async with cue:
        await cue.submit("ask", params={"user": 1, "number": 0})
        while not happened:
            await asyncio.sleep(0)
        handles = [await cue.submit("ask", params={"user": 1, "number": number}) for number in range(1, 5)]
        while 2 not in happened:
            await asyncio.sleep(0)
        handles[2].cancel()
        while 4 not in happened:
            await asyncio.sleep(0)
        done.set()
    assert happened[:4] == [0, 1, 2, 4]


@virtual
async def test_who_waits_for_a_key_can_be_cancelled_and_leaves_the_line_to_the_next() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    entered = registered(cue, lasts=1.0)
    async with cue:
        handles = [await cue.submit("ask", {"user": "a"}) for _ in range(5)]
        await asyncio.sleep(0.5)
        for one in handles[1:4]:
            await cue.cancel(one)
    assert entered == {"a": [0, 1]}


@virtual
async def test_retries_of_a_key_take_their_place_again() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    order: list[Any] = []

    @cue.task(uses="api", retry=runcue.Retry(attempts=2, wait_initial=1, wait_jitter=0))
    async def ask(work: runcue.Work) -> None:
        order.append((work.params["number"], work.attempt, now()))
        if work.attempt == 1 and work.params["number"] == 0:
            raise ValueError
        await asyncio.sleep(2)

    async with cue:
        for number in range(3):
            await cue.submit(ask, {"user": "a", "number": number})
    assert order == [(0, 1, 0), (1, 1, 0), (0, 2, 2), (2, 1, 4)]


@virtual
async def test_a_deadlock_within_a_key_is_told() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)

    @cue.task(uses="api")
    async def ask(work: runcue.Work) -> None:
        if work.params["user"] == "a" and work.params.get("outer"):
            await (await cue.submit(ask, {"user": "a"}))

    async with cue:
        await cue.submit(ask, {"user": "b", "outer": True})
        handle = await cue.submit(ask, {"user": "a", "outer": True})
        await asyncio.sleep(1)
        assert "deadlock" in str(cue.why())
        assert "api for key 'a'" in str(cue.why())
        await cue.cancel(handle)


@virtual
async def test_limits_of_ones_own_are_asked_for_each_key() -> None:
    made: list[Hashable] = []

    class Gap(Limit):
        def __init__(self, key: Hashable = None) -> None:
            made.append(key)
            self.free_at = 0.0

        def room(self, now: float, work: runcue.Work, /) -> bool:
            return now >= self.free_at

        def next_room(self, now: float, work: runcue.Work, /) -> float:
            return self.free_at

        def acquire(self, now: float, work: runcue.Work, /) -> None:
            self.free_at = now + 1.0

    cue = runcue.Cue()
    cue.service("own", per=user, limits=lambda key: Gap(key))
    entered = registered(cue, uses="own")
    async with cue:
        for one in "aab":
            await cue.submit("ask", {"user": one})
    assert entered == {"a": [0, 1], "b": [0]}
    assert made == ["a", "b"]


@virtual
async def test_a_limit_of_a_key_that_raises_or_cancels_at_a_start_leaves_no_slot_taken() -> None:
    class Gap(Limit):
        def room(self, now: float, work: runcue.Work, /) -> bool:
            return True

        def acquire(self, now: float, work: runcue.Work, /) -> None:
            if work.params["user"] == "raises" and cue.counts()["failed"] == 0:
                raise ValueError("not today")
            if work.params["user"] == "cancels" and cue.counts()["cancelled"] == 0:
                with suppress(StopIteration):  # at once, in one step
                    cue.cancel(work.id).send(None)

    cue = runcue.Cue()
    cue.service("own", per=user, concurrent=1, rate="2/min", limits=lambda key: [Gap(), Gap()])
    entered = registered(cue, uses="own")
    async with cue:
        handles = [await cue.submit("ask", {"user": one}) for one in ("raises", "cancels") * 3]
    # What was counted at a start that its own limit has cancelled cannot be given back.
    assert entered == {"raises": [0, 0], "cancels": [0, 60]}
    assert [handle.state.name for handle in handles] == ["FAILED", "CANCELLED", *["COMPLETED"] * 4]


@virtual
@pytest.mark.parametrize(
    "limits", [{"rate": "5/min"}, {"budget": {"tokens": "10/min"}}], ids=["rate", "budget"]
)
async def test_idle_keys_are_forgotten_once_their_windows_are_empty(limits: dict[str, Any]) -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=2, **limits)
    registered(cue, cost={"tokens": 3} if "budget" in limits else None)
    async with cue:
        for one in range(100):
            await cue.submit("ask", {"user": one})
        await asyncio.sleep(30)
        assert cue.get_service("api").status().keys == 100
        handle = await cue.submit("ask", {"user": 7})
        await asyncio.sleep(45)
        gc.collect()
        assert handle.done()
        assert cue.get_service("api").status().keys == 1
        await asyncio.sleep(100)
        assert cue.get_service("api").status().keys == 0
        assert not [one for one in gc.get_objects() if isinstance(one, KeyService)]


@virtual
async def test_a_key_that_owes_something_is_forgotten_when_that_is_charged_and_gone() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, budget={"tokens": "10/min"})

    @cue.task(uses="api", cost={"tokens": 5})
    async def ask(work: runcue.Work) -> None:
        work.spent(tokens=25)

    async with cue:
        for one in range(100):
            await cue.submit(ask, {"user": one})
        await asyncio.sleep(150)
        # Ten were charged at the start, ten a minute later, and five after two.
        assert cue.get_service("api").status().keys == 100
        await asyncio.sleep(150)
        gc.collect()
        assert cue.get_service("api").status().keys == 0


@virtual
async def test_a_key_that_is_used_again_is_not_forgotten_meanwhile() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, rate="1/min")
    entered = registered(cue)
    async with cue:
        for _ in range(3):
            await cue.submit("ask", {"user": "a"})
            await asyncio.sleep(20)
            for one in range(50):
                await cue.submit("ask", {"user": one})
    assert entered["a"] == [0, 60, 120]


def test_keys_hold_in_threads_and_in_real_time() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, concurrent=1)
    running: set[str] = set()
    lock = threading.Lock()

    @cue.task(uses="api")
    def ask(user: str) -> None:
        with lock:
            assert user not in running
            running.add(user)
        threading.Event().wait(0.001)
        with lock:
            running.remove(user)

    with runcue.blocking(cue) as b:
        handles = [b.submit(ask, {"user": str(number % 7)}) for number in range(70)]
        for handle in handles:
            b.result(handle)


@virtual
async def test_who_waits_for_a_budget_of_its_key_is_passed_only_by_who_does_not_put_it_off() -> None:
    entered: dict[bool, list[tuple[float, int]]] = {True: [], False: []}
    for keyed in (True, False):
        cue = runcue.Cue()
        began = now()
        options: dict[str, Any] = {"per": user} if keyed else {}
        cue.service("api", budget={"tokens": "100/min"}, **options)

        @cue.task(uses="api", cost=lambda tokens: {"tokens": tokens})
        async def ask(work: runcue.Work, tokens: int, began: float = began, keyed: bool = keyed) -> None:
            entered[keyed].append((now() - began, tokens))
            await asyncio.sleep(1)

        async with cue:
            for tokens in (60, 30, 50, 5, 5, 20, 40, 10):
                await cue.submit(ask, {"user": "a", "tokens": tokens})
                await cue.submit(ask, {"user": "b", "tokens": 1}) if keyed and tokens == 50 else None
                await asyncio.sleep(0.5)
    assert entered[True].pop(2) == (1.0, 1)
    assert entered[True] == entered[False]
    assert (1.5, 5) in entered[True]


@pytest.mark.rule(46)
@pytest.mark.parametrize("other", ["x", "y"])
@pytest.mark.parametrize("rate", ["2/10min", "2/min"])
@virtual
async def test_what_is_left_of_a_total_is_left_to_who_waits_for_a_budget_of_its_key(
    other: str, rate: str
) -> None:
    cue = runcue.Cue()
    cue.service("a", per=user, budget={"tokens": "100/min"})
    cue.service("total", rate=rate)
    entered: list[tuple[str, float]] = []

    @cue.task(uses=["a", "total"], cost=lambda tokens: {"tokens": tokens})
    async def ask(work: runcue.Work, tokens: int) -> None:
        entered.append((work.params["name"], now()))

    async with cue:
        for number in (0, 1):
            await cue.submit(ask, {"user": "x", "tokens": 60, "name": f"x{number}"})
        await asyncio.sleep(40)
        await cue.submit(ask, {"user": other, "tokens": 10, "name": "small"})
    if rate == "2/min":  # by then there is another start: nothing is put off
        assert entered == [("x0", 0), ("small", 40), ("x1", 60)]
    else:
        assert entered == [("x0", 0), ("x1", 60), ("small", 600)]


@virtual
async def test_who_left_a_total_to_another_key_goes_on_when_that_is_cancelled() -> None:
    cue = runcue.Cue()
    cue.service("a", per=user, budget={"tokens": "100/hour"})
    cue.service("total", rate="2/day")
    entered = registered(cue, uses=["a", "total"], cost=lambda tokens: {"tokens": tokens})
    async with cue:
        await cue.submit("ask", {"user": "x", "tokens": 60})
        waits = await cue.submit("ask", {"user": "x", "tokens": 60})
        await cue.submit("ask", {"user": "y", "tokens": 10})
        await asyncio.sleep(40)
        assert entered == {"x": [0]}
        waits.cancel()
    assert entered == {"x": [0], "y": [40]}


@pytest.mark.rule(46)
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("total", [{"rate": "2/10min"}, {"budget": {"usd": "1/10min"}}])
@virtual
async def test_what_is_left_of_a_total_is_left_to_who_waits_for_a_budget_of_its_key_by_those_without_keys(
    plain: bool, total: dict[str, Any]
) -> None:
    cue = runcue.Cue(run_in=FakeExecutor())
    cue.service("a", per=user, budget={"tokens": "100/min"})
    cue.service("total", **total)
    entered: list[tuple[str, float]] = []
    money = {"usd": "0.5"} if "budget" in total else {}

    @cue.task(uses=["a", "total"], cost={"tokens": 60, **money})
    async def ask(work: runcue.Work) -> None: ...

    @cue.task(uses="total", cost=money or None)
    async def count(work: runcue.Work) -> None: ...

    @cue.task(uses="total", cost=money or None)
    def count_in_thread(work: runcue.Work) -> None: ...

    @cue.task(uses="total", cost={"usd": 0} if money else None)
    async def fresh(work: runcue.Work) -> None: ...

    cue.is_stale(task="fresh")(lambda work: False)
    cue.on_start(lambda work: entered.append((work.params["name"], now())))
    async with cue:
        for number in (0, 1):
            await cue.submit(ask, {"user": "x", "name": f"x{number}"})
        await asyncio.sleep(40)
        await cue.submit(count_in_thread if plain else count, {"name": "other"})
        up_to_date = await cue.submit(fresh)
        await asyncio.sleep(1)
        assert up_to_date.done(), "it takes nothing of what is left, or waits for that alone"
    assert entered == [("x0", 0), ("x1", 60), ("other", 600)]


@virtual
async def test_those_without_keys_go_on_when_who_waited_for_a_budget_of_its_key_is_cancelled() -> None:
    cue = runcue.Cue()
    cue.service("a", per=user, budget={"tokens": "100/hour"})
    cue.service("total", rate="2/day")
    entered = registered(cue, uses=["a", "total"], cost={"tokens": 60})
    other = registered(cue, uses="total", name="count")
    async with cue:
        await cue.submit("ask", {"user": "x"})
        waits = await cue.submit("ask", {"user": "x"})
        await asyncio.sleep(10)
        await cue.submit("count", {"user": None})
        await asyncio.sleep(30)
        assert not other
        waits.cancel()
    assert (entered, other) == ({"x": [0]}, {None: [40]})


@virtual
async def test_a_total_that_has_enough_for_all_is_left_to_nobody() -> None:
    cue = runcue.Cue()
    api = cue.service("a", per=user)
    cue.service("total", rate="3/hour")
    api.change(budget={"tokens": "100/hour"})
    entered = registered(cue, uses=["a", "total"], cost={"tokens": 60})
    other = registered(cue, uses="total", name="count")
    async with cue:
        for _ in range(2):
            await cue.submit("ask", {"user": "x"})
        await asyncio.sleep(40)
        for _ in range(2):
            await cue.submit("count", {"user": None})
    assert (entered, other) == ({"x": [0, 3600]}, {None: [40, 40]})


@pytest.mark.parametrize("keyed", [True, False])
@virtual
async def test_nobody_waits_for_a_budget_of_a_key_for_ever_whoever_else_uses_it(keyed: bool) -> None:
    cue = runcue.Cue(run_in=FakeExecutor())
    options: dict[str, Any] = {"per": user} if keyed else {}
    cue.service("api", budget={"tokens": "100/min"}, **options)
    large: list[float] = []
    small: list[float] = []

    @cue.task(uses="api", cost={"tokens": 90})
    async def much(work: runcue.Work) -> None:
        large.append(now())

    @cue.task(uses="api", cost={"tokens": 10})
    def little(work: runcue.Work) -> None: ...

    cue.on_start(lambda work: small.append(now()) if work.task == "little" else None)
    async with cue:
        for number in range(300):
            await cue.submit(little, {"user": "a"})
            if number == 20:
                await cue.submit(much, {"user": "a"})
            await asyncio.sleep(1)
    assert large[0] <= 130
    assert len(small) == 300


@virtual
async def test_pauses_of_one_key_and_of_all() -> None:
    cue = runcue.Cue()
    api = cue.service("api", per=user, concurrent=1)
    entered = registered(cue, lasts=1.0)
    async with cue:
        api.pause(key="a")
        for one in "aab":
            await cue.submit("ask", {"user": one})
        await asyncio.sleep(2)
        assert "api for key 'a', paused by hand" in str(cue.why())
        api.pause(3)
        await cue.submit("ask", {"user": "b"})
        await asyncio.sleep(1)
        assert "api, paused by hand for another 2 s" in str(cue.why())
        # The longest of its own and that of all keys.
        paused = [api.status(key).paused for key in (None, "a", "b")]
        assert paused == [2, math.inf, 2]
        api.resume("a")
        await asyncio.sleep(3)
        api.pause(key="b")
        await cue.submit("ask", {"user": "b"})
        await asyncio.sleep(1)
        api.resume()
    assert entered == {"b": [0, 5, 7], "a": [5, 6]}


@virtual
async def test_refusals_breakers_headers_and_slots_that_find_themselves_are_those_of_a_key() -> None:
    cue = runcue.Cue()
    api = cue.service("api", per=user, breaker=runcue.Breaker(2, "10s"), concurrent=runcue.Adaptive(1, 4))
    entered: dict[str, list[float]] = defaultdict(list)

    @cue.task(uses="api")
    async def ask(work: runcue.Work) -> None:
        one = work.params["user"]
        entered[one].append(now())
        await asyncio.sleep(0)
        if one == "refused" and now() < 4:
            raise runcue.Throttled(5)
        if one == "broken" and now() < 9:
            raise OSError
        if one == "asked to wait":
            api.read_headers({"retry-after": "3"})

    @cue.on_failure
    def on_failure(work: runcue.Work, error: BaseException) -> None: ...

    async with cue:
        for number in range(3):
            for one in ("refused", "broken", "asked to wait", "fine"):
                await cue.submit("ask", {"user": one})
            await asyncio.sleep(1 if number < 2 else 0.5)
        assert api.status("refused").throttled == 2.5
        assert api.status("broken").broken is not None
        assert api.status("fine").concurrent == 2
        await cue.drain()
    assert entered["fine"] == [0, 1, 2]
    assert entered["broken"] == [0, 1, 11]
    assert entered["asked to wait"] == [0, 3, 3]
    assert entered["refused"][:2] == [0, 5]
    assert max(entered["refused"]) < 6


@pytest.mark.rule(50)
@virtual
async def test_an_open_breaker_of_a_key_outlasts_what_is_idle_and_is_forgotten_after_ten_cooldowns() -> None:
    cue = runcue.Cue()
    api = cue.service("api", per=user, concurrent=2, breaker=runcue.Breaker(1, "10s"))
    entered: list[float] = []

    @cue.task(uses="api")
    async def ask(work: runcue.Work) -> None:
        entered.append(now())
        await asyncio.sleep(1)
        if now() < 10:
            raise OSError

    @cue.on_failure
    def on_failure(work: runcue.Work, error: BaseException) -> None: ...

    async with cue:
        for one in ("a", "b"):
            await cue.submit("ask", {"user": one})
        await asyncio.sleep(50)
        assert api.status().keys == 2
        for _ in range(2):  # one is let through, and the other one when that has succeeded
            await cue.submit("ask", {"user": "a"})
        await asyncio.sleep(70)
        assert api.status().keys == 0
    assert entered == [0, 0, 50, 51]


@virtual
async def test_a_budget_may_be_one_of_some_keys_alone() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, budget=lambda key: {"tokens": "100/min"} if key == "free" else None)
    entered = registered(cue, cost={"tokens": 60})
    async with cue:
        for one in ("free", "paid") * 3:
            await cue.submit("ask", {"user": one})
    assert entered == {"free": [0, 60, 120], "paid": [0, 0, 0]}


@virtual
async def test_what_a_status_says_of_keys() -> None:
    cue = runcue.Cue()
    api = cue.service("api", per=user, rate="2/min", concurrent=3)
    registered(cue, lasts=1.0)
    async with cue:
        await cue.submit("ask", {"user": "a"})
        await asyncio.sleep(0.5)
        assert (api.status().keys, api.status().in_use, api.status().rate) == (1, 1, None)
        one = api.status("a")
        assert (one.rate, one.tokens, one.concurrent, one.in_use) == ("2/min", 1, 3, 1)
        assert api.status("z").in_use == 0
        assert cue.services()[0].keys == 1
        with pytest.raises(runcue.ConfigurationError, match="cannot be"):
            api.status([])
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError, match="has no keys"):
        cue.service("plain").status("a")


def test_a_plan_knows_what_the_busiest_key_takes() -> None:
    cue = runcue.Cue()
    cue.service("api", per=user, rate="1/min")
    registered(cue)
    plan = cue.plan([("ask", {"user": one}) for one in "aaab"])
    assert plan.services["api"].seconds == 120


@virtual
async def test_limits_of_all_keys_can_be_changed_while_they_are_used() -> None:
    cue = runcue.Cue()
    api = cue.service("api", per=user, concurrent=1)
    entered = registered(cue, lasts=1.0)
    async with cue:
        for one in "aaaabb":
            await cue.submit("ask", {"user": one})
        await asyncio.sleep(0.5)
        api.change(concurrent=lambda key: 3 if key == "a" else 1)
        with pytest.raises(runcue.ConfigurationError, match="cannot be given per="):
            api.change(per=None)
        with pytest.raises(runcue.ConfigurationError, match="for key 'b': it raised KeyError"):
            api.change(concurrent=lambda key: {"a": 5}[key])
    assert entered == {"a": [0, 0.5, 0.5, 1], "b": [0, 1]}


@pytest.mark.rule(46, 47, 48)
@virtual
async def test_a_pause_that_lasts_longer_than_a_key_is_used_up_is_waited_for_and_no_look_follows_another() -> (
    None
):
    cue = runcue.Cue()
    keyed = cue.service("keyed", per=lambda work: work.params["key"], rate="1/sec")
    cue.service("total", budget={"tokens": "100/min"})
    starts: list[float] = []

    @cue.task("t", uses=["keyed", "total"], cost={"tokens": 40})
    async def handler(work: runcue.Work) -> None:
        starts.append(now())

    async with cue:
        for _ in range(2):
            await cue.submit("t", params={"key": "a"})
        await asyncio.sleep(0.5)
        keyed.pause(2)
        await asyncio.sleep(1)
        await cue.submit("t", params={"key": "a"})
    assert starts == [0, 2.5, 60]


@pytest.mark.rule(6, 28, 47)
@pytest.mark.parametrize("is_cancelled", [False, True])
@virtual
async def test_one_that_waits_for_its_key_and_gives_back_a_lent_priority_stands_there_once(
    is_cancelled: bool,
) -> None:
    cue = runcue.Cue(id_prefix="")
    cue.service("keyed", per=lambda work: work.params["key"], concurrent=1)
    cue.service("total", concurrent=2)
    entered: list[tuple[int, float]] = []

    @cue.task("t", uses=["total", "keyed"])
    async def handler(work: runcue.Work) -> None:
        entered.append((work.params["key"], now()))
        await asyncio.sleep(work.params["seconds"])

    async with cue:
        await cue.submit("t", params={"key": 1, "seconds": 5})
        await cue.submit("t", params={"key": 2, "seconds": 1})
        await asyncio.sleep(0.1)
        waits = await cue.submit("t", params={"key": 1, "seconds": 1}, key="same", priority=0.2)
        await asyncio.sleep(0.1)
        lender = await cue.submit("t", params={"key": 1, "seconds": 1}, key="same", priority=1.0)
        await asyncio.sleep(1)  # now there is room but for its key
        lender.cancel()
        await asyncio.sleep(0.1)
        await cue.submit("t", params={"key": 3, "seconds": 1})
        await asyncio.sleep(0.1)
        if is_cancelled:
            waits.cancel()
    rest = [] if is_cancelled else [(1, 5)]
    assert entered == [(1, 0), (2, 0), (3, pytest.approx(1.3)), *rest]


@pytest.mark.rule(6)
@virtual
async def test_one_that_was_not_ready_at_its_turn_and_then_waits_for_its_key_stands_there_once() -> None:
    cue = runcue.Cue()
    cue.service("keyed", per=user, concurrent=1)
    cue.service("total", concurrent=2)
    entered = registered(cue, uses=["total", "keyed"], lasts=10.0)
    registered(cue, uses=["total", "keyed"], lasts=5.0, name="hold")
    first, second = runcue.Flag("first"), runcue.Flag("second")

    async with cue:
        await cue.submit("hold", {"user": "b"})
        await cue.submit("ask", {"user": "a"}, inputs=first)
        await cue.submit("ask", {"user": "c"}, inputs=first)
        await cue.submit("ask", {"user": "a"}, inputs=[first, second])
        await asyncio.sleep(1)
        # There is room for one of them, and the last one is not ready. Before that comes to be there is room for none.
        first.touch()
        await asyncio.sleep(1)
        second.touch()
    assert entered == {"a": [1, 11], "c": [5]}


@pytest.mark.rule(2)
@virtual
async def test_what_is_up_to_date_is_skipped_although_one_whose_key_is_paused_is_asked_in_the_last_slot() -> (
    None
):
    cue, skipped = runcue.Cue(), []
    cue.service("web", concurrent=1)
    account = cue.service("account", per=user)
    made = runcue.Flag("made")
    there(cue)
    made.share(cue._dispatcher.flags)
    made.set()

    @cue.task("book", uses=["account", "web"])
    async def book(work: runcue.Work) -> None: ...

    @cue.task("mail", uses="web", outputs=made)
    async def mail(work: runcue.Work) -> None: ...

    @cue.is_ready(task="book")
    async def is_paid(work: runcue.Work) -> bool:
        await asyncio.sleep(10)
        return True

    @cue.on_skip
    def note(work: runcue.Work) -> None:
        skipped.append(now())

    cue.start()
    await asyncio.sleep(1)
    account.pause(100, key="a")
    await cue.submit("book", {"user": "a"})
    await cue.submit("mail")
    await asyncio.sleep(20)
    assert skipped == [1.0]
    await cue.stop(drain=False)
