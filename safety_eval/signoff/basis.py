"""Everything that a verdict is based on, taken from a run folder. What is wrong with the folder becomes a
fault, so that a killed run, an empty folder or mixed-up records end as 'cannot decide' with the reason,
never as a crash.

Every estimate is computed again from the records; results.json only has to agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safety_eval import policy as policies
from safety_eval.compare.differences import Difference
from safety_eval.core import journal, plugins
from safety_eval.core.errors import EvidenceError, SafetyEvalError, UserError
from safety_eval.core.records import Estimate, Output, Score, digest, key, plain
from safety_eval.core.store import read_json, read_records
from safety_eval.core.task import Drawn, Task
from safety_eval.measure import metrics
from safety_eval.policy import Policy, stopping
from safety_eval.runs import answers
from safety_eval.signoff.verdict import Blocker, differences

Faults = list[Blocker]
IDENTITY = ("task", "metric", "scorer", "axis", "group")
"""What an estimate is of: two runs, or a run and its file, are compared by it."""


@dataclass(frozen=True, slots=True)
class Case:
    """The numbers and facts of a run that a policy is held against.

    Attributes:
        estimates: of the run; differences: against the baseline, None without one.
        subject: the model as the run records it ('model', digests ...).
        data: data version by task. instruments: identity by scorer.
        registered: digest of the policy terms that the run recorded before its first token ('' = none).
        measured_at: when the run was finished, ISO 8601 ('' = unknown).
        faults: what is wrong with the run as a whole. notes: what a reader must know.
        run_sha256, results_sha256: of run.json and results.json. baseline: which run it was compared with.
        stopped: tasks that were ended early.
    """

    estimates: Sequence[Estimate]
    differences: Sequence[Difference] | None = None
    subject: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    instruments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    registered: str = ""
    measured_at: str = ""
    faults: tuple[Blocker, ...] = ()
    notes: tuple[str, ...] = ()
    run_sha256: str = ""
    results_sha256: str = ""
    baseline: str = ""
    stopped: frozenset[str] = frozenset()


def collect(folder: Path, policy: Policy, baseline: Path | None = None, own_tasks: bool = True) -> Case:
    """The case of a run folder.

    Args:
        folder, baseline: run folders. own_tasks: a task given as a .py file may be imported (never for
            evidence
            that came from somewhere else: that would execute it).
    """
    try:
        facts = _facts(folder)
    except SafetyEvalError as error:
        return Case((), faults=(_evidence(error.message),))
    faults: Faults = []
    if not facts.get("finished"):
        faults.append(
            _evidence("the run did not finish (killed, or still going): run the same command again")
        )
    registered = _registered(folder, facts, faults)
    estimates = remeasure(folder, facts, faults, own_tasks)
    _unchanged(folder, faults)
    _in_order(folder, facts, policy, faults)
    if not faults:
        _agrees(folder, estimates, faults)
    compared = None
    if baseline is not None:
        compared = _compare(folder, baseline, faults)
    return Case(
        estimates=estimates,
        differences=compared,
        subject=subject(facts),
        data={task: str(t.get("data_version", "")) for task, t in facts["tasks"].items()},
        instruments=_instruments(facts, faults),
        registered=registered,
        measured_at=str(facts.get("finished") or ""),
        faults=tuple(faults),
        notes=_notes(facts, policy),
        run_sha256=_file_digest(folder / "run.json"),
        results_sha256=_file_digest(folder / "results.json"),
        baseline=_named(baseline),
        stopped=frozenset(task for task, t in facts["tasks"].items() if t.get("stopped")),
    )


def remeasure(
    folder: Path, facts: Mapping[str, Any], faults: Faults, own_tasks: bool = True
) -> list[Estimate]:
    """Every estimate from the raw records; what is wrong with the records is added to `faults`."""
    found: list[Estimate] = []
    for name, about in facts["tasks"].items():
        try:
            task = _task(facts, name, own_tasks)
            wrong = list(check_records(folder, name, about))
            faults += [_evidence(w) for w in wrong]
            if not wrong:
                rows = answers.measured(folder, task, int(about["samples"]))
                drawn = Drawn.from_json(about.get("drawn"))
                found += metrics.estimates(task, rows, str(about["data_version"]), drawn)
        except SafetyEvalError as error:
            faults.append(_evidence(error.message))
        except (KeyError, TypeError, ValueError) as error:
            faults.append(_evidence(f"{name}: the records cannot be read: {error!r}"))
    return found


def check_records(folder: Path, task: str, about: Mapping[str, Any]) -> Iterator[str]:
    """What is inconsistent in the records of a task: sentences that name the file and the record."""
    prompts = answers.prompts(folder, task)
    if digest(prompts) != about.get("prompts_digest"):
        yield f"{task}/prompts.jsonl: not the prompts that were frozen (their digest differs from run.json)"
        return
    by_id = {p.id: key(p) for p in prompts}
    known: dict[str, Output] = {}
    for number, output in enumerate(read_records(answers.outputs_file(folder, task), Output), 1):
        if by_id.get(output.prompt_id) != output.prompt_key or not 0 <= output.sample < int(about["samples"]):
            yield f"{task}/outputs.jsonl, line {number}: an answer to a prompt that this run did not ask"
        known[key(output)] = output
    yield from _twice(task, known.values())
    for scorer, identity in about.get("instruments", {}).items():
        path = answers.scores_file(folder, task, scorer)
        if dict(answers.identity(folder, task, scorer)) != dict(identity):
            yield f"{task}/scores/{path.name}: scored by another instrument than run.json says"
        for number, score in enumerate(read_records(path, Score, skip=1), 2):
            judged = known.get(score.output_key)
            if judged is None or (judged.prompt_id, judged.sample) != (score.prompt_id, score.sample):
                yield f"{task}/scores/{path.name}, line {number}: judges an answer that is not there"
    for stray in sorted(set(answers.scorers(folder, task)) - set(about.get("instruments", {}))):
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


def subject(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The model as the run records it: name and every digest or version of its engine's identity."""
    asked = facts.get("config", facts.get("asked", {}))
    return {
        "model": asked.get("model", ""),
        **{k: v for k, v in facts.get("engine", {}).items() if k != "device"},
    }


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    if not path.is_file():
        raise UserError(f"{folder} is no run folder: it has no run.json")
    facts = read_json(path)
    if not isinstance(facts, dict) or not isinstance(facts.get("tasks"), dict):
        raise EvidenceError(f"{path} is damaged: it names no tasks")
    return facts


