"""Where handlers run that do not run in the event loop.

Must not know: work units, order, limits; each executor is one module that knows `runcue.abc`, and errors and texts of
`_model`.

Open first: `threads`; for what runs in other processes `calls`.
"""
