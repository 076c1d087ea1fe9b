"""`python -m gtp_core`."""

import sys

from gtp_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
