"""With pyarallel, which knows the rate, how many at once, retries and Retry-After."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import mean

import httpx
from pyarallel import Limiter, RateLimit, Retry, async_parallel_map

from benchmarks.api_batches.prompts import AT_ONCE, ATTEMPTS, REQUESTS, TIMEOUT, TOKENS, Prompt, complete


def retry_after(error: Exception) -> float | None:
    if isinstance(error, httpx.HTTPStatusError) and "Retry-After" in error.response.headers:
        return float(error.response.headers["Retry-After"])
    return None


async def answer_all(client: httpx.AsyncClient, prompts: Sequence[Prompt]) -> list[str]:
    client.timeout = httpx.Timeout(TIMEOUT)
    # It has no budget of tokens: the rate has to be as low as the mean of them allows.
    a_minute = min(REQUESTS, TOKENS / mean(prompt.tokens for prompt in prompts))
    result = await async_parallel_map(
        partial(complete, client),
        prompts,
        concurrency=AT_ONCE,
        rate_limit=Limiter(RateLimit(a_minute, "minute")),
        retry=Retry(attempts=ATTEMPTS, backoff=0.5, on=(httpx.HTTPError,), wait_from=retry_after),
    )
    return [str(value) for value in result.values()]
