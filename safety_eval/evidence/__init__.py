"""Evidence that a third party can verify offline: bundle, sign, redact, verify.

hashes.py      strict JSON, digests, Merkle roots over salted records
attest.py      in-toto statements in DSSE envelopes, keys and signatures
bundles.py     RUN -> RUN/evidence; a redacted copy of it
verifying.py   everything checked again: signatures, hashes, records, estimates, verdict
"""

from safety_eval.evidence.attest import sign
from safety_eval.evidence.bundles import bundle, find, redact
from safety_eval.evidence.verification import Report, verify

__all__ = ["Report", "bundle", "find", "redact", "sign", "verify"]
