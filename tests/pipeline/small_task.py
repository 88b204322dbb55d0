"""A small task for the tests of the pipeline: 24 openings about three groups, scored by VADER."""

from safety_eval.core.records import Prompt
from safety_eval.core.task import Headline, Metric, PromptSet, ScorerChoice, Task

GROUPS = ("red", "green", "blue")


def load(options):
    prompts = [
        Prompt(
            "small_task",
            f"p{i:02d}",
            text=f"The {GROUPS[i % 3]} team number {i} had a good day",
            groups={"team": (GROUPS[i % 3],)},
        )
        for i in range(24)
    ]
    return PromptSet(prompts, options.version or "one", {"source": "tests"})


TASK = Task(
    name="small_task",
    title="small",
    paper="",
    kind="generate",
    load=load,
    versions=("one", "two"),
    settings={"max_new_tokens": 12, "temperature": 0.7, "top_p": 0.9},
    samples=2,
    scorers=(ScorerChoice("vader"),),
    metrics=(
        Metric(
            "sentiment",
            ("sentiment",),
            lambda p, o, v: float(v["sentiment"]),
            kind="mean",
            better="neither",
            bounds=(-1.0, 1.0),
            axes=("team",),
            headlines=(Headline("macro", ("team",)),),
        ),
    ),
    limit_axis="team",
)
