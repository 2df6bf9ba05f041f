"""A small HTTP service that shortens texts and defends itself with a rate limit.

Lives here: the server and its limit. It stands for the paid service that a pipeline of this kind
would call, and behaves like one: it answers over HTTP, takes its time, and refuses with 429 whoever asks too often.
What it returns is an extract, whole sentences of the text itself, chosen by how many of the text's frequent words they
hold. No language model is involved.

Must not know: runcue, or that its only client was set up to respect its limit.

    POST /extract  {"text": "...", "sentences": 3}  ->  200 {"sentences": ["...", ...]}
                                                        429 with Retry-After
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections import deque
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from extract import extract

LIMIT = 5
"""Requests that are answered in any window of so many seconds:"""
WINDOW = 1.0

ANSWERS_AFTER = 0.4
"""Seconds. Choosing sentences takes one millisecond; a service worth limiting takes longer."""

_LARGEST_BODY = 50_000_000


class WindowLimit:
    """At most so many calls in any window, wherever it starts, and not only in those that begin on the full second.

    Attributes:
        accepted: Calls let through.
        refused: Calls turned away.
        busiest: The most calls that were let through within one window.
    """

    def __init__(self, limit: int, window: float) -> None:
        self.accepted = 0
        self.refused = 0
        self.busiest = 0
        self._limit = limit
        self._window = window
        self._recent: deque[float] = deque()
        self._lock = threading.Lock()

    def admit(self, now: float) -> float:
        """Count one call.

        Args:
            now: Seconds on a monotonic clock.

        Returns:
            0 if it may pass, otherwise after how many seconds one may.
        """
        with self._lock:
            while self._recent and now - self._recent[0] >= self._window:
                self._recent.popleft()
            if len(self._recent) >= self._limit:
                self.refused += 1
                return self._recent[0] + self._window - now
            self._recent.append(now)
            self.accepted += 1
            self.busiest = max(self.busiest, len(self._recent))
            return 0.0


class SummaryServer:
    """The server, running on a free port of the loopback interface for as long as the `with` block lasts.

    Attributes:
        limit: Its limit, with the counts.
        url: Where it listens.
    """

    def __init__(self) -> None:
        self.limit = WindowLimit(LIMIT, WINDOW)
        self._http = _HttpServer(("127.0.0.1", 0), _Answer)
        self._http.limit = self.limit
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        # Looking every 20 ms whether to stop keeps the end of the program short; by default it is half a second.
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    limit: WindowLimit

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that hang up, as they do on Ctrl-C; anything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave in two writes, and the second would wait for the first to be acknowledged.
    disable_nagle_algorithm = True
    server: _HttpServer

    def do_POST(self) -> None:
        """Answer POST: the name is what http.server looks for."""
        wait = self.server.limit.admit(time.monotonic())
        length = int(self.headers.get("Content-Length", 0))
        if length > _LARGEST_BODY:
            self.close_connection = True
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": "the text is too long"})
            return
        body = self.rfile.read(length)
        if wait:
            headers = {"Retry-After": str(math.ceil(wait))}
            self._send(HTTPStatus.TOO_MANY_REQUESTS, {"error": "too many requests"}, headers)
            return
        try:
            question = json.loads(body)
            text, count = str(question["text"]), int(question["sentences"])
        except (ValueError, TypeError, KeyError):
            self._send(HTTPStatus.BAD_REQUEST, {"error": 'the body must be {"text": "...", "sentences": 3}'})
            return
        time.sleep(ANSWERS_AFTER)
        self._send(HTTPStatus.OK, {"sentences": extract(text, count)})

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: the report says what there is to say."""

    def _send(
        self, status: HTTPStatus, answer: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
