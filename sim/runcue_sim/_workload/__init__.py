"""What stands in for handlers: how long they take and whether they fail, by luck that can be repeated.

Must not know: cues, clocks, scenarios.

Open `latency` first: `Model` draws for a work.
"""
