"""docs/clusters.md tells the truth: its programs run as written, on a cluster, and print what is said."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.test_readme import LANGUAGES, ROOT, blocks
from tests.support.clusters import Cluster
from tests.support.programs import run_python

BLOCKS = blocks(ROOT / "docs" / "clusters.md")


@pytest.mark.rule(59)
def test_the_programs_of_the_page_run_as_written_and_print_what_is_said(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="it takes the extra `dask`")
    programs = [pair for pair in pairwise(BLOCKS) if pair[0].language == "python"]
    assert len(programs) == 2
    with Cluster(tmp_path, workers=1) as cluster:
        for program, said in programs:
            (tmp_path / "program.py").write_text(program.body, encoding="utf-8")
            done = run_python("program.py", folder=tmp_path, env={"DASK_SCHEDULER": cluster.address})
            assert (done.stdout, done.stderr) == (said.body, "")


def test_no_block_escapes_by_its_name() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES
