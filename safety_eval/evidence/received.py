"""What whoever receives evidence is told, and may expect: of which model, by which policy, how old, signed by whom."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safety_eval import policy as policies
from safety_eval.core.errors import EvidenceError
from safety_eval.evidence import attest
from safety_eval.show.words import printable
from safety_eval.signoff.verdict import Verdict, facts


@dataclass(frozen=True, slots=True)
class Report:
    """What was verified.

    Attributes:
        folder: the bundle. decision: of the verdict in it.
        authentic: enough trusted keys have signed. signers, trusted: key ids.
        redacted: prompts and answers are sealed, so that estimates could not be computed again.
        files, records: checked against their hashes. estimates: computed again from the records.
        begun: when the run was asked for, by its journal. wanted: signatures that the policy asks for.
        waivers_ended: waivers that held at the decision and have ended since.
        stamped: when an outside party saw the manifest ('' = nobody was asked).
    """

    folder: Path
    verdict: Verdict
    authentic: bool
    signers: tuple[str, ...]
    trusted: tuple[str, ...]
    redacted: bool
    files: int
    records: int
    estimates: int
    begun: str = ""
    wanted: int = 0
    waivers_ended: tuple[str, ...] = ()
    stamped: str = ""

    @property
    def sentence(self) -> str:
        """The report in words."""
        words = "authentic" if self.authentic else "consistent, not authenticated (no trusted --key)"
        told = f"{words}: {self.files} files and {self.records} records match their hashes"
        told += (
            "; prompts and answers are sealed, so the estimates are taken as they were signed"
            if self.redacted
            else f"; {self.estimates} estimates computed again from the records"
        )
        told += f"; the policy gives the same verdict: {self.verdict.decision}"
        if self.waivers_ended:
            told += f"; waivers that have ended since: {', '.join(self.waivers_ended)}"
        return told + "."

    @property
    def lines(self) -> list[str]:
        """What was verified, line by line: of which model, by which policy, when, signed by whom."""
        v = self.verdict
        registered = "recorded before the first token" if v.registered else "not recorded before the run"
        signed = [f"{k} ({'trusted' if k in self.trusted else 'not among the keys given'})" for k in self.signers]
        told = [
            self.sentence,
            f"verdict: {v.decision}, {v.decided_at}; the run was begun {self.begun or 'at an unknown time'}",
            f"model: {v.subject.get('model', '')}",
            *facts(v),
            f"policy digest: {v.policy_sha256}, {registered}",
            f"signed by: {', '.join(signed) or 'nobody'}; the policy wants {self.wanted}",
            *([f"timestamp: the manifest was there at {self.stamped}, by the authority given"] if self.stamped else []),
            *(f"history: {sentence}" for sentence in v.history),
        ]
        return [printable(line) for line in told]


@dataclass(frozen=True, slots=True)
class Expected:
    """What whoever verifies asks for beyond consistency.

    Attributes:
        weights: digest of the model's weights ('' = any). policy: file of the policy whose terms must have been used.
        max_age_days: oldest run that counts, from its beginning. signers: fewest signatures, by trusted keys where
            keys are given; None = as many as the policy wants.
    """

    weights: str = ""
    policy: Path | None = None
    max_age_days: int | None = None
    signers: int | None = None


def expect(report: Report, expected: Expected, keys: Sequence[Path] = (), now: datetime.datetime | None = None) -> None:
    """Hold a verified bundle against what is expected of it.

    Raises:
        EvidenceError: it is of another model, policy or age, or lacks signatures. UserError: no such policy file.
    """
    verdict = report.verdict
    if expected.weights and expected.weights.removeprefix("sha256:") != verdict.asked.weights:
        raise EvidenceError(
            f"this is evidence of other weights: {verdict.asked.weights or 'none named'}",
            "Ask for evidence of the model that you were given.",
        )
    if expected.policy is not None:
        wanted = policies.registration(policies.load(expected.policy))
        if wanted.sha256 != verdict.policy_sha256:
            raise EvidenceError(f"judged by another policy: '{verdict.policy}', {verdict.policy_sha256}")
    if expected.max_age_days is not None:
        begun = time_of(report.begun, "run/journal.jsonl")
        age = (now or datetime.datetime.now(datetime.UTC)) - begun
        if age > datetime.timedelta(days=expected.max_age_days) or age < -datetime.timedelta(minutes=5):
            raise EvidenceError(f"the run was begun {report.begun}: {expected.max_age_days} days are allowed")
    fewest = report.wanted if expected.signers is None else expected.signers
    have = len(report.trusted if keys else report.signers)
    if have < fewest:
        whose = "of the given keys have signed" if keys else "have signed"
        raise EvidenceError(
            f"{attest.SIGNERS}: {have} {whose}, {fewest} are wanted",
            "Add signatures with `safety-eval sign`, and give the public key of every signer with --key.",
        )


def time_of(at: str, where: str) -> datetime.datetime:
    """A moment as it is written; `where` names the file in the error."""
    try:
        return datetime.datetime.fromisoformat(at.replace("Z", "+00:00"))
    except ValueError as error:
        raise EvidenceError(f"{where}: no such time, {at!r}") from error
