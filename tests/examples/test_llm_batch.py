"""The program that sends prompts to an API with limits: killed in the middle, it goes on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "llm_batch" / "batch.py"

# The program as it is, with fewer prompts, and a server that always answers, and soon.
FEWER = """
import sys
sys.path.insert(0, sys.argv[1])
import batch, model_server, runcue
server = "--latency", "0.05", "0.1", "--hangs", "0", "--errors", "0.03", "--seed", sys.argv[3]
batch.running_server = lambda: model_server.running_server(*server)
batch.PROMPTS = int(sys.argv[2])
runcue.run(batch.main)
"""


def started(folder: Path, prompts: int, seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FEWER, str(PROGRAM.parent), str(prompts), str(seed)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_killed_in_the_middle_it_goes_on_and_says_what_it_cost(tmp_path: Path) -> None:
    out = tmp_path / "out" / "llm"
    out.mkdir(parents=True)
    with started(tmp_path, 60, 1) as first:
        while len(list(out.glob("[0-9]*.json"))) < 10:
            assert first.poll() is None, first.stdout and first.stdout.read()
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
    dates = {file.name: file.stat().st_mtime_ns for file in out.glob("[0-9]*.json")}
    with started(tmp_path, 60, 2) as second:
        said = second.communicate(timeout=60)[0]
    assert second.returncode == 0, said
    counts = re.search(r"(\d+) completed, (\d+) skipped in ", said)
    assert counts is not None, said
    # What was about to be published when it was killed is there, and not believed.
    completed, skipped = map(int, counts.groups())
    assert completed + skipped == 60, said
    assert len(dates) - 10 <= skipped <= len(dates), said
    answers = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in out.glob("[0-9]*.json")}
    assert len(answers) == 60
    assert sum(dates[name] == (out / name).stat().st_mtime_ns for name in dates) >= skipped
    tokens = sum(answer["usage"]["total_tokens"] for answer in answers.values())
    assert f"{tokens:,} tokens in all, {tokens * 0.000_002:.2f} USD" in said


@pytest.mark.parametrize("answers", [0, 100])
def test_the_simulator_rehearses_it_with_its_budgets(tmp_path: Path, answers: int) -> None:
    (tmp_path / "out" / "llm").mkdir(parents=True)
    for number in range(answers):
        (tmp_path / "out" / "llm" / f"{number:03}.json").touch()
    done = subprocess.run(
        [sys.executable, "-m", "runcue_sim", f"{PROGRAM}:make_cue,submit", "--latency", "150", "--json", "-"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["works"]["completed"] == 500 - answers
    # 90,000 tokens are taken in the first minute, and the rest in the second one.
    assert 60.5 < facts["makespan"] < 70
