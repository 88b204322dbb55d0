"""How a run was asked and scored, beside each task's own protocol: what a policy pins, and what deviates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from safety_eval.core import plugins
from safety_eval.core.conceal import sealed
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.interfaces import IMPORTED
from safety_eval.core.records import digest
from safety_eval.policy import Policy
from safety_eval.runs.run_file import RunFile, TaskRecord
from safety_eval.signoff.verdict import Blocker

Arguments = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AskedTask:
    """One task of a run.

    Attributes:
        version, prompts, samples: of the data; default_version, default_samples: the task's own.
        settings, own_settings: of decoding, as asked and as the task's protocol has them.
        instruments: identity by scorer; arguments: what each was built with.
        own_instruments: the protocol's scorers with their arguments.
        file: SHA-256 of the task's file where it is a .py file of somebody's own ('' = shipped).
    """

    version: str
    prompts: int
    samples: int
    default_version: str
    default_samples: int
    settings: Mapping[str, Any]
    own_settings: Mapping[str, Any]
    instruments: Mapping[str, Mapping[str, Any]]
    arguments: Mapping[str, Arguments]
    own_instruments: Mapping[str, Arguments]
    file: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The whole run.

    Attributes:
        weights, baseline_weights: digests of the models' weights ('' = unknown or none).
        system_prompts: under which its tasks were asked, each once ('' = none): adopted answers may have several.
    """

    engine: str = ""
    weights: str = ""
    seed: int = 0
    limit: int | float | None = None
    system_prompts: tuple[str, ...] = ("",)
    chat_template: str = "auto"
    tasks: Mapping[str, AskedTask] = field(default_factory=dict)
    baseline_weights: str = ""


def read(file: RunFile, baseline: RunFile | None = None) -> Asked:
    """From run.json, and the baseline's."""
    return Asked(
        engine=str(file.engine.get("name") or file.config.engine),
        weights=weights(file.engine),
        seed=file.config.seed,
        limit=file.config.limit,
        system_prompts=_system_prompts(file),
        chat_template=file.config.chat_template,
        tasks={name: _task(record) for name, record in file.tasks.items()},
        baseline_weights=weights(baseline.engine) if baseline else "",
    )


def _system_prompts(file: RunFile) -> tuple[str, ...]:
    """The run's own, else those under which adopted answers were made, as far as their files tell."""
    if file.config.system_prompt:
        return (file.config.system_prompt,)
    told = (str(record.settings.get("system_prompt") or "") for record in file.tasks.values())
    return tuple(dict.fromkeys(told)) or ("",)


def weights(engine: Mapping[str, Any]) -> str:
    """The digest of the weights in an engine's identity ('' = it has none)."""
    return next((str(v) for k, v in engine.items() if "weights" in k and v), "")


def _task(record: TaskRecord) -> AskedTask:
    own = record.protocol
    return AskedTask(
        version=record.data_version,
        prompts=record.prompts,
        samples=record.samples,
        default_version=own.version,
        default_samples=own.samples,
        settings=record.settings,
        own_settings=own.settings,
        instruments=record.instruments,
        arguments=record.arguments,
        own_instruments=own.scorers,
        file=own.file,
    )


def blockers(asked: Asked, policy: Policy) -> list[Blocker]:
    """Where the run was asked otherwise than the policy pins, or than the protocol where the policy pins nothing.

    Raises:
        UserError: the policy pins a setting that no task has.
    """
    if not asked.tasks:
        return []
    used = {rule.task for rule in policy.rules} & set(asked.tasks)
    sentences = [*_whole(asked, policy)]
    for name in sorted(used):
        sentences += [*_settings(asked, policy, name), *_file(asked, policy, name), *_arguments(asked, policy, name)]
    return [Blocker("conditions", sentence) for sentence in dict.fromkeys(sentences)]


def _whole(asked: Asked, policy: Policy) -> Iterator[str]:
    pins = policy.conditions
    if asked.engine == IMPORTED and pins.engine is None:
        yield (
            "the answers were made elsewhere and adopted from a file (engine 'imported'), which only a policy that "
            "allows it by name may accept (conditions: {engine: imported})"
        )
    limit = "full" if asked.limit is None else asked.limit
    pinned: tuple[tuple[str, Any, Any], ...] = (
        *(("system prompt", sealed(pins.system_prompt or ""), sealed(text)) for text in asked.system_prompts),
        ("chat template", pins.chat_template or "auto", asked.chat_template),
        ("limit", pins.limit, limit),
        ("seed", pins.seed, asked.seed),
        ("engine", pins.engine, asked.engine),
        ("weights", pins.weights, asked.weights),
        ("baseline weights", pins.baseline, asked.baseline_weights),
    )
    for what, wanted, have in pinned:
        if wanted is not None and wanted != have:
            yield f"other conditions: the {what} must be {wanted!r}, the run has {have!r}"


