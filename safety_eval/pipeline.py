"""freeze -> generate -> score -> measure: the one file that knows the order.

Stages run one after another, so that the model and a judge never share the device. Every stage looks at what is
in the run folder and does what is still owed: the same command again is a resume.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from safety_eval import __version__, answers, journal, metrics, plugins, policy, resolve
from safety_eval.config import RunConfig
from safety_eval.errors import UserError
from safety_eval.interfaces import Engine, ModelSpec, Scorer, ScorerSpec
from safety_eval.records import Estimate, Prompt, digest, plain
from safety_eval.resolve import TaskPlan
from safety_eval.store import Appender, read_json, write_atomic, write_json, writing

SCHEMA = 1


class Progress(Protocol):
    """What a caller is told while a run goes on. Counts are prompts (or answers) of the current stage."""

    def stage(self, name: str, total: int, done: int) -> None: ...
    def advance(self, count: int = 1) -> None: ...
    def note(self, text: str) -> None: ...


class Silent:
    """Progress of which nobody is told."""

    def stage(self, name: str, total: int, done: int) -> None: ...
    def advance(self, count: int = 1) -> None: ...
    def note(self, text: str) -> None: ...


def run(config: RunConfig, progress: Progress | None = None) -> Path:
    """Do what is owed of a run; returns its folder.

    Raises:
        UserError: wrong use, or a run folder that was asked something else.
    """
    progress = progress or Silent()
    folder = config.folder()
    plans = resolve.resolve(config)
    with writing(folder):
        facts = _open(folder, config)
        freeze(folder, plans, config, facts)
        generate(folder, plans, config, facts, progress)
        if not config.predict_only:
            score(folder, plans, facts, progress)
            write_results(folder, measure(folder, plans))
        facts["finished"] = _now()
        write_json(folder / "run.json", facts)
    return folder


def freeze(folder: Path, plans: Sequence[TaskPlan], config: RunConfig, facts: dict[str, Any]) -> None:
    """Write every task's prompts before the first token; later stages never read the source again."""
    for plan in plans:
        name = plan.task.name
        path = answers.prompts_file(folder, name)
        if name in facts["tasks"] and path.exists():
            continue
        found = resolve.load(plan, config.limit)
        path.unlink(missing_ok=True)
        with Appender(path) as file:
            for prompt in found.prompts:
                file.append(prompt)
        journal.note_files(folder, "frozen", [path])
        facts["tasks"][name] = {
            "title": plan.task.title,
            "paper": plan.task.paper,
            "data_version": found.version,
            "manifest": plain(found.manifest),
            "notes": list(found.notes),
            "prompts": len(found.prompts),
            "prompts_digest": digest(found.prompts),
            "samples": plan.samples,
            "settings": {k: v for k, v in plain(plan.settings).items() if k not in ("task", "sample")},
            "instruments": {},
        }
        write_json(folder / "run.json", facts)


def generate(
    folder: Path, plans: Sequence[TaskPlan], config: RunConfig, facts: dict[str, Any], progress: Progress
) -> None:
    """Ask every prompt that has no output yet. The engine is loaded only when something is owed."""
    engine: Engine | None = None
    try:
        for plan in plans:
            name = plan.task.name
            mine = shard(answers.prompts(folder, name), config.shard)
            owed = answers.owed_outputs(folder, name, mine, plan.samples)
            left = sum(map(len, owed.values()))
            if left and engine is None:
                progress.note(f"loading {config.model}")
                engine = _engine(folder, config, facts)
            progress.stage(f"generate {name}", len(mine) * plan.samples, len(mine) * plan.samples - left)
            if engine is not None and left:
                _ask(folder, plan, engine, owed, config, facts, progress)
    finally:
        if engine is not None:
            engine.close()


def score(folder: Path, plans: Sequence[TaskPlan], facts: dict[str, Any], progress: Progress) -> None:
    """Judge every answer that a scorer still owes; each scorer is loaded once for all tasks that it serves."""
    wanted: dict[str, tuple[ScorerSpec, list[str]]] = {}
    for plan in plans:
        for choice in plan.scorers:
            spec = ScorerSpec(choice.name, choice.args, facts["config"]["device"], "auto", _judge_engine)
            wanted.setdefault(digest([choice.name, choice.args]), (spec, []))[1].append(plan.task.name)
    for spec, tasks in wanted.values():
        _score_tasks(folder, spec, tasks, facts, progress)


def measure(folder: Path, plans: Sequence[TaskPlan]) -> list[Estimate]:
    """Every estimate of the run, computed from the records alone."""
    facts = read_json(folder / "run.json")
    found: list[Estimate] = []
    for plan in plans:
        data_version = facts["tasks"][plan.task.name]["data_version"]
        rows = answers.measured(folder, plan.task, plan.samples)
        found += metrics.estimates(plan.task, rows, data_version)
    return found


def write_results(folder: Path, found: Sequence[Estimate]) -> None:
    """RUN/results.json: the flat list that scripts read."""
    path = folder / "results.json"
    write_json(path, {"schema": SCHEMA, "estimates": [plain(e) for e in found]})
    journal.note_files(folder, "measured", [*answers.record_files(folder), path])


