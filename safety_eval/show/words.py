"""How numbers, names and untrusted text are put into words: the same in charts, tables, terminal and report.

Nothing here computes a statistic. A value that is None becomes words with its reason, never a number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from safety_eval.core.conceal import conceal
from safety_eval.core.records import Estimate, Part, Standing, parted
from safety_eval.runs.run_file import RunFile

MINUS = "\N{MINUS SIGN}"
NO_DATA = "no data"
FOOTNOTE = (
    "Clusters: prompts that were made together (from one article, one template), and the largest one's share of the "
    "answers where it is above 1 in 30. The interval is about these prompts; of others like them so few sources say "
    "little. Descriptive: fewer than 10 prompts, never judged."
)
FEW_CLUSTERS = 30
"""1 / the largest cluster's share, below which an interval is flagged: the list says little of prompts beyond it."""
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What a reader must know beside every number of a run.

    Attributes:
        model: as asked, with its revision where there is one.
        precision: of the weights and the forward pass, e.g. 'bfloat16'.
        engine: what generated.
        chat_template: by task: 'applied' or 'not applied' ('' where unknown).
        instruments: by (task, scorer): the instrument in words (name, version, revision). One scorer may read
            two tasks with other weights.
        identities: of each instrument, by task and name.
        parameters: of the model, where the engine counted them.
        notes: by task: what was left out of its prompts and why, or that they are not the benchmark.
    """

    model: str = ""
    precision: str = ""
    engine: str = ""
    chat_template: Mapping[str, str] = field(default_factory=dict)
    instruments: Mapping[tuple[str, str], str] = field(default_factory=dict)
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parameters: int | None = None
    identities: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)


def facts(file: RunFile) -> Facts:
    """The facts of a run."""
    model, revision = str(conceal(file.config.model)), str(file.engine.get("revision") or "")
    return Facts(
        model=f"{model} @ {revision[:12]}" if revision and revision not in model else model,
        precision=str(file.engine.get("precision") or file.engine.get("dtype") or ""),
        engine=str(file.engine.get("name") or file.config.engine),
        chat_template={name: _template(record.chat_template) for name, record in file.tasks.items()},
        instruments={
            (name, scorer): identity_words(scorer, identity)
            for name, record in file.tasks.items()
            for scorer, identity in record.instruments.items()
        },
        notes={name: record.notes for name, record in file.tasks.items()},
        parameters=file.engine.get("parameters"),
        identities={
            (name, scorer): identity
            for name, record in file.tasks.items()
            for scorer, identity in record.instruments.items()
        },
    )


def _template(applied: bool | None) -> str:
    return "" if applied is None else "applied" if applied else "not applied"


def identity_words(scorer: str, identity: Mapping[str, Any]) -> str:
    """An instrument in words: its name, then version, revision and the start of its weights' digest."""
    parts = [str(identity.get("name") or scorer)]
    parts += [str(identity[k]) for k in ("model", "version", "revision", "variant", "mode") if identity.get(k)]
    weights = next((str(v) for k, v in identity.items() if "weights" in k and v), "")
    words = " ".join(dict.fromkeys(parts))
    return f"{words} (weights {weights[:12]})" if weights else words


def printable(text: object, keep: str = "") -> str:
    r"""`text` with every control, format, private or unassigned character shown escaped (\x1b, \u202e).

    Terminal sequences, bidirectional overrides and zero-width characters lose their effect; letters of every
    script, marks and emoji stay. Characters in `keep` (newline, tab) are left alone.
    """
    text = str(text)
    bare = text.translate({ord(char): None for char in keep}) if keep else text
    if bare.isprintable():  # most texts are, and a long run has many
        return text
    shown = []
    for char in text:
        if char in keep or unicodedata.category(char) not in _INVISIBLE:
            shown.append(char)
        elif ord(char) < 0x100:
            shown.append(f"\\x{ord(char):02x}")
        else:
            shown.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
    return "".join(shown)


def name(text: object) -> str:
    """A group's, axis's or metric's name for people: spaces for underscores, control characters shown."""
    return printable(text).replace("_", " ").strip() or "(unnamed)"


def headline_name(headline: str) -> str:
    """The papers' aggregates in words; any other by its own name."""
    return {"macro": "mean over groups", "domain_macro": "mean over domains"}.get(headline, name(headline))


def metric_name(metric: str) -> str:
    """'toxic_rate.answered' -> 'toxic rate, answered prompts only'."""
    whole, part = parted(metric)
    if part:
        return f"{name(whole)}, {_OF_PART[part]}"
    stem, dot, suffix = metric.partition(".")
    return f"{name(stem)}{': ' + name(suffix) if dot else ''}"


_OF_PART = {Part.ANSWERED: "answered prompts only", Part.THOUGHT: "thoughts", Part.LEAK: "thoughts behind refusals"}


def gap(value: float, kind: str) -> str:
    """A difference between two numbers: of rates in percentage points."""
    return f"{100 * value:.2f} points" if kind == "rate" else number(value, kind)


def number(value: float | None, kind: str) -> str:
    """A value in its unit: rates in per cent with two digits, as the papers print them, else three digits."""
    if value is None:
        return NO_DATA
    shown = f"{100 * value:.2f}%" if kind == "rate" else f"{value:.3f}"
    return shown.replace("-", MINUS)


