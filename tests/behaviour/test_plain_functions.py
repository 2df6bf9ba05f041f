"""Plain functions: what a handler takes is filled in from its params, by name, and a call is a submission of it."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from unittest import mock

import pytest

import runcue
from runcue.testing import run
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import virtual

if TYPE_CHECKING:
    from elsewhere import Page, Work  # type: ignore[import-not-found]

    import runcue as elsewhere_too

pytestmark = pytest.mark.rule(43)

Unit = runcue.Work


def of_anything(it: object) -> object:
    return it


async def fetch(url: str, page: int = 1) -> tuple[str, int]:
    await asyncio.sleep(0)
    return url, page


def plain(url: str, *, page: int = 1) -> tuple[str, int]:
    return url, page


def first_by_name(work, url, page=1):  # type: ignore[no-untyped-def]
    return work.task, url, page


def first_by_annotation(it: Unit, url: str) -> tuple[str, str]:
    return it.task, url


def first_by_its_last_word(it: Work, url: str) -> tuple[str, str]:
    return it.task, url


def first_by_a_dotted_word(it: elsewhere_too.WorkUnit | None, page: Page) -> tuple[str, Page]:  # type: ignore[name-defined]
    return it.task, page  # type: ignore[union-attr]


def first_by_what_says_more(it: Annotated[Work, "the first, of two"], url: str) -> tuple[str, str]:
    return it.task, url


def rest(url: str, **params: Any) -> tuple[str, dict[str, Any]]:
    return url, params


def work_and_rest(work: runcue.Work, **params: Any) -> tuple[str, dict[str, Any]]:
    return work.task, params


def nothing() -> str:
    return "nothing"


def by_keyword(*, work: runcue.Work, url: str) -> tuple[str, str]:
    return work.task, url


@dataclass
class Pair:
    one: int
    other: int = 2


class Shelf:
    def put(self, book: str, place: int = 0) -> tuple[str, int]:
        return book, place

    def __call__(self, book: str) -> str:
        return book


def timed(function: Any) -> Any:
    @functools.wraps(function)
    def around(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return around


FILLED: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "async": (fetch, {"url": "a", "page": 2}, ("a", 2)),
    "async, by default": (fetch, {"url": "a"}, ("a", 1)),
    "plain, by keyword": (plain, {"page": 3, "url": "a"}, ("a", 3)),
    "the work first, by name": (first_by_name, {"url": "a"}, ("t", "a", 1)),
    "the work first, with other params": (first_by_name, {"url": "a", "more": 1}, ("t", "a", 1)),
    "the work first, by annotation": (first_by_annotation, {"url": "a"}, ("t", "a")),
    "by the last word": (first_by_its_last_word, {"url": "a"}, ("t", "a")),
    "by the last word, dotted": (first_by_a_dotted_word, {"page": "p"}, ("t", "p")),
    "by an annotation that says more": (first_by_what_says_more, {"url": "a"}, ("t", "a")),
    "the rest": (rest, {"url": "a", "b": 1, "c": 2}, ("a", {"b": 1, "c": 2})),
    "the work and the rest": (work_and_rest, {"b": 1}, ("t", {"b": 1})),
    "nothing": (nothing, {}, "nothing"),
    "the work by keyword": (by_keyword, {"url": "a"}, ("t", "a")),
    "a class": (Pair, {"one": 1}, Pair(1, 2)),
    "a bound method": (Shelf().put, {"book": "b", "place": 4}, ("b", 4)),
    "an object": (Shelf(), {"book": "b"}, "b"),
    "a partial": (functools.partial(fetch, page=7), {"url": "a"}, ("a", 7)),
    "decorated": (timed(plain), {"url": "a"}, ("a", 1)),
    "a parameter called as an option": (
        lambda timeout, retry: (timeout, retry),
        {"timeout": 1, "retry": 2},
        (1, 2),
    ),
    "a builtin": (pow, {"base": 2, "exp": 3}, 8),
}


@pytest.mark.parametrize(("function", "params", "result"), FILLED.values(), ids=FILLED.keys())
def test_a_handler_gets_its_params_by_name(function: Any, params: dict[str, Any], result: Any) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(function)
            assert await (await cue.submit("t", params=params)) == result

    run(main)


ALONE: dict[str, Any] = {
    "called work": lambda work: work,
    "called otherwise": lambda it: it,
    "all that comes": lambda *args: args[0],
    "positional-only": lambda it, /: it,
    "with a default": lambda it=None: it,
    "a builtin with values": functools.partial(print, end=""),
    "a mock, which takes whatever it is given": mock.Mock(side_effect=lambda it: it, __name__="t"),
}


def annotated(it: runcue.Work) -> runcue.Work:
    return it


def otherwise(work: str) -> str:
    return work


ALONE |= {"annotated": annotated, "called work, whatever it is annotated": otherwise}


@pytest.mark.parametrize("function", ALONE.values(), ids=ALONE.keys())
def test_what_takes_the_work_alone_gets_it_and_any_params(function: Any) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(function)
            handle = await cue.submit("t", {"it": 1, "url": "a"})
            assert await handle is (None if isinstance(function, functools.partial) else handle.work)
            assert handle.work.params == {"it": 1, "url": "a"}
            task = cue.get_task("t")
            assert task is not None
            assert task.call is task.handler is function

    run(main)


REFUSED: dict[str, tuple[Any, str]] = {
    "values beside others": (lambda url, *args: None, r"must not take \*args beside others"),
    "values beside names": (lambda *args, url: None, r"must not take \*args beside others"),
    "the inside of a decorator": (lambda *args, **kwargs: None, r"put @functools\.wraps"),
    "the work last": (lambda url, work: None, r"must take the work first: write <lambda>\(work, url\)"),
    "the work last, by keyword": (lambda url, *, work: None, r"must take the work first"),
    "positional-only": (lambda work, url, /: None, r"must not have 'url' as positional-only"),
    "a method without its object": (Shelf.put, "A method belongs to an object"),
}


def late(url: str, it: Unit) -> None: ...


def late_by_its_last_word(url: str, it: elsewhere_too.Work) -> None: ...  # type: ignore[name-defined]


def twice(work: runcue.Work, it: runcue.Work) -> None: ...


def positional_only(url: str, /) -> None: ...


REFUSED |= {
    "the work last, by annotation": (late, r"write late\(it, url\)"),
    "the work last, by its last word": (late_by_its_last_word, r"write late_by_its_last_word\(it, url\)"),
    "the work twice": (twice, "must take the work once, not as 'work' and as 'it'"),
    "one, positional-only": (
        positional_only,
        r"'t', positional_only\(url: str, /\), must not have 'url' as",
    ),
}


@pytest.mark.parametrize(("function", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_a_handler_that_cannot_be_filled_in_is_refused_with_what_to_write(function: Any, text: str) -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError, match=text):
        cue.task("t")(function)
    with pytest.raises(runcue.ConfigurationError, match=text):
        cue.task("t")(function)
    assert cue.tasks() == []


MISFITS: dict[str, tuple[Any, Any, str]] = {
    "one is missing": (
        fetch,
        {},
        r"fetch\(url: str, page: int = 1\) cannot be called .*: 'url' is missing\.",
    ),
    "it is misspelt": (
        fetch,
        {"ulr": "a"},
        "'url' is missing and it has no parameter 'ulr'; did you mean 'url'\\?",
    ),
    "an unknown one": (
        fetch,
        {"url": "a", "pages": 2},
        "it has no parameter 'pages'; did you mean 'page'\\?",
    ),
    "nothing is taken": (
        nothing,
        {"url": "a"},
        r"nothing\(\) cannot be called with params=.*: it has no parameter",
    ),
    "beside the work": (first_by_annotation, {"more": 1}, r"'url' is missing\."),
    "misspelt beside the work": (
        first_by_annotation,
        {"ulr": 1},
        "'url' is missing; did you mean 'url' by 'ulr'\\?",
    ),
    "no text as a name": (rest, {"url": "a", 5: 1}, "it has no parameter 5"),
    "the work itself": (work_and_rest, {"work": 1}, "'work' is its work unit, and can be no param"),
    "one that may be anything": (
        of_anything,
        {"url": "a"},
        "'it' is missing .*; a first parameter gets the work",
    ),
    "the first of several": (
        lambda it, url: None,
        {"url": "a"},
        "'it' is missing; a first parameter gets the work",
    ),
}


@pytest.mark.parametrize(("function", "params", "text"), MISFITS.values(), ids=MISFITS.keys())
def test_params_that_do_not_fit_are_refused_at_submission_with_the_signature(
    function: Any, params: Any, text: str
) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(function)
            with pytest.raises(runcue.InvalidParams, match=text):
                await cue.submit("t", params=params)
            with pytest.raises(runcue.InvalidParams, match=text):
                cue.plan([("t", params)])
            assert await cue.list() == []

    run(main)


def test_other_ways_in_refuse_them_too_and_fill_in_the_same_defaults() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(plain)

            @cue.task
            def inside(work: runcue.Work) -> Any:
                handle = work.submit("t", {"url": "a"})
                with pytest.raises(runcue.InvalidParams, match="'url' is missing"):
                    work.submit("t")
                return handle

            handle = await (await cue.submit(inside))
            assert handle.work.params == {"url": "a", "page": 1}
            from_outside = await asyncio.to_thread(cue.submit_threadsafe, "t", {"url": "b"})
            assert from_outside.work.params == {"url": "b", "page": 1}

    asyncio.run(main())


@virtual
async def test_a_default_is_there_from_the_submission_on_in_the_order_of_the_signature() -> None:
    async with runcue.Cue() as cue:
        seen = []
        cue.task("t", key="one")(fetch)
        cue.on_submit(lambda work: seen.append(list(work.params.items())))
        given = {"url": "a"}
        one = await cue.submit("t", given)
        other = await cue.submit("t", {"page": 1, "url": "a"})
        assert seen == [[("url", "a"), ("page", 1)], [("page", 1), ("url", "a")]]
        assert given == {"url": "a"}
        # They are the same work.
        assert other.work._declared is not None
        assert other.work._declared.leader is one.work
        with pytest.raises(runcue.DuplicateWork, match="'page': 2"):
            await cue.submit("t", {"url": "a", "page": 2})


def test_digests_see_defaults(tmp_path: Path) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task(outputs=lambda name: tmp_path / name, fresh=runcue.digest())
            def write(work: runcue.Work, name: str, size: int = 3, tags: list[str] = []) -> None:  # noqa: B006
                with work.write(work.outputs[0]) as file:
                    file.write(name * size)

            async def runs(*args: Any, **kwargs: Any) -> bool:
                return not (await (await cue.call(write, *args, **kwargs)).wait()).skipped

            assert await runs("a")
            assert not await runs("a", 3, tags=[])
            assert await runs("a", 4)
            handle = await cue.submit(write, {"name": "a"})
            assert await handle is None
            assert cue.why_stale(handle).verdict == "params"
            assert "size" in str(cue.why_stale(handle))

    run(main)


def test_a_default_that_can_be_changed_is_another_one_for_each_work_unit() -> None:
    def collect(found: list[Any] = [], deep: Any = ([1], {"a": {2}}), plain: Any = threading) -> Any:  # noqa: B006
        assert (found, deep, plain) == ([], ([1], {"a": {2}}), threading)
        found.append(1)
        deep[0].append(2)
        deep[1]["a"].add(3)

    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task(collect)
            for _ in range(3):
                assert await (await cue.submit(collect)) is None
        collect()

    run(main)


def test_the_decorated_function_stays_as_it_was() -> None:
    cue = runcue.Cue()
    assert cue.task(plain) is plain
    assert cue.task("named", timeout=3)(fetch) is fetch
    assert plain("a") == ("a", 1)
    task = cue.get_task("plain")
    assert task is not None
    assert (task.handler, task.parameters.names, task.parameters.defaults) == (
        plain,
        ("url", "page"),
        {"page": 1},
    )


@each_loop
def test_a_call_binds_as_python_does_and_registers_what_is_not_yet(loop: str) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("by another name")(fetch)
            handle = await cue.call(fetch, "a", page=2)
            assert isinstance(handle, runcue.WorkHandle)
            assert (await handle, handle.work.task) == (("a", 2), "by another name")
            assert await (await cue.call(plain, "a")) == ("a", 1)
            assert await (await cue.call(plain, page=3, url="b")) == ("b", 3)
            assert await (await cue.call(nothing)) == "nothing"
            assert await (await cue.call(first_by_annotation, "a")) == ("first_by_annotation", "a")
            assert await (await cue.call(rest, "a", b=1)) == ("a", {"b": 1})
            assert await (await cue.call("plain", "by its name")) == ("by its name", 1)
            assert [task.name for task in cue.tasks()] == [
                "by another name",
                "plain",
                "nothing",
                "first_by_annotation",
                "rest",
            ]

    run_on(loop, main)


CALLS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], str]] = {
    "too many": (
        plain,
        ("a", 2),
        {},
        r"plain\(.*\) cannot .* with \('a', 2\): it takes 1 value by place",
    ),
    "none at all": (nothing, (1,), {}, "it takes 0 values by place, not 1"),
    "missing": (fetch, (), {"page": 1}, r"cannot be called with \(page=1\): 'url' is missing\."),
    "given twice": (fetch, ("a",), {"url": "b"}, r"\('a', url='b'\): 'url' is given twice\."),
    "misspelt": (fetch, ("a",), {"pages": 2}, "it has no parameter 'pages'; did you mean 'page'"),
    "an option": (
        fetch,
        ("a",),
        {"timeout": 2},
        r"'timeout'\. If timeout is meant as an option: .* submit\('fetch', params=",
    ),
    "beside the work": (first_by_annotation, ("a",), {"more": 2}, "it has no parameter 'more'"),
    "the work": (first_by_name, ("a",), {"work": 2}, "it has no parameter 'work'"),
    "to what takes the work alone": (annotated, ("a",), {}, "takes its work unit alone, and no values"),
}


@pytest.mark.parametrize(("function", "args", "kwargs", "text"), CALLS.values(), ids=CALLS.keys())
def test_a_call_that_python_would_refuse_is_refused(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            with pytest.raises(runcue.InvalidParams, match=text) as told:
                await cue.call(function, *args, **kwargs)
            assert isinstance(told.value, TypeError)
            assert await cue.list() == []

    run(main)


def test_a_call_of_what_takes_one_value_and_does_not_say_which_is_refused() -> None:
    def get(url): ...  # type: ignore[no-untyped-def]

    async def main() -> None:
        async with runcue.Cue() as cue:
            for _ in range(2):
                with pytest.raises(runcue.ConfigurationError, match=r"annotate url, as in get\(url: str\)"):
                    await cue.call(get, "a")
                cue.task(get)  # it may be a handler all the same
            with pytest.raises(runcue.ConfigurationError, match="annotate obj"):
                await cue.call(len, "a")
            with pytest.raises(runcue.ConfigurationError, match=r"call\(\) needs a function first"):
                await cue.call(5)  # type: ignore[arg-type]
            with pytest.raises(runcue.ConfigurationError, match=r"call\(\) needs a function first"):
                await cue.call()
            with pytest.raises(runcue.ConfigurationError, match="needs a name"):
                await cue.call(lambda url, page: None, 1, 2)
            with pytest.raises(runcue.UnknownTask, match=r"cue\.call\(\) registers a function by itself"):
                await cue.submit(plain, {"url": "a"})

    run(main)


@virtual
async def test_one_function_bound_to_several_objects_is_not_taken_for_one() -> None:
    class Client:
        def __init__(self, name: str) -> None:
            self.name = name

        async def get(self, page: int) -> tuple[str, int]:
            await asyncio.sleep(1)
            return self.name, page

    def bound_to(value: Any) -> Any:
        async def get(page: int) -> Any:
            await asyncio.sleep(1)
            return value, page

        return get

    for one, other in ((Client("a").get, Client("b").get), (bound_to("a"), bound_to("b"))):
        async with runcue.Cue() as cue:
            first = await cue.call(one, 1)
            with pytest.raises(
                runcue.DuplicateTask, match=r"Task 'get' has work units .* Give each a task of its own"
            ):
                await cue.call(other, 1)
            again = await cue.call(one, 2)
            assert (await first, await again) == (("a", 1), ("a", 2))
            # Nobody waits for the former one any more.
            assert await (await cue.call(other, 3)) == ("b", 3)
            assert await (await cue.call(one, 4)) == ("a", 4)
    async with runcue.Cue() as cue:
        # What holds the same is the same, and is registered once.
        handles = [await cue.call(bound_to("c"), number) for number in range(3)]
        assert [await handle for handle in handles] == [("c", 0), ("c", 1), ("c", 2)]
        assert len({id(handle.work._task) for handle in handles}) == 1
    async with runcue.Cue() as cue:
        # A function in a closure is looked into.
        first = await cue.call(bound_to(bound_to("a")), 1)
        await cue.call(bound_to(bound_to("a")), 2)
        with pytest.raises(runcue.DuplicateTask):
            await cue.call(bound_to(bound_to("b")), 1)
        assert (await (await first)[0](5)) == ("a", 5)


@virtual
async def test_a_function_that_calls_itself_may_be_made_again_and_again() -> None:
    async with runcue.Cue() as cue:

        async def count(start: int) -> int:
            async def down(number: int) -> int:
                return 1 + await (await cue.call(down, number - 1)) if number else start

            return await (await cue.call(down, 3))

        assert await asyncio.gather(count(0), count(0)) == [3, 3]
        assert await count(1) == 4


class Cells:
    """A cell of a notebook that is run with one text and then with another."""

    def __init__(self, cue: runcue.Cue) -> None:
        self._cue = cue

    def run(self, text: str) -> None:
        space: dict[str, Any] = {"__name__": "cells"}
        exec(text, space)  # noqa: S102
        self._cue.task(space["get"])


def test_who_is_defined_anew_with_other_parameters_carries_out_what_fits_and_fails_the_rest() -> None:
    async def main() -> None:
        cells = Cells(cue := runcue.Cue())
        cells.run("def get(url: str, page: int = 1): return url, page")
        usual = await cue.submit("get", {"url": "a"})
        special = await cue.submit("get", {"url": "a", "page": 2})
        cells.run("def get(url: str, language: str = 'en'): return url, language")
        later = await cue.submit("get", {"url": "b"})
        async with cue:
            assert await usual == ("a", "en")
            assert await later == ("b", "en")
            with pytest.raises(
                runcue.InvalidParams, match=r"get\(url: str, language: str = 'en'\) .* 'page'"
            ):
                await special
            with pytest.raises(runcue.InvalidParams, match="'page'"):
                await cue.retry(special)

    run(main)


def test_a_default_that_was_copied_goes_with_its_parameter_as_others_do() -> None:
    async def main() -> None:
        cells = Cells(cue := runcue.Cue())
        cells.run("def get(url: str, tags: list = [[1]], page: int = 1): return url, tags, page")
        usual = await cue.submit("get", {"url": "a"})
        special = await cue.submit("get", {"url": "a", "tags": []})
        cells.run("def get(url: str): return url")
        async with cue:
            assert await usual == "a"
            with pytest.raises(runcue.InvalidParams, match="'tags'"):
                await special

    run(main)


def test_what_took_the_work_and_now_takes_params_gets_those_of_pending_work_units() -> None:
    async def main() -> None:
        cells = Cells(cue := runcue.Cue())
        cells.run("def get(work): return work.params")
        first = await cue.submit("get", {"url": "a"})
        cells.run("def get(url: str, page: int = 1): return url, page")
        second = await cue.submit("get", {"url": "b"})
        async with cue:
            assert (await first, await second) == (("a", 1), ("b", 1))
            cells.run("def get(work): return work.params")
            assert await (await cue.submit("get", {"url": "c"})) == {"url": "c"}

    run(main)


def test_a_generator_of_params_is_refused_as_ever() -> None:
    async def pages(url: str) -> Any:
        yield url

    with pytest.raises(runcue.ConfigurationError, match="must not be a generator"):
        runcue.Cue().task(pages)


SOME = deque([1], maxlen=9)
LISTS: defaultdict[str, list[int]] = defaultdict(list, x=[1])
COUNTS = Counter("aa")
ITSELF: list[Any] = [1]
ITSELF.append(ITSELF)
TWO = [1], bytearray(b"1")
OWN = type("OWN", (dict,), {"auth": lambda self: self["a"]})(a=1)


def of_changeable_defaults(
    number: int,
    some: deque[int] = SOME,
    lists: defaultdict[str, list[int]] = LISTS,
    counts: Counter[str] = COUNTS,
    itself: list[Any] = ITSELF,
    two: Any = TWO,
    own: Any = OWN,
) -> Any:
    some.append(2)
    lists["x"].append(2)
    lists["y"].append(2)
    counts["a"] += 1
    itself.append(2)
    two[0].append(2)
    return some, lists, counts, itself, two, own


def test_a_container_among_the_defaults_is_a_new_one_for_each_work_unit_and_one_of_a_users_class_is_not() -> (
    None
):
    async def main() -> None:
        cue = runcue.Cue()
        async with cue:
            for number in range(2):
                some, lists, counts, itself, two, own = await (await cue.call(of_changeable_defaults, number))
                assert (some, some.maxlen, lists, counts) == (
                    deque([1, 2]),
                    9,
                    {"x": [1, 2], "y": [2]},
                    {"a": 3},
                )
                assert (itself[0], itself[1] is itself, itself[2:]) == (1, True, [2])
                assert two == ([1, 2], b"1")
                assert own.auth() == 1
        assert len(ITSELF) == 2

    run(main)


@pytest.mark.parametrize(
    "said",
    [
        "Union[runcue.Work, None]",
        "Optional[runcue.Work]",
        "'runcue.Work'",
        "Optional['runcue.Work']",
        "Union[str, 'Unknown.Work']",
        "Annotated['runcue.Work', [1, 2]]",
        "runcue.Work | str",
        "Union[None, Annotated[runcue.Work, 'it']]",
    ],
)
def test_what_means_the_work_unit_does_so_as_text_too(said: str) -> None:
    for first in ("", "from __future__ import annotations\n"):
        names: dict[str, Any] = {}
        head = f"{first}import runcue\nfrom typing import Annotated, Optional, Union\n"
        exec(f"{head}def f(it: {said}, x: int): return it.task, x", names)  # noqa: S102 - it is a matter of texts

        async def main(call: Any = names["f"]) -> Any:
            async with runcue.Cue() as cue:
                return await (await cue.call(call, 3))

        assert run(main) == ("f", 3)


@pytest.mark.parametrize("said", ["list[runcue.Work]", "dict[str, runcue.Work]", "type[Work]", "Work[", ""])
def test_an_annotation_with_the_work_unit_inside_means_a_param(said: str) -> None:
    def f(it: Any, x: int) -> Any:
        return it, x

    f.__annotations__["it"] = said

    async def main() -> Any:
        async with runcue.Cue() as cue:
            return await (await cue.call(f, [], 3))

    assert run(main) == ([], 3)


def test_a_function_whose_decorated_form_is_registered_is_told_so() -> None:
    def loud(function: Any) -> Any:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return inner

    def double(number: int) -> int:
        return 2 * number

    async def main() -> None:
        cue = runcue.Cue()
        cue.task(loud(double))
        with pytest.raises(runcue.DuplicateTask, match="They are one function, decorated or bound otherwise"):
            await cue.call(double, 1)

    run(main)


def decorated(inside: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.wraps(function)(inside)


def of_a_url(url: str, page: int = 1) -> tuple[str, int]:
    return url, page


class Kept:
    """A decorator that is a class."""

    def __init__(self, function: Any) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


class Pages:
    def get(self, url: str, page: int = 1) -> tuple[str, int]:
        return url, page

    def _with_self(self, *args: Any, **kwargs: Any) -> Any:
        return Pages.get(self, *args, **kwargs)

    decorated = decorated(_with_self, get)


DECORATED: dict[str, Any] = {
    "takes the work": lambda work: of_a_url(work.params["url"]),
    "takes the work and the rest": lambda work, **params: of_a_url(**params) if work.task else None,
    "takes a param less": lambda url: of_a_url(url),
    "hands all on": lambda *args, **kwargs: of_a_url(*args, **kwargs),
    "hands all on by name": lambda **kwargs: of_a_url(**kwargs),
    "has an option of its own": lambda *args, again=False, **kwargs: of_a_url(*args, **kwargs),
    "names one of them": lambda url, *args, **kwargs: of_a_url(url, *args, **kwargs),
}


@pytest.mark.parametrize("what", DECORATED)
def test_what_a_decorated_function_takes_itself_counts_unless_it_hands_all_on(what: str) -> None:
    async def main() -> None:
        inside = decorated(DECORATED[what], of_a_url)
        async with runcue.Cue() as cue:
            for number, handler in enumerate(
                (inside, functools.partial(inside), functools.lru_cache(inside))
            ):
                if isinstance(handler, functools.partial) or "work" not in what or number == 0:
                    cue.task(f"t{number}")(handler)
                    assert await (await cue.submit(f"t{number}", {"url": "a"})) == ("a", 1)

    run(main)


@pytest.mark.parametrize("handler", [Kept(of_a_url), Pages().decorated, Kept(Kept(of_a_url)), Pages().get])
def test_what_hands_all_on_has_the_params_and_defaults_of_what_is_in_it(handler: Any) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(handler)
            assert (await cue.submit("t", {"url": "a"})).work.params == {"url": "a", "page": 1}
            with pytest.raises(runcue.InvalidParams, match="'url' is missing"):
                await cue.submit("t", {"page": 1})

    run(main)


def test_a_decorated_function_of_the_work_does_for_what_is_asked_of_work_units_too() -> None:
    def of_a_number(number: int, other: int) -> int:
        return number + other

    async def main() -> None:
        asked: list[int] = []
        cue = runcue.Cue()
        by_work = decorated(lambda work: asked.append(work.params["number"]) or True, of_a_number)
        cue.is_ready(by_work)

        @cue.task(key=decorated(lambda work: f"key {work.params['number']}", of_a_number))
        async def double(number: int) -> int:
            return 2 * number

        async with cue:
            assert await (await cue.call(double, 3)) == 6
            assert asked == [3]

    run(main)


def test_a_method_of_no_object_is_told_whatever_else_it_takes() -> None:
    def alone(self):  # type: ignore[no-untyped-def]
        return self

    def with_another(self, url):  # type: ignore[no-untyped-def]
        return url

    def with_an_annotation(self, *, url: str = "a"):  # type: ignore[no-untyped-def]
        return url

    cue = runcue.Cue()
    for method in (alone, with_another, with_an_annotation):
        with pytest.raises(runcue.ConfigurationError, match="A method belongs to an object: make one"):
            cue.task(method)
    for register in (cue.is_ready, cue.on_submit, lambda of: cue.task("t", key=of)(of_a_url)):
        with pytest.raises(runcue.ConfigurationError, match="A method belongs to an object: make one"):
            register(alone)


@virtual
async def test_who_takes_the_work_for_a_param_is_told_so_by_a_note() -> None:
    def adds(n):  # type: ignore[no-untyped-def]
        return n + 1

    async def splits(n):  # type: ignore[no-untyped-def]
        return n.split()

    def opens(n):  # type: ignore[no-untyped-def]
        return Path(f"no/{n}.txt").read_text()

    def named(work):  # type: ignore[no-untyped-def]
        return work + 1

    def fails(n):  # type: ignore[no-untyped-def]
        return n.params["n"] / 0

    async with runcue.Cue() as cue:
        for function in (adds, splits, opens, named, fails):
            handle = await cue.submit(cue.task(function), {"n": 3})
            error = (await handle.wait()).exception
            name = function.__name__
            told = (
                f"{name}(n) got its work unit as 'n': if that is a param, annotate it, as in {name}(n: str)."
            )
            expected = [] if function in (named, fails) else [told]
            assert getattr(error, "__notes__", []) == expected
