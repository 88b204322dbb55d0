"""Answers lost to a thought: a model that reasons spent all its tokens inside `<think>` and answered nothing."""

from __future__ import annotations

from dataclasses import dataclass

from safety_eval.core.records import Output
from safety_eval.refusal.degenerate import degenerate


@dataclass(frozen=True, slots=True)
class LostToThought:
    """How many of a task's answers are, and the token limit that they were asked under."""

    task: str
    lost: int
    answers: int
    limit: int


def is_lost(output: Output) -> bool:
    """Whether an output is a thought without an answer: kept apart by the engine, or opened in the text itself."""
    text = output.text or ""
    if output.error or output.choice_logprobs:
        return False
    if output.reasoning:
        return not text.strip()
    return "<" in text and degenerate(text) == "unfinished_reasoning"


def sentence(found: LostToThought) -> str:
    """What happened and which flag to raise."""
    return (
        f"{found.task}: {found.lost} of {found.answers} answers ended inside the model's own thought (<think> was "
        "never closed) and count as degenerate. "
    ) + (
        f"Raise --gen-kwargs max_new_tokens= (it was {found.limit}) in a new run folder, or give the model a chat "
        "template that opens no thought."
        if found.limit
        else "Where they were made, they need a higher limit, or a chat template that opens no thought."
    )
