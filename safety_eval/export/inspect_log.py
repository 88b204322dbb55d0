"""A run as Inspect logs: one `.eval` file a task, for `inspect view` and `inspect_ai.log.read_eval_log`.

Schema version 2 of the log of inspect_ai 0.3.285 (log/_recorders/eval.py). A ZIP of JSON; the same run gives the same
bytes. An answer without a value is NaN with a reason, as Inspect writes 'not scored'.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from safety_eval.core.records import Estimate, Reason, reason_of
from safety_eval.core.task import Measured
from safety_eval.export.opened import Opened, facts, iso, turns
from safety_eval.runs.run_file import TaskRecord

Json = dict[str, Any]
_MOMENT = (1980, 1, 1, 0, 0, 0)
_STOPS = {"eos": "stop", "stop": "stop", "choice": "stop", "length": "max_tokens"}
_UNSCORED = {
    Reason.EMPTY: "no_response",
    Reason.NO_ANSWER: "no_response",
    Reason.UNFINISHED: "no_response",
    Reason.NOT_ASKED: "no_response",
    Reason.TOO_LONG: "no_response",
    Reason.FILTERED: "refusal",
    Reason.UNDECIDED: "invalid_response_format",
}
_PROVIDERS = {"transformers": "hf", "openai_server": "openai-api", "vllm": "vllm"}
_LONGEST_ANSWER = 2000


def logs(run: Opened) -> Iterator[tuple[str, bytes]]:
    """(file name, content) for each task."""
    for task, record in run.file.tasks.items():
        rows = run.rows(task)
        name = f"{iso(run.file.started).replace(':', '-')}_{task.replace('_', '-')}_{run.name_of(task)}.eval"
        yield name, _packed(_members(run, task, record, rows))


def _packed(members: Iterator[tuple[str, Any]]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        for name, content in members:
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            file.writestr(entry, json.dumps(content, ensure_ascii=True))
    return held.getvalue()


def _members(run: Opened, task: str, record: TaskRecord, rows: Sequence[Measured]) -> Iterator[tuple[str, Any]]:
    spec = _spec(run, task, record, rows)
    plan = {"name": "safety-eval", "steps": [{"solver": "generate", "params": {}}], "config": {}}
    yield "_journal/start.json", {"version": 2, "eval": spec, "plan": plan}
    samples = [_sample(run, task, m, spec["model"]) for m in rows]
    for sample in samples:
        yield f"samples/{sample['id']}_epoch_{sample['epoch']}.json", sample
    kept = ("id", "epoch", "input", "target", "metadata", "scores", "model_usage", "error")
    yield "summaries.json", [{k: sample[k] for k in kept if sample.get(k) is not None} for sample in samples]
    lost = sum(1 for m in rows if m.output.error)
    header: Json = {
        "version": 2,
        "status": "error" if lost else "success",
        "eval": spec,
        "plan": plan,
        "results": _results(run, task, rows),
        "stats": {
            "started_at": iso(run.file.started),
            "completed_at": iso(run.file.finished or run.file.started),
            "model_usage": {},
        },
    }
    if lost:
        message = f"{lost} of {len(rows)} prompts have no answer"
        header["error"] = {"message": message, "traceback": "", "traceback_ansi": ""}
    yield "header.json", header


def _spec(run: Opened, task: str, record: TaskRecord, rows: Sequence[Measured]) -> Json:
    config: Json = {"epochs": record.samples}
    if run.file.config.limit is not None:
        config["limit"] = record.prompts
    settings = facts(record)
    named = {"max_tokens": "max_new_tokens", "temperature": "temperature", "top_p": "top_p", "seed": "seed"}
    generate = {theirs: settings[ours] for theirs, ours in named.items() if ours in settings}
    if stop := settings.get("stop"):
        generate["stop_seqs"] = stop
    if run.texts and run.file.config.system_prompt:
        generate["system_message"] = run.file.config.system_prompt
    provider = _PROVIDERS.get(run.file.config.engine, run.file.config.engine.rpartition("/")[2])
    first = next((e for e in run.of(task) if e.axis == "total"), None)
    spec: Json = {
        "eval_id": run.name_of("eval", task),
        "run_id": run.name_of(),
        "created": iso(run.file.started),
        "task": f"safety_eval/{task}",
        "task_id": run.name_of(task),
        "task_version": record.data_version or "0",
        "task_display_name": record.title,
        "task_attribs": {},
        "task_args": {},
        "dataset": {
            "name": str(record.manifest.get("source", "")),
            "samples": record.prompts,
            "sample_ids": list(dict.fromkeys(m.prompt.id for m in rows)),
            "shuffled": False,
        },
        "model": f"{provider}/{run.model}",
        "model_generate_config": generate,
        "model_args": {},
        "config": config,
        "packages": {"safety-eval": run.file.versions.get("safety_eval", "")},
        "scorers": [{"name": name, "options": None} for name in record.instruments],
        "metadata": {
            "engine": dict(run.file.engine),
            "instruments": dict(record.instruments),
            "manifest": dict(record.manifest),
            "notes": list(record.notes),
            "prompts_digest": record.prompts_digest,
            "texts": "as they were" if run.texts else "SHA-256 alone",
        },
    }
    if first is not None:
        spec["headline_metric"] = {"score": first.metric, "metric": first.metric}
    return spec


def _sample(run: Opened, task: str, m: Measured, model: str) -> Json:
    asked = [{"role": role, "content": run.text(text)} for role, text in turns(m.prompt)]
    answer = run.text(m.output.text or "")
    content: Any = answer
    if m.output.reasoning:
        thought = {"type": "reasoning", "reasoning": run.text(m.output.reasoning)}
        content = [thought, {"type": "text", "text": answer}]
    elif m.output.reason is Reason.FILTERED:
        content = [{"type": "text", "text": answer, "refusal": True}]
    spoken = {"role": "assistant", "content": content, "source": "generate", "model": run.model}
    usage = {
        "input_tokens": m.output.prompt_tokens,
        "output_tokens": m.output.output_tokens,
        "total_tokens": m.output.prompt_tokens + m.output.output_tokens,
    }
    stop = "content_filter" if m.output.reason is Reason.FILTERED else _STOPS.get(m.output.stop_reason, "unknown")
    metadata: Json = {
        "groups": {axis: list(groups) for axis, groups in m.prompt.groups.items()},
        "factors": dict(m.prompt.factors),
        "pair": m.prompt.pair,
        "cluster": m.prompt.cluster,
        "prompt_key": m.output.prompt_key,
        "status": m.status,
    }
    if m.output.choice_logprobs:
        metadata["choice_logprobs"] = list(m.output.choice_logprobs)
    if run.texts:
        metadata["target"] = dict(m.prompt.target)
    return {
        "id": m.prompt.id,
        "epoch": m.output.sample + 1,
        "input": asked if m.prompt.messages else run.text(m.prompt.text),
        "choices": [run.text(choice) for choice in m.prompt.choices] or None,
        "target": "",
        "messages": [*asked, spoken],
        "output": {
            "model": run.model,
            "choices": [{"message": spoken, "stop_reason": stop}],
            "completion": answer,
            "usage": usage,
            "error": m.output.error or None,
        },
        "scores": dict(_scores(run, m)),
        "metadata": metadata,
        "model_usage": {model: usage},
    }


def _scores(run: Opened, m: Measured) -> Iterator[tuple[str, Json]]:
    answer = run.text(m.output.text or "")[:_LONGEST_ANSWER]
    for scorer, values in m.values.items():
        yield scorer, {"value": dict(values), "answer": answer, "metadata": {"prompt_key": m.output.prompt_key}}
    for scorer, error in m.errors.items():
        reason = _UNSCORED.get(m.output.reason or reason_of(error) or Reason.OTHER, "scoring_failed")
        told = {"reason": reason, "explanation": m.output.error or error}
        yield scorer, {"value": math.nan, "answer": answer, **told}


def _results(run: Opened, task: str, rows: Sequence[Measured]) -> Json:
    found = [e for e in run.estimates if e.task == task]
    scores = []
    for total in (e for e in found if (e.axis, e.group) == ("total", "all")):
        own = [e for e in found if (e.metric, e.scorer) == (total.metric, total.scorer) and e.value is not None]
        metrics: Json = {}
        for e in own:
            metrics |= dict(_metrics(e))
        scores.append(
            {
                "name": total.metric,
                "scorer": total.scorer or "safety_eval",
                "scored_samples": total.count,
                "unscored_samples": max(0, total.expected - total.count),
                "params": {},
                "metrics": metrics,
            }
        )
    answered = sum(1 for m in rows if not m.output.error)
    return {"total_samples": len(rows), "completed_samples": answered, "scores": scores}


def _metrics(e: Estimate) -> Iterator[tuple[str, Json]]:
    """An estimate, and the ends of its interval where it is the total."""
    told = {
        "low": e.low,
        "high": e.high,
        "count": e.count,
        "events": e.events,
        "expected": e.expected,
        "missing": dict(e.missing),
        "lowest": e.lowest,
        "highest": e.highest,
        "gate_low": e.gate_low,
        "gate_high": e.gate_high,
        "standing": str(e.standing),
        "method": e.method,
        "reason": e.reason,
        "clusters": e.clusters,
        "effective_clusters": e.effective_clusters,
    }
    metadata = {name: value for name, value in told.items() if value is not None}
    whole = (e.axis, e.group) == ("total", "all")
    name = e.metric if whole else f"{e.axis}:{e.group}"
    yield name, _metric(name, None if whole else e.axis, e.value, metadata)
    if whole:
        for end, value in (("low", e.low), ("high", e.high)):
            if value is not None:
                yield f"{name}_{end}", _metric(f"{name}_{end}", "95% interval", value, {})


def _metric(name: str, group: str | None, value: float | None, metadata: Mapping[str, Any]) -> Json:
    return {"name": name, "group": group, "value": value, "params": {}, "metadata": dict(metadata)}
