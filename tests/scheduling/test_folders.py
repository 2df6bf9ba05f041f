"""The tree of makers by folder, against a plain list of them; and how much it holds."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runcue._model.declaration import Declaration
from runcue._model.work import Work
from runcue._scheduling.dependencies import Dependencies
from runcue._scheduling.folders import Folders, folders_above
from runcue._scheduling.holds import Holds, Relation

PATHS = ["/a", "/a/b", "/a/b/c", "/a/b/d", "/e", "/a/f"]
Step = tuple[str, str, frozenset[str]]


class Thing:
    """A file, as far as the core is concerned."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._place = key.rpartition("/")[0] or "/"


def maker(number: int) -> Work:
    work = Work(str(number), "t")
    work._seq = number
    return work


def declared(work: Work, inputs: Any = (), outputs: Any = ()) -> Declaration:
    work._declared = Declaration(tuple(map(Thing, inputs)), tuple(map(Thing, outputs)))
    return work._declared


def top_of(key: str, reads: frozenset[str]) -> str | None:
    return next((folder for folder in reversed(folders_above(key)) if folder in reads), None)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "add", "remove", "bind"]),
            st.sampled_from([f"{path}/{name}" for path in PATHS for name in "xy"]),
            st.frozensets(st.sampled_from([*PATHS, "/"]), max_size=2),
        ),
        max_size=30,
    )
)
def test_the_tree_knows_who_makes_what_in_which_folder_and_is_empty_without_anybody(
    steps: list[Step],
) -> None:
    folders = Folders()
    makers: dict[str, tuple[Work, str | None]] = {}
    for number, (step, key, reads) in enumerate(steps):
        above = folders_above(key)
        if step == "add":
            work = maker(number)
            folders.add(key, work, above, reads)
            makers[key] = work, top_of(key, reads)
        elif step == "remove":
            folders.remove(key, above)
            makers.pop(key, None)
        elif key in makers:
            path = above[len(reads) % len(above)]
            folders.bind(key, above, path)
            work, top = makers[key]
            if top is None or len(top) > len(path):
                makers[key] = work, path
        for path in [*PATHS, "/"]:
            inside = {one: it for one, it in makers.items() if path in folders_above(one)}
            bound = {one for one, (_, top) in inside.items() if top is not None and len(top) <= len(path)}
            folder = folders.by_path.get(path)
            if folder is None:
                assert not inside
                continue
            assert {*folder.bound} == bound
            assert [one._seq for one in folder.bound.values()] == sorted(
                one._seq for one in folder.bound.values()
            )
            assert {*folders.makers(folder)} == {work for work, _ in inside.values()}
            last = folders.last_free(folder)
            assert (last is None) == ({*inside} == bound)
            assert last is None or (last[0] in {*inside} - bound and last[1] is inside[last[0]][0])
    for key in list(makers):
        folders.remove(key, folders_above(key))
    assert not folders.by_path


def test_a_maker_stands_in_the_tree_once_however_deep_the_folder_is() -> None:
    folders = Folders()
    deep = "/a/b/c/d/e/f/g/h/i/j"
    above = folders_above(f"{deep}/x")
    for number in range(1000):
        folders.add(f"{deep}/{number}", maker(number), above, frozenset())
    assert sum(len(one.free) + len(one.bound) for one in folders.by_path.values()) == 1000
    assert len(folders.by_path) == 11


def test_a_reader_of_the_root_finds_a_maker_in_as_many_steps_as_there_are_levels() -> None:
    producers = Dependencies()
    holds = Holds(producers)
    for number in range(1000):
        work = maker(number)
        producers.enter(work, declared(work, outputs=[f"/a/b{number % 10}/{number}"]))
    reader = maker(1000)
    hold = holds.hold_of(reader, declared(reader, inputs=["/"]))
    assert hold is not None
    assert hold.relation is Relation.INSIDE
    assert hold.made == "/a/b9/999", "the last in line"


def test_makers_stay_apart_from_what_is_no_file() -> None:
    producers = Dependencies()
    holds = Holds(producers)

    class Row:
        def __init__(self, key: Any) -> None:
            self._key = key
            self._place = None

    work = maker(1)
    work._declared = Declaration((), (Row(("row", 1)), Row("flag:/a/b")))
    producers.enter(work, work._declared)
    reader = maker(2)
    reader._declared = Declaration((Row(("row", 2)), Row("flag:/a"), Thing("/a")))
    assert holds.hold_of(reader, reader._declared) is None


def test_what_is_known_of_folders_is_bounded_and_nothing_is_missed_by_that() -> None:
    producers = Dependencies()
    holds = Holds(producers)
    first = maker(0)
    producers.enter(first, declared(first, outputs=["/many/0/0/x"]))
    for number in range(1, 25_000):
        work = maker(number)
        own = declared(work, outputs=[f"/many/{number}/x"])
        producers.enter(work, own)
        producers.leave(work, own)
    assert len(producers.places) < 20_000
    reader = maker(25_000)
    hold = holds.hold_of(reader, declared(reader, inputs=["/many/0"]))
    assert hold is not None
    assert hold.holder is first
    taker = maker(25_001)
    around = maker(25_002)
    producers.enter(around, declared(around, outputs=["/many/7"]))
    hold = holds.hold_of(taker, declared(taker, inputs=["/many/7/x"]))
    assert hold is not None
    assert hold.relation is Relation.AROUND
    assert hold.holder is around
