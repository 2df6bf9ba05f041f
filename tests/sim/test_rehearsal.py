"""`runcue-sim app.py:cue,submit`: what is told of a user's own pipeline is so."""

import asyncio
import json
import runpy
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue_sim._commands.main import main


@pytest.fixture
def sim(folder: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Runs a program's cue. Gives what --json says, and what the text says."""

    def run(program: str, *arguments: str, code: int = 0) -> tuple[dict[str, Any], str]:
        path = folder / "app.py"
        path.write_text("import asyncio\nimport runcue\n\n" + textwrap.dedent(program))
        before = sorted(folder.rglob("*"))
        rest = ["--jitter", "0", "--seed", "1", *arguments]
        assert main(["app.py:cue,submit", *rest]) == code
        text = capsys.readouterr().out
        assert main(["app.py:cue,submit", *rest, "--json", "-"]) == code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert sorted(folder.rglob("*")) == before
        return json.loads(out), text

    yield run
    sys.modules.pop("app", None)


def binds(facts: dict[str, Any]) -> tuple[str, str]:
    return facts["binds"][0]["kind"], facts["binds"][0]["name"]


def program(services: str, task: str, count: int = 20, more: str = "") -> str:
    return f"""
cue = runcue.Cue(max_threads=3)
{services}
@cue.task("t", {task})
async def t(work): ...
{more}
async def submit():
    for n in range({count}):
        await cue.submit("t", params={{"n": n}})
"""


@pytest.mark.parametrize(
    ("services", "bound"),
    [
        ('cue.service("api", concurrent=2)', ("slots", "api")),
        ('cue.service("api", rate="10/min")', ("rate", "api")),
        ('cue.service("api", rate=["5/sec", "10/min"])', ("rate", "api")),
        ('cue.service("api", rate="10/min", burst=2)', ("rate", "api")),
        ('cue.service("api", rate="1000/min", concurrent=1)', ("slots", "api")),
        ('cue.service("api")', ("running", "t")),
    ],
)
def test_what_binds_is_told(services: str, bound: tuple[str, str], sim: Any) -> None:
    facts, text = sim(program(services, 'uses="api"'))
    assert binds(facts) == bound
    assert f"What binds: {facts['binds'][0]['words']}" in text
    assert sum(one["share"] for one in facts["binds"]) == pytest.approx(1.0)


def test_the_budget_that_binds_is_told_with_what_it_allows_and_all_of_them_are_shown(sim: Any) -> None:
    api = 'cue.service("api", rate=["10/sec", "60/min"], budget={"tokens": "90_000/min", "usd": "2.50/day"})'
    facts, text = sim(program(api, 'uses="api", cost={"tokens": 9_000, "usd": "0.01"}'))
    assert facts["makespan"] == pytest.approx(60.1)
    assert facts["binds"][0]["words"] == "the budget of api (90,000 tokens per min)"
    assert facts["binds"][0]["seconds"] == pytest.approx(60)
    [service] = facts["services"]
    tokens, usd = service["budgets"]
    assert (service["rate"], service["dry"]) == ("10/sec, 60/min", pytest.approx(1 / 60, abs=0.002))
    assert (tokens["most"], tokens["charged"]) == ("90,000", "180,000")
    assert tokens["dry"] == pytest.approx(60 / 60.1)
    assert (usd["most"], usd["charged"], usd["dry"]) == ("0.2", "0.2", 0)
    assert "api tokens  90,000 of 90,000 tokens per min  180,000         100%" in text
    assert "60.00 s for tokens of api" in text


def test_a_window_that_is_counted_longer_is_dry_for_longer(sim: Any) -> None:
    facts, _ = sim(program('cue.service("api", rate="10/min", margin=5)', 'uses="api"'))
    assert facts["makespan"] == pytest.approx(65.1)
    assert facts["binds"][0]["seconds"] == pytest.approx(65)


def test_keys_are_counted_and_what_binds_is_what_one_of_them_has(sim: Any) -> None:
    api = """
cue.service("api", per=lambda n: n % 3, rate="10/sec", concurrent=2, budget={"tokens": "50/min"})
cue.service("total", rate="100/min")
"""
    facts, text = sim(program(api, 'uses=["api", "total"], cost={"tokens": 10}', count=18))
    assert facts["works"]["completed"] == 18
    assert facts["makespan"] == pytest.approx(60.1)
    assert facts["binds"][0]["words"] == "the budget of api (50 tokens per min per key)"
    service = facts["services"][0]
    assert (service["keys"], service["concurrent"], service["completed"]) == (3, 2, 18)
    assert service["budgets"][0]["most"] == "50"
    assert service["budgets"][0]["charged"] == "180"
    assert "api, 3 keys" in text


def test_limits_that_are_functions_of_the_key_are_told_as_such(sim: Any) -> None:
    api = 'cue.service("api", per=lambda n: n % 2, rate=lambda n: "3/min" if n else "100/min")'
    facts, _ = sim(program(api, 'uses="api"', count=10))
    assert facts["binds"][0]["words"] == "the rate of api (what each key has)"
    assert facts["binds"][0]["seconds"] == pytest.approx(60)


def test_a_key_that_cannot_be_said_fails_its_work_unit_alone(sim: Any) -> None:
    api = 'cue.service("api", per=lambda n: [] if n == 1 else n, rate="10/min")'
    facts, _ = sim(program(api, 'uses="api"', count=3), code=1)
    assert (facts["works"]["completed"], facts["works"]["failed"]) == (2, 1)


def test_a_limiter_of_the_users_binds_as_a_rate(sim: Any) -> None:
    limiter = 'import aiolimiter\ncue.service("api", limiter=aiolimiter.AsyncLimiter(5, 5))'
    facts, text = sim(program(limiter, 'uses="api"'))
    assert binds(facts) == ("rate", "api")
    assert facts["makespan"] == pytest.approx(15.1, abs=0.05)
    assert "burst 5" in text


def test_threads_bind_where_nothing_else_limits_plain_handlers(sim: Any) -> None:
    facts, text = sim(program("", "").replace("async def t", "def t"))
    assert binds(facts) == ("slots", "(threads)")
    assert "max_threads=3" in text


@pytest.mark.parametrize(
    ("task", "name", "said", "seconds"),
    [
        ('run_in="process"', "(processes)", "the processes of the cue (max_processes=2)", 10.0),
        # Processes bound what services have slots for, too.
        ('run_in="process", uses="api"', "(processes)", "the processes of the cue (max_processes=2)", 10.0),
        (
            "run_in=ThreadPoolExecutor(4)",
            "(ThreadPoolExecutor)",
            "the workers of ThreadPoolExecutor (4)",
            5.0,
        ),
        (
            "run_in=lambda: ThreadPoolExecutor(4)",
            "(pool)",
            "the workers of pool (it is not known how many: max_threads=3)",
            7.0,
        ),
    ],
)
def test_where_handlers_run_binds_by_as_many_as_there_are(
    sim: Any, task: str, name: str, said: str, seconds: float
) -> None:
    services = 'from concurrent.futures import ThreadPoolExecutor\ncue.service("api", concurrent=10)'
    told = (
        program(services, task)
        .replace("async def t", "def t")
        .replace("threads=3", "threads=3, max_processes=2")
    )
    facts, text = sim(told, "--latency", "1s")
    assert binds(facts) == ("slots", name)
    assert facts["makespan"] == seconds
    assert facts["binds"][0]["words"] == said
    assert {one["name"]: one["completed"] for one in facts["services"]}[name] == 20
    assert f"slots of {name}" in " ".join(text.split())


def test_commands_are_among_the_processes_where_no_service_has_slots_for_them(sim: Any) -> None:
    told = """
cue = runcue.Cue(max_processes=2)
cue.service("api", concurrent=10)
cue.task("alone")(runcue.shell("true"))
cue.task("served", uses="api")(runcue.shell("true"))

@cue.task(run_in="process")
def beside(): ...

async def submit():
    for task in ["alone"] * 6 + ["served"] * 9 + ["beside"] * 2:
        await cue.submit(task)
"""
    facts, text = sim(told, "--latency", "1s")
    assert facts["makespan"] == 4.0
    accounts = {one["name"]: (one["completed"], one["concurrent"]) for one in facts["services"]}
    assert accounts == {"api": (9, 10), "(processes)": (8, 2)}
    # It was written beside the submitter, which is none of its business.
    assert "seems to submit" not in text


def test_pools_of_one_class_are_two_places_and_one_that_two_tasks_have_is_one(sim: Any) -> None:
    told = """
from concurrent.futures import ThreadPoolExecutor

cue = runcue.Cue()
few, many = ThreadPoolExecutor(1), ThreadPoolExecutor(4)

@cue.task(run_in=few)
def one(): ...

@cue.task(run_in=few)
def other(): ...

@cue.task(run_in=many)
def third(): ...

async def submit():
    for task in ["one", "other", "third"] * 4:
        await cue.submit(task)
"""
    facts, _ = sim(told, "--latency", "1s")
    assert facts["makespan"] == 8.0
    accounts = {one["name"]: (one["completed"], one["concurrent"]) for one in facts["services"]}
    assert accounts == {"(ThreadPoolExecutor)": (8, 1), "(ThreadPoolExecutor 2)": (4, 4)}


def test_a_slot_is_used_while_an_async_gate_is_asked(sim: Any) -> None:
    gate = """
@cue.is_ready
async def is_ready(work):
    await asyncio.sleep(0.1)
    return True
"""
    facts, _ = sim(program('cue.service("api", concurrent=1)', 'uses="api"', 10, gate))
    assert facts["makespan"] == pytest.approx(2.0)
    assert binds(facts) == ("slots", "api")
    assert facts["services"][0]["slots_used"] == pytest.approx(1.0)


def test_a_gate_that_says_no_binds_until_it_says_yes(sim: Any) -> None:
    gate = """
@cue.task("first", outputs=runcue.Flag("done"))
async def first(work): ...
@cue.is_ready(task="t")
def is_ready(work):
    return runcue.Flag("done").valid()
"""
    facts, _ = sim(
        program('cue.service("api", concurrent=9)', 'uses="api"', 3, gate)
        + '    await cue.submit("first")\n',
        *("--latency", "first=5s"),
    )
    assert binds(facts) == ("running", "first")
    assert facts["waits"][0]["reasons"] == {"what it needs": pytest.approx(5.0)}


def test_a_submitter_that_waits_for_what_never_comes_is_told_of(sim: Any) -> None:
    facts, text = sim(
        """
        cue = runcue.Cue()

        @cue.task("t", inputs="no/such/file")
        def t(work): ...

        async def submit():
            handle = await cue.submit("t")
            await handle.wait()
        """,
        code=3,
    )
    assert facts["cut"] == "submitter"
    assert facts["works"]["blocked"] == 1
    assert "The submitter has not ended" in text
    assert "no/such/file" in text


def test_a_submitter_may_wait_for_work_units_and_for_time(sim: Any) -> None:
    facts, _ = sim(
        """
        cue = runcue.Cue()

        @cue.task("t")
        async def t(work): ...

        async def submit():
            for _ in range(3):
                handle = await cue.submit("t")
                await handle.wait()
                await asyncio.sleep(3600)
            await cue.submit("t")
        """
    )
    assert facts["works"]["completed"] == 4
    assert facts["makespan"] == pytest.approx(3 * 3600.1 + 0.1)


def test_what_the_program_prints_is_no_part_of_the_json(sim: Any) -> None:
    loud = program('print("loading")', "", 1, 'print("loaded")') + '    print("submitted")\n'
    facts, text = sim(loud)
    assert facts["works"]["completed"] == 1
    assert "submitted" in text


def test_who_submits_without_being_called_is_named(sim: Any) -> None:
    facts, _ = sim(
        """
        cue = runcue.Cue()

        @cue.task("t")
        async def t(work):
            await cue.submit("t")

        @cue.on_complete
        async def after(work, result, duration):
            await cue.submit("t")

        async def submit():
            await cue.submit("t")
        """
    )
    assert facts["works"]["completed"] == 1
    notes = "\n".join(facts["notes"])
    assert "the handler of t (t of app.py:7) seems to submit work units" in notes
    assert "a listener (after of app.py:11) seems to submit work units" in notes


def test_tasks_of_which_nothing_exists_are_named_where_gates_look(sim: Any) -> None:
    facts, _ = sim(
        """
        cue = runcue.Cue()
        cue.task("make")(lambda work: None)
        cue.task("use")(lambda work: None)

        @cue.is_ready(task="use")
        def is_ready(work):
            return runcue.exists("made.txt")

        async def submit():
            await cue.submit("make")
            await cue.submit("use")
        """,
        code=3,
    )
    assert any("tasks without outputs= (make)" in note for note in facts["notes"])


def test_text_of_the_users_stays_in_its_line_and_commands_no_terminal(sim: Any) -> None:
    gate = 'cue.is_ready(lambda work: (False, "first\\nsecond \\x1b[31mred"))'
    facts, text = sim(program("", "", 1, gate), code=3)
    assert "\x1b" not in text + json.dumps(facts, ensure_ascii=False)
    assert "1 x t: not_ready - is_ready said no: first second" in text


def test_a_timeline_and_a_recording_go_through_the_same_door(tmp_path: Path, sim: Any) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps(
            {
                "format": "runcue-recording",
                "version": 1,
                "makespan": 3.0,
                "tasks": {"t": {"durations": [1.0, None, 2.0, 3.0], "failed": [2]}},
            }
        )
    )
    facts, _ = sim(program('cue.service("api", concurrent=1)', 'uses="api"', 8), "--recorded", "run.json")
    assert facts["makespan"] == pytest.approx(
        2 * (1 + 2 + 2 + 3)
    )  # of the second nothing is known but the median
    assert facts["works"]["failed_on_purpose"] == 2


