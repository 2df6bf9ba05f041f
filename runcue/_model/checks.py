"""What a value that a user gives must be, and the text that says so where it is not.

Lives here: checks that several rooms share. Whatever is given, and whatever it does when it is asked, what they raise
is an error of runcue; and what a call is given that it does not take is one as well (`says_what_it_takes`).

Must not know: what the values are for.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable
from functools import partial, wraps
from types import FunctionType
from typing import Any, Final, NoReturn, TypeVar

from runcue._model.errors import ConfigurationError
from runcue._model.signature import method_hint, plainly_takes, signature_of
from runcue._model.texts import describe, shortened, words_of

__all__ = [
    "NOTHING",
    "carried_out_by",
    "check_callback",
    "check_name",
    "check_text",
    "has_methods",
    "is_async",
    "is_generator",
    "is_kind",
    "is_one_of",
    "nearest",
    "number_of",
    "positive_int",
    "refuse_options",
    "says_how_to_await",
    "says_what_it_takes",
    "unfit_form",
    "whole_number",
    "yes_or_no",
]

F = TypeVar("F", bound=Callable[..., Any])


def check_name(value: object, what: str) -> str:
    """Check what a user calls a service, a task or a flag.

    Returns:
        The same as a plain str.

    Raises:
        ConfigurationError: It is no text, or empty.
    """
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"The name of a {what} must be a non-empty str, not {words_of(value)}.")
    return check_text(value, f"The name of a {what}")


def check_text(value: object, what: str) -> str:
    """Check a text.

    Returns:
        The same as a plain str.

    Raises:
        ConfigurationError: It is none.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{what} must be a str, not {words_of(value)}.")
    return str.__str__(value)  # what a subclass does is its own business


def whole_number(value: object, what: str, least: int) -> int:
    """Check a whole number (True is none, 3.0 is one).

    Args:
        value: What was given.
        what: What it is called in messages.
        least: The smallest that will do.

    Raises:
        ConfigurationError: It is something else.
    """
    number: int | None
    if isinstance(value, float):
        number = int(value) if value.is_integer() else None
    else:
        try:
            number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
        except Exception:
            number = None
    if number is None or number < least:
        raise ConfigurationError(f"{what} must be a whole number of at least {least}, not {words_of(value)}.")
    return number


def positive_int(value: object, what: str) -> int:
    """Check a whole number of at least 1; see `whole_number`."""
    return whole_number(value, what, 1)


def number_of(value: object) -> float | None:
    """A number as a float, None if it is none or too big (True is none)."""
    if isinstance(value, float):
        return float(value)
    try:
        return None if isinstance(value, bool) else float(operator.index(value))  # type: ignore[arg-type]
    except Exception:
        return None


def yes_or_no(value: object, what: str) -> bool:
    """Check what must be True or False (or 1 or 0): of anything else the truth may be another one than was meant.

    Raises:
        ConfigurationError: It is neither.
    """
    if isinstance(value, int) and 0 <= value <= 1:
        return bool(value)
    raise ConfigurationError(f"{what} must be True or False, not {words_of(value)}.")


def is_one_of(value: object, words: Iterable[str]) -> bool:
    """Whether a value is one of these words, whatever it does when it is compared."""
    return isinstance(value, str) and str.__str__(value) in words


def has_methods(value: object, names: Iterable[str]) -> bool:
    """Whether an object, and no class, has these methods."""
    try:
        return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in names)
    except Exception:
        return False


def nearest(name: object, names: Iterable[str]) -> str | None:
    """Which of these names is meant by one that is none of them, as far as it looks like one."""
    from difflib import get_close_matches  # noqa: PLC0415 - only where something is wrong

    near = get_close_matches(name, list(names), n=1) if isinstance(name, str) else []
    return near[0] if near else None


def refuse_options(
    call: Callable[..., Any], options: Iterable[str], kind: type[ConfigurationError] = ConfigurationError
) -> NoReturn:
    """Refuse options that a call does not take.

    Args:
        call: What was called.
        options: Their names.
        kind: What to raise.

    Raises:
        ConfigurationError: Always; it names the option that may have been meant.
    """
    raise kind(_misfit(call, options))


