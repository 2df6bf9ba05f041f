"""Shortens a text by choosing sentences from it.

Lives here: what is a sentence on a page, and which ones say most: those that hold many of the text's frequent words.
It needs no model and knows no meaning, so it is quick and dull, and everything it returns was written by the author.

Must not know: HTTP, files, where the text came from.
"""

from __future__ import annotations

import re
from collections import Counter

_COMMON = """about after again also because been before being both could does each even from have having here into just
like made make many more most much must never only other over same should some such than that their them then there
these they this those through under until very were what when where which while whose will with would your"""
_NOT_COUNTED = frozenset(_COMMON.split())

# A sentence that begins like this leans on the one before it, which will not be there.
_LEANING = ("it ", "they ", "this ", "that ", "these ", "those ", "he ", "she ", "but ", "and ", "such ")


def extract(text: str, count: int) -> list[str]:
    """Choose the sentences that say most about a text.

    Args:
        text: Lines as they stand on a page; a blank line ends a paragraph.
        count: How many sentences at most.

    Returns:
        The chosen ones in the order of the text. A page without a sentence gives its beginning, an empty one nothing.
    """
    sentences = list(dict.fromkeys(_sentences(text)))  # what a page repeats is not worth saying twice
    if not sentences:
        words = text.split()
        return [" ".join(words[:25]) + (" ..." if len(words) > 25 else "")] if words else []
    frequency = Counter(word for sentence in sentences for word in _content_words(sentence))

    def weight(sentence: str) -> float:
        words = set(_content_words(sentence))
        # Divided by the length, or the longest sentence would always win; but not fully, or the shortest would.
        central = sum(frequency[word] for word in words) / (len(words) + 9)
        return central / 2 if sentence.casefold().startswith(_LEANING) else central

    best = sorted(range(len(sentences)), key=lambda index: (-weight(sentences[index]), index))[:count]
    return [sentences[index] for index in sorted(best)]


def _sentences(text: str) -> list[str]:
    """Whole sentences only: headings, page numbers and lists end without a full stop or have few words."""
    found = []
    for paragraph in _paragraphs(text):
        # A word that was divided at the end of a line is one word.
        joined = " ".join(re.sub(r"(?<=[a-z])-\s*\n\s*(?=[a-z])", "", paragraph).split())
        for sentence in re.split(r"(?<=[.!?])\s+(?=\W*[^\W\da-z])", joined):
            closed = re.search(r"(?<!\s\d)(?<!\s\d\d)[.!?][\"')\N{RIGHT DOUBLE QUOTATION MARK}]*$", sentence)
            if closed and len(sentence.split()) >= 5:
                found.append(sentence)
    return found


def _paragraphs(text: str) -> list[str]:
    """Split at blank lines, and after lines that end early: those are headings, or the last of a paragraph."""
    lines = text.splitlines()
    full = 0.75 * max(map(len, lines), default=0)
    paragraphs = [""]
    for line in lines:
        paragraphs[-1] += f"{line}\n"
        if len(line) < full:
            paragraphs.append("")
    return paragraphs


def _content_words(sentence: str) -> list[str]:
    return [word for word in re.findall(r"[^\W\d_]{4,}", sentence.casefold()) if word not in _NOT_COUNTED]
