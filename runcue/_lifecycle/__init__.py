"""Begin, come to rest, be overdue, be warned of, stop.

Must not know: how works run.

Open first: `stopping`.
"""
