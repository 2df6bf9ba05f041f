"""Lives of a process that makes files and may die at any instant: one fork for each, with nothing known of the others.

Lives here: `Lives`, which starts a program (`one_life`) that has imported everything and forks it once per life; the
plan of a life, as JSON (`Plan`, `Maker`, `Deed`); and `Files`, which says what the files of an example are.

Each file says what it is: a source has an edition, and what was made tells from what. So whoever judges whether it was
right to believe a file needs no dates. A life writes its own findings ("wrong") into its report.

Must not know: what may be expected of many lives together; that stands in the tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[2]
OURS = ".runcue-"
TEMP = ".temp"  # of makers
Way = Literal["open", "write", "atomic", "replace", "process"]
"""How a handler writes.

By `open()`, `work.write`, `atomic_write`, a temp file of its own that it renames, or a subprocess, which lives on if it
is killed; the next handler that makes the same waits for its end.
"""

Kind = Literal[
    "kill",
    "cancel",
    "change",
    "replace",
    "old",
    "same",
    "touch",
    "chmod",
    "remove",
    "turn",
    "orphan",
    "confirm",
]
"""What befalls the makers.

change: a source is rewritten in place. replace: by a new file of its name. old: by one that is dated long ago. same:
rewritten at its size, and dated as before. touch, chmod: its content stays. turn: a link is made to point elsewhere.
orphan: a subprocess that has outlived its maker ends what it was writing. confirm: the user says that a file is right.
"""


@dataclass
class Deed:
    """What befalls the makers, and when.

    Attributes:
        kind: What is done.
        path: To which file, from the folder of the example; of a cancellation, the name of the maker.
        at: At which instant, None if it goes by `call`.
        call: Before which thing that is asked of the file system.
        after: From when on those are counted: the end of the handler of the maker of this name, or, with "read by"
            before the name, when it has read its inputs; None for the beginning.
        to: Where a link is turned to.
        lasts: How many seconds of real time pass until anything else happens, so that dates tell which was first.
    """

    kind: Kind
    path: str = ""
    at: float | None = None
    call: int = 0
    after: str | None = None
    to: str = ""
    lasts: float = 0.0


@dataclass
class Maker:
    """A work unit: what it reads and what it makes, by paths from the folder of the example.

    Attributes:
        outputs: Those that end in a slash are folders.
        fails: Before which step of its handler it raises: reading, beginning to write, ending that, returning.
        pauses: How long it pauses before each of these, in seconds.
        stubborn: When it is cancelled it ends what it was writing before it goes.
        timeout: Of its task.
        sync: Whether it is a plain function.
        edition: A param.
        date: What its outputs are dated, if by something else than the clock.
    """

    name: str
    inputs: list[str]
    outputs: list[str]
    way: Way = "open"
    fails: int | None = None
    pauses: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])
    stubborn: bool = False
    timeout: bool = False
    sync: bool = False
    edition: int = 0
    date: float | None = None

    @property
    def files(self) -> list[str]:
        """What its handler writes: its outputs, and one file in each that is a folder."""
        return [f"{name}a" if name.endswith("/") else name for name in self.outputs]


@dataclass
class Plan:
    """One life.

    Attributes:
        folder: Of the example, with what was made by former lives.
        report: The file that tells of this life, a line of JSON for each event.
        policy: "newer", "digest" or "none".
        makers: In the order of their submission.
        deeds: What befalls them.
        unproven: What failures of former lives have left: for each path what was there before them, None if nothing.
        number: A number that no other life has.
        again: The instants at which all makers are submitted once more.
        settles: Nothing befalls anybody, so all must be right at the end.
        real: Time is real, and handlers run in threads; in turns on the loop of asyncio and on that of uvloop.
        tick: In nanoseconds: the step of the clock by which the file system dates; 0 for what it really is.
    """

    folder: str
    report: str
    policy: str
    makers: list[Maker]
    deeds: list[Deed] = field(default_factory=list)
    unproven: dict[str, str | None] = field(default_factory=dict)
    number: int = 0
    again: list[float] = field(default_factory=list)
    settles: bool = False
    real: bool = False
    tick: int = 0


def plan_from(line: str) -> Plan:
    """The plan that a line of JSON stands for."""
    known = json.loads(line)
    known["makers"] = [Maker(**one) for one in known["makers"]]
    known["deeds"] = [Deed(**one) for one in known["deeds"]]
    return Plan(**known)


class Lives:
    """Runs plans, one life after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def live(
        self, plan: Plan, kill_at: Callable[[], object] | None = None
    ) -> tuple[int, list[dict[str, Any]]]:
        """Run a plan to its end.

        Args:
            plan: What to do.
            kill_at: Waits for the moment to kill the process.

        Returns:
            The exit code, -SIGKILL after a kill, and the report.
        """
        Path(plan.report).write_text("")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(plan)) + "\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        if kill_at is not None:
            kill_at()
            os.kill(child, signal.SIGKILL)
        self._process.stdin.write("\n")  # until then the number is the child's own, dead or alive
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return code, [json.loads(line) for line in Path(plan.report).read_text().splitlines()]


