"""docs/architecture.md draws what is there: its picture is the table of transitions, its packages are the rooms."""

from __future__ import annotations

import re
from pathlib import Path

from runcue._model.phases import PHASES, RUNNING
from runcue._scheduling.transitions import TRANSITIONS
from tests.docs.test_readme import ROOT, blocks
from tests.unit.test_architecture import EXTRAS, ROOMS

PAGE = ROOT / "docs" / "architecture.md"
ARROW = re.compile(r"^(?P<from>\w+|\[\*\]) --> (?P<to>\w+|\[\*\])(?: : [\w ,]+)?$")
TABLE = {(PHASES[old], PHASES[new]) for old, allowed in TRANSITIONS.items() for new in allowed}


def drawn() -> tuple[list[tuple[str, str]], set[str], list[str]]:
    """Returns the arrows of the picture, the phases inside the box, and the lines that are neither."""
    [picture] = [block.body for block in blocks(PAGE) if block.language == "mermaid"]
    first, *lines = [line.strip() for line in picture.splitlines() if line.strip()]
    assert first == "stateDiagram-v2"
    arrows, inside, rest, in_box = [], set(), [], False
    for line in lines:
        arrow = ARROW.match(line)
        if arrow is None:
            rest.append(line)
            in_box = line.startswith("state ") or (in_box and line != "}")
        else:
            arrows.append((arrow["from"], arrow["to"]))
            if in_box:
                inside |= {arrow["from"], arrow["to"]}
    return arrows, inside, rest


def test_the_arrows_are_those_of_the_table_each_once() -> None:
    arrows, inside, rest = drawn()
    assert rest == ["state pending {", "}"]
    ends = [arrow for arrow in arrows if "[*]" in arrow]
    assert ends == [("[*]", PHASES[0]), (PHASES[-1], "[*]")]
    expanded = [
        (phase, to)
        for source, to in arrows
        if (source, to) not in ends
        for phase in (sorted(inside) if source == "pending" else [source])
    ]
    assert set(expanded) == TABLE
    assert len(expanded) == len(TABLE)


def test_the_box_holds_the_phases_that_are_pending() -> None:
    _, inside, _ = drawn()
    assert inside == set(PHASES[:RUNNING])


def test_each_phase_is_explained() -> None:
    explained = re.findall(r"^- \*\*(\w+)\*\*: ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert explained == [*PHASES]


def test_the_packages_are_those_of_the_house_in_their_order() -> None:
    text = PAGE.read_text(encoding="utf-8")
    section = text[text.index("## The packages") : text.index("## The states")]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == ROOMS
    assert all(f"`{extra}`" in section for extra in EXTRAS)


def test_the_files_it_names_are_there() -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", PAGE.read_text(encoding="utf-8"))
    assert named
    missing = [
        one for one in named if not any((Path(root) / one).exists() for root in (ROOT, ROOT / "runcue"))
    ]
    assert missing == []
