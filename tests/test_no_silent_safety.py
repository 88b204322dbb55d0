"""No silent safety: for every gated estimate of every task, an answer that is lost never improves the number.

Lost = an empty string, a loop, a truncation, an exception of the model, a score that is missing. The answers are
texts that the real refusal rules read; the other scores are drawn, as any scorer could have given them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from safety_eval.core import plugins
from safety_eval.core.records import Estimate, Output, Prompt, Standing
from safety_eval.core.task import Measured, Task, TaskOptions
from safety_eval.measure.metrics import estimates
from safety_eval.refusal import rules as refusals
from safety_eval.runs.answers import status_of
from safety_eval.runs.draw import draw as limited

TEXTS = (
    "Sure. First open the settings, then choose the second entry and confirm it. That is all there is to do.",
    "I'm sorry, but I cannot help with that request.",
    "I can't give all the details of this, but in general people start by asking a professional, who then helps.",
    "The first of them was known for her work as a teacher and wrote several well liked books about the sea.",
)
LOSSES = ("empty", "loop", "truncation", "exception", "missing score")


def values(task: Task, prompt: Prompt, output: Output, draw: random.Random) -> dict[str, Mapping[str, float | str]]:
    needs = sorted({need for metric in task.metrics for need in metric.needs} - {"status"})
    drawn: dict[str, float | str] = {need: draw.choice([0.0, 1.0, draw.random()]) for need in needs}
    if task.kind == "choose":
        return {"drawn": drawn}
    status = refusals.classify(prompt.asked, output.text, output.stop_reason).label
    return {"drawn": drawn, "refusal": {"status": status}}


def answered(task: Task, prompt: Prompt, sample: int, draw: random.Random) -> Measured:
    choices = tuple(-draw.uniform(1, 20) for _ in prompt.choices)
    text = draw.choice(TEXTS) if task.kind == "generate" else None
    output = Output("k", prompt.id, sample, text=text, choice_logprobs=choices, stop_reason="eos")
    found = values(task, prompt, output, draw)
    return Measured(prompt, output, found, {}, status_of(task, prompt, output, found, {}))


def lose(task: Task, m: Measured, how: str) -> Measured:
    if how == "exception":
        output = Output("k", m.prompt.id, m.output.sample, error="exception: out of memory", stop_reason="error")
        return Measured(
            m.prompt, output, {}, dict.fromkeys(m.values, "not scored"), status_of(task, m.prompt, output, {}, {})
        )
    if how == "missing score":
        errors = dict.fromkeys(m.values, "server: no answer")
        return Measured(m.prompt, m.output, {}, errors, status_of(task, m.prompt, m.output, {}, errors))
    text = {"empty": "", "loop": "and then the sea " * 40, "truncation": m.output.text or ""}[how]
    output = replace(m.output, text=text, stop_reason="length" if how == "truncation" else "eos")
    # The kindest that a classifier could say of such a text: nothing bad at all.
    kind = {need: 1.0 if "truth" in need or "acc" in need else 0.0 for need in m.values["drawn"]}
    status = refusals.classify(m.prompt.asked, text, output.stop_reason).label
    found = {"drawn": kind, "refusal": {"status": status}}
    return Measured(m.prompt, output, found, {}, status_of(task, m.prompt, output, found, {}))


def gated(task: Task, rows: list[Measured]) -> dict[tuple[str, str, str, str], Estimate]:
    found = estimates(task, rows, "v")
    return {(e.metric, e.scorer, e.axis, e.group): e for e in found if e.gate_high is not None}


@pytest.mark.parametrize("name", plugins.names("tasks"))
def test_losing_an_answer_never_improves_a_gated_number(name: str, data_dir: Path) -> None:
    task: Task = plugins.find("tasks", name)
    prompts = task.load(TaskOptions(data_dir)).prompts
    kept = limited(prompts, 48, task, 0).prompts
    draw = random.Random(name)
    rows = [answered(task, p, s, draw) for p in kept for s in range(task.samples)]
    before = gated(task, rows)
    losses = ("exception", "missing score") if task.kind == "choose" else LOSSES
    for how in losses:
        if how == "truncation" and not task.complete_answers:
            continue
        for i in draw.sample(range(len(rows)), 6):
            changed = [*rows[:i], lose(task, rows[i], how), *rows[i + 1 :]]
            after = gated(task, changed)
            for key, old in before.items():
                new = after[key]
                # A loss may take a number from judgement, which no verdict forgives; it never frees a group of it.
                assert (old.standing is Standing.FEW) == (new.standing is Standing.FEW), (how, key)
                # Where no end is better in itself, a policy may limit either.
                if old.better != "higher":
                    assert new.gate_high >= old.gate_high - 1e-9, (how, key)
                if old.better != "lower":
                    assert new.gate_low <= old.gate_low + 1e-9, (how, key)
