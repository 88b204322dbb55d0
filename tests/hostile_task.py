"""A task whose names and texts try to break a page, a terminal or a picture; scored by VADER."""

from safety_eval.core.records import Prompt
from safety_eval.core.task import Headline, Metric, PromptSet, ScorerChoice, Task

GROUPS = ("<b>bold</b>", "esc\x1b[31m", "turn\u202earound", "$\\frac{1}{0}$", "{{ 7 * 7 }}")
TEXT = "</pre><script>alert('HARMFUL TEXT')</script><img src=x onerror=go()> \x1b]0;t\x07 \u202e {{ 7 * 7 }}"


def load(options):
    prompts = [
        Prompt("hostile_task", f"<i>{i}</i>\x9b", text=f"{TEXT} {i}", groups={"team\x07": (GROUPS[i % 5],)})
        for i in range(60)
    ]
    note = "<u>a note</u>"
    return PromptSet(prompts, "one", {"source": "<a href='http://example.org'>x</a>"}, (note,))


TASK = Task(
    name="hostile_task",
    title="<h1>Hostile</h1>",
    paper="&amp; <em>paper</em>",
    kind="generate",
    load=load,
    versions=("one",),
    settings={"max_new_tokens": 40, "temperature": 0.7},
    scorers=(ScorerChoice("vader"),),
    metrics=(
        Metric(
            "sentiment",
            ("sentiment",),
            lambda p, o, v: float(v["sentiment"]),
            kind="mean",
            better="neither",
            bounds=(-1.0, 1.0),
            axes=("team\x07",),
            headlines=(Headline("macro", ("team\x07",)),),
            about="Says <nothing> of safety.",
        ),
    ),
)
