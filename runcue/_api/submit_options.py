"""The options of a submission, as type checkers see them where `submit()` has overloads.

Lives here: `SubmitOptions`, `Artifacts`. Type checkers know this module, Python need not.

Must not know: what the options mean (that is said at `Cue.submit`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

from runcue._artifacts.artifact import Artifact
from runcue._scheduling.retry import Policy
from runcue.abc import Freshness

__all__ = ["Artifacts", "Cost", "SubmitOptions"]

OneArtifact = str | os.PathLike[str] | Artifact
Artifacts = (
    OneArtifact | Iterable[OneArtifact] | Callable[..., OneArtifact | Iterable[OneArtifact] | None] | None
)
"""What `inputs=` and `outputs=` take."""


Cost = Mapping[str, Any] | Callable[..., Mapping[str, Any]] | None
"""What `cost=` takes; an amount is an int, a float, text, a Decimal or a Fraction."""


class SubmitOptions(TypedDict, total=False):
    """See `Cue.submit`."""

    inputs: Artifacts
    outputs: Artifacts
    fresh: Freshness | None
    key: Hashable
    lane: Hashable
    duplicate: Literal["join", "error"] | None
    force: bool
    priority: float | None
    timeout: float | str | timedelta | None
    retry: int | Policy | None
    must_complete: bool | None
    cost: Cost
    delay: float | str | timedelta | None
    run_at: float | datetime | None
    metadata: Mapping[Any, Any] | None
    wait: bool
