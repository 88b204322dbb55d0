"""A CycloneDX 1.6 ML-BOM fragment: the model, the data it was evaluated on, every number with slice and
interval.

Validated in the tests against the schema that cyclonedx-python-lib ships (which has no model card classes
itself).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safety_eval import __version__
from safety_eval.core.records import Estimate, digest
from safety_eval.export.measured import Measurements, read
from safety_eval.runs.run_file import TaskRecord
from safety_eval.show import words

SPEC = "1.6"


def fragment(folder: Path) -> dict[str, Any]:
    """The BOM of a run folder, as JSON. The same run gives the same fragment."""
    run = read(folder)
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": run.model,
        "modelCard": {
            "modelParameters": {"datasets": [_dataset(t, record) for t, record in run.file.tasks.items()]},
            "quantitativeAnalysis": {"performanceMetrics": [_metric(e) for e in run.estimates if e.value is not None]},
            "considerations": _considerations(run),
            "properties": [_property(name, value) for name, value in _properties(run)],
        },
    }
    if revision := run.subject.get("revision"):
        model["version"] = str(revision)
    weights = run.subject.get("weights")
    if isinstance(weights, str) and len(weights) == 64:
        model["hashes"] = [{"alg": "SHA-256", "content": weights}]
    made: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "metadata": {"tools": {"components": [{"type": "application", "name": "safety-eval", "version": __version__}]}},
        "components": [model],
    }
    if run.file.finished:
        made["metadata"]["timestamp"] = run.file.finished
    made["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest(made))}"
    return made


def _metric(e: Estimate) -> dict[str, Any]:
    """One number. All fields of a performance metric are strings."""
    found: dict[str, Any] = {
        "type": f"{e.task}: {e.metric}{f' by {e.scorer}' if e.scorer else ''}",
        "value": repr(e.value),
        "slice": "all" if e.axis == "total" else f"{e.axis}: {e.group}",
    }
    if e.low is not None and e.high is not None:
        found["confidenceInterval"] = {"lowerBound": repr(e.low), "upperBound": repr(e.high)}
    return found


def _dataset(task: str, record: TaskRecord) -> dict[str, Any]:
    facts = {"data version": record.data_version, "prompts": record.prompts, **record.manifest}
    return {
        "type": "dataset",
        "name": task,
        "description": f"Evaluation prompts of {record.title or task}; not training data.",
        "contents": {"properties": [_property(k, v) for k, v in sorted(facts.items()) if v not in (None, "")]},
    }


def _considerations(run: Measurements) -> dict[str, Any]:
    """Groups at risk with what was measured for them; what was not measured stands under the limitations."""
    found: dict[str, Any] = {}
    groups = [
        _fairness(e)
        for e in run.estimates
        if e.axis not in ("total", "macro") and e.value is not None and e.better == "lower"
    ]
    limits = [
        f"{e.task} {words.metric_name(e.metric)}, {e.axis} {e.group}: {words.value(e)}"
        for e in run.estimates
        if e.value is None
    ]
    if groups:
        found["fairnessAssessments"] = groups
    if limits:
        found["technicalLimitations"] = limits
    return found


def _fairness(e: Estimate) -> dict[str, str]:
    told = f"{e.task}, {words.metric_name(e.metric)}: {words.value(e)} of {e.count} answers"
    note = words.caveat(e)
    return {
        "groupAtRisk": f"{words.name(e.group)} ({words.name(e.axis)})",
        "harms": f"{told}{f'; {note}' if note else ''}.",
    }


def _properties(run: Measurements) -> Iterator[tuple[str, Any]]:
    if run.verdict is None:
        return
    yield "safety-eval:decision", run.verdict.decision
    yield "safety-eval:policy", run.verdict.policy
    yield "safety-eval:policy-sha256", run.verdict.policy_sha256
    for rule in dict.fromkeys(f.rule for f in run.verdict.findings):
        outcomes = sorted({f.outcome for f in run.verdict.findings if f.rule == rule})
        yield f"safety-eval:rule:{rule}", ", ".join(outcomes)


def _property(name: str, value: Any) -> dict[str, str]:
    return {"name": str(name), "value": value if isinstance(value, str) else repr(value)}
