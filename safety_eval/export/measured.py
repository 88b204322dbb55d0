"""What both exports read of a run folder: facts, estimates and, where there is one, the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_eval.core.errors import UserError
from safety_eval.core.records import Estimate
from safety_eval.evidence.standing import Standing, standing
from safety_eval.runs import results, run_file
from safety_eval.runs.run_file import RunFile
from safety_eval.signoff.basis import subject
from safety_eval.signoff.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Measurements:
    """A finished run: `file` is run.json, `subject` the model, `standing` its verdict, checked."""

    file: RunFile
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
    file = run_file.read(folder)
    if not (folder / "results.json").is_file():
        raise UserError(f"{folder} has no results.json: nothing was measured", "Finish the run first.")
    return Measurements(
        file=file,
        subject=subject(file),
        estimates=tuple(results.read(folder)),
        standing=judged or standing(folder),
    )
