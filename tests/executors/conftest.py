"""One Dask cluster for all tests of a run that do not end it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clusters import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    distributed = pytest.importorskip("distributed", reason="it takes the extra `dask`")
    with Cluster(tmp_path_factory.mktemp("cluster")) as made:
        with distributed.Client(made.address, set_as_default=False) as client:
            client.wait_for_workers(2)
        yield made
