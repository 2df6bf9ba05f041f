"""docs/explaining.md is what runcue says, when it is asked in the situations that the page is about."""

from __future__ import annotations

import difflib

from tests.support.explaining import PAGE, SECTIONS, page, plain
from tests.support.situations import SITUATIONS


def test_the_page_says_what_runcue_says() -> None:
    written, said = (plain(text) for text in (PAGE.read_text(encoding="utf-8"), page()))
    news = list(difflib.unified_diff(written, said, "page", "runcue", n=8, lineterm=""))
    assert not news, (
        "runcue says something else than docs/explaining.md. Read it, and write the page anew with "
        "`python3 tests/support/explaining.py`:\n" + "\n".join(news)
    )


def test_each_situation_stands_on_the_page() -> None:
    assert {name for section in SECTIONS for name in section.names} == {*SITUATIONS}
