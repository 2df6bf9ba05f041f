"""What `runcue-sim` can be told to do, each command with its options.

Must not know: how a cue is run, a report worded or a fault brought about.

Open `main` first.
"""
