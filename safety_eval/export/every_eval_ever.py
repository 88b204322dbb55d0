"""A run in every_eval_ever's schema 0.3.0: one file of all numbers, and one line for each answer and metric.

Written natively and not through Inspect, whose NaN for 'not scored' that tool does not take. An answer without a value
has no line: it is counted in `details.missing` of its numbers.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from safety_eval.core.errors import UserError, nearest
from safety_eval.core.records import Estimate, canonical, digest
from safety_eval.core.task import Measured, Metric
from safety_eval.export.opened import SERVED, Opened, facts, seconds, turns
from safety_eval.measure.table import measured_by
from safety_eval.runs.run_file import TaskRecord

SCHEMA = "0.3.0"
RELATIONSHIPS = ("first_party", "third_party", "collaborative", "other")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class By:
    """Who evaluated. `relationship` to the model's maker: one of RELATIONSHIPS; the format does not take silence."""

    organization: str = "unknown"
    relationship: str = ""


def files(run: Opened, by: By) -> Iterator[tuple[str, str]]:
    """(path, content) of the aggregate and of its lines; the path is a part of the format.

    Raises:
        UserError: the relationship to the model's maker is not given.
    """
    if by.relationship not in RELATIONSHIPS:
        raise UserError(
            "every_eval_ever wants to know how the evaluator stands to the model's maker",
            f"Add --relationship: {nearest(by.relationship, RELATIONSHIPS)}",
        )
    number = uuid.UUID(bytes=hashlib.sha256(run.name_of("every_eval_ever").encode()).digest()[:16], version=4)
    folder = f"data/safety-eval/{run.owner}/{run.name}"
    name = f"safety-eval/{run.model}/{run.file.started}/{digest(run.file.asked)[:8]}"
    lines = [json.dumps(line, sort_keys=True) for line in _lines(run, name)]
    text = "".join(f"{line}\n" for line in lines)
    made = _aggregate(run, name, by)
    if lines:
        made["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": f"{folder}/{number}_samples.jsonl",
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(text.encode()).hexdigest(),
            "total_rows": len(lines),
        }
    yield f"{folder}/{number}.json", json.dumps(made, indent=1) + "\n"
    if lines:
        yield f"{folder}/{number}_samples.jsonl", text


def _words(values: Mapping[str, Any]) -> dict[str, str]:
    """Details are texts in this format; what is not known is left out."""
    known = {name: value for name, value in values.items() if value is not None}
    return {name: value if isinstance(value, str) else canonical(value) for name, value in known.items()}


def _aggregate(run: Opened, name: str, by: By) -> Json:
    served = run.file.config.engine in SERVED
    engine = run.file.engine
    return {
        "schema_version": SCHEMA,
        "evaluation_id": name,
        "evaluation_timestamp": run.file.started,
        "retrieved_timestamp": seconds(run.file.finished or run.file.started),
        "source_metadata": {
            "source_type": "evaluation_run",
            "source_name": "safety-eval",
            "source_organization_name": by.organization,
            "evaluator_relationship": by.relationship,
        },
        "eval_library": {"name": "safety-eval", "version": run.file.versions.get("safety_eval", "unknown")},
        "model_info": {
            "id": run.model,
            "name": run.name,
            "developer": run.owner,
            "inference_engine": {"name": run.file.config.engine},
            "additional_details": {
                "deployment_type": "externally_managed" if served else "self_deployed",
                "model_availability": "closed_weights" if served else "open_weights",
                "weights_sha256": str(engine.get("weights", "")),
                "dtype": str(engine.get("dtype", run.file.config.dtype)),
            },
        },
        "evaluation_results": [
            _result(run, record, e) for task, record in run.file.tasks.items() for e in run.of(task)
        ],
    }


def _result(run: Opened, record: TaskRecord, e: Estimate) -> Json:
    whole = (e.axis, e.group) == ("total", "all")
    low, high = ("-Infinity", "Infinity") if e.kind == "effect" else e.span
    score: Json = {
        "score": e.value,
        "details": _words(
            {
                "expected": e.expected,
                "missing": dict(e.missing),
                "events": e.events,
                "lowest": e.lowest,
                "highest": e.highest,
                "gate_low": e.gate_low,
                "gate_high": e.gate_high,
                "standing": str(e.standing),
                "clusters": e.clusters,
                "effective_clusters": e.effective_clusters,
                "reason": e.reason or None,
            }
        ),
        "uncertainty": {"num_samples": e.count},
    }
    if e.low is not None and e.high is not None:
        interval = {"lower": e.low, "upper": e.high, "confidence_level": 0.95, "method": e.method}
        score["uncertainty"]["confidence_interval"] = interval
    return {
        "evaluation_result_id": _cell(e),
        "evaluation_name": f"safety_eval.{e.task}" + ("" if whole else f".{e.axis}.{e.group}"),
        "source_data": _source(record),
        "metric_config": {
            "metric_id": f"safety_eval.{e.task}.{e.metric}",
            "metric_name": e.metric,
            "metric_kind": e.kind,
            "lower_is_better": e.better == "lower",
            "score_type": "continuous",
            "min_score": low,
            "max_score": high,
            "additional_details": _words({"scorer": e.scorer, "axis": e.axis, "group": e.group, "better": e.better}),
        },
        "score_details": score,
        "generation_config": _generation(record),
    }


