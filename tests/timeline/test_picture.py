"""The timeline's drawing: a pure function from bars to SVG, looked at through an XML parser; and its recorder."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import runcue
from runcue.timeline import Bar, Outcome, Timeline, draw
from runcue.timeline._bars import covered, load
from runcue.timeline._picture import _PALETTE, _colour
from runcue.timeline._scale import duration_text, tick_step, tick_text

SVG = "{http://www.w3.org/2000/svg}"


def bar(
    start: float,
    end: float,
    task: str = "task",
    service: str = "service",
    outcome: Outcome = "completed",
    **more: Any,
) -> Bar:
    services = more.pop("services", (service,))
    return Bar(more.pop("work_id", f"id-{start}"), task, services, start, end, outcome, **more)


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - the text was made a moment ago


def words(svg: str) -> list[str]:
    return [element.text or "" for element in parsed(svg).iter(f"{SVG}text")]


def tooltips(svg: str) -> list[str]:
    return [element.text or "" for element in parsed(svg).iter(f"{SVG}title")]


def boxes(svg: str, css_class: str) -> list[tuple[float, float, float, float]]:
    """The rectangles of a class as (y, x, width, height), those of the legend left out: they have no tooltip."""
    root = parsed(svg)
    described = [parent for parent in root.iter() if parent.find(f"{SVG}title") is not None]
    rectangles = [part for parent in described for part in parent.iter(f"{SVG}rect")]
    return sorted(
        tuple(float(part.attrib[name]) for name in ("y", "x", "width", "height"))  # type: ignore[misc]
        for part in rectangles
        if part.get("class") == css_class
    )


def test_the_same_bars_in_any_order_give_the_same_picture() -> None:
    bars = [bar(start, start + 2, task=f"t{start % 3}") for start in range(20)]
    shuffled = random.Random(1).sample(bars, len(bars))
    assert draw(shuffled, title="x") == draw(bars, title="x")


def test_bars_of_one_service_do_not_overlap_and_take_no_more_rows_than_ran_at_once() -> None:
    chance = random.Random(2)
    bars = [bar(start, start + chance.uniform(20, 90)) for start in range(0, 1000, 10)]
    rows: dict[float, list[tuple[float, float]]] = {}
    for y, x, width, _ in boxes(draw(bars), "t0"):
        rows.setdefault(y, []).append((x, x + width))
    assert len(rows) == max(level for _, level in load(bars))
    for row in rows.values():
        assert all(first[1] <= second[0] for first, second in pairwise(row))


def test_a_work_that_starts_when_another_ends_takes_over_its_row() -> None:
    assert len({y for y, *_ in boxes(draw([bar(0, 1), bar(1, 2), bar(2, 3)]), "t0")}) == 1


def test_services_stand_in_the_order_of_their_first_work() -> None:
    svg = draw([bar(2, 3, service="third"), bar(0, 1, service="first"), bar(1, 9, service="second")])
    assert [word for word in words(svg) if word in {"first", "second", "third"}] == [
        "first",
        "second",
        "third",
    ]


def test_a_work_of_several_services_is_drawn_once_for_each() -> None:
    svg = draw([bar(0, 1, services=("a", "b"))])
    assert len(boxes(svg, "t0")) == 2
    assert {"a", "b"} <= set(words(svg))


def test_a_work_without_a_service_has_a_row_that_says_so() -> None:
    assert "no service" in words(draw([bar(0, 1, services=())]))


def test_a_bar_too_short_to_see_is_widened() -> None:
    svg = draw([bar(0, 1e-6), bar(1, 100_000, task="other")])
    assert [width for *_, width, _ in boxes(svg, "t0")] == [1.5]


def test_two_thousand_bars_stay_within_the_page_and_have_a_tooltip_each() -> None:
    chance = random.Random(3)
    bars = [
        bar(start, start + chance.expovariate(1 / 30), service=chance.choice("abc"))
        for start in sorted(chance.uniform(0, 5000) for _ in range(2000))
    ]
    svg = draw(bars)
    width = float(parsed(svg).attrib["width"])
    assert len(tooltips(svg)) == 2000
    assert all(x > 0 and x + size <= width for _, x, size, _ in boxes(svg, "t0"))
    assert len(svg) < 500_000


def test_rows_get_thinner_when_there_are_many() -> None:
    few = boxes(draw([bar(0, 1) for _ in range(5)]), "t0")
    many = boxes(draw([bar(0, 1) for _ in range(150)]), "t0")
    assert len({y for y, *_ in many}) == 150
    assert many[0][3] < few[0][3]


@pytest.mark.parametrize(
    ("outcome", "css_class"), [("failed", "failed"), ("cancelled", "cancelled"), ("running", "running")]
)
def test_an_outcome_other_than_success_is_marked_on_the_bar_and_explained(
    outcome: Outcome, css_class: str
) -> None:
    svg = draw([bar(0, 5), bar(1, 5, outcome=outcome)])
    assert len(boxes(svg, css_class)) == 1
    assert any(outcome in word for word in words(svg))


def test_outcomes_that_did_not_occur_are_not_explained() -> None:
    assert not {"failed", "cancelled", "skipped", "never started"} & set(words(draw([bar(0, 1)])))


def test_a_failure_among_bars_thinner_than_a_pixel_is_drawn_last() -> None:
    bars = [bar(n, n + 1, outcome="failed" if n == 3 else "completed") for n in range(20_000)]
    svg = draw(bars)
    assert svg.rindex('class="cap"') > svg.rindex('class="t0"')


def test_skipped_work_units_at_one_instant_are_one_mark_with_their_number() -> None:
    svg = draw([bar(0, 9), *(bar(4, 4, outcome="skipped", task=f"k{n % 2}") for n in range(12))])
    cycles = [
        element for element in parsed(svg).iter(f"{SVG}circle") if element.find(f"{SVG}title") is not None
    ]
    assert len(cycles) == 1
    assert "\N{MULTIPLICATION SIGN}12" in words(svg)
    assert "6 skipped: k0\n6 skipped: k1" in tooltips(svg)


def test_a_work_cancelled_before_it_started_is_a_mark_of_its_own_kind() -> None:
    svg = draw([bar(0, 9), bar(4, 4, outcome="cancelled")])
    assert "never started" in words(svg)
    assert (
        len([element for element in parsed(svg).iter(f"{SVG}path") if element.get("class") == "dropped"]) == 2
    )


def test_the_header_counts_and_names_the_makespan() -> None:
    svg = draw([bar(10, 12), bar(11, 14), bar(12, 12, outcome="skipped")], title="My run")
    assert {"My run", "4.00 s", "1.2", "2"} <= set(words(svg))
    assert "3 work units \N{MIDDLE DOT} 2 completed \N{MIDDLE DOT} 1 skipped" in words(svg)


def test_each_service_says_what_share_of_the_time_it_was_busy() -> None:
    svg = draw([bar(0, 1, service="a"), bar(0.5, 2, service="a"), bar(0, 8, service="b")])
    facts = [word for word in words(svg) if "busy" in word]
    assert facts == [
        "2 ran \N{MIDDLE DOT} busy 25 % \N{MIDDLE DOT} 2 at once",
        "1 ran \N{MIDDLE DOT} busy 100 % \N{MIDDLE DOT} one at a time",
    ]


def test_the_legend_shows_every_task_with_its_count() -> None:
    svg = draw([bar(n, n + 1, task=f"task{n % 30}") for n in range(60)])
    assert {f"task{n} (2)" for n in range(30)} <= set(words(svg))


def test_a_label_stands_in_its_bar_if_there_is_room() -> None:
    svg = draw([bar(0, 90, label="page 7"), bar(90, 90.1, label="page 8")])
    assert "page 7" in words(svg)
    assert "page 8" not in words(svg)
    assert any("page 8" in tooltip for tooltip in tooltips(svg))


def test_a_tooltip_says_what_the_work_was_and_when_it_ran() -> None:
    svg = draw([bar(5, 6), bar(6, 8.5, task="read", work_id="w-1", label="p 3", outcome="failed")])
    expected = "read \N{MIDDLE DOT} p 3 \N{MIDDLE DOT} w-1\nfailed, at 1.00 s, took 2.50 s"
    assert expected in tooltips(svg)


@pytest.mark.parametrize("name", ["<&>\"'", "]]>", "\x00\x1b[31m", "\ud800", "\U0001f34e", "a" * 500])
def test_any_name_gives_a_valid_document(name: str) -> None:
    svg = draw([bar(0, 1, task=name, service=name, label=name, work_id=name)], title=name)
    parsed(svg)
    svg.encode()


def test_no_bars_give_a_picture_that_says_so() -> None:
    assert "Nothing has run yet." in words(draw([]))


@pytest.mark.parametrize("outcome", ["completed", "failed", "skipped", "cancelled", "running"])
def test_a_run_without_duration_is_drawn(outcome: Outcome) -> None:
    assert "0" in words(draw([bar(5, 5, outcome=outcome)]))


def test_an_end_before_the_start_counts_as_the_start() -> None:
    # A wall clock that is set back during a run.
    backward = bar(10, 4)
    assert backward.duration == 0
    assert "10.0 s" in words(draw([bar(0, 1), backward]))


def test_marks_of_time_do_not_depend_on_the_clock_that_gave_them() -> None:
    at_zero = draw([bar(0, 3, work_id="a"), bar(1, 4, work_id="b")])
    today = draw(
        [bar(1_700_000_000, 1_700_000_003, work_id="a"), bar(1_700_000_001, 1_700_000_004, work_id="b")]
    )
    assert at_zero == today


def test_covered_time_counts_overlaps_once() -> None:
    assert covered([bar(0, 2), bar(1, 3), bar(1, 2), bar(5, 6)]) == 4


@pytest.mark.parametrize(
    ("span", "step", "label"),
    [
        (9e-6, 1e-6, "3 \N{MICRO SIGN}s"),
        (0.004, 0.0005, "1.5 ms"),
        (0.9, 0.1, "300 ms"),
        (7.3, 1, "3 s"),
        (4.1, 0.5, "1.5 s"),
        (95, 10, "30 s"),
        (290, 30, "1:30 min"),
        (3000, 300, "15 min"),
        (7 * 3600, 3600, "3:00 h"),
        (3 * 86_400, 12 * 3600, "1 d 12 h"),
        (30 * 86_400, 4 * 86_400, "12 d"),
    ],
)
def test_ticks_are_round_in_the_unit_a_person_would_use(span: float, step: float, label: str) -> None:
    assert tick_step(span, 10) == pytest.approx(step)
    assert tick_text(3 * step, step, span) == label


@pytest.mark.parametrize("exponent", range(-5, 9))
def test_an_axis_never_has_too_many_or_too_few_ticks(exponent: int) -> None:
    for digit in (1, 1.7, 2.6, 4.9, 5.1, 9.9):
        span = digit * 10.0**exponent
        assert 3 <= span / tick_step(span, 10) <= 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000123, "12 \N{MICRO SIGN}s"),
        (0.412, "412 ms"),
        (0.9999, "1.00 s"),
        (7.3, "7.30 s"),
        (59.96, "60.0 s"),
        (125, "2 min 05 s"),
        (3 * 3600 + 720, "3 h 12 min"),
        (50 * 3600, "2 d 02 h"),
    ],
)
def test_durations_read_as_a_person_would_say_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_every_task_has_its_own_colour_and_none_is_the_red_of_failures() -> None:
    colours = [_colour(index) for index in range(40)]
    assert len(set(colours)) == 40
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)
    for colour in colours[len(_PALETTE) :]:
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        assert not (red > 180 and green < 90 and blue < 90)


def work(id: str, task: str = "read", end: str = "running", **stamps: float | None) -> Any:
    """What a timeline looks at of a work unit; tests say how it has ended."""
    return SimpleNamespace(
        id=id,
        task=task,
        params={"page": 3},
        skipped=end == "skipped",
        state=runcue.WorkState("completed" if end == "skipped" else end),
        **{"started_at": None, "completed_at": None, **stamps},
    )


@pytest.fixture
def cue() -> runcue.Cue:
    cue = runcue.Cue()
    cue.service("disk", concurrent=1)
    cue.task("read", uses="disk")(lambda work: None)
    return cue


def test_a_timeline_makes_a_bar_of_every_way_to_end(cue: runcue.Cue) -> None:
    timeline = Timeline(cue)
    timeline.started(work("a", started_at=1.0))
    timeline.settled(work("a", end="completed", started_at=1.0, completed_at=2.0), 1.0)
    timeline.settled(work("b", task="other", end="failed", started_at=1.0, completed_at=3.0), 2.0)
    timeline.settled(work("c", end="skipped", completed_at=1.5), 0.0)
    timeline.settled(work("d", end="cancelled", completed_at=2.5), 0.0)
    assert timeline.bars == [
        Bar("a", "read", ("disk",), 1.0, 2.0, "completed"),
        Bar("b", "other", (), 1.0, 3.0, "failed"),
        Bar("c", "read", ("disk",), 1.5, 1.5, "skipped"),
        Bar("d", "read", ("disk",), 2.5, 2.5, "cancelled"),
    ]


def test_a_timeline_shows_what_is_still_running(cue: runcue.Cue) -> None:
    timeline = Timeline(cue)
    timeline.started(work("a", started_at=1.0))
    (running,) = timeline.bars
    assert (running.outcome, running.start) == ("running", 1.0)
    assert running.end > 1.0
    assert "still running" in words(timeline.svg())


def test_a_label_comes_from_the_work(cue: runcue.Cue) -> None:
    timeline = Timeline(cue, label=lambda work: f"p {work.params['page']}")
    timeline.settled(work("a", end="skipped", completed_at=1.0), 0.0)
    assert timeline.bars[0].label == "p 3"


def test_keep_bounds_what_is_remembered(cue: runcue.Cue) -> None:
    timeline = Timeline(cue, keep=10)
    for number in range(25):
        timeline.settled(work(str(number), end="skipped", completed_at=float(number)), 0.0)
    assert [bar.work_id for bar in timeline.bars] == [str(number) for number in range(15, 25)]


def test_the_file_appears_whole_with_nothing_beside_it(cue: runcue.Cue, tmp_path: Path) -> None:
    timeline = Timeline(cue)
    timeline.settled(work("a", end="skipped", completed_at=1.0), 0.0)
    target = tmp_path / "run.svg"
    target.write_text("old")
    timeline.write_svg(target, title="Mine")
    assert target.read_text(encoding="utf-8") == timeline.svg(title="Mine")
    assert list(tmp_path.iterdir()) == [target]


def test_a_picture_that_cannot_be_written_is_an_oserror_and_leaves_nothing(
    cue: runcue.Cue, tmp_path: Path
) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on the system
        Timeline(cue).write_svg(target)
    assert list(tmp_path.iterdir()) == [target]
