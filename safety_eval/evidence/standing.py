"""Where a run stands: does it have a verdict, and does that verdict hold for what lies in the folder now?

Whoever shows a verdict (report, model card, bill of materials) asks here and never reads signoff.json alone, which
anybody can edit and which stays behind when a run is scored again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from safety_eval.core.errors import EvidenceError, SafetyEvalError
from safety_eval.core.store import read_json
from safety_eval.evidence import bundles, verification
from safety_eval.evidence.hashes import sha256
from safety_eval.signoff.verdict import Verdict, from_json


class State(enum.Enum):
    """What a run has: no verdict, one that was checked just now, or one that does not belong to its records."""

    NOT_JUDGED = "not judged"
    CURRENT = "current"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Standing:
    """The verdict of a run, checked.

    Attributes:
        state: see State.
        verdict: the verdict when `state` is CURRENT, else None.
        why: when STALE, what does not fit, in words.
    """

    state: State
    verdict: Verdict | None = None
    why: str = ""


def standing(run: Path) -> Standing:
    """The verdict of a run folder, held against its evidence and its records as they are now.

    Tasks that are .py files on this machine are imported, as by whoever made the run.
    """
    shown = run / "signoff.json"
    if not shown.is_file():
        return Standing(State.NOT_JUDGED)
    try:
        if (run / bundles.NAME).is_dir():
            return Standing(State.CURRENT, verification.verify(run, own_tasks=True, shown=False).verdict)
        return Standing(State.CURRENT, _refused(run, from_json(read_json(shown))))
    except SafetyEvalError as error:
        return Standing(State.STALE, why=error.message)


def _refused(run: Path, verdict: Verdict) -> Verdict:
    """A verdict without evidence: only 'these records cannot be trusted' can stand alone.

    Raises:
        EvidenceError: it says anything else, or speaks of other files.
    """
    if verdict.decision != "cannot decide" or not verdict.blocked_by("evidence"):
        raise EvidenceError(f"signoff.json says '{verdict.decision}', and there is no evidence to check it against")
    for name, wanted in (("run.json", verdict.run_sha256), ("results.json", verdict.results_sha256)):
        there = sha256((run / name).read_bytes()) if (run / name).is_file() else ""
        if there != wanted:
            raise EvidenceError(f"{name} was changed since the verdict")
    return verdict
