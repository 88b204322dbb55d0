"""The planted releases and the mutations are shared with benchmarks/."""

import sys
from pathlib import Path

for room in ("fidelity", "reliability"):
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / room))
