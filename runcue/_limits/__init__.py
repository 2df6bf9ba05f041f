"""May one more start now, at what cost, and if not, when.

Must not know: who waits, in which order, event loops. Nothing here executes anything; `now` is an argument.

Open first: `service`.
"""
