"""When outputs are out of date: the two policies on real files, asked as the gate of a cue asks them, without a cue."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._callbacks.declared_gate import DeclaredGate
from runcue._freshness import content as looks
from runcue._freshness import digest as by_content
from runcue._freshness import stamps
from runcue._freshness.digest import digest
from runcue._freshness.newer import newer
from runcue._handlers.outputs import commit
from runcue._model.declaration import Declaration
from runcue._model.errors import ArtifactError, ConfigurationError
from runcue._model.work import Work

SECOND = 1_000_000_000
OLD = 1_600_000_000 * SECOND + 5  # no whole number of seconds, or it would be a coarse filesystem


class Row(Artifact):
    """Something of a user's, with whatever version a test wants."""

    def __init__(self, name: str, version: object = None) -> None:
        self.name = name
        self._version = version

    def valid(self) -> bool:
        return True

    def version(self) -> Any:
        return self._version


def put(path: Path, text: str = "text", at: int | None = None) -> File:
    """Writes a file in place, dated as wanted."""
    path.write_text(text, encoding="utf-8")
    if at is not None:
        os.utime(path, ns=(at, at))
    return File(path)


def work_of(inputs: object, outputs: object, fresh: Any, **params: object) -> Work:
    work = Work("1", "task", params)
    many = [tuple(one) if isinstance(one, list) else (one,) for one in (inputs, outputs)]
    work._declared = Declaration(many[0], many[1], fresh)
    return work


def look(work: Work) -> None:
    """Fills in the versions like the gate: those of the outputs up to the first that is missing."""
    declared = work._declared
    assert declared is not None
    declared.before = [one.version() for one in declared.inputs]
    declared.was = []
    for one in declared.outputs:
        if not one.valid():
            break
        declared.was.append(one.version())


def stale(work: Work) -> tuple[str, Any, Any] | None:
    look(work)
    assert work._declared is not None
    answer: tuple[str, Any, Any] | None = work._declared.fresh.stale(work)
    return answer


def run(work: Work, handler: Callable[[], object], *, forced: bool = False) -> None:
    """Does what the scheduler does with a work; a forced one may not have been asked."""
    if not forced:
        look(work)
    declared = work._declared
    assert declared is not None
    declared.files = any(isinstance(output, File) for output in declared.outputs)
    declared.committed = False
    if declared.files:
        DeclaredGate(None, {}).note_start(work, declared)  # type: ignore[arg-type] - nothing raises
    handler()
    assert commit(work)


def mtime(path: Path) -> int:
    return path.stat().st_mtime_ns


def clock_of(folder: Path) -> int:
    """What the clock of a filesystem says."""
    (folder / "clock").touch()
    return mtime(folder / "clock")


@pytest.fixture(autouse=True)
def _nothing_is_known() -> Iterator[None]:
    looks._known.clear()
    stamps._told.clear()
    yield
    looks._known.clear()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    put(tmp_path / "source", "source", OLD)
    return tmp_path / "source"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "runcue"]


