"""Where in a command for a shell a value may be put in that is quoted by itself.

A value that `shlex.quote` has quoted is one word, whatever is in it, where the shell reads plain text. Within quotes it
would end them, and what is in it would be read as a command. So a command is read as a shell reads it, as far as quotes
go, and where that cannot be told for sure the answer is no.

Lives here: `QuoteReader`.

Must not know: what values there are, how they are named.
"""

from __future__ import annotations

from typing import Final

__all__ = ["QuoteReader"]

_QUOTED: Final = (
    "stands inside quotes, but each value is quoted by itself: "
    "leave the quotes out around it, or end them before it"
)
_NAME_IT: Final = 'give it a name first, as in `x={params[name]}; ...`, and write "$x" there'
_BREAKS: Final = frozenset(" \t\n;&|()<>`")
"""What a comment may follow."""

_BRACKETS: Final = (["("], ["(("], ["$("])

_WORD: Final = "x"
"""In the place of a character of a word."""


class QuoteReader:
    """Reads the text of a command piece by piece."""

    def __init__(self) -> None:
        # What is open: a double quote, `$(`, `(`, the second bracket of `((`, or a backquote; the innermost comes last.
        self._open: list[str] = []
        self._in_single = False
        self._in_comment = False
        # What the last characters were, as far as that matters for the next one.
        self._last, self._word = "\n", ""
        self._escaped = self._dollar = False
        self._less = 0
        # For each double quote that is open, so many `${` in it: in there shells differ in what quotes mean.
        self._braces: list[int] = []
        # Of $'...', in which some shells let a quote be escaped.
        self._is_ansi = self._escapes = False
        self._here_comes = self._here = False
        self._in_brackets = False
        self._unsure = False

    def read(self, text: str) -> None:
        """Read what comes next."""
        for one in text:
            if self._here:
                return  # where a here-document ends is not looked for
            if self._escaped:
                self._escaped = False
                if one != "\n":  # that joins two lines to one
                    self._last, self._word, self._dollar = _WORD, "", False
            elif self._in_comment:
                if one == "\n":
                    self._in_comment = False
                    self._end_line()
            elif self._in_single:
                self._read_in_single(one)
            elif one == "\\":
                self._escaped = True
            elif self._open and self._open[-1] == '"':
                self._read_in_double(one)
            else:
                self._read_plain(one)

    def pass_value(self) -> None:
        """A value stands here."""
        self._read_plain(_WORD)
        self._word = ""

    def objection(self) -> str:
        """Why no value may stand here, as what follows its name; "" if it may."""
        if self._here:
            return f"stands in a here-document, where nothing is a word: {_NAME_IT}"
        if self._in_comment:
            return "stands in a comment, which a value may end: leave it out there"
        if self._in_single or self._open[-1:] == ['"']:
            return _QUOTED
        if self._escaped:
            return "follows a backslash, which would take the quotes from it: leave the backslash out"
        if self._dollar:
            return "follows a $, which would make other quotes of its own; a variable of the shell is written ${{name}}"
        if "((" in self._open:
            return f"stands in arithmetic, where quotes do not hold: {_NAME_IT}"
        if self._in_brackets:
            return f"stands in the brackets of a word, where quotes may not hold: {_NAME_IT}"
        if "`" in self._open:
            return "stands in backquotes, which a value may end: write $(...) in their place"
        if self._unsure:
            return f"stands where it cannot be told whether that is inside quotes: {_NAME_IT}"
        return ""

    def unclosed(self) -> str:
        """The quote that is never closed, once all is read; "" if all are."""
        if self._here or self._unsure:
            return ""
        return "'" if self._in_single else '"' if '"' in self._open else ""

    def _end_line(self) -> None:
        self._last, self._here = "\n", self._here_comes

    def _read_in_single(self, one: str) -> None:
        if one == "'":
            self._in_single = False
            self._last = _WORD
            self._unsure |= self._is_ansi and self._escapes
        self._escapes = one == "\\"

    def _read_in_double(self, one: str) -> None:
        if one in "'\"":
            self._unsure |= self._braces[-1] > 0
        if one == '"':
            self._open.pop()
            self._braces.pop()
            self._last = _WORD
        elif one == "(" and self._dollar:
            self._open.append("$(")
            self._last = one
        elif one == "`":
            self._open.append(one)
            self._last = one
        elif one == "{" and self._dollar:
            self._braces[-1] += 1
        elif one == "}":
            self._braces[-1] = max(0, self._braces[-1] - 1)
        self._dollar = one == "$" and not self._dollar

    def _read_plain(self, one: str) -> None:
        if one == "<":
            self._less += 1
        else:
            # In arithmetic it is no here-document; <<< takes a word.
            self._here_comes |= self._less == 2 and "((" not in self._open
            self._less = 0
        if one.isalnum():
            self._word += one
        else:
            # The patterns of `case` end in brackets that nothing has opened.
            self._unsure |= self._word == "case" and '"' in self._open
            self._word = ""
        is_in_word = False
        if one == "'":
            self._in_single, self._is_ansi, self._escapes = True, self._dollar, False
        elif one == '"':
            self._open.append(one)
            self._braces.append(0)
        elif one == "(":
            self._open.append("$(" if self._dollar else "((" if self._last == "(" else "(")
        elif one == "#" and self._last in _BREAKS:
            self._in_comment = True
        elif (one == ")" and self._open[-1:] in _BRACKETS) or (one == "`" and self._open[-1:] == [one]):
            is_in_word = self._open.pop() != "("  # what it gives may be a part of one
        elif one == "`":
            self._open.append(one)
        if one in _BREAKS:
            self._in_brackets = False
        elif one == "[":
            self._unsure |= self._dollar  # $[...] is arithmetic to some shells
            self._in_brackets |= self._last not in _BREAKS
        self._last = _WORD if is_in_word else one
        self._dollar = one == "$" and not self._dollar
        if one == "\n":
            self._end_line()
