"""The live display: what a run looks like while it goes on.

Must not know: the command line, faults. Needs rich, but for `snapshot`.

Open `watching` first.
"""
