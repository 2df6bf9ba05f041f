"""What can be run: the scenarios that come along, and a user's own program, made ready.

Must not know: the command line, displays, faults.

Open `prepared` first.
"""
