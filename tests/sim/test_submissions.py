"""Work units written down in a file: what is read, what is refused in which words, and how they are submitted."""

import asyncio
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import runcue
from runcue.testing import EPOCH, run
from runcue_sim._pipelines.submissions import Submission, read, submit
from runcue_sim._text.usage import BadUsage

TASKS = ["extract_text", "summarize"]


def lines(folder: Path, content: str | bytes) -> list[Submission]:
    path = folder / "work.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(str(path), TASKS)


def refusal(folder: Path, content: str | bytes) -> str:
    """What is said of a file, without its folder."""
    with pytest.raises(BadUsage) as caught:
        lines(folder, content)
    text = str(caught.value).removeprefix(f"{folder}/")
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_each_line_is_a_work(tmp_path: Path) -> None:
    found = lines(
        tmp_path,
        '{"task": "summarize"}\n'
        '{"task": "extract_text", "params": {"page": 1}, "inputs": "a.png", "outputs": ["a.txt", "b.txt"], '
        '"key": 7, "duplicate": "error", "force": true}\n',
    )
    path = tmp_path / "work.jsonl"
    options = {
        "inputs": "a.png",
        "outputs": ["a.txt", "b.txt"],
        "key": 7,
        "duplicate": "error",
        "force": True,
    }
    assert found == [
        Submission(f"{path}:1", "summarize", {}, {}),
        Submission(f"{path}:2", "extract_text", {"page": 1}, options),
    ]


def test_what_is_null_is_as_good_as_not_there(tmp_path: Path) -> None:
    [found] = lines(tmp_path, '{"task": "summarize", "params": null, "key": null, "force": null}')
    assert (found.params, found.options) == ({}, {})


def test_empty_lines_count_but_are_no_work_units(tmp_path: Path) -> None:
    found = lines(tmp_path, '\n \t\n{"task": "summarize"}\n\n')
    assert [one.where.rpartition(":")[2] for one in found] == ["3"]
    assert lines(tmp_path, "") == []


def test_files_of_other_systems_are_read(tmp_path: Path) -> None:
    content = (
        b'\xef\xbb\xbf{"task": "summarize"}\r\n{"task": "extract_text", "params": {"name": "\xc3\xa4"}}\r\n'
    )
    assert [(one.task, one.params) for one in lines(tmp_path, content)] == [
        ("summarize", {}),
        ("extract_text", {"name": "ä"}),
    ]


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    found = lines(tmp_path, '{"task": "summarize", "params": {"text": "a\u2028b\u0085c"}}\n')
    assert [one.params for one in found] == [{"text": "a\u2028b\u0085c"}]


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO(b'{"task": "summarize"}\n{"task": "summarise"}\n')
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=content))
    with pytest.raises(BadUsage, match=r"^standard input:2: there is no task 'summarise'; did you mean"):
        read("-", TASKS)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('{"task": "sumarize"}', "there is no task 'sumarize'; did you mean 'summarize'?"),
        ('{"task": "paint"}', "there is no task 'paint'; there is extract_text, summarize"),
        ('{"task": ""}', "there is no task ''; there is extract_text, summarize"),
        ("{}", 'it has no "task"'),
        ('{"task": null}', 'it has no "task"'),
        ('{"task": 3}', "'task' must be text, not 3"),
        ('{"task": "summarize", "parms": {}}', "there is no field 'parms'; did you mean 'params'?"),
        ('{"task": "summarize", "at": "noon"}', "there is no field 'at'; there is task, params, inputs, outputs, key"),
        ('{"task": "summarize", "params": [1]}', "'params' must be an object, not [1]"),
        ('{"task": "summarize", "params": "x"}', "'params' must be an object, not \"x\""),
        ('{"task": "summarize", "inputs": 3}', "'inputs' must be a path or a list of paths, not 3"),
        ('{"task": "summarize", "outputs": ["a", 3]}', "'outputs' must be a path or a list of paths, not "),
        ('{"task": "summarize", "key": ["a"]}', "'key' must be text or a number, not [\"a\"]"),
        ('{"task": "summarize", "force": "no"}', "'force' must be true or false, not \"no\""),
        ('{"task": "summarize", "duplicate": "skip"}', "'duplicate' must be \"join\" or \"error\", not \"skip\""),
        ('{"task": "summarize", "task": "summarize"}', "'task' is there twice"),
        ('{"task": "summarize", "params": {"a": 1, "a": 2}}', "'a' is there twice"),
        ('{"task": "summarize", "params": {"a": NaN}}', "NaN is no number of JSON"),
        ('{"task": "summarize", "params": {"a": -Infinity}}', "-Infinity is no number of JSON"),
        ('{"task": "summarize"', "no JSON: Expecting ',' delimiter at character 21 of {\"task\": \"summarize\""),
        ('{"task": "summarize"} {}', "no JSON: Extra data at character 23 of "),
        ("# the summaries", "no JSON: Expecting value at character 1 of # the summaries"),
        ('"summarize"', 'each line must be an object such as {"task": "...", "params": {}}, not "summarize"'),
        ("[" * 100_000, "too deeply nested"),
        ('{"task": "summarize", "params": {"a": ' + "1" * 5000 + "}}", "Exceeds the limit "),
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_a_malformed_line_is_told_with_its_number(tmp_path: Path, line: str, text: str) -> None:
    told = refusal(tmp_path, f'{{"task": "summarize"}}\n\n{line}\n')
    assert told.startswith(f"work.jsonl:3: {text}")


