"""Handlers that run elsewhere: what is sent there.

Lives here: `Calls`, which packs the calls of one task. What happens at the other end is in `executors.calls`, what is
made of the answer in `conclusions`.

What is sent is pickled here and not by whoever carries it: so what cannot be is told with the path to it, in the line
of the mistake where it is known by then. A function goes by its name. That may lead to what decorators have made of it,
as they are applied after it was registered: then so many layers are taken off again at the other end.

Must not know: what carries calls there, event loops, states of work units beyond "is it still wanted".
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from inspect import getclosurevars, unwrap
from pathlib import Path
from types import FunctionType
from typing import Any, Final

from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._handlers.conclusions import Conclusion, conclude
from runcue._handlers.parameters import Parameters
from runcue._model.callables import located
from runcue._model.errors import ConfigurationError, InvalidParams, PublishError
from runcue._model.texts import error_words, shortened, words_of
from runcue._model.work import Work
from runcue._scheduling.lines import services_for
from runcue.abc import CallExecutor
from runcue.executors.calls import PROTOCOL, unwrapped
from runcue.executors.culprits import find_culprit
from runcue.executors.pictures import Room

__all__ = ["Calls"]

_DEEPEST: Final = 20
"""So many layers of decorators are taken off."""


class Calls:
    """Packs the calls of one task.

    Args:
        name: Of the task.
        handler: Its handler.
        parameters: What that takes; None: the work unit alone.
        initializer: Called once in each process before its first call there; None: nothing is.
        executor: Carries the calls out.

    Raises:
        ConfigurationError: It can never be sent.
    """

    def __init__(
        self,
        name: str,
        handler: Callable[..., Any],
        parameters: Parameters | None,
        initializer: Callable[[], Any] | None,
        executor: CallExecutor,
    ) -> None:
        self._name = name
        self._handler = handler
        self._parameters = parameters
        self._initializer = initializer
        self._executor = executor
        self._pickler: str | None = None
        self._what = f"The handler of task {name!r}, {located(handler)},"
        self._named: bytes | None = None
        self._initializers = f"initializer of task {name!r}, {located(initializer)}," if initializer else ""
        # Of what a function makes it is not known yet what it takes.
        if getattr(executor, "is_known", True):
            self._check_names()

    def check(self, work: Work) -> bool:
        """See whether the function can be sent, and the params of the first work unit.

        Returns:
            Whether its executor takes calls; one that a function makes may turn out to be a pool of threads.

        Raises:
            ConfigurationError: The function cannot be.
            InvalidParams: The params cannot be.
        """
        if hasattr(self._executor, "open"):
            self._executor.open()
        if not self._executor.takes_calls:
            if self._initializer is not None:
                raise ConfigurationError(
                    f"{self._initializers} is called in each process that runs its handler, and "
                    f"{words_of(self._executor)} has threads."
                )
            return False
        self._check_names()
        self._named = self._named or self._pack_function()
        self._check_outputs(work)
        params = self._pickled(work.params, "params")
        if (
            not (self._executor.knows_main or self._pickler)
            and b"__main__" in params
            and not _main_has_file()
        ):
            self._check_classes(params)
        return True

    def _check_outputs(self, work: Work) -> None:
        for output in work.outputs:
            if type(output) is Flag:
                raise ConfigurationError(
                    f"{self._what} runs elsewhere and cannot set {words_of(output)}, which is in the memory of this "
                    "process. Declare a file, or run it in a thread."
                )

    def _check_classes(self, params: bytes) -> None:
        class Finder(pickle.Unpickler):
            def find_class(self, module: str, name: str) -> Any:
                if module == "__main__":
                    raise InvalidParams(
                        f"params hold a {name} of `__main__`, which has no file ({_why_no_file()}): it cannot be "
                        "found where the handler runs. Put it in a module."
                    )
                return super().find_class(module, name)

        Finder(io.BytesIO(params)).load()

    def pack(self, work: Work) -> bytes:
        """One call, with all that its handler may write made and claimed.

        Args:
            work: The work unit, which is about to run.

        Raises:
            RuncueError: It cannot be sent.
        """
        if self._named is None:
            self._named = self._pack_function()
        named = self._named
        params = work.params
        inputs: tuple[Any, ...] = ()
        outputs: tuple[Any, ...] = ()
        rooms: tuple[Room, ...] = ()
        if work._declared is not None:
            self._check_outputs(work)
            inputs, outputs = tuple(map(self._sent, work.inputs)), tuple(map(self._sent, work.outputs))
            if work._declared.files:
                rooms = _rooms_of(work)
        if self._parameters is not None:
            params = self._parameters.fill(params)  # it may have been defined anew since
        metadata = {} if work._overrides is None else work.metadata
        budgets: tuple[str, ...] = ()
        run_queue = work._task.run_queue
        if run_queue.is_keyed or run_queue.budgets:
            budgets = tuple(dict.fromkeys(b.name for s in services_for(work) for b in s.budgets.values()))
        spaces = tuple(map(tuple, rooms))
        parts = (work.id, work.task, work.attempt, params, metadata, inputs, outputs, spaces, budgets)
        try:
            body = self._dumps(parts)
        except Exception as error:
            reason = error
        else:
            return len(named).to_bytes(4, "big") + named + body
        for value, what in ((params, "params"), (metadata, "metadata")):
            self._pickled(value, what)
        raise reason

    def conclude(self, work: Work, answer: bytes, place: str) -> Conclusion:
        """See `conclusions.conclude`."""
        return conclude(work, answer, place)

    def _pickled(self, value: Any, what: str) -> bytes:
        try:
            return self._dumps(value)
        except Exception as error:
            path, problem = find_culprit(value, what, self._dumps, error)
            raise InvalidParams(
                f"{path} cannot be sent to where the handler of task {self._name!r} runs: it {problem}. Send what it "
                'is made from, such as a path, or run it in a thread (run_in="thread").'
            ) from error

    def _sent(self, artifact: Any) -> Any:
        """What is sent of an artifact: of a file its path. Many handlers need none of what a store is reached by."""
        if type(artifact) is File:
            return artifact._path
        try:
            return self._dumps(artifact)
        except Exception as error:
            path, problem = find_culprit(artifact, "it", self._dumps, error)
            return words_of(artifact), f"{path} {problem}"

    def _dumps(self, value: Any) -> bytes:
        if self._pickler is None:
            return pickle.dumps(value, PROTOCOL)
        pickled: bytes = import_module(self._pickler).dumps(value)
        return pickled

    def _pack_function(self) -> bytes:
        parameters = self._parameters
        form = None if parameters is None else tuple(parameters.form)
        parts = (self._handler, form, self._pickler, self._initializer)
        if self._pickler is not None:
            try:
                return self._dumps(parts)
            except Exception as error:
                raise ConfigurationError(
                    f"{self._what} cannot be sent to where it is to run: {self._unsent(error)}. Let it make there what "
                    "it needs, or take it as a param."
                ) from error
        stream = io.BytesIO()
        try:
            _ByName(stream, PROTOCOL).dump(parts)
        except Exception as error:
            for function, what in ((self._handler, self._what), (self._initializer, "Its initializer")):
                try:
                    _ByName(io.BytesIO(), PROTOCOL).dump(function)
                except Exception as reason:
                    raise ConfigurationError(
                        f"{what} cannot be sent to where it is to run: {_clause(reason)}. Let it be a function at the "
                        "top of a module, under its own name."
                    ) from error
            raise
        return stream.getvalue()

    def _unsent(self, error: Exception) -> str:
        """What cannot be sent of a function that is sent with what it uses, in words."""
        for function in (self._handler, self._initializer):
            call = unwrap(function.func if isinstance(function, partial) else function) if function else None
            if not isinstance(call := getattr(call, "__func__", call), FunctionType):
                continue
            used = getclosurevars(call)
            for name, value in (*used.nonlocals.items(), *used.globals.items()):
                try:
                    self._dumps(value)
                except Exception as reason:
                    path, problem = find_culprit(value, name, self._dumps, reason)
                    return f"it uses {path}, which {problem}"
        return _clause(error)

    def _check_names(self) -> None:
        """Check what is known of its functions while the module is being loaded in which they are."""
        self._pickler = self._executor.pickler
        if self._pickler is None:
            self._check_name(self._handler, self._what)
            self._check_name(self._initializer, self._initializers)

    def _check_name(self, function: Any, what: str) -> None:
        while isinstance(function, partial):
            function = function.func
        name = function.__qualname__ if isinstance(function, FunctionType) else ""
        why = ""
        if "<lambda>" in name:
            why = "it is a lambda, which has no name to be found by: use def"
        elif "<locals>" in name:
            why = (
                "it is inside of another function, where it cannot be found by its name: move it to the top of its "
                "module (if a decorator has made it, that needs functools.wraps)"
            )
        elif (
            getattr(function, "__module__", None) == "__main__"
            and not self._executor.knows_main
            and not _main_has_file()
        ):
            why = f"it is in `__main__`, which has no file here ({_why_no_file()}): put it in a module, and import that"
        if why:
            raise ConfigurationError(
                f'{what} cannot be sent to where it is to run: {why}. Or run it in a thread (run_in="thread").'
            )


class _ByName(pickle.Pickler):
    """Pickles functions by the names that lead to them, whatever decorators have made of these."""

    def persistent_id(self, given: Any) -> tuple[str, str] | None:
        """The name of an object that stands in the place of a function: a class was its decorator."""
        if not callable(given) or isinstance(given, (type, FunctionType)):
            return None
        held = getattr(given, "__dict__", None)
        for one in (given, *(held.values() if isinstance(held, dict) else ())):
            module, name = getattr(one, "__module__", None), getattr(one, "__qualname__", None)
            if isinstance(module, str) and isinstance(name, str) and _found(module, name) is given:
                return module, name
        return None

    def reducer_override(self, given: Any) -> Any:
        if not isinstance(given, FunctionType):
            return NotImplemented
        found = _found(given.__module__, given.__qualname__)
        if found is given or found is None:
            return NotImplemented
        layer: Any = found
        times = 0
        while layer is not given:
            layer, times = getattr(layer, "__wrapped__", None), times + 1
            if layer is None or times > _DEEPEST:
                raise pickle.PicklingError(
                    f"its name, {given.__module__}.{given.__qualname__}, leads to something else, {words_of(found)}"
                )
        return unwrapped, (found, times)


def _found(module: str, name: str) -> Any:
    """What a name leads to; None: nothing."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _rooms_of(work: Work) -> tuple[Room, ...]:
    """What a handler may write, made and claimed."""
    from runcue._artifacts.publication import OutputTransaction  # noqa: PLC0415 - not needed by who writes nothing

    declared = work._declared
    assert declared is not None
    transaction = declared.transaction = OutputTransaction()
    rooms = []
    for output in declared.outputs:
        if not isinstance(output, File):
            continue
        temp, refusal = None, ""
        try:
            temp = transaction.reserve(output._path)
        except PublishError as error:
            # It may make it in its own way: it is told if it tries.
            refusal = str(error)
        rooms.append(Room(output._path, output._given, temp, refusal))
    return tuple(rooms)


def _main_has_file() -> bool:
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return isinstance(path, str) and Path(path).is_file()


def _why_no_file() -> str:
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if isinstance(path, str):
        for folder in Path(path).parents:
            if folder.is_file():
                return f"it is in an archive, {shortened(folder.name, 80)}"
    return "it was typed in, or read from a pipe"


def _clause(error: BaseException) -> str:
    return error_words(error).removesuffix(".")
