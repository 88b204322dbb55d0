"""in-toto statements (test result, verdict) in DSSE envelopes, signed by Ed25519 or P-256 keys, checked
offline.

Predicates: test-result v0.1 and svr v0.1 of the in-toto attestation framework. An SVR lists properties that
hold; what did not stands in the test result.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.records import canonical
from safety_eval.core.store import write_atomic
from safety_eval.evidence.hashes import is_digest, sha256, strict
from safety_eval.signoff.verdict import Outcome, Verdict, by_rule, facts, rule_outcome, waivers

PAYLOAD_TYPE = "application/vnd.in-toto+json"
FOLDER = "attestations"
SIGNERS = f"{FOLDER}/signers.json"
ENVELOPES = (f"{FOLDER}/test-result.dsse.json", f"{FOLDER}/verdict.dsse.json")
PASSWORD = "SAFETY_EVAL_KEY_PASSWORD"
_SCHEMES = {"ed25519": "ed25519", "ecdsa": "ecdsa-sha2-nistp256"}
_RESULT = {"approved": "PASSED", "approved with waivers": "WARNED", "rejected": "FAILED", "cannot decide": "WARNED"}


def statements(
    verdict: Verdict, manifest: bytes, made_by: str, configuration: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The two statements about a bundle.

    Args:
        verdict: of the run. manifest: bytes of manifest.json. made_by: version that made the bundle.
        configuration: digest by file name.
    """
    subjects = [{"name": "manifest.json", "digest": {"sha256": sha256(manifest)}}, *_model(verdict.subject)]
    outcomes = _outcomes(verdict)
    result = {
        "result": _RESULT[verdict.decision],
        "configuration": [{"name": n, "digest": {"sha256": d}} for n, d in sorted(configuration.items())],
        "passedTests": [r for r, o in outcomes.items() if o == "met"],
        "warnedTests": [r for r, o in outcomes.items() if o in ("waived", "undecided")],
        "failedTests": [r for r, o in outcomes.items() if o == "broken"],
    }
    properties = [f"SAFETY_EVAL_RULE_{r}" for r, o in outcomes.items() if o == "met"]
    if verdict.decision == "approved":
        properties.insert(0, "SAFETY_EVAL_RELEASE_APPROVED")
    if verdict.decision == "approved with waivers":
        properties.insert(0, "SAFETY_EVAL_RELEASE_APPROVED_WITH_WAIVERS")
    simple = {
        "verifier": {
            "id": f"pkg:pypi/safety-eval@{made_by}",
            "policy": {"name": verdict.policy, "digest": {"sha256": verdict.policy_sha256}},
        },
        "timeCreated": verdict.decided_at,
        "properties": properties,
        "decision": verdict.decision,
        "facts": facts(verdict),
        "waivers": waivers(verdict),
        "history": list(verdict.history),
    }
    kinds = ("https://in-toto.io/attestation/test-result/v0.1", "https://in-toto.io/attestation/svr/v0.1")
    return [
        {"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": k, "predicate": p}
        for k, p in zip(kinds, (result, simple), strict=True)
    ]


def _outcomes(verdict: Verdict) -> dict[str, Outcome]:
    """What each rule comes to. Of numbers that were made otherwise than the policy asks, it says nothing."""
    if verdict.blocked_by("evidence", "conditions"):
        return dict.fromkeys(by_rule(verdict), "undecided")
    return {rule: rule_outcome(found) for rule, found in by_rule(verdict).items()}


def write(folder: Path, made: Sequence[Mapping[str, Any]]) -> None:
    """The envelopes, not signed yet."""
    for name, statement in zip(ENVELOPES, made, strict=True):
        payload = base64.b64encode(canonical(statement).encode()).decode()
        _write(folder / name, {"payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": []})
    _write(folder / SIGNERS, {})


def sign(folder: Path, key: Path) -> str:
    """Add the signature of a private key (PEM file, Ed25519 or P-256) to both envelopes; returns its key id.

    An encrypted key is opened with the password in SAFETY_EVAL_KEY_PASSWORD. Whoever signs should verify
    first.

    Raises:
        UserError: no such key, or not of those kinds, or a package is missing.
    """
    signer = private_key(key)
    public = signer.public_key
    for name in ENVELOPES:
        envelope = _envelope(folder, name)
        envelope.sign(signer)
        _write(folder / name, envelope.to_dict())
    signers = strict((folder / SIGNERS).read_bytes(), SIGNERS)
    signers[public.keyid] = {
        "keytype": public.keytype,
        "scheme": public.scheme,
        "keyval": dict(public.keyval),
    }
    _write(folder / SIGNERS, signers)
    return str(public.keyid)


