"""What users write with commands passes `mypy --strict`. Never run."""

from pathlib import Path
from typing import assert_type

import runcue

cue = runcue.Cue(max_processes=2)
pack = runcue.shell("gzip -c {inputs[0]} > {outputs[0]}")
cue.task("pack", inputs=lambda path: path, outputs=lambda path: f"{path}.gz")(pack)
runcue.shell("make", cwd=Path("build"), env={"LANG": "C"})
cue.task("words", uses="disk", retry=3, timeout="1min")(runcue.shell(["gzip", "-k", Path("a")]))


async def main() -> None:
    await cue.submit(pack, params={"path": "a"})
    try:
        await cue.submit("words")
    except runcue.CommandFailed as error:
        assert_type(error.returncode, int)
        assert_type(error.stderr, str)


runcue.shell(7)  # type: ignore[arg-type]
runcue.shell("ls", cwd=7)  # type: ignore[arg-type]
runcue.shell("ls", env={"LANG": 7})  # type: ignore[dict-item]
runcue.shell("ls", "-l")  # type: ignore[call-arg]
