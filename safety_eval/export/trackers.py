"""A finished run's numbers in an experiment tracker: W&B, MLflow or Trackio. A tracker that fails never fails the run.

Only numbers go there, and what the run was asked: no prompt, no answer. Where, and as whom, each tracker reads from its
own settings (WANDB_PROJECT, WANDB_MODE, MLFLOW_TRACKING_URI, TRACKIO_SPACE_ID ...).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safety_eval.core import packages
from safety_eval.export.opened import Opened, read

PROJECT = "safety-eval"
"""Where the tracker's own settings name none."""


def log(folder: Path, tracker: str) -> str:
    """Write a run's numbers to a tracker, by its name in TRACKERS; returns why that failed ('' = it did not)."""
    if not packages.installed(tracker):
        return str(packages.lacking(tracker, f"logging to {tracker}"))
    try:
        TRACKERS[tracker](read(folder, texts=False))
    except (Exception, SystemExit) as error:  # whatever another program does there, the run is done
        said = (str(error).strip().splitlines() or [""])[0]
        return f"{tracker}: nothing or not all was logged ({type(error).__name__}: {said[:200]})"
    return ""


def numbers(run: Opened) -> dict[str, float]:
    """Every estimate with a value by task/metric/scorer/axis/group, and the ends of a total's interval."""
    found: dict[str, float] = {}
    for task in run.file.tasks:
        for e in run.of(task):
            name = "/".join(map(_word, filter(None, (e.task, e.metric, e.scorer, e.axis, e.group))))
            for suffix, value in (("", e.value), ("/low", e.low), ("/high", e.high)):
                if value is not None and (not suffix or e.axis == "total"):
                    found[name + suffix] = value
            found[f"{name}/missing"] = float(sum(e.missing.values()))
    return found


def _word(text: str) -> str:
    """A part of a name that every tracker takes."""
    return re.sub(r"[^A-Za-z0-9_. -]+", "-", text)


def _facts(run: Opened) -> Mapping[str, Any]:
    told = {"model": run.model, "engine": run.file.config.engine, "seed": run.file.config.seed}
    told |= {"tasks": ",".join(run.file.tasks), "limit": str(run.file.config.limit or "all")}
    told["weights_sha256"] = str(run.file.engine.get("weights", ""))
    return told | {f"instruments/{t}": ",".join(record.instruments) for t, record in run.file.tasks.items()}


def _wandb(run: Opened) -> None:
    import os

    import wandb

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    with wandb.init(project=project, name=run.run.folder.name, config=dict(_facts(run))) as started:
        started.log(numbers(run))


def _mlflow(run: Opened) -> None:
    import os

    import mlflow

    if not os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_name=run.run.folder.name):
        mlflow.log_params(dict(_facts(run)))
        mlflow.log_metrics(numbers(run))


def _trackio(run: Opened) -> None:
    import trackio

    trackio.init(project=PROJECT, name=run.run.folder.name, config=dict(_facts(run)))
    trackio.log(numbers(run))
    trackio.finish()


TRACKERS: Mapping[str, Callable[[Opened], None]] = {"wandb": _wandb, "mlflow": _mlflow, "trackio": _trackio}