def test_a_failure_that_was_asked_for_may_end_the_submitter(sim: Any) -> None:
    facts, _ = sim(
        """
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)

        async def submit():
            handle = await cue.submit("t")
            await handle.result()
        """,
        *("--error-rate", "1"),
    )
    assert facts["works"]["failed_on_purpose"] == 1
    assert "the submitter ended early" in facts["notes"][0]


def test_a_submitter_that_waits_for_what_a_handler_would_do_is_told_of(sim: Any) -> None:
    facts, _ = sim(
        """
        cue = runcue.Cue()
        done = []
        cue.task("t")(done.append)

        async def submit():
            await cue.submit("t")
            while not done:
                await asyncio.sleep(60)
        """,
        *("--duration", "3600"),
    )
    assert facts["works"]["completed"] == 1
    assert facts["cut"] == "duration"


def test_a_gate_that_the_submitter_opens_is_asked_again_in_time(sim: Any) -> None:
    facts, _ = sim(
        """
        cue = runcue.Cue()
        is_open = False
        cue.task("t")(lambda work: None)
        cue.is_ready(lambda work: is_open)

        async def submit():
            global is_open
            await cue.submit("t")
            await asyncio.sleep(0.5)
            is_open = True
            await asyncio.sleep(5)
        """
    )
    assert facts["makespan"] == pytest.approx(0.6, abs=0.11)
    facts, _ = sim(
        """
        cue = runcue.Cue()
        is_open = False
        cue.task("t")(lambda work: None)
        cue.is_ready(lambda work: is_open)

        async def submit():
            global is_open
            handle = await cue.submit("t")
            await asyncio.sleep(86400)
            is_open = True
            await handle.wait()
        """
    )
    assert facts["makespan"] == pytest.approx(86400, rel=0.02)


