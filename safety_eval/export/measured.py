"""What both exports read of a run folder: facts, estimates and, where there is one, the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_eval.core.errors import UserError
from safety_eval.core.records import Estimate, from_plain
from safety_eval.core.store import read_json
from safety_eval.evidence.standing import Standing, standing
from safety_eval.signoff.basis import subject
from safety_eval.signoff.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Measurements:
    """A finished run: `facts` is run.json, `subject` the model, `standing` its verdict, checked."""

    facts: Mapping[str, Any]
    subject: Mapping[str, Any]
    estimates: tuple[Estimate, ...]
    standing: Standing

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, where one holds for these records."""
        return self.standing.verdict

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.subject.get("model") or "model")


def read(folder: Path, judged: Standing | None = None) -> Measurements:
    """Everything from RUN.

    Raises:
        UserError: nothing was measured yet.
    """
    facts = read_json(folder / "run.json")
    if not (folder / "results.json").is_file():
        raise UserError(f"{folder} has no results.json: nothing was measured", "Finish the run first.")
    rows = read_json(folder / "results.json")["estimates"]
    return Measurements(
        facts=facts,
        subject=subject(facts),
        estimates=tuple(from_plain(Estimate, row) for row in rows),
        standing=judged or standing(folder),
    )
