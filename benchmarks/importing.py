"""P8: what `import runcue` costs a program.

Lives here: the time of the import statement alone, taken by the statement before and after it in a new interpreter.

Must not know: how figures are shown.
"""

from __future__ import annotations

import os
import subprocess
import sys
from tempfile import TemporaryDirectory

from benchmarks.measuring import Figure, compare, compared

__all__ = ["p8"]


def seconds_to_import(module: str, bytecode: str) -> float:
    """Bare start is not in it, and what it has imported by itself is free for either module.

    `-X importtime` was not taken: what it does per module falls on a package of many small ones.

    Args:
        module: What to import.
        bytecode: A folder for compiled modules. Installed packages come compiled, or are from their first import on;
            a checkout may be set up not to write any, and would be compiled each time.
    """
    program = f"from time import perf_counter as now; began = now(); import {module}; print(now() - began)"
    variables = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=variables
    )
    return float(answer.stdout)


def p8(*, quick: bool) -> list[Figure]:
    with TemporaryDirectory() as bytecode:
        found = compare(
            lambda: seconds_to_import("asyncio", bytecode),
            lambda: seconds_to_import("runcue", bytecode),
            rounds=3 if quick else 21,
        )
    return [compared("P8", "import runcue", 1.6, found, scale=1e3, each="ms", beside="import asyncio")]
