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
    """How many of a task's answers are, and the token limits that they were asked under.

    Attributes:
        cut, alone: thoughts that met a limit, and those behind which the model said nothing. answers: of the task.
        limit: of an answer, 0 = nobody here set one. thinking: of a thought apart, 0 = they share `limit`.
    """

    task: str
    cut: int
    alone: int
    answers: int
    limit: int
    thinking: int = 0


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
    """What happened to a task, and which flag to raise."""
    return f"{what_was_lost(found)} {advice(found)}"


def what_was_lost(found: LostToThought) -> str:
    """How many of a task's answers are no answers, and the limit that they had."""
    named = ((found.cut, Thought.CUT_OFF), (found.alone, "ended by the model"))
    states = ", ".join(f"{count} {state}" for count, state in named if count)
    limit = found.thinking or found.limit
    states += f"; the limit was {limit:,} tokens" if limit else ""
    lost = found.cut + found.alone
    return f"{found.task}: {lost} of {found.answers} answers are a thought alone ({states}) and count as degenerate."


def advice(found: LostToThought) -> str:
    """Which flag gives a thought more room."""
    if not found.limit:
        return "Where they were made, they need a higher limit, or a chat template that opens no thought."
    room = (
        "Raise --max-thinking-tokens"
        if found.thinking
        else "Give thoughts a limit of their own (--max-thinking-tokens), raise --gen-kwargs max_new_tokens="
    )
    off = "switch thoughts off (--chat-template-args enable_thinking=false, where the template has it)"
    return f"{room}, or {off}, in a new run folder."


def lost_to_thought(task: str, found: Counter[Thought], limit: int, thinking: int) -> LostToThought | None:
    """What a task lost; None = nothing. `found`: how its answers' thoughts ended. See LostToThought for the limits."""
    lost = LostToThought(task, found[Thought.CUT_OFF], found[Thought.ALONE], found.total(), limit, thinking)
    return lost if lost.cut + lost.alone else None
