"""A run for a model's repository on the Hub: `model-index` (front matter of its card) and `.eval_results`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from safety_eval.core.records import Estimate
from safety_eval.export.opened import Opened
from safety_eval.runs.run_file import TaskRecord

Json = dict[str, Any]


def files(run: Opened) -> Iterator[tuple[str, str]]:
    """(path, content): `model-index.yaml`, to be put between the `---` of README.md, and a file of each data set of
    the Hub below `.eval_results`."""
    results = [_indexed(record, e) for task, record in run.file.tasks.items() for e in run.of(task) if _whole(e)]
    index = {"model-index": [{"name": run.name, "results": results}]}
    yield "model-index.yaml", _text(index)
    for task, record in run.file.tasks.items():
        kind, _, repo = str(record.manifest.get("source", "")).partition(":")
        rows = [_row(run, record, repo, e) for e in run.of(task) if _whole(e)]
        if kind == "hub" and rows:
            yield f".eval_results/{task}.yaml", _text(rows)


def _whole(e: Estimate) -> bool:
    return (e.axis, e.group) == ("total", "all")


def _text(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=120)


def _interval(e: Estimate) -> str:
    return "" if e.low is None or e.high is None else f"95% CI {e.low:.3f} to {e.high:.3f}"


def _indexed(record: TaskRecord, e: Estimate) -> Json:
    kind, _, repo = str(record.manifest.get("source", "")).partition(":")
    dataset: Json = {"name": record.title, "type": repo if kind == "hub" else e.task}
    if kind == "hub" and record.manifest.get("revision"):
        dataset["revision"] = str(record.manifest["revision"])
    words = ", ".join(
        filter(None, [_interval(e), f"n {e.count} of {e.expected}", f"by {e.scorer}" if e.scorer else ""])
    )
    return {
        "task": {"type": "text-generation"},
        "dataset": dataset,
        "metrics": [{"type": f"safety_eval.{e.metric}", "value": e.value, "name": f"{e.metric} ({words})"}],
    }


def _row(run: Opened, record: TaskRecord, repo: str, e: Estimate) -> Json:
    dataset: Json = {"id": repo, "task_id": e.metric}
    if record.manifest.get("revision"):
        dataset["revision"] = str(record.manifest["revision"])
    notes = [_interval(e), f"n {e.count} of {e.expected}", e.scorer, f"data {record.data_version}"]
    row: Json = {"dataset": dataset, "value": e.value, "notes": "; ".join(filter(None, notes))}
    if run.file.finished:
        row["date"] = run.file.finished[:10]
    return row
