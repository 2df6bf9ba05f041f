"""A thousand pages are fetched from a site that is not always in the mood: retries, progress, a table at the end.

    python examples/fetch_pages.py
    python examples/fetch_pages.py --pages 200 --at-once 5 --rate 100/sec

The site is a server on loopback that this program starts itself. One page in ten it refuses at first with a 503, one
in twenty it does not have. What may go away by itself is tried again, a missing page is not. Each page is kept in a
file: so whatever interrupts the program, run it again, and it fetches what is not there. What is there is skipped, and
nothing is returned for it: so titles are read from the files, whoever has written them.

Needs httpx, and rich for the progress display: `pip install 'runcue[examples,console]'`.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

import runcue

MISSING, MOODY = 20, 10  # one page in so many


def worth_another_attempt(error: BaseException) -> bool:
    """Whether it may go away by itself: the line is down, or the site says that it is."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)


def title_of(page: str) -> str:
    """What stands in a page as its title."""
    found = re.search("<title>(.*?)</title>", page)
    return found[1] if found else ""


async def fetch_all(pages: int, out: Path, *, at_once: int, rate: str | None) -> int:
    """Fetch the pages, and show how that went.

    Args:
        pages: How many.
        out: Where they are kept.
        at_once: How many requests may be under way at the same time.
        rate: How many may begin in a time, such as "100/sec".

    Returns:
        How many could not be fetched.
    """
    cue = runcue.Cue()
    cue.service("site", concurrent=at_once, rate=rate)

    @cue.task(
        uses="site",
        timeout="10s",
        retry=runcue.Retry(attempts=5, on=worth_another_attempt, wait_initial="0.1s", wait_jitter="0.1s"),
        outputs=lambda number: out / f"{number:04}.html",
    )
    async def fetch(work: runcue.Work, number: int) -> None:
        answer = await client.get(f"/pages/{number}")
        answer.raise_for_status()
        with work.write(work.outputs[0]) as file:
            file.write(answer.text)

    titles: set[str] = set()
    limits = httpx.Limits(max_connections=at_once)
    async with site() as url, httpx.AsyncClient(base_url=url, limits=limits) as client:
        with runcue.progress(cue, title="Pages"):
            async with cue:
                async for work in cue.map(fetch, range(1, pages + 1)):
                    if work.exception is None:
                        titles.add(title_of(work.outputs[0].path.read_text(encoding="utf-8")))
                summary = await cue.drain()
    print(f"{len(titles)} titles")
    print(summary)
    return summary.counts["failed"]


@asynccontextmanager
async def site() -> AsyncIterator[str]:
    """Serve pages on loopback. Gives the address."""
    asked: set[str] = set()

    def answer(path: str) -> tuple[str, str]:
        number = int(path.rpartition("/")[2])
        if number % MISSING == 0:
            return "404 Not Found", "there is no such page"
        if number % MOODY == 1 and path not in asked:
            asked.add(path)
            return "503 Service Unavailable", "not now"
        return "200 OK", f"<title>Page {number} of {'many ' * (number % 7)}</title><p>{'text ' * number}</p>"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.readline():
            while (await reader.readline()).strip():
                pass  # its headers
            status, body = answer(request.split()[1].decode())
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nContent-Type: text/html\r\n\r\n"
            writer.write((head + body).encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fetch many pages from a site that fails now and then.")
    parser.add_argument("--pages", type=int, default=1000, help="how many pages (default 1000)")
    parser.add_argument(
        "--at-once", type=int, default=20, help="how many requests at the same time (default 20)"
    )
    parser.add_argument("--rate", help="how many requests may begin in a time, such as 100/sec")
    parser.add_argument(
        "--out", type=Path, default=Path("out/pages"), help="where pages go (default out/pages)"
    )
    options = parser.parse_args(argv)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        return 1 if runcue.run(functools.partial(fetch_all, **vars(options))) else 0
    except (OSError, runcue.ConfigurationError) as error:
        print(f"fetch_pages: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
