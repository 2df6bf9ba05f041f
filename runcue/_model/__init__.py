"""The nouns of runcue: a work unit, a task, what they declare, their phases; events, errors, checks and texts.

Must not know: limits, order, time, event loops, threads. Nothing here does anything by itself.

Open first: `work`.
"""
