"""Everything checked again, offline and without the model. Anything off is an EvidenceError that names the
file.

Order: what lies there, signatures, every hash, the chain, the records (Merkle root, completeness), every
estimate from the raw records to 1e-9, the policy again at the time of the decision.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from safety_eval import policy as policies
from safety_eval.core import journal
from safety_eval.core.errors import EvidenceError
from safety_eval.core.records import plain
from safety_eval.core.store import file_digest
from safety_eval.evidence import attest, bundles, hashes
from safety_eval.evidence.received import Report, time_of
from safety_eval.policy import Policy
from safety_eval.runs import chain
from safety_eval.signoff.basis import Case, collect, collect_open, keep
from safety_eval.signoff.decision import judge
from safety_eval.signoff.verdict import Verdict, differences, from_json, to_json


def verify(
    path: Path,
    keys: Sequence[Path] = (),
    now: datetime.datetime | None = None,
    own_tasks: bool = False,
    shown: bool = True,
) -> Report:
    """Verify a bundle, or a run folder against its bundle.

    Args:
        path: RUN or BUNDLE. keys: trusted public keys (PEM files). now: for waivers that have ended since.
        own_tasks: import tasks that are .py files on this machine, as the run names them. Off, because the
            name comes from the evidence and importing a file runs it.
        shown: the report, charts and other pages of a run folder must be those that were signed.

    Raises:
        EvidenceError: anything off, with the file and record. UserError: nothing to verify, or a bad key.
    """
    folder = bundles.find(path)
    for key in keys:
        attest.public_key(key)
    redacted = (folder / bundles.REDACTION).exists()
    content = _authentic_bytes(folder)
    signers, trusted = attest.check(folder, content, keys)
    if keys and not trusted:
        raise EvidenceError(f"{attest.SIGNERS}: 0 of the given keys have signed", _TRUST)
    manifest = bundles.read_manifest(folder)
    verdict = _sealed_files(folder, manifest, content, redacted)
    records = _records(folder, manifest, redacted)
    if folder != path:
        _same_as_run(path, folder, verdict, shown)
    policy = policies.load(folder / "policy.yaml")
    estimates = _verdict_again(folder, policy, verdict, redacted, own_tasks)
    _enough(keys, trusted, policy)
    return Report(
        folder=folder,
        verdict=verdict,
        authentic=bool(keys),
        signers=tuple(signers),
        trusted=tuple(trusted),
        redacted=redacted,
        files=len(manifest["files"]),
        records=records,
        estimates=estimates,
        begun=_begun(folder),
        wanted=policy.signers,
        waivers_ended=_ended(policy, verdict, now),
    )


def _sealed_files(folder: Path, manifest: Mapping[str, Any], content: bytes, redacted: bool) -> Verdict:
    """The verdict of a bundle whose files, statements and journal are those of the manifest."""
    _layout(folder, manifest, redacted)
    _hashes(folder, manifest, redacted)
    verdict = from_json(_object(folder, "signoff.json"))
    made_by, configured = str(manifest.get("made_by")), bundles.configuration(folder)
    attest.check_statements(folder, attest.statements(verdict, content, made_by, configured))
    _journal(folder, manifest)
    return verdict


_TRUST = "Give the public key of every signer with --key. What nobody trusted has signed proves nothing."
_MOST_BYTES = 64 << 20
"""Largest manifest that is read; it names some hundreds of files."""
_MOST_OF_STATEMENT = 4 << 20
"""Largest statement, or list of signers, that is read before it is known who wrote it."""


def _begun(folder: Path) -> str:
    homes = [folder / "run", *(folder / "run" / chain.SHARDS).glob("*")]
    chains = [journal.check(home / journal.NAME) for home in homes]
    return min((entries[0].at for entries in chains if entries), default="")


def _authentic_bytes(folder: Path) -> bytes:
    """manifest.json as it is: signatures are checked over these bytes before anything in them is believed."""
    stray = sorted(set(bundles.attested(folder)) ^ {attest.SIGNERS, *attest.ENVELOPES})
    if stray:
        raise EvidenceError(f"{stray[0]} is missing or does not belong here")
    for name in (bundles.MANIFEST, *bundles.attested(folder)):
        if not (folder / name).is_file():
            raise EvidenceError(f"{name} is missing")
        if (folder / name).stat().st_size > (_MOST_BYTES if name == bundles.MANIFEST else _MOST_OF_STATEMENT):
            raise EvidenceError(f"{name} is larger than any of ours")
    return (folder / bundles.MANIFEST).read_bytes()


def _enough(keys: Sequence[Path], trusted: Sequence[str], policy: Policy) -> None:
    wanted = max(1, policy.signers)
    if keys and len(trusted) < wanted:
        raise EvidenceError(
            f"{attest.SIGNERS}: {len(trusted)} of the given keys have signed, the policy wants {wanted}",
            _TRUST,
        )


def _layout(folder: Path, manifest: Mapping[str, Any], redacted: bool) -> None:
    """Every file is listed, and every listed file is there."""
    wanted = {path for path in manifest["files"] if not (redacted and bundles.is_left_out(path))}
    there = set(bundles.listed(folder))
    for name in sorted(wanted - there):
        raise EvidenceError(f"{name} is missing")
    for name in sorted(there - wanted):
        raise EvidenceError(f"{name} is not part of this evidence")
    if set(manifest["records"]) != {p for p in manifest["files"] if hashes.kind_of(p)}:
        raise EvidenceError(f"{bundles.MANIFEST}: the record files are not those that lie here")
    if redacted and (folder / bundles.REDACTION).read_bytes() != bundles.redaction(manifest):
        raise EvidenceError(f"{bundles.REDACTION} was changed")


def _hashes(folder: Path, manifest: Mapping[str, Any], redacted: bool) -> None:
    files: Mapping[str, dict[str, Any]] = manifest["files"]
    for name, about in files.items():
        if redacted and (bundles.is_left_out(name) or hashes.kind_of(name)):
            continue
        if ("redacted" in about) != bundles.is_concealed(name):
            raise EvidenceError(f"{bundles.MANIFEST} is damaged: {name} is not named in the forms that it has")
        wanted = about["redacted"] if redacted and "redacted" in about else about
        if (folder / name).stat().st_size != wanted["size"]:
            raise EvidenceError(f"{name} does not match its hash: it has another size")
        there = bundles.about_file(folder / name)
        if there["size"] != wanted["size"] or there["sha256"] != wanted["sha256"]:
            raise EvidenceError(f"{name} does not match its hash{_where(folder, manifest, name)}")
        if "redacted" in about and not redacted:
            _same_redacted(name, (folder / name).read_bytes(), about["redacted"])


def _same_redacted(name: str, content: bytes, wanted: Any) -> None:
    """The redacted form that the manifest names is that of this file."""
    if bundles.about(bundles.concealed(name, content)) != wanted:
        raise EvidenceError(f"{bundles.MANIFEST}: the redacted form of {name} is not that of the file")


def _where(folder: Path, manifest: Mapping[str, Any], name: str) -> str:
    """Which record of a file is off, as far as the file alone can tell."""
    if not hashes.kind_of(name):
        return ""
    try:
        found = sum(1 for _ in hashes.full_leaves(folder / name, name, bundles.read_secret(folder)))
    except EvidenceError as error:
        return f": {error.message}"
    wanted = manifest["records"][name]["lines"]
    return f" ({found} records, {wanted} expected)" if found != wanted else ""


def _records(folder: Path, manifest: Mapping[str, Any], redacted: bool) -> int:
    """Merkle root of every record file; how many records there are."""
    secret = b"" if redacted else bundles.read_secret(folder)
    found, total = {}, 0
    for name in manifest["records"]:
        file = folder / name
        leaves = hashes.sealed_leaves(file, name) if redacted else hashes.full_leaves(file, name, secret)
        found[name] = hashes.about_records(leaves)
        total += int(found[name]["lines"])
        if found[name] != manifest["records"][name]:
            told = f"{found[name]['lines']} records, {manifest['records'][name]['lines']} expected"
            raise EvidenceError(f"{name}: a record was changed, moved, added or taken out ({told})")
    if hashes.root_of(found) != manifest["root"]:
        raise EvidenceError(f"{bundles.MANIFEST}: the root is not that of the records")
    return total


def _journal(folder: Path, manifest: Mapping[str, Any]) -> None:
    entries = journal.check(folder / "run" / journal.NAME)
    if journal.head(entries) != manifest.get("journal"):
        raise EvidenceError(f"run/{journal.NAME}: its last entry is not the one in the manifest")


def _same_as_run(run: Path, folder: Path, verdict: Verdict, shown: bool) -> None:
    """The run folder still is what the bundle was made of, and shows what was signed."""
    pages = [p.removeprefix(f"{bundles.SHOWN}/") for p in bundles.listed(folder) if p.startswith(f"{bundles.SHOWN}/")]
    for name in pages if shown else []:
        if (run / name).is_file() and file_digest(run / name) != file_digest(folder / bundles.SHOWN / name):
            raise EvidenceError(
                f"{name} is not the one that was signed", f"The signed one is {folder / bundles.SHOWN / name}."
            )
    there = set(bundles.run_files(run))
    kept = {p.removeprefix("run/") for p in bundles.listed(folder) if p.startswith("run/")}
    later = {name for name in there - kept if name.startswith("cards/")}  # an audit since then changes no verdict
    for name in sorted((there ^ kept) - later):
        raise EvidenceError(f"{name} was added to or taken from the run since the evidence was made", _AGAIN)
    for name in sorted(kept):
        same = file_digest(run / name) == file_digest(folder / "run" / name)
        if not same and not (name == journal.NAME and _only_drawn(run, folder)):
            raise EvidenceError(f"{name} was changed since the evidence was made", _AGAIN)

    own = run / "signoff.json"
    if own.is_file():
        from safety_eval.core.store import read_json

        if differences(read_json(own), to_json(verdict)):
            raise EvidenceError("signoff.json is not the verdict in the evidence", _AGAIN)


_AGAIN = "Sign off again, or restore the run folder."


def _verdict_again(folder: Path, policy: Policy, verdict: Verdict, redacted: bool, own_tasks: bool) -> int:
    """The verdict computed again; how many estimates were, too (0 in a redacted copy)."""
    if redacted:
        _sealed_verdict(folder, policy, verdict, bundles.read_manifest(folder)["files"])
        return 0
    return _verdict(folder, policy, verdict, own_tasks)


def _verdict(folder: Path, policy: Policy, verdict: Verdict, own_tasks: bool) -> int:
    """Every estimate and the verdict again; how many estimates."""
    baseline = folder / "baseline"
    case = collect(folder / "run", policy, baseline if baseline.is_dir() else None, own_tasks, verdict.journal)
    _trusted(case)
    if plain(keep(case)) != plain(bundles.read_kept(folder)):
        raise EvidenceError(f"{bundles.KEPT} is not what the records give")
    _same_verdict(verdict, judge(case, policy, _moment(verdict)))
    return len(case.estimates)


def _sealed_verdict(folder: Path, policy: Policy, verdict: Verdict, files: Mapping[str, dict[str, Any]]) -> None:
    """The whole verdict again (decision, findings, blockers, notes, history) from results.json and kept.json, which the
    manifest covers. Those numbers themselves cannot be computed without the sealed halves."""
    baseline = folder / "baseline"
    case = collect_open(
        folder / "run", policy, bundles.read_kept(folder), baseline if baseline.is_dir() else None, verdict.journal
    )
    _trusted(case)
    # Digests of the whole files, which lie here in their redacted form.
    case = replace(case, run_sha256=str(files["run/run.json"]["sha256"]))
    if "baseline/run.json" in files:
        case = replace(case, baseline=str(files["baseline/run.json"]["sha256"]))
    _same_verdict(verdict, judge(case, policy, _moment(verdict)))


def _trusted(case: Case) -> None:
    for fault in case.faults:
        if fault.kind == "evidence":
            raise EvidenceError(f"run/{fault.sentence}")


def _same_verdict(signed: Verdict, again: Verdict) -> None:
    one, other = to_json(signed), to_json(again)
    for row in (one, other):
        for finding in row["findings"]:
            finding.pop("sentence")
    found = differences(one, other)
    if found:
        raise EvidenceError(f"signoff.json: the policy gives another verdict on these records; {found[0]}")


def _moment(verdict: Verdict) -> datetime.datetime:
    return time_of(verdict.decided_at, "signoff.json")


def _ended(policy: Policy, verdict: Verdict, now: datetime.datetime | None) -> tuple[str, ...]:
    today = (now or datetime.datetime.now(datetime.UTC)).date()
    used = {f.rule for f in verdict.findings if f.outcome == "waived"}
    return tuple(w.rule for w in policy.waivers if w.rule in used and w.expires < today)


def _object(folder: Path, name: str) -> dict[str, Any]:
    try:
        value = hashes.strict((folder / name).read_bytes(), name)
    except FileNotFoundError as error:
        raise EvidenceError(f"{name} is missing") from error
    if not isinstance(value, dict):
        raise EvidenceError(f"{name} is damaged: not a JSON object")
    return value


def _only_drawn(run: Path, folder: Path) -> bool:
    """Whether all that the run's journal has beyond the evidence's is that answers were drawn to be labelled."""
    then, now = journal.check(folder / "run" / journal.NAME), journal.check(run / journal.NAME)
    return now[: len(then)] == then and all(e.event is journal.Event.DRAWN for e in now[len(then) :])
