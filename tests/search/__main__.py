"""``python -m tests.search``."""

import sys

from tests.search.command import main

if __name__ == "__main__":
    sys.exit(main())
