"""Commands as handlers: `runcue.shell("convert {inputs[0]} {outputs[0]}")`.

How this goes about it: where it is written the command is taken apart and checked. For a work unit its outputs get
places in temp folders, values are put in, quoted for the shell, the program is run to its end, and what it has made is
left to be published like what any handler writes.

Lives here: `shell`, and `ShellCommand`, the handler that it makes.

Must not know: how programs are run (`programs`), how placeholders are read (`placeholders`, `shell_quotes`), when
handlers run.
"""

from __future__ import annotations

import errno
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.file import File
from runcue._callbacks.door import ODD_RESULTS
from runcue._handlers.outputs import let_make
from runcue._handlers.placeholders import Fields, Placeholder, Template
from runcue._handlers.programs import run_program
from runcue._handlers.shell_quotes import QuoteReader
from runcue._model.checks import says_what_it_takes
from runcue._model.command import Command
from runcue._model.errors import CommandFailed, ConfigurationError, MissingOutput
from runcue._model.exit_codes import last_words
from runcue._model.texts import how_many, listed, shortened, words_of
from runcue._model.work import Work

__all__ = ["ShellCommand", "shell"]

_SHELLS: Final = ("sh", "ash", "bash", "dash", "ksh", "zsh")

_READS_NEXT: Final = re.compile("-[A-Za-z]*c")
"""The option of shells that has them read the next word as commands, also together with others: "-euc"."""

_VALUE: Final = re.compile(r"(?<!\$)\{(inputs|outputs|params|work)\b[^{}]*\}")
"""What is put in as a value where values are."""

_NOT_FOUND: Final = 127
_NOT_RUN: Final = 126
"""What shells say of a program that is not there, and of one that is there and cannot be run."""

_OF_THE_PROGRAM: Final = {
    errno.ENOENT: _NOT_FOUND,
    errno.ENOTDIR: _NOT_FOUND,
    errno.EACCES: _NOT_RUN,
    errno.EPERM: _NOT_RUN,
    errno.ENOEXEC: _NOT_RUN,
    errno.E2BIG: _NOT_RUN,
    errno.ENAMETOOLONG: _NOT_RUN,
    errno.EISDIR: _NOT_RUN,
    errno.ELOOP: _NOT_RUN,
}


