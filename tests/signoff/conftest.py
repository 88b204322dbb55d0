"""The planted releases are shared with benchmarks/fidelity/signoff_simulation.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "fidelity"))
