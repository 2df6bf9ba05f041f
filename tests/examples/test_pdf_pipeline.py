"""The PDF pipeline example, as its users run it: real processes, real PDFs, a real server, real time.

Most tests take the text layer, which every machine has. The one that needs tesseract is skipped, aloud, without it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

from tests.support.programs import but_for_slowness

EXAMPLE = Path(__file__).parents[2] / "examples" / "pdf_pipeline"
TASKS = ("render_page", "extract_text", "summarize_page", "summarize")
LAYER = ("--text-from", "layer")


@dataclass(frozen=True)
class Run:
    """What one run of the program left behind on its streams."""

    code: int
    out: str
    err: str

    def counts(self, column: str) -> dict[str, int]:
        """A column of the report's table, by task."""
        columns = ("run", "skipped", "failed", "not run")
        rows = (re.search(rf"^{task} +(\d+) +(\d+) +(\d+) +(\d+)$", self.out, re.MULTILINE) for task in TASKS)
        return {
            task: int(row[columns.index(column) + 1]) for task, row in zip(TASKS, rows, strict=True) if row
        }

    @property
    def refused(self) -> str:
        found = re.search(r"(none|\d+) refused \(429\)", self.out)
        assert found, self.out
        return found[1]


def run(*arguments: object, cwd: Path, env: dict[str, str] | None = None) -> Run:
    done = subprocess.run(
        [sys.executable, EXAMPLE, *map(str, arguments)],
        cwd=cwd, env=env, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    return Run(done.returncode, done.stdout, but_for_slowness(done.stderr))


def make_pdf(path: Path, pages: list[str], **options: str) -> Path:
    canvas = Canvas(str(path), pagesize=(360, 240), invariant=1, **options)
    for text in pages:
        canvas.setFont("Times-Roman", 14)
        for row, line in enumerate(text.splitlines()):
            canvas.drawString(20, 200 - 20 * row, line)
        canvas.showPage()
    canvas.save()
    return path


# Words, because tesseract takes a lonely 1 for a bar.
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def page(number: int) -> str:
    name = NAMES[number]
    return f"Chapter {name}\nThe apple of page {name} is ripe in autumn.\nNobody picks it before the first frost."


def seen(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every artifact with its inode and modification time: what was made again differs."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".runcue-")]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def made_again(before: dict[Path, tuple[int, int]], folder: Path) -> set[str]:
    return {path.name for path, stamp in seen(folder).items() if before.get(path) != stamp}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with book.pdf of five pages and out/, what a first run made of it; and a copy, not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    book, copy = folder / "book", folder / "copy"
    book.mkdir()
    make_pdf(book / "book.pdf", [page(number) for number in range(1, 6)])
    first = run("book.pdf", "--out", "out", *LAYER, cwd=book)
    assert first.code == 0, first
    return book, Path(shutil.copytree(book, copy))


@pytest.fixture
def book(finished: tuple[Path, Path]) -> Path:
    """The folder as the first run left it, to do anything with."""
    book, copy = finished
    shutil.rmtree(book)
    return Path(shutil.copytree(copy, book))


def test_the_handbook_becomes_texts_a_summary_and_a_timeline_and_then_all_is_skipped(tmp_path: Path) -> None:
    first = run(*LAYER, cwd=tmp_path)
    assert (first.code, first.err) == (0, "")
    assert first.counts("run") == {
        "render_page": 13,
        "extract_text": 13,
        "summarize_page": 13,
        "summarize": 1,
    }
    assert first.refused == "none"
    assert "14 requests answered" in first.out
    assert "text from       the text layer of the PDF" in first.out

    out = tmp_path / "out" / "pdf_pipeline" / "handbook"
    texts = sorted((out / "text").glob("page-*.txt"))
    assert len(texts) == 13
    assert "A very dwarfing rootstock gives a tree no taller than a person." in " ".join(
        texts[3].read_text().split()
    )
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (out / "pages").glob("page-*.png"))
    summary = (out / "summary.md").read_text()
    assert summary.startswith("# The Orchard Handbook\n")
    assert "no language model" in summary
    assert summary.count("\n**Page ") == 13

    drawing = ET.parse(out / "timeline.svg").getroot()  # noqa: S314 - the program wrote it a moment ago
    words = {element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"pdfium", "summarizer", "40 work units \N{MIDDLE DOT} 40 completed"} <= words

    before = seen(tmp_path)
    second = run(*LAYER, cwd=tmp_path)
    assert (second.code, second.err) == (0, "")
    assert second.counts("skipped") == first.counts("run")
    assert "Everything was up to date: all 40 work units skipped, nothing run." in second.out
    assert "0 requests answered" in second.out
    assert made_again(before, tmp_path) == set()


def test_a_deleted_text_is_made_again_with_what_depends_on_it_and_nothing_else(book: Path) -> None:
    before = seen(book)
    (book / "out" / "text" / "page-03.txt").unlink()
    again = run("book.pdf", "--out", "out", *LAYER, cwd=book)
    assert again.code == 0
    assert again.counts("run") == {"render_page": 0, "extract_text": 1, "summarize_page": 1, "summarize": 1}
    assert again.counts("skipped") == {
        "render_page": 5,
        "extract_text": 4,
        "summarize_page": 4,
        "summarize": 0,
    }
    assert (book / "out" / "text" / "page-03.txt").exists()
    changed = made_again(before, book)
    assert changed == {"page-03.txt", "summary.md", "timeline.svg"}
    assert (book / "out" / "text" / "page-02.txt") in before


def test_a_text_that_is_not_what_was_read_is_read_again(book: Path) -> None:
    text = book / "out" / "text" / "page-03.txt"
    as_read = text.read_text()
    text.write_text("Half a te")
    again = run("book.pdf", "--out", "out", *LAYER, cwd=book)
    assert again.counts("run") == {"render_page": 0, "extract_text": 1, "summarize_page": 1, "summarize": 1}
    assert text.read_text() == as_read


def test_a_document_that_was_merely_copied_is_not_rendered_again(book: Path) -> None:
    shutil.copyfile(book / "book.pdf", book / "copy.pdf")
    (book / "copy.pdf").replace(book / "book.pdf")
    again = run("book.pdf", "--out", "out", *LAYER, cwd=book)
    # The summary goes by time, and is one request.
    assert again.counts("run") == {"render_page": 0, "extract_text": 0, "summarize_page": 0, "summarize": 1}


def test_a_changed_document_makes_its_artifacts_stale_and_pages_it_lost_disappear(book: Path) -> None:
    stamp = (book / "book.pdf").stat()
    make_pdf(book / "book.pdf", [page(1), page(2), "A plum grows on the third page of the new edition."])
    # Older than everything made from the edition before: it is the content that counts.
    os.utime(book / "book.pdf", ns=(stamp.st_atime_ns, stamp.st_mtime_ns - 10**12))
    again = run("book.pdf", "--out", "out", *LAYER, cwd=book)
    assert again.code == 0
    assert "A plum grows" in (book / "out" / "text" / "page-03.txt").read_text()
    assert "A plum grows" in (book / "out" / "summary.md").read_text()
    assert sorted(path.name for path in (book / "out" / "text").glob("page-*.txt")) == [
        "page-01.txt",
        "page-02.txt",
        "page-03.txt",
    ]
    assert again.counts("run") == {"render_page": 3, "extract_text": 3, "summarize_page": 3, "summarize": 1}
    assert [path.name for path in (book / "out").rglob(".runcue-stamp-page-0[45]*")] == []


def test_the_server_refuses_whoever_is_too_fast_and_the_next_run_goes_on_from_there(tmp_path: Path) -> None:
    make_pdf(tmp_path / "book.pdf", [page(number) for number in range(1, 9)])
    hasty = run("book.pdf", "--out", "out", *LAYER, "--rate", "100/sec", cwd=tmp_path)
    assert hasty.code == 1
    assert int(hasty.refused) > 0
    assert hasty.counts("failed")["summarize_page"] == int(hasty.refused)
    assert hasty.counts("not run")["summarize"] == 1
    assert re.search(
        r"^not run: summarize: .*out.extracts.page-0\d.txt.* is missing", hasty.out, re.MULTILINE
    )
    patient = run("book.pdf", "--out", "out", *LAYER, cwd=tmp_path)
    assert (patient.code, patient.refused) == (0, "none")
    assert patient.counts("run")["summarize_page"] == int(hasty.refused)
    assert patient.counts("run")["extract_text"] == 0


def start(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, EXAMPLE, *map(str, arguments)],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(path: Path) -> None:
    """Waits until a running program has made a file: the moment is aimed at by what is seen, not by the clock."""
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.005)


