"""Why a work is where it is. Reads only.

Must not know: how to change anything.

Open first: `why`.
"""
