"""Configuration -> what will run: tasks, settings and instruments, all checked before anything is loaded."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_eval.core import packages, plugins
from safety_eval.core.conceal import is_sealed
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.faults import told
from safety_eval.core.hashed import Hashed
from safety_eval.core.interfaces import EngineEntry, ScorerEntry, Settings
from safety_eval.core.records import Prompt, plain
from safety_eval.core.task import PromptSet, ScorerChoice, Task, TaskOptions
from safety_eval.runs import probe
from safety_eval.runs.config import RunConfig
from safety_eval.runs.draw import draw
from safety_eval.runs.run_file import Protocol


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task of a run: how it is asked and by what it is scored. `settings` lacks the sample number and whether
    the chat template is used where that depends on the model's tokenizer (`chat_template` 'auto')."""

    task: Task
    options: TaskOptions
    settings: Settings
    samples: int
    scorers: tuple[ScorerChoice, ...]


def resolve(config: RunConfig) -> list[TaskPlan]:
    """The plan of every task.

    Raises:
        UserError: an unknown task, engine, scorer or data version; an engine that cannot do what a task needs; a
            scorer that gives nothing that the task measures.
    """
    _asked_in_words(config)
    engine: EngineEntry = plugins.find("engines", config.engine)
    if not engine.asks:
        _already_made(config)
    tasks = [plugins.find("tasks", name) for name in config.tasks]
    _known("--scorer", config.scorers, tasks)
    _known("--data-version", [t for t in config.data_version if t], tasks)
    _known("--prompts", config.prompts, tasks)
    _take_prompts(config, tasks)
    version = config.data_version.get("")
    if version is not None and not any(version in task.versions for task in tasks):
        known = sorted({v for task in tasks for v in task.versions})
        raise UserError(f"no task of this run has a data version '{version}'", nearest(version, known))
    for task in tasks:
        if task.kind not in engine.capabilities:
            able = ", ".join(sorted(engine.capabilities))
            raise UserError(
                f"engine '{config.engine}' cannot do '{task.kind}', which task '{task.name}' needs (it can: {able})",
                "Choose another --engine, or leave the task out.",
            )
    plans = [_plan(config, task) for task in tasks]
    used = {choice.name for plan in plans for choice in plan.scorers}
    for name in config.scorer_args:
        if name not in used:
            raise UserError(f"--scorer-args {name}:...: no task of this run is scored by it", nearest(name, used))
    return plans


def _asked_in_words(config: RunConfig) -> None:
    """A digest as a system prompt would pass for the text that it stands for."""
    if config.system_prompt and is_sealed(config.system_prompt):
        raise UserError("--system-prompt is a digest, not a text", "Give the text itself.")


def _already_made(config: RunConfig) -> None:
    """Settings that ask for a way of answering change nothing in answers that are there already."""
    given = {
        "--gen-kwargs": config.generation != type(config.generation)(),
        "--system-prompt": config.system_prompt is not None,
        "--apply-chat-template": config.chat_template != "auto",
        "--chat-template-args": bool(config.chat_template_args),
        "--stop-when-decided": config.stop_when_decided,
        "--shard": config.shard is not None,
    }
    for flag in (flag for flag, is_given in given.items() if is_given):
        raise UserError(f"{flag}: the answers of engine '{config.engine}' were made elsewhere", "Leave it out.")


def load(plan: TaskPlan, limit: int | float | None) -> PromptSet:
    """The prompts of a task; where there is a limit, a random draw of them (runs/draw.py)."""
    with told(plan.task.load, f"load of task '{plan.task.name}'"):
        loaded = plan.task.load(plan.options)
    found = probe.prompts(plan.task, loaded)
    if not found.prompts:
        raise UserError(f"task '{plan.task.name}' found no prompts", "Check --data and --data-version.")
    for name in _named_twice(found.prompts):
        raise UserError(f"task '{plan.task.name}' has two prompts with the id '{name}'", "Give each its own.")
    size = math.ceil(limit * len(found.prompts)) if isinstance(limit, float) else limit
    if size is None or size >= len(found.prompts):
        return found
    drawn = draw(found.prompts, size, plan.task, plan.settings.seed)
    return PromptSet(drawn.prompts, found.version, found.manifest, (*found.notes, drawn.note), drawn.drawn)