def check(folder: Path, manifest: bytes, trusted: Sequence[Path]) -> tuple[list[str], list[str]]:
    """(ids of all signers, ids of those who are trusted), every signature checked.

    Args:
        manifest: bytes of manifest.json, of which both statements have to speak. trusted: public keys (PEM).

    Raises:
        EvidenceError: a signature that does not hold, or is about another manifest.
    """
    signers = strict((folder / SIGNERS).read_bytes(), SIGNERS)
    if not isinstance(signers, dict):
        raise EvidenceError(f"{SIGNERS} is damaged: not a JSON object")
    keys = [_public_of(keyid, about) for keyid, about in signers.items()]
    for name in ENVELOPES:
        envelope = _envelope(folder, name)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise EvidenceError(f"{name}: the payload is of the wrong type, {envelope.payload_type!r}")
        if set(envelope.signatures) != set(signers):
            raise EvidenceError(f"{name}: its signatures are not those that {SIGNERS} lists")
        _check_signatures(envelope, keys, name)
        subjects = strict(envelope.payload + b"\n", name).get("subject", [])
        if {"name": "manifest.json", "digest": {"sha256": sha256(manifest)}} not in subjects:
            raise EvidenceError(f"manifest.json is not the one that {name} speaks of")
    ids = {public_key(path).keyid for path in trusted}
    return sorted(signers), sorted(ids & set(signers))


def check_statements(folder: Path, made: Sequence[Mapping[str, Any]]) -> None:
    """The signed statements are those that this bundle gives.

    Raises:
        EvidenceError: one says something else.
    """
    for name, statement in zip(ENVELOPES, made, strict=True):
        if _envelope(folder, name).payload != canonical(statement).encode():
            raise EvidenceError(f"{name} speaks of something else than this bundle")


def public_key(path: Path) -> Any:
    """A trusted public key from a PEM file.

    Raises:
        UserError: no such file, or no Ed25519 or P-256 public key.
    """
    need()
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        key = SSlibKey.from_crypto(load_pem_public_key(path.read_bytes()))
    except OSError as error:
        raise UserError(f"cannot read the key {path}: {error.strerror}", "Check --key.") from error
    except Exception as error:  # cryptography raises many kinds for a wrong file
        raise UserError(
            f"{path} is not a public key: {error}", "Give a PEM file with an Ed25519 or P-256 key."
        ) from error
    return _known_scheme(key, path)


def need() -> None:
    """Fail with advice when the signing packages are missing."""
    try:
        import cryptography  # noqa: F401
        import securesystemslib  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            f"signatures need the package '{error.name}', which is not installed",
            "Install safety-eval again: both belong to it.",
        ) from error


def private_key(path: Path) -> Any:
    need()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    password = os.environ.get(PASSWORD)
    try:
        private = load_pem_private_key(path.read_bytes(), password.encode() if password else None)
        signer = CryptoSigner(private)  # type: ignore[arg-type]
    except OSError as error:
        raise UserError(f"cannot read the key {path}: {error.strerror}", "Check --sign.") from error
    except TypeError as error:
        raise UserError(f"{path}: {error}", f"Put its password into {PASSWORD}.") from error
    except Exception as error:  # cryptography raises many kinds for a wrong file
        raise UserError(
            f"{path} is not a private key that can sign: {error}",
            "Give a PEM file with an Ed25519 or P-256 key.",
        ) from error
    _known_scheme(signer.public_key, path)
    return signer


def _known_scheme(key: Any, path: Path) -> Any:
    if _SCHEMES.get(key.keytype) != key.scheme:
        raise UserError(f"{path} is a {key.scheme} key", "Use an Ed25519 or P-256 key.")
    return key


def _public_of(keyid: str, about: Mapping[str, Any]) -> Any:
    need()
    from securesystemslib.signer import SSlibKey
    from securesystemslib.signer._utils import compute_default_keyid

    try:
        if set(about) != {"keytype", "scheme", "keyval"} or set(about["keyval"]) != {"public"}:
            raise ValueError("it has other fields than a key's")
        if _SCHEMES.get(about["keytype"]) != about["scheme"]:
            raise ValueError(f"scheme {about['scheme']!r}")
        if compute_default_keyid(about["keytype"], about["scheme"], about["keyval"]) != keyid:
            raise ValueError("the id is not that of the key")
        return SSlibKey(keyid, about["keytype"], about["scheme"], dict(about["keyval"]))
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceError(f"{SIGNERS}: key {keyid[:16]} is damaged: {error}") from error


def _check_signatures(envelope: Any, keys: Sequence[Any], name: str) -> None:
    from securesystemslib.exceptions import UnverifiedSignatureError

    pae = envelope.pae()
    for key in keys:
        try:
            key.verify_signature(envelope.signatures[key.keyid], pae)
        except UnverifiedSignatureError as error:
            raise EvidenceError(f"{name}: the signature of key {key.keyid[:16]} does not hold") from error


def _envelope(folder: Path, name: str) -> Any:
    need()
    from securesystemslib.dsse import Envelope

    value = strict((folder / name).read_bytes(), name)
    try:
        envelope = Envelope.from_dict(strict((folder / name).read_bytes(), name))
        again = envelope.to_dict()
    except Exception as error:  # the library raises many kinds for a damaged envelope
        raise EvidenceError(f"{name} is no DSSE envelope: {error!r}") from error
    if again != value or any(set(s) != {"keyid", "sig"} for s in value["signatures"]):
        raise EvidenceError(f"{name} was written again: another encoding of the same bytes")
    return envelope


def _model(subject: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The model as a subject, where the run recorded a digest of its weights."""
    found = next((v for k, v in subject.items() if "weights" in k and is_digest(v)), None)
    return [] if found is None else [{"name": str(subject.get("model", "model")), "digest": {"sha256": found}}]


def _write(path: Path, value: Any) -> None:
    write_atomic(path, canonical(value) + "\n")
