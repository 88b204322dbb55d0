"""Made-up estimates in the shape of real ones, for tests (the counts are Llama 2 7B's on ToxiGen)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scipy.stats import binomtest

from safety_eval.core.records import Estimate, Standing
from safety_eval.measure import floors
from safety_eval.runs import run_file as run_file_module
from safety_eval.runs.config import RunConfig
from safety_eval.runs.run_file import RunFile, TaskRecord
from safety_eval.show.words import Facts

GROUPS = (
    "asian",
    "mexican",
    "muslim",
    "physical_disability",
    "jewish",
    "middle_eastern",
    "chinese",
    "mental_disability",
    "latino",
    "native_american",
    "women",
    "black",
    "lgbtq",
)
EVENTS = (146, 143, 124, 93, 144, 86, 69, 122, 186, 95, 138, 132, 122)
OWED = (883, 459, 548, 591, 536, 431, 437, 624, 743, 502, 641, 591, 604)
FACTS = Facts(
    model="smollm2 (135M)",
    precision="float32",
    engine="transformers",
    chat_template={"toxigen": "applied"},
    instruments={
        ("toxigen", "profanity_check"): "alt-profanity-check 1.8.0",
        ("bold", "vader"): "VADER 3.3.2",
    },
    identities={
        (task, known["scorer"]): known["identity"]
        for task, scorer in (("toxigen", "profanity_check"), ("bold", "vader"))
        for known in floors.instruments().values()
        if known["scorer"] == scorer
    },
)


def rate(group: str, events: int, count: int, axis: str = "target", task: str = "toxigen") -> Estimate:
    """A rate with its Wilson interval."""
    limits = binomtest(events, count).proportion_ci(method="wilson")
    return Estimate(
        task,
        "toxic_rate",
        "profanity_check",
        axis,
        group,
        "rate",
        events / count,
        limits.low,
        limits.high,
        count,
        events,
        count,
        {},
        count,
        float(count),
        events / count,
        events / count,
        limits.low,
        limits.high,
        "lower",
        Standing.JUDGED,
        "Wilson",
        "",
        "2022",
    )


def toxigen() -> list[Estimate]:
    """13 groups, total and headline; one group descriptive, one without data, one with missing answers."""
    rows = [rate(g, k, n) for g, k, n in zip(GROUPS, EVENTS, OWED, strict=True)]
    rows[3] = replace(
        rows[3], standing=Standing.FEW, effective_clusters=7.2, reason="descriptive only: 7 prompts on its list"
    )
    rows[5] = replace(rows[5], missing={"empty": 2, "error": 1}, expected=434)
    rows[12] = replace(
        rows[12],
        value=None,
        low=None,
        high=None,
        count=0,
        events=None,
        missing={"error": 604},
        standing=Standing.UNMEASURED,
        reason="the scorer failed on every answer",
    )
    return [
        rate("all", sum(EVENTS), sum(OWED), "total"),
        rate("mean over groups", 2125, 10000, "macro"),
        *rows,
    ]


def mean(group: str, value: float, axis: str = "group", count: int = 200) -> Estimate:
    """A mean sentiment with a made-up interval."""
    return Estimate(
        "bold",
        "sentiment",
        "vader",
        axis,
        group,
        "mean",
        value,
        value - 0.06,
        value + 0.05,
        count,
        None,
        count,
        {},
        count,
        float(count),
        value,
        value,
        value - 0.06,
        value + 0.05,
        "neither",
        Standing.JUDGED,
        "cluster bootstrap (BCa)",
        "",
        "paper",
    )


SECTIONS = {
    "American_actors": "gender",
    "American_actresses": "gender",
    "Islam": "religious_ideology",
    "Judaism": "religious_ideology",
    "Fascism": "political_ideology",
    "Left-wing": "political_ideology",
}


def bold() -> list[Estimate]:
    """Six groups in three domains, the domains, the total and the paper's headline."""
    values = (0.21, 0.33, 0.19, 0.25, -0.17, 0.05)
    groups = [mean(g, v) for g, v in zip(SECTIONS, values, strict=True)]
    domains = [mean(d, v, "domain") for d, v in zip(dict.fromkeys(SECTIONS.values()), (0.27, 0.22, -0.06), strict=True)]
    return [mean("all", 0.14, "total"), mean("paper_headline", 0.143, "macro"), *domains, *groups]


def task_record(**about: Any) -> TaskRecord:
    """What run.json says of a task; `about` replaces what matters to a test."""
    usual = {
        "title": "",
        "paper": "",
        "data_version": "",
        "manifest": {},
        "notes": (),
        "prompts": 1,
        "prompts_digest": "",
        "samples": 1,
        "settings": {},
        "instruments": {},
    }
    return TaskRecord.model_validate({**usual, **about})


def run_file(tasks: Mapping[str, TaskRecord], model: str = "m", **about: Any) -> RunFile:
    """A run.json with these tasks; `about` replaces what matters to a test."""
    config = RunConfig(model=model, tasks=tuple(tasks) or ("none",))
    usual = {
        "schema": run_file_module.SCHEMA,
        "started": "now",
        "finished": "now",
        "asked": {"model": model},
        "versions": {},
        "machine": {},
    }
    return RunFile.model_validate({**usual, "config": config, "tasks": dict(tasks), **about})
