"""A stand-in for a model's API on the loopback interface: it has limits, is slow, fails, and sometimes never answers.

`POST /v1/complete` with `{"prompt": "...", "max_tokens": 200}` answers with a text and the tokens that it counts for
that: one for each word of the prompt, and `max_tokens`. Both limits, of requests and of tokens, are counted when a
request arrives, as a sliding log or in fixed windows that begin with the first request; who goes over one gets a 429
with `Retry-After`. `GET /stats` tells what it has seen. It has nothing but Python's own library:

    python model_server.py --requests 500 --tokens 90000

prints its address in the first line, and serves until its standard input ends.

Must not know: who asks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, TypeAlias, cast

Answer: TypeAlias = tuple[int, dict[str, str], dict[str, Any]]
"""Status, headers, and what is in it."""


class Window:
    """How much has come in within a period, of which so much may.

    Args:
        limit: The most within any period.
        period: Seconds.
        fixed: Whether the periods stand side by side, each beginning with the first arrival after the one before it;
            otherwise they are everywhere.
    """

    def __init__(self, limit: int, period: float, *, fixed: bool) -> None:
        self.limit, self.period, self.fixed = limit, period, fixed
        self.arrivals: deque[tuple[float, int]] = deque()
        self.used = 0

    def wait(self, amount: int, now: float) -> float:
        """Seconds until so much more may come; 0.0 if it may now."""
        if self.fixed:
            if self.arrivals and self.arrivals[0][0] + self.period <= now:
                self.arrivals.clear()
                self.used = 0
        else:
            while self.arrivals and self.arrivals[0][0] + self.period <= now:
                self.used -= self.arrivals.popleft()[1]
        missing = self.used + amount - self.limit
        for came, size in self.arrivals:
            if missing <= 0:
                break
            missing = 0 if self.fixed else missing - size
            if missing <= 0:
                return came + self.period - now
        return 0.0

    def count(self, amount: int, now: float) -> None:
        """So much has come in."""
        self.arrivals.append((now, amount))
        self.used += amount


class Api:
    """What the server counts, and what it answers.

    Args:
        options: As of the command line.
        clock: Where the time comes from, in seconds.
    """

    def __init__(self, options: argparse.Namespace, clock: Callable[[], float] = time.monotonic) -> None:
        self.options, self.clock = options, clock
        self.luck = random.Random(options.seed)
        fixed = options.windows == "fixed"
        self.requests = Window(options.requests, options.period, fixed=fixed)
        self.tokens = Window(options.tokens, options.period, fixed=fixed)
        self.in_flight = 0
        # Seconds after the first request at which one came that goes beyond one, two, ... full limits of tokens.
        self.full: list[float] = []
        self.began: float | None = None
        self.answers: Counter[int] = Counter()
        self.hung = self.counted = self.most_at_once = 0

    def refusal(self, tokens: int, now: float) -> float | None:
        """Seconds after which a request of so many tokens may come again; None if it is taken in."""
        if self.in_flight >= self.options.concurrent:
            return 1.0
        wait = max(self.requests.wait(1, now), self.tokens.wait(tokens, now))
        return wait if wait > 0 else None

    def stats(self) -> dict[str, Any]:
        """What it has seen so far."""
        return {
            "answers": self.answers,
            "hung": self.hung,
            "tokens": self.counted,
            "most_at_once": self.most_at_once,
            "full_periods": self.full,
        }

    async def complete(self, prompt: str, max_tokens: int, closed: asyncio.Event) -> Answer:
        """Answer one request: status, headers, body."""
        now, tokens = self.clock(), len(prompt.split()) + max_tokens
        wait = self.refusal(tokens, now)
        if wait is not None:
            return 429, {"Retry-After": str(math.ceil(wait))}, {"error": {"code": "rate_limit_exceeded"}}
        self.requests.count(1, now)
        self.tokens.count(tokens, now)
        self.counted += tokens
        self.began = now if self.began is None else self.began
        if self.counted > self.options.tokens * (len(self.full) + 1):
            self.full.append(now - self.began)
        self.in_flight += 1
        self.most_at_once = max(self.most_at_once, self.in_flight)
        fate = self.luck.random()
        try:
            if fate < self.options.hangs:
                self.hung += 1
                await closed.wait()
            else:
                await asyncio.sleep(self.luck.uniform(*self.options.latency))
        finally:
            self.in_flight -= 1
        if fate < self.options.hangs + self.options.errors:
            return 500, {}, {"error": {"code": "server_error"}}
        return 200, {}, {"text": prompt[::-1], "usage": {"total_tokens": tokens}}


class Connection(asyncio.StreamReaderProtocol):
    """Knows at once that the other side has closed it. A StreamReader tells nobody, and to read takes what comes."""

    def __init__(self, api: Api) -> None:
        self.closed = asyncio.Event()
        super().__init__(
            asyncio.StreamReader(), lambda reader, writer: serve(api, reader, writer, self.closed)
        )

    def eof_received(self) -> bool | None:
        """Whoever gives up waiting closes the connection, and sends nothing before."""
        self.closed.set()
        return super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """The same, at once."""
        self.closed.set()
        super().connection_lost(error)


async def serve(
    api: Api, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, closed: asyncio.Event
) -> None:
    """One connection, kept for one request after the other."""
    no_headers = dict[str, str]()
    try:
        while (line := await reader.readline()).strip():
            method, path, _ = line.decode().split(" ", 2)
            length = 0
            while header := (await reader.readline()).decode().strip():
                name, _, value = header.partition(":")
                if name.lower() == "content-length":
                    length = int(value)
            body = await reader.readexactly(length)
            if method == "GET" and path == "/stats":
                status, headers, answer = 200, no_headers, api.stats()
            else:
                asked = json.loads(body)
                status, headers, answer = await api.complete(asked["prompt"], asked["max_tokens"], closed)
                if closed.is_set():
                    break
                api.answers[status] += 1
            text = json.dumps(answer).encode()
            told = {**headers, "Content-Type": "application/json", "Content-Length": str(len(text))}
            head = f"HTTP/1.1 {status} -\r\n" + "".join(
                f"{name}: {value}\r\n" for name, value in told.items()
            )
            writer.write(head.encode() + b"\r\n" + text)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


@contextmanager
def running_server(*options: str) -> Iterator[str]:
    """The server in a process of its own, with these options of the command line. Gives its address."""
    command = [sys.executable, __file__, *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        talk = cast("tuple[IO[str], IO[str]]", (process.stdin, process.stdout))
        yield talk[1].readline().strip()
        talk[0].close()


async def main(options: argparse.Namespace) -> None:
    """Serve until standard input ends."""
    api = Api(options)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(api), "127.0.0.1", options.port)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="A stand-in for a model's API, with limits.")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--requests", type=int, default=500, help="requests per period")
    parser.add_argument("--tokens", type=int, default=90_000, help="tokens per period")
    parser.add_argument("--period", type=float, default=60.0, help="seconds")
    parser.add_argument("--windows", choices=("sliding", "fixed"), default="sliding")
    parser.add_argument("--concurrent", type=int, default=12, help="requests at the same time")
    parser.add_argument("--latency", type=float, nargs=2, default=(0.05, 0.25), help="seconds, from and to")
    parser.add_argument("--errors", type=float, default=0.025, help="the share that is answered with a 500")
    parser.add_argument("--hangs", type=float, default=0.025, help="the share that is never answered")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(argv)


if __name__ == "__main__":
    asyncio.run(main(parsed()))
