"""One contestant in a process of its own: `python -m benchmarks.api_batches.contestant NAME URL NUMBER`.

Lives here: what is the same for all; it prints how many prompts were answered.

Must not know: what is made of that.
"""

from __future__ import annotations

import asyncio
import sys
import time
from importlib import import_module

import httpx

from benchmarks.api_batches.prompts import AT_ONCE, prompts


async def main(name: str, url: str, number: int) -> None:
    """Let it send so many."""
    answer_all = import_module(f"benchmarks.api_batches.by_{name}").answer_all
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    asked = prompts(number)
    async with httpx.AsyncClient(base_url=url, timeout=60.0, limits=limits) as client:
        began = time.monotonic()
        answers = await answer_all(client, asked)
        seconds = time.monotonic() - began
    right = {prompt.text[::-1] for prompt in asked}
    print(len(right & set(answers)), seconds)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
