"""`python -m safety_eval`: the command line, where no script is on the path."""

from __future__ import annotations

import sys

from safety_eval.cli import main

if __name__ == "__main__":
    sys.exit(main())
