"""RunFolder: one run folder opened for reading, as records."""

from __future__ import annotations

from pathlib import Path

from safety_eval.core import plugins
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.records import Estimate
from safety_eval.core.task import Drawn, Task
from safety_eval.runs import own_code, results, run_file
from safety_eval.runs.answers import Records
from safety_eval.runs.rows import Rows


class RunFolder:
    """A run folder, read only. Nothing here asks a model or loads a scorer.

    Args:
        folder: made by `safety-eval run`.

    Raises:
        UserError: not a run folder, or one that names code which was not run here. EvidenceError: a damaged record.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.file = run_file.read(self.folder)
        own_code.refuse(self.file.config, self.folder)
        self._records: dict[str, Records] = {}
        self._measured: dict[str, Rows] = {}

    @property
    def tasks(self) -> list[str]:
        return list(self.file.tasks)

    def task(self, name: str) -> Task:
        """The task as code, by the name under which this run asked it."""
        if name not in self.tasks:
            raise UserError(f"{self.folder} has no task '{name}'", nearest(name, self.tasks))
        asked = next((t for t in self.file.config.tasks if Path(t).stem == name), name)
        task: Task = plugins.find("tasks", asked)
        return task

    def estimate_records(self) -> list[Estimate]:
        """Every Estimate of results.json, in its order; [] before anything was measured.

        Raises:
            UserError: it was measured by another version, with other fields.
        """
        return results.read(self.folder)

    def records(self, task: str) -> Records:
        """A task's records as they were when they were first asked for; open the folder again to see later ones."""
        if task not in self._records:
            frozen = self.file.tasks[task].prompts_digest if task in self.file.tasks else ""
            self._records[task] = Records(self.folder, task, frozen)
        return self._records[task]

    def measured(self, task: str) -> Rows:
        """Every owed (prompt, sample) with its output, scores and status, read when it is asked for."""
        if task not in self._measured:
            self._measured[task] = self.records(task).measured(self.task(task), self.file.tasks[task].samples)
        return self._measured[task]

    def drawn(self, task: str) -> Drawn | None:
        """What a limit drew from the task's list; None = all of it was asked."""
        return self.file.tasks[task].drawn
