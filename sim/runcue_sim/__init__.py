"""runcue-sim tries a pipeline before it costs money. The command is described in docs/simulator.md.

Programs need `Recording` alone, which notes how long the handlers of a real run took, for a rehearsal of the next.
"""

from runcue_sim.recording import Recording

__all__ = ["Recording"]
