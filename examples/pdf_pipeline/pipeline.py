"""The pipeline itself: what is made from what, which services it takes, and the handlers that make it.

    split_pdf -> extract_text, page by page -> summarize_page -> summarize

Nothing here says "then". Every work is submitted at once, and what may run is found by asking two questions about
files: are the inputs valid, and is the output missing or old? That is why a page is read while later pages are still
being rendered, and why running the program again does only what is left to do.

Must not know: the command line, the summary server's insides, how a report looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import httpx

import runcue
from artifacts import Artifact
from document import DPI, Outline, read_text_layer, render_pages
from ocr import cores, read_picture

SENTENCES_PER_PAGE = 2
SENTENCES_IN_TOTAL = 6


@dataclass(frozen=True)
class TextSource:
    """Where the text of a page comes from.

    Attributes:
        description: In words. Texts are made again when it changes.
        language: What tesseract shall read; None means the PDF's own text layer.
        because: Why it is this one, where the user did not choose it.
    """

    description: str
    language: str | None
    because: str = ""


class RefusedError(Exception):
    """The summary server said 429: it was asked more often than it allows."""


class Plan:
    """Every file that will exist in the end, and what each is made from.

    Args:
        pdf: The document.
        outline: Its title and number of pages.
        out: The folder that everything goes to.
        text_source: Where texts come from.
    """

    def __init__(self, pdf: Path, outline: Outline, out: Path, text_source: TextSource) -> None:
        self.outline = outline
        self.text_source = text_source
        self.source = Artifact(pdf)
        self.numbers = range(1, outline.pages + 1)
        digits = max(2, len(str(outline.pages)))
        names = {number: f"page-{number:0{digits}}" for number in self.numbers}
        self.pictures = {
            number: Artifact(out / "pages" / f"{name}.png", (self.source,), f"page {number} at {DPI} dpi")
            for number, name in names.items()
        }
        # A text layer is not on the picture, so a text that was taken from it also depends on the PDF as such.
        also = () if text_source.language else (self.source,)
        self.texts = {
            number: Artifact(
                out / "text" / f"{name}.txt", (self.pictures[number], *also), text_source.description
            )
            for number, name in names.items()
        }
        self.extracts = {
            number: Artifact(
                out / "extracts" / f"{name}.txt", (self.texts[number],), f"{SENTENCES_PER_PAGE} sentences"
            )
            for number, name in names.items()
        }
        recipe = f"{outline.title}, {text_source.description}, {SENTENCES_IN_TOTAL} sentences"
        self.summary = Artifact(out / "summary.md", tuple(self.extracts.values()), recipe)

    @property
    def artifacts(self) -> list[Artifact]:
        """All that will be made."""
        return [*self.pictures.values(), *self.texts.values(), *self.extracts.values(), self.summary]

    def made_by(self, work: runcue.Work) -> list[Artifact]:
        """Return what a work makes."""
        if work.task == "split_pdf":
            return list(self.pictures.values())
        if work.task == "summarize":
            return [self.summary]
        made = self.texts if work.task == "extract_text" else self.extracts
        return [made[work.params["page"]]]


def declare(cue: runcue.Cue, plan: Plan, summarizer: httpx.AsyncClient, rate: str) -> None:
    """Tell a cue everything: its services, the two questions, and the tasks.

    Args:
        cue: The cue.
        plan: The files.
        summarizer: A client of the summary server.
        rate: How often that server may be asked.
    """
    # PDFium must not run twice at once in one process, whoever calls it; a service with one slot is that promise.
    cue.service("pdfium", concurrent=1)
    cue.service("summarizer", rate=rate, concurrent=5)

    @cue.is_ready
    def is_ready(work: runcue.Work) -> bool | tuple[bool, str]:
        for artifact in plan.made_by(work):
            missing = artifact.first_invalid_input()
            if missing:
                return False, f"waits for {missing.path}"
        return True

    @cue.is_stale
    def is_stale(work: runcue.Work) -> bool:
        return not all(artifact.is_valid() for artifact in plan.made_by(work))

    @cue.task("split_pdf", uses="pdfium")
    def split_pdf(work: runcue.Work) -> None:
        missing = {number: picture for number, picture in plan.pictures.items() if not picture.is_valid()}
        made_from = {number: picture.made_from() for number, picture in missing.items()}
        for number, image in render_pages(plan.source.path, missing):
            # From here on this page is a valid artifact, and whoever waits for it need not wait for the others. In a
            # new edition of the PDF most pages look as they did before, and need not be read again.
            missing[number].publish(image, made_from[number], same_is_news=False)

    if plan.text_source.language:
        _read_pictures(cue, plan, plan.text_source.language)
    else:
        _read_text_layer(cue, plan)

    @cue.task("summarize_page", uses="summarizer", timeout=60)
    async def summarize_page(work: runcue.Work) -> None:
        page = work.params["page"]
        target = plan.extracts[page]
        made_from = target.made_from()
        sentences = await _ask(summarizer, _read(plan.texts[page]), SENTENCES_PER_PAGE)
        target.publish("".join(f"{sentence}\n" for sentence in sentences).encode(), made_from)

    @cue.task("summarize", uses="summarizer", timeout=60)
    async def summarize(work: runcue.Work) -> None:
        made_from = plan.summary.made_from()
        by_page = {number: _read(extract).splitlines() for number, extract in plan.extracts.items()}
        everything = "\n\n".join("\n\n".join(sentences) for sentences in by_page.values())
        best = await _ask(summarizer, everything, SENTENCES_IN_TOTAL)
        plan.summary.publish(_markdown(plan, best, by_page).encode(), made_from)


def _read_pictures(cue: runcue.Cue, plan: Plan, language: str) -> None:
    """Text from what can be seen: one tesseract per core, each in a process of its own."""
    cue.service("tesseract", concurrent=cores())

    @cue.task("extract_text", uses="tesseract", timeout=300)
    async def extract_text(work: runcue.Work) -> None:
        page = work.params["page"]
        target = plan.texts[page]
        made_from = target.made_from()
        text = await read_picture(plan.pictures[page].path, language)
        target.publish(text.encode(), made_from)


def _read_text_layer(cue: runcue.Cue, plan: Plan) -> None:
    """Text from the PDF itself: that is PDFium again, and so takes turns with rendering."""

    @cue.task("extract_text", uses="pdfium")
    def extract_text(work: runcue.Work) -> None:
        page = work.params["page"]
        target = plan.texts[page]
        made_from = target.made_from()
        text = read_text_layer(plan.source.path, page)
        target.publish(text.encode(errors="replace"), made_from)


async def submit_everything(cue: runcue.Cue, plan: Plan) -> None:
    """Submit all works, the last stage first to make the point: the order of submission says nothing."""
    await cue.submit("summarize")
    for number in plan.numbers:
        await cue.submit("summarize_page", params={"page": number})
        await cue.submit("extract_text", params={"page": number})
    await cue.submit("split_pdf")


async def _ask(summarizer: httpx.AsyncClient, text: str, sentences: int) -> list[str]:
    """Let the summary server choose sentences.

    Raises:
        RefusedError: It was asked too often.
        httpx.HTTPError: It did not answer, or not as agreed.
    """
    answer = await summarizer.post("/extract", json={"text": text, "sentences": sentences})
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise RefusedError("the summary server refused (429): too many requests")
    answer.raise_for_status()
    chosen: list[str] = answer.json()["sentences"]
    return chosen


def _read(artifact: Artifact) -> str:
    return artifact.path.read_text(encoding="utf-8")


def _markdown(plan: Plan, best: list[str], by_page: dict[int, list[str]]) -> str:
    """The summary as a page of Markdown, which says what kind of summary it is."""
    lines = [
        f"# {plan.outline.title}",
        "",
        "*Sentences of the document itself, chosen by the frequency of their words; no language model wrote this.",
        f"{plan.outline.pages} pages, text from {plan.text_source.description}.*",
        "",
        "## In short",
        "",
        *(f"- {sentence}" for sentence in best or ["The document has no text that could be read."]),
        "",
        "## Page by page",
        "",
    ]
    for number, sentences in by_page.items():
        lines += [f"**Page {number}.** {' '.join(sentences) or '(no text)'}", ""]
    return "\n".join(lines)
