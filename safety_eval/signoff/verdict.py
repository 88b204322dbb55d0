"""What sign-off says: findings, blockers, verdict; and the same as JSON, as JUnit XML and as a table.

Findings carry the number that the rule saw and one sentence. Nothing here decides anything.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from xml.etree import ElementTree

from safety_eval.core.errors import EvidenceError
from safety_eval.core.records import plain
from safety_eval.core.store import typed
from safety_eval.show.words import printable

Outcome = Literal["met", "broken", "undecided", "waived"]
Decision = Literal["approved", "approved with waivers", "rejected", "cannot decide"]
BlockerKind = Literal["evidence", "conditions", "missing"]
EXIT = {"approved": 0, "approved with waivers": 5, "rejected": 3, "cannot decide": 4}
SCHEMA = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule at one number.

    Flat: a row of signoff.json and of the report's table.

    Attributes:
        rule, task, metric, scorer, axis, group: what was looked at ('every' group of an axis: one finding
            each).
        limit: 'max', 'min', 'max_gap', 'non_inferior' or 'equivalent'; bound: its number.
        value: measured value (None = nothing measured); low, high: one-sided limits at the policy's level
            with whatever is unmeasured at its worst.
        count, expected: measured and owed answers.
        outcome: met, broken, undecided or waived. A waived finding keeps what it was in `was`.
        p_broken: Holm-adjusted p-value of 'the limit is broken'.
        further: prompts that would settle it at the value seen; None = settled, or no number would.
        missing: something is not there, so that no waiver can cover it.
        sentence: the number in words. because: the policy's reason. waiver: who took it, why and until when.
    """

    rule: str
    task: str
    metric: str
    scorer: str
    axis: str
    group: str
    limit: str
    bound: float
    outcome: Outcome
    sentence: str
    because: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = 0
    expected: int = 0
    p_broken: float = 1.0
    further: int | None = None
    missing: bool = False
    was: str = ""
    waiver: str = ""


@dataclass(frozen=True, slots=True)
class Blocker:
    """Why the run as a whole cannot be approved.

    `kind` 'evidence': no number can be trusted, so nothing can be rejected either, and no evidence is made;
    'conditions': the numbers can be trusted, but were made otherwise than the policy asks, so that it says nothing of
    them; 'missing': approval is out. No waiver covers any of them.
    """

    kind: BlockerKind
    sentence: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How the model was asked and scored.

    Attributes:
        weights: digest of the model's weights ('' = the engine knows none). data: by task, version and size in words.
        instruments: digest of the whole identity, by 'task by scorer'.
        deviations: from the published protocols, in sentences. signers: signatures that the policy wants.
    """

    weights: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    instruments: Mapping[str, str] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    signers: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to: may this model be released?

    Flat: the fields of signoff.json.

    Attributes:
        decision: approved, approved with waivers, rejected or cannot decide.
        policy: its name; policy_sha256: digest of its terms; registered: the run recorded it before the
            first token.
        decided_at: UTC, ISO 8601; waivers are judged at this moment.
        subject: the model, as the run records it. run_sha256: digest of run.json, results_sha256: of the
            estimates.
        level, family: of the claims.
        findings, blockers: everything that led to the decision.
        notes: what a reader must know and nothing hangs on: descriptive groups, waivers about to end.
        baseline: which run it was compared with ('' = none).
        asked: how the model was asked and scored.
        history: what happened to the run, in sentences. journal: hash of the last entry that was looked at.
    """

    decision: Decision
    policy: str
    policy_sha256: str
    registered: bool
    decided_at: str
    subject: Mapping[str, Any]
    level: float
    family: str
    findings: tuple[Finding, ...]
    blockers: tuple[Blocker, ...] = ()
    notes: tuple[str, ...] = ()
    run_sha256: str = ""
    results_sha256: str = ""
    baseline: str = ""
    asked: Circumstances = Circumstances()
    history: tuple[str, ...] = ()
    journal: str = ""
    schema: int = field(default=SCHEMA)

    @property
    def exit_code(self) -> int:
        """0 approved, 3 rejected, 4 cannot decide, 5 approved with waivers."""
        return EXIT[self.decision]

    def _repr_html_(self) -> str:
        """The verdict as the terminal shows it, for notebooks."""
        from safety_eval.show.html import text

        return f"<h3>{text(self.decision.upper())}</h3><p>{text(comes_to(self))}</p><pre>{text(table(self))}</pre>"

    def blocked_by(self, *kinds: BlockerKind) -> bool:
        """Whether a blocker of one of these kinds stands in the way."""
        return any(blocker.kind in kinds for blocker in self.blockers)


