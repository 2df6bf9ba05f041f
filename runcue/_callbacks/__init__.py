"""The only caller of user callbacks, and the one policy for what they raise.

Must not know: event loops, tasks, limits.

Open first: `callbacks`.
"""
