"""What would become of work units: the dry run.

Must not know: event loops. Nothing is submitted, started or told.

Open first: `planner`.
"""
