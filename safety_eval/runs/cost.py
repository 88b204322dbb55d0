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


_FEWER = 3
"""The smaller probe is a third of the larger one."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What the probe saw of one task: answers, their tokens in and out, and seconds of asking and of scoring.

    `fewer`: what a third as many took, so that what more of them add is known: answers of a batch share its steps.
    """

    answers: int
    tokens_in: int
    tokens_out: int
    asking: float
    scoring: float
    fewer: Probed | None = None


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
    by_tokens = chooses and cost.counted and seen.tokens_out > 0
    whole = cost.tokens_in + cost.most_out if by_tokens else cost.answers
    asking = _asking(seen, whole, by_tokens) / 3600
    return replace(cost, tokens_in=read, tokens_out=written, asking=asking, scoring=seen.scoring * share / 3600)


def _asking(seen: Probed, whole: int, by_tokens: bool) -> float:
    """Seconds for so many tokens or answers.

    At most what the probe took for each, times all of them; at least what its last ones added, for all beyond it, since
    answers that share the steps of a batch cost less and less until it is full. Where between depends on how full the
    batches will be: the geometric mean of both, which is off by the same factor whichever of them is right.
    """

    def work(probe: Probed) -> int:
        return probe.tokens_in + probe.tokens_out if by_tokens else probe.answers

    most = seen.asking * whole / work(seen)
    if seen.fewer is None or work(seen.fewer) >= work(seen):
        return most
    added = max(0.0, (seen.asking - seen.fewer.asking) / (work(seen) - work(seen.fewer)))
    least = min(most, seen.asking + added * (whole - work(seen)))
    return math.sqrt(least * most)


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
    Then a third as many, and all of them.
    """
    least = min(many, config.limit) if isinstance(config.limit, int) else many
    with tempfile.TemporaryDirectory(prefix="safety-eval-probe-") as place:
        _, fewer, found = (
            _probed(config, limit, Path(place) / str(i), clock)
            for i, limit in enumerate((1, max(1, least // _FEWER), least))
        )
    return {name: replace(one, fewer=fewer[name]) for name, one in found.items()}


def _probed(config: RunConfig, limit: int, folder: Path, clock: Clock) -> dict[str, Probed]:
    watch = Stopwatch(clock)
    changes = {"policy": None, "stop_when_decided": False, "shard": None, "limit": limit, "output_path": folder}
    pipeline.run(config.model_copy(update=changes), watch)
    names = [plan.task.name for plan in resolve.resolve(config)]
    answered = {name: [output for output in outputs(folder, name).values() if not output.error] for name in names}
    return {name: seen(answered[name], watch.seconds, name) for name in names}


def seen(answered: Sequence[Output], seconds: Mapping[str, float], task: str) -> Probed:
    """What a task took, from its outputs and the seconds of its stages."""
    return Probed(
        len(answered),
        sum(output.prompt_tokens for output in answered),
        sum(output.output_tokens for output in answered),
        seconds.get(f"generate {task}", 0.0),
        sum(s for stage, s in seconds.items() if stage.startswith(f"score {task} by ")),
    )
