"""Refusals by servers, through a real cue: a service pauses once for a burst, then one goes first, then the rest."""

from __future__ import annotations

import asyncio
import threading
from math import inf
from typing import Any

import pytest

import runcue
import runcue.testing
from runcue._limits.throttle import Throttle
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import now, virtual


class Server:
    """What a handler calls: it refuses as long as it is told to."""

    def __init__(self, takes: float = 0.1) -> None:
        self.takes = takes
        self.refusals: list[float | str | None] = []
        self.refused_until = -inf
        self.retry_after: float | None = None
        self.calls: list[float] = []

    async def __call__(self, work: runcue.Work) -> str:
        self.calls.append(now())
        await asyncio.sleep(self.takes)
        if self.refusals:
            raise runcue.Throttled(self.refusals.pop(0))
        if now() < self.refused_until:
            raise runcue.Throttled(self.retry_after)
        return "done"


class Ear(runcue.Observer):
    """Writes down what observers hear."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []
        self.warnings: list[runcue.abc.CueWarning] = []

    def started(self, work: runcue.Work) -> None:
        self.heard.append((round(now(), 3), "started", work.attempt))

    def resumed(self, work: runcue.Work) -> None:
        self.heard.append((round(now(), 3), "resumed", work.attempt))

    def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
        self.heard.append((round(now(), 3), reason, None if delay is None else round(delay, 3)))

    def settled(self, work: runcue.Work, duration: float) -> None:
        self.heard.append((round(now(), 3), work.state.value))

    def warned(self, warning: runcue.abc.CueWarning) -> None:
        self.warnings.append(warning)


def cue_of(server: Any, number: int = 1, **options: Any) -> tuple[runcue.Cue, Ear]:
    cue, ear = runcue.Cue(id_prefix=""), Ear()
    options.setdefault("concurrent", number)
    cue.task("t", uses=cue.service("api", **options))(server)
    cue.observe(ear)
    return cue, ear


async def outcomes(cue: runcue.Cue, number: int) -> list[runcue.Work]:
    async with cue:
        handles = [await cue.submit("t") for _ in range(number)]
        return [await handle.wait() for handle in handles]


@pytest.mark.rule(26)
@virtual
async def test_who_is_refused_comes_back_when_the_server_says_and_that_is_no_attempt() -> None:
    server = Server()
    server.refusals = [12]
    cue, ear = cue_of(server)
    [work] = await outcomes(cue, 1)
    assert work.result == "done"
    assert work.attempt == 1
    assert [attempt.number for attempt in work.attempts] == [1]
    assert server.calls == [0.0, pytest.approx(12.1)]
    assert ear.heard == [
        (0.0, "started", 1),
        (0.1, "throttled", 12.0),
        (12.1, "resumed", 1),
        (12.2, "completed"),
    ], "its start is not heard again"


@pytest.mark.rule(26)
@virtual
async def test_a_burst_is_one_pause_whose_latest_instant_counts_and_then_one_goes_first() -> None:
    server = Server()
    server.refusals = [5, 20, 10, 5]
    cue, _ = cue_of(server, 4)
    works = await outcomes(cue, 20)
    assert all(work.result == "done" for work in works)
    first, rest = server.calls[4:5], server.calls[5:]
    assert server.calls[:4] == [0.0] * 4
    assert first == [pytest.approx(20.1)], "at the latest of the four instants one"
    # It has passed when it has ended, after 0.1 s; the rest are spread over a tenth of the pause.
    assert all(call >= 20.2 - 1e-9 for call in rest)
    assert rest[3] <= 20.2 + 2.0 + 1e-9
    assert len(server.calls) == 24


@pytest.mark.rule(26)
@virtual
async def test_chance_lets_the_next_one_wait_no_longer_than_the_rest_are_spread() -> None:
    server = Server()
    cue, _ = cue_of(server)
    throttle = Throttle(lambda: 1.0)
    refused, second, third = [(await cue.submit("t")).work for _ in range(3)]
    assert throttle.throttled(0.0, refused, 10.0, 0.1) == 10.0
    throttle.acquire(10.0, refused)
    throttle.entered(10.0, refused, 10.0)
    throttle.release(10.1, refused, None)
    throttle.ended(10.1, refused, "passed")
    # Over a tenth of the pause.
    assert throttle.next_room(10.1, second) == pytest.approx(10.3)
    throttle.acquire(11.0, second)
    assert throttle.next_room(11.0, third) == pytest.approx(11.1)
    assert throttle.room(11.1 + 1e-9, third)


@pytest.mark.rule(26)
@virtual
async def test_without_a_time_the_pause_doubles_up_to_a_minute_until_one_passes() -> None:
    server = Server()
    server.refused_until = 200
    cue, ear = cue_of(server)
    await outcomes(cue, 2)
    delays = [entry[2] for entry in ear.heard if entry[1] == "throttled"]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.rule(26)
@virtual
async def test_the_next_pause_begins_with_a_second_again_once_one_has_passed() -> None:
    server = Server()
    cue, ear = cue_of(server)
    async with cue:
        server.refusals = [None, None]
        await (await cue.submit("t"))
        server.refusals = [None]
        await (await cue.submit("t"))
    assert [entry[2] for entry in ear.heard if entry[1] == "throttled"] == [1, 2, 1]


@pytest.mark.rule(26)
@virtual
async def test_a_probe_that_runs_for_twice_as_long_as_the_refusals_took_has_passed() -> None:
    calls: list[float] = []

    async def slow(work: runcue.Work) -> None:
        calls.append(now())
        if len(calls) <= 2:
            await asyncio.sleep(0.5)
            raise runcue.Throttled(10)
        await asyncio.sleep(100)

    cue, _ = cue_of(slow, 2)
    await outcomes(cue, 2)
    assert calls[:3] == [0.0, 0.0, pytest.approx(10.5)]
    assert 11.5 - 1e-9 <= calls[3] <= 12.5 + 1e-9, "not after the 100 seconds that it takes"


@pytest.mark.rule(26)
@virtual
async def test_a_probe_that_fails_otherwise_has_passed_and_one_that_is_cancelled_is_replaced() -> None:
    calls: list[float] = []

    async def handler(work: runcue.Work) -> None:
        calls.append(now())
        await asyncio.sleep(0.5)
        if now() < 10:
            raise runcue.Throttled(10)
        if work.params["fails"]:
            raise ValueError("500")
        await asyncio.sleep(100)

    cue, _ = cue_of(handler, 1)
    async with cue:
        handles = [await cue.submit("t", params={"fails": fails}) for fails in (True, False, False)]
        await asyncio.sleep(10.7)
        assert len(calls) == 2
        await asyncio.sleep(2)
        assert len(calls) == 3, "the first has failed, and the others follow"
        for handle in handles:
            handle.cancel()
        await handles[0].wait()
    calls.clear()
    cue, _ = cue_of(handler, 5)
    async with cue:
        shift = now()
        assert shift > 10
        cue.task("u", uses="api")(refuse := Refusing())
        others = [await cue.submit("u") for _ in range(3)]
        await asyncio.sleep(10.15)
        assert [round(one - shift, 3) for one in refuse.calls] == [0.0, 0.0, 0.0, 10.1]
        others[0].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert len(refuse.calls) == 5, "at once, in its place"
        for other in others:
            other.cancel()


@pytest.mark.rule(26)
def test_a_probe_that_has_passed_while_the_loop_was_kept_is_not_replaced_when_it_is_cancelled() -> None:
    throttle, refused, probe, other = Throttle(lambda: 0.0), *(runcue.Work(str(n), "t") for n in range(3))
    throttle.acquire(0.0, refused)
    throttle.entered(0.0, refused, 0.0)
    throttle.release(0.1, refused, None)
    assert throttle.throttled(0.1, refused, 1.0, 0.1) == 1.1
    throttle.acquire(1.1, probe)
    throttle.entered(1.1, probe, 1.1)
    assert not throttle.room(1.2, other)
    # Somebody cancels it while a callback keeps the loop: nobody could see that it had run for 0.2 s.
    throttle.release(2.0, probe, None)
    assert not throttle.closed
    assert throttle.room(2.0, other)


class Refusing:
    """Refuses the first three for ten seconds; what comes after them hangs."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    async def __call__(self, work: runcue.Work) -> None:
        self.calls.append(now())
        if len(self.calls) <= 3:
            await asyncio.sleep(0.1)
            raise runcue.Throttled(10)
        await asyncio.sleep(1000)


