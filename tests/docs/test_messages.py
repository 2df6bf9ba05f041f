"""What runcue says stands in a list that is read: no text is new or changed that is not in it."""

from __future__ import annotations

import difflib

from tests.support.messages import LIST, listing, messages


def test_each_text_that_users_may_see_is_in_the_list_that_is_read() -> None:
    known, found = LIST.read_text(encoding="utf-8"), listing()
    news = list(
        difflib.unified_diff(known.splitlines(), found.splitlines(), "list", "code", n=0, lineterm="")
    )
    assert not news, (
        "Texts are new or changed. Read them as somebody who does not know the code, mend them, and write the list "
        "anew with `python3 tests/support/messages.py`:\n" + "\n".join(news)
    )


def test_whatever_is_raised_logged_printed_or_composed_is_a_text_and_documentation_is_none() -> None:
    source = '''
"""A module."""

LATE = {"late": "comes too late", "key": "value"}


class Late(Exception):
    """Too late."""

    text: "a type" = "is late"
    """An attribute."""


def check(value, log, number, words):
    """A function."""
    if value == "late":
        raise ValueError(f"{value!r} of {words[0]} is {'one' if number == 1 else f'{number + 1} of'} them, "
                         "not\\n that.")
    log.tell("kind", (), "Late")
    print("late" if number else "early", end="none")
    return f"{value} {number}", " ".join(words), "=" * 80, f"{', '.join(f'the {one}' for one in words)}"
'''
    assert messages(source) == {
        "comes too late",
        "is late",
        "{value} of {words} is {one|{number} of} them, not\\n that.",
        "Late",
        "late",
        "early",
        "the {one}",
    }
