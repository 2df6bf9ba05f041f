"""The PDF: how many pages, what they look like, what text they carry.

Lives here: all that touches PDFium. PDFium is not thread-safe, so nothing here may run twice at once; the pipeline sees
to that with a service of one slot. Each function opens and closes what it needs, since an object left to the garbage
collector would be closed by whatever thread happens to run it.

Must not know: runcue, files other than the PDF.
"""

from __future__ import annotations

import io
import math
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pypdfium2

DPI = 150
"""Enough for tesseract to read ten-point print; twice as much takes longer and reads no better."""

_LARGEST_IMAGE = 20_000_000
"""Pixels. A page the size of a poster is rendered more coarsely, instead of filling the memory."""


class UnreadablePdfError(Exception):
    """The file is no PDF that this program can open; the text says why, for whoever gave its name."""


@dataclass(frozen=True)
class Outline:
    """What is known of a PDF before any work is done.

    Attributes:
        title: From its metadata, or else its file name.
        pages: How many it has.
    """

    title: str
    pages: int


def read_outline(pdf: Path) -> Outline:
    """Open a PDF and look at it.

    Args:
        pdf: The file.

    Raises:
        UnreadablePdfError: It is missing, no file, not readable, damaged, encrypted or without pages.
    """
    if not pdf.exists():
        raise UnreadablePdfError(f"there is no file {pdf}")
    if not pdf.is_file():
        raise UnreadablePdfError(f"{pdf} is not a file")
    try:
        # PDFium says "file access error" for whatever the reason is; the system is more precise.
        pdf.open("rb").close()
        with closing(pypdfium2.PdfDocument(pdf)) as document:
            pages = len(document)
            title = str(document.get_metadata_dict().get("Title", "")).strip()
    except OSError as error:
        raise UnreadablePdfError(f"cannot read {pdf}: {error.strerror}") from error
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise UnreadablePdfError(f"{pdf} is encrypted: it opens only with a password") from error
        raise UnreadablePdfError(f"{pdf} is not a PDF, or is damaged") from error
    if not pages:
        raise UnreadablePdfError(f"{pdf} has no pages")
    named = title and title.casefold() != "untitled"  # what many programs write there
    return Outline(title if named else pdf.stem, pages)


def render(pdf: Path, number: int, dpi: int) -> bytes:
    """Return the picture of a page, a grey PNG.

    Args:
        pdf: The file.
        number: The page, from 1.
        dpi: Pixels per inch; fewer for a page the size of a poster.
    """
    with closing(pypdfium2.PdfDocument(pdf)) as document, closing(document[number - 1]) as page:
        width, height = page.get_size()
        scale = min(dpi / 72, math.sqrt(_LARGEST_IMAGE / max(1.0, width * height)))
        with closing(page.render(scale=scale, grayscale=True)) as bitmap:
            file = io.BytesIO()
            bitmap.to_pil().save(file, "PNG")
            return file.getvalue()


def read_text_layer(pdf: Path, number: int) -> str:
    """Return the text that a page carries in itself; a scanned page often carries none.

    Args:
        pdf: The file.
        number: The page, from 1.
    """
    with (
        closing(pypdfium2.PdfDocument(pdf)) as document,
        closing(document[number - 1]) as page,
        closing(page.get_textpage()) as text,
    ):
        return str(text.get_text_range()).replace("\r\n", "\n")
