"""Why a work unit is where it is. Reads only.

Must not know: how to change anything.

Open first: `why`; what its answers say stands in `answers`.
"""
