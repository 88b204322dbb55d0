"""The box on top of the report: the verdict on the run, as it was checked when the page was drawn."""

from __future__ import annotations

from dataclasses import dataclass

from safety_eval.evidence.standing import Standing, State
from safety_eval.report.parts import LaidOut, laid_out, slug
from safety_eval.show.tables import Row, Table
from safety_eval.signoff.verdict import Finding, Verdict, comes_to, departures, facts

_SIGN_OFF = "`safety-eval signoff RUN --policy FILE` gives a verdict."


@dataclass(frozen=True, slots=True)
class VerdictPart:
    """The box on top.

    Attributes:
        css: class of its frame. words: the verdict. about: by which policy, and when. rules: one row for each finding.
        remarks: what a reader must not miss. facts: what was judged, and what happened to the run.
    """

    css: str
    words: str
    about: str
    rules: LaidOut | None = None
    remarks: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()


def verdict_part(standing: Standing) -> VerdictPart:
    """The box of a run. Only a verdict that was checked is shown."""
    if standing.state is State.NOT_JUDGED:
        return VerdictPart("none", "Not judged", f"No policy has judged this run. {_SIGN_OFF}")
    if standing.state is State.STALE or standing.verdict is None:
        about = f"The verdict that lies in the run folder does not hold for what lies there now: {standing.why}. "
        return VerdictPart("stale", "Stale: no verdict holds", about + _SIGN_OFF)
    return _shown(standing.verdict)


def _shown(verdict: Verdict) -> VerdictPart:
    about = f"{comes_to(verdict)} Policy {verdict.policy}, decided at {verdict.decided_at}"
    about += "." if verdict.registered else "; the policy was not recorded before the first token."
    rows = tuple(_row(f) for f in verdict.findings)
    columns = ("rule", "outcome", "what was found", "because")
    rules = laid_out(Table("Rules of the policy", columns, rows)) if rows else None
    first = departures(verdict)
    remarks = (*(b.sentence for b in verdict.blockers), *first, *verdict.notes)
    rest = (*(fact for fact in facts(verdict) if fact not in first), *verdict.history)
    return VerdictPart(slug(verdict.decision), verdict.decision.capitalize(), about, rules, remarks, rest)


def _row(found: Finding) -> Row:
    words = f"waived: {found.waiver}" if found.outcome == "waived" and found.waiver else found.outcome
    return Row((found.rule, words, found.sentence, found.because), ours=found.outcome == "broken")
