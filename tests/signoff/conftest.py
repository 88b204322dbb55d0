"""Planted releases and mutations are shared with benchmarks/, planted models with tests/journeys."""

import sys
from pathlib import Path

for room in ("fidelity", "reliability"):
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / room))
sys.path.insert(0, str(Path(__file__).parents[1] / "journeys"))