def to_json(verdict: Verdict) -> dict[str, Any]:
    """signoff.json."""
    return dict(plain(verdict))


def from_json(row: Mapping[str, Any]) -> Verdict:
    """A verdict back from signoff.json.

    Raises:
        EvidenceError: it is none.
    """
    try:
        if not isinstance(row, Mapping) or row.get("schema") != SCHEMA:
            raise ValueError(f"it does not have the schema {SCHEMA}")
        typed(Verdict, row)
        values = dict(row)
        values["findings"] = tuple(Finding(**f) for f in row["findings"])
        values["blockers"] = tuple(Blocker(**b) for b in row["blockers"])
        values["asked"] = Circumstances(**{**row["asked"], "deviations": tuple(row["asked"]["deviations"])})
        values["notes"], values["history"] = tuple(row["notes"]), tuple(row["history"])
        return Verdict(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceError(f"signoff.json is not a verdict: {error}", "Run `safety-eval signoff` again.") from error


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two JSON values differ: numbers by more than 1e-9 (relative above 1), everything else at all."""
    if isinstance(one, bool) or isinstance(other, bool) or not _numbers(one, other):
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            names = sorted({*one, *other})
            return [d for n in names for d in differences(one.get(n), other.get(n), f"{place}.{n}".lstrip("."))]
        if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
            pairs = enumerate(zip(one, other, strict=True))
            return [d for i, (a, b) in pairs for d in differences(a, b, f"{place}[{i}]")]
        return [] if one == other else [f"{place}: {str(one)[:120]!r} against {str(other)[:120]!r}"]
    return [] if abs(one - other) <= 1e-9 * max(1.0, abs(one)) else [f"{place}: {one!r} against {other!r}"]


def _numbers(one: Any, other: Any) -> bool:
    return isinstance(one, (int, float)) and isinstance(other, (int, float))


def rule_outcome(found: list[Finding]) -> Outcome:
    """What a rule comes to over its findings: the worst of them."""
    seen = {f.outcome for f in found}
    return next((o for o in ("broken", "undecided", "waived") if o in seen), "met")  # type: ignore[return-value]


def tightest(found: list[Finding]) -> Finding:
    """The finding that speaks for a rule: the first that is as bad as it gets, or the nearest to its limit."""
    outcome = rule_outcome(found)
    shown = [f for f in found if f.outcome == outcome]
    return max(shown, key=_strain) if outcome == "met" else shown[0]


def by_rule(verdict: Verdict) -> dict[str, list[Finding]]:
    """Findings by rule, in the policy's order."""
    found: dict[str, list[Finding]] = {}
    for finding in verdict.findings:
        found.setdefault(finding.rule, []).append(finding)
    return found


def junit(verdict: Verdict) -> str:
    """JUnit XML for CI systems: one test suite for each rule, one case for each number.

    Broken is a failure, undecided an error, waived is skipped; blockers are errors of their own suite.
    """
    root = ElementTree.Element("testsuites", name=printable(f"sign-off: {verdict.policy}"))
    about = ElementTree.SubElement(ElementTree.SubElement(root, "testsuite", name="verdict"), "properties")
    model = printable(verdict.subject.get("model", ""))
    for name, value in (("decision", verdict.decision), ("model", model)):
        ElementTree.SubElement(about, "property", name=name, value=value)
    for fact in facts(verdict):
        name, _, value = fact.partition(": ")
        ElementTree.SubElement(about, "property", name=name, value=value)
    for rule, found in by_rule(verdict).items():
        suite = ElementTree.SubElement(root, "testsuite", name=rule)
        for finding in found:
            _case(suite, finding)
        _totals(suite)
    if verdict.blockers:
        suite = ElementTree.SubElement(root, "testsuite", name="the run as a whole")
        for number, blocker in enumerate(verdict.blockers, 1):
            case = ElementTree.SubElement(suite, "testcase", classname=blocker.kind, name=f"{blocker.kind} {number}")
            ElementTree.SubElement(case, "error", message=printable(blocker.sentence), type=blocker.kind)
        _totals(suite)
    _totals(root)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, finding: Finding) -> None:
    name = printable(f"{finding.metric} {finding.axis}/{finding.group}")
    case = ElementTree.SubElement(suite, "testcase", classname=printable(finding.task), name=name)
    tag = {"broken": "failure", "undecided": "error", "waived": "skipped"}.get(finding.outcome)
    if tag is not None:
        message = finding.waiver if tag == "skipped" else finding.sentence
        element = ElementTree.SubElement(case, tag, message=printable(message))
        if tag != "skipped":
            element.set("type", finding.outcome)
        element.text = printable(finding.because)


