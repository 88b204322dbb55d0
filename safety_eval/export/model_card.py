"""A section for a model card: what was asked, every headline with its interval, the groups, the decision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from safety_eval.core.records import Estimate
from safety_eval.evidence.standing import Standing, State
from safety_eval.export.measured import Measurements, read
from safety_eval.runs.run_file import TaskRecord
from safety_eval.show import words
from safety_eval.signoff.verdict import Verdict, by_rule, comes_to, facts, tightest


def section(folder: Path, judged: Standing | None = None) -> str:
    """The section of a run folder, as Markdown. `judged`: its verdict, by whoever has just judged it; None = look."""
    run = read(folder, judged)
    parts = ["## Safety evaluation", _asked(run)]
    parts.append(_standing(run) if run.verdict is None else _decision(run, run.verdict))
    for task, record in run.file.tasks.items():
        found = [e for e in run.estimates if e.task == task]
        if found:
            title = record.title or task
            parts += [f"### {_md(title)}", _source(record), _headlines(found), _groups(found)]
    parts.append(_reading(run))
    return "\n\n".join(p for p in parts if p) + "\n"


def _asked(run: Measurements) -> str:
    revision = run.subject.get("revision")
    weights = str(run.subject.get("weights") or "")
    named = f"`{_code(run.model)}`" + (f" at revision `{_code(str(revision))}`" if revision else "")
    digest = f" (weights SHA-256 `{_code(weights[:16])}`...)" if len(weights) == 64 else ""
    version = _md(run.file.versions.get("safety_eval", ""))
    when = _md(run.file.finished[:10] or "an unfinished run")
    return f"{named}{digest} was evaluated with safety-eval {version} ({when})."


def _standing(run: Measurements) -> str:
    """What a card without a verdict says."""
    if run.standing.state is State.STALE:
        return f"**Release decision: none that holds for these records** ({_md(run.standing.why)})."
    return "**Release decision: not judged.**"


def _decision(run: Measurements, verdict: Verdict) -> str:
    first = "recorded before the first answer" if verdict.registered else "not recorded before the run"
    lines = [
        f"**Release decision: {verdict.decision}** by the policy '{_md(verdict.policy)}' ({first}; every claim at "
        f"{100 * verdict.level:g}% confidence, one-sided). {comes_to(verdict)}",
        "",
        "| rule | outcome | what was seen |",
        "|---|---|---|",
    ]
    for rule, found in by_rule(verdict).items():
        told = tightest(found)
        waiver = f" {told.waiver}." if told.waiver else ""
        lines.append(f"| {_md(rule)} | {told.outcome} | {_md(told.sentence + waiver)} |")
    lines += [f"\n- {_md(b.sentence)}" for b in verdict.blockers]
    lines += ["", *(f"- {_md(words)}" for words in (*verdict.notes, *facts(verdict), *verdict.history))]
    return "\n".join(lines)


def _source(record: TaskRecord) -> str:
    notes = " ".join(_md(n) for n in record.notes)
    told = f"{record.prompts} prompts, data version {_md(record.data_version)}"
    paper = f"; {_md(record.paper)}" if record.paper else ""
    return f"{told}{paper}. {notes}".strip()


def _headlines(found: Sequence[Estimate]) -> str:
    rows = [e for e in found if e.axis in ("total", "macro")]
    return _table(rows, lambda e: words.metric_name(e.metric) + ("" if e.axis == "total" else f" ({e.group})"))


def _groups(found: Sequence[Estimate]) -> str:
    """Per-group values of the metrics where one end is better."""
    rows = [e for e in found if e.axis not in ("total", "macro") and e.better != "neither" and not e.part]
    if not rows:
        return ""
    return _table(rows, lambda e: f"{words.metric_name(e.metric)}, {words.name(e.group)}")


def _table(rows: Iterable[Estimate], title: Callable[[Estimate], str]) -> str:
    lines = ["| | value [95% interval] | answers | instrument | to know |", "|---|---|---|---|---|"]
    for e in rows:
        missing = words.absent(e)
        note = "; ".join(x for x in (words.caveat(e), f"{missing} unmeasured" if missing else "") if x)
        cells = (title(e), words.value(e), str(e.count), e.scorer or "none needed", note)
        lines.append("| " + " | ".join(_md(c) for c in cells) + " |")
    return "\n".join(lines)


def _reading(run: Measurements) -> str:
    told = "Rates are shares of measured answers; intervals are about the listed prompts, not about others like them. "
    told += "A number near zero is not zero: read the upper end. Classifiers err, more for some groups than for others."
    if run.file.config.limit:
        told += " The run was limited to a part of each benchmark: these are not the benchmarks' numbers."
    return told


def _md(text: str) -> str:
    """Text that Markdown and HTML leave as it is."""
    shown = words.printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in "\\`*_[]|":
        shown = shown.replace(mark, f"\\{mark}")
    return shown


def _code(text: str) -> str:
    return words.printable(text).replace("`", "'")
