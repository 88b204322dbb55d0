"""RUN -> RUN/evidence: a folder that stands alone and verifies on another machine, and its redacted copy.

manifest.json    digest of every file, Merkle root of the records, head of the journal; this is what is signed
run/             the run as it was: run.json (model, digests, data manifests, instruments, environment), the
                 policy recorded before the first token, records, results, journal, cards of its instruments
baseline/        the run it was compared with, likewise
                 (run/review: people's labels; a redacted copy leaves them out, kept.json has what they count to)
shown/           what people read: report, charts, JUnit form, model card (a redacted copy leaves the report out)
kept.json        what comparing gave: a redacted copy is judged by it
policy.yaml      the policy as decided on, with its waivers       signoff.json    the verdict
salts.json       opens the sealed halves; not in a redacted copy, which holds run.json, the policies and the cards
                 without system prompt and folders (the manifest names them in both forms)
attestations/    statements and signatures
"""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from safety_eval import __version__
from safety_eval import policy as policies
from safety_eval.audit import labels
from safety_eval.compare.differences import Difference
from safety_eval.core import journal
from safety_eval.core.conceal import conceal
from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.records import canonical
from safety_eval.core.store import copy, parsed, typed, write_atomic, write_pieces
from safety_eval.evidence import attest, hashes
from safety_eval.policy import Policy
from safety_eval.runs import chain, run_file
from safety_eval.signoff import instruments
from safety_eval.signoff.basis import Case, Kept, collect, keep
from safety_eval.signoff.decision import judge
from safety_eval.signoff.verdict import Verdict, differences, to_json

NAME = "evidence"
MANIFEST = "manifest.json"
SALTS = "salts.json"
REDACTION = "redaction.json"
KEPT = "kept.json"
SHOWN = "shown"
REPORT = f"{SHOWN}/report.html"
MOST_FILES = 100_000
"""Files that a bundle may hold; a run of every benchmark has some hundreds."""
SCHEMA = 3
"""2: files that a redacted copy holds without system prompt and folders are named in both forms. 3: labels."""


def bundle(
    run: Path, policy: Policy, verdict: Verdict, keys: Sequence[Path] = (), baseline: Path | None = None
) -> Path:
    """Make RUN/evidence and sign it with every key; returns the folder. An older one is replaced.

    Args:
        run, baseline: run folders. policy, verdict: as decided by signoff.decide. keys: private keys (PEM
            files).

    Raises:
        EvidenceError: the records do not hold together, or the verdict is not that of this run and policy.
    """
    case = _belongs(run, policy, verdict, baseline)
    for key in keys:
        attest.private_key(key)
    target = run / NAME
    making = run / f".{NAME}.making"
    shutil.rmtree(making, ignore_errors=True)
    _copy(run, making / "run")
    if baseline is not None:
        _copy(baseline, making / "baseline")
    for name in shown_files(run):
        copy(run / name, making / SHOWN / name)
    write_atomic(making / "policy.yaml", policy_text(policy))
    write_atomic(making / "signoff.json", canonical(to_json(verdict)) + "\n")
    write_atomic(making / KEPT, canonical(keep(case)) + "\n")
    write_atomic(making / SALTS, canonical({"secret": secrets.token_hex(32)}) + "\n", private=True)
    manifest = canonical(make_manifest(making)).encode() + b"\n"
    write_atomic(making / MANIFEST, manifest)
    attest.write(making, attest.statements(verdict, manifest, __version__, configuration(making)))
    for key in keys:
        attest.sign(making, key)
    shutil.rmtree(target, ignore_errors=True)
    making.rename(target)
    return target


def policy_text(policy: Policy) -> str:
    """policy.yaml of a bundle: the policy as decided on, with its waivers."""
    values = policy.model_dump(mode="json", exclude_none=True)
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def make_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json of the files that lie in a bundle."""
    secret = read_secret(folder)
    files, records = {}, {}
    for path in listed(folder):
        files[path] = about_file(folder / path)
        if is_concealed(path):
            files[path]["redacted"] = about(concealed(path, (folder / path).read_bytes()))
        if hashes.kind_of(path):
            records[path] = hashes.about_records(hashes.full_leaves(folder / path, path, secret))
    return {
        "schema": SCHEMA,
        "made_by": __version__,
        "files": files,
        "records": records,
        "root": hashes.root_of(records),
        "journal": journal.head(journal.check(folder / "run" / journal.NAME)),
    }


def about(content: bytes) -> dict[str, Any]:
    """How the manifest names a file: digest and size."""
    return {"sha256": hashes.sha256(content), "size": len(content)}


def about_file(path: Path) -> dict[str, Any]:
    """`about` the content of a file, which is not held."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"sha256": digest, "size": file.tell()}


