"""What one look at this machine finds: a Check, its state, and the refusal that a run makes of missing ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from safety_eval.core.errors import UserError


class State(Enum):
    """How a thing that was looked at stands."""

    READY = "ready"
    DOWNLOAD = "download"
    """Not here, and will be fetched when it is needed."""
    CAUTION = "caution"
    """Usable, with a loss that is named."""
    ABSENT = "absent"
    """Not here, and nothing that was asked for needs it."""
    MISSING = "missing"
    """Needed and not to be had: the run cannot start."""


class Kind(Enum):
    """What sort of thing was looked at; the order of the list that people read."""

    MACHINE = "machine"
    PACKAGE = "package"
    ENGINE = "engine"
    MODEL = "model"
    TASK = "task"
    DATA = "data"
    INSTRUMENT = "instrument"
    CONTEXT = "context"
    FOLDER = "folder"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        kind, name: what it is.
        state: how it stands.
        detail: what was found, in words.
        advice: what to do about it, or which flag chooses another.
        size: bytes that would be downloaded, None = unknown or nothing.
        gated: its publisher asks for an accepted licence and a token.
        used_by: names of the tasks that need it.
    """

    kind: Kind
    name: str
    state: State
    detail: str
    advice: str = ""
    size: int | None = None
    gated: bool = False
    used_by: tuple[str, ...] = ()


class PreflightError(UserError):
    """A run that cannot start; `checks` holds everything that was looked at."""

    def __init__(self, message: str, checks: Sequence[Check]) -> None:
        super().__init__(message)
        self.checks = tuple(checks)


def size_text(size: int) -> str:
    """Bytes in words, as download pages print them: 13.4 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
