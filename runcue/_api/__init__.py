"""What users call.

Must not know: order, limits, tasks of asyncio: whatever is decided is decided above.

Open first: `cue`.
"""