@pytest.mark.rule(26)
@virtual
async def test_a_named_service_pauses_and_the_others_go_on() -> None:
    cue = runcue.Cue()
    cue.service("a", concurrent=1)
    cue.service("b", concurrent=1)
    calls: list[tuple[str, float]] = []

    @cue.task("both", uses=["a", "b"])
    async def both(work: runcue.Work) -> None:
        calls.append(("both", now()))
        if now() < 5:
            raise runcue.Throttled(10, service="b")

    @cue.task("only", uses="a")
    async def only(work: runcue.Work) -> None:
        calls.append(("only", now()))

    async with cue:
        await cue.submit("both")
        await asyncio.sleep(1)
        await cue.submit("only")
    assert calls == [("both", 0.0), ("only", 1.0), ("both", 10.0)]


@pytest.mark.rule(26)
@virtual
async def test_a_service_that_its_task_does_not_use_fails_the_attempt() -> None:
    cue = runcue.Cue()
    cue.service("a", concurrent=1)

    @cue.task("t", uses="a")
    async def handler(work: runcue.Work) -> None:
        raise runcue.Throttled(10, service="b")

    async with cue:
        handle = await cue.submit("t")
        with pytest.raises(runcue.UsageError, match=r"Throttled\(service='b'\).*it uses 'a'") as caught:
            await handle
    assert isinstance(caught.value.__cause__, runcue.Throttled)


