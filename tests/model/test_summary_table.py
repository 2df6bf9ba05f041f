"""The table of a summary."""

from __future__ import annotations

import unicodedata

from runcue._model.summary_table import _cut, _in_a_line


def test_no_text_is_cut_between_a_letter_and_its_accent() -> None:
    text = unicodedata.normalize("NFD", "\u00e9" * 60)
    for width in range(20, 60):
        _, _, end = _cut(text, width).partition(" ... ")
        assert end == unicodedata.normalize("NFD", "\u00e9" * (len(end) // 2))


def test_a_failure_that_is_wider_than_the_terminal_shows_how_it_ends() -> None:
    said = "1 of shrink failed: CommandFailed: The command 'convert {inputs[0]} {outputs[0]}' ended with exit code 1: "
    assert _in_a_line(f"{said}convert: improper\nimage header", 80) == (
        "1 of shrink failed: CommandFailed: The command ... improper image header"
    )
