"""docs/explaining.md: what runcue says in the situations in which users ask "why?", written by planting each of them.

    python3 tests/support/explaining.py  # writes the page anew

Lives here: the words around what runcue says, and `page`, which runs everything. `tests/docs/test_explaining.py` holds
the page to it, but for ids, times and lines of files.

Must not know: what runcue is to say; `tests/explain` does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT)]

import runcue  # noqa: E402
from runcue.testing import VirtualTimeLoop  # noqa: E402
from tests.support.places import from_the_checkout  # noqa: E402
from tests.support.situations import REAL, SITUATIONS  # noqa: E402

__all__ = ["PAGE", "page", "plain"]

PAGE: Final = ROOT / "docs" / "explaining.md"

_WIDTH: Final = 110

_HEAD: Final = """\
# Why is nothing happening?

Ask the cue. `print(cue.why())` groups the waiting work units by their root cause, a line each, with what to do about
it. `print(cue.why(work_id))` follows one work unit down to the root: since when, until when, who has what it needs,
which callback or path it is, by file and line. `print(cue.why_stale(work_id))` says why it ran, or did not have to.
Much is told unasked, as one warning within a second.

Below are the situations in which people ask, each with what runcue says a second later. The page is made by running
them; the code of each stands in [tests/support/situations.py](../tests/support/situations.py), by the name in brackets.
Long lines are broken here.
"""


class Section(NamedTuple):
    """A situation, or two of a kind.

    Attributes:
        title: What it is called here.
        names: What it is called in `SITUATIONS`.
        words: What was planted.
        stale: Whether the question is why it ran or did not, so that `why_stale()` is shown, too.
    """

    title: str
    names: tuple[str, ...]
    words: str
    stale: bool = False


SECTIONS: Final = [
    Section(
        "Nobody makes an input",
        ("missing producer", "missing producer, of what is_ready looks at"),
        "The work unit needs a file that no other one makes. In the first run it is declared as an input, in the "
        "second `is_ready` looks for it by `runcue.exists()`.",
    ),
    Section(
        "Two wait for each other", ("dependency cycle",), "Each of two work units needs what the other makes."
    ),
    Section(
        "What makes the input failed",
        ("upstream failed",),
        "The work unit that was to make the input raised.",
    ),
    Section(
        "What makes the input was cancelled",
        ("upstream cancelled",),
        "The work unit that was to make the input was cancelled.",
    ),
    Section(
        "The rate is used up",
        ("rate used up",),
        'Five work units use a service with `rate="1/min"`; this is the last of them.',
    ),
    Section(
        "A budget is used up",
        ("budget used up",),
        'The service has `budget={"tokens": "90_000/min"}`. One work unit has taken 88,200, this one takes 2,000, '
        "and one that takes 1,900 stands behind it.",
    ),
    Section(
        "The rate of its key is used up",
        ("rate of its key used up",),
        'The service has `rate="2/min"` for each tenant, by `per=`. Four work units are of one, this is the last of '
        "them, and one is of another.",
    ),
    Section(
        "Somebody has paused the service",
        ("paused by hand",),
        'The service was paused by `api.pause("10 min")`.',
    ),
    Section(
        "The server of the service asks to wait",
        ("server asks to wait",),
        "A handler has read the headers of an answer, by `api.read_headers()`, and they say `retry-after: 40`.",
    ),
    Section(
        "A server has refused it",
        ("refused by its server", "behind one that was refused"),
        "The handler has raised `runcue.Throttled(40)`; then the same of one that waits behind it.",
    ),
    Section(
        "Its service is left in peace after failures",
        ("breaker open",),
        'The service has `breaker=runcue.Breaker(failures=3, cooldown="60s")`.',
    ),
    Section(
        "A slow handler has the slot",
        ("slot held by a slow handler",),
        "A service has one slot, and a handler that usually takes 0.3 s has had it for longer.",
    ),
    Section(
        "A thread that hangs has the slot",
        ("slot held by a thread that hangs",),
        "A plain handler waits for ever. Its work unit has timed out, but a thread cannot be ended: it keeps its slot.",
    ),
    Section("`is_ready` raises", ("is_ready raises",), "A gate raises, which counts as no."),
    Section(
        "`is_ready` says no, and not why",
        ("is_ready False for ever, opaque",),
        "A gate returns False and looks at nothing that runcue knows of.",
    ),
    Section(
        "`is_ready` says no, with its reason",
        ("is_ready False with a reason",),
        'A gate returns `(False, "the loaf is still hot")`.',
    ),
    Section(
        "It waits for its next attempt",
        ("waits for its next attempt",),
        "A handler has raised, and its task has a `retry=`.",
    ),
    Section("It is for later", ("is for later",), 'It was submitted with `delay="2h"`.'),
    Section("An async gate hangs", ("async gate hangs",), "An async `is_ready` awaits what never comes."),
    Section(
        "Of several services some are full",
        ("several services, one of them full",),
        "A work unit needs four services, of which three have no room.",
    ),
    Section(
        "A handler awaits what needs its slot",
        ("handler awaits a work unit that needs its slot",),
        "A service has one slot; the handler that has it submits a work unit that needs it, and awaits its end.",
    ),
    Section(
        "Others come first in its lane",
        ("behind others in its lane",),
        "The task has `lane=lambda user: user`; this is the last of three work units of one user.",
    ),
    Section(
        "A handler awaits what comes after it in its lane",
        ("handler awaits what comes after it in its lane",),
        'A handler of `lane="x"` submits a work unit of that lane, and awaits it.',
    ),
    Section(
        "Others pass a work unit of low priority",
        ("low priority, starved",),
        "A service has one slot, and work units of a higher priority keep coming.",
    ),
    Section(
        "The output is older than its input",
        ("output older than its input",),
        "The output is there, and its input is newer.",
        stale=True,
    ),
    Section(
        "The content of an input changed",
        ("digest: content changed",),
        "The task has `fresh=digest()` and two inputs, one of which has other content than the last time.",
        stale=True,
    ),
    Section(
        "An input is too old",
        ("max_age is over",),
        "The input is a `File` with a `max_age=`, and older than that.",
    ),
    Section(
        "An input is there, but not valid",
        ("artifact there but not valid",),
        "The input is a `File` with a `validate=` function, which says no.",
    ),
    Section(
        "A path that nobody will ever make",
        ("path that nobody will ever make",),
        "The input is `page-1.png`; the folder has a `Page-1.png`.",
    ),
    Section(
        "What comes after is out of date",
        ("stale downstream",),
        "The input of a work unit that had run was made anew, and nobody has submitted it again.",
        stale=True,
    ),
    Section(
        "It has joined another one",
        ("joined another",),
        "Two work units make the same; the second has joined the first, and both have settled.",
        stale=True,
    ),
    Section(
        "It was skipped, and a run was expected",
        ("skipped though a run was expected",),
        "The output is newer than the input, and the params are other ones than the last time.",
        stale=True,
    ),
]


class _Ear(logging.Handler):
    """Keeps what is told unasked."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname}: {record.getMessage()}")


