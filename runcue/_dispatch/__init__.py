"""The async shell: the only owner of asyncio tasks and timers. It turns the core's decisions into running handlers.

Must not know: how limits are kept, in which order work units come, how callbacks fail, when a cue may stop.

Open first: `dispatcher`.
"""
