"""One life of a process that makes files, see `lives`: its makers are work units of a real cue on the virtual clock.

Lives here: `Life`, which runs a plan in a fork of this program and judges what it sees; deeds, which befall the makers
at an instant of the virtual clock, or just before the n-th thing that the process asks of the file system; and
`FileSystem`, which counts these.

Must not know: what may be expected of many lives together; that stands in the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib
import importlib.util
import json
import logging
import os
import pkgutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict
from typing import Any, ClassVar, Self

from tests.support.lives import TEMP, Deed, Files, Kind, Maker, Plan, parsed, plan_from, source

LONGEST = 20
"""Seconds of real time after which a life counts as hanging."""


class Life:
    """One life, in the child: its cue, its makers, and what befalls them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.files = Files(plan.folder, plan.policy)
        self.makers = {maker.name: maker for maker in plan.makers}
        self.handles: dict[str, list[Any]] = {maker.name: [] for maker in plan.makers}
        self.maker_of = {self.files.usual(name): maker for maker in plan.makers for name in maker.files}
        self.started: set[str] = set()
        self.running: set[str] = set()
        self.unsettled: set[str] = set()
        self.unproven = dict(plan.unproven)
        self.before: list[dict[str, str | None]] = []
        self.counts: dict[str | None, int] = {None: 0}
        self.quiet = threading.local()
        self.report = os.open(plan.report, os.O_WRONLY | os.O_APPEND)
        self.editions = plan.number * 100
        self.loop: asyncio.AbstractEventLoop | None = None

    def tell(self, event: str, **what: Any) -> None:
        os.write(self.report, (json.dumps({"event": event, **what}) + "\n").encode())

    @contextlib.contextmanager
    def unseen(self) -> Iterator[None]:
        """What this life does itself, and the process under test does not."""
        before = getattr(self.quiet, "now", False)
        self.quiet.now = True
        try:
            yield
        finally:
            self.quiet.now = before

    # What befalls.

    def called(self, path: object) -> None:
        """Something is about to be asked of the file system."""
        if getattr(self.quiet, "now", False):
            return
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if isinstance(path, str) and os.path.isabs(path) and not path.startswith(self.plan.folder):
            return
        for after in list(self.counts):
            self.counts[after] += 1
            for deed in self.plan.deeds:
                if deed.at is None and deed.after == after and deed.call == self.counts[after]:
                    self.befall(deed)

    def befall(self, deed: Deed) -> None:
        with self.unseen():
            self.before.append(self.files.tell())
            self.tell("deed", **asdict(deed))
            maker = self.maker_of.get(deed.path)
            if maker is not None and maker.name in (self.running | self.unsettled):
                return  # who writes into what is being made gets what he deserves
            with contextlib.suppress(FileNotFoundError):
                self.DEEDS[deed.kind](self, deed)
            time.sleep(deed.lasts)

    def kill(self, deed: Deed) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def cancel(self, deed: Deed) -> None:
        assert self.loop is not None
        for handle in self.handles[deed.path]:
            self.loop.call_soon_threadsafe(self.engine.settlement.cancel, handle.work)

    def _new(self, *, set_back: bool = False) -> str:
        self.editions += 1
        return source(self.editions, steady=self.plan.policy == "digest", set_back=set_back)

    def change(self, deed: Deed) -> None:
        with open(self.files.path(deed.path), "w") as file:
            file.write(self._new())

    def replace(self, deed: Deed, date: int | None = None) -> None:
        path = self.files.path(deed.path)
        with open(path + TEMP, "w") as file:
            file.write(self._new(set_back=date is not None))
        if date is not None:
            os.utime(path + TEMP, ns=(date, date))
        os.replace(path + TEMP, path)

    def old(self, deed: Deed) -> None:
        self.replace(deed, 10**18)

    def same(self, deed: Deed) -> None:
        path = self.files.path(deed.path)
        status = os.stat(path)
        with open(path, "w") as file:
            file.write(self._new(set_back=True))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def touch(self, deed: Deed) -> None:
        os.utime(self.files.path(deed.path))

    def chmod(self, deed: Deed) -> None:
        path = self.files.path(deed.path)
        os.chmod(path, os.stat(path).st_mode ^ 0o010)

    def remove(self, deed: Deed) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.files.path(deed.path))

    def turn(self, deed: Deed) -> None:
        path = self.files.path(deed.path)
        os.symlink(self.files.path(deed.to), path + TEMP)
        os.replace(path + TEMP, path)

    def orphan(self, deed: Deed) -> None:
        """Ends what was begun in a former life, unless its work has begun again."""
        maker = self.maker_of[deed.path]
        begun = deed.path in self.unproven and maker.way == "open" and maker.name not in self.started
        if begun and self.files.text(deed.path) is not None:
            with open(self.files.path(deed.path), "w") as file:
                file.write(json.dumps({"maker": maker.name, "edition": maker.edition, "from": {}}) + "\n")

    def confirm(self, deed: Deed) -> None:
        import runcue

        record = self.unproven.pop(deed.path, None)
        if self.disbelief(self.maker_of[deed.path]) is None:
            runcue.File(self.files.path(deed.path)).touch()
        elif record is not None:
            self.unproven[deed.path] = record

    DEEDS: ClassVar[dict[str, Callable[[Life, Deed], None]]] = {
        name: function
        for name, function in list(locals().items())
        if name in Kind.__args__  # type: ignore[attr-defined]
    }

    # What makers do.

    def steps(self, work: Any) -> Generator[float, None, None]:
        """The handler of a maker, which pauses where this yields."""
        maker = self.of(work)
        if maker.name in self.running:
            self.wrong(f"{maker.name} was entered, and a former handler of it has not returned")
        self.running.add(maker.name)
        try:
            yield from self._steps(maker, work)
        finally:
            self.running.discard(maker.name)

    def _steps(self, maker: Maker, work: Any) -> Generator[float, None, None]:
        with contextlib.ExitStack() as open_files:
            yield from self._step(maker, 0)
            with self.unseen():
                read = {name: self.files.seen(name, maker.files) for name in maker.inputs}
            self.counts[f"read by {maker.name}"] = 0
            made = {"maker": maker.name, "edition": maker.edition, "from": read, "life": self.plan.number}
            text = json.dumps(made) + "\n"
            yield from self._step(maker, 1)
            files = [self._begin(maker, work, name, text, open_files) for name in maker.files]
            for file in files:
                file.write(text[: len(text) // 2])
                file.flush()
            try:
                yield from self._step(maker, 2)
            except asyncio.CancelledError:
                if not maker.stubborn or maker.way == "write":
                    raise
                yield 1.0
                self._end(maker, files, text)
                raise
            self._end(maker, files, text)
        if maker.way == "replace":
            for name in maker.files:
                os.replace(self.files.path(name) + TEMP, self.files.path(name))
        if maker.way == "atomic":
            import runcue

            for name in maker.files:
                runcue.atomic_write(self.files.path(name), text)
        if maker.date is not None and maker.way != "write":
            for name in maker.files:
                os.utime(self.files.path(name), (maker.date, maker.date))
        yield from self._step(maker, 3)
        # If the process is killed from here on, nobody can say whether this has succeeded.
        self.tell("ended", paths=[self.files.usual(name) for name in maker.files], text=text)
        self.counts[maker.name] = 0

    def _step(self, maker: Maker, number: int) -> Generator[float, None, None]:
        if maker.pauses[number]:
            yield maker.pauses[number]
        if maker.fails == number:
            raise OSError(f"{maker.name} fails at step {number}")

    def _begin(self, maker: Maker, work: Any, name: str, text: str, open_files: contextlib.ExitStack) -> Any:
        path = self.files.path(name)
        if maker.way == "process":
            lock = os.path.join(os.path.dirname(self.plan.report), f"{maker.name}.lock")
            return open_files.enter_context(_Process(path, text, lock))
        if maker.way == "write":
            return open_files.enter_context(work.write(path, durable=False))
        if maker.way == "atomic":
            return open_files.enter_context(open(os.devnull, "w"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        ending = TEMP if maker.way == "replace" else ""
        return open_files.enter_context(open(path + ending, "w"))

    def _end(self, maker: Maker, files: list[Any], text: str) -> None:
        for file in files:
            file.write(text[len(text) // 2 :])
            file.flush()

    async def slowly(self, work: Any) -> None:
        steps = self.steps(work)
        try:
            pause = next(steps)
            while True:
                try:
                    await asyncio.sleep(pause)
                except asyncio.CancelledError as error:
                    pause = steps.throw(error)
                else:
                    pause = next(steps)
        except StopIteration:
            pass

    def at_once(self, work: Any) -> None:
        for pause in self.steps(work):
            if self.plan.real:
                time.sleep(pause)

    # What is right.

    def wrong(self, text: str) -> None:
        self.tell("wrong", text=text)

    def on_start(self, work: Any) -> None:
        maker = self.of(work)
        with self.unseen():
            self.tell("start", name=maker.name)
            self.started.add(maker.name)
            self.unsettled.add(maker.name)
            for name in maker.inputs:
                if (problem := self.unproven_now(name)) is not None:
                    self.wrong(f"{maker.name} was started on {name}, which {problem}")
            for name in maker.files:
                self.unproven.setdefault(self.files.usual(name), self.files.text(name))
            self.tell("unproven", paths=self.unproven)

    def on_complete(self, work: Any, result: Any, duration: float) -> None:
        maker = self.of(work)
        with self.unseen():
            for name in maker.files:
                self.unproven.pop(self.files.usual(name), None)
                if (text := self.files.text(name)) is not None and parsed(text) is None:
                    self.wrong(f"{maker.name} succeeded, and {name} is not whole: {text!r}")
            self.unsettled.discard(maker.name)
            self.tell("complete", name=maker.name)
            self.tell("unproven", paths=self.unproven)

    def on_failure(self, work: Any, error: BaseException) -> None:
        with self.unseen():
            self.unsettled.discard(self.of(work).name)
            self.tell("failure", name=self.of(work).name, error=repr(error))

    def on_cancel(self, work: Any) -> None:
        with self.unseen():
            self.unsettled.discard(self.of(work).name)
            self.tell("cancel", name=self.of(work).name)

    def on_skip(self, work: Any) -> None:
        maker = self.of(work)
        with self.unseen():
            problem = self.disbelief(maker)
            # It was asked before what has happened since in this very turn.
            if problem is not None and not any(self.disbelief(maker, then) is None for then in self.before):
                self.wrong(f"{maker.name} was skipped, and {problem}")
            self.tell("skip", name=maker.name)

    def unproven_now(self, name: str) -> str | None:
        """What is wrong with a file that a failure may have left."""
        if (usual := self.files.usual(name)) not in self.unproven:
            return None
        text = self.files.text(name)
        return None if text is None or text == self.unproven[usual] else f"a failure has left as {text!r}"

    def disbelief(self, maker: Maker, then: dict[str, str | None] | None = None) -> str | None:
        """Why a maker may not be skipped, None if it may.

        Args:
            maker: The maker.
            then: Files that were different a moment ago.
        """
        files = self.files if then is None else _Then(self.plan.folder, self.plan.policy, then)
        for name in maker.files:
            text = files.text(name)
            if text is None:
                return f"{name} is missing"
            if (problem := self.unproven_now(name)) is not None and then is None:
                return f"{name} is what {problem}"
            said = parsed(text)
            if said is None:
                return f"{name} is not whole: {text!r}"
            if self.plan.policy == "none" or (self.plan.policy == "newer" and "maker" not in said):
                continue  # only whether it is there; somebody else has written it, and it is the newer one
            if said.get("maker") != maker.name:
                return f"{name} was made by somebody else: {said}"
            if self.plan.policy == "digest" and said["edition"] != maker.edition:
                return f"{name} was made with other params"
            for one in maker.inputs:
                now = files.seen(one, maker.files)
                if said["from"].get(one) != now and not self._cannot_be_known(one, files):
                    return f"{name} was made from other content of {one}"
        return None

    def _cannot_be_known(self, name: str, files: Files) -> bool:
        """Whether dates cannot tell: tools have set them back, or a link was turned to an older file."""
        if self.plan.policy != "newer":
            return False
        said = parsed(files.text(name))
        turned = name.startswith("turned/") or os.path.islink(files.path(name))
        return turned or (said is not None and bool(said.get("set_back")))

    # The whole of it.

    async def run(self) -> None:
        import runcue
        from runcue.testing import FakeExecutor

        self.loop = loop = asyncio.get_running_loop()
        self.began = loop.time()
        executor = None if self.plan.real else FakeExecutor(lambda work: sum(self.of(work).pauses))
        cue = runcue.Cue(id_prefix="", run_in=executor)
        for name, handler in (("slowly", self.slowly), ("in_time", self.slowly), ("at_once", self.at_once)):
            cue.task(name, timeout=2.5 if name == "in_time" else None)(handler)
        cue.on_start(self.on_start)
        cue.on_complete(self.on_complete)
        cue.on_failure(self.on_failure)
        cue.on_skip(self.on_skip)
        cue.on_cancel(self.on_cancel)
        cue.start()
        self.engine = cue._dispatcher
        for deed in self.plan.deeds:
            if deed.at is not None:
                loop.call_later(deed.at, self.befall, deed)
        await self.submit_all(cue)
        for at in self.plan.again:
            await asyncio.sleep(at - loop.time() + self.began)
            await self.submit_all(cue)
        await cue.stop()
        with self.unseen():
            for name, handles in self.handles.items():
                for handle in handles:
                    self.judge(name, handle.work, cue.why_stale(handle).details)
            self.tell("over")

    async def submit_all(self, cue: Any) -> None:
        import runcue

        policy = {"newer": runcue.newer(), "digest": runcue.digest(), "none": None}[self.plan.policy]
        for maker in self.plan.makers:
            handle = await cue.submit(
                "at_once" if maker.sync else "in_time" if maker.timeout else "slowly",
                params={"name": maker.name, "edition": maker.edition},
                inputs=[self.files.path(one) for one in maker.inputs],
                outputs=[self.files.path(one) for one in maker.outputs],
                fresh=policy,
            )
            self.handles[maker.name].append(handle)

    def judge(self, name: str, work: Any, why: str) -> None:
        """A work unit at the end of this life."""
        self.tell("end", name=name, state=work.state.name, skipped=work.skipped, why=why)
        if name in self.started and not why:
            self.wrong(f"{name} ran, and nothing says why")
        if self.plan.settles:
            if work.state.name != "COMPLETED":
                self.wrong(f"{name} is {work.state.name} in the end: {work.error}")
            elif not self.is_disturbed(self.makers[name]) and (problem := self.disbelief(self.makers[name])):
                self.wrong(f"{name} is done, and {problem}")

    def is_disturbed(self, maker: Maker) -> bool:
        """Whether others write where it reads."""
        return any(
            os.path.realpath(self.files.path(one)).startswith(
                os.path.realpath(self.files.path(read)) + os.sep
            )
            for read in maker.inputs
            for one, other in self.maker_of.items()
            if other is not maker
        )

    def of(self, work: Any) -> Maker:
        return self.makers[work.params["name"]]

    def live(self) -> None:
        from runcue.testing import VirtualTimeLoop

        life = self
        factory: Callable[[], asyncio.AbstractEventLoop] | None = None

        class Loop(VirtualTimeLoop):
            def _run_once(self) -> None:
                life.before.clear()
                super()._run_once()  # type: ignore[misc]

        class Told(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if record.levelno >= logging.WARNING:
                    with life.unseen():
                        life.tell("told", text=record.getMessage())

        logger = logging.getLogger("runcue")
        logger.handlers, logger.propagate = [Told()], False
        signal.alarm(LONGEST)
        if not self.plan.real:
            self.listen()
            factory = Loop
        elif self.plan.number % 2 and importlib.util.find_spec("uvloop"):
            factory = importlib.import_module("uvloop").new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(self.run())

    def listen(self) -> None:
        """Hear of all that is asked of the file system."""
        if self.plan.tick:
            file_system.keep_dates(os.path.join(os.path.dirname(self.plan.report), "dates"))
        file_system.watcher = self.called
        file_system.tick = self.plan.tick
        file_system.folder = self.plan.folder
        sys.addaudithook(file_system.audit)


class _Process:
    """A subprocess that writes a file: one half, and a little later the other, whether or not anybody waits for it."""

    WRITES = 'printf %s "$1" > "$3"; sleep 0.004; printf %s "$2" >> "$3"'

    def __init__(self, path: str, text: str, lock: str) -> None:
        self.lock = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self.lock, fcntl.LOCK_EX)  # a former one may still be writing
        half = len(text) // 2
        command = ["/bin/sh", "-c", self.WRITES, "sh", text[:half], text[half:], path]
        self.process = subprocess.Popen(command, pass_fds=(self.lock,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.process.wait()
        os.close(self.lock)

    def write(self, text: str) -> None: ...

    def flush(self) -> None: ...


class _Then(Files):
    """The files as they were."""

    def __init__(self, folder: str, policy: str, then: dict[str, str | None]) -> None:
        super().__init__(folder, policy)
        self.then = then

    def text(self, name: str) -> str | None:
        real = os.path.relpath(os.path.realpath(self.path(name)), os.path.realpath(self.folder))
        return self.then.get(real)


class FileSystem:
    """Stands between a life and the file system: tells who watches of each question, and can date in steps.

    Dates that were set are told as they were set, the others in steps of a tick, as by a kernel whose clock ticks so.
    """

    CHANGES = ("rename", "remove", "utime", "mkdir", "rmdir", "link", "symlink", "scandir", "listdir")
    ASKED = frozenset(("open", *(f"os.{name}" for name in CHANGES)))

    def __init__(self) -> None:
        self.watcher: Callable[[object], None] | None = None
        self.tick = 0
        self.folder = ""
        self.exact: set[tuple[int, int, int]] = set()
        self.dates = -1

    def keep_dates(self, path: str) -> None:
        """Let the dates that were set be known to later lives."""
        self.dates = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with open(path) as file:
            self.exact = {tuple(map(int, line.split())) for line in file}  # type: ignore[misc]

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in self.ASKED and self.watcher is not None:
            self.watcher(arguments[0])

    def take_over(self) -> None:
        """Replace functions of `os` of which the interpreter tells nobody. Before others import them."""
        for name in ("stat", "lstat", "fstat", "fsync"):
            setattr(os, name, self._told(getattr(os, name)))
        os.utime = self._dated(os.utime)

    def _told(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def told(path: Any, *args: Any, **kwargs: Any) -> Any:
            if self.watcher is None:
                return function(path, *args, **kwargs)
            self.watcher(path)
            answer = function(path, *args, **kwargs)
            return self._in_steps(answer) if self.tick and type(answer) is os.stat_result else answer

        told.__name__ = function.__name__
        return told

    def _dated(self, function: Callable[..., Any]) -> Callable[..., Any]:
        real_stat = os.stat.__closure__[0].cell_contents  # type: ignore[attr-defined]

        def utime(path: Any, times: Any = None, *, ns: Any = None, **kwargs: Any) -> None:
            if ns is None:
                function(path, times, **kwargs)
                return
            function(path, ns=ns, **kwargs)
            if self.tick:
                status = real_stat(path, **kwargs)
                date = status.st_dev, status.st_ino, status.st_mtime_ns
                self.exact.add(date)
                os.write(self.dates, " ".join(map(str, date)).encode() + b"\n")

        return utime

    def _in_steps(self, status: os.stat_result) -> os.stat_result:
        mtime = status.st_mtime_ns
        if (status.st_dev, status.st_ino, mtime) not in self.exact:
            mtime -= mtime % self.tick
        ctime = status.st_ctime_ns - status.st_ctime_ns % self.tick
        # Not those of the sequence: from Python 3.13 on a field may be given but once.
        names = {name for name in dir(status) if name.startswith("st_")} - set(os.stat_result.__match_args__)
        known = {name: getattr(status, name) for name in names}
        known |= {
            "st_mtime_ns": mtime,
            "st_mtime": mtime / 1e9,
            "st_ctime_ns": ctime,
            "st_ctime": ctime / 1e9,
        }
        first = (*tuple(status)[:8], mtime // 10**9, ctime // 10**9)
        return os.stat_result(first, known)


file_system = FileSystem()


def main() -> None:
    """Fork once for each line."""
    file_system.take_over()
    import runcue.testing

    for module in pkgutil.walk_packages(runcue.__path__, "runcue."):
        if module.name.startswith("runcue._"):
            importlib.import_module(module.name)  # what is imported only when it is needed, too
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            code = 1
            try:
                Life(plan_from(line)).live()
                code = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            os._exit(code)
        print(child, flush=True)
        sys.stdin.readline()
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