@contextmanager
def _in_an_empty_folder() -> Iterator[Path]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder).resolve()
        finally:
            os.chdir(before)


def _look(name: str, *, stale: bool) -> tuple[list[str], str, str]:
    """Plant a situation. Returns what is told unasked, the answer of `why()` a second later, and of `why_stale()`."""

    async def main() -> tuple[list[str], str, str]:
        planted = await SITUATIONS[name]()
        await asyncio.sleep(1)
        cue, work = planted.cue, planted.work
        found = list(ear.lines), str(cue.why(work)), str(cue.why_stale(work)) if stale else ""
        await planted.end()
        return found

    logger, ear = logging.getLogger("runcue"), _Ear()
    kept = logger.propagate, logger.handlers
    logger.propagate, logger.handlers = False, [ear]
    try:
        with asyncio.Runner(loop_factory=None if name in REAL else VirtualTimeLoop) as runner:
            return runner.run(main())
    finally:
        logger.propagate, logger.handlers = kept


def _block(text: str, folder: Path) -> str:
    text = text.replace(str(folder), "/kitchen")
    lines = [
        textwrap.fill(
            line.strip(),
            _WIDTH,
            initial_indent=line[: len(line) - len(line.lstrip())],
            subsequent_indent=line[: len(line) - len(line.lstrip())] + "    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.splitlines()
    ]
    return "\n".join(["```text", *lines, "```"])


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}"
    names = " and ".join(f"`{SITUATIONS[name].__name__}`" for name in section.names)
    yield textwrap.fill(f"{section.words} ({names})", 120)
    before: list[str] = []
    for name in section.names:
        with _in_an_empty_folder() as folder:
            told, why, stale = _look(name, stale=section.stale)
        parts = ["Told unasked:", _block("\n".join(told), folder)] if told else []
        parts += ["`print(cue.why(work))`:", _block(why, folder)]
        if name is not section.names[0] and parts == before:
            yield "The other one says the same."
            continue
        before = parts
        yield from parts
        if stale:
            yield "`print(cue.why_stale(work))`:"
            yield _block(stale, folder)


