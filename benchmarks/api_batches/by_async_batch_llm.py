"""With async-batch-llm, which knows requests and tokens per minute, cooldowns and retries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
from async_batch_llm import (
    CallableStrategy,
    CallOutcome,
    ProcessorConfig,
    RateLimitConfig,
    RetryConfig,
    TokenEstimate,
    process_prompts,
)

from benchmarks.api_batches.prompts import AT_ONCE, ATTEMPTS, REQUESTS, TIMEOUT, TOKENS, Prompt, complete


def estimate(prompt: str, **_: Any) -> TokenEstimate:
    asked = Prompt(*json.loads(prompt))
    return TokenEstimate(asked.tokens - asked.max_tokens, asked.max_tokens)


async def answer_all(client: httpx.AsyncClient, prompts: Sequence[Prompt]) -> list[str]:
    async def invoke(prompt: str, *, attempt: int, timeout: float, state: Any) -> CallOutcome[str]:
        asked = Prompt(*json.loads(prompt))
        told = {"input_tokens": asked.tokens - asked.max_tokens, "output_tokens": asked.max_tokens}
        return CallOutcome(await complete(client, asked), {**told, "total_tokens": asked.tokens})

    config = ProcessorConfig(
        concurrency=AT_ONCE,
        attempt_timeout=TIMEOUT,
        max_requests_per_minute=REQUESTS,
        max_tokens_per_minute=TOKENS,
        token_estimator=estimate,
        retry=RetryConfig(max_attempts=ATTEMPTS, initial_wait=0.5),
        # By default a 429 is followed by five minutes of rest.
        rate_limit=RateLimitConfig(cooldown_seconds=5.0, slow_start_items=0),
    )
    texts = [json.dumps(prompt) for prompt in prompts]
    batch = await process_prompts(CallableStrategy(invoke), texts, config=config, preserve_order=True)
    return [result.output for result in batch.results if result.success]
