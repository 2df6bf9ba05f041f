"""Commands as handlers: what they are given, what they leave, how they end, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue._artifacts import descriptors
from runcue._handlers import programs
from runcue.testing import run
from tests.support.loops import each_loop, run_on

pytestmark = [
    pytest.mark.rule(58),
    pytest.mark.skipif(os.name != "posix", reason="commands are for POSIX systems"),
]

HERE = Path(__file__).name


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names(folder: str | Path = ".") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir() if path.name != ".runcue-marks")


def do(command: Any, params: dict[str, Any] | None = None, **options: Any) -> Any:
    """The result of a command, on the virtual clock."""

    async def main() -> Any:
        cue = runcue.Cue()
        cue.task("it", **options)(runcue.shell(command))
        async with cue:
            return await (await cue.submit("it", params=params))

    return run(main)


def test_a_file_is_made_from_another_and_made_again_when_that_has_changed() -> None:
    source = Path("it's a file")
    source.write_text("one\n")

    async def main() -> None:
        cue = runcue.Cue()
        pack = runcue.shell("gzip -c {inputs[0]} > {outputs[0]}; echo packed {params[path]}")
        cue.task("pack", inputs=lambda path: path, outputs=lambda path: f"out/{path}.gz")(pack)
        async with cue:
            first = await cue.submit(pack, params={"path": "it's a file"})
            assert await first == "packed it's a file\n"
            again = await cue.submit("pack", params={"path": "it's a file"})
            assert (await again.wait()).skipped
            change()
            assert await (await cue.call("pack", path="it's a file")) == "packed it's a file\n"

    def change() -> None:
        source.write_text("two\n")

    run(main)
    assert names("out") == ["it's a file.gz"]
    assert do(["gunzip", "-c", "{inputs[0]}"], inputs="out/it's a file.gz") == "two\n"


def test_words_go_without_a_shell_and_values_are_never_read_as_a_command() -> None:
    nasty = '\'; touch caught; "$(touch caught)" `touch caught` \\ \n* ~ $HOME'
    assert do("printf %s {params[x]}", {"x": nasty}) == nasty
    assert do(["printf", "%s", "{params[x]}"], {"x": nasty}) == nasty
    assert do("printf '%s|' {params[x]}", {"x": [nasty, "", "b"]}) == f"{nasty}||b|"
    assert names() == []


def test_its_standard_input_is_empty_and_what_it_prints_is_text_with_names_of_files_as_they_are_read() -> (
    None
):
    assert do("cat; printf 'caf\\303\\251 \\377'") == "café \udcff"
    assert do("true") == ""


def test_much_is_printed_while_it_runs_and_of_errors_the_end_is_kept() -> None:
    code = "import sys; sys.stderr.write('e' * 300_000 + 'end'); sys.stdout.write('o' * 3_000_000)"
    assert do([sys.executable, "-c", code.replace("{", "{{")]) == "o" * 3_000_000
    with pytest.raises(runcue.CommandFailed) as caught:
        do([sys.executable, "-c", code + "; sys.exit(4)"])
    assert caught.value.returncode == 4
    assert caught.value.stderr.endswith("eeend")
    assert len(caught.value.stderr) == 65_536


@pytest.mark.parametrize(
    ("command", "returncode", "said"),
    [
        ("echo oh no >&2; exit 3", 3, "ended with exit code 3: oh no"),
        ("kill -9 $$", -9, "was killed by SIGKILL"),
        (["sh", "-c", "kill $$"], -15, "was killed by SIGTERM"),
        ("sh -c 'kill -9 $$'; exit $?", 137, "as if SIGKILL had killed a part of it"),
        ("no-such-program --x", 127, "there is no such program"),
        (["no-such-program"], 127, "there is no program 'no-such-program' on the PATH"),
        (["./no/such"], 127, "there is no program './no/such'"),
        (["./plain"], 126, r"'./plain' cannot be run: Permission denied"),
        (["printf", "x" * 3_000_000], 126, "cannot be run: Argument list too long"),
        ("false", 1, "it has written nothing to stderr"),
    ],
)
def test_any_other_end_than_success_fails_the_attempt_and_says_how_it_was(
    command: Any, returncode: int, said: str
) -> None:
    Path("plain").write_text("no program")
    with pytest.raises(runcue.CommandFailed, match=said) as caught:
        do(command)
    assert caught.value.returncode == returncode
    assert len(str(caught.value)) < 400


def test_an_attempt_that_has_failed_leaves_nothing_and_another_one_follows() -> None:
    text = "echo {work.attempt} >> tries; echo half > {outputs[0]}; test {work.attempt} = 3"
    do(text, outputs="out", retry=3)
    assert Path("tries").read_text().split() == ["1", "2", "3"]
    assert names() == ["out", "tries"]
    with pytest.raises(runcue.CommandFailed):
        do("echo half > {outputs[0]}; false", outputs="other")
    assert names() == ["out", "tries"]


@pytest.mark.rule(29)
def test_an_output_that_it_has_not_made_is_named_with_what_it_has_made_in_its_place() -> None:
    Path("out.png").write_text("old")
    Path("in").touch()
    with pytest.raises(
        runcue.MissingOutput,
        match=r"task 'it', shell\('touch .*'\), ended with exit code 0, but has not made {outputs\[0\]}: "
        r"there is no /.*/out.png. .*it has made 'out-0.png'",
    ):
        do("touch {outputs[0].parent}/out-0.png", inputs="in", outputs="out.png")
    with pytest.raises(runcue.MissingOutput, match=r"{outputs\[1\]}: there is no /.*/b\. An"):
        do("set -- {outputs}; touch $1", outputs=["a", "b"])
    assert Path("out.png").read_text() == "old"
    assert names() == ["in", "out.png"]
    with pytest.raises(runcue.MissingOutput, match=r"/elsewhere\. The command does not name it"):
        do("true", outputs="elsewhere")
    with pytest.raises(runcue.MissingOutput, match="to stderr: no licence"):
        do("echo no licence >&2", outputs="elsewhere")
    with pytest.raises(
        runcue.MissingOutput, match=r"exit code 0, but has not made {outputs\[0\]}: .*/folder/\. An"
    ):
        do("true {outputs[0]}", outputs="folder/")


@pytest.mark.rule(29)
def test_an_output_that_is_not_valid_is_told_with_what_has_said_so() -> None:
    output = runcue.File("out", validate=lambda path: False)
    with pytest.raises(runcue.MissingOutput, match=r"File\('out'\) is not valid: .*<lambda> .* said no"):
        do("touch {outputs[0]}", outputs=output)

    async def write(work: runcue.Work) -> None:
        with work.write("out") as file:
            file.write("text")

    async def main() -> None:
        cue = runcue.Cue()
        cue.task("it", outputs=output)(write)
        async with cue:
            with pytest.raises(
                runcue.MissingOutput, match=r"File\('out'\) is not valid: .*<lambda> .* said no"
            ):
                await (await cue.submit("it"))

    run(main)


def test_an_output_that_it_does_not_name_it_may_make_itself_and_a_folder_is_written_in_place() -> None:
    do("touch elsewhere", outputs="elsewhere")
    do("mkdir -p {outputs[0]}; touch {outputs[0]}/page-1 {outputs[1]}", outputs=["pages/", "index"])
    assert names() == ["elsewhere", "index", "pages"]
    assert names("pages") == ["page-1"]


def test_all_outputs_appear_together_each_in_its_folder_and_may_be_named_again_and_again() -> None:
    do("echo 1 > {outputs[0]}; cat {outputs[0]} > {work.outputs[1]}", outputs=["x/same", "y/same"])
    assert Path("y/same").read_text() == "1\n"


def test_what_it_leaves_in_the_background_is_not_waited_for() -> None:
    assert do("sleep 0.3 & echo begun") == "begun\n"
    assert do("(while echo more; do :; done) & echo begun; exit 0").startswith(("begun\n", "more\n"))


def test_placeholders_are_checked_where_the_command_is_written_and_where_it_becomes_a_task() -> None:
    for command, why in (
        ("echo '{inputs[0]}'", "inside quotes"),
        ("echo it's", "never closed"),
        ("{width}", "is written"),
        ("", "is an empty command"),
        ([], "is an empty command"),
        (["ls", 3], "3 is none"),
        ([b"ls"], "b'ls' is none"),
        (7, "text for a shell, or a list of words"),
        ({"ls"}, "text for a shell, or a list of words"),
        (["bash", "-o", "pipefail", "-c", "cat {inputs[0]} | wc"], "stands in what 'bash' reads as commands"),
        (["/bin/sh", "-euc", "echo x{params[a]}"], "behind it the words 'sh' and '{params\\[a\\]}'"),
    ):
        with pytest.raises(runcue.ConfigurationError, match=why):
            runcue.shell(command)  # type: ignore[arg-type]
    assert do(["sh", "-c", 'echo "$1" $2', "sh", "{params[a]}", "-c"], params={"a": "$(b)"}) == "$(b) -c\n"
    with pytest.raises(runcue.ConfigurationError, match="takes one argument, command"):
        runcue.shell("ls", "-l")  # type: ignore[call-arg]
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError, match=r"names {outputs\[1\]}, but task 'it' has 1 output"):
        cue.task("it", outputs="out")(runcue.shell("touch {outputs[1]}"))
    with pytest.raises(runcue.ConfigurationError, match=r"has none to lend it: write cue.task\("):
        cue.task(runcue.shell("ls"))
    with pytest.raises(runcue.ConfigurationError, match="meant to be a param"):
        cue.task("it", outputs="{width}.png")(runcue.shell("touch {outputs[0]} {params[width]}"))


def test_a_param_that_it_names_and_that_is_not_given_is_missed_by_submit() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("it")(runcue.shell("echo {params[width]} {params[path][0]}"))
        async with cue:
            with pytest.raises(runcue.InvalidParams, match="'path' is missing"):
                await cue.submit("it", params={"width": 3, "other": 4})
            assert await (await cue.submit("it", params={"width": 3, "path": "ab", "other": 4})) == "3 a\n"

    run(main)


def test_what_a_work_unit_has_not_fails_it() -> None:
    with pytest.raises(runcue.ConfigurationError, match=r"'{inputs\[0\]}': the work unit has 0 inputs"):
        do("cat {inputs[0]} > {outputs[0]}", outputs="out")
    assert names() == []


def test_texts_name_the_command_and_the_line_where_it_was_written() -> None:
    cue = runcue.Cue()
    command = runcue.shell("echo " + "x" * 1000)
    assert len(repr(command)) < 250
    cue.task("it")(command)
    with pytest.raises(
        runcue.DuplicateTask, match=rf"shell\('ls'\) \(.*{HERE}:\d+\) needs another name"
    ) as caught:
        cue.task("it")(runcue.shell("ls"))
    assert len(str(caught.value)) < 600
    cue.task("it")(runcue.shell("echo " + "x" * 1000))  # the same, written anew
    with pytest.raises(runcue.ConfigurationError, match="which has a process of its own anyway"):
        cue.task("other", run_in="thread")(runcue.shell("ls"))


def test_with_code_that_counts_another_command_makes_outputs_anew() -> None:
    async def main(text: str) -> bool:
        cue = runcue.Cue()
        cue.task("it", outputs="out", fresh=runcue.digest(code=True))(runcue.shell(text))
        async with cue:
            return (await (await cue.submit("it")).wait()).skipped

    assert [run(lambda text=text: main(text)) for text in ("echo 1 > {outputs[0]}",) * 2] == [False, True]
    assert not run(lambda: main("echo 2 > {outputs[0]}"))
    assert Path("out").read_text() == "2\n"


async def at_once(cue: runcue.Cue, number: int, **options: Any) -> list[int]:
    """How many commands ran at once, seen by each as it began."""
    running, seen = set[str](), list[int]()

    @cue.on_start
    def begun(work: runcue.Work) -> None:
        running.add(work.id)
        seen.append(len(running))

    @cue.on_complete
    def ended(work: runcue.Work, result: str, duration: float) -> None:
        running.discard(work.id)

    cue.task("it", **options)(runcue.shell("true"))
    cue.task("too", **options)(runcue.shell(["true"]))
    async with cue:
        for index in range(number):
            await cue.submit("it" if index % 2 else "too")
    return seen


def test_as_many_run_at_once_as_the_cue_has_processes_unless_a_service_has_slots() -> None:
    assert max(run(lambda: at_once(runcue.Cue(max_processes=2), 6))) == 2

    async def main() -> int:
        cue = runcue.Cue(max_processes=2)
        cue.service("disk", concurrent=4)
        return max(await at_once(cue, 8, uses="disk"))

    assert run(main) == 4


def test_who_waits_for_a_process_is_told_so() -> None:
    async def main() -> tuple[str, list[Any], str]:
        cue = runcue.Cue(max_processes=1)
        cue.task("it")(runcue.shell("sleep 5"))
        async with cue:
            first = await cue.submit("it")
            second = await cue.submit("it")
            while first.state is not runcue.WorkState.RUNNING or not cue._dispatcher.where_it_is(
                await cue.get(first)
            ):
                await asyncio.sleep(0.01)
            told = (
                str(cue.why(second)),
                cue.debug_blocked(),
                cue._dispatcher.where_it_is(await cue.get(first)),
            )
            first.cancel()
            second.cancel()
        return told

    why, blocked, where = run_on("asyncio", main)
    assert "max_processes=1" in why
    assert [entry["reason"] for entry in blocked] == ["service_full"]
    assert where.startswith("process ")
    assert where.endswith("of shell('sleep 5')")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0.005)


def noted(began: list[int]) -> Callable[[int, object], None]:
    return lambda pid, errors: began.append(pid)


def pids(number: int) -> list[int]:
    found = [int(word) for word in Path("pids").read_text().split()] if Path("pids").exists() else []
    return found if len(found) == number else []


def test_one_with_a_folder_runs_there_and_is_given_the_same_files() -> None:
    Path("there").mkdir()
    Path("in").write_text("of here\n")
    Path("there/in").write_text("of there\n")
    copy = "cat {inputs[0]} {params[path]} > {outputs[0]}; pwd"
    ends = []
    for number, command in enumerate(
        (copy, ["sh", "-c", 'cat "$1" in > "$2"; pwd', "sh", "{inputs[0]}", "{outputs[0]}"])
    ):

        async def main(command: Any = command, made: str = f"out {number}") -> str:
            cue = runcue.Cue()
            copying = runcue.shell(command, cwd=Path("there"))
            cue.task("copy", inputs="in", outputs=made)(copying)
            async with cue:
                return str(await (await cue.submit("copy", params={"path": "in"})))

        ends.append(run(main))
    assert ends == [f"{Path('there').resolve()}\n"] * 2
    assert [Path(f"out {number}").read_text() for number in (0, 1)] == ["of here\nof there\n"] * 2
    assert names("there") == ["in"]


def test_one_with_variables_has_them_before_those_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"OWN": "its own", "BOTH": "of the command"}
    command = runcue.shell("echo $OWN, $BOTH, $PROGRAM", env=given)
    given.clear()
    monkeypatch.setenv("BOTH", "of the program")
    monkeypatch.setenv("PROGRAM", "of the program as well")

    async def main() -> Any:
        cue = runcue.Cue()
        cue.task("say")(command)
        async with cue:
            return await (await cue.submit("say"))

    assert run(main) == "its own, of the command, of the program as well\n"
    assert "OWN" not in os.environ


def test_a_folder_that_is_not_there_is_told_as_the_fault_that_it_is() -> None:
    Path("file").touch()

    async def main() -> list[str]:
        cue = runcue.Cue()
        cue.task("nowhere")(runcue.shell("true", cwd="no such/folder"))
        cue.task("a file")(runcue.shell(["true"], cwd="file"))
        cue.task("no program")(runcue.shell(["./no-such-program"], cwd="."))
        async with cue:
            handles = [await cue.submit(name) for name in ("nowhere", "a file", "no program")]
            return [str((await handle.wait()).error) for handle in handles]

    nowhere, a_file, no_program = run(main)
    assert nowhere.endswith(
        "The command 'true' ended with exit code 126 (it cannot be run): "
        "it is to run in 'no such/folder': No such file or directory"
    )
    assert a_file.endswith("it is to run in 'file': Not a directory")
    assert no_program.endswith("there is no program './no-such-program'")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cwd": 7}, "cwd of a command is the path of a folder, not 7."),
        ({"cwd": ""}, "cwd of a command is the path of a folder, not ''."),
        ({"cwd": b"there"}, "cwd of a command is the path of a folder, not b'there'."),
        (
            {"cwd": "{params[folder]}"},
            "cwd of a command has {params[folder]}, but values are put in the command alone.",
        ),
        (
            {"env": ["LANG=C"]},
            'env of a command is a mapping of texts, such as {"LANG": "C"}, not [\'LANG=C\'].',
        ),
        ({"env": {"N": 4}}, "env of a command has 'N': its value must be text, not 4."),
        ({"env": {"N": None}}, "env of a command has 'N': its value must be text, not None."),
        ({"env": {"A=B": "c"}}, "env of a command has 'A=B', which is no name of a variable."),
        ({"env": {4: "c"}}, "env of a command has 4, which is no name of a variable."),
        (
            {"env": {"TITLE": "of {work.id}"}},
            "env of a command: 'TITLE' has {work.id}, but values are put in the command alone.",
        ),
    ],
)
def test_a_folder_and_variables_that_cannot_be_are_told_in_their_line(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(runcue.ConfigurationError) as raised:
        runcue.shell("true", **options)
    assert str(raised.value) == said


def test_a_command_is_another_one_in_another_folder_and_with_other_variables() -> None:
    assert repr(runcue.shell("true", cwd="there", env={"PASSWORD": "x"})) == "shell('true', cwd='there')"
    cue = runcue.Cue()
    cue.task("it")(runcue.shell("true", cwd="there", env={"A": "${work}"}))
    cue.task("it")(runcue.shell("true", cwd="there", env={"A": "${work}"}))
    for options in ({"cwd": "here", "env": {"A": "b"}}, {"cwd": "there"}):
        with pytest.raises(runcue.ConfigurationError, match="'it'"):
            cue.task("it")(runcue.shell("true", **options))


def test_what_it_made_in_another_folder_or_with_other_variables_is_out_of_date() -> None:
    ran = []
    for options in ({}, {}, {"cwd": "there"}, {"env": {"A": "b"}}, {"env": {"A": "b"}}):
        Path("there").mkdir(exist_ok=True)

        async def main(options: Any = options) -> str:
            cue = runcue.Cue()
            making = runcue.shell("echo made > {outputs[0]}", **options)
            cue.task("make", outputs="out", fresh=runcue.digest(code=True))(making)
            async with cue:
                await cue.submit("make")
                return str(await cue.drain()).partition(" in ")[0]

        ran.append(run(main))
    assert ran == ["1 completed", "1 skipped", "1 completed", "1 completed", "1 skipped"]


SAYS_SOMETHING = "echo 'it waits for a' lock >&2; touch begun; sleep 60"


@each_loop
@pytest.mark.rule(22)
def test_one_that_has_timed_out_is_told_with_the_last_that_it_has_written_to_stderr(loop: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("waits")(runcue.shell(SAYS_SOMETHING))
        cue.task("is silent", timeout=0.01)(runcue.shell("sleep 60"))
        async with cue:
            # On a machine that is slow it may have said nothing before.
            for timeout in (0.1, 1, 10):
                handle = await cue.submit("waits", timeout=timeout)
                with pytest.raises(runcue.WorkTimeout) as raised:
                    await handle
                if "stderr" in str(raised.value):
                    break
            assert str(raised.value) == (
                f"The handler of 'waits' ran for longer than its timeout of {timeout:g} s. "
                "The last that it has written to stderr: it waits for a lock."
            )
            with pytest.raises(runcue.WorkTimeout) as raised:
                await (await cue.submit("is silent"))
            assert str(raised.value).endswith("ran for longer than its timeout of 0.01 s.")

    run_on(loop, main)


@pytest.mark.parametrize("by", ["cancel", "stop"])
@each_loop
@pytest.mark.rule(17)
def test_one_that_was_cancelled_is_told_so_likewise(loop: str, by: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("waits")(runcue.shell(SAYS_SOMETHING))
        async with cue:
            handle = await cue.submit("waits")
            await until(Path("begun").exists)
            if by == "stop":
                await cue.stop(timeout=0)
            else:
                handle.cancel()
            with pytest.raises(runcue.WorkCancelled) as raised:
                await handle
        said = str(raised.value)
        assert said.endswith(", when the last that it had written to stderr was 'it waits for a lock'.")
        assert (" was cancelled by stop(), when" in said) == (by == "stop")
        assert (f"/{HERE}:" in said) == (by == "cancel")

    run_on(loop, main)


# A child in the background, and one that has made a process group of its own.
FAMILY = (
    "echo $$ >> pids; (echo half > {outputs[0]}; sleep 60) & echo $! >> pids; "
    "timeout 60 sh -c 'echo $$ >> pids; sleep 60'"
)


@pytest.mark.skipif(sys.platform != "linux", reason="groups of a session are known on Linux")
@each_loop
@pytest.mark.parametrize("end", ["cancel", "timeout", "stop"])
@pytest.mark.rule(17)
def test_who_is_cancelled_has_nothing_left_running_when_the_slot_is_free_again(loop: str, end: str) -> None:
    async def main() -> None:
        cue = runcue.Cue(max_processes=1)
        cue.task("family", outputs="out", timeout=0.4 if end == "timeout" else None)(runcue.shell(FAMILY))
        next_sees: list[list[int]] = []
        cue.task("next")(runcue.shell("true"))
        cue.on_start(task="next")(lambda work: next_sees.append([pid for pid in pids(3) if is_alive(pid)]))
        cue.start()
        handle = await cue.submit("family")
        await until(
            lambda: pids(3) or handle.done()
        )  # on a machine that is slow it may have timed out before
        if end == "stop":
            await cue.stop(timeout=0)
        else:
            after = await cue.submit("next")
            if end == "cancel":
                handle.cancel()
            await after
            await cue.stop()
            assert next_sees == [[]]
        settled = await handle.wait()
        assert settled.state is (runcue.WorkState.FAILED if end == "timeout" else runcue.WorkState.CANCELLED)
        assert not any(map(is_alive, pids(3)))

    run_on(loop, main)
    assert names() == ["pids"]


@each_loop
def test_a_command_is_out_of_reach_of_the_terminal_and_leads_a_group_of_its_own(loop: str) -> None:
    async def main() -> str:
        cue = runcue.Cue()
        cue.task("it")(runcue.shell("ps -o pid=,pgid=,sid=,tty= -p $$"))
        async with cue:
            return str(await (await cue.submit("it")))

    pid, group, session, terminal = run_on(loop, main).split()
    assert pid == group == session
    assert terminal == "?"


@each_loop
def test_who_is_cancelled_while_it_is_being_started_leaves_nothing_either(loop: str) -> None:
    async def main() -> None:
        for turns in range(5):
            began: list[int] = []
            running = asyncio.ensure_future(programs.run_program("sleep 60", noted(began)))
            for _ in range(turns):
                await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert not any(map(is_alive, began))
            assert len(began) == (turns > 0)

    run_on(loop, main)
    children = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, check=False
    )
    assert b"sleep 60" not in children.stdout


@pytest.mark.parametrize("error", [AttributeError, PermissionError])
@each_loop
def test_where_the_system_tells_nobody_of_ends_a_thread_waits(
    loop: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int) -> None:
        raise error

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)

    async def main() -> None:
        assert (await programs.run_program(["echo", "a"], noted([]))).printed == b"a\n"
        running = asyncio.ensure_future(programs.run_program("sleep 60 & timeout 60 sleep 60", noted(began)))
        await until(lambda: began)
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not is_alive(began[0])

    began: list[int] = []
    run_on(loop, main)


def test_who_is_closed_in_the_middle_has_ended_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        began: list[int] = []
        steps = programs.run_program("sleep 60", noted(began))
        steps.send(None)
        assert is_alive(began[0])
        steps.close()
        assert not is_alive(began[0])

    run_on("asyncio", main)


def test_one_that_takes_long_to_be_started_is_told_as_a_command(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start_slowly(*args: Any, **options: Any) -> Any:
        loop: Any = asyncio.get_running_loop()
        loop.reach(loop.time() + 1)
        return subprocess.Popen(*args, **options)

    monkeypatch.setattr(programs, "Popen", start_slowly)

    async def main() -> None:
        cue = runcue.Cue()
        cue.task("it")(runcue.shell("true"))
        async with cue:
            await cue.submit("it")

    run(main)
    assert re.search(
        rf"The command of task 'it', shell\('true'\) \(.*{HERE}:\d+\), blocked .* let fewer run", caplog.text
    )


def test_who_returns_a_command_is_told_that_it_has_not_been_run(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("it")(lambda path: runcue.shell("touch a"))
        async with cue:
            await cue.submit("it")

    run(main)
    assert re.search(
        r"task 'it', .*<lambda> .* returned shell\('touch a'\), which has not been run", caplog.text
    )
    assert names() == []


def test_a_handler_may_run_a_command_itself_for_its_own_work_unit() -> None:
    upper = runcue.shell("echo {work.id} {params[text]} > {outputs[0]}; echo done")

    async def main() -> str:
        cue = runcue.Cue(id_prefix="a")

        @cue.task("it", outputs="out")
        async def it(work: runcue.Work) -> str:
            return (await upper(work)).upper()

        async with cue:
            return str(await (await cue.submit("it", params={"text": "text"})))

    assert run(main) == "DONE\n"
    assert Path("out").read_text() == "a1 text\n"


def test_what_is_no_fault_of_the_program_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(programs, "Popen", refuse)
    with pytest.raises(OSError, match="no more processes") as caught:
        do("true")
    assert not isinstance(caught.value, runcue.RuncueError)


@pytest.mark.rule(37)
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EAGAIN])
@pytest.mark.parametrize("lasts", [False, True])
def test_without_descriptors_for_its_pipes_or_a_process_a_command_waits_for_a_minute_at_most(
    lasts: bool, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for news in (descriptors._processes, descriptors._reserve._news):
        monkeypatch.setattr(news, "_told", False)
    began, opened = 0, sum(1 for _ in Path("/proc/self/fd").iterdir())
    popen = programs.Popen

    def refuse(*args: Any, **options: Any) -> Any:
        nonlocal began
        began += 1
        if lasts or began < 3:
            raise OSError(number, "Too many of them")
        return popen(*args, **options)

    monkeypatch.setattr(programs, "Popen", refuse)
    if lasts:
        with pytest.raises(OSError, match="Too many of them"):
            do("echo done")
        assert began > 1000  # virtually
        assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == opened
    else:
        assert do("echo done") == "done\n"
    assert sum("Too many of them" in line and "told once" in line for line in caplog.messages) == 1


def test_a_command_goes_to_its_end_in_a_loop_of_another_thread() -> None:
    cue = runcue.Cue()
    cue.task("it")(runcue.shell("echo {params[n]}"))
    with runcue.blocking(cue) as b:
        assert [b.result(b.submit("it", params={"n": n})) for n in range(3)] == ["0\n", "1\n", "2\n"]


def test_a_plan_and_a_rehearsal_run_no_command() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("it", outputs="out")(runcue.shell("touch ran {outputs[0]}"))
        plan = cue.plan([("it", {})])
        assert "it" in str(plan)
        from runcue.rehearsal import rehearse

        rehearse(cue, lambda work: 1.0)
        async with cue:
            await cue.submit("it")

    run(main)
    assert names() == []


def test_a_signal_to_the_program_itself_is_an_end_like_any_other() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("it")(runcue.shell("echo $$ > pids; exec sleep 60"))
        async with cue:
            handle = await cue.submit("it")
            await until(lambda: pids(1))
            os.kill(pids(1)[0], signal.SIGKILL)
            with pytest.raises(runcue.CommandFailed, match="was killed by SIGKILL"):
                await handle

    run_on("asyncio", main)
