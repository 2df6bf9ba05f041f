"""The mandelbrot example: the picture is right, is made once, and says how far it is."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.mandelbrot import Progress, escape_times
from tests.support.programs import run_example

PROGRAM = Path(__file__).parents[2] / "examples" / "mandelbrot.py"
SMALL = ["--view", "whole", "--size", "120", "--tiles", "4"]


def run_program(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_example(PROGRAM, *arguments, folder=folder)


def test_a_picture_is_drawn_once_and_after_a_loss_only_what_was_lost(tmp_path: Path) -> None:
    first = run_program(*SMALL, folder=tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    assert "17 work units done and 0 skipped" in first.stdout
    picture = tmp_path / "out" / "mandelbrot" / "whole-120-4x4.png"
    with Image.open(picture) as image:
        assert image.size == (120, 80)
        assert len(image.getcolors(maxcolors=120 * 80) or []) > 200
        drawn = image.tobytes()

    second = run_program(*SMALL, folder=tmp_path)
    assert (second.returncode, second.stderr) == (0, "")
    assert "up to date, all 17 work units skipped" in second.stdout

    next(picture.parent.glob("tiles/*/tile-001-002.npy")).unlink()
    third = run_program(*SMALL, folder=tmp_path)
    assert "2 work units done and 15 skipped" in third.stdout
    with Image.open(picture) as image:
        assert image.tobytes() == drawn


def test_tiles_that_do_not_divide_evenly_make_the_same_picture(tmp_path: Path) -> None:
    for tiles in ("1", "7"):
        done = run_program(
            "--view", "seahorses", "--size", "100", "--tiles", tiles, "--out", ".", folder=tmp_path
        )
        assert (done.returncode, done.stderr) == (0, "")
    one, many = tmp_path / "seahorses-100-1x1.png", tmp_path / "seahorses-100-7x7.png"
    with Image.open(one) as whole, Image.open(many) as tiled:
        assert whole.tobytes() == tiled.tobytes()


def test_escape_times_are_those_of_the_definition() -> None:
    re, im = np.linspace(-2, 1, 40), np.linspace(1.2, -1.2, 30)
    times = escape_times(re, im, iterations=100)
    for row in range(30):
        for column in range(40):
            c, z, steps = complex(re[column], im[row]), 0j, 0
            while abs(z) <= 1000 and steps < 100:
                z = z * z + c
                steps += 1
            if abs(z) <= 1000:
                assert times[row, column] == 0
            else:
                assert steps - 4 < times[row, column] <= steps + 1


def test_a_picture_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "whole-120-4x4.png").mkdir()
    refused = run_program(*SMALL, "--out", ".", folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("mandelbrot: stitch: ")
    assert refused.stderr.count("\n") == 1
    assert "work units done" not in refused.stdout


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_rewrites_one_line_on_a_terminal_and_prints_few_elsewhere() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        progress = Progress(400, stream)
        for _ in range(400):
            progress.tile_settled()
        progress.end_line()
    assert terminal.getvalue().count("\r") == 400
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().endswith("100%  400 of 400 tiles\n")
    assert "\r" not in pipe.getvalue()
    assert pipe.getvalue().count("\n") == 10


def test_the_program_explains_itself(tmp_path: Path) -> None:
    done = run_program("--help", folder=tmp_path)
    assert done.returncode == 0
    assert "Mandelbrot set in tiles" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["--tiles", "0"], ["--tiles", "-3"], ["--tiles", "101"], ["--size", "0"], ["--size", "99999"],
     ["--size", "30", "--tiles", "21"], ["--view", "nowhere"], ["--size", "wide"]],
)  # fmt: skip
def test_impossible_pictures_are_one_clear_line(arguments: list[str], tmp_path: Path) -> None:
    refused = run_program(*arguments, folder=tmp_path)
    assert refused.returncode == 2
    assert "mandelbrot.py: error: " in refused.stderr.splitlines()[-1]


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = run_program("--out", "file/pictures", folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("mandelbrot: cannot write to file/pictures")
    assert refused.stderr.count("\n") == 1
