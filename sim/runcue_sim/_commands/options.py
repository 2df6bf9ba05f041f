"""The command line: which options there are, and which values they take.

Lives here: the parser. A value that cannot be is refused here, in one line, before anything is run.

Must not know: what is done with the values.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import runcue
from runcue_sim._pipelines.scenarios import SCENARIOS
from runcue_sim._text.usage import BadUsage, nearest
from runcue_sim._workload.latency import parse_latency

_PAIR = re.compile(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)\s*")

_EXAMPLES: Final = """\
examples:
  runcue-sim --scenario single_queue --count 100
  runcue-sim --scenario pipeline --count 50 --latency 200 --error-rate 0.1
  runcue-sim --scenario dynamic --count 10 -v
  runcue-sim app.py:cue --submit work.jsonl --latency ask=lognormal:900:0.4
  runcue-sim app.py:cue,submit --sweep openai.concurrent=1,2,5,10
  runcue-sim --check 1000

exit codes: 0 all went as asked, 1 more failures than --max-failures allow, 2 wrong usage,
            3 works were blocked for another reason, 130 interrupted
"""


@dataclass(frozen=True, slots=True)
class PerTask:
    """A value that may differ from task to task: "0.1", or "ask=0.1" for one.

    Attributes:
        task: The task it is for, None for all others.
        value: The value.
    """

    task: str | None
    value: Any


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadUsage(message)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        BadUsage: It cannot be.
        SystemExit: After --help or --version.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    given = {name for name, value in vars(options).items() if value != parser.get_default(name)}
    _check_together(options, given)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="runcue-sim",
        description="Try a runcue pipeline before it costs money: the real scheduler, on a virtual clock.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("app", nargs="?", metavar="APP", help="your own pipeline: app.py:cue, or app.py:cue,submit")
    add("--version", action="version", version=f"runcue-sim {runcue.__version__}")
    what = parser.add_argument_group("what is run")
    add = what.add_argument
    add("--scenario", metavar="NAME", type=_scenario, help="one that comes along (default: single_queue)")
    add("--list-scenarios", action="store_true", help="list these, and exit")
    add("-n", "--count", metavar="N", type=_whole(1), help="how many works it begins with (default: 100)")
    add(
        "--submit",
        metavar="FILE",
        help='works for APP, a JSON object a line: {"task": "ask", "params": {...}}',
    )
    add(
        "-s",
        "--submit-rate",
        metavar="N",
        type=_positive,
        help="works submitted per second (default: all at once)",
    )
    add(
        "-d",
        "--duration",
        metavar="SECONDS",
        type=_positive,
        help="end after so long (default: when all is done)",
    )
    add(
        "--seed",
        type=int,
        metavar="N",
        help="equal seeds give equal runs (default: a new one, which is shown)",
    )
    model = parser.add_argument_group(
        "the model in the place of handlers", "repeat with TASK=... for one task"
    )
    add = model.add_argument
    add(
        "-l",
        "--latency",
        metavar="MS",
        action="append",
        default=[],
        type=_per_task(parse_latency),
        help="how long handlers take: 200, 1.5s, uniform:100:300, lognormal:200:0.5 (default: 100)",
    )
    add(
        "--recorded",
        metavar="FILE",
        help="latencies and failures of a real run, saved by runcue_sim.Recording",
    )
    add(
        "-j",
        "--jitter",
        metavar="F",
        type=_share,
        help="constant latencies vary by this fraction (default: 0.2)",
    )
    add(
        "--outliers",
        metavar="F",
        type=_share,
        default=0.0,
        help="share of slow ones, 0.0 to 1.0 (default: 0)",
    )
    add(
        "--outlier-mult",
        metavar="X",
        type=_factor,
        default=5.0,
        help="how much slower these are (default: 5)",
    )
    add(
        "-e",
        "--error-rate",
        metavar="F",
        action="append",
        default=[],
        type=_per_task(_share),
        help="share that fails, 0.0 to 1.0 (default: 0)",
    )
    limits = parser.add_argument_group("limits")
    add = limits.add_argument
    add(
        "-c",
        "--concurrent",
        metavar="N",
        type=_whole(1),
        help="slots of a scenario's main service (default: 5)",
    )
    add(
        "-r",
        "--rate-limit",
        metavar="RATE",
        type=_rate,
        help='its rate: "60/min", or "20/1" for 20 in 1 second',
    )
    add(
        "--set",
        metavar="SERVICE.LIMIT=VALUE",
        action="append",
        default=[],
        help="another limit for a service: api.concurrent=5, api.rate=60/min",
    )
    add(
        "--sweep",
        metavar="SERVICE.LIMIT=V,V,...",
        action="append",
        default=[],
        help="run once for each of these limits, and compare",
    )
    add(
        "--timeout",
        metavar="SECONDS",
        type=_positive,
        help="fail what is blocked when nothing moved for so long",
    )
    faults = parser.add_argument_group("faults")
    add = faults.add_argument
    add("--faults", action="store_true", help="let things go wrong by seed, and check what is promised")
    add(
        "--check",
        metavar="N",
        type=_whole(1),
        help="N seeds with faults over all scenarios; exit 1 on a violation",
    )
    add(
        "--max-failures",
        metavar="N",
        type=_whole(0),
        help="exit 1 if more works fail (default: those not asked for)",
    )
    shown = parser.add_argument_group("what is shown")
    add = shown.add_argument
    add("-v", "--verbose", action="store_true", help="print every event")
    clock = shown.add_mutually_exclusive_group()
    clock.add_argument(
        "--fast", action="store_true", help="virtual clock (default, unless there is a live display)"
    )
    clock.add_argument("--realtime", action="store_true", help="real time")
    tui = shown.add_mutually_exclusive_group()
    tui.add_argument("--tui", action="store_true", help="live display (default on a terminal)")
    tui.add_argument("--no-tui", action="store_true", help="plain lines")
    add("--json", metavar="FILE", help="write the report as JSON; - for standard output, instead of the text")
    add("--timeline", metavar="FILE", help="draw the run as an SVG")
    add("--debug", action="store_true", help="show the traceback of what is wrong")
    return parser


_OF_SCENARIOS: Final = ("scenario", "count", "concurrent", "rate_limit", "faults", "check")

_WITH_FAULTS: Final = frozenset(
    (
        *(
            "faults",
            "scenario",
            "count",
            "latency",
            "error_rate",
            "jitter",
            "outliers",
            "concurrent",
            "rate_limit",
        ),
        *("submit_rate", "seed", "verbose", "fast", "no_tui", "debug"),
    )
)
_ONLY_WITH: Final = {
    "check": frozenset(("check", "scenario", "seed", "debug")),
    "faults": _WITH_FAULTS,
}
"""What else may be given with these."""

_NOT_SWEPT: Final = ("timeline", "tui", "realtime", "verbose")


def _check_together(options: argparse.Namespace, given: set[str]) -> None:
    """Refuse options that would be ignored."""
    if options.app is not None:
        for name in _OF_SCENARIOS:
            if name in given:
                hint = ": use --set SERVICE.LIMIT=VALUE" if name in ("concurrent", "rate_limit") else ""
                raise BadUsage(
                    f"{_flag(name)} is for the scenarios that come along, not for {options.app}{hint}"
                )
    elif options.submit is not None:
        raise BadUsage("--submit gives works to your own pipeline: say which, as in app.py:cue")
    for one, others in _ONLY_WITH.items():
        if one in given:
            for name in sorted(given - others):
                raise BadUsage(f"{_flag(one)} cannot be had together with {_flag(name)}")
    if options.tui and (options.verbose or options.json == "-"):
        raise BadUsage(f"--tui cannot be had together with {'--verbose' if options.verbose else '--json -'}")
    if options.sweep:
        for name in _NOT_SWEPT:
            if name in given:
                raise BadUsage(f"--sweep cannot be had together with {_flag(name)}")
    if options.faults:
        for values, name in ((options.latency, "latency"), (options.error_rate, "error_rate")):
            if any(one.task is not None for one in values):
                raise BadUsage(f"--faults cannot be had together with {_flag(name)} for one task")


def _flag(name: str) -> str:
    return "APP" if name == "app" else f"--{name.replace('_', '-')}"


def _scenario(text: str) -> str:
    if text not in SCENARIOS:
        raise argparse.ArgumentTypeError(f"there is no scenario {text!r}; {nearest(text, SCENARIOS)}")
    return text


def _whole(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= sys.maxsize:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, not {text!r}")
        return value

    return whole


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def _factor(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and at most 1000000, not {text!r}")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0.0 to 1.0, not {text!r}")
    return value


def read_rate(text: str) -> str:
    """A rate as runcue takes it: "60/min" as it is, "20/1" as 20 in 1 second.

    Raises:
        ValueError: It is none; the text shows the forms.
    """
    pair = _PAIR.fullmatch(text)
    rate = f"{pair[1]}/{pair[2]}s" if pair else text
    try:
        # Whoever keeps rates knows which there can be.
        runcue.Cue().service("any", rate=rate)
    except ValueError as error:
        raise ValueError(f"{error} Or a count and seconds, as in 20/1.") from None
    return rate


def _rate(text: str) -> str:
    try:
        return read_rate(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _per_task(read: Callable[[str], Any]) -> Callable[[str], PerTask]:
    def per_task(text: str) -> PerTask:
        task, equals, value = text.rpartition("=")
        try:
            return PerTask(task if equals else None, read(value))
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return per_task


def by_task(values: list[PerTask], tasks: Mapping[str, object] | list[str], option: str) -> dict[str, Any]:
    """The values that are for single tasks.

    Raises:
        BadUsage: There is no such task.
    """
    found = {}
    for one in values:
        if one.task is not None:
            if one.task not in tasks:
                raise BadUsage(f"{option} {one.task}=...: there is no such task; {nearest(one.task, tasks)}")
            found[one.task] = one.value
    return found


def for_all(values: list[PerTask], default: Any) -> Any:
    """The last value that is for all tasks."""
    general = [one.value for one in values if one.task is None]
    return general[-1] if general else default


__all__ = ["PerTask", "by_task", "for_all", "parse", "read_rate"]
