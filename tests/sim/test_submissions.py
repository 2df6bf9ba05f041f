"""Work units written down in a file: for which cue they are read, and how they are submitted."""

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


def test_what_is_written_is_read_with_its_place(tmp_path: Path) -> None:
    assert lines(tmp_path, '\n{"task": "summarize", "params": {"page": 1}, "force": true}\n') == [
        Submission("summarize", {"page": 1}, {"force": True}, f"{tmp_path}/work.jsonl:2")
    ]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('{"task": "sumarize"}', "there is no task 'sumarize'; did you mean 'summarize'?"),
        ('{"task": "paint"}', "there is no task 'paint'; there is extract_text, summarize"),
        ('{"task": ""}', "there is no task ''; there is extract_text, summarize"),
        ('{"task": "summarize", "parms": {}}', "there is no field 'parms'; did you mean 'params'?"),
        ('{"task": "summarize", "params": {"a": ' + "1" * 5000 + "}}", "Exceeds the limit "),
        ("# the summaries", "no JSON: Expecting value at character 1 of # the summaries"),
    ],
    ids=lambda text: text[:40],
)
def test_a_line_that_will_not_do_is_told_with_its_number(tmp_path: Path, line: str, text: str) -> None:
    told = refusal(tmp_path, f'{{"task": "summarize"}}\n\n{line}\n')
    assert told.startswith(f"work.jsonl:3: {text}")


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO(b'{"task": "summarize"}\n{"task": "summarise"}\n')
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=content))
    with pytest.raises(BadUsage, match=r"^standard input:2: there is no task 'summarise'; did you mean"):
        read("-", TASKS)


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
    line = Submission("summarize", {"out": "x"}, {"inputs": ["a", "b"], "outputs": "c", "force": True})
    asyncio.run(submit(cue, [line]))
    [work] = [blocked["work"] for blocked in cue.debug_blocked()]
    assert (work.params, list(map(str, work.inputs)), list(map(str, work.outputs))) == (
        {"out": "x"},
        ["a", "b"],
        ["c"],
    )


def test_what_the_cue_does_not_take_is_told_with_the_line() -> None:
    first = Submission("summarize", {"out": "x", "page": 1}, {}, "work.jsonl:1")
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
        many = [Submission("summarize", {"out": str(number)}) for number in range(4)]
        await submit(cue, many, rate=0.5)
        return [work.created_at - EPOCH for work in await cue.list()]

    assert run(main) == [0, 2, 4, 6]
