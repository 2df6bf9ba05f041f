"""Proof outside runcue: what an artifact is, who looked at it, who hears of changes, how files appear whole.

Must not know: when work runs.

Open first: `artifact`.
"""
