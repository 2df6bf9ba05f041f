"""Versions of artifacts as times, whatever they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

import runcue
from runcue._freshness.versions import as_time, is_dated, version_of

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("version", "nanoseconds"),
    [
        (datetime(1970, 1, 2, tzinfo=UTC), 86_400 * SECOND),
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0),
        (datetime(1970, 1, 1, microsecond=1, tzinfo=UTC), 1_000),
    ],
)
def test_a_datetime_is_so_many_nanoseconds_since_the_epoch(version: datetime, nanoseconds: int) -> None:
    assert as_time(version) == nanoseconds


def test_the_ends_of_time_are_times_as_well() -> None:
    first, last = as_time(datetime.min), as_time(datetime.max)  # noqa: DTZ901 - as databases give them
    assert first < as_time(datetime(2, 1, 2, tzinfo=UTC))
    assert last > as_time(datetime(9999, 12, 30, tzinfo=UTC))


@pytest.mark.parametrize("version", [5, "v7", None, (1, 2)])
def test_everything_else_is_what_it_was(version: Any) -> None:
    assert as_time(version) is version


class Row(runcue.Artifact):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def version(self) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [OSError("gone"), SystemExit()])
def test_a_version_that_cannot_be_had_is_not_known(error: BaseException) -> None:
    assert version_of(Row(error)) is None


def test_ctrl_c_goes_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        version_of(Row(KeyboardInterrupt()))


def test_only_files_that_tell_their_own_time_are_dated() -> None:
    class Tagged(runcue.File):
        def version(self) -> Any:
            return "v7"

    class Named(runcue.File): ...

    assert [is_dated(one) for one in (runcue.File("a"), Named("a"), Tagged("a"), runcue.Flag("a"))] == [
        True,
        True,
        False,
        False,
    ]
