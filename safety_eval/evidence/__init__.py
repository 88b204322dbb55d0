"""Evidence that a third party can verify offline: bundle, sign, redact, verify.

hashes.py      strict JSON, digests, Merkle roots over salted records
attest.py      in-toto statements in DSSE envelopes, keys and signatures
bundles.py     RUN -> RUN/evidence; a redacted copy of it
verifying.py   everything checked again: signatures, hashes, records, estimates, verdict
received.py    what a third party is told of it, and may expect
reproduction.py  some of the prompts asked again: does the model give these answers?
standing.py    does the verdict that lies in a run folder hold for what lies there now?
timestamp.py   an outside party's timestamp over the manifest
release.py     sign-off as a whole: decide, then keep, set aside or make the evidence
"""

from safety_eval.evidence.attest import sign
from safety_eval.evidence.bundles import bundle, find, redact
from safety_eval.evidence.received import Expected, Report, expect
from safety_eval.evidence.release import SignedOff, sign_off
from safety_eval.evidence.reproduction import Draw, Reproduction, reproduce
from safety_eval.evidence.standing import Standing, State, standing
from safety_eval.evidence.timestamp import check as check_timestamp
from safety_eval.evidence.verification import verify

__all__ = [
    "Draw",
    "Expected",
    "Report",
    "Reproduction",
    "SignedOff",
    "Standing",
    "State",
    "bundle",
    "check_timestamp",
    "expect",
    "find",
    "redact",
    "reproduce",
    "sign",
    "sign_off",
    "standing",
    "verify",
]
