"""Where things lie in a run folder, and its records read and joined. No pandas, nothing is changed here.

RUN/run.json                     what was asked, by whom it was answered and scored
RUN/<task>/prompts.jsonl         frozen before the first token
RUN/<task>/outputs.jsonl         append-only; the last line of a (prompt, sample) counts
RUN/<task>/scores/<scorer>.jsonl first line: the instrument's identity
RUN/results.json                 every Estimate as a flat list
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

from safety_eval.core.errors import EvidenceError
from safety_eval.core.records import DigestOfAll, Output, Prompt, Score
from safety_eval.core.store import RecordFile, located, read_lines, read_records
from safety_eval.core.task import Task
from safety_eval.refusal.degenerate import degenerate, salad
from safety_eval.runs.places import Places
from safety_eval.runs.rows import Joined, Owed, Prompts, Rows

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
    """A task's records: each file is read once, when it is first asked for, and what is kept is where its records lie;
    a writer adds what it appends.

    Args:
        folder: of the run. task: its name.
        frozen: digest of its prompts as run.json has it ('' = not looked at).
    """

    def __init__(self, folder: Path, task: str, frozen: str = "") -> None:
        self._folder, self._task, self._frozen = folder, task, frozen
        self._scorers: set[str] = set()

    @cached_property
    def prompts(self) -> Prompts:
        """The frozen prompts.

        Raises:
            EvidenceError: they are not those that were frozen.
        """
        return Prompts(prompts_file(self._folder, self._task), self._prompted.prompts())

    @cached_property
    def _prompted(self) -> Places:
        """The index with the prompts."""
        places, path = Places(), prompts_file(self._folder, self._task)
        there = DigestOfAll()
        places.add_prompts((place, there.add(prompt)) for place, prompt in located(path, Prompt))
        if self._frozen and there.hexdigest() != self._frozen:
            raise EvidenceError(
                f"{path} does not hold the prompts that were frozen",
                "Restore the file, or run again in another --output-path.",
            )
        return places

    @cached_property
    def _answered(self) -> Places:
        """The index with prompts and outputs."""
        self._prompted.add_outputs(located(outputs_file(self._folder, self._task), Output))
        return self._prompted

    def _judged(self, scorer: str) -> Places:
        """The index with prompts, outputs and a scorer's scores."""
        if scorer not in self._scorers:
            path = scores_file(self._folder, self._task, scorer)
            self._answered.add_scores(scorer, located(path, Score, skip=1))
            self._scorers.add(scorer)
        return self._answered

    def add_output(self, output: Output, place: int) -> None:
        """An output that was appended to the file, where it begins at the byte `place`."""
        self._answered.add_outputs([(place, output)])

    def add_score(self, scorer: str, score: Score, place: int) -> None:
        """A score that was appended to the file."""
        self._judged(scorer).add_scores(scorer, [(place, score)])

    def outputs(self) -> Iterator[Output]:
        """The output that counts for each (prompt, sample): the last without an error, else the last."""
        path = outputs_file(self._folder, self._task)
        if path.exists():
            with RecordFile(path, Output) as file:
                yield from map(file.at, self._answered.outputs())

    def owed_outputs(self, asked: Prompts, samples: int) -> dict[int, Prompts]:
        """Prompts still to be asked, by sample number (those with an error are owed again)."""
        owed = {}
        for sample in range(samples):
            is_owed = bytearray(len(self.prompts))
            for number in self._answered.unanswered(sample):
                is_owed[number] = 1
            left = asked.chosen(array("L", (number for number in asked.numbers if is_owed[number])))
            if left:
                owed[sample] = left
        return owed

    def asked(self) -> bytearray:
        """For each prompt by its number, 1 where something of it was asked, else 0."""
        flags = bytearray(len(self.prompts))
        for number in self._answered.asked():
            flags[number] = 1
        return flags

    def owed_scores(self, scorer: str) -> Owed:
        """Answers that a scorer has not judged, or failed on for a reason that may pass."""
        places = array("Q", chain.from_iterable(self._judged(scorer).unscored(scorer)))
        return Owed(prompts_file(self._folder, self._task), outputs_file(self._folder, self._task), places)

    def measured(self, task: Task, samples: int) -> Rows:
        """Every owed (prompt, sample) with its output, scores by all scorers that left a file, and status; what is
        missing says so."""
        folder, taken = self._folder, scorers(self._folder, self._task)
        for scorer in taken:
            self._judged(scorer)
        joined = Joined(
            prompts_file(folder, self._task),
            outputs_file(folder, self._task),
            {scorer: scores_file(folder, self._task, scorer) for scorer in taken},
            lambda number: self._answered.rows(samples, taken, number),
            self._answered.number,
            partial(status_of, task),
            samples,
        )
        return Rows(joined, len(self.prompts))


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
