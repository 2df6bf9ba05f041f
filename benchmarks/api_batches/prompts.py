"""What is sent, and the limits that all are told.

Must not know: who sends it, how.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import httpx

__all__ = ["ATTEMPTS", "AT_ONCE", "REQUESTS", "TIMEOUT", "TOKENS", "Prompt", "complete", "prompts"]

REQUESTS, TOKENS, AT_ONCE = 500, 90_000, 10
"""Requests and tokens per minute, and how many requests may be under way."""

TIMEOUT, ATTEMPTS = 3.0, 6
"""Seconds for one request, and how often one that fails is tried in all."""


class Prompt(NamedTuple):
    """A text, and how long its answer may be."""

    text: str
    max_tokens: int

    @property
    def tokens(self) -> int:
        """What the API counts for it: a token for each word, and those of the answer."""
        return len(self.text.split()) + self.max_tokens


def prompts(number: int) -> list[Prompt]:
    """So many of them, always the same; each has a text of its own."""
    luck = random.Random(7)
    return [
        Prompt(f"prompt {one}" + " word" * luck.randint(20, 100), luck.randint(100, 260))
        for one in range(number)
    ]


async def complete(client: httpx.AsyncClient, prompt: Prompt) -> str:
    """One request.

    Raises:
        httpx.HTTPStatusError: The API says no.
        httpx.TimeoutException: It does not say anything.
    """
    asked = {"prompt": prompt.text, "max_tokens": prompt.max_tokens}
    answer = await client.post("/v1/complete", json=asked)
    answer.raise_for_status()
    text: str = answer.json()["text"]
    return text
