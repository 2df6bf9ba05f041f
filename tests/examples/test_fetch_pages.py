"""The program that fetches many pages: what fails is tried again or told, and what is there is not fetched again."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples import fetch_pages
from tests.support.programs import run_example

PROGRAM = Path(fetch_pages.__file__)


def test_it_fetches_what_is_missing_and_says_what_became_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pages"
    arguments = ["--pages", "21", "--out", str(out)]
    assert fetch_pages.main(arguments) == 1
    first = capsys.readouterr().out
    assert "20 titles\n20 completed, 1 failed in " in first
    assert "404 Not Found" in first
    assert "503" not in first
    assert len(list(out.glob("*.html"))) == 20

    (out / "0007.html").unlink()
    assert fetch_pages.main(arguments) == 1
    assert "20 titles\n1 completed, 19 skipped, 1 failed in " in capsys.readouterr().out


def test_what_cannot_work_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch_pages.main(["--rate", "5/moon", "--out", str(tmp_path)]) == 2
    assert fetch_pages.main(["--at-once", "0", "--out", str(tmp_path)]) == 2
    assert fetch_pages.main(["--out", str(PROGRAM)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in said] == ["fetch_pages"] * 3


def test_it_explains_itself(tmp_path: Path) -> None:
    done = run_example(PROGRAM, "--help", folder=tmp_path)
    assert done.returncode == 0
    assert "--at-once" in done.stdout
