"""Calls of handlers elsewhere, as they are carried out there: bytes in, bytes out.

Lives here: `run`. What goes in and comes out is put together and taken apart by `_handlers.remote_calls`, where the cue
is.

It is loaded in worker processes, where nothing of runcue may be needed: so it knows the standard library and `pictures`
alone, but for what is loaded when something is wrong. No pickle names it.

Must not know: where it runs, how calls get there, anything of a cue.
"""

from __future__ import annotations

import io
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from time import monotonic
from types import CoroutineType
from typing import Any, Final, NamedTuple

from runcue.executors.pictures import Picture

__all__ = [
    "PROTOCOL",
    "Answer",
    "Form",
    "here",
    "load_answer",
    "load_error",
    "run",
    "unwrapped",
]

PROTOCOL: Final = 5
"""Of pickles. The highest that there is in all versions of Python that runcue runs in: two machines may differ."""

_MOST_KNOWN: Final = 1_000
"""So many functions are kept that were called in this process."""

_LONGEST_PATH: Final = 200
_LONGEST_TEXT: Final = 300
_LONGEST_TRACE: Final = 20_000


class Answer(NamedTuple):
    """What has become of a call.

    Attributes:
        value: What the handler has returned; None if it has raised.
        error: What it has raised, pickled; None if it has returned, or if that cannot be pickled.
        failure: What it has raised in words: its class, its text, its traceback; None if it has returned.
        final: Whether another attempt would come to the same: it was not the handler that has failed.
        spent: What `work.spent()` has said, call by call.
        written: The paths of what was written, with whether the disk is to be waited for.
        entered: When the handler was entered, by the clock of that machine.
        left: When it was left.
        host: Which machine that is.
    """

    value: Any
    error: bytes | None
    failure: tuple[str, str, str] | None
    final: bool
    spent: tuple[dict[str, Any], ...]
    written: dict[str, bool]
    entered: float
    left: float
    host: str


class _Function(NamedTuple):
    """What is called in this process, as it was unpickled once.

    Attributes:
        call: Takes a picture.
        dumps: Pickles what it gives.
        initializer: To be called before the first call; None: nothing is.
        lock: Held while that is done.
        done: Empty until it was.
    """

    call: Callable[[Picture], Any]
    dumps: Callable[[Any], bytes]
    initializer: Callable[[], Any] | None
    lock: threading.Lock
    done: list[bool]


class Form(NamedTuple):
    """How a handler is called.

    Attributes:
        takes_work: Whether it takes the work unit.
        by_name: By what name it does; None: as the first.
        names: What it takes of params by their names; None: all there are.
        takes_params: Whether it takes any.
    """

    takes_work: bool
    by_name: str | None
    names: tuple[str, ...] | None
    takes_params: bool


_known: dict[bytes, _Function] = {}
# Whoever calls from several threads of one process waits while a module is imported, and for nothing else.
_loading: Final = threading.RLock()


def run(
    payload: bytes,
    load_main: Callable[[], object] | None = None,
    enter: Callable[[], object] | None = None,
) -> bytes:
    """Carry out a call. Whatever goes wrong is in the answer.

    Args:
        payload: What `_handlers.remote_calls` has packed.
        load_main: Called before a name of `__main__` is looked up.
        enter: Called when the handler is about to be entered.

    Returns:
        What `load_answer` takes.
    """
    picture: Picture | None = None
    dumps: Callable[[Any], bytes] = _dumps
    entered = monotonic()
    is_loading = True
    try:
        picture, function = _load_call(payload, load_main)
        dumps = function.dumps
        is_loading = False
        if function.initializer is not None and not function.done:
            with function.lock:
                if not function.done:
                    function.initializer()
                    function.done.append(True)
        if enter is not None:
            enter()
        entered = monotonic()
        value = function.call(picture)
        left = monotonic()
    except BaseException as error:
        # Of what may be otherwise next time there is no telling; a module that is not there will not be there.
        final = is_loading and not isinstance(error, (OSError, MemoryError))
        return _failed(picture, error, final, dumps, entered)
    spent, written = tuple(picture._spent), picture._written
    try:
        return dumps(tuple(Answer(value, None, None, False, spent, written, entered, left, here())))
    except Exception as error:
        # Where something is wrong there is time to load what finds it.
        find_culprit = import_module("runcue.executors.culprits").find_culprit
        path, problem = find_culprit(value, "result", dumps, error)
        whose = f"the handler of task {_cut(picture.task, 80)!r}"
        if isinstance(value, CoroutineType):
            value.close()  # that it was never awaited is said by the line below
        reason = pickle.PicklingError(f"{path} cannot be sent back from where {whose} runs: it {problem}.")
        return _failed(picture, reason, True, dumps, entered)


