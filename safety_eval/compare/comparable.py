"""May two runs be compared? Same instruments, same prompts, same settings, unless a field is named as what the
comparison is about. The model may always differ: that is what runs are compared for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safety_eval.core.errors import UserError, nearest
from safety_eval.runs import answers
from safety_eval.runs.opened import RunFolder
from safety_eval.runs.thoughts import in_words, thoughts

ENGINE_FIELDS = {"engine": "name", "dtype": "dtype", "split": "split", "chat_template_args": "template_args"}
"""Field -> its name in the engine's identity. `split`: where a choice begins, which may move likelihoods by nats."""
SETTINGS = (
    "seed",
    "system_prompt",
    "chat_template",
    "temperature",
    "top_p",
    "max_new_tokens",
    "max_thinking_tokens",
    "stop",
    "chat_prefix",
)
FIELDS = ("model", *ENGINE_FIELDS, *SETTINGS, "thoughts", "samples", "limit")
"""What may differ on purpose (`--across`). 'model' may always; 'limit' compares the prompts that both asked."""
_NEVER = {
    "instrument": "Numbers of two instruments differ by their errors; score the baseline by this run's instrument "
    "instead: `safety-eval score BASELINE --scorer NAME`.",
    "data_version": "Runs are paired prompt by prompt, which other prompts do not allow; run both on one version.",
}


@dataclass(frozen=True, slots=True)
class Ground:
    """What two runs share: tasks, scorers by task, what differs on purpose, and sentences for the reader."""

    tasks: tuple[str, ...]
    scorers: Mapping[str, frozenset[str]]
    across: tuple[str, ...]
    notes: tuple[str, ...]


def common_ground(run: RunFolder, baseline: RunFolder, across: Sequence[str] = ()) -> Ground:
    """What may be compared.

    Raises:
        UserError: no task or instrument in common, or a difference that `across` does not name.
    """
    named = _named(across)
    tasks = tuple(t for t in run.tasks if t in baseline.tasks)
    if not tasks:
        raise UserError(
            f"{run.folder} and {baseline.folder} have no task in common "
            f"({', '.join(run.tasks)} against {', '.join(baseline.tasks)})",
            "Run the baseline's tasks.",
        )
    found = [*_engines(run, baseline), *(d for t in tasks for d in _task(run, baseline, t))]
    unnamed = [(field, sentence) for field, sentence in found if field not in named]
    if unnamed:
        fields = list(dict.fromkeys(f for f, _ in unnamed))
        never = next((_NEVER[f] for f in fields if f in _NEVER), "")
        flags = " ".join(f"--across {f}" for f in fields)
        told = "; ".join(dict.fromkeys(sentence for _, sentence in unnamed))
        raise UserError(
            f"{run.folder} and {baseline.folder} may not be compared: {told}",
            never or f"Add {flags} if that is what the comparison is about.",
        )
    scorers = {t: frozenset(_scorers(run, t)) & frozenset(_scorers(baseline, t)) for t in tasks}
    for task in tasks:
        if not scorers[task] and (_scorers(run, task) or _scorers(baseline, task)):
            raise UserError(
                f"{task} was scored by {', '.join(_scorers(run, task)) or 'nothing'} here and by "
                f"{', '.join(_scorers(baseline, task)) or 'nothing'} in the baseline: no instrument in common",
                _NEVER["instrument"],
            )
    return Ground(
        tasks,
        scorers,
        named,
        tuple(dict.fromkeys([*(sentence for _, sentence in found), *_notes(run, baseline)])),
    )


def _named(across: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip().replace("-", "_") for part in across for name in part.split(",") if name.strip())
    for name in names:
        if name in _NEVER:
            raise UserError(f"'{name}' can never differ between compared runs", _NEVER[name])
        if name not in FIELDS:
            raise UserError(f"--across {name}: no such field", nearest(name, FIELDS))
    return names


def _engines(run: RunFolder, baseline: RunFolder) -> Iterator[tuple[str, str]]:
    """(field, sentence) for every difference of the engines that must be named."""
    new, old = run.file.engine, baseline.file.engine
    for field, key in ENGINE_FIELDS.items():
        if field == "split" and (key not in new or key not in old):
            continue  # only engines that weigh choices by tokens have one
        if new.get(key) != old.get(key):
            yield field, f"{field} differs: {_shown(new.get(key))} against {_shown(old.get(key))}"


def _task(run: RunFolder, baseline: RunFolder, task: str) -> Iterator[tuple[str, str]]:
    new, old = run.file.tasks[task], baseline.file.tasks[task]
    if new.data_version != old.data_version:
        yield "data_version", f"{task} has data version {new.data_version} against {old.data_version}"
        return
    if new.prompts_digest != old.prompts_digest:
        yield "limit", f"{task} has other prompts: {new.prompts} against {old.prompts}"
    for field in SETTINGS:
        a, b = (side.settings.get(field, 0 if field == "max_thinking_tokens" else None) for side in (new, old))
        if a != b:
            yield field, f"{task}: {field} differs: {_shown(a)} against {_shown(b)}"
    yield from _thoughts(run, baseline, task)
    if new.samples != old.samples:
        yield "samples", f"{task}: samples differ: {new.samples} against {old.samples}"
    for scorer in sorted({*_scorers(run, task)} & {*_scorers(baseline, task)}):
        changed = _changed(run, baseline, task, scorer)
        if changed:
            yield "instrument", f"{task}: {scorer} is another instrument ({'; '.join(changed)})"


def _thoughts(run: RunFolder, baseline: RunFolder, task: str) -> Iterator[tuple[str, str]]:
    """Answers after a thought and answers without one are not of one kind, whatever was asked for."""
    both = [thoughts(side.records(task).outputs()) for side in (run, baseline)]
    if bool(both[0]) != bool(both[1]):
        here, there = (in_words(found) or "none" for found in both)
        yield "thoughts", f"{task}: thoughts differ: {here} against {there}"


def _changed(run: RunFolder, baseline: RunFolder, task: str, scorer: str) -> list[str]:
    new, old = (answers.identity(r.folder, task, scorer) for r in (run, baseline))
    names = [n for n in sorted({*new, *old}) if new.get(n) != old.get(n)]
    return [f"{n}: {_shown(new.get(n))} against {_shown(old.get(n))}" for n in names]


def _notes(run: RunFolder, baseline: RunFolder) -> Iterator[str]:
    """What may differ unnamed, and is said."""
    new, old = run.file.engine, baseline.file.engine
    for field in ("device", "versions", "template_date"):
        if new.get(field) != old.get(field):
            yield f"{field} of the engine: {_shown(new.get(field))} against {_shown(old.get(field))}"
    for task in sorted({*run.tasks} ^ {*baseline.tasks}):
        yield f"{task} is in one of the two runs only: not compared"


def _scorers(run: RunFolder, task: str) -> list[str]:
    return answers.scorers(run.folder, task)


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) < 60 else f"{text[:57]}..."
