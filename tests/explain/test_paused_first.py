"""A pause by hand is what is waited for, whatever else is in the way."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

import runcue
from runcue import testing
from runcue._model.texts import seconds_in_words


@pytest.mark.parametrize("limits", [{"rate": "1/min"}, {"concurrent": 1}, {"concurrent": 1, "rate": "9/min"}])
def test_what_is_paused_by_hand_is_told_to_be_let_go_on(limits: dict[str, Any]) -> None:
    cue = runcue.Cue()
    api = cue.service("api", **limits)

    @cue.task(uses=api)
    async def ask(number: int) -> None:
        await asyncio.sleep(3)

    async def main() -> None:
        async with cue:
            handles = [await cue.submit(ask, {"number": number}) for number in range(3)]
            await asyncio.sleep(2)
            api.pause()
            for text in (str(cue.why()), str(cue.why(handles[-1]))):
                assert "resume()" in text.splitlines()[-1]
                assert "inf" not in text
                assert "paused by hand" in text
            assert cue.debug_blocked()[0]["details"].startswith("api: paused by hand")
            api.resume()

    testing.run(main)


@pytest.mark.parametrize("seconds", [10, 100])
@pytest.mark.parametrize("by", ["hand", "a server", "a breaker", "headers"])
def test_what_lasts_longest_is_what_is_waited_for(by: str, seconds: float) -> None:
    cue = runcue.Cue()
    options: dict[str, Any] = {"breaker": runcue.Breaker(1, seconds)} if by == "a breaker" else {}
    api = cue.service("api", concurrent=5, rate="1/min", **options)
    errors: dict[str, BaseException] = {"a breaker": ValueError("no"), "a server": runcue.Throttled(seconds)}

    @cue.task(uses=api)
    async def ask(number: int) -> None:
        if number == 0 and by in errors:
            raise errors[by]

    async def main() -> None:
        async with cue:
            handles = [await cue.submit(ask, {"number": number}) for number in range(2)]
            await asyncio.sleep(1)
            if by == "hand":
                api.pause(seconds)
            if by == "headers":
                api.read_headers({"retry-after": str(seconds)})
            why = str(cue.why(handles[-1]))
            text = str(cue.why())
            is_rate = seconds < 60
            for told in (why, text):
                step = told.splitlines()[-1]
                assert ("a higher rate= lets them start sooner" in step) == is_rate, told
                assert ("resume()" in step) == (not is_rate and by in ("hand", "a breaker")), told
            assert cue.debug_blocked()[-1]["details"].startswith("api: 1/min is used up") == is_rate
            handles[0].cancel()
            handles[1].cancel()

    testing.run(main)


def test_no_end_is_told_as_a_number_of_years() -> None:
    assert seconds_in_words(math.inf) == "an endless time"
