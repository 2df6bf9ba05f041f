"""What servers say of their limits in the headers of their answers: rule 49."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import runcue
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import now, virtual


class Ear(runcue.Observer):
    """Hears warnings."""

    def __init__(self) -> None:
        self.warnings: list[runcue.abc.CueWarning] = []

    def warned(self, warning: runcue.abc.CueWarning) -> None:
        self.warnings.append(warning)


class Api:
    """A cue with a service, a task that reads the headers it is given, and the instants at which it starts."""

    def __init__(self, **options: Any) -> None:
        self.cue = runcue.Cue()
        self.api = self.cue.service("api", **options)
        self.entered: list[float] = []

        @self.cue.task("call", uses=self.api)
        async def call(headers: dict[str, str] | None = None, lasts: float = 0.0) -> None:
            self.entered.append(now())
            await asyncio.sleep(lasts)
            if headers is not None:
                self.api.read_headers(headers)

        self.call = call

    async def read(self, headers: dict[str, str]) -> None:
        """Let a work unit read headers; the starts are counted from then on."""
        await (await self.cue.call(self.call, headers))
        self.entered.clear()

    async def starts(self, number: int) -> list[float]:
        """After how many seconds so many more start."""
        began = now()
        await asyncio.gather(*[await self.cue.call(self.call) for _ in range(number)])
        return [at - began for at in self.entered]


def requests(left: int, limit: int | None, reset: str) -> dict[str, str]:
    said = {"x-ratelimit-remaining-requests": f"{left}", "x-ratelimit-reset-requests": reset}
    return said if limit is None else said | {"x-ratelimit-limit-requests": f"{limit}"}


@pytest.mark.rule(49)
@virtual
async def test_what_is_left_of_requests_grows_evenly_until_all_of_the_limit_is_there() -> None:
    one = Api()
    async with one.cue:
        await one.read(requests(2, 62, "1m0s"))
        # Two at once, then one a second; from the reset on nothing is known of any limit.
        assert await one.starts(5) == pytest.approx([0, 0, 1, 2, 3])
        await asyncio.sleep(57)
        one.entered.clear()
        assert await one.starts(100) == [0] * 100


@pytest.mark.rule(49)
@virtual
async def test_a_header_without_a_limit_grows_to_the_rate_that_was_declared() -> None:
    one = Api(rate="60/min")
    async with one.cue:
        await one.read(requests(0, None, "60s"))
        assert await one.starts(3) == pytest.approx([1, 2, 3])


@pytest.mark.rule(49)
@virtual
async def test_what_is_left_of_anything_else_is_all_there_is_until_the_reset() -> None:
    one = Api()
    async with one.cue:
        await one.read({"ratelimit-remaining": "2", "ratelimit-limit": "100", "ratelimit-reset": "30"})
        assert await one.starts(4) == [0, 0, 30, 30]


@pytest.mark.rule(49)
@virtual
async def test_a_server_that_promises_more_than_was_declared_changes_nothing() -> None:
    one = Api(rate="2/min")
    async with one.cue:
        await one.read(requests(1000, 1000, "1s"))
        assert await one.starts(3) == [0, 60, 60]


@pytest.mark.rule(49)
@virtual
async def test_what_has_started_since_the_work_unit_that_reads_counts_as_taken() -> None:
    one = Api()
    async with one.cue:
        slow = await one.cue.call(one.call, requests(3, 63, "60s"), 5)
        # Of these two, one has ended by then, and one runs.
        await (await one.cue.call(one.call, None, 1))
        running = await one.cue.call(one.call, None, 20)
        await slow
        one.entered.clear()
        assert await one.starts(3) == pytest.approx([0, 1, 2])
        await running


@pytest.mark.rule(49)
@virtual
async def test_an_answer_to_who_had_started_earlier_than_another_says_nothing_new() -> None:
    one = Api()
    async with one.cue:
        slow = await one.cue.call(one.call, requests(0, 60, "600s"), 5)
        await one.read(requests(50, 60, "60s"))
        await slow
        one.entered.clear()
        assert await one.starts(3) == [0] * 3


@pytest.mark.rule(49)
@virtual
async def test_retry_after_lets_nothing_start_and_the_latest_instant_counts() -> None:
    one = Api()
    async with one.cue:
        one.api.read_headers({"retry-after": "60"})
        one.api.read_headers({"retry-after": "5"})
        assert await one.starts(2) == [60, 60]


@pytest.mark.rule(49)
@virtual
async def test_tokens_for_which_there_is_no_budget_hold_only_while_there_are_none() -> None:
    one = Api()
    async with one.cue:
        said = {
            "anthropic-ratelimit-tokens-limit": "100",
            "anthropic-ratelimit-tokens-remaining": "0",
            "anthropic-ratelimit-tokens-reset": "100s",
        }
        await one.read(said)
        assert await one.starts(3) == pytest.approx([1, 1, 1])


@pytest.mark.rule(49)
@pytest.mark.parametrize("name", ["tokens", "input_tokens", "input-tokens"])
@virtual
async def test_what_is_left_of_tokens_is_what_the_budget_of_that_name_counts(name: str) -> None:
    cue, entered = runcue.Cue(), list[float]()
    api = cue.service("api", budget={name: "1_000/min"})

    @cue.task("ask", uses=api, cost={name: 100})
    async def ask(headers: dict[str, str] | None = None, lasts: float = 0.0) -> None:
        entered.append(now())
        await asyncio.sleep(lasts)
        if headers is not None:
            api.read_headers(headers)

    said = name.replace("_", "-")
    async with cue:
        began = now()
        slow = await cue.call(
            ask, {f"x-ratelimit-remaining-{said}": "300", f"x-ratelimit-reset-{said}": "70s"}, 5
        )
        await cue.call(ask)  # it takes 100 of these
        await slow
        for _ in range(4):
            await cue.call(ask)
    # 200 are left; of 700 that are missing until all of the 1,000 are there, 10 come each second.
    assert [at - began for at in entered] == pytest.approx([0, 0, 5, 5, 15, 25])


@pytest.mark.rule(49)
@virtual
async def test_nothing_pauses_longer_than_max_pause_and_what_was_cut_is_told_once() -> None:
    one = Api(max_pause="10 min")
    ear = Ear()
    one.cue.observe(ear)
    async with one.cue:
        one.api.read_headers({"retry-after": "7200"})
        assert await one.starts(1) == [600]
        one.entered.clear()
        one.api.read_headers({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1d"})
        assert await one.starts(1) == [600]
    [told] = [one.text for one in ear.warnings if one.kind == "headers"]
    assert (
        "'api' asks to wait by retry-after for 2 h; it is asked again after max_pause=, which is 10 min"
        in told
    )


@pytest.mark.rule(49)
@virtual
async def test_a_far_reset_of_which_enough_is_left_is_not_told() -> None:
    one = Api()
    ear = Ear()
    one.cue.observe(ear)
    async with one.cue:
        await one.read(requests(500, 1000, "24h"))
        assert await one.starts(3) == [0] * 3
    assert not ear.warnings


@pytest.mark.rule(49)
@virtual
async def test_garbage_is_told_once_and_survived_and_the_rest_is_learned() -> None:
    one = Api()
    ear = Ear()
    one.cue.observe(ear)
    async with one.cue:
        for _ in range(3):
            await one.read({"retry-after": "soon", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "7"})
        assert await one.starts(1) == [7]
    [told] = [one.text for one in ear.warnings if one.kind == "headers"]
    assert "left aside: retry-after: soon" in told


@pytest.mark.rule(49)
@virtual
async def test_resume_ends_what_a_server_has_said_and_why_tells_of_it() -> None:
    one = Api()
    async with one.cue:
        await one.read({"retry-after": "60"})
        handle = await one.cue.call(one.call)
        why = one.cue.why(handle)
        assert why.verdict == "waiting for its server"
        assert "its server asks to wait for another 60 s (retry-after)" in str(why)
        one.api.resume()
        began = now()
        await handle
        assert now() == began


@pytest.mark.rule(49)
@virtual
async def test_the_status_tells_what_a_server_has_said_as_long_as_that_has_a_say() -> None:
    one = Api(rate="100/sec", budget={"tokens": "1_000/min"})
    async with one.cue:
        assert one.api.status().server == {}
        await one.read(
            {
                "x-ratelimit-remaining-requests": "3",
                "x-ratelimit-limit-requests": "13",
                "x-ratelimit-reset-requests": "10s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "20s",
                "ratelimit-remaining": "7",
                "ratelimit-reset": "5",
                "retry-after": "2",
            }
        )
        said = one.api.status().server
        assert {of: (status.left, status.until) for of, status in said.items()} == {
            "requests": (3, 10),
            "tokens": (0, 20),
            "starts": (7, 5),
            "retry-after": (0, 2),
        }
        assert said["requests"] == runcue.ServerStatus(3.0, 10.0, "x-ratelimit-remaining-requests")
        await asyncio.sleep(5)
        said = one.api.status().server
        # It flows back, to what the header or else the declaration names.
        assert {of: status.left for of, status in said.items()} == {"requests": 8, "tokens": 250}
        one.api.resume()
        assert one.api.status().server == {}


@pytest.mark.rule(49)
@virtual
async def test_a_drain_waits_for_what_a_server_has_said() -> None:
    one = Api()
    async with one.cue:
        began = now()
        await one.read({"retry-after": "60"})
        await one.cue.call(one.call)
    assert one.entered == [began + 60]


@pytest.mark.rule(49)
@each_loop
def test_a_plain_handler_reads_headers_for_its_own_work_unit(loop: str) -> None:
    cue = runcue.Cue()
    api = cue.service("api", concurrent=3)
    runs: list[float] = []

    @cue.task("ask", uses=api)
    def ask(work: runcue.Work) -> None:
        runs.append(work.params["number"])
        if work.params["number"] == 0:
            api.read_headers({"retry-after-ms": "50"})

    async def main() -> float:
        async with cue:
            began = now()
            await (await cue.submit("ask", params={"number": 0}))
            await (await cue.submit("ask", params={"number": 1}))
            return now() - began

    assert run_on(loop, main) >= 0.05
    assert runs == [0, 1]


def test_a_service_without_keys_has_none_to_pause_or_to_read_headers_for() -> None:
    api = runcue.Cue().service("api")
    for call in (
        lambda: api.pause(5, key="x"),
        lambda: api.resume(key="x"),
        lambda: api.read_headers({}, key="x"),
    ):
        with pytest.raises(
            runcue.ConfigurationError, match="'api' has no keys, so that key='x' means nothing"
        ):
            call()


def test_what_are_no_headers_is_told_in_the_line_of_the_mistake() -> None:
    api = runcue.Cue().service("api")
    with pytest.raises(runcue.ConfigurationError, match="takes the headers of an answer"):
        api.read_headers(None)  # type: ignore[arg-type]
    with pytest.raises(runcue.ConfigurationError, match="max_pause of service 'b' must be"):
        runcue.Cue().service("b", max_pause=0)