def is_concealed(path: str) -> bool:
    """Whether a redacted copy holds a file of a bundle in another form: without system prompt and folders."""
    of_card = path.startswith(("run/cards/", "baseline/cards/")) and path.endswith(".json")
    return of_card or Path(path).name in ("run.json", "policy.yaml")


def is_left_out(path: str) -> bool:
    """Whether a redacted copy does not hold a file of a bundle: what opens the sealed halves, the page that quotes
    answers, and labels, whose names of answers would show whoever guesses one that it is the right one."""
    return path in (SALTS, REPORT) or path.endswith(labels.SUFFIX)


def concealed(path: str, content: bytes) -> bytes:
    """Such a file in that form.

    Raises:
        SafetyEvalError: it is damaged.
    """
    if path.endswith(".yaml"):
        return policy_text(policies.concealed(policies.parse(content.decode(), path))).encode()
    try:
        return json.dumps(conceal(parsed(content)), indent=1).encode() + b"\n"
    except ValueError as error:
        raise EvidenceError(f"{path} is damaged: {error}") from error


def redact(source: Path, target: Path) -> Path:
    """A copy of a bundle without what was asked and answered; signatures and root stay valid.

    Raises:
        UserError: no bundle, redacted already, or the target exists.
    """
    folder = find(source)
    if (folder / REDACTION).exists():
        raise UserError(f"{folder} is redacted already", "Give the full bundle.")
    if target.exists():
        raise UserError(f"{target} exists", "Choose a new folder.")
    secret = read_secret(folder)
    manifest = read_manifest(folder)
    for path in [*listed(folder), MANIFEST, *attested(folder)]:
        if is_left_out(path):
            continue
        if hashes.kind_of(path):
            write_pieces(target / path, hashes.redacted_lines(folder / path, path, secret))
        elif is_concealed(path):
            write_atomic(target / path, concealed(path, (folder / path).read_bytes()))
        else:
            copy(folder / path, target / path)
    write_atomic(target / REDACTION, redaction(manifest))
    return target


def redaction(manifest: Mapping[str, Any]) -> bytes:
    """redaction.json: files of which a redacted copy holds the open halves, and those without prompt and folders."""
    told = {"schema": SCHEMA, "sealed": sorted(manifest["records"])}
    told["concealed"] = sorted(path for path in manifest["files"] if is_concealed(path))
    return canonical(told).encode() + b"\n"


def find(path: Path) -> Path:
    """The bundle at `path`: itself, or its `evidence`.

    Raises:
        UserError: there is none.
    """
    for folder in (path, path / NAME):
        if (folder / MANIFEST).is_file() or (folder / attest.FOLDER).is_dir():
            return folder
    raise UserError(f"{path} holds no evidence", "Make it with `safety-eval signoff RUN --policy FILE`.")


def listed(folder: Path) -> list[str]:
    """Every file that the manifest has to name, sorted."""
    own = (MANIFEST, REDACTION)
    return [p for p in _files(folder) if p not in own and not p.startswith(f"{attest.FOLDER}/")]


def attested(folder: Path) -> list[str]:
    """The files of the attestations."""
    return [p for p in _files(folder) if p.startswith(f"{attest.FOLDER}/")]


