"""Errors a user can act on. Each says what happened, to what, and what to do next, and carries its exit code.

Exit codes (the same everywhere): 0 done or approved, 1 our bug, 2 wrong use or bad input, 3 rejected by the
policy, 4 cannot decide (something unmeasured, or a record that does not match its hash), 5 approved with waivers;
130 stopped by hand, 141 whoever read the output has gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SafetyEvalError(Exception):
    """Base of every error that we raise on purpose.

    Args:
        message: what happened, to what.
        hint: what to do next, one sentence; printed on its own line.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.hint}" if self.hint else self.message


class UserError(SafetyEvalError):
    """Wrong use: an unknown name, a missing extra, a bad or missing file, a damaged input (exit 2)."""


class CannotDecideError(SafetyEvalError):
    """Not enough was measured to say anything (exit 4)."""

    exit_code = 4


class EvidenceError(SafetyEvalError):
    """A record or file of a run does not match its hash (exit 4)."""

    exit_code = 4


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that offers the nearest known name, or lists what there is."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    listing = ", ".join(names) or "none"
    return f"Did you mean '{close[0]}'? Known: {listing}." if close else f"Known: {listing}."
