"""What a cue does, shown while it does it: on a terminal, in a notebook, or as a plain line now and then.

Lives here: `runcue.progress()`. `display` opens and ends it, and has a thread of its own that draws; `tally` counts
what becomes of work units, `waits` says why some of them wait, `eta` how long the rest takes; `snapshot` is all of
that as of one instant, and `frame` lays it out with rich; `terminal` and `views` are where it is shown. Open `display`
first.

Must not know: more of runcue than what every user sees. rich is imported only once something is to be shown.
"""

from runcue.console.display import progress

__all__ = ["progress"]

# In tracebacks and in documentation it is named as users import it.
progress.__module__ = "runcue"
