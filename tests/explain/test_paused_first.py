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


def test_no_end_is_told_as_a_number_of_years() -> None:
    assert seconds_in_words(math.inf) == "an endless time"
