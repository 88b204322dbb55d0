"""What a run still owes, as a list of what it needs for that: preflight looks at it before the first token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safety_eval.core import secrets
from safety_eval.core.interfaces import ModelSpec
from safety_eval.core.records import Prompt
from safety_eval.preflight.checks import Check, State
from safety_eval.preflight.context import context
from safety_eval.preflight.look import Wanted, WantedTask, model_folder
from safety_eval.runs import answers
from safety_eval.runs.config import RunConfig
from safety_eval.runs.resolve import TaskPlan


def wanted(config: RunConfig, plans: Sequence[TaskPlan], ask: bool = True) -> Wanted:
    """The model, data and instruments that the rest of a run needs; a finished part of it needs nothing.

    Args:
        ask: False = leave the model out.
    """
    folder = config.folder()
    tasks, asks = [], False
    for plan in plans:
        frozen = answers.prompts_file(folder, plan.task.name).exists()
        asked = frozen and _all_asked(folder, plan, config)
        asks = asks or not asked
        scorers = () if config.predict_only else plan.scorers
        left = tuple(c for c in scorers if not (asked and _all_scored(folder, plan.task.name, c.name)))
        tasks.append(WantedTask(plan.task, plan.options, left, load=not frozen))
    return Wanted(config.engine if asks and ask else "", model_spec(config), tuple(tasks), folder)


def fits(config: RunConfig, plan: TaskPlan, prompts: Sequence[Prompt]) -> list[Check]:
    """Whether a task's prompts fit into the model's context; [] where the model's files do not say."""
    folder = model_folder(wanted_model(config))
    most = plan.settings.max_new_tokens + plan.settings.max_thinking_tokens
    return context(folder, plan.task.name, prompts, most) if folder else []


def not_ready(checks: Sequence[Check]) -> list[str]:
    """What preflight found that is not simply here: a line each."""
    return [f"{check.name}: {check.detail}" for check in checks if check.state is not State.READY]


def wanted_model(config: RunConfig) -> Wanted:
    """The model alone."""
    return Wanted(config.engine, model_spec(config), ())


def model_spec(config: RunConfig, started: str = "") -> ModelSpec:
    """What the engine is built from. `started`: of the run, UTC; chat templates are told its day, also by a run that is
    resumed later."""
    day = {"date": started[:10]} if started else {}
    template = {**day, **config.chat_template_args}
    args = secrets.opened(config.model_args)
    return ModelSpec(config.model, args, config.dtype, config.device, config.batch_size, template)


def _all_asked(folder: Path, plan: TaskPlan, config: RunConfig) -> bool:
    """Whether there are as many answers as are owed (by the number of lines: a failed one is told when it is asked)."""
    of = config.shard[1] if config.shard else 1
    expected = _lines(answers.prompts_file(folder, plan.task.name)) // of * plan.samples
    return _lines(answers.outputs_file(folder, plan.task.name)) >= expected > 0


def _all_scored(folder: Path, task: str, scorer: str) -> bool:
    scored = _lines(answers.scores_file(folder, task, scorer)) - 1
    return scored >= _lines(answers.outputs_file(folder, task)) > 0


def _lines(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
