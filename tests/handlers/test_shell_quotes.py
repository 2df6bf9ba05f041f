"""Where in a command for a shell a value may stand. No shell is run here: `tests/property/test_commands.py` does."""

from __future__ import annotations

import re

import pytest

from runcue._handlers.shell_quotes import QuoteReader


def objections(command: str) -> list[str]:
    """What is said of each @ in a command."""
    reader = QuoteReader()
    said = []
    for piece in re.split(r"(@)", command):
        if piece == "@":
            said.append(reader.objection())
            reader.pass_value()
        else:
            reader.read(piece)
    return said


@pytest.mark.parametrize(
    "command",
    [
        "convert @ -resize @x@ @",
        '"so "@" on"',
        "'so '@' on'",
        r"\'@\'",
        r'"\""@',
        '"$(basename @)"',
        '"$(basename "$x")" @',
        "(cd @ && tar c .) > @",
        "# it's a comment\ncat @",
        "cat <<< @ | grep @",
        "echo $((1 << 2))\ncat @",
        "echo $$@",
        r"echo \$@",
        "echo a#@",
        "$(a)#'b' @",
        "case @ in a) echo @;; esac",
        r"f=$'a\n'; cat @",
        "`a`#'b' @",
        '"${x:-y}" @',
        "cat @ \\\n  @",
    ],
)
def test_a_value_may_stand_where_the_shell_reads_plain_text(command: str) -> None:
    assert set(objections(command)) == {""}


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("echo '@'", "inside quotes"),
        ('echo "@"', "inside quotes"),
        ("echo 'a' '@'", "inside quotes"),
        (r'echo "\"@"', "inside quotes"),
        ('"$(basename "@")"', "inside quotes"),
        ("\"$(basename '@')\"", "inside quotes"),
        (r"echo \@", "follows a backslash"),
        ("echo $@", r"a variable of the shell is written \$\{\{name\}\}"),
        ("echo `basename @`", r"write \$\(...\) in their place"),
        ("echo hi # @", "in a comment"),
        ("cat <<END\n@\nEND", "in a here-document"),
        ("cat <<'END' # text\n@\nEND", "in a here-document"),
        ("cat <<@\n@\nEND", "in a here-document"),
        ('"$(cat <<END\n@\nEND\n)"', "in a here-document"),
        ('"$(case a in a) echo "@";; esac)"', "cannot be told"),
        (r"$'a\'b' '@", "cannot be told"),
        ('"${x%\'"\'}" "it\'s @', "cannot be told"),
        ('"${x:-"y"}" @', "cannot be told"),
        ('foo\\\n#" \n @ "', "inside quotes"),
        ("foo \\\n# it's\n echo 'a @'", "inside quotes"),
    ],
)
def test_it_may_not_where_its_own_quotes_would_not_hold(command: str, why: str) -> None:
    assert re.search(why, objections(command)[-1])


@pytest.mark.parametrize(
    ("command", "quote"),
    [("it's", "'"), ('say "it', '"'), ("'a' \"b\"", ""), ("cat <<E\nit's\nE", ""), ("true # it's", "")],
)
def test_a_quote_that_is_never_closed_is_seen(command: str, quote: str) -> None:
    reader = QuoteReader()
    reader.read(command)
    assert reader.unclosed() == quote
