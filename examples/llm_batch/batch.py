"""500 prompts for an API with limits, slow and failing now and then. Kill it, run it again: it goes on."""

import json
from pathlib import Path

import httpx

import runcue
from model_server import running_server

OUT, PROMPTS, MAX_TOKENS, PRICE = Path("out/llm"), 500, 200, 0.000_002
BUDGET = {"tokens": "90_000/min", "usd": "2.50/day"}
CLIENT = httpx.AsyncClient(timeout=None)  # noqa: S113 - the task has a timeout


def bill(tokens: int) -> dict[str, float]:
    """What they take of each budget."""
    return {"tokens": tokens, "usd": round(tokens * PRICE, 6)}


def make_cue() -> runcue.Cue:
    """All but the prompts."""
    cue = runcue.Cue()
    cue.service("api", rate="500/min", budget=BUDGET, concurrent=10, margin=0.5, throttle=runcue.http_errors)

    @cue.task(uses="api", retry=5, timeout="3s", outputs=lambda number: OUT / f"{number:03}.json")
    async def ask(work: runcue.Work, number: int, prompt: str) -> None:
        answer = await CLIENT.post("/v1/complete", json={"prompt": prompt, "max_tokens": MAX_TOKENS})
        answer.raise_for_status()
        work.spent(**bill(answer.json()["usage"]["total_tokens"]))
        with work.write(work.outputs[0]) as file:
            file.write(answer.text)

    return cue


async def submit(cue: runcue.Cue) -> None:
    """Submit all of them: what has its answer is skipped."""
    for number in range(PROMPTS):
        prompt = f"Say {number} in other words" + ", please" * (number % 90)
        most = bill(len(prompt.split()) + MAX_TOKENS)
        await cue.submit("ask", params={"number": number, "prompt": prompt}, cost=most)


async def main() -> None:
    """Answer them, and say what that took."""
    cue = make_cue()
    with running_server() as url, runcue.progress(cue, title="Prompts"):
        CLIENT.base_url = url
        async with CLIENT, cue:
            await submit(cue)
            summary = await cue.drain()
    answers = [json.loads(file.read_text()) for file in OUT.glob("*.json")]  # noqa: ASYNC240
    tokens = sum(answer["usage"]["total_tokens"] for answer in answers)
    print(summary, f"{tokens:,} tokens in all, {tokens * PRICE:.2f} USD", sep="\n")


if __name__ == "__main__":
    runcue.run(main)
