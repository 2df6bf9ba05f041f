"""`VirtualTimeLoop(order=seed)`: what asyncio leaves open comes in every order, what it promises in its own."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import random
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import runcue
from runcue.testing import Recorder, VirtualTimeLoop, run
from tests.support.virtual_time import now

SEEDS = range(200)
Log = list[Any]


def logs_of(main: Callable[[Log], Coroutine[Any, Any, None]]) -> list[Log]:
    """What an async function writes down, for each of many seeds; the same seed twice gives the same."""
    found = []
    for seed in SEEDS:
        first, second = Log(), Log()
        run(main(first), order=seed)
        run(main(second), order=seed)
        assert first == second, f"seed {seed}"
        found.append(first)
    return found


def as_registered(main: Callable[[Log], Coroutine[Any, Any, None]]) -> Log:
    log = Log()
    run(main(log))
    return log


def orders(logs: list[Log]) -> set[tuple[Any, ...]]:
    return {tuple(log) for log in logs}


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def timers_of_one_instant(log: Log) -> None:
    for name in "abcd":
        asyncio.get_running_loop().call_at(5, log.append, name)
    await asyncio.sleep(6)


def test_timers_of_one_instant_come_in_every_order() -> None:
    assert as_registered(timers_of_one_instant) == list("abcd")
    assert orders(logs_of(timers_of_one_instant)) == set(itertools.permutations("abcd"))


def test_timers_of_different_instants_are_never_swapped() -> None:
    delays = [random.Random(1).choice((0, 1e-12, 0.1, 0.1 + 1e-12, 1 / 3, 1, 2)) for _ in range(40)]

    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        for delay in delays:
            loop.call_later(delay, lambda delay=delay: log.append((delay, now())))
        await asyncio.sleep(0.5)
        # Those of the last two instants are due at once, as after a callback that took two seconds.
        loop.reach(3)
        await asyncio.sleep(1)

    logs = logs_of(main)
    for log in logs:
        assert [delay for delay, _ in log] == sorted(delays)
        assert all(at == (3 if delay >= 1 else delay) for delay, at in log)


def test_what_a_timer_leads_to_comes_before_or_after_another_of_its_instant() -> None:
    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()
        loop.call_at(5, lambda: (log.append("a"), loop.call_soon(log.append, "of a")))
        loop.call_at(5, log.append, "b")
        await asyncio.sleep(6)

    assert as_registered(main) == ["a", "b", "of a"]
    assert orders(logs_of(main)) == {("a", "b", "of a"), ("a", "of a", "b"), ("b", "a", "of a")}


def test_no_time_passes_while_a_timer_is_due() -> None:
    async def main(log: Log) -> None:
        for _ in range(50):
            asyncio.get_running_loop().call_at(5, lambda: log.append(now()))
        asyncio.get_running_loop().call_at(5.001, lambda: log.append(now()))
        await asyncio.sleep(6)

    assert all(log == [5] * 50 + [5.001] for log in logs_of(main))


def test_a_cancelled_timer_stays_cancelled() -> None:
    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()
        loop.call_at(5, pytest.fail, "it was cancelled long before").cancel()
        victim = loop.call_at(5, log.append, "victim")
        loop.call_at(5, lambda: (log.append("canceller"), victim.cancel()))
        await asyncio.sleep(6)

    # Whoever is first: the victim may have come already, and is never heard after it was cancelled.
    assert orders(logs_of(main)) == {("canceller",), ("victim", "canceller")}


def test_a_passive_timer_comes_before_or_after_another_of_its_instant_and_lets_no_time_pass() -> None:
    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        context = contextvars.copy_context()
        loop.call_at(5, log.append, "timer")
        loop.call_passive(5, lambda: log.append(("passive", now())), context)
        loop.call_passive(4, lambda: log.append(("earlier", now())), context)
        loop.call_passive(5, lambda: log.append("cancelled"), context).cancel()
        loop.call_passive(9, lambda: log.append("later"), context)
        await asyncio.sleep(6)

    early, passive = ("earlier", 5), ("passive", 5)
    assert as_registered(main) == [early, passive, "timer"]
    assert orders(logs_of(main)) == {(early, passive, "timer"), (early, "timer", passive)}


def test_callbacks_of_sockets_that_are_ready_together_come_in_every_order() -> None:
    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        pairs = [socket.socketpair() for _ in range(3)]
        done = asyncio.Event()

        def note(what: str, forget: Callable[[Any], object], ours: socket.socket) -> None:
            log.append(what)
            forget(ours)
            if len(log) == 4:
                done.set()

        for name, (ours, theirs) in zip("abc", pairs, strict=True):
            theirs.send(b"x")
            loop.add_reader(ours, note, name, loop.remove_reader, ours)
        loop.add_writer(pairs[0][0], note, "write a", loop.remove_writer, pairs[0][0])
        loop.hold()
        await done.wait()
        loop.release()
        for ours, theirs in pairs:
            ours.close()
            theirs.close()

    assert set(as_registered(main)) == {"a", "b", "c", "write a"}
    assert orders(logs_of(main)) == set(itertools.permutations(("a", "b", "c", "write a")))


async def three_threads(log: Log) -> None:
    """Each calls three times, one after another; between them the loop calls as well, and it is all one turn."""
    loop = asyncio.get_running_loop()

    def calls(name: str) -> None:
        for number in range(3):
            loop.call_soon_threadsafe(log.append, (name, number))

    for place, name in enumerate("abc"):
        loop.call_soon(log.append, ("loop", 2 * place))
        thread = threading.Thread(target=calls, args=(name,))
        thread.start()
        thread.join()
        loop.call_soon_threadsafe(log.append, ("loop", 2 * place + 1))
    while len(log) < 15:
        await asyncio.sleep(0)


def of(log: Log, wanted: str) -> list[int]:
    return [number for name, number in log if name == wanted]


def test_calls_of_several_threads_come_in_many_orders_and_those_of_each_in_its_own() -> None:
    in_order = [
        call
        for place, name in enumerate("abc")
        for call in [("loop", 2 * place), *((name, n) for n in range(3)), ("loop", 2 * place + 1)]
    ]
    assert as_registered(three_threads) == in_order
    logs = logs_of(three_threads)
    for log in logs:
        assert of(log, "a") == of(log, "b") == of(log, "c") == [0, 1, 2]
        assert of(log, "loop") == list(range(6))
        # What the loop had been given before a thread called comes before it: that may be why it called.
        for place, name in enumerate("abc"):
            assert log.index(("loop", 2 * place)) < log.index((name, 0))
    firsts = {tuple(dict.fromkeys(name for name, _ in log if name != "loop")) for log in logs}
    assert firsts == set(itertools.permutations("abc"))
    # And a thread may be so slow that the loop comes first with what it is given later, or it is not.
    assert {log.index(("loop", 1)) < log.index(("a", 0)) for log in logs} == {True, False}
    assert len(orders(logs)) > 150


def test_a_call_of_a_thread_can_be_cancelled_and_keeps_its_context() -> None:
    variable = contextvars.ContextVar("variable", default="none")

    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()
        handles: list[asyncio.Handle] = []

        def calls() -> None:
            variable.set("of the thread")
            handles.append(loop.call_soon_threadsafe(log.append, "cancelled"))
            loop.call_soon_threadsafe(lambda: log.append(variable.get()))
            context = contextvars.copy_context()
            context.run(variable.set, "given")
            loop.call_soon_threadsafe(lambda: log.append(variable.get()), context=context)

        thread = threading.Thread(target=calls)
        thread.start()
        thread.join()
        handles[0].cancel()
        while len(log) < 2:
            await asyncio.sleep(0)

    assert orders(logs_of(main)) == {("of the thread", "given")}


def test_calls_that_are_made_while_the_loop_does_not_run_come_in_the_order_of_their_thread() -> None:
    for seed in SEEDS:
        log = Log()

        def calls(loop: asyncio.AbstractEventLoop, *numbers: int, log: Log = log) -> None:
            for number in numbers:
                loop.call_soon_threadsafe(log.append, ("thread", number))

        with (
            ThreadPoolExecutor(1) as thread,
            asyncio.Runner(loop_factory=lambda seed=seed: VirtualTimeLoop(order=seed)) as runner,
        ):
            loop = runner.get_loop()
            thread.submit(calls, loop, 0, 1).result()
            loop.call_soon(log.append, ("loop", 0))
            loop.call_soon_threadsafe(log.append, ("loop", 1))
            loop.call_soon(log.append, ("loop", 2))

            async def main(
                call: Callable[[], object] = lambda: thread.submit(calls, loop, 2, 3).result(),
            ) -> None:
                call()

            runner.run(main())
            thread.submit(calls, loop, 4, 5).result()
            runner.run(turns(60))
        assert of(log, "thread") == [0, 1, 2, 3, 4, 5]
        assert of(log, "loop") == [0, 1, 2]


def test_to_thread_works_in_every_order_and_lets_no_time_pass() -> None:
    async def main() -> None:
        assert await asyncio.gather(*(asyncio.to_thread(str, number) for number in range(5))) == list("01234")
        assert now() == 0
        await asyncio.sleep(1)
        assert now() == 1

    for seed in SEEDS[:40]:
        run(main, order=seed)


def test_what_call_soon_is_given_comes_first_in_first_out_in_every_order() -> None:
    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()
        calls, expected = itertools.count(), Log()

        def soon() -> None:
            number = next(calls)
            expected.append(number)
            loop.call_soon(log.append, number)

        def also_later(left: int) -> None:
            soon()
            if left:
                loop.call_soon(also_later, left - 1)
                loop.call_later(left % 3, soon)
                loop.call_later(left % 2, also_later, left - 2 if left > 1 else 0)

        also_later(9)
        threads = [threading.Thread(target=loop.call_soon_threadsafe, args=(soon,)) for _ in range(5)]
        for thread in threads:
            thread.start()
            thread.join()
        await asyncio.sleep(10)
        assert log == expected
        assert len(log) > 50

    logs_of(main)


def test_equal_seeds_give_equal_runs_of_a_cue_and_other_seeds_others() -> None:
    async def main(log: Log) -> None:
        cue = runcue.Cue(id_prefix="w")
        recorder = Recorder(cue)
        cue.service("api", rate="3/min", concurrent=2)

        @cue.task("t", uses="api")
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(work.params["n"] % 2)

        @cue.task("free")
        async def free(work: runcue.Work) -> None:
            await asyncio.sleep(1)

        async with cue:
            for n in range(10):
                await cue.submit("t", params={"n": n})
                await cue.submit("free")
        log += [(heard.event, heard.work.id, heard.time) for heard in recorder.events]

    logs = logs_of(main)
    assert len(orders(logs)) > 50
    # When they started is a matter of limits, not of order.
    starts = {tuple((id_, at) for event, id_, at in log if event == "start") for log in logs}
    assert len({tuple(sorted(some)) for some in starts}) == 1


def test_nought_is_a_seed_and_none_is_none() -> None:
    async def main() -> list[str]:
        log: list[str] = []
        await timers_of_one_instant(log)
        return log

    assert run(main, order=None) == run(main) == list("abcd")
    assert len({tuple(run(main, order=seed)) for seed in range(20)}) > 10
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(order=0)) as runner:
        assert runner.run(main()) == run(main, order=0)


def test_a_race_that_the_usual_order_hides_is_found_by_some_seed() -> None:
    async def main() -> int:
        value = 0

        async def add_one() -> None:
            nonlocal value
            before = value
            await asyncio.sleep(1)
            value = before + 1

        async def after_a_second(what: Callable[[], Coroutine[Any, Any, None]]) -> None:
            await asyncio.sleep(1)
            await what()

        # As registered, the first has written just before the second reads.
        await asyncio.gather(add_one(), after_a_second(add_one))
        return value

    assert run(main) == 2
    assert {run(main, order=seed) for seed in range(20)} == {1, 2}