def test_what_is_skipped_at_the_end_waited_for_its_submission(sim: Any) -> None:
    facts, _ = sim(
        program("", "", 1, "cue.is_stale(lambda work: work.params['n'] == 0)")
        + '    await asyncio.sleep(3)\n    await cue.submit("t", params={"n": 1})\n'
    )
    assert binds(facts)[0] == "submission"


def test_a_submitter_may_sleep_for_weeks_and_wait_for_a_rate_of_days(sim: Any) -> None:
    facts, _ = sim(
        """
        cue = runcue.Cue()
        cue.service("slow", rate="1/4day")
        cue.task("t", uses="slow")(lambda work: None)
        cue.is_ready(lambda work: True)

        async def submit():
            for _ in range(3):
                handle = await cue.submit("t")
                await handle.result()
                await asyncio.sleep(7 * 86400)
        """
    )
    assert facts["works"]["completed"] == 3
    assert facts["makespan"] == pytest.approx(14 * 86400, rel=0.01)


def test_a_gate_that_never_answers_is_told_in_one_line(sim: Any) -> None:
    facts, _ = sim(
        """
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)

        @cue.is_ready
        async def is_ready(work):
            await asyncio.Event().wait()

        async def submit():
            await cue.submit("t")
        """,
        code=3,
    )
    assert facts["works"]["blocked"] == 1


