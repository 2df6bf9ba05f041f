"""Submissions as they are written down: what each form says, and what is refused in which words."""

import io
from typing import Any

import pytest

import runcue
from runcue.submissions import Submission, read, read_lines

NAME = "work.jsonl"


def lines(content: str | bytes) -> list[Submission]:
    return [*read_lines(io.BytesIO(content.encode() if isinstance(content, str) else content), NAME)]


def refusal(content: str | bytes) -> str:
    with pytest.raises(runcue.ConfigurationError) as caught:
        lines(content)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def handler(work: runcue.Work) -> None: ...


@pytest.mark.parametrize(
    ("written", "submission"),
    [
        ("ask", Submission("ask")),
        (handler, Submission(handler)),
        (("ask",), Submission("ask")),
        (["ask", {"page": 1}], Submission("ask", {"page": 1})),
        ({"task": "ask"}, Submission("ask", {}, {})),
        ({"task": "ask", "params": None}, Submission("ask", {}, {})),
        (
            {"task": handler, "params": {"page": 1}, "fresh": None, "key": 7, "outputs": "a"},
            Submission(handler, {"page": 1}, {"fresh": None, "key": 7, "outputs": "a"}),
        ),
        (
            Submission("ask", {"page": 1}, {}, "work.jsonl:3"),
            Submission("ask", {"page": 1}, {}, "work.jsonl:3"),
        ),
    ],
)
def test_each_form_in_python_is_a_submission(written: Any, submission: Submission) -> None:
    assert read(written) == submission


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ((), "() is none: write a task, (task, params) or a mapping with the key task."),
        (("ask", {}, 1), "write a task, (task, params) or a mapping with the key task."),
        (
            {"params": {}},
            'it has no "task"; beside that there may be params, inputs, outputs, fresh, key, lane, dup',
        ),
        ({"task": "ask", "fources": 1}, "there is no field 'fources'; did you mean 'force'?"),
        (
            {"task": "ask", 3: 1},
            "there is no field 3; there is task, params, inputs, outputs, fresh, key, lane, duplicate",
        ),
    ],
)
def test_what_is_no_submission_is_refused_with_the_forms(written: Any, text: str) -> None:
    with pytest.raises(runcue.ConfigurationError) as caught:
        read(written)
    assert text in str(caught.value)


def test_what_a_file_says_is_planned_like_what_is_written_in_python() -> None:
    cue = runcue.Cue()
    cue.task("ask", outputs=lambda work: work.params["page"])(handler)
    [line] = lines('{"task": "ask", "params": {"page": "no/such/page"}, "force": true}')
    plan = cue.plan([line, ("ask", {"page": "other"})])
    assert [(work.params, work.reason) for work in plan.runs] == [
        ({"page": "no/such/page"}, "forced"),
        ({"page": "other"}, "File('other') is missing"),
    ]
    with pytest.raises(runcue.UnknownTask, match=r"^work.jsonl:1: Unknown task: 'paint'"):
        cue.plan(lines('{"task": "paint"}'))
    with pytest.raises(runcue.ConfigurationError, match="several submissions"):
        cue.plan(line)


def test_each_line_is_a_work() -> None:
    found = lines(
        '{"task": "summarize"}\n'
        '{"task": "extract_text", "params": {"page": 1}, "inputs": "a.png", "outputs": ["a.txt", "b.txt"], '
        '"key": 7, "duplicate": "error", "force": true, "retry": 3}\n',
    )
    options = {
        "inputs": "a.png",
        "outputs": ["a.txt", "b.txt"],
        "key": 7,
        "duplicate": "error",
        "force": True,
        "retry": 3,
    }
    assert found == [
        Submission("summarize", {}, {}, "work.jsonl:1"),
        Submission("extract_text", {"page": 1}, options, "work.jsonl:2"),
    ]


def test_what_is_null_is_as_good_as_not_there() -> None:
    [found] = lines('{"task": "summarize", "params": null, "key": null, "force": null}')
    assert (found.params, found.options) == ({}, {})


def test_empty_lines_count_but_are_no_work_units() -> None:
    found = lines('\n \t\n{"task": "summarize"}\n\n')
    assert [one.where.rpartition(":")[2] for one in found] == ["3"]
    assert lines("") == []


def test_files_of_other_systems_are_read() -> None:
    content = (
        b'\xef\xbb\xbf{"task": "summarize"}\r\n{"task": "extract_text", "params": {"name": "\xc3\xa4"}}\r\n'
    )
    assert [(one.task, one.params) for one in lines(content)] == [
        ("summarize", {}),
        ("extract_text", {"name": "ä"}),
    ]


def test_only_a_line_feed_ends_a_line() -> None:
    found = lines('{"task": "summarize", "params": {"text": "a\u2028b\u0085c"}}\n')
    assert [one.params for one in found] == [{"text": "a\u2028b\u0085c"}]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{}", 'it has no "task"'),
        ('{"task": null}', 'it has no "task"'),
        ('{"task": 3}', "'task' must be text, not 3"),
        ('{"task": "summarize", "parms": {}}', "there is no field 'parms'; did you mean 'params'?"),
        ('{"task": "summarize", "colour": "red"}', "there is no field 'colour'; there is task, params"),
        ('{"task": "summarize", "params": [1]}', "'params' must be an object, not [1]"),
        ('{"task": "summarize", "params": "x"}', "'params' must be an object, not \"x\""),
        ('{"task": "summarize", "inputs": 3}', "'inputs' must be a path or a list of paths, not 3"),
        ('{"task": "summarize", "outputs": ["a", 3]}', "'outputs' must be a path or a list of paths, not "),
        ('{"task": "summarize", "key": ["a"]}', "'key' must be text or a number, not [\"a\"]"),
        ('{"task": "summarize", "force": "no"}', "'force' must be true or false, not \"no\""),
        ('{"task": "summarize", "retry": 0}', "'retry' must be a whole number of at least 1, or -1, not 0"),
        ('{"task": "summarize", "retry": 2.5}', "'retry' must be a whole number of at least 1, or -1, not 2.5"),
        ('{"task": "summarize", "retry": true}', "'retry' must be a whole number of at least 1, or -1, not true"),
        ('{"task": "summarize", "retry": "3"}', "'retry' must be a whole number of at least 1, or -1, not \"3\""),
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
def test_a_malformed_line_is_told_with_its_number(line: str, text: str) -> None:
    told = refusal(f'{{"task": "summarize"}}\n\n{line}\n')
    assert told.startswith(f"work.jsonl:3: {text}")


def test_what_is_not_utf_8_is_told_with_its_line() -> None:
    content = b'{"task": "summarize"}\n{"task": "summarize", "params": {"name": "M\xfcller"}}\n'
    assert refusal(content) == "work.jsonl:2: byte 44 of the line is not UTF-8"
    assert refusal('{"task": "summarize"}'.encode("utf-16")) == (
        "work.jsonl:1: byte 1 of the line is not UTF-8"
    )
