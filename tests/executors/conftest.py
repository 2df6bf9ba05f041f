"""One Dask cluster for all tests of a run that do not end it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clusters import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made
