"""`python -m albertqa`: the same as `albertqa`."""

import sys

from albertqa.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
