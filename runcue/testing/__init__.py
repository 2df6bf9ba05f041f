"""Tools for tests of programs that use runcue: a virtual clock, a fake executor and a recorder of events.

Lives here: what runcue's own tests use, shipped because its users need the same. Open `virtual_time` first.

`run(main)` runs an async function on a `VirtualTimeLoop`: an hour of rate limits takes milliseconds, and a test that
would hang fails at once, because with nothing left to wait for the loop raises `NothingLeft`. `run(main, order=7)` runs
it in another order of what asyncio leaves open: a test that only holds in one of them is found by trying some seeds.
"""

from runcue.testing.fake_executor import FakeExecutor
from runcue.testing.recorder import Heard, Recorder
from runcue.testing.virtual_time import EPOCH, NothingLeft, VirtualTimeLoop, run

__all__ = ["EPOCH", "FakeExecutor", "Heard", "NothingLeft", "Recorder", "VirtualTimeLoop", "run"]

# In tracebacks and in documentation they are named as users import them.
for _public in (FakeExecutor, Heard, NothingLeft, Recorder, VirtualTimeLoop, run):
    _public.__module__ = __name__
