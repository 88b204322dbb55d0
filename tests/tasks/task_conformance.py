"""What every task must do, whatever it asks. A benchmark's own test calls `check_task` with its options.

It checks what the rest relies on: ids that pair two runs, groups that the metrics name, prompts that survive
being written and read, measures that call an absent value undecided and stay within their bounds.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields
from itertools import product

from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Output, Prompt, canonical, digest, from_plain, key
from safety_eval.core.task import Metric, PromptSet, Task, TaskOptions

VALUES = (
    -1.0,
    -0.5,
    0.0,
    0.49,
    0.5,
    1.0,
    2.0,
    "comply",
    "partial",
    "refuse",
    "off_topic",
    "male",
    "female",
    "x",
    "agree",
    "disagree",
    "neither",
    "unreadable",
)
"""What a scorer may give; a measure answers each with a number within its bounds, or with None."""


def check_task(task: Task, options: TaskOptions) -> PromptSet:
    """Check a task with one of its versions, and return the prompts for further checks."""
    check_declaration(task)
    found = task.load(options)
    assert found.version == (options.version or task.versions[0])
    assert found.manifest["sha256"] and found.manifest["license"]
    assert all(note.endswith(".") for note in found.notes)
    check_prompts(task, found)
    for metric in task.metrics:
        check_metric(metric, found.prompts)
    assert digest(task.load(options).prompts) == digest(found.prompts), "two loads must give the same prompts"
    return found


def check_declaration(task: Task) -> None:
    assert task.versions and len(set(task.versions)) == len(task.versions)
    assert task.title and task.paper and task.license
    assert task.kind in ("generate", "choose") and task.samples >= 1
    assert set(task.settings) <= {f.name for f in fields(Settings)} - {"task", "seed", "sample"}
    assert task.metrics or task.derive
    assert len({m.name for m in task.metrics}) == len(task.metrics)
    assert all(isinstance(v, str) for choice in task.scorers for v in choice.args.values())
    if task.kind == "generate":
        assert task.settings["max_new_tokens"] > 0
        assert task.scorers[-1].name == "refusal", "every rate is also reported on answered prompts"


def check_prompts(task: Task, found: PromptSet) -> None:
    assert found.prompts
    ids = Counter(prompt.id for prompt in found.prompts)
    assert ids.most_common(1)[0][1] == 1, f"the id {ids.most_common(1)[0][0]} occurs twice"
    axes = set(found.prompts[0].groups)
    twins = Counter(prompt.pair for prompt in found.prompts if prompt.pair)
    assert set(twins.values()) <= {2}, "a pair is two prompts"
    for prompt in found.prompts:
        assert prompt.task == task.name
        assert set(prompt.groups) == axes and all(prompt.groups.values()), prompt.id
        assert all(isinstance(name, str) and name for names in prompt.groups.values() for name in names)
        if task.kind == "choose":
            assert prompt.choices and all(choice.strip() for choice in prompt.choices), prompt.id
            assert len(set(prompt.choices)) == len(prompt.choices), prompt.id
        else:
            assert prompt.asked.strip() and not prompt.choices, prompt.id
    for prompt in found.prompts[:: max(1, len(found.prompts) // 200)]:
        again = from_plain(Prompt, json.loads(canonical(prompt)))
        assert key(again) == key(prompt) and again.target == json.loads(canonical(prompt.target))
    assert not task.limit_axis or task.limit_axis in axes
    spread = {task.limit_parent, *task.limit_strata} - {""}
    assert spread <= {*axes, *(factor for prompt in found.prompts for factor in prompt.factors)}


def check_metric(metric: Metric, prompts: PromptSet | object) -> None:
    asked = [p for p in prompts if metric.where is None or metric.where(p)]  # type: ignore[attr-defined]
    if not asked:
        return
    low, high = metric.bounds
    for axis in (*metric.axes, *(level for headline in metric.headlines for level in headline.levels)):
        assert axis in asked[0].groups, f"{metric.name} speaks of the axis {axis}, which the prompts lack"
    prompt, output = asked[0], Output(key(asked[0]), asked[0].id, text="An answer.", stop_reason="eos")
    if metric.needs:
        assert metric.measure(prompt, output, {}) is None, f"{metric.name}: an absent value is undecided"
    measured = set()
    given = [v for v in VALUES if isinstance(v, str) or metric.kind == "rate" or max(low, -1) <= v <= min(high, 1)]
    for values in product(given, repeat=min(2, len(metric.needs))):
        value = metric.measure(prompt, output, dict(zip(metric.needs, values, strict=False)))
        assert value is None or low <= value <= high
        assert metric.kind == "mean" or value in (None, 0.0, 1.0)
        measured.add(value)
    assert len(measured - {None}) > 1 or not metric.needs, f"{metric.name} always measures the same"
    assert metric.about.endswith(".")