@pytest.mark.rule(26)
@virtual
async def test_without_services_it_is_later_for_that_work_unit_alone() -> None:
    cue, ear = runcue.Cue(), Ear()
    cue.observe(ear)
    left = [None, None, 5, None]

    @cue.task("t")
    async def handler(work: runcue.Work) -> str:
        if left:
            raise runcue.Throttled(left.pop(0))
        return "done"

    [work] = await outcomes(cue, 1)
    assert work.result == "done"
    waits = [entry[1:] for entry in ear.heard if entry[1] == "postponed"]
    assert waits == [("postponed", 1.0), ("postponed", 2.0), ("postponed", 5.0), ("postponed", 8.0)]


@pytest.mark.rule(26)
@virtual
async def test_who_was_refused_for_too_long_in_total_fails_with_its_last_error() -> None:
    server = Server()
    server.refused_until, server.retry_after = 1000, 20
    cue, _ = cue_of(server, max_throttled="1 min")
    [work] = await outcomes(cue, 1)
    assert work.state is runcue.WorkState.FAILED
    assert isinstance(work.exception, runcue.Throttled)
    assert str(work.exception) == (
        "the service has refused it for 60 s in all; max_throttled of service 'api' is 60 s"
    )
    assert server.calls == [pytest.approx(20.1 * n) for n in range(4)], "three waits make a minute"


