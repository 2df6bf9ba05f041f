"""docs/simulator.md tells the truth: each command gives the output that stands below it, and the pictures are there."""

import re
import shlex
from pathlib import Path

import pytest

from runcue_sim._commands.command_line import parse
from runcue_sim._commands.main import main
from tests.docs.test_readme import ROOT, run_block
from tests.support.pictures import PICTURE, RUN, frame_as_svg

PAGE = ROOT / "docs" / "simulator.md"
TEXT = PAGE.read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = FENCE.findall(TEXT)
COMMANDS = [
    (body.removeprefix("$ runcue-sim ").strip(), BLOCKS[place + 1][2])
    for place, (language, _, body) in enumerate(BLOCKS)
    if language == "console"
]


def without_speed(text: str) -> str:
    """Output without what depends on the machine."""
    return re.sub(r"simulated in .* a second\), |, in \d+\.\d s$", "", text, flags=re.MULTILINE).strip()


@pytest.mark.parametrize(("command", "said"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_command_of_the_page_prints_what_is_said(
    command: str,
    said: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _, name, body in BLOCKS:
        if name:
            (folder / name).write_text(body, encoding="utf-8")
    assert main(shlex.split(command)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert without_speed(out) == without_speed(said)


def test_its_program_runs_as_written(tmp_path: Path) -> None:
    from tests.docs.test_readme import Block

    [body] = [body for language, name, body in BLOCKS if language == "python" and not name]
    run_block(PAGE, Block("python", 1, body), tmp_path)
    assert '"call"' in (tmp_path / "empty" / "run.json").read_text(encoding="utf-8")


def test_every_option_it_names_exists_and_every_option_is_in_the_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    described = capsys.readouterr().out
    for option in set(re.findall(r"--[a-z][a-z-]+", TEXT)):
        assert option in described


def test_the_picture_of_the_display_is_what_it_looks_like() -> None:
    assert PICTURE.read_text(encoding="utf-8") == frame_as_svg(RUN)
    svg = PICTURE.read_text(encoding="utf-8")
    assert re.findall(r"https?://[^\"')\s]+", svg) == ["http://www.w3.org/2000/svg"]
    assert "url(" not in svg.replace("url(#", "")
    assert "ETA" in svg


def test_its_pictures_are_there() -> None:
    for name in re.findall(r"!\[[^]]*\]\(([^)]*)\)", TEXT):
        picture = (PAGE.parent / name).read_text(encoding="utf-8")
        assert picture.lstrip().startswith("<svg")
        # A picture that asks another machine for its font would tell that machine who reads the page.
        assert not re.search(r"""(href|src|url)\s*[=(]\s*["']?https?://""", picture)
