"""The suite's own promise: a full run without a test for every behaviour rule does not pass."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RULES

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SETTINGS = "[pytest]\ntestpaths = tests\nmarkers = rule\naddopts = --strict-markers -p no:cacheprovider\n"
ALL = ", ".join(map(str, RULES))
HOW_MANY = len(RULES)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "tests").mkdir()
    shutil.copy(CONFTEST, tmp_path / "tests")
    return tmp_path


def run(project: Path, rules: str, *options: str, body: str = "pass") -> subprocess.CompletedProcess[str]:
    holds = f"@pytest.mark.rule({rules})\ndef test_it_holds():\n    {body}\n"
    source = f"import pytest\n{holds}def test_beside_it():\n    pass\n"
    (project / "tests" / "test_sample.py").write_text(source, encoding="utf-8")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    variables["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # to load what is not needed takes most of the time
    command = [sys.executable, "-m", "pytest", *options]
    return subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, check=False)


def test_a_full_run_with_every_rule_carried_passes_and_lists_them(project: Path) -> None:
    ran = run(project, ALL)
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.count("it holds") == HOW_MANY
    assert f"all {HOW_MANY} rules are carried" in ran.stdout


@pytest.mark.parametrize(
    ("rules", "body", "said"),
    [("*range(1, 31)", "pass", "rule 32, 33"), (ALL, "pytest.skip()", "rule 1, 2, 3")],
    ids=["no test", "only a skipped one"],
)
def test_a_full_run_with_a_rule_not_carried_fails(project: Path, rules: str, body: str, said: str) -> None:
    ran = run(project, rules, body=body)
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED, ran.stdout
    assert f"no passing test for {said}" in ran.stdout


@pytest.mark.parametrize(
    "options",
    [["-k", "holds"], ["tests/test_sample.py"], ["--deselect", "tests/test_sample.py::test_beside_it"]],
)
def test_a_narrowed_run_asks_for_nothing(project: Path, options: list[str]) -> None:
    ran = run(project, "4", *options)
    assert ran.returncode == 0, ran.stdout
    assert "it holds" in ran.stdout
    assert "no passing test" not in ran.stdout


@pytest.mark.parametrize(
    ("rules", "options", "code", "said"),
    [
        (ALL, [], pytest.ExitCode.OK, f"all {HOW_MANY} rules are carried"),
        ("*range(1, 26)", [], pytest.ExitCode.TESTS_FAILED, "no passing test for rule 26, 27"),
        ("4", ["-k", "holds"], pytest.ExitCode.OK, "it holds"),
    ],
    ids=["all", "some", "narrowed"],
)
def test_in_several_processes_it_is_the_same(
    project: Path, rules: str, options: list[str], code: pytest.ExitCode, said: str
) -> None:
    pytest.importorskip("xdist", reason="TESTS IN SEVERAL PROCESSES ARE NOT TESTED: pytest-xdist is missing")
    ran = run(project, rules, "-p", "xdist", "-n2", *options)
    assert ran.returncode == code, ran.stdout
    assert said in ran.stdout
    assert ("no passing test" in ran.stdout) == (code == pytest.ExitCode.TESTS_FAILED)


@pytest.mark.parametrize("rules", ["31", "0", "'4'", ""])
def test_a_mark_that_names_no_rule_is_an_error(project: Path, rules: str) -> None:
    ran = run(project, rules, "-k", "holds")
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR, ran.stdout
    assert "is none of 1, 2, 3" in ran.stdout + ran.stderr