@pytest.mark.rule(26)
@pytest.mark.parametrize("kind", ["Throttled", "foreign", "a group"])
@virtual
async def test_what_a_last_error_says_is_not_said_of_others_that_have_raised_the_same_object(
    kind: str,
) -> None:
    class TooMany(Exception):
        pass

    shared: BaseException = {
        "Throttled": runcue.Throttled(20),
        "foreign": TooMany("429"),
        "a group": ExceptionGroup("two", [TooMany("429"), runcue.Throttled(20)]),
    }[kind]
    before = str(shared)

    async def handler(work: runcue.Work) -> None:
        raise shared

    cue = runcue.Cue()
    claims = lambda error: 20 if isinstance(error, TooMany) else None  # noqa: E731
    cue.task("t", uses=cue.service("a", max_throttled="1 min", throttle=claims))(handler)
    cue.task("u", uses=cue.service("b", max_throttled="2 min", throttle=claims))(handler)
    heard: list[str] = []
    cue.on_failure(lambda work, error: heard.append("; ".join((str(error), *_notes(error)))))
    async with cue:
        works = [await (await cue.submit(task)).wait() for task in ("t", "u")]
    for name, service, (work, told) in zip(
        ("60 s", "2 min"), "ab", zip(works, heard, strict=True), strict=True
    ):
        assert work.exception is not None
        said = "; ".join((str(work.exception), *_notes(work.exception)))
        assert said == told
        assert told.count(f"refused it for {name} in all; max_throttled of service '{service}' is") == 1
        assert told.count("max_throttled") == 1
        assert work.exception.__traceback__ is not None
    assert str(shared) == before
    assert not _notes(shared)


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


@pytest.mark.rule(26)
@pytest.mark.parametrize("by", ["a pause", "a slot", "a rate", "a budget"])
@virtual
async def test_what_holds_a_work_unit_after_a_pause_is_over_does_not_count_as_refused(by: str) -> None:
    calls: list[float] = []

    async def handler(work: runcue.Work) -> None:
        calls.append(now())
        if len(calls) < 4:
            raise runcue.Throttled(5, "api")

    cue = runcue.Cue()
    limits = {"a rate": {"rate": "1/2min"}, "a budget": {"budget": {"usd": "1/2min"}}}.get(by, {})
    api = cue.service("api", max_throttled="1 min", **limits)
    gpu = cue.service("gpu", concurrent=1)
    budget = by == "a budget"
    cue.task("t", uses=[api, gpu], cost={"usd": "0.6"} if budget else None)(handler)

    @cue.task(uses=[api, gpu] if budget else gpu, cost={"usd": "0.6"} if budget else None)
    async def other() -> None:
        await asyncio.sleep(600 if by == "a slot" else 0)

    async with cue:
        handle = await cue.submit("t")
        await asyncio.sleep(1)
        if by == "a pause":
            api.pause(200)
        elif by != "a rate":
            await cue.submit(other, priority=1.0)
        assert (await handle.wait()).state is runcue.WorkState.COMPLETED
    assert len(calls) == 4
    assert calls[-1] > 100, "it was held for longer than a minute"


@pytest.mark.rule(26)
@virtual
async def test_nor_does_it_count_when_another_one_was_refused_just_before_it_went_on() -> None:
    cue, calls = runcue.Cue(), []
    cue.service("api", concurrent=1, max_throttled="1 min")

    @cue.task("t", uses="api")
    async def t(work: runcue.Work) -> None:
        calls.append(now())
        if len(calls) < 3:
            raise runcue.Throttled(5)

    @cue.task("other", uses="api")
    async def other(work: runcue.Work) -> None:
        refusals = work.params["refusals"]
        if not refusals:
            await asyncio.sleep(600)
        elif refusals.pop():
            raise runcue.Throttled(5)

    async with cue:
        handle = await cue.submit("t")
        await asyncio.sleep(1)
        for refusals in ([], [False, True]):
            await cue.submit("other", {"refusals": refusals}, priority=1.0)
        assert (await handle.wait()).state is runcue.WorkState.COMPLETED
    assert calls[1] > 600, "the slot was free no earlier"


