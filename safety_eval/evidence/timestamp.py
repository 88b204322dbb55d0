"""A timestamp of an outside party (RFC 3161) over a bundle's manifest: the bundle was there at that moment, whatever
the clock of its makers said. It is checked with the `openssl` of this machine; the token lies beside the bundle.

    openssl ts -query -data BUNDLE/manifest.json -sha256 -cert -out bundle.tsq     # send it to a timestamp authority
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.evidence import bundles

_SECONDS = 60.0


def check(bundle: Path, token: Path, authority: Path) -> str:
    """When the authority saw the manifest, in its words.

    Args:
        bundle: a bundle. token: the authority's reply (DER). authority: certificates that are trusted for it (PEM).

    Raises:
        UserError: no openssl, or no such files. EvidenceError: the token is of another bundle, or of nobody trusted.
    """
    for path, flag in ((token, "--timestamp"), (authority, "--authority")):
        if not path.is_file():
            raise UserError(f"no such file: {path}", f"Check {flag}.")
    if shutil.which("openssl") is None:
        raise UserError("checking a timestamp needs `openssl`, which is not installed", "Install it.")
    manifest = bundles.find(bundle) / bundles.MANIFEST
    given = ["-in", str(token)]
    told = _openssl(["-verify", "-data", str(manifest), *given, "-CAfile", str(authority)])
    if told.returncode:
        reason = re.search(r":error:[0-9A-F]+:[^:]*:[^:]*:([^:\n]+):", told.stderr)
        what = reason[1] if reason else "it does not verify"
        raise EvidenceError(f"{token}: no timestamp of this bundle by an authority that is trusted ({what})")
    stated = re.search(r"^Time stamp: (.+)$", _openssl(["-reply", *given, "-text"]).stdout, re.M)
    if stated is None:
        raise EvidenceError(f"{token} names no time")
    return stated[1].strip()


def _openssl(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["openssl", "ts", *words], capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EvidenceError("openssl could not read the timestamp within a minute", "Ask for another one.") from error