def test_what_can_never_run_is_told_of_a_run_that_was_cut_short_too(sim: Any) -> None:
    facts, text = sim(
        """
        cue = runcue.Cue()
        cue.service("api", concurrent=1)
        cue.task("never", inputs="no/such/file")(lambda work: None)
        cue.task("slow", uses="api", outputs=lambda work: f"out/{work.params['n']}")(lambda work: None)

        async def submit():
            await cue.submit("never")
            for n in range(5):
                await cue.submit("slow", params={"n": n})
        """,
        *("--latency", "1s", "--duration", "2.5"),
        code=3,
    )
    assert facts["works"]["completed"] == 2
    assert [(group["task"], group["count"]) for group in facts["blocked"]] == [("never", 1)]
    assert "Ended by --duration after 2.50 s, 4 unfinished" in text


RETRIED = 'uses="api", timeout=30, retry=runcue.Retry(4, wait_initial="5s", wait_jitter=0)'


def test_attempts_are_counted_and_each_has_luck_of_its_own(sim: Any) -> None:
    more = program('cue.service("api", concurrent=2)', RETRIED, 50)
    facts, text = sim(more, "--latency", "2s", "--error-rate", "0.5")
    works = facts["works"]
    assert works["completed"] + works["failed"] == 50
    assert 0 < works["failed"] < 10, "about one in sixteen has no luck four times"
    assert 20 < works["retries"] < 80
    assert f"of 50 work units, tried again {works['retries']} times" in " ".join(text.split())
    assert "RETRIES" in text
    [task] = facts["tasks"]
    assert task["retries"] == works["retries"]
    assert task["median"] == 2.0, "a waiting time is no time of a handler"
    # Each attempt has a slot for 2 s, and holds none while it waits.
    attempts = 50 + works["retries"]
    assert facts["services"][0]["mean_in_use"] * facts["makespan"] == pytest.approx(2.0 * attempts)
    assert sum(one["share"] for one in facts["binds"]) == pytest.approx(1.0)