@pytest.mark.rule(26)
@virtual
async def test_an_error_that_a_function_of_the_service_claims_is_a_refusal() -> None:
    class TooMany(Exception):
        pass

    errors = [TooMany(7), TooMany(None), KeyError("other")]

    async def handler(work: runcue.Work) -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    def claims(error: BaseException) -> float | bool | None:
        return (error.args[0] or True) if isinstance(error, TooMany) else None

    cue, ear = cue_of(handler, throttle=claims)
    async with cue:
        handle = await cue.submit("t", retry=2)
        assert await handle == "done"
        assert (await handle.wait()).attempt == 2
    assert [entry[1:] for entry in ear.heard if entry[1] in ("throttled", "failed")][:2] == [
        ("throttled", 7.0),
        ("throttled", 1.0),
    ]
    assert ear.heard[-2][1] == "started", "the one of another kind was an attempt"


@virtual
async def test_a_function_that_raises_or_gives_no_answer_is_told_once_and_claims_nothing() -> None:
    for answer in (lambda: 1 / 0, lambda: "soon", lambda: -3, lambda: float("nan"), lambda: claims):

        def claims(error: BaseException, answer: Any = answer) -> Any:
            return answer()

        async def handler(work: runcue.Work) -> None:
            raise ValueError("500")

        cue, ear = cue_of(handler, throttle=claims)
        works = await outcomes(cue, 3)
        assert [str(work.exception) for work in works] == ["500"] * 3
        told = [warning for warning in ear.warnings if warning.kind in ("raised", "no_answer")]
        assert len(told) == 1
        assert "throttle= of service 'api'" in told[0].text


@pytest.mark.rule(26)
@virtual
async def test_of_a_group_of_exceptions_all_have_to_be_refusals_and_the_longest_counts() -> None:
    errors: list[BaseException] = [
        ExceptionGroup("both", [runcue.Throttled(3), runcue.Throttled(9)]),
        ExceptionGroup("one", [runcue.Throttled(3), ValueError("500")]),
    ]

    async def handler(work: runcue.Work) -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    cue, ear = cue_of(handler)
    [work] = await outcomes(cue, 1)
    assert ear.heard[1][1:] == ("throttled", 9.0)
    assert work.state is runcue.WorkState.FAILED


@virtual
async def test_no_server_stops_a_service_for_longer_than_an_hour_and_that_is_told_once() -> None:
    server = Server()
    server.refusals = [86400, 86400]
    cue, ear = cue_of(server, max_throttled="1 day", throttle=lambda error: None)
    await outcomes(cue, 2)
    assert max(server.calls) < 3 * 3600
    [told] = [warning for warning in ear.warnings if warning.kind == "headers"]
    assert "'api' was asked to pause for 24 h, which max_pause= cuts to 60 min" in told.text


@pytest.mark.rule(23, 26)
@virtual
async def test_a_stop_waits_for_what_was_refused() -> None:
    server = Server()
    server.refusals = [100]
    cue, _ = cue_of(server)
    cue.start()
    await cue.submit("t")
    await cue.submit("t")
    await asyncio.sleep(1)
    summary = await cue.stop()
    assert summary.counts["completed"] == 2


@pytest.mark.rule(21, 26)
@virtual
async def test_a_pause_is_no_stall() -> None:
    server = Server()
    server.refusals = [1000]
    cue = runcue.Cue(stall_timeout=10, stall_warn_after=None)
    cue.task("t", uses=cue.service("api", concurrent=1))(server)
    works = await outcomes(cue, 3)
    assert [work.result for work in works] == ["done"] * 3


@pytest.mark.rule(26)
@virtual
async def test_resume_ends_a_pause_at_once_for_those_too_who_were_refused() -> None:
    server = Server()
    server.refusals = [100]
    cue, _ = cue_of(server)
    async with cue:
        await cue.submit("t")
        await cue.submit("t")
        await asyncio.sleep(1)
        cue.get_service("api").resume()
        await asyncio.sleep(1)
        assert cue.counts()["completed"] == 2
    assert server.calls == [0.0, 1.0, pytest.approx(1.1)]


