"""From a PDF to texts, a summary and a picture of the run: `python examples/pdf_pipeline [PDF] [--out DIR]`.

Pages are rendered by PDFium, read by tesseract (or from the PDF's text layer where it is not installed) and shortened
by an HTTP service with a rate limit, which the program starts on this machine. Run it twice: the second run does
nothing. Delete one page's text and run it again: that page is read again, and the summary is made again.

Lives here: the command line, and the translation of what can go wrong into one line each. The pipeline is in
pipeline.py, which is the module to read.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `python -m examples.pdf_pipeline`

import httpx

import runcue
from document import UnreadablePdfError, read_outline
from ocr import OcrError, find_tesseract
from pipeline import Plan, TextSource, declare, prepare, submit_everything
from report import Tally, report
from runcue.timeline import Timeline
from summary_server import LIMIT, WINDOW, SummaryServer

HANDBOOK = Path(__file__).resolve().parent / "handbook" / "handbook.pdf"

RATE = f"{LIMIT}/{WINDOW:g}sec"


class BadInputError(Exception):
    """The user asked for what cannot be had; the text is the line they get to read."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="pdf_pipeline",
        description="Render a PDF, extract its text page by page, summarize it, and draw how that went.",
    )
    parser.add_argument("pdf", nargs="?", type=Path, default=HANDBOOK, metavar="PDF",
                        help="the document (default: a handbook of 13 pages that comes with the example)")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="where the files go (default: out/pdf_pipeline/NAME)")  # fmt: skip
    parser.add_argument("--text-from", choices=("auto", "tesseract", "layer"), default="auto",
                        help="read the rendered pages, or the text that the PDF carries in itself (default: auto, "
                             "which is tesseract if it is installed)")  # fmt: skip
    parser.add_argument("--language", default="eng", metavar="LANG",
                        help='what tesseract shall read, for example "deu" or "eng+fra" (default: eng)')  # fmt: skip
    parser.add_argument("--rate", default=RATE,
                        help=f"how often to ask the summary server, which allows {LIMIT} requests per "
                             f"{WINDOW:g} s (default: %(default)s); try 100/sec to see it refuse")  # fmt: skip
    return parser.parse_args(arguments)


def choose_text_source(wanted: str, language: str) -> TextSource:
    """Decide where texts come from.

    Args:
        wanted: "auto", "tesseract" or "layer".
        language: What tesseract shall read.

    Raises:
        BadInputError: Tesseract was asked for and cannot be used.
    """
    layer = "the text layer of the PDF"
    if wanted == "layer":
        return TextSource(layer, None)
    try:
        version = find_tesseract(language)
    except OcrError as error:
        if wanted == "tesseract":
            raise BadInputError(str(error)) from error
        return TextSource(layer, None, because=str(error))
    return TextSource(f"{version} ({language})", language)


async def run(plan: Plan, out: Path, server: SummaryServer, rate: str) -> int:
    """Run the pipeline and print the report.

    Returns:
        The exit code: 0 if everything is up to date now.
    """
    cue = runcue.Cue()
    # The server is on this machine, whatever proxy the environment names.
    async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as summarizer:
        declare(cue, plan, summarizer, rate)
        tally = Tally(cue, total=3 * plan.outline.pages + 1)
        timeline = Timeline(cue, label=lambda work: str(work.params.get("page", "all")))
        async with cue:
            await submit_everything(cue, plan)
            summary = await cue.drain()
    picture = out / "timeline.svg"
    shown = str(picture)
    if tally.of("run") or tally.of("failed"):
        drawing = timeline.svg(title=f"{plan.outline.title}: from PDF to summary")
        runcue.atomic_write(picture, drawing, durable=False)
    else:
        # A run that did nothing has nothing to show, and the picture of the one that did is still true.
        shown += " (of the last run that did something)" if picture.exists() else " (not drawn: nothing ran)"
    tally.clear_line()
    print("\n".join(report(plan, tally, summary, server.limit, out, shown)))
    return 1 if summary.failed or summary.blocked else 0


def main(arguments: list[str]) -> int:
    """Do what the command line asks for.

    Returns:
        The exit code: 0 when all is done, 1 when something could not be, 130 after Ctrl-C.
    """
    options = parse_arguments(arguments)
    # Runcue's warnings, above the line of progress and not in the middle of it.
    logging.basicConfig(format=("\r\033[K" if sys.stderr.isatty() else "") + "pdf_pipeline: %(message)s")
    out: Path = options.out or Path("out/pdf_pipeline") / options.pdf.stem
    try:
        outline = read_outline(options.pdf)
        plan = Plan(options.pdf, outline, out, choose_text_source(options.text_from, options.language))
        try:
            prepare(plan)
        except OSError as error:
            raise BadInputError(f"cannot write to {out}: {error.strerror}") from error
        with SummaryServer() as server:
            return runcue.run(lambda: run(plan, out, server, options.rate))
    except (UnreadablePdfError, BadInputError, runcue.RuncueError) as error:
        print(f"pdf_pipeline: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"pdf_pipeline: {error.filename or out}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pdf_pipeline: interrupted; run it again to go on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