def _cell(e: Estimate) -> str:
    return ".".join((e.task, e.metric, e.scorer or "none", e.axis, e.group))


def _source(record: TaskRecord) -> Json:
    where = str(record.manifest.get("source", ""))
    kind, _, repo = where.partition(":")
    made: Json = {"dataset_name": record.title, "additional_details": _words(dict(record.manifest))}
    if kind == "hub":
        return made | {"source_type": "hf_dataset", "hf_repo": repo}
    if kind == "github":
        return made | {"source_type": "url", "url": [f"https://github.com/{repo}"]}
    return made | {"source_type": "other"}


def _generation(record: TaskRecord) -> Json:
    settings = facts(record)
    named = {"temperature": "temperature", "top_p": "top_p", "max_new_tokens": "max_tokens"}
    arguments = {theirs: settings[ours] for ours, theirs in named.items() if ours in settings}
    rest = {name: value for name, value in settings.items() if name not in named}
    return {"generation_args": arguments, "additional_details": _words(rest)}


def _lines(run: Opened, name: str) -> Iterator[Json]:
    for task, record in run.file.tasks.items():
        totals = {(e.metric, e.scorer): e for e in run.of(task) if (e.axis, e.group) == ("total", "all")}
        for m in run.rows(task):
            for metric in run.run.task(task).metrics:
                for scorer, values in m.values.items() if metric.needs else [("", {})]:
                    e = totals.get((metric.name, scorer))
                    value = _value(metric, m, values) if e is not None else None
                    if e is not None and value is not None:
                        yield _line(run, name, record, m, (e, value))


def _value(metric: Metric, m: Measured, values: Mapping[str, Any]) -> float | None:
    """The value of one answer by a metric, None where it has none."""
    about = metric.where is None or metric.where(m.prompt)
    if m.output.error or not about or not set(metric.needs) <= set(values):
        return None
    return measured_by(metric, m, values)


def _line(run: Opened, name: str, record: TaskRecord, m: Measured, seen: tuple[Estimate, float]) -> Json:
    e, value = seen
    asked, answer = run.text(m.prompt.asked), run.text(m.output.text or "")
    choices = [run.text(choice) for choice in m.prompt.choices]
    several = len(m.prompt.messages) > 1
    spoken = [{"turn_idx": i, "role": r, "content": run.text(text)} for i, (r, text) in enumerate(turns(m.prompt))]
    said = {"turn_idx": len(spoken), "role": "assistant", "content": answer}
    thought = [run.text(m.output.reasoning)] if m.output.reasoning else None
    raw = {"raw": asked, "reference": []}
    bad = e.kind == "rate" and e.better != "neither" and (value >= 0.5) == (e.better == "lower")
    return {
        "schema_version": SCHEMA,
        "evaluation_id": name,
        "model_id": run.model,
        "evaluation_name": f"safety_eval.{e.task}",
        "evaluation_result_id": _cell(e),
        "sample_id": f"{m.prompt.id}#{m.output.sample}",
        "sample_hash": hashlib.sha256(json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()).hexdigest(),
        "interaction_type": "multi_turn" if several else "single_turn",
        "input": raw | {"formatted": None, "choices": choices or None},
        "messages": [*spoken, said] if several else None,
        "output": None if several else {"raw": [answer], "reasoning_trace": thought},
        "answer_attribution": [
            {
                "turn_idx": len(spoken) if several else 0,
                "source": f"messages[{len(spoken)}].content" if several else "output.raw",
                "extracted_value": answer,
                "extraction_method": "the answer as it is",
                "is_terminal": True,
            }
        ],
        "evaluation": {"score": value, "is_correct": not bad},
        "token_usage": {
            "input_tokens": m.output.prompt_tokens,
            "output_tokens": m.output.output_tokens,
            "total_tokens": m.output.prompt_tokens + m.output.output_tokens,
        },
        "error": None,
        "metadata": _words(
            {
                "groups": {axis: list(groups) for axis, groups in m.prompt.groups.items()},
                "factors": dict(m.prompt.factors),
                "pair": m.prompt.pair or None,
                "cluster": m.prompt.cluster or None,
            }
        ),
    }
