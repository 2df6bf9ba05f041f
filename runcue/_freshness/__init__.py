"""When proof is out of date, and what is remembered to tell.

Must not know: who asks, when, or what follows from the answer.

Open first: `newer`.
"""
