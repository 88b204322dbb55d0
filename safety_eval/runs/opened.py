"""RunFolder: one run folder opened for reading, as records."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from safety_eval.core import plugins
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.records import Estimate, from_plain
from safety_eval.core.store import read_json
from safety_eval.core.task import Drawn, Measured, Task
from safety_eval.runs import answers


class RunFolder:
    """A run folder, read only. Nothing here asks a model or loads a scorer.

    Args:
        folder: made by `safety-eval run`.

    Raises:
        UserError: not a run folder. EvidenceError: a damaged record.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "run.json").is_file():
            raise UserError(
                f"{self.folder} is no run folder: it has no run.json", "Give the folder that `run` printed."
            )
        self.config: dict[str, Any] = read_json(self.folder / "run.json")

    @property
    def tasks(self) -> list[str]:
        return list(self.config["tasks"])

    def task(self, name: str) -> Task:
        """The task as code, by the name under which this run asked it."""
        if name not in self.tasks:
            raise UserError(f"{self.folder} has no task '{name}'", nearest(name, self.tasks))
        asked = next((t for t in self.config["config"]["tasks"] if Path(t).stem == name), name)
        task: Task = plugins.find("tasks", asked)
        return task

    def estimate_records(self) -> list[Estimate]:
        """Every Estimate of results.json, in its order; [] before anything was measured.

        Raises:
            UserError: it was measured by another version, with other fields.
        """
        path = self.folder / "results.json"
        if not path.exists():
            return []
        rows = read_json(path)["estimates"]
        known = {f.name for f in fields(Estimate)}
        if any(set(row) != known for row in rows):
            raise UserError(
                f"{path} was measured by another version of safety-eval: its estimates have other fields",
                f"Measure the same records again: safety-eval score {self.folder}",
            )
        return [from_plain(Estimate, row) for row in rows]

    def measured(self, task: str) -> list[Measured]:
        """Every owed (prompt, sample) with its output, scores and status."""
        return answers.measured(self.folder, self.task(task), self.config["tasks"][task]["samples"])

    def drawn(self, task: str) -> Drawn | None:
        """What a limit drew from the task's list; None = all of it was asked."""
        return Drawn.from_json(self.config["tasks"][task].get("drawn"))
