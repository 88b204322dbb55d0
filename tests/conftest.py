"""Fixtures that every test may use. Real data: SAFETY_EVAL_DATA, or a mirror beside the checkout. One browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
# One thread a worker: the tests' models are tiny, and the threads of two workers on two cores spin against each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Cards of scorers that whoever runs the tests has made are no part of them, nor are the tests' part of theirs.
_CARDS = TemporaryDirectory(prefix="cards-")
os.environ["SAFETY_EVAL_CARDS"] = _CARDS.name

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


def chromium() -> str | None:
    """The browser of this machine."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """One Chromium for all tests; skips, saying so, where there is none."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium on this machine: install it (apt-get install chromium) or name it in CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        shown = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield shown
        shown.close()
