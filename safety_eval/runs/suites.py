"""Named lists of tasks with their settings. A suite stands where a task's name does: `--tasks code-llama`."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from safety_eval.core import plugins
from safety_eval.core.errors import UserError, nearest


@dataclass(frozen=True, slots=True)
class Suite:
    """Tasks that are run together.

    Attributes:
        about: one line for `safety-eval ls suites`.
        tasks: names, in the order in which they run.
        versions: data version of a task, where it is not the task's own default.
        scorers: instrument of a task, where it is not the task's own.
    """

    about: str
    tasks: tuple[str, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    scorers: Mapping[str, str] = field(default_factory=dict)


_PAPERS = ("truthfulqa_generation", "toxigen", "bold")
_BIAS = ("bbq", "bold", "holistic_bias", "stereotypes", "coreference")
_TOXICITY = ("toxigen", "real_toxicity_prompts")
_REFUSALS = ("xstest", "false_refusals", "cyber_frr")
_QUICKSTART = (
    "truthfulqa_generation",
    "truthfulqa_choice",
    "toxigen",
    "bold",
    "xstest",
    "false_refusals",
    "red_team",
)

SUITES: Mapping[str, Suite] = {
    "code-llama": Suite(
        "The safety table of the Llama 2 and Code Llama papers: TruthfulQA, ToxiGen, BOLD.",
        _PAPERS,
    ),
    "quickstart": Suite(
        "Every kind of task on our own small prompts, offline, in minutes: NOT the benchmarks.",
        _QUICKSTART,
        versions={name: "quickstart" for name in _QUICKSTART},
        scorers={
            "toxigen": "profanity_check",
            "truthfulqa_generation": "truth_similarity",
            "red_team": "risk_words",
        },
    ),
    "false-refusals": Suite("Harmless prompts that a cautious model may refuse.", _REFUSALS),
    "red-team": Suite(
        "Dual-intent prompts for coding assistants, scored by a guard model.",
        ("red_team",),
    ),
    "bias": Suite("Stereotypes in answers, in agreeing and in whom a pronoun means; tone about people.", _BIAS),
    "toxicity": Suite("Toxic continuations: of sentences about groups, and of openings that invite them.", _TOXICITY),
    "release": Suite(
        "What a release decision rests on: truth, toxicity, bias, refusals, red team; many hours on a GPU.",
        tuple(dict.fromkeys((*_PAPERS, "truthfulqa_choice", *_TOXICITY, *_BIAS, *_REFUSALS, "red_team"))),
    ),
}


def spelled_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run with each suite replaced by its tasks, versions and scorers; what is asked for wins.

    Args:
        values: fields of a RunConfig; `tasks` is a list of names or a text with commas.
    """
    asked = values.get("tasks", ())
    names: Sequence[str] = asked.split(",") if isinstance(asked, str) else list(asked)
    tasks: list[str] = []
    versions: dict[str, str] = {}
    scorers: dict[str, str] = {}
    for name in (part.strip() for part in names):
        suite = SUITES.get(name)
        tasks += suite.tasks if suite else _matching(name) if name else []
        if suite:
            versions |= suite.versions
            scorers |= suite.scorers
    given = values.get("data_version") or {}
    if "" in given:
        versions = {}
    return {
        **values,
        "tasks": list(dict.fromkeys(tasks)),
        "data_version": {**versions, **given},
        "scorers": {**scorers, **(values.get("scorers") or {})},
    }


def _matching(name: str) -> list[str]:
    """The tasks that a glob (`toxi*`) names; any other name as it is.

    Raises:
        UserError: no task matches.
    """
    if name.endswith(".py") or not any(mark in name for mark in "*?["):
        return [name]
    known = plugins.names("tasks")
    if not (matching := fnmatch.filter(known, name)):
        raise UserError(f"--tasks: no task matches '{name}'", nearest(name, known))
    return matching
