"""What runcue says of what waits, wherever the checkout lies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.places import from_the_checkout


@pytest.fixture(autouse=True)
def _places_are_told_from_the_checkout() -> Iterator[None]:
    with from_the_checkout():
        yield
