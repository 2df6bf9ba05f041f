"""A user's own program: what `app.py:cue,submit` finds, and what is said of programs that cannot be had."""

import asyncio
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import runcue
from runcue_sim._pipelines.program import App, load
from runcue_sim._text.usage import BadUsage
from tests.support.programs import runcue_sim

Write = Callable[..., Path]

APP = """
import runcue

cue = runcue.Cue()
cue.service("api", concurrent=2)

@cue.task("ask", uses="api")
async def ask(work):
    raise RuntimeError("this would cost money")

async def submit():
    for number in range(3):
        await cue.submit("ask", params={"number": number})

if __name__ == "__main__":
    raise RuntimeError("not in a rehearsal")
"""


PLAIN = """
@cue.task(outputs=lambda url: runcue.Flag(url), load=lambda url: url)
def fetch(work, url: str, page: int = 1): ...

def log(text: str): ...

async def call():
    await cue.call(fetch, "a")
    await cue.call(log, "b")
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return path


def refusal(spec: str) -> str:
    with pytest.raises(BadUsage) as caught:
        load(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def submitted(app: App) -> list[str]:
    """What a program submits, in a cue that is not started."""

    async def main() -> list[str]:
        assert app.submit is not None
        await app.submit()
        works = await app.cue.list()
        return [f"{work.task} {work.params}" for work in works]

    return asyncio.run(main())


def test_a_file_gives_its_cue_and_its_submitter(folder: Path) -> None:
    write(folder / "app.py", APP)
    app = load("app.py:cue,submit")
    assert [task.name for task in app.cue.tasks()] == ["ask"]
    assert submitted(app) == [f"ask {{'number': {number}}}" for number in range(3)]


def test_a_program_may_be_made_of_plain_functions(folder: Path) -> None:
    write(folder / "app.py", APP + PLAIN)
    app = load("app.py:cue,call")
    assert [task.name for task in app.cue.tasks()] == ["ask", "fetch"]
    assert submitted(app) == ["fetch {'url': 'a', 'page': 1}", "log {'text': 'b'}"]


def test_without_a_submitter_there_is_none(folder: Path) -> None:
    write(folder / "app.py", APP)
    assert load("app.py:cue").submit is None


def test_without_a_name_it_is_the_only_cue(folder: Path) -> None:
    write(folder / "app.py", APP + "\nalso_known_as = cue\n")
    app = load("app.py")
    assert [task.name for task in app.cue.tasks()] == ["ask"]
    assert len(submitted(load("app.py:,submit"))) == 3


def test_a_module_of_a_package_is_found_from_the_working_folder(folder: Path) -> None:
    write(folder / "shop" / "__init__.py", "")
    write(folder / "shop" / "names.py", 'TASK = "ask"')
    write(
        folder / "shop" / "orders.py",
        """
        import runcue
        from .names import TASK
        cue = runcue.Cue()
        @cue.task(TASK)
        def ask(work): ...
        """,
    )
    assert [task.name for task in load("shop.orders:cue").cue.tasks()] == ["ask"]


def test_a_file_can_import_from_its_own_folder_and_from_the_working_folder(folder: Path) -> None:
    write(folder / "common.py", "RATE = '60/min'")
    write(folder / "deep" / "settings.py", "SERVICE = 'api'")
    write(
        folder / "deep" / "app.py",
        """
        import runcue
        from common import RATE
        from settings import SERVICE
        cue = runcue.Cue()
        cue.service(SERVICE, rate=RATE)
        """,
    )
    assert [service.name for service in load("deep/app.py:cue").cue.services()] == ["api"]


def test_two_modules_that_import_each_other_share_one_cue(folder: Path) -> None:
    write(folder / "app.py", "import runcue\ncue = runcue.Cue()\nimport tasks\n")
    write(folder / "tasks.py", "from app import cue\n@cue.task('ask')\ndef ask(work): ...\n")
    assert [task.name for task in load("app.py:cue").cue.tasks()] == ["ask"]


@pytest.mark.parametrize("name", ["json.py", "runcue.py", "my-app.py", "pytest.py"])
def test_the_file_is_meant_whatever_module_goes_by_its_name(folder: Path, name: str) -> None:
    there = sys.modules.get(name.removesuffix(".py"))
    write(folder / "pipelines" / name, "from runcue import Cue\ncue = Cue(id_prefix='mine-')\n")
    assert isinstance(load(f"pipelines/{name}:cue").cue, runcue.Cue)
    assert sys.modules.get(name.removesuffix(".py")) is there


def test_a_function_may_make_the_cue(folder: Path) -> None:
    write(
        folder / "app.py",
        """
        import runcue
        def make_cue(rate="60/min"):
            cue = runcue.Cue()
            cue.service("api", rate=rate)
            return cue
        async def submit(cue): ...
        """,
    )
    assert [service.rate for service in load("app.py:make_cue,submit").cue.services()] == ["60/min"]


def test_a_cue_may_be_an_attribute_of_something(folder: Path) -> None:
    write(folder / "app.py", "import runcue\nclass Shop:\n    cue = runcue.Cue()\n")
    assert isinstance(load("app.py:Shop.cue").cue, runcue.Cue)


@pytest.mark.parametrize(
    "submitter",
    [
        "async def submit(): await cue.submit('ask')",
        "async def submit(cue): await cue.submit('ask')",
        "async def submit(anything): await anything.submit('ask')",
        "async def submit(*, cue): await cue.submit('ask')",
        "async def submit(times=1, cue=None): await cue.submit('ask')",
        "async def submit(times=1):\n    for _ in range(times): await cue.submit('ask')",
        "def submit(): return cue.submit('ask')",
        "submit = functools.partial(cue.submit, 'ask')",
        "class Submit:\n    async def __call__(self): await cue.submit('ask')\nsubmit = Submit()",
        "async def submit(*args, **options):\n    assert not args; await cue.submit('ask')",
    ],
)
def test_a_submitter_may_take_the_cue_or_nothing(folder: Path, submitter: str) -> None:
    head = "import functools, runcue\ncue = runcue.Cue()\n@cue.task('ask')\ndef ask(work): ...\n"
    write(folder / "app.py", head + submitter)
    assert submitted(load("app.py:cue,submit")) == ["ask {}"]


def test_a_whole_main_may_be_the_submitter(folder: Path) -> None:
    write(
        folder / "app.py",
        """
        import runcue
        cue = runcue.Cue()
        @cue.task("ask")
        async def ask(work): return 3
        async def main():
            async with cue:
                handle = await cue.submit("ask")
            assert handle.work.result == 3
            await cue.stop()
        """,
    )
    app = load("app.py:cue,main")

    async def run() -> None:
        app.cue.start()
        assert app.submit is not None
        await app.submit()
        await app.cue.submit("ask")  # still open
        summary = await app.cue.stop()
        assert (summary.counts["completed"], app.cue.debug_blocked()) == (2, [])

    asyncio.run(run())


def test_listeners_that_a_submitter_adds_hear_nothing(folder: Path) -> None:
    write(
        folder / "app.py",
        """
        import runcue
        cue = runcue.Cue()
        heard = []
        @cue.task("ask")
        async def ask(work): ...
        async def main():
            cue.on_start(heard.append)
            @cue.on_complete
            async def tell(work, result, duration): heard.append(work)
            async with cue:
                await cue.submit("ask")
            assert not heard
        """,
    )
    app = load("app.py:cue,main")

    async def run() -> None:
        assert app.submit is not None
        app.cue.start()
        await app.submit()
        await app.cue.stop()

    asyncio.run(run())
    heard: list[runcue.Work] = []
    app.cue.on_start(heard.append)  # afterwards it is a cue like any other
    asyncio.run(run())
    assert len(heard) == 1


def test_the_program_finds_no_command_line_of_the_simulator(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["runcue-sim", "app.py:cue", "--seed", "3"])
    write(
        folder / "app.py",
        """
        import argparse, runcue
        options = argparse.ArgumentParser().parse_args()
        cue = runcue.Cue()
        """,
    )
    load("app.py:cue")
    assert sys.argv[0] == "runcue-sim"


def test_loading_writes_nothing(folder: Path) -> None:
    write(folder / "helper.py", "")
    write(folder / "app.py", "import helper, runcue\ncue = runcue.Cue()\n")
    before = sorted(folder.rglob("*"))
    load("app.py:cue")
    assert sorted(folder.rglob("*")) == before


def test_a_file_that_does_not_exist_is_told_with_the_nearest(folder: Path) -> None:
    write(folder / "pipeline.py", APP)
    assert refusal("pipelin.py:cue") == "there is no file pipelin.py; did you mean 'pipeline.py'?"
    assert refusal("no/such/folder/app.py:cue") == "there is no file no/such/folder/app.py; there is none"


def test_a_folder_is_no_file(folder: Path) -> None:
    (folder / "shop.py").mkdir()
    assert refusal("shop.py:cue") == "shop.py is a folder; name the file in it, as in shop.py/app.py:cue"


def test_a_file_that_cannot_be_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "app.py", APP).write_bytes(b"import runcue\n\x00\n")
    assert refusal("app.py:cue").startswith(
        "app.py: SyntaxError: source code string cannot contain null bytes"
    )
    (folder / "app.py").write_bytes(b'name = "M\xfcller"\n')
    assert refusal("app.py:cue").startswith("app.py:1: SyntaxError: (unicode error)")


def test_a_module_that_does_not_exist_is_told_with_the_nearest_file(folder: Path) -> None:
    assert refusal("shop.orders:cue") == "there is no module 'shop.orders'"
    write(folder / "app.py", APP)
    assert refusal("ap:cue") == "there is no module 'ap'; did you mean 'app.py'?"


def test_a_module_that_its_import_misses_is_told_with_the_line(folder: Path) -> None:
    write(folder / "app.py", "import runcue\nimport runcue\n\nimport no_such_library.client\n")
    expected = "app.py:4: ModuleNotFoundError: No module named 'no_such_library'"
    assert refusal("app.py:cue") == expected
    assert refusal("app:cue") == expected


def test_what_it_raises_is_told_with_the_line_in_the_file_that_is_the_users(folder: Path) -> None:
    write(folder / "deep" / "reader.py", "import json\n\ndef read():\n    return json.loads('{')\n")
    write(folder / "deep" / "app.py", "import reader\n\nsettings = reader.read()\n")
    text = refusal("deep/app.py:cue")
    assert text.startswith("deep/reader.py:4: JSONDecodeError: Expecting property name")
    with pytest.raises(BadUsage) as caught:
        load("deep/app.py:cue")
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.__cause__.__traceback__ is not None


def test_a_mistake_in_a_description_is_told_with_the_line_that_makes_it(folder: Path) -> None:
    write(folder / "app.py", "import runcue\ncue = runcue.Cue()\ncue.service('api', rate='sixty')\n")
    assert refusal("app.py:cue").startswith("app.py:3: ConfigurationError: ")


def test_what_is_no_ordinary_exception_is_told_with_its_line_too(folder: Path) -> None:
    write(folder / "app.py", "class Boom(BaseException): ...\n\nraise Boom('away')")
    assert refusal("app.py:cue") == "app.py:3: Boom: away"


def test_a_syntax_error_is_told_with_its_line(folder: Path) -> None:
    write(folder / "app.py", "import runcue\n\ncue = runcue.Cue(\n")
    assert refusal("app.py:cue") == "app.py:3: SyntaxError: '(' was never closed"
    write(folder / "other.py", "import app\n")
    assert refusal("other.py:cue") == "app.py:3: SyntaxError: '(' was never closed"


def test_a_message_of_many_lines_becomes_one_of_bearable_length(folder: Path) -> None:
    write(folder / "app.py", "raise ValueError('one\\n\\n  two ' + 'x' * 5000)\n")
    text = refusal("app.py:cue")
    assert text.startswith("app.py:1: ValueError: one two xxx")
    assert len(text) < 400


@pytest.mark.parametrize("way", ["sys.exit(3)", "raise SystemExit('bye')", "exit()"])
def test_a_program_that_exits_is_told_with_the_line(folder: Path, way: str) -> None:
    write(folder / "app.py", f"import sys\n\n{way}\n")
    assert refusal("app.py:cue").startswith("app.py:3: it exits (SystemExit: ")


def test_a_relative_import_in_a_file_is_told_with_the_way_out(folder: Path) -> None:
    write(folder / "shop" / "__init__.py", "")
    write(folder / "shop" / "orders.py", "from . import names\n")
    text = refusal("shop/orders.py:cue")
    assert text.startswith("shop/orders.py:1: ImportError: attempted relative import")
    assert text.endswith("name it as a module, as in package.module:cue")


@pytest.mark.parametrize(
    "way",
    [
        "runcue.run(main)",
        "asyncio.run(main())",
        "with runcue.blocking(cue) as calls: calls.submit('ask')",
        "try:\n    asyncio.run(main())\nexcept Exception:\n    pass",
    ],
)
def test_a_program_that_starts_at_import_is_stopped_before_it_does(folder: Path, way: str) -> None:
    head = """
    import asyncio, pathlib, runcue
    cue = runcue.Cue()
    @cue.task("ask")
    def ask(work): pathlib.Path("ran").touch()
    async def main():
        async with cue:
            await cue.submit("ask")
    """
    write(folder / "app.py", textwrap.dedent(head) + way + "\n")
    text = refusal("app.py:cue")
    assert text.startswith("app.py:")
    assert text.endswith(
        ': the cue is started while the program is imported; put what runs it under if __name__ == "__main__"'
    )
    assert not (folder / "ran").exists()


def test_a_cue_that_holds_work_units_is_refused(folder: Path) -> None:
    write(folder / "app.py", APP.replace("if __name__", "import asyncio\nasyncio.run(submit())\nif __name__"))
    text = refusal("app.py:cue,submit")
    assert text.startswith("app.py: the cue holds work units as soon as the program is imported")
    assert text.endswith("app.py:cue,submit")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("app.py:que", "app.py has no 'que'; did you mean 'cue'?"),
        ("app.py:cue.inner", "app.py has no 'cue.inner'; "),
        ("app.py:make_ceu", "app.py has no 'make_ceu'; did you mean 'make_cue'?"),
        ("app.py:number", "app.py: number is no runcue.Cue but an int; there is cue, other"),
        ("app.py:Kind", "app.py: Kind is no runcue.Cue but the class Kind; "),
        ("app.py:make_nothing", "make_nothing of app.py:8 returned what is no runcue.Cue but None"),
        ("app.py:make_later", "make_later of app.py:9 is to make the cue, and so must be a plain `def`"),
        (
            "app.py:make_with",
            "make_with of app.py:10 is to make the cue, and so must need no argument: missing",
        ),
        ("app.py:make_badly", "app.py:12: ZeroDivisionError: division by zero"),
        ("app.py", "app.py has several cues, cue, other; say which, as in app.py:cue"),
        ("app.py:cue,submt", "app.py has no 'submt'; did you mean 'submit'?"),
        (
            "app.py:cue,number",
            "app.py: number is to submit the work units, but is an int and cannot be called",
        ),
        ("app.py:cue,ask", "ask of app.py:13 is to submit the work units, but is the handler of a task"),
        ("app.py:cue,needy", "needy of app.py:15 must take nothing, or the cue, but needs (one, two)"),
        ("app.py:cue,keyword", "keyword of app.py:16 must take nothing, or the cue, but needs (path)"),
        (
            "app.py:cue,",
            "'app.py:cue,' names no cue; write app.py:cue, app.py:cue,submit or package.module:cue",
        ),
        (":cue", "':cue' names no cue; write app.py:cue, app.py:cue,submit or package.module:cue"),
        ("", "'' names no cue; write app.py:cue, app.py:cue,submit or package.module:cue"),
        ("app.py:a-b", "'a-b' in 'app.py:a-b' is no name; write "),
        ("app.py:cue,a,b", "'a,b' in 'app.py:cue,a,b' is no name; write "),
    ],
)
def test_what_is_not_there_or_something_else_is_told(folder: Path, spec: str, text: str) -> None:
    write(
        folder / "app.py",
        """
        import runcue
        cue = runcue.Cue()
        other = runcue.Cue()
        number = 3
        class Kind: ...
        def make_cue():
            return cue
        def make_nothing(): ...
        async def make_later(): return cue
        def make_with(rate): return cue
        def make_badly():
            return 1 / 0
        @cue.task("ask")
        async def ask(work): ...
        async def needy(one, two): ...
        async def keyword(*, path): ...
        async def submit(): ...
        """,
    )
    assert refusal(spec).startswith(text)


def test_a_module_without_a_cue_is_told(folder: Path) -> None:
    write(folder / "app.py", "import runcue\n")
    assert refusal("app.py") == (
        "app.py has no cue at its top level; if a function makes it, name that, as in app.py:make_cue"
    )


def submitting(spec: str) -> str:
    app = load(spec)
    assert app.submit is not None
    with pytest.raises(BadUsage) as caught:
        submitted(app)
    return str(caught.value)


def test_what_a_submitter_raises_is_told_with_its_line(folder: Path) -> None:
    write(folder / "app.py", APP.replace('"ask", params', '"aks", params'))
    assert submitting("app.py:cue,submit").startswith("app.py:12: UnknownTask: Unknown task: 'aks'")
    write(
        folder / "exits.py", "import sys, runcue\ncue = runcue.Cue()\nasync def submit():\n    sys.exit(2)\n"
    )
    assert submitting("exits.py:cue,submit") == "exits.py:4: the submitter exits (SystemExit: 2)"


def test_a_submitter_that_would_start_another_cue_is_stopped_before_it_does(folder: Path) -> None:
    write(
        folder / "app.py",
        """
        import pathlib, runcue
        def make_cue():
            cue = runcue.Cue()
            @cue.task("ask")
            async def ask(work): pathlib.Path("ran").touch()
            return cue
        async def main():
            async with make_cue() as cue:
                await cue.submit("ask")
        """,
    )
    assert submitting("app.py:make_cue,main") == (
        "app.py:8: the submitter starts another cue than the one that is rehearsed"
    )
    assert not (folder / "ran").exists()


def test_a_submitter_that_registers_a_task_is_told(folder: Path) -> None:
    # Its handler would be called: it was not there when the handlers were replaced.
    write(
        folder / "app.py",
        """
        import runcue
        cue = runcue.Cue()
        async def submit():
            @cue.task("late")
            async def late(work): ...
        """,
    )
    assert submitting("app.py:cue,submit") == (
        "app.py:4: task 'late' is registered by the submitter; register it where the cue is made"
    )


def test_a_submitter_that_is_not_async_is_told(folder: Path) -> None:
    write(
        folder / "app.py",
        "import runcue\ncue = runcue.Cue()\ndef submit(): return 3\nasync def many():\n    yield\n",
    )
    text = "must be `async def`, or return what can be awaited, not an"
    assert submitting("app.py:cue,submit") == f"submit of app.py:3 {text} int"
    assert submitting("app.py:cue,many") == f"many of app.py:4 {text} async_generator"


@pytest.mark.parametrize(
    ("content", "spec", "told"),
    [
        ("import nothing_of_the_kind\n", "app.py:cue", "app.py:1: ModuleNotFoundError: No module named"),
        ("import sys\nraise SystemExit(0)\n", "app.py:cue", "app.py:2: it exits (SystemExit: 0)"),
        ("cue = 3\n", "app.py:cue", "app.py: cue is no runcue.Cue but an int"),
        ("import runcue\ncue = runcue.Cue()\nruncue.run(cue.__aenter__)\n", "app:cue", "app.py:3: the cue is started"),
        (APP, "app.py:cue,sumbit", "app.py has no 'sumbit'; did you mean 'submit'?"),
        (APP.replace("range(3)", "1 / 0"), "app.py:cue,submit", "app.py:11: ZeroDivisionError: division by zero"),
    ],
)  # fmt: skip
def test_a_program_that_cannot_be_had_is_one_line_and_exit_code_2(
    folder: Path, content: str, spec: str, told: str
) -> None:
    write(folder / "app.py", content)
    done = runcue_sim(spec, folder=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"runcue-sim: {told}")
    assert done.stderr.count("\n") == 1


def test_debug_shows_where_the_program_failed(folder: Path) -> None:
    write(folder / "app.py", APP.replace("range(3)", "1 / 0"))
    done = runcue_sim("app.py:cue,submit", "--debug", folder=folder)
    assert done.returncode == 2
    assert 'app.py", line 11, in submit' in done.stderr
    assert done.stderr.splitlines()[-1] == "runcue-sim: app.py:11: ZeroDivisionError: division by zero"


def test_a_whole_program_is_rehearsed_and_nothing_is_left_behind(folder: Path) -> None:
    write(folder / "app.py", APP)
    done = runcue_sim("app.py:cue,submit", "--latency", "1s", "--jitter", "0", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 completed of 3 work units in 2.00 s of virtual time" in done.stdout
    assert list(folder.iterdir()) == [folder / "app.py"]


def test_slots_that_find_themselves_are_counted_by_as_many_as_there_were(folder: Path) -> None:
    write(
        folder / "app.py",
        APP.replace("concurrent=2", "concurrent=runcue.Adaptive(1, 4)").replace("(3)", "(40)"),
    )
    said = runcue_sim("app.py:cue,submit", folder=folder).stdout
    assert re.search(r"api +\d\d% of 4 ", said), said


ELSEWHERE = """
from concurrent.futures import ProcessPoolExecutor
import runcue

