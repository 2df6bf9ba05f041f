"""What changes if a limit does: the text of limits, runs side by side in processes of their own, and the table."""

import io
import json
import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runcue_sim._commands.main import main
from runcue_sim._commands.sweep import Sweep, run, without
from runcue_sim._pipelines.limits import Limits, parse, parse_one
from runcue_sim._text.usage import BadUsage
from tests.support.programs import PATHS, start_python, wait_until


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("openai.concurrent=5", {"openai": {"concurrent": 5}}),
        ("openai.rate=60/min", {"openai": {"rate": "60/min"}}),
        (" openai.rate = 100/15min ", {"openai": {"rate": "100/15min"}}),
        ("openai.rate=none", {"openai": {"rate": None}}),
        ("openai.burst=10", {"openai": {"burst": 10}}),
        ("openai.burst=None", {"openai": {"burst": None}}),
        ("openai.concurrent=none", {"openai": {"concurrent": None}}),
        ("openai.limiter=none", {"openai": {"limiter": None}}),
        ("openai.margin=0.5s", {"openai": {"margin": "0.5s"}}),
        ("openai.margin=2", {"openai": {"margin": 2}}),
        ("openai.rate=10/sec + 500/min", {"openai": {"rate": ("10/sec", "500/min")}}),
        ("openai.budget.tokens=90_000/min", {"openai": {"budget.tokens": "90_000/min"}}),
        ("a.budget.b.budget.usd=none", {"a.budget.b": {"budget.usd": None}}),
        ("api.v1=b.concurrent=5", {"api.v1=b": {"concurrent": 5}}),
    ],
)
def test_a_limit_is_a_service_what_it_limits_and_a_value(text: str, limits: Limits) -> None:
    assert parse_one(text) == limits
    assert parse([text]) == [limits]


def test_several_values_are_several_points_in_their_order() -> None:
    assert parse(["openai.concurrent=1,10, 2,1"]) == [{"openai": {"concurrent": n}} for n in (1, 10, 2)]
    assert parse(["a.rate=30/min,none"]) == [{"a": {"rate": "30/min"}}, {"a": {"rate": None}}]


def test_several_sweeps_are_all_combinations() -> None:
    assert parse(["a.concurrent=1,2", "a.rate=1/s,2/s", "b.concurrent=7"]) == [
        {"a": {"concurrent": slots, "rate": rate}, "b": {"concurrent": 7}}
        for slots in (1, 2)
        for rate in ("1/s", "2/s")
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "openai",
            "'openai' is no limit; write SERVICE.concurrent=5, SERVICE.rate=60/min, SERVICE.burst=10 or SERVICE.bu",
        ),
        ("openai.concurrent", "'openai.concurrent' is no limit; "),
        ("concurrent=5", "'concurrent=5' is no limit; "),
        (".concurrent=5", "'.concurrent=5' is no limit; "),
        ("", "'' is no limit; "),
        ("openai.concurent=5", "'openai.concurent=5': a service has no 'concurent'; did you mean 'concurrent'?"),
        ("openai.brust=5", "'openai.brust=5': a service has no 'brust'; did you mean 'burst'?"),
        ("openai.speed=5", "'openai.speed=5': a service has no 'speed'; there is concurrent, rate, burst, limiter"),
        ("openai.budget.tokens=-5/min", "'openai.budget.tokens=-5/min': a budget must be text like \"90_000/min\""),
        ("openai.budget=5/min", "'openai.budget=5/min': say which budget, as in openai.budget.tokens=90_000/min"),
        ("openai.margin=-1", "'openai.margin=-1': a margin must be a number of seconds of at least 0"),
        ("openai.burst=0", "'openai.burst=0': burst must be a whole number of at least 1, or none, not '0'"),
        ("openai.burst=1.5", "'openai.burst=1.5': burst must be "),
        ("openai.limiter=5", "'openai.limiter=5': a limiter can only be taken away, by none, not '5'; "),
        ("openai.concurrent=", "'openai.concurrent=': concurrent must be a whole number of at least 1, or none, not "),
        ("openai.concurrent=0", "'openai.concurrent=0': concurrent must be a whole number of at least 1, or none"),
        ("openai.concurrent=2.5", "'openai.concurrent=2.5': concurrent must be a whole number of "),
        ("openai.concurrent=-1", "'openai.concurrent=-1': concurrent must be "),
        ("openai.concurrent=1,,2", "'openai.concurrent=1,,2': concurrent must be "),
        ("openai.concurrent=many", "'openai.concurrent=many': concurrent must be "),
        ("openai.concurrent=" + "9" * 30, f"'openai.concurrent={'9' * 30}': concurrent must be "),
        ("openai.rate=0/min", "'openai.rate=0/min': "),
        ("openai.rate=60", "'openai.rate=60': "),
        ("openai.rate=-5/s,6/s", "'openai.rate=-5/s,6/s': "),
    ],
)  # fmt: skip
def test_what_is_no_limit_is_refused(text: str, told: str) -> None:
    for read in (parse_one, lambda text: parse([text])):
        with pytest.raises(BadUsage) as caught:
            read(text)
        assert str(caught.value).startswith(told)
        assert "\n" not in str(caught.value)