def _named_twice(prompts: Sequence[Prompt]) -> list[str]:
    """Ids that several prompts have. Of each id only its hash is held, until two are alike."""
    names = Hashed()
    for prompt in prompts:
        names.add(prompt.id)
    alike = names.twice()
    ids = Counter(prompt.id for prompt in prompts if prompt.id in alike) if alike else Counter()
    return [name for name, count in ids.items() if count > 1]


def protocol(task: Task, config: RunConfig) -> Protocol:
    """The task's own way of being asked and scored, whatever this run asks for."""
    own = Settings(**{**task.settings, "task": task.name})
    left_out = ("task", "sample", "seed", "system_prompt", "chat_template")
    path = next((Path(t) for t in config.tasks if t.endswith(".py") and Path(t).stem == task.name), None)
    return Protocol(
        version=task.versions[0] if task.versions else "",
        samples=task.samples,
        settings={k: v for k, v in plain(own).items() if k not in left_out},
        scorers={choice.name: dict(choice.args) for choice in task.scorers},
        file=hashlib.sha256(path.read_bytes()).hexdigest() if path is not None and path.is_file() else "",
    )


def _take_prompts(config: RunConfig, tasks: Sequence[Task]) -> None:
    for task in tasks:
        if task.name in config.prompts and not task.own_prompts:
            able = [t.name for t in tasks if t.own_prompts]
            hint = (
                f"Of these tasks, {', '.join(able)} take them." if able else "A task that does says own_prompts=True."
            )
            raise UserError(f"--prompts {task.name}=...: this task takes no prompts of your own", hint)


def _known(flag: str, wanted: Any, tasks: Sequence[Task]) -> None:
    names = [t.name for t in tasks]
    for name in wanted:
        if name not in names:
            raise UserError(f"{flag} {name}=...: '{name}' is not among the tasks of this run", nearest(name, names))


def _plan(config: RunConfig, task: Task) -> TaskPlan:
    probe.settings(task)
    version = config.data_version.get(task.name)
    if version is None and config.data_version.get("") in task.versions:
        version = config.data_version[""]
    if version is not None and version not in task.versions:
        raise UserError(f"task '{task.name}' has no data version '{version}'", nearest(version, task.versions))
    options = TaskOptions(config.data, version, config.prompts.get(task.name))
    settings = dict(task.settings)
    settings |= {k: v for k, v in config.generation.model_dump().items() if v is not None}
    ready = Settings(**{**settings, "task": task.name, "seed": config.seed, "system_prompt": config.system_prompt})
    return TaskPlan(task, options, ready, config.samples or task.samples, _instruments(config, task))


def _instruments(config: RunConfig, task: Task) -> tuple[ScorerChoice, ...]:
    """The task's scorers with the user's choice in place of the first, and the user's arguments added."""
    chosen = list(task.scorers)
    if task.name in config.scorers:
        wanted = [ScorerChoice(n.strip()) for n in config.scorers[task.name].split("+")]
        chosen = [*wanted, *(c for c in chosen[1:] if c.name not in {w.name for w in wanted})]
    ready = []
    offered: list[frozenset[str]] = []
    needs = {need for metric in task.metrics for need in metric.needs} | {"status"}
    for choice in chosen:
        args = {**choice.args, **config.scorer_args.get(choice.name, {})}
        try:
            entry: ScorerEntry = plugins.find("scorers", choice.name)
        except packages.MissingPackageError:
            ready.append(ScorerChoice(choice.name, args))
            continue  # preflight names it, with everything else that is missing
        with told(entry.offers, f"offers of scorer '{choice.name}'"):
            offers = frozenset(entry.offers(args))
        offered.append(offers)
        if not offers & needs:
            probe.needs(task, offered)
        if task.metrics and not offers & needs:
            raise UserError(
                f"scorer '{choice.name}' gives {', '.join(sorted(offers))}; task '{task.name}' measures "
                f"{', '.join(sorted(needs))}",
                "See `safety-eval ls scorers` for what each gives.",
            )
        ready.append(ScorerChoice(choice.name, args))
    probe.needs(task, offered)
    return tuple(ready)


def check_writable(folder: Path) -> None:
    """Fail before the first token when the run folder cannot be made."""
    from safety_eval.core.store import write_atomic

    write_atomic(folder / ".probe", "")
    (folder / ".probe").unlink(missing_ok=True)
