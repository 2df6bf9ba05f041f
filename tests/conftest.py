"""What every test shares: the table of behaviour rules, the settings of the property tests, and a machine of no speed.

What lives here: hooks into pytest. Fixtures and helpers that only some tests use stand beside those tests, and what
users need for tests of their own stands in `runcue.testing`.

A test names the rules it shows with `@pytest.mark.rule(4)`, or `rule(7, 8)`. At the end of a run each rule is listed
with the tests that passed for it. A full run, one that left no test out, fails if a rule has none. Tests may run in
several processes (pytest-xdist): then the first one, which runs none of them, keeps the table.
"""

import gc
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

import hypothesis
import pytest

RULES = {
    1: "dispatches for a cause, never polls; submit() asks nothing, and only tells who hears of submissions",
    2: "limits, then ready, then stale; asked again just before the start",
    3: "services do not hold each other up; not-ready work is passed over",
    4: "asks again when something happened; bounded cost of looking outside",
    5: "several services: all or none, in one step",
    6: "submission order, priority, ageing",
    7: "rates hold over every window; burst is the other promise",
    8: "a start counts for the rate from when the handler is entered",
    9: "sync handlers have threads of their own, and the submitter's context",
    10: "a slot is held only while the handler runs",
    11: "more than a bucket can hold is refused at once",
    12: "whatever is awaitable is awaited; listeners never delay dispatch",
    13: "a raising callback is logged and disturbs nothing",
    14: "is_ready may give its reason",
    15: "slow callbacks and unobserved failures are reported",
    16: "each work settles exactly once, whatever is raised",
    17: "cancel settles at once; a thread keeps its slot until it returns",
    18: "history is bounded, handles keep their own work",
    19: "a failing dispatcher raises everywhere; one loop, one Task per work",
    20: "pending times count from submission",
    21: "stalls: the verdict, the warning, and timeout= for hung handlers",
    22: "time-outs say what they waited for; intervals are monotonic",
    23: "stop() drains; nothing is left running",
    24: "submit() after stop is an error; start() again works",
    25: "a failed attempt goes back to pending, its slot free, its gate asked again; on_failure once, at the end",
    26: "a server that refuses is left in peace: one pause for a burst, one that goes first, and then the rest",
    27: "an input that is being made keeps its readers waiting until its producer has settled",
    28: "one producer per artifact: who wants the same joins, and settles with it",
    29: "a handler that leaves no declared output has failed",
    30: "what is written appears whole, and only when the work has succeeded",
    32: "what a handler has left that did not succeed is no proof",
    33: "what would run again directly after a success is told, with the dates and the remedy",
    34: "what is forgotten or mistaken is told, with what to write instead",
    35: "a handle is like a future, and a value where it is returned",
    36: "a deadlock is proven and told unasked, or not called one",
    37: "shortage is waiting",
    38: "once more is a new work unit, and the old one stays what it was",
    39: "stops still run what must complete",
    40: "what is submitted for later begins no earlier, and holds up nobody before",
    41: "many at once: a map gives each item once, lazily; a group waits for all, and failures are raised as it says",
    42: "not too many at once: who submits waits for room, first come first served, and nobody of the cue's own does",
    43: "plain functions get their params by name, defaults from the submission on; load= reads back what is there",
    44: "the files of an inbox are submitted as they come, once they are complete",
    45: "several windows hold all, each counted longer by the margin",
    46: "a budget: reserved at the start, charged what was spent; who waits is passed only by who does not put it off",
    47: "limits for each key: no key holds up another, and idle keys are forgotten",
    48: "limits change, and services pause, while work units run; what is known stays",
    49: "what servers say of their limits is learned from, downwards alone, and for no longer than max_pause=",
    50: "slots find themselves by what the server refuses, and a breaker lets one through after its cooldown",
    51: "one of a lane at a time, in order; what holds up its first holds up it alone",
    52: "lanes go by the highest priority in them; different ones never join; waits against their order are deadlocks",
    53: "by depth, what was begun is finished first",
    54: "where handlers run is a value: the loop, threads, pools, executors; cancelled as far as that can be done",
    55: "a handler elsewhere sees a picture of its work unit; what it writes and spends counts here",
    56: "processes of the cue's own: one call at a time, killed as a whole, and no neighbour's business",
    57: "a process finds what its program has, and imports the main program for its own handlers alone",
    58: "a command is a handler: values are quoted, outputs published, and nothing of it goes on that nobody waits for",
    59: "on a Dask cluster a call is given to one thread once: what is lost is one failed attempt, never run again",
}

RULES_OF_IT = "rules"  # the property of a test, which comes with its report, out of another process as well
FULL = "runcue: no test left out"
SHOWN = 3  # tests named under each rule; with the titles that is a table one can still scroll through

