"""How a program has ended, in words."""

from __future__ import annotations

import copy
import pickle

import pytest

import runcue
from runcue._model.exit_codes import end_in_words, end_of_command, last_words


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        (1, "ended with exit code 1"),
        (-9, "was killed by SIGKILL"),
        (-15, "was killed by SIGTERM"),
        (-250, "was killed by signal 250"),
        (137, "ended with exit code 137 (as if SIGKILL had killed a part of it)"),
        (255, "ended with exit code 255"),
        (127, "ended with exit code 127 (there is no such program)"),
        (126, "ended with exit code 126 (it cannot be run)"),
    ],
)
def test_an_end_is_told_by_its_code_or_its_signal(returncode: int, words: str) -> None:
    assert end_of_command(returncode) == words
    assert words.startswith(end_in_words(returncode))


def test_of_what_a_program_has_said_the_end_is_told_in_one_line() -> None:
    assert last_words("  \n") == ""
    assert last_words("one\r50 %\rtwo\n\x1b[31mred\n") == "one 50 % two  [31mred"
    long = last_words("word " * 100 + "the end")
    assert long.startswith("... word ")
    assert long.endswith(" the end")
    assert len(long) <= 190
    assert last_words("x" * 500) == "... " + "x" * 180


def test_the_error_of_a_command_says_all_of_it_in_a_few_hundred_characters_and_can_be_pickled() -> None:
    error = runcue.CommandFailed(-9, "no memory\n", "convert {inputs[0]} " + "-x " * 1000)
    assert (error.returncode, error.stderr) == (-9, "no memory\n")
    assert "was killed by SIGKILL: no memory" in str(error)
    assert len(str(error)) < 400
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(twin), twin.returncode, twin.command) == (str(error), -9, error.command)
    assert str(runcue.CommandFailed(3, command=("ls", "-x"))) == (
        "The command ['ls', '-x'] ended with exit code 3: it has written nothing to stderr"
    )
