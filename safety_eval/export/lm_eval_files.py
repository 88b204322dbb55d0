"""A run in the layout of lm-eval's results and samples (lm-evaluation-harness 0.4.13), which many tools read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from safety_eval.core.records import Estimate
from safety_eval.core.task import Measured
from safety_eval.export.opened import Opened, facts, iso, seconds
from safety_eval.runs.run_file import TaskRecord

Json = dict[str, Any]
_HIGHER = {"lower": False, "higher": True, "neither": None}
_NORMAL = 3.92
"""Width of a 95% interval in standard errors, where it is symmetric: what lm-eval's `_stderr` is read as."""


def files(run: Opened) -> Iterator[tuple[str, str]]:
    """(path, content): one results file, and the answers of each task."""
    folder = f"{run.owner}__{run.name}"
    stamp = iso(run.file.started).replace(":", "-")
    yield f"{folder}/results_{stamp}.json", json.dumps(_results(run), indent=1) + "\n"
    for task, record in run.file.tasks.items():
        lines = [json.dumps(_line(run, record, i, m)) for i, m in enumerate(run.rows(task))]
        yield f"{folder}/samples_{task}_{stamp}.jsonl", "".join(f"{line}\n" for line in lines)


def _results(run: Opened) -> Json:
    made: dict[str, Json] = {
        name: {}
        for name in ("results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples")
    }
    for task, record in run.file.tasks.items():
        for e in run.of(task):
            name = task if (e.axis, e.group) == ("total", "all") else f"{task}_{_word(e.axis)}_{_word(e.group)}"
            _add(made, name, e, record)
    config = run.file.config
    return made | {
        "config": {
            "model": "hf" if config.engine == "transformers" else config.engine,
            "model_args": f"pretrained={run.model},dtype={run.file.engine.get('dtype', config.dtype)}",
            "model_revision": str(run.file.engine.get("revision", "")),
            "model_sha": str(run.file.engine.get("weights", "")),
            "model_dtype": str(run.file.engine.get("dtype", config.dtype)),
            "batch_size": config.batch_size,
            "device": config.device,
            "limit": config.limit,
            "gen_kwargs": None,
            "random_seed": config.seed,
        },
        "date": float(seconds(run.file.started)),
        "lm_eval_version": f"safety-eval {run.file.versions.get('safety_eval', '')} (lm-eval 0.4.13 layout)",
        "transformers_version": run.file.versions.get("transformers", ""),
        "model_source": "hf",
        "model_name": run.model,
        "model_name_sanitized": f"{run.owner}__{run.name}",
        "start_time": float(seconds(run.file.started)),
        "end_time": float(seconds(run.file.finished or run.file.started)),
    }


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")


def _add(made: dict[str, Json], name: str, e: Estimate, record: TaskRecord) -> None:
    scorer = e.scorer or "none"
    group = (e.axis, e.group) != ("total", "all")
    alias = f" - {e.group}" if group else e.task
    row = made["results"].setdefault(name, {"name": name, "alias": alias, "sample_len": 0})
    row["sample_len"] = max(row["sample_len"], e.count)
    row[f"{e.metric},{scorer}"] = e.value
    known = e.low is not None and e.high is not None
    row[f"{e.metric}_stderr,{scorer}"] = ((e.high or 0.0) - (e.low or 0.0)) / _NORMAL if known else "N/A"
    made["group_subtasks"][name] = []
    made["n-shot"][name] = 0
    made["versions"][name] = record.data_version
    listed = int(record.manifest.get("rows", record.prompts))
    made["n-samples"][name] = {"original": listed, "effective": record.prompts}
    made["higher_is_better"].setdefault(name, {})[e.metric] = _HIGHER[e.better]
    made["configs"][name] = {
        "task": name,
        "dataset_path": str(record.manifest.get("source", "")),
        "output_type": "generate_until" if "max_new_tokens" in record.settings else "multiple_choice",
        "repeats": record.samples,
        "generation_kwargs": _generation(record),
        "metadata": {"version": record.data_version},
    }


def _generation(record: TaskRecord) -> Json:
    settings = facts(record)
    named = {"temperature": "temperature", "top_p": "top_p", "max_new_tokens": "max_gen_toks", "stop": "until"}
    return {theirs: settings[ours] for ours, theirs in named.items() if ours in settings}


def _line(run: Opened, record: TaskRecord, number: int, m: Measured) -> Json:
    asked, answer = run.text(m.prompt.asked), run.text(m.output.text or "")
    document = {"id": m.prompt.id, "text": asked, "sample": m.output.sample, "cluster": m.prompt.unit}
    document |= {f"group.{axis}": ", ".join(groups) for axis, groups in m.prompt.groups.items()}
    document |= {f"factor.{name}": str(value) for name, value in m.prompt.factors.items()}
    numbers = {f"{s}.{n}": v for s, values in m.values.items() for n, v in values.items() if isinstance(v, int | float)}
    if m.prompt.choices:
        arguments = {
            f"gen_args_{i}": {"arg_0": asked, "arg_1": run.text(choice)} for i, choice in enumerate(m.prompt.choices)
        }
        responses: list[Any] = [[[str(value), "False"]] for value in m.output.choice_logprobs]
    else:
        arguments = {"gen_args_0": {"arg_0": asked, "arg_1": json.dumps(_generation(record), sort_keys=True)}}
        responses = [[answer]]
    return {
        "doc_id": number,
        "doc": document,
        "target": "",
        "arguments": arguments,
        "resps": responses,
        "filtered_resps": [str(value) for value in m.output.choice_logprobs] if m.prompt.choices else [answer],
        "filter": "none",
        "metrics": sorted(numbers),
        "doc_hash": _hash(json.dumps(document, sort_keys=True)),
        "prompt_hash": _hash(asked),
        "target_hash": _hash(""),
        "error": m.output.error,
        **numbers,
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
