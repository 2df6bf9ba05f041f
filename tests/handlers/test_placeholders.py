"""Values in commands: what can be named, what becomes of each, and what is said of what cannot be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import runcue
from runcue._handlers.placeholders import Fields, Template


def fields(**params: Any) -> Fields:
    work = SimpleNamespace(id="1", task="pack", attempt=2, params=params, metadata={"who": "me"})
    return Fields(work, [Path("/in/a b.txt"), Path("/in/c.txt"), runcue.Flag("done")], [Path("/out/it's")])


def quoted(text: str, **params: Any) -> str:
    return Template(text, "it", in_shell=True).quoted(fields(**params))


def words(text: str, **params: Any) -> list[str]:
    return Template(text, "it", in_shell=False).words(fields(**params))


@pytest.mark.parametrize(
    ("text", "params", "filled"),
    [
        ("cp {inputs[0]} {outputs[0]}", {}, "cp '/in/a b.txt' '/out/it'\"'\"'s'"),
        ("cat {inputs}", {}, "cat '/in/a b.txt' /in/c.txt"),
        ("ls {outputs}", {}, "ls '/out/it'\"'\"'s'"),
        ("{inputs[0].stem}{inputs[1].suffix}", {}, "'a b'.txt"),
        ("{inputs[1].parent.name}", {}, "in"),
        ("{work.task}-{work.id}-{work.attempt}", {}, "pack-1-2"),
        ("{work.inputs[1]} {work.params[x]} {work.metadata[who]}", {"x": 1}, "/in/c.txt 1 me"),
        ("-w {params[w]:04d} {params[f]:.2f}", {"w": 7, "f": 1 / 3}, "-w 0007 0.33"),
        ("{params[x]!r}", {"x": "a"}, "''\"'\"'a'\"'\"''"),
        ("{params[x]!s}", {"x": None}, "None"),
        ("{params[x]}", {"x": ""}, "''"),
        ("{params[x]}", {"x": b"caf\xc3\xa9"}, "'café'"),
        ("{params[x]}", {"x": Path("a")}, "a"),
        ("{params[x]}", {"x": True}, "True"),
        ("{params[files]} end", {"files": ["a b", 3, Path("c")]}, "'a b' 3 c end"),
        ("f({params[files]});", {"files": ()}, "f();"),
        ("{params[size][w]} {params[at].year}", {"size": {"w": 3}, "at": SimpleNamespace(year=4)}, "3 4"),
        ("{params[0]}", {"0": "zero"}, "zero"),
        ("{params[a.__b__]}", {"a.__b__": "c"}, "c"),
        ("awk '{{print $1}}'", {}, "awk '{print $1}'"),
    ],
)
def test_a_value_is_one_word_and_a_list_a_word_for_each(text: str, params: Any, filled: str) -> None:
    assert quoted(text, **params) == filled


def test_without_a_shell_nothing_is_quoted_and_a_list_that_stands_alone_is_several_words() -> None:
    assert words("--in={inputs[0]}") == ["--in=/in/a b.txt"]
    assert words("{inputs}") == ["/in/a b.txt", "/in/c.txt"]
    assert words("{params[x]}", x=["a", "b c"]) == ["a", "b c"]
    assert words("{params[x]}", x=[]) == []
    assert words("it's {params[x]}", x="$HOME") == ["it's $HOME"]
    assert words("plain") == ["plain"]
    assert words("") == [""]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{width}", r"a param is written \{params\[width\]\}"),
        ("{input[0]}", r"did you mean \{inputs\[0\]\}\?"),
        ("{print $1}", "written twice"),
        ("{}", "written twice"),
        ("{0}", "written twice"),
        ("a } b", "Single '}'.*written twice"),
        ("a { b", "expected '}'.*written twice"),
        ("{params}", "name one of them"),
        ("{params.w}", r"a param stands in brackets: \{params\[w\]\}"),
        ("{params['w']}", r"without quotes: \{params\[w\]\}"),
        ('{params["w"]}', r"without quotes: \{params\[w\]\}"),
        ("{params[w]:{params[f]}}", "a format cannot hold a placeholder"),
        ("{params[w]!q}", "there is no conversion !q"),
        ("{params[w}", "expected '}'|Missing"),
        ("{inputs[x]}", "counted from 0"),
        ("{inputs[-1]}", "counted from 0"),
        ("{inputs.stem}", r"say which of them, as in \{inputs\[0\].stem\}"),
        ("{inputs[0].stam}", "what can be named of a path"),
        ("{inputs[0].exists}", "what can be named of a path"),
        ("{inputs[0][1]}", "no parts in brackets"),
        ("{inputs}.txt", "must stand alone"),
        ("x{inputs}", "must stand alone"),
        ("{inputs}{outputs}", "must stand alone"),
        ("{params[a]}{outputs}", "must stand alone"),
        ("{inputs!r}", "must stand alone"),
        ("{work}", r"say what of it, as in \{work.id\}"),
        ("{work.params}", "name one of them"),
        ("{work[id]}", r"after a dot, as in \{work.id\}"),
        ("{work.result}", "what can be named of it is id, task"),
        ("{params[a].}", "Empty attribute"),
        ("{params[a].__class__}", "__class__ is nothing that a command is given"),
        ("{params[a].x[k].__nothing__}", "__nothing__ is nothing that a command is given"),
        ("{params[a]._own}", "_own is nothing that a command is given"),
        ("{params.__class__}", "__class__ is nothing that a command is given"),
        ("{work.id.__class__}", "__class__ is nothing that a command is given"),
        ("{inputs[0].__class__}", "__class__ is nothing that a command is given"),
    ],
)
def test_what_can_never_be_is_told_where_it_is_written(text: str, why: str) -> None:
    with pytest.raises(runcue.ConfigurationError, match=why):
        Template(text, "it", in_shell=True)


def test_all_of_them_must_be_a_word_of_their_own_without_a_shell_as_well() -> None:
    with pytest.raises(runcue.ConfigurationError, match="must stand alone"):
        Template("--in {inputs}", "it", in_shell=False)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{inputs[3]}", "has 3 inputs: '/in/a b.txt'"),
        ("{inputs[2]}", r"Flag\('done'\) is no file"),
        ("{outputs[1]}", 'has 1 output: "/out/it\'s"'),
        ("{params[wdith]}", "did you mean 'width'?"),
        ("{params[other]}", "as its params"),
        ("{params[7]}", "as its params"),
        ("{params[none]}", "it is None; write it with !s"),
        ("{params[null]}", "null character"),
        ("{params[half]}", "holds what is no character"),
        ("{params[several]}.txt", "must stand alone"),
        ("{params[width].x}", "AttributeError"),
        ("{params[width][x]}", "TypeError"),
        ("{params[none]:04d}", "TypeError"),
    ],
)
def test_what_a_work_unit_has_not_is_told_with_what_it_has(text: str, why: str) -> None:
    params: dict[str, Any] = {"width": 3, "none": None, "null": "a\0b", "half": "\ud800", "several": [1]}
    with pytest.raises(runcue.ConfigurationError, match=why):
        quoted(text, **params)
