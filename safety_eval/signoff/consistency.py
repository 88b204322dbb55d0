"""Do the records of a task hold together? Prompts as they were frozen, answers to them, scores of those answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safety_eval.core.records import Output, Score, digest_of_all, key
from safety_eval.core.store import read_records
from safety_eval.runs import answers
from safety_eval.runs.run_file import TaskRecord


def check_records(folder: Path, task: str, about: TaskRecord) -> Iterator[str]:
    """What is inconsistent in the records of a task: sentences that name the file and the record."""
    prompts = answers.prompts(folder, task)
    if digest_of_all(prompts) != about.prompts_digest:
        yield f"{task}/prompts.jsonl: not the prompts that were frozen (their digest differs from run.json)"
        return
    by_id = {p.id: key(p) for p in prompts}
    known: dict[str, Output] = {}
    for number, output in enumerate(read_records(answers.outputs_file(folder, task), Output), 1):
        if by_id.get(output.prompt_id) != output.prompt_key or not 0 <= output.sample < about.samples:
            yield f"{task}/outputs.jsonl, line {number}: an answer to a prompt that this run did not ask"
        known[key(output)] = output
    yield from _twice(task, known.values())
    for scorer, identity in about.instruments.items():
        path = answers.scores_file(folder, task, scorer)
        if dict(answers.identity(folder, task, scorer)) != dict(identity):
            yield f"{task}/scores/{path.name}: scored by another instrument than run.json says"
        for number, score in enumerate(read_records(path, Score, skip=1), 2):
            judged = known.get(score.output_key)
            if judged is None or (judged.prompt_id, judged.sample) != (score.prompt_id, score.sample):
                yield f"{task}/scores/{path.name}, line {number}: judges an answer that is not there"
    for stray in sorted(set(answers.scorers(folder, task)) - set(about.instruments)):
        yield f"{task}/scores/{stray}.jsonl: scores by an instrument that run.json does not know"


def _twice(task: str, outputs: Any) -> Iterator[str]:
    """Two different answers to one (prompt, sample): somebody else's records were mixed in."""
    seen: set[tuple[str, int]] = set()
    for output in outputs:
        asked = (output.prompt_id, output.sample)
        if not output.error and asked in seen:
            yield (
                f"{task}/outputs.jsonl: two different answers to prompt {output.prompt_id}, sample "
                f"{output.sample} (another model's outputs mixed in?)"
            )
        if not output.error:
            seen.add(asked)
