"""`python -m tests.generated N`: judge N programs."""

import sys

from .search import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