async def _write(work: runcue.Work) -> None:
    for output in work.outputs:
        output.path.write_text("made")


async def _all_at_once() -> str:
    """Many that wait for several things."""
    cue = runcue.Cue(id_prefix="")
    cue.service("openai", rate="60/min")
    cue.task("ask", uses="openai", outputs=_numbered("answer-{}.txt"))(_write)
    cue.task("read", inputs=_numbered("page-{}.png"), outputs=_numbered("page-{}.txt"))(_write)
    cue.task("index", inputs=_numbered("page-{}.txt"), outputs=_numbered("index-{}"))(_write)
    cue.task("bind", inputs=[f"answer-{number}.txt" for number in range(1263)], outputs="book")(_write)
    cue.task("post", outputs="letter")(_write)

    @cue.is_ready(task="post")
    def office_is_open(work: runcue.Work) -> tuple[bool, str]:
        return False, "the post office is closed"

    cue.start()
    for number in range(1263):
        await cue.submit("ask", params={"n": number})
    for task in ("bind", "read", "index", "index", "post"):
        await cue.submit(task, params={"n": 7})
    await asyncio.sleep(1)
    answer = str(cue.why())
    await cue.stop(drain=False)
    return answer


def _numbered(name: str) -> Callable[[runcue.Work], str]:
    return lambda work: name.format(work.params["n"])


def page() -> str:
    """The whole page, as it should stand in the file."""
    with from_the_checkout():
        return _page()


def _page() -> str:
    parts = [_HEAD.rstrip(), "## All that waits, at once"]
    parts.append("Work units of several tasks wait: for a rate, for files that nobody makes, and for a gate.")
    logging.disable()
    try:
        with _in_an_empty_folder() as folder, asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            parts += ["`print(cue.why())`:", _block(runner.run(_all_at_once()), folder)]
    finally:
        logging.disable(logging.NOTSET)
    for section in SECTIONS:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> list[str]:
    """The words of a page without what differs from run to run: numbers, and where lines are broken."""
    return re.sub(r"\d+(\.\d+)?", "0", text).split()


if __name__ == "__main__":
    said = page()
    if not PAGE.exists() or plain(PAGE.read_text(encoding="utf-8")) != plain(said):
        PAGE.write_text(said, encoding="utf-8")
        sys.stdout.write(f"{PAGE.relative_to(ROOT)} is written anew: read in `git diff` what is new in it.\n")
