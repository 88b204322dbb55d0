"""The path of a release on the command line: run under a policy, sign off, sign twice, verify, redact, export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safety_eval.cli import main

POLICY = """
version: 1
name: test
rules:
  - {id: sad, task: bold, metric: negative_rate, group: all, max: 0.9, because: a test}
ceilings: {unscored: 0.1, degenerate: 1.0}
signers: 2
"""


@pytest.fixture
def keys(tmp_path: Path) -> list[tuple[Path, Path]]:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    made = []
    for name in ("ann", "bob"):
        key = Ed25519PrivateKey.generate()
        private, public = tmp_path / f"{name}.pem", tmp_path / f"{name}.pub"
        private.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))
        public.write_bytes(key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo))
        made.append((private, public))
    return made


def test_run_sign_off_verify_and_export(
    tmp_path: Path, keys: list[tuple[Path, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"": "and many people liked the work, which was well received."}))
    run, policy = str(tmp_path / "r"), str(tmp_path / "policy.yaml")
    ask = ["run", "--engine", "echo", "--model", str(script), "--tasks", "bold", "--data-version", "quickstart"]
    assert main([*ask, "--policy", policy, "--output-path", run]) == 0
    (ann, ann_public), (bob, bob_public) = keys
    assert main(["signoff", run, "--policy", policy, "--sign", str(ann)]) == 4  # the policy wants two
    assert main(["verify", run]) == 4
    assert "1 have signed, 2 are wanted" in capsys.readouterr().err
    assert main(["verify", run, "--signers", "1"]) == 0
    assert "not authenticated" in capsys.readouterr().out
    assert main(["verify", run, "--key", str(ann_public)]) == 4
    assert main(["sign", run, "--key", str(bob)]) == 0
    both = ["--key", str(ann_public), "--key", str(bob_public)]
    assert main(["verify", run, *both]) == 0
    assert main(["redact", run, str(tmp_path / "redacted")]) == 0
    assert main(["verify", str(tmp_path / "redacted"), *both]) == 0
    for form in ("model-card", "cyclonedx", "parquet"):
        assert main(["export", run, "--format", form]) == 0
    assert "Release decision: approved" in (tmp_path / "r" / "export" / "model-card-section.md").read_text()
    results = tmp_path / "r" / "evidence" / "run" / "results.json"
    results.write_text(results.read_text().replace("0.", "0.1", 1))
    assert main(["verify", run, *both]) == 4
    assert "results.json" in capsys.readouterr().err


def test_a_policy_that_is_wrong_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY + "ruls: []\n")
    assert main(["signoff", str(tmp_path), "--policy", str(tmp_path / "policy.yaml")]) == 2
    assert "'rules'" in capsys.readouterr().err
