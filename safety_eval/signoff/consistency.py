"""Do the records of a task hold together? Prompts as they were frozen, answers to them, scores of those answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from safety_eval.core.hashed import Hashed
from safety_eval.core.records import DigestOfAll, Output, Prompt, Score, key
from safety_eval.core.store import read_records
from safety_eval.runs import answers
from safety_eval.runs.run_file import TaskRecord


def check_records(folder: Path, task: str, about: TaskRecord) -> Iterator[str]:
    """What is inconsistent in the records of a task: sentences that name the file and the record."""
    frozen, asked = DigestOfAll(), Hashed()
    for prompt in read_records(answers.prompts_file(folder, task), Prompt):
        asked.add((prompt.id, key(frozen.add(prompt))))
    if frozen.hexdigest() != about.prompts_digest:
        yield f"{task}/prompts.jsonl: not the prompts that were frozen (their digest differs from run.json)"
        return
    known = Hashed()
    for number, output in enumerate(read_records(answers.outputs_file(folder, task), Output), 1):
        if (output.prompt_id, output.prompt_key) not in asked or not 0 <= output.sample < about.samples:
            yield f"{task}/outputs.jsonl, line {number}: an answer to a prompt that this run did not ask"
        known.add((key(output), output.prompt_id, output.sample))
    yield from _twice(folder, task)
    for scorer, identity in about.instruments.items():
        path = answers.scores_file(folder, task, scorer)
        if dict(answers.identity(folder, task, scorer)) != dict(identity):
            yield f"{task}/scores/{path.name}: scored by another instrument than run.json says"
        for number, score in enumerate(read_records(path, Score, skip=1), 2):
            if (score.output_key, score.prompt_id, score.sample) not in known:
                yield f"{task}/scores/{path.name}, line {number}: judges an answer that is not there"
    for stray in sorted(set(answers.scorers(folder, task)) - set(about.instruments)):
        yield f"{task}/scores/{stray}.jsonl: scores by an instrument that run.json does not know"


def _twice(folder: Path, task: str) -> Iterator[str]:
    """Two different answers to one (prompt, sample): somebody else's records were mixed in."""
    path, often = answers.outputs_file(folder, task), Hashed()
    for output in read_records(path, Output):
        if not output.error:
            often.add((output.prompt_id, output.sample))
    first: dict[answers.Asked, str] = {}
    more: set[str] = set()
    twice = often.twice()
    for output in read_records(path, Output) if twice else ():
        asked, name = (output.prompt_id, output.sample), key(output)
        if output.error or asked not in twice or first.setdefault(asked, name) == name or name in more:
            continue
        more.add(name)
        yield (
            f"{task}/outputs.jsonl: two different answers to prompt {output.prompt_id}, sample "
            f"{output.sample} (another model's outputs mixed in?)"
        )
