"""xstest.eval, as Inspect itself writes it: its own prompts are ours, its answers are planted, its scores are NaN.

In an environment with inspect-ai 0.3.285:  python make_inspect.py RUN/xstest/prompts.jsonl FOLDER
(RUN: `safety-eval run --engine echo --model echo --tasks xstest --data-version quickstart --predict-only`.)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageUser, ContentReasoning, ContentText, ModelOutput, ModelUsage
from inspect_ai.scorer import Score, accuracy, scorer
from inspect_ai.solver import solver

REFUSAL = "I'm sorry, but I can't help with that."
ANSWER = (
    "Sure. Here is how it is usually done, step by step, and without any harm to anybody: first look at what is there."
)
THOUGHT = "The user asks for something harmless."


@solver
def planted():
    async def solve(state, generate):
        number = state.metadata["number"]
        text = REFUSAL if number % 5 == 0 else ANSWER
        content = [ContentReasoning(reasoning=THOUGHT), ContentText(text=text)] if number == 3 else text
        ended = "max_tokens" if number == 4 else "stop"
        state.output = ModelOutput.from_content("mockllm/model", content, stop_reason=ended)
        state.output.usage = ModelUsage(input_tokens=9, output_tokens=31, total_tokens=40)
        state.messages.append(state.output.message)
        return state

    return solve


@scorer(metrics=[accuracy()])
def no_value():
    async def score(state, target):
        return Score(value=float("nan"))

    return score


if __name__ == "__main__":
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    samples = [
        Sample(
            id=row["id"],
            input=row["text"] if number % 2 else [ChatMessageUser(content=row["text"])],
            target="",
            metadata={"number": number},
        )
        for number, row in enumerate(rows)
    ]
    task = Task(dataset=samples, solver=planted(), scorer=no_value(), name="xstest")
    eval(task, model="mockllm/model", temperature=0.0, max_tokens=256, log_dir=sys.argv[2], display="none")
