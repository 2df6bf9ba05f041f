"""Whose fault it is not that the event loop stood still."""

from __future__ import annotations

import gc
import threading
import time

import pytest

from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.door import MAKE_ASYNC
from runcue._callbacks.pauses import Span, collector_pauses, interruption, outside_of, watch_collector
from runcue._callbacks.warning_log import WarningLog
from runcue._scheduling.dependencies import Dependencies
from runcue._scheduling.holds import Holds

pytestmark = pytest.mark.rule(15)


@pytest.mark.parametrize(
    ("spans", "left"),
    [
        ([], 10),
        ([(0, 5)], 10),
        ([(20, 25)], 10),
        ([(12, 13)], 9),
        ([(9, 11), (19, 21)], 8),
        ([(12, 15), (14, 16)], 6),
        ([(14, 16), (12, 15), (12, 13)], 6),
        ([(5, 30)], 0),
        ([(10, 20)], 0),
        ([(12, 13), (20, 30), (30, 31)], 9),
    ],
)
def test_what_others_have_kept_of_a_span_counts_once(spans: list[Span], left: float) -> None:
    assert outside_of(spans, 10.0, 20.0) == left


def test_a_pause_of_the_collector_is_known_by_its_instants() -> None:
    class Slow:
        def __del__(self) -> None:
            time.sleep(0.01)

    watch_collector()
    watch_collector()
    slow = Slow()
    slow.itself = slow  # type: ignore[attr-defined]
    del slow
    began = time.monotonic()
    gc.collect()
    ended = time.monotonic()
    assert any(began <= one <= other <= ended and other - one >= 0.01 for one, other in collector_pauses())


def test_an_interruption_takes_no_time_where_nobody_else_computes() -> None:
    # What other processes take on a busy machine is not counted.
    assert min(interruption() for _ in range(20)) < 0.005


def test_an_interruption_takes_its_time_among_threads_that_compute() -> None:
    stop = threading.Event()

    def computes() -> None:
        while not stop.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=computes, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert max(interruption() for _ in range(20)) >= 0.002
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_code_without_end_is_told_of_again_rather_than_remembered_without_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runcue._callbacks.door._MOST_TOLD", 2)
    callbacks = Callbacks(Holds(Dependencies()), WarningLog())
    callbacks.use_clock(lambda: 0.0)
    for number, name in enumerate(["a", "b", "c", "b", "c"]):
        callbacks.door.blocked(name, 10.0 * number, 10.0 * number + 1, MAKE_ASYNC)
    told = [record.getMessage().split()[0] for record in caplog.records]
    assert told == ["a", "b", "c", "b"]
