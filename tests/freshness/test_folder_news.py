"""What a process remembers of the folders in which it has made something, when there are very many of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runcue._artifacts.file import File
from runcue._freshness import folder_news
from runcue._freshness.folder_news import FolderNews
from runcue._model.declaration import Declaration


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a few were very many."""
    monkeypatch.setattr(folder_news, "_MOST_FOLDERS", 40)
    monkeypatch.setattr(folder_news, "_MOST_READERS", 3)


def makes(news: FolderNews, *outputs: Path, reads: Path | None = None) -> Declaration:
    declared = declaration(*outputs, reads=reads)
    declared.seen = news.count
    news.note(declared)
    return declared


def declaration(*outputs: Path, reads: Path | None = None, was: tuple[Any, ...] = ()) -> Declaration:
    files = tuple(map(File, outputs))
    needs = () if reads is None else (File(reads),)
    declared = Declaration(inputs=needs, outputs=files)
    declared.was = was
    return declared


def test_it_forgets_and_then_takes_what_was_forgotten_for_news(few: None, tmp_path: Path) -> None:
    news = FolderNews()
    shelf, target = tmp_path / "shelf", tmp_path / "out"
    shelf.mkdir()
    old, young = 1, 2**62
    assert news.later_than(declaration(target, reads=shelf, was=(old,))) is None, "nothing was made there"
    for number in range(50):
        makes(news, tmp_path / "many" / str(number) / "x")
    assert len(news.latest) <= 40 + 10
    found = news.later_than(declaration(target, reads=shelf, was=(old,)))
    assert found is not None
    assert found.path == shelf
    assert news.later_than(declaration(target, reads=shelf, was=(young,))) is None
    assert news.later_than(declaration(target, reads=tmp_path / "no folder", was=(old,))) is None


def test_who_has_read_a_folder_is_forgotten_in_their_order(few: None, tmp_path: Path) -> None:
    news = FolderNews()
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    makes(news, shelf / "book")
    readers = [makes(news, tmp_path / f"out{number}", reads=shelf) for number in range(5)]
    assert len(news._read_at) == 3
    # Of the others the dates decide.
    assert [news.later_than(one) for one in readers] == [None] * 5
    for one in readers:
        one.was = (1,)
    assert [news.later_than(one) is not None for one in readers] == [True, True, False, False, False]