def _totals(element: ElementTree.Element) -> None:
    cases = list(element.iter("testcase"))
    element.set("tests", str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(sum(case.find(tag) is not None for case in cases)))


def table(verdict: Verdict, width: int = 110) -> str:
    """The verdict for the terminal: one row for each rule, each with its sentence; open numbers one by
    one."""
    head = f"{verdict.decision.upper()}: {printable(verdict.subject.get('model', 'the model'))}"
    head += f" by policy '{printable(verdict.policy)}' (every claim at {100 * verdict.level:g}% confidence, one-sided)"
    lines = [*textwrap.wrap(head, width), *_hang("  ", comes_to(verdict), width)]
    lines += [*(line for fact in facts(verdict) for line in _hang("  ", fact, width)), ""]
    for rule, found in by_rule(verdict).items():
        lines += _rule_lines(rule, found, width)
    for title, sentences in (
        ("What no rule can overrule:", [b.sentence for b in verdict.blockers]),
        ("To know:", list(verdict.notes)),
        ("What happened to the run:", list(verdict.history)),
    ):
        if sentences:
            lines += ["", title]
            for sentence in sentences:
                lines += _hang("  - ", printable(sentence), width)
    return "\n".join(lines) + "\n"


_COMES_TO: Mapping[Decision, str] = {
    "approved": "Every rule is shown to hold.",
    "approved with waivers": "Every rule is shown to hold, or a named person answers for it.",
    "rejected": "At least one rule is shown to be broken.",
    "cannot decide": "It is not shown that the policy is met, and not shown that it is broken: no approval.",
}


def comes_to(verdict: Verdict) -> str:
    """The decision in one sentence."""
    if verdict.blocked_by("evidence", "conditions"):
        return "This run cannot be judged by this policy, neither way: see what no rule can overrule."
    return _COMES_TO[verdict.decision]


def facts(verdict: Verdict) -> list[str]:
    """What was judged, in words, the same wherever it is shown: weights, data, instruments, policy, waivers."""
    asked = verdict.asked
    told = [f"weights: {asked.weights or 'no digest is known'}"]
    told += [f"data: {task} {words}" for task, words in sorted(asked.data.items())]
    told += [f"instrument: {place} {digest[:12]}" for place, digest in sorted(asked.instruments.items())]
    told += [f"policy: {verdict.policy}, SHA-256 {verdict.policy_sha256[:12]}"]
    told += departures(verdict)
    told += [f"signatures: the policy wants {asked.signers or 'none'}"]
    return [printable(words) for words in told]


def departures(verdict: Verdict) -> list[str]:
    """What of these facts a reader must not miss: deviations from the protocols, and waivers."""
    told = [f"deviates from the protocol: {words}" for words in verdict.asked.deviations]
    told += [f"waiver: {rule}, {words}" for rule, words in waivers(verdict).items()]
    return [printable(words) for words in told]


def waivers(verdict: Verdict) -> dict[str, str]:
    """Waivers that the decision rests on, in words, by rule."""
    return {f.rule: f.waiver for f in verdict.findings if f.outcome == "waived"}


def _rule_lines(rule: str, found: list[Finding], width: int) -> list[str]:
    outcome = rule_outcome(found)
    shown = [f for f in found if f.outcome == outcome]
    worst = tightest(found)
    lead = f"{outcome:<10}{rule}: "
    lines = _hang(lead, _told(worst, len(found), len(shown)), width, 10)
    for finding in [f for f in found if f.outcome != "met" and f is not worst]:
        lines += _hang("            ", f"{finding.outcome}: {printable(finding.sentence)}", width)
    return lines


def _told(worst: Finding, total: int, shown: int) -> str:
    many = ""
    if total > 1 and worst.outcome == "met":
        many = f" All {total} hold; this is the tightest."
    elif total > 1:
        many = f" {shown} of {total}."
    waived = f" {printable(worst.waiver)}" if worst.waiver else ""
    return f"{printable(worst.sentence)}{many}{waived} Why: {printable(worst.because)}"


def _strain(finding: Finding) -> float:
    """How near a met finding is to its limit."""
    if finding.limit == "min" and finding.low is not None:
        return -finding.low
    return finding.high if finding.high is not None else 0.0


def _hang(lead: str, text: str, width: int, indent: int | None = None) -> list[str]:
    by = " " * (len(lead) if indent is None else indent)
    return textwrap.wrap(lead + text, width, subsequent_indent=by, drop_whitespace=True) or [lead]