class _Nothing:
    """What stands for a value that was not given."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final[Any] = _Nothing()
"""The default of what has to be given, where a call tells by itself that it was not: Python's own error names neither
what it is nor what to write, and a wrapper would cost each work unit a call."""


def says_how_to_await(form: str, blocking: str = "") -> Callable[[F], F]:
    """Say what to write where a coroutine is made and not awaited.

    Python itself warns of that, with file and line, and calls the coroutine by the qualified name of its function. That
    costs nothing where all is well, as no wrapper could.

    Args:
        form: What to write.
        blocking: What of a `runcue.blocking()`, if there is something.
    """
    if blocking:
        form += f"; inside `with runcue.blocking(cue) as b` {blocking}"

    def named(call: F) -> F:
        call.__qualname__ = f"{call.__qualname__} (write {form})"
        return call

    return named


def carried_out_by(function: Callable[..., Any]) -> Callable[[F], F]:
    """Let a call be carried out by another function, which takes its options together, in a dict.

    The default of each option that is given by name is looked up by itself, at each call: of ten options that takes as
    long as a fifteenth of a submission. What people and type checkers are shown of the call is the function that is
    decorated; its body is never run.

    Args:
        function: That one.
    """

    def shown(call: F) -> F:
        return wraps(call)(function)  # type: ignore[return-value]

    return shown


def says_what_it_takes(call: F) -> F:
    """Let a call with arguments that it does not take raise an error of runcue that says what to write.

    As a decorator of what is not called for each work unit.
    """

    @wraps(call)
    def asked(*args: Any, **options: Any) -> Any:
        try:
            return call(*args, **options)
        except TypeError as error:
            # Raised by the call itself, and not inside of it.
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                raise ConfigurationError(_misfit(call, options)) from None
            raise

    return asked  # type: ignore[return-value]


def _misfit(call: Callable[..., Any], options: Iterable[str]) -> str:
    """What is wrong with a call that was given the wrong arguments."""
    takes = inspect.signature(call).parameters
    owner, _, name = call.__qualname__.partition(" ")[0].rpartition(".")
    name = owner if name == "__init__" else name
    plain = [one for one in takes.values() if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"]
    named = [one.name for one in takes.values() if one.kind is one.KEYWORD_ONLY]
    rest = ", ".join(f"{one}=" for one in named)
    also = ""
    for option in options:
        if option not in takes:
            also = f"; it has no option {option}="
            near = nearest(option, [*named, *(one.name for one in plain)])
            if near or named:
                # What has no value of its own where it is left out is no option: what a decorator decorates, say.
                also_named = [one for one in plain if isinstance(one.default, (int, float, str))]
                every = [*(one.name for one in also_named), *named]
                hint = (
                    f"did you mean {near}=?" if near else f"there is {', '.join(f'{one}=' for one in every)}."
                )
                return f"{name}() has no option {option}=; {hint}"
    if not plain:
        return f"{name}() takes {'options by keyword alone: ' + rest if named else 'no arguments'}{also}."
    first = ", ".join(one.name for one in plain)
    values = "one argument" if len(plain) == 1 else f"{len(plain)} arguments"
    return f"{name}() takes {values}, {first}{', and options by keyword: ' + rest if named else ''}{also}."


def is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine, as far as its definition tells."""
    if type(handler) is FunctionType and not handler.__dict__:  # nobody has marked it: its code tells
        return bool(handler.__code__.co_flags & inspect.CO_COROUTINE)
    call = getattr(type(handler), "__call__", None)  # noqa: B004 - an object whose __call__ is a coroutine function
    return is_kind(handler, inspect.iscoroutinefunction) or is_kind(call, inspect.iscoroutinefunction)


def is_kind(call: object, *kinds: Callable[[Any], bool]) -> bool:
    """Whether a function is of one of these kinds.

    Args:
        call: The function; what is called like one may do anything when it is asked.
        kinds: Out of `inspect`.
    """
    try:
        return any(kind(call) for kind in kinds)
    except Exception:
        return False


def is_generator(call: Any) -> bool:
    """Whether calling it gives a generator that is not to be awaited, as far as its definition tells."""
    if not is_kind(call, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        return False
    inmost = call
    while isinstance(inmost, partial):
        inmost = inmost.func
    code = getattr(inmost, "__code__", None)  # that of a method is its function's
    return not getattr(code, "co_flags", 0) & inspect.CO_ITERABLE_COROUTINE


def unfit_form(call: Any, number: int) -> str | None:
    """The form of a function that cannot be called with so many arguments; None if it can be, or does not tell.

    Args:
        call: The function.
        number: So many, without names.
    """
    return _unfit_form(signature_of(call), number)


def _unfit_form(signature: inspect.Signature | None, number: int) -> str | None:
    if signature is None:
        return None
    try:
        signature.bind(*range(number))
    except TypeError:
        try:
            return shortened(str(signature), 200)
        except Exception:  # out of the repr of a default
            return "(...)"
    return None


def check_callback(
    call: object, what: str, takes: tuple[str, ...] | None, *, may_yield: bool = False
) -> None:
    """Check that a callback can be called with so many arguments, and gives one result.

    Args:
        call: The callback.
        what: What it is called in messages.
        takes: The names of what it will be given; None: it is given what it names itself.
        may_yield: Whether it may be a generator function: what it yields is gone through.

    Raises:
        ConfigurationError: It is not callable, takes something else, or is a generator function.
    """
    if takes is not None and plainly_takes(call, len(takes)):
        return
    if not callable(call):
        raise ConfigurationError(f"{what} must be callable, not {words_of(call)}.")
    if not may_yield and is_generator(call):
        raise ConfigurationError(
            f"{what} {describe(call)} must not be a generator: nothing of it would run. Write `return` in place of "
            "`yield`."
        )
    if takes is None:
        return
    signature = signature_of(call)
    form, hint = _unfit_form(signature, len(takes)), method_hint(signature, "this call")
    if hint or form is not None:
        text = f"{what} {describe(call)}{form or '(self)'} must take ({', '.join(takes)})."
        raise ConfigurationError(f"{text} {hint}" if hint else text)
