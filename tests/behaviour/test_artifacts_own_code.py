"""What an artifact of a user's raises, wherever it is asked, hurts the work unit that declares it and nobody else."""

from __future__ import annotations

from typing import Any

import pytest

import runcue
from tests.support.virtual_time import virtual

pytestmark = pytest.mark.rule(13)

FRESH = {"newer": runcue.newer(), "digest": runcue.digest(), "none": None}


class Row(runcue.Artifact):
    """A row of a table in memory, with a method that raises from the n-th call on."""

    def __init__(self, table: dict[str, int], name: str, fault: str = "", after: int = 0) -> None:
        self._table = table
        self.name = name
        self._fault = fault
        self._left = after

    def _may_raise(self, method: str) -> None:
        if method == self._fault:
            self._left -= 1
            if self._left < 0:
                raise SystemExit("a fault of mine")

    def valid(self) -> bool:
        self._may_raise("valid")
        return self.name in self._table

    def version(self) -> int | None:
        self._may_raise("version")
        return self._table.get(self.name)

    def identity(self) -> Any:
        self._may_raise("identity")
        return super().identity()

    def problem(self) -> str:
        self._may_raise("problem")
        return "is not in the table"

    def __eq__(self, other: object) -> bool:
        self._may_raise("eq")
        return super().__eq__(other)

    def __hash__(self) -> int:
        self._may_raise("hash")
        return super().__hash__()

    def __bool__(self) -> bool:
        self._may_raise("bool")
        return True

    def __str__(self) -> str:
        self._may_raise("str")
        return self.name

    def __repr__(self) -> str:
        self._may_raise("repr")
        return f"Row({self.name})"


class Part:
    """A part of an identity, with a method that raises."""

    def __init__(self, fault: str, after: int = 0) -> None:
        self.fault = fault
        self.left = after

    def _may_raise(self, method: str) -> None:
        if method == self.fault:
            self.left -= 1
            if self.left < 0:
                raise ValueError("no part of mine")

    def __eq__(self, other: object) -> bool:
        self._may_raise("eq")
        return isinstance(other, Part)

    def __hash__(self) -> int:
        self._may_raise("hash")
        return 1

    def __repr__(self) -> str:
        self._may_raise("repr")
        return "Part()"


class Whole(runcue.Artifact):
    """Known by a part of which it is not certain what it does."""

    def __init__(self, part: Part, table: dict[str, int]) -> None:
        self.part = part
        self._table = table

    def valid(self) -> bool:
        return "whole" in self._table


def tables(cue: runcue.Cue, fresh: Any) -> dict[str, int]:
    """Registers "make", which puts a row into a table."""
    table = {"source": 1}

    @cue.task("make", fresh=fresh)
    async def make(work: runcue.Work) -> str:
        table[work.params["name"]] = len(table) + 1
        return "made"

    return table


def look_around(cue: runcue.Cue, works: list[str]) -> None:
    """Everything that explains must answer, whatever artifacts do."""
    for work in works:
        str(cue.why(work))
        cue.why_stale(work)
    str(cue.graph())
    str(cue.graph("works"))
    str(cue.plan())
    cue.debug_blocked()


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize(
    "fault", ["valid", "version", "identity", "problem", "eq", "hash", "bool", "str", "repr"]
)
@pytest.mark.parametrize("side", ["inputs", "outputs"])
@pytest.mark.parametrize("fresh", ["newer", "none"])
@virtual
async def test_what_a_method_raises_hurts_its_own_work_alone(
    fresh: str, side: str, fault: str, after: int
) -> None:
    cue = runcue.Cue(recheck=False)
    table = tables(cue, FRESH[fresh])
    cue.on_failure(lambda work, error: None)

    def bad(work: runcue.Work) -> Row:
        return Row(table, "source" if side == "inputs" else work.params["name"], fault, after)

    def good(work: runcue.Work) -> Row:
        return Row(table, work.params["name"])

    async with cue:
        handles = []
        for _ in range(2):
            bads = [
                await cue.submit("make", params={"name": "x"}, **{"outputs": good, side: bad}),
                await cue.submit("make", params={"name": "y"}, **{"outputs": good, side: bad}),
            ]
            goods = [
                await cue.submit("make", params={"name": name}, outputs=good, inputs=Row(table, "source"))
                for name in ("a", "b")
            ]
            look_around(cue, [*bads, *goods])
            for handle in goods:
                assert (await handle.wait()).state is runcue.WorkState.COMPLETED
            look_around(cue, [*bads, *goods])
            handles += bads
        for handle in handles:
            if handle.work.state is runcue.WorkState.PENDING:
                assert (fault in ("valid", "version"), side) == (True, "inputs"), (
                    "not ready, as the gate has it"
                )
                await cue.cancel(handle)
            work = await handle.wait()
            if work.state is runcue.WorkState.FAILED:
                assert isinstance(work.exception, runcue.RuncueError), work.exception
        assert (await cue.submit("make", params={"name": "z"})).work.exception is None
        await cue.drain()


