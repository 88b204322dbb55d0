"""The thoughts of a run's answers: how each ended, and the answers that were lost to one, since a model that reasons
spent all its tokens inside `<think>` and answered nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from safety_eval.core.records import Output
from safety_eval.refusal.degenerate import degenerate


@dataclass(frozen=True, slots=True)
class LostToThought:
    """How many of a task's answers are, and the token limit that they were asked under."""

    task: str
    lost: int
    answers: int
    limit: int


class Thought(StrEnum):
    """How the thought of an answer ended. CUT_OFF: at a token limit, without an answer. ALONE: the model ended, and
    its thought was all that it said."""

    NONE = "none"
    CLOSED = "closed"
    CUT_OFF = "cut off"
    ALONE = "only thought"


def thought(output: Output) -> Thought:
    """How the thought of an output ended; NONE also of an error and of choices."""
    if is_lost(output):
        return Thought.CUT_OFF if output.stop_reason == "length" else Thought.ALONE
    return Thought.CLOSED if output.reasoning and not output.error else Thought.NONE


def thoughts(outputs: Iterable[Output]) -> Counter[Thought]:
    """How many answers ended with which thought; empty where no answer has one."""
    found = Counter(thought(output) for output in outputs if not output.error)
    return found if set(found) - {Thought.NONE} else Counter()


def in_words(found: Counter[Thought]) -> str:
    """'12 closed, 3 cut off'; '' where no answer has a thought."""
    return ", ".join(f"{found[state]} {state}" for state in Thought if found[state] and state is not Thought.NONE)


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
        f"Give thoughts a limit of their own (--max-thinking-tokens), raise --gen-kwargs max_new_tokens= (it was "
        f"{found.limit}), or switch thoughts off (--chat-template-args enable_thinking=false, where the template has "
        "it), in a new run folder."
        if found.limit
        else "Where they were made, they need a higher limit, or a chat template that opens no thought."
    )
