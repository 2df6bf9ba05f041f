"""Begin, come to rest, be overdue, be warned of, stop.

Must not know: how work units run.

Open first: `stopping`.
"""
