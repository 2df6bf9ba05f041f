"""A picture of a run: which work held which service, and when.

What lives here: `Timeline`, a listener that turns the events of a cue into bars, and `draw`, a pure function from bars
to an SVG document. The drawing knows neither the cue nor the clock, so whoever can name bars (a simulator, a log that
is read back) gets the same picture.

What it does not know: why a work unit waited, what a handler did, how the scheduler is built. It uses public names
only and nothing outside the standard library.
"""

from runcue.timeline._bars import Bar, Outcome
from runcue.timeline._picture import draw
from runcue.timeline._recorder import Timeline

__all__ = ["Bar", "Outcome", "Timeline", "draw"]

# In tracebacks and in documentation they are named as users import them.
for _public in (Bar, Timeline, draw):
    _public.__module__ = __name__
