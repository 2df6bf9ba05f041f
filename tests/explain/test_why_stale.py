"""Why a work unit ran or did not: what was before and is now, what was not compared, and whom it has joined.

And what makes outputs out of date in the words of `cue.why_stale()` and of `cue.plan()`: one table, two tenses.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import WhyStale
from runcue._artifacts.artifact import Artifact
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._explain.out_of_date import out_of_date
from runcue._explain.time_words import clock_in_words
from runcue._freshness import content

OUT, IN = File("out"), File("in")


@pytest.mark.parametrize(
    ("found", "planned", "told"),
    [
        (("missing", OUT, None), "File('out') is missing", "its output File('out') was missing"),
        (("missing", Flag("done"), None), "Flag('done') is not set", "its output Flag('done') was not set"),
        (
            ("not valid", OUT, "is a day old"),
            "File('out') is a day old",
            "its output File('out') is a day old",
        ),
        (
            ("older", OUT, IN),
            "File('out') is not newer than File('in')",
            "its output File('out') was not newer than its input File('in')",
        ),
        (
            ("changed", OUT, IN),
            "File('in') has other content than when File('out') was made",
            "its input File('in') has other content than when File('out') was made",
        ),
        (
            ("output changed", OUT, None),
            "File('out') is not what was made",
            "its output File('out') is not what was made",
        ),
        (
            ("new input", OUT, IN),
            "File('out') was made without File('in')",
            "File('out') was made without its input File('in')",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_plan_says_in_few_words_what_why_stale_says_of_a_run(
    found: tuple[str, Artifact, object], planned: str, told: str
) -> None:
    assert (out_of_date(*found, planned=True), out_of_date(*found)) == (planned, told)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (("params", OUT, None), "its params are not those that File('out') was made with"),
        (("no stamp", OUT, None), "nothing is known of how File('out') was made"),
        (
            ("new params", OUT, None),
            "its params were not compared before, so it is not known with which File('out') was made",
        ),
        (
            ("new code", OUT, None),
            "the code of its handler was not compared before, so it is not known by which File('out') was made",
        ),
        (("unreadable stamp", OUT, None), "the note on how File('out') was made cannot be read"),
        (("lost input", OUT, None), "File('out') was made with other inputs"),
        (("raised", OUT, OSError("no route")), "File('out') could not be looked at: OSError: no route"),
        (("raised", OUT, OSError()), "File('out') could not be looked at: OSError"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_holds_now_as_well_as_then_is_said_alike(
    found: tuple[str, Artifact, object], words: str
) -> None:
    assert out_of_date(*found, planned=True) == out_of_date(*found) == words


def test_the_word_of_a_policy_of_the_users_own_is_told_as_it_is() -> None:
    assert out_of_date("out of season", OUT, IN) == "out of season: File('out'): File('in')"
    assert out_of_date("out of season", None, None) == "out of season"


SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "localtime", time.gmtime)
    # What was written in this moment counts at once: no clock is so coarse that it could change unnoticed.
    monkeypatch.setattr(content, "_TICK_NS", 0)
    monkeypatch.setattr(content, "_COARSE_TICK_NS", 0)
    put("i", "in", at=1_000_000_000)


def put(name: str, text: str, at: float = 0) -> None:
    Path(name).write_text(text, encoding="utf-8")
    if at:
        os.utime(name, ns=(0, round(at * SECOND)))


def copy(work: runcue.Work) -> None:
    with work.write(work.outputs[0]) as file:
        file.write("out")


def cue_of(fresh: Any, handler: Callable[..., Any] = copy, **declared: Any) -> runcue.Cue:
    cue = runcue.Cue(id_prefix="")
    cue.task("t", fresh=fresh, **{"inputs": "i", "outputs": "o", **declared})(handler)
    return cue


def ask(cue: runcue.Cue, params: dict[str, Any] | None = None, **options: Any) -> WhyStale:
    """Submits it, lets it settle, and asks why it ran or did not."""

    async def main() -> WhyStale:
        async with cue:
            handle = await cue.submit("t", params, **options)
            await cue.drain()
            return cue.why_stale(handle)

    return asyncio.run(main())


def test_older_is_told_with_both_dates() -> None:
    put("o", "out", at=999_999_999)
    found = ask(cue_of(runcue.newer()))
    assert found.details == (
        "its output File('o'), dated 2001-09-09 01:46:39, was not newer than its input File('i'), dated "
        "2001-09-09 01:46:40"
    )
    assert (found.before, found.now) == ("2001-09-09 01:46:39", "2001-09-09 01:46:40")


@pytest.mark.parametrize(
    ("made", "seen", "told"),
    [
        (1e9 - 86400, 1e9, ("2001-09-08 01:46:40", "2001-09-09 01:46:40")),
        (1e9 + 0.25, 1e9 + 0.5, ("2001-09-09 01:46:40.250", "2001-09-09 01:46:40.500")),
        (1e9 + 2**-12, 1e9 + 2**-11, ("2001-09-09 01:46:40.000244", "2001-09-09 01:46:40.000488")),
        (1e9 + 0.25, 1e9 + 0.25, ("2001-09-09 01:46:40", "2001-09-09 01:46:40")),
    ],
)
def test_dates_have_as_many_digits_as_it_takes_to_tell_them_apart(
    made: float, seen: float, told: tuple[str, str]
) -> None:
    put("o", "out", at=made)
    put("i", "in", at=seen)
    found = ask(cue_of(runcue.newer()))
    assert (found.before, found.now) == told
    assert ("both are dated" in found.details) is (made == seen)


class Row(Artifact):
    def __init__(self, name: str, version: Any) -> None:
        self.name = name
        self._version = version

    def valid(self) -> bool:
        return True

    def version(self) -> Any:
        return self._version


def test_versions_that_are_no_dates_are_told_as_they_are() -> None:
    found = ask(cue_of(runcue.newer(), lambda work: None, inputs=Row("in", 5), outputs=Row("out", 4)))
    assert found.details == (
        "its output Row(name='out'), of version 4, was not newer than its input Row(name='in'), of version 5. By now "
        "it is out of date: Row(name='out') is not newer than Row(name='in'); submit it again"
    )


def test_of_several_inputs_the_one_is_named_that_is_too_new() -> None:
    put("o", "out", at=1.5e9)
    put("j", "in", at=1.6e9)
    found = ask(cue_of(runcue.newer(), inputs=["i", "j"]))
    assert (found.other, found.now) == (File("j"), "2020-09-13 12:26:40")


def test_other_content_is_told_with_the_size_and_date_of_then_and_now() -> None:
    cue = cue_of(runcue.digest(), inputs=["i", "j"])
    put("j", "in", at=1.5e9)
    ask(cue)
    put("j", "other", at=1.5e9 + 1)
    found = ask(cue)
    assert (found.verdict, found.other) == ("changed", File("j"))
    assert (found.before, found.now) == (
        "2 bytes, dated 2017-07-14 02:40:00",
        "5 bytes, dated 2017-07-14 02:40:01",
    )
    assert "its input File('j') has other content than when File('o') was made (then 2 bytes" in found.details


def test_content_that_had_to_be_read_is_told_alike() -> None:
    cue = cue_of(runcue.digest())
    ask(cue)
    put("i", "on", at=1.5e9)  # of the same size
    found = ask(cue)
    assert (found.verdict, found.before) == ("changed", "2 bytes, dated 2001-09-09 01:46:40")
    put("o", "mine")
    found = ask(cue)
    assert (found.verdict, str(found.before)[:7], str(found.now)[:7]) == (
        "output changed",
        "3 bytes",
        "4 bytes",
    )


def test_of_a_folder_and_of_another_version_it_is_told_as_far_as_it_is_known() -> None:
    Path("folder").mkdir()
    put("folder/a", "a")
    row = Row("in", "etag1")
    cue = cue_of(runcue.digest(), inputs=["folder", row])
    ask(cue)
    row._version = "etag2"
    found = ask(cue)
    assert found.details == (
        "its input Row(name='in') has another version than when File('o') was made (now 'etag2')"
    )
    put("folder/a", "other")
    found = ask(cue)
    assert (found.other, found.before, found.now) == (File("folder"), "content", "content")


def test_a_param_is_told_with_both_values() -> None:
    cue = cue_of(runcue.digest())
    ask(cue, {"size": 80, "same": True})
    found = ask(cue, {"size": "x" * 1000, "same": True})
    assert found.details.startswith(
        "its params are not those that File('o') was made with: size was 80 and is 'xxxxx"
    )
    assert found.details.endswith("xxx' now")
    assert found.before == "size: 80"
    assert len(found.details) < 250
    assert "same" not in found.details


def test_params_that_have_come_or_gone_are_told_as_that() -> None:
    cue = cue_of(runcue.digest())
    ask(cue, {"gone": 1, "of": 2})
    assert ask(cue, {"come": None, "of": True}).details.endswith(
        "come was not given and is None; of was 2 and is True; gone was 1 and is not given now"
    )


def test_a_value_that_an_up_to_date_work_unit_of_another_cue_had_was_seen_too() -> None:
    ask(cue_of(runcue.digest()), {"n": 1})
    seen = cue_of(runcue.digest())
    assert ask(seen, {"n": 1}).verdict == "up to date"
    assert ask(cue_of(runcue.digest()), {"n": 2}).before == "n: 1"


def test_a_value_that_this_process_has_not_seen_is_not_made_up() -> None:
    params = {"n": [1]}
    cue = cue_of(runcue.digest())
    ask(cue, params)
    params["n"][0] = 7  # the values are the caller's objects: this one is not what it was
    found = ask(cue, {"n": 3})
    assert found.details.endswith("n was another value and is 3 now (a stamp keeps no values, only digests)")


def test_params_that_begin_to_count_are_told_as_such() -> None:
    ask(cue_of(runcue.digest(params=False)), {"n": 1})
    found = ask(cue_of(runcue.digest()), {"n": 1})
    assert (found.verdict, found.details[:36]) == ("new params", "its params were not compared before,")


def made(value: int) -> Callable[..., Any]:
    def handler(work: runcue.Work) -> None:
        with work.write("o") as file:
            file.write(f"{value}")

    return handler


@pytest.mark.rule(33)
def test_code_that_begins_to_count_runs_once_and_then_by_what_changed() -> None:
    told = [
        ask(cue_of(fresh, made(value)))
        for fresh, value in (
            (runcue.digest(), 1),
            (runcue.digest(code=True), 1),
            (runcue.digest(code=True), 1),
            (runcue.digest(), 2),
            (runcue.digest(code=True), 2),
            (runcue.digest(code=True), 2),
        )
    ]
    assert [one.verdict for one in told] == [
        "missing",
        "new code",
        "up to date",
        "up to date",
        "code",
        "up to date",
    ]
    assert told[4].details == (
        "the code of its handler is not that which made File('o'): the value of 'value' around handler has changed"
    )
    assert told[4].artifact == File("o")


def test_a_stamp_that_is_renewed_keeps_what_is_known_of_the_code() -> None:
    ask(cue_of(runcue.digest(code=True)))
    put("i", "in", at=1.1e9)  # touched: it is read once, and noted
    assert [ask(cue_of(fresh)).verdict for fresh in (runcue.digest(), runcue.digest(code=True))] == [
        "up to date",
        "up to date",
    ]


def test_a_submission_may_ask_for_the_code_which_is_refused_there_if_it_cannot_be_had() -> None:
    cue = cue_of(runcue.newer(), made(1))
    assert ask(cue, fresh=runcue.digest(code=True)).verdict == "missing"
    assert ask(cue, fresh=runcue.digest(code=True)).verdict == "up to date"
    with pytest.raises(runcue.ConfigurationError, match="handler of task 't'"):
        ask(cue_of(runcue.newer(), print), fresh=runcue.digest(code=True))


def test_a_task_that_is_defined_anew_counts_by_its_new_source() -> None:
    cue = runcue.Cue()

    def define(value: int) -> None:
        @cue.task("t", inputs="i", outputs="o", fresh=runcue.digest(code=True))
        def t(work: runcue.Work) -> int:
            copy(work)
            return value

    verdicts = []
    for value in (1, 1, 2, 2):
        define(value)
        verdicts.append(ask(cue).verdict)
    assert verdicts == ["missing", "up to date", "code", "up to date"]


@pytest.mark.parametrize(
    ("fresh", "left_out", "words"),
    [
        (
            runcue.newer(),
            ("params", "code"),
            "newer(), which compares neither params nor the code of the handler. submit(force=True) runs it all the",
        ),
        (
            runcue.digest(),
            ("code",),
            "digest(), which does not compare the code of the handler. submit(force=True) runs it all the",
        ),
        (runcue.digest(params=False), ("params", "code"), "digest(code=True) compares both"),
        (runcue.digest(code=True), ("what the handler calls",), "submit(force=True) runs it all the same"),
        (runcue.digest(params=False, code=True), ("params", "what the handler calls"), "force=True"),
        (None, ("dates", "contents", "params", "code"), "fresh=runcue.digest()"),
    ],
    ids=repr,
)
def test_up_to_date_says_once_what_was_not_compared_and_what_to_do(
    fresh: Any, left_out: tuple[str, ...], words: str
) -> None:
    cue = cue_of(fresh)
    ask(cue)
    found = ask(cue)
    assert (found.verdict, found.not_compared) == ("up to date", left_out)
    assert words in found.details
    assert found.details.count("force=True") == 1
    assert cue.why(found.work).details.endswith(found.details)
    assert len(str(found)) < 500


def test_what_a_policy_of_the_users_own_does_not_compare_is_not_known() -> None:
    class Always:
        def stale(self, work: runcue.Work) -> None: ...
        def started(self, work: runcue.Work) -> None: ...
        def finished(self, work: runcue.Work) -> None: ...
        def __repr__(self) -> str:
            return "always"

    cue = cue_of(Always())
    ask(cue)
    found = ask(cue)
    assert (found.details, found.not_compared) == (
        "File('o') is up to date with File('i'), by always. submit(force=True) runs it all the same",
        (),
    )


def test_an_is_stale_that_says_no_is_named_with_its_place_and_what_spoke_against_it() -> None:
    cue = cue_of(runcue.newer())
    cue.is_stale(lambda work: False)
    found = ask(cue)
    assert found.details.startswith("the is_stale callback ")
    assert "test_why_stale.py:" in found.details
    assert found.details.endswith(
        "said so, although its output File('o') was missing. submit(force=True) runs it all the same"
    )


def test_one_that_has_joined_another_is_told_by_that_one_after_both_have_settled() -> None:
    async def main() -> list[WhyStale]:
        cue = cue_of(runcue.newer())
        found = []
        async with cue:
            for _ in range(2):
                await cue.submit("t")
                joined = await cue.submit("t")
                found.append(cue.why_stale(joined))
                await cue.drain()
                found.append(cue.why_stale(joined))
        return found

    pending, ran, again, skipped = asyncio.run(main())
    assert pending.stale is again.stale is None
    assert "t 1" in pending.details
    assert ran.details == (
        "it joined t 1, which makes the same, and settled with it. That one ran because its output "
        "File('o') was missing"
    )
    assert (ran.stale, ran.verdict, ran.artifact) == (True, "missing", File("o"))
    assert skipped.details.startswith(
        "it joined t 3, which makes the same, and settled with it. That one was skipped: File('o') is up to date"
    )
    assert skipped.stale is False
    assert skipped.not_compared == ("params", "code")


def test_one_that_was_cancelled_after_it_had_joined_and_one_that_took_over_are_told() -> None:
    async def main() -> list[WhyStale]:
        cue = cue_of(runcue.newer())
        async with cue:
            first, second, third = [await cue.submit("t") for _ in range(3)]
            await cue.cancel(third)
            await cue.cancel(first)
            await cue.drain()
            return [cue.why_stale(one) for one in (first, second, third)]

    first, second, third = asyncio.run(main())
    assert first.details == "it was cancelled before it could start"
    assert second.details == "its output File('o') was missing"
    assert third.details == (
        "it was cancelled; it had joined t 2, which makes the same. That one ran because its output "
        "File('o') was missing"
    )


def test_an_output_that_is_too_old_or_refused_is_told_so_that_people_can_read_it() -> None:
    put("o", "out", at=time.time() - 57.4 * 365.2425 * 86400)
    found = ask(cue_of(runcue.newer(), outputs=File("o", max_age="24h")))
    assert found.details == "its output File('o') is 57.4 years old, which is more than its max_age of 24 h"
    found = ask(cue_of(runcue.newer(), lambda work: None, outputs=File("o", validate=lambda path: False)))
    assert "is not valid: validate=" not in found.details
    assert "<lambda>" in found.details
    assert "test_why_stale.py:" in found.details
    assert "said no" in found.details


async def test_an_is_stale_that_was_not_asked_is_named_where_what_is_declared_is_up_to_date(
    tmp_path: Path,
) -> None:
    cue = runcue.Cue()
    cue.task("make", outputs=tmp_path / "made")(lambda work: work.outputs[0].path.touch())

    @cue.is_stale(task="make")
    def always(work: runcue.Work) -> bool:
        return True

    async with cue:
        await (await cue.submit("make")).wait()
        again = await cue.submit("make")
        await again.wait()
        assert "; the is_stale callback " in str(cue.why(again))
        assert re.search(
            r"always \(tests/explain/test_why_stale\.py:\d+\) is asked only where that says no\.",
            str(cue.why(again)),
        )


def test_a_date_of_another_year_is_told_with_that() -> None:
    then = time.mktime((2026, 11, 28, 10, 0, 0, 0, 0, 0))
    assert clock_in_words(then + 2 * 86400, then) == "30 November, 10:00"
    assert clock_in_words(then + 365 * 86400, then) == "28 November 2027, 10:00"