def shard(prompts: Sequence[Prompt], part: tuple[int, int] | None) -> list[Prompt]:
    """The i-th of n interleaved parts (i from 1)."""
    return list(prompts) if part is None else list(prompts[part[0] - 1 :: part[1]])


def _open(folder: Path, config: RunConfig) -> dict[str, Any]:
    """run.json of a new run, or of this one; a folder that was asked something else is refused."""
    path = folder / "run.json"
    if path.exists():
        facts: dict[str, Any] = read_json(path)
        if facts.get("schema") != SCHEMA:
            raise UserError(
                f"{folder} has run schema {facts.get('schema')}, this version reads {SCHEMA}",
                "Open it with the version that made it (run.json: versions), or choose another --output-path.",
            )
        old, new = facts["asked"], config.asked()
        changed = [
            f"{k} was {old.get(k)!r}, is {new.get(k)!r}"
            for k in sorted({*old, *new})
            if old.get(k) != new.get(k)
        ]
        if changed:
            raise UserError(
                f"{folder} holds another run: {'; '.join(changed)}",
                "Ask the same to continue it, or choose another --output-path.",
            )
        return facts
    resolve.check_writable(folder)
    facts = {
        "schema": SCHEMA,
        "started": _now(),
        "asked": config.asked(),
        "config": config.model_dump(mode="json"),
        "engine": {},
        "tasks": {},
        "versions": _versions(),
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "python": sys.version.split()[0],
        },
    }
    if config.policy is not None:
        facts["policy"] = _record_policy(folder, config.policy)
    write_json(path, facts)
    journal.note(folder, "asked", asked=digest(facts["asked"]), policy=facts.get("policy", {}).get("sha256", ""))
    return facts


def _record_policy(folder: Path, source: Path) -> dict[str, str]:
    """Keep the policy and the digest of its terms before the first token, so that a verdict can show that it
    came first."""
    registered = policy.registration(policy.load(source))
    write_atomic(folder / "policy.yaml", source.read_bytes())
    return {"name": registered.name, "sha256": registered.sha256, "recorded": _now()}


def _engine(folder: Path, config: RunConfig, facts: dict[str, Any]) -> Engine:
    entry = plugins.find("engines", config.engine)
    engine: Engine = entry.build(
        ModelSpec(config.model, config.model_args, config.dtype, config.device, config.batch_size)
    )
    found = plain(engine.identity)
    if facts["engine"] and facts["engine"] != found:
        engine.close()
        changed = [k for k in sorted({*found, *facts["engine"]}) if found.get(k) != facts["engine"].get(k)]
        raise UserError(
            f"{folder} was begun with another model or engine: {', '.join(changed)} differ",
            "Use the same model on the same kind of machine, or choose another --output-path.",
        )
    facts["engine"] = found
    write_json(folder / "run.json", facts)
    return engine


def _ask(
    folder: Path,
    plan: TaskPlan,
    engine: Engine,
    owed: Mapping[int, Sequence[Prompt]],
    config: RunConfig,
    facts: dict[str, Any],
    progress: Progress,
) -> None:
    chat = config.chat_template == "on"
    if config.chat_template == "auto":
        chat = plan.task.kind == "generate" and "chat_template" in engine.capabilities
    facts["tasks"][plan.task.name]["settings"]["chat_template"] = chat
    write_json(folder / "run.json", facts)
    ask = engine.generate if plan.task.kind == "generate" else engine.choose
    with Appender(answers.outputs_file(folder, plan.task.name)) as file:
        for sample, prompts in owed.items():
            settings = replace(plan.settings, sample=sample, chat_template=chat)
            for output in ask(prompts, settings):
                file.append(output)
                progress.advance()


def _judge_engine(spec: ModelSpec) -> Engine:
    engine: Engine = plugins.find("engines", spec.args.get("engine", "transformers")).build(spec)
    return engine


def _score_tasks(
    folder: Path, spec: ScorerSpec, tasks: Sequence[str], facts: dict[str, Any], progress: Progress
) -> None:
    owed = {task: sum(1 for _ in answers.owed_scores(folder, task, spec.name)) for task in tasks}
    if not any(owed.values()):
        return
    progress.note(f"loading scorer {spec.name}")
    scorer = _scorer(spec)
    try:
        for task in tasks:
            facts["tasks"][task]["instruments"][spec.name] = plain(scorer.identity)
            progress.stage(f"score {task} by {spec.name}", owed[task], 0)
            with Appender(
                answers.scores_file(folder, task, spec.name), {"identity": plain(scorer.identity)}
            ) as file:
                for found in scorer.score(answers.owed_scores(folder, task, spec.name)):
                    file.append(found)
                    progress.advance()
    finally:
        scorer.close()


def _scorer(spec: ScorerSpec) -> Scorer:
    scorer: Scorer = plugins.find("scorers", spec.name).build(spec)
    return scorer


def _versions() -> dict[str, str]:
    found = {"safety_eval": __version__}
    for name in ("torch", "transformers", "datasets", "detoxify", "vaderSentiment", "numpy", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