@virtual
async def test_why_says_that_the_server_has_refused_some_and_until_when() -> None:
    server = Server()
    server.refusals = [60]
    cue, _ = cue_of(server)
    async with cue:
        refused, other = await cue.submit("t"), await cue.submit("t")
        await asyncio.sleep(1)
        why = str(cue.why(refused))
        assert "service api has refused it for now; it goes on at" in why
        assert "in 59.1 s" in why.replace("in 59 s", "in 59.1 s")
        assert "api: its server has refused some, one is let through in 59.1 s" in str(cue.why(other))
        [details] = [one["details"] for one in cue.debug_blocked() if one["work"].id == other]
        assert "its server has refused some" in details
        text = str(cue.why())
        assert "its server has refused some" in text


@each_loop
@pytest.mark.parametrize("is_async", [False, True])
def test_plain_handlers_in_threads_are_refused_likewise(loop: str, is_async: bool) -> None:
    calls: list[str] = []
    lock = threading.Lock()

    def plain(work: runcue.Work) -> str:
        with lock:
            calls.append(work.id)
            first = len(calls) <= 2
        if first:
            raise runcue.Throttled(0.05)
        return "done"

    async def coroutine(work: runcue.Work) -> str:
        await asyncio.sleep(0)
        return plain(work)

    async def main() -> None:
        cue, ear = cue_of(coroutine if is_async else plain, 2, breaker=runcue.Breaker(2, "1 min"))
        works = await outcomes(cue, 6)
        assert [work.result for work in works] == ["done"] * 6
        assert sum(entry[1] == "throttled" for entry in ear.heard) == 2

    run_on(loop, main)
    assert len(calls) == 8


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True, "soon", [], b"12"])
def test_a_time_that_is_none_is_refused_where_it_is_written(value: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match="retry_after of Throttled"):
        runcue.Throttled(value)


def test_what_a_header_has_is_a_time_and_the_error_can_be_pickled() -> None:
    import pickle

    assert runcue.Throttled("12").retry_after == 12
    assert runcue.Throttled("1.5 min").retry_after == 90
    assert runcue.Throttled("Fri, 21 Oct 2016 07:28:00 GMT").until == 1477034880
    error = pickle.loads(pickle.dumps(runcue.Throttled("12", service="api")))
    assert (error.retry_after, error.service) == (12, "api")
    assert str(error) == "the service 'api' has refused it for 12 s"
    assert str(runcue.Throttled()) == "the service has refused it for now"
    with pytest.raises(runcue.ConfigurationError, match="Throttled takes"):
        runcue.Throttled(1, "api", 3)
    with pytest.raises(runcue.ConfigurationError, match="service of Throttled"):
        runcue.Throttled(1, 3)  # type: ignore[arg-type]


@virtual
async def test_the_status_of_a_service_tells_until_when_it_is_left_in_peace() -> None:
    server = Server()
    server.refusals = [60]
    cue, _ = cue_of(server, breaker=runcue.Breaker(1, "10s"))
    api = cue.get_service("api")
    async with cue:
        assert (api.status().throttled, api.status().broken) == (None, None)
        await cue.submit("t")
        await asyncio.sleep(1)
        assert api.status().throttled == pytest.approx(59.1)
        await asyncio.sleep(59.15)
        assert api.status().throttled == 0, "one is on its way"
        await asyncio.sleep(1)
        assert api.status().throttled is None


def test_in_another_loop_with_another_clock_a_pause_is_as_long_as_it_was() -> None:
    server = Server()
    server.refusals = [100]
    cue, _ = cue_of(server)

    async def first() -> None:
        await asyncio.sleep(1000)
        cue.start()
        await cue.submit("t")
        await asyncio.sleep(10)
        await cue.stop(drain=False)

    async def then() -> None:
        began = now()
        async with cue:
            await cue.submit("t")
        assert now() - began == pytest.approx(90.2, abs=0.2)

    runcue.testing.run(first)
    runcue.testing.run(then)


