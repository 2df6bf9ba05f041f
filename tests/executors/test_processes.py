"""`run_in="process"`: fresh interpreters with one call at a time, and what befalls them."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import runcue
from runcue.executors import _process
from runcue.testing import run
from tests.support import in_processes
from tests.support.loops import each_loop, run_on

pytestmark = pytest.mark.rule(56)
in_module = pytest.mark.asyncio(loop_scope="module")

HANDLERS = (
    "who",
    "meet",
    "read_input",
    "end_by",
    "sleep",
    "leave_a_child",
    "fork_and_die",
    "fork_and_return",
    "interrupt",
    "log",
    "log_an_error",
    "said",
    "where",
    "size",
    "note_the_end",
    "fail",
    "let_go_of_all",
    "have_another_do_it",
)


def with_handlers(**options: Any) -> runcue.Cue:
    """A cue with all handlers of processes."""
    cue = runcue.Cue(max_processes=2, **options)
    for name in HANDLERS:
        cue.task(name, run_in="process")(getattr(in_processes, name))
    return cue


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cue() -> AsyncIterator[runcue.Cue]:
    """One with two processes for all tests of this module."""
    async with with_handlers() as cue:
        yield cue


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(there: Callable[[], Any]) -> Any:
    """Wait until something is there."""
    async with asyncio.timeout(20):
        while not (found := there()):
            await asyncio.sleep(0.005)
    return found


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


@in_module
async def test_a_handler_runs_in_another_process_which_is_kept_for_the_next(cue: runcue.Cue) -> None:
    first = await (await cue.call(in_processes.who))
    assert first != os.getpid()
    assert {await (await cue.call(in_processes.who)) for _ in range(5)} == {first}


@in_module
async def test_calls_at_the_same_time_are_in_as_many_processes_and_in_no_more(
    cue: runcue.Cue, tmp_path: Path
) -> None:
    handles = [await cue.call(in_processes.meet, str(tmp_path), 2) for _ in range(6)]
    assert len({await handle for handle in handles}) == 2


@in_module
async def test_slots_of_services_are_no_more_processes(tmp_path: Path) -> None:
    cue = runcue.Cue(max_processes=1)
    cue.task("who", uses=cue.service("api", concurrent=50), run_in="process")(in_processes.who)
    async with cue:
        handles = [await cue.submit("who") for _ in range(8)]
        assert len({await handle for handle in handles}) == 1


@in_module
async def test_standard_input_is_empty(cue: runcue.Cue) -> None:
    assert await (await cue.call(in_processes.read_input)) == ""


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("exit", 3, "ended with exit code 3"),
        ("segfault", -11, "was killed by SIGSEGV"),
        (
            "kill",
            -9,
            "was killed by SIGKILL (if nobody has sent that, the system may have run out of memory)",
        ),
        ("closing", None, "has closed its pipe to the cue, and was killed for that"),
    ],
)
@in_module
async def test_a_process_that_dies_is_one_failed_attempt_and_its_neighbour_never_notices(
    cue: runcue.Cue, tmp_path: Path, what: str, code: int | None, words: str
) -> None:
    other = await cue.call(in_processes.sleep, 0.1, str(tmp_path / "begun"))
    await until((tmp_path / "begun").exists)
    handle = await cue.call(in_processes.end_by, what)
    with pytest.raises(runcue.WorkerDied) as died:
        await handle
    assert died.value.exitcode == code
    assert str(died.value) == f"The process that ran the handler of {handle} end_by {words}.".replace(
        f"{handle} end_by", f"end_by {handle}"
    )
    assert await other == "slept"
    assert await (await cue.call(in_processes.who)) != os.getpid()


@in_module
async def test_another_attempt_runs_in_another_process(cue: runcue.Cue, tmp_path: Path) -> None:
    handle = await cue.submit("end_by", params={"what": "kill"}, retry=2)
    work = await handle.wait()
    assert (work.state, work.attempt) == (runcue.WorkState.FAILED, 2)


@pytest.mark.rule(17)
@in_module
async def test_a_cancelled_handler_is_killed_with_all_that_it_has_started(
    cue: runcue.Cue, tmp_path: Path
) -> None:
    for forked in (False, True):
        note = tmp_path / f"note {forked}"
        handle = await cue.call(in_processes.leave_a_child, str(note), forked=forked)
        pids = [int(one) for one in (await until(lambda note=note: text_of(note))).split()]
        assert all(map(is_alive, pids))
        assert await cue.cancel(handle)
        await until(lambda pids=pids: not any(map(is_alive, pids)))
    await until(lambda: cue._executors.processes.active == 0)


@in_module
async def test_a_handler_that_takes_too_long_is_killed_and_tried_again(
    cue: runcue.Cue, tmp_path: Path
) -> None:
    began = tmp_path / "pid"
    handle = await cue.submit("sleep", params={"seconds": 60, "beginning": str(began)}, timeout=0.2, retry=2)
    first = int(await until(lambda: text_of(began)))
    second = int(await until(lambda: (text := text_of(began)) and int(text) != first and text))
    with pytest.raises(
        runcue.WorkTimeout, match=r"longer than its timeout of 0.2 s. What ran it was killed."
    ):
        await handle
    await until(lambda: not (is_alive(first) or is_alive(second)))


@in_module
async def test_the_time_of_a_handler_counts_from_its_entry_and_not_from_the_start_of_its_process() -> None:
    # To start Python takes longer than that.
    cue = runcue.Cue(max_processes=1)
    cue.task("who", run_in="process", timeout=0.02)(in_processes.who)
    async with cue:
        assert await (await cue.submit("who"))


@in_module
async def test_what_a_handler_has_forked_does_not_keep_its_death_from_being_seen(
    cue: runcue.Cue, tmp_path: Path
) -> None:
    handle = await cue.call(in_processes.fork_and_die, str(tmp_path / "note"))
    began = time.monotonic()
    with pytest.raises(runcue.WorkerDied):
        await handle
    assert time.monotonic() - began < 2


@in_module
async def test_a_child_that_a_handler_forks_and_that_returns_ends_silently(cue: runcue.Cue) -> None:
    code, said = await (await cue.call(in_processes.fork_and_return))
    assert (code, said) == (0, "")


@in_module
async def test_an_interrupt_is_nothing_to_a_process_and_no_secret_to_what_it_starts(cue: runcue.Cue) -> None:
    assert "default_int_handler" in await (await cue.call(in_processes.interrupt))
    pid = await (await cue.call(in_processes.who))
    os.kill(pid, signal.SIGINT)
    assert await (await cue.call(in_processes.who)) == pid


@in_module
async def test_what_is_logged_is_handled_here_by_the_logger_of_the_same_name(
    cue: runcue.Cue, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "tests.in_processes"):
        await (await cue.call(in_processes.log, [10, 20, 30, 40]))
    records = [one for one in caplog.records if one.name == "tests.in_processes"]
    assert [one.getMessage() for one in records] == ["of 30", "of 40"]
    assert records[0].process != os.getpid()
    assert (records[0].even, "lock" in records[0].odd) == (2, True)  # type: ignore[attr-defined]
    await (await cue.call(in_processes.log_an_error))
    assert 'raise KeyError("x")' in caplog.text


@pytest.mark.rule(9)
@in_module
async def test_context_variables_do_not_travel(cue: runcue.Cue) -> None:
    in_processes.SAID.set("something")
    assert await (await cue.call(in_processes.said)) == "nothing"


@in_module
async def test_a_handler_is_in_the_working_folder_of_this_process_wherever_one_before_has_gone(
    cue: runcue.Cue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = str(Path.cwd())
    assert await (await cue.call(in_processes.where, str(tmp_path))) == here
    assert await (await cue.call(in_processes.where)) == here
    monkeypatch.chdir(tmp_path)
    assert await (await cue.call(in_processes.where)) == str(tmp_path)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert await (await cue.call(in_processes.where)) == str(tmp_path)


@in_module
async def test_much_goes_in_and_comes_out_and_the_loop_goes_on_meanwhile(cue: runcue.Cue) -> None:
    content = os.urandom(1 << 20) * 12
    handle = await cue.call(in_processes.size, content)
    turns = 0
    while not handle.done():
        await asyncio.sleep(0)
        turns += 1
    assert await handle == content[::-1]
    assert turns > 20


@in_module
async def test_an_initializer_is_called_once_in_each_process_before_the_first_handler_of_its_task() -> None:
    cue = runcue.Cue(max_processes=1)
    cue.task("one", run_in="process", initializer=in_processes.prepare)(in_processes.what_has_begun)
    cue.task("other", run_in="process", initializer=in_processes.prepare_badly)(
        in_processes.also_what_has_begun
    )
    async with cue:
        assert await (await cue.submit("one")) == ["prepared"]
        assert await (await cue.submit("one")) == ["prepared"]
        assert await (await cue.submit("other")) == ["prepared", "tried"]


@in_module
async def test_an_attempt_fails_whose_initializer_does_and_the_next_one_calls_it_again() -> None:
    cue = runcue.Cue(max_processes=1)
    cue.task("one", run_in="process", initializer=in_processes.prepare_badly)(in_processes.what_has_begun)
    async with cue:
        with pytest.raises(OSError, match="no model yet"):
            await (await cue.submit("one"))
        assert await (await cue.submit("one", retry=2)) == ["tried", "tried"]


@pytest.mark.rule(23)
@in_module
async def test_a_stop_lets_idle_processes_end_by_themselves_and_a_start_makes_new_ones(
    tmp_path: Path,
) -> None:
    cue = with_handlers()
    pids = []
    for turn in range(2):
        cue.start()
        pids.append(await (await cue.call(in_processes.who)))
        await (await cue.call(in_processes.note_the_end, str(tmp_path / str(turn))))
        await cue.stop()
        await until((tmp_path / str(turn)).exists)
        await until(lambda: not Path(f"/proc/{pids[-1]}").exists())  # nor is it left as a zombie
    assert pids[0] != pids[1]


@in_module
async def test_a_stop_kills_what_runs_and_what_it_ran_is_heard_of_at_the_next_start(tmp_path: Path) -> None:
    cue = with_handlers()
    cue.start()
    handle = await cue.call(in_processes.sleep, 60, str(tmp_path / "pid"))
    pid = int(await until(lambda: text_of(tmp_path / "pid")))
    await cue.stop(timeout=0)
    assert handle.state is runcue.WorkState.CANCELLED
    await until(lambda: not is_alive(pid))
    cue.start()
    assert await (await cue.call(in_processes.who))
    await cue.stop()


@in_module
async def test_a_cue_that_nobody_stops_leaves_no_process(tmp_path: Path) -> None:
    executor = _process_executor()
    pid = executor._idle[0].pid
    assert is_alive(pid)
    del executor
    assert not is_alive(pid)


def _process_executor() -> Any:
    from runcue.executors.processes import ProcessExecutor

    executor = ProcessExecutor(1)
    process = _process.Process()
    process.begin()
    executor._idle.append(process)
    return executor


def test_what_is_sent_to_a_process_that_has_ended_is_lost_without_an_error() -> None:
    process = _process.Process()
    assert process.may_have_begun()
    try:
        os.killpg(process.pid, signal.SIGKILL)
        process._popen.wait()
        process.kind = _process.CALL
        process.ask_entry()
        assert process.kind == _process.TOLD_CALL
        assert process.begin()
    finally:
        process.close()


def test_without_descriptors_for_all_its_pipes_those_that_there_are_get_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    pipe = os.pipe

    def scarce() -> tuple[int, int]:
        if len(made) == 4:
            raise OSError(errno.EMFILE, "Too many open files")
        made.extend(ends := pipe())
        return ends

    monkeypatch.setattr(os, "pipe", scarce)
    with pytest.raises(OSError, match="Too many open files"):
        _process.Process()
    for end in made:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)


@in_module
async def test_without_a_python_to_start_an_attempt_fails_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for python, words in (("/nowhere/python", "No such file"), ("", "sys.executable says of no Python")):
        monkeypatch.setattr("sys.executable", python)
        async with with_handlers() as cue:
            handle = await cue.submit("who", retry=2)
            with pytest.raises(
                runcue.WorkerDied, match=f"No process can be started for the handler of who .*{words}"
            ):
                await handle
            assert (await handle.wait()).attempt == 2


@pytest.mark.rule(37)
@in_module
async def test_where_no_more_can_be_started_calls_wait_for_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with with_handlers() as cue:
        first = await cue.call(in_processes.sleep, 0.1)
        await asyncio.sleep(0.05)

        def fail(theirs: tuple[int, int, int]) -> None:
            raise BlockingIOError("Resource temporarily unavailable")

        monkeypatch.setattr(_process, "_popen", fail)
        second = await cue.call(in_processes.who)
        cancelled = await cue.call(in_processes.who)
        assert await first == "slept"
        assert await cue.cancel(cancelled) or True
        assert await second


@in_module
async def test_a_fork_of_this_process_neither_ends_its_processes_nor_keeps_them(cue: runcue.Cue) -> None:
    pid = await (await cue.call(in_processes.who))
    child = os.fork()
    if not child:
        for process in list(_process._alive):  # what is left of them
            process.kill()
        os._exit(len(_process._alive))
    assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222 - it ends at once
    assert await (await cue.call(in_processes.who)) == pid


@each_loop
@in_module
async def test_both_loops(loop: str, tmp_path: Path) -> None:
    """In a thread, as this one has a loop of its own."""

    async def main() -> None:
        async with with_handlers() as cue:
            handles = [await cue.call(in_processes.who) for _ in range(20)]
            assert len({await handle for handle in handles}) <= 2
            died = await cue.submit("end_by", params={"what": "kill"})
            assert type((await died.wait()).exception) is runcue.WorkerDied
            content = os.urandom(1 << 20)
            assert await (await cue.call(in_processes.size, content)) == content[::-1]

    await asyncio.to_thread(run_on, loop, main)


@pytest.mark.rule(8)
@in_module
async def test_a_rate_holds_for_what_handlers_themselves_see(tmp_path: Path) -> None:
    cue = runcue.Cue(max_processes=2)
    cue.task("who", uses=cue.service("api", rate="2/0.2s" if False else "10/sec"), run_in="process")(
        in_processes.who
    )
    async with cue:
        began = time.monotonic()
        works = [await (await cue.submit("who")).wait() for _ in range(11)]
        assert time.monotonic() - began > 0.95
    assert all(work.state is runcue.WorkState.COMPLETED for work in works)


def test_virtual_time_stands_still_while_a_handler_runs() -> None:
    async def main() -> float:
        async with with_handlers() as cue:
            handle = await cue.call(in_processes.sleep, 0.05)
            other = asyncio.create_task(asyncio.sleep(3600))
            await handle
            assert not other.done()
            other.cancel()
            return asyncio.get_running_loop().time()

    assert run(main) == 0.0


@in_module
async def test_who_waits_for_a_process_is_told_so_and_which_one_is_in_use(tmp_path: Path) -> None:
    cue = runcue.Cue(max_processes=1)
    cue.task("sleep", run_in="process")(in_processes.sleep)
    async with cue:
        first = await cue.submit("sleep", params={"seconds": 60, "beginning": str(tmp_path / "pid")})
        second = await cue.submit("sleep", params={"seconds": 0})
        pid = await until(lambda: text_of(tmp_path / "pid"))
        assert (
            "processes: the only slot is in use (Cue(max_processes=1))" in cue.debug_blocked()[0]["details"]
        )
        why = cue.why(second)
        assert "Cue(max_processes=)" in why.next_step, why
        assert "a process (the only one is in use" in str(cue.why())
        assert cue._dispatcher.where_it_is(await cue.get(first)) == f"process {pid}"
        await cue.cancel(first)
        assert await second == "slept"


@in_module
async def test_an_idle_process_that_is_killed_is_replaced_and_nobody_is_told(cue: runcue.Cue) -> None:
    pid = await (await cue.call(in_processes.who))
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not Path(f"/proc/{pid}").exists())
    assert await (await cue.call(in_processes.who)) != pid


@in_module
async def test_who_is_cancelled_while_no_process_can_be_started_is_in_the_way_of_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with with_handlers() as cue:
        first = await cue.call(in_processes.sleep, 0.3)
        await asyncio.sleep(0.05)

        def fail(theirs: tuple[int, int, int]) -> None:
            raise BlockingIOError("Resource temporarily unavailable")

        monkeypatch.setattr(_process, "_popen", fail)
        waiting = await cue.call(in_processes.who)
        await until(lambda: waiting.state is runcue.WorkState.RUNNING)
        assert await cue.cancel(waiting)
        other = await cue.call(in_processes.who)
        assert (await first, type(await other)) == ("slept", int)


def test_ends_and_records_that_nobody_knows_are_told_as_far_as_can_be(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from runcue.executors import processes

    class Ended:
        id, task = "1", "t"

    assert "was killed by signal 100." in str(processes._died(Ended(), -100))
    assert str(processes._died(Ended(), 127)).endswith(" ended with exit code 127.")
    processes._log(b"no pickle")
    assert "A record of the log of a process is lost" in caplog.text


@in_module
async def test_who_is_killed_with_its_answer_on_the_way_is_given_nothing_more(tmp_path: Path) -> None:
    cue = runcue.Cue(max_processes=1)
    cue.task("sleep", run_in="process")(in_processes.sleep)
    cue.task("who", run_in="process")(in_processes.who)
    async with cue:
        begun = tmp_path / "begun"
        first = await cue.submit("sleep", params={"seconds": 0, "beginning": str(begun)})
        second = await cue.submit("who")
        while not begun.exists() or begun.read_text(encoding="utf-8") == "":
            await asyncio.sleep(0)
        time.sleep(0.1)  # noqa: ASYNC251 - the answer comes, and nobody reads it
        assert await cue.cancel(first)
        assert await second
        assert (await first.wait()).state is runcue.WorkState.CANCELLED


@in_module
async def test_a_filter_of_the_log_that_raises_takes_nothing_else_along(
    cue: runcue.Cue, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(record: logging.LogRecord) -> bool:
        raise ValueError("the filter is broken")

    logger = logging.getLogger("tests.in_processes")
    monkeypatch.setattr(logger, "filters", [broken])
    await (await cue.call(in_processes.log, [30]))
    assert capsys.readouterr().err == "runcue could not log (ValueError: the filter is broken): of 30\n"
    monkeypatch.setattr("sys.stderr", None)
    await (await cue.call(in_processes.log, [30]))


@in_module
async def test_who_waits_for_a_process_fails_when_the_last_has_died_and_no_other_can_be_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with runcue.Cue(max_processes=3) as cue:
        cue.task("sleep", run_in="process")(in_processes.sleep)
        first = await cue.submit("sleep", params={"seconds": 60, "beginning": str(tmp_path / "pid")})
        pid = int(await until(lambda: text_of(tmp_path / "pid")))

        def fail(theirs: tuple[int, int, int]) -> None:
            raise BlockingIOError("Resource temporarily unavailable")

        monkeypatch.setattr(_process, "_popen", fail)
        others = [await cue.submit("sleep", params={"seconds": number}) for number in (1, 2)]
        await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        ended = [await handle.wait() for handle in (first, *others)]
        assert [str(work.exception)[:14] for work in ended] == [
            "The process th",
            "No process can",
            "No process can",
        ]


def test_what_waits_for_a_process_that_cannot_be_started_is_no_matter_after_a_stop() -> None:
    from runcue.executors.processes import ProcessExecutor

    ProcessExecutor(1)._could_not_start(object(), OSError("no"))


@in_module
async def test_a_process_loads_nothing_of_runcue_but_what_is_sent_and_nothing_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("types", "marshal", "enum", "struct", "pickle"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    cue = runcue.Cue(max_processes=1)
    cue.task("loaded", run_in="process")(in_processes.loaded)
    async with cue:
        assert await (await cue.submit("loaded")) == sorted(_process._CODE)


@pytest.mark.parametrize("seen_at_once", [False, True])
@pytest.mark.parametrize("reads_no_more", [False, True])
@in_module
async def test_a_call_that_a_dead_process_has_never_begun_goes_to_another_one_and_costs_no_attempt(
    reads_no_more: bool, seen_at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_ended = _process.Process.has_ended
    if not seen_at_once:
        monkeypatch.setattr(
            _process.Process, "has_ended", lambda process, within: within > 0 and has_ended(process, within)
        )
    async with with_handlers() as cue:
        idle = await (await cue.call(in_processes.who))
        if reads_no_more:
            os.kill(idle, signal.SIGSTOP)
            os.waitid(os.P_PID, idle, os.WSTOPPED)  # noqa: ASYNC222 - it is so at once
        else:
            os.kill(idle, signal.SIGKILL)
            os.waitid(os.P_PID, idle, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - likewise
        handle = await cue.submit("who")
        os.kill(idle, signal.SIGKILL)
        assert await handle.result() != idle
        assert handle.work.attempt == 1


@in_module
async def test_who_closes_its_pipe_and_lives_is_killed_and_the_loop_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with with_handlers() as cue:
        threads = set[str]()
        await_end = _process.Process.await_end

        def note(process: _process.Process) -> bool:
            threads.add(threading.current_thread().name)
            return await_end(process)

        monkeypatch.setattr(_process.Process, "await_end", note)
        with pytest.raises(
            runcue.WorkerDied, match="has closed its pipe to the cue, and was killed for that"
        ):
            await (await cue.call(in_processes.let_go_of_all))
        assert threads == {"runcue-ends"}


@pytest.mark.rule(37)
@in_module
async def test_when_one_process_could_not_be_started_the_next_one_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    popen, cue = _process._popen, runcue.Cue(max_processes=2)
    for name in ("first", "second"):
        cue.task(name, run_in="process")(in_processes.who)

    def fail_for_the_first(theirs: tuple[int, int, int]) -> Any:
        executor = cue._executors._processes
        assert executor is not None
        # As long as it has not been told so.
        if any(work.task == "first" for work, _, _ in executor._line):
            raise BlockingIOError("Resource temporarily unavailable")
        return popen(theirs)

    monkeypatch.setattr(_process, "_popen", fail_for_the_first)
    async with cue:
        first, second = await cue.submit("first"), await cue.submit("second")
        with pytest.raises(runcue.WorkerDied, match="No process can be started"):
            await first
        async with asyncio.timeout(20):
            assert await second != os.getpid()


@in_module
async def test_a_handler_in_a_process_may_have_a_cue_with_processes_of_its_own(cue: runcue.Cue) -> None:
    outer, inner = await (await cue.call(in_processes.have_another_do_it))
    assert len({os.getpid(), outer, inner}) == 3
