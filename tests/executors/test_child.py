"""What a process of handlers does besides its calls, looked at from inside: most of it happens where none can tell."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
from pathlib import Path

import pytest

from runcue.executors import _child, calls
from tests.support.apart import plainly_pickled

pytestmark = pytest.mark.rule(57)


def test_a_main_program_that_cannot_be_had_is_told_and_not_tried_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "__mp_main__", sys)
    former = sys.modules["__main__"]
    leaves = tmp_path / "leaves.py"
    leaves.write_text("raise SystemExit(3)", encoding="utf-8")
    for module, script, words in (
        ("no_such_module_anywhere", None, "there is no module"),
        (None, None, "it has no file"),
        (None, str(leaves), "SystemExit: 3"),
    ):
        program = _child._MainProgram(module, script)
        for _ in range(2):
            with pytest.raises(ImportError, match=words):
                program.load()
        assert sys.modules["__main__"] is former


def test_what_a_handler_has_forked_ends_as_a_process_does_and_is_silent_if_it_has_returned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)

    def answer(value: object, error: BaseException | None = None) -> bytes:
        failure = None if error is None else (type(error).__name__, str(error), "Traceback of it\n")
        return pickle.dumps((value, error and pickle.dumps(error), failure, False, (), {}, 0.0, 0.0, ""))

    with plainly_pickled():
        for given in (
            answer("child"),
            b"cannot be unpickled",
            answer(None, SystemExit(3)),
            answer(None, SystemExit()),
        ):
            _child._leave(given, calls)
        assert capsys.readouterr().err == ""
        _child._leave(answer(None, SystemExit("enough")), calls)
        _child._leave(answer(None, ValueError("bad")), calls)
    assert codes == [0, 0, 3, 0, 1, 1]
    assert capsys.readouterr().err == "enough\nTraceback of it\n"


def test_a_record_is_sent_whatever_somebody_has_added_to_it() -> None:
    reading, writing = os.pipe()
    to_parent = _child._ToParent(writing)
    handler = _child._LogToParent(to_parent)
    record = logging.LogRecord("name", 20, "path", 1, "of %s", ("it",), None)
    record.lock, record.number = threading.Lock(), 2
    handler.emit(record)
    length, kind = _child.HEADER.unpack(os.read(reading, _child.HEADER.size))
    said = pickle.loads(os.read(reading, length))
    assert (kind, said["msg"], said["number"], "lock" in said["lock"]) == (_child.RECORD, "of it", 2, True)
    os.close(reading)
    _child._let_go((writing,))
    _child._let_go((writing,))  # it is closed


def test_an_entry_is_told_once_somebody_asks_and_not_after_the_answer() -> None:
    reading, writing = os.pipe()
    to_parent = _child._ToParent(writing)

    def told() -> list[int]:
        os.set_blocking(reading, False)
        kinds = []
        while True:
            try:
                length, kind = _child.HEADER.unpack(os.read(reading, _child.HEADER.size))
            except BlockingIOError:
                return kinds
            os.read(reading, length)
            kinds.append(kind)

    to_parent.enter()
    assert told() == []
    to_parent.ask()
    assert told() == [_child.ENTERED]
    to_parent.answer(b"one")
    to_parent.ask()
    assert told() == [_child.ANSWER]
    to_parent.enter()
    assert told() == [_child.ENTERED]
    to_parent.answer(b"two")
    to_parent.enter()
    assert told() == [_child.ANSWER]
    os.close(reading)
    os.close(writing)


def test_a_process_ends_with_its_parent_and_a_little_later_if_it_is_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[object] = []
    monkeypatch.setattr(os, "killpg", lambda *what: done.append(what))
    monkeypatch.setattr(_child, "sleep", done.append)
    ending = threading.Event()
    for _ in range(2):
        reading, writing = os.pipe()
        os.close(writing)
        _child._end_with_parent(reading, ending, done.clear)
        os.close(reading)
        ending.set()
    _child._end_with_parent(reading, ending, done.clear)  # a handler has closed it
    assert done == [(0, 9), _child._AFTER_PARENT, (0, 9)]


def test_a_process_that_is_asked_when_its_parent_is_gone_ends_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[object] = []
    monkeypatch.setattr(os, "killpg", lambda *what: done.append(what))

    def ask() -> None:
        done.append("asked")
        raise BrokenPipeError

    reading, writing = os.pipe()
    os.write(writing, b"??")
    os.close(writing)
    _child._end_with_parent(reading, threading.Event(), ask)
    os.close(reading)
    assert done == ["asked", "asked", (0, 9)]


def test_a_folder_that_is_gone_and_a_stream_that_is_closed_are_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    _child._be_in(str(gone))
    _child._be_in("")
    _child._be_in(str(tmp_path))
    assert Path.cwd() == tmp_path
    closed = (tmp_path / "file").open("w", encoding="utf-8")
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    monkeypatch.setattr(sys, "stderr", None)
    _child._flush()
