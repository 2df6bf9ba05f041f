"""Makes handbook.pdf, the document the example works on when it is given none: `python make_handbook.py`.

Lives here: typesetting, with reportlab. The words are in handbook.md beside this file: a title, a line below it, and
one chapter to a page. The pipeline knows neither file; to it the result is a PDF like any other.
"""

from __future__ import annotations

import re
from pathlib import Path

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_JUSTIFY
from reportlab.lib.pagesizes import A5
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Frame, Paragraph, Spacer

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = A5
MARGIN = 17 * mm
INK = HexColor("#23301f")
LEAF = HexColor("#6d9a5c")
BARK = HexColor("#7a5c43")
FRUIT = HexColor("#c9503f")

HEADING = ParagraphStyle("heading", fontName="Times-Bold", fontSize=17, leading=22, textColor=INK)
BODY = ParagraphStyle(
    "body", fontName="Times-Roman", fontSize=12, leading=15.8, alignment=TA_JUSTIFY, spaceAfter=7
)
CONTENTS = ParagraphStyle("contents", fontName="Times-Roman", fontSize=10.5, leading=15)


def chapters(text: str) -> list[tuple[str, list[str]]]:
    """Split the text into (heading, paragraphs), the title with its subtitle first."""
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)[1:]
    return [
        (heading, body.strip().split("\n\n")) for heading, body in zip(parts[::2], parts[1::2], strict=True)
    ]


def draw_tree(canvas: Canvas, x: float, y: float) -> None:
    """Draw an apple tree on the cover: a page with a picture shows that rendering is real."""
    canvas.setFillColor(BARK)
    path = canvas.beginPath()
    path.moveTo(x - 9, y)
    path.curveTo(x - 4, y + 30, x - 5, y + 50, x - 6, y + 78)
    path.lineTo(x + 6, y + 78)
    path.curveTo(x + 5, y + 50, x + 4, y + 30, x + 9, y)
    path.close()
    canvas.drawPath(path, stroke=0, fill=1)
    canvas.setFillColor(LEAF)
    for dx, dy, radius in ((0, 118, 40), (-38, 100, 28), (38, 100, 28), (-20, 82, 24), (22, 82, 24)):
        canvas.circle(x + dx, y + dy, radius, stroke=0, fill=1)
    canvas.setFillColor(FRUIT)
    for dx, dy in ((-44, 104), (-18, 128), (4, 98), (20, 134), (42, 96), (-24, 84), (26, 76), (-2, 146)):
        canvas.circle(x + dx, y + dy, 4.6, stroke=0, fill=1)
    canvas.setStrokeColor(LEAF)
    canvas.setLineWidth(1.2)
    canvas.line(x - 90, y, x + 90, y)


def draw_cover(canvas: Canvas, title: str, subtitle: str, contents: list[str]) -> None:
    """Draw the title, the tree and the list of chapters."""
    canvas.setFillColor(INK)
    canvas.setFont("Times-Bold", 27)
    canvas.drawCentredString(WIDTH / 2, HEIGHT - 33 * mm, title)
    canvas.setFont("Times-Italic", 11.5)
    canvas.drawCentredString(WIDTH / 2, HEIGHT - 41 * mm, subtitle)
    draw_tree(canvas, WIDTH / 2, HEIGHT - 108 * mm)
    frame = Frame(WIDTH / 2 - 34 * mm, 16 * mm, 80 * mm, 76 * mm, showBoundary=0)
    frame.addFromList([Paragraph(line, CONTENTS) for line in contents], canvas)
    canvas.showPage()


def draw_chapter(canvas: Canvas, heading: str, paragraphs: list[str], page: int) -> None:
    """Draw one chapter on one page.

    Raises:
        ValueError: The chapter is too long for its page.
    """
    frame = Frame(MARGIN, MARGIN, WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN, 0, 0, 0, 0)
    flow = [Paragraph(heading, HEADING), Spacer(1, 5 * mm), *(Paragraph(text, BODY) for text in paragraphs)]
    frame.addFromList(flow, canvas)
    if flow:
        raise ValueError(f"chapter {heading!r} does not fit on its page")
    canvas.setFont("Times-Roman", 9)
    canvas.drawCentredString(WIDTH / 2, 10 * mm, str(page))
    canvas.showPage()


def main() -> None:
    """Write handbook.pdf beside this file; equal words give equal bytes."""
    (title, subtitle), *rest = chapters((HERE / "handbook.md").read_text(encoding="utf-8"))
    canvas = Canvas(str(HERE / "handbook.pdf"), pagesize=A5, pageCompression=1, invariant=1)
    canvas.setTitle(title)
    canvas.setSubject(subtitle[0])
    draw_cover(canvas, title, subtitle[0], [heading for heading, _ in rest])
    for page, (heading, paragraphs) in enumerate(rest, start=2):
        draw_chapter(canvas, heading, paragraphs, page)
    canvas.save()


if __name__ == "__main__":
    main()
