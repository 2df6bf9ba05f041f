"""What is around a handler: its coroutine, its params, its outputs.

Must not know: when handlers run, or what their end means for others.

Open first: `outputs`.
"""
