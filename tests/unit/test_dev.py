"""dev.py, as far as it can be shown without installing anything; `.ci/run` shows the rest in a fresh checkout."""

import ast
import importlib.util
import subprocess
import sys
import types
import venv
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "dev.py"
STAMP = {"python": "3.11", "root": "/here", "pyproject": "digest"}


@pytest.fixture
def dev(tmp_path: Path) -> types.ModuleType:
    """dev.py as a module that believes to stand in an empty folder."""
    spec = importlib.util.spec_from_file_location("dev", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    python = module.PYTHON.relative_to(module.ROOT)
    module.ROOT, module.VENV = tmp_path, tmp_path / ".venv"
    module.PYTHON, module.STAMP = tmp_path / python, module.VENV / module.STAMP.name
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    return module


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_an_old_python_can_parse_the_file() -> None:
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_an_old_python_gets_one_clear_line() -> None:
    pretend = f"import sys, runpy; sys.version_info = (3, 8, 0); runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    ran = run("-c", pretend)
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
    assert "needs Python 3.11 or newer" in ran.stderr
    assert "is 3.8" in ran.stderr


def test_help_names_every_command(dev: types.ModuleType) -> None:
    ran = run(str(SCRIPT), "--help")
    assert ran.returncode == 0
    for name in dev.COMMANDS:
        assert f"  {name} " in ran.stdout


@pytest.mark.parametrize(("arguments", "said"), [(["tset"], "no command 'tset'"), ([], "")])
def test_a_wrong_command_line_ends_with_2(arguments: list[str], said: str) -> None:
    ran = run(str(SCRIPT), *arguments)
    assert ran.returncode == 2
    assert said in ran.stderr


def test_a_sound_environment_is_kept(dev: types.ModuleType) -> None:
    dev.VENV.mkdir()
    found = {"python": "3.11", "prefix": str(dev.VENV), "base": "/usr", "pip": True, "installed": True}
    assert dev.reason_to_remake(found, STAMP, STAMP) == ""
    assert dev.reason_to_remake(found, {}, STAMP) == ""


@pytest.mark.parametrize(
    ("change", "stamp", "reason"),
    [
        ({"python": "3.13"}, STAMP, "made by Python 3.13"),
        ({"prefix": "/"}, STAMP, "belongs to /"),
        ({"pip": False}, STAMP, "no pip"),
        ({}, STAMP | {"root": "/elsewhere"}, "made in /elsewhere"),
    ],
)
def test_a_foreign_environment_is_made_again(
    dev: types.ModuleType, change: dict[str, object], stamp: dict[str, str], reason: str
) -> None:
    dev.VENV.mkdir()
    found = {"python": "3.11", "prefix": str(dev.VENV), "base": "/usr", "pip": True, "installed": True}
    assert reason in dev.reason_to_remake(found | change, stamp, STAMP)


def test_an_environment_whose_python_does_not_start_is_made_again(dev: types.ModuleType) -> None:
    venv.create(dev.VENV, with_pip=False, symlinks=sys.platform != "win32")
    assert not dev.probe()["pip"]
    dev.PYTHON.unlink()
    dev.PYTHON.symlink_to("/nowhere/python")
    assert dev.probe() == {}
    assert "does not start" in dev.reason_to_remake({}, {}, STAMP)
    dev.remove_venv()
    assert not dev.VENV.exists()


def test_a_folder_that_is_no_environment_is_left_alone(dev: types.ModuleType) -> None:
    dev.VENV.mkdir()
    (dev.VENV / "thesis.txt").touch()
    with pytest.raises(dev.Trouble, match="no virtual environment"):
        dev.remove_venv()
    assert (dev.VENV / "thesis.txt").exists()


def test_a_python_without_ensurepip_says_what_to_install(
    dev: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else real(name))
    with pytest.raises(dev.Trouble, match=r"apt install python3\.\d+-venv"):
        dev.make_venv()


def test_nothing_is_installed_twice_until_the_project_file_changes(
    dev: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def make() -> None:
        done.append("venv")
        dev.VENV.mkdir()

    found = {
        "python": "{}.{}".format(*sys.version_info[:2]),
        "prefix": str(dev.VENV),
        "base": "/usr",
        "pip": True,
        "installed": True,
    }
    monkeypatch.setattr(dev, "make_venv", make)
    monkeypatch.setattr(dev, "install", lambda: done.append("install"))
    monkeypatch.setattr(dev, "probe", lambda: found)
    dev.prepare()
    dev.prepare()
    assert done == ["venv", "install"]
    (dev.ROOT / "pyproject.toml").write_text("[project]\nname = 'other'\n", encoding="utf-8")
    dev.prepare()
    assert done == ["venv", "install", "install"]


@pytest.mark.parametrize(
    ("cores", "arguments", "processes"),
    [
        (4, [], ["--numprocesses=6", "--dist=worksteal"]),
        (2, ["-k", "rate", "-x"], ["--numprocesses=3", "--dist=worksteal"]),
        (1, [], []),
        (4, ["-s"], []),
        (4, ["-x", "--pdb"], []),
        (4, ["-p", "no:xdist"], []),
    ],
)
def test_tests_run_on_all_cores_but_for_who_wants_to_see_one_run(
    dev: types.ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    arguments: list[str],
    processes: list[str],
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)), raising=False)
    assert dev.processes(arguments) == processes


def test_what_else_is_active_does_not_leak_in(dev: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    monkeypatch.setenv("PIP_USER", "1")
    variables = dev.environment()
    assert "PYTHONPATH" not in variables
    assert "PYTHONHOME" not in variables
    assert variables["VIRTUAL_ENV"] == str(dev.VENV)
    assert variables["PIP_USER"] == "0"
    assert variables["PATH"].startswith(str(dev.PYTHON.parent))
