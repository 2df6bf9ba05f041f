"""500 prompts for an API that has limits, is slow, fails and sometimes never answers. Kill it, start it again: it goes on.

    python examples/llm_batch/batch.py

The API is a server on loopback that this program starts (server.py beside it). Needs httpx, and rich for the display:
`pip install 'runcue[examples,console]'`.
"""

import asyncio
import json
import sys
from pathlib import Path

import httpx
from server import running_server

import runcue

OUT, PROMPTS, MAX_TOKENS, PRICE = Path("out/llm"), 500, 200, 0.000_002


def make_cue(client: httpx.AsyncClient | None = None) -> runcue.Cue:
    cue = runcue.Cue()
    api = cue.service(
        "api",
        rate="500/min",
        budget={"tokens": "90_000/min", "usd": "2.50/day"},
        concurrent=10,
        margin="0.1s",
        throttle=runcue.http_errors,
    )

    def cost(prompt: str) -> dict[str, float]:
        tokens = len(prompt.split()) + MAX_TOKENS
        return {"tokens": tokens, "usd": tokens * PRICE}

    @cue.task(uses=api, cost=cost, retry=5, timeout="3s", outputs=lambda number: OUT / f"{number:03}.json")
    async def ask(work: runcue.Work, number: int, prompt: str) -> None:
        answer = await client.post("/v1/complete", json={"prompt": prompt, "max_tokens": MAX_TOKENS})
        answer.raise_for_status()
        with work.write(work.outputs[0]) as file:
            json.dump(answer.json(), file)

    return cue


async def submit(cue: runcue.Cue) -> None:
    for number in range(PROMPTS):
        prompt = f"Say {number} in other words" + " please" * (number % 90)
        await cue.submit("ask", params={"number": number, "prompt": prompt})


async def main() -> None:
    with running_server() as url:
        async with httpx.AsyncClient(base_url=url, timeout=None) as client:
            cue = make_cue(client)
            with runcue.progress(cue, title="Prompts"):
                async with cue:
                    await submit(cue)
                    summary = await cue.drain()
    tokens = sum(json.loads(file.read_text())["usage"]["total_tokens"] for file in OUT.glob("*.json"))
    print(summary, f"{tokens:,} tokens in all, {tokens * PRICE:.2f} USD", sep="\n")


if __name__ == "__main__":
    runcue.run(main)