cue = runcue.Cue(max_processes=2)

def never(*given):
    raise RuntimeError("not in a rehearsal")

@cue.task("make", run_in="process", outputs=lambda n: f"{n}.txt", initializer=never)
def make(n: int, more: int = 0): never()

@cue.task("use", run_in="process", inputs=lambda n: f"{n}.txt")
def use(n: int, more: int = 0): never()

cue.task("pack", inputs=lambda n: f"{n}.txt", outputs=lambda n: f"{n}.gz")(
    runcue.shell("gzip {inputs[0]} > {outputs[0]}; touch ran")
)

@cue.task("pooled", run_in=lambda: never())
def pooled(n: int, more: int = 0): never()

async def submit():
    for n in range(4):
        for task in ("make", "use", "pack", "pooled"):
            await cue.submit(task, {"n": n})
"""


def test_a_rehearsal_and_a_plan_start_no_process_and_at_most_as_many_run_at_once(folder: Path) -> None:
    write(folder / "elsewhere.py", ELSEWHERE)
    app = load("elsewhere.py:cue,submit")
    plan = app.cue.plan([(task, {"n": n}) for task in ("make", "use", "pack", "pooled") for n in range(4)])
    assert str(plan).startswith("Plan: 16 run")
    done = runcue_sim("elsewhere.py:cue,submit", "--fast", "--no-tui", "--latency", "1s", "--jitter", "0")
    assert "16 completed of 16 work units in 6.00 s" in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["elsewhere.py"]