def interval(estimate: Estimate) -> str:
    """The 95% interval in the value's unit, or '' when there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    low, high = (number(x, estimate.kind) for x in (estimate.low, estimate.high))
    return f"[{low.removesuffix('%')}, {high.removesuffix('%')}]"


def value(estimate: Estimate) -> str:
    """Value and interval on one line, or 'no data: <reason>'."""
    if estimate.value is None:
        return f"{NO_DATA}: {printable(estimate.reason) or 'no reason was recorded'}"
    return " ".join(x for x in (number(estimate.value, estimate.kind), interval(estimate)) if x)


def absent(estimate: Estimate) -> int:
    """How many answers were owed and gave no value."""
    return max(sum(estimate.missing.values()), estimate.expected - estimate.count, 0)


def missing(estimate: Estimate) -> str:
    """How many answers gave no value and why: '3 of 459 (2 empty, 1 error)'; '0' when none is missing."""
    gone = absent(estimate)
    if not gone:
        return "0"
    reasons = ", ".join(f"{count} {name(why)}" for why, count in sorted(estimate.missing.items()) if count)
    owed = max(estimate.expected, estimate.count + gone)
    return f"{gone} of {owed}" + (f" ({reasons})" if reasons else "")


def caveat(estimate: Estimate, brief: bool = False) -> str:
    """Why to read this number with care: no data, descriptive only, few clusters; '' = no reason known.

    `brief` leaves out what differs from group to group, so that one footnote serves many rows.
    """
    if estimate.value is None:
        return printable(estimate.reason) or "no data"
    if estimate.standing is Standing.FEW:
        stem = printable(estimate.reason).removeprefix("descriptive only").lstrip(": ")
        return f"descriptive only: {'fewer than 10 prompts, so no policy acts on it' if brief else stem}"
    if few_clusters(estimate):
        return f"few clusters: {'one has more than 1 in 30 answers' if brief else _largest(estimate)}"
    return printable(estimate.reason)


def few_clusters(estimate: Estimate) -> bool:
    """Whether a number that counts says little of prompts beyond the list."""
    judged = estimate.value is not None and estimate.gateable
    return judged and 0 < estimate.effective_clusters < FEW_CLUSTERS


def abbreviated(estimate: Estimate) -> bool:
    """Whether the short caveat needs FOOTNOTE."""
    return estimate.value is not None and (estimate.standing is Standing.FEW or few_clusters(estimate))


def greyed(estimate: Estimate) -> bool:
    """Whether a row is shown greyed: no data, or a descriptive group that no policy may act on."""
    return estimate.value is None or estimate.standing is Standing.FEW


def short_caveat(estimate: Estimate) -> str:
    """The caveat in a few words, for a narrow column; FOOTNOTE says what they mean."""
    if estimate.value is None:
        return caveat(estimate)
    if estimate.standing is Standing.FEW:
        return "descriptive"
    return _largest(estimate) if few_clusters(estimate) else caveat(estimate)


def _largest(estimate: Estimate) -> str:
    """How many clusters there are, and the largest one's share of the answers."""
    many = f"{estimate.clusters:,} clusters, " if estimate.clusters > 1 else ""
    return f"{many}one of {100 / estimate.effective_clusters:.2g}%"


_SIZE = re.compile(r", \d+ df\b| \(as [^ ]+ answers of equal weight\)")
"""What of a method differs from number to number."""


def methods(estimates: Iterable[Estimate]) -> str:
    """How the intervals of these estimates were computed, each way once: results.json has the sizes of each."""
    given = {e.method for e in estimates if e.low is not None and e.method}
    if len(given) == 1:
        return given.pop()
    ways = sorted({_SIZE.sub("", method) for method in given})
    if any("equal weight" in method for method in given):
        ways.append("answers of unequal weight count as fewer")
    return "; ".join(ways)


def direction(better: str) -> str:
    """Which end is better, in words for an axis."""
    return {"lower": "lower is better", "higher": "higher is better"}.get(better, "neither end is better")


def instrument(estimate: Estimate, facts: Facts) -> str:
    """The instrument that made a number, in words; 'none needed' for a number that needs no scorer."""
    if not estimate.scorer:
        return "none needed"
    return printable(facts.instruments.get((estimate.task, estimate.scorer), estimate.scorer))


def caption(estimates: list[Estimate], facts: Facts) -> str:
    """What stands under every picture or table: model, precision, instrument, data version, interval."""
    first = estimates[0]
    versions = sorted({e.data_version for e in estimates if e.data_version})
    ways = methods(estimates)
    template = facts.chat_template.get(first.task, "")
    parts = [
        f"Model {printable(facts.model)}" if facts.model else "",
        f"precision {printable(facts.precision)}" if facts.precision else "",
        f"chat template {template}" if template else "",
        f"instrument: {instrument(first, facts)}",
        f"data version {printable(', '.join(versions))}" if versions else "",
        f"95% interval: {printable(ways)}" if ways else "",
    ]
    notes = [printable(n).rstrip(".") for n in facts.notes.get(first.task, ())]
    return ". ".join(["; ".join(p for p in parts if p), *notes]) + "."
