"""What a run has shown: as text for people, as JSON for programs, as an exit code.

Must not know: how it was run or watched.

Open `report` first.
"""
