"""Tesseract: whether it is there, and what it reads on a picture.

Must not know: runcue, the PDF, where the text goes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import anyio

# Left to itself every tesseract starts a thread per core, and as many of them as there are cores then spend their time
# waiting for each other: 44 times slower was measured.
_ENVIRONMENT = {"OMP_THREAD_LIMIT": "1"}


class OcrError(Exception):
    """Tesseract is missing, or could not read a picture; the text is what it said."""


def find_tesseract(language: str) -> str:
    """Look for tesseract.

    Args:
        language: The language it shall read, as tesseract calls it: "eng", "deu", "eng+fra".

    Returns:
        Its version, such as "tesseract 5.3.0".

    Raises:
        OcrError: It is not installed, does not run, or does not know the language.
    """
    if shutil.which("tesseract") is None:
        raise OcrError("tesseract is not installed")
    try:
        version = subprocess.run(
            ["tesseract", "--version"], capture_output=True, text=True, check=True, timeout=30
        )
        listed = subprocess.run(
            ["tesseract", "--list-langs"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise OcrError("tesseract is installed, but does not run") from error
    # The oldest versions in use write both to stderr.
    known = (listed.stdout + listed.stderr).split()
    for name in language.split("+"):
        if name not in known:
            raise OcrError(f"tesseract has no data for the language {name!r}")
    return (version.stdout + version.stderr).splitlines()[0]


def cores() -> int:
    """Return how many processors this process may use, which is how many pages are worth reading at once."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


async def read_picture(picture: Path, language: str) -> str:
    """Return the text on a picture.

    Args:
        picture: A PNG.
        language: As for `find_tesseract`.

    Raises:
        OcrError: Tesseract failed.
    """
    done = await anyio.run_process(
        ["tesseract", str(picture), "stdout", "-l", language],
        check=False,
        env={**os.environ, **_ENVIRONMENT},
        # Ctrl-C in a terminal reaches the whole group of processes, and a page that is being read shall be finished.
        start_new_session=True,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise OcrError(
            f"tesseract failed on {picture.name}: {said[-1] if said else f'exit {done.returncode}'}"
        )
    return done.stdout.decode(errors="replace").replace("\f", "")
