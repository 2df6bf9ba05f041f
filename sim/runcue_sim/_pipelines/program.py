"""A user's own program: found, imported, and asked for its cue and for what submits its work units.

Lives here: `load`, which reads "app.py:cue,submit"; `App`, what it finds. Whatever is wrong with the program is said in
one line that names the file and line of it, and a program that would set its real cue going is stopped before it does.

Must not know: how a cue is rehearsed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

import runcue
from runcue_sim._text.error_origin import Refused, kind_of, place, told
from runcue_sim._text.usage import BadUsage, nearest

FORMS: Final = "app.py:cue, app.py:cue,submit or package.module:cue"

_AT_IMPORT: Final = (
    'the cue is started while the program is imported; put what runs it under if __name__ == "__main__"'
)

_NAMES: Final = re.compile(r"[^\W\d][\w.]*|")


class App:
    """A user's program.

    Attributes:
        name: What it was asked for as.
        cue: Its cue, as it describes it.
    """

    def __init__(self, name: str, cue: runcue.Cue, submitter: Callable[[], Any] | None = None) -> None:
        self.name = name
        self.cue = cue
        self._submitter = submitter

    @property
    def submit(self) -> Callable[[], Awaitable[None]] | None:
        """Submits what the program wants done; None if nothing was named that does."""
        return None if self._submitter is None else self._submit

    async def _submit(self) -> None:
        assert self._submitter is not None
        where = place(self._submitter)
        with told(where, "the submitter"), _only_submitting(self.cue):
            coming = self._submitter()
            if not inspect.isawaitable(coming):
                raise BadUsage(
                    f"{where} must be `async def`, or return what can be awaited, not {kind_of(coming)}"
                )
            await coming


def load(spec: str) -> App:
    """Import a program and take its cue out of it.

    Its `if __name__ == "__main__"` block does not run. Its own folder and the working folder can be imported from, as
    when it is started by name. No byte code is written from here on, because a rehearsal leaves no traces.

    Args:
        spec: Of `FORMS`. A name may be that of a function without arguments that makes the cue. Without a name it is
            the only cue in the module.

    Raises:
        BadUsage: It cannot be had. What the program itself raised is the cause.
    """
    target, cue_name, submit_name = _split(spec)
    sys.dont_write_bytecode = True
    # A program that reads its command line finds none, rather than that of the simulator.
    with _none_started(_AT_IMPORT), _replaced(sys, "argv", [target]):
        module = _import_file(target) if _is_file(target) else _import_module(target)
        cue = _find_cue(module, target, cue_name)
    if cue.debug_blocked():
        raise BadUsage(
            f"{target}: the cue holds work units as soon as the program is imported; submit them in an async "
            f"function and name that: {target}:{cue_name or 'cue'},submit"
        )
    submitter = _find_submitter(module, target, submit_name, cue) if submit_name else None
    return App(spec, cue, submitter)


def _split(spec: str) -> tuple[str, str, str]:
    """The file or module, the name of the cue, the name of the submitter; names may be empty."""
    target, colon, names = spec.rpartition(":")
    if not colon or os.sep in names or (os.altsep is not None and os.altsep in names):
        target, names = spec, ""  # no name at all, or the colon of a drive
    cue_name, comma, submit_name = (part.strip() for part in names.partition(","))
    if not target or (comma and not submit_name):
        raise BadUsage(f"{spec!r} names no cue; write {FORMS}")
    for name in (cue_name, submit_name):
        if not _NAMES.fullmatch(name):
            raise BadUsage(f"{name!r} in {spec!r} is no name; write {FORMS}")
    return target, cue_name, submit_name


def _is_file(target: str) -> bool:
    return target.endswith(".py") or os.sep in target or Path(target).is_file()


def _import_file(target: str) -> ModuleType:
    path = Path(target)
    if path.is_dir():
        raise BadUsage(f"{target} is a folder; name the file in it, as in {path / 'app.py'}:cue")
    if not path.exists():
        near = sorted(one.name for one in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise BadUsage(f"there is no file {target}; {nearest(path.name, near)}")
    path = path.resolve()
    _importable(Path.cwd(), path.parent)
    name = path.stem
    if not name.isidentifier() or name in sys.modules or name in sys.stdlib_module_names:
        # The file is meant, whatever else goes by that name.
        name = f"runcue_app_{re.sub(r'[^0-9A-Za-z]', '_', name)}"
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    # Under its name: what it imports may import it in turn, and dataclasses and pickles look it up there.
    sys.modules[name] = module
    try:
        with told(target, "it"):
            loader.exec_module(module)
    except BaseException:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise
    return module


def _import_module(target: str) -> ModuleType:
    _importable(Path.cwd())
    importlib.invalidate_caches()
    with told(target, "it"):
        try:
            return importlib.import_module(target)
        except ModuleNotFoundError as error:
            if not _is_part(error.name, target):
                raise
            here = [one.name for one in sorted(Path.cwd().glob("*.py"))]
            hint = f"; {nearest(f'{target}.py', here)}" if here else ""
            raise BadUsage(f"there is no module {target!r}{hint}") from error


def _is_part(name: str | None, target: str) -> bool:
    return name is not None and f"{target}.".startswith(f"{name}.")


def _importable(*folders: Path) -> None:
    """Let modules in these folders be imported, those in the last one before all others."""
    for folder in map(str, folders):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    """An attribute is another one meanwhile."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _none_started(because: str, *, but: runcue.Cue | None = None) -> contextlib.AbstractContextManager[None]:
    """No cue can be started meanwhile: that would be the real run which this one comes before.

    Args:
        because: What is wrong with a program that does.
        but: The one that is rehearsed.
    """
    start = runcue.Cue.start

    def start_if_rehearsed(cue: runcue.Cue) -> None:
        if cue is not but:
            raise Refused(because)
        start(cue)

    return _replaced(runcue.Cue, "start", start_if_rehearsed)


