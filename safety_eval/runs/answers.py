"""Where things lie in a run folder, and its records read and joined. No pandas, nothing is changed here.

RUN/run.json                     what was asked, by whom it was answered and scored
RUN/<task>/prompts.jsonl         frozen before the first token
RUN/<task>/outputs.jsonl         append-only; the last line of a (prompt, sample) counts
RUN/<task>/scores/<scorer>.jsonl first line: the instrument's identity
RUN/results.json                 every Estimate as a flat list
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from safety_eval.core.errors import EvidenceError
from safety_eval.core.records import FINAL, Output, Prompt, Reason, Score, digest_of_all, key
from safety_eval.core.store import read_lines, read_records
from safety_eval.core.task import Measured, Task
from safety_eval.refusal.degenerate import degenerate, salad

Asked = tuple[str, int]
"""(prompt id, sample)."""


def prompts_file(folder: Path, task: str) -> Path:
    return folder / task / "prompts.jsonl"


def outputs_file(folder: Path, task: str) -> Path:
    return folder / task / "outputs.jsonl"


def scores_file(folder: Path, task: str, scorer: str) -> Path:
    return folder / task / "scores" / f"{instrument(scorer)}.jsonl"


def instrument(scorer: str) -> str:
    """A scorer's name in a run folder: that of a file of somebody's own is the file's, without its folder."""
    return Path(scorer).stem if scorer.endswith(".py") else scorer


def record_files(folder: Path) -> list[Path]:
    """Every record file of a run: prompts, outputs and scores of all tasks."""
    patterns = ("*/prompts.jsonl", "*/outputs.jsonl", "*/scores/*.jsonl")
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def scorers(folder: Path, task: str) -> list[str]:
    """Scorers that left a file, by name."""
    return sorted(p.stem for p in (folder / task / "scores").glob("*.jsonl"))


def prompts(folder: Path, task: str) -> list[Prompt]:
    return list(read_records(prompts_file(folder, task), Prompt))


def outputs(folder: Path, task: str) -> dict[Asked, Output]:
    """The output that counts for each (prompt, sample): the last without an error, else the last."""
    counted: dict[Asked, Output] = {}
    for output in read_records(outputs_file(folder, task), Output):
        _keep(counted, output)
    return counted


def _keep(counted: dict[Asked, Output], output: Output) -> None:
    asked = (output.prompt_id, output.sample)
    if not output.error or asked not in counted or counted[asked].error:
        counted[asked] = output


def identity(folder: Path, task: str, scorer: str) -> Mapping[str, Any]:
    """What the instrument said of itself when it scored."""
    return dict(next(read_lines(scores_file(folder, task, scorer)), {}).get("identity", {}))


def scores(folder: Path, task: str, scorer: str) -> dict[str, Score]:
    """Scores by output key; the last line counts."""
    return {s.output_key: s for s in read_records(scores_file(folder, task, scorer), Score, skip=1)}


class Records:
    """A task's records in memory: each file is read once, when it is first asked for; a writer adds what it appends.

    Args:
        folder: of the run. task: its name.
        frozen: digest of its prompts as run.json has it ('' = not looked at).
    """

    def __init__(self, folder: Path, task: str, frozen: str = "") -> None:
        self._folder, self._task, self._frozen = folder, task, frozen
        self._scores: dict[str, dict[str, Score]] = {}

    @cached_property
    def prompts(self) -> list[Prompt]:
        """The frozen prompts.

        Raises:
            EvidenceError: they are not those that were frozen.
        """
        there = prompts(self._folder, self._task)
        if self._frozen and digest_of_all(there) != self._frozen:
            raise EvidenceError(
                f"{prompts_file(self._folder, self._task)} does not hold the prompts that were frozen",
                "Restore the file, or run again in another --output-path.",
            )
        return there

    @cached_property
    def outputs(self) -> dict[Asked, Output]:
        """The output that counts for each (prompt, sample)."""
        return outputs(self._folder, self._task)

    def scores(self, scorer: str) -> dict[str, Score]:
        """A scorer's scores by output key."""
        if scorer not in self._scores:
            self._scores[scorer] = scores(self._folder, self._task, scorer)
        return self._scores[scorer]

    def add_output(self, output: Output) -> None:
        """An output that was appended to the file."""
        _keep(self.outputs, output)

    def add_score(self, scorer: str, score: Score) -> None:
        """A score that was appended to the file."""
        self.scores(scorer)[score.output_key] = score

    def owed_outputs(self, asked: Sequence[Prompt], samples: int) -> dict[int, list[Prompt]]:
        """Prompts still to be asked, by sample number (those with an error are owed again)."""
        owed = {}
        for sample in range(samples):
            left = [p for p in asked if (o := self.outputs.get((p.id, sample))) is None or o.error]
            if left:
                owed[sample] = left
        return owed

    def owed_scores(self, scorer: str) -> list[tuple[Prompt, Output]]:
        """Answers that a scorer has not judged, or failed on for a reason that may pass."""
        done = self.scores(scorer)
        asked = {p.id: p for p in self.prompts}
        return [
            (asked[output.prompt_id], output)
            for output in self.outputs.values()
            if not output.error
            and ((score := done.get(key(output))) is None or (score.error and score.reason not in FINAL))
        ]

    def measured(self, task: Task, samples: int, names: Sequence[str] | None = None) -> list[Measured]:
        """Every owed (prompt, sample) with its output, scores and status; what is missing says so.

        Args:
            names: scorers to take, None = all that left a file.
        """
        taken = scorers(self._folder, self._task) if names is None else names
        kept = {name: self.scores(name) for name in taken}
        return [
            _join(task, prompt, self.outputs.get((prompt.id, sample)) or _unasked(prompt, sample), kept)
            for prompt in self.prompts
            for sample in range(samples)
        ]


def measured(folder: Path, task: Task, samples: int, names: Sequence[str] | None = None) -> list[Measured]:
    """Every owed (prompt, sample) of a task with its output, scores and status; see Records.measured."""
    return Records(folder, task.name).measured(task, samples, names)


def _unasked(prompt: Prompt, sample: int) -> Output:
    return Output(key(prompt), prompt.id, sample, stop_reason="error", error=Reason.NOT_ASKED)


def _join(task: Task, prompt: Prompt, output: Output, kept: Mapping[str, Mapping[str, Score]]) -> Measured:
    name = key(output)
    values, errors = {}, {}
    for scorer, by_key in kept.items():
        score = by_key.get(name)
        if score is not None and score.values:  # those of a thought stand there even where there is no answer
            values[scorer] = score.values
        if score is None or score.error:
            errors[scorer] = score.error if score is not None else Reason.NOT_SCORED
    return Measured(prompt, output, values, errors, status_of(task, prompt, output, values, errors))


def status_of(task: Task, prompt: Prompt, output: Output, values: Mapping[str, Any], errors: Mapping[str, str]) -> str:
    """Status of an answer; '' where the task has none (choices)."""
    if task.kind == "choose":
        return ""
    if output.error:
        return "undecided"
    broken = degenerate(output.text, output.stop_reason, complete_required=task.complete_answers)
    if broken or salad(output.text or "", prompt.asked):
        return "degenerate"
    for scorer_values in values.values():
        if "status" in scorer_values:
            return str(scorer_values["status"])
    return "undecided" if "refusal" in errors else ""
