"""All texts of runcue and its simulator that a user may come to see, as a list that is read before it changes.

Lives here: finding them, and writing `tests/docs/messages.txt`, which `tests/docs/test_messages.py` holds the code to.

    python3 tests/support/messages.py  # writes the list anew

What counts is whatever is written as prose: each literal with a word and a space in it, wherever it stands, and each
literal that is raised, logged, warned of, printed or shown as help. Docstrings are documentation, and are read there.
Nothing is imported: what cannot be imported here, on this platform or without an extra, is listed all the same.

Must not know: what the texts are about.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["LIST", "listing", "messages"]

ROOT: Final = Path(__file__).resolve().parents[2]
LIST: Final = ROOT / "tests" / "docs" / "messages.txt"

_HEAD: Final = """\
# What runcue and runcue-sim say, file by file. Written by `python3 tests/support/messages.py`; not to be edited.
# Read what is new in it aloud, as somebody who does not know the code: whose fault is it, what is to be done?
# {name} stands for a value, {this|that} for one of several words.
"""
_PROSE: Final = re.compile(r"[^\W\d_].* | .*[^\W\d_]", re.DOTALL)
_LETTER: Final = re.compile(r"[^\W\d_]")
_PLACE: Final = re.compile(r"\{[\w.]+\}|%[-+.\d]*[a-z]")
# Pictures and patterns are no texts.
_MARKUP: Final = re.compile(r'^ ?<[a-z]|^ ?[\w-]+="|\w \{ |\(\?')
# What is called with a text that people read, by the last part of its name.
_TELLING: Final = re.compile(
    r"(Error|Warning|Exit|add_argument|add_parser|print|write|warn|tell|debug|info|warning|error|exception|critical|log)$"
)


def messages(source: str) -> set[str]:
    """The texts of one module.

    Args:
        source: Its code.
    """
    return set(_below(ast.parse(source), told=False))


def listing() -> str:
    """The whole list, as it should stand in the file."""
    parts = [_HEAD]
    for package in ("runcue", "sim/runcue_sim"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if texts := messages(path.read_text(encoding="utf-8")):
                name = path.relative_to(ROOT).as_posix()
                parts.append("\n".join([f"\n{name}", *(f"    {text}" for text in sorted(texts)), ""]))
    return "".join(parts)


def _below(node: ast.AST, *, told: bool) -> Iterator[str]:
    """The texts in a node.

    Args:
        node: Of the tree.
        told: Whether it is what a telling call is given: then a word is enough.
    """
    if isinstance(node, ast.Constant | ast.JoinedStr):
        yield from _text(node, told=told)
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "type_comment"}:
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.AST):
                yield from _below(part, told=_is_told(node, part, told))


def _text(node: ast.Constant | ast.JoinedStr, *, told: bool) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _inside(part.value)
    elif not isinstance(node.value, str):
        return
    text = _shown(node)
    own = _PLACE.sub("", text)
    if (_LETTER if told else _PROSE).search(own) and not _MARKUP.search(text):
        yield text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def _inside(node: ast.expr) -> Iterator[str]:
    """The texts in a value of a text, but for those that are shown in its place."""
    if isinstance(node, ast.IfExp):
        yield from _inside(node.body)
        yield from _inside(node.orelse)
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _inside(part.value)
    elif not isinstance(node, ast.Constant):
        yield from _below(node, told=False)


def _is_told(parent: ast.AST, part: ast.AST, told: bool) -> bool:
    """Whether a part of a node is for people although it is one word only."""
    if isinstance(parent, ast.Call):
        name = _name_of(parent.func)
        # What tell() is given first is a kind, for programs.
        return part in parent.args[name == "tell" :] and bool(_TELLING.search(name))
    if isinstance(parent, ast.keyword):
        return parent.arg in {"help", "description", "epilog"}
    return told and isinstance(parent, ast.IfExp | ast.BinOp)


def _name_of(call: ast.expr) -> str:
    if isinstance(call, ast.Attribute):
        return call.attr
    return call.id if isinstance(call, ast.Name) else ""


def _shown(node: ast.expr) -> str:
    """A literal as it is listed."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_shown, node.values))
    if isinstance(node, ast.FormattedValue):
        return f"{{{_value(node.value)}}}"
    return str(node.value) if isinstance(node, ast.Constant) else ""


def _value(node: ast.expr) -> str:
    """What a value in a text is called: short, and the same in all versions of Python."""
    match node:
        case ast.IfExp():
            return f"{_value(node.body)}|{_value(node.orelse)}"
        case ast.Constant() | ast.JoinedStr():
            return _shown(node)
        case ast.Name():
            return node.id.lstrip("_")
        case ast.Attribute():
            return _value(node.value) if node.attr.startswith("__") else node.attr.lstrip("_")
        case ast.Call():
            return _value(node.args[0] if node.args else node.func)
        case ast.Subscript():
            return _value(node.value)
        case ast.BinOp():
            return _value(node.left)
        case ast.BoolOp():
            return _value(node.values[0])
    return "..."


if __name__ == "__main__":
    LIST.write_text(listing(), encoding="utf-8")
    sys.stdout.write(f"{LIST.relative_to(ROOT)} is written anew: read in `git diff` what is new in it.\n")
