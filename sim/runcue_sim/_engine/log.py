"""The log of runcue while a cue is run: kept from being printed, and given to whoever wants it instead.

Must not know: what is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def log_given_to(handler: logging.Handler, level: int = logging.NOTSET) -> Iterator[None]:
    """Let the log go to a handler and nowhere else.

    Args:
        handler: Takes it.
        level: What is below it is not even put in words; by default that is left as it is.
    """
    logger = logging.getLogger("runcue")
    before = logger.propagate, logger.level
    logger.propagate = False
    if level:
        logger.setLevel(level)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before[0]
        logger.setLevel(before[1])
