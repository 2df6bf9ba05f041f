"""The states that work units are in and what follows from them. Decisions only.

Must not know: clocks, event loops, threads, loggers, user code. `now` is an argument, so all of it is tested without a
loop.

Open first: `core`.
"""