def test_what_is_not_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    content = b'{"task": "summarize"}\n{"task": "summarize", "params": {"name": "M\xfcller"}}\n'
    assert refusal(tmp_path, content) == "work.jsonl:2: byte 44 of the line is not UTF-8"
    assert refusal(tmp_path, '{"task": "summarize"}'.encode("utf-16")) == (
        "work.jsonl:1: byte 1 of the line is not UTF-8"
    )


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none.jsonl", "No such file or directory"),
        (tmp_path, "Is a directory"),
        ("no\0name", "embedded null byte"),
    ):
        with pytest.raises(BadUsage) as caught:
            read(str(path), TASKS)
        assert str(caught.value) == f"{path} cannot be read: {reason}"


def cue_of_files() -> runcue.Cue:
    cue = runcue.Cue()

    @cue.task("summarize", outputs=lambda work: work.params["out"])
    async def summarize(work: runcue.Work) -> None: ...

    return cue


def test_work_units_are_submitted_with_all_that_their_line_says() -> None:
    cue = cue_of_files()
    line = Submission(
        "work.jsonl:1", "summarize", {"out": "x"}, {"inputs": ["a", "b"], "outputs": "c", "force": True}
    )
    asyncio.run(submit(cue, [line]))
    [work] = [blocked["work"] for blocked in cue.debug_blocked()]
    assert (work.params, list(map(str, work.inputs)), list(map(str, work.outputs))) == (
        {"out": "x"},
        ["a", "b"],
        ["c"],
    )


def test_what_the_cue_does_not_take_is_told_with_the_line() -> None:
    first = Submission("work.jsonl:1", "summarize", {"out": "x", "page": 1}, {})
    for second, text in (
        (first._replace(where="work.jsonl:9", params={"out": "x", "page": 2}), "'summarize' with params"),
        (first._replace(where="work.jsonl:9", options={"outputs": ""}), "A File needs a path"),
        (first._replace(where="work.jsonl:9", task="paint"), "Unknown task"),
    ):
        with pytest.raises(BadUsage) as caught:
            asyncio.run(submit(cue_of_files(), [first, second]))
        assert str(caught.value).startswith(f"work.jsonl:9: {text}")
        assert isinstance(caught.value.__cause__, runcue.RuncueError)


def test_work_units_are_submitted_at_a_pace() -> None:
    async def main() -> list[float]:
        cue = cue_of_files()
        many = [Submission("", "summarize", {"out": str(number)}, {}) for number in range(4)]
        await submit(cue, many, rate=0.5)
        return [work.created_at - EPOCH for work in await cue.list()]

    assert run(main) == [0, 2, 4, 6]
