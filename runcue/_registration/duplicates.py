"""Work units that would make the same: joined, or refused.

Lives here: finding the pending or running work unit that a new one can join, and the text that says why it cannot.

Must not know: how they are joined.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from runcue._artifacts.artifact import Artifact, key_of
from runcue._artifacts.file import File
from runcue._artifacts.places import final
from runcue._model.declaration import Declaration
from runcue._model.errors import DuplicateWork
from runcue._model.phases import RUNNING, SETTLED
from runcue._model.texts import name_of, words_of
from runcue._model.work import Work
from runcue._registration.tasks import hint_of_braces
from runcue._scheduling.dependencies import Dependencies

__all__ = ["leader_for"]


def leader_for(
    work: Work, duplicate: str | None, dependencies: Dependencies, *, later: bool = False
) -> Work | None:
    """The pending or running work unit that a new one can join, because it makes the same.

    Args:
        work: New, with what it declares.
        duplicate: What is to become of it then; None for what its task says.
        dependencies: Among whom.
        later: Whether the new one was submitted for later: then it has nothing to do with those that run.

    Raises:
        DuplicateWork: There is one, but it cannot be joined: it has another task or other params, makes not quite
            the same, is in another lane, or duplicates are to be errors.
    """
    declared = work._declared
    if declared is None or declared.fault is not None:
        return None
    leader = shared = None
    same = ""
    if declared.key is not None:
        leader = dependencies.keyed_by(declared.key, later=later)
        same = f"key {words_of(declared.key)}"
    for artifact in declared.makes:
        other = dependencies.made_by(artifact._key, later=later)
        if other is not None and other is not leader and other._phase != SETTLED:
            if other.task != work.task and not _is_output_of_both(artifact, declared, other):
                # One of them has a link that leads to what the other makes, and may be going to turn it: that they do
                # not run at once is enough.
                continue
            same = f"output {words_of(artifact)}"
            shared = artifact
            if leader is not None or declared.key is not None:
                raise DuplicateWork(_collision(work, other, same, "by another key"))
            leader = other
    if leader is None:
        return None
    theirs = leader._declared
    difference = ""
    if leader.task != work.task:
        difference = "by another task"
    elif not _equal(leader.params, work.params):
        difference = "with other params"
    elif theirs is None or not _are_same(theirs.outputs, declared.outputs):
        difference = "with other outputs"
    # By their paths alone where a link on the way was turned since that one began: what runs is left alone.
    elif not _are_same(theirs.inputs, declared.inputs) and _paths(theirs.inputs) != _paths(declared.inputs):
        difference = "with other inputs"
    elif _lane_of(declared) != _lane_of(theirs):
        difference = "in another lane" if theirs.lane is not None else "in no lane"
    if difference or (duplicate or work._task.duplicate) == "error":
        braces = "" if shared is None else hint_of_braces(shared, work.params, "outputs")
        raise DuplicateWork(_collision(work, leader, same, difference, braces))
    return leader


def _is_output_of_both(artifact: Artifact, declared: Declaration, other: Work) -> bool:
    """Whether both declare an artifact by its own name, rather than a link that leads to it."""
    key = key_of(artifact)
    return all(any(key_of(one) == key for one in outputs) for outputs in (declared.outputs, other.outputs))


def _are_same(some: tuple[Artifact, ...], others: tuple[Artifact, ...]) -> bool:
    """Whether these are the same artifacts; a link counts as the file that it leads to."""
    if {*map(key_of, some)} == {*map(key_of, others)}:
        return True
    return {*map(_end_of, some)} == {*map(_end_of, others)}


def _end_of(artifact: Artifact) -> Hashable:
    return final(artifact._key) if isinstance(artifact, File) else key_of(artifact)


def _paths(artifacts: tuple[Artifact, ...]) -> set[Hashable]:
    """How these artifacts are named, wherever links lead by now."""
    return {one._path if isinstance(one, File) else key_of(one) for one in artifacts}


def _lane_of(declared: Declaration) -> Hashable:
    return None if declared.lane is None else declared.lane.key


def _equal(one: Any, other: Any) -> bool:
    try:
        return one is other or bool(one == other)
    except KeyboardInterrupt:
        raise
    except BaseException:  # params may hold anything, arrays that do not compare to a bool among them
        return False


def _collision(work: Work, other: Work, same: str, difference: str, braces: str = "") -> str:
    state = "running" if other._phase >= RUNNING else "pending"
    hint = braces or (
        "One artifact has one producer at a time: wait for it, or give this work unit another output."
        if difference
        else 'Submit it with duplicate="join" to share its outcome.'
    )
    return (
        f"{work.task!r} with params {words_of(work.params)}: its {same} is already being made "
        f"{difference + ' ' if difference else ''}by {name_of(other)} "
        f"({state}, params {words_of(other.params)}). {hint}"
    )
