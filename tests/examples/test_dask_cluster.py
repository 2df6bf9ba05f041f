"""The Dask example: a worker is killed in the middle, and every tile is there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from tests.support.programs import ROOT, run_example

pytest.importorskip("distributed", reason="the example takes the extra `dask`")

FOLDER = ROOT / "examples" / "dask_cluster"


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 there")
@pytest.mark.rule(59)
def test_a_worker_is_killed_in_the_middle_and_every_tile_is_there(tmp_path: Path) -> None:
    done = run_example(FOLDER / "draw.py", "--size", "30", "--kill-after", "5", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    killed, *again, drawn = done.stdout.splitlines()
    assert re.fullmatch(r"5 tiles are there; killed worker \d+ with -9", killed)
    # One thread had one tile; none, if it was killed between two.
    assert len(again) <= 1
    assert drawn == "40 tiles computed, 0 were there: out/dask_cluster/julia-30.pgm"
    picture = (tmp_path / "out" / "dask_cluster" / "julia-30.pgm").read_bytes()
    assert picture == b"P5 240 150 255\n" + expected(30)


def expected(size: int) -> bytes:
    """The points of the picture, computed here."""
    spec = importlib.util.spec_from_file_location("tiles", FOLDER / "tiles.py")
    assert spec is not None
    assert spec.loader is not None
    tiles = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiles)
    lines = []
    for row in range(5):
        parts = [tiles.compute(row, column, size, 8) for column in range(8)]
        lines += [part[line * size : (line + 1) * size] for line in range(size) for part in parts]
    return b"".join(lines)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--workers", "1"), "nobody is left to go on"),
        (("--workers", "0"), "--workers must be 1 to 64, got 0"),
        (("--size", "0"), "--size must be 1 to 2000 points, got 0"),
    ],
)
def test_what_cannot_be_is_refused(option: tuple[str, str], said: str, tmp_path: Path) -> None:
    refused = run_example(FOLDER / "draw.py", *option, folder=tmp_path)
    assert refused.returncode == 2
    assert said in refused.stderr
