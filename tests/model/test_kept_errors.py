"""What is kept of exceptions: all that they say, with the way to the line, and nothing that was alive there."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import decimal
import errno
import gc
import json
import pickle
import re
import subprocess
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from runcue._model.kept_errors import kept, raised_again


class Value:
    """What a failing function has in hand."""


alive: weakref.WeakSet[Value] = weakref.WeakSet()


def value() -> Value:
    one = Value()
    alive.add(one)
    return one


def plain(mine: Value) -> None:
    raise ValueError("plain")


def in_a_closure(mine: Value) -> None:
    def inner() -> None:
        raise ValueError(type(mine).__name__)

    inner()


def in_a_generator(mine: Value) -> None:
    def steps() -> Iterator[int]:
        its = value()
        yield 1
        plain(its)

    for _ in steps():
        pass


def in_an_argument(mine: Value) -> None:
    try:
        plain(mine)
    except ValueError as error:
        raise RuntimeError(error) from error


def in_an_attribute(mine: Value) -> None:
    try:
        plain(mine)
    except ValueError as error:
        wrapper = RuntimeError("wrapped")
        wrapper.original = error  # type: ignore[attr-defined]
        wrapper.exc_info = (type(error), error, error.__traceback__)  # type: ignore[attr-defined]
        raise wrapper from None


def in_context(mine: Value) -> None:
    try:
        plain(mine)
    except ValueError:
        raise KeyError("late")  # noqa: B904 - that is the case


def grouped(mine: Value) -> None:
    try:
        in_an_argument(mine)
    except RuntimeError as error:
        raise ExceptionGroup("all", [error, ExceptionGroup("some", [KeyError(1)])]) from error


class Coded(ExceptionGroup[Exception]):
    def __new__(cls, message: str, errors: list[Exception], code: int) -> Self:
        self = super().__new__(cls, message, errors)
        self.code = code
        return self

    code: int

    def derive(self, errors: Any) -> Any:
        raise AssertionError("nobody's business here")


def grouped_its_own_way(mine: Value) -> None:
    try:
        plain(mine)
    except ValueError as error:
        raise Coded("coded", [error], 7) from None


def attribute(mine: Value) -> None:
    mine.missing  # type: ignore[attr-defined]  # noqa: B018 - it raises


def name(mine: Value) -> None:
    nowhere  # type: ignore[name-defined]  # noqa: B018, F821 - it raises


def system(mine: Value) -> None:
    open("/no/such/file").close()  # noqa: PTH123 - it raises


def system_text(mine: Value) -> None:
    raise OSError("only a text")


class Located(OSError):
    def __init__(self, where: str) -> None:
        super().__init__(errno.EIO, "bad", where)


def would_block(mine: Value) -> None:
    raise BlockingIOError(errno.EAGAIN, "later", 5)


def system_subclass(mine: Value) -> None:
    raise Located("here")


def encoding(mine: Value) -> None:
    "\ud800".encode()


def module(mine: Value) -> None:
    import no_such_module  # type: ignore[import-not-found]  # noqa: F401


def syntax(mine: Value) -> None:
    compile("a b", "some file", "exec")


def exits(mine: Value) -> None:
    raise SystemExit(3)


def cancelled(mine: Value) -> None:
    raise asyncio.CancelledError("why")


def process(mine: Value) -> None:
    raise subprocess.CalledProcessError(3, ["a"], "out", "err")


def parsed(mine: Value) -> None:
    json.loads("{")


def expression(mine: Value) -> None:
    re.compile("(")


def number(mine: Value) -> None:
    decimal.Decimal(1) / 0


def noted(mine: Value) -> None:
    error = ValueError("noted")
    error.add_note("see there")
    raise error


class Slotted(Exception):
    __slots__ = ("code", "unset")

    def __init__(self, *, code: int) -> None:
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


def slotted(mine: Value) -> None:
    raise Slotted(code=4)


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


def frozen(mine: Value) -> None:
    raise Frozen(3)


class Contrary(Exception):
    """It cannot be made, copied, pickled, changed or compared, and counts how often it was tried."""

    tried = 0

    def __new__(cls, *, why: str) -> Self:
        cls.tried += 1
        return super().__new__(cls)

    def __init__(self, *, why: str) -> None:
        object.__setattr__(self, "why", why)

    def refuse(self, *given: Any) -> Any:
        type(self).tried += 1
        raise TypeError

    __copy__ = __deepcopy__ = __reduce__ = __reduce_ex__ = __setattr__ = __eq__ = refuse  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return str(self.__dict__["why"])


def contrary(mine: Value) -> None:
    raise Contrary(why="contrary")


def its_own_cause(mine: Value) -> None:
    error = ValueError("round")
    error.__cause__ = error
    raise error


def caused_by_its_group(mine: Value) -> None:
    error = ValueError("member")
    group = ExceptionGroup("group", [error])
    error.__cause__ = group
    raise group


FAILURES = [
    plain,
    in_a_closure,
    in_a_generator,
    in_an_argument,
    in_an_attribute,
    in_context,
    grouped,
    grouped_its_own_way,
    attribute,
    name,
    system,
    system_text,
    system_subclass,
    would_block,
    encoding,
    module,
    syntax,
    exits,
    cancelled,
    process,
    parsed,
    expression,
    number,
    noted,
    slotted,
    frozen,
    contrary,
    its_own_cause,
    caused_by_its_group,
]

each_failure = pytest.mark.parametrize("fails", FAILURES, ids=lambda fails: fails.__name__)


def caught(fails: Callable[[Value], None]) -> BaseException:
    try:
        fails(value())
    except BaseException as error:
        return error
    pytest.fail("it did not raise")


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def state(error: BaseException) -> dict[str, Any]:
    """What can be read of an exception, as text: what is kept are copies."""
    names = {name for one in type(error).__mro__ for name in vars(one)} | set(vars(error))
    left_out = {"__traceback__", "__dict__", "__weakref__", "obj", "exc_info"}
    found = {}
    for one in names - left_out:
        with contextlib.suppress(Exception):
            read = getattr(error, one)
            if not callable(read):
                found[one] = repr(read)
    return found


@pytest.mark.rule(18)
@each_failure
def test_what_is_kept_says_all_that_the_original_says_and_shows_the_same_traceback(
    fails: Callable[[Value], None],
) -> None:
    error = caught(fails)
    text, tried = shown(error), Contrary.tried
    for copy in (kept(error), raised_again(kept(error))):
        assert type(copy) is type(error)
        assert copy is not error
        assert (str(copy), state(copy)) == (str(error), state(error))
        assert shown(copy) == text
        assert f"in {fails.__name__}" in text
    assert shown(error) == text
    assert Contrary.tried == tried


@pytest.mark.rule(18)
@each_failure
def test_what_is_kept_holds_nothing_that_was_alive_in_the_frames(fails: Callable[[Value], None]) -> None:
    alive.clear()
    copy = kept(caught(fails))
    gc.collect()
    assert list(alive) == []
    assert shown(copy)


@pytest.mark.rule(16, 18)
@each_failure
def test_who_raises_a_copy_has_the_frames_of_nobody_else_in_it(fails: Callable[[Value], None]) -> None:
    alive.clear()
    copy = kept(caught(fails))
    text = shown(copy)

    def raises() -> BaseException:
        mine = value()
        try:
            raise raised_again(copy)
        except BaseException as error:
            with contextlib.suppress(TypeError, AttributeError):  # some refuse any change
                error.add_note("mine alone")
            assert mine in alive
            return error

    errors = [raises() for _ in range(3)]
    for error in errors:
        assert shown(error).count(", in raises") == 1
        assert shown(error).count("mine alone") <= 1
    del errors, error
    gc.collect()
    assert list(alive) == []
    assert shown(copy) == text


@pytest.mark.rule(18)
def test_what_cannot_be_made_anew_is_stripped_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from runcue._model import kept_errors

    def refuse(self: Any, error: BaseException) -> BaseException:
        raise TypeError

    monkeypatch.setattr(kept_errors._Copies, "_unlinked", refuse)
    alive.clear()
    error = caught(in_an_argument)
    text = shown(error)
    assert kept(error) is error
    gc.collect()
    assert list(alive) == []
    assert shown(error) == text
    for _ in range(3):
        with pytest.raises(RuntimeError) as raised:
            raise raised_again(error)
        assert shown(raised.value).count("in test_what_cannot") == 1
    assert shown(raised_again(error)) == text


@pytest.mark.rule(18)
def test_an_endless_recursion_is_kept_with_its_two_ends() -> None:
    def calls_itself(mine: Value) -> None:
        calls_itself(mine)

    copy = kept(caught(calls_itself))
    entries = traceback.extract_tb(copy.__traceback__)
    assert len(entries) == 65
    assert entries[0].name == "caught"
    assert entries[-1].name == "calls_itself"
    assert sum("calls that are left out" in entry.name for entry in entries) == 1


@pytest.mark.rule(18)
def test_of_a_chain_without_end_the_latest_are_kept() -> None:
    error: Exception | None = None
    for number in range(3000):
        try:
            raise ValueError(number) from error
        except ValueError as raised:
            error = raised
    assert error is not None
    chain = [kept(error)]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    assert [str(one) for one in chain] == [str(number) for number in range(2999, 2899, -1)]


@pytest.mark.rule(18)
@pytest.mark.parametrize("filename", ["\ud800", "<template>", "a\nb"])
def test_code_that_no_compiler_has_made_so_is_shown_as_well(filename: str) -> None:
    code = plain.__code__.replace(co_filename=filename, co_name="odd name", co_qualname="odd name")
    odd = type(plain)(code, {})  # not even a name for its module
    tracing = sys.gettrace()
    sys.settrace(None)  # whoever measures coverage asks where that file is
    try:
        frame, line = list(traceback.walk_tb(kept(caught(odd)).__traceback__))[-1]
    finally:
        sys.settrace(tracing)
    assert (frame.f_code.co_filename, frame.f_code.co_name) == (filename, "odd name")
    assert line == plain.__code__.co_firstlineno + 1


@pytest.mark.rule(18)
def test_a_thousand_places_are_remembered_and_then_forgotten() -> None:
    for number in range(1100):
        text = "\n" * number + "def fails(mine):\n    raise ValueError"
        there: dict[str, Any] = {}
        exec(compile(text, "many", "exec"), there)  # noqa: S102 - as many functions as that
        assert traceback.extract_tb(kept(caught(there["fails"])).__traceback__)[-1].lineno == number + 2


@pytest.mark.rule(18)
def test_what_is_kept_can_be_pickled_as_its_original() -> None:
    assert repr(pickle.loads(pickle.dumps(kept(caught(in_context))))) == "KeyError('late')"
