"""With runcue."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

import runcue
from benchmarks.api_batches.prompts import AT_ONCE, ATTEMPTS, REQUESTS, TIMEOUT, TOKENS, Prompt, complete


async def answer_all(client: httpx.AsyncClient, prompts: Sequence[Prompt]) -> list[str]:
    cue = runcue.Cue()
    api = cue.service(
        "api",
        rate=f"{REQUESTS}/min",
        budget={"tokens": f"{TOKENS}/min"},
        concurrent=AT_ONCE,
        margin="0.2s",
        throttle=runcue.http_errors,
    )

    retry = runcue.Retry(ATTEMPTS, wait_jitter=0.1)

    @cue.task(uses=api, cost=lambda prompt: {"tokens": prompt.tokens}, retry=retry, timeout=TIMEOUT)
    async def ask(prompt: Prompt) -> str:
        return await complete(client, prompt)

    async with cue:
        return [text async for text in cue.map(ask, prompts, ordered=True, values=True)]