class TestNewer:
    def test_an_output_that_is_newer_than_all_inputs_is_up_to_date(self, source: Path, target: Path) -> None:
        put(target, at=OLD + 1)
        assert stale(work_of(File(source), File(target), newer())) is None

    @pytest.mark.parametrize("age", [0, 1, SECOND])
    def test_an_output_as_old_as_an_input_or_older_is_out_of_date(
        self, source: Path, target: Path, age: int
    ) -> None:
        put(target, at=OLD - age)
        work = work_of(File(source), File(target), newer())
        assert stale(work) == ("older", File(target), File(source))

    def test_the_verdict_names_the_oldest_output_and_the_newest_input(self, tmp_path: Path) -> None:
        inputs = [put(tmp_path / f"in{at}", at=OLD + at) for at in (1, 9, 5)]
        outputs = [put(tmp_path / f"out{at}", at=OLD + at) for at in (20, 3, 30)]
        assert stale(work_of(inputs, outputs, newer())) == ("older", outputs[1], inputs[1])

    def test_without_inputs_only_the_validity_counts(self, target: Path) -> None:
        assert stale(work_of([], put(target, at=OLD), newer())) is None

    def test_an_input_from_the_future_makes_stale(self, source: Path, target: Path) -> None:
        put(source, at=time.time_ns() + 3600 * SECOND)
        put(target)
        assert stale(work_of(File(source), File(target), newer())) == (
            "future input",
            File(target),
            File(source),
        )

    def test_an_output_from_the_future_proves_nothing(self, source: Path, target: Path) -> None:
        put(target, at=time.time_ns() + 3600 * SECOND)
        work = work_of(File(source), File(target), newer())
        assert stale(work) == ("future", File(target), None)
        run(work, made(work))
        assert stale(work) is None

    def test_a_future_that_may_be_the_fault_of_clocks_is_none(self, source: Path, target: Path) -> None:
        put(target, at=time.time_ns() + SECOND // 20)
        assert stale(work_of(File(source), File(target), newer())) is None

    def test_a_number_that_is_no_date_is_not_in_the_future(self, source: Path, target: Path) -> None:
        rows = Row("in", 2**70), Row("out", 2**71)
        assert stale(work_of(rows[0], rows[1], newer())) is None
        put(target)
        assert stale(work_of([File(source)], [File(target), rows[1]], newer())) is None

    def test_unknown_versions_are_left_out_of_the_comparison(self, source: Path, target: Path) -> None:
        put(target, at=OLD + 1)
        unknown = Row("unknown")
        assert stale(work_of([unknown, File(source)], [File(target), unknown], newer())) is None
        assert stale(work_of([unknown], File(target), newer())) is None
        assert stale(work_of(File(source), [Row("made")], newer())) is None
        put(source, at=OLD + 1)
        verdict = stale(work_of([unknown, File(source)], [Row("made"), File(target)], newer()))
        assert verdict == ("older", File(target), File(source))

    @pytest.mark.parametrize("naive", [False, True])
    def test_a_datetime_is_compared_with_files(self, target: Path, naive: bool) -> None:
        moment = datetime(2024, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
        when = (int(moment.timestamp()) * 1000 + 250) * 1_000_000
        row = Row("row", moment.astimezone().replace(tzinfo=None) if naive else moment)
        put(target, at=when)
        assert stale(work_of(row, File(target), newer())) == ("older", File(target), row)
        put(target, at=when + 1)
        assert stale(work_of(row, File(target), newer())) is None

    def test_naive_and_aware_datetimes_can_be_compared(self) -> None:
        aware = datetime(2024, 3, 1, tzinfo=UTC)
        later = (aware + timedelta(seconds=1)).astimezone().replace(tzinfo=None)
        assert stale(work_of(Row("in", aware), Row("out", later), newer())) is None
        assert stale(work_of(Row("in", later), Row("out", aware), newer())) is not None

    def test_naive_datetimes_in_the_hour_that_comes_twice_are_told_apart(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = datetime(2024, 10, 27, 2, 45)  # noqa: DTZ001 - local time is the point
        second = datetime(2024, 10, 27, 2, 30, fold=1)  # noqa: DTZ001
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
            time.tzset()
            assert stale(work_of(Row("in", second), Row("out", first), newer())) is not None
            assert stale(work_of(Row("in", first), Row("out", second), newer())) is None
        time.tzset()

    def test_the_earliest_datetime_there_is_does_no_harm(self, target: Path) -> None:
        put(target)
        assert stale(work_of(Row("row", datetime.min), File(target), newer())) is None  # noqa: DTZ901

    def test_other_versions_are_compared_with_their_like(self) -> None:
        assert stale(work_of(Row("in", "a"), Row("out", "b"), newer())) is None
        assert stale(work_of(Row("in", "b"), Row("out", "b"), newer())) is not None
        assert stale(work_of(Row("in", (1, 2)), Row("out", (1, 3)), newer())) is None

    @pytest.mark.parametrize("version", ["v7", {"a": 1}, object()])
    def test_versions_that_cannot_be_compared_are_an_error_that_names_both(
        self, target: Path, version: object
    ) -> None:
        put(target, at=OLD)
        work = work_of(Row("row", version), File(target), newer())
        with pytest.raises(ArtifactError, match=r"row.*target.*" + str(OLD)):
            stale(work)

    def test_what_is_input_and_output_is_not_compared_with_itself(self, source: Path, target: Path) -> None:
        put(target, at=OLD + 1)
        assert stale(work_of([File(source), File(target)], File(target), newer())) is None
        assert stale(work_of(File(target), File(target), newer())) is None
        put(source, at=OLD + 2)
        work = work_of([File(source), File(target)], File(target), newer())
        assert stale(work) == ("older", File(target), File(source))

    def test_two_that_are_both_input_and_output_do_not_keep_each_other_stale(self, tmp_path: Path) -> None:
        both = [put(tmp_path / "a", at=OLD), put(tmp_path / "b", at=OLD + 9)]
        assert stale(work_of(both, both, newer())) is None

    def test_what_is_both_counts_as_an_input_of_the_other_outputs(self, tmp_path: Path) -> None:
        both, other = put(tmp_path / "both", at=OLD + 1), put(tmp_path / "other", at=OLD)
        assert stale(work_of(both, [both, other], newer())) == ("older", other, both)

    def test_there_is_one_with_a_readable_repr(self) -> None:
        assert newer() is newer()
        assert repr(newer()) == "newer()"
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
            newer().quick = False  # type: ignore[misc]


class TestNewerAfterARun:
    @pytest.mark.parametrize("behind", [0, 1, 50_000_000, 100_000_000])
    @pytest.mark.parametrize("forced", [False, True])
    def test_an_output_that_is_no_newer_by_a_tick_of_the_clock_is_made_newer(
        self, source: Path, target: Path, behind: int, forced: bool
    ) -> None:
        work = work_of(File(source), File(target), newer())
        began = clock_of(target.parent)
        run(work, lambda: put(target, at=OLD - behind), forced=forced)
        assert began <= mtime(target) <= time.time_ns()
        assert stale(work) is None

    def test_a_clock_that_is_wrong_is_left_alone(self, source: Path, target: Path) -> None:
        work = work_of(File(source), File(target), newer())
        run(work, lambda: put(target, at=OLD - 100_000_001))
        assert mtime(target) == OLD - 100_000_001
        assert stale(work) is not None

    def test_an_input_from_the_future_stays_ahead(self, source: Path, target: Path) -> None:
        put(source, at=time.time_ns() + 3600 * SECOND)
        work = work_of(File(source), File(target), newer())
        run(work, lambda: put(target))
        assert stale(work) == ("future input", File(target), File(source))

    def test_a_newer_output_keeps_its_time(self, source: Path, target: Path) -> None:
        work = work_of(File(source), File(target), newer())
        run(work, lambda: put(target, at=OLD + 7))
        assert mtime(target) == OLD + 7

    def test_a_chain_written_within_one_tick_is_up_to_date(self, tmp_path: Path) -> None:
        files = [put(tmp_path / "0", at=OLD)]
        works = []
        for number in range(1, 6):
            work = work_of(files[-1], File(tmp_path / str(number)), newer())
            at = mtime(files[-1].path)
            run(work, lambda path=tmp_path / str(number), at=at: files.append(put(path, at=at)))  # type: ignore[misc]
            works.append(work)
        assert [stale(work) for work in works] == [None] * 5

    def test_a_flag_ahead_of_the_clock_of_files_is_a_tie_as_well(self, target: Path) -> None:
        flag = Flag()
        flag.set()
        set_at = flag.version()
        assert set_at is not None
        work = work_of(flag, File(target), newer())
        run(work, lambda: put(target, at=set_at - 4_000_000))
        assert stale(work) is None

    def test_an_output_that_was_not_written_keeps_its_time(self, source: Path, tmp_path: Path) -> None:
        kept, made = put(tmp_path / "kept", at=OLD - 10), tmp_path / "made"
        work = work_of(File(source), [File(made), kept], newer())
        run(work, lambda: put(made, at=OLD))
        assert mtime(kept.path) == OLD - 10
        assert mtime(made) > OLD

    @pytest.mark.parametrize("forced", [False, True])
    def test_an_input_that_changes_during_the_run_leaves_the_output_out_of_date(
        self, source: Path, target: Path, caplog: pytest.LogCaptureFixture, forced: bool
    ) -> None:
        work = work_of(File(source), File(target), newer())

        def handler() -> None:
            put(source, "changed")
            put(target, at=time.time_ns() + SECOND)

        run(work, handler, forced=forced)
        assert mtime(target) == OLD
        assert stale(work) == ("older", File(target), File(source))
        assert work._declared is not None
        assert work._declared.input_changed == (File(source), False)  # for the cue to tell
        assert messages(caplog) == []

    @pytest.mark.parametrize("at", [OLD - 20, OLD + 20])
    def test_so_does_one_that_is_replaced_by_an_older_one(self, source: Path, target: Path, at: int) -> None:
        work = work_of(File(source), File(target), newer())
        run(work, lambda: (put(source, at=OLD - 50), put(target, at=at)))
        assert stale(work) is not None

    def test_and_one_that_is_changed_and_put_back(self, source: Path, target: Path) -> None:
        work = work_of(File(source), File(target), newer())
        run(work, lambda: (put(source, "changed"), put(target)))
        put(source, at=OLD)
        assert stale(work) is not None

    def test_and_a_flag_that_is_set_again(self, target: Path) -> None:
        flag = Flag()
        flag.set()
        work = work_of(flag, File(target), newer())
        run(work, lambda: (flag.set(), put(target, at=time.time_ns() + SECOND)))
        assert stale(work) == ("older", File(target), flag)

    def test_what_was_not_written_when_an_input_changed_keeps_its_time(
        self, source: Path, tmp_path: Path
    ) -> None:
        kept, made = put(tmp_path / "kept", at=OLD + 9), tmp_path / "made"
        work = work_of(File(source), [kept, File(made)], newer())
        run(work, lambda: (put(source, at=OLD + 5), put(made)))
        assert (mtime(kept.path), mtime(made)) == (OLD + 9, OLD)

    def test_an_input_that_is_used_up_is_no_change(
        self, source: Path, target: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        work = work_of(File(source), File(target), newer())
        run(work, lambda: (source.unlink(), put(target, at=OLD + 9)))
        assert mtime(target) == OLD + 9
        assert messages(caplog) == []

    def test_what_the_work_changes_in_place_is_no_change(
        self, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        both, other = put(tmp_path / "both", at=OLD), tmp_path / "other"
        work = work_of([File(source), both], [both, File(other)], newer())
        # The other is written long before, and from what was there then.
        run(work, lambda: (put(other, at=OLD + SECOND), put(both.path, "more", at=OLD + 5 * SECOND)))
        assert messages(caplog) == []
        assert stale(work) is None

    def test_a_tie_of_what_is_changed_in_place_is_repaired(self, source: Path, tmp_path: Path) -> None:
        both = put(tmp_path / "both", at=OLD - SECOND)
        work = work_of([File(source), both], both, newer())
        run(work, lambda: put(both.path, "more", at=OLD))
        assert mtime(both.path) > OLD
        assert stale(work) is None

    def test_a_folder_that_the_output_is_put_in_is_no_change(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        os.utime(tmp_path, ns=(OLD, OLD))
        work = work_of(File(tmp_path), File(tmp_path / "target"), newer())
        run(work, lambda: put(tmp_path / "target", at=OLD))
        assert messages(caplog) == []

    @pytest.mark.parametrize("make", [os.link, os.symlink])
    def test_an_output_that_is_a_link_to_its_input_does_not_change_the_input(
        self, source: Path, target: Path, make: Callable[[Path, Path], None]
    ) -> None:
        work = work_of(File(source), File(target), newer())
        run(work, lambda: make(source, target))
        assert mtime(source) == OLD

    def test_a_filesystem_with_coarse_times_is_left_alone(
        self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.utime

        def coarse(path: Any, times: None = None, *, ns: tuple[int, int] | None = None) -> None:
            now = time.time_ns()
            real(path, ns=tuple(at // SECOND * SECOND for at in ns or (now, now)))  # type: ignore[arg-type]

        monkeypatch.setattr(os, "utime", coarse)
        # In the same second; at its end there is the next one.
        while time.time_ns() % SECOND > SECOND // 2:
            time.sleep(0.01)
        coarse(source)
        work = work_of(File(source), File(target), newer())
        pauses: list[float] = []
        monkeypatch.setattr(time, "sleep", pauses.append)
        run(work, lambda: coarse(put(target)))
        assert stale(work) == ("older", File(target), File(source))
        assert pauses == [], "no tick is waited for that takes so long"

    def test_an_output_that_may_not_be_dated_is_told_of(
        self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        work = work_of(File(source), File(target), newer())

        def handler() -> None:
            put(target, at=OLD)
            monkeypatch.setattr(os, "utime", refuse)

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        run(work, handler)
        assert "cannot be set (" in messages(caplog)[0]

    def test_nothing_is_looked_at_where_no_output_is_a_file(
        self, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work = work_of(File(source), [Row("made", 1), Flag()], newer())
        monkeypatch.setattr(os, "stat", None)
        monkeypatch.setattr(os, "lstat", None)
        run(work, lambda: None, forced=True)

    def test_a_version_that_raises_is_unknown(self, source: Path, target: Path) -> None:
        class Broken(Row):
            def version(self) -> Any:
                raise OSError("gone")

        work = work_of([Broken("broken"), File(source)], File(target), newer())
        run(work, lambda: put(target, at=OLD), forced=True)
        assert mtime(target) > OLD


def made(work: Work, text: str = "made") -> Callable[[], object]:
    """A handler that writes all files among the outputs."""
    assert work._declared is not None
    files = [one.path for one in work._declared.outputs if isinstance(one, File)]
    return lambda: [put(path, text) for path in files]


def wait_a_tick(path: Path) -> None:
    """Lets time pass until a change to a file would show in its times; real time, since the filesystem's is."""
    while looks.glance_at(str(path)).recent:
        time.sleep(0.002)


@pytest.fixture
def done(source: Path, target: Path) -> Work:
    """A work that has run: stamped."""
    work = work_of(File(source), File(target), digest(), model="small", pages=[1, 2])
    run(work, made(work))
    return work


def again(work: Work, **changes: Any) -> Work:
    """The same, submitted once more."""
    declared = work._declared
    assert declared is not None
    new = Work("2", "task", changes.get("params", work.params))
    new._declared = Declaration(
        changes.get("inputs", declared.inputs), changes.get("outputs", declared.outputs), declared.fresh
    )
    return new


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are opened for their content."""
    opened: list[str] = []
    real = os.open

    def opening(path: Any, flags: int, *args: Any, **named: Any) -> int:
        if flags == looks.OPEN_TO_READ and ".runcue-" not in str(path):
            opened.append(Path(path).name)
        return real(path, flags, *args, **named)

    monkeypatch.setattr(os, "open", opening)
    return opened


class TestDigest:
    def test_what_was_stamped_is_up_to_date_and_nothing_is_read_to_know_it(
        self, source: Path, target: Path, reads: list[str]
    ) -> None:
        wait_a_tick(source)
        work = work_of(File(source), File(target), digest(), model="small")
        run(work, made(work))
        assert reads == ["source", "target"]
        looks._known.clear()  # as in another process
        assert stale(again(work)) is None
        assert reads == ["source", "target"]

    def test_without_a_stamp_it_is_not(self, source: Path, target: Path) -> None:
        put(target)
        assert stale(work_of(File(source), File(target), digest())) == ("no stamp", File(target), None)

    def test_an_input_with_another_content_makes_stale_whatever_its_time(
        self, done: Work, source: Path, target: Path
    ) -> None:
        put(source, "secruo", OLD - SECOND)
        assert stale(again(done)) == ("changed", File(target), File(source))

    def test_an_input_rewritten_with_the_same_content_does_not_and_is_read_once(
        self, done: Work, source: Path, reads: list[str]
    ) -> None:
        put(source, "source", OLD + 77)
        wait_a_tick(source)
        assert [stale(again(done)) for _ in range(3)] == [None] * 3
        assert reads == ["source"]

    def test_other_params_make_stale(self, done: Work, target: Path) -> None:
        params = {**done.params, "model": "large"}
        assert stale(again(done, params=params)) == ("params", File(target), None)

    def test_params_need_not_count(self, source: Path, target: Path) -> None:
        work = work_of(File(source), File(target), digest(params=False), model="small", what=object())
        run(work, made(work))
        assert stale(again(work, params={})) is None

    def test_params_that_begin_to_count_make_stale(self, source: Path, target: Path) -> None:
        work = work_of(File(source), File(target), digest(params=False))
        run(work, made(work))
        assert stale(work_of(File(source), File(target), digest())) == ("new params", File(target), None)

    def test_another_set_of_inputs_makes_stale(self, done: Work, source: Path, target: Path) -> None:
        more = put(source.with_name("more"))
        both = again(done, inputs=(File(source), more))
        assert stale(both) == ("new input", File(target), more)
        run(both, made(both))
        assert stale(both) is None
        assert stale(again(done)) == ("lost input", File(target), more)
        assert stale(again(done, inputs=(more, File(source)))) is None

    def test_a_lost_input_that_was_no_file_has_no_name(self, source: Path, target: Path) -> None:
        work = work_of([File(source), Row("row", 1)], File(target), digest())
        run(work, made(work))
        assert stale(again(work, inputs=(File(source),))) == ("lost input", File(target), None)

    def test_an_output_that_is_not_what_the_run_left_makes_stale(self, done: Work, target: Path) -> None:
        put(target, "edam")
        assert stale(again(done)) == ("output changed", File(target), None)

    def test_an_output_put_back_with_the_same_content_does_not(self, done: Work, target: Path) -> None:
        target.unlink()
        put(target, "made", OLD)
        assert stale(again(done)) is None

    def test_each_output_is_watched_and_a_new_one_has_no_stamp(self, done: Work, tmp_path: Path) -> None:
        assert done._declared is not None
        second = tmp_path / "second"
        work = again(done, outputs=(*done._declared.outputs, File(second)))
        run(work, made(work))
        assert stale(work) is None
        put(second, "by hand")
        assert stale(work) == ("output changed", File(second), None)
        third = put(tmp_path / "third")
        assert stale(again(work, outputs=(*done._declared.outputs, third))) == ("no stamp", third, None)

    def test_the_version_of_what_is_no_file_counts(self, target: Path) -> None:
        row = Row("row", "etag-1")
        work = work_of(row, [Row("made", 1), File(target)], digest())
        run(work, made(work))
        assert stale(work) is None
        row._version = "etag-2"
        assert stale(work) == ("changed", File(target), row)

    def test_a_version_that_is_not_known_now_only_counts_as_valid(self, target: Path) -> None:
        row = Row("row", "etag-1")
        work = work_of(row, File(target), digest())
        run(work, made(work))
        row._version = None
        assert stale(work) is None

    def test_a_version_that_was_not_known_at_the_run_makes_stale_when_it_is(self, target: Path) -> None:
        row = Row("row", None)
        work = work_of(row, File(target), digest())
        run(work, made(work), forced=True)
        assert stale(work) is None
        row._version = "etag-1"
        assert stale(work) == ("changed", File(target), row)

    def test_a_version_without_stable_words_is_an_error_that_names_the_artifact(self, target: Path) -> None:
        row = Row("row", "etag-1")
        work = work_of(row, File(target), digest())
        run(work, made(work))
        row._version = object()
        with pytest.raises(ArtifactError, match="row"):
            stale(work)

    def test_what_is_input_and_output_counts_as_an_output(self, source: Path, tmp_path: Path) -> None:
        both = put(tmp_path / "both", "1")
        work = work_of([File(source), both], both, digest())
        run(work, made(work, "2"))
        assert stale(work) is None
        put(both.path, "3")
        assert stale(work) == ("output changed", both, None)

    def test_an_input_that_vanishes_between_two_questions_has_changed(self, done: Work, source: Path) -> None:
        work = again(done)
        look(work)
        source.unlink()
        verdict = digest().stale(work)
        assert verdict is not None
        assert verdict[0] == "changed"

    def test_a_work_without_a_file_among_its_outputs_has_no_place_for_a_stamp(self, target: Path) -> None:
        with pytest.raises(ConfigurationError, match="stamp"):
            digest().check((Flag("made"),))
        digest().check((Flag("made"), File(target)))
        with pytest.raises(ConfigurationError, match="stamp"):
            stale(work_of([], Row("row", 1), digest()))
        run(work_of([], Row("row", 1), digest()), lambda: None)

    def test_it_is_frozen_and_has_a_readable_repr(self) -> None:
        assert repr(digest()) == "digest(params=True)"
        assert repr(digest(params=False)) == "digest(params=False)"
        assert digest() == digest()
        with pytest.raises(dataclasses.FrozenInstanceError):
            digest().params = False  # type: ignore[misc]
        with pytest.raises(ConfigurationError, match="3"):
            digest(params=3)  # type: ignore[arg-type]


class TestDigestDuringARun:
    @pytest.mark.parametrize("before", ["nothing", "a run", "some time"])
    def test_an_input_that_changes_leaves_no_stamp_and_says_so(
        self, source: Path, target: Path, caplog: pytest.LogCaptureFixture, before: str
    ) -> None:
        work = work_of(File(source), File(target), digest())
        if before == "a run":
            run(work, made(work))
        elif before == "some time":
            wait_a_tick(source)
        run(work, lambda: (put(target), put(source, "changed")))
        assert stale(work) == ("no stamp", File(target), None)
        assert work._declared is not None
        assert work._declared.input_changed == (File(source), False)  # for the cue to tell
        assert messages(caplog) == []

    def test_params_are_taken_as_of_the_start(self, source: Path, target: Path) -> None:
        work = work_of(File(source), File(target), digest(), pages=[1])
        run(work, lambda: (work.params["pages"].append(2), put(target)))
        assert stale(again(work, params={"pages": [1]})) is None

    def test_versions_are_taken_as_of_the_start(self, target: Path) -> None:
        row = Row("row", 1)
        work = work_of(row, File(target), digest())
        run(work, lambda: (setattr(row, "_version", 2), put(target)))
        assert stale(work) == ("changed", File(target), row)

    def test_a_kill_before_the_stamp_leaves_the_output_out_of_date(self, done: Work, source: Path) -> None:
        work = again(done)
        put(source, "changed")
        look(work)
        digest().started(work)
        made(work, "anew")()
        assert stale(again(done)) is not None

    def test_a_handler_killed_while_it_writes_in_place_leaves_it_out_of_date(
        self, done: Work, target: Path
    ) -> None:
        look(done)
        digest().started(done)
        put(target, "ma")
        assert stale(again(done)) == ("output changed", File(target), None)

    def test_an_output_that_is_not_there_leaves_no_stamp_and_no_words(
        self, done: Work, target: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        run(done, target.unlink)
        assert not Path(stamps.stamp_path(str(target))).exists()
        assert messages(caplog) == []

    def test_what_cannot_be_put_in_words_leaves_no_stamp_and_says_so(
        self, source: Path, target: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        work = work_of(File(source), File(target), digest(), client=object())
        run(work, made(work))
        assert "client" in messages(caplog)[0]
        put(Path(stamps.stamp_path(str(target))), '{"runcue-stamp":2,"inputs":{},"outputs":{}}\n')
        with pytest.raises(ArtifactError, match="client"):
            stale(work)

    def test_a_stamp_that_cannot_be_written_is_told_of(
        self, source: Path, target: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        Path(stamps.stamp_path(str(target))).mkdir()
        work = work_of(File(source), File(target), digest())
        run(work, made(work))
        assert "stays out of date" in messages(caplog)[0]
        verdict = stale(work)
        assert verdict is not None
        assert verdict[0] == "unreadable stamp"

    def test_an_end_without_a_start_is_ignored(self, done: Work) -> None:
        digest().finished(again(done))
        assert stale(again(done)) is None


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem on which a rewrite within one tick looks as before, if the test gives it the same mtime."""
    monkeypatch.setattr(looks, "_TICK_NS", 60 * SECOND)  # no machine is so busy that a test takes longer
    monkeypatch.setattr(
        looks, "_look_of", lambda status: [status.st_size, status.st_mtime_ns, 0, status.st_ino]
    )


@pytest.mark.usefixtures("blind")
class TestRewritesWithinOneTick:
    def test_of_an_input_during_the_run_are_noticed(self, source: Path, target: Path) -> None:
        put(source, "one", at=OLD)
        work = work_of(File(source), File(target), digest())
        run(work, lambda: (put(target), put(source, "two", at=OLD)))
        assert stale(work) == ("no stamp", File(target), None)

    def test_of_an_input_after_the_run_are_noticed(self, source: Path, target: Path) -> None:
        put(source, "one", at=OLD)
        work = work_of(File(source), File(target), digest())
        run(work, made(work))
        put(source, "two", at=OLD)
        assert stale(work) == ("changed", File(target), File(source))

    def test_of_an_input_after_it_was_found_to_be_the_same_are_noticed(
        self, done: Work, source: Path
    ) -> None:
        put(source, "source", at=OLD + 9)
        assert stale(again(done)) is None
        put(source, "secruo", at=OLD + 9)
        assert stale(again(done)) is not None

    def test_of_an_output_are_noticed(self, done: Work, target: Path) -> None:
        # As in the same tick: what the clock said when the handler wrote.
        put(target, "edam", at=mtime(target) - looks._STEP_NS)
        assert stale(again(done)) == ("output changed", File(target), None)

    def test_of_an_output_that_cannot_be_dated_are_noticed(
        self, target: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work = work_of([], File(target), digest())
        real = os.utime
        with monkeypatch.context() as patch:
            run(work, lambda: (put(target, at=OLD), patch.setattr(os, "utime", lambda *_, **__: None)))
        assert mtime(target) == OLD
        reads.clear()
        assert stale(work) is None
        assert reads == ["target"]
        put(target, "edam")
        real(target, ns=(OLD, OLD))
        assert stale(work) == ("output changed", File(target), None)

    def test_are_taken_to_be_possible_for_two_seconds_where_times_are_whole_seconds(
        self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(source, at=OLD - 5)
        now = source.stat().st_ctime_ns
        monkeypatch.setattr(time, "time_ns", lambda: now + SECOND)
        assert looks.glance_at(str(source)).recent
        monkeypatch.setattr(time, "time_ns", lambda: now + 2 * SECOND)
        assert not looks.glance_at(str(source)).recent

    def test_after_a_large_input_was_read_for_one_asking_are_noticed_by_the_next(
        self, source: Path, target: Path
    ) -> None:
        soon = time.time_ns() + 60 * SECOND  # a date of which nothing lasts
        put(source, "x" * (by_content._SMALL + 1), at=OLD)
        work = work_of(File(source), File(target), digest())
        run(work, made(work))
        put(source, "x" * (by_content._SMALL + 1), at=soon)

        def asked() -> Any:
            look(work)
            return digest().stale_or_unread(work)

        asked()()
        assert asked() is None
        put(source, "y" * (by_content._SMALL + 1), at=soon)
        asked()()
        assert asked() == ("changed", File(target), File(source))

    def test_are_not_looked_for_in_large_inputs(self, source: Path, target: Path, reads: list[str]) -> None:
        put(source, "x" * (by_content._SMALL + 1))
        work = work_of(File(source), File(target), digest())
        look(work)
        digest().started(work)
        assert reads == []


class TestFiles:
    def test_an_output_in_another_output_is_part_of_that(self, source: Path, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        work = work_of(File(source), [File(folder), File(folder / "a")], digest())
        run(work, lambda: put(folder / "a", at=OLD))
        assert stale(again(work)) is None
        put(folder / "a", "other")
        assert stale(again(work)) == ("output changed", File(folder), None)

    def test_an_input_that_is_rewritten_and_dated_back_during_the_run_has_changed(
        self, source: Path, target: Path
    ) -> None:
        put(source, "source", at=OLD)
        time.sleep(0.03)  # what has changed within the last tick is read anyway
        work = work_of(File(source), File(target), digest())
        run(work, lambda: (put(source, "secruo", at=OLD), put(target)))
        assert stale(again(work)) == ("no stamp", File(target), None)

    def test_a_link_is_not_dated(self, source: Path, target: Path) -> None:
        work = work_of(File(source), File(target), digest())
        run(work, lambda: target.symlink_to(source))
        assert mtime(source) == OLD
        assert stale(work) is None

    def test_a_link_to_a_folder_does_not_date_what_is_in_that(self, tmp_path: Path, target: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        put(folder / "a", at=OLD)
        work = work_of(File(folder), File(target), digest())
        run(work, lambda: target.symlink_to(folder))
        assert mtime(folder / "a") == OLD
        assert stale(work) is None

    def test_what_has_another_name_is_not_dated(self, source: Path, target: Path) -> None:
        other = put(target.with_name("other"), at=OLD)
        work = work_of(File(source), File(target), digest())
        run(work, lambda: os.link(other, target))
        assert mtime(other.path) == OLD
        assert stale(work) is None

    def test_what_one_work_has_made_the_next_need_not_read(
        self, done: Work, target: Path, reads: list[str]
    ) -> None:
        work = work_of(File(target), File(target.with_name("next")), digest())
        run(work, made(work))
        assert reads == ["next"]
        looks._known.clear()
        assert stale(work) is None
        assert reads == ["next"]

    def test_a_folder_is_all_that_is_in_it(self, tmp_path: Path, target: Path) -> None:
        folder = tmp_path / "folder"
        (folder / "inner").mkdir(parents=True)
        put(folder / "inner" / "a", "1", OLD)
        put(folder / "b", "1", OLD)
        (folder / "dead").symlink_to("nowhere")
        (folder / "loop").symlink_to(folder)
        work = work_of(File(folder), File(target), digest())

        def changes() -> Iterator[str]:
            yield put(folder / "inner" / "a", "2", OLD).path.name
            yield put(folder / "c", "").path.name
            yield (folder / "b").rename(folder / "d").name
            yield str((folder / "inner" / "empty").mkdir())
            yield str((folder / "dead").unlink())

        for change in changes():
            assert stale(work) is not None, change
            run(work, made(work))
            assert stale(work) is None, change
        put(folder / "c", "", OLD)
        assert stale(work) is None

    def test_a_folder_that_looks_as_it_did_is_not_read(
        self, tmp_path: Path, target: Path, reads: list[str]
    ) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        put(folder / "a", at=OLD)
        wait_a_tick(folder)
        work = work_of(File(folder), File(target), digest())
        run(work, made(work))
        looks._known.clear()
        reads.clear()
        assert stale(work) is None
        assert reads == []

    def test_a_folder_can_be_an_output(self, tmp_path: Path, reads: list[str]) -> None:
        folder = tmp_path / "pages"
        work = work_of([], File(folder), digest())
        run(work, lambda: (folder.mkdir(), put(folder / "1", "one"), put(folder / "2", "two")))
        assert (tmp_path / ".runcue-stamp-pages.stamp").exists()
        looks._known.clear()
        reads.clear()
        assert stale(work) is None
        assert reads == []
        put(folder / "2", "owt")
        assert stale(work) == ("output changed", File(folder), None)

    def test_an_input_folder_may_hold_the_output_and_its_stamp(self, tmp_path: Path) -> None:
        put(tmp_path / "other", at=OLD)
        work = work_of(File(tmp_path), File(tmp_path / "target"), digest())
        run(work, made(work))
        assert stale(work) is None
        put(tmp_path / "other", "changed")
        assert stale(work) == ("changed", File(tmp_path / "target"), File(tmp_path))

    def test_a_pipe_is_never_read(self, tmp_path: Path, target: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        work = work_of(File(tmp_path / "pipe"), File(target), digest())
        run(work, made(work))
        assert stale(work) is None

    def test_what_changes_while_it_is_read_is_not_relied_on(
        self, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wait_a_tick(source)
        real = os.read

        def reading(descriptor: int, size: int) -> bytes:
            content = real(descriptor, size)
            if not content:
                put(source, "changed")
            return content

        monkeypatch.setattr(os, "read", reading)
        assert not looks.read(str(source)).lasting

    def test_no_more_than_so_many_digests_are_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(looks, "_MOST_KNOWN", 3)
        files = [put(tmp_path / str(number), at=OLD) for number in range(5)]
        wait_a_tick(files[-1].path)
        for file in [files[0], *files]:
            looks.read(file._key)
        assert list(looks._known) == [file._key for file in files[2:]]


class TestStamps:
    def test_a_stamp_is_one_line_beside_the_first_file_without_params_in_clear(
        self, done: Work, tmp_path: Path
    ) -> None:
        content = (tmp_path / ".runcue-stamp-target.stamp").read_text("utf-8")
        assert content.endswith("\n")
        assert content.count("\n") == 1
        assert json.loads(content)["runcue-stamp"] == 2
        assert "small" not in content

    def test_a_stamp_cut_off_anywhere_is_no_stamp(
        self, done: Work, target: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        stamp = Path(stamps.stamp_path(str(target)))
        whole = stamp.read_bytes()
        for length in range(len(whole)):
            stamp.write_bytes(whole[:length])
            assert stale(again(done)) == ("unreadable stamp", File(target), None)
        assert len(messages(caplog)) == 1
        stamp.write_bytes(whole)
        assert stale(again(done)) is None

    @pytest.mark.parametrize("wrong", [b"7", b'"', b"]"])
    def test_a_stamp_with_a_wrong_byte_hides_no_change_and_is_no_error(
        self, done: Work, source: Path, target: Path, wrong: bytes
    ) -> None:
        put(source, "changed")
        stamp = Path(stamps.stamp_path(str(target)))
        whole = stamp.read_bytes()
        for place in range(len(whole)):
            stamp.write_bytes(whole[:place] + wrong + whole[place + 1 :])
            assert stale(again(done)) is not None

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "\n",
            "null\n",
            "[]\n",
            '"text"\n',
            "{}\n",
            "[" * 100_000,
            '{"runcue-stamp":"2","params":null,"inputs":{},"outputs":{}}\n',
            '{"runcue-stamp":2,"params":null,"inputs":[],"outputs":{}}\n',
            '{"runcue-stamp":2,"params":null,"inputs":{"SOURCE":7},"outputs":{}}\n',
            '{"runcue-stamp":2,"params":null,"inputs":{"SOURCE":[]},"outputs":{}}\n',
        ],
    )
    def test_what_is_no_stamp_is_not_believed(self, source: Path, target: Path, content: str) -> None:
        put(target)
        put(Path(stamps.stamp_path(str(target))), content.replace("SOURCE", str(source)))
        work = work_of(File(source), File(target), digest(params=False))
        assert stale(work) == ("unreadable stamp", File(target), None)
        run(work, made(work))
        assert stale(work) is None

    def test_a_large_stamp_is_read_whole(self, tmp_path: Path, target: Path) -> None:
        inputs = [put(tmp_path / f"input {number}", at=OLD) for number in range(200)]
        work = work_of(inputs, File(target), digest())
        run(work, made(work))
        assert Path(stamps.stamp_path(str(target))).stat().st_size > stamps._FIRST_READ
        assert stale(work) is None

    @pytest.mark.parametrize("name", ["a" * 255, "ä" * 127, "a" * 128 + "b", "\udcff" * 200])
    def test_a_long_name_is_cut_and_stays_its_own(self, tmp_path: Path, source: Path, name: str) -> None:
        target, other = tmp_path / name, tmp_path / f"{name[:-1]}x"
        places = {stamps.stamp_path(str(path)) for path in (target, other)}
        assert len(places) == 2
        assert all(len(os.fsencode(Path(place).name)) <= 143 for place in places)
        work = work_of(File(source), File(target), digest())
        run(work, made(work))
        assert stale(work) is None