@pytest.mark.rule(23, 26)
@virtual
async def test_what_is_refused_while_a_stop_runs_nothing_more_has_not_failed_and_is_left() -> None:
    server = Server(takes=3)
    server.refusals = [10, 10]
    cue, _ = cue_of(server, 2)
    cue.start()
    await cue.submit("t")
    await cue.submit("t", must_complete=True)
    await asyncio.sleep(1)
    summary = await cue.stop(drain=False)
    assert [work.id for work in summary.left] == ["1"]
    assert summary.counts["failed"] == 0
    assert summary.counts["completed"] == 1, "what must complete is waited for"


@virtual
async def test_one_that_is_joined_goes_on_for_who_is_left() -> None:
    server = Server()
    server.refusals = [10]
    cue, ear = cue_of(server)
    async with cue:
        first = await cue.submit("t", key="same")
        second = await cue.submit("t", key="same")
        await asyncio.sleep(1)
        first.cancel()
        assert await second == "done"
    assert [entry[1] for entry in ear.heard] == ["started", "throttled", "cancelled", "resumed", "completed"]


@virtual
async def test_a_time_out_may_be_a_refusal() -> None:
    calls: list[float] = []

    async def handler(work: runcue.Work) -> str:
        calls.append(now())
        await asyncio.sleep(100 if len(calls) == 1 else 1)
        return "done"

    cue, _ = cue_of(handler, throttle=lambda error: 7 if isinstance(error, runcue.WorkTimeout) else None)
    async with cue:
        handle = await cue.submit("t", timeout=2)
        assert await handle == "done"
        assert (await handle.wait()).attempt == 1
    assert calls == [0, 9]


@pytest.mark.rule(26, 47)
@virtual
async def test_each_key_of_a_service_is_refused_and_resumed_by_itself_and_forgotten_afterwards() -> None:
    calls: list[tuple[str, float]] = []

    async def handler(work: runcue.Work) -> None:
        key = work.params["key"]
        calls.append((key, now()))
        await asyncio.sleep(0.1)
        if key in "ab" and now() < 5:
            raise runcue.Throttled(100)
        if key == "c" and now() < 1:
            raise ConnectionError("500")

    cue = runcue.Cue(id_prefix="")
    api = cue.service(
        "api",
        per=lambda work: work.params["key"],
        concurrent=runcue.Adaptive(1, 4),
        breaker=runcue.Breaker(1, "10s"),
    )
    cue.task("t", uses=api)(handler)
    cue.on_failure(lambda work, error: None)
    async with cue:
        for key in "abcd" * 2:
            await cue.submit("t", params={"key": key})
        await asyncio.sleep(20)
        api.resume(key="a")
        await cue.drain()
        assert [round(at, 1) for key, at in calls if key == "a"][:2] == [0, 20]
        assert [round(at, 1) for key, at in calls if key == "b"][:2] == [0, 100.1]
        assert [round(at, 1) for key, at in calls if key == "c"] == [0, 10.1]
        assert [round(at, 1) for key, at in calls if key == "d"] == [0, 0.1]
        await asyncio.sleep(200)
        assert api.status().keys == 0


@virtual
async def test_who_was_about_to_start_when_another_is_refused_comes_as_soon_as_it_may() -> None:
    calls: list[float] = []

    async def handler(work: runcue.Work) -> None:
        calls.append(now())
        if len(calls) == 1:
            raise runcue.Throttled(0.0005)

    cue, _ = cue_of(handler, 4)
    await outcomes(cue, 4)
    assert calls[1] == pytest.approx(0.0005)


@virtual
async def test_a_service_pauses_until_the_date_that_a_header_has() -> None:
    import time
    from email.utils import formatdate

    errors = [runcue.Throttled(formatdate(time.time() + 100, usegmt=True))]

    async def handler(work: runcue.Work) -> None:
        if errors:
            raise errors.pop()

    cue, ear = cue_of(handler)
    await outcomes(cue, 1)
    waits = [entry[2] for entry in ear.heard if entry[1] == "throttled"]
    assert len(waits) == 1
    assert 50 < waits[0] <= 100
