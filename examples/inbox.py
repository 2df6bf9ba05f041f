"""An inbox: text files become HTML pages as they come, until Ctrl-C.

    python examples/inbox.py --inbox inbox --out out/inbox
    cp notes/*.txt inbox/

Put files into the folder however you like: `cp`, `mv`, `scp`, an archive that is unpacked there, an editor. Each is
converted when it has looked the same for a second, so that no half of one is. The page is the proof: it is written
whole or not at all, and a file is converted again when it is newer than its page. So after an interruption, whatever
it was, start the program again; what has its page is skipped.

Needs `pip install 'runcue[watch]'`.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import html
import sys
from pathlib import Path

import runcue

PAGE = "<!doctype html>\n<title>{title}</title>\n{paragraphs}\n"


def in_html(title: str, text: str) -> str:
    """The page of a text: its paragraphs are what empty lines separate."""
    paragraphs = (html.escape(one.strip()) for one in text.split("\n\n") if one.strip())
    return PAGE.format(title=html.escape(title), paragraphs="\n".join(f"<p>{one}</p>" for one in paragraphs))


def inbox_cue(inbox: Path, out: Path) -> runcue.Cue:
    """A cue that converts what comes into a folder, and says so.

    Args:
        inbox: Where texts come, in folders of it as well.
        out: Where their pages go, in the same folders.
    """
    cue = runcue.Cue()
    cue.service("converter", concurrent=4)

    def page_of(path: str) -> Path:
        return (out / Path(path).relative_to(inbox)).with_suffix(".html")

    @cue.task(uses="converter", inputs=lambda path: path, outputs=page_of)
    def convert(work: runcue.Work, path: str) -> None:
        text = Path(path).read_text(encoding="utf-8")
        with work.write(work.outputs[0]) as page:
            page.write(in_html(Path(path).stem, text))

    cue.on_complete(lambda work, result, duration: print(f"{work.params['path']}: converted", flush=True))
    cue.on_failure(lambda work, error: print(f"{work.params['path']}: {error}", file=sys.stderr))
    cue.watch(inbox, submit=convert, pattern="*.txt")
    return cue


async def take_what_comes(cue: runcue.Cue, *, once: bool) -> None:
    """Run a cue until somebody interrupts it, or until what is there is done."""
    async with cue:
        if not once:
            await asyncio.Event().wait()


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Convert text files to HTML pages as they come.")
    parser.add_argument(
        "--inbox", type=Path, default=Path("inbox"), help="where texts come (default inbox), made if missing"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/inbox"), help="where pages go (default out/inbox)"
    )
    parser.add_argument("--once", action="store_true", help="convert what is there and end")
    options = parser.parse_args(argv)
    try:
        options.inbox.mkdir(parents=True, exist_ok=True)
        cue = inbox_cue(options.inbox, options.out)
    except (OSError, ValueError) as error:
        print(f"inbox: cannot watch {options.inbox}: {error}", file=sys.stderr)
        return 1
    print(f"Put *.txt into {options.inbox}/; Ctrl-C ends.", flush=True)
    try:
        runcue.run(functools.partial(take_what_comes, cue, once=options.once))
    except KeyboardInterrupt:
        pass  # that is how it ends
    counts = cue.counts()
    print(f"{counts['completed']} converted, {counts['skipped']} up to date, {counts['failed']} failed")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
