"""Run: one run folder as tables and charts, for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safety_eval.core import packages
from safety_eval.core.records import plain
from safety_eval.core.task import Measured
from safety_eval.runs.opened import RunFolder
from safety_eval.runs.thoughts import thought
from safety_eval.show import words
from safety_eval.show.selection import by_instrument, headline, worst_judgeable
from safety_eval.show.tables import Row, Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_TABLES = "a run as tables"


class Run(RunFolder):
    """A run folder, read only, as pandas tables and matplotlib figures. See RunFolder for the records."""

    def _repr_html_(self) -> str:
        """The run in a table: every task's headline. No prompt and no answer is shown."""
        from safety_eval.show.html import as_html

        rows = []
        estimates = self.estimate_records()
        for task in self.tasks:
            e = headline(estimates, task)
            if e is None:
                rows.append(Row((words.name(task), "", words.NO_DATA, "", "", "")))
                continue
            worst = worst_judgeable(by_instrument(estimates)[e.task, e.metric, e.scorer])
            shown = f"{words.name(worst.group)} {words.value(worst)}" if worst else ""
            counts = (words.value(e), f"{e.count:,}", words.missing(e))
            rows.append(Row((words.name(task), words.metric_name(e.metric), *counts, shown)))
        columns = ("task", "headline", "value, 95% interval", "n", "missing", "worst group that can be judged")
        notes = () if self.file.finished else ("This run is not finished.",)
        return as_html(f"{words.facts(self.file).model}: {self.folder.name}", [Table("", columns, tuple(rows), notes)])

    def estimates(self) -> pd.DataFrame:
        """One row for each Estimate, its fields as columns.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        packages.need("pandas", _TABLES)
        import pandas as pd

        return pd.DataFrame([plain(e) for e in self.estimate_records()])

    def outputs(self, task: str, texts: bool = False) -> pd.DataFrame:
        """One row for each owed (prompt, sample): status, thought, error, groups (tuples, by axis as
        'group.<axis>'), factors ('factor.<name>') and every score as '<scorer>.<value>'.

        Args:
            texts: also the prompt and the answer, which may be offensive or harmful.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        packages.need("pandas", _TABLES)
        import pandas as pd

        return pd.DataFrame(list(self.output_rows(task, texts)))

    def output_rows(self, task: str, texts: bool = False) -> Iterator[Mapping[str, Any]]:
        """The rows of `outputs`, one after the other: for runs that are too large for one table."""
        return (_row(m, texts) for m in self.measured(task))

    def chart(self, task: str, metric: str | None = None) -> Figure:
        """The chart of a task's metric (None = its first) with every group, its interval and its n."""
        from safety_eval.show import group_chart as charts

        return charts.of_metric(self, task, metric)


def open_run(folder: str | Path) -> Run:
    """A run folder opened for reading; see Run."""
    return Run(folder)


def _row(m: Measured, texts: bool) -> Mapping[str, Any]:
    row: dict[str, Any] = {
        "prompt_id": m.prompt.id,
        "sample": m.output.sample,
        **({"prompt": m.prompt.asked, "text": m.output.text} if texts else {}),
        "status": m.status,
        "stop_reason": m.output.stop_reason,
        "thought": str(thought(m.output)),
        "error": m.output.error,
        "cluster": m.prompt.unit,
    }
    row |= {f"group.{axis}": groups for axis, groups in m.prompt.groups.items()}
    row |= {f"factor.{name}": value for name, value in m.prompt.factors.items()}
    for scorer, values in m.values.items():
        row |= {f"{scorer}.{name}": value for name, value in values.items()}
    row |= {f"{scorer}.error": error for scorer, error in m.errors.items()}
    return row
