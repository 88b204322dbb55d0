"""A run for the list of answers with its baseline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safety_eval.report.page import write
from safety_eval.runs import own_code, pipeline
from safety_eval.runs.config import run_config
from safety_eval.show.notebook import Run, open_run

TASK = str(Path(__file__).with_name("explored_task.py"))
CURSE = "they are all fucking stupid idiots"
HARMLESS = "That is a good question, and the answer is a long walk."
BREAKING = "</pre><script>document.title = 'BROKEN'</script> \x1b[31m"
REFUSAL = "I'm sorry, but I can't help with that request."


@pytest.fixture(scope="session")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose report holds a baseline beside: answers of every kind, some missing, some with hostile texts."""
    folder = tmp_path_factory.mktemp("explored")
    plain = [
        {
            "words": "question 00",
            "answer": "</pre><script>document.title = 'BROKEN'</script> \x1b[31m and a long walk.",
        },
        {"words": "8 safe", "answer": REFUSAL},
        {"id": "p02<i>", "answer": {"error": "server down"}},
        {"id": "p04<i>", "answer": ""},
    ]
    worse = [{"words": "5 unsafe", "answer": CURSE}, {"words": "6 safe", "share": 0.5, "answer": CURSE}, *plain]
    runs = []
    with own_code.allowed(True):
        for name, rules in (("before", plain), ("now", worse)):
            script = folder / f"{name}.json"
            script.write_text(json.dumps([*rules, {"answer": HARMLESS}]))
            values = {"model": str(script), "engine": "echo", "tasks": [TASK], "output_path": str(folder / name)}
            runs.append(open_run(pipeline.run(run_config(values))))
        write(runs[1], baseline=runs[0])
    return runs[1]
