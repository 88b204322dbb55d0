"""Progress on a terminal (a bar with rate and time left), or one JSON line now and then where there is none."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

_EVERY_SECONDS = 10.0


class _Rate(TextColumn):
    """Prompts (or answers) a second since the stage began, those of earlier runs not counted."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: object) -> Text:
        speed = getattr(task, "speed", None)
        return Text(f"{speed:6.1f}/s" if speed else "      /s", style="cyan")


class TerminalProgress:
    """One bar for each stage, on standard error."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )
        self._task: TaskID | None = None

    def stage(self, name: str, total: int, done: int) -> None:
        self._task = self._bar.add_task(name, total=total, completed=done)

    def advance(self, count: int = 1) -> None:
        if self._task is not None:
            self._bar.advance(self._task, count)

    def note(self, text: str) -> None:
        self._bar.console.print(Text(text, style="dim"))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()


class LineProgress:
    """For logs and CI: one JSON object on a line, at most every ten seconds and at the end of a stage."""

    def __init__(self) -> None:
        self._name, self._total, self._done = "", 0, 0
        self._begun = self._told = time.monotonic()
        self._before = 0

    def stage(self, name: str, total: int, done: int) -> None:
        self._name, self._total, self._done, self._before = name, total, done, done
        self._begun = self._told = time.monotonic()

    def advance(self, count: int = 1) -> None:
        self._done += count
        now = time.monotonic()
        if self._done == self._total or now - self._told > _EVERY_SECONDS:
            self._told = now
            rate = (self._done - self._before) / max(now - self._begun, 1e-9)
            left = (self._total - self._done) / rate if rate else None
            self._print(
                {
                    "stage": self._name,
                    "done": self._done,
                    "of": self._total,
                    "per_second": round(rate, 2),
                    "seconds_left": None if left is None else round(left),
                }
            )

    def note(self, text: str) -> None:
        self._print({"note": text})

    def _print(self, row: dict[str, object]) -> None:
        print(json.dumps(row), file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None


def progress() -> TerminalProgress | LineProgress:
    """The one that suits standard error."""
    console = Console(stderr=True)
    return TerminalProgress(console) if console.is_terminal else LineProgress()
