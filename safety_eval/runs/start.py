"""A run folder opened for writing: what was asked, by which model, and the refusal of anything else.

run.json is replaced as a whole; its schema number says which version reads it.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safety_eval import __version__, policy
from safety_eval.core.errors import UserError
from safety_eval.core.journal import Event, Journal
from safety_eval.core.records import digest
from safety_eval.core.store import read_json, write_atomic, write_json
from safety_eval.runs import chain, resolve
from safety_eval.runs.config import RunConfig

SCHEMA = 1


def begin(folder: Path, config: RunConfig) -> dict[str, Any]:
    """run.json of a new run, or of this one; a folder that was asked something else is refused."""
    path = folder / "run.json"
    if path.exists():
        facts: dict[str, Any] = read_json(path)
        if facts.get("schema") != SCHEMA:
            raise UserError(
                f"{folder} has run schema {facts.get('schema')}, this version reads {SCHEMA}",
                "Open it with the version that made it (run.json: versions), or choose another --output-path.",
            )
        old, new = facts["asked"], config.asked()
        changed = [
            f"{k} was {old.get(k)!r}, is {new.get(k)!r}"
            for k in sorted({*old, *new})
            if old.get(k) != new.get(k)
        ]
        if changed:
            raise UserError(
                f"{folder} holds another run: {'; '.join(changed)}",
                "Ask the same to continue it, or choose another --output-path.",
            )
        if not any(folder.glob("*/outputs.jsonl")):
            _note_begun(folder, facts)
        return facts
    resolve.check_writable(folder)
    facts = {
        "schema": SCHEMA,
        "started": now(),
        "asked": config.asked(),
        "config": config.model_dump(mode="json"),
        "engine": {},
        "tasks": {},
        "versions": _versions(),
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "python": sys.version.split()[0],
        },
    }
    if config.policy is not None:
        facts["policy"] = _record_policy(folder, config.policy, config.stop_when_decided)
    write_json(path, facts)
    _note_begun(folder, facts)
    return facts


def _note_begun(folder: Path, facts: Mapping[str, Any]) -> None:
    """First entry of the journal, before anything else; a run that was killed before it gets it now."""
    opened = Journal(folder)
    if not opened.entries:
        opened.note(Event.ASKED, begun=chain.begun(facts), policy=(facts.get("policy") or {}).get("sha256", ""))


def bind(folder: Path, identity: Mapping[str, Any], facts: dict[str, Any], opened: Journal) -> None:
    """Write the engine's identity into run.json and the journal, or refuse one that differs from what is there.

    Raises:
        UserError: the run was begun with another model, precision, device or engine.
    """
    known = facts["engine"]
    if known and known != identity:
        changed = [k for k in sorted({*identity, *known}) if identity.get(k) != known.get(k)]
        raise UserError(
            f"{folder} was begun with another model or engine: {', '.join(changed)} differ",
            "Use the same model on the same kind of machine, or choose another --output-path.",
        )
    facts["engine"] = dict(identity)
    write_json(folder / "run.json", facts)
    opened.once(Event.ENGINE, identity=digest(facts["engine"]))


def _record_policy(folder: Path, source: Path, stop: bool) -> dict[str, str]:
    """Keep the policy and the digest of its terms before the first token, so that a verdict can show that it
    came first."""
    read = policy.load(source)
    if stop and read.stop is None:
        raise UserError(
            f"{source} has no 'stop': nothing says how surely to stop", "Add `stop: {block: 100}`."
        )
    registered = policy.registration(read)
    write_atomic(folder / "policy.yaml", source.read_bytes())
    return {"name": registered.name, "sha256": registered.sha256, "recorded": now()}


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
