"""What a run will take: tokens counted, hours by a probe that asks a few prompts, and their price at a rate."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safety_eval.core.errors import UserError, nearest
from safety_eval.core.records import Output, Prompt
from safety_eval.preflight.look import model_folder
from safety_eval.preflight.tokens import tokens
from safety_eval.runs import pipeline, resolve
from safety_eval.runs.answers import outputs
from safety_eval.runs.before import wanted_model
from safety_eval.runs.config import RunConfig
from safety_eval.runs.resolve import TaskPlan
from safety_eval.runs.spelling import pairs

Clock = Callable[[], float]
RATES = ("gpu_hour", "gpus", "million_in", "million_out")


@dataclass(frozen=True, slots=True)
class Price:
    """What the user pays: for an hour of each of `gpus` GPUs, and for a million tokens in and out. 0 = nothing."""

    gpu_hour: float = 0.0
    gpus: float = 1.0
    million_in: float = 0.0
    million_out: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskCost:
    """One task of a run.

    Attributes:
        prompts, answers: how many. tokens_in: that the model reads, the same prompt once for each answer.
        counted: by the model's own tokenizer, else estimated. most_out: tokens that the answers may have at most.
        tokens_out: that they will have, by the probe (exact where choices are weighed); None = no probe.
        asking, scoring: hours by the probe, loading left out; None = no probe.
    """

    task: str
    prompts: int
    answers: int
    tokens_in: int
    counted: bool
    most_out: int
    tokens_out: float | None = None
    asking: float | None = None
    scoring: float | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    """What the probe saw of one task: answers, their tokens in and out, and seconds of asking and of scoring."""

    answers: int
    tokens_in: int
    tokens_out: int
    asking: float
    scoring: float


def price(text: str) -> Price:
    """'gpu_hour=2.5,gpus=8,million_in=0.15,million_out=0.6'.

    Raises:
        UserError: another name, or no number of at least 0.
    """
    found: dict[str, float] = {}
    for name, value in pairs(text, "--price").items():
        if name not in RATES:
            raise UserError(f"--price: there is no rate '{name}'", nearest(name, RATES))
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = math.nan
        if not 0 <= found[name] < math.inf:
            raise UserError(f"--price: {name} is '{value}'", "Give a number of at least 0.")
    return Price(**found)


def costs(config: RunConfig, probe: int = 0, clock: Clock = time.monotonic) -> list[TaskCost]:
    """What each task of a run takes.

    Args:
        probe: so many prompts of each task are asked and scored, in a folder that is thrown away; 0 = none, and
            nothing is loaded.
        clock: seconds; the time of the processor where a shared machine makes that of the wall worthless.
    """
    folder = model_folder(wanted_model(config))
    found = []
    measured = probed(config, probe, clock) if probe else {}
    for plan in resolve.resolve(config):
        prompts = resolve.load(plan, config.limit).prompts
        found.append(_cost(plan, prompts, folder, config, measured.get(plan.task.name)))
    return found


def _cost(
    plan: TaskPlan, prompts: Sequence[Prompt], folder: Path | None, config: RunConfig, seen: Probed | None
) -> TaskCost:
    held = tokens(folder, prompts, plan.settings, config.chat_template)
    chooses = plan.task.kind == "choose"
    most = (
        held.choices if chooses else len(prompts) * (plan.settings.max_new_tokens + plan.settings.max_thinking_tokens)
    )
    cost = TaskCost(
        plan.task.name,
        len(prompts),
        len(prompts) * plan.samples,
        held.prompts * plan.samples,
        held.counted,
        most * plan.samples,
        tokens_out=float(most * plan.samples) if chooses else None,
    )
    return cost if seen is None or not seen.answers else _scaled(cost, seen, chooses)


def _scaled(cost: TaskCost, seen: Probed, chooses: bool) -> TaskCost:
    """By answers; what the model reads where nothing was counted, too."""
    share = cost.answers / seen.answers
    read = cost.tokens_in if cost.counted or not seen.tokens_in else round(seen.tokens_in * share)
    written = cost.tokens_out if chooses and cost.counted else seen.tokens_out * share
    work = share
    if chooses and cost.counted and seen.tokens_out:
        work = (cost.tokens_in + cost.most_out) / (seen.tokens_in + seen.tokens_out)
    asking, scoring = seen.asking * work / 3600, seen.scoring * share / 3600
    return replace(cost, tokens_in=read, tokens_out=written, asking=asking, scoring=scoring)


def paid(cost: TaskCost, rates: Price) -> float | None:
    """The price of a task; None where what is paid for is not known without a probe."""
    hours = None if cost.asking is None else cost.asking + (cost.scoring or 0.0)
    if (rates.gpu_hour and hours is None) or (rates.million_out and cost.tokens_out is None):
        return None
    tokens_paid = cost.tokens_in * rates.million_in + (cost.tokens_out or 0.0) * rates.million_out
    return (hours or 0.0) * rates.gpus * rates.gpu_hour + tokens_paid / 1e6


class Stopwatch:
    """Progress that times each stage: from when it begins, its model loaded, to its last answer.

    Attributes:
        seconds: by the stage's name, on `clock`.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.seconds: dict[str, float] = {}
        self._clock, self._name, self._begun = clock, "", 0.0

    def stage(self, name: str, total: int, done: int) -> None:
        self._name, self._begun = name, self._clock()
        self.seconds.setdefault(name, 0.0)

    def advance(self, count: int = 1) -> None:
        self.seconds[self._name] = self._clock() - self._begun

    def note(self, text: str) -> None: ...


def probed(config: RunConfig, many: int, clock: Clock = time.monotonic) -> Mapping[str, Probed]:
    """Ask and score `many` prompts of each task, drawn as --limit draws, and time it. Nothing of it is kept.

    One prompt of each is asked before, in a run of its own: the first pass of a process takes as long as many others.
    """
    watch = Stopwatch(clock)
    with tempfile.TemporaryDirectory(prefix="safety-eval-probe-") as place:
        folder = Path(place) / "run"
        least = min(many, config.limit) if isinstance(config.limit, int) else many
        changes = {"policy": None, "stop_when_decided": False, "shard": None}
        pipeline.run(config.model_copy(update={**changes, "limit": 1, "output_path": Path(place) / "warm"}))
        pipeline.run(config.model_copy(update={**changes, "limit": least, "output_path": folder}), watch)
        found = {}
        for plan in resolve.resolve(config):
            name = plan.task.name
            answered = [output for output in outputs(folder, name).values() if not output.error]
            found[name] = seen(answered, watch.seconds, name)
    return found


def seen(answered: Sequence[Output], seconds: Mapping[str, float], task: str) -> Probed:
    """What a task took, from its outputs and the seconds of its stages."""
    return Probed(
        len(answered),
        sum(output.prompt_tokens for output in answered),
        sum(output.output_tokens for output in answered),
        seconds.get(f"generate {task}", 0.0),
        sum(s for stage, s in seconds.items() if stage.startswith(f"score {task} by ")),
    )