@says_what_it_takes
def shell(
    command: str | Sequence[str | os.PathLike[str]],
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> ShellCommand:
    """Make a handler of a command.

    What it prints to stdout is the result, as text; its standard input is empty. It runs in a session of its own, out
    of the reach of the terminal's Ctrl-C, and is killed with all that it has started when its work unit is cancelled
    or has timed out. If it ends with another exit code than 0, the attempt fails with `CommandFailed`.

    Values are put in as by `str.format`: `{inputs[0]}` and `{outputs[0]}` are paths, as `pathlib` has them
    (`{inputs[0].stem}`), `{inputs}` is all of them; `{params[width]}` is a param, and `{work.id}` is of the work unit.
    In text for a shell each is quoted by itself, so that none stands in quotes. A list is a word for each of what is
    in it. A brace of the command itself is written twice.

    An output that is named so is written in a temp folder beside its target, under its own name, and published when the
    command has succeeded. One that is a folder, declared with a slash at its end, is written in its place.

    Args:
        command: Text for a shell (`/bin/sh`), or the words of a command that needs none.
        cwd: The folder that it runs in, by default that of your program. Inputs and outputs stay the same files.
        env: Environment variables for it, beside those of your program and before them.

    Raises:
        ConfigurationError: It names what no work unit has, or a value stands in quotes; `cwd` is no path, or `env` no
            mapping of texts.

    Example:
        cue.task("shrink", inputs=lambda path: path, outputs=lambda path: f"{path}.png")(
            runcue.shell("convert {inputs[0]} -resize {params[width]} {outputs[0]}")
        )
    """
    return ShellCommand(command, cwd, env)


class ShellCommand(Command):
    """A handler that runs a command; `runcue.shell` makes it."""

    def __init__(
        self,
        command: str | Sequence[str | os.PathLike[str]],
        cwd: str | os.PathLike[str] | None,
        env: Mapping[str, str] | None,
    ) -> None:
        self._in_shell = isinstance(command, str)
        words = (command,) if isinstance(command, str) else _checked_words(command)
        super().__init__(command if isinstance(command, str) else words, _checked_cwd(cwd), _checked_env(env))
        if not any(word.strip() for word in words):
            raise ConfigurationError(f"{self!r} is an empty command.")
        self._templates = [Template(word, repr(self), in_shell=self._in_shell) for word in words]
        if self._in_shell:
            self._check_quotes(self._templates[0])
        else:
            self._check_script(words)
        # By the work unit, the id of the process that runs for it, and what gives the end of its stderr so far.
        self._running: dict[Work, tuple[int, Callable[[], bytes]]] = {}
        self.__signature__ = _signature(self._templates)

    def _check_quotes(self, template: Template) -> None:
        """Check that each value stands where it can be quoted by itself."""
        reader = QuoteReader()
        for piece in template.pieces:
            if not isinstance(piece, Placeholder):
                reader.read(piece)
                continue
            if wrong := reader.objection():
                raise ConfigurationError(f"{self!r}: {piece} {wrong}.")
            reader.pass_value()
        if quote := reader.unclosed():
            raise ConfigurationError(f"{self!r} has a quote {quote} that is never closed.")

    def _check_script(self, words: Sequence[str]) -> None:
        """Check that no value stands in what a shell among the words reads as commands: there nothing is quoted."""
        if Path(words[0]).name not in _SHELLS:
            return
        for option, template in zip(words[1:], self._templates[2:], strict=False):
            if not _READS_NEXT.fullmatch(option):
                continue
            value = next((one for one in template.pieces if isinstance(one, Placeholder)), None)
            if value is not None:
                raise ConfigurationError(
                    f"{self!r}: {value} stands in what {words_of(words[0])} reads as commands, where whatever is in it "
                    f'would be one: write "$1" there, and behind it the words {words_of(Path(words[0]).name)} and '
                    f"{words_of(str(value))}."
                )
            return

    def check_artifacts(self, inputs: Any, outputs: Any, what: str) -> None:
        for name, declared in (("inputs", inputs), ("outputs", outputs)):
            indices = set[int]().union(*(template.indices[name] for template in self._templates))
            if type(declared) is tuple and indices and max(indices) >= len(declared):
                raise ConfigurationError(
                    f"{self!r} names {{{name}[{max(indices)}]}}, but {what} has "
                    f"{how_many(len(declared), name[:-1], name)}; they are counted from 0."
                )

    def where(self, work: Any) -> str:
        running = self._running.get(work)
        return "" if running is None else f"process {running[0]} of {self!r}"

    def last_words(self, work: Any) -> str:
        running = self._running.get(work)
        return "" if running is None else last_words(_text(running[1]()))

    async def __call__(self, work: Work, /, **params: Any) -> str:
        made: dict[int, Path] = {}
        command = self._filled(work, made)
        try:
            ended = await run_program(
                command,
                lambda pid, errors: self._running.__setitem__(work, (pid, errors)),
                cwd=self.cwd,
                env={**os.environ, **self.env} if self.env else None,
            )
        except OSError as error:
            code = _OF_THE_PROGRAM.get(error.errno or 0)
            if code is None:
                raise  # it is nothing of the program's: no more processes can be started, say
            if self.cwd is not None and error.filename == self.cwd:
                code, why = _NOT_RUN, f"it is to run in {words_of(self.cwd)}: {error.strerror}"
            else:
                why = _why_not_started(command, error, code)
            raise CommandFailed(code, why, self.text) from error
        finally:
            self._running.pop(work, None)
        if ended.returncode:
            raise CommandFailed(ended.returncode, _text(ended.errors), self.text)
        self._check_made(work, made, _text(ended.errors))
        return _text(ended.printed)

    def _filled(self, work: Work, made: dict[int, Path]) -> str | list[str]:
        """The command for a work unit.

        Args:
            work: The work unit.
            made: Gets those of its outputs that the command names, and where it is to write them.
        """
        named = set[int]().union(*(template.indices["outputs"] for template in self._templates))
        if any("outputs" in template.all_of for template in self._templates):
            named.update(range(len(work.outputs)))
        outputs = [_as_path(one) for one in work.outputs]
        for index, output in enumerate(work.outputs):
            if index in named and isinstance(output, File) and not output._path.endswith(os.sep):
                outputs[index] = made[index] = let_make(work, output)
        fields = Fields(work, [_as_path(one) for one in work.inputs], outputs)
        if self._in_shell:
            return self._templates[0].quoted(fields)
        return [word for template in self._templates for word in template.words(fields)]

    def _check_made(self, work: Work, made: dict[int, Path], errors: str) -> None:
        """Check that the command has made the files that are to be made.

        Args:
            work: The work unit.
            made: Those of its outputs that the command names, and where it was to write them.
            errors: The end of what it has written to stderr.

        Raises:
            MissingOutput: One is not there. The text says what it has made in its place.
        """
        for index, output in enumerate(work.outputs):
            if not isinstance(output, File) or os.path.lexists(made.get(index, output._path)):
                continue
            place, instead = f"{{outputs[{index}]}}", ""
            if index in made:
                expected = {one.name for one in made.values()}
                others = sorted(one.name for one in made[index].parent.glob("*") if one.name not in expected)
                if others:
                    instead = f" In its place it has made {listed(map(words_of, others), 3)}."
            elif not output._path.endswith(os.sep):
                instead = f" The command does not name it: as {place} it is told where to write it."
            said = last_words(errors)
            raise MissingOutput(
                f"The command of task {work.task!r}, {self!r}, ended with exit code 0, but has not made {place}: "
                f"there is no {shortened(output._path, 300)}.{instead} An output is what proves that the work was done."
                f"{said and f' The last that it has written to stderr: {said}'}"
            )


# Who returns one has most likely meant to run it.
ODD_RESULTS.append(ShellCommand)


def _checked_words(command: object) -> tuple[str, ...]:
    """The words of a command.

    Raises:
        ConfigurationError: It is neither text nor words.
    """
    if isinstance(command, (list, tuple)) and all(isinstance(one, (str, os.PathLike)) for one in command):
        words = tuple(os.fspath(one) for one in command)
        if all(isinstance(one, str) for one in words):
            return words
    hint = ""
    if isinstance(command, (list, tuple)):
        odd = next(one for one in command if not isinstance(one, str))
        hint = f": {words_of(odd)} is none"
    raise ConfigurationError(
        f"A command is text for a shell, or a list of words, each of them text, not {words_of(command)}{hint}."
    )


def _checked_cwd(given: object) -> str | None:
    """The folder for a command.

    Raises:
        ConfigurationError: It is no path.
    """
    if given is None:
        return None
    path = os.fspath(given) if isinstance(given, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ConfigurationError(f"cwd of a command is the path of a folder, not {words_of(given)}.")
    _check_plain(path, "cwd of a command")
    return path


def _checked_env(given: object) -> dict[str, str]:
    """Environment variables for a command.

    Raises:
        ConfigurationError: They are none.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f'env of a command is a mapping of texts, such as {{"LANG": "C"}}, not {words_of(given)}.'
        )
    variables = {}
    for name, value in given.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise ConfigurationError(
                f"env of a command has {words_of(name)}, which is no name of a variable."
            )
        if not isinstance(value, str) or "\0" in value:
            raise ConfigurationError(
                f"env of a command has {words_of(name)}: its value must be text, not {words_of(value)}."
            )
        _check_plain(value, f"env of a command: {words_of(name)}")
        variables[str.__str__(name)] = str.__str__(value)
    return variables


def _check_plain(text: str, what: str) -> None:
    """Check that nobody means values to be put in.

    Raises:
        ConfigurationError: Somebody seems to.
    """
    if found := _VALUE.search(text):
        raise ConfigurationError(f"{what} has {found[0]}, but values are put in the command alone.")


def _signature(templates: list[Template]) -> inspect.Signature:
    """What it takes: who leaves a param out that it names is told so by submit()."""
    named = dict.fromkeys(name for template in templates for name in template.params)
    own = inspect.Parameter
    takes = [own("work", own.POSITIONAL_OR_KEYWORD)]
    takes += [
        own(name, own.KEYWORD_ONLY)
        for name in named
        if name.isidentifier() and name not in ("work", "params")
    ]
    if named:
        takes.append(own("params", own.VAR_KEYWORD))
    return inspect.Signature(takes)


def _as_path(artifact: Any) -> Any:
    """An artifact as the path that a command takes for it, or as it is if it has none."""
    if isinstance(artifact, Artifact) and isinstance(artifact, os.PathLike):
        return Path(os.fspath(artifact)).absolute()
    return artifact


def _why_not_started(command: str | list[str], error: OSError, code: int) -> str:
    program = "/bin/sh" if isinstance(command, str) else command[0]
    if code == _NOT_FOUND:
        where = "" if os.sep in program else " on the PATH"
        return f"there is no program {words_of(program)}{where}"
    return f"{words_of(program)} cannot be run: {error.strerror}"


def _text(printed: bytes) -> str:
    # As names of files are read, so that those that it has printed can be opened.
    return printed.decode("utf-8", "surrogateescape")
