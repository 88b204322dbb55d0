"""Some prompts of a run, asked again as the run asked them. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_eval.core import plugins, secrets
from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.interfaces import Engine, EngineEntry, Settings
from safety_eval.core.records import Output
from safety_eval.core.store import typed
from safety_eval.preflight.look import look, refuse
from safety_eval.runs import answers, own_code, run_file
from safety_eval.runs.before import model_spec, wanted_model
from safety_eval.runs.config import RunConfig
from safety_eval.runs.run_file import RunFile


@dataclass(frozen=True, slots=True)
class Place:
    """One answer of a run: task, prompt id and sample."""

    task: str
    prompt_id: str
    sample: int


@dataclass(frozen=True, slots=True)
class Pair:
    """An answer as the run has it, and as it was given now."""

    place: Place
    before: Output
    now: Output


@dataclass(frozen=True, slots=True)
class AskedAgain:
    """Pairs of answers, and the identity of the engine that gave the new ones."""

    pairs: tuple[Pair, ...]
    engine: Mapping[str, Any]


def answered(folder: Path) -> dict[Place, Output]:
    """Every answer of a run that is one."""
    found = {}
    for task in run_file.read(folder).tasks:
        for (prompt_id, sample), output in answers.outputs(folder, task).items():
            if not output.error:
                found[Place(task, prompt_id, sample)] = output
    return found


def ask_again(folder: Path, places: Sequence[Place], model: str, device: str, trusted: bool) -> AskedAgain:
    """Ask the prompts at `places` once more, by the run's own engine, settings and arguments.

    Args:
        folder: a run folder, which may have been received. model: path or name in place of the run's ('' = its own).
        device: in place of the run's ('' = its own). trusted: run code and open variables that the run names.

    Raises:
        UserError: the model cannot be loaded here, or the run names what it is not trusted with. EvidenceError: other
            weights than the run's.
    """
    file = run_file.read(folder)
    config = file.config.model_copy(update={k: v for k, v in (("model", model), ("device", device)) if v})
    if not trusted:
        _harmless(config, folder)
    entry: EngineEntry = plugins.find("engines", config.engine)
    if not entry.asks:
        raise UserError(
            f"the answers of this run were adopted from files (engine '{config.engine}'): nobody can be asked again",
            "Ask the model itself: safety-eval run --model MODEL, then safety-eval compare.",
        )
    refuse(look(wanted_model(config)))
    engine = entry.build(model_spec(config, file.started))
    try:
        _same_model(file, engine)
        before = answered(folder)
        now = {place: output for group in _groups(places) for place, output in _ask(folder, file, engine, group)}
        return AskedAgain(tuple(Pair(p, before[p], now[p]) for p in places), dict(engine.identity))
    finally:
        engine.close()


def _harmless(config: RunConfig, folder: Path) -> None:
    """Refuse what a received run could reach here: code, servers, and variables of this machine's environment."""
    own_code.refuse(config, folder)
    named = [n for n, v in config.model_args.items() if v.startswith(secrets.FROM_ENVIRONMENT)]
    named += [n for n in ("base_url",) if n in config.model_args]
    if config.model_args.get("trust_remote_code", "").lower() not in ("", "false", "0", "no"):
        named.append("trust_remote_code")
    if named:
        raise UserError(
            f"the run was asked with {', '.join(sorted(named))} among its --model-args, which reach into this machine",
            "Read run/run.json; if you trust it, give --trusted.",
        )


def _same_model(file: RunFile, engine: Engine) -> None:
    for what in ("weights", "tokenizer", "chat_template"):
        now, was = engine.identity.get(what), file.engine.get(what)
        if now != was:
            raise EvidenceError(
                f"this is another model: its {what} is {now or 'not known'}, that of the run {was or 'not known'}",
                "Give the model that the evidence is about with --model.",
            )


def _groups(places: Sequence[Place]) -> list[list[Place]]:
    """Places that one call of the engine can ask: of one task and sample."""
    groups: dict[tuple[str, int], list[Place]] = {}
    for place in places:
        groups.setdefault((place.task, place.sample), []).append(place)
    return list(groups.values())


def _ask(folder: Path, file: RunFile, engine: Engine, group: Sequence[Place]) -> list[tuple[Place, Output]]:
    task, sample = group[0].task, group[0].sample
    wanted = {place.prompt_id: place for place in group}
    prompts = [p for p in answers.prompts(folder, task) if p.id in wanted]
    before = answers.outputs(folder, task)
    chosen = any(before[p.id, sample].choice_logprobs for p in prompts)
    try:
        settings = typed(Settings, {**file.tasks[task].settings, "task": task, "sample": sample})
    except ValueError as error:
        raise EvidenceError(f"run/run.json: {task} was not asked with settings of ours: {error}") from error
    ask = engine.choose if chosen else engine.generate
    now = {output.prompt_id: output for output in ask(prompts, settings)}
    silent = Output("", "", sample, error="no answer: the engine gave none")
    return [(place, now.get(prompt_id, silent)) for prompt_id, place in wanted.items()]