@contextlib.contextmanager
def lives() -> Iterator[Lives]:
    """A process that is ready to live."""
    command = [sys.executable, "-m", "tests.support.one_life"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Lives(process)


# What files say.


def source(edition: int, *, steady: bool, set_back: bool = False) -> str:
    """The content of a source. Its length is its edition's own, unless it is a steady one."""
    filler = "" if steady else "." * edition
    return json.dumps({"edition": f"{edition:06}", "set_back": int(set_back), "filler": filler}) + "\n"


def digest_of(text: str) -> str:
    return blake2b(text.encode(errors="surrogateescape"), digest_size=8).hexdigest()


def parsed(text: str | None) -> dict[str, Any] | None:
    """What a file says; None if it is not whole."""
    if text is None or not text.endswith("}\n"):
        return None
    try:
        said = json.loads(text)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


class Files:
    """The files of an example, as anybody would look at them."""

    def __init__(self, folder: str, policy: str) -> None:
        self.folder = folder
        self.policy = policy

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def usual(self, name: str) -> str:
        """The name of a file without links."""
        return os.path.relpath(os.path.realpath(self.path(name)), os.path.realpath(self.folder))

    def text(self, name: str) -> str | None:
        """What is in a file, None if it is not there."""
        try:
            with open(self.path(name), errors="surrogateescape") as file:
                return file.read()
        except OSError:
            return None

    def seen(self, name: str, own: Sequence[str] = ()) -> str | None:
        """What the policy can see of an input: its content; of a folder under `newer()` only who is in it."""
        path = self.path(name)
        if not os.path.isdir(path):
            text = self.text(name)
            return None if text is None else digest_of(text)
        mine = {os.path.realpath(self.path(one)) for one in own}
        found = []
        for above, folders, files in os.walk(path):
            folders[:] = sorted(one for one in folders if not one.startswith(OURS))
            for one in sorted(files):
                inner = os.path.join(above, one)
                if one.startswith(OURS) or one.endswith(TEMP) or os.path.realpath(inner) in mine:
                    continue
                if self.policy == "digest":
                    found.append((os.path.relpath(inner, path), self.text(inner)))
                elif above == path:
                    found.append((one, None))
            if self.policy != "digest":
                found += [(one, None) for one in folders]
                break
        return digest_of(json.dumps(found))

    def tell(self) -> dict[str, str | None]:
        """All there is."""
        found = {}
        for above, folders, files in os.walk(self.folder):
            folders[:] = [one for one in folders if not one.startswith(OURS)]
            for one in files:
                if not one.startswith(OURS) and not one.endswith(TEMP):
                    name = os.path.relpath(os.path.join(above, one), self.folder)
                    found[name] = self.text(name)
        return found
