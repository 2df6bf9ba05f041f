"""Options as fields: what is typed fills them, what is not leaves their defaults, what nobody takes is told."""

import argparse
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import pytest

from runcue_sim._commands import command_line
from runcue_sim._commands.command_line import parse
from runcue_sim._commands.faults import FaultsOptions
from runcue_sim._commands.run import RunOptions
from runcue_sim._pipelines.handler_model import ModelOptions
from runcue_sim._text.options import add_options, flags_of, names_in, option, read
from runcue_sim._text.usage import BadUsage
from runcue_sim._text.values import whole


@dataclass(frozen=True, slots=True)
class Inner:
    size: int = option(3, "-s, --size N", "all", "how large", whole(1))


@dataclass(frozen=True, slots=True)
class Outer:
    name: str | None = option(None, "NAME", "all", "what it is called")
    inner: Inner = field(default_factory=Inner)
    tags: tuple[str, ...] = option((), "--tag WORD", "all", "any number of them")
    fast: bool = option(False, "--fast", "all", "at once", either="pace")
    slow: bool = option(False, "--slow", "all", "later", either="pace")
    elsewhere: int = 7


def given(*arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options({"all": parser.add_argument_group("all")}, [Outer, Inner])
    return vars(parser.parse_args(arguments))


def test_what_is_not_said_is_not_there_and_its_field_has_the_default() -> None:
    assert given() == {}
    assert read(Outer, {}) == Outer(None, Inner(3), (), fast=False, slow=False, elsewhere=7)


def test_what_is_said_fills_the_fields_nested_ones_too() -> None:
    said = given("it", "-s", "5", "--tag", "a", "--tag", "b", "--slow")
    assert read(Outer, {**said, "of_others": 1}) == Outer("it", Inner(5), ("a", "b"), slow=True)
    assert read(Outer, {"elsewhere": 8}).elsewhere == 8


def test_a_value_that_cannot_be_is_refused_in_the_words_of_its_reader() -> None:
    with pytest.raises(argparse.ArgumentError, match="must be a whole number of at least 1, not '0'"):
        given("--size", "0")


def test_of_two_that_exclude_each_other_one_can_be_given() -> None:
    with pytest.raises(argparse.ArgumentError, match="not allowed with argument"):
        given("--fast", "--slow")


def test_names_and_flags() -> None:
    assert names_in(Outer) == {"name", "size", "tags", "fast", "slow", "elsewhere"}
    assert flags_of([Outer]) == {"size": "--size", "tags": "--tag", "fast": "--fast", "slow": "--slow"}


def test_options_cannot_be_changed_afterwards() -> None:
    with pytest.raises(FrozenInstanceError):
        read(RunOptions, {}).seed = 3  # type: ignore[misc]


# A value for each option there is.
VALUES = {
    "latency": "5", "jitter": "0.1", "outliers": "0.1", "error_rate": "0.1", "outlier_mult": "2", "recorded": "r.json",
    "scenario": "pipeline", "count": "3", "concurrent": "2", "rate": "5/s", "submit_rate": "5", "submit": "w.jsonl",
    "limits": "api.rate=5/s", "timeout": "5", "duration": "5", "seed": "5", "max_failures": "5", "json": "r.json",
    "timeline": "t.svg", "sweep": "api.concurrent=1,2", "check": "5",
}  # fmt: skip
KINDS = {None: RunOptions, **command_line._COMMANDS}
FLAGS = flags_of(KINDS.values())


@pytest.mark.parametrize("command", [name for name in KINDS if name is not None])
@pytest.mark.parametrize("name", FLAGS)
def test_a_command_takes_the_options_that_it_has_fields_for_and_no_others(command: str, name: str) -> None:
    if name in (command, "submit"):  # which goes with a program of one's own alone
        return
    asks = [FLAGS[command], *([VALUES[command]] if command in VALUES else [])]
    arguments = [*asks, FLAGS[name], *([VALUES[name]] if name in VALUES else [])]
    if name in names_in(KINDS[command]):
        assert set(parse(arguments)) == {command, name}
    else:
        with pytest.raises(BadUsage, match="cannot be had together with"):
            parse(arguments)


def test_a_run_without_faults_takes_everything_but_the_other_commands() -> None:
    assert set(FLAGS) - names_in(RunOptions) == set(command_line._COMMANDS)
    assert names_in(ModelOptions) - names_in(FaultsOptions) == {"outlier_mult", "recorded"}