def test_one_limit_has_one_value_and_a_sweep_has_an_end() -> None:
    with pytest.raises(BadUsage, match=r"has several values; one can be set, and --sweep tries several$"):
        parse_one("openai.concurrent=1,2")
    with pytest.raises(BadUsage, match=r"^--sweep a\.rate is given twice; write its values with commas$"):
        parse(["a.rate=1/s", "a.rate=2/s"])
    many = ",".join(map(str, range(1, 12)))
    with pytest.raises(BadUsage, match=r"^--sweep would be more than 100 runs; give fewer values$"):
        parse([f"{name}.concurrent={many}" for name in "abcdefgh"])


def test_arguments_are_handed_on_without_some() -> None:
    arguments = ["app.py:cue", "--sweep", "a.rate=1/s", "-v", "--sweep=a", "--json=-", "--set", "b.rate=none"]
    assert without(arguments, ("--sweep", "--json")) == ["app.py:cue", "-v", "--set", "b.rate=none"]
    assert without(["--sweep", "a", "--", "--json"], ("--sweep", "--json")) == ["--", "--json"]
    assert without(["--sweep"], ("--sweep",)) == []


STUB = """
import json, os, sys, time
sets = [sys.argv[n + 1] for n, text in enumerate(sys.argv) if text == "--set"]
value = int(sets[0].rpartition("=")[2])
folder = sys.argv[1]
open(os.path.join(folder, str(value)), "w").close()
if value == 66:
    print("Traceback: several lines\\nruncue-sim: --set a.concurrent=66: it cannot be", file=sys.stderr)
    sys.exit(2)
if value == 67:
    os.abort()
if value == 68:
    time.sleep(60)
print(json.dumps({"sets": sets, "arguments": sys.argv[1:], "given": sys.stdin.read()}))
sys.exit(value if value in (1, 3) else 0)
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    stub = tmp_path / "stub.py"
    stub.write_text(STUB, encoding="utf-8")
    return [sys.executable, "-S", "-E", str(stub), str(tmp_path)]


def points(*values: int) -> list[Limits]:
    return [{"a": {"concurrent": value}} for value in values]


def test_each_point_is_a_process_and_the_reports_keep_their_order(command: list[str]) -> None:
    reports = run(points(5, 1, 3, 2), [*command, "--", "--x"], given=b"works", jobs=2)
    assert [report["sets"] for report in reports] == [[f"a.concurrent={n}"] for n in (5, 1, 3, 2)]
    assert {report["given"] for report in reports} == {"works"}
    assert reports[0]["arguments"][1:] == ["--set", "a.concurrent=5", "--", "--x"]


def test_a_run_that_cannot_be_is_told_in_its_own_words(command: list[str]) -> None:
    with pytest.raises(BadUsage, match=r"^--sweep a\.concurrent=66: it cannot be$") as caught:
        run(points(1, 66), command)
    assert "several lines" in str(caught.value.__cause__)


def test_a_run_that_dies_is_told(command: list[str]) -> None:
    with pytest.raises(BadUsage, match=r"^the run with a\.concurrent=67 ended with -6: "):
        run(points(67), command)


def test_a_failure_ends_the_other_runs_and_begins_no_more(command: list[str], tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(BadUsage, match=r"it cannot be$"):
        run(points(68, 66, 5, 6, 7), command, jobs=2)
    assert time.monotonic() - began < 20
    assert not (tmp_path / "7").exists()
    assert [thread for thread in threading.enumerate() if "ThreadPool" in thread.name] == []


def report(makespan: float, **works: int) -> dict[str, Any]:
    used = {"name": "a", "slots_used": 0.5, "rate_used": None}
    counts = {"failed": 0, "blocked": 0, "unfinished": 0, **works}
    binds = [{"words": "the slots of a (5)", "share": 0.75}] if makespan else []
    code = 1 if works.get("failed") else 3 if works.get("blocked") else 0
    return {
        "makespan": makespan,
        "works": counts,
        "services": [used],
        "binds": binds,
        "exit": code,
        "title": "app",
    }


def enough(*reports: dict[str, Any]) -> int:
    return Sweep(points(*range(1, len(reports) + 1)), reports).enough


def test_the_first_value_from_which_nothing_gets_better_is_marked() -> None:
    assert enough(report(100), report(50), report(20.2), report(20), report(20.1)) == 2
    assert enough(report(100), report(50), report(20.5), report(20)) == 3
    assert enough(report(20), report(50), report(100)) == 0
    assert enough(report(0), report(0)) == 0


def test_a_run_that_loses_work_units_is_not_better_for_being_quicker() -> None:
    assert enough(report(5, failed=3), report(20), report(19), report(3, blocked=9)) == 2
    assert enough(report(10, unfinished=9), report(10, unfinished=4), report(10, unfinished=4)) == 1


def test_the_table_has_a_row_for_each_value() -> None:
    sweep = Sweep(points(1, 2, 5), [report(100, failed=2), report(20, blocked=1), report(20, blocked=1)])
    assert sweep.text().splitlines() == [
        "a.concurrent     MAKESPAN  SLOTS USED  FAILED  BLOCKED               BINDS",
        "1                100.00 s         50%       2        0  75% the slots of a",
        "2             *   20.00 s         50%       0        1  75% the slots of a",
        "5                 20.00 s         50%       0        1  75% the slots of a",
        "",
        "* nothing after it is better by 2%",
    ]
    assert sweep.code == 1


def test_a_table_that_may_go_on_says_so() -> None:
    sweep = Sweep(points(1, 2), [report(20), report(10, unfinished=0)])
    assert sweep.text().endswith("* the best, and the last: there may be better ones beyond\n")
    assert sweep.code == 0
    assert "UNFINISHED" in Sweep(points(1), [report(20, unfinished=3)]).text()
    assert "*" not in Sweep(points(1), [report(0)]).text().splitlines()[-1]


APP = """
import runcue
cue = runcue.Cue()
cue.service("api", concurrent=1)
cue.service("other", concurrent=1)
@cue.task("ask", uses="api")
async def ask(work): ...
"""


@pytest.fixture
def folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "app.py").write_text(APP, encoding="utf-8")
    (folder / "work.jsonl").write_text('{"task": "ask"}\n' * 12, encoding="utf-8")
    # For the processes of the sweep.
    monkeypatch.setenv("PYTHONPATH", PATHS)
    return folder


OPTIONS = ("app.py:cue", "--latency", "1s", "--jitter", "0")


def test_the_command_prints_the_table_and_writes_it_down(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([*OPTIONS, "--submit", "work.jsonl", "--sweep", "api.concurrent=1,4", "--json", "sweep.json"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines() if line[:1] in ("1", "4")]
    assert [row[:3] for row in rows] == [["1", "12.00", "s"], ["4", "*", "3.00"]]
    written = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    assert [one["limits"] for one in written["runs"]] == points_of_api(1, 4)
    assert [one["report"]["makespan"] for one in written["runs"]] == [12, 3]
    assert {one["report"]["seed"] for one in written["runs"]} == {written["seed"]}


BUDGETS = """
import runcue
cue = runcue.Cue()
cue.service("api", budget={"tokens": "20/min", "usd": "8/min"})
@cue.task("ask", uses="api", cost={"tokens": 10, "usd": 1})
async def ask(work): ...
"""


def test_one_budget_is_swept_and_the_others_stay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "app.py").write_text(BUDGETS, encoding="utf-8")
    swept = ("--sweep", "api.budget.tokens=40/min,900/min")
    assert main([*OPTIONS, "--submit", "work.jsonl", *swept, "--json", "sweep.json"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.startswith(("40/min", "900/min"))]
    assert [(row[0], " ".join(row[-5:])) for row in rows] == [
        ("40/min", "99% the budget of api"),
        ("900/min", "98% the budget of api"),
    ]
    written = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    assert [one["limits"] for one in written["runs"]] == [
        {"api": {"budget.tokens": "40/min"}},
        {"api": {"budget.tokens": "900/min"}},
    ]
    assert [one["report"]["makespan"] for one in written["runs"]] == [121, 61]


def points_of_api(*values: int) -> list[Limits]:
    return [{"api": {"concurrent": value}} for value in values]


def test_work_units_from_standard_input_are_given_to_each_run(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    works = io.BytesIO(b'{"task": "ask"}\n' * 6)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=works))
    code = main([*OPTIONS, "--submit", "-", "--sweep=api.concurrent=2,3", "--json=-", "--seed", "5"])
    written = json.loads(capsys.readouterr().out)
    assert (code, written["seed"]) == (0, 5)
    assert [one["report"]["makespan"] for one in written["runs"]] == [3, 2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sweep", "apo.concurrent=1,2"], "runcue-sim: --sweep apo.concurrent="),
        (["--sweep", "api.concurrent=0"], "runcue-sim: 'api.concurrent=0': concurrent must be"),
        (
            ["--sweep", "api.rate=1/s", "--json", "no/such/folder.json"],
            "runcue-sim: no/such/folder.json cannot",
        ),
    ],
)
def test_what_cannot_be_swept_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main([*OPTIONS, "--submit", "work.jsonl", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(told)
    assert err.count("\n") == 1


def test_ctrl_c_ends_the_runs_too(folder: Path) -> None:
    (folder / "slow.py").write_text(
        APP + "import os, pathlib, time\npathlib.Path(str(os.getpid())).touch()\ntime.sleep(30)\n",
        encoding="utf-8",
    )
    arguments = ["slow.py:cue", "--submit", "work.jsonl", "--sweep", "api.concurrent=1,2"]
    process = start_python("-m", "runcue_sim", *arguments, start_new_session=True)
    began = wait_until(lambda: [path for path in folder.iterdir() if path.name.isdigit()])
    process.send_signal(2)  # to it alone: what it has started must not be left over
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")
    for path in began:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)


def test_the_title_of_a_sweep_says_what_holds_in_all_runs() -> None:
    titles = [f"services: count 9, {many} at once, 60/min, seed 7" for many in (1, 5)]
    reports = [{**report(10), "title": title} for title in titles]
    assert Sweep(points(1, 5), reports).title == "services: count 9, 60/min, seed 7"
    assert Sweep(points(1), reports[:1]).title == titles[0]
    assert (
        Sweep(points(1), [{**report(10), "title": "pages.py:cue,submit"}] * 2).title == "pages.py:cue,submit"
    )


@pytest.mark.parametrize("names", [("web", "account", "cpu"), ("web", "account"), ("a", "b", "c", "d", "e")])
@pytest.mark.parametrize("limits", [("concurrent",), ("concurrent", "rate")])
def test_a_sweep_of_several_limits_fits_80_columns_and_says_what_binds(
    names: tuple[str, ...], limits: tuple[str, ...]
) -> None:
    services = [
        {"name": name, "slots_used": 1.0, "rate_used": 0.42 if "rate" in limits else None} for name in names
    ]
    works = {"failed": 1, "blocked": 31, "unfinished": 0}
    binds = [{"words": f"the slots of {names[-1]} (5)", "share": 0.93}]
    values = {"concurrent": 5, "rate": "600/min"}
    axes: list[Limits] = [{name: {what: values[what] for what in limits} for name in names}] * 2
    one = {**report(10), "services": services, "works": works, "binds": binds}
    lines = Sweep(axes, [one, one]).text().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(f"93% the slots of {names[-1]}" in line for line in lines) == 2
    if len(limits) == 1 and len(names) <= 3:
        assert "…" not in "".join(lines)
