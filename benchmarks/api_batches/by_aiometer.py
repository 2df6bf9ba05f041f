"""With aiometer, which knows the rate and how many at once, and tenacity, which knows the rest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import mean
from typing import Any

import httpx
from aiometer import run_all
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from benchmarks.api_batches.prompts import AT_ONCE, ATTEMPTS, REQUESTS, TIMEOUT, TOKENS, Prompt, complete


def wait(state: Any) -> float:
    error = state.outcome.exception()
    if isinstance(error, httpx.HTTPStatusError) and "Retry-After" in error.response.headers:
        return float(error.response.headers["Retry-After"])
    return float(wait_exponential_jitter(initial=0.5, max=60)(state))


async def ask(client: httpx.AsyncClient, prompt: Prompt) -> str:
    attempts = AsyncRetrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait,
        retry=retry_if_exception_type(httpx.HTTPError),
        # What it raises would end all of them.
        retry_error_callback=lambda state: "",
    )
    return str(await attempts(complete, client, prompt))


async def answer_all(client: httpx.AsyncClient, prompts: Sequence[Prompt]) -> list[str]:
    client.timeout = httpx.Timeout(TIMEOUT)
    # It has no budget of tokens: the rate has to be as low as the mean of them allows.
    a_minute = min(REQUESTS, TOKENS / mean(prompt.tokens for prompt in prompts))
    calls = [partial(ask, client, prompt) for prompt in prompts]
    return await run_all(calls, max_at_once=AT_ONCE, max_per_second=a_minute / 60)
