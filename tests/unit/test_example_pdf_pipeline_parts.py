"""The parts of the PDF pipeline example that stand by themselves: its artifacts, its extracts, its server's limit."""

from __future__ import annotations

import importlib
import os
import random
import time
from pathlib import Path

import pytest

from examples.pdf_pipeline.artifacts import STAMPS, Artifact, prepare
from examples.pdf_pipeline.extract import extract

EXAMPLE = Path(__file__).parents[2] / "examples" / "pdf_pipeline"


@pytest.fixture
def chain(tmp_path: Path) -> tuple[Artifact, Artifact, Artifact]:
    """A source, a middle and an end, all made and valid."""
    source = Artifact(tmp_path / "source")
    middle = Artifact(tmp_path / "out" / "middle", (source,), "copied")
    end = Artifact(tmp_path / "out" / "end", (middle,), "copied")
    source.path.write_bytes(b"words")
    prepare([middle, end])
    for artifact in (middle, end):
        artifact.publish(b"words", artifact.made_from())
    assert end.is_valid()
    return source, middle, end


def test_an_artifact_is_valid_only_as_long_as_everything_before_it_is(
    chain: tuple[Artifact, Artifact, Artifact],
) -> None:
    source, middle, end = chain
    source.path.write_bytes(b"other words")
    assert not middle.is_valid()
    assert not end.is_valid()
    assert end.first_invalid_input() == middle


def test_a_change_that_leaves_size_and_time_as_they_were_is_noticed(
    chain: tuple[Artifact, Artifact, Artifact],
) -> None:
    source, middle, _ = chain
    stamp = source.path.stat()
    replacement = source.path.with_name("new")
    replacement.write_bytes(b"WORDS")
    os.utime(replacement, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    replacement.replace(source.path)
    assert not middle.is_valid()


def test_another_recipe_makes_an_artifact_stale(chain: tuple[Artifact, Artifact, Artifact]) -> None:
    source, middle, _ = chain
    assert not Artifact(middle.path, (source,), "translated").is_valid()


def test_a_file_that_was_deleted_is_news_even_if_it_comes_out_the_same(
    chain: tuple[Artifact, Artifact, Artifact],
) -> None:
    _, middle, end = chain
    middle.path.unlink()
    middle.publish(b"words", middle.made_from(), same_is_news=False)
    assert middle.is_valid()
    assert not end.is_valid()


@pytest.mark.parametrize("same_is_news", [True, False])
def test_the_same_content_once_more_is_news_or_not_as_its_maker_says(
    chain: tuple[Artifact, Artifact, Artifact], same_is_news: bool
) -> None:
    _, middle, end = chain
    middle.publish(b"words", middle.made_from(), same_is_news=same_is_news)
    assert end.is_valid() == (not same_is_news)


def test_an_input_that_changes_during_the_work_leaves_the_output_stale(
    chain: tuple[Artifact, Artifact, Artifact],
) -> None:
    source, middle, _ = chain
    made_from = middle.made_from()
    source.path.write_bytes(b"words that came too late")
    middle.publish(b"words", made_from)
    assert not middle.is_valid()


@pytest.mark.parametrize("survived", range(5))
def test_a_kill_at_any_step_of_a_publication_leaves_a_whole_file_and_no_wrong_belief(
    chain: tuple[Artifact, Artifact, Artifact], survived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, middle, _ = chain
    source.path.write_bytes(b"new words")
    steps = 0

    class Killed(BaseException):
        pass

    def killable(step: str) -> None:
        original = getattr(Path, step)

        def method(self: Path, *args: object, **options: object) -> object:
            nonlocal steps
            if steps == survived:
                raise Killed
            steps += 1
            return original(self, *args, **options)

        monkeypatch.setattr(Path, step, method)

    for step in ("unlink", "write_bytes", "replace"):
        killable(step)
    with pytest.raises(Killed):
        middle.publish(b"new words", middle.made_from())
    monkeypatch.undo()
    assert middle.path.read_bytes() in {b"words", b"new words"}
    assert not middle.is_valid()
    source.path.write_bytes(
        b"words"
    )  # and not even the old source makes the file believed that was half replaced
    assert middle.path.read_bytes() == b"words" or not middle.is_valid()


def test_preparing_removes_dead_temporary_files_and_unwanted_artifacts_but_nothing_of_others(
    chain: tuple[Artifact, Artifact, Artifact],
) -> None:
    _, middle, end = chain
    folder = middle.path.parent
    (folder / "notes.txt").write_text("mine")
    dead = folder / STAMPS / "middle.1.tmp"
    dead.write_bytes(b"half")
    living = folder / STAMPS / "middle.2.tmp"
    living.write_bytes(b"half")
    os.utime(dead, (time.time() - 1000,) * 2)
    prepare([middle])
    assert sorted(path.name for path in folder.iterdir()) == [STAMPS, "middle", "notes.txt"]
    assert sorted(path.name for path in (folder / STAMPS).iterdir()) == ["middle", "middle.2.tmp"]
    assert not end.path.exists()


TEXT = """1. Of trees

The tree stands in the orchard and the orchard needs the tree. Birds
like it. A tree that nobody prunes gives the orchard little fruit and many
branches. On Sundays people sit on the bench by the gate and read news-
papers until it rains. It helps the tree in the orchard of the tree.
7"""


def test_an_extract_is_made_of_the_sentences_that_hold_the_frequent_words() -> None:
    assert extract(TEXT, 2) == [
        "The tree stands in the orchard and the orchard needs the tree.",
        "A tree that nobody prunes gives the orchard little fruit and many branches.",
    ]


def test_an_extract_joins_divided_words_and_leaves_headings_and_page_numbers_out() -> None:
    everything = " ".join(extract(TEXT, 100))
    assert "newspapers" in everything
    assert "Of trees" not in everything
    assert "7" not in everything


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", []), (" \n\n ", []), ("Only a heading", ["Only a heading"]), ("1.\n2.\n3.", ["1. 2. 3."])],
)
def test_a_page_without_sentences_gives_its_beginning(text: str, expected: list[str]) -> None:
    assert extract(text, 2) == expected


def test_the_servers_limit_holds_in_every_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    limit = importlib.import_module("summary_server").WindowLimit(5, 1.0)
    chance = random.Random(4)
    now, accepted = 0.0, []
    for _ in range(2000):
        now += chance.expovariate(8)
        if not limit.admit(now):
            accepted.append(now)
    assert all(later - first >= 1.0 for first, later in zip(accepted, accepted[5:], strict=False))
    assert limit.accepted == len(accepted)
    assert limit.accepted + limit.refused == 2000
    assert limit.busiest == 5


def test_a_refusal_says_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    limit = importlib.import_module("summary_server").WindowLimit(2, 1.0)
    assert [limit.admit(now) for now in (10.0, 10.5)] == [0.0, 0.0]
    assert limit.admit(10.75) == 0.25
    assert limit.admit(11.0) == 0.0
