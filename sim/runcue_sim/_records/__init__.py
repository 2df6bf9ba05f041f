"""What is kept of a run: its event log, its ledger, and what follows from that.

Must not know: how a run is made to go on, or who looks at it.

Open `ledger` first.
"""
