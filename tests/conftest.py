"""Fixtures that every test may use. Real data: SAFETY_EVAL_DATA, or a mirror beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
# One thread a worker: the tests' models are tiny, and the threads of two workers on two cores spin against each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The local mirror of the public data sets; skips, saying so, where there is none."""
    given = os.environ.get("SAFETY_EVAL_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "hub").is_dir():
        pytest.skip("no real data: set SAFETY_EVAL_DATA to a local mirror")
    return folder
