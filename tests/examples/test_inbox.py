"""The inbox example: texts are converted as they come, and Ctrl-C ends it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.support.programs import run_example, start_python, wait_until

pytest.importorskip("watchfiles", reason="the example takes the extra `watch`")

PROGRAM = Path(__file__).parents[2] / "examples" / "inbox.py"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
def test_texts_are_converted_as_they_come_until_it_is_interrupted(tmp_path: Path) -> None:
    inbox, out = tmp_path / "inbox", tmp_path / "out" / "inbox"
    (inbox / "deep").mkdir(parents=True)
    (inbox / "a.txt").write_text("One & two.\n\nThree.\n")
    program = start_python(
        PROGRAM, folder=tmp_path, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "Put *.txt into inbox/; Ctrl-C ends.\n"
    (inbox / "deep" / "b.txt.part").write_text("Four")
    (inbox / "deep" / "b.txt.part").rename(inbox / "deep" / "b.txt")
    (inbox / "c.pdf").touch()
    wait_until(lambda: (out / "a.html").exists() and (out / "deep" / "b.html").exists())
    program.send_signal(signal.SIGINT)
    said, warned = program.communicate(timeout=30)
    assert program.returncode == 0
    *each, together = said.splitlines()
    assert sorted(each) == ["inbox/a.txt: converted", "inbox/deep/b.txt: converted"]
    assert together == "2 converted, 0 up to date, 0 failed"
    assert "Interrupted: finishing " in warned
    assert (out / "a.html").read_text() == (
        "<!doctype html>\n<title>a</title>\n<p>One &amp; two.</p>\n<p>Three.</p>\n"
    )
    again = run_example(PROGRAM, "--once", folder=tmp_path)
    assert again.stdout.endswith("\n0 converted, 2 up to date, 0 failed\n")
