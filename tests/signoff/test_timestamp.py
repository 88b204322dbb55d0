"""A timestamp over a bundle's manifest, by an authority that openssl plays here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import evidence_bundle
import pytest

from safety_eval.cli import main

CONFIG = """
[tsa]
default_tsa = main
[main]
serial = {home}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
[ext]
extendedKeyUsage = critical,timeStamping
"""
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def openssl(home: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=home, check=True, capture_output=True)


def authority(home: Path) -> None:
    """A self-signed timestamp authority: home/tsa.pem, home/tsa.key."""
    home.mkdir()
    (home / "ts.cnf").write_text(CONFIG.format(home=home))
    (home / "serial").write_text("01\n")
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "tsa.key", "-out", "tsa.pem", "-days", "9"]
    openssl(home, *made, "-subj", "/CN=an authority", "-addext", "extendedKeyUsage=critical,timeStamping")


def stamp(home: Path, manifest: Path, token: Path) -> None:
    openssl(home, "ts", "-query", "-data", str(manifest), "-sha256", "-cert", "-out", "q.tsq")
    given = ["-config", "ts.cnf", "-queryfile", "q.tsq", "-signer", "tsa.pem", "-inkey", "tsa.key"]
    openssl(home, "ts", "-reply", *given, "-out", str(token))


def test_a_timestamp_is_checked_against_this_bundle_and_this_authority(tmp_path: Path, capsys) -> None:
    run, _, public = evidence_bundle.make(tmp_path)
    bundle, token = run / "evidence", tmp_path / "t.tsr"
    for name in ("one", "two"):
        authority(tmp_path / name)
    stamp(tmp_path / "one", bundle / "manifest.json", token)
    keys = [word for key in public for word in ("--key", str(key))]
    verify = ["verify", str(bundle), "--own-tasks", *keys, "--timestamp", str(token), "--authority"]
    assert main([*verify, str(tmp_path / "one" / "tsa.pem")]) == 0
    assert "timestamp: the manifest was there at " in capsys.readouterr().out
    assert main([*verify, str(tmp_path / "two" / "tsa.pem")]) == 4
    stamp(tmp_path / "one", bundle / "signoff.json", token)
    assert main([*verify, str(tmp_path / "one" / "tsa.pem")]) == 4
    assert "no timestamp of this bundle" in capsys.readouterr().err
    token.write_bytes(b"nonsense")
    assert main([*verify, str(tmp_path / "one" / "tsa.pem")]) == 4
    assert main([*verify, str(tmp_path / "none.pem")]) == 2
    assert main(["verify", str(bundle), "--own-tasks", "--timestamp", str(token)]) == 2
