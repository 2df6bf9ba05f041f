"""Where handlers run that do not run in the event loop.

Must not know: work units, order, limits; each executor is one module that knows `runcue.abc` alone.

Open first: `threads`.
"""
