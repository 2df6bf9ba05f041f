"""What `submit(metadata=)` says of a work unit: it decides nothing, and is there for who listens or observes."""

from __future__ import annotations

import asyncio
import logging
from types import MappingProxyType
from typing import Any

import pytest

import runcue
from runcue.submissions import Submission, read_lines
from tests.support.virtual_time import virtual


@virtual
async def test_metadata_is_copied_and_is_seen_by_handlers_listeners_and_observers() -> None:
    cue = runcue.Cue()
    seen: list[Any] = []

    class Observes(runcue.Observer):
        def submitted(self, work: runcue.Work) -> None:
            seen.append(("submitted", work.metadata))

        def settled(self, work: runcue.Work, duration: float) -> None:
            seen.append(("settled", work.metadata))

    @cue.task("t")
    async def t(work: runcue.Work) -> dict[str, Any]:
        return work.metadata

    cue.observe(Observes())
    cue.on_complete(lambda work, result, duration: seen.append(("heard", work.metadata)))
    cue.start()
    given = {"user": "anna"}
    handle = await cue.submit("t", metadata=given)
    given["user"] = "bert"
    assert await handle == {"user": "anna"}
    assert seen == [(name, {"user": "anna"}) for name in ("submitted", "settled", "heard")]
    assert await (await cue.submit("t", metadata=MappingProxyType({1: 2}))) == {1: 2}
    assert await (await cue.submit("t")) == {}
    await cue.stop()


@virtual
async def test_metadata_is_no_difference_between_work_units() -> None:
    cue = runcue.Cue()

    @cue.task("t", key="one")
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(1)

    cue.start()
    leader = await cue.submit("t", metadata={"user": "anna"})
    follower = await cue.submit("t", metadata={"user": "bert"})
    other = await cue.submit("t")
    assert cue.counts()["pending"] == 3
    await cue.cancel(leader)
    await follower.wait()
    assert (leader.work.metadata, follower.work.metadata) == ({"user": "anna"}, {"user": "bert"})
    assert other.work.metadata == {}
    await cue.stop()


@virtual
async def test_a_work_unit_that_is_tried_once_more_has_the_metadata_of_the_old_one() -> None:
    cue = runcue.Cue()
    cue.on_failure(lambda work, error: None)

    @cue.task("t")
    async def t(work: runcue.Work) -> None:
        raise ValueError

    cue.start()
    handle = await cue.submit("t", metadata={"user": "anna"})
    await handle.wait()
    again = await cue.retry(handle)
    handle.work.metadata["user"] = "bert"
    assert again.work.metadata == {"user": "anna"}
    await cue.stop()


@pytest.mark.parametrize("metadata", ["anna", ["user"], 3, True, {"anna"}, [("user", "anna")]])
def test_metadata_that_is_no_dict_is_refused_wherever_it_is_given(metadata: Any) -> None:
    @virtual
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)
        refused = pytest.raises(runcue.ConfigurationError, match="metadata must be a dict")
        with refused:
            await cue.submit("t", metadata=metadata)
        with refused:
            cue.plan([Submission("t", {}, {"metadata": metadata})])
        cue.start()
        with refused:
            await asyncio.to_thread(cue.submit_threadsafe, "t", metadata=metadata)
        assert (await cue.stop()).counts == {"completed": 0, "skipped": 0, "failed": 0, "cancelled": 0}

    main()


def test_a_mapping_that_cannot_be_copied_is_refused() -> None:
    class Broken(dict[str, str]):
        def keys(self) -> Any:
            raise KeyError("lost")

        __iter__ = keys

    @virtual
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)
        with pytest.raises(runcue.ConfigurationError, match="metadata must be a dict that can be copied"):
            await cue.submit("t", metadata=Broken())

    main()


@virtual
async def test_why_shows_metadata_in_short() -> None:
    cue = runcue.Cue()
    cue.task("t")(lambda work: None)
    cue.is_ready(lambda work: False)
    cue.start()
    handle = await cue.submit("t", metadata={"user": "anna", "text": "long\n" * 90})
    line = next(line for line in str(cue.why(handle)).splitlines() if "metadata" in line)
    assert line.startswith("  metadata {'user': 'anna', 'text': ")
    assert len(line) < 120
    assert "metadata" not in str(cue.why(await cue.submit("t")))
    await cue.stop(drain=False)


@virtual
async def test_records_of_the_log_have_the_metadata_of_the_work_units_that_they_are_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cue = runcue.Cue(id_prefix="", pending_warn_after=1)

    @cue.task("t")
    async def t(work: runcue.Work) -> None:
        raise ValueError("no ink")

    cue.is_ready(lambda work: work.params.get("ready", False))
    with caplog.at_level(logging.WARNING, "runcue"):
        cue.start()
        await cue.submit("t", metadata={"user": "anna"})
        await cue.submit("t")
        await cue.submit("t", {"ready": True}, metadata={"user": "bert"})
        await asyncio.sleep(2)
        await cue.stop()
    told = {record.getMessage()[:40]: getattr(record, "metadata", None) for record in caplog.records}
    assert told == {
        "2 work units are pending for more than 1": {"1": {"user": "anna"}},
        "Stuck: t 1: is_ready said no for params ": {"1": {"user": "anna"}},
        "Work 3 of task t {'ready': True} failed:": {"3": {"user": "bert"}},
        "stop() cancelled 2 work units that could": {"1": {"user": "anna"}},
        "Work 3 of task t {'ready': True} failed,": {"3": {"user": "bert"}},
    }


def test_metadata_is_written_down_with_a_submission() -> None:
    [written] = read_lines([b'{"task": "t", "metadata": {"user": "anna"}}'], "work.jsonl")
    assert written.options == {"metadata": {"user": "anna"}}
    with pytest.raises(runcue.ConfigurationError, match="'metadata' must be an object, not 3"):
        list(read_lines([b'{"task": "t", "metadata": 3}'], "work.jsonl"))
    cue = runcue.Cue()
    cue.task("t")(lambda work: None)
    assert str(cue.plan([written, {"task": "t", "metadata": {"user": "bert"}}])).startswith("Plan: 2 run")


def test_plain_handlers_and_programs_without_a_loop_give_metadata_as_well() -> None:
    cue = runcue.Cue()

    @cue.task("parent")
    def parent(work: runcue.Work) -> str:
        return work.submit("child", metadata={"parent": work.id})

    @cue.task("child")
    def child(work: runcue.Work) -> None: ...

    with runcue.blocking(cue) as b:
        handle = b.submit("parent", metadata={"user": "anna"})
        found = b.get(b.result(handle))
        assert found is not None
        assert found.metadata == {"parent": handle}
        assert handle.work.metadata == {"user": "anna"}
