"""Sign-off as a whole: decide, keep or make the evidence, and never lose or leave a signature without saying so.

Evidence that no longer belongs to the run is moved to RUN/evidence.superseded/, never deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safety_eval.core.errors import SafetyEvalError, UserError
from safety_eval.core.store import writing
from safety_eval.evidence import attest, bundles, verification
from safety_eval.evidence.hashes import strict
from safety_eval.policy import Policy
from safety_eval.signoff import decision, instruments
from safety_eval.signoff.verdict import Verdict, differences, to_json

SUPERSEDED = "evidence.superseded"


@dataclass(frozen=True, slots=True)
class SignedOff:
    """What a sign-off gave.

    Attributes:
        verdict: the decision.
        evidence: the bundle; None when the records do not hold together, so that none was made.
        signers: ids of the keys whose signatures it carries. wanted: how many the policy asks for.
        said: what happened to evidence and report, one sentence each.
    """

    verdict: Verdict
    evidence: Path | None
    signers: tuple[str, ...]
    wanted: int
    said: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """The verdict, and who signed it, for notebooks."""
        from safety_eval.show.html import text

        signed = f"Signed by {', '.join(self.signers)}." if self.signers else "Signed by nobody."
        return f"{self.verdict._repr_html_()}<p>{text(' '.join((signed, *self.said)))}</p>"

    @property
    def exit_code(self) -> int:
        """That of the verdict; 4 for an approval that lacks signatures which the policy asks for."""
        if self.verdict.decision in ("approved", "approved with waivers") and len(self.signers) < self.wanted:
            return 4
        return self.verdict.exit_code


def sign_off(
    run: Path,
    policy: Policy,
    baseline: Path | None,
    keys: Sequence[Path],
    draw: Callable[[Path, Verdict], None],
) -> SignedOff:
    """Decide by a policy; writes signoff.json, its JUnit form, the report and the evidence, signed by `keys`.

    Evidence of the same verdict on the same records is kept with its signatures, and signed by the new keys as well.

    Args:
        run, baseline: run folders. keys: private keys (PEM files). draw: draws the report with a verdict.
    """
    for key in keys:
        attest.private_key(key)
    if not run.is_dir():
        raise UserError(f"no such folder: {run}", "Give the folder that `run` printed.")
    with writing(run):
        instruments.keep(run)
        if kept := _same(run, policy, baseline):
            return _sign_again(run, policy, kept, keys, draw)
        return _sign_off(run, policy, baseline, keys, draw)


def _sign_off(
    run: Path, policy: Policy, baseline: Path | None, keys: Sequence[Path], draw: Callable[[Path, Verdict], None]
) -> SignedOff:
    verdict = decision.decide(run, policy, baseline)
    said = _set_aside(run)
    decision.write(run, verdict)
    decision.note(run, verdict)
    said += _draw(run, verdict, draw)
    if verdict.blocked_by("evidence"):
        return SignedOff(verdict, None, (), policy.signers, (*said, _NO_EVIDENCE))
    folder = bundles.bundle(run, policy, verdict, keys, baseline)
    return SignedOff(verdict, folder, signers(folder), policy.signers, tuple(said))


def signers(folder: Path) -> tuple[str, ...]:
    """Ids of the keys that have signed a bundle, as it lists them."""
    return tuple(sorted(strict((folder / attest.SIGNERS).read_bytes(), attest.SIGNERS)))


_NO_EVIDENCE = "no evidence was made: the records do not hold together"


def _same(run: Path, policy: Policy, baseline: Path | None) -> Verdict | None:
    """The verdict of signed evidence that verifies and would be given again now, by the same policy."""
    folder = run / bundles.NAME
    try:
        report = verification.verify(run, own_tasks=True, shown=False)
        same = (folder / "policy.yaml").read_text(encoding="utf-8") == bundles.policy_text(policy)
    except (SafetyEvalError, OSError):
        return None
    if report.folder != folder or not report.signers or not same:
        return None
    now = decision.decide(run, policy, baseline, until=report.verdict.journal)
    now = replace(now, decided_at=report.verdict.decided_at)
    return None if differences(to_json(report.verdict), to_json(now)) else report.verdict


def _sign_again(
    run: Path, policy: Policy, kept: Verdict, keys: Sequence[Path], draw: Callable[[Path, Verdict], None]
) -> SignedOff:
    folder = run / bundles.NAME
    before = signers(folder)
    for key in keys:
        if attest.private_key(key).public_key.keyid not in before:
            attest.sign(folder, key)
    decision.write(run, kept)
    said = [f"nothing has changed since the verdict of {kept.decided_at}: its evidence and its signatures were kept"]
    said += _draw(run, kept, draw)
    return SignedOff(kept, folder, signers(folder), policy.signers, tuple(said))


def _draw(run: Path, verdict: Verdict, draw: Callable[[Path, Verdict], None]) -> list[str]:
    """Draw the report; when that cannot be done, older pages must not go on speaking for the run."""
    try:
        draw(run, verdict)
    except SafetyEvalError as error:
        for page in (run / "report.html", run / "export" / "model-card-section.md"):
            page.unlink(missing_ok=True)
        return [f"the report could not be drawn, and the old one was removed: {error.message}"]
    return []


def _set_aside(run: Path) -> list[str]:
    """Move evidence that does not belong to this verdict out of the way; says so when somebody had signed it."""
    folder = run / bundles.NAME
    if not folder.is_dir():
        return []
    try:
        signed = signers(folder)
    except (SafetyEvalError, OSError):
        signed = ()
    number = 1
    while (target := run / SUPERSEDED / str(number)).exists():
        number += 1
    try:
        target.parent.mkdir(exist_ok=True)
        folder.rename(target)
    except OSError as error:
        raise UserError(f"cannot move {folder} to {target}: {error.strerror}", "Check the permissions.") from error
    carried = f", with {len(signed)} signature{'s' if len(signed) > 1 else ''}," if signed else ""
    return [f"the evidence of an earlier verdict{carried} was moved to {SUPERSEDED}/{number}: it is not of this one"]
