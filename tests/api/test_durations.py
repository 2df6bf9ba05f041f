"""A length of time is given alike wherever one is taken: seconds, a timedelta, or text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest

import runcue
from runcue import submissions
from tests.support.virtual_time import now, virtual

HALF_A_MINUTE: tuple[Any, ...] = (30, 30.0, timedelta(seconds=30), "30s", "0.5 min")


async def sleeps(work: runcue.Work) -> None:
    await asyncio.sleep(100)


async def of_a_task(length: Any) -> None:
    async with runcue.Cue() as cue:
        cue.task("t", timeout=length)(sleeps)
        await (await cue.submit("t")).wait()
        assert now() == 30


async def of_a_submission(length: Any) -> None:
    async with runcue.Cue() as cue:
        cue.task("t")(sleeps)
        await (await cue.submit("t", timeout=length)).wait()
        assert now() == 30


async def of_a_submission_from_a_handler(length: Any) -> None:
    async with runcue.Cue() as cue:
        cue.task("t")(sleeps)
        handle = await cue.submit(cue.task("plain")(lambda work: work.submit("t", timeout=length)))
        child = await cue.get(await handle.result())
        assert child is not None
        await cue.drain()
        assert child.completed_at is not None
        assert child.completed_at - child.created_at == 30


async def of_what_is_pending(length: Any) -> None:
    async with runcue.Cue(pending_timeout=length, pending_warn_after=length) as cue:
        cue.on_pending_warning(lambda work, seconds: None)
        cue.is_ready(lambda work: False)
        cue.task("t")(sleeps)
        await (await cue.submit("t")).wait()
        assert now() == 30


async def of_a_stall(length: Any) -> None:
    async with runcue.Cue(stall_timeout=length, stall_warn_after=length) as cue:
        cue.on_stall_warning(lambda seconds, pending: None)
        cue.is_ready(lambda work: False)
        cue.task("t")(sleeps)
        await (await cue.submit("t")).wait()
        assert now() == 30


async def of_a_drain(length: Any) -> None:
    async with runcue.Cue() as cue:
        cue.task("t")(sleeps)
        await cue.submit("t")
        await cue.drain(timeout=length)
        assert now() == 30


async def of_a_stop(length: Any) -> None:
    async with runcue.Cue() as cue:
        cue.task("t")(sleeps)
        await cue.submit("t")
        await cue.stop(timeout=length)
        assert now() == 30


PLACES = (
    of_a_task,
    of_a_submission,
    of_a_submission_from_a_handler,
    of_what_is_pending,
    of_a_stall,
    of_a_drain,
    of_a_stop,
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("length", HALF_A_MINUTE, ids=str)
def test_half_a_minute_is_half_a_minute(place: Callable[[Any], Awaitable[None]], length: Any) -> None:
    virtual(place)(length)


@pytest.mark.parametrize(
    "length", [-1, "-5s", timedelta(seconds=-1), "30", "3 parsecs", True, nan, b"30s", []], ids=str
)
def test_what_is_none_is_refused_in_one_sentence_in_the_line_of_the_mistake(length: Any) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(sleeps)
        forms = 'a timedelta,? .*text like "30s", "5 min", "24h"( or None)?, not '
        for name in ("pending_warn_after", "pending_timeout", "stall_warn_after", "stall_timeout"):
            with pytest.raises(runcue.ConfigurationError, match=f"^{name} must be .*{forms}"):
                runcue.Cue(**{name: length})
        with pytest.raises(runcue.ConfigurationError, match=f"^timeout of task 'u' must be .*{forms}"):
            cue.task("u", timeout=length)
        with pytest.raises(runcue.ConfigurationError, match=f"^timeout must be .*no limit.*{forms}"):
            await cue.submit("t", timeout=length)
        with pytest.raises(
            runcue.ConfigurationError, match=f"^Submission 1 of plan.*: timeout must be .*{forms}"
        ):
            cue.plan([{"task": "t", "timeout": length}])
        for call in (cue.drain, cue.stop):
            with pytest.raises(
                runcue.ConfigurationError, match=f"^timeout of {call.__name__}.*at least 0, {forms}"
            ):
                await call(timeout=length)
        assert not await cue.list()

    virtual(main)()


def test_what_is_written_down_is_checked_where_it_is_read() -> None:
    for option, refused in (("timeout", "0 s"), ("delay", "-1 s")):
        for text in ("30", "3 parsecs", refused):
            line = b'{"task": "t", "%s": "%s"}' % (option.encode(), text.encode())
            with pytest.raises(
                runcue.ConfigurationError, match=f'^w:1: .{option}. must be .* or text such as "30s"'
            ):
                list(submissions.read_lines([line], "w"))
        line = b'{"task": "t", "%s": "5 min"}' % option.encode()
        assert next(submissions.read_lines([line], "w")).options == {option: "5 min"}


@virtual
async def test_no_limit_is_a_limit_of_a_submission_alone() -> None:
    async with runcue.Cue() as cue:
        cue.task("t", timeout="30s")(sleeps)
        work = await (await cue.submit("t", timeout=inf)).wait()
        assert (work.state, now()) == (runcue.WorkState.COMPLETED, 100)
        for call in (lambda: cue.task("u", timeout=inf), lambda: runcue.Cue(pending_timeout=inf)):
            with pytest.raises(runcue.ConfigurationError, match=" or None, not inf"):
                call()
