"""Values in commands, before real shells: whatever stands around a placeholder, no value is ever read as a command."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from shlex import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runcue._handlers.shell_quotes import QuoteReader

SHELLS = [shell for name in ("dash", "bash") if (shell := shutil.which(name))]

NASTY = (
    "'; touch caught; '\"; touch caught; \"$(touch caught)`touch caught`\ntouch caught\nE\ntouch caught #\\"
)

PIECES = [
    *(
        "@",
        "@",
        "@",
        "@@",
        "echo a",
        " ",
        "x",
        "=",
        "\n",
        "\\\n",
        ";",
        "&&",
        "|",
        "'",
        '"',
        "`",
        "\\",
        "$",
        "$'",
        "{",
        "}",
    ),
    *("$(", "(", ")", "${x:-", "${x%", "${y#", "# ", "#", "<<E\n", "<< 'E' ", "\nE\n", "<<<", "<", "<("),
    *(
        "$((1",
        "((",
        "))",
        "let ",
        "$[",
        "a[",
        "[",
        "]",
        "case a in a) ",
        ";; esac",
        "if :; then ",
        "; fi",
        "f() { ",
    ),
]


def accepted(command: str) -> str | None:
    """The command with the value in its places; None if it may not stand in all of them."""
    reader = QuoteReader()
    filled = ""
    for piece in re.split("(@)", command):
        if piece == "@":
            if reader.objection():
                return None
            reader.pass_value()
            filled += quote(NASTY)
        else:
            reader.read(piece)
            filled += piece
    return None if reader.unclosed() else filled


@pytest.mark.rule(58)
@pytest.mark.skipif(not SHELLS, reason="no shells here")
@settings(max_examples=settings.default.max_examples // 8 if settings.default else 25)
@given(pieces=st.lists(st.sampled_from(PIECES), min_size=2, max_size=14).filter(lambda pieces: "@" in pieces))
def test_no_value_is_ever_read_as_a_command(
    pieces: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    filled = accepted("".join(pieces))
    if filled is None:
        return
    folder = tmp_path_factory.getbasetemp()
    for shell in SHELLS:
        subprocess.run(
            [shell, "-c", filled],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=10,
        )
        caught = Path(folder, "caught")
        if caught.exists():
            caught.unlink()
            raise AssertionError(f"{shell} has read a value as a command: {filled!r}")