def test_the_waits_between_attempts_bind_where_nothing_else_does(sim: Any) -> None:
    facts, text = sim(program('cue.service("api")', RETRIED, 1), "--latency", "1s", "--error-rate", "1")
    assert facts["works"]["retries"] == 3
    assert facts["makespan"] == 4 * 1 + 5 + 10 + 20
    assert [(one["kind"], one["seconds"]) for one in facts["binds"]] == [
        ("retry", 35.0),
        ("attempts", 3.0),
        ("running", 1.0),
    ]
    assert "the waits of t for its next attempt" in text
    assert "its next attempt" in facts["waits"][0]["reasons"]


def test_equal_seeds_draw_equal_jitter(sim: Any) -> None:
    more = program('cue.service("api")', 'uses="api", retry=3', 20)
    first, _ = sim(more, "--latency", "1s", "--error-rate", "0.5")
    again, _ = sim(more, "--latency", "1s", "--error-rate", "0.5")
    assert first["makespan"] == again["makespan"]


def test_what_is_written_down_may_say_how_often_it_is_tried(sim: Any, folder: Path) -> None:
    (folder / "work.jsonl").write_text('{"task": "t", "retry": 3}\n{"task": "t", "retry": 1}\n')
    text = program('cue.service("api")', 'uses="api"', 0)
    (folder / "app.py").write_text("import runcue\n" + text)
    arguments = [
        "app.py:cue",
        "--submit",
        "work.jsonl",
        "--error-rate",
        "1",
        "--latency",
        "1s",
        "--seed",
        "1",
    ]
    assert main([*arguments, "--json", "out.json"]) == 0
    assert json.loads((folder / "out.json").read_text())["works"]["retries"] == 2


