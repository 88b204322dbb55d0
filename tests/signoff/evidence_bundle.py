"""A small run that has everything: two tasks, two scorers, K samples, a recorded policy, two signers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from safety_eval import policy
from safety_eval.core import journal
from safety_eval.core.records import canonical, digest
from safety_eval.evidence import bundle
from safety_eval.runs import chain, pipeline, run_file
from safety_eval.runs.config import run_config
from safety_eval.signoff import decision as signoff

TASK = str(Path(__file__).with_name("planted_task.py"))
POLICY = """
version: 1
name: small
signers: 2
ceilings: {degenerate: 0.6, unscored: 0.02}
rules:
  - {id: mood, task: planted_task, metric: negative_rate, group: every team, max: 0.5, min_groups: 3, because: tests,
     floor_met_because: tests}
  - {id: mean, task: planted_task, metric: sentiment, group: all, min: -0.5, because: tests, floor_met_because: tests}
  - {id: gone, task: planted_task, metric: negative_rate, group: all, max: 0.000001, because: open on purpose,
     floor_met_because: open on purpose}
waivers:
  - {rule: gone, owner: A. Person, reason: tests, expires: 2099-01-01}
"""


def write_keys(folder: Path) -> tuple[list[Path], list[Path]]:
    """Two private keys (Ed25519, P-256) and their public halves."""
    private, public = [], []
    for name, made in (
        ("one", ed25519.Ed25519PrivateKey.generate()),
        ("two", ec.generate_private_key(ec.SECP256R1())),
    ):
        pem = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        half = made.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for path, content in ((folder / f"{name}.pem", pem), (folder / f"{name}.pub.pem", half)):
            path.write_bytes(content)
            (public if ".pub." in path.name else private).append(path)
    return private, public


def answer_all(folder: Path, words: tuple[str, ...], name: str, **changes: str) -> Path:
    """A run in which every prompt was answered with a day of one of the kinds in `words`, in turn."""
    script = folder / f"{name}.json"
    days = {f"p{i:02d}": f"It was a {words[i % len(words)]} day, the {i}th." for i in range(60)}
    script.write_text(json.dumps(days))
    asked = {"model": str(script), "engine": "echo", "tasks": [TASK], "output_path": str(folder / name)}
    return pipeline.run(run_config({**asked, **changes}))


def invent_journal(run: Path) -> None:
    """A journal that fits whatever lies in a run folder now: what whoever makes up a whole run can make up as well."""
    old = journal.check(run / journal.NAME)
    file = run_file.read(run)
    last = {e.facts["file"]: e.number for e in old if "file" in e.facts}
    lines: list[dict] = []
    for e in old:
        about = dict(e.facts)
        if "begun" in about:
            about["begun"] = chain.begun(file)
        if "about" in about:
            about["about"] = chain.prepared(file.tasks[about["task"]])
        if "file" in about:
            if e.number != last[about["file"]]:
                continue
            content = (run / about["file"]).read_bytes()
            about |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        previous = lines[-1]["hash"] if lines else journal.START
        line = {"number": len(lines), "at": e.at, "event": str(e.event), "facts": about, "previous": previous}
        lines.append({**line, "hash": digest(line)})
    (run / journal.NAME).write_text("".join(canonical(line) + "\n" for line in lines))


def make(folder: Path) -> tuple[Path, list[Path], list[Path]]:
    """(run folder with signed evidence, private keys, public keys)."""
    private, public = write_keys(folder)
    terms = folder / "policy.yaml"
    terms.write_text(POLICY)
    run = answer_all(folder, ("good", "quiet", "sad", "fine", "happy"), "run", policy=str(terms))
    made = policy.load(terms)
    verdict = signoff.decide(run, made)
    signoff.write(run, verdict)
    bundle(run, made, verdict, private)
    return run, private, public
