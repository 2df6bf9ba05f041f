"""Runs in which things go wrong by seed, watched from outside and judged by what is promised.

Must not know: the command line, displays, reports of other runs.

Open `trial` first, then `checker`.
"""
