"""Breakers through a real cue: a service is left in peace after failures in a row, then one decides."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

import runcue
from tests.support.virtual_time import now, virtual


def cue_of(handler: Any, *, failures: int = 3, cooldown: Any = "60s", **options: Any) -> runcue.Cue:
    cue = runcue.Cue(id_prefix="")
    options.setdefault("concurrent", 1)
    cue.service("api", breaker=runcue.Breaker(failures, cooldown), **options)
    cue.task("t", uses="api")(handler)
    return cue


def down_until(instant: float, takes: float = 1.0) -> tuple[Callable[..., Any], list[float]]:
    calls: list[float] = []

    async def handler(work: runcue.Work) -> str:
        calls.append(now())
        await asyncio.sleep(takes)
        if now() < instant:
            raise ConnectionError("refused")
        return "done"

    return handler, calls


@pytest.mark.rule(50)
@virtual
async def test_after_failures_in_a_row_what_is_left_waits_and_then_one_is_let_through() -> None:
    handler, calls = down_until(100)
    async with cue_of(handler) as cue:
        handles = [await cue.submit("t") for _ in range(6)]
        works = [await handle.wait() for handle in handles]
    # Three fail at 3.0; one at 63.0, which fails, and one a minute after that.
    assert calls == [0, 1, 2, 63, 124, 125]
    assert [work.state.value for work in works] == ["failed"] * 4 + ["completed"] * 2


@pytest.mark.rule(50)
@virtual
async def test_all_go_on_when_one_has_succeeded_and_the_count_begins_anew() -> None:
    handler, calls = down_until(50)
    async with cue_of(handler, concurrent=3) as cue:
        handles = [await cue.submit("t") for _ in range(9)]
        for handle in handles:
            await handle.wait()
    assert calls == [0, 0, 0, 61, 62, 62, 62, 63, 63]


@pytest.mark.rule(50)
@virtual
async def test_attempts_count_and_what_waits_is_tried_again_as_its_policy_says() -> None:
    handler, calls = down_until(50)
    async with cue_of(handler) as cue:
        handle = await cue.submit("t", retry=runcue.Retry(attempts=5, wait_initial=1, wait_jitter=0))
        assert await handle == "done"
    assert calls == [0, 2, 5, 66]


@pytest.mark.rule(50)
@virtual
async def test_what_says_nothing_of_the_service_does_not_count() -> None:
    async def handler(work: runcue.Work) -> None:
        error = work.params["error"]
        if error == "cancelled":
            await asyncio.sleep(100)
        if work.attempt == 1 and now() < 1000 and (made := ERRORS.get(error)) is not None:
            if error in seen and not isinstance(made, runcue.GiveUp):
                return
            seen.add(error)
            raise made

    seen: set[str] = set()
    cue = cue_of(handler, failures=2)
    async with cue:
        for error in ("fails", *[*ERRORS, "cancelled"] * 3):
            handle = await cue.submit("t", params={"error": error})
            if error == "cancelled":
                await asyncio.sleep(1)
                handle.cancel()
            await handle.wait()
        feedback = cue._core.services["api"].feedback
        assert feedback is not None
        assert feedback.breaker is not None
        assert not feedback.breaker.is_open


ERRORS: dict[str, Exception] = {
    "gives up": runcue.GiveUp("bad input"),
    "later": runcue.RetryLater(1),
    "refused": runcue.Throttled(1),
}


@pytest.mark.rule(50)
@virtual
async def test_a_probe_that_says_nothing_is_replaced_by_the_next_one() -> None:
    calls: list[float] = []

    async def handler(work: runcue.Work) -> str:
        calls.append(now())
        if now() < 10:
            raise ConnectionError("refused")
        if work.id == "3":
            raise runcue.GiveUp("bad input")
        if work.id == "4":
            await asyncio.sleep(1000)
        return "done"

    async with cue_of(handler, failures=2, concurrent=5) as cue:
        handles = [await cue.submit("t") for _ in range(6)]
        await asyncio.sleep(70)
        assert calls == [0, 0, 60, 60], "the third has given up, and the fourth runs alone"
        handles[3].cancel()
        await handles[5].wait()
    assert calls[4:] == [70, 70]


@pytest.mark.rule(13, 50)
@virtual
async def test_that_one_has_opened_is_told_once_until_it_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    handler, _ = down_until(100)
    heard: list[runcue.abc.CueWarning] = []

    class Ear(runcue.Observer):
        def warned(self, warning: runcue.abc.CueWarning) -> None:
            heard.append(warning)

    cue = cue_of(handler)
    cue.observe(Ear())
    cue.on_failure(lambda work, error: None)
    with caplog.at_level(logging.WARNING, "runcue"):
        async with cue:
            for _ in range(6):
                await cue.submit("t")
    [told] = [warning for warning in heard if warning.kind == "breaker"]
    assert told.text == (
        "Service 'api': its breaker is open after 3 failures in a row (the last: ConnectionError: refused); one is let "
        "through in 60 s"
    )
    assert [work.id for work in told.works] == ["3"]
    assert told.text in caplog.text


@pytest.mark.rule(50)
@virtual
async def test_why_says_that_a_breaker_is_open_and_until_when() -> None:
    handler, _ = down_until(50)
    async with cue_of(handler) as cue:
        handles = [await cue.submit("t") for _ in range(6)]
        await asyncio.sleep(10)
        text = str(cue.why(handles[3]))
        assert (
            "api: its breaker is open after 3 failures in a row (the last: ConnectionError: refused)" in text
        )
        assert "one is let through in 53 s" in text
        await asyncio.sleep(53.5)
        assert "one was let through, the others follow when that has succeeded" in str(cue.why(handles[4]))


@pytest.mark.rule(23, 50)
@virtual
async def test_a_stop_leaves_what_only_a_breaker_holds_and_a_drain_waits() -> None:
    handler, calls = down_until(50)
    cue = cue_of(handler)
    cue.start()
    for _ in range(6):
        await cue.submit("t")
    await asyncio.sleep(10)
    summary = await cue.stop()
    assert now() == 10
    assert [work.id for work in summary.left] == ["4", "5", "6"]
    assert summary.counts["cancelled"] == 3
    calls.clear()
    cue.start()
    await cue.submit("t")
    assert (await cue.drain()).counts["completed"] == 1
    assert calls == [63], "what it knows stays"
    await cue.stop()


@pytest.mark.rule(23, 50)
@virtual
async def test_the_clean_end_of_async_with_waits_for_what_a_breaker_holds() -> None:
    handler, calls = down_until(100)
    async with cue_of(handler) as cue:
        handles = [await cue.submit("t") for _ in range(6)]
    assert calls == [0, 1, 2, 63, 124, 125]
    assert [handle.state.value for handle in handles] == ["failed"] * 4 + ["completed"] * 2


@pytest.mark.rule(39, 50)
@virtual
async def test_a_stop_waits_for_what_must_complete_though_a_breaker_is_open() -> None:
    handler, _ = down_until(50)
    cue = cue_of(handler)
    cue.start()
    for number in range(5):
        await cue.submit("t", must_complete=number == 4)
    await asyncio.sleep(10)
    summary = await cue.stop()
    assert [work.id for work in summary.left] == ["4"]
    assert summary.counts["completed"] == 1


@pytest.mark.rule(48, 50)
@virtual
async def test_resume_closes_it_and_another_breaker_keeps_what_is_known() -> None:
    handler, calls = down_until(5)
    async with cue_of(handler) as cue:
        for _ in range(5):
            await cue.submit("t")
        await asyncio.sleep(10)
        cue.get_service("api").resume()
        await asyncio.sleep(5)
        assert calls == [0, 1, 2, 10, 11]
    handler, calls = down_until(1000)
    cue = cue_of(handler)
    async with cue:
        shift = now()
        for _ in range(5):
            await cue.submit("t")
        await asyncio.sleep(2.5)
        cue.get_service("api").change(breaker=runcue.Breaker(failures=4, cooldown=10))
        await asyncio.sleep(20)
        assert [call - shift for call in calls] == [0, 1, 2, 3, 14], "two had failed before"
        cue.get_service("api").change(breaker=None)


@pytest.mark.rule(36, 50)
@virtual
async def test_a_probe_that_waits_for_what_its_breaker_holds_is_a_deadlock_and_ends() -> None:
    cue = runcue.Cue(stall_timeout=None)
    api = cue.service("api", breaker=runcue.Breaker(1, "10s"), concurrent=5)

    @cue.task("child", uses=api)
    async def child(work: runcue.Work) -> None:
        return None

    @cue.task("parent", uses=api)
    async def parent(work: runcue.Work) -> None:
        if not work.params.get("waits"):
            raise ConnectionError("refused")
        await (await cue.submit(child))

    async with asyncio.timeout(1000), cue:
        await cue.submit(parent)
        handle = await cue.submit(parent, params={"waits": True})
        summary = await cue.drain()
        assert summary.deadlocked or handle.done()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: runcue.Breaker(0), "failures of Breaker must be a whole number of at least 1, not 0"),
        (lambda: runcue.Breaker("five"), "failures of Breaker"),  # type: ignore[arg-type]
        (lambda: runcue.Breaker(5, cooldown=-1), "cooldown of Breaker"),
        (lambda: runcue.Breaker(failure=5), "did you mean failures="),  # type: ignore[call-arg]
        (
            lambda: runcue.Cue().service("a", breaker=5),
            r"breaker of service 'a'.*Write runcue.Breaker\(failures=5\)",
        ),  # type: ignore[arg-type]
        (lambda: runcue.Cue().service("a", breaker=runcue.Breaker), "with parentheses"),  # type: ignore[arg-type]
    ],
)
def test_values_that_cannot_work_are_refused_where_they_are_written(
    make: Callable[[], Any], said: str
) -> None:
    with pytest.raises(runcue.ConfigurationError, match=said):
        make()
