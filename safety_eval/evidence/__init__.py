"""Evidence that a third party can verify offline: bundle, sign, redact, verify.

hashes.py      strict JSON, digests, Merkle roots over salted records
attest.py      in-toto statements in DSSE envelopes, keys and signatures
bundles.py     RUN -> RUN/evidence; a redacted copy of it
verifying.py   everything checked again: signatures, hashes, records, estimates, verdict
received.py    what a third party is told of it, and may expect
standing.py    does the verdict that lies in a run folder hold for what lies there now?
release.py     sign-off as a whole: decide, then keep, set aside or make the evidence
"""

from safety_eval.evidence.attest import sign
from safety_eval.evidence.bundles import bundle, find, redact
from safety_eval.evidence.received import Expected, Report, expect
from safety_eval.evidence.release import SignedOff, sign_off
from safety_eval.evidence.standing import Standing, State, standing
from safety_eval.evidence.verification import verify

__all__ = [
    "Expected",
    "Report",
    "SignedOff",
    "Standing",
    "State",
    "bundle",
    "expect",
    "find",
    "redact",
    "sign",
    "sign_off",
    "standing",
    "verify",
]
