"""Shards of one run, asked on several machines, put together as the run that they are parts of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safety_eval.core import journal
from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.journal import Event, Journal
from safety_eval.core.store import Appender, read_json, read_lines, write_atomic, write_json, writing
from safety_eval.runs import answers, chain, pipeline, resolve
from safety_eval.runs.config import RunConfig


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
        opened = Journal(folder)
        opened.note(Event.MERGED, begun=chain.begun(whole), journals=_carry(shards, facts, folder))
        plans = resolve.resolve(RunConfig.model_validate(whole["config"]))
        pipeline.write_results(folder, pipeline.measure(folder, plans), opened)
    return folder


def _same_run(shards: Sequence[Path], facts: Sequence[dict[str, Any]]) -> None:
    if len(shards) < 2:
        raise UserError("merge needs two shards or more", "Give the run folders of all the shards.")
    parts = [tuple(f["config"].get("shard") or ()) for f in facts]
    if () in parts or len(set(parts)) < len(parts):
        raise UserError(
            f"the shards are {parts}: each must be another part", "Run each with its own --shard i/n."
        )
    first = chain.comparable(facts[0])
    for shard, other in zip(shards[1:], facts[1:], strict=True):
        mine = chain.comparable(other)
        changed = [k for k in {**first, **mine} if first.get(k) != mine.get(k)]
        if changed:
            raise UserError(
                f"{shard} is no part of the run in {shards[0]}: {', '.join(changed)} differ", "Check both."
            )


def _carry(shards: Sequence[Path], facts: Sequence[dict[str, Any]], folder: Path) -> dict[str, str]:
    """Take every shard's journal and run.json along; the head of each journal by its part.

    Raises:
        EvidenceError: a shard's journal does not bind what lies in the shard.
    """
    heads = {}
    for shard, about in zip(shards, facts, strict=True):
        entries = journal.check(shard / journal.NAME)
        for fault in chain.faults(shard, about, entries):
            raise EvidenceError(f"{shard}: {fault}", "Run this shard again in another folder.")
        part, of = about["config"]["shard"]
        home = folder / chain.SHARDS / f"{part}-of-{of}"
        for name in (journal.NAME, "run.json"):
            write_atomic(home / name, (shard / name).read_bytes())
        heads[home.name] = journal.head(entries)
    return heads


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
