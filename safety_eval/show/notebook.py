"""Run: one run folder as tables and charts, for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safety_eval.core import packages
from safety_eval.core.records import plain
from safety_eval.core.task import Measured
from safety_eval.runs.opened import RunFolder

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_TABLES = "a run as tables"


class Run(RunFolder):
    """A run folder, read only, as pandas tables and matplotlib figures. See RunFolder for the records."""

    def estimates(self) -> pd.DataFrame:
        """One row for each Estimate, its fields as columns.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        packages.need("pandas", _TABLES)
        import pandas as pd

        return pd.DataFrame([plain(e) for e in self.estimate_records()])

    def outputs(self, task: str) -> pd.DataFrame:
        """One row for each owed (prompt, sample): prompt, answer, status, error, groups (tuples, by axis as
        'group.<axis>'), factors ('factor.<name>') and every score as '<scorer>.<value>'.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        packages.need("pandas", _TABLES)
        import pandas as pd

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
