"""Functions that say something of a work unit are given what they name: the work, or params of it."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue._model.identity import Identity
from runcue.testing import run
from tests.support.virtual_time import virtual

pytestmark = pytest.mark.rule(43)


def fetch(url: str, page: int = 1) -> tuple[str, int]:
    return url, page


def with_work(work: runcue.Work, url: str, page: int = 1) -> tuple[str, int]:
    return url, page


def with_rest(url: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return url, more


def of_work(work: runcue.Work) -> Any:
    return work.params


class Key:
    """A callable object, and a method."""

    def __call__(self, url: str) -> Any:
        return url

    def of_page(self, page: int, url: str) -> Any:
        return url, page


# By what it says, the handler, the params, the function, and what the function is to give: W stands for the work.
W = object()
GIVEN: dict[str, tuple[Any, dict[str, Any], Any, Any]] = {
    "the work": (fetch, {"url": "a"}, lambda work: (work,), (W,)),
    "a param": (fetch, {"url": "a"}, lambda url: (url,), ("a",)),
    "a param by default": (fetch, {"url": "a"}, lambda page: (page,), (1,)),
    "several": (fetch, {"url": "a", "page": 2}, lambda page, url: (page, url), (2, "a")),
    "the work and a param": (fetch, {"url": "a"}, lambda url, work: (url, work), ("a", W)),
    "a single other one": (fetch, {"url": "a"}, lambda it: (it,), (W,)),
    "a single other one beside a param": (fetch, {"url": "a"}, lambda it, page: (it, page), (W, 1)),
    "one with a default that is no param": (
        fetch,
        {"url": "a"},
        lambda url, end=".txt": (url, end),
        ("a", ".txt"),
    ),
    "one with a default that is a param": (fetch, {"url": "a"}, lambda url, page=7: (url, page), ("a", 1)),
    "by keyword": (fetch, {"url": "a"}, lambda *, url, work: (url, work), ("a", W)),
    "by place": (fetch, {"url": "a"}, lambda url, page, /: (url, page), ("a", 1)),
    "all params": (fetch, {"url": "a"}, lambda **params: tuple(params.items()), (("url", "a"), ("page", 1))),
    "one, and the rest": (fetch, {"url": "a"}, lambda page, **more: (page, *more), (1, "url")),
    "values": (fetch, {"url": "a"}, lambda *args: args, (W,)),
    "an object": (fetch, {"url": "a"}, Key(), "a"),
    "a method": (fetch, {"url": "a"}, Key().of_page, ("a", 1)),
    "a partial": (fetch, {"url": "a"}, functools.partial(lambda end, url: (url, end), "x"), ("a", "x")),
    "beside the work": (with_work, {"url": "a"}, lambda url: (url,), ("a",)),
    "what is no parameter of it": (with_work, {"url": "a", "more": 3}, lambda more: (more,), (3,)),
    "of the rest": (with_rest, {"url": "a", "more": 3}, lambda more, url: (more, url), (3, "a")),
    "of one that takes the work, a param": (of_work, {"url": "a"}, lambda url: (url,), ("a",)),
    "of one that takes the work, the work": (of_work, {"url": "a"}, lambda it: (it,), (W,)),
    "of one that takes the work, both": (of_work, {"url": "a"}, lambda it, url: (it, url), (W, "a")),
    "of one that takes the work, a default": (of_work, {"url": "a"}, lambda it, n=5: (it, n), (W, 5)),
}


@pytest.mark.parametrize(("handler", "params", "function", "gives"), GIVEN.values(), ids=GIVEN.keys())
@pytest.mark.parametrize("where", ["task", "submission"])
def test_a_function_is_given_what_it_names(
    where: str, handler: Any, params: dict[str, Any], function: Any, gives: Any
) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            given = {"key": function}
            cue.task("t", **(given if where == "task" else {}))(handler)
            handle = await cue.submit("t", params, **(given if where == "submission" else {}))
            declared = handle.work._declared
            assert declared is not None
            assert declared.fault is None
            expected = (
                gives if gives == "a" else Identity(tuple(handle.work if one is W else one for one in gives))
            )
            assert declared.key == expected

    run(main)


def test_that_is_so_for_inputs_outputs_key_and_priority_alike(tmp_path: Path) -> None:
    asked: list[Any] = []
    (tmp_path / "a").touch()

    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task(
                inputs=lambda folder, url: folder / url,
                outputs=lambda folder, url, page: folder / f"{url}-{page}",
                key=lambda url, page: (url, page),
                priority=lambda page, work: asked.append((page, work.task)) or 1 / page,
            )
            def convert(work: runcue.Work, folder: Path, url: str, page: int = 2) -> None:
                Path(work.outputs[0]).write_text(url)

            handle = await cue.submit(convert, {"folder": tmp_path, "url": "a"})
            assert await handle is None
            assert asked == [(2, "convert")]
            assert [str(one) for one in handle.work.inputs] == [str(tmp_path / "a")]
            assert (tmp_path / "a-2").read_text() == "a"
            again = await cue.submit(convert, {"folder": tmp_path, "url": "a"})
            assert (await again.wait()).skipped

    run(main)


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "a misspelt one of several": (
        fetch,
        lambda url, pgae: 1,
        r"lambda>\(url, pgae\), asks for 'pgae', which fetch\(url: ",
    ),
    "with what is meant": (fetch, lambda url, pgae: 1, "did you mean 'page'\\?"),
    "a misspelt one alone": (fetch, lambda ulr: 1, "did you mean 'url'\\?"),
    "two others": (fetch, lambda it, size: 1, r"asks for 'it', .* no parameter for; it takes url, page\."),
    "another beside the work": (fetch, lambda work, size: 1, "asks for 'size'"),
    "of one that takes the work, a misspelt one": (with_work, lambda url, pgae: 1, "did you mean 'page'"),
    "of one that takes the work, two": (with_work, lambda work, size: 1, "asks for 'size'"),
    "nothing": (fetch, lambda: 1, r"must take \(work\), or params of it by their names"),
    "a method without its object": (fetch, Key.of_page, "A method belongs to an object"),
}


@pytest.mark.parametrize(("handler", "function", "text"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("option", ["inputs", "outputs", "key", "priority"])
def test_what_a_function_names_that_the_handler_does_not_take_is_refused_where_it_is_written(
    option: str, handler: Any, function: Any, text: str
) -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError, match=f"^{option} of task 't', by .*{text}"):
        cue.task("t", **{option: function})(handler)
    assert cue.tasks() == []


@virtual
async def test_in_a_submission_too() -> None:
    async with runcue.Cue() as cue:
        cue.task("t")(fetch)
        for option in ("inputs", "outputs", "key"):
            with pytest.raises(
                runcue.ConfigurationError, match=f"^{option} of a submission of task 't', by .* 'pgae'"
            ):
                await cue.submit("t", {"url": "a"}, **{option: lambda url, pgae: "x"})
        assert await cue.list() == []


@virtual
async def test_a_param_that_this_work_unit_lacks_is_refused_at_submission() -> None:
    async with runcue.Cue() as cue:
        cue.task("t", outputs=lambda folder, name: f"{folder}/{name}")(lambda work: None)
        text = r"outputs of task 't', by .*<lambda> \(.*\.py:\d+\), needs the param 'name' of .* params={'folder': 'a'}"
        with pytest.raises(runcue.InvalidParams, match=text):
            await cue.submit("t", {"folder": "a"})
        with pytest.raises(runcue.InvalidParams, match=text):
            cue.plan([("t", {"folder": "a"})])
        assert await cue.list() == []


SHOWN: dict[str, Any] = {
    "a text": lambda page: f"out/{page}.html",
    "a path": lambda page: Path("out", f"{page}.html"),
    "a file": lambda page: runcue.File(f"out/{page}.html"),
    "one of several": lambda page: ["a", f"out/{page}.html"],
    "by keyword": lambda *, page: f"out/{page}.html",
    "beside a param": lambda page, name: f"out/{name}-{page}.html",
    "one that yields": lambda page: (f"out/{one}.html" for one in (page,)),
}


@virtual
@pytest.mark.parametrize("function", SHOWN.values(), ids=SHOWN.keys())
@pytest.mark.parametrize("handler", [lambda name: None, lambda work, name: None, lambda work: None])
async def test_a_work_unit_that_was_formatted_into_a_path_was_meant_to_be_a_param(
    handler: Any, function: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with runcue.Cue() as cue:
        plain = {"name": str} if handler.__code__.co_varnames[0] == "name" else {}
        handler.__annotations__.update(plain)
        cue.task("t", outputs=function)(handler)
        text = (
            r"of task 't', by .*<lambda> \(.*named_functions.py:\d+\), is given the work unit as 'page', since there "
            r"is no such param \(name\), .*<Work .*Name the param that is meant, or take page\.params\[\.\.\.\]\."
        )
        with pytest.raises(runcue.InvalidParams, match=text):
            await cue.submit("t", {"name": "a"})
        assert await cue.list() == []


@virtual
async def test_a_function_of_the_work_by_another_name_may_put_anything_of_it_into_a_path() -> None:
    async with runcue.Cue() as cue:
        cue.task("t", key=lambda it: f"<Work {it.id}> {it.params}")(fetch)
        handle = await cue.submit("t", {"url": "a"})
        assert handle.work._declared is not None
        assert handle.work._declared.key == f"<Work {handle}> {handle.work.params}"


@virtual
async def test_what_it_raises_is_told_with_its_own_name() -> None:
    async with runcue.Cue() as cue:
        cue.task("t", key=lambda url: 1 / 0)(fetch)
        with pytest.raises(
            runcue.ArtifactError, match=r"key of task 't' raised ZeroDivisionError.*<lambda> \(.*functions"
        ):
            await (await cue.submit("t", {"url": "a"}))


def test_a_function_of_the_work_is_asked_as_it_is() -> None:
    cue = runcue.Cue()

    def outputs(work: runcue.Work) -> str:
        return "x"

    cue.task("t", outputs=outputs)(fetch)
    task = cue.get_task("t")
    assert task is not None
    assert task.outputs is outputs


BRACES = (
    "is '{n}' in 'out/{n:03}.txt' meant to be a param? A path is taken as it is: write outputs=lambda n: "
    "f'out/{n:03}.txt'."
)


@pytest.mark.parametrize(
    "given", ["out/{n:03}.txt", Path("out/{n:03}.txt"), ["a", runcue.File("out/{n:03}.txt")]]
)
def test_a_path_that_names_a_param_in_braces_is_refused_with_what_to_write(given: Any) -> None:
    cue = runcue.Cue()

    def plain(n: int) -> None: ...

    def with_work(work: runcue.Work, n: int) -> None: ...

    for handler in (plain, with_work):
        with pytest.raises(runcue.ConfigurationError, match=f"^outputs of task 't': {re.escape(BRACES)}$"):
            cue.task("t", outputs=given)(handler)
        with pytest.raises(runcue.ConfigurationError, match=r"write inputs=lambda n: f'{n}/{n}'"):
            cue.task("t", inputs="{n}/{n}")(handler)
    cue.task("t", outputs="out/{N}{}{m}.txt")(plain)


@virtual
async def test_where_the_params_are_not_known_the_second_one_is_told_what_to_write(tmp_path: Path) -> None:
    async with runcue.Cue() as cue:
        cue.task("t", outputs=tmp_path / "{n}.txt")(lambda work: Path(work.outputs[0]).touch())
        first = await cue.submit("t", {"n": 1})
        with pytest.raises(
            runcue.DuplicateWork, match=r"with other params by .* Is '{n}' in .* meant to be a param\?"
        ):
            await cue.submit("t", {"n": 2})
        await first
