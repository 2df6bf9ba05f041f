"""The command line: the options of all commands in one parser, and which of them go together.

Lives here: `parse`. A value that cannot be is refused here, in one line, before anything is run. Each option is
declared where its value is used; what a command does not know cannot be had together with it.

Must not know: what is done with the values.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import runcue
from runcue_sim._commands.check import CheckOptions
from runcue_sim._commands.faults import FaultsOptions
from runcue_sim._commands.run import RunOptions
from runcue_sim._commands.sweep import SweepOptions
from runcue_sim._text.options import add_options, flags_of, names_in
from runcue_sim._text.usage import BadUsage

_EXAMPLES: Final = """\
examples:
  runcue-sim --scenario single_queue --count 100
  runcue-sim --scenario pipeline --count 50 --latency 200 --error-rate 0.1
  runcue-sim --scenario dynamic --count 10 -v
  runcue-sim app.py:cue --submit work.jsonl --latency ask=lognormal:900:0.4
  runcue-sim app.py:cue,submit --sweep openai.concurrent=1,2,5,10
  runcue-sim --check 1000

exit codes: 0 all went as asked, 1 more failures than --max-failures allow, 2 wrong usage,
            3 work units were blocked for another reason, 130 interrupted
"""

_GROUPS: Final = {
    "run": ("what is run", None),
    "model": ("the model in the place of handlers", "repeat with TASK=... for one task"),
    "limits": ("limits", None),
    "faults": ("faults", None),
    "shown": ("what is shown", None),
}

_COMMANDS: Final = {"check": CheckOptions, "faults": FaultsOptions, "sweep": SweepOptions}
"""By the option that asks for them. What else there is to be said is about a run."""

_KINDS: Final = (RunOptions, *reversed(_COMMANDS.values()))
_FLAGS: Final = {"app": "APP", **flags_of(_KINDS)}

_OF_ALL: Final = frozenset(("debug", "list_scenarios"))
_OF_SCENARIOS: Final = ("scenario", "count", "concurrent", "rate", "faults", "check")
"""What a user's own pipeline cannot have."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadUsage(message)


def parse(arguments: list[str]) -> Mapping[str, Any]:
    """Read the command line.

    Returns:
        The values that are given, by name.

    Raises:
        BadUsage: It cannot be.
        SystemExit: After --help or --version.
    """
    given = vars(_parser().parse_args(arguments))
    _check_together(given)
    return given


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="runcue-sim",
        description="Try a runcue pipeline before it costs money: the real scheduler, on a virtual clock.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"runcue-sim {runcue.__version__}")
    groups = {key: parser.add_argument_group(*texts) for key, texts in _GROUPS.items()}
    groups["run"].add_argument("--list-scenarios", action="store_true", help="list the scenarios, and exit")
    add_options({"app": parser, **groups}, _KINDS)
    groups["shown"].add_argument("--debug", action="store_true", help="show the traceback of what is wrong")
    return parser


def _check_together(given: Mapping[str, Any]) -> None:
    """Refuse options that would be ignored."""
    if "app" in given:
        for name in _OF_SCENARIOS:
            if name in given:
                hint = ": use --set SERVICE.LIMIT=VALUE" if name in ("concurrent", "rate") else ""
                raise BadUsage(
                    f"{_FLAGS[name]} is for the scenarios that come along, not for {given['app']}{hint}"
                )
    elif "submit" in given:
        raise BadUsage("--submit gives work units to your own pipeline: say which, as in app.py:cue")
    for command, kind in _COMMANDS.items():
        if command in given:
            for name in sorted(given.keys() - names_in(kind) - _OF_ALL):
                raise BadUsage(f"{_FLAGS[command]} cannot be had together with {_FLAGS[name]}")