def test_a_kill_leaves_only_whole_artifacts_and_the_next_run_finishes(tmp_path: Path) -> None:
    make_pdf(tmp_path / "book.pdf", [page(number) for number in range(1, 8)])
    victim = start("book.pdf", "--out", "out", *LAYER, cwd=tmp_path)
    wait_for(tmp_path / "out" / "text" / "page-02.txt")
    victim.kill()
    victim.communicate()
    left = seen(tmp_path / "out")
    again = run("book.pdf", "--out", "out", *LAYER, cwd=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert again.counts("run")["extract_text"] < 7
    assert again.counts("run")["summarize"] == 1
    assert all(page(number).splitlines()[1] in text(tmp_path, number) for number in range(1, 8))
    assert (
        left[tmp_path / "out" / "text" / "page-01.txt"]
        == seen(tmp_path)[tmp_path / "out" / "text" / "page-01.txt"]
    )


def text(folder: Path, number: int) -> str:
    return (folder / "out" / "text" / f"page-{number:02}.txt").read_text()


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to another process there")
def test_ctrl_c_ends_with_one_line_and_130_and_the_next_run_goes_on(tmp_path: Path) -> None:
    make_pdf(tmp_path / "book.pdf", [page(number) for number in range(1, 8)])
    interrupted = start("book.pdf", "--out", "out", *LAYER, cwd=tmp_path)
    wait_for(tmp_path / "out" / "extracts" / "page-01.txt")
    interrupted.send_signal(signal.SIGINT)
    _, err = interrupted.communicate(timeout=20)
    assert interrupted.returncode == 130
    assert "Traceback" not in err
    assert "interrupted; run it again to go on from here" in err
    again = run("book.pdf", "--out", "out", *LAYER, cwd=tmp_path)
    assert again.code == 0
    assert again.counts("skipped")["extract_text"] > 0
    assert again.counts("run")["summarize"] == 1


def corrupt(folder: Path) -> list[object]:
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7\nthis is not what follows\n")
    return ["bad.pdf"]


def truncated(folder: Path) -> list[object]:
    whole = make_pdf(folder / "whole.pdf", [page(1)]).read_bytes()
    (folder / "half.pdf").write_bytes(whole[:200])
    return ["half.pdf"]


def empty(folder: Path) -> list[object]:
    (folder / "empty.pdf").touch()
    return ["empty.pdf"]


def encrypted(folder: Path) -> list[object]:
    return [make_pdf(folder / "secret.pdf", [page(1)], encrypt="a password")]


def missing(folder: Path) -> list[object]:
    return ["no/such.pdf"]


def directory(folder: Path) -> list[object]:
    (folder / "papers").mkdir()
    return ["papers"]


def out_is_a_file(folder: Path) -> list[object]:
    (folder / "taken").touch()
    return ["--out", "taken"]


def out_is_below_a_file(folder: Path) -> list[object]:
    (folder / "taken").touch()
    return ["--out", "taken/out"]


def out_is_not_writable(folder: Path) -> list[object]:
    (folder / "closed").mkdir(mode=0o500)
    # Permissions do not stop the superuser, who runs tests in containers; a file system without files does.
    return ["--out", "closed" if os.access(folder, os.W_OK) and os.geteuid() else "/proc/out"]


def part_of_out_is_a_file(folder: Path) -> list[object]:
    (folder / "out").mkdir()
    (folder / "out" / "text").touch()
    return ["--out", "out"]


def bad_rate(folder: Path) -> list[object]:
    return ["--rate", "often"]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (corrupt, "bad.pdf is not a PDF, or is damaged"),
        (truncated, "half.pdf is not a PDF, or is damaged"),
        (empty, "empty.pdf is not a PDF, or is damaged"),
        (encrypted, "secret.pdf is encrypted"),
        (missing, "there is no file no/such.pdf"),
        (directory, "papers is not a file"),
        (out_is_a_file, "cannot write to taken"),
        (out_is_below_a_file, "cannot write to taken/out"),
        (out_is_not_writable, "cannot write to"),
        (part_of_out_is_a_file, "cannot write to out"),
        (bad_rate, "'often'"),
    ],
)
def test_bad_input_ends_in_one_clear_line_and_exit_code_1(
    prepare: Callable[[Path], list[object]], message: str, tmp_path: Path
) -> None:
    done = run(*prepare(tmp_path), *LAYER, cwd=tmp_path)
    assert done.code == 1
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("pdf_pipeline: ")
    assert message in line


