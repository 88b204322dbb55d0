"""How far a run is, as bars in a notebook."""

from __future__ import annotations

import sys
from typing import Any


class Bars:
    """A bar for each stage of a run: prompts or answers that are done, their rate, and the time that is left."""

    def __init__(self, bar: Any) -> None:
        self._make, self._bar = bar, None

    def stage(self, name: str, total: int, done: int) -> None:
        self._close()
        self._bar = self._make(desc=name, total=total, initial=done, leave=False)

    def advance(self, count: int = 1) -> None:
        if self._bar is not None:
            self._bar.update(count)
            if self._bar.n >= self._bar.total:
                self._close()

    def note(self, text: str) -> None:
        self._make.write(text)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def notebook_bars() -> Bars | None:
    """Bars where code runs in a notebook and tqdm is installed; None elsewhere."""
    if "ipykernel" not in sys.modules:
        return None
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return Bars(tqdm)
