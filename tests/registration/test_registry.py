"""What is described wrongly is refused in the line that is wrong, with the value and what would be right."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import aiolimiter
import pytest

import runcue


class Handler:
    async def __call__(self, work: runcue.Work) -> None: ...

    async def method(self, work: runcue.Work) -> None: ...


@pytest.fixture
def cue() -> runcue.Cue:
    return runcue.Cue()


@pytest.mark.rule(11)
@pytest.mark.parametrize("name", ["concurrent", "burst"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "5", [], float("inf")])
def test_a_limit_that_is_no_positive_whole_number_is_refused_since_nothing_could_ever_start(
    cue: runcue.Cue, name: str, value: Any
) -> None:
    with pytest.raises(runcue.ConfigurationError, match="whole number of at least 1") as refused:
        cue.service("api", rate="60/min", **{name: value})
    assert repr(value) in str(refused.value)
    assert "'api'" in str(refused.value)
    cue.service("api", rate="60/min")  # nothing was registered by halves


@pytest.mark.rule(11)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "5", None])
def test_as_many_threads_as_cannot_be_are_refused(value: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match="max_threads must be a whole number"):
        runcue.Cue(max_threads=value)


@pytest.mark.rule(7, 11)
@pytest.mark.parametrize("rate", ["", "0/min", "-1/sec", "60", "sixty/min", 60])
def test_a_service_with_a_rate_that_is_none_is_a_value_error(cue: runcue.Cue, rate: Any) -> None:
    with pytest.raises(ValueError, match="Invalid rate") as refused:
        cue.service("api", rate=rate)
    assert repr(rate) in str(refused.value)
    assert '"60/min"' in str(refused.value)
    cue.service("api", rate="60/min")


@pytest.mark.rule(11)
async def test_a_limiter_too_small_for_a_single_token_is_refused_at_once(cue: runcue.Cue) -> None:
    with pytest.raises(runcue.ConfigurationError, match="can never let anything start"):
        cue.service("api", limiter=aiolimiter.AsyncLimiter(0.5, 1))


@pytest.mark.rule(7)
def test_burst_needs_a_rate_and_a_limiter_stands_alone(cue: runcue.Cue) -> None:
    with pytest.raises(runcue.ConfigurationError, match="needs a rate"):
        cue.service("api", burst=10)
    for options in ({"rate": "60/min"}, {"rate": "60/min", "burst": 5}):
        with pytest.raises(runcue.ConfigurationError, match="instead of"):
            cue.service("api", limiter=aiolimiter.AsyncLimiter(5, 1), **options)  # type: ignore[arg-type]
    for strange in (object(), "10/sec", 5):
        with pytest.raises(runcue.ConfigurationError, match="AsyncLimiter"):
            cue.service("api", limiter=strange)


@pytest.mark.parametrize("name", ["", None, 5, b"api", ["api"]])
def test_names_are_non_empty_text(cue: runcue.Cue, name: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match="non-empty str"):
        cue.service(name)
    with pytest.raises(runcue.ConfigurationError, match="non-empty str"):
        cue.task(name)


def test_a_service_is_registered_once(cue: runcue.Cue) -> None:
    cue.service("api", concurrent=1)
    with pytest.raises(runcue.ConfigurationError, match="'api' is already registered"):
        cue.service("api", concurrent=2)


@pytest.mark.parametrize("uses", ["opnai", ["openai", "opnai"], ("opnai",), {"opnai"}])
def test_an_unknown_service_is_refused_with_the_nearest_name(cue: runcue.Cue, uses: Any) -> None:
    cue.service("openai")
    with pytest.raises(runcue.UnknownService, match=r"'opnai'.*'extract'.*Did you mean 'openai'\?"):
        cue.task("extract", uses=uses)


@pytest.mark.parametrize("uses", [5, True, object(), [5], [None], [["openai"]], b"openai"])
def test_uses_that_name_no_service_are_one_clear_error(cue: runcue.Cue, uses: Any) -> None:
    cue.service("openai")
    with pytest.raises(ValueError, match="'extract'"):
        cue.task("extract", uses=uses)


@pytest.mark.parametrize("uses", [None, [], (), "one", ["one", "two"], ("two", "one", "two"), {"one"}])
def test_a_task_uses_none_one_or_several_services_each_once(cue: runcue.Cue, uses: Any) -> None:
    cue.service("one")
    cue.service("two")

    @cue.task("task", uses=uses)
    def handler(work: runcue.Work) -> None: ...

    task = cue.get_task("task")
    assert task is not None
    assert task.services == tuple(dict.fromkeys([uses] if isinstance(uses, str) else uses or ()))
    assert task.service == (task.services[0] if task.services else None)


@pytest.mark.parametrize("timeout", [0, -1, "5", "-5s", True, float("nan"), float("inf")])
def test_a_timeout_is_a_positive_length_of_time(cue: runcue.Cue, timeout: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match="positive number of seconds"):
        cue.task("task", timeout=timeout)


async def work_last(more: int, work: runcue.Work) -> None: ...
async def positional_only(work: runcue.Work, more: int, /) -> None: ...
async def anything(*args: Any, **more: Any) -> None: ...
async def generator(work: runcue.Work) -> Any:
    yield 1


def plain_generator(work: runcue.Work) -> Any:
    yield 1


async def two_arguments(work: runcue.Work, more: int) -> None: ...
async def optional(work: runcue.Work, more: int = 1) -> None: ...
async def values(*args: Any) -> None: ...


@pytest.mark.parametrize(
    "handler", [work_last, positional_only, anything, generator, plain_generator, None, "name", 5]
)
def test_a_handler_that_cannot_be_called_with_the_work_is_refused_where_it_is_registered(
    cue: runcue.Cue, handler: Any
) -> None:
    with pytest.raises(runcue.ConfigurationError, match="The handler of task 'task'"):
        cue.task("task")(handler)
    assert cue.get_task("task") is None


@pytest.mark.parametrize(
    ("handler", "is_async"),
    [
        (optional, True),
        (values, True),
        (Handler(), True),
        (Handler().method, True),
        (functools.partial(two_arguments, more=1), True),
        (functools.partial(print, end=""), False),
        (lambda work: None, False),
        (len, False),
    ],
)
def test_whatever_takes_the_work_can_be_a_handler(cue: runcue.Cue, handler: Any, is_async: bool) -> None:
    assert cue.task("task")(handler) is handler
    task = cue.get_task("task")
    assert task is not None
    assert (task.handler, task.is_async) == (handler, is_async)


def define(cue: runcue.Cue, answer: int) -> Callable[[runcue.Work], int]:
    @cue.task("task")
    def handler(work: runcue.Work) -> int:
        return answer

    return handler


def test_the_same_function_defined_again_replaces_itself(cue: runcue.Cue) -> None:
    define(cue, 1)
    second = define(cue, 2)
    task = cue.get_task("task")
    assert task is not None
    assert task.handler is second


def test_another_function_under_a_taken_name_is_refused(cue: runcue.Cue) -> None:
    define(cue, 1)
    with pytest.raises(runcue.DuplicateTask, match=r"'task' is already registered with .*handler.*optional"):
        cue.task("task")(optional)
    with pytest.raises(runcue.DuplicateTask):
        cue.task("task")(lambda work: None)


@pytest.mark.parametrize(
    "register", ["is_ready", "is_stale", "priority", "on_start", "on_complete", "on_stall_warning"]
)
@pytest.mark.parametrize("value", [5, "name"])
def test_what_cannot_be_called_is_no_callback(cue: runcue.Cue, register: str, value: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match="must be callable"):
        getattr(cue, register)(value)


def test_a_gate_of_one_task_replaces_the_general_one_whichever_came_first(cue: runcue.Cue) -> None:
    cue.task("early")(lambda work: None)
    own = cue.is_ready(task="early")(lambda work: True)
    general = cue.is_ready(lambda work: False)
    late_own = cue.is_ready(task="late")(lambda work: True)
    for name in ("late", "other"):
        cue.task(name)(lambda work: None)
    gates = {name: task.is_ready for name in ("early", "late", "other") if (task := cue.get_task(name))}
    assert gates == {"early": own, "late": late_own, "other": general}


async def test_a_task_can_be_named_by_its_handler_and_nothing_else(cue: runcue.Cue) -> None:
    cue.task("task")(optional)
    work = await cue.get(await cue.submit(optional))
    assert work is not None
    assert work.task == "task"
    for wrong in (anything, "tsk", 5, None, ["task"], {}):
        with pytest.raises(runcue.UnknownTask) as refused:
            await cue.submit(wrong)  # type: ignore[arg-type]
        assert isinstance(refused.value, ValueError)
    with pytest.raises(runcue.UnknownTask, match="Did you mean 'task'"):
        await cue.submit("tsk")


@pytest.mark.parametrize("params", [5, "text", [("a", 1)], {1, 2}])
async def test_params_that_are_no_mapping_are_refused(cue: runcue.Cue, params: Any) -> None:
    cue.task("task")(optional)
    with pytest.raises(runcue.InvalidParams, match="must be a mapping"):
        await cue.submit("task", params=params)
    assert await cue.list() == []
