"""What `cue.graph()` draws, and that no name whatever spoils the picture.

With node, mermaid and jsdom at hand the text is given to Mermaid's own parser too: `npm install mermaid jsdom`
anywhere, and RUNCUE_NODE_MODULES is the path of that node_modules.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue

NODE_MODULES = os.environ.get("RUNCUE_NODE_MODULES", "")
PARSE = """
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
const [modules, ...files] = process.argv.slice(2);
const { JSDOM } = createRequire(modules + "/")("jsdom");
globalThis.window = new JSDOM("").window;
globalThis.document = window.document;
const { default: mermaid } = await import(pathToFileURL(modules + "/mermaid/dist/mermaid.core.mjs"));
for (const file of files) await mermaid.parse(readFileSync(file, "utf8"));
"""
NODE = re.compile(r'    ([twan]\d+)(?:\["([^"]*)"\]|\(\["([^"]*)"\]\)):::(\w+)')
LINK = re.compile(r'    ([twan]\d+) (?:-->|-\. "joined by" \.-) ([twan]\d+)')
CLASS = re.compile(r"    classDef \w+ [\w:#,; -]+")

NASTY = [
    'say "hi" `tick`',
    "<b>bold</b><script>alert(1)</script>",
    "1. list",
    "- dash",
    "a*b*c _d_ **e**",
    "end",
    "subgraph",
    "fa:fa-car",
    "$$x^2$$",
    "#35; &amp; #quot;",
    'a"];b\n%%{init: {}}%%\nclick a call alert()',
    "日本語 ünï 🎉",
    r"C:\tmp\x",
    "x]|y)}{(",
    "[link](javascript:alert(1))",
    "\u202eevil\x00\x1b[31m\r\u2028",
    "half \udc80 of it",
    "a" * 500,
    "<" * 500,
    "   ",
    "www.example.com",
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shown(text: str) -> str:
    """What Mermaid shows of a label."""
    return re.sub(r"#(\d+);", lambda match: chr(int(match[1])), text)


class Broken(runcue.Artifact):
    def valid(self) -> bool:
        raise OSError

    def __str__(self) -> str:
        raise OSError


class Later(runcue.Artifact):
    def valid(self) -> Any:
        return later()


async def later() -> bool:
    return True


class Drawn:
    """A diagram taken apart again: each of its lines has to be one of the few that there are."""

    def __init__(self, text: str) -> None:
        # A label may go over several lines, and is the only thing in quotes but for one word on links.
        lines = re.findall(r'(?:[^"\n]|"[^"]*")+', text)
        assert lines[0] == "flowchart LR"
        self.nodes: dict[str, tuple[list[str], str]] = {}
        self.links: list[tuple[str, str]] = []
        for line in lines[1:]:
            if match := NODE.fullmatch(line):
                label = match[2] if match[2] is not None else match[3]
                assert '"' not in label
                self.nodes[match[1]] = ([shown(part) for part in label.split("\n")], match[4])
            elif match := LINK.fullmatch(line):
                self.links.append((match[1], match[2]))
            else:
                assert CLASS.fullmatch(line), line
        assert {name for link in self.links for name in link} <= set(self.nodes)

    def states(self) -> dict[str, str]:
        return {label[0]: state for label, state in self.nodes.values()}

    def named_links(self) -> set[tuple[str, str]]:
        return {(self.nodes[one][0][0], self.nodes[other][0][0]) for one, other in self.links}


@pytest.fixture(scope="session")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Mermaid's own parser."""
    node = shutil.which("node")
    if node is None or not (Path(NODE_MODULES) / "mermaid").is_dir() or not NODE_MODULES:
        pytest.skip(
            "NOT CHECKED by Mermaid: no node, or RUNCUE_NODE_MODULES names no folder with mermaid and jsdom"
        )
    folder = tmp_path_factory.mktemp("mermaid")
    (folder / "parse.mjs").write_text(PARSE)

    def check(*texts: str) -> None:
        files = []
        for number, text in enumerate(texts):
            files.append(folder / f"{number}.mmd")
            files[-1].write_text(text, encoding="utf-8")
        done = subprocess.run(
            [node, folder / "parse.mjs", NODE_MODULES, *files],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    return check


def extracting(pages: int) -> runcue.Cue:
    """Texts out of pages, one of which fails, and what is made of them."""
    cue = runcue.Cue(id_prefix="w")

    @cue.task(
        "extract",
        inputs=lambda work: f"page-{work.params['page']}.png",
        outputs=lambda work: f"page-{work.params['page']}.txt",
    )
    def extract(work: runcue.Work) -> None:
        if work.params["page"] == 1:
            raise ValueError("no text")
        Path(work.outputs[0]).touch()

    @cue.task(
        "summarize",
        inputs=lambda work: [f"page-{page}.txt" for page in range(pages)],
        outputs=runcue.Flag("sum"),
    )
    async def summarize(work: runcue.Work) -> None: ...

    @cue.task("mail", inputs="list", outputs="sent")
    async def mail(work: runcue.Work) -> None: ...

    @cue.task("later", outputs=lambda work: work.params["where"])
    async def later(work: runcue.Work) -> None: ...

    cue.on_failure(lambda work, error: None)
    for page in range(pages):
        Path(f"page-{page}.png").touch()
    return cue


def drawn_after(cue: runcue.Cue, submissions: list[tuple[str, dict[str, Any]]], *of: str) -> list[str]:
    async def main() -> list[str]:
        async with cue:
            for task, params in submissions:
                await cue.submit(task, params=params)
            await cue.drain()
            return [cue.graph(one) for one in of]  # type: ignore[arg-type]

    return asyncio.run(main())


PAGES = [("extract", {"page": page}) for page in range(4)]


def test_tasks_are_drawn_with_counts_and_the_artifacts_between_them_together() -> None:
    text = drawn_after(extracting(4), [*PAGES, ("summarize", {})], "tasks")[0]
    drawn = Drawn(text)
    assert drawn.nodes == {
        "t1": (["extract", "1 failed", "3 completed"], "failed"),
        "t2": (["summarize", "1 pending"], "pending"),
        "t3": (["mail"], "idle"),
        "t4": (["later"], "idle"),
        "a5": (["4 files", "page-0.png .. page-3.png"], "valid"),
        "a6": (["4 files", "page-0.txt .. page-3.txt", "1 missing"], "missing"),
        "a7": (["sum"], "missing"),
        "a8": (["list"], "missing"),
        "a9": (["sent"], "missing"),
    }
    assert drawn.links == [
        ("a5", "t1"),
        ("t1", "a6"),
        ("a6", "t2"),
        ("t2", "a7"),
        ("a8", "t3"),
        ("t3", "a9"),
    ]
    assert {"failed", "pending", "idle", "valid", "missing"} == {
        line.split()[1] for line in text.splitlines() if line.startswith("    classDef")
    }


def test_work_units_are_drawn_with_params_and_state() -> None:
    drawn = Drawn(drawn_after(extracting(2), [*PAGES[:2], ("summarize", {}), ("summarize", {})], "works")[0])
    assert list(drawn.nodes.values()) == [
        (["extract w1", "page=0", "completed"], "completed"),
        (["extract w2", "page=1", "failed"], "failed"),
        (["summarize w3", "pending"], "pending"),
        (["summarize w4", "pending"], "pending"),
        (["page-0.png"], "valid"),
        (["page-0.txt"], "valid"),
        (["page-1.png"], "valid"),
        (["page-1.txt"], "missing"),
        (["sum"], "missing"),
    ]
    assert drawn.named_links() == {
        ("summarize w3", "summarize w4"),
        ("page-0.png", "extract w1"),
        ("extract w1", "page-0.txt"),
        ("page-1.png", "extract w2"),
        ("extract w2", "page-1.txt"),
        ("page-0.txt", "summarize w3"),
        ("page-1.txt", "summarize w3"),
        ("summarize w3", "sum"),
    }


def test_every_state_has_its_colour() -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    texts: list[str] = []

    @cue.task("do", uses="one")
    async def do(work: runcue.Work) -> None:
        if work.params["what"] == "fail":
            raise ValueError
        if work.params["what"] == "draw":
            texts.append(cue.graph("works"))

    cue.is_stale(lambda work: work.params["what"] != "skip")
    cue.is_ready(lambda work: work.params["what"] != "wait")
    cue.on_failure(lambda work, error: None)

    async def main() -> None:
        async with cue:
            handles = [
                await cue.submit(do, params={"what": what}) for what in ("do", "fail", "skip", "wait", "wait")
            ]
            await cue.cancel(handles[-1])
            await cue.submit(do, params={"what": "draw"})

    asyncio.run(main())
    drawn = Drawn(texts[0])
    assert [state for _, state in drawn.nodes.values()] == [
        "completed",
        "failed",
        "skipped",
        "pending",
        "cancelled",
        "running",
    ]
    assert all(label[-1] == state for label, state in drawn.nodes.values())


def test_among_work_units_artifacts_with_the_same_ends_are_together_when_there_are_many() -> None:
    drawn = Drawn(drawn_after(extracting(30), [("summarize", {})], "works")[0])
    assert [label for label, _ in drawn.nodes.values()] == [
        ["summarize w1", "pending"],
        ["30 files", "page-0.txt .. page-29.txt", "all missing"],
        ["sum"],
    ]


def test_what_goes_beyond_the_limit_is_counted() -> None:
    cue = extracting(60)
    texts = drawn_after(cue, [("extract", {"page": page}) for page in range(60)], "works", "tasks")
    assert len(Drawn(texts[0]).nodes) == 180
    drawn = Drawn(cue.graph("works", limit=20))
    assert len(drawn.nodes) <= 21
    assert list(drawn.nodes.values())[-1] == (["left out:", "54 work units", "108 artifacts"], "note")
    assert (
        ["extract w2", "page=1", "failed"],
        "failed",
    ) in drawn.nodes.values()  # that is what one looks for
    assert Drawn(cue.graph(limit=2)).nodes["n3"] == (["left out:", "2 tasks", "123 artifacts"], "note")


def test_what_mermaid_would_refuse_to_draw_is_left_out() -> None:
    cue = runcue.Cue()
    flags = [runcue.Flag(f"f{number}") for number in range(60)]
    cue.task(
        "knot",
        inputs=lambda work: [flag for at, flag in enumerate(flags) if at != work.params["at"]],
        outputs=lambda work: flags[work.params["at"]],
    )(lambda work: None)

    async def main() -> str:
        for at in range(60):
            await cue.submit("knot", params={"at": at})
        return cue.graph("works")

    drawn = Drawn(asyncio.run(main()))
    assert len(drawn.links) == 500
    assert list(drawn.nodes.values())[-1][0] == ["left out:", "3100 links"]


def test_nothing_is_changed_and_nothing_of_the_users_spoils_it() -> None:
    flag = runcue.Flag("on")
    flag.set()
    cue = runcue.Cue()
    cue.task("one", inputs=flag, outputs=Broken())(lambda work: None)
    cue.task("two", inputs=Later(), outputs=runcue.Flag("off"))(lambda work: None)
    states = Drawn(cue.graph()).states()
    assert states == {
        "one": "idle",
        "two": "idle",
        "on": "valid",
        "Broken": "unknown",
        "Later()": "unknown",
        "off": "missing",
    }
    assert flag._home is None
    assert cue._dispatcher.flags == {}


def test_a_cue_without_anything_draws_that() -> None:
    assert Drawn(runcue.Cue().graph()).nodes == {"n1": (["nothing to draw"], "note")}
    assert Drawn(runcue.Cue().graph("works")).nodes == {"n1": (["nothing to draw"], "note")}


@pytest.mark.parametrize(
    ("options", "text"), [({"of": "jobs"}, 'of="tasks" or of="works"'), ({"limit": 0}, "limit of graph()")]
)
def test_a_wrong_value_is_refused(options: Any, text: str) -> None:
    with pytest.raises(runcue.ConfigurationError, match=re.escape(text)):
        runcue.Cue().graph(**options)


def nasty_graphs() -> list[str]:
    cue = runcue.Cue()
    for name in NASTY:

        @cue.task(
            name,
            inputs=lambda work: [runcue.Flag(work.task), work.task.replace("\0", "")],
            outputs=lambda w: None,
        )
        def handler(work: runcue.Work, name: str = name) -> None: ...

    async def main() -> list[str]:
        for name in NASTY:
            await cue.submit(name, params={name: name})
        return [cue.graph(), cue.graph("works"), cue.graph("works", limit=7)]

    return asyncio.run(main())


def test_no_name_spoils_the_picture() -> None:
    for text in nasty_graphs():
        Drawn(text)
        text.encode("utf-8")
        assert len(text) < 50_000
        assert not set("\0\r\x1b\u202e\u2028") & set(text)
        labels = "\n".join(line for line in text.splitlines() if "classDef" not in line)
        assert not set("<`*$\\%") & set(labels)
    tasks = Drawn(nasty_graphs()[0]).states()
    for name in NASTY[:10]:
        assert name in tasks


def test_mermaid_itself_takes_every_picture(parse: Callable[..., None]) -> None:
    small = drawn_after(extracting(4), [*PAGES, ("summarize", {}), ("summarize", {})], "tasks", "works")
    parse(*nasty_graphs(), *small, runcue.Cue().graph())
    with pytest.raises(AssertionError):
        parse('flowchart LR\n    a["')


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, SystemExit, ValueError])
def test_whatever_an_artifact_raises_the_picture_is_drawn(error: type[BaseException]) -> None:
    class Raising(runcue.Artifact):
        def __init__(self) -> None:
            self.name = "raising"

        def valid(self) -> bool:
            raise error

    cue = runcue.Cue()
    cue.task("t", inputs=Raising())(lambda work: None)
    assert ":::unknown" in cue.graph()
