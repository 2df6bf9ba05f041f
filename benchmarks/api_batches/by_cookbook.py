"""By hand, in the way of the OpenAI cookbook's script for parallel requests, written from its description.

One loop hands out requests. It knows how many requests and tokens it may use at this instant, both of which flow back
continuously up to what a minute has; what fails goes to a queue of those to be tried again, and after a 429 it rests
for 15 seconds. Source of the description: the comments at the head of examples/api_request_parallel_processor.py in the
repository openai/openai-cookbook.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

import httpx

from benchmarks.api_batches.prompts import AT_ONCE, ATTEMPTS, REQUESTS, TIMEOUT, TOKENS, Prompt, complete

REST, STEP = 15.0, 0.001


async def answer_all(client: httpx.AsyncClient, prompts: Sequence[Prompt]) -> list[str]:
    client.timeout = httpx.Timeout(TIMEOUT)
    waiting = deque((number, ATTEMPTS) for number in range(len(prompts)))
    again: deque[tuple[int, int]] = deque()
    answers: dict[int, str] = {}
    requests, tokens, looked = float(REQUESTS), float(TOKENS), time.monotonic()
    limited_at = 0.0
    running: set[asyncio.Task[None]] = set()

    async def ask(number: int, attempts: int) -> None:
        nonlocal limited_at
        try:
            answers[number] = await complete(client, prompts[number])
        except httpx.HTTPError as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 429:
                limited_at = time.monotonic()
            if attempts > 1:
                again.append((number, attempts - 1))

    while waiting or again or running:
        now = time.monotonic()
        requests = min(REQUESTS, requests + (now - looked) * REQUESTS / 60)
        tokens = min(TOKENS, tokens + (now - looked) * TOKENS / 60)
        looked = now
        line = again or waiting
        if line and len(running) < AT_ONCE and requests >= 1 and tokens >= prompts[line[0][0]].tokens:
            number, attempts = line.popleft()
            requests, tokens = requests - 1, tokens - prompts[number].tokens
            task = asyncio.create_task(ask(number, attempts))
            running.add(task)
            task.add_done_callback(running.discard)
        if (rest := limited_at + REST - now) > 0:
            await asyncio.sleep(rest)
        await asyncio.sleep(STEP)
    return [answers[number] for number in sorted(answers)]