def configuration(folder: Path) -> dict[str, str]:
    """Digest of what the verdict was made with, by file name, as the manifest has it."""
    names = ("policy.yaml", "run/run.json", "run/policy.yaml", "baseline/run.json")
    files = read_manifest(folder)["files"]
    return {name: str(files[name].get("sha256")) for name in names if name in files}


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json.

    Raises:
        EvidenceError: it is damaged, or of another version.
    """
    manifest = hashes.strict((folder / MANIFEST).read_bytes(), MANIFEST)
    if not isinstance(manifest, dict) or (found := manifest.get("schema")) != SCHEMA:
        told = f"has schema {found}, this version reads {SCHEMA}" if isinstance(manifest, dict) else "is damaged"
        raise EvidenceError(f"{MANIFEST} {told}")
    files, records = manifest.get("files"), manifest.get("records")
    if not isinstance(files, dict) or not isinstance(records, dict):
        raise EvidenceError(f"{MANIFEST} is damaged: it lists no files")
    named = [row for about in files.values() for row in (about, *_redacted(about))]
    if not all(isinstance(row, dict) and isinstance(row.get("size"), int) for row in named):
        raise EvidenceError(f"{MANIFEST} is damaged: it does not say how large its files are")
    if not all(isinstance(row, dict) and isinstance(row.get("lines"), int) for row in records.values()):
        raise EvidenceError(f"{MANIFEST} is damaged: it does not say how many records there are")
    if not all(hashes.is_digest(row.get("sha256")) for row in named):
        raise EvidenceError(f"{MANIFEST} is damaged: a digest is none")
    return manifest


def _redacted(about: Any) -> list[Any]:
    """The second form of a file, where the manifest names one."""
    return [about["redacted"]] if isinstance(about, dict) and "redacted" in about else []


def read_secret(folder: Path) -> bytes:
    """The secret that the salts are made of.

    Raises:
        EvidenceError: salts.json is damaged or gone.
    """
    path = folder / SALTS
    if not path.is_file():
        raise EvidenceError(f"{SALTS} is missing")
    try:
        secret = bytes.fromhex(hashes.strict(path.read_bytes(), SALTS)["secret"])
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceError(f"{SALTS} is damaged: {error}") from error
    return secret


def run_files(run: Path) -> Iterator[str]:
    """The files of a run folder that are evidence, as paths inside it."""
    for name in ("run.json", "policy.yaml", "results.json", journal.NAME):
        if (run / name).is_file():
            yield name
    for task in run_file.read(run).tasks:
        for path in (run / task / "prompts.jsonl", run / task / "outputs.jsonl"):
            if path.is_file():
                yield path.relative_to(run).as_posix()
        for path in sorted((run / task / "scores").glob("*.jsonl")):
            yield path.relative_to(run).as_posix()
    yield from instruments.files(run, run_file.read(run))
    for path in labels.files(run):
        yield path.relative_to(run).as_posix()
    for path in sorted((run / chain.SHARDS).glob("*/*")):
        if path.name in ("run.json", journal.NAME):
            yield path.relative_to(run).as_posix()


def shown_files(run: Path) -> Iterator[str]:
    """The files of a run folder that people read and that speak of its verdict, as paths inside it."""
    for name in ("report.html", "signoff.junit.xml", "export/model-card-section.md"):
        if (run / name).is_file():
            yield name
    for path in sorted((run / "charts").glob("*.png")):
        if not path.name.startswith("compare."):  # drawn by `compare`, against whatever run it was given
            yield f"charts/{path.name}"


def _belongs(run: Path, policy: Policy, verdict: Verdict, baseline: Path | None) -> Case:
    case = collect(run, policy, baseline, until=verdict.journal)
    fault = next((b.sentence for b in case.faults if b.kind == "evidence"), "")
    if fault:
        raise EvidenceError(
            f"no evidence can be made of {run}: {fault}", "Finish or repair the run, then sign off again."
        )
    at = datetime.datetime.fromisoformat(verdict.decided_at.replace("Z", "+00:00"))
    other = differences(to_json(verdict), to_json(judge(case, policy, at)))
    if other:
        raise EvidenceError(f"the verdict is not that of this run and policy: {other[0]}", "Sign off again.")
    return case


def read_kept(folder: Path) -> Kept:
    """kept.json.

    Raises:
        EvidenceError: it is damaged or gone.
    """
    if not (folder / KEPT).is_file():
        raise EvidenceError(f"{KEPT} is missing")
    try:
        row = hashes.strict((folder / KEPT).read_bytes(), KEPT)
        rows, missing = row["differences"], tuple(str(sentence) for sentence in row["missing"])
        counted = tuple(labels.labelled(found) for found in row["labelled"])
        return Kept(None if rows is None else [typed(Difference, d) for d in rows], missing, counted)
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceError(f"{KEPT} is damaged: {error!r}") from error


def _copy(run: Path, target: Path) -> None:
    for name in run_files(run):
        copy(run / name, target / name)


def _files(folder: Path) -> list[str]:
    found = []
    for number, path in enumerate(sorted(folder.rglob("*"))):
        if number > MOST_FILES:
            raise EvidenceError(f"{folder} holds more than {MOST_FILES:,} files: this is not evidence of ours")
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise EvidenceError(f"{path.relative_to(folder)} is a link: evidence holds plain files only")
        if path.is_file():
            found.append(path.relative_to(folder).as_posix())
    return found
