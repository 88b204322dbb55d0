"""What a run still owes: for the closing message and the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from safety_eval.core.records import FINAL, Reason, heading, reason_of
from safety_eval.runs.opened import RunFolder
from safety_eval.runs.thoughts import LostToThought, Thought, lost_to_thought, thought


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a run still owes: reasons with their counts.

    Attributes:
        outputs: prompts whose last answer is an error, or that were not asked.
        scores: answers without a value, by scorer and reason.
        thoughts: tasks whose answers ended inside a thought. Nothing is owed there: asking again gives the same.
    """

    outputs: Mapping[str, int]
    scores: Mapping[str, int]
    thoughts: tuple[LostToThought, ...] = ()

    @property
    def too_long(self) -> bool:
        """Only prompts longer than the model's context are left: asking again cannot help."""
        return bool(self.outputs) and set(self.outputs) == {Reason.TOO_LONG}


def unfinished(found: RunFolder) -> Unfinished:
    """What is still owed, for the closing message and the exit code. A shard owes only its own part, and a run that
    its stopping rule ended owes nothing that it did not ask."""
    outputs: Counter[str] = Counter()
    scores: Counter[str] = Counter()
    thoughts: list[LostToThought] = []
    part = found.file.config.shard
    stopped = any(record.stopped for record in found.file.tasks.values())
    for name in found.tasks:
        states: Counter[Thought] = Counter()
        samples = found.file.tasks[name].samples
        for number, m in enumerate(found.measured(name)):
            if not m.output.error:
                states[thought(m.output)] += 1
            is_mine = part is None or number // samples % part[1] == part[0] - 1
            if not is_mine or (stopped and m.output.reason is Reason.NOT_ASKED):
                continue
            if m.output.error:
                outputs[heading(m.output.error)] += 1
                continue
            for scorer, error in m.errors.items():
                if reason_of(error) not in FINAL:
                    scores[f"{scorer}: {heading(error)}"] += 1
        limits = (int(found.file.tasks[name].settings.get(f"max_{of}_tokens") or 0) for of in ("new", "thinking"))
        if lost := lost_to_thought(name, states, *limits):
            thoughts.append(lost)
    return Unfinished(dict(outputs), dict(scores), tuple(thoughts))
