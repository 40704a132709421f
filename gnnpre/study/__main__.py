"""``python -m gnnpre.study``: run a study, say how long it takes, write its report."""

import sys

from ._commands import main

if __name__ == "__main__":
    sys.exit(main())
