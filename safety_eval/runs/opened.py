"""Run: one run folder opened for reading, as tables for an analyst."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from safety_eval.core import plugins
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.records import Estimate, from_plain, plain
from safety_eval.core.store import read_json
from safety_eval.core.task import Drawn, Measured, Task
from safety_eval.runs import answers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Run:
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

    def estimates(self) -> pd.DataFrame:
        """One row for each Estimate, its fields as columns."""
        return pd.DataFrame([plain(e) for e in self.estimate_records()])

    def measured(self, task: str) -> list[Measured]:
        """Every owed (prompt, sample) with its output, scores and status."""
        return answers.measured(self.folder, self.task(task), self.config["tasks"][task]["samples"])

    def drawn(self, task: str) -> Drawn | None:
        """What a limit drew from the task's list; None = all of it was asked."""
        return Drawn.from_json(self.config["tasks"][task].get("drawn"))

    def outputs(self, task: str) -> pd.DataFrame:
        """One row for each owed (prompt, sample): prompt, answer, status, error, groups (tuples, by axis as
        'group.<axis>'), factors ('factor.<name>') and every score as '<scorer>.<value>'."""
        return pd.DataFrame([_row(m) for m in self.measured(task)])

    def chart(self, task: str, metric: str | None = None) -> Figure:
        """The chart of a task's metric (None = its first) with every group, its interval and its n."""
        from safety_eval.show import group_chart as charts

        return charts.of_metric(self, task, metric)


def open_run(folder: str | Path) -> Run:
    """A run folder opened for reading; see Run."""
    return Run(folder)


def _row(m: Measured) -> Mapping[str, Any]:
    row: dict[str, Any] = {
        "prompt_id": m.prompt.id,
        "sample": m.output.sample,
        "prompt": m.prompt.asked,
        "text": m.output.text,
        "status": m.status,
        "stop_reason": m.output.stop_reason,
        "error": m.output.error,
        "cluster": m.prompt.unit,
    }
    row |= {f"group.{axis}": groups for axis, groups in m.prompt.groups.items()}
    row |= {f"factor.{name}": value for name, value in m.prompt.factors.items()}
    for scorer, values in m.values.items():
        row |= {f"{scorer}.{name}": value for name, value in values.items()}
    row |= {f"{scorer}.error": error for scorer, error in m.errors.items()}
    return row
