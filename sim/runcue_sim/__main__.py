"""`python -m runcue_sim` is `runcue-sim`."""

import sys

from runcue_sim._commands.main import main

if __name__ == "__main__":
    sys.exit(main())
