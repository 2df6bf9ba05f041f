"""What makes outputs out of date, in the words of `cue.why_stale()` and of `cue.plan()`: one table, two tenses."""

import pytest

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._explain.out_of_date import out_of_date

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