def _load_call(payload: bytes, load_main: Callable[[], object] | None = None) -> tuple[Picture, _Function]:
    """What is to be called with what.

    Args:
        payload: As of `run`.
        load_main: Likewise.
    """
    length = int.from_bytes(payload[:4], "big")
    named = payload[4 : 4 + length]
    function = _known.get(named)
    if function is None:
        with _loading:
            function = _known.get(named)
            if function is None:
                handler, form, pickler, initializer = _load(io.BytesIO(named), load_main)
                dumps = _dumps if pickler is None else import_module(pickler).dumps
                call = handler if form is None else _called(handler, Form(*form))
                function = _Function(call, dumps, initializer, threading.Lock(), [])
                if len(_known) >= _MOST_KNOWN:
                    _known.clear()
                _known[named] = function
    stream = io.BytesIO(payload)
    stream.seek(4 + length)
    return Picture(*_load(stream, load_main)), function


def load_error(pickled: bytes) -> Any:
    """What an answer has as an error, in the process of the cue. It may be of the main program, as the value may be."""
    return _load(io.BytesIO(pickled), None)


def load_answer(answer: bytes) -> Answer:
    """What an answer says, in the process of the cue."""
    return Answer(*_load(io.BytesIO(answer), None))


def _called(handler: Callable[..., Any], form: Form) -> Callable[[Picture], Any]:
    names, by_name = form.names, form.by_name

    def call(picture: Picture) -> Any:
        params = {}
        if form.takes_params:
            params = picture.params if names is None else {name: picture.params[name] for name in names}
        if not form.takes_work:
            return handler(**params)
        if by_name is None:
            return handler(picture, **params)
        return handler(**{**params, by_name: picture})

    return call


def _failed(
    picture: Picture | None,
    error: BaseException,
    final: bool,
    dumps: Callable[[Any], bytes],
    entered: float,
) -> bytes:
    """The answer of a handler that has raised, or could not be called."""
    left = monotonic()
    kind: Any = type(error)
    named = f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__qualname__
    trace = ""
    try:
        first = error.__traceback__
        while first is not None and first.tb_frame.f_code.co_filename == run.__code__.co_filename:
            first = first.tb_next
        # What cannot be sent back was never raised.
        if error.__traceback__ is not None:
            trace = "".join(traceback.format_exception(kind, error, first or error.__traceback__))
    except Exception:  # it does not let itself be told
        trace = f"Traceback of a {named} that cannot be shown\n"
    if len(trace) > _LONGEST_TRACE:
        trace = f"{trace[: _LONGEST_TRACE // 2]}\n  ...\n{trace[-_LONGEST_TRACE // 2 :]}"
    failure = (_cut(named, _LONGEST_PATH), _text_of(error), trace)
    spent = () if picture is None else tuple(picture._spent)
    written = {} if picture is None else picture._written
    answer = Answer(None, _pickled(error, dumps), failure, final, spent, written, entered, left, here())
    return _dumps(tuple(answer))


def _pickled(error: BaseException, dumps: Callable[[Any], bytes]) -> bytes | None:
    """An error, if it comes back as it is; None if it does not."""
    try:
        pickled = dumps(error)
        back = pickle.loads(pickled)  # noqa: S301 - it was pickled in the line above
        same = (
            type(back) is type(error)
            and str(back) == str(error)
            and len(back.args) == len(error.args)
            and vars(back).keys() == vars(error).keys()
        )
    except Exception:
        return None
    return pickled if same else None


class _Unpickler(pickle.Unpickler):
    load_main: Callable[[], object] | None = None

    def find_class(self, module: str, name: str) -> Any:
        if module in ("__main__", "__mp_main__"):
            module = "__main__"
            if self.load_main is not None:
                self.load_main()
        if module == "runcue.executors.calls" and name == "unwrapped":
            return unwrapped
        return super().find_class(module, name)

    def persistent_load(self, named: tuple[str, str]) -> Any:
        """What is known by the name that leads to it, whatever it consists of."""
        return self.find_class(*named)


def _load(stream: io.BytesIO, load_main: Callable[[], object] | None) -> Any:
    unpickler = _Unpickler(stream)
    unpickler.load_main = load_main
    return unpickler.load()


def unwrapped(function: Any, times: int) -> Any:
    """What a decorated function is around: a handler is known by the name that its decorators have.

    Args:
        function: What its name leads to.
        times: Through so many layers.
    """
    for _ in range(times):
        function = function.__wrapped__
    return function


def _dumps(value: Any) -> bytes:
    return pickle.dumps(value, PROTOCOL)


@cache
def here() -> str:
    """Which machine this is, since it was switched on: its monotonic clock is the same for all processes."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii').strip()} {sys.platform}"
    except OSError:
        return f"{import_module('socket').gethostname()} {sys.platform}"


def _text_of(error: BaseException) -> str:
    try:
        text = str.__str__(str(error))  # a plain one, which can be sent
    except Exception:
        text = f"a {type(error).__qualname__} without a text"
    return _cut(text, _LONGEST_TEXT)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 20]}...{text[-17:]}"
