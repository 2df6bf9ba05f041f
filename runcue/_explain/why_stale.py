"""Why a work unit ran, or did not have to: the answer to `cue.why_stale()`.

Lives here: reading what the last check of a work unit's outputs found, and comparing before and now. The words of each
verdict are in `out_of_date`.

Must not know: how freshness is checked, how to change anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from os import stat_result
from typing import Any, Final, NamedTuple

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._explain.answers import WhyStale
from runcue._explain.dates import dates_in_words
from runcue._explain.out_of_date import out_of_date
from runcue._explain.up_to_date import LEFT, left_by, said_by, why_skipped
from runcue._model.declaration import Declaration
from runcue._model.errors import ArtifactError
from runcue._model.phases import CANCELLED, FAILED, RUNNING, SETTLED
from runcue._model.texts import SHOWN, how_many, listed, message_of, name_of, shortened, words_of
from runcue._model.work import Work

__all__ = ["what_differs", "why_stale"]

_LONGEST_VALUE: Final = 80
# What is dated in nanoseconds since the epoch.
_DATED: Final = (File, Flag)
_ENDED: Final = {FAILED: "failed", CANCELLED: "was cancelled"}


class _Found(NamedTuple):
    """What was out of date, compared.

    Attributes:
        details: In a line.
        before: What it was when the outputs were made; None if that is not known, or nothing was compared.
        now: What it was when it was checked.
    """

    details: str
    before: str | None = None
    now: str | None = None


def why_stale(work: Work, awaited: Work | None, known: Iterable[Work] = ()) -> WhyStale:
    """Explain what made a work unit run, or why it did not have to.

    Args:
        work: The work.
        awaited: Which one it has to wait for; None if for none.
        known: All that this process knows, for the values of the params that their outputs were made with.
    """
    declared = work._declared
    leader = None if declared is None else declared.leader
    if leader is not None and (work._phase == SETTLED or leader._phase >= RUNNING):
        return _why_joined(work, leader, known)
    if work._phase == SETTLED and work.skipped:
        details, left_out = why_skipped(work)
        verdict = "up to date" if left_by(work) is None else LEFT
        return WhyStale(work, False, verdict, None, None, details, not_compared=left_out)
    if declared is not None and declared.fault is not None:
        return WhyStale(work, None, "fault", None, None, message_of(declared.fault))
    found = None if declared is None else declared.stale
    if declared is not None and found is not None:
        verdict, artifact, other = found
        details, before, now = _compare(work, declared, known)
        return WhyStale(
            work,
            True,
            verdict,
            artifact if isinstance(artifact, Artifact) else None,
            other if isinstance(other, Artifact) else None,
            details,
            before,
            now,
            _begin=_begin(work),
        )
    if work._phase < RUNNING:
        rest = f"; it waits for {name_of(awaited)}" if awaited is not None else ""
        return WhyStale(work, None, "not asked", None, None, f"that is asked once it is ready{rest}")
    if work._phase == SETTLED and work._outcome in (CANCELLED, FAILED) and work.started_at is None:
        return WhyStale(
            work, None, "not asked", None, None, f"it {_ENDED[work._outcome]} before it could start"
        )
    if work._task.is_stale is not None:
        details = said_by(work._task.is_stale)
        return WhyStale(work, True, "is_stale", None, None, details, _begin=_begin(work))
    return WhyStale(
        work,
        True,
        "nothing says otherwise",
        None,
        None,
        "no outputs are declared and there is no is_stale",
        _begin=_begin(work),
    )


def _begin(work: Work) -> str | None:
    """What is said of a work unit before what made it run; None while it is pending."""
    if work._phase < RUNNING:
        return None
    if work._phase < SETTLED:
        return "it runs because "
    return "it was to run because " if work.started_at is None else "it ran because "


def _why_joined(work: Work, leader: Work, known: Iterable[Work]) -> WhyStale:
    """Of a work unit that another one runs for, or has: what is said of that one."""
    its = why_stale(leader, None, known)
    ran = "was skipped" if leader.skipped else "ran" if leader._phase == SETTLED else "runs"
    if work._phase == SETTLED and work._outcome == CANCELLED:
        begin = f"it was cancelled; it had joined {name_of(leader)}, which makes the same"
    elif work._phase == SETTLED:
        begin = f"it joined {name_of(leader)}, which makes the same, and settled with it"
    else:
        begin = f"it has joined {name_of(leader)}, which makes the same"
    details = f"{begin}. That one {ran}{' because' if its.stale else ':'} {its.details}"
    return replace(its, work=work, details=details, _begin="" if its.stale else None)


def _compare(work: Work, declared: Declaration, known: Iterable[Work]) -> _Found:
    """What was found out of date, before and now."""
    assert declared.stale is not None
    verdict, artifact, other = declared.stale
    details = out_of_date(verdict, artifact, other)
    if verdict in ("older", "future", "future input"):
        return _compare_dates(declared, details)
    kind, evidence = declared.evidence or ("", {})
    if verdict in ("changed", "output changed"):
        return _compare_looks(declared, details, evidence if kind == verdict else None)
    if kind != verdict:
        return _Found("it was submitted with force=True" if verdict == "forced" else details)
    return _compare_parts(work, artifact, details, evidence, known)


def what_differs(work: Work, verdict: str, output: Any, other: Any, known: Iterable[Work]) -> str:
    """What makes the outputs of a work unit that has not run out of date, as part of a sentence: of params, which.

    Args:
        work: The work unit.
        verdict: In a word or two, as a check of the outputs gives it.
        output: The output or input at fault, None if none is.
        other: What it was compared to, or what is wrong with it; None if nothing.
        known: Those that may tell the values of the params that the output was made with.
    """
    details = out_of_date(verdict, output, other, planned=True)
    evidence = None if work._declared is None else work._declared.evidence
    if verdict not in ("params", "code") or evidence is None or evidence[0] != verdict:
        return details
    return _compare_parts(work, output, details, evidence[1], known).details


def _compare_parts(work: Work, output: File, details: str, then: Any, known: Iterable[Work]) -> _Found:
    """Of params or code, of which only what differs is known, by name."""
    assert work._declared is not None
    if work._declared.evidence[0] == "params":
        return _compare_params(work, output, details, then, known)
    changed = [name for name, digest in then.items() if digest]
    came = [name for name, digest in then.items() if digest is None]
    went = [name for name, digest in then.items() if digest == ""]
    clauses = [f"{listed(changed)} {'has' if len(changed) == 1 else 'have'} changed"] if changed else []
    clauses += [f"{listed(came)} {'was' if len(came) == 1 else 'were'} not part of it then"] if came else []
    clauses += [f"{listed(went)} {'is' if len(went) == 1 else 'are'} no more"] if went else []
    return _Found(f"{details}: {listed(clauses)}")


def _compare_dates(declared: Declaration, details: str) -> _Found:
    assert declared.stale is not None
    verdict, output, other = declared.stale
    made = _version_in(output, declared.outputs, declared.was)
    seen = _version_in(other, declared.inputs, declared.before)
    if verdict != "older":
        version = made if verdict == "future" else seen
        date = dates_in_words(version)[0] if type(version) is int else words_of(version)
        return _Found(f"{details} ({date})", now=date)
    if made is None or seen is None:
        return _Found(details)
    if type(made) is type(seen) is int and (isinstance(output, _DATED) or isinstance(other, _DATED)):
        before, now = dates_in_words(made, seen)
        if made == seen:
            return _Found(f"{details}: both are dated {before}", before, now)
        dated = "dated "
    else:
        before, now = _short(made), _short(seen)
        dated = "of version "
    one, another = words_of(output), words_of(other)
    details = f"its output {one}, {dated}{before}, was not newer than its input {another}, {dated}{now}"
    return _Found(details, before, now)


def _compare_looks(declared: Declaration, details: str, look: Any) -> _Found:
    """Of a file that has another content, by how it looked when the stamp was written: `Look`, or None."""
    assert declared.stale is not None
    _, output, other = declared.stale
    if other is None:
        status = _as_seen(output, declared.outputs, declared.was)
    else:
        status = _as_seen(other, declared.inputs, declared.before)
    if type(status) is not stat_result:
        version = "" if status is None else f" (now {_short(status)})"
        return _Found(f"{details}{version}", None, None if status is None else _short(status))
    if type(look) is not list or len(look) != 4:
        return _Found(details, "content", "content")
    dates = dates_in_words(look[1], status.st_mtime_ns)
    before, now = (
        f"{how_many(size, 'byte', 'bytes')}, dated {date}"
        for size, date in zip((look[0], status.st_size), dates, strict=True)
    )
    return _Found(f"{details} (then {before}; now {now})", before, now)


def _compare_params(
    work: Work, output: File, details: str, then: Mapping[str, Any], known: Iterable[Work]
) -> _Found:
    """Of params that are other ones, by their digests as of then; None of what was none then."""
    digests = {name: digest for name, digest in then.items() if digest is not None}
    seen = _values_seen(work, output, digests, known)
    clauses, before, now = [], [], []
    unseen = False
    for name, digest in then.items():
        told = "a param whose name is no text" if name[:1] == "\0" else shortened(name, _LONGEST_VALUE)
        was = "not given" if digest is None else seen.get(name, "another value")
        unseen |= was == "another value" and name not in seen
        is_ = _short(work.params[name]) if name in work.params else "not given"
        clauses.append(f"{told} was {was} and is {is_}" if told == name else told)
        before.append(f"{told}: {was}")
        now.append(f"{told}: {is_}")
    note = " (a stamp keeps no values, only digests)" if unseen else ""
    return _Found(f"{details}: {listed(clauses, SHOWN, '; ')} now{note}", listed(before), listed(now))


def _values_seen(work: Work, output: File, then: Mapping[str, Any], known: Iterable[Work]) -> dict[str, str]:
    """Values of params of these digests, as far as a work unit of the same output had them, in words by name."""
    from runcue._freshness.encoding import digest_of_params  # noqa: PLC0415 - loaded by who made the digests

    seen: dict[str, str] = {}
    for other in known:
        declared = other._declared
        if declared is None or other is work or all(one._key != output._key for one in declared.outputs):
            continue
        for name in then.keys() - seen.keys():
            if name not in other.params:
                continue
            value = other.params[name]
            try:
                digest = digest_of_params({name: value})[name]
            except ArtifactError:
                continue
            if digest == then[name]:
                seen[name] = _short(value)
        if len(seen) == len(then):
            break
    return seen


def _as_seen(artifact: Any, artifacts: Iterable[Any], versions: Iterable[Any]) -> Any:
    """The version that an artifact had when it was checked, None if that is not known."""
    return next((version for one, version in zip(artifacts, versions, strict=False) if one is artifact), None)


def _version_in(artifact: Any, artifacts: Iterable[Any], versions: Iterable[Any]) -> Any:
    """The same, of a file its date."""
    found = _as_seen(artifact, artifacts, versions)
    return found.st_mtime_ns if type(found) is stat_result else found


def _short(value: object) -> str:
    return shortened(words_of(value), _LONGEST_VALUE)