def _settings(asked: Asked, policy: Policy, name: str) -> Iterator[str]:
    task, pins = asked.tasks[name], policy.conditions.settings.get(name, {})
    for key in pins:
        if key not in task.own_settings:
            known = nearest(key, task.own_settings)
            raise UserError(f"conditions.settings.{name}: no setting is called '{key}'", known)
    for key, own in task.own_settings.items():
        wanted, whose = (pins[key], "by the policy") if key in pins else (own, "as in the task's protocol")
        if key not in pins and _untold(asked, task, key):
            continue  # a policy that accepts adopted answers accepts that their file tells little; `deviations` says it
        if task.settings.get(key) != wanted:
            yield f"other settings: {name} {key} must be {wanted!r}, {whose}; the run has {task.settings.get(key)!r}"
    samples = policy.conditions.samples.get(name)
    if samples is not None and samples != task.samples:
        yield f"other conditions: {name} must be asked {samples} times each, the run asked {task.samples} times"


def _untold(asked: Asked, task: AskedTask, key: str) -> bool:
    """Whether a setting is one that the file of adopted answers does not tell."""
    return asked.engine == IMPORTED and task.settings.get(key) is None


def _file(asked: Asked, policy: Policy, name: str) -> Iterator[str]:
    mine, pinned = asked.tasks[name].file, policy.conditions.tasks.get(name)
    if pinned is not None and mine != pinned:
        yield f"another task: the file of {name} must have the digest {pinned}, the run's has {mine or 'none'}"
    elif mine and pinned is None and name in plugins.names("tasks"):
        yield f"another task: {name} was a file of somebody's own, not the benchmark of that name"


def _arguments(asked: Asked, policy: Policy, name: str) -> Iterator[str]:
    task = asked.tasks[name]
    scorers = {r.scorer for r in policy.rules if r.task == name and r.scorer} | set(task.own_instruments)
    for scorer in sorted(scorers & set(task.instruments)):
        pins = policy.instruments.get(scorer, {})
        wanted = pins.get("arguments", task.own_instruments.get(scorer, {}))
        have = task.arguments.get(scorer, {})
        if dict(have) != {k: str(v) for k, v in wanted.items()}:
            told = f"must have the arguments {_words(wanted)}, it had {_words(have)}"
            yield f"other instrument: {scorer} of {name} {told}"
        whole = digest(dict(task.instruments[scorer]))
        if "identity" in pins and pins["identity"] != whole:
            yield f"other instrument: {scorer} of {name} must be {pins['identity']}, it was {whole}"


def _words(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v}" for k, v in sorted(arguments.items())) or "none"


def own_instrument(asked: Asked, task: str, scorer: str) -> bool:
    """Whether a rule that names no scorer may look at a number by this one: only at the protocol's own instruments."""
    known = asked.tasks.get(task)
    return not scorer or known is None or scorer in known.own_instruments


def deviations(asked: Asked, tasks: Sequence[str], scorers: Mapping[str, str | None]) -> Iterator[str]:
    """What differs from the published protocols, in sentences, whether or not a policy pinned it.

    Args:
        tasks: that rules look at. scorers: the instrument that the rules on a task name.
    """
    if asked.engine == IMPORTED:
        yield "the answers were made elsewhere: that this model gave them is the word of whoever made the file"
    if isinstance(asked.limit, float):
        yield f"{asked.limit:.3g} of each task's prompts were asked, not the whole benchmark"
    elif asked.limit is not None:
        yield f"at most {asked.limit:,} prompts of each task were asked, not the whole benchmark"
    for text in filter(None, asked.system_prompts):
        yield f"asked under a system prompt ({sealed(text)[:19]})"
    if asked.chat_template != "auto":
        yield f"chat template: {asked.chat_template}, whatever the tokenizer has"
    for name in tasks:
        if (task := asked.tasks.get(name)) is None:
            continue
        if task.file:
            yield f"{name}: a task of somebody's own (SHA-256 {task.file[:12]}), not one of the published benchmarks"
        if task.default_version and task.version != task.default_version:
            yield f"{name}: data version '{task.version}', where the protocol has '{task.default_version}'"
        if task.samples != task.default_samples:
            yield f"{name}: {task.samples} answers for each prompt, where the protocol has {task.default_samples}"
        if untold := [key for key in task.own_settings if _untold(asked, task, key)]:
            yield f"{name}: {', '.join(untold)} are not known"
        for key, own in task.own_settings.items():
            if (have := task.settings.get(key)) != own and key not in untold:
                yield f"{name}: {key} {have!r}, where the protocol has {own!r}"
        named = scorers.get(name)
        if named and named not in task.own_instruments:
            own_ones = ", ".join(task.own_instruments) or "none"
            yield f"{name}: judged by {named}, where the protocol has {own_ones}"
    if asked.baseline_weights and asked.baseline_weights == asked.weights:
        yield "the baseline has the same weights as the run"
