"""The parts of the PDF pipeline example that stand by themselves: its extracts, its server's limit."""

from __future__ import annotations

import importlib
import random
from pathlib import Path

import pytest

from examples.pdf_pipeline.extract import extract

EXAMPLE = Path(__file__).parents[2] / "examples" / "pdf_pipeline"


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
