"""How many processes of its own a cue has at once, as far as it is said when it is made."""

import os

import runcue
from runcue._model import cpus


def test_there_are_as_many_processes_as_processors_unless_something_else_is_said() -> None:
    assert runcue.Cue().max_processes == cpus.usable_cpus()
    assert runcue.Cue(max_processes=3).max_processes == 3


def test_processors_are_those_that_this_process_may_use(monkeypatch) -> None:
    monkeypatch.setattr(os, "process_cpu_count", lambda: 7, raising=False)
    assert cpus.usable_cpus() == 7
    monkeypatch.delattr(os, "process_cpu_count")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 6}, raising=False)
    assert cpus.usable_cpus() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpus.usable_cpus() == 1