def test_pages_without_text_are_said_to_have_none(tmp_path: Path) -> None:
    make_pdf(tmp_path / "blank.pdf", ["", ""])
    done = run("blank.pdf", *LAYER, cwd=tmp_path)
    assert done.code == 0
    summary = (tmp_path / "out" / "pdf_pipeline" / "blank" / "summary.md").read_text()
    assert "The document has no text that could be read." in summary
    assert "**Page 2.** (no text)" in summary


def test_without_tesseract_the_text_layer_is_taken_and_the_report_says_why(tmp_path: Path) -> None:
    make_pdf(tmp_path / "book.pdf", [page(1)])
    nowhere = {**os.environ, "PATH": str(tmp_path)}
    done = run("book.pdf", cwd=tmp_path, env=nowhere)
    assert done.code == 0
    assert "text from       the text layer of the PDF: tesseract is not installed" in done.out
    insisting = run("book.pdf", "--text-from", "tesseract", cwd=tmp_path, env=nowhere)
    assert (insisting.code, insisting.err) == (1, "pdf_pipeline: tesseract is not installed\n")


def test_tesseract_reads_the_pictures(tmp_path: Path) -> None:
    if shutil.which("tesseract") is None:
        pytest.skip("tesseract is not installed: READING PICTURES IS NOT TESTED (apt install tesseract-ocr)")
    make_pdf(tmp_path / "book.pdf", [page(1), page(2), page(3)])
    first = run("book.pdf", "--out", "out", cwd=tmp_path)
    assert (first.code, first.err) == (0, "")
    assert re.search(r"^text from +tesseract [\d.]+", first.out, re.MULTILINE)
    assert all(page(number).splitlines()[1] in text(tmp_path, number) for number in (1, 2, 3))
    assert "tesseract" in (tmp_path / "out" / "timeline.svg").read_text()
    # A new edition in which one page is different: what looks the same is not read again.
    make_pdf(tmp_path / "book.pdf", [page(1), page(7), page(3)])
    second = run("book.pdf", "--out", "out", cwd=tmp_path)
    assert second.counts("run") == {"render_page": 3, "extract_text": 1, "summarize_page": 1, "summarize": 1}
    assert page(7).splitlines()[1] in text(tmp_path, 2)
    # And another source of the text makes it again.
    third = run("book.pdf", "--out", "out", *LAYER, cwd=tmp_path)
    assert third.counts("run")["extract_text"] == 3
    unknown = run("book.pdf", "--text-from", "tesseract", "--language", "xx", cwd=tmp_path)
    assert (unknown.code, unknown.err) == (1, "pdf_pipeline: tesseract has no data for the language 'xx'\n")


def test_help_shows_every_option(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert done.code == 0
    assert all(option in done.out for option in ("PDF", "--out", "--text-from", "--language", "--rate"))