@pytest.mark.parametrize("after", [0, 1, 2, 3])
@pytest.mark.parametrize("fault", ["eq", "hash", "repr"])
@pytest.mark.parametrize("side", ["inputs", "outputs"])
@virtual
async def test_so_does_what_a_part_of_an_identity_raises(side: str, fault: str, after: int) -> None:
    cue = runcue.Cue(recheck=False)
    table = tables(cue, runcue.newer())
    cue.on_failure(lambda work, error: None)
    async with cue:
        for name in ("whole", "whole2"):
            handles = []
            for part in (Part(""), Part(fault, after), Part("")):
                options: Any = {side: lambda work, part=part: Whole(part, table)}
                try:
                    handles.append(await cue.submit("make", params={"name": name}, **options))
                except runcue.DuplicateWork:
                    assert (side, fault) == ("outputs", "eq"), "what changes its mind is not the same"
            look_around(cue, handles)
            other = await cue.submit("make", params={"name": "other"}, outputs=Row(table, "other"))
            await other.wait()
            if name in table or "whole" in table:
                assert (await handles[0].wait()).exception is None
                assert (await handles[-1].wait()).exception is None
            for handle in handles:
                await cue.cancel(handle)
                assert isinstance(handle.work.exception, runcue.ArtifactError | None)
            table["whole"] = 5
            table.pop("other", None)
        await cue.drain()


@pytest.mark.parametrize("fault", ["eq", "hash", "repr"])
@pytest.mark.parametrize("after", [0, 1, 2])
@virtual
async def test_so_does_what_a_key_raises(fault: str, after: int) -> None:
    cue = runcue.Cue()
    tables(cue, None)
    async with cue:
        handles = []
        for part in (Part(""), Part(fault, after), Part("")):
            try:
                handles.append(await cue.submit("make", params={"name": "x"}, key=part))
            except runcue.ConfigurationError as error:
                assert "a key" in str(error) or fault in ("hash", "eq")  # noqa: PT017
        for handle in handles:
            assert (await handle.wait()).state is runcue.WorkState.COMPLETED
        assert len(handles) >= 2


@virtual
async def test_an_artifact_that_cannot_be_compared_fails_its_work_with_a_name() -> None:
    cue = runcue.Cue()
    table = tables(cue, runcue.newer())
    cue.on_failure(lambda work, error: None)
    async with cue:
        first = await cue.submit("make", params={"name": "a"}, outputs=Row(table, "a"))
        second = await cue.submit("make", params={"name": "b"}, outputs=lambda work: Row(table, "b", "eq"))
        assert (await first.wait()).state is runcue.WorkState.COMPLETED
        with pytest.raises(runcue.ArtifactError, match=r"Row\(b\).*a fault of mine"):
            await second.result()
        with pytest.raises(runcue.ConfigurationError, match=r"Row\(c\).*a fault of mine"):
            await cue.submit("make", params={"name": "c"}, outputs=Row(table, "c", "eq"))
