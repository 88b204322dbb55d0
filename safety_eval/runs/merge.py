"""Shards of one run, asked on several machines, put together as the run that they are parts of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safety_eval.core.errors import UserError
from safety_eval.core.store import Appender, read_json, read_lines, write_json, writing
from safety_eval.runs import answers, pipeline, resolve
from safety_eval.runs.config import RunConfig

_MAY_DIFFER = {"shard"}


def merge(shards: Sequence[Path], folder: Path) -> Path:
    """Join shards into a new run folder, and measure it.

    Raises:
        UserError: the shards are not parts of one run (another model, setting, prompt set or instrument), a part
            comes twice, or the folder holds something already. Missing parts are allowed: they are owed.
    """
    facts = [read_json(s / "run.json") for s in shards]
    _same_run(shards, facts)
    if (folder / "run.json").exists():
        raise UserError(f"{folder} holds a run already", "Choose another --output-path.")
    with writing(folder):
        whole = {**facts[0], "merged_from": [f["config"]["shard"] for f in facts]}
        whole["asked"] = {**whole["asked"], "shard": None}
        whole["config"] = {**whole["config"], "shard": None, "output_path": str(folder)}
        for task in whole["tasks"]:
            _join(shards, folder, task)
        if policy := next((s / "policy.yaml" for s in shards if (s / "policy.yaml").exists()), None):
            (folder / "policy.yaml").write_bytes(policy.read_bytes())
        write_json(folder / "run.json", whole)
        plans = resolve.resolve(RunConfig.model_validate(whole["config"]))
        pipeline.write_results(folder, pipeline.measure(folder, plans))
    return folder


def _same_run(shards: Sequence[Path], facts: Sequence[dict[str, Any]]) -> None:
    if len(shards) < 2:
        raise UserError("merge needs two shards or more", "Give the run folders of all the shards.")
    parts = [tuple(f["config"].get("shard") or ()) for f in facts]
    if () in parts or len(set(parts)) < len(parts):
        raise UserError(
            f"the shards are {parts}: each must be another part", "Run each with its own --shard i/n."
        )
    first = _comparable(facts[0])
    for shard, other in zip(shards[1:], facts[1:], strict=True):
        mine = _comparable(other)
        changed = [k for k in first if first[k] != mine[k]]
        if changed:
            raise UserError(
                f"{shard} is no part of the run in {shards[0]}: {', '.join(changed)} differ", "Check both."
            )


def _comparable(facts: dict[str, Any]) -> dict[str, Any]:
    shared: dict[str, Any] = {k: v for k, v in facts["asked"].items() if k not in _MAY_DIFFER}
    shared["engine"] = facts["engine"]
    shared["policy"] = facts.get("policy", {}).get("sha256")
    for name, task in facts["tasks"].items():
        shared[f"prompts of {name}"] = task["prompts_digest"]
        shared[f"instruments of {name}"] = task["instruments"]
    return shared


def _join(shards: Sequence[Path], folder: Path, task: str) -> None:
    with Appender(answers.prompts_file(folder, task)) as file:
        for row in read_lines(answers.prompts_file(shards[0], task)):
            file.append(row)
    with Appender(answers.outputs_file(folder, task)) as file:
        for shard in shards:
            for row in read_lines(answers.outputs_file(shard, task)):
                file.append(row)
    for scorer in sorted({name for shard in shards for name in answers.scorers(shard, task)}):
        header = {"identity": answers.identity(shards[0], task, scorer)}
        with Appender(answers.scores_file(folder, task, scorer), header) as file:
            for shard in shards:
                for row in list(read_lines(answers.scores_file(shard, task, scorer)))[1:]:
                    file.append(row)
