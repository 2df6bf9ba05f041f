"""What runs: the two clocks, a world in memory, and one run from the start of a cue to its end.

Must not know: scenarios, users' programs, how a run is shown.

Open `run` first.
"""
