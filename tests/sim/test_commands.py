"""`runcue-sim` as a command: the examples of its README, its exit codes, its two clocks, and what it refuses."""

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from runcue_sim._commands.main import main
from runcue_sim._pipelines.scenarios import SCENARIOS
from runcue_sim._text.figures import table, wrapped
from tests.support.programs import but_for_slowness, environment, runcue_sim, start_python


def report(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run in this process, which is quicker, and give what --json says."""
    assert main([*arguments, "--json", "-"]) == code
    out, err = capsys.readouterr()
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    assert found["exit"] == code
    return found


def events(text: str) -> list[tuple[str, str, str]]:
    """The log's (event, task, work id)."""
    shape = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} \S (\w+) +\[(\w+)\] +(\S+)", re.MULTILINE)
    return shape.findall(text)


def test_single_queue_runs_a_hundred_work_units() -> None:
    done = runcue_sim("--scenario", "single_queue", "--count", "100")
    assert done.returncode == 0
    assert "100 completed of 100 work units" in done.stdout
    assert done.stderr == ""


def test_a_pipeline_of_fifty_is_a_hundred_and_fifty_work_units_and_failures_asked_for_are_no_error() -> None:
    done = runcue_sim(
        "--scenario", "pipeline", "--count", "50", "--latency", "200", "--error-rate", "0.1", "--seed", "4"
    )
    assert done.returncode == 0
    head = re.search(
        r"(\d+) completed, (\d+) failed \(all asked for\), (\d+) blocked of 150 work units", done.stdout
    )
    assert head is not None
    completed, failed, blocked = map(int, head.groups())
    assert failed > 0
    assert blocked == failed  # the load behind each transform that failed
    assert completed + failed + blocked == 150


def test_dynamic_tells_every_event_and_rebuilds_at_least_once() -> None:
    done = runcue_sim("--scenario", "dynamic", "--count", "10", "-v")
    assert done.returncode == 0
    heard = Counter(event for event, _, _ in events(done.stdout))
    assert heard["invalidated"] >= 1
    assert heard["queued"] == heard["completed"] + heard["skipped"]
    assert heard["started"] == heard["completed"]
    fetched = Counter(
        line.split()[5] for line in done.stdout.splitlines() if "✓ completed    [api_fetch]" in line
    )
    assert max(fetched.values()) >= 2  # the same thing, made again


def test_fanout_submits_from_handlers(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, "--scenario", "fanout", "--count", "5")
    assert found["works"]["completed"] == 35  # 5 splits, 25 parts, 5 aggregates
    assert {task["name"]: task["completed"] for task in found["tasks"]} == {
        "split": 5,
        "process": 25,
        "aggregate": 5,
    }


def test_scenarios_are_listed() -> None:
    done = runcue_sim("--list-scenarios")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(SCENARIOS)


def test_the_log_has_the_columns_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--count", "2", "-v", "--seed", "1"])
    lines = capsys.readouterr().out.splitlines()
    header = next(line for line in lines if line.startswith("TIME"))
    assert header.split() == ["TIME", "EVENT", "TASK", "WORK_ID", "DETAILS"]
    first = next(line for line in lines if "queued" in line)
    assert first == "00:00:00.000 + queued       [api_call]       sim-1                call_000"
    for column, text in (("TASK", "[api_call]"), ("WORK_ID", "sim-1"), ("DETAILS", "call_000")):
        assert first.index(text) in (header.index(column), header.index(column) + 1)


