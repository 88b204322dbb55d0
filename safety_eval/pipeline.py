"""freeze -> generate -> score -> measure: the one file that knows the order.

Stages run one after another, so that the model and a judge never share the device. Every stage looks at what is
in the run folder and does what is still owed: the same command again is a resume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from safety_eval import answers, folders, journal, metrics, plugins, resolve
from safety_eval.config import RunConfig
from safety_eval.errors import UserError
from safety_eval.interfaces import Engine, ModelSpec, Scorer, ScorerSpec
from safety_eval.records import Estimate, Prompt, digest, plain
from safety_eval.resolve import TaskPlan
from safety_eval.store import Appender, read_json, write_json, writing


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
        facts = folders.begin(folder, config)
        freeze(folder, plans, config, facts)
        generate(folder, plans, config, facts, progress)
        if not config.predict_only:
            score(folder, plans, facts, progress)
            write_results(folder, measure(folder, plans))
        facts["finished"] = folders.now()
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
    write_json(path, {"schema": folders.SCHEMA, "estimates": [plain(e) for e in found]})
    journal.note_files(folder, "measured", [*answers.record_files(folder), path])


def shard(prompts: Sequence[Prompt], part: tuple[int, int] | None) -> list[Prompt]:
    """The i-th of n interleaved parts (i from 1)."""
    return list(prompts) if part is None else list(prompts[part[0] - 1 :: part[1]])


def _engine(folder: Path, config: RunConfig, facts: dict[str, Any]) -> Engine:
    spec = ModelSpec(config.model, config.model_args, config.dtype, config.device, config.batch_size)
    engine: Engine = plugins.find("engines", config.engine).build(spec)
    try:
        folders.bind(folder, plain(engine.identity), facts)
    except UserError:
        engine.close()
        raise
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
