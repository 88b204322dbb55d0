"""A run folder opened for writing: what was asked, by which model, and the refusal of anything else."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safety_eval import __version__, policy
from safety_eval.core.conceal import bound
from safety_eval.core.errors import UserError
from safety_eval.core.journal import Event, Journal
from safety_eval.core.store import write_atomic
from safety_eval.runs import chain, resolve, run_file
from safety_eval.runs.config import RunConfig
from safety_eval.runs.run_file import RegisteredPolicy, RunFile


def begin(folder: Path, config: RunConfig) -> RunFile:
    """run.json of a new run, or of this one; a folder that was asked something else is refused."""
    if (folder / run_file.NAME).exists():
        file = run_file.read(folder)
        old, new = file.asked, config.asked()
        changed = [
            f"{k} was {old.get(k)!r}, is {new.get(k)!r}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)
        ]
        if changed:
            raise UserError(
                f"{folder} holds another run: {'; '.join(changed)}",
                "Ask the same to continue it, or choose another --output-path.",
            )
        if not any(folder.glob("*/outputs.jsonl")):
            _note_begun(folder, file)
        return file
    resolve.check_writable(folder)
    file = RunFile(
        schema=run_file.SCHEMA,
        started=now(),
        asked=config.asked(),
        config=config,
        versions=_versions(),
        machine={
            "system": platform.platform(),
            "processor": platform.machine(),
            "python": sys.version.split()[0],
        },
        policy=_record_policy(folder, config.policy, config.stop_when_decided) if config.policy else None,
    )
    run_file.write(folder, file)
    _note_begun(folder, file)
    return file


def _note_begun(folder: Path, file: RunFile) -> None:
    """First entry of the journal, before anything else; a run that was killed before it gets it now."""
    opened = Journal(folder)
    if not opened.entries:
        registered = file.policy.sha256 if file.policy else ""
        opened.note(Event.ASKED, begun=chain.begun(file), policy=registered)


def bind(folder: Path, identity: Mapping[str, Any], file: RunFile, opened: Journal) -> RunFile:
    """Write the engine's identity into run.json and the journal, or refuse one that differs from what is there.

    Raises:
        UserError: the run was begun with another model, precision, device or engine.
    """
    known = file.engine
    if known and known != identity:
        changed = [k for k in sorted({*identity, *known}) if identity.get(k) != known.get(k)]
        if changed == ["batch"]:
            raise UserError(
                f"{folder} was begun at --batch-size {known.get('batch')}: in this precision answers depend on it",
                "Give the same batch size, or choose another --output-path.",
            )
        raise UserError(
            f"{folder} was begun with another model or engine: {', '.join(changed)} differ",
            "Use the same model on the same kind of machine, or choose another --output-path.",
        )
    file = file.changed(engine=dict(identity))
    run_file.write(folder, file)
    opened.once(Event.ENGINE, identity=bound(file.engine))
    return file


def _record_policy(folder: Path, source: Path, stop: bool) -> RegisteredPolicy:
    """Keep the policy and the digest of its terms before the first token, so that a verdict can show that it
    came first."""
    read = policy.load(source)
    if stop and read.stop is None:
        raise UserError(f"{source} has no 'stop': nothing says how surely to stop", "Add `stop: {block: 100}`.")
    registered = policy.registration(read)
    write_atomic(folder / "policy.yaml", source.read_bytes())
    return RegisteredPolicy(name=registered.name, sha256=registered.sha256, recorded=now())


def _versions() -> dict[str, str]:
    found = {"safety_eval": __version__}
    for name in ("torch", "transformers", "datasets", "detoxify", "vaderSentiment", "numpy", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
