"""Names of the files that runcue keeps beside those of its users: how long they may be, and how longer ones are cut.

Must not know: which files there are.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["LONGEST_NAME", "fitted"]

LONGEST_NAME: Final = 143
"""Bytes in the name of a file. Most filesystems allow 255; eCryptfs, on many a NAS, no more than this."""


def fitted(name: str, mark: str, ending: str = "") -> str:
    """A name that any filesystem takes: of one that is too long the beginning, with a digest of all of it.

    Args:
        name: The name, with its ending.
        mark: What stands between the two parts of a name that was cut.
        ending: What a name ends with that was cut.
    """
    # The longest character takes four bytes: most names need not be encoded to know that they are short enough.
    if len(name) * 4 > LONGEST_NAME and len(encoded := os.fsencode(name)) > LONGEST_NAME:
        from hashlib import blake2b  # noqa: PLC0415 - names are seldom so long

        last = f"{mark}{blake2b(encoded, digest_size=8).hexdigest()}{ending}"
        # The cut may split a character.
        name = os.fsdecode(encoded[: LONGEST_NAME - len(last)].decode(errors="ignore")) + last
    return name