def test_what_is_for_later_takes_no_slot_and_its_instant_binds(sim: Any, folder: Path) -> None:
    (folder / "work.jsonl").write_text(
        '{"task": "t", "delay": "5 min"}\n{"task": "t"}\n'
        f'{{"task": "t", "run_at": {time.time() + 3600}}}\n'
    )
    text = program('cue.service("api", concurrent=1)', 'uses="api"', 0)
    (folder / "app.py").write_text("import runcue\n" + text)
    assert (
        main(
            [
                "app.py:cue",
                "--submit",
                "work.jsonl",
                "--latency",
                "1s",
                "--seed",
                "1",
                "--jitter",
                "0",
                "--json",
                "o",
            ]
        )
        == 0
    )
    facts = json.loads((folder / "o").read_text())
    assert facts["makespan"] == pytest.approx(3601, abs=60), (
        "an hour from now, though the virtual clock is elsewhere"
    )
    assert facts["services"][0]["mean_in_use"] * facts["makespan"] == pytest.approx(3.0)
    assert [one["kind"] for one in facts["binds"]] == ["delay", "running"]
    assert {*facts["waits"][0]["reasons"]} == {"the instant that it is for"}


def test_a_submitter_that_waits_for_what_is_for_later_does_not_wait_in_vain(sim: Any) -> None:
    facts, _ = sim(
        """
        cue = runcue.Cue()
        @cue.task("t")
        async def t(work): ...
        async def submit():
            await (await cue.submit("t", delay="1h")).result()
        """,
        "--latency",
        "1s",
    )
    assert (facts["works"]["completed"], facts["makespan"], facts["cut"]) == (1, 3601.0, "")


def test_a_real_run_that_was_tried_again_is_recorded_with_what_came_before_its_last_attempt() -> None:
    from runcue.testing import run
    from runcue_sim import Recording

    cue = runcue.Cue()
    later = [True]

    @cue.task("t", retry=runcue.Retry(3, wait_initial=60, wait_jitter=0))
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(work.attempt)
        if work.attempt == 1:
            raise ConnectionError
        if later:
            later.pop()
            raise runcue.RetryLater(600)

    recording = Recording(cue)

    async def main() -> None:
        async with cue:
            await cue.submit("t")

    run(main)
    assert recording.run.tasks["t"].durations == [2.0]
    assert recording.run.tasks["t"].tries == {0: [(1.0, "failed", 60.0, {}), (2.0, "postponed", 600.0, {})]}


SPENDING = """
import asyncio, os
import runcue
from runcue_sim import Recording

def make_cue():
    cue = runcue.Cue()
    cue.service("api", budget={"tokens": "100/min", "usd": "2/day"}, concurrent=2)
    refused = [True]

    @cue.task(uses="api", cost={"tokens": 30, "usd": 0.1}, retry=runcue.Retry(4, on=OSError, wait_initial=3))
    async def ask(work, n):
        await asyncio.sleep(1 + n / 8)
        work.spent(tokens=5)
        if n == 1 and work.attempt == 1:
            raise OSError
        if n == 2 and refused and refused.pop():
            raise runcue.Throttled(20)
        work.spent(tokens=5 + n, usd="0.01")

    return cue

async def submit(cue):
    for n in range(12):
        await cue.submit("ask", params={"n": n})

def record():
    cue = make_cue()
    recording = Recording(cue)
    async def main():
        async with cue:
            await submit(cue)
    from runcue.testing import run
    run(main)
    recording.save("run.json")
    return recording.run
"""


def test_what_was_spent_refused_and_tried_again_in_a_real_run_is_so_in_its_rehearsal(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "spending.py").write_text(SPENDING)
    recorded = runpy.run_path("spending.py")["record"]()
    ask = recorded.tasks["ask"]
    assert ask.spent[3] == {"tokens": "13", "usd": "1/100"}
    assert [(one.reason, one.spent) for one in (*ask.tries[1], *ask.tries[2])] == [
        ("failed", {"tokens": "5"}),
        ("throttled", {}),  # which costs nothing
    ]
    arguments = ["spending.py:make_cue,submit", "--recorded", "run.json"]
    assert main([*arguments, "--json", "-"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["makespan"] == pytest.approx(recorded.makespan, rel=0.02)
    [api] = facts["services"]
    assert api["refusals"] == 1
    [held] = api["holds"]
    assert held == {
        "by": "refused",
        "times": 1,
        "seconds": 20.0,
        "share": pytest.approx(20 / facts["makespan"]),
    }
    assert any(
        one["kind"] == "refused" and one["words"].startswith("the server of api") for one in facts["binds"]
    )
    charged = {one["name"]: one["charged"] for one in api["budgets"]}
    assert charged == {"tokens": "191", "usd": "0.22"}