@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_equal_seeds_give_equal_logs(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs = {}
    for seed in range(25):
        arguments = ["--scenario", scenario, "--count", "4", "--error-rate", "0.2", "--outliers", "0.1", "-v"]
        arguments += ["--rate-limit", "20/1", "--seed", str(seed)]
        assert main(arguments) == 0
        logs[seed] = capsys.readouterr().out
        assert main(arguments) == 0
        assert capsys.readouterr().out == logs[seed]
    assert len(set(logs.values())) == 25


def test_equal_seeds_give_equal_logs_in_other_processes() -> None:
    arguments = ["--scenario", "dynamic", "--count", "5", "-v", "--seed", "7"]
    first = runcue_sim(*arguments)
    assert runcue_sim(*arguments, env={"PYTHONHASHSEED": "12345"}).stdout == first.stdout


@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_both_clocks_settle_the_same_work_units_with_the_same_outcomes(
    scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = []
    for clock in ("--fast", "--realtime"):
        arguments = ["--scenario", scenario, "--count", "6", "--latency", "5", "--error-rate", "0.2"]
        assert main([*arguments, "--seed", "5", "-v", clock]) == 0
        log = capsys.readouterr().out
        ends = ("completed", "failed", "skipped", "blocked")
        settled = re.findall(rf"^\S+ \S ({'|'.join(ends)}) +\[(\w+)\] +\S+ +(\S+)", log, re.MULTILINE)
        # Which of several submissions of one thing runs, and which find it done, is a matter of time.
        outcomes.append(sorted(settled))
    assert outcomes[0] == outcomes[1]


def test_a_day_of_a_rate_passes_in_virtual_time(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, "--count", "3600", "--rate-limit", "60/min", "--latency", "500", "-c", "99")
    assert 3540 <= found["makespan"] <= 3541  # the sixtieth minute begins, and the last one runs
    assert found["clock"] == "virtual"
    [service] = found["services"]
    assert service["rate_used"] == 1.0
    assert found["binds"][0]["kind"] == "rate"
    assert found["binds"][0]["share"] > 0.99


def test_slots_bind(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, "-n", "50", "-l", "500", "-c", "2", "-j", "0")
    assert found["makespan"] == pytest.approx(12.5)
    assert found["binds"][0]["kind"] == "slots"
    assert found["services"][0]["slots_used"] == pytest.approx(1.0)
    assert found["services"][0]["most_in_use"] == 2


@pytest.mark.parametrize(
    ("written", "seconds"), [("20/1", 4.0), ("20/sec", 4.0), ("60/60", 60.0), ("60/min", 60.0)]
)
def test_rates_are_written_in_both_ways(
    written: str, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(capsys, "-n", "100", "-l", "10", "-r", written, "-c", "50", "-j", "0")
    assert found["makespan"] == pytest.approx(seconds + 0.01)


def test_errors_come_at_the_rate_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, "-n", "2000", "-e", "0.2", "--seed", "1")
    assert 350 <= found["works"]["failed"] <= 450
    assert found["works"]["failed_on_purpose"] == found["works"]["failed"]


def test_outliers_take_longer(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, "-n", "400", "-j", "0", "--outliers", "0.1", "--outlier-mult", "10", "--seed", "1")
    [task] = found["tasks"]
    assert task["median"] == pytest.approx(0.1)
    assert task["p95"] == pytest.approx(1.0)


def test_jitter_spreads_latencies(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, "-n", "400", "--jitter", "0.5", "--seed", "1")
    assert 0.13 <= found["tasks"][0]["p95"] <= 0.15


def test_work_units_can_be_submitted_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, "-n", "21", "-s", "2", "-j", "0")
    assert found["makespan"] == pytest.approx(10.1)
    assert found["binds"][0]["kind"] == "submission"


def test_duration_ends_a_run_early(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, "-n", "100", "-l", "1000", "-c", "1", "-j", "0", "-d", "10.5")
    assert found["makespan"] == pytest.approx(10.5)
    assert found["cut"] == "duration"
    assert found["works"]["completed"] == 10
    assert found["works"]["unfinished"] == 90


def test_what_is_blocked_times_out_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--scenario", "pipeline", "-n", "20", "-e", "0.3", "--seed", "2", "--timeout", "5"]
    assert main([*arguments, "-v"]) == 0  # they are blocked because of what was asked for
    heard = Counter(event for event, _, _ in events(capsys.readouterr().out))
    assert heard["timeout"] == heard["blocked"] == heard["failed"] > 0
    found = report(capsys, *arguments)
    works = found["works"]
    assert works["completed"] + works["failed"] == works["submitted"] == 60
    assert works["blocked"] == 0
    assert found["blocked"][0]["given_up"]
    assert sum(one["share"] for one in found["binds"]) == pytest.approx(1.0)


def test_latencies_and_errors_by_task(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--scenario",
        "pipeline",
        "-n",
        "10",
        "--latency",
        "transform=2s",
        "--latency",
        "load=uniform:50:60",
    ]
    found = report(capsys, *arguments, "--error-rate", "load=1", "--seed", "1", "-j", "0")
    tasks = {task["name"]: task for task in found["tasks"]}
    assert tasks["transform"]["median"] == pytest.approx(2.0)
    assert tasks["extract"]["median"] == pytest.approx(0.03)
    assert tasks["load"]["failed"] == 10


def test_max_failures_is_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-n", "100", "-e", "0.2", "--seed", "1"]
    failed = report(capsys, *arguments)["works"]["failed"]
    report(capsys, *arguments, "--max-failures", str(failed))
    report(capsys, *arguments, "--max-failures", str(failed - 1), code=1)


def test_other_limits_for_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--scenario", "pipeline", "-n", "20", "--seed", "1", "-j", "0"]
    slow = report(capsys, *arguments, "--set", "api.concurrent=1")
    quick = report(capsys, *arguments, "--set", "api.concurrent=20", "--set", "api.rate=1000/1")
    assert slow["makespan"] > 2.0 > quick["makespan"]
    assert {service["name"]: service["concurrent"] for service in quick["services"]}["api"] == 20


def test_without_a_terminal_there_is_no_escape_code() -> None:
    done = runcue_sim("--scenario", "fanout", "--count", "3", "--realtime", "--latency", "20")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout


def test_real_time_tells_how_far_it_is() -> None:
    done = runcue_sim(
        "--count", "5", "--latency", "900", "--concurrent", "1", "--realtime", "--no-tui", "-j", "0"
    )
    assert done.returncode == 0
    assert re.search(r"\d+\.\d s  \d of 5 settled, 1 running, 0 failed", done.stdout)


def test_a_terminal_without_the_signs_gets_others() -> None:
    done = runcue_sim("--count", "1", "-v", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "? completed" in done.stdout


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    command = f"{sys.executable} -m runcue_sim --count 5000 -v | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=50, env=environment(), check=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "141"  # as with any program that SIGPIPE ends


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="NOT CHECKED: there is no /dev/full")
def test_output_that_cannot_be_written_is_told_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = runcue_sim("--count", "3", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr == "runcue-sim: the output cannot be written: No space left on device\n"


def test_closed_streams_are_no_error() -> None:
    command = f"{sys.executable} -m runcue_sim --count 3 --seed 1 --error-rate 1 --max-failures 0 <&- >&-"
    done = subprocess.run(
        ["bash", "-c", command], stderr=subprocess.PIPE, text=True, env=environment(), check=False
    )
    assert done.returncode == 1
    assert done.stderr == ""


def test_a_report_and_a_timeline_are_written(tmp_path: Path) -> None:
    done = runcue_sim(
        "--scenario",
        "pipeline",
        "--count",
        "8",
        "--json",
        "report.json",
        "--timeline",
        "t.svg",
        folder=tmp_path,
    )
    assert done.returncode == 0
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert found["works"]["completed"] == 24
    assert found["services"][1]["name"] == "api"
    assert 0 < found["services"][1]["slots_used"] <= 1
    assert sum(one["share"] for one in found["binds"]) == pytest.approx(1.0)
    picture = (tmp_path / "t.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert picture.count("<rect") > 24
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "t.svg"]


def test_the_longest_waits_are_told_with_their_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, "--scenario", "pipeline", "-n", "30", "-r", "5/sec", "--seed", "1")
    for one in found["waits"]:
        assert one["seconds"] == pytest.approx(sum(one["reasons"].values()))
    waits = {one["task"]: one for one in reversed(found["waits"])}
    assert max(waits["load"]["reasons"]) == "what it needs"
    assert waits["transform"]["reasons"]["rate of api"] > 3


def test_ctrl_c_prints_the_summary_and_ends_with_130() -> None:
    arguments = ["--count", "500", "--latency", "500", "--realtime", "--no-tui"]
    process = start_python("-X", "dev", "-m", "runcue_sim", *arguments)
    assert process.stdout is not None
    assert "of 500 settled" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert re.search(r"\d+ completed.* of 500 work units", out)
    assert re.search(r"Interrupted after \d\.\d\d s, \d+ unfinished", out)
    assert "left" not in out  # its cue is stopped, as that of every program should be
    assert but_for_slowness(err) == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scenario", "pipline"], ["pipline", "did you mean 'pipeline'"]),
        (["--scenario", "zzz"], ["zzz", "single_queue", "dynamic"]),
        (["--count", "-5"], ["--count", "'-5'", "at least 1"]),
        (["--count", "0"], ["--count", "'0'"]),
        (["--count", "ten"], ["--count", "'ten'"]),
        (["--count", "1.5"], ["'1.5'"]),
        (["--rate-limit", "0"], ["--rate-limit", "0", "60/min"]),
        (["--rate-limit", "0/1"], ["--rate-limit", "0"]),
        (["--rate-limit", "0/min"], ["0/min", "60/min"]),
        (["--rate-limit=-1/min"], ["-1/min"]),
        (["--rate-limit", "20/0"], ["20/0"]),
        (["--error-rate", "2"], ["--error-rate", "'2'", "0.0 to 1.0"]),
        (["--error-rate", "-0.1"], ["-0.1"]),
        (["--error-rate", "nan"], ["nan"]),
        (["--outliers", "1.5"], ["--outliers", "1.5"]),
        (["--outlier-mult", "0"], ["--outlier-mult"]),
        (["--outlier-mult", "1e20"], ["--outlier-mult", "1000000"]),
        (["--tui", "-v"], ["--tui", "--verbose"]),
        (["--tui", "--json", "-"], ["--tui", "--json -"]),
        (["--check", "2", "-n", "3"], ["--check", "--count"]),
        (["--faults", "--timeline", "t.svg"], ["--faults", "--timeline"]),
        (["--sweep", "api.concurrent=1,2", "--realtime"], ["--sweep", "--realtime"]),
        (["app.py:cue", "--count", "3"], ["--count", "app.py:cue"]),
        (["app.py:cue", "--concurrent", "3"], ["--concurrent", "--set"]),
        (["--jitter", "-1"], ["--jitter", "-1"]),
        (["--latency", "-1"], ["-1", "uniform"]),
        (["--latency", "fast"], ["fast", "1.5s"]),
        (["--latency", "uniform:9:3"], ["uniform:9:3"]),
        (["--latency", "inf"], ["inf"]),
        (["--latency", "tranform=5", "--scenario", "pipeline"], ["tranform", "did you mean 'transform'"]),
        (["--concurrent", "0"], ["--concurrent", "'0'"]),
        (["--duration", "0"], ["--duration", "'0'"]),
        (["--timeout", "-3"], ["--timeout", "'-3'"]),
        (["--submit-rate", "0"], ["--submit-rate", "'0'"]),
        (["--max-failures", "-1"], ["--max-failures"]),
        (["--check", "0"], ["--check", "'0'"]),
        (["--seed", "x"], ["--seed", "'x'"]),
        (["--nonsense"], ["--nonsense"]),
        (["--submit", "w.jsonl"], ["--submit", "app.py:cue"]),
        (["--fast", "--realtime"], ["--fast", "--realtime"]),
        (["--set", "apo.concurrent=3"], ["apo", "'api'"]),
        (["--set", "api.concurrent=0"], ["api.concurrent", "0"]),
        (["--set", "api.speed=3"], ["speed"]),
        (["--json", "no/such/folder/r.json"], ["no/such/folder/r.json", "cannot be written"]),
        (["--json", "/"], ["/", "folder"]),
        (["--timeline", "no/such/folder/t.svg"], ["no/such/folder/t.svg", "cannot be written"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("runcue-sim: ")
    for word in words:
        assert word in err


def test_a_refusal_in_a_process_of_its_own_has_no_traceback_unless_asked_for() -> None:
    plain = runcue_sim("--scenario", "pipline")
    assert plain.returncode == 2
    assert "Traceback" not in plain.stderr
    asked = runcue_sim("--scenario", "pipline", "--debug")
    assert asked.returncode == 2
    assert "Traceback" in asked.stderr


@pytest.mark.parametrize("longest", [6, 20, 60, 200])
def test_a_table_fits_80_columns_whatever_the_names_are(longest: int) -> None:
    header = ("SERVICE", "SLOTS USED", "RATE USED", "RATE WAS DRY", "DONE", "FAILED", "PER SECOND")
    row = (
        "s" * (longest - 2) + "-1",
        "100% of 100",
        "100% of 600/min, burst 100",
        "100%",
        "10000",
        "100",
        "9.98e+03",
    )
    lines = table(header, [row, ("other", "7% of 8", "-", "-", "0", "0", "0")])
    assert max(map(len, lines)) <= 80
    assert lines[-1] == ""
    shown = [line for line in lines if line.startswith("s")]
    assert len(shown) == 1
    assert shown[0].split(" ")[0].endswith("-1")  # cut in the middle, if at all
    assert wrapped("  1 x t: " + "word " * 40, 10)[1].startswith(" " * 10 + "word")
    assert max(map(len, wrapped("word " * 40))) <= 80


@pytest.mark.parametrize("extra", [(), ("--set", "web.concurrent=1"), ("--duration", "1")], ids=str)
@pytest.mark.parametrize("seed", ["1", "6"])
def test_no_service_ever_has_more_slots_taken_than_it_has(
    extra: tuple[str, ...], seed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--scenario", "services", "-n", "50", "--seed", seed, "-e", "0.3")
    for service in report(capsys, *arguments, *extra)["services"]:
        assert service["most_in_use"] <= service["concurrent"]
        assert service["slots_used"] <= 1.0 + 1e-9


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        (("-r", "60/min"), "services: count 2, 5 at once, 60/min, 100 ms ±20%"),
        (("-r", "60/min", "--set", "web.rate=30/min"), "services: count 2, 5 at once, 30/min, 100 ms ±20%"),
        (("-r", "60/min", "--set", "web.rate=none"), "services: count 2, 5 at once, 100 ms ±20%"),
        (("--set", "web.concurrent=3", "--set", "web.concurrent=2"), "services: count 2, 2 at once, 100 ms ±20%"),
        (("--set", "web.concurrent=none"), "services: count 2, any number at once, 100 ms ±20%"),
        (
            ("--set", "cpu.concurrent=1", "--set", "account.rate=90/min", "--set", "web.rate=10/s"),
            "services: count 2, 5 at once, 10/s, cpu.concurrent=1, account.rate=90/min, 100 ms ±20%",
        ),
    ],
)  # fmt: skip
def test_the_title_says_which_limits_hold(
    arguments: tuple[str, ...], title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(capsys, "--scenario", "services", "-n", "2", "--seed", "1", *arguments)["title"] == title
