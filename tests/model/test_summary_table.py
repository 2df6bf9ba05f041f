"""The table of a summary."""

from __future__ import annotations

import unicodedata

from runcue._model.summary_table import _cut


def test_no_text_is_cut_between_a_letter_and_its_accent() -> None:
    text = unicodedata.normalize("NFD", "\u00e9" * 60)
    for width in range(20, 60):
        _, _, end = _cut(text, width).partition(" ... ")
        assert end == unicodedata.normalize("NFD", "\u00e9" * (len(end) // 2))
