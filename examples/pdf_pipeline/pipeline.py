"""The pipeline itself: what is made from what, which services it takes, and the handlers that make it.

    render_page -> extract_text -> summarize_page, each page by page -> summarize

Nothing here says "then". Each task declares the files it needs and the files it leaves, every work unit is submitted at
once, and what may run is found by looking at those files. That is why a page is read while later pages are still being
rendered, and why running the program again does only what is left to do.

Must not know: the command line, the summary server's insides, how a report looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import httpx

import runcue
from document import DPI, Outline, read_text_layer, render
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


@dataclass(frozen=True)
class Plan:
    """Every file that will exist in the end.

    Attributes:
        pdf: The document.
        outline: Its title and number of pages.
        out: The folder that everything goes to.
        text_source: Where texts come from.
    """

    pdf: Path
    outline: Outline
    out: Path
    text_source: TextSource

    @property
    def pages(self) -> range:
        return range(1, self.outline.pages + 1)

    @property
    def summary(self) -> Path:
        return self.out / "summary.md"

    def picture(self, page: int) -> Path:
        return self.out / "pages" / f"{self._name(page)}.png"

    def text(self, page: int) -> Path:
        return self.out / "text" / f"{self._name(page)}.txt"

    def extract(self, page: int) -> Path:
        return self.out / "extracts" / f"{self._name(page)}.txt"

    def _name(self, page: int) -> str:
        return f"page-{page:0{max(2, len(str(self.outline.pages)))}}"


def prepare(plan: Plan) -> None:
    """Make the folders, and remove pages that an earlier edition of the document had and this one has not.

    Raises:
        OSError: A folder cannot be made.
    """
    for of_page in (plan.picture, plan.text, plan.extract):
        folder = of_page(1).parent
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {of_page(page).name for page in plan.pages}
        for path in [*folder.glob("page-*"), *folder.glob(".runcue-stamp-page-*")]:
            if path.name.removeprefix(".runcue-stamp-").removesuffix(".stamp") not in wanted:
                path.unlink()


def declare(cue: runcue.Cue, plan: Plan, summarizer: httpx.AsyncClient, rate: str) -> None:
    """Tell a cue everything: its services, and the tasks with what they need and leave.

    Two policies say when a file is out of date. Rendering and reading go by content and params (`digest`): a PDF that
    was merely copied is not rendered again, and a page that looks as it did is not read again. Summaries go by time
    (`newer`, which is the default): whoever deletes a text wants to see it summarized anew, also if it comes out the
    same.

    Args:
        cue: The cue.
        plan: The files.
        summarizer: A client of the summary server.
        rate: How often that server may be asked.
    """
    # PDFium must not run twice at once in one process, whoever calls it; a service with one slot is that promise.
    cue.service("pdfium", concurrent=1)
    # The server counts a request when it arrives, runcue when its handler starts. Of two requests the first may be held
    # up on its way and the second not, and then they arrive closer together than they started: that takes a margin.
    cue.service("summarizer", rate=rate, margin="0.5s", concurrent=5)

    @cue.task(
        "render_page",
        uses="pdfium",
        inputs=plan.pdf,
        outputs=lambda work: plan.picture(work.params["page"]),
        fresh=runcue.digest(),
    )
    def render_page(work: runcue.Work) -> None:
        image = render(plan.pdf, work.params["page"], work.params["dpi"])
        with work.write(work.outputs[0], "wb") as file:
            file.write(image)

    if plan.text_source.language:
        _read_pictures(cue, plan, plan.text_source.language)
    else:
        _read_text_layer(cue, plan)

    @cue.task(
        "summarize_page",
        uses="summarizer",
        timeout=60,
        inputs=lambda work: plan.text(work.params["page"]),
        outputs=lambda work: plan.extract(work.params["page"]),
    )
    async def summarize_page(work: runcue.Work) -> None:
        text = plan.text(work.params["page"]).read_text(encoding="utf-8")
        sentences = await _ask(summarizer, text, SENTENCES_PER_PAGE)
        with work.write(work.outputs[0]) as file:
            file.writelines(f"{sentence}\n" for sentence in sentences)

    @cue.task(
        "summarize",
        uses="summarizer",
        timeout=60,
        inputs=[plan.pdf, *map(plan.extract, plan.pages)],  # the title is the document's
        outputs=plan.summary,
    )
    async def summarize(work: runcue.Work) -> None:
        by_page = {page: plan.extract(page).read_text(encoding="utf-8").splitlines() for page in plan.pages}
        everything = "\n\n".join("\n\n".join(sentences) for sentences in by_page.values())
        best = await _ask(summarizer, everything, SENTENCES_IN_TOTAL)
        with work.write(work.outputs[0]) as file:
            file.write(_markdown(plan, best, by_page))


def _read_pictures(cue: runcue.Cue, plan: Plan, language: str) -> None:
    """Text from what can be seen: one tesseract per core, each in a process of its own."""
    cue.service("tesseract", concurrent=cores())

    @cue.task(
        "extract_text",
        uses="tesseract",
        timeout=300,
        inputs=lambda work: plan.picture(work.params["page"]),
        outputs=lambda work: plan.text(work.params["page"]),
        fresh=runcue.digest(),
    )
    async def extract_text(work: runcue.Work) -> None:
        text = await read_picture(plan.picture(work.params["page"]), language)
        with work.write(work.outputs[0]) as file:
            file.write(text)


def _read_text_layer(cue: runcue.Cue, plan: Plan) -> None:
    """Text from the PDF itself: that is PDFium again, and so takes turns with rendering."""

    @cue.task(
        "extract_text",
        uses="pdfium",
        inputs=lambda work: [plan.pdf, plan.picture(work.params["page"])],
        outputs=lambda work: plan.text(work.params["page"]),
        fresh=runcue.digest(),
    )
    def extract_text(work: runcue.Work) -> None:
        text = read_text_layer(plan.pdf, work.params["page"])
        with work.write(work.outputs[0], "wb") as file:
            file.write(text.encode(errors="replace"))


async def submit_everything(cue: runcue.Cue, plan: Plan) -> None:
    """Submit all work units, the last stage first to make the point: the order of submission says nothing."""
    await cue.submit("summarize")
    for page in plan.pages:
        await cue.submit("summarize_page", params={"page": page})
        await cue.submit("extract_text", params={"page": page, "from": plan.text_source.description})
        await cue.submit("render_page", params={"page": page, "dpi": DPI})


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
    for page, sentences in by_page.items():
        lines += [f"**Page {page}.** {' '.join(sentences) or '(no text)'}", ""]
    return "\n".join(lines)