@contextlib.contextmanager
def _only_submitting(cue: runcue.Cue) -> Iterator[None]:
    """A submitter may be a whole `main()`: in a rehearsal it drains instead of stopping, and nobody listens."""

    async def stop(*, drain: bool = True, **options: Any) -> runcue.Summary | None:
        return await cue.drain() if drain else None

    leave = runcue.Cue.__aexit__

    async def drain_on_leaving(of: runcue.Cue, kind: type[BaseException] | None, *error: Any) -> None:
        if of is not cue:
            await leave(of, kind, *error)
        elif kind is None:
            await cue.drain()

    def task(name: str, **options: Any) -> NoReturn:
        raise Refused(f"task {name!r} is registered by the submitter; register it where the cue is made")

    instead: dict[str, Callable[..., Any]] = {"stop": stop, "task": task}
    instead |= {name: _unheard for name in dir(cue) if name.startswith("on_")}
    for name, call in instead.items():
        setattr(cue, name, call)
    try:
        with (
            _none_started("the submitter starts another cue than the one that is rehearsed", but=cue),
            _replaced(runcue.Cue, "__aexit__", drain_on_leaving),
        ):
            yield
    finally:
        for name in instead:
            delattr(cue, name)


def _unheard(listener: Callable[..., Any]) -> Callable[..., Any]:
    return listener


def _find_cue(module: ModuleType, target: str, name: str) -> runcue.Cue:
    cues = {key: value for key, value in vars(module).items() if isinstance(value, runcue.Cue)}
    if not name:
        return _only_cue(cues, target)
    found = _look_up(module, target, name, [*cues, *_functions_in(module)])
    where = f"{target}: {name}"
    if inspect.isfunction(found):
        where = place(found)
        try:
            inspect.signature(found).bind()
        except TypeError as error:
            raise BadUsage(f"{where} is to make the cue, and so must need no argument: {error}") from error
        with told(where, "it"):
            found = found()
        if inspect.iscoroutine(found):
            found.close()
            raise BadUsage(f"{where} is to make the cue, and so must be a plain `def`, not `async def`")
        where += " returned what"
    if not isinstance(found, runcue.Cue):
        hint = f"; {nearest(name, cues)}" if cues else ""
        raise BadUsage(f"{where} is no runcue.Cue but {kind_of(found)}{hint}")
    return found


def _only_cue(cues: dict[str, runcue.Cue], target: str) -> runcue.Cue:
    different = {id(cue): cue for cue in cues.values()}
    if len(different) == 1:
        return next(iter(different.values()))
    if cues:
        raise BadUsage(
            f"{target} has several cues, {', '.join(cues)}; say which, as in {target}:{next(iter(cues))}"
        )
    raise BadUsage(
        f"{target} has no cue at its top level; if a function makes it, name that, as in {target}:make_cue"
    )


def _look_up(module: ModuleType, target: str, name: str, likely: list[str]) -> Any:
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise BadUsage(f"{target} has no {name!r}; {nearest(name, likely)}") from error
    return found


def _functions_in(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]


def _find_submitter(module: ModuleType, target: str, name: str, cue: runcue.Cue) -> Callable[[], Any]:
    handlers = [task.handler for task in cue.tasks()]
    likely = [one for one in _functions_in(module) if getattr(module, one) not in handlers]
    found = _look_up(module, target, name, likely)
    if not callable(found):
        raise BadUsage(
            f"{target}: {name} is to submit the work units, but is {kind_of(found)} and cannot be called"
        )
    if found in handlers:
        raise BadUsage(f"{place(found)} is to submit the work units, but is the handler of a task")
    try:
        parameters = inspect.signature(found).parameters
    except (TypeError, ValueError):
        return found  # type: ignore[no-any-return]  # a builtin that does not tell; calling it will
    takes = [one for one in parameters.values() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    needs = [one for one in takes if one.default is one.empty]
    if len(needs) == 1 and needs[0].kind is not inspect.Parameter.KEYWORD_ONLY:
        return partial(found, cue)
    if "cue" in parameters and {one.name for one in needs} <= {"cue"}:
        return partial(found, cue=cue)
    if needs:
        listed = ", ".join(one.name for one in needs)
        raise BadUsage(f"{place(found)} must take nothing, or the cue, but needs ({listed})")
    return found  # type: ignore[no-any-return]