def _task(facts: Mapping[str, Any], name: str, own_tasks: bool) -> Task:
    asked = next((t for t in facts.get("config", {}).get("tasks", ()) if Path(t).stem == name), name)
    if str(asked).endswith(".py") and not own_tasks:
        raise UserError(f"task '{name}' is a file of its own ({asked}); code is never run from evidence")
    task: Task = plugins.find("tasks", asked)
    return task


def _registered(folder: Path, facts: Mapping[str, Any], faults: Faults) -> str:
    """Digest of the terms of the policy that was recorded before the first token ('' = none)."""
    record = facts.get("policy")
    if not record:
        return ""
    try:
        written = policies.load(folder / "policy.yaml")
        found = policies.registration(written).sha256
        if found != record.get("sha256"):
            raise EvidenceError("policy.yaml is not the policy that was recorded before the first token")
        return found
    except SafetyEvalError as error:
        faults.append(_evidence(error.message))
    return ""


def _agrees(folder: Path, estimates: Sequence[Estimate], faults: Faults) -> None:
    """results.json has to hold the estimates that the records give, each to 1e-9; their order says nothing."""
    try:
        written = read_json(folder / "results.json")
        rows = written["estimates"] if isinstance(written, dict) else written
        shown = _by_identity(rows)
    except SafetyEvalError as error:
        faults.append(_evidence(error.message))
        return
    except (KeyError, TypeError, AttributeError) as error:
        faults.append(_evidence(f"results.json is damaged: {error!r}"))
        return
    wrong = differences(shown, _by_identity(plain(list(estimates))))
    if len(rows) != len(shown):
        wrong.append("an estimate is listed twice")
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        faults.append(
            _evidence(f"results.json is stale or edited: the records give something else; {wrong[0]}{more}")
        )


def _by_identity(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Estimates by what each is of: task, metric, scorer, axis and group."""
    return {" / ".join(str(row[part]) for part in IDENTITY): row for row in rows}


def _in_order(folder: Path, facts: Mapping[str, Any], policy: Policy, faults: Faults) -> None:
    """A run that was stopped early has asked the start of the seeded order, and nothing else."""
    for task, about in facts["tasks"].items():
        if not about.get("stopped") or policy.stop is None or faults:
            continue
        prompts = answers.prompts(folder, task)
        asked = {prompt_id for prompt_id, _ in answers.outputs(folder, task)}
        seed = int(facts.get("config", {}).get("seed", 0))
        first = {p.id for p in stopping.order(prompts, seed, task)[: len(asked)]}
        if asked != first:
            faults.append(_evidence(f"{task}: stopped early, but what was asked is not the start of its seeded order"))


def _unchanged(folder: Path, faults: Faults) -> None:
    """Every file is as the journal saw it when it was measured: records of another run put in later are not."""
    try:
        entries = journal.check(folder / journal.NAME)
    except SafetyEvalError as error:
        faults.append(_evidence(f"{journal.NAME}: {error.message.split(': ', 1)[-1]}"))
        return
    for name, wanted in journal.last_files(entries).items():
        if _file_digest(folder / name) != wanted:
            faults.append(
                _evidence(f"{name} was changed after it was measured (the journal saw another file)")
            )


def _compare(folder: Path, baseline: Path, faults: Faults) -> Sequence[Difference]:
    from safety_eval.compare.comparison import compare
    from safety_eval.runs.opened import open_run

    try:
        found: Sequence[Difference] = compare(open_run(folder), open_run(baseline))
        return found
    except SafetyEvalError as error:
        told = error.message.replace(str(baseline), "the baseline").replace(str(folder), "the run")
        faults.append(Blocker("missing", f"not compared with the baseline: {told}"))
        return ()


def _instruments(facts: Mapping[str, Any], faults: Faults) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for task, about in facts["tasks"].items():
        for scorer, identity in about.get("instruments", {}).items():
            if found.setdefault(scorer, identity) != identity:
                faults.append(
                    _evidence(f"{scorer} was another instrument for {task} than for the tasks before")
                )
    return found


def _notes(facts: Mapping[str, Any], policy: Policy) -> tuple[str, ...]:
    used = {rule.task for rule in policy.rules}
    found = [f"{task}: {n}" for task, t in facts["tasks"].items() if task in used for n in t.get("notes", ())]
    return tuple(found)


def _named(baseline: Path | None) -> str:
    if baseline is None:
        return ""
    return _file_digest(baseline / "run.json")


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _evidence(sentence: str) -> Blocker:
    return Blocker("evidence", sentence)
