"""What users describe before anything runs, checked in the line of the mistake.

Must not know: how anything runs.

Open first: `registry`.
"""