# Other ones each time; `dev.py torture` is where they are many.
hypothesis.settings.register_profile("runcue", max_examples=80, deadline=None, print_blob=True)
hypothesis.settings.register_profile(
    "torture",
    parent=hypothesis.settings.get_profile("runcue"),
    max_examples=20_000,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("runcue")


SLOW_CALLBACKS = 15


@pytest.fixture(autouse=True)
def _nobody_is_blamed_for_a_busy_machine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the real clock other processes can keep the event loop, too. Who tests what is told of it, is told of it."""
    if any(SLOW_CALLBACKS in mark.args for mark in request.node.iter_markers("rule")):
        return
    from runcue._callbacks.door import Door

    blocked = Door.blocked

    def blocked_but_for_real(door: Door, *args: Any, **options: Any) -> None:
        if door.now is not time.monotonic:
            blocked(door, *args, **options)

    monkeypatch.setattr(Door, "blocked", blocked_but_for_real)


def rules_of(item: pytest.Item) -> Iterator[int]:
    """Yields the rules that a test is marked with.

    Raises:
        pytest.UsageError: If a mark names no rule that exists.
    """
    for mark in item.iter_markers("rule"):
        for number in mark.args or [None]:
            if number not in RULES:
                raise pytest.UsageError(
                    f"{item.nodeid}: rule({number!r}) is none of {', '.join(map(str, RULES))}"
                )
            yield number


class RuleTable:
    """Notes which tests passed for which rule, and holds a full run to having one for each."""

    def __init__(self, config: pytest.Config) -> None:
        # In order, each once.
        self.tests_of_rule: dict[int, dict[str, None]] = {number: {} for number in RULES}
        option = config.option
        narrowed = option.ignore or option.ignore_glob or getattr(option, "lf", False) or option.collectonly
        self.verbose = config.get_verbosity() > 0
        # Of one process among several: what it tells the first one, which alone knows the command line.
        self.told: dict[str, object] | None = getattr(config, "workeroutput", None)
        whole = self.told is not None or config.args_source is pytest.Config.ArgsSource.TESTPATHS
        self.full = whole and not narrowed

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self.full = self.full and not items

    @pytest.hookimpl(tryfirst=True)  # before anything is deselected: a wrong mark is an error in any run
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            item.user_properties.append((RULES_OF_IT, sorted(set(rules_of(item)))))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A rule is shown by a test that ran and held. A skipped or failed one shows nothing.
        if report.when == "call" and report.passed:
            name = report.nodeid.partition("::")[2].partition("[")[0].split("::")[-1].removeprefix("test_")
            rules: Any = dict(report.user_properties).get(RULES_OF_IT, ())
            for number in rules:
                self.tests_of_rule[number][name] = None

    def missing(self) -> list[int]:
        return [number for number, tests in self.tests_of_rule.items() if not tests]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Another process has ended, which may have deselected tests."""
        self.full = self.full and getattr(node, "workeroutput", {}).get(FULL, False)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.told is not None:
            self.told[FULL] = self.full
        elif self.full and exitstatus == pytest.ExitCode.OK and self.missing():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        if exitstatus not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
            return  # nothing ran to its end: what stopped it is what matters, not which rules lack tests now
        shown = [number for number, tests in self.tests_of_rule.items() if tests or self.full]
        if not shown:
            return
        terminalreporter.section("behaviour rules and the tests that carry them")
        for number in shown:
            tests = list(self.tests_of_rule[number])
            terminalreporter.line(f"{number:>2}  {RULES[number]}  ({len(tests) or 'no test'})", bold=True)
            names = tests if self.verbose or len(tests) <= SHOWN + 1 else tests[:SHOWN]
            for name in names:
                terminalreporter.line(f"      {name.replace('_', ' ')}")
            if len(names) < len(tests):
                terminalreporter.line(f"      and {len(tests) - len(names)} more (-v lists them)")
        if self.full and self.missing():
            numbers = ", ".join(map(str, self.missing()))
            terminalreporter.line(f"no passing test for rule {numbers}: the run fails", red=True, bold=True)
        elif self.full:
            terminalreporter.line(f"all {len(RULES)} rules are carried by a passing test", green=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """What is there before the first test stays to the end: whoever collects looks at what tests have made, no more."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """What a file of tests has left is collected before the next one begins, and what is held stays to the end."""
    yield
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    # Whoever was started by a shell in the background is not interrupted, and nor are the programs that it starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # And whoever was by nohup does not end with the terminal: this process is to go on, the programs hear of it again.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)
    config.pluginmanager.register(RuleTable(config), "runcue-rules")
