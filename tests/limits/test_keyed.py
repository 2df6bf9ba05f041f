"""A service with limits for each key: what a key has, and when it is forgotten."""

from __future__ import annotations

import gc

import pytest

import runcue
from runcue._limits.keyed import KeyedService, KeyService
from runcue._limits.service import Service
from runcue._limits.sliding_window import SlidingWindow
from runcue._model.rate import parse_rate


def made(rate: str = "2/min") -> KeyedService:
    return KeyedService(
        "api",
        lambda work: "a",
        lambda service, key: KeyService(service, key, [SlidingWindow(parse_rate(rate))]),
    )


def start(key: KeyService, at: float) -> None:
    """Counts a start and its end."""
    work = runcue.Work("1", "task")
    if not key.is_kept:
        key.service.keep(key)
    for limit in key.limits:
        limit.acquire(at, work)
        limit.entered(at, work, at)


def test_a_key_begins_as_any_service_does() -> None:
    """Its own __init__ does by itself what that of a service does."""
    key = KeyService(made(), "a")
    plain = Service("api")
    for name in (slot for slot in Service.__slots__ if slot != "__weakref__"):
        assert getattr(key, name) == getattr(plain, name), name
        assert type(getattr(key, name)) is type(getattr(plain, name)), name


def test_equal_keys_are_one_key_and_others_are_not() -> None:
    service = made()
    one = service.of_key(("a", 1))
    assert service.of_key(("a", 1)) is one
    assert service.of_key(("a", 2)) is not one
    assert service.of_key("1") is not service.of_key(1)


def test_a_key_that_nobody_has_used_is_gone_at_once() -> None:
    service = made()
    one = service.of_key("a")
    assert len(service) == 1
    del one
    assert len(service) == 0


@pytest.mark.rule(47)
def test_what_a_key_has_is_forgotten_when_its_windows_are_empty() -> None:
    service = made()
    for number in range(10):
        start(service.of_key(number), float(number))
    assert len(service) == 10
    assert service.forget_at(10.0) == 60.0
    again = service.forget(64.5)
    assert len(service) == 5
    assert 64.5 < again <= 70
    start(service.of_key(9), 66.0)
    assert service.forget(70.0) < 200
    assert len(service) == 1
    assert service.forget(126.0) == float("inf")
    gc.collect()
    assert len(service) == 0
